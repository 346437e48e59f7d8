//! `PUT /images/{name}/-/tags/{tag}`.

use serde_json::json;

use super::{Scene, refused};
use crate::support::database::TestDatabase;
use crate::support::distribution::Content;

const STABLE: &str = "/images/app/-/tags/stable";

#[tokio::test]
async fn a_tag_is_pointed_at_what_the_image_has() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let one = scene.push("app", "v1", "one").await.manifest.digest;
        let two = scene.push("app", "v2", "two").await.manifest.digest;
        let developer = scene.key("developer").await;
        for digest in [&one, &two, &two] {
            let moved = developer
                .put(STABLE, &json!({"digest": digest}))
                .await
                .expect(200);
            assert_eq!(
                (&moved["name"], &moved["digest"]),
                (&json!("stable"), &json!(digest))
            );
            let shown = scene.admin.get(STABLE).await.expect(200);
            assert_eq!(shown, moved);
            let pulled = scene.docker.get("/v2/t-shopkey/app/manifests/stable").await;
            assert_eq!(pulled.expect(200).header("docker-content-digest"), digest);
        }
        let history = scene
            .admin
            .get(&format!("{STABLE}/history"))
            .await
            .expect(200);
        assert_eq!(history["items"].as_array().unwrap().len(), 2);
        scene.end().await;
    }
}

#[tokio::test]
async fn what_the_image_does_not_have_is_not_found() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        let elsewhere = scene.push("other", "v1", "two").await.manifest.digest;
        let unknown = Content::empty_index("nobody pushed this").digest;
        for digest in [&elsewhere, &unknown] {
            let answer = scene.admin.put(STABLE, &json!({"digest": digest})).await;
            refused(answer, 404, "not_found", &["no manifest", digest]);
        }
        let deleted = scene.push("app", "v2", "three").await.manifest.digest;
        let path = format!("/images/app/-/manifests/{deleted}");
        scene.admin.delete(&path).await.expect(200);
        let answer = scene.admin.put(STABLE, &json!({"digest": deleted})).await;
        refused(answer, 404, "not_found", &["no manifest"]);
        let answer = scene
            .admin
            .put("/images/nothing/-/tags/v1", &json!({"digest": unknown}))
            .await;
        refused(answer, 404, "not_found", &["no image \"nothing\""]);
        scene.end().await;
    }
}

#[tokio::test]
async fn an_immutable_tag_stays_where_it_is() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let one = scene.push("app", "v1", "one").await.manifest.digest;
        let two = scene.push("app", "edge", "two").await.manifest.digest;
        let body = json!({"immutableTags": "v*"});
        scene.admin.patch("/images/app", &body).await.expect(200);
        let v1 = "/images/app/-/tags/v1";
        let answer = scene.admin.put(v1, &json!({"digest": two})).await;
        assert_eq!(answer.body["error"]["details"]["reason"], "immutable");
        refused(answer, 409, "conflict", &["v1", "immutable"]);
        // To where it points it may be pointed again, and a new one is made.
        scene
            .admin
            .put(v1, &json!({"digest": one}))
            .await
            .expect(200);
        let v2 = "/images/app/-/tags/v2";
        scene
            .admin
            .put(v2, &json!({"digest": two}))
            .await
            .expect(200);
        scene
            .admin
            .put("/images/app/-/tags/edge", &json!({"digest": one}))
            .await
            .expect(200);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_precondition_that_does_not_hold_stops_it() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let one = scene.push("app", "stable", "one").await.manifest.digest;
        let two = scene.push("app", "edge", "two").await.manifest.digest;
        let put = async |tags: &str, path: &str, digest: &str| {
            let api = scene.admin.if_match(tags);
            api.put(path, &json!({"digest": digest})).await
        };
        let quoted = |digest: &str| format!("\"{digest}\"");
        refused(
            put(&quoted(&two), STABLE, &two).await,
            412,
            "precondition_failed",
            &[&one],
        );
        put(&quoted(&one), STABLE, &two).await.expect(200);
        refused(
            put(&quoted(&one), STABLE, &two).await,
            412,
            "precondition_failed",
            &[&two],
        );
        put(&format!("{}, {}", quoted(&one), quoted(&two)), STABLE, &one)
            .await
            .expect(200);
        put("*", STABLE, &two).await.expect(200);
        let fresh = "/images/app/-/tags/fresh";
        refused(
            put("*", fresh, &two).await,
            412,
            "precondition_failed",
            &["does not exist"],
        );
        refused(
            put("v1", STABLE, &two).await,
            400,
            "bad_request",
            &["digest in quotes"],
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn of_two_who_expect_the_same_one_wins() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let old = scene.push("app", "stable", "old").await.manifest.digest;
        let mut digests = Vec::new();
        for number in 0..8 {
            let tag = format!("v{number}");
            digests.push(scene.push("app", &tag, &tag).await.manifest.digest);
        }
        let api = scene.admin.if_match(&format!("\"{old}\""));
        let puts = digests.iter().map(|digest| {
            let (api, body) = (api.clone(), json!({"digest": digest}));
            tokio::spawn(async move { api.put(STABLE, &body).await.status.as_u16() })
        });
        let mut statuses = Vec::new();
        for put in puts.collect::<Vec<_>>() {
            statuses.push(put.await.unwrap());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
        scene.end().await;
    }
}

#[tokio::test]
async fn it_takes_the_role_the_reach_and_the_own_image() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let digest = scene.push("app", "v1", "one").await.manifest.digest;
        let body = json!({"digest": digest});
        for role in ["viewer", "builder"] {
            let answer = scene.key(role).await.put(STABLE, &body).await;
            refused(answer, 403, "forbidden", &["developer"]);
        }
        let narrow = scene.narrowed("developer", &["other"]).await;
        refused(
            narrow.put(STABLE, &body).await,
            403,
            "forbidden",
            &["limited to the images"],
        );
        let pulls = json!({"name": "pull", "role": "developer", "actions": ["pull"]});
        let (key, _) = scene.registry.key_with("shop", &pulls).await;
        let answer = scene.registry.api(&key).put(STABLE, &body).await;
        refused(answer, 403, "forbidden", &["limited to pull"]);
        scene.share("app", "theirs").await;
        let answer = scene.other.put("/images/theirs/-/tags/v1", &body).await;
        refused(answer, 403, "forbidden", &["t-shopkey/app", "pulled"]);
        // Another's image by its own name is not there.
        refused(
            scene.other.put(STABLE, &body).await,
            404,
            "not_found",
            &["no image"],
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let scene = Scene::set(TestDatabase::Sqlite).await;
    scene.push("app", "v1", "one").await;
    for (body, word) in [
        (json!({}), "missing field `digest`"),
        (json!({"digest": "v1"}), "digest: "),
        (json!({"digest": "sha256:00"}), "digest: "),
        (json!({"digest": null}), "digest: "),
        (json!({"tag": "v1"}), "unknown field `tag`"),
        (json!([]), "JSON object"),
    ] {
        refused(
            scene.admin.put(STABLE, &body).await,
            400,
            "bad_request",
            &[word],
        );
    }
    scene.end().await;
}
