//! Starts the real binary on free ports in a folder of its own, and makes teams, keys and credentials there.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Answer, Caller};
use crate::process::Daemon;

/// How long a start may take before the test fails.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How many last lines of the log a failed test shows.
const LOG_LINES_SHOWN: usize = 40;

/// What a client that takes every kind of manifest says.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

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

    /// The team that every installation begins with.
    pub(crate) fn main_team(&self) -> Team<'_> {
        let key = self.key_file("main.key");
        Team {
            server: self,
            name: String::from("main"),
            prefix: String::from("t-main/"),
            key,
        }
    }

    /// A new team with an account of its own, under the prefix `t-<key>/`.
    pub(crate) fn team(&self, key: &str) -> Team<'_> {
        let operator = Caller::Bearer(self.operator_key());
        let account = format!("account-{key}");
        let api = |path: &str, body: &Value| {
            let url = self.url(&format!("/api/v1{path}"));
            data(&http::send(http::request(Method::POST, &url, &operator).json(body)).expect(201))
        };
        api("/accounts", &json!({"name": account}));
        let workspace = api(
            "/workspaces",
            &json!({"name": key, "account": account, "teamKey": key}),
        );
        let admin = api(
            &format!("/workspaces/{key}/api-keys"),
            &json!({"name": "admin", "role": "admin"}),
        );
        let prefix = text(&workspace, "repositoryPrefix");
        Team {
            server: self,
            name: String::from(key),
            prefix,
            key: text(&admin, "key"),
        }
    }

    /// The operator's key.
    pub(crate) fn operator_key(&self) -> String {
        self.key_file("operator.key")
    }

    fn key_file(&self, name: &str) -> String {
        let path = self.folder.path().join("data").join(name);
        let content = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from(content.trim())
    }
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
fn binary() -> PathBuf {
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
fn address_of(lines: &[String], label: &str) -> Option<String> {
    lines.iter().find_map(|line| {
        let mut words = line.split_whitespace();
        words.find(|word| word.trim_end_matches(':') == label)?;
        words
            .find_map(|word| word.strip_prefix("http://"))
            .map(|address| String::from(address.trim_end_matches('/')))
    })
}

fn log_end(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
}

/// The `data` of a successful answer.
#[track_caller]
fn data(answer: &Answer) -> Value {
    answer.json()["data"].clone()
}

/// The string `field` of `value`.
#[track_caller]
fn text(value: &Value, field: &str) -> String {
    value[field]
        .as_str()
        .map_or_else(|| panic!("no string {field:?} in {value}"), String::from)
}

/// A workspace and an admin key of it.
#[derive(Debug)]
pub(crate) struct Team<'s> {
    server: &'s Server,
    name: String,
    /// The prefix of its repositories, with the slash at its end.
    pub(crate) prefix: String,
    key: String,
}

/// An API key and its id.
#[derive(Debug)]
pub(crate) struct ApiKey {
    /// What it is revoked by.
    pub(crate) id: String,
    /// The secret.
    pub(crate) key: String,
}

/// What `docker login` is given.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    /// The user name.
    pub(crate) user_name: String,
    /// The password.
    pub(crate) password: String,
    /// The id of the registry credential; empty for an API key.
    pub(crate) id: String,
}

impl Login {
    /// An API key as a password.
    pub(crate) fn of_key(key: &str) -> Self {
        Self {
            user_name: String::from("key"),
            password: String::from(key),
            id: String::new(),
        }
    }

    /// The same by Basic.
    pub(crate) fn caller(&self) -> Caller {
        Caller::Basic(self.user_name.clone(), self.password.clone())
    }
}

impl Team<'_> {
    /// The reference that a person pushes `image` (such as `app:v1`) to.
    pub(crate) fn reference(&self, image: &str) -> String {
        format!("{}/{}{image}", self.server.registry, self.prefix)
    }

    /// The admin key as a password.
    pub(crate) fn key_login(&self) -> Login {
        Login::of_key(&self.key)
    }

    /// A new API key of `role`.
    pub(crate) fn api_key(&self, role: &str) -> ApiKey {
        let path = format!("/workspaces/{}/api-keys", self.name);
        let made = self.call(
            Method::POST,
            &path,
            Some(&json!({"name": format!("a {role}"), "role": role})),
        );
        let made = data(&made.expect(201));
        ApiKey {
            id: text(&made, "id"),
            key: text(&made, "key"),
        }
    }

    /// Ends `key`.
    pub(crate) fn delete_api_key(&self, key: &ApiKey) {
        self.call(
            Method::DELETE,
            &format!("/workspaces/{}/api-keys/{}", self.name, key.id),
            None,
        )
        .expect(204);
    }

    /// A registry credential that the admin key asks for with `body`.
    pub(crate) fn credential(&self, body: &Value) -> Login {
        self.credential_of(&self.key, body)
    }

    /// A registry credential that `key` asks for with `body`.
    pub(crate) fn credential_of(&self, key: &str, body: &Value) -> Login {
        let url = self.server.url("/api/v1/registry/credentials");
        let request =
            http::request(Method::POST, &url, &Caller::Bearer(String::from(key))).json(body);
        let made = data(&http::send(request).expect(200));
        Login {
            user_name: text(&made, "username"),
            password: text(&made, "password"),
            id: text(&made, "credentialId"),
        }
    }

    /// Ends a registry credential.
    pub(crate) fn revoke(&self, login: &Login) {
        let body = json!({"credentialId": login.id});
        self.call(Method::POST, "/registry/credentials/revoke", Some(&body))
            .expect(204);
    }

    /// An access token for `actions` on `image`.
    pub(crate) fn access_token(&self, login: &Login, image: &str, actions: &str) -> Caller {
        let challenge = http::get(&self.server.url("/v2/"), &Caller::Anonymous)
            .expect(401)
            .challenge;
        let challenge = challenge.expect("a 401 comes with a challenge");
        let service = challenge
            .split("service=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let service = service.unwrap_or_else(|| panic!("no service in {challenge}"));
        let scope = format!("repository:{}{image}:{actions}", self.prefix);
        let url = self.server.url("/token");
        let request = http::request(Method::GET, &url, &login.caller());
        let request = request.query(&[("service", service), ("scope", scope.as_str())]);
        Caller::Bearer(text(&http::send(request).expect(200).json(), "token"))
    }

    /// The manifest of `image` (such as `app`) at `reference`, as `caller` sees it.
    pub(crate) fn manifest(&self, image: &str, reference: &str, caller: &Caller) -> Answer {
        let url = self
            .server
            .url(&format!("/v2/{}{image}/manifests/{reference}", self.prefix));
        http::send(http::request(Method::GET, &url, caller).header("accept", MANIFEST_TYPES))
    }

    /// The repositories that `/v2/_catalog` shows this team.
    pub(crate) fn catalogue(&self) -> Vec<String> {
        let answer = http::get(&self.server.url("/v2/_catalog"), &self.key_login().caller())
            .expect(200)
            .json();
        let names = answer["repositories"]
            .as_array()
            .unwrap_or_else(|| panic!("no repositories in {answer}"));
        names
            .iter()
            .filter_map(Value::as_str)
            .map(String::from)
            .collect()
    }

    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let caller = Caller::Bearer(self.key.clone());
        let request = http::request(method, &self.server.url(&format!("/api/v1{path}")), &caller);
        http::send(match body {
            Some(body) => request.json(body),
            None => request,
        })
    }
}
