//! skopeo as a person uses it, with login files of their own.

use std::path::Path;

use tempfile::TempDir;

use crate::process::{self, Outcome};
use crate::server::Login;

const PROGRAM: &str = "/usr/bin/skopeo";

/// One person who uses skopeo.
#[derive(Debug)]
pub(crate) struct Skopeo {
    home: TempDir,
}

impl Skopeo {
    /// A person who has not logged in anywhere.
    pub(crate) fn new() -> Self {
        process::require(Path::new(PROGRAM), "skopeo");
        let home = tempfile::Builder::new()
            .prefix("berth-skopeo-")
            .tempdir()
            .expect("a folder is made");
        Self { home }
    }

    /// A person who has logged in at `registry`.
    #[track_caller]
    pub(crate) fn logged_in(registry: &str, login: &Login) -> Self {
        let skopeo = Self::new();
        skopeo
            .login(registry, login)
            .succeeded()
            .said("Login Succeeded!");
        skopeo
    }

    /// `skopeo login` at `registry`.
    pub(crate) fn login(&self, registry: &str, login: &Login) -> Outcome {
        let arguments = [
            "login",
            "--tls-verify=false",
            "--username",
            &login.user_name,
            "--password-stdin",
            registry,
        ];
        self.run_with_input(&arguments, Some(&login.password))
    }

    /// `skopeo copy`, with `options`.
    pub(crate) fn copy(&self, options: &[&str], source: &str, target: &str) -> Outcome {
        let arguments = [
            &["copy", "--src-tls-verify=false", "--dest-tls-verify=false"],
            options,
            &[source, target],
        ];
        self.run(&arguments.concat())
    }

    /// `skopeo inspect`, with `options`.
    pub(crate) fn inspect(&self, options: &[&str], image: &str) -> Outcome {
        self.run(&[&["inspect", "--tls-verify=false"], options, &[image]].concat())
    }

    /// Runs `skopeo` with `arguments`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with_input(arguments, None)
    }

    fn run_with_input(&self, arguments: &[&str], stdin: Option<&str>) -> Outcome {
        let prepare = |command: &mut std::process::Command| {
            command.env("REGISTRY_AUTH_FILE", self.home.path().join("auth.json"));
            // Which signatures a machine asks for is its own policy, not a matter of the registry.
            command.arg("--insecure-policy").args(arguments);
        };
        process::run(Path::new(PROGRAM), prepare, stdin)
    }
}
