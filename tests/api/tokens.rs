//! `/token` as real clients ask it, and what its tokens are.

use berth::http::Door;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Login, Reply, form};

/// POST with exactly this form, and no Basic.
async fn post(caller: &Distribution, fields: &[(&str, &str)]) -> Reply {
    let nobody = caller.with(Login::Nobody);
    Reply::of(form(nobody.request(Method::POST, "/token"), fields)).await
}

fn token_of(reply: &Reply) -> String {
    let body = reply.json();
    assert_eq!(body["token"], body["access_token"]);
    assert_eq!(body.get("refresh_token"), None);
    assert_eq!(reply.header("cache-control"), "no-store");
    body["token"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload);
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

fn access(reply: &Reply) -> Value {
    claims(&token_of(reply))["access"].clone()
}

async fn credential(registry: &TestRegistry, key: &str, body: Value) -> (String, String) {
    let issued = registry.api(key).post("/registry/credentials", &body).await;
    let issued = issued.expect(200);
    let text = |field: &str| issued[field].as_str().unwrap().to_owned();
    (text("username"), text("password"))
}

mod grants {
    use super::*;

    #[tokio::test]
    async fn in_part_or_of_nothing_are_no_errors() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let team = registry.team("acme").await;
            registry.team("rival").await;
            let viewer = registry.with_key(&registry.key_of("acme", "viewer").await);
            let own = format!("repository:{}/app:pull,push,delete", team.prefix);
            let reply = viewer
                .token_reply(&[
                    &own,
                    "repository:t-rivalkey/app:pull",
                    "repository:No/Name:pull",
                    "registry:catalog:*",
                    "artifact:x:pull",
                    "nonsense",
                ])
                .await
                .expect(200);
            assert_eq!(
                access(&reply),
                json!([
                    {"type": "repository", "name": format!("{}/app", team.prefix), "actions": ["pull"]},
                    {"type": "registry", "name": "catalog", "actions": ["*"]},
                ])
            );
            let nothing = viewer
                .token_reply(&["repository:t-rivalkey/app:pull"])
                .await;
            assert_eq!(access(&nothing.expect(200)), json!([]));
            let spaced = viewer
                .token_reply(&[&format!("{own} registry:catalog:*")])
                .await;
            assert_eq!(access(&spaced.expect(200)), access(&reply));
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn are_limited_in_number() {
        let registry = TestRegistry::start().await;
        let docker = registry.with_key(&registry.main_key());
        let scope = "repository:t-main/app:pull";
        docker.token_reply(&[scope; 32]).await.expect(200);
        let refusal = docker.token_reply(&[scope; 33]).await.expect(400);
        assert!(refusal.text().contains("at most 32"));
    }

    #[tokio::test]
    async fn last_five_minutes_or_their_parents_life_but_a_minute_at_least() {
        let registry = TestRegistry::start().await;
        let key = registry.main_key();
        let by_key = registry.with_key(&key).token_reply(&[]).await.expect(200);
        assert_eq!(by_key.json()["expires_in"], 300);
        assert_eq!(by_key.json()["issued_at"], "2026-01-01T00:00:00Z");
        let (user, password) = credential(&registry, &key, json!({"expiresInSeconds": 120})).await;
        let docker = registry.distribution(Door::Public, Login::Basic(user, password));
        let token = async || docker.token_reply(&[]).await.expect(200);
        assert_eq!(token().await.json()["expires_in"], 120);
        registry.clock.advance(90_000);
        let last = token().await;
        assert_eq!(last.json()["expires_in"], 60);
        registry.clock.advance(59_999);
        let bearer = docker.with(Login::Bearer(token_of(&last)));
        bearer.get("/v2/").await.expect(200);
        docker.get("/v2/").await.expect(401);
        registry.clock.advance(1);
        bearer.get("/v2/").await.expect(401);
    }
}

mod refusals {
    use super::*;

    #[tokio::test]
    async fn of_wrong_passwords_are_401_at_every_door() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            for door in [Door::Public, Door::Pull] {
                for login in [
                    Login::Nobody,
                    Login::key("wrong"),
                    Login::key(&registry.operator_key()),
                    Login::Bearer(registry.main_key()),
                ] {
                    let caller = registry.distribution(door, login);
                    let reply = caller.token_reply(&[]).await.expect(401);
                    assert_eq!(reply.json()["errors"][0]["code"], "UNAUTHORIZED");
                    assert_eq!(reply.header("www-authenticate"), "Basic realm=\"berth\"");
                }
                let docker = registry.distribution(door, Login::key(&registry.main_key()));
                docker.token_reply(&[]).await.expect(200);
            }
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn of_forms_say_what_would_be_right() {
        let registry = TestRegistry::start().await;
        let docker = registry.with_key(&registry.main_key());
        for (form, status) in [
            (vec![], 400),
            (vec![("grant_type", "authorization_code")], 400),
            (vec![("grant_type", "password")], 400),
            (vec![("grant_type", "refresh_token")], 400),
            (
                vec![("grant_type", "refresh_token"), ("refresh_token", "x")],
                401,
            ),
            (
                vec![
                    ("grant_type", "password"),
                    ("username", "a"),
                    ("password", "b"),
                ],
                401,
            ),
        ] {
            let reply = post(&docker, &form).await.expect(status);
            assert!(reply.json()["errors"][0]["message"].is_string(), "{form:?}");
        }
        // An API key is no identity token: it would be taken for one that can be renewed.
        let key = registry.main_key();
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", key.as_str()),
        ];
        post(&docker, &form).await.expect(401);
        let json = docker
            .request(Method::POST, "/token")
            .header("content-type", "application/json")
            .body("{}");
        Reply::of(json).await.expect(415);
    }

    #[tokio::test]
    async fn of_api_keys_as_passwords_can_be_configured() {
        let registry = TestRegistry::start_with(TestDatabase::chosen(), |config| {
            config.auth.api_keys_as_passwords = false;
        })
        .await;
        let key = registry.main_key();
        let refusal = registry.with_key(&key).get("/v2/").await.expect(401);
        assert!(refusal.text().contains("ask for a registry credential"));
        let (user, password) = credential(&registry, &key, json!({})).await;
        let docker = registry.distribution(Door::Public, Login::Basic(user, password));
        docker.get("/v2/").await.expect(200);
    }
}

mod keys {
    use super::*;

    #[tokio::test]
    async fn of_access_tokens_are_published_and_those_of_credentials_are_not() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let key = registry.main_key();
            let docker = registry.with_key(&key);
            let scope = "repository:t-main/app:pull";
            let token = token_of(&docker.token_reply(&[scope]).await.expect(200));
            let (_, credential) = credential(&registry, &key, json!({})).await;
            for door in [Door::Public, Door::Pull] {
                let anybody = registry.distribution(door, Login::Nobody);
                let published = anybody.get("/.well-known/jwks.json").await.expect(200);
                assert!(!published.text().contains("\"d\""), "no private half");
                let published: JwkSet = serde_json::from_slice(&published.body).unwrap();
                assert_eq!(published.keys.len(), 1);
                let key_of = |token: &str| {
                    let header = jsonwebtoken::decode_header(token).unwrap();
                    published.find(&header.kid.unwrap()).cloned()
                };
                assert_eq!(key_of(&credential), None);
                let key = key_of(&token).expect("the token's key is published");
                let mut validation = Validation::new(Algorithm::EdDSA);
                validation.set_issuer(&["berth"]);
                validation.set_audience(&["berth-access"]);
                // The clock of the test is not that of the system.
                validation.validate_exp = false;
                let decoding = DecodingKey::from_jwk(&key).unwrap();
                let good = jsonwebtoken::decode::<Value>(&token, &decoding, &validation).unwrap();
                assert_eq!(good.claims["exp"], json!(1_767_225_600 + 300));
                jsonwebtoken::decode::<Value>(&credential, &decoding, &validation).unwrap_err();
            }
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn survive_a_restart_and_the_tokens_with_them() {
        let registry = TestRegistry::start().await;
        let key = registry.main_key();
        let token = registry.with_key(&key).exchanged(&[]).await.login;
        let (user, password) = credential(&registry, &key, json!({})).await;
        let registry = registry.restart().await;
        for login in [token, Login::Basic(user, password), Login::key(&key)] {
            let docker = registry.distribution(Door::Public, login);
            docker.get("/v2/").await.expect(200);
        }
    }
}
