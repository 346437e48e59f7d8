//! The ORAS client as a person uses it: the Python library, with a small command around it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::client::{Client, Words, file_name};
use crate::process::{self, Outcome};
use crate::team::Login;

/// The command around the library.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/oras_client.py");

/// How it authenticates: by a password with each request, or by tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Backend {
    /// `basic`: the one that can push.
    Basic,
    /// `token`: the library's default. It keeps its first token, and does not ask again when that is for too little.
    Token,
}

/// A file or more that are pushed as one artifact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Artifact {
    /// Paths, each with `:` and a media type or without.
    pub(crate) files: Vec<String>,
    /// More options.
    pub(crate) options: Vec<String>,
}

/// One person who uses ORAS.
#[derive(Debug)]
pub(crate) struct Oras {
    home: TempDir,
    made: RefCell<HashMap<String, Artifact>>,
}

impl Oras {
    /// Pushes `artifact` as `reference`; standard output is its digest.
    pub(crate) fn push_artifact(&self, reference: &str, artifact: &Artifact) -> Outcome {
        let more = artifact.files.iter().chain(&artifact.options);
        let arguments: Vec<&str> = ["push", reference]
            .into_iter()
            .chain(more.map(String::as_str))
            .collect();
        self.run(&arguments)
    }

    /// Writes a file in this person's folder and gives its path.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.home.path().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).expect("a folder is made");
        }
        std::fs::write(&path, content).expect("a small file is written");
        path.display().to_string()
    }

    /// What was pulled as `reference` into the file `name`.
    pub(crate) fn pulled_file(&self, reference: &str, name: &str) -> Vec<u8> {
        let path = self.pulled(reference).join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Pulls `reference` with a chosen way to authenticate.
    pub(crate) fn pull_by(&self, backend: Backend, reference: &str) -> Outcome {
        let folder = self.pulled(reference).display().to_string();
        self.run_by(backend, &["pull", reference, &folder], None)
    }

    /// Runs the command with `arguments`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_by(Backend::Basic, arguments, None)
    }

    /// Runs the command with `arguments` and a chosen way to authenticate.
    pub(crate) fn run_by(
        &self,
        backend: Backend,
        arguments: &[&str],
        stdin: Option<&str>,
    ) -> Outcome {
        let backend = match backend {
            Backend::Basic => "basic",
            Backend::Token => "token",
        };
        let prepare = |command: &mut std::process::Command| {
            command.env("HOME", self.home.path());
            command.env("ORAS_AUTH_BACKEND", backend);
            command.arg(SCRIPT).args(arguments);
        };
        process::run(&python(), prepare, stdin)
    }

    fn pulled(&self, reference: &str) -> PathBuf {
        self.home.path().join("pulled").join(file_name(reference))
    }
}

/// The interpreter that has the library.
fn python() -> PathBuf {
    process::python_program("oras", "python")
}

impl Client for Oras {
    const NAME: &'static str = "oras";

    const WORDS: Words = Words {
        wrong_password: "the password is no API key and no registry credential",
        revoked: "the registry credential no longer counts: it has been revoked",
        foreign_pull: "this credential reaches t-blue/",
    };

    fn new() -> Self {
        python();
        Self {
            home: process::folder("oras"),
            made: RefCell::default(),
        }
    }

    fn login(&self, door: &str, login: &Login) -> Outcome {
        let arguments = ["login", door, &login.user_name];
        self.run_by(Backend::Basic, &arguments, Some(&login.password))
    }

    /// Makes an artifact of one file.
    fn make(&self, reference: &str, greeting: &str) {
        let name = format!("made/{}/greeting", file_name(reference));
        let artifact = Artifact {
            files: vec![self.file(&name, greeting.as_bytes())],
            ..Artifact::default()
        };
        self.made
            .borrow_mut()
            .insert(String::from(reference), artifact);
    }

    fn tag(&self, reference: &str, other: &str) {
        let mut made = self.made.borrow_mut();
        let artifact = made[reference].clone();
        made.insert(String::from(other), artifact);
    }

    fn push(&self, reference: &str) -> Outcome {
        let artifact = self.made.borrow()[reference].clone();
        self.push_artifact(reference, &artifact)
    }

    fn pull(&self, reference: &str) -> Outcome {
        self.pull_by(Backend::Basic, reference)
    }

    fn forget(&self, reference: &str) {
        let pulled = self.pulled(reference);
        if pulled.exists() {
            std::fs::remove_dir_all(pulled).expect("a folder is removed");
        }
    }

    fn greeting(&self, reference: &str) -> String {
        String::from_utf8_lossy(&self.pulled_file(reference, "greeting")).into_owned()
    }
}
