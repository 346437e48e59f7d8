//! What is deleted is gone at once, and comes back byte for byte until its window is over.

use reqwest::Method;
use serde_json::{Value, json};

use super::{APP, Scene, Side, items};
use crate::support::calls::Answer;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Image, Reply, image};

pub(super) const NOTHING: [Value; 0] = [];

pub(super) async fn ending(side: &Side, deletion: &Value, end: &str) -> Answer {
    let id = deletion["id"].as_str().unwrap();
    let path = format!("/deletions/{id}/{end}");
    side.api.send(Method::POST, &path, None).await
}

pub(super) async fn restore(side: &Side, deletion: &Value) -> Answer {
    ending(side, deletion, "restore").await
}

pub(super) async fn purge(side: &Side, deletion: &Value) -> Answer {
    ending(side, deletion, "purge").await
}

pub(super) async fn delete(side: &Side, path: &str) -> Value {
    side.api.delete(path).await.expect(200)
}

pub(super) fn image_path() -> String {
    format!("/images/{APP}")
}

pub(super) fn tag_path(tag: &str) -> String {
    format!("/images/{APP}/-/tags/{tag}")
}

pub(super) fn manifest_path(content: &Content) -> String {
    format!("/images/{APP}/-/manifests/{}", content.digest)
}

/// Every read of an image, with its status and its bytes.
async fn reads(side: &Side, tags: &[&str], content: &Image) -> Vec<(String, u16, Vec<u8>)> {
    let name = side.name(APP);
    let mut paths: Vec<String> = tags
        .iter()
        .chain([&content.manifest.digest.as_str()])
        .map(|reference| side.manifest(APP, reference))
        .collect();
    for blob in std::iter::once(&content.config).chain(&content.layers) {
        paths.push(format!("/v2/{name}/blobs/{}", blob.digest));
    }
    paths.push(format!("/v2/{name}/tags/list"));
    paths.push(format!("/v2/{name}/referrers/{}", content.manifest.digest));
    let mut read = Vec::new();
    for path in paths {
        let got = side.docker.get(&path).await;
        let seen = side.docker.head(&path).await;
        assert_eq!(got.status, seen.status, "{path}");
        read.push((path, got.status, got.body.to_vec()));
    }
    read.push((
        String::from("catalogue"),
        200,
        side.docker
            .get("/v2/_catalog")
            .await
            .expect(200)
            .body
            .to_vec(),
    ));
    read
}

#[tokio::test]
async fn a_deleted_image_is_gone_at_once_and_comes_back_byte_for_byte() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, content) = (&scene.acme, &scene.content);
        let signature = image().layer("signed").subject(&content.manifest).build();
        acme.push(APP, "signature", &signature).await;
        acme.push("other", "v1", content).await;
        let before = reads(acme, &["v1", "signature"], content).await;
        assert!(
            before.iter().all(|(_, status, _)| *status == 200),
            "{before:?}"
        );

        let deletion = delete(acme, &image_path()).await;
        let whoami = acme.api.get("/whoami").await.expect(200);
        let by = format!("key:{}", whoami["id"].as_str().unwrap());
        assert_eq!(
            deletion,
            json!({"id": deletion["id"], "image": APP, "kind": "image", "tags": ["signature", "v1"],
                "digests": [], "deletedBy": by, "deletedAt": "2026-01-01T00:00:00Z",
                "restorableUntil": "2026-01-08T00:00:00Z", "bytes": deletion["bytes"]})
        );
        let viewer = acme.as_role(&scene.registry, "viewer").await;
        assert_eq!(
            items(&viewer, "/deletions").await,
            std::slice::from_ref(&deletion)
        );
        for (path, status, body) in reads(acme, &["v1", "signature"], content).await {
            let text = String::from_utf8(body).unwrap();
            if path.contains("/referrers/") {
                // The specification wants no 404 there: nothing refers to what is not there.
                assert_eq!((status, text.contains("sha256")), (200, false), "{text}");
            } else if path == "catalogue" {
                assert!(text.contains("other") && !text.contains(APP), "{text}");
            } else {
                assert_eq!(status, 404, "{path}");
            }
        }
        acme.api
            .delete(&image_path())
            .await
            .expect_error(404, "not_found");
        // What another image has of the same bytes stays.
        acme.pull("other", "v1").await.expect(200);

        let restored = restore(acme, &deletion).await.expect(200);
        assert_eq!(restored["id"], deletion["id"]);
        assert_eq!(reads(acme, &["v1", "signature"], content).await, before);
        assert_eq!(items(&acme.api, "/deletions").await, NOTHING);
        restore(acme, &deletion)
            .await
            .expect_error(404, "not_found");
        purge(acme, &deletion).await.expect_error(404, "not_found");
        for action in ["image.delete", "deletion.restore"] {
            assert_eq!(scene.audited(acme, action).await.len(), 1, "{action}");
        }
        // It is an image like before: it takes pushes.
        acme.push(APP, "v2", &image().layer("version two").build())
            .await;
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_deleted_tag_comes_back_if_its_name_is_free() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, manifest) = (&scene.acme, &scene.content.manifest);
        let deletion = delete(acme, &tag_path("v1")).await;
        assert_eq!(
            (&deletion["kind"], &deletion["tags"]),
            (&json!("tag"), &json!(["v1"]))
        );
        assert_eq!(deletion["digests"], json!([]));
        acme.pull(APP, "v1").await.expect(404);
        acme.docker
            .head(&acme.manifest(APP, "v1"))
            .await
            .expect(404);
        acme.pull(APP, &manifest.digest).await.expect(200);
        let tags = acme
            .docker
            .get(&format!("/v2/{}/tags/list", acme.name(APP)))
            .await;
        assert_eq!(tags.expect(200).json()["tags"], json!([]));
        acme.api
            .delete(&tag_path("v1"))
            .await
            .expect_error(404, "not_found");
        restore(acme, &deletion).await.expect(200);
        assert_eq!(acme.pull(APP, "v1").await.expect(200).body, manifest.bytes);
        restore(acme, &deletion)
            .await
            .expect_error(404, "not_found");

        let deletion = delete(acme, &tag_path("v1")).await;
        let second = image().layer("version two").build();
        acme.push(APP, "v1", &second).await;
        let message = restore(acme, &deletion).await.expect_error(409, "conflict");
        assert!(message.contains("v1"), "{message}");
        assert_eq!(
            acme.pull(APP, "v1").await.expect(200).body,
            second.manifest.bytes
        );
        delete(acme, &tag_path("v1")).await;
        restore(acme, &deletion).await.expect(200);
        assert_eq!(acme.pull(APP, "v1").await.expect(200).body, manifest.bytes);

        // Where the tag points to the same again, there is nothing left to bring back.
        let deletion = delete(acme, &tag_path("v1")).await;
        acme.docker
            .put_manifest(&acme.name(APP), "v1", manifest)
            .await
            .expect(201);
        restore(acme, &deletion).await.expect(200);
        assert_eq!(acme.pull(APP, "v1").await.expect(200).body, manifest.bytes);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along_and_brings_them_back() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, content) = (&scene.acme, &scene.content);
        let (name, manifest) = (acme.name(APP), &content.manifest);
        acme.docker
            .put_manifest(&name, "latest", manifest)
            .await
            .expect(201);
        acme.push(APP, "other", &image().layer("another").build())
            .await;
        let before = reads(acme, &["v1", "latest"], content).await;
        let deletion = delete(acme, &manifest_path(manifest)).await;
        assert_eq!(
            (&deletion["kind"], &deletion["tags"]),
            (&json!("manifest"), &json!(["latest", "v1"]))
        );
        assert_eq!(deletion["digests"], json!([manifest.digest]));
        for reference in ["v1", "latest", &manifest.digest] {
            acme.pull(APP, reference).await.expect(404);
            acme.docker
                .head(&acme.manifest(APP, reference))
                .await
                .expect(404);
        }
        let tags = acme.docker.get(&format!("/v2/{name}/tags/list")).await;
        assert_eq!(tags.expect(200).json()["tags"], json!(["other"]));
        // Nobody needs its layer any more: it goes by hand, and comes back with its manifest.
        let layer = format!("/v2/{name}/blobs/{}", content.layers[0].digest);
        scene.registry.clock.advance(1);
        acme.docker.delete(&layer).await.expect(202);
        acme.docker.get(&layer).await.expect(404);
        let kinds: Vec<Value> = items(&acme.api, "/deletions").await;
        let kinds: Vec<&Value> = kinds.iter().map(|row| &row["kind"]).collect();
        assert_eq!(kinds, [&json!("blob"), &json!("manifest")]);
        restore(acme, &deletion).await.expect(200);
        assert_eq!(reads(acme, &["v1", "latest"], content).await, before);
        acme.docker.delete(&layer).await.expect(403);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_deleted_blob_comes_back_by_itself_too() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let acme = &scene.acme;
        let blob = Content::new("needed by nothing");
        let name = acme.name(APP);
        acme.docker.push_blob(&name, &blob).await.expect(201);
        let path = format!("/v2/{name}/blobs/{}", blob.digest);
        acme.docker.delete(&path).await.expect(202);
        acme.docker.get(&path).await.expect(404);
        acme.docker.delete(&path).await.expect(404);
        let deletion = items(&acme.api, "/deletions").await.remove(0);
        assert_eq!(
            (&deletion["kind"], &deletion["digests"]),
            (&json!("blob"), &json!([blob.digest]))
        );
        restore(acme, &deletion).await.expect(200);
        assert_eq!(acme.docker.get(&path).await.expect(200).body, blob.bytes);
        acme.docker.delete(&path).await.expect(202);
        let deletion = items(&acme.api, "/deletions").await.remove(0);
        purge(acme, &deletion).await.expect(200);
        acme.docker.get(&path).await.expect(404);
        restore(acme, &deletion).await.expect_error(410, "gone");
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_push_to_a_deleted_name_starts_afresh() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, content) = (&scene.acme, &scene.content);
        let name = acme.name(APP);
        let deletion = delete(acme, &image_path()).await;
        // Its blobs are not members of what begins under its name.
        let refused = acme
            .docker
            .put_manifest(&name, "v2", &content.manifest)
            .await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        let second = image().layer("version two").build();
        acme.push(APP, "v2", &second).await;
        acme.pull(APP, "v1").await.expect(404);
        acme.pull(APP, &content.manifest.digest).await.expect(404);
        let message = restore(acme, &deletion).await.expect_error(409, "conflict");
        assert!(message.contains(APP), "{message}");
        assert_eq!(
            acme.pull(APP, "v2").await.expect(200).body,
            second.manifest.bytes
        );

        // Both come back, one after the other.
        let newer = delete(acme, &image_path()).await;
        restore(acme, &deletion).await.expect(200);
        assert_eq!(
            acme.pull(APP, "v1").await.expect(200).body,
            content.manifest.bytes
        );
        acme.pull(APP, "v2").await.expect(404);
        restore(acme, &newer).await.expect_error(409, "conflict");
        let older = delete(acme, &image_path()).await;
        restore(acme, &newer).await.expect(200);
        acme.pull(APP, "v1").await.expect(404);
        acme.pull(APP, "v2").await.expect(200);
        // An alias is in the way as well.
        delete(acme, &image_path()).await;
        scene.beta.push("theirs", "v1", content).await;
        let body = json!({"targetWorkspace": "acme", "alias": APP});
        scene
            .beta
            .api
            .post("/images/theirs/-/share", &body)
            .await
            .expect(200);
        restore(acme, &older).await.expect_error(409, "conflict");
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_push_that_was_never_finished_keeps_no_image_from_coming_back() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, content) = (&scene.acme, &scene.content);
        let deletion = delete(acme, &image_path()).await;
        let blob = Content::new("pushed, and never needed");
        acme.docker
            .push_blob(&acme.name(APP), &blob)
            .await
            .expect(201);
        restore(acme, &deletion).await.expect(200);
        assert_eq!(
            acme.pull(APP, "v1").await.expect(200).body,
            content.manifest.bytes
        );
        let path = format!("/v2/{}/blobs/{}", acme.name(APP), blob.digest);
        acme.docker.get(&path).await.expect(404);
        // The push begins again, and comes to its end.
        acme.push(
            APP,
            "v2",
            &image().layer("pushed, and never needed").build(),
        )
        .await;
        scene.collect().await;
        assert_eq!(items(&acme.api, "/deletions").await, NOTHING);
        assert_eq!(
            scene
                .registry
                .number("SELECT COUNT(*) FROM repositories")
                .await,
            1
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn what_was_deleted_before_its_image_stays_deleted_and_can_follow() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, content) = (&scene.acme, &scene.content);
        let second = image().layer("version two").build();
        acme.push(APP, "v2", &second).await;
        let tag = delete(acme, &tag_path("v1")).await;
        let manifest = delete(acme, &manifest_path(&second.manifest)).await;
        let whole = delete(acme, &image_path()).await;
        for earlier in [&tag, &manifest] {
            let message = restore(acme, earlier).await.expect_error(409, "conflict");
            assert!(message.contains(whole["id"].as_str().unwrap()), "{message}");
        }
        restore(acme, &whole).await.expect(200);
        acme.pull(APP, "v1").await.expect(404);
        acme.pull(APP, "v2").await.expect(404);
        acme.pull(APP, &content.manifest.digest).await.expect(200);
        restore(acme, &manifest).await.expect(200);
        assert_eq!(
            acme.pull(APP, "v2").await.expect(200).body,
            second.manifest.bytes
        );
        restore(acme, &tag).await.expect(200);
        assert_eq!(
            acme.pull(APP, "v1").await.expect(200).body,
            content.manifest.bytes
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn deletions_belong_to_their_workspace_and_are_listed_page_by_page() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.push("else", "v1", &scene.content).await;
        let tag = delete(acme, &tag_path("v1")).await;
        scene.registry.clock.advance(1);
        let whole = delete(acme, "/images/else").await;
        let first = acme.api.get("/deletions?limit=1").await.expect(200);
        assert_eq!(first["items"], json!([whole]));
        let cursor = first["nextCursor"].as_str().unwrap();
        let second = acme
            .api
            .get(&format!("/deletions?limit=1&cursor={cursor}"))
            .await;
        let second = second.expect(200);
        assert_eq!(
            (&second["items"], &second["nextCursor"]),
            (&json!([tag]), &Value::Null)
        );
        acme.api
            .get(&format!("/leases?cursor={cursor}"))
            .await
            .expect_error(400, "bad_request");

        assert_eq!(items(&beta.api, "/deletions").await, NOTHING);
        let id = tag["id"].as_str().unwrap();
        let ghost = json!({"id": "0".repeat(id.len())});
        for end in ["restore", "purge"] {
            let foreign = ending(beta, &tag, end).await.expect_error(404, "not_found");
            let absent = ending(beta, &ghost, end)
                .await
                .expect_error(404, "not_found");
            assert_eq!(foreign.replace(id, ghost["id"].as_str().unwrap()), absent);
        }
        // A narrowed key sees and restores what it reaches.
        let narrow = acme.narrowed(&scene.registry, &["else"]).await;
        assert_eq!(
            items(&narrow, "/deletions").await,
            std::slice::from_ref(&whole)
        );
        assert_eq!(
            items(&narrow, "/deletions?limit=1").await,
            std::slice::from_ref(&whole)
        );
        for end in ["restore", "purge"] {
            let path = format!("/deletions/{id}/{end}");
            narrow
                .send(Method::POST, &path, None)
                .await
                .expect_error(403, "forbidden");
        }
        narrow
            .delete(&image_path())
            .await
            .expect_error(403, "forbidden");
        let path = format!("/deletions/{}/restore", whole["id"].as_str().unwrap());
        for role in ["viewer", "builder"] {
            let api = acme.as_role(&scene.registry, role).await;
            api.send(Method::POST, &path, None)
                .await
                .expect_error(403, "forbidden");
            api.delete(&image_path())
                .await
                .expect_error(403, "forbidden");
        }
        narrow.send(Method::POST, &path, None).await.expect(200);
        let developer = acme.as_role(&scene.registry, "developer").await;
        developer.delete("/images/else").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn deletes_of_what_is_not_there_are_refused() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let acme = &scene.acme;
        let unknown = Content::new("unknown");
        acme.docker
            .push_blob(&acme.name("begun"), &unknown)
            .await
            .expect(201);
        for path in [
            String::from("/images/absent"),
            // An upload alone is no image yet.
            String::from("/images/begun"),
            String::from("/images/absent/-/tags/v1"),
            tag_path("v2"),
            manifest_path(&unknown),
            String::from("/images/t-acmekey/team/app"),
        ] {
            acme.api.delete(&path).await.expect_error(404, "not_found");
        }
        for path in [
            "/images/team%2Fapp",
            "/images/team/app:v1",
            "/images/team/app@sha256:00",
            "/images/Team/app",
            "/images/team/app/-/tags/-v1",
            "/images/team/app/-/tags/v%2F1",
            "/images/team/app/-/manifests/v1",
            "/images/team/app/-/manifests/sha256:00",
            "/images/team/app?force=1",
            "/images/team/app?force=true&force=true",
        ] {
            acme.api.delete(path).await.expect_error(400, "bad_request");
        }
        let developer = acme.as_role(&scene.registry, "developer").await;
        let forced = format!("{}?force=true", image_path());
        developer
            .delete(&forced)
            .await
            .expect_error(403, "forbidden");
        let request = acme
            .docker
            .request(Method::DELETE, &acme.manifest(APP, "v2"));
        Reply::of(request).await.expect(404);
        acme.pull(APP, "v1").await.expect(200);
        scene.stop().await;
    }
}
