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
pub(crate) mod ending;
pub(crate) mod issuer;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod round_robin;
mod rows;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth::app::{self, Running};
use berth::clock::{Clock, Millis};
use berth::config::Config;
use berth::http::Door;
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use calls::Api;
use database::{Location, TestDatabase};
use distribution::{Distribution, Login};
use round_robin::RoundRobin;

/// Where a test's clock begins: 2026-01-01T00:00:00Z.
pub(crate) const START: Millis = Millis(1_767_225_600_000);

/// A running registry. Its folder and its database go with it.
pub(crate) struct TestRegistry {
    pub(crate) running: Running,
    pub(crate) clock: Clock,
    pub(crate) database: Arc<Location>,
    client: Client,
    directory: TempDir,
    config: Config,
    behind: Option<Behind>,
}

/// What a proxy makes one registry of: the other servers, and the proxies of the doors.
struct Behind {
    others: Vec<Running>,
    proxies: Vec<(Door, RoundRobin)>,
}

/// A workspace with a key that may do everything in it.
pub(crate) struct Team {
    pub(crate) workspace: String,
    pub(crate) prefix: String,
    pub(crate) admin_key: String,
}

/// How long a client keeps a connection that rests: by far less than servers do, so that no request meets their end of it.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// A client of HTTP, made once for each registry: setting up TLS takes longer than most tests.
pub(crate) fn client() -> Client {
    let builder = Client::builder().no_proxy().pool_idle_timeout(POOL_IDLE);
    builder.build().unwrap()
}

impl TestRegistry {
    /// On what this run is about.
    pub(crate) async fn start() -> Self {
        Self::start_on(TestDatabase::chosen()).await
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
        // Who wants to see workers at work says so: they begin by real time, and judge by the test's clock.
        config.collection.workers = 0;
        location.configure(&mut config);
        change(&mut config);
        let clock = Clock::manual(START);
        let running = app::start(&config, clock.clone())
            .await
            .expect("the registry starts");
        let behind = match database {
            TestDatabase::Sqlite | TestDatabase::Postgres => None,
            TestDatabase::Replicas => Some(Behind::of(&running, &config, &clock).await),
        };
        Self {
            running,
            clock,
            database: location,
            client: client(),
            directory,
            config,
            behind,
        }
    }

    /// Every server of this registry.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Running> {
        let others = self.behind.iter().flat_map(|behind| &behind.others);
        std::iter::once(&self.running).chain(others)
    }

    /// Returns when every server goes by the rights as they are now: another one than the one that changed them may
    /// remember the old ones for as long as the manual says.
    pub(crate) async fn rights_known(&self) {
        if self.behind.is_some() {
            tokio::time::sleep(TestDatabase::Replicas.rights_are_remembered()).await;
        }
    }

    /// Stops it in order.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
        for other in self.behind.into_iter().flat_map(|behind| behind.others) {
            other.stop().await;
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
            behind,
        } = self;
        running.stop().await;
        let has_others = behind.is_some();
        for other in behind.into_iter().flat_map(|behind| behind.others) {
            other.stop().await;
        }
        stopped(&mut config).await;
        let running = app::start(&config, clock.clone())
            .await
            .expect("the registry starts again");
        let behind = match has_others {
            true => Some(Behind::of(&running, &config, &clock).await),
            false => None,
        };
        Self {
            running,
            clock,
            database,
            client,
            directory,
            config,
            behind,
        }
    }

    /// Another registry on the same PostgreSQL database, with a data folder of its own, as a second replica has it.
    pub(crate) async fn replica(&self) -> Self {
        self.another(self.config.clone(), Arc::clone(&self.database))
            .await
    }

    /// Another registry with the same configuration, on a database and a part of the bucket that a backup filled.
    pub(crate) async fn restored(&self, database: Location) -> Self {
        let mut config = self.config.clone();
        database.configure(&mut config);
        self.another(config, Arc::new(database)).await
    }

    async fn another(&self, mut config: Config, database: Arc<Location>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        config.server.data_dir = directory.path().join("data");
        let (clock, client) = (self.clock.clone(), self.client.clone());
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
            behind: None,
        }
    }

    /// Where clients find a door: at the proxy, if there is one for it.
    pub(crate) fn url(&self, door: Door) -> String {
        let proxies = self.behind.iter().flat_map(|behind| &behind.proxies);
        let mut own = proxies.filter(|(proxied, _)| *proxied == door);
        match own.next() {
            Some((_, proxy)) => proxy.url(),
            None => self.running.url(door).expect("the door is open"),
        }
    }

    /// The same as `host:port`.
    pub(crate) fn host(&self, door: Door) -> String {
        let url = self.url(door);
        url.split_once("://").unwrap().1.to_owned()
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

    /// Its database, and its part of the bucket.
    pub(crate) fn location(&self) -> &Location {
        &self.database
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

impl Behind {
    /// A second server beside the first one, and a proxy for each door that clients use.
    async fn of(first: &Running, config: &Config, clock: &Clock) -> Self {
        let mut config = config.clone();
        config.server.data_dir.set_file_name("second");
        let second = app::start(&config, clock.clone()).await;
        let second = second.expect("the second server starts");
        let mut proxies = Vec::new();
        // What a server tells of itself is asked of it directly.
        for door in [Door::Public, Door::Pull, Door::Api] {
            let addresses = [first, &second].map(|server| server.address(door));
            if let [Some(one), Some(other)] = addresses {
                proxies.push((door, RoundRobin::start(vec![one, other]).await));
            }
        }
        Self {
            others: vec![second],
            proxies,
        }
    }
}
