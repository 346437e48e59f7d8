//! A containerd of each person's own, and `ctr`, which talks to it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Client, Words};
use crate::images::{Layout, REFERENCE};
use crate::process::{self, Daemon, Outcome};
use crate::team::Login;

const ENGINE: &str = "/usr/bin/containerd";
const PROGRAM: &str = "/usr/bin/ctr";

/// What is not needed for images, or would leave the person's own folder.
const CONFIGURATION: &str = "version = 2\n\
    disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n";

/// How long the engine may take to start.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What is imported has this name until it is given another one.
const IMPORTED: &str = "imported";

/// The part of a pull that unpacks into plain folders.
const UNPACKING: [&str; 2] = ["--snapshotter", "native"];

/// One person who uses `ctr`. It has no login: each command is given the password.
#[derive(Debug)]
pub(crate) struct Ctr {
    engine: Daemon,
    home: TempDir,
    logins: RefCell<HashMap<String, Login>>,
}

impl Ctr {
    /// Runs `ctr images` with `arguments`.
    pub(crate) fn images(&self, arguments: &[&str]) -> Outcome {
        self.run(&[&["images"], arguments].concat())
    }

    /// `verb` (pull or push) of `reference` with the password for its door, and more `options`. It asks for the log,
    /// because `ctr` shows the status of a refusal alone and leaves the registry's sentence to the log.
    pub(crate) fn transfer(&self, verb: &str, options: &[&str], reference: &str) -> Outcome {
        let user = self.user(reference);
        let verb = ["--debug", "images", verb, "--plain-http", "--user", &user];
        self.run(&[&verb, options, &[reference]].concat())
    }

    /// Puts what `layout` has here, as `reference`.
    pub(crate) fn import(&self, layout: &Layout, reference: &str) {
        let archive = layout.archive().display().to_string();
        let options = ["--no-unpack", "--all-platforms", "--base-name", IMPORTED];
        self.images(&[&["import"], options.as_slice(), &[&archive]].concat())
            .succeeded();
        let imported = format!("{IMPORTED}:{REFERENCE}");
        self.tag(&imported, reference);
        self.forget(&imported);
    }

    /// The user and the password for the door in `reference`.
    fn user(&self, reference: &str) -> String {
        let door = reference.split('/').next().unwrap_or_default();
        let logins = self.logins.borrow();
        let login = logins
            .get(door)
            .unwrap_or_else(|| panic!("nobody logged in at {door}"));
        format!("{}:{}", login.user_name, login.password)
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("socket")
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let prepare = |command: &mut std::process::Command| {
            command.arg("--address").arg(self.socket()).args(arguments);
        };
        process::run(Path::new(PROGRAM), prepare, None)
    }
}

impl Drop for Ctr {
    fn drop(&mut self) {
        // It leaves its mounts only when it is asked to end.
        self.engine.stop();
    }
}

impl Client for Ctr {
    const NAME: &'static str = "ctr";

    const WORDS: Words = Words {
        wrong_password: "failed to fetch oauth token: unexpected status: 401 Unauthorized",
        revoked: "failed to fetch oauth token: unexpected status: 401 Unauthorized",
        // It asks with HEAD, and a HEAD has no room for the reason.
        foreign_pull: "not found",
    };

    fn new() -> Self {
        process::require(Path::new(ENGINE), "containerd");
        process::require(Path::new(PROGRAM), "containerd");
        let home = process::folder("ctr");
        let path = |name: &str| home.path().join(name);
        std::fs::write(path("config.toml"), CONFIGURATION).expect("a small file is written");
        let log = File::create(path("log")).expect("a log file is made");
        let engine = Daemon::start(Path::new(ENGINE), |command| {
            command.arg("--config").arg(path("config.toml"));
            command.arg("--root").arg(path("root"));
            command.arg("--state").arg(path("state"));
            command.arg("--address").arg(path("socket")).stderr(log);
        });
        let mut ctr = Self {
            engine,
            home,
            logins: RefCell::default(),
        };
        process::wait_for("an answer of containerd", START_LIMIT, || {
            if let Some(status) = ctr.engine.ended() {
                let log = std::fs::read_to_string(ctr.home.path().join("log"));
                panic!(
                    "containerd ended with {status}:\n{}",
                    log.unwrap_or_default()
                );
            }
            (!ctr.run(&["version"]).failed()).then_some(())
        });
        ctr
    }

    fn login(&self, door: &str, login: &Login) -> Outcome {
        let mut logins = self.logins.borrow_mut();
        logins.insert(String::from(door), login.clone());
        Outcome::nothing_to_do()
    }

    fn make(&self, reference: &str, greeting: &str) {
        self.import(&Layout::image(greeting), reference);
    }

    fn tag(&self, reference: &str, other: &str) {
        self.images(&["tag", reference, other]).succeeded();
    }

    fn push(&self, reference: &str) -> Outcome {
        self.transfer("push", &[], reference)
    }

    fn pull(&self, reference: &str) -> Outcome {
        self.transfer("pull", &UNPACKING, reference)
    }

    fn forget(&self, reference: &str) {
        self.images(&["rm", "--sync", reference]).succeeded();
    }

    fn greeting(&self, reference: &str) -> String {
        let target = process::folder("mount");
        let path = target.path().display().to_string();
        let mount = [&["mount"], UNPACKING.as_slice(), &[reference, &path]];
        self.images(&mount.concat()).succeeded();
        let greeting = std::fs::read_to_string(target.path().join("greeting"));
        self.images(&["unmount", "--rm", &path]).succeeded();
        greeting.unwrap_or_else(|error| panic!("{reference} has no greeting: {error}"))
    }
}
