//! What may not go or move: what is protected, immutable, needed by an index, or in use; alike through both APIs.

use reqwest::Method;
use serde_json::json;

use super::{APP, DAY_MS, Scene, Side, denied};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, INDEX, Reply, image};

/// The three ways to delete something of the image by the management API.
fn ways(content: &Content) -> [String; 3] {
    [
        format!("/images/{APP}"),
        format!("/images/{APP}/-/tags/v1"),
        format!("/images/{APP}/-/manifests/{}", content.digest),
    ]
}

/// Both ways of the registry.
async fn registry_deletes(side: &Side, content: &Content) -> [Reply; 2] {
    [
        side.docker.delete(&side.manifest(APP, "v1")).await,
        side.docker
            .delete(&side.manifest(APP, &content.digest))
            .await,
    ]
}

fn index_of(child: &Content) -> Content {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        {"mediaType": child.media_type, "digest": child.digest, "size": child.bytes.len()}]});
    Content {
        media_type: INDEX,
        ..Content::new(index.to_string())
    }
}

#[tokio::test]
async fn nothing_of_a_protected_image_goes_and_everything_can_be_pushed() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, manifest) = (&scene.acme, &scene.content.manifest);
        scene.set_image("protected = 1").await;
        for path in ways(manifest) {
            for query in ["", "?force=true"] {
                let answer = acme.api.delete(&format!("{path}{query}")).await;
                assert_eq!(
                    answer.expect_in_use("protected"),
                    [] as [String; 0],
                    "{path}"
                );
            }
        }
        for reply in registry_deletes(acme, manifest).await {
            let message = denied(&reply);
            assert!(message.contains("protected"), "{message}");
        }
        let second = image().layer("version two").build();
        acme.push(APP, "v1", &second).await;
        acme.push(APP, "v2", &second).await;
        // Also what no tag names any more.
        let path = format!("/images/{APP}/-/manifests/{}", manifest.digest);
        acme.api.delete(&path).await.expect_in_use("protected");
        scene.set_image("protected = 0").await;
        acme.api.delete(&path).await.expect(200);
        acme.api.delete(&format!("/images/{APP}")).await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_immutable_tag_stays_where_it_is() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, first) = (&scene.acme, &scene.content.manifest);
        let name = acme.name(APP);
        scene.set_image("immutable_tags = 'v*'").await;
        let second = image().layer("version two").build();
        acme.push(APP, "latest", &second).await;
        let second = &second.manifest;
        // By tag and by digest; one tag that may not move keeps all of a push out.
        let by_digest = async |content: &Content, tags: &str| {
            let path = format!("/v2/{name}/manifests/{}?{tags}", content.digest);
            let request = acme
                .docker
                .request(Method::PUT, &path)
                .header("content-type", content.media_type)
                .body(content.bytes.clone());
            Reply::of(request).await
        };
        for reply in [
            acme.docker.put_manifest(&name, "v1", second).await,
            by_digest(second, "tag=v1").await,
            by_digest(second, "tag=new&tag=v1").await,
            by_digest(second, "tag=v1&tag=new").await,
        ] {
            let message = denied(&reply);
            assert!(message.contains("v1 is immutable"), "{message}");
            assert!(message.contains(&first.digest), "{message}");
        }
        acme.pull(APP, "new").await.expect(404);
        acme.docker
            .put_manifest(&name, "v1", first)
            .await
            .expect(201);
        by_digest(first, "tag=v1").await.expect(201);
        by_digest(second, "tag=new&tag=v2").await.expect(201);
        by_digest(first, "tag=new").await.expect(201);
        acme.docker
            .put_manifest(&name, "latest", first)
            .await
            .expect(201);
        assert_eq!(acme.pull(APP, "v1").await.expect(200).body, first.bytes);
        assert_eq!(acme.pull(APP, "v2").await.expect(200).body, second.bytes);
        scene.stop().await;
    }
}

#[tokio::test]
async fn what_has_an_immutable_tag_does_not_go() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, manifest) = (&scene.acme, &scene.content.manifest);
        scene.set_image("immutable_tags = 'v*'").await;
        let name = acme.name(APP);
        acme.docker
            .put_manifest(&name, "latest", manifest)
            .await
            .expect(201);
        for path in ways(manifest) {
            for query in ["", "?force=true"] {
                let answer = acme.api.delete(&format!("{path}{query}")).await;
                assert_eq!(answer.expect_in_use("immutable"), ["tag v1"], "{path}");
            }
        }
        for reply in registry_deletes(acme, manifest).await {
            let message = denied(&reply);
            assert!(message.contains("immutable"), "{message}");
        }
        acme.api
            .delete(&format!("/images/{APP}/-/tags/latest"))
            .await
            .expect(200);
        // Among many tags the one that stays is found.
        let index = Content::empty_index("many");
        for number in 0..12 {
            let tag = format!("a{number}");
            acme.docker
                .put_manifest(&name, &tag, &index)
                .await
                .expect(201);
        }
        let path = format!("/images/{APP}");
        assert_eq!(
            acme.api.delete(&path).await.expect_in_use("immutable"),
            ["tag v1"]
        );
        let many = format!("/images/{APP}/-/manifests/{}", index.digest);
        acme.api.delete(&many).await.expect(200);
        scene.set_image("immutable_tags = NULL").await;
        acme.api.delete(&path).await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn the_child_of_an_index_goes_after_the_index() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, child) = (&scene.acme, &scene.content.manifest);
        let index = index_of(child);
        acme.docker
            .put_manifest(&acme.name(APP), "all", &index)
            .await
            .expect(201);
        let of = |content: &Content| format!("/images/{APP}/-/manifests/{}", content.digest);
        for query in ["", "?force=true"] {
            let answer = acme.api.delete(&format!("{}{query}", of(child))).await;
            let holders = answer.expect_in_use("index_child");
            assert_eq!(holders, [format!("index {}", index.digest)]);
        }
        let message = denied(&acme.docker.delete(&acme.manifest(APP, &child.digest)).await);
        assert!(message.contains(&index.digest), "{message}");
        acme.docker
            .delete(&acme.manifest(APP, &index.digest))
            .await
            .expect(202);
        acme.docker
            .delete(&acme.manifest(APP, &child.digest))
            .await
            .expect(202);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_shared_image_keeps_what_is_rooted_in_it() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let first = &scene.content.manifest;
        let name = acme.name(APP);
        let index = index_of(first);
        acme.docker
            .put_manifest(&name, "all", &index)
            .await
            .expect(201);
        let signature = image().layer("signed").subject(&index).build();
        acme.push(APP, "signature", &signature).await;
        acme.share(APP, beta).await.expect(200);
        acme.api
            .delete(&format!("/images/{APP}/-/tags/signature"))
            .await
            .expect_in_use("shared");
        for path in ways(first) {
            for query in ["", "?force=true"] {
                let answer = acme.api.delete(&format!("{path}{query}")).await;
                assert_eq!(answer.expect_in_use("shared"), ["workspace beta"], "{path}");
            }
        }
        for reply in registry_deletes(acme, first).await {
            let message = denied(&reply);
            assert!(message.contains("workspace beta"), "{message}");
        }
        // A digest that a push untagged stays for 30 days; one that nothing ever rooted goes at once.
        let second = image().layer("version two").build();
        acme.push(APP, "v2", &second).await;
        let third = image().layer("version three").build();
        acme.push(APP, "v2", &third).await;
        let untagged = format!("/images/{APP}/-/manifests/{}", second.manifest.digest);
        acme.api.delete(&untagged).await.expect_in_use("shared");
        let loose = Content::empty_index("never tagged");
        acme.docker
            .put_manifest(&name, &loose.digest, &loose)
            .await
            .expect(201);
        acme.docker
            .delete(&acme.manifest(APP, &loose.digest))
            .await
            .expect(202);
        scene.registry.clock.advance(30 * DAY_MS - 1);
        acme.api.delete(&untagged).await.expect_in_use("shared");
        // Longer, if it is leased.
        let leased = format!("{APP}@{}", second.manifest.digest);
        beta.lease("web", &leased).await.expect(200);
        scene.registry.clock.advance(1);
        let holders = acme.api.delete(&untagged).await.expect_in_use("shared");
        assert_eq!(holders, ["workspace beta"]);
        beta.api.delete("/leases/web").await.expect(204);
        acme.api.delete(&untagged).await.expect(200);
        // The child of a tagged index, and what refers to it, are rooted by it.
        acme.pull(APP, &first.digest).await.expect(200);
        let child = format!("/images/{APP}/-/manifests/{}", first.digest);
        acme.api.delete(&child).await.expect_in_use("shared");
        acme.unshare(APP, beta).await.expect(200);
        acme.api.delete(&format!("/images/{APP}")).await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn foreign_leases_hold_until_an_admin_overrides_them() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let manifest = &scene.content.manifest;
        acme.share(APP, beta).await.expect(200);
        beta.lease("template/web", &format!("{APP}:v1"))
            .await
            .expect(200);
        acme.api
            .delete(&format!("/images/{APP}/-/share/beta?force=true"))
            .await
            .expect(200);
        for path in ways(manifest) {
            let holders = acme.api.delete(&path).await.expect_in_use("leased");
            assert_eq!(holders, ["lease template/web"], "{path}");
            let developer = acme.as_role(&scene.registry, "developer").await;
            let forced = format!("{path}?force=true");
            developer
                .delete(&forced)
                .await
                .expect_error(403, "forbidden");
        }
        for reply in registry_deletes(acme, manifest).await {
            let message = denied(&reply);
            assert!(
                message.contains("template/web of workspace beta"),
                "{message}"
            );
        }
        // Own leases are not overridden.
        acme.lease("own", &format!("{APP}:v1")).await.expect(200);
        let [image, tag, digest] = ways(manifest);
        for path in [&image, &tag, &digest] {
            let answer = acme.api.delete(&format!("{path}?force=true")).await;
            assert_eq!(answer.expect_in_use("leased"), ["lease own"]);
        }
        acme.api.delete("/leases/own").await.expect(204);
        let deletion = acme
            .api
            .delete(&format!("{tag}?force=true"))
            .await
            .expect(200);
        let warning = deletion["warnings"][0].as_str().unwrap();
        assert!(
            warning.contains("template/web of workspace beta"),
            "{warning}"
        );
        let audited = scene.audited(acme, "tag.delete").await;
        assert!(
            audited[0].contains("template/web of workspace beta"),
            "{audited:?}"
        );
        acme.pull(APP, "v1").await.expect(404);
        acme.api
            .delete(&format!("{image}?force=true"))
            .await
            .expect(200);
        let audited = scene.audited(acme, "image.delete").await;
        assert!(audited[0].contains("template/web"), "{audited:?}");
        scene.stop().await;
    }
}
