//! `berth doctor`: the real program against real servers, some of them behind something that is not as it should be.

mod bent;
mod bucket;
mod certificates;
mod client_half;
mod server_half;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;

/// A registry whose addresses are those of proxies.
async fn start() -> TestRegistry {
    TestRegistry::start_on(TestDatabase::Sqlite).await
}

/// One who calls the doctor, in an empty folder.
struct Patient {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

/// What the doctor said.
struct Diagnosis {
    code: i32,
    checks: Vec<Value>,
    all: String,
}

impl Patient {
    fn new() -> Self {
        Self {
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// One who is logged in.
    fn at(url: &str, key: &str) -> Self {
        Self::new()
            .with("BERTH_URL", url)
            .with("BERTH_API_KEY", key)
    }

    fn with(mut self, variable: &str, value: impl Into<String>) -> Self {
        self.variables.push((variable.to_owned(), value.into()));
        self
    }

    fn says(mut self, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|text| (*text).to_owned());
        self.arguments.extend(arguments);
        self
    }

    /// The output of the program, and its exit code.
    async fn output(&self, more: &[&str]) -> (i32, String) {
        let folder: PathBuf = tempfile::tempdir().unwrap().keep();
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command
            .arg("doctor")
            .args(&self.arguments)
            .args(more)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .current_dir(&folder);
        // Elsewhere: what it asks is served by this thread.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        // It is empty: the doctor leaves no files.
        std::fs::remove_dir(&folder).unwrap();
        let notes = String::from_utf8(output.stderr).unwrap();
        let code = output.status.code().unwrap();
        assert_eq!(code != 0, notes.contains("error: "), "{notes}");
        let text = String::from_utf8(output.stdout).unwrap();
        for (name, value) in &self.variables {
            let is_secret = name.contains("KEY");
            assert!(!is_secret || !format!("{text}{notes}").contains(value));
        }
        (code, text)
    }

    async fn asks(&self) -> Diagnosis {
        let (code, all) = self.output(&["-o", "json"]).await;
        let report: Value = serde_json::from_str(&all).unwrap();
        let checks = report["checks"].as_array().unwrap().clone();
        let failed = checks.iter().filter(|check| check["state"] == "failed");
        assert_eq!(report["failed"], failed.count(), "{all}");
        assert_eq!(code, i32::from(report["failed"] != 0), "{all}");
        Diagnosis { code, checks, all }
    }
}

impl Diagnosis {
    #[track_caller]
    fn check(&self, name: &str) -> &Value {
        let mut found = self.checks.iter().filter(|check| check["check"] == name);
        let check = found.next();
        assert!(found.next().is_none(), "{name} twice: {}", self.all);
        check.unwrap_or_else(|| panic!("{name} is missing: {}", self.all))
    }

    #[track_caller]
    fn is(&self, state: &str, name: &str, words: &str) -> &Self {
        let check = self.check(name);
        assert_eq!(check["state"], state, "{name}: {}", self.all);
        let detail = check["detail"].as_str().unwrap();
        assert!(
            detail.contains(words),
            "{name} says {detail:?}, not {words:?}"
        );
        self
    }

    #[track_caller]
    fn ok(&self, name: &str) -> &Self {
        self.is("ok", name, "")
    }

    #[track_caller]
    fn skips(&self, name: &str, why: &str) -> &Self {
        self.is("skipped", name, why)
    }

    /// A check failed, with these words in what is wrong, and these in what to do.
    #[track_caller]
    fn fails(&self, name: &str, words: &str, remedy: &str) -> &Self {
        self.is("failed", name, words);
        assert_eq!(self.code, 1);
        self.advises(name, remedy)
    }

    #[track_caller]
    fn warns(&self, name: &str, words: &str, remedy: &str) -> &Self {
        self.is("warning", name, words).advises(name, remedy)
    }

    #[track_caller]
    fn advises(&self, name: &str, words: &str) -> &Self {
        let remedy = self.check(name)["remedy"].as_str().unwrap();
        assert!(
            remedy.contains(words),
            "{name} advises {remedy:?}, not {words:?}"
        );
        self
    }

    /// Nothing failed, and nothing needs to be done.
    #[track_caller]
    fn is_well(&self) -> &Self {
        let states = ["failed", "warning"];
        let bad = |check: &&Value| states.iter().any(|state| check["state"] == *state);
        assert_eq!(self.checks.iter().find(bad), None, "{}", self.all);
        assert_eq!(self.code, 0);
        self
    }
}
