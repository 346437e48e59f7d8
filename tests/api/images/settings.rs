//! `PATCH /images/{name}`.

use serde_json::{Value, json};

use super::{Scene, paged, refused};
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;

#[tokio::test]
async fn what_is_left_out_stays() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        let mut expected =
            json!({"protected": false, "immutableTags": false, "visibility": "private"});
        for change in [
            json!({"protected": true}),
            json!({"immutableTags": "v*"}),
            json!({}),
            json!({"immutableTags": true}),
            json!({"protected": false, "immutableTags": "release-?"}),
            json!({"immutableTags": false}),
        ] {
            for (field, value) in change.as_object().unwrap() {
                expected[field] = value.clone();
            }
            let changed = scene.admin.patch("/images/app", &change).await.expect(200);
            let shown = scene.admin.get("/images/app").await.expect(200);
            assert_eq!(changed, shown);
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(shown[field], *value, "{field}");
            }
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn a_decision_holds_for_the_next_push_and_delete() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        // It is in memory before it is decided otherwise.
        scene
            .docker
            .get("/v2/t-shopkey/app/manifests/v1")
            .await
            .expect(200);
        let body = json!({"immutableTags": "v*", "protected": true});
        scene.admin.patch("/images/app", &body).await.expect(200);
        let other = crate::support::distribution::image().layer("two").build();
        for blob in std::iter::once(&other.config).chain(&other.layers) {
            scene
                .docker
                .push_blob("t-shopkey/app", blob)
                .await
                .expect(201);
        }
        let push = scene
            .docker
            .put_manifest("t-shopkey/app", "v1", &other.manifest);
        let reply = push.await.expect(403);
        assert!(reply.text().contains("immutable"), "{}", reply.text());
        let answer = scene.admin.delete("/images/app").await;
        assert_eq!(answer.body["error"]["details"]["reason"], "protected");
        answer.expect_error(409, "conflict");
        scene.end().await;
    }
}

#[tokio::test]
async fn who_may_pull_is_the_operators_to_say() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("base", "v1", "one").await;
        let path = "/v2/t-shopkey/base/manifests/v1";
        let guest = scene.registry.with_key(&scene.guest.admin_key);
        guest.get(path).await.expect(403);
        let publish = json!({"visibility": "platform"});
        let answer = scene.admin.patch("/images/base", &publish).await;
        refused(answer, 403, "forbidden", &["visibility", "operator"]);
        let operator = scene.registry.operator().in_workspace("shop");
        let shown = operator.patch("/images/base", &publish).await.expect(200);
        assert_eq!(shown["visibility"], "platform");
        guest.get(path).await.expect(200);
        let hide = json!({"visibility": "private"});
        operator.patch("/images/base", &hide).await.expect(200);
        guest.get(path).await.expect(403);
        scene.end().await;
    }
}

#[tokio::test]
async fn admins_say_it_where_the_installation_lets_them() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_with(database, |config| {
            config.images.admins_may_publish = true;
        })
        .await;
        let scene = Scene::of(registry).await;
        scene.push("base", "v1", "one").await;
        let publish = json!({"visibility": "platform"});
        let answer = scene
            .key("developer")
            .await
            .patch("/images/base", &publish)
            .await;
        refused(answer, 403, "forbidden", &["admin"]);
        scene
            .admin
            .patch("/images/base", &publish)
            .await
            .expect(200);
        assert_eq!(
            paged(&scene.other, "/images?platform=true", "name").await,
            ["t-shopkey/base"]
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn it_takes_an_admin_and_the_own_image() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        scene.share("app", "theirs").await;
        let body = json!({"protected": true});
        for role in ["viewer", "builder", "developer"] {
            let answer = scene.key(role).await.patch("/images/app", &body).await;
            refused(answer, 403, "forbidden", &["admin"]);
        }
        let narrow = scene.narrowed("admin", &["other"]).await;
        let answer = narrow.patch("/images/app", &body).await;
        refused(answer, 403, "forbidden", &["limited to the images"]);
        let answer = scene.other.patch("/images/theirs", &body).await;
        refused(answer, 403, "forbidden", &["t-shopkey/app"]);
        refused(
            scene.other.patch("/images/app", &body).await,
            404,
            "not_found",
            &["no image"],
        );
        refused(
            scene.admin.patch("/images/nothing", &body).await,
            404,
            "not_found",
            &["no image"],
        );
        let shown = scene.admin.get("/images/app").await.expect(200);
        assert_eq!(shown["protected"], Value::Bool(false));
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_no_decision_is_refused() {
    let scene = Scene::set(TestDatabase::Sqlite).await;
    scene.push("app", "v1", "one").await;
    for (body, word) in [
        (json!({"protected": "yes"}), "protected: "),
        (json!({"protected": null}), "protected: "),
        (json!({"immutableTags": null}), "true, false or a pattern"),
        (json!({"immutableTags": 1}), "true, false or a pattern"),
        (json!({"immutableTags": ["v1"]}), "true, false or a pattern"),
        (
            json!({"immutableTags": ""}),
            "a pattern of tags has 1 to 128",
        ),
        (json!({"immutableTags": "v[1]"}), "a pattern of tags has"),
        (
            json!({"visibility": "public"}),
            "visibility: unknown variant `public`",
        ),
        (json!({"visibility": null}), "visibility: "),
        (json!({"name": "other"}), "unknown field `name`"),
        (json!(true), "JSON object"),
    ] {
        refused(
            scene.admin.patch("/images/app", &body).await,
            400,
            "bad_request",
            &[word],
        );
    }
    scene.end().await;
}
