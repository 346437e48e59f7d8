//! A registry, a cluster, and the command between them as a process of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth::clock::Clock;
use berth::http::Door;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cluster::{Cluster, TOKEN};
use super::rights::Rights;
use crate::support::calls::Api;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Image, Login, image};
use crate::support::{START, TestRegistry};

pub(super) const SELECTOR: &str = "berth/pull-secrets=allow";
pub(super) const BY_LABEL: [&str; 2] = ["--namespace-selector", SELECTOR];
/// What nodes call the registry.
pub(super) const PULL_HOST: &str = "pull.example:30501";
pub(super) const NAME: &str = "berth-pull";
pub(super) const HOUR_MS: i64 = 3_600 * 1_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// What every test begins with: the workspace `acme` with the image `app`, and an empty cluster.
pub(super) struct Scene {
    pub(super) registry: TestRegistry,
    pub(super) cluster: Cluster,
    pub(super) content: Image,
    pub(super) admin: Api,
    /// The id of the key that the command has.
    pub(super) key_id: String,
    key: String,
    folder: TempDir,
}

/// The command while it runs; it is killed when this is dropped.
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself, or was killed.
    pub(super) fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    /// What was logged, and said at the end.
    pub(super) notes: String,
}

impl Ended {
    #[track_caller]
    pub(super) fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.notes);
        self.notes
    }

    #[track_caller]
    pub(super) fn badly(self, says: &[&str]) -> String {
        assert_eq!(self.code, Some(1), "{}", self.notes);
        for text in says {
            assert!(self.notes.contains(text), "{text} is not in {}", self.notes);
        }
        self.notes
    }
}

/// The logins that lie in a Secret.
pub(super) fn auths(secret: &Value) -> Value {
    let encoded = secret["data"][".dockerconfigjson"].as_str().unwrap();
    let config: Value = serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap();
    config["auths"].clone()
}

impl Scene {
    pub(super) async fn set() -> Self {
        Self::with(Rights::by_label()).await
    }

    pub(super) async fn with(rights: Rights) -> Self {
        Self::reached(rights, Some(PULL_HOST), None).await
    }

    /// A registry whose configuration names these hosts to pull from and to push to.
    pub(super) async fn reached(rights: Rights, pull: Option<&str>, public: Option<&str>) -> Self {
        let url = |host: &str| format!("http://{host}").parse().unwrap();
        let registry = TestRegistry::start_with(TestDatabase::chosen(), |config| {
            config.server.pull_url = pull.map(url);
            config.server.public_url = public.map(url);
        });
        let registry = registry.await;
        // The command goes by the time of the machine.
        registry.clock.advance(Clock::System.now().0 - START.0);
        let team = registry.team("acme").await;
        let content = image().layer("what nodes pull").build();
        let docker = registry.with_key(&team.admin_key);
        let repository = format!("{}/app", team.prefix);
        docker.push_image(&repository, "v1", &content).await;
        let (key, key_id) = registry
            .key_with(
                "acme",
                &json!({"name": "cluster", "role": "admin", "actions": ["pull"]}),
            )
            .await;
        let cluster = Cluster::start(rights).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), cluster.kubeconfig()).unwrap();
        std::fs::write(folder.path().join("api-key"), format!("{key}\n")).unwrap();
        let admin = registry.api(&team.admin_key);
        Self {
            registry,
            cluster,
            content,
            admin,
            key_id,
            key,
            folder,
        }
    }

    /// A namespace with the label and a ServiceAccount.
    pub(super) fn namespace(&self, name: &str) {
        self.cluster.change(|resources| {
            resources.namespace(name, &json!({"berth/pull-secrets": "allow"}));
            resources.account(name, &[]);
        });
    }

    pub(super) fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        let file = |name| self.folder.path().join(name);
        command
            .args(["pull-secret", "sync"])
            .args(arguments)
            .env_clear()
            .env("BERTH_URL", self.registry.url(Door::Public))
            .env("BERTH_API_KEY_FILE", file("api-key"))
            .env("KUBECONFIG", file("kubeconfig"))
            .env("BERTH_LOG__FILTER", "debug")
            .stdin(Stdio::null());
        command
    }

    /// Starts a run that goes through everything once.
    pub(super) fn begin(&self, arguments: &[&str]) -> tokio::task::JoinHandle<Output> {
        let mut command = self.command(arguments);
        command.arg("--once");
        tokio::task::spawn_blocking(move || command.output().unwrap())
    }

    /// The end of such a run.
    pub(super) async fn end(&self, begun: tokio::task::JoinHandle<Output>) -> Ended {
        let output = begun.await.unwrap();
        assert!(output.stdout.is_empty());
        let notes = String::from_utf8(output.stderr).unwrap();
        self.assert_discreet(&notes);
        Ended {
            code: output.status.code(),
            notes,
        }
    }

    pub(super) async fn once(&self, arguments: &[&str]) -> Ended {
        self.end(self.begin(arguments)).await
    }

    /// Starts a run that goes on.
    pub(super) fn start(&self, arguments: &[&str]) -> Running {
        let log = self.folder.path().join("log");
        let mut command = self.command(arguments);
        let child = command.stderr(File::create(&log).unwrap()).spawn();
        Running {
            child: child.unwrap(),
            log,
        }
    }

    /// Stops it in order.
    pub(super) async fn stop(&self, mut running: Running) -> (ExitStatus, String) {
        let id = running.child.id().to_string();
        let done = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(done.success());
        let (status, running) = tokio::task::spawn_blocking(move || {
            let status = running.child.wait().unwrap();
            (status, running)
        })
        .await
        .unwrap();
        let log = std::fs::read_to_string(&running.log).unwrap();
        self.assert_discreet(&log);
        (status, log)
    }

    #[track_caller]
    fn assert_discreet(&self, notes: &str) {
        for secret in ["berthpull_", &self.key, TOKEN, "dockerconfigjson\":"] {
            assert!(!notes.contains(secret), "{secret} is in {notes}");
        }
    }

    pub(super) fn secret(&self, namespace: &str) -> Value {
        let resources = self.cluster.look();
        let found = resources.find("secrets", namespace, NAME);
        found.unwrap().clone()
    }

    /// The pull secret in a namespace.
    pub(super) fn id(&self, namespace: &str) -> String {
        let secret = self.secret(namespace);
        let marks = &secret["metadata"]["annotations"];
        marks["berth/pull-secret-id"].as_str().unwrap().to_owned()
    }

    /// The names that pods of a namespace pull with.
    pub(super) fn admitted(&self, namespace: &str) -> Value {
        let resources = self.cluster.look();
        let account = resources.find("serviceaccounts", namespace, "default");
        let entries = account.unwrap()["imagePullSecrets"].as_array().unwrap();
        entries.iter().map(|entry| entry["name"].clone()).collect()
    }

    /// A node that has what lies in a Secret.
    pub(super) fn node(&self, secret: &Value) -> Distribution {
        let login = &auths(secret)[PULL_HOST];
        let text = |key: &str| login[key].as_str().unwrap().to_owned();
        let login = Login::Basic(text("username"), text("password"));
        self.registry.distribution(Door::Pull, login)
    }

    /// Whether what lies in a Secret pulls the image.
    pub(super) async fn pulls(&self, secret: &Value) -> bool {
        let node = self.node(secret);
        let reply = node.get("/v2/t-acmekey/app/manifests/v1").await;
        if reply.status == 401 {
            return false;
        }
        assert_eq!(reply.expect(200).body, self.content.manifest.bytes);
        let layer = &self.content.layers[0];
        let path = format!("/v2/t-acmekey/app/blobs/{}", layer.digest);
        assert_eq!(node.get(&path).await.expect(200).body, layer.bytes);
        true
    }

    /// What Berth knows of its pull secrets.
    pub(super) async fn issued(&self) -> Vec<Value> {
        let path = "/registry/pull-secret?limit=1000";
        let page = self.admin.get(path).await.expect(200);
        page["items"].as_array().unwrap().clone()
    }

    /// The ids of the pull secrets that live longer than an hour, in the order of their ids.
    pub(super) async fn lasting(&self) -> Vec<String> {
        let until = self.registry.clock.now().plus(HOUR_MS).rfc3339();
        let issued = self.issued().await.into_iter();
        let lasting = issued.filter(|known| known["expiresAt"].as_str().unwrap() > until.as_str());
        lasting
            .map(|known| known["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Requests that change something, since the last time that this was asked.
    pub(super) fn writes(&self) -> Vec<String> {
        let requests = std::mem::take(&mut self.cluster.look().requests);
        let verbs = ["create ", "update ", "patch "];
        let is_write = |line: &String| verbs.iter().any(|verb| line.starts_with(verb));
        requests.into_iter().filter(is_write).collect()
    }

    /// Asserts that nothing was asked of the cluster that the roles do not allow.
    #[track_caller]
    pub(super) fn assert_rights_suffice(&self) {
        assert_eq!(self.cluster.look().forbidden, Vec::<String>::new());
    }
}
