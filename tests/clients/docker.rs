//! A Docker engine of these tests' own, and the command lines that talk to it.
//!
//! There is one engine for all tests; it has its own data, socket and process id, and touches no network.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::client::{Client, Words};
use crate::fact;
use crate::images::{BUSYBOX_FILE, Context};
use crate::process::{self, Daemon, Outcome};
use crate::team::Login;

/// Where Debian puts the engine, and where Docker's own packages put it.
const ENGINES: [&str; 2] = ["/usr/sbin/dockerd", "/usr/bin/dockerd"];

/// The command line that comes with Debian's engine.
const PROGRAM: &str = "/usr/bin/docker";

/// All command lines and what they are called here: a newer one is on some machines besides.
pub(crate) const PROGRAMS: [(&str, &str); 2] = [
    ("docker", PROGRAM),
    ("newer_docker", "/usr/local/bin/docker"),
];

/// How long the engine may take to start.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The engine, once a test has asked for it.
static SHARED: Mutex<Option<Engine>> = Mutex::new(None);

#[derive(Debug)]
struct Engine {
    daemon: Daemon,
    folder: TempDir,
}

impl Engine {
    fn start() -> Self {
        let engine = ENGINES
            .map(Path::new)
            .into_iter()
            .find(|path| path.exists());
        let engine = engine.unwrap_or(Path::new(ENGINES[0]));
        process::require(engine, "docker.io");
        process::require(Path::new(PROGRAM), "docker.io");
        let folder = process::folder("dockerd");
        let log = File::create(folder.path().join("log")).expect("a log file is made");
        let output = log.try_clone().expect("a file handle can be doubled");
        let daemon = Daemon::start(engine, |command| {
            let path = |name: &str| folder.path().join(name);
            command
                .arg("--data-root")
                .arg(path("data"))
                .arg("--exec-root")
                .arg(path("exec"));
            command
                .arg("--pidfile")
                .arg(path("pid"))
                .arg("--host")
                .arg(address_in(folder.path()));
            command.args([
                "--bridge=none",
                "--iptables=false",
                "--ip-masq=false",
                "--storage-driver=vfs",
            ]);
            command.stdout(output).stderr(log);
        });
        let mut engine = Self { daemon, folder };
        process::wait_for("an answer of dockerd", START_LIMIT, || {
            if let Some(status) = engine.daemon.ended() {
                let log = std::fs::read_to_string(engine.folder.path().join("log"));
                panic!(
                    "dockerd, which only root can start, ended with {status}; its log:\n{}",
                    log.unwrap_or_default()
                );
            }
            engine.answers().then_some(())
        });
        engine
    }

    fn answers(&self) -> bool {
        let address = address_in(self.folder.path());
        let ask = |command: &mut std::process::Command| {
            command.args(["--host", &address, "info"]);
        };
        !process::run(Path::new(PROGRAM), ask, None).failed()
    }
}

/// The address of the engine that lives in `folder`.
fn address_in(folder: &Path) -> String {
    format!("unix://{}", folder.join("docker.sock").display())
}

/// The address of the shared engine, which is started when it is not yet there.
pub(crate) fn engine_address() -> String {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    address_in(shared.get_or_insert_with(Engine::start).folder.path())
}

/// Ends the shared engine and removes its folder, if there is one.
pub(crate) fn stop_engine() {
    let engine = SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut engine) = engine {
        engine.daemon.stop();
    }
}

/// A test that any command line must pass.
pub(crate) type DockerTest = fn(&Docker);

/// One trial of each fact for each command line of this machine.
pub(crate) fn with_each_program(facts: &[(&str, DockerTest)]) -> Vec<Trial> {
    let programs = PROGRAMS.map(|(word, path)| (word, Path::new(path)));
    let here = programs
        .into_iter()
        .filter(|(_, path)| *path == Path::new(PROGRAM) || path.exists());
    let trials = here.flat_map(|(word, program)| {
        facts.iter().map(move |&(name, test)| {
            fact(&format!("{word}::{name}"), move || {
                test(&Docker::with_program(program));
            })
        })
    });
    trials.collect()
}

/// One person at a command line, with login files of their own.
#[derive(Debug)]
pub(crate) struct Docker {
    program: PathBuf,
    home: TempDir,
    engine: String,
}

impl Docker {
    /// A person who uses `program`.
    pub(crate) fn with_program(program: &Path) -> Self {
        process::require(program, "docker.io");
        Self {
            program: program.to_path_buf(),
            home: process::folder("docker"),
            engine: engine_address(),
        }
    }

    /// Puts `config` in the place of the login file.
    pub(crate) fn configure(&self, config: &str) {
        let path = self.home.path().join("config.json");
        std::fs::write(path, config).expect("a small file is written");
    }

    /// Runs `docker` with `arguments`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, None)
    }

    /// Runs `docker build` with `arguments` by BuildKit, which leaves out the stages that the last one does not need.
    ///
    /// Only for [`Docker::new`]: the newer command line wants one more program for it.
    pub(crate) fn build_needed_stages(&self, arguments: &[&str]) -> Outcome {
        let prepare = |command: &mut std::process::Command| {
            self.prepare(command);
            command
                .env("DOCKER_BUILDKIT", "1")
                .args(["build", "--progress", "plain"])
                .args(arguments);
        };
        process::run(&self.program, prepare, None)
    }

    fn run_with_input(&self, arguments: &[&str], stdin: Option<&str>) -> Outcome {
        let prepare = |command: &mut std::process::Command| {
            self.prepare(command);
            command.args(arguments);
        };
        process::run(&self.program, prepare, stdin)
    }

    fn prepare(&self, command: &mut std::process::Command) {
        command
            .env("DOCKER_CONFIG", self.home.path())
            .env("DOCKER_HOST", &self.engine);
        // The classic builder is part of the engine; BuildKit would be one more program to install.
        command
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_CLI_EXPERIMENTAL", "enabled");
    }
}

impl Client for Docker {
    const NAME: &'static str = "docker";

    const WORDS: Words = Words {
        wrong_password: "unauthorized: the password is no API key and no registry credential",
        revoked: "unauthorized: the registry credential no longer counts: it has been revoked",
        foreign_pull: "denied: this credential reaches t-blue/",
    };

    /// A person who uses the command line of Debian's engine.
    fn new() -> Self {
        Self::with_program(Path::new(PROGRAM))
    }

    fn login(&self, door: &str, login: &Login) -> Outcome {
        let arguments = [
            "login",
            "--username",
            &login.user_name,
            "--password-stdin",
            door,
        ];
        self.run_with_input(&arguments, Some(&login.password))
    }

    /// Builds `reference` from nothing: an image of three layers that prints `greeting`.
    fn make(&self, reference: &str, greeting: &str) {
        let context = Context::new(greeting);
        context.add(
            "Dockerfile",
            &format!(
                "FROM scratch\n\
                 COPY {BUSYBOX_FILE} /bin/busybox\n\
                 COPY greeting /greeting\n\
                 COPY origin /origin\n\
                 CMD [\"/bin/busybox\", \"cat\", \"/greeting\"]\n"
            ),
        );
        context.add("origin", &format!("built for {reference}\n"));
        // The cache is the engine's, and another test may be removing the layers that it offers.
        let build = [
            "build",
            "--no-cache",
            "--network",
            "none",
            "--tag",
            reference,
            &context.path(),
        ];
        self.run(&build).succeeded();
    }

    fn tag(&self, reference: &str, other: &str) {
        self.run(&["tag", reference, other]).succeeded();
    }

    fn push(&self, reference: &str) -> Outcome {
        self.run(&["push", reference])
    }

    fn pull(&self, reference: &str) -> Outcome {
        self.run(&["pull", reference])
    }

    fn forget(&self, reference: &str) {
        self.run(&["rmi", reference]).succeeded();
    }

    /// What a container of `reference` prints.
    fn greeting(&self, reference: &str) -> String {
        let arguments = [
            "run",
            "--rm",
            "--network",
            "none",
            "--pull",
            "never",
            reference,
        ];
        let printed = self.run(&arguments).succeeded().stdout;
        String::from(printed.trim_end())
    }
}
