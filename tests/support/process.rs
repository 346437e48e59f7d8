//! The real binary in a folder of its own, to be killed, stopped and started again.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::calls::Api;
use super::distribution::{Distribution, Login};

/// How long a start or an end may take before the test fails.
const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at a process that is to end.
const POLL: Duration = Duration::from_millis(10);

/// A running server; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    folder: Folder,
    client: reqwest::Client,
    /// `http://host:port` of the public door.
    pub(crate) url: String,
}

/// What outlives the process: its data, and the log of all its runs.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.0.path().join("log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap()
    }

    pub(crate) fn secret(&self, file: &str) -> String {
        let text = std::fs::read_to_string(self.data().join(file)).unwrap();
        text.trim().to_owned()
    }

    /// The command that starts a server here; its log is appended.
    pub(crate) fn command(&self, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        // The tests' own variables look like configuration keys to the server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BERTH_") {
                command.env_remove(name);
            }
        }
        let mut log = File::options();
        let log = log.create(true).append(true).open(self.log_path()).unwrap();
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen", "127.0.0.1:0", "--pull-listen", "127.0.0.1:0"])
            .args(["--ops-listen", "127.0.0.1:0"])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        command
    }

    /// Starts a server here and waits until its doors answer.
    pub(crate) fn start(self, environment: &[(&str, &str)]) -> Process {
        let mut child = self.command(environment).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, receiver) = channel();
        // It reads to the end, so that the server never meets a closed or a full pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut url = None;
        loop {
            let line = receiver.recv_timeout(LIMIT).unwrap_or_else(|error| {
                panic!("the server never got ready ({error}):\n{}", self.log())
            });
            if let Some(address) = line.strip_prefix("public") {
                url = Some(address.trim().to_owned());
            }
            if line == "ready" {
                break;
            }
        }
        Process {
            child,
            folder: self,
            client: super::client(),
            url: url.unwrap(),
        }
    }
}

impl Process {
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.data()
    }

    /// The management API with a key.
    pub(crate) fn api(&self, key: &str) -> Api {
        Api::new(&self.client, &self.url, key)
    }

    /// The distribution API with the key of the workspace `main` as the password.
    pub(crate) fn docker(&self) -> Distribution {
        Distribution::new(
            &self.client,
            &self.url,
            Login::key(&self.folder.secret("main.key")),
        )
    }

    /// The most memory it has had so far.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1024
    }

    /// Asks it to end; it goes on with what is under way.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends it a signal, named as `kill` names it.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let done = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(done.success());
    }

    /// Waits until it has ended.
    pub(crate) fn ended(mut self) -> (ExitStatus, Folder) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.into_folder());
            }
            assert!(begun.elapsed() < LIMIT, "the server does not end");
            std::thread::sleep(POLL);
        }
    }

    /// `kill -9`, and nothing is said to the process before.
    pub(crate) fn kill(mut self) -> Folder {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.into_folder()
    }

    fn into_folder(mut self) -> Folder {
        std::mem::replace(&mut self.folder, Folder::new())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files below a folder, without the folders.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
