//! podman and buildah as a person uses them. They share their libraries, their options and most of their commands.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::client::{Client, Words};
use crate::images::{BUSYBOX_FILE, Context};
use crate::process::{self, Outcome};
use crate::team::Login;

/// How an image of two layers is built that prints its greeting. It runs nothing, so that it can be for any platform.
const RECIPE: &str = "COPY greeting /greeting\nCMD [\"/bin/busybox\", \"cat\", \"/greeting\"]\n";

/// One of the programs.
pub(crate) trait Program: Sized {
    /// Its name, and that of its package.
    const NAME: &'static str;

    /// The options before each command.
    const OPTIONS: &'static [&'static str];

    /// The root folder of a container or image of `reference`.
    fn mounted(containers: &Containers<Self>, reference: &str) -> String;
}

/// podman.
#[derive(Debug)]
pub(crate) struct Podman;

impl Program for Podman {
    const NAME: &'static str = "podman";

    // runc runs where control groups are of both versions at once; the default, crun, refuses that.
    const OPTIONS: &'static [&'static str] = &[
        "--runtime=runc",
        "--storage-driver=vfs",
        "--cgroup-manager=cgroupfs",
        "--events-backend=file",
    ];

    fn mounted(podman: &Containers<Self>, reference: &str) -> String {
        podman
            .run(&["image", "mount", reference])
            .succeeded()
            .stdout
    }
}

/// buildah.
#[derive(Debug)]
pub(crate) struct Buildah;

impl Program for Buildah {
    const NAME: &'static str = "buildah";

    const OPTIONS: &'static [&'static str] = &["--storage-driver=vfs"];

    fn mounted(buildah: &Containers<Self>, reference: &str) -> String {
        let from = ["from", "--pull-never", reference];
        let container = buildah.run(&from).succeeded().stdout;
        buildah.run(&["mount", container.trim()]).succeeded().stdout
    }
}

/// One person who uses `P`.
#[derive(Debug)]
pub(crate) struct Containers<P> {
    home: TempDir,
    program: PhantomData<P>,
}

impl<P: Program> Containers<P> {
    /// Where Debian puts it.
    pub(crate) fn program() -> PathBuf {
        Path::new("/usr/bin").join(P::NAME)
    }

    /// Runs the program with `arguments`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, None)
    }

    /// Builds an image that prints `greeting`, with more `options`.
    pub(crate) fn build(&self, options: &[&str], greeting: &str) {
        let context = Context::new(greeting);
        context.add(
            "Dockerfile",
            &format!("FROM scratch\nCOPY {BUSYBOX_FILE} /bin/busybox\n{RECIPE}"),
        );
        let context = context.path();
        let build = [&["build", "--network", "none"], options, &[&context]];
        self.run(&build.concat()).succeeded();
    }

    /// Pushes `reference`, with `options`.
    pub(crate) fn push_with(&self, options: &[&str], reference: &str) -> Outcome {
        self.run(&[&["push", "--tls-verify=false"], options, &[reference]].concat())
    }

    /// Pulls `reference`, with `options`.
    pub(crate) fn pull_with(&self, options: &[&str], reference: &str) -> Outcome {
        self.run(&[&["pull", "--tls-verify=false"], options, &[reference]].concat())
    }

    fn run_with_input(&self, arguments: &[&str], stdin: Option<&str>) -> Outcome {
        let prepare = |command: &mut std::process::Command| {
            let path = |name: &str| self.home.path().join(name);
            command.env("REGISTRY_AUTH_FILE", path("auth.json"));
            command.arg("--root").arg(path("root"));
            command.arg("--runroot").arg(path("run"));
            command.args(P::OPTIONS).args(arguments);
        };
        process::run(&Self::program(), prepare, stdin)
    }
}

impl<P: Program> Client for Containers<P> {
    const NAME: &'static str = P::NAME;

    const WORDS: Words = Words {
        wrong_password: "invalid username/password",
        revoked: "unauthorized: the registry credential no longer counts: it has been revoked",
        foreign_pull: "denied: this credential reaches t-blue/",
    };

    fn new() -> Self {
        process::require(&Self::program(), P::NAME);
        Self {
            home: process::folder(P::NAME),
            program: PhantomData,
        }
    }

    fn login(&self, door: &str, login: &Login) -> Outcome {
        let arguments = [
            "login",
            "--tls-verify=false",
            "--username",
            &login.user_name,
            "--password-stdin",
            door,
        ];
        self.run_with_input(&arguments, Some(&login.password))
    }

    fn make(&self, reference: &str, greeting: &str) {
        self.build(&["--tag", reference], greeting);
    }

    fn tag(&self, reference: &str, other: &str) {
        self.run(&["tag", reference, other]).succeeded();
    }

    fn push(&self, reference: &str) -> Outcome {
        self.push_with(&[], reference)
    }

    fn pull(&self, reference: &str) -> Outcome {
        self.pull_with(&[], reference)
    }

    fn forget(&self, reference: &str) {
        self.run(&["rmi", "--force", reference]).succeeded();
    }

    fn greeting(&self, reference: &str) -> String {
        let root = P::mounted(self, reference);
        let path = Path::new(root.trim()).join("greeting");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}
