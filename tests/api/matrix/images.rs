//! What the rows about images, shares, leases and deletions are about: made afresh before every request, so that
//! whoever is let in finds it, and whoever is not is refused although it is there.

use reqwest::Method;
use serde_json::{Value, json};

use super::rows::Row;
use crate::support::calls::Api;
use crate::support::distribution::Content;
use crate::support::{Team, TestRegistry};

/// The image of each workspace.
const IMAGE: &str = "matrix";
/// Another one, which is there to be deleted.
const DELETED: &str = "matrix-deleted";
/// What the lender shares; also the alias of it.
const LENT: &str = "matrix-lent";
/// What leases are of.
const LEASED: &str = "matrix-leased";
const HOLDER: &str = "matrix/lease";

/// A workspace of the same account and one of another, which share with those of the matrix.
pub(crate) struct Images {
    neighbour: Team,
    lender: Team,
    account: String,
}

impl Images {
    pub(crate) async fn stage(registry: &TestRegistry) -> Self {
        let operator = registry.operator();
        // The matrix may be driven at two doors of one registry.
        let number = items(&operator, "/accounts").await.len();
        let name = format!("lenders-{number}");
        operator
            .post("/accounts", &json!({"name": name}))
            .await
            .expect(201);
        let neighbour = registry.team(&format!("neighbour{number}")).await;
        let lender = registry.team_in(&name, &format!("lender{number}")).await;
        for team in [&neighbour, &lender] {
            push(registry, team, LENT).await;
        }
        let whoami = registry.api(&neighbour.admin_key).get("/whoami").await;
        Self {
            account: text(&whoami.expect(200)["accountId"]),
            neighbour,
            lender,
        }
    }

    /// Sets up what a row is about in a workspace: its path and its body. `None` for rows about something else.
    pub(crate) async fn prepare(
        &self,
        registry: &TestRegistry,
        row: &Row,
        team: &Team,
    ) -> Option<(String, Option<Value>)> {
        let api = registry.api(&team.admin_key);
        let mut body = None;
        let path = match row.path {
            "/api/v1/images/{name}/-/share" if row.method == "DELETE" => {
                self.lend(registry, &self.neighbour, team, None).await;
                row.path.replace("{name}", LENT)
            }
            path if path.starts_with("/api/v1/images/{name}") => {
                let digest = self.own_image(registry, row, team, &api).await;
                if row.method == "POST" {
                    body = Some(self.target(team));
                }
                path.replace("{name}", IMAGE)
                    .replace("{tag}", "v1")
                    .replace("{digest}", &digest)
                    .replace("{target}", &self.neighbour.workspace)
            }
            path if path.starts_with("/api/v1/pending-image-shares") => {
                let account = Some(self.account.as_str());
                let share = self.lend(registry, &self.lender, team, account).await;
                path.replace("{id}", &text(&share["id"]))
            }
            path if path.starts_with("/api/v1/deletions") => {
                let id = if path.contains("{id}") {
                    push(registry, team, DELETED).await;
                    let path = format!("/images/{DELETED}");
                    text(&api.delete(&path).await.expect(200)["id"])
                } else {
                    String::new()
                };
                path.replace("{id}", &id)
            }
            path if path.starts_with("/api/v1/leases") => {
                let image = json!({"image": format!("{LEASED}:v1")});
                push(registry, team, LEASED).await;
                api.put(&format!("/leases/{HOLDER}"), &image)
                    .await
                    .expect(200);
                if row.method == "PUT" {
                    body = Some(image);
                }
                path.replace("{holder}", HOLDER)
            }
            _ => return None,
        };
        Some((path, body))
    }

    fn target(&self, team: &Team) -> Value {
        let alias = format!("matrix-of-{}", team.workspace);
        json!({"targetWorkspace": self.neighbour.workspace, "alias": alias})
    }

    /// The image, shared with the neighbour if the row ends that; its digest.
    async fn own_image(
        &self,
        registry: &TestRegistry,
        row: &Row,
        team: &Team,
        api: &Api,
    ) -> String {
        let digest = push(registry, team, IMAGE).await;
        let share = format!("/images/{IMAGE}/-/share");
        if row.path.ends_with("{target}") {
            let shared = api.post(&share, &self.target(team)).await;
            assert!(matches!(shared.status.as_u16(), 200 | 409), "{shared:?}");
        } else {
            let path = format!("{share}/{}", self.neighbour.workspace);
            let ended = api.delete(&path).await;
            assert!(matches!(ended.status.as_u16(), 200 | 404), "{ended:?}");
        }
        digest
    }

    /// Shares with a workspace of the matrix, whatever became of the share before.
    async fn lend(
        &self,
        registry: &TestRegistry,
        from: &Team,
        to: &Team,
        account: Option<&str>,
    ) -> Value {
        let api = registry.api(&from.admin_key);
        let share = format!("/images/{LENT}/-/share");
        api.send(Method::DELETE, &format!("{share}/{}", to.workspace), None)
            .await;
        let mut body = json!({"targetWorkspace": to.workspace});
        if let Some(account) = account {
            body["targetAccountId"] = json!(account);
            body["alias"] = json!("matrix-from-afar");
        }
        let shared = api.post(&share, &body).await;
        shared.expect(if account.is_some() { 202 } else { 200 })
    }
}

async fn push(registry: &TestRegistry, team: &Team, image: &str) -> String {
    let content = Content::empty_index(image);
    let repository = format!("{}/{image}", team.prefix);
    registry
        .with_key(&team.admin_key)
        .put_manifest(&repository, "v1", &content)
        .await
        .expect(201);
    content.digest
}

async fn items(api: &Api, path: &str) -> Vec<Value> {
    let page = api.get(path).await.expect(200);
    page["items"].as_array().unwrap().clone()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
