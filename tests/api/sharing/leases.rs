//! Leases: what is in use, for how long, and whom that binds.

use berth::http::Door;
use reqwest::Method;
use serde_json::{Value, json};

use super::{APP, DAY_MS, Scene, items, send};
use crate::support::calls::Api;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, INDEX, image};

/// 90 days after the clock of the tests begins.
const LATEST: &str = "2026-04-01T00:00:00Z";

#[tokio::test]
async fn a_lease_is_made_renewed_moved_and_ended() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let acme = &scene.acme;
        let image_v1 = format!("{APP}:v1");
        let made = acme.lease("template/my-app", &image_v1).await.expect(200);
        let digest = &scene.content.manifest.digest;
        let mut expected = json!({"holder": "template/my-app", "image": image_v1, "digest": digest,
            "expiresAt": LATEST});
        assert_eq!(made, expected);
        let viewer = acme.as_role(&scene.registry, "viewer").await;
        assert_eq!(
            viewer.get("/leases/template/my-app").await.expect(200),
            expected
        );
        assert_eq!(items(&viewer, "/leases").await, [expected.clone()]);

        // Renewed; the platform does that all day long, and the audit log need not know.
        scene.registry.clock.advance(DAY_MS);
        let builder = acme.as_role(&scene.registry, "builder").await;
        let body = json!({"image": image_v1, "expiresAt": "2026-01-03T00:00:00+00:00"});
        let renewed = builder
            .put("/leases/template/my-app", &body)
            .await
            .expect(200);
        expected["expiresAt"] = json!("2026-01-03T00:00:00Z");
        assert_eq!(renewed, expected);
        assert_eq!(items(&viewer, "/leases").await, [expected.clone()]);
        assert_eq!(scene.audited(acme, "lease.put").await.len(), 1);

        // Moved: a tag that moves takes no lease along, a new PUT does.
        let second = image().layer("version two").build();
        acme.push(APP, "v1", &second).await;
        assert_eq!(
            viewer.get("/leases/template/my-app").await.expect(200),
            expected
        );
        let moved = builder
            .put("/leases/template/my-app", &body)
            .await
            .expect(200);
        assert_eq!(moved["digest"], second.manifest.digest);
        assert_eq!(scene.audited(acme, "lease.put").await.len(), 2);

        builder.delete("/leases/template/my-app").await.expect(204);
        builder
            .delete("/leases/template/my-app")
            .await
            .expect_error(404, "not_found");
        viewer
            .get("/leases/template/my-app")
            .await
            .expect_error(404, "not_found");
        assert_eq!(items(&viewer, "/leases").await, [] as [Value; 0]);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_lease_names_its_image_in_every_usual_way() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let digest = &scene.content.manifest.digest;
        let url = scene.registry.url(Door::Public);
        let host = url.trim_start_matches("http://");
        acme.push("plain", "latest", &scene.content).await;
        for reference in [
            format!("{APP}:v1"),
            format!("{APP}@{digest}"),
            format!("{APP}:gone@{digest}"),
            format!("t-acmekey/{APP}:v1"),
            format!("{host}/t-acmekey/{APP}:v1"),
            String::from("plain"),
        ] {
            let made = acme.lease("own", &reference).await.expect(200);
            assert_eq!(
                (&made["digest"], &made["image"]),
                (&json!(digest), &json!(reference))
            );
        }
        for reference in [format!("{APP}:v1"), format!("t-betakey/{APP}:v1")] {
            beta.lease("theirs", &reference).await.expect(200);
        }
        // The source's own name is not theirs to say.
        let foreign = beta.lease("theirs", &format!("t-acmekey/{APP}:v1")).await;
        let foreign = foreign.expect_error(404, "not_found");
        let absent = beta.lease("theirs", &format!("t-acmekey/{APP}x:v1")).await;
        let absent = absent.expect_error(404, "not_found").replace("appx", "app");
        assert_eq!(foreign, absent);
        scene.stop().await;
    }
}

async fn refused(api: &Api, body: &str, status: u16, code: &str, says: &str) {
    let answer = send(api, Method::PUT, "/leases/web", body).await;
    let message = answer.expect_error(status, code);
    assert!(message.contains(says), "{body}: {message}");
}

#[tokio::test]
async fn leases_that_are_none_are_refused_with_their_reason() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let api = &scene.acme.api;
        for (body, says) in [
            ("{}", "missing field `image`"),
            ("[]", "JSON object"),
            (r#"{"image":7}"#, "image: invalid type"),
            (
                r#"{"image":""}"#,
                "image: an image reference has 1 to 1024 bytes",
            ),
            (r#"{"image":"App:v1"}"#, "image: "),
            (r#"{"image":"app:-v1"}"#, "is no tag"),
            (r#"{"image":"app@sha256:00"}"#, "is no digest"),
            (r#"{"image":"t-acmekey"}"#, "names no image"),
            (
                r#"{"image":"docker.io/library/app:v1"}"#,
                "another registry",
            ),
            (
                r#"{"image":"team/app:v1","holder":"x"}"#,
                "unknown field `holder`",
            ),
            (
                r#"{"image":"team/app:v1","expiresAt":"tomorrow"}"#,
                "expiresAt: ",
            ),
            (
                r#"{"image":"team/app:v1","expiresAt":"2026-01-01T00:00:00Z"}"#,
                "expiresAt: ",
            ),
            (
                r#"{"image":"team/app:v1","expiresAt":"2025-12-31T00:00:00Z"}"#,
                "expiresAt: ",
            ),
            (
                r#"{"image":"team/app:v1","expiresAt":"2026-04-01T00:00:00.001Z"}"#,
                LATEST,
            ),
            (
                r#"{"image":"team/app:v1","expiresAt":"2026-02-30T00:00:00Z"}"#,
                "expiresAt: ",
            ),
        ] {
            refused(api, body, 400, "bad_request", says).await;
        }
        for (body, says) in [
            (r#"{"image":"absent:v1"}"#, "no image \"absent:v1\""),
            (r#"{"image":"team/app:v2"}"#, "no tag \"v2\""),
            (r#"{"image":"team/app"}"#, "no tag \"latest\""),
        ] {
            refused(api, body, 404, "not_found", says).await;
        }
        let unknown = format!(
            r#"{{"image":"team/app@{}"}}"#,
            Content::new("unknown").digest
        );
        refused(api, &unknown, 404, "not_found", "no manifest sha256:").await;
        let v1 = r#"{"image":"team/app:v1"}"#;
        let last = r#"{"image":"team/app:v1","expiresAt":"2026-04-01T00:00:00Z"}"#;
        send(api, Method::PUT, "/leases/web", last)
            .await
            .expect(200);

        let long = "a".repeat(200);
        for holder in ["a", "template/my-app", "pod/ns:web@node-1_2.3", &long] {
            let path = format!("/leases/{holder}");
            send(api, Method::PUT, &path, v1).await.expect(200);
            assert_eq!(api.get(&path).await.expect(200)["holder"], holder);
        }
        let long = "a".repeat(201);
        for holder in [
            "a%2Fb",
            "a//b",
            "a/",
            "%20",
            "a%00",
            "a?b".replace('?', "%3F").as_str(),
            "\u{e4}",
            &long,
        ] {
            let path = format!("/leases/{holder}");
            for method in [Method::PUT, Method::GET, Method::DELETE] {
                let answer = send(api, method, &path, v1).await;
                answer.expect_error(400, "bad_request");
            }
        }
        let viewer = scene.acme.as_role(&scene.registry, "viewer").await;
        refused(&viewer, v1, 403, "forbidden", "builder").await;
        viewer
            .delete("/leases/web")
            .await
            .expect_error(403, "forbidden");
        let narrow = scene.acme.narrowed(&scene.registry, &["else"]).await;
        refused(&narrow, v1, 403, "forbidden", "limited to the images else").await;
        scene.stop().await;
    }
}

#[tokio::test]
async fn leases_belong_to_their_workspace_and_are_listed_page_by_page() {
    for database in TestDatabase::available() {
        let scene =
            Scene::set_with(database, |config| config.images.leases_per_workspace = 3).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let image = format!("{APP}:v1");
        for holder in ["b", "a", "c"] {
            acme.lease(holder, &image).await.expect(200);
        }
        let message = acme.lease("d", &image).await.expect_error(409, "conflict");
        assert!(message.contains("3 are the limit"), "{message}");
        acme.lease("b", &image).await.expect(200);
        let holder = |page: &Value, at: usize| page["items"][at]["holder"].clone();
        let first = acme.api.get("/leases?limit=2").await.expect(200);
        assert_eq!(
            (holder(&first, 0), holder(&first, 1)),
            (json!("a"), json!("b"))
        );
        let cursor = first["nextCursor"].as_str().unwrap();
        let second = acme
            .api
            .get(&format!("/leases?limit=2&cursor={cursor}"))
            .await;
        let second = second.expect(200);
        assert_eq!(
            (holder(&second, 0), &second["nextCursor"]),
            (json!("c"), &Value::Null)
        );
        acme.api
            .get(&format!("/deletions?cursor={cursor}"))
            .await
            .expect_error(400, "bad_request");

        // Another workspace has holders of the same names, and sees nothing of these.
        acme.share(APP, beta).await.expect(200);
        assert_eq!(items(&beta.api, "/leases").await, [] as [Value; 0]);
        let foreign = beta
            .api
            .get("/leases/a")
            .await
            .expect_error(404, "not_found");
        let absent = beta
            .api
            .get("/leases/z")
            .await
            .expect_error(404, "not_found");
        assert_eq!(foreign.replace("\"a\"", "\"z\""), absent);
        beta.api
            .delete("/leases/a")
            .await
            .expect_error(404, "not_found");
        beta.lease("a", &image).await.expect(200);
        beta.api.delete("/leases/a").await.expect(204);
        acme.api.get("/leases/a").await.expect(200);

        // What has ended is not there, and counts no more.
        scene.registry.clock.advance(90 * DAY_MS);
        acme.api
            .get("/leases/a")
            .await
            .expect_error(404, "not_found");
        acme.api
            .delete("/leases/a")
            .await
            .expect_error(404, "not_found");
        assert_eq!(items(&acme.api, "/leases").await, [] as [Value; 0]);
        acme.lease("d", &image).await.expect(200);
        scene.collect().await;
        assert_eq!(
            scene.registry.number("SELECT COUNT(*) FROM leases").await,
            1
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn what_is_leased_stays_and_an_index_keeps_its_children() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let acme = &scene.acme;
        let child = &scene.content.manifest;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": child.media_type, "digest": child.digest, "size": child.bytes.len()}]});
        let index = Content {
            media_type: INDEX,
            ..Content::new(index.to_string())
        };
        let name = acme.name(APP);
        acme.docker
            .put_manifest(&name, "all", &index)
            .await
            .expect(201);
        acme.lease("web", &format!("{APP}:all")).await.expect(200);
        let of = |digest: &str| format!("/images/{APP}/-/manifests/{digest}");
        for path in [
            of(&index.digest),
            format!("/images/{APP}/-/tags/all"),
            format!("/images/{APP}"),
        ] {
            let holders = acme.api.delete(&path).await.expect_in_use("leased");
            assert_eq!(holders, ["lease web"], "{path}");
            let forced = acme.api.delete(&format!("{path}?force=true")).await;
            assert_eq!(forced.expect_in_use("leased"), ["lease web"]);
        }
        let holders = acme
            .api
            .delete(&of(&child.digest))
            .await
            .expect_in_use("index_child");
        assert_eq!(holders, [format!("index {}", index.digest)]);
        // The tag of the child is nobody's.
        acme.api
            .delete(&format!("/images/{APP}/-/tags/v1"))
            .await
            .expect(200);

        // A lease holds what it pinned, whatever the tag does; one that has ended holds nothing.
        acme.docker
            .put_manifest(&name, "all", child)
            .await
            .expect(201);
        let holders = acme
            .api
            .delete(&of(&index.digest))
            .await
            .expect_in_use("leased");
        assert_eq!(holders, ["lease web"]);
        scene.registry.clock.advance(90 * DAY_MS);
        acme.api.delete(&of(&index.digest)).await.expect(200);
        scene.stop().await;
    }
}
