//! Operator keys: made, replaced and ended by operators, and reset without a server when they are lost.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use berth::app;
use serde_json::{Value, json};

use crate::support::TestRegistry;
use crate::support::calls::Api;
use crate::support::database::TestDatabase;
use crate::support::ending::{ENDS_WITHIN, seen_within};

const DAY_MS: i64 = 24 * 3_600 * 1_000;

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

/// The id of the key that a caller has.
async fn own_id(caller: &Api) -> String {
    text(&caller.get("/whoami").await.expect(200), "id")
}

async fn create(caller: &Api, body: &Value) -> Value {
    caller.post("/operator-keys", body).await.expect(201)
}

async fn items(caller: &Api) -> Vec<Value> {
    let keys = caller.get("/operator-keys").await.expect(200);
    keys["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_new_operator_key_is_shown_once_and_opens_what_the_first_one_does() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let operator = registry.operator();
        let created = create(&operator, &json!({"name": "alice"})).await;
        let alice = registry.api(&text(&created, "key"));
        assert_eq!(own_id(&alice).await, text(&created, "id"));
        alice.get("/accounts").await.expect(200);
        alice.get("/signing-keys").await.expect(200);
        let keys = items(&alice).await;
        assert_eq!(keys.len(), 2);
        assert!(keys.iter().all(|key| key.get("key").is_none()));
        let own = keys.iter().find(|key| key["name"] == "alice").unwrap();
        let by = format!("key:{}", own_id(&operator).await);
        assert_eq!(own["createdBy"], by);
        // They are none of a workspace's keys.
        let of_main = operator.get("/workspaces/main/api-keys").await.expect(200);
        assert_eq!(of_main["items"].as_array().unwrap().len(), 1);
        let path = format!("/workspaces/main/api-keys/{}", text(&created, "id"));
        operator.delete(&path).await.expect_error(404, "not_found");
        let mut pages = Vec::new();
        let first = alice.get("/operator-keys?limit=1").await.expect(200);
        let path = format!("/operator-keys?cursor={}", text(&first, "nextCursor"));
        for page in [first, alice.get(&path).await.expect(200)] {
            pages.extend(page["items"].as_array().unwrap().clone());
        }
        assert_eq!(pages, items(&alice).await);
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn the_last_key_that_has_not_ended_stays() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let operator = registry.operator();
        let own = format!("/operator-keys/{}", own_id(&operator).await);
        let message = operator.delete(&own).await.expect_error(409, "conflict");
        assert!(
            message.contains("no other operator key lives as long"),
            "{message}"
        );
        let body = json!({"name": "short", "expiresAt": "2026-01-02T00:00:00Z"});
        let short = create(&operator, &body).await;
        registry.clock.advance(DAY_MS);
        let ended = registry.api(&text(&short, "key"));
        ended.get("/whoami").await.expect_error(401, "unauthorized");
        operator.delete(&own).await.expect_error(409, "conflict");
        let other = create(&operator, &json!({"name": "other"})).await;
        operator.delete(&own).await.expect(204);
        registry.rights_known().await;
        operator
            .get("/whoami")
            .await
            .expect_error(401, "unauthorized");
        let other = registry.api(&text(&other, "key"));
        other.delete(&own).await.expect_error(404, "not_found");
        // One that has ended may go, and leaves the other.
        let path = format!("/operator-keys/{}", text(&short, "id"));
        other.delete(&path).await.expect(204);
        assert_eq!(items(&other).await.len(), 1);
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn two_operators_who_delete_each_other_leave_one() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let first = registry.operator();
        let second = create(&first, &json!({"name": "second"})).await;
        let second = registry.api(&text(&second, "key"));
        let (one, other) = (own_id(&first).await, own_id(&second).await);
        let (one, other) = (
            format!("/operator-keys/{one}"),
            format!("/operator-keys/{other}"),
        );
        let (by_first, by_second) = tokio::join!(first.delete(&other), second.delete(&one));
        let mut statuses = [by_first.status.as_u16(), by_second.status.as_u16()];
        statuses.sort_unstable();
        // The slower one was let in before its key ended, or not.
        assert_eq!(statuses[0], 204, "{statuses:?}");
        assert!(matches!(statuses[1], 401 | 409), "{statuses:?}");
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_the_overlap_and_no_longer() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let operator = registry.operator();
        let old_id = own_id(&operator).await;
        let path = format!("/operator-keys/{old_id}/rotate");
        let created = operator.post(&path, &json!({})).await.expect(201);
        assert_eq!(created["name"], "first start");
        assert_eq!(created["expiresAt"], Value::Null);
        assert_eq!(created["replaces"]["id"], old_id.as_str());
        assert_eq!(created["replaces"]["expiresAt"], "2026-01-02T00:00:00Z");
        let new = registry.api(&text(&created, "key"));
        registry.rights_known().await;
        registry.clock.advance(DAY_MS - 1);
        for key in [&operator, &new] {
            key.get("/whoami").await.expect(200);
        }
        registry.clock.advance(1);
        let ended = operator.get("/whoami").await;
        ended.expect_error(401, "unauthorized");
        new.get("/whoami").await.expect(200);
        let message = new.post(&path, &json!({})).await;
        let message = message.expect_error(409, "conflict");
        assert!(message.contains("has ended"), "{message}");

        let path = format!("/operator-keys/{}/rotate", own_id(&new).await);
        for overlap in [-1, 2_592_001] {
            let refused = new.post(&path, &json!({"overlapSeconds": overlap})).await;
            let message = refused.expect_error(400, "bad_request");
            assert!(message.contains("0 to 2592000"), "{message}");
        }
        let longest = json!({"overlapSeconds": 2_592_000});
        let created = new.post(&path, &longest).await.expect(201);
        assert_eq!(created["replaces"]["expiresAt"], "2026-02-01T00:00:00Z");
        // Once more, and at once: an end only ever comes nearer. Now the key ends by itself, and so must the next one.
        let at_once = json!({"overlapSeconds": 0, "expiresAt": "2026-01-03T00:00:00Z"});
        let created = new.post(&path, &at_once).await.expect(201);
        assert_eq!(created["replaces"]["expiresAt"], "2026-01-02T00:00:00Z");
        assert_eq!(created["expiresAt"], "2026-01-03T00:00:00Z");
        registry.rights_known().await;
        new.get("/whoami").await.expect_error(401, "unauthorized");
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn a_key_that_ends_makes_none_that_outlives_it() {
    let registry = TestRegistry::start().await;
    let body = json!({"name": "for a day", "expiresAt": "2026-01-02T00:00:00Z"});
    let created = create(&registry.operator(), &body).await;
    let guest = registry.api(&text(&created, "key"));
    let path = format!("/operator-keys/{}/rotate", text(&created, "id"));
    for later in [
        json!({"name": "x"}),
        json!({"name": "x", "expiresAt": "2026-01-02T00:00:01Z"}),
    ] {
        let refused = guest.post("/operator-keys", &later).await;
        let message = refused.expect_error(403, "forbidden");
        assert!(message.contains("2026-01-02T00:00:00Z"), "{message}");
    }
    let refused = guest.post(&path, &json!({})).await;
    refused.expect_error(403, "forbidden");
    let within = json!({"name": "x", "expiresAt": "2026-01-02T00:00:00Z"});
    create(&guest, &within).await;
}

#[tokio::test]
async fn wrong_requests_say_what_would_be_right_and_the_number_of_keys_is_limited() {
    let registry = TestRegistry::start().await;
    let operator = registry.operator();
    for (body, says) in [
        (json!({}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "x", "expiresAt": "tomorrow"}), "RFC 3339"),
        (
            json!({"name": "x", "expiresAt": "2025-12-31T23:59:59Z"}),
            "still to come",
        ),
        (json!({"name": "x", "role": "operator"}), "role"),
    ] {
        let refused = operator.post("/operator-keys", &body).await;
        let message = refused.expect_error(400, "bad_request");
        assert!(message.contains(says), "{message}");
    }
    for number in 1..100 {
        create(&operator, &json!({"name": format!("key {number}")})).await;
    }
    let refused = operator.post("/operator-keys", &json!({"name": "x"})).await;
    let message = refused.expect_error(409, "conflict");
    assert!(message.contains("at most 100"), "{message}");
    let own = own_id(&operator).await;
    let path = format!("/operator-keys/{own}/rotate");
    let refused = operator.post(&path, &json!({})).await;
    refused.expect_error(409, "conflict");
}

#[tokio::test]
async fn a_reset_ends_every_operator_key_and_writes_a_new_one() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let (stolen, main_key) = (registry.operator_key(), registry.main_key());
        let second = create(&registry.operator(), &json!({"name": "second"})).await;
        let clock = registry.clock.clone();
        if database == TestDatabase::Sqlite {
            let running = app::reset_operator_keys(registry.config(), None, clock.clone()).await;
            let says = format!("{:#}", running.unwrap_err());
            assert!(says.contains("stop it first"), "{says}");
            registry.api(&stolen).get("/whoami").await.expect(200);
        }
        let registry = registry
            .restart_after(async |config| {
                app::reset_operator_keys(config, None, clock).await.unwrap();
            })
            .await;
        for dead in [stolen.as_str(), second["key"].as_str().unwrap()] {
            let refused = registry.api(dead).get("/whoami").await;
            refused.expect_error(401, "unauthorized");
        }
        assert_ne!(registry.operator_key(), stolen);
        assert_eq!(items(&registry.operator()).await.len(), 1);
        registry.api(&main_key).get("/whoami").await.expect(200);
        let file = registry.data_dir().join("operator.key");
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn a_reset_of_a_shared_database_reaches_the_servers_that_run_on_it() {
    if !TestDatabase::available().contains(&TestDatabase::Postgres) {
        return;
    }
    let registry = TestRegistry::start_on(TestDatabase::Postgres).await;
    let stolen = registry.operator();
    stolen.get("/whoami").await.expect(200);
    app::reset_operator_keys(registry.config(), None, registry.clock.clone())
        .await
        .unwrap();
    let since = Instant::now();
    let look = async || stolen.get("/whoami").await.status == 401;
    seen_within(ENDS_WITHIN, since, "the end of the key", look).await;
    registry.operator().get("/accounts").await.expect(200);
    registry.running.stop().await;
}

#[tokio::test]
async fn a_reset_makes_no_installation_where_none_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = berth::config::Config::default();
    config.server.data_dir = folder.path().join("typo");
    let clock = berth::clock::Clock::manual(crate::support::START);
    let refused = app::reset_operator_keys(&config, None, clock).await;
    let says = refused.unwrap_err().to_string();
    assert!(says.contains("there is no installation in"), "{says}");
    assert!(!config.server.data_dir.exists());
}
