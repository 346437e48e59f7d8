//! What ends by itself, seen from outside: when it goes, what keeps it, what is told of it.

mod links;
mod retention;

use berth::collect::Collected;
use berth::config::Config;
use reqwest::Method;
use serde_json::Value;

use crate::support::calls::Api;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Image, image};
use crate::support::{Team, TestRegistry};

/// An hour, in milliseconds.
const HOUR_MS: i64 = 60 * 60 * 1000;
/// A day, in milliseconds.
const DAY_MS: i64 = 24 * HOUR_MS;

/// A workspace with an admin at both APIs.
struct Scene {
    registry: TestRegistry,
    team: Team,
    api: Api,
    docker: Distribution,
}

impl Scene {
    async fn set(database: TestDatabase) -> Self {
        Self::set_with(database, |_| {}).await
    }

    async fn set_with(database: TestDatabase, change: impl FnOnce(&mut Config)) -> Self {
        let registry = TestRegistry::start_with(database, change).await;
        let team = registry.team("acme").await;
        Self {
            api: registry.api(&team.admin_key),
            docker: registry.with_key(&team.admin_key),
            team,
            registry,
        }
    }

    fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.team.prefix)
    }

    /// Pushes an image whose layer is its own; its content.
    async fn push(&self, name: &str, tag: &str, layer: &str) -> Image {
        let content = image().layer(layer.to_owned()).build();
        self.docker
            .push_image(&self.name(name), tag, &content)
            .await;
        content
    }

    fn blob_path(&self, image: &str, blob: &Content) -> String {
        format!("/v2/{}/blobs/{}", self.name(image), blob.digest)
    }

    async fn head(&self, image: &str, blob: &Content) -> u16 {
        self.docker.head(&self.blob_path(image, blob)).await.status
    }

    async fn pull(&self, image: &str, reference: &str) -> u16 {
        let path = format!("/v2/{}/manifests/{reference}", self.name(image));
        self.docker.get(&path).await.status
    }

    fn later(&self, milliseconds: i64) {
        self.registry.clock.advance(milliseconds);
    }

    async fn collect(&self) -> Collected {
        let collector = &self.registry.running.http.collector;
        collector.round().await.unwrap()
    }

    async fn delete(&self, path: &str) -> Value {
        self.api.delete(path).await.expect(200)
    }

    async fn restore(&self, deletion: &Value) -> u16 {
        let id = deletion["id"].as_str().unwrap();
        let path = format!("/deletions/{id}/restore");
        let answer = self.api.send(Method::POST, &path, None).await;
        answer.status.as_u16()
    }

    async fn stop(self) {
        self.registry.stop().await;
    }
}

/// The texts of a field of a list.
fn texts<'a>(items: &'a Value, field: &str) -> Vec<&'a str> {
    let items = items.as_array().unwrap().iter();
    items
        .map(|item| item[field].as_str().unwrap_or_default())
        .collect()
}
