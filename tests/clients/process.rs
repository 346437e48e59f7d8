//! Runs the programs of these tests: short ones under a time limit, servers so that none outlives the tests.
//!
//! It knows nothing of registries.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long one client command may take, in seconds.
const COMMAND_LIMIT_SECONDS: &str = "1200";

/// The options after which a secret follows.
const SECRET_OPTIONS: [&str; 4] = ["--user", "--refresh", "--header", "--auth"];

/// How `timeout` itself ends when the command took too long, and when it had to kill it.
const TIMED_OUT: [Option<i32>; 2] = [Some(124), Some(137)];

/// How long a server may take to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// How long to wait between two looks at something that will change soon.
const POLL: Duration = Duration::from_millis(50);

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Outcome {
    command: String,
    success: bool,
    /// Standard output alone: what a program after it in a pipe would read.
    pub(crate) stdout: String,
    /// Standard error alone: where a person looks for what went wrong.
    pub(crate) stderr: String,
}

impl Outcome {
    /// The outcome of what a client has no command for.
    pub(crate) fn nothing_to_do() -> Self {
        Self {
            command: String::new(),
            success: true,
            stdout: String::new(),
            stderr: String::new(),
        }
    }

    /// Standard output, then standard error: what a person sees.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The outcome of a command that had to succeed.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.success, "`{}` failed:\n{}", self.command, self.text());
        self
    }

    /// What standard error said when the command was refused, as it had to be; every word of `words` must be in it.
    #[track_caller]
    pub(crate) fn refused_with(self, words: &[&str]) -> String {
        assert!(
            !self.success,
            "`{}` was not refused:\n{}",
            self.command,
            self.text()
        );
        for word in words {
            assert!(
                self.stderr.contains(word),
                "`{}` was refused without the word {word:?} on standard error:\n{}",
                self.command,
                self.text()
            );
        }
        self.stderr
    }

    /// Whether the command failed.
    pub(crate) fn failed(&self) -> bool {
        !self.success
    }

    /// Asserts that the command said `words`.
    #[track_caller]
    pub(crate) fn said(self, words: &str) -> Self {
        let text = self.text();
        assert!(
            text.contains(words),
            "`{}` did not say {words:?}:\n{text}",
            self.command,
        );
        self
    }
}

/// Looks again and again until `look` finds something, for at most `limit`; `what` is missing after that.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        let looked_at = begun.elapsed();
        if let Some(found) = look() {
            return found;
        }
        assert!(looked_at < limit, "{what}: not there after {looked_at:?}");
        std::thread::sleep(POLL);
    }
}

/// A folder of `name`'s own, which goes when it is dropped.
pub(crate) fn folder(name: &str) -> TempDir {
    tempfile::Builder::new()
        .prefix(&format!("berth-{name}-"))
        .tempdir()
        .expect("a folder is made")
}

/// A program of a Python environment that `scripts/tools.sh` makes.
#[track_caller]
pub(crate) fn python_program(environment: &str, program: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    let path = cache
        .join("berth")
        .join(environment)
        .join("bin")
        .join(program);
    assert!(
        path.exists(),
        "{} is missing: `make tools` puts it there",
        path.display()
    );
    path
}

/// A program that is not installed fails the test that needs it and names its package.
#[track_caller]
pub(crate) fn require(program: &Path, debian_package: &str) {
    assert!(
        program.exists(),
        "{} is missing: it is in Debian's package {debian_package}, which `make tools` installs",
        program.display()
    );
}

/// Runs `program` to its end, or to the time limit.
pub(crate) fn run(
    program: &Path,
    prepare: impl FnOnce(&mut Command),
    stdin: Option<&str>,
) -> Outcome {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", COMMAND_LIMIT_SECONDS])
        .arg(program);
    prepare(&mut command);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let line = describe(&command);
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("`{line}` cannot start: {error}"));
    if let (Some(text), Some(input)) = (stdin, child.stdin.as_mut()) {
        // A program that ends before it has read its input has said why by other means.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("`{line}`: {error}"));
    let outcome = Outcome {
        command: line,
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    assert!(
        !TIMED_OUT.contains(&output.status.code()),
        "`{}` took longer than {COMMAND_LIMIT_SECONDS} seconds:\n{}",
        outcome.command,
        outcome.text()
    );
    outcome
}

/// The command as a person would type it, without secrets.
fn describe(command: &Command) -> String {
    let mut words = vec![];
    let mut secret_follows = false;
    for word in command.get_args().skip(2) {
        let word = word.to_string_lossy();
        words.push(if secret_follows {
            String::from("***")
        } else {
            word.to_string()
        });
        secret_follows = SECRET_OPTIONS.contains(&word.as_ref());
    }
    words.join(" ")
}

/// A server that ends with the tests at the latest, however they end.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    child: Child,
}

impl Daemon {
    /// Starts `program`; `prepare` adds arguments, environment and where its output goes.
    pub(crate) fn start(program: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .stdin(Stdio::null());
        prepare(&mut command);
        let name = program.display().to_string();
        let child = spawn(command).unwrap_or_else(|error| panic!("{name} cannot start: {error}"));
        Self { name, child }
    }

    /// Its process id.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe of its standard output, once.
    pub(crate) fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child
            .try_wait()
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Asks it to end and waits until it has; kills it when it does not.
    pub(crate) fn stop(&mut self) -> Option<std::process::ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(POLL);
        }
        self.kill();
        None
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

type SpawnRequest = (Command, Sender<std::io::Result<Child>>);

/// Spawns on a thread that lives as long as the tests: Linux sends the parent-death signal when the spawning
/// *thread* ends, and the threads of single tests end early.
fn spawn(command: Command) -> std::io::Result<Child> {
    static SPAWNER: LazyLock<Mutex<Sender<SpawnRequest>>> = LazyLock::new(|| {
        let (requests, queue) = channel::<SpawnRequest>();
        std::thread::spawn(move || {
            for (mut command, answer) in queue {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(requests)
    });
    let (answer, spawned) = channel();
    let requests = SPAWNER
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone();
    requests
        .send((command, answer))
        .map_err(std::io::Error::other)?;
    spawned.recv().map_err(std::io::Error::other)?
}
