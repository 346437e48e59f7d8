//! `lastPulledAt`: noted by pulls, which never wait for it.

use serde_json::{Value, json};

use super::{SECOND, Scene};
use crate::support::database::TestDatabase;

async fn pulled(scene: &Scene) -> (Value, Value) {
    scene.count().await;
    let shown = scene.admin.get("/images/app").await.expect(200);
    let tag = scene.admin.get("/images/app/-/tags/v1").await.expect(200);
    (shown["lastPulledAt"].clone(), tag["lastPulledAt"].clone())
}

#[tokio::test]
async fn a_pull_by_tag_counts_for_the_tag_and_by_digest_for_the_image() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let content = scene.push("app", "v1", "one").await;
        assert_eq!(pulled(&scene).await, (Value::Null, Value::Null));
        let by_tag = "/v2/t-shopkey/app/manifests/v1";
        let by_digest = format!("/v2/t-shopkey/app/manifests/{}", content.manifest.digest);
        scene.registry.clock.advance(SECOND);
        scene.docker.get(&by_digest).await.expect(200);
        assert_eq!(
            pulled(&scene).await,
            (json!("2026-01-01T00:00:02Z"), Value::Null)
        );
        scene.registry.clock.advance(SECOND);
        scene.docker.get(by_tag).await.expect(200);
        let at = json!("2026-01-01T00:00:03Z");
        assert_eq!(pulled(&scene).await, (at.clone(), at.clone()));
        // To look at a digest is no pull; to resolve a tag is one.
        scene.registry.clock.advance(SECOND);
        scene.docker.head(&by_digest).await.expect(200);
        assert_eq!(pulled(&scene).await, (at.clone(), at));
        scene.docker.head(by_tag).await.expect(200);
        let at = json!("2026-01-01T00:00:04Z");
        assert_eq!(pulled(&scene).await, (at.clone(), at.clone()));
        // What is not there was not pulled.
        scene.registry.clock.advance(SECOND);
        scene
            .docker
            .get("/v2/t-shopkey/app/manifests/v2")
            .await
            .expect(404);
        assert_eq!(pulled(&scene).await, (at.clone(), at));
        // Who has it already pulled it all the same.
        let request = scene.docker.request(reqwest::Method::GET, by_tag);
        let tag = format!("\"{}\"", content.manifest.digest);
        let known = request.header("if-none-match", tag).send().await.unwrap();
        assert_eq!(known.status(), 304);
        let at = json!("2026-01-01T00:00:05Z");
        assert_eq!(pulled(&scene).await, (at.clone(), at));
        scene.end().await;
    }
}

#[tokio::test]
async fn a_pull_through_an_alias_counts_for_the_image() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        scene.share("app", "theirs").await;
        let guest = scene.registry.with_key(&scene.guest.admin_key);
        guest
            .get("/v2/t-guestkey/theirs/manifests/v1")
            .await
            .expect(200);
        let at = json!("2026-01-01T00:00:01Z");
        assert_eq!(pulled(&scene).await, (at.clone(), at));
        scene.end().await;
    }
}

#[tokio::test]
async fn what_was_pulled_before_a_stop_is_written_down() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        scene
            .docker
            .get("/v2/t-shopkey/app/manifests/v1")
            .await
            .expect(200);
        let key = scene.shop.admin_key.clone();
        let registry = scene.registry.restart().await;
        let shown = registry.api(&key).get("/images/app").await.expect(200);
        assert_eq!(shown["lastPulledAt"], "2026-01-01T00:00:01Z");
        assert_eq!(shown["latest"]["lastPulledAt"], "2026-01-01T00:00:01Z");
        registry.running.stop().await;
    }
}
