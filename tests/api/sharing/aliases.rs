//! Aliases: what a shared image answers in the other workspace, what it refuses, and how it ends.

use std::time::Instant;

use berth::http::Door;
use reqwest::Method;
use serde_json::{Value, json};

use super::{APP, Scene, denied, items};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login, Reply, image};
use crate::support::ending::{ENDS_WITHIN, seen_within};

/// Pulls everything there is of the image by its alias.
async fn pull_all(scene: &Scene, docker: &Distribution, alias: &str) {
    let name = scene.beta.name(alias);
    let manifest = &scene.content.manifest;
    for reference in ["v1", &manifest.digest] {
        let path = format!("/v2/{name}/manifests/{reference}");
        let pulled = docker.get(&path).await.expect(200);
        assert_eq!(pulled.body, manifest.bytes);
        assert_eq!(pulled.header("docker-content-digest"), manifest.digest);
        let seen = docker.head(&path).await.expect(200);
        assert_eq!(seen.header("docker-content-digest"), manifest.digest);
    }
    for blob in std::iter::once(&scene.content.config).chain(&scene.content.layers) {
        let path = format!("/v2/{name}/blobs/{}", blob.digest);
        assert_eq!(docker.get(&path).await.expect(200).body, blob.bytes);
        docker.head(&path).await.expect(200);
    }
    let tags = docker.get(&format!("/v2/{name}/tags/list")).await;
    assert_eq!(tags.expect(200).json()["name"], name);
}

#[tokio::test]
async fn an_alias_is_read_like_the_source_by_whoever_may_pull() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let body = json!({"targetWorkspace": "beta", "alias": "from/acme"});
        let path = format!("/images/{APP}/-/share");
        let shared = acme.api.post(&path, &body).await.expect(200);
        assert_eq!(shared["alias"], "from/acme");
        let name = beta.name("from/acme");
        let viewer = scene.registry.key_of("beta", "viewer").await;
        let credential = beta.docker.with(beta.credential(&json!({})).await);
        let scope = format!("repository:{name}:pull");
        let token = credential.exchanged(&[&scope]).await;
        for docker in [
            &beta.docker,
            &scene.registry.with_key(&viewer),
            &credential,
            &token,
        ] {
            pull_all(&scene, docker, "from/acme").await;
        }
        // It has no other name there.
        beta.pull(APP, "v1").await.expect(404);
        // Nor has anybody else one.
        let refused = scene
            .gamma
            .docker
            .get(&beta.manifest("from/acme", "v1"))
            .await;
        assert!(matches!(refused.status, 401 | 403), "{refused:?}");

        let second = image()
            .layer("version two")
            .subject(&scene.content.manifest)
            .build();
        acme.push(APP, "v2", &second).await;
        let tags = beta.docker.get(&format!("/v2/{name}/tags/list")).await;
        assert_eq!(tags.expect(200).json()["tags"], json!(["v1", "v2"]));
        let pulled = beta.pull("from/acme", "v2").await.expect(200);
        assert_eq!(pulled.body, second.manifest.bytes);
        let subject = &scene.content.manifest.digest;
        let referrers = beta
            .docker
            .get(&format!("/v2/{name}/referrers/{subject}"))
            .await;
        let referrers = referrers.expect(200).json();
        assert_eq!(referrers["manifests"][0]["digest"], second.manifest.digest);
        let own = image().layer("their own").build();
        beta.push("own", "v1", &own).await;
        let catalogue = beta.docker.get("/v2/_catalog").await.expect(200).json();
        assert_eq!(catalogue["repositories"], json!([name, beta.name("own")]));
        scene.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_pushed_to_or_deleted_from_an_alias() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let name = beta.name(APP);
        let early = beta.docker.open_upload(&name).await;
        acme.share(APP, beta).await.expect(200);
        let index = Content::empty_index("theirs");
        let uploads = format!("/v2/{name}/blobs/uploads/");
        let layer = &scene.content.layers[0].digest;
        let digest = &scene.content.manifest.digest;
        let request = |method: Method, path: &str| Reply::of(beta.docker.request(method, path));
        let put = format!("{early}?digest={}", Content::new("").digest);
        for reply in [
            beta.docker.put_manifest(&name, "v2", &index).await,
            beta.docker
                .put_manifest(&name, "v1", &scene.content.manifest)
                .await,
            beta.docker.put_manifest(&name, &index.digest, &index).await,
            request(Method::POST, &uploads).await,
            beta.docker.push_blob(&name, &Content::new("a blob")).await,
            request(
                Method::POST,
                &format!("{uploads}?mount={layer}&from={name}"),
            )
            .await,
            request(Method::PUT, &put).await,
            beta.docker.delete(&beta.manifest(APP, "v1")).await,
            beta.docker.delete(&beta.manifest(APP, digest)).await,
            beta.docker
                .delete(&format!("/v2/{name}/blobs/{layer}"))
                .await,
        ] {
            let message = denied(&reply);
            assert!(message.contains("t-acmekey/team/app"), "{message}");
        }
        for path in [
            format!("/images/{APP}"),
            format!("/images/{APP}/-/tags/v1"),
            format!("/images/{APP}/-/manifests/{digest}"),
        ] {
            let message = beta.api.delete(&path).await.expect_error(403, "forbidden");
            assert!(message.contains("t-acmekey/team/app"), "{message}");
        }
        acme.pull(APP, "v1").await.expect(200);
        acme.pull(APP, "v2").await.expect(404);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_blob_that_was_mounted_from_an_alias_stays_after_the_share() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let layer = &scene.content.layers[0];
        let path = format!(
            "/v2/{}/blobs/uploads/?mount={}&from={}",
            beta.name("mine"),
            layer.digest,
            beta.name(APP)
        );
        let mounted = Reply::of(beta.docker.request(Method::POST, &path)).await;
        mounted.expect(201);
        acme.unshare(APP, beta).await.expect(200);
        let kept = format!("/v2/{}/blobs/{}", beta.name("mine"), layer.digest);
        assert_eq!(beta.docker.get(&kept).await.expect(200).body, layer.bytes);
        // From an alias that is gone nothing is mounted: it is an ordinary upload.
        let path = path.replace("mine", "next");
        let upload = Reply::of(beta.docker.request(Method::POST, &path)).await;
        upload.expect(202);
        scene.stop().await;
    }
}

#[tokio::test]
async fn after_unsharing_the_next_pull_finds_nothing() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let name = beta.name(APP);
        let credential = beta.docker.with(beta.credential(&json!({})).await);
        let token = credential
            .exchanged(&[&format!("repository:{name}:pull")])
            .await;
        let digest = &scene.content.manifest.digest;
        let layer = &scene.content.layers[0].digest;
        let paths = [
            beta.manifest(APP, "v1"),
            beta.manifest(APP, digest),
            format!("/v2/{name}/blobs/{layer}"),
            format!("/v2/{name}/tags/list"),
        ];
        for path in &paths {
            token.get(path).await.expect(200);
        }
        let ended = acme.unshare(APP, beta).await.expect(200);
        assert_eq!(
            (&ended["workspace"], &ended["status"]),
            (&json!("beta"), &json!("active"))
        );
        for docker in [&beta.docker, &credential, &token] {
            for path in &paths {
                docker.get(path).await.expect(404);
            }
        }
        let catalogue = beta.docker.get("/v2/_catalog").await.expect(200);
        assert_eq!(catalogue.json()["repositories"], json!([]));
        let message = acme.unshare(APP, beta).await.expect_error(404, "not_found");
        assert!(message.contains("beta"), "{message}");
        let audited = scene.audited(acme, "share.end").await;
        assert_eq!(audited.len(), 1, "{audited:?}");
        // The name is free, and the image can be shared once more.
        beta.push(APP, "v1", &image().layer("their own").build())
            .await;
        acme.share(APP, beta).await.expect_error(409, "conflict");
        acme.pull(APP, "v1").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_ended_share_ends_at_another_replica_within_five_seconds() {
    if TestDatabase::chosen() != TestDatabase::Replicas {
        return;
    }
    let scene = Scene::set(TestDatabase::Replicas).await;
    let second = scene.registry.replica().await;
    scene.acme.share(APP, &scene.beta).await.expect(200);
    let there = second.distribution(Door::Public, Login::key(&scene.beta.team.admin_key));
    let token = there
        .exchanged(&[&format!("repository:{}:pull", scene.beta.name(APP))])
        .await;
    let path = scene.beta.manifest(APP, "v1");
    for docker in [&there, &token] {
        docker.get(&path).await.expect(200);
    }
    scene.acme.unshare(APP, &scene.beta).await.expect(200);
    let since = Instant::now();
    for docker in [&there, &token] {
        let look = async || docker.get(&path).await.status == 404;
        seen_within(ENDS_WITHIN, since, "the end of the share", look).await;
    }
    second.running.stop().await;
    scene.stop().await;
}

#[tokio::test]
async fn the_target_drops_an_alias() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let path = format!("/images/{APP}/-/share");
        let developer = beta.as_role(&scene.registry, "developer").await;
        developer.delete(&path).await.expect_error(403, "forbidden");
        let narrow = beta.narrowed(&scene.registry, &["else"]).await;
        narrow.delete(&path).await.expect_error(403, "forbidden");
        let dropped = beta.api.delete(&path).await.expect(200);
        assert_eq!(
            (&dropped["workspace"], &dropped["alias"]),
            (&json!("beta"), &json!(APP))
        );
        beta.pull(APP, "v1").await.expect(404);
        assert_eq!(items(&acme.api, &path).await, [] as [Value; 0]);
        beta.api.delete(&path).await.expect_error(404, "not_found");
        let message = acme.api.delete(&path).await.expect_error(404, "not_found");
        assert!(message.contains("not shared to it"), "{message}");
        acme.pull(APP, "v1").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_alias_takes_no_name_that_stands_for_something() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let theirs = image().layer("their own").build();
        beta.push(APP, "v1", &theirs).await;
        let message = acme.share(APP, beta).await.expect_error(409, "conflict");
        assert!(message.contains("another alias"), "{message}");
        let path = format!("/images/{APP}/-/share");
        assert_eq!(items(&acme.api, &path).await, [] as [Value; 0]);
        let body = json!({"targetWorkspace": "beta", "alias": "shared"});
        acme.api.post(&path, &body).await.expect(200);
        acme.push("second", "v1", &theirs).await;
        let taken = acme.api.post("/images/second/-/share", &body).await;
        taken.expect_error(409, "conflict");
        assert_eq!(
            beta.pull(APP, "v1").await.expect(200).body,
            theirs.manifest.bytes
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_alias_is_not_shared_on() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let path = format!("/images/{APP}/-/share");
        for target in [
            json!({"targetWorkspace": "main"}),
            json!({"targetWorkspace": "acme"}),
            json!({"targetWorkspace": "gamma", "targetAccountId": scene.other_account}),
            json!({"targetWorkspace": "nobody"}),
        ] {
            let message = beta
                .api
                .post(&path, &target)
                .await
                .expect_error(403, "forbidden");
            assert!(message.contains("t-acmekey/team/app"), "{message}");
        }
        let ends = beta.api.delete(&format!("{path}/main")).await;
        ends.expect_error(404, "not_found");
        scene.stop().await;
    }
}
