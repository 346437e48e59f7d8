//! What workspaces share, lease, protect, delete and take back: every answer that the contract lists, on every database.

mod aliases;
mod concurrency;
mod deletions;
mod leases;
mod pending;
mod platform;
mod protection;
mod purges;
mod shares;

use berth::config::Config;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::calls::{Answer, Api};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Image, Login, Reply, image};
use crate::support::{Team, TestRegistry};

/// The image that most of it is about.
const APP: &str = "team/app";
/// A day, in milliseconds.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A workspace, with its admin at both APIs.
pub(super) struct Side {
    team: Team,
    api: Api,
    docker: Distribution,
}

impl Side {
    async fn make(registry: &TestRegistry, account: &str, name: &str) -> Self {
        let team = registry.team_in(account, name).await;
        Self {
            api: registry.api(&team.admin_key),
            docker: registry.with_key(&team.admin_key),
            team,
        }
    }

    /// The full name of an image of this workspace.
    fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.team.prefix)
    }

    /// The path of a manifest in the registry.
    fn manifest(&self, image: &str, reference: &str) -> String {
        format!("/v2/{}/manifests/{reference}", self.name(image))
    }

    async fn push(&self, image: &str, tag: &str, content: &Image) {
        self.docker
            .push_image(&self.name(image), tag, content)
            .await;
    }

    async fn pull(&self, image: &str, reference: &str) -> Reply {
        self.docker.get(&self.manifest(image, reference)).await
    }

    /// Shares an image with a workspace of the same account.
    async fn share(&self, image: &str, target: &Self) -> Answer {
        let body = json!({"targetWorkspace": target.team.workspace});
        self.api
            .post(&format!("/images/{image}/-/share"), &body)
            .await
    }

    async fn unshare(&self, image: &str, target: &Self) -> Answer {
        let path = format!("/images/{image}/-/share/{}", target.team.workspace);
        self.api.delete(&path).await
    }

    async fn lease(&self, holder: &str, image: &str) -> Answer {
        let path = format!("/leases/{holder}");
        self.api.put(&path, &json!({"image": image})).await
    }

    /// The API with a key of another role of this workspace.
    async fn as_role(&self, registry: &TestRegistry, role: &str) -> Api {
        registry.api(&registry.key_of(&self.team.workspace, role).await)
    }

    /// The API with an admin's key that is narrowed to some images.
    async fn narrowed(&self, registry: &TestRegistry, images: &[&str]) -> Api {
        let body = json!({"name": "narrow", "role": "admin", "repositories": images});
        registry.api(&registry.key_with(&self.team.workspace, &body).await.0)
    }

    /// A registry credential as a login.
    async fn credential(&self, body: &Value) -> Login {
        let issued = self.api.post("/registry/credentials", body).await;
        let issued = issued.expect(200);
        let text = |field: &str| issued[field].as_str().unwrap().to_owned();
        Login::Basic(text("username"), text("password"))
    }
}

/// Three workspaces: two in one account, and a third in another. The first has an image.
pub(super) struct Scene {
    registry: TestRegistry,
    /// Whose image it is.
    acme: Side,
    /// In the same account.
    beta: Side,
    /// In another account.
    gamma: Side,
    /// The id of that account.
    other_account: String,
    content: Image,
}

impl Scene {
    async fn set(database: TestDatabase) -> Self {
        Self::set_with(database, |_| {}).await
    }

    async fn set_with(database: TestDatabase, change: impl FnOnce(&mut Config)) -> Self {
        let registry = TestRegistry::start_with(database, change).await;
        let account = json!({"name": "other"});
        let account = registry.operator().post("/accounts", &account).await;
        let account = account.expect(201);
        let acme = Side::make(&registry, "main", "acme").await;
        let beta = Side::make(&registry, "main", "beta").await;
        let gamma = Side::make(&registry, "other", "gamma").await;
        let content = image().layer("the layer of version one").build();
        acme.push(APP, "v1", &content).await;
        Self {
            registry,
            acme,
            beta,
            gamma,
            other_account: account["id"].as_str().unwrap().to_owned(),
            content,
        }
    }

    /// Shares the image with the workspace of the other account: the pending share.
    async fn offer(&self) -> Value {
        let body = json!({"targetWorkspace": "gamma", "targetAccountId": self.other_account});
        let path = format!("/images/{APP}/-/share");
        self.acme.api.post(&path, &body).await.expect(202)
    }

    /// One round of what ends by itself.
    async fn collect(&self) {
        let http = &self.registry.running.http;
        http.collector.round().await.unwrap();
    }

    /// Sets something about the image that an admin or the operator may set.
    async fn set_image(&self, assignment: &str) {
        let name = self.acme.name(APP);
        let statement = format!("UPDATE repositories SET {assignment} WHERE name = '{name}'");
        self.registry.execute(&statement).await;
    }

    /// What the audit log of a workspace says was done, newest first: action and target.
    async fn audited(&self, side: &Side, action: &str) -> Vec<String> {
        let events = side.api.get("/audit-events").await.expect(200);
        let events = events["items"].as_array().unwrap().iter();
        events
            .filter(|event| event["action"] == action)
            .map(|event| {
                let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
                format!("{} {}", text("target"), text("reason"))
            })
            .collect()
    }

    async fn stop(self) {
        self.registry.running.stop().await;
    }
}

/// The error of a registry's answer: its message.
#[track_caller]
fn denied(reply: &Reply) -> String {
    assert_eq!(reply.status, 403, "{}", reply.text());
    let error = reply.json()["errors"][0].clone();
    assert_eq!(error["code"], "DENIED", "{error}");
    error["message"].as_str().unwrap().to_owned()
}

/// The items of a list.
async fn items(api: &Api, path: &str) -> Vec<Value> {
    let page = api.get(path).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

/// Sends a body that need not be JSON.
async fn send(api: &Api, method: Method, path: &str, body: &str) -> Answer {
    api.send(method, path, Some(body.to_owned())).await
}
