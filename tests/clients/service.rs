//! The systemd unit: what systemd says of it, and the very command it runs.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use berth::config::Config;
use libtest_mimic::Trial;
use tempfile::TempDir;

use crate::client::Client as _;
use crate::container::{Container, HARDENED, IMAGE, built};
use crate::docker::Docker;
use crate::fact;
use crate::process::{self, Daemon};
use crate::server::binary;

/// Where Debian puts the programs that look at units.
const ANALYZE: &str = "/usr/bin/systemd-analyze";
const SYSUSERS: &str = "/usr/bin/systemd-sysusers";

/// The path of the program in the unit, and in the image.
const INSTALLED: &str = "/usr/local/bin/berth";

/// The most that systemd may count as exposed, in tenths: 0 is nothing, 100 everything. A service that is on the
/// network cannot have 0.
const EXPOSURE_LIMIT: &str = "12";

/// How long the server may take to say something.
const LIMIT: Duration = Duration::from_secs(120);

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact("service::systemd_finds_nothing_wrong", verified),
        fact("service::systemd_counts_little_as_exposed", little_exposed),
        fact("service::its_user_can_be_made", user_is_made),
        fact(
            "service::it_may_drain_before_it_is_killed",
            stops_after_draining,
        ),
        fact("service::its_command_starts_a_registry", command_starts),
        fact("service::the_manager_hears_how_far_it_is", manager_hears),
    ]
}

fn config_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn unit() -> String {
    let path = config_folder().join("systemd/berth.service");
    std::fs::read_to_string(path).expect("there is a unit")
}

/// The value of `key` in the unit.
fn value(key: &str) -> String {
    let unit = unit();
    let value = unit
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    String::from(value.unwrap_or_else(|| panic!("the unit has no {key}")))
}

/// The unit, with the program where it is now instead of where it will be installed.
fn unit_here() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder is made");
    let path = folder.path().join("berth.service");
    let program = binary();
    let text = unit().replace(INSTALLED, &program.to_string_lossy());
    std::fs::write(&path, text).expect("a small file is written");
    (folder, path)
}

fn analyze(arguments: &[&str]) -> process::Outcome {
    process::require(Path::new(ANALYZE), "systemd");
    let prepare = |command: &mut Command| {
        command.args(["--no-pager"]).args(arguments);
    };
    process::run(Path::new(ANALYZE), prepare, None)
}

fn verified() {
    let (_folder, path) = unit_here();
    let said = analyze(&["verify", &path.to_string_lossy()]).succeeded();
    assert_eq!(said.text(), "");
}

fn little_exposed() {
    let (_folder, path) = unit_here();
    let threshold = format!("--threshold={EXPOSURE_LIMIT}");
    let path = path.to_string_lossy();
    analyze(&["security", "--offline=yes", &threshold, &path]).succeeded();
}

fn user_is_made() {
    process::require(Path::new(SYSUSERS), "systemd");
    let root = tempfile::tempdir().expect("a folder is made");
    std::fs::create_dir(root.path().join("etc")).expect("a folder is made");
    let file = config_folder().join("systemd/berth-sysusers.conf");
    let text = std::fs::read_to_string(file).expect("there is a file");
    let prepare = |command: &mut Command| {
        command
            .arg(format!("--root={}", root.path().display()))
            .arg("-");
    };
    process::run(Path::new(SYSUSERS), prepare, Some(&text)).succeeded();
    let users =
        std::fs::read_to_string(root.path().join("etc/passwd")).expect("there are users now");
    let user = format!("{}:", value("User"));
    let user = users.lines().find(|line| line.starts_with(&user));
    let user = user.unwrap_or_else(|| panic!("the unit's user is not in {users}"));
    assert!(
        user.ends_with(":/var/lib/berth:/usr/sbin/nologin"),
        "{user}"
    );
}

fn stops_after_draining() {
    let seconds = value("TimeoutStopSec");
    let seconds: u64 = seconds
        .strip_suffix('s')
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{seconds} is not a number of seconds"));
    assert!(seconds > Config::default().server.drain_seconds);
}

/// In a container, which has the paths that the command names and ports of its own.
fn command_starts() {
    built();
    let docker = Docker::new();
    let command = value("ExecStart");
    let command: Vec<&str> = command.split(' ').collect();
    assert_eq!(command[0], INSTALLED);
    let configuration = format!("--volume={}:/etc/berth:ro", config_folder().display());
    let options = [
        "--network=none",
        "--volume=service:/var/lib/berth",
        &configuration,
        "--entrypoint",
        command[0],
        IMAGE,
    ];
    let arguments = [&HARDENED, &options[..], &command[1..]].concat();
    let container = Container::run(&docker, "service", &arguments);
    container.ready(1);
    container.berth(&[], &["health"]).succeeded().said("ready");
}

fn manager_hears() {
    let folder = tempfile::tempdir().expect("a folder is made");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket is made");
    manager
        .set_read_timeout(Some(LIMIT))
        .expect("a limit is set");
    let hear = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).expect("the server says more");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut daemon = Daemon::start(&binary(), |command| {
        command
            .env_clear()
            .env("NOTIFY_SOCKET", &path)
            .args(["serve", "--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0"])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    });
    assert_eq!(hear().trim_end(), "READY=1");
    let status = daemon.stop().expect("the server ends soon after SIGTERM");
    assert!(status.success(), "the server ended with {status}");
    assert_eq!(hear().trim_end(), "STOPPING=1");
}
