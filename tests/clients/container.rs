//! The image that the Dockerfile makes, and containers of it.
//!
//! No registry need be in reach: the base is made of Debian packages, and the stage that compiles is replaced by the
//! binary under test. What follows that stage is the Dockerfile as it is.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use crate::client::Client as _;
use crate::docker::Docker;
use crate::process::{self, Outcome, wait_for};
use crate::server::binary;
use crate::team::Login;
use crate::tell;

/// The image under test.
pub(crate) const IMAGE: &str = "berth";

/// What takes the place of the published base.
pub(crate) const BASE: &str = "berth-base";

/// What takes the place of the stage that compiles.
const BINARY: &str = "berth-binary";

/// What the image is told about its origin.
pub(crate) const VERSION: &str = "1.2.3";
pub(crate) const REVISION: &str = "abcdef";

/// What an operator says to a container that is to be trusted with nothing.
pub(crate) const HARDENED: [&str; 5] = [
    "--read-only",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
];

/// How long something that is to happen soon may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Builds the image once; gives the size of the program in it, in bytes.
pub(crate) fn built() -> u64 {
    static BUILT: LazyLock<u64> = LazyLock::new(build);
    *BUILT
}

fn build() -> u64 {
    let docker = Docker::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = repository.join("scripts/image-base.sh");
    let base = process::run(&script, |_| {}, None).succeeded().stdout;
    docker.run(&["import", base.trim_end(), BASE]).succeeded();
    let size_bytes = build_binary(&docker);
    docker
        .build_needed_stages(&[
            "--network=none",
            &format!("--build-arg=BASE_IMAGE={BASE}"),
            &format!("--build-arg=BINARY={BINARY}"),
            &format!("--build-arg=VERSION={VERSION}"),
            &format!("--build-arg=REVISION={REVISION}"),
            &format!("--tag={IMAGE}"),
            &repository.to_string_lossy(),
        ])
        .succeeded();
    size_bytes
}

/// An image with what the stage that compiles leaves in `/image`; gives the size of the program, in bytes.
fn build_binary(docker: &Docker) -> u64 {
    let context = tempfile::tempdir().expect("a folder is made");
    let programs = context.path().join("image/usr/local/bin");
    std::fs::create_dir_all(&programs).expect("a folder is made");
    let program = programs.join("berth");
    copy_binary(&program);
    let data = context.path().join("image/var/lib/berth");
    std::fs::create_dir_all(&data).expect("a folder is made");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700))
        .expect("its mode is set");
    std::fs::write(
        context.path().join("Dockerfile"),
        "FROM scratch\nCOPY image /image\n",
    )
    .expect("a small file is written");
    let context = context.path().to_string_lossy();
    docker
        .run(&["build", "--no-cache", "--tag", BINARY, &context])
        .succeeded();
    std::fs::metadata(&program)
        .expect("the program was copied")
        .len()
}

/// A release is copied as it is; a debug build would fill the disk with what only a debugger reads.
fn copy_binary(to: &Path) {
    if is_release() {
        std::fs::copy(binary(), to).expect("the program is copied");
        return;
    }
    let prepare = |command: &mut Command| {
        command.arg("-o").arg(to).arg(binary());
    };
    process::run(Path::new("/usr/bin/strip"), prepare, None).succeeded();
}

/// Whether the binary under test is the one that an operator would get.
pub(crate) fn is_release() -> bool {
    std::env::var_os("BERTH_TEST_BINARY").is_some()
}

/// A container; it is removed when this is dropped.
pub(crate) struct Container<'d> {
    docker: &'d Docker,
    name: &'static str,
}

impl<'d> Container<'d> {
    /// Runs one with `arguments`, which end with the image and its command.
    pub(crate) fn run(docker: &'d Docker, name: &'static str, arguments: &[&str]) -> Self {
        let container = Self { docker, name };
        let run = [&["run", "--detach", "--name", name], arguments].concat();
        docker.run(&run).succeeded();
        container
    }

    /// Waits until its `start`th start is over, and gives what that one printed.
    #[track_caller]
    pub(crate) fn ready(&self, start: usize) -> Vec<String> {
        wait_for("the end of the start", LIMIT, || {
            let printed = self.docker.run(&["logs", self.name]).succeeded().stdout;
            let lines: Vec<String> = printed.lines().map(String::from).collect();
            let starts: Vec<&[String]> = lines.split(|line| line == "ready").collect();
            // Behind the last "ready" is a start that is not over, or nothing.
            let starts = &starts[..starts.len() - 1];
            starts.get(start - 1).map(|lines| lines.to_vec())
        })
    }

    /// Runs `berth` in it, after the options of `docker exec`.
    pub(crate) fn berth(&self, options: &[&str], arguments: &[&str]) -> Outcome {
        let exec = [&["exec"], options, &[self.name, "berth"], arguments].concat();
        self.docker.run(&exec)
    }

    /// What `docker inspect` says of it.
    pub(crate) fn inspect(&self, template: &str) -> String {
        let inspect = ["inspect", "--format", template, self.name];
        let outcome = self.docker.run(&inspect).succeeded();
        String::from(outcome.stdout.trim_end())
    }

    /// Waits until it has ended, which must be by itself and well.
    pub(crate) fn ended_well(&self) {
        let code = self.docker.run(&["wait", self.name]).succeeded().stdout;
        assert_eq!(code.trim_end(), "0");
    }

    /// The key of the workspace `main`, taken out as an operator takes it out.
    pub(crate) fn main_login(&self) -> Login {
        let folder = tempfile::tempdir().expect("a folder is made");
        let copy = folder.path().join("main.key");
        let from = format!("{}:/var/lib/berth/main.key", self.name);
        self.docker
            .run(&["cp", &from, &copy.to_string_lossy()])
            .succeeded();
        let key = std::fs::read_to_string(copy).expect("the key was copied");
        Login::of_key(key.trim_end())
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(&self.docker.run(&["logs", self.name]).text());
        }
        self.docker.run(&["rm", "--force", "--volumes", self.name]);
    }
}
