//! When a deletion can be undone no more: its window, its purge, and what keeps it from that.

use reqwest::Method;
use serde_json::{Value, json};

use super::deletions::{NOTHING, delete, image_path, manifest_path, purge, restore, tag_path};
use super::{APP, DAY_MS, Scene, items};
use crate::support::database::TestDatabase;
use crate::support::distribution::image;

#[tokio::test]
async fn what_is_leased_keeps_no_other_deletion_waiting() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.push("other", "v1", &scene.content).await;
        scene.set_image("visibility = 'platform'").await;
        beta.lease("web", &format!("{}:v1", acme.name(APP)))
            .await
            .expect(200);
        delete(acme, &image_path()).await;
        scene.registry.clock.advance(1);
        let other = delete(acme, "/images/other").await;
        scene.registry.clock.advance(8 * DAY_MS);
        let (images, now) = (
            &scene.registry.running.http.images,
            scene.registry.clock.now(),
        );
        while images.purge_due(now, 1).await.unwrap().taken > 0 {}
        restore(acme, &other).await.expect_error(410, "gone");
        let left = items(&acme.api, "/deletions").await;
        assert_eq!((left.len(), &left[0]["image"]), (1, &json!(APP)));
        scene.stop().await;
    }
}

#[tokio::test]
async fn what_was_purged_does_not_come_back() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, content) = (&scene.acme, &scene.content);
        acme.push("other", "v1", content).await;
        // A session that was open then belongs to the name, and is in nobody's way.
        let upload = acme.docker.open_upload(&acme.name(APP)).await;
        acme.docker.patch(&upload, "half of it").await.expect(202);
        let tag = delete(acme, &tag_path("v1")).await;
        let manifest = delete(acme, &manifest_path(&content.manifest)).await;
        let whole = delete(acme, &image_path()).await;
        for role in ["viewer", "builder", "developer"] {
            let api = acme.as_role(&scene.registry, role).await;
            let path = format!("/deletions/{}/purge", whole["id"].as_str().unwrap());
            api.send(Method::POST, &path, None)
                .await
                .expect_error(403, "forbidden");
        }
        let purged = purge(acme, &whole).await.expect(200);
        assert_eq!(purged["id"], whole["id"]);
        restore(acme, &whole).await.expect_error(410, "gone");
        purge(acme, &whole).await.expect_error(404, "not_found");
        // What was deleted in it before went with it.
        for earlier in [&tag, &manifest] {
            restore(acme, earlier).await.expect_error(410, "gone");
            purge(acme, earlier).await.expect(200);
        }
        assert_eq!(items(&acme.api, "/deletions").await, NOTHING);
        let name = acme.name(APP);
        let left = format!("SELECT COUNT(*) FROM repositories WHERE name = '{name}'");
        assert_eq!(scene.registry.number(&left).await, 0);
        // Bytes that another image has stay.
        let pulled = acme.pull("other", "v1").await.expect(200);
        assert_eq!(pulled.body, content.manifest.bytes);
        assert_eq!(scene.audited(acme, "deletion.purge").await.len(), 3);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_tag_whose_manifest_was_purged_does_not_come_back_as_nothing() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, manifest) = (&scene.acme, &scene.content.manifest);
        let tag = delete(acme, &tag_path("v1")).await;
        let deletion = delete(acme, &manifest_path(manifest)).await;
        let message = restore(acme, &tag).await.expect_error(409, "conflict");
        assert!(message.contains("v1"), "{message}");
        purge(acme, &deletion).await.expect(200);
        restore(acme, &tag).await.expect_error(410, "gone");
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_manifest_that_was_pushed_again_survives_the_purge_of_its_deletion() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, content) = (&scene.acme, &scene.content);
        let deletion = delete(acme, &manifest_path(&content.manifest)).await;
        acme.push(APP, "v2", content).await;
        purge(acme, &deletion).await.expect(200);
        assert_eq!(
            acme.pull(APP, "v2").await.expect(200).body,
            content.manifest.bytes
        );
        acme.pull(APP, "v1").await.expect(404);
        // In the end nothing is left of the deletion, so that its row can go.
        scene.registry.clock.advance(31 * DAY_MS);
        scene.collect().await;
        assert_eq!(
            scene
                .registry
                .number("SELECT COUNT(*) FROM deletions")
                .await,
            0
        );
        acme.pull(APP, "v2").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_window_that_is_over_is_over_and_the_collector_clears_up() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, content) = (&scene.acme, &scene.content);
        acme.push(APP, "v2", &image().layer("version two").build())
            .await;
        let tag = delete(acme, &tag_path("v2")).await;
        let manifest = delete(acme, &manifest_path(&content.manifest)).await;
        scene.registry.clock.advance(1);
        let whole = delete(acme, &image_path()).await;
        scene.registry.clock.advance(7 * DAY_MS - 1);
        for over in [&tag, &manifest] {
            let message = restore(acme, over).await.expect_error(410, "gone");
            assert!(message.contains("2026-01-08T00:00:00Z"), "{message}");
        }
        scene.collect().await;
        // The last one can still be undone; what was purged before is not in it any more.
        restore(acme, &whole).await.expect(200);
        acme.pull(APP, &content.manifest.digest).await.expect(404);
        acme.pull(APP, "v2").await.expect(404);
        let whole = delete(acme, &image_path()).await;
        scene.registry.clock.advance(7 * DAY_MS);
        restore(acme, &whole).await.expect_error(410, "gone");
        assert_eq!(items(&acme.api, "/deletions").await.len(), 1);
        scene.collect().await;
        assert_eq!(items(&acme.api, "/deletions").await, NOTHING);
        restore(acme, &whole).await.expect_error(410, "gone");
        for table in [
            "repositories",
            "manifests",
            "links",
            "tags",
            "tag_history",
            "manifest_contents",
        ] {
            let count = format!("SELECT COUNT(*) FROM {table}");
            assert_eq!(scene.registry.number(&count).await, 0, "{table}");
        }
        // After a while nobody needs to know that it is too late.
        scene.registry.clock.advance(30 * DAY_MS);
        scene.collect().await;
        restore(acme, &whole).await.expect_error(404, "not_found");
        assert_eq!(
            scene
                .registry
                .number("SELECT COUNT(*) FROM deletions")
                .await,
            0
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn without_a_window_nothing_can_be_undone() {
    for database in TestDatabase::available() {
        let scene =
            Scene::set_with(database, |config| config.collection.undo_window_seconds = 0).await;
        let acme = &scene.acme;
        let deletion = delete(acme, &image_path()).await;
        assert_eq!(deletion["restorableUntil"], Value::Null);
        restore(acme, &deletion).await.expect_error(410, "gone");
        scene.collect().await;
        restore(acme, &deletion).await.expect_error(410, "gone");
        assert_eq!(items(&acme.api, "/deletions").await, NOTHING);
        assert_eq!(
            scene
                .registry
                .number("SELECT COUNT(*) FROM manifests")
                .await,
            0
        );
        acme.push(APP, "v1", &scene.content).await;
        acme.pull(APP, "v1").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_leased_deletion_is_not_purged() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        beta.lease("template/web", &format!("{APP}:v1"))
            .await
            .expect(200);
        let unshare = format!("/images/{APP}/-/share/beta?force=true");
        acme.api.delete(&unshare).await.expect(200);
        let forced = format!("{}?force=true", manifest_path(&scene.content.manifest));
        let deletion = delete(acme, &forced).await;
        let warning = deletion["warnings"][0].as_str().unwrap();
        assert!(warning.contains("template/web"), "{warning}");
        let holders = purge(acme, &deletion).await.expect_in_use("leased");
        assert_eq!(holders, ["lease template/web"]);
        scene.registry.clock.advance(8 * DAY_MS);
        scene.collect().await;
        assert_eq!(items(&acme.api, "/deletions").await.len(), 1);
        beta.api.delete("/leases/template/web").await.expect(204);
        // It is looked at again an hour later.
        scene.collect().await;
        assert_eq!(items(&acme.api, "/deletions").await.len(), 1);
        scene.registry.clock.advance(60 * 60 * 1000);
        scene.collect().await;
        assert_eq!(items(&acme.api, "/deletions").await, NOTHING);
        scene.stop().await;
    }
}
