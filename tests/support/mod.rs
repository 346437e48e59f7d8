//! A whole registry for a test: bound to port 0, on a database of its own, with a clock that the test moves.

#![expect(
    dead_code,
    reason = "each test binary uses its own part of what stands here"
)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set itself up has failed"
)]

pub(crate) mod calls;
pub(crate) mod database;
pub(crate) mod distribution;
pub(crate) mod process;
pub(crate) mod raw;
mod rows;

use std::net::SocketAddr;
use std::sync::Arc;

use berth::app::{self, Running};
use berth::clock::{Clock, Millis};
use berth::config::Config;
use berth::http::Door;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use calls::Api;
use database::TestDatabase;
use distribution::{Distribution, Login};

/// Where a test's clock begins: 2026-01-01T00:00:00Z.
pub(crate) const START: Millis = Millis(1_767_225_600_000);

/// A running registry. Its folder and its database go with it.
pub(crate) struct TestRegistry {
    pub(crate) running: Running,
    pub(crate) clock: Clock,
    pub(crate) database: Arc<database::Location>,
    client: Client,
    directory: TempDir,
    config: Config,
}

/// A workspace with a key that may do everything in it.
pub(crate) struct Team {
    pub(crate) workspace: String,
    pub(crate) prefix: String,
    pub(crate) admin_key: String,
}

/// A client of HTTP, made once for each registry: setting up TLS takes longer than most tests.
pub(crate) fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

impl TestRegistry {
    /// On the embedded database.
    pub(crate) async fn start() -> Self {
        Self::start_on(TestDatabase::Sqlite).await
    }

    pub(crate) async fn start_on(database: TestDatabase) -> Self {
        Self::start_with(database, |_| {}).await
    }

    /// With a configuration that differs from the defaults.
    pub(crate) async fn start_with(
        database: TestDatabase,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let location = Arc::new(database.make().await);
        let mut config = Config::default();
        config.server.data_dir = directory.path().join("data");
        let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
        config.server.public_listen = any_port;
        config.server.pull_listen = Some(any_port);
        config.server.ops_listen = any_port;
        config.server.drain_seconds = 5;
        // All callers of a test have one address, and many of them are wrong on purpose.
        config.limits.auth_failures_per_minute = 60_000;
        location.configure(&mut config);
        change(&mut config);
        let clock = Clock::manual(START);
        let running = app::start(&config, clock.clone())
            .await
            .expect("the registry starts");
        Self {
            running,
            clock,
            database: location,
            client: client(),
            directory,
            config,
        }
    }

    /// Stops it in order and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.restart_after(async |_| {}).await
    }

    /// Stops it in order, lets something happen to it, and starts it again.
    pub(crate) async fn restart_after(self, stopped: impl AsyncFnOnce(&mut Config)) -> Self {
        let Self {
            running,
            clock,
            database,
            client,
            directory,
            mut config,
        } = self;
        running.stop().await;
        stopped(&mut config).await;
        let running = app::start(&config, clock.clone())
            .await
            .expect("the registry starts again");
        Self {
            running,
            clock,
            database,
            client,
            directory,
            config,
        }
    }

    /// Another registry on the same PostgreSQL database, with a data folder of its own, as a second replica has it.
    pub(crate) async fn replica(&self) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = self.config.clone();
        config.server.data_dir = directory.path().join("data");
        let (clock, database) = (self.clock.clone(), Arc::clone(&self.database));
        let client = self.client.clone();
        let running = app::start(&config, clock.clone())
            .await
            .expect("the second registry starts");
        Self {
            running,
            clock,
            database,
            client,
            directory,
            config,
        }
    }

    pub(crate) fn url(&self, door: Door) -> String {
        self.running.url(door).expect("the door is open")
    }

    pub(crate) fn data_dir(&self) -> &std::path::Path {
        &self.config.server.data_dir
    }

    fn secret(&self, file: &str) -> String {
        std::fs::read_to_string(self.data_dir().join(file))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub(crate) fn operator_key(&self) -> String {
        self.secret("operator.key")
    }

    pub(crate) fn main_key(&self) -> String {
        self.secret("main.key")
    }

    /// The management API with a key, at its own door if it has one.
    pub(crate) fn api(&self, key: &str) -> Api {
        let own_door = self.running.address(Door::Api).map(|_| Door::Api);
        Api::new(
            &self.client,
            &self.url(own_door.unwrap_or(Door::Public)),
            key,
        )
    }

    pub(crate) fn operator(&self) -> Api {
        self.api(&self.operator_key())
    }

    /// The distribution API at a door.
    pub(crate) fn distribution(&self, door: Door, login: Login) -> Distribution {
        Distribution::new(&self.client, &self.url(door), login)
    }

    /// The distribution API at the public door, with an API key as the password.
    pub(crate) fn with_key(&self, key: &str) -> Distribution {
        self.distribution(Door::Public, Login::key(key))
    }

    /// The configuration it was started with.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// A new workspace `name` in the account `main`, with team key `<name>key`.
    pub(crate) async fn team(&self, name: &str) -> Team {
        self.team_in("main", name).await
    }

    /// The same in another account.
    pub(crate) async fn team_in(&self, account: &str, name: &str) -> Team {
        let operator = self.operator();
        let workspace = operator
            .post(
                "/workspaces",
                &json!({"name": name, "account": account, "teamKey": format!("{name}key")}),
            )
            .await
            .expect(201);
        let admin_key = self.key_of(name, "admin").await;
        let prefix = workspace["repositoryPrefix"]
            .as_str()
            .unwrap()
            .trim_end_matches('/')
            .to_owned();
        Team {
            workspace: name.to_owned(),
            prefix,
            admin_key,
        }
    }

    /// A new key of a role in a workspace.
    pub(crate) async fn key_of(&self, workspace: &str, role: &str) -> String {
        self.key_with(
            workspace,
            &json!({"name": format!("a {role}"), "role": role}),
        )
        .await
        .0
    }

    /// A new key and its id.
    pub(crate) async fn key_with(&self, workspace: &str, body: &Value) -> (String, String) {
        let path = format!("/workspaces/{workspace}/api-keys");
        let key = self.operator().post(&path, body).await.expect(201);
        (
            key["key"].as_str().unwrap().to_owned(),
            key["id"].as_str().unwrap().to_owned(),
        )
    }
}
