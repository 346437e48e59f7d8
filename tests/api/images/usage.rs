//! `GET /usage`, and the counters behind it.

use serde_json::{Value, json};

use super::{Scene, each, paged, refused, weight};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Login, image};

async fn usage(scene: &Scene) -> Value {
    scene.count().await;
    scene.admin.get("/usage").await.expect(200)
}

#[tokio::test]
async fn what_is_stored_once_counts_once() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let expected = json!({
            "storedBytes": 0, "logicalBytes": 0, "deletedBytes": 0, "quotaBytes": null, "images": 0, "tags": 0,
            "sharedIn": 0, "sharedOut": 0, "egressBytes": 0,
        });
        assert_eq!(scene.admin.get("/usage").await.expect(200), expected);
        let content = scene.push("one", "v1", "layer").await;
        scene.push("two", "v1", "layer").await;
        scene
            .docker
            .put_manifest("t-shopkey/two", "v2", &content.manifest)
            .await
            .expect(201);
        scene.share("one", "one").await;
        let counted = usage(&scene).await;
        let size = weight(&content);
        for (field, value) in [
            ("storedBytes", size),
            ("logicalBytes", 2 * size),
            ("images", 2),
            ("tags", 3),
            ("sharedOut", 1),
        ] {
            assert_eq!(counted[field], json!(value), "{field}");
        }
        // What was shared costs its owner.
        let theirs = scene.other.get("/usage").await.expect(200);
        assert_eq!(
            (&theirs["storedBytes"], &theirs["images"]),
            (&json!(0), &json!(0))
        );
        assert_eq!(
            (&theirs["sharedIn"], &theirs["sharedOut"]),
            (&json!(1), &json!(0))
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn deleted_bytes_count_apart_until_they_are_purged_or_restored() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let one = scene.push("app", "v1", "one").await;
        let two = scene.push("app", "v2", "two").await;
        let config = one.config.bytes.len();
        let whole = weight(&one) + weight(&two) - config;
        let check = async |stored: usize, deleted: usize, images: u64| {
            let counted = usage(&scene).await;
            assert_eq!(counted["storedBytes"], json!(stored), "{counted:#}");
            assert_eq!(counted["deletedBytes"], json!(deleted), "{counted:#}");
            assert_eq!(counted["images"], json!(images), "{counted:#}");
        };
        check(whole, 0, 1).await;
        let path = format!("/images/app/-/manifests/{}", two.manifest.digest);
        let deletion = scene.admin.delete(&path).await.expect(200);
        check(weight(&one), weight(&two) - config, 1).await;
        let path = format!("/deletions/{}", deletion["id"].as_str().unwrap());
        scene
            .admin
            .post(&format!("{path}/restore"), &json!({}))
            .await
            .expect(200);
        check(whole, 0, 1).await;
        let deletion = scene.admin.delete("/images/app").await.expect(200);
        check(0, whole, 0).await;
        let path = format!("/deletions/{}/purge", deletion["id"].as_str().unwrap());
        scene.admin.post(&path, &json!({})).await.expect(200);
        check(0, 0, 0).await;
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_read_counts_for_whoever_reads() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let content = scene.push("app", "v1", "0123456789").await;
        scene.share("app", "theirs").await;
        let layer = &content.layers[0].digest;
        let guest = scene.registry.with_key(&scene.guest.admin_key);
        let theirs = format!("/v2/t-guestkey/theirs/blobs/{layer}");
        for _ in 0..2 {
            guest.get(&theirs).await.expect(200);
        }
        guest.head(&theirs).await.expect(200);
        let part = guest.request(reqwest::Method::GET, &theirs);
        let part = part.header("range", "bytes=2-4").send().await.unwrap();
        assert_eq!(part.bytes().await.unwrap().len(), 3);
        let ours = format!("/v2/t-shopkey/app/blobs/{layer}");
        scene.docker.get(&ours).await.expect(200);
        // A body is over for its reader a moment before it is for the server.
        let egress = async |api: &crate::support::calls::Api, expected: u64| {
            for _ in 0..500 {
                scene.count().await;
                let usage = api.get("/usage").await.expect(200);
                if usage["egressBytes"] == json!(expected) {
                    return;
                }
                tokio::task::yield_now().await;
            }
            panic!("{expected} bytes were never counted");
        };
        egress(&scene.other, 23).await;
        egress(&scene.admin, 10).await;
        scene.end().await;
    }
}

#[tokio::test]
async fn an_operator_sees_every_workspace_in_pages() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let content = scene.push("app", "v1", "one").await;
        scene.count().await;
        let operator = scene.registry.operator();
        let all = ["guest", "main", "shop"];
        assert_eq!(paged(&operator, "/usage", "workspace").await, all);
        let listed = operator.get("/usage").await.expect(200);
        assert_eq!(each(&listed, "workspace"), all);
        assert_eq!(listed["items"][2]["storedBytes"], json!(weight(&content)));
        let one = operator
            .in_workspace("shop")
            .get("/usage")
            .await
            .expect(200);
        assert_eq!(one, scene.admin.get("/usage").await.expect(200));
        let body = json!({"quotaBytes": 1000});
        operator.patch("/workspaces/shop", &body).await.expect(200);
        let one = scene.admin.get("/usage").await.expect(200);
        assert_eq!(one["quotaBytes"], json!(1000));
        let next = operator.get("/workspaces?limit=1").await.expect(200)["nextCursor"].clone();
        let path = format!("/usage?cursor={}", next.as_str().unwrap());
        refused(operator.get(&path).await, 400, "bad_request", &["cursor"]);
        let answer = operator.in_workspace("nobody").get("/usage").await;
        refused(answer, 404, "not_found", &["nobody"]);
        let answer = scene.admin.in_workspace("guest").get("/usage").await;
        refused(answer, 403, "forbidden", &["shop"]);
        scene.end().await;
    }
}

#[tokio::test]
async fn counters_come_by_themselves_and_are_there_after_a_restart() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let content = scene.push("app", "v1", "one").await;
        let Scene {
            registry, admin, ..
        } = scene;
        let counted = async |api: &crate::support::calls::Api| {
            let mut tick = tokio::time::interval(std::time::Duration::from_millis(50));
            let waiting = async {
                loop {
                    let usage = api.get("/usage").await.expect(200);
                    if usage["storedBytes"] == json!(weight(&content)) {
                        return;
                    }
                    tick.tick().await;
                }
            };
            let waited = tokio::time::timeout(std::time::Duration::from_secs(120), waiting);
            waited.await.expect("the counters come by themselves");
        };
        counted(&admin).await;
        let key = registry.key_of("shop", "viewer").await;
        // Whatever was lost of the note of changes, a start counts everything.
        let registry = registry.restart().await;
        counted(&registry.api(&key)).await;
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn an_upload_without_a_manifest_is_stored_and_no_image() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let content = image().layer("0123456789").build();
        let layer = &content.layers[0];
        scene
            .docker
            .push_blob("t-shopkey/app", layer)
            .await
            .expect(201);
        let counted = usage(&scene).await;
        assert_eq!(
            (&counted["storedBytes"], &counted["images"]),
            (&json!(10), &json!(0))
        );
        let nobody = scene
            .registry
            .distribution(berth::http::Door::Public, Login::Nobody);
        nobody.get("/v2/").await.expect(401);
        scene.end().await;
    }
}
