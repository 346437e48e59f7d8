//! What is taken away ends everywhere within five seconds, whatever tokens are alive.

use std::time::Instant;

use berth::http::Door;
use serde_json::json;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login};
use crate::support::ending::{ENDS_WITHIN, seen_within};

/// Waits until every caller is refused, as it must since something was done.
async fn all_refused(callers: &[(&str, Distribution)], path: &str, status: u16, since: Instant) {
    for (name, caller) in callers {
        let look = async || caller.get(path).await.status == status;
        seen_within(ENDS_WITHIN, since, name, look).await;
    }
}

#[tokio::test]
async fn a_right_taken_through_one_replica_ends_at_the_other_within_five_seconds() {
    if !TestDatabase::available().contains(&TestDatabase::Postgres) {
        return;
    }
    let first = TestRegistry::start_on(TestDatabase::Postgres).await;
    first.team("acme").await;
    let second = first.replica().await;
    let there = |login| second.distribution(Door::Public, login);
    let (key, key_id) = first
        .key_with("acme", &json!({"name": "ci", "role": "builder"}))
        .await;
    let other = first.key_of("acme", "builder").await;
    let credential = async |key: &str| {
        let api = first.api(key);
        let issued = api.post("/registry/credentials", &json!({})).await;
        let issued = issued.expect(200);
        let text = |field: &str| issued[field].as_str().unwrap().to_owned();
        let login = Login::Basic(text("username"), text("password"));
        (there(login), text("credentialId"))
    };
    let by_key = there(Login::key(&key));
    let (of_key, _) = credential(&key).await;
    let (revoked, revoked_id) = credential(&other).await;
    let (kept, _) = credential(&other).await;
    let mut ending = Vec::new();
    for (name, caller) in [
        ("the key", by_key),
        ("the key's credential", of_key),
        ("the credential", revoked),
    ] {
        // Tokens of the one replica are good at the other: they share their signing keys.
        let token = caller.exchanged(&["registry:catalog:*"]).await;
        ending.push((name, caller));
        ending.push((name, token));
    }
    let kept_token = kept.exchanged(&[]).await;
    for (name, caller) in &ending {
        assert_eq!(caller.get("/v2/").await.status, 200, "{name}");
    }
    kept.get("/v2/").await.expect(200);

    let operator = first.operator();
    operator
        .delete(&format!("/workspaces/acme/api-keys/{key_id}"))
        .await
        .expect(204);
    operator
        .in_workspace("acme")
        .post(
            "/registry/credentials/revoke",
            &json!({"credentialId": revoked_id}),
        )
        .await
        .expect(204);
    let since = Instant::now();
    all_refused(&ending, "/v2/", 401, since).await;
    kept.get("/v2/").await.expect(200);
    kept_token.get("/v2/").await.expect(200);
    second.running.stop().await;
    first.running.stop().await;
}

#[tokio::test]
async fn a_push_that_began_before_its_key_was_deleted_is_not_stored() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let team = registry.team("acme").await;
        let (key, id) = registry
            .key_with("acme", &json!({"name": "ci", "role": "builder"}))
            .await;
        let docker = registry.with_key(&key);
        let repository = format!("{}/app", team.prefix);
        let location = docker.open_upload(&repository).await;
        let blob = Content::new("half of it, and the other half");
        let begun = docker.patch(&location, blob.bytes.slice(..1)).await;
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
        let request = docker
            .request(reqwest::Method::PUT, &path)
            .header("content-type", "application/octet-stream")
            .body(body);
        let put = tokio::spawn(crate::support::distribution::Reply::of(request));
        sender.send(blob.bytes.slice(1..4)).await.unwrap();
        // The body is being read: its right was decided on, and that is now long ago.
        registry.until_upload_is_taken(2).await;
        registry.clock.advance(6_000);
        registry
            .operator()
            .delete(&format!("/workspaces/acme/api-keys/{id}"))
            .await
            .expect(204);
        sender.send(blob.bytes.slice(4..)).await.unwrap();
        drop(sender);
        let reply = put.await.unwrap();
        assert!(matches!(reply.status, 401 | 403), "{reply:?}");
        let admin = registry.with_key(&team.admin_key);
        admin
            .get(&format!("/v2/{repository}/blobs/{}", blob.digest))
            .await
            .expect(404);
        registry.running.stop().await;
    }
}
