//! `GET /images/{name}/-/tags` and one of them.

use serde_json::{Value, json};

use super::{Scene, each, paged, refused, weight};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, image};

#[tokio::test]
async fn tags_come_newest_first_or_by_name_or_the_newest_alone() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        for name in ["b", "c", "a"] {
            scene.push("app", name, name).await;
        }
        // Where it points already, a tag is pointed anew.
        scene.push("app", "b", "b").await;
        let path = "/images/app/-/tags";
        assert_eq!(paged(&scene.admin, path, "name").await, ["b", "a", "c"]);
        let newest = format!("{path}?sort=newest");
        assert_eq!(paged(&scene.admin, &newest, "name").await, ["b", "a", "c"]);
        let by_name = format!("{path}?sort=name");
        assert_eq!(paged(&scene.admin, &by_name, "name").await, ["a", "b", "c"]);
        let latest = scene
            .admin
            .get(&format!("{path}?latest=true"))
            .await
            .expect(200);
        assert_eq!(each(&latest, "name"), ["b"]);
        assert_eq!(latest["nextCursor"], Value::Null);
        let one = scene.admin.get(&format!("{path}/b")).await.expect(200);
        assert_eq!(one, latest["items"][0]);
        assert_eq!(one["createdAt"], "2026-01-01T00:00:01Z");
        assert_eq!(one["updatedAt"], "2026-01-01T00:00:04Z");
        scene.end().await;
    }
}

#[tokio::test]
async fn an_alias_and_an_image_of_everybody_list_their_tags() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        scene.share("app", "theirs").await;
        scene.publish("app").await;
        scene.push("app", "v2", "two").await;
        for name in ["theirs", "t-shopkey/app"] {
            let path = format!("/images/{name}/-/tags");
            assert_eq!(paged(&scene.other, &path, "name").await, ["v2", "v1"]);
            scene.other.get(&format!("{path}/v1")).await.expect(200);
            scene
                .other
                .get(&format!("{path}?latest=true"))
                .await
                .expect(200);
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn an_index_weighs_its_platforms_and_names_them() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let images = [("linux", "amd64"), ("linux", "arm64")].map(|(os, architecture)| {
            let image = image().runs_on(os, architecture).layer(architecture);
            image.layer("a layer of both").build()
        });
        for content in &images {
            let digest = &content.manifest.digest;
            scene
                .docker
                .push_image("t-shopkey/app", digest, content)
                .await;
        }
        let attestation = Content::empty_index("an attestation");
        let index = Content::index_of(&[
            (&images[0].manifest, Some(("linux", "amd64"))),
            (&images[1].manifest, Some(("linux", "arm64"))),
            (&images[0].manifest, Some(("linux", "amd64"))),
            (&attestation, Some(("unknown", "unknown"))),
        ]);
        let push = scene.docker.put_manifest("t-shopkey/app", "multi", &index);
        push.await.expect(201);
        let path = "/images/app/-/tags/multi";
        let shown = scene.admin.get(path).await.expect(200);
        assert_eq!(shown["platforms"], json!(["linux/amd64", "linux/arm64"]));
        let own: usize = images.iter().map(weight).sum();
        assert_eq!(shown["sizeBytes"], json!(index.bytes.len() + own));
        // What comes later counts from then on.
        let digest = &attestation.digest;
        let push = scene
            .docker
            .put_manifest("t-shopkey/app", digest, &attestation);
        push.await.expect(201);
        let shown = scene.admin.get(path).await.expect(200);
        assert_eq!(
            shown["sizeBytes"],
            json!(index.bytes.len() + own + attestation.bytes.len())
        );
        // In the image, what both have counts once.
        scene.count().await;
        let whole = scene.admin.get("/images/app").await.expect(200);
        let once = images[0].layers[1].bytes.len();
        let expected = index.bytes.len() + own + attestation.bytes.len() - once;
        assert_eq!(whole["sizeBytes"], json!(expected));
        scene.end().await;
    }
}

#[tokio::test]
async fn a_configuration_that_says_nothing_never_stops_a_push() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let large = format!(
            "{{\"os\":\"linux\",\"architecture\":\"amd64\",\"x\":\"{}\"}}",
            "x".repeat(300_000)
        );
        let configs = [
            ("empty", "{}".to_owned(), json!([])),
            ("text", "no json".to_owned(), json!([])),
            ("list", "[1]".to_owned(), json!([])),
            (
                "number",
                "{\"os\":1,\"architecture\":\"amd64\"}".to_owned(),
                json!([]),
            ),
            (
                "unknown",
                "{\"os\":\"unknown\",\"architecture\":\"unknown\"}".to_owned(),
                json!([]),
            ),
            ("large", large, json!([])),
            ("deep", "[".repeat(100_000), json!([])),
            (
                "good",
                "{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"}".to_owned(),
                json!(["linux/arm/v7"]),
            ),
        ];
        for (name, config, platforms) in configs {
            let content = image().config(config).layer(name.to_owned()).build();
            scene
                .docker
                .push_image("t-shopkey/app", name, &content)
                .await;
            let shown = scene
                .admin
                .get(&format!("/images/app/-/tags/{name}"))
                .await
                .expect(200);
            assert_eq!(shown["platforms"], platforms, "{name}");
            assert_eq!(shown["sizeBytes"], json!(weight(&content)), "{name}");
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_makes_no_sense_refused() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        for path in ["/images/nothing/-/tags", "/images/nothing/-/tags/v1"] {
            refused(
                scene.admin.get(path).await,
                404,
                "not_found",
                &["no image \"nothing\""],
            );
        }
        let answer = scene.admin.get("/images/app/-/tags/v2").await;
        refused(answer, 404, "not_found", &["no tag \"v2\""]);
        refused(
            scene.other.get("/images/app/-/tags").await,
            404,
            "not_found",
            &[],
        );
        for (path, word) in [
            ("/images/app/-/tags/-x", "a tag has"),
            ("/images/app/-/tags?sort=age", "newest or name"),
            ("/images/app/-/tags?latest=1", "true or false"),
            ("/images/app/-/tags?latest=true&sort=name", "leave sort out"),
            ("/images/app/-/tags?limit=1001", "1 to 1000"),
            ("/images/app:v1/-/tags", "leave tag and digest out"),
        ] {
            refused(scene.admin.get(path).await, 400, "bad_request", &[word]);
        }
        scene.end().await;
    }
}
