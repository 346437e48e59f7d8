//! Platform images: every workspace pulls them by their full name, and does nothing else to them.

use reqwest::Method;
use serde_json::json;

use super::{APP, Scene, Side};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Login, Reply, image};

/// A name of the same length as the image's, of nothing.
const ABSENT: &str = "team/apx";
/// The same, of an image that is its workspace's own.
const PRIVATE: &str = "team/apy";

/// A scene whose image is for everybody.
async fn published(database: TestDatabase) -> Scene {
    let scene = Scene::set(database).await;
    scene.set_image("visibility = 'platform'").await;
    scene.acme.push(PRIVATE, "v1", &scene.content).await;
    scene
}

/// A key, a credential and a token of a workspace, each as it pulls `name`.
async fn pullers(side: &Side, name: &str) -> [Distribution; 3] {
    let credential = side.docker.with(side.credential(&json!({})).await);
    let scope = format!("repository:{name}:pull");
    let token = credential.exchanged(&[&scope]).await;
    [side.docker.clone(), credential, token]
}

#[tokio::test]
async fn every_workspace_pulls_a_platform_image_by_its_full_name() {
    for database in TestDatabase::available() {
        let scene = published(database).await;
        let (name, content) = (scene.acme.name(APP), &scene.content);
        for side in [&scene.acme, &scene.beta, &scene.gamma] {
            for docker in pullers(side, &name).await {
                for reference in ["v1", &content.manifest.digest] {
                    let path = format!("/v2/{name}/manifests/{reference}");
                    let pulled = docker.get(&path).await.expect(200);
                    assert_eq!(pulled.body, content.manifest.bytes);
                    docker.head(&path).await.expect(200);
                }
                let layer = &content.layers[0];
                let path = format!("/v2/{name}/blobs/{}", layer.digest);
                assert_eq!(docker.get(&path).await.expect(200).body, layer.bytes);
                docker
                    .get(&format!("/v2/{name}/tags/list"))
                    .await
                    .expect(200);
                let subject = &content.manifest.digest;
                let referrers = docker.get(&format!("/v2/{name}/referrers/{subject}")).await;
                referrers.expect(200);
            }
        }
        // It is not theirs, and so not in their catalogue.
        let catalogue = scene.beta.docker.get("/v2/_catalog").await.expect(200);
        assert_eq!(catalogue.json()["repositories"], json!([]));
        // What was mounted from it stays theirs.
        let layer = &content.layers[0];
        let path = format!(
            "/v2/{}/blobs/uploads/?mount={}&from={name}",
            scene.beta.name("mine"),
            layer.digest
        );
        let mounted = Reply::of(scene.beta.docker.request(Method::POST, &path)).await;
        mounted.expect(201);
        scene.stop().await;
    }
}

#[tokio::test]
async fn whoever_is_narrowed_does_not_pull_it() {
    for database in TestDatabase::available() {
        let scene = published(database).await;
        let beta = &scene.beta;
        let name = scene.acme.name(APP);
        let body = json!({"name": "narrow", "role": "admin", "repositories": ["**"]});
        let (narrow, _) = scene.registry.key_with("beta", &body).await;
        let credential = beta.credential(&json!({"targetImage": APP})).await;
        for login in [Login::key(&narrow), credential] {
            let docker = beta.docker.with(login);
            let scope = format!("repository:{name}:pull");
            for docker in [docker.clone(), docker.exchanged(&[&scope]).await] {
                let path = format!("/v2/{name}/manifests/v1");
                let refused = docker.get(&path).await;
                assert!(matches!(refused.status, 401 | 403), "{refused:?}");
            }
        }
        // Narrowed to pulls, a key still pulls it.
        let body = json!({"name": "pull", "role": "admin", "actions": ["pull"]});
        let (pulls, _) = scene.registry.key_with("beta", &body).await;
        let docker = scene.registry.with_key(&pulls);
        docker
            .get(&format!("/v2/{name}/manifests/v1"))
            .await
            .expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn nobody_else_pushes_to_or_deletes_from_it() {
    for database in TestDatabase::available() {
        let scene = published(database).await;
        let name = scene.acme.name(APP);
        let manifest = &scene.content.manifest;
        let everything = json!({"actions": ["pull", "push", "delete"]});
        let credential = scene.beta.credential(&everything).await;
        let credential = scene.beta.docker.with(credential);
        let scope = format!("repository:{name}:pull,push,delete");
        let token = credential.exchanged(&[&scope]).await;
        for docker in [&scene.beta.docker, &credential, &token] {
            let path = format!("/v2/{name}/blobs/uploads/");
            let digest = &manifest.digest;
            for reply in [
                docker.put_manifest(&name, "v2", manifest).await,
                Reply::of(docker.request(Method::POST, &path)).await,
                docker.delete(&format!("/v2/{name}/manifests/v1")).await,
                docker
                    .delete(&format!("/v2/{name}/manifests/{digest}"))
                    .await,
            ] {
                assert!(matches!(reply.status, 401 | 403), "{reply:?}");
            }
        }
        let path = format!("/images/t-acmekey/{APP}/-/share");
        let body = json!({"targetWorkspace": "main"});
        let share = scene.beta.api.post(&path, &body).await;
        share.expect_error(404, "not_found");
        scene.acme.pull(APP, "v1").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn foreign_images_answer_alike_whether_they_exist_or_not() {
    for database in TestDatabase::available() {
        let scene = published(database).await;
        for side in [&scene.beta, &scene.gamma] {
            let mut answers = Vec::new();
            for image in [PRIVATE, ABSENT] {
                let name = scene.acme.name(image);
                for docker in pullers(side, &name).await {
                    for path in [
                        format!("/v2/{name}/manifests/v1"),
                        format!("/v2/{name}/tags/list"),
                    ] {
                        let reply = docker.get(&path).await;
                        assert!(matches!(reply.status, 401 | 403), "{reply:?}");
                        let text = reply.text().replace(image, "<image>");
                        let challenge = reply.header("www-authenticate").replace(image, "<image>");
                        answers.push((reply.status, text, challenge));
                    }
                }
            }
            let (private, absent) = answers.split_at(answers.len() / 2);
            assert_eq!(private, absent);
        }
        scene.stop().await;
    }
}

#[tokio::test]
async fn leases_on_a_platform_image_warn_its_owner_and_keep_its_bytes() {
    for database in TestDatabase::available() {
        let scene = published(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let full = format!("{}:v1", acme.name(APP));
        let made = beta.lease("template/web", &full).await.expect(200);
        assert_eq!(made["digest"], scene.content.manifest.digest);
        scene.gamma.lease("web", &full).await.expect(200);
        let body = json!({"name": "narrow", "role": "admin", "repositories": ["**"]});
        let (narrow, _) = scene.registry.key_with("beta", &body).await;
        let narrow = scene.registry.api(&narrow);
        let refused = narrow.put("/leases/narrow", &json!({"image": full})).await;
        refused.expect_error(404, "not_found");
        let foreign = [PRIVATE, ABSENT].map(|image| (image, format!("{}:v1", acme.name(image))));
        let mut messages = Vec::new();
        for (image, reference) in foreign {
            let refused = beta
                .lease("web", &reference)
                .await
                .expect_error(404, "not_found");
            messages.push(refused.replace(image, "<image>"));
        }
        assert_eq!(messages[0], messages[1]);

        // A second tag, so that one can go by the registry and one by the API.
        let name = acme.name(APP);
        acme.docker
            .put_manifest(&name, "v2", &scene.content.manifest)
            .await
            .expect(201);
        acme.docker
            .delete(&acme.manifest(APP, "v2"))
            .await
            .expect(202);
        let deletion = acme.api.delete(&format!("/images/{APP}")).await.expect(200);
        let warnings = deletion["warnings"].as_array().unwrap();
        for holder in ["template/web of workspace beta", "web of workspace gamma"] {
            let told = warnings
                .iter()
                .any(|line| line.as_str().unwrap().contains(holder));
            assert!(told, "{warnings:?}");
        }
        beta.docker.get(&format!("/v2/{name}/manifests/v1")).await;
        let path = format!("/deletions/{}/purge", deletion["id"].as_str().unwrap());
        let purge = acme.api.send(Method::POST, &path, None).await;
        let mut holders = purge.expect_in_use("leased");
        holders.sort_unstable();
        assert_eq!(holders, ["lease template/web", "lease web"]);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_namespace_is_named_without_a_host_and_own_images_come_first() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let operator = scene.registry.operator();
        let body = json!({"name": "platform", "account": "main", "namespace": "platform"});
        operator.post("/workspaces", &body).await.expect(201);
        let key = scene.registry.key_of("platform", "admin").await;
        let base = image().layer("the base of all").build();
        scene
            .registry
            .with_key(&key)
            .push_image("platform/base", "latest", &base)
            .await;
        let publish =
            "UPDATE repositories SET visibility = 'platform' WHERE name = 'platform/base'";
        scene.registry.execute(publish).await;
        let beta = &scene.beta;
        let pulled = beta.docker.get("/v2/platform/base/manifests/latest").await;
        assert_eq!(pulled.expect(200).body, base.manifest.bytes);
        let lease = beta.lease("web", "platform/base:latest").await.expect(200);
        assert_eq!(lease["digest"], base.manifest.digest);
        // An own image of that name is meant first.
        beta.push("platform/base", "latest", &scene.content).await;
        let lease = beta.lease("web", "platform/base:latest").await.expect(200);
        assert_eq!(lease["digest"], scene.content.manifest.digest);
        scene.stop().await;
    }
}
