//! Blobs: found, condemned, gone; and how long their bytes stay.

use serde_json::json;

use super::{DAY_MS, HOUR_MS, Scene};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, image};

/// Objects that the database knows in a state.
async fn objects(scene: &Scene, state: &str) -> i64 {
    let count = format!("SELECT COUNT(*) FROM objects WHERE state = '{state}'");
    scene.registry.number(&count).await
}

#[tokio::test]
async fn whoever_saw_a_blob_has_a_grace_to_push_its_manifest() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let content = image().layer("uploaded long before").build();
        let name = scene.name("app");
        for blob in [&content.layers[0], &content.config] {
            scene.docker.push_blob(&name, blob).await.expect(201);
        }
        scene.later(DAY_MS - 1);
        scene.collect().await;
        assert_eq!(scene.head("app", &content.layers[0]).await, 200);
        // From now on nobody finds it, but who did has another day.
        scene.later(1);
        assert!(scene.collect().await.links_condemned >= 2);
        assert_eq!(scene.head("app", &content.layers[0]).await, 404);
        scene.later(DAY_MS - 1);
        scene.collect().await;
        scene
            .docker
            .put_manifest(&name, "v1", &content.manifest)
            .await
            .expect(201);
        assert_eq!(scene.head("app", &content.layers[0]).await, 200);
        scene.later(90 * DAY_MS);
        scene.collect().await;
        let layer = scene.blob_path("app", &content.layers[0]);
        let pulled = scene.docker.get(&layer).await.expect(200);
        assert_eq!(pulled.body, content.layers[0].bytes);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_name_of_which_no_image_came_goes_after_its_blobs() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let names = async || scene.registry.number("SELECT COUNT(*) FROM names").await;
        let blob = Content::new("of no manifest");
        scene.push("image", "v1", "it stays").await;
        for image in ["unfinished", "busy"] {
            let name = scene.name(image);
            scene.docker.push_blob(&name, &blob).await.expect(201);
        }
        let all = names().await;
        scene.later(DAY_MS);
        scene.collect().await;
        scene.later(DAY_MS - 1);
        scene.collect().await;
        // Somebody goes on pushing to one of them.
        let name = scene.name("busy");
        scene.docker.push_blob(&name, &blob).await.expect(201);
        assert_eq!(names().await, all);
        scene.later(1);
        scene.collect().await;
        scene.collect().await;
        assert_eq!(names().await, all - 1);
        assert_eq!(scene.head("busy", &blob).await, 200);
        assert_eq!(scene.pull("image", "v1").await, 200);
        // The name can be pushed to as before.
        scene.push("unfinished", "v1", "finished at last").await;
        assert_eq!(scene.pull("unfinished", "v1").await, 200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn bytes_go_after_their_delay_and_not_before() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let blob = Content::new("nobody needs it");
        scene
            .docker
            .push_blob(&scene.name("app"), &blob)
            .await
            .expect(201);
        scene.later(DAY_MS);
        scene.collect().await;
        scene.later(DAY_MS);
        let collected = scene.collect().await;
        assert_eq!((collected.links_removed, collected.blobs), (1, 1));
        assert_eq!(objects(&scene, "doomed").await, 1);
        scene.later(DAY_MS - 1);
        assert_eq!(scene.collect().await.objects, 0);
        // Where others write to the store, a little more is waited.
        scene.later(HOUR_MS);
        let collected = scene.collect().await;
        let size = blob.bytes.len() as u64;
        assert_eq!((collected.objects, collected.object_bytes), (1, size));
        assert_eq!(objects(&scene, "doomed").await, 0);
        // The same content again has an object of its own.
        scene
            .docker
            .push_blob(&scene.name("app"), &blob)
            .await
            .expect(201);
        assert_eq!(scene.head("app", &blob).await, 200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn without_a_delay_bytes_go_at_once() {
    let scene = Scene::set_with(TestDatabase::Sqlite, |config| {
        config.collection.object_delay_seconds = 0;
    })
    .await;
    let blob = Content::new("nobody needs it");
    scene
        .docker
        .push_blob(&scene.name("app"), &blob)
        .await
        .expect(201);
    scene.later(DAY_MS);
    scene.collect().await;
    scene.later(DAY_MS);
    let collected = scene.collect().await;
    assert_eq!((collected.blobs, collected.objects), (1, 1));
    scene.stop().await;
}

#[tokio::test]
async fn a_blob_of_several_workspaces_stays_until_the_last_one_lets_it_go() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let other = scene.registry.team("beta").await;
        let docker = scene.registry.with_key(&other.admin_key);
        let content = scene.push("app", "v1", "in both").await;
        let theirs = format!("{}/app", other.prefix);
        docker.push_image(&theirs, "v1", &content).await;
        let deletion = scene.delete("/images/app").await;
        let id = deletion["id"].as_str().unwrap();
        let purged = format!("/deletions/{id}/purge");
        scene.api.post(&purged, &json!({})).await.expect(200);
        scene.later(9 * DAY_MS);
        scene.collect().await;
        scene.later(9 * DAY_MS);
        scene.collect().await;
        let path = format!("/v2/{theirs}/blobs/{}", content.layers[0].digest);
        let pulled = docker.get(&path).await.expect(200);
        assert_eq!(pulled.body, content.layers[0].bytes);
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_image_comes_back_whole_after_any_number_of_rounds() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let content = scene.push("app", "v1", "the layer").await;
        let path = format!("/images/app/-/manifests/{}", content.manifest.digest);
        let deletion = scene.delete(&path).await;
        for _ in 0..6 {
            scene.later(DAY_MS);
            scene.collect().await;
        }
        assert_eq!(scene.restore(&deletion).await, 200);
        scene.later(30 * DAY_MS);
        scene.collect().await;
        assert_eq!(scene.pull("app", "v1").await, 200);
        for blob in [&content.layers[0], &content.config] {
            assert_eq!(scene.head("app", blob).await, 200);
        }
        // Let go for good, it takes its time and leaves nothing.
        scene.delete("/images/app").await;
        for _ in 0..12 {
            scene.later(DAY_MS);
            scene.collect().await;
        }
        for table in ["links", "blobs", "manifest_contents"] {
            let rows = format!("SELECT COUNT(*) FROM {table}");
            assert_eq!(scene.registry.number(&rows).await, 0, "{table}");
        }
        assert_eq!(
            objects(&scene, "live").await + objects(&scene, "doomed").await,
            0
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_preview_says_what_is_done_then() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let operator = scene.registry.operator();
        let blob = Content::new("nobody needs it");
        scene
            .docker
            .push_blob(&scene.name("app"), &blob)
            .await
            .expect(201);
        let links = async || {
            let preview = operator.get("/collection/preview").await.expect(200);
            let queues = preview["queues"].as_array().unwrap();
            let links = queues.iter().find(|queue| queue["name"] == "links");
            links.unwrap().clone()
        };
        let early = links().await;
        assert_eq!((&early["length"], &early["due"]), (&json!(1), &json!(0)));
        assert_eq!(early["items"][0]["what"], json!(blob.digest));
        assert_eq!(early["items"][0]["dueAt"], early["firstDueAt"]);
        assert_eq!(early["firstDueAt"], json!("2026-01-02T00:00:00Z"));
        scene.later(DAY_MS);
        assert_eq!(links().await["due"], json!(1));
        let run = operator
            .post("/collection/run", &json!({}))
            .await
            .expect(200);
        assert_eq!(run["collected"]["linksCondemned"], json!(1));
        assert_eq!((&run["more"], &run["errors"]), (&json!(false), &json!([])));
        let condemned = links().await;
        assert_eq!(condemned["due"], json!(0));
        assert_eq!(
            condemned["items"][0]["next"],
            json!("it leaves the repository")
        );
        let status = operator.get("/collection").await.expect(200);
        assert_eq!(status["paused"], json!(null));
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_explanation_says_what_keeps_a_digest_and_when_it_goes() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let operator = scene.registry.operator();
        let content = scene.push("app", "v1", "the layer").await;
        let explain = async |digest: &str| {
            let path = format!("/collection/explain/{digest}");
            scene.api.get(&path).await.expect(200)
        };
        let layer = explain(&content.layers[0].digest).await;
        let reason = layer["places"][0]["reasons"][0].as_str().unwrap();
        assert!(reason.contains(&content.manifest.digest), "{reason}");
        let manifest = explain(&content.manifest.digest).await;
        assert_eq!(
            manifest["places"][0]["reasons"],
            json!(["tag v1 points to it"])
        );
        assert_eq!(manifest["places"][0]["kept"], json!(true));
        let blob = Content::new("nobody needs it");
        scene
            .docker
            .push_blob(&scene.name("app"), &blob)
            .await
            .expect(201);
        let unneeded = explain(&blob.digest).await;
        assert_eq!(unneeded["places"][0]["kept"], json!(false));
        // One grace until it is condemned, one until it goes: at that time it does.
        assert_eq!(
            unneeded["places"][0]["goesAt"],
            json!("2026-01-03T00:00:00Z")
        );
        scene.later(DAY_MS);
        scene.collect().await;
        assert_eq!(
            explain(&blob.digest).await["places"][0]["goesAt"],
            unneeded["places"][0]["goesAt"]
        );
        scene.later(DAY_MS);
        scene.collect().await;
        assert_eq!(explain(&blob.digest).await["places"], json!([]));
        // Another workspace is told of its own alone, the operator of all.
        let other = scene.registry.team("beta").await;
        let path = format!("/collection/explain/{}", content.manifest.digest);
        let theirs = scene
            .registry
            .api(&other.admin_key)
            .get(&path)
            .await
            .expect(200);
        assert_eq!(theirs["places"], json!([]));
        let all = operator.get(&path).await.expect(200);
        assert_eq!(all["places"][0]["repository"], json!(scene.name("app")));
        scene.stop().await;
    }
}
