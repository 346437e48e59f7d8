//! `GET /images/{name}/-/tags/{tag}/history`.

use serde_json::{Value, json};

use super::{Scene, each, paged, refused};
use crate::support::database::TestDatabase;

const PATH: &str = "/images/app/-/tags/latest/history";

#[tokio::test]
async fn a_tag_tells_what_it_pointed_to_and_who_moved_it() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let mut digests = Vec::new();
        for layer in ["one", "two", "three"] {
            let content = scene.push("app", "latest", layer).await;
            digests.insert(0, content.manifest.digest);
        }
        let history = scene.admin.get(PATH).await.expect(200);
        assert_eq!(each(&history, "digest"), digests);
        assert_eq!(paged(&scene.admin, PATH, "digest").await, digests);
        let whoami = scene.admin.get("/whoami").await.expect(200);
        let actor = format!("key:{}", whoami["id"].as_str().unwrap());
        let item = |at: usize| &history["items"][at];
        let expected = json!({
            "digest": digests[0], "current": true, "setBy": actor, "setAt": "2026-01-01T00:00:03Z",
            "endedBy": null, "endedAt": null, "deletionId": null,
        });
        assert_eq!(*item(0), expected);
        let expected = json!({
            "digest": digests[1], "current": false, "setBy": actor, "setAt": "2026-01-01T00:00:02Z",
            "endedBy": actor, "endedAt": "2026-01-01T00:00:03Z", "deletionId": null,
        });
        assert_eq!(*item(1), expected);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_deleted_tag_still_has_its_history() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "latest", "one").await;
        let deleted = scene
            .admin
            .delete("/images/app/-/tags/latest")
            .await
            .expect(200);
        let history = scene.admin.get(PATH).await.expect(200);
        assert_eq!(history["items"].as_array().unwrap().len(), 1);
        assert_eq!(history["items"][0]["current"], json!(false));
        assert_eq!(history["items"][0]["deletionId"], deleted["id"]);
        let path = format!("/deletions/{}/restore", deleted["id"].as_str().unwrap());
        scene.admin.post(&path, &json!({})).await.expect(200);
        let history = scene.admin.get(PATH).await.expect(200);
        assert_eq!(history["items"][0]["current"], json!(true));
        scene.end().await;
    }
}

#[tokio::test]
async fn others_see_what_and_when_but_not_who() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "latest", "one").await;
        scene.push("app", "latest", "two").await;
        scene.share("app", "theirs").await;
        let path = "/images/theirs/-/tags/latest/history";
        let history = scene.other.get(path).await.expect(200);
        for item in history["items"].as_array().unwrap() {
            assert_eq!(
                (&item["setBy"], &item["endedBy"]),
                (&Value::Null, &Value::Null)
            );
            assert!(item["setAt"].is_string());
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn what_never_was_has_no_history() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        refused(
            scene.admin.get(PATH).await,
            404,
            "not_found",
            &["no tag \"latest\""],
        );
        let answer = scene.admin.get("/images/nothing/-/tags/v1/history").await;
        refused(answer, 404, "not_found", &["no image"]);
        let answer = scene.admin.get("/images/app/-/tags/.x/history").await;
        refused(answer, 400, "bad_request", &["a tag has"]);
        scene.end().await;
    }
}
