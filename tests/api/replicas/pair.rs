//! Two servers on one database and one bucket, each spoken to by itself.

use berth::config::Config;
use berth::http::Door;

use crate::support::TestRegistry;
use crate::support::calls::Api;
use crate::support::client;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Login};

pub(super) const REPOSITORY: &str = "t-main/app";

/// The pair, and the key of the workspace `main`.
pub(super) struct Pair {
    pub(super) registry: TestRegistry,
    urls: Vec<String>,
    key: String,
}

impl Pair {
    /// None where this run is about one server.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(|_| {}).await
    }

    /// With a configuration that differs from the defaults.
    pub(super) async fn start_with(change: impl FnOnce(&mut Config)) -> Option<Self> {
        if TestDatabase::chosen() != TestDatabase::Replicas {
            return None;
        }
        let registry = TestRegistry::start_with(TestDatabase::Replicas, change).await;
        let urls = registry.servers().map(|server| server.url(Door::Public));
        let urls: Vec<String> = urls.map(Option::unwrap).collect();
        assert_eq!(urls.len(), 2);
        let key = registry.main_key();
        Some(Self {
            registry,
            urls,
            key,
        })
    }

    /// The distribution API of each.
    pub(super) fn docker(&self) -> [Distribution; 2] {
        let client = client();
        [0, 1].map(|server| Distribution::new(&client, &self.urls[server], Login::key(&self.key)))
    }

    /// The management API of each.
    pub(super) fn api(&self) -> [Api; 2] {
        let client = client();
        [0, 1].map(|server| Api::new(&client, &self.urls[server], &self.key))
    }
}
