//! Signing keys come and go: on schedule, by command, and all at once when they are in wrong hands.

use std::time::{Duration, Instant};

use berth::app;
use berth::config::Secret;
use berth::http::Door;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::calls::Api;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login, Reply};
use crate::support::ending::{ENDS_WITHIN, seen_within};
use crate::support::{Team, TestRegistry};

/// How long what is to work may take until it does: nothing is promised of that.
const PATIENCE: Duration = Duration::from_secs(30);

const SECOND_MS: i64 = 1_000;
const HOUR_MS: i64 = 3_600 * SECOND_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// How long a key is published before it signs.
const OVERLAP_MS: i64 = 600 * SECOND_MS;
/// How far clocks may be apart.
const LEEWAY_MS: i64 = 60 * SECOND_MS;

async fn daily(database: TestDatabase) -> TestRegistry {
    TestRegistry::start_with(database, |config| {
        config.auth.signing_key_rotation_seconds = 86_400;
    })
    .await
}

/// Moves the clock, and lets the registry look after its keys.
async fn pass(registry: &TestRegistry, milliseconds: i64) {
    registry.clock.advance(milliseconds);
    let auth = &registry.running.http.auth;
    auth.keep_signing_keys().await.unwrap();
}

/// The keys as operators see them: `purpose state`, in that order.
async fn states(operator: &Api) -> Vec<String> {
    let keys = operator.get("/signing-keys").await.expect(200);
    let text = |key: &Value, field: &str| key[field].as_str().unwrap().to_owned();
    let mut states: Vec<String> = keys["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| format!("{} {}", text(key, "purpose"), text(key, "state")))
        .collect();
    states.sort_unstable();
    states
}

async fn published(registry: &TestRegistry) -> Vec<String> {
    let anybody = registry.distribution(Door::Pull, Login::Nobody);
    let keys = anybody.get("/.well-known/jwks.json").await.expect(200);
    let keys = keys.json()["keys"].as_array().unwrap().clone();
    keys.iter()
        .map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

fn secret(login: &Login) -> &str {
    match login {
        Login::Nobody => "",
        Login::Basic(_, secret) | Login::Bearer(secret) => secret,
    }
}

/// Which key signed the token that a caller has.
fn kid(caller: &Distribution) -> String {
    let header = jsonwebtoken::decode_header(secret(&caller.login)).unwrap();
    header.kid.unwrap()
}

async fn token(registry: &TestRegistry) -> Distribution {
    registry
        .with_key(&registry.main_key())
        .exchanged(&["registry:catalog:*"])
        .await
}

/// A registry credential as a caller.
async fn credential(registry: &TestRegistry, key: &str, seconds: i64) -> Distribution {
    let body = json!({"expiresInSeconds": seconds});
    let issued = registry.api(key).post("/registry/credentials", &body).await;
    let issued = issued.expect(200);
    let text = |field: &str| issued[field].as_str().unwrap().to_owned();
    let login = Login::Basic(text("username"), text("password"));
    registry.distribution(Door::Public, login)
}

async fn status(caller: &Distribution) -> u16 {
    caller.get("/v2/").await.status
}

mod on_schedule {
    use super::*;

    #[tokio::test]
    async fn the_next_key_is_published_signs_and_outlives_the_last_token_of_the_old_one() {
        for database in [TestDatabase::one_server()] {
            let registry = daily(database).await;
            let operator = registry.operator();
            let first = kid(&token(&registry).await);
            let mut old = first.clone();
            // Several turns; one key signs for a day, counted from when it began to.
            for turn in 0..3 {
                let lead = if turn == 0 { DAY_MS } else { DAY_MS - HOUR_MS };
                pass(&registry, lead - OVERLAP_MS - 1).await;
                assert_eq!(published(&registry).await, [old.clone()]);
                pass(&registry, 1).await;
                let both = published(&registry).await;
                assert_eq!(both.len(), 2, "{both:?}");
                assert_eq!(both[0], old);
                let new = both[1].clone();
                registry.clock.advance(OVERLAP_MS - SECOND_MS);
                let last = token(&registry).await;
                assert_eq!(kid(&last), old, "the old one signs to the end");
                registry.clock.advance(SECOND_MS - 1);
                assert_eq!(kid(&token(&registry).await), old);
                pass(&registry, 1).await;
                assert_eq!(kid(&token(&registry).await), new, "and then the new one");
                assert_eq!(
                    states(&operator).await,
                    [
                        "access signing",
                        "access verifying",
                        "credential signing",
                        "credential verifying"
                    ]
                );
                // A token lives for five minutes, whichever key signed it, and not longer.
                pass(&registry, 299 * SECOND_MS - 1).await;
                assert_eq!(status(&last).await, 200);
                pass(&registry, 1).await;
                assert_eq!(status(&last).await, 401);
                pass(&registry, HOUR_MS - 299 * SECOND_MS).await;
                assert_eq!(published(&registry).await, std::slice::from_ref(&new));
                old = new;
            }
            assert_ne!(old, first);
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn a_credential_of_twelve_hours_verifies_until_it_ends() {
        for database in [TestDatabase::one_server()] {
            let registry = daily(database).await;
            let operator = registry.operator();
            pass(&registry, DAY_MS - OVERLAP_MS).await;
            registry.clock.advance(OVERLAP_MS - SECOND_MS);
            let credential = credential(&registry, &registry.main_key(), 12 * 3_600).await;
            pass(&registry, SECOND_MS).await;
            pass(&registry, 12 * HOUR_MS - SECOND_MS - 1).await;
            assert_eq!(status(&credential).await, 200);
            // Tokens of it are good at once, too.
            assert_eq!(status(&credential.exchanged(&[]).await).await, 200);
            registry.clock.advance(1);
            assert_eq!(status(&credential).await, 401);
            let of_credentials = async || {
                let mut states = states(&operator).await;
                states.retain(|state| state.starts_with("credential"));
                states
            };
            pass(&registry, SECOND_MS + LEEWAY_MS - 1).await;
            let both = ["credential signing", "credential verifying"];
            assert_eq!(of_credentials().await, both);
            pass(&registry, 1).await;
            assert_eq!(of_credentials().await, ["credential signing"]);
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn a_server_that_was_away_for_long_publishes_first_and_signs_later() {
        for database in [TestDatabase::one_server()] {
            let registry = daily(database).await;
            let old = kid(&token(&registry).await);
            registry.clock.advance(30 * DAY_MS);
            let registry = registry.restart().await;
            assert_eq!(kid(&token(&registry).await), old);
            assert_eq!(published(&registry).await.len(), 2);
            pass(&registry, OVERLAP_MS).await;
            assert_ne!(kid(&token(&registry).await), old);
            let registry = registry.restart().await;
            assert_ne!(kid(&token(&registry).await), old);
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn of_several_replicas_one_makes_the_key_and_the_others_learn_it() {
        if TestDatabase::one_server() != TestDatabase::Postgres {
            return;
        }
        let first = daily(TestDatabase::Postgres).await;
        let replicas = [first.replica().await, first.replica().await];
        let all = || std::iter::once(&first).chain(&replicas);
        first.clock.advance(DAY_MS - OVERLAP_MS);
        let turns: Vec<_> = all()
            .map(|registry| {
                let auth = registry.running.http.auth.clone();
                tokio::spawn(async move { auth.keep_signing_keys().await })
            })
            .collect();
        for turn in turns {
            turn.await.unwrap().unwrap();
        }
        pass(&first, 0).await;
        let keys = published(&first).await;
        assert_eq!(keys.len(), 2);
        for replica in &replicas {
            pass(replica, 0).await;
            assert_eq!(published(replica).await, keys);
        }
        first.clock.advance(OVERLAP_MS);
        let token = token(&first).await;
        assert_eq!(kid(&token), keys[1]);
        for replica in &replicas {
            let there = replica.distribution(Door::Public, token.login.clone());
            assert_eq!(status(&there).await, 200);
        }
        for registry in replicas {
            registry.running.stop().await;
        }
        first.running.stop().await;
    }
}

mod by_command {
    use super::*;

    #[tokio::test]
    async fn a_rotation_begins_the_overlap_and_the_next_one_waits_for_it() {
        for database in [TestDatabase::one_server()] {
            let registry = TestRegistry::start_on(database).await;
            let operator = registry.operator();
            let rotate = async |body: Value| operator.post("/signing-keys/rotate", &body).await;
            let keys = rotate(json!({"purpose": "access"})).await.expect(200);
            assert_eq!(keys["items"].as_array().unwrap().len(), 3);
            let expected = ["access pending", "access signing", "credential signing"];
            assert_eq!(states(&operator).await, expected);
            for body in [json!({"purpose": "access"}), json!({})] {
                let message = rotate(body).await.expect_error(409, "conflict");
                assert!(message.contains("2026-01-01T00:10:00Z"), "{message}");
            }
            assert_eq!(states(&operator).await, expected, "all or nothing");
            let old = kid(&token(&registry).await);
            registry.clock.advance(OVERLAP_MS);
            assert_ne!(kid(&token(&registry).await), old);
            let page = operator.get("/signing-keys?limit=2").await.expect(200);
            let cursor = page["nextCursor"].as_str().unwrap();
            let next = operator
                .get(&format!("/signing-keys?cursor={cursor}"))
                .await;
            assert_eq!(next.expect(200)["items"].as_array().unwrap().len(), 1);
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn what_cannot_be_meant_is_refused() {
        let registry = TestRegistry::start().await;
        let operator = registry.operator();
        for (body, says) in [
            (json!({"purpose": "signing"}), "credential or access"),
            (json!({"now": "yes"}), "boolean"),
            (json!({"when": "now"}), "when"),
        ] {
            let refused = operator.post("/signing-keys/rotate", &body).await;
            let message = refused.expect_error(400, "bad_request");
            assert!(message.contains(says), "{message}");
        }
        let admin = registry.api(&registry.main_key());
        let refused = admin.get("/signing-keys").await;
        refused.expect_error(403, "forbidden");
    }

    /// A request that began with a token of a key that was replaced since must not commit.
    #[tokio::test]
    async fn a_push_under_way_with_a_token_of_a_replaced_key_is_not_stored() {
        for database in [TestDatabase::one_server()] {
            let registry = TestRegistry::start_on(database).await;
            let key = registry.main_key();
            let scope = "repository:t-main/app:pull,push";
            let thief = registry.with_key(&key).exchanged(&[scope]).await;
            let location = thief.open_upload("t-main/app").await;
            let blob = Content::new("half of it, and the other half");
            let begun = thief.patch(&location, blob.bytes.slice(..1)).await;
            begun.expect(202);
            let (sender, receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(1);
            let body = reqwest::Body::wrap_stream(futures_util::stream::unfold(
                receiver,
                async |mut receiver| {
                    let bytes = receiver.recv().await?;
                    Some((Ok::<_, std::io::Error>(bytes), receiver))
                },
            ));
            let path = format!("{location}?digest={}", blob.digest);
            let put = thief
                .request(Method::PUT, &path)
                .header("content-type", "application/octet-stream")
                .body(body);
            let put = tokio::spawn(Reply::of(put));
            sender.send(blob.bytes.slice(1..4)).await.unwrap();
            registry.until_upload_is_taken(2).await;
            registry.clock.advance(6_000);
            let now = json!({"now": true});
            let operator = registry.operator();
            operator
                .post("/signing-keys/rotate", &now)
                .await
                .expect(200);
            sender.send(blob.bytes.slice(4..)).await.unwrap();
            drop(sender);
            let reply = put.await.unwrap();
            assert!(matches!(reply.status, 401 | 403), "{reply:?}");
            let owner = registry.with_key(&key);
            owner
                .get(&format!("/v2/t-main/app/blobs/{}", blob.digest))
                .await
                .expect(404);
            registry.running.stop().await;
        }
    }
}

/// "Revoke everything now", as docs/security.md has it.
mod drill {
    use super::*;

    /// The servers of an installation: a second one where they can share a database.
    struct Servers {
        first: TestRegistry,
        second: Option<TestRegistry>,
    }

    impl Servers {
        async fn start(database: TestDatabase) -> Self {
            let first = TestRegistry::start_on(database).await;
            let second = match database {
                TestDatabase::Sqlite => None,
                TestDatabase::Postgres | TestDatabase::Replicas => Some(first.replica().await),
            };
            Self { first, second }
        }

        fn all(&self) -> impl Iterator<Item = &TestRegistry> {
            std::iter::once(&self.first).chain(&self.second)
        }

        /// The same caller at every server.
        fn everywhere(&self, caller: &Distribution) -> Vec<Distribution> {
            self.all()
                .map(|registry| registry.distribution(Door::Public, caller.login.clone()))
                .collect()
        }

        /// Waits until every server answers a caller so, as it must since something was done.
        async fn answer(&self, caller: &Distribution, wanted: u16, since: Instant) {
            let limit = if wanted == 200 { PATIENCE } else { ENDS_WITHIN };
            let what = format!("the answer {wanted}");
            for caller in self.everywhere(caller) {
                let look = async || status(&caller).await == wanted;
                seen_within(limit, since, &what, look).await;
            }
        }

        async fn refuse_all(&self, callers: &[Distribution], since: Instant) {
            for caller in callers {
                self.answer(caller, 401, since).await;
            }
        }

        /// Waits until every server refuses a key of the management API.
        async fn refuse_key(&self, key: &str, since: Instant) {
            for registry in self.all() {
                let api = registry.api(key);
                let look = async || api.get("/whoami").await.status == 401;
                seen_within(ENDS_WITHIN, since, "the end of the key", look).await;
            }
        }

        /// Everything that a key of a workspace gets, known to work everywhere.
        async fn loot(&self, key: &str) -> Vec<Distribution> {
            let by_key = self.first.with_key(key);
            let credential = credential(&self.first, key, 3_600).await;
            let scope = &["registry:catalog:*"];
            let of_key = by_key.exchanged(scope).await;
            let of_credential = credential.exchanged(scope).await;
            let loot = vec![by_key, of_key, credential, of_credential];
            for caller in &loot {
                self.answer(caller, 200, Instant::now()).await;
            }
            loot
        }

        async fn stop(self) {
            if let Some(second) = self.second {
                second.running.stop().await;
            }
            self.first.running.stop().await;
        }
    }

    async fn operator_key(servers: &Servers, stolen: &str) -> String {
        let thief = servers.first.api(stolen);
        let id = thief.get("/whoami").await.expect(200)["id"].clone();
        let path = format!("/operator-keys/{}/rotate", id.as_str().unwrap());
        let new = thief.post(&path, &json!({"overlapSeconds": 0})).await;
        let new = new.expect(201)["key"].as_str().unwrap().to_owned();
        let since = Instant::now();
        servers.refuse_key(stolen, since).await;
        for registry in servers.all() {
            registry.api(&new).get("/accounts").await.expect(200);
        }
        new
    }

    async fn api_key(servers: &Servers, operator: &Api, team: &Team) {
        let path = format!("/workspaces/{}/api-keys", team.workspace);
        let body = json!({"name": "ci", "role": "builder"});
        let stolen = operator.post(&path, &body).await.expect(201);
        let text = |field: &str| stolen[field].as_str().unwrap();
        let loot = servers.loot(text("key")).await;
        let path = format!("{path}/{}", text("id"));
        operator.delete(&path).await.expect(204);
        let since = Instant::now();
        servers.refuse_all(&loot, since).await;
        servers.refuse_key(text("key"), since).await;
    }

    /// What a thief of a key may have made with it lives on without the key.
    async fn pull_secrets(servers: &Servers, operator: &Api, team: &Team) {
        let acme = operator.in_workspace(&team.workspace);
        let body = json!({"name": "ci", "role": "admin"});
        let keys = format!("/workspaces/{}/api-keys", team.workspace);
        let stolen = operator.post(&keys, &body).await.expect(201);
        let text = |made: &Value, field: &str| made[field].as_str().unwrap().to_owned();
        let thief = servers.first.api(&text(&stolen, "key"));
        let path = "/registry/pull-secret";
        let made = thief.post(path, &json!({})).await.expect(201);
        let login = crate::pull_secrets::login(&made);
        let secret = servers.first.distribution(Door::Public, login);
        let token = secret.exchanged(&["registry:catalog:*"]).await;
        let loot = [secret, token];
        operator
            .delete(&format!("{keys}/{}", text(&stolen, "id")))
            .await
            .expect(204);
        for caller in &loot {
            servers.answer(caller, 200, Instant::now()).await;
        }
        let listed = acme.get(path).await.expect(200);
        let maker = format!("key:{}", text(&stolen, "id"));
        assert_eq!(listed["items"][0]["createdBy"], maker);
        let path = format!("{path}/{}/rotate", text(&made, "id"));
        let at_once = json!({"overlapSeconds": 0});
        let new = acme.post(&path, &at_once).await.expect(201);
        let since = Instant::now();
        servers.refuse_all(&loot, since).await;
        let login = crate::pull_secrets::login(&new);
        let new = servers.first.distribution(Door::Public, login);
        servers.answer(&new, 200, Instant::now()).await;
    }

    async fn credentials(servers: &Servers, operator: &Api, team: &Team) {
        let mut loot = servers.loot(&team.admin_key).await;
        let by_key = loot.remove(0);
        operator
            .in_workspace(&team.workspace)
            .post("/registry/credentials/revoke", &json!({"all": true}))
            .await
            .expect(204);
        let since = Instant::now();
        servers.refuse_all(&loot, since).await;
        assert_eq!(status(&by_key).await, 200, "the key itself stays");
        servers.loot(&team.admin_key).await;
    }

    async fn signing_keys(servers: &Servers, operator: &Api, team: &Team) {
        let mut loot = servers.loot(&team.admin_key).await;
        let by_key = loot.remove(0);
        // Verified a moment ago and remembered, by every server.
        for caller in &loot {
            servers.answer(caller, 200, Instant::now()).await;
        }
        let now = json!({"now": true});
        operator
            .post("/signing-keys/rotate", &now)
            .await
            .expect(200);
        let since = Instant::now();
        for caller in &loot {
            let at_once = servers
                .first
                .distribution(Door::Public, caller.login.clone());
            assert_eq!(status(&at_once).await, 401, "where it was asked, at once");
        }
        servers.refuse_all(&loot, since).await;
        assert_eq!(
            states(operator).await,
            ["access signing", "credential signing"]
        );
        assert_eq!(published(&servers.first).await.len(), 1);
        assert_eq!(status(&by_key).await, 200, "the key itself stays");
        servers.loot(&team.admin_key).await;
    }

    /// The wrapping secret and a copy of the database are in wrong hands: a new secret, and new keys under it.
    async fn wrapping_secret(servers: Servers, team: &Team) -> Servers {
        let Servers { first, second } = servers;
        if let Some(second) = second {
            second.running.stop().await;
        }
        let servers = Servers {
            first,
            second: None,
        };
        let mut loot = servers.loot(&team.admin_key).await;
        let by_key = loot.remove(0).login;
        let clock = servers.first.clock.clone();
        let first = servers
            .first
            .restart_after(async |config| {
                let other = String::from("another secret of thirty-two bytes");
                config.auth.key_wrapping_secret = Some(Secret::new(other));
                let refused = app::start(config, clock.clone()).await.err().unwrap();
                let says = format!("{refused:#}");
                assert!(says.contains("berth keys reset"), "{says}");
                app::reset_signing_keys(config, clock).await.unwrap();
            })
            .await;
        let servers = Servers {
            second: Some(first.replica().await),
            first,
        };
        for caller in loot {
            let caller = servers.first.distribution(Door::Public, caller.login);
            servers.answer(&caller, 401, Instant::now()).await;
        }
        let by_key = servers.first.distribution(Door::Public, by_key);
        assert_eq!(status(&by_key).await, 200);
        servers.loot(&team.admin_key).await;
        servers
    }

    #[tokio::test]
    async fn everything_that_was_stolen_is_dead_within_five_seconds_and_what_is_new_works() {
        for database in [TestDatabase::one_server()] {
            let servers = Servers::start(database).await;
            let team = servers.first.team("acme").await;
            let stolen = servers.first.operator_key();
            let operator = operator_key(&servers, &stolen).await;
            let operator = servers.first.api(&operator);
            api_key(&servers, &operator, &team).await;
            pull_secrets(&servers, &operator, &team).await;
            credentials(&servers, &operator, &team).await;
            signing_keys(&servers, &operator, &team).await;
            let servers = match database {
                TestDatabase::Sqlite => servers,
                TestDatabase::Postgres | TestDatabase::Replicas => {
                    wrapping_secret(servers, &team).await
                }
            };
            servers.stop().await;
        }
    }

    #[tokio::test]
    async fn a_new_wrapping_secret_alone_ends_nothing() {
        if TestDatabase::one_server() != TestDatabase::Postgres {
            return;
        }
        let servers = Servers::start(TestDatabase::Postgres).await;
        let loot = servers.loot(&servers.first.main_key()).await;
        let config = servers.first.config().clone();
        let previous = config.auth.key_wrapping_secret.as_ref().unwrap();
        let previous = previous.expose().to_owned();
        let mut renewed = config.clone();
        let other = String::from("another secret of thirty-two bytes");
        renewed.auth.key_wrapping_secret = Some(Secret::new(other.clone()));
        let wrong = app::rewrap_signing_keys(&renewed, other.repeat(2)).await;
        assert!(wrong.is_err());
        let count = app::rewrap_signing_keys(&renewed, previous).await.unwrap();
        assert_eq!(count, 2);
        // Servers with the old secret go on until they are restarted with the new one.
        for registry in servers.all() {
            let auth = &registry.running.http.auth;
            auth.keep_signing_keys().await.unwrap();
        }
        for caller in &loot {
            servers.answer(caller, 200, Instant::now()).await;
        }
        let Servers { first, second } = servers;
        let second = second.unwrap();
        let first = first
            .restart_after(async |config| {
                config.auth.key_wrapping_secret = renewed.auth.key_wrapping_secret.clone();
            })
            .await;
        let servers = Servers {
            first,
            second: Some(second),
        };
        for caller in &loot {
            let caller = servers
                .first
                .distribution(Door::Public, caller.login.clone());
            servers.answer(&caller, 200, Instant::now()).await;
        }
        servers.stop().await;
    }
}
