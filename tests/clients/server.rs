//! Starts the real binary on free ports in a folder of its own.
//!
//! It knows neither teams nor clients.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{self, Daemon};

/// How long a start may take before the test fails.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long the log may lag behind the answers.
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// How many last lines of the log a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// A running server; it is killed, and its folder removed, when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    daemon: Daemon,
    folder: TempDir,
    /// `host:port` of the public door.
    pub(crate) registry: String,
    /// `host:port` of the pull door.
    pub(crate) pull_door: String,
}

impl Server {
    /// Starts one with its defaults, in a temporary folder.
    pub(crate) fn start() -> Self {
        Self::start_in(&std::env::temp_dir())
    }

    /// Starts one with these variables, in a temporary folder.
    pub(crate) fn start_with_variables(variables: &[(&str, &str)]) -> Self {
        Self::start_with(&std::env::temp_dir(), variables)
    }

    /// Starts one with its defaults, in a new folder below `parent`.
    pub(crate) fn start_in(parent: &Path) -> Self {
        Self::start_with(parent, &[])
    }

    fn start_with(parent: &Path, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("berth-")
            .tempdir_in(parent)
            .expect("a folder is made");
        let log = File::create(folder.path().join("log")).expect("a log file is made");
        let mut daemon = Daemon::start(&binary(), |command| {
            // The tests' own variables look like configuration keys to the server.
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("BERTH_") {
                    command.env_remove(name);
                }
            }
            let data = folder.path().join("data");
            command.arg("serve").arg("--data-dir").arg(data);
            for door in ["--listen", "--pull-listen", "--ops-listen"] {
                command.args([door, "127.0.0.1:0"]);
            }
            command.envs(variables.iter().copied());
            command.stdout(Stdio::piped()).stderr(log);
        });
        let lines = ready_lines(&mut daemon, folder.path());
        let door = |label: &str| {
            address_of(&lines, label)
                .unwrap_or_else(|| panic!("no address of the {label} door in {lines:#?}"))
        };
        Self {
            registry: door("public"),
            pull_door: door("pull"),
            daemon,
            folder,
        }
    }

    /// Its process id.
    pub(crate) fn process_id(&self) -> u32 {
        self.daemon.process_id()
    }

    /// Asks it to end, and asserts that it ended by itself and well.
    pub(crate) fn stop(mut self) {
        let status = self
            .daemon
            .stop()
            .expect("the server ends soon after SIGTERM");
        assert!(status.success(), "the server ended with {status}");
    }

    /// The URL of `path` (which begins with `/`) on the public door.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.registry)
    }

    /// The operator's key.
    pub(crate) fn operator_key(&self) -> String {
        let path = self.folder.path().join("data/operator.key");
        let content = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from(content.trim())
    }

    /// How the blobs of `repository` came there, once a manifest has followed them.
    pub(crate) fn arrivals(&self, repository: &str) -> Arrivals {
        let ours = |line: &Value| line["repository"] == repository && line["status"] == 201;
        let is = |line: &Value, method: &str, ending: &str| {
            line["method"] == method
                && line["route"]
                    .as_str()
                    .is_some_and(|route| route.ends_with(ending))
        };
        process::wait_for("a pushed manifest in the log", LOG_LIMIT, || {
            let log = read_log(self.folder.path());
            // The last line may be half written.
            let lines = log
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok());
            let lines: Vec<Value> = lines.filter(ours).collect();
            let count =
                |method, ending| lines.iter().filter(|line| is(line, method, ending)).count();
            (count("PUT", "/manifests/{reference}") > 0).then(|| Arrivals {
                mounted: count("POST", "/blobs/uploads/"),
                sent: count("PUT", "/blobs/uploads/{upload}"),
            })
        })
    }
}

/// How blobs came into a repository.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrivals {
    /// From another repository, without their bytes.
    pub(crate) mounted: usize,
    /// With their bytes.
    pub(crate) sent: usize,
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::tell(&format!(
                "the server's log ends with:\n{}",
                log_end(self.folder.path())
            ));
        }
    }
}

/// The binary under test: the one of this build, or the one that `BERTH_TEST_BINARY` names.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("BERTH_TEST_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_berth")), PathBuf::from)
}

/// What the server prints up to the line that begins with `ready`.
fn ready_lines(daemon: &mut Daemon, folder: &Path) -> Vec<String> {
    let stdout = daemon.take_stdout().expect("standard output is a pipe");
    let (sender, receiver) = channel();
    // It reads to the end, so that the server never meets a closed or a full pipe.
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut lines = vec![];
    loop {
        match receiver.recv_timeout(START_LIMIT) {
            Ok(line) => lines.push(line),
            Err(error) => panic!(
                "the server never got ready ({error}); it printed {lines:#?} and its log ends with:\n{}",
                log_end(folder)
            ),
        }
        if lines
            .last()
            .is_some_and(|line| line.trim_start().starts_with("ready"))
        {
            return lines;
        }
    }
}

/// `host:port` of the first URL in the line that carries `label`.
pub(crate) fn address_of(lines: &[String], label: &str) -> Option<String> {
    lines.iter().find_map(|line| {
        let mut words = line.split_whitespace();
        words.find(|word| word.trim_end_matches(':') == label)?;
        words
            .find_map(|word| word.strip_prefix("http://"))
            .map(|address| String::from(address.trim_end_matches('/')))
    })
}

fn read_log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn log_end(folder: &Path) -> String {
    let log = read_log(folder);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}
