//! Images as the management API shows and changes them, on every database there is.

mod catalogue;
mod history;
mod promote;
mod pulls;
mod resolve;
mod settings;
mod tags;
mod usage;

use serde_json::{Value, json};

use crate::support::calls::{Answer, Api};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Image, image};
use crate::support::{Team, TestRegistry};

/// A second, in the milliseconds of the clock.
const SECOND: i64 = 1_000;

/// A registry with a workspace `shop` that has images, and a workspace `guest` that has none.
struct Scene {
    registry: TestRegistry,
    shop: Team,
    guest: Team,
    /// The key of an admin of `shop`.
    admin: Api,
    /// That of an admin of `guest`.
    other: Api,
    /// Who pushes to `shop`.
    docker: Distribution,
}

impl Scene {
    async fn set(database: TestDatabase) -> Self {
        Self::of(TestRegistry::start_on(database).await).await
    }

    async fn of(registry: TestRegistry) -> Self {
        let (shop, guest) = (registry.team("shop").await, registry.team("guest").await);
        Self {
            admin: registry.api(&shop.admin_key),
            other: registry.api(&guest.admin_key),
            docker: registry.with_key(&shop.admin_key),
            registry,
            shop,
            guest,
        }
    }

    /// Pushes an image with one layer of this content, a second after what was before.
    async fn push(&self, name: &str, tag: &str, layer: &str) -> Image {
        self.registry.clock.advance(SECOND);
        let content = image().runs_on("linux", "amd64").layer(layer.to_owned());
        let content = content.build();
        let repository = format!("{}/{name}", self.shop.prefix);
        self.docker.push_image(&repository, tag, &content).await;
        content
    }

    /// Shares an image of `shop` with `guest`.
    async fn share(&self, name: &str, alias: &str) {
        let body = json!({"targetWorkspace": "guest", "alias": alias});
        let path = format!("/images/{name}/-/share");
        self.admin.post(&path, &body).await.expect(200);
    }

    /// Lets every workspace pull an image of `shop`.
    async fn publish(&self, name: &str) {
        let operator = self.registry.operator().in_workspace("shop");
        let body = json!({"visibility": "platform"});
        let path = format!("/images/{name}");
        operator.patch(&path, &body).await.expect(200);
    }

    /// A key of `shop`, narrowed as the body says.
    async fn narrowed(&self, role: &str, repositories: &[&str]) -> Api {
        let body = json!({"name": "narrow", "role": role, "repositories": repositories});
        let (key, _) = self.registry.key_with("shop", &body).await;
        self.registry.api(&key)
    }

    async fn key(&self, role: &str) -> Api {
        let key = self.registry.key_of("shop", role).await;
        self.registry.api(&key)
    }

    async fn count(&self) {
        for server in self.registry.servers() {
            let images = &server.http.images;
            images.flush_pulls().await.unwrap();
            images.count_now().await.unwrap();
        }
        if self.registry.servers().count() > 1 {
            // What a server was counting meanwhile it may have stored after another one's newer numbers. Now none is
            // at it that began before.
            let http = &self.registry.running.http;
            http.metadata.note_everything_changed();
            http.images.count_now().await.unwrap();
        }
    }

    async fn end(self) {
        self.registry.running.stop().await;
    }
}

/// A field of each item of a list.
fn each(list: &Value, field: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

/// A field of each item of all pages of a list, asked for by twos.
async fn paged(api: &Api, path: &str, field: &str) -> Vec<String> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let (mut found, mut cursor) = (Vec::new(), String::new());
    for _ in 0..20 {
        let page = api
            .get(&format!("{path}{separator}limit=2{cursor}"))
            .await
            .expect(200);
        assert!(page["items"].as_array().unwrap().len() <= 2);
        found.extend(each(&page, field));
        match page["nextCursor"].as_str() {
            None => return found,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
    panic!("the list has no end: {found:?}");
}

#[track_caller]
fn refused(answer: Answer, status: u16, code: &str, words: &[&str]) {
    let message = answer.expect_error(status, code);
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
}

/// The manifest, its configuration and its layers.
fn weight(content: &Image) -> usize {
    let blobs = content.layers.iter().chain([&content.config]);
    let blobs: usize = blobs.map(|blob| blob.bytes.len()).sum();
    content.manifest.bytes.len() + blobs
}
