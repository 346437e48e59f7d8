//! A person at the command line of `berth`, with a home, a PATH and a login of their own, and docker and podman beside it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::docker;
use crate::process::{self, Outcome};
use crate::round_robin::RoundRobin;
use crate::server::{self, Server};

/// The person.
#[derive(Debug)]
pub(crate) struct Berth {
    home: TempDir,
    variables: Vec<(String, OsString)>,
}

impl Berth {
    /// Somebody who has not logged in anywhere.
    pub(crate) fn new() -> Self {
        let home = process::folder("person");
        let path = |name: &str| home.path().join(name).into_os_string();
        std::fs::create_dir(path("bin")).expect("a folder is made");
        let search = std::env::var_os("PATH").unwrap_or_default();
        let search =
            std::iter::once(PathBuf::from(path("bin"))).chain(std::env::split_paths(&search));
        let search = std::env::join_paths(search).expect("the folders of PATH can be joined again");
        let variables = [
            ("HOME", path("")),
            ("PATH", search),
            ("XDG_CONFIG_HOME", path("config")),
            ("XDG_RUNTIME_DIR", path("runtime")),
            ("DOCKER_CONFIG", path("docker")),
            ("DOCKER_HOST", OsString::from(docker::engine_address())),
            // The classic builder is part of the engine; BuildKit would be one more program to install.
            ("DOCKER_BUILDKIT", OsString::from("0")),
        ];
        let variables = variables.map(|(name, value)| (String::from(name), value));
        Self {
            variables: variables.to_vec(),
            home,
        }
    }

    /// Somebody who has logged in with `key`.
    pub(crate) fn logged_in(server: &Server, key: &str) -> Self {
        Self::logged_in_at(&server.url(""), key)
    }

    /// The same at an address that leads to the server.
    pub(crate) fn logged_in_at(url: &str, key: &str) -> Self {
        let person = Self::new();
        person
            .berth_with_input(&["login", "--url", url, "--api-key-stdin"], Some(key))
            .succeeded();
        person
    }

    /// Somebody who has logged in and set docker up.
    pub(crate) fn set_up(server: &Server, key: &str) -> Self {
        let person = Self::logged_in(server, key);
        person.configure(&[]).succeeded();
        person
    }

    /// The same with another value of a variable.
    pub(crate) fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((String::from(name), value.into()));
        self
    }

    /// A file or folder of the person's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Runs `berth`.
    pub(crate) fn berth(&self, arguments: &[&str]) -> Outcome {
        self.berth_with_input(arguments, None)
    }

    /// Runs `berth configure-docker`, with the link in a folder on this person's PATH.
    pub(crate) fn configure(&self, options: &[&str]) -> Outcome {
        let folder = self.path("bin").display().to_string();
        self.berth(&[&["configure-docker", "--bin-dir", &folder], options].concat())
    }

    /// Asks the helper that docker finds.
    pub(crate) fn helper(&self, action: &str, input: &str) -> Outcome {
        let program = self.path("bin/docker-credential-berth");
        self.run_with_input(&program, &[action], Some(input))
    }

    /// Runs another program as this person.
    pub(crate) fn run(&self, program: &Path, arguments: &[&str]) -> Outcome {
        self.run_with_input(program, arguments, None)
    }

    /// The same with something to read.
    pub(crate) fn run_with_input(
        &self,
        program: &Path,
        arguments: &[&str],
        input: Option<&str>,
    ) -> Outcome {
        let prepare = |command: &mut Command| {
            self.prepare(command);
            command.args(arguments);
        };
        process::run(program, prepare, input)
    }

    /// What the programs of this person find around them.
    pub(crate) fn prepare(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let theirs = ["BERTH_", "DOCKER_", "REGISTRY_"];
            if theirs
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
            {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
    }

    /// What docker keeps of this person.
    pub(crate) fn docker_config(&self) -> String {
        std::fs::read_to_string(self.path("docker/config.json")).unwrap_or_default()
    }

    fn berth_with_input(&self, arguments: &[&str], input: Option<&str>) -> Outcome {
        self.run_with_input(&server::binary(), arguments, input)
    }
}

/// A server that has an address for pulls, which is known before it starts.
pub(crate) struct WithPullAddress {
    pub(crate) server: Server,
    /// `host:port` for pulls.
    pub(crate) pull: String,
    _proxy: RoundRobin,
    _runtime: Runtime,
}

impl WithPullAddress {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let nobody = ([127, 0, 0, 1], 1).into();
        let proxy = runtime.block_on(RoundRobin::start(vec![nobody]));
        let server = Server::start_with_variables(&[("BERTH_SERVER__PULL_URL", &proxy.url())]);
        let door = server.pull_door.parse();
        proxy.replace(0, door.expect("a door has an address"));
        Self {
            server,
            pull: proxy.address().to_string(),
            _proxy: proxy,
            _runtime: runtime,
        }
    }
}
