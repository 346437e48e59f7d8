//! The token exchange: whose tokens are taken, what they become, and what that reaches.

mod keys;
mod platforms;
mod protocol;
mod rights;
mod tokens;

use berth::config::Issuer;
use berth::http::Door;
use jsonwebtoken::Algorithm;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Login, Reply, form, image};
use crate::support::issuer::{SigningKey, TestIssuer};

const PATH: &str = "/api/v1/registry/token-exchange";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// An issuer, and a registry that takes its tokens: two teams with the images `app` and `tools`, and `platform`, which
/// the other one gives to everybody.
struct Scene {
    registry: TestRegistry,
    issuer: TestIssuer,
    key: SigningKey,
}

/// A rule for the namespace `shop` of a cluster, and what differs.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers are done with what they hand in"
)]
fn rule(differs: Value) -> Value {
    let mut rule = json!({
        "name": "pods", "workspace": "shop", "role": "viewer", "claims": {"/kubernetes.io/namespace": "shop"},
    });
    let fields = differs.as_object().unwrap().clone();
    rule.as_object_mut().unwrap().extend(fields);
    rule
}

impl Scene {
    /// With one rule that lets pods pull.
    async fn set() -> Self {
        Self::with_rules(json!([rule(json!({}))])).await
    }

    async fn with_rules(rules: Value) -> Self {
        Self::with(TestDatabase::chosen(), rules, |_| {}).await
    }

    async fn with(database: TestDatabase, rules: Value, change: impl FnOnce(&mut Issuer)) -> Self {
        let key = SigningKey::new("one", Algorithm::ES256);
        let issuer = TestIssuer::start(&key).await;
        let mut entry = issuer.entry(&rules);
        change(&mut entry);
        let registry = TestRegistry::start_with(database, |config| {
            config.auth.issuers = vec![entry];
            config.validate().unwrap();
        });
        let registry = registry.await;
        for team in ["shop", "rival"] {
            let team = registry.team(team).await;
            let docker = registry.with_key(&team.admin_key);
            for name in ["app", "tools", "platform"] {
                let content = image()
                    .layer(format!("{name} of {}", team.workspace))
                    .build();
                docker
                    .push_image(&format!("{}/{name}", team.prefix), "v1", &content)
                    .await;
            }
        }
        let rival = registry.operator().in_workspace("rival");
        let public = json!({"visibility": "platform"});
        rival.patch("/images/platform", &public).await.expect(200);
        Self {
            registry,
            issuer,
            key,
        }
    }

    /// A good token of a service account in the namespace `shop`.
    fn token(&self) -> String {
        self.token_with(|_| {})
    }

    /// One whose claims differ.
    fn token_with(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.issuer.claims("default");
        change(&mut claims);
        self.key.sign(&claims)
    }

    async fn exchange(&self, token: &str) -> Reply {
        exchange(&self.registry, token, None).await
    }

    async fn exchange_for(&self, token: &str, scope: &str) -> Reply {
        exchange(&self.registry, token, Some(scope)).await
    }

    /// The registry as somebody with what was issued.
    fn docker(&self, issued: &Reply) -> Distribution {
        self.registry.distribution(Door::Public, login(issued))
    }
}

/// Over the connections of the registry: another client takes its time to be made.
pub(crate) async fn exchange(registry: &TestRegistry, token: &str, scope: Option<&str>) -> Reply {
    let nobody = registry.distribution(Door::Public, Login::Nobody);
    post_as(&nobody, &good_fields(token, scope)).await
}

async fn exchange_at(url: &str, token: &str, scope: Option<&str>) -> Reply {
    post(url, &good_fields(token, scope)).await
}

fn good_fields<'a>(token: &'a str, scope: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("grant_type", GRANT_TYPE),
        ("subject_token_type", JWT),
        ("subject_token", token),
    ];
    fields.extend(scope.map(|scope| ("scope", scope)));
    fields
}

async fn post(url: &str, fields: &[(&str, &str)]) -> Reply {
    let nobody = Distribution::new(&crate::support::client(), url, Login::Nobody);
    post_as(&nobody, fields).await
}

async fn post_as(nobody: &Distribution, fields: &[(&str, &str)]) -> Reply {
    Reply::of(form(nobody.request(Method::POST, PATH), fields)).await
}

/// What a docker client logs in with.
#[track_caller]
pub(crate) fn login(issued: &Reply) -> Login {
    assert_eq!(issued.status, 200, "{}", issued.text());
    let issued = issued.json();
    let text = |field: &str| issued[field].as_str().unwrap().to_owned();
    Login::Basic(text("username"), text("access_token"))
}

/// Asserts an error of OAuth, and returns what it says.
#[track_caller]
fn refused(reply: &Reply, status: u16, code: &str, says: &str) -> String {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store");
    let error = reply.json();
    assert_eq!(error["error"], code, "{error}");
    let description = error["error_description"].as_str().unwrap().to_owned();
    assert!(description.contains(says), "{description}");
    description
}

fn manifest_of(repository: &str) -> String {
    format!("/v2/{repository}/manifests/v1")
}
