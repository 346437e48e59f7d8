//! skopeo as a person uses it, with login files of their own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tempfile::TempDir;

use crate::client::{Client, Words, file_name};
use crate::images::{Layout, greeting_in};
use crate::process::{self, Outcome};
use crate::team::Login;

const PROGRAM: &str = "/usr/bin/skopeo";

/// One person who uses skopeo. It keeps no images: what is pushed and pulled are layouts on disk.
#[derive(Debug)]
pub(crate) struct Skopeo {
    home: TempDir,
    layouts: RefCell<HashMap<String, Rc<Layout>>>,
}

impl Skopeo {
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

    /// Where what is pulled as `reference` goes.
    fn pulled(&self, reference: &str) -> PathBuf {
        self.home.path().join(file_name(reference))
    }
}

impl Client for Skopeo {
    const NAME: &'static str = "skopeo";

    const WORDS: Words = Words {
        wrong_password: "invalid username/password",
        revoked: "unauthorized: the registry credential no longer counts: it has been revoked",
        foreign_pull: "denied: this credential reaches t-blue/",
    };

    fn new() -> Self {
        process::require(Path::new(PROGRAM), "skopeo");
        Self {
            home: process::folder("skopeo"),
            layouts: RefCell::default(),
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
        let layout = Rc::new(Layout::image(greeting));
        let mut layouts = self.layouts.borrow_mut();
        layouts.insert(String::from(reference), layout);
    }

    fn tag(&self, reference: &str, other: &str) {
        let mut layouts = self.layouts.borrow_mut();
        let layout = Rc::clone(&layouts[reference]);
        layouts.insert(String::from(other), layout);
    }

    fn push(&self, reference: &str) -> Outcome {
        let source = self.layouts.borrow()[reference].source();
        self.copy(&[], &source, &format!("docker://{reference}"))
    }

    fn pull(&self, reference: &str) -> Outcome {
        let target = format!("oci:{}:pulled", self.pulled(reference).display());
        self.copy(&[], &format!("docker://{reference}"), &target)
    }

    fn forget(&self, reference: &str) {
        let pulled = self.pulled(reference);
        if pulled.exists() {
            std::fs::remove_dir_all(pulled).expect("a folder is removed");
        }
    }

    fn greeting(&self, reference: &str) -> String {
        greeting_in(&self.pulled(reference))
    }
}
