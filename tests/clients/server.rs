//! Starts the real binary on free ports in a folder of its own, or two of them behind a proxy.
//!
//! It knows neither teams nor clients.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::database::{Location, TestDatabase};
use crate::http::{self, Caller};
use crate::process::{self, Daemon};
use crate::round_robin::RoundRobin;

/// How long a start may take before the test fails.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long the log may lag behind the answers.
const LOG_LIMIT: Duration = Duration::from_secs(5);

/// How long what clients have left may take to be taken in.
const SETTLING_LIMIT: Duration = Duration::from_secs(300);

/// So many looks in a row find nothing under way: a request whose head is still on its way begins late.
const QUIET_LOOKS: usize = 10;

/// How many last lines of the log a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// A running registry; its servers are killed, and their folders removed, when this is dropped.
pub(crate) struct Server {
    processes: Vec<Process>,
    /// `host:port` of the public door.
    pub(crate) registry: String,
    /// `host:port` of the pull door.
    pub(crate) pull_door: String,
    _behind: Option<Behind>,
    _database: Option<Location>,
}

/// One server.
struct Process {
    daemon: Daemon,
    folder: TempDir,
    /// `host:port` of its public door.
    registry: String,
    /// `host:port` of its pull door.
    pull_door: String,
    /// `host:port` of its ops door.
    ops: String,
}

/// What stands before two servers.
struct Behind {
    proxies: [RoundRobin; 2],
    _runtime: Runtime,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Server({})", self.registry)
    }
}

impl Server {
    /// Starts what this run is about with its defaults, in a temporary folder.
    pub(crate) fn start() -> Self {
        Self::start_with_variables(&[])
    }

    /// Starts what this run is about with these variables, in a temporary folder.
    pub(crate) fn start_with_variables(variables: &[(&str, &str)]) -> Self {
        let stack = TestDatabase::chosen();
        if stack == TestDatabase::Sqlite {
            return Self::start_alone(variables);
        }
        let runtime = Runtime::new().expect("a runtime starts");
        let database = runtime.block_on(stack.make());
        let mut all: Vec<(&str, String)> = database.variables();
        all.extend(
            variables
                .iter()
                .map(|(name, value)| (*name, String::from(*value))),
        );
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, &**value)).collect();
        let mut processes = vec![Process::start(&std::env::temp_dir(), &all)];
        if stack == TestDatabase::Postgres {
            return Self::of(processes, None, Some(database));
        }
        processes.push(Process::start(&std::env::temp_dir(), &all));
        let proxy = |door: fn(&Process) -> &String| {
            let addresses = processes.iter().map(|process| {
                let address = door(process).parse();
                address.expect("a door has an address")
            });
            runtime.block_on(RoundRobin::start(addresses.collect()))
        };
        let proxies = [
            proxy(|process| &process.registry),
            proxy(|process| &process.pull_door),
        ];
        let behind = Behind {
            proxies,
            _runtime: runtime,
        };
        Self::of(processes, Some(behind), Some(database))
    }

    /// Starts one server on the embedded database, whatever this run is about, for what is about one server alone.
    pub(crate) fn start_alone(variables: &[(&str, &str)]) -> Self {
        let process = Process::start(&std::env::temp_dir(), variables);
        Self::of(vec![process], None, None)
    }

    /// Starts one server on the embedded database with this configuration.
    pub(crate) fn start_with_file(configuration: &Path) -> Self {
        let configuration = configuration.display().to_string();
        let arguments = ["--config", &configuration];
        let process = Process::start_as(&std::env::temp_dir(), &[], &arguments);
        Self::of(vec![process], None, None)
    }

    /// The same with its defaults, in a new folder below `parent`.
    pub(crate) fn start_in(parent: &Path) -> Self {
        Self::of(vec![Process::start(parent, &[])], None, None)
    }

    fn of(processes: Vec<Process>, behind: Option<Behind>, database: Option<Location>) -> Self {
        let [registry, pull_door] = match &behind {
            Some(behind) => behind
                .proxies
                .each_ref()
                .map(|proxy| proxy.address().to_string()),
            None => [
                processes[0].registry.clone(),
                processes[0].pull_door.clone(),
            ],
        };
        Self {
            processes,
            registry,
            pull_door,
            _behind: behind,
            _database: database,
        }
    }

    /// The process id of the first server.
    pub(crate) fn process_id(&self) -> u32 {
        self.processes[0].daemon.process_id()
    }

    /// Asks all servers to end, and asserts that they ended by themselves and well.
    pub(crate) fn stop(mut self) {
        for process in &mut self.processes {
            let status = process.daemon.stop();
            let status = status.expect("the server ends soon after SIGTERM");
            assert!(status.success(), "the server ended with {status}");
        }
    }

    /// The URL of `path` (which begins with `/`) on the public door.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.registry)
    }

    /// The operator's key.
    pub(crate) fn operator_key(&self) -> String {
        self.key("operator.key")
    }

    /// The key of the workspace that the first start has made.
    pub(crate) fn main_key(&self) -> String {
        self.key("main.key")
    }

    fn key(&self, file: &str) -> String {
        // The one that started first has made the installation.
        let path = self.processes[0].folder.path().join("data").join(file);
        let content = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from(content.trim())
    }

    /// Waits until no server takes or gives bytes.
    pub(crate) fn until_nothing_is_under_way(&self) {
        for process in &self.processes {
            let url = format!("http://{}/metrics", process.ops);
            let mut quiet = 0;
            process::wait_for("the end of all transfers", SETTLING_LIMIT, || {
                let metrics = http::get(&url, &Caller::Anonymous).expect(200).body;
                let is_quiet = metrics.lines().any(|line| line == "berth_open_transfers 0");
                quiet = if is_quiet { quiet + 1 } else { 0 };
                (quiet >= QUIET_LOOKS).then_some(())
            });
        }
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
            let logs = self
                .processes
                .iter()
                .map(|process| read_log(process.folder.path()));
            let log: String = logs.collect();
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

impl Process {
    fn start(parent: &Path, variables: &[(&str, &str)]) -> Self {
        Self::start_as(parent, variables, &[])
    }

    fn start_as(parent: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Self {
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
            command.args(arguments).envs(variables.iter().copied());
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
            ops: door("ops"),
            daemon,
            folder,
        }
    }
}

impl Drop for Process {
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

/// What the server prints up to the line that begins with `ready`; `folder` has its log.
pub(crate) fn ready_lines(daemon: &mut Daemon, folder: &Path) -> Vec<String> {
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
            .find_map(|word| Some(word.split_once("://")?.1))
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
