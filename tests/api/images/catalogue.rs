//! `GET /images` and `GET /images/{name}`.

use serde_json::{Value, json};

use super::{Scene, each, paged, refused, weight};
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;

const EVERY: [&str; 4] = ["app", "base", "team/app", "tools"];

async fn scene(database: TestDatabase) -> Scene {
    let scene = Scene::set(database).await;
    for name in EVERY {
        scene.push(name, "v1", name).await;
    }
    scene
}

#[tokio::test]
async fn an_image_is_shown_with_all_its_fields() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_with(database, |config| {
            config.server.public_url = Some("https://push.example".parse().unwrap());
            config.server.pull_url = Some("https://pull.example:5001".parse().unwrap());
        })
        .await;
        let scene = Scene::of(registry).await;
        let content = scene.push("team/app", "v1", "layer").await;
        scene.count().await;
        let shown = scene.admin.get("/images/team/app").await.expect(200);
        let size = weight(&content);
        let digest = &content.manifest.digest;
        let expected = json!({
            "name": "team/app", "repository": "t-shopkey/team/app",
            "pullReference": "pull.example:5001/t-shopkey/team/app", "workspace": "shop",
            "sourceWorkspace": null, "sourceAccountId": null, "visibility": "private", "protected": false,
            "immutableTags": false, "tagCount": 1, "sizeBytes": size, "sharedWithCount": 0, "leaseCount": 0,
            "createdAt": "2026-01-01T00:00:01Z", "pushedAt": "2026-01-01T00:00:01Z", "lastPulledAt": null,
            "latest": {
                "name": "v1", "digest": digest, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "sizeBytes": size, "platforms": ["linux/amd64"], "createdAt": "2026-01-01T00:00:01Z",
                "updatedAt": "2026-01-01T00:00:01Z", "lastPulledAt": null, "leaseCount": 0,
            },
        });
        assert_eq!(shown, expected);
        let listed = scene.admin.get("/images").await.expect(200);
        let mut item = expected;
        item.as_object_mut().unwrap().remove("latest");
        assert_eq!(listed, json!({"items": [item], "nextCursor": null}));
        scene.end().await;
    }
}

#[tokio::test]
async fn an_image_that_was_just_pushed_is_complete_at_once() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let content = scene.push("app", "v1", "layer").await;
        // The counters come in their own time, and are not waited for.
        let shown = scene.admin.get("/images/app").await.expect(200);
        assert_eq!(shown["pushedAt"], "2026-01-01T00:00:01Z");
        assert_eq!(shown["latest"]["name"], "v1");
        assert_eq!(shown["tagCount"], 1);
        assert_eq!(shown["sizeBytes"], json!(weight(&content)));
        scene.count().await;
        assert_eq!(scene.admin.get("/images/app").await.expect(200), shown);
        scene.end().await;
    }
}

#[tokio::test]
async fn lists_are_in_order_and_in_pages() {
    for database in TestDatabase::available() {
        let scene = scene(database).await;
        assert_eq!(paged(&scene.admin, "/images", "name").await, EVERY);
        let some = paged(&scene.admin, "/images?name=t", "name").await;
        assert_eq!(some, ["team/app", "tools"]);
        let nothing = scene.other.get("/images").await.expect(200);
        assert_eq!(nothing, json!({"items": [], "nextCursor": null}));
        scene.end().await;
    }
}

#[tokio::test]
async fn a_cursor_is_good_for_the_question_it_was_given_for() {
    let scene = scene(TestDatabase::chosen()).await;
    let next = async |path: &str| -> String {
        let page = scene.admin.get(path).await.expect(200);
        page["nextCursor"].as_str().unwrap().to_owned()
    };
    let plain = next("/images?limit=1").await;
    let begun = next("/images?limit=1&name=t").await;
    let tags = {
        scene.push("app", "v2", "more").await;
        next("/images/app/-/tags?limit=1").await
    };
    for (path, cursor) in [
        ("/images?name=t", &plain),
        ("/images?shared=none", &plain),
        ("/images?platform=true", &plain),
        ("/images", &begun),
        ("/images", &tags),
        ("/images/base/-/tags", &tags),
        ("/images/app/-/tags?sort=name", &tags),
        ("/images/app/-/tags/v1/history", &tags),
        ("/deletions", &plain),
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}cursor={cursor}");
        let answer = scene.admin.get(&path).await;
        refused(
            answer,
            400,
            "bad_request",
            &["cursor", "not one of this list"],
        );
    }
    scene.end().await;
}

#[tokio::test]
async fn what_was_shared_is_listed_by_both_sides() {
    for database in TestDatabase::available() {
        let scene = scene(database).await;
        scene.share("app", "from/shop").await;
        scene.share("base", "base").await;
        let of = async |api: &crate::support::calls::Api, shared: &str| {
            paged(api, &format!("/images?shared={shared}"), "name").await
        };
        assert_eq!(of(&scene.admin, "out").await, ["app", "base"]);
        assert_eq!(of(&scene.admin, "none").await, ["team/app", "tools"]);
        assert_eq!(of(&scene.admin, "in").await, Vec::<String>::new());
        assert_eq!(of(&scene.other, "in").await, ["base", "from/shop"]);
        assert_eq!(of(&scene.other, "out").await, Vec::<String>::new());
        assert_eq!(of(&scene.other, "none").await, Vec::<String>::new());
        assert_eq!(
            paged(&scene.other, "/images", "name").await,
            ["base", "from/shop"]
        );
        let ours = scene.admin.get("/images/app").await.expect(200);
        assert_eq!(ours["sharedWithCount"], 1);
        scene.end().await;
    }
}

#[tokio::test]
async fn an_alias_answers_with_its_source_and_not_with_what_is_the_owners() {
    for database in TestDatabase::available() {
        let scene = scene(database).await;
        scene.share("app", "from/shop").await;
        let pulled = scene.docker.get("/v2/t-shopkey/app/manifests/v1").await;
        pulled.expect(200);
        let lease = json!({"image": "app:v1"});
        scene
            .admin
            .send(
                reqwest::Method::PUT,
                "/leases/ours",
                Some(lease.to_string()),
            )
            .await
            .expect(200);
        scene.count().await;
        let ours = scene.admin.get("/images/app").await.expect(200);
        let theirs = scene.other.get("/images/from/shop").await.expect(200);
        for (field, expected) in [
            ("name", json!("from/shop")),
            ("repository", json!("t-guestkey/from/shop")),
            ("workspace", json!("guest")),
            ("sourceWorkspace", json!("shop")),
            ("sharedWithCount", json!(0)),
            ("leaseCount", json!(0)),
            ("lastPulledAt", Value::Null),
        ] {
            assert_eq!(theirs[field], expected, "{field}");
        }
        assert!(theirs["sourceAccountId"].is_string());
        for field in [
            "tagCount",
            "sizeBytes",
            "createdAt",
            "pushedAt",
            "visibility",
        ] {
            assert_eq!(theirs[field], ours[field], "{field}");
        }
        assert_eq!(ours["leaseCount"], 1);
        assert!(ours["lastPulledAt"].is_string() && ours["latest"]["lastPulledAt"].is_string());
        assert_eq!(theirs["latest"]["digest"], ours["latest"]["digest"]);
        assert_eq!(theirs["latest"]["lastPulledAt"], Value::Null);
        assert_eq!(
            (
                &ours["latest"]["leaseCount"],
                &theirs["latest"]["leaseCount"]
            ),
            (&json!(1), &json!(0))
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn images_that_are_everybodys_follow_the_own_ones() {
    for database in TestDatabase::available() {
        let scene = scene(database).await;
        for name in ["base", "tools"] {
            scene.publish(name).await;
        }
        let path = "/images?platform=true";
        let full = ["t-shopkey/base", "t-shopkey/tools"];
        assert_eq!(paged(&scene.other, path, "name").await, full);
        assert_eq!(
            paged(&scene.other, "/images", "name").await,
            Vec::<String>::new()
        );
        assert_eq!(
            paged(&scene.other, "/images?platform=false", "name").await,
            Vec::<String>::new()
        );
        // To its owner an image is one of its own, and comes once.
        assert_eq!(paged(&scene.admin, path, "name").await, EVERY);
        scene.share("app", "app").await;
        assert_eq!(
            paged(&scene.other, path, "name").await,
            ["app", full[0], full[1]]
        );
        assert_eq!(
            paged(&scene.other, "/images?platform=true&shared=none", "name").await,
            full
        );
        let some = paged(
            &scene.other,
            "/images?platform=true&name=t-shopkey/t",
            "name",
        )
        .await;
        assert_eq!(some, ["t-shopkey/tools"]);
        let shown = scene.other.get("/images/t-shopkey/base").await.expect(200);
        assert_eq!(shown["name"], "t-shopkey/base");
        assert_eq!(
            (&shown["visibility"], &shown["sourceWorkspace"]),
            (&json!("platform"), &json!("shop"))
        );
        assert_eq!(shown["latest"]["name"], "v1");
        let answer = scene.other.get("/images/t-shopkey/app").await;
        refused(answer, 404, "not_found", &["no image"]);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_narrowed_key_sees_what_it_reaches() {
    for database in TestDatabase::available() {
        let scene = scene(database).await;
        scene.push("team/other", "v1", "other").await;
        scene.publish("base").await;
        let narrow = scene.narrowed("developer", &["team/*", "tools"]).await;
        for path in ["/images", "/images?platform=true", "/images?shared=none"] {
            assert_eq!(
                paged(&narrow, path, "name").await,
                ["team/app", "team/other", "tools"]
            );
        }
        narrow.get("/images/team/app").await.expect(200);
        narrow.get("/images/team/app/-/tags").await.expect(200);
        // Whether there is such an image or not.
        for name in ["app", "nothing", "t-shopkey/base"] {
            let answer = narrow.get(&format!("/images/{name}")).await;
            refused(
                answer,
                403,
                "forbidden",
                &["limited to the images team/*, tools"],
            );
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn an_operator_names_the_workspace() {
    for database in TestDatabase::available() {
        let scene = scene(database).await;
        let operator = scene.registry.operator();
        let answer = operator.get("/images").await;
        refused(answer, 400, "bad_request", &["X-Workspace"]);
        let shop = operator.in_workspace("shop");
        let listed = shop.get("/images").await.expect(200);
        assert_eq!(each(&listed, "name"), EVERY);
        let answer = operator.in_workspace("nobody").get("/images").await;
        refused(answer, 404, "not_found", &["nobody"]);
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_no_image_is_not_found() {
    for database in TestDatabase::available() {
        let scene = scene(database).await;
        scene.docker.open_upload("t-shopkey/begun").await;
        for path in [
            "/images/nothing",
            "/images/begun",
            "/images/team",
            "/images/resolve",
        ] {
            refused(scene.admin.get(path).await, 404, "not_found", &["no image"]);
        }
        // What is another workspace's does not exist.
        refused(
            scene.other.get("/images/app").await,
            404,
            "not_found",
            &["\"app\""],
        );
        scene.end().await;
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let scene = Scene::set(TestDatabase::chosen()).await;
    for (path, word) in [
        ("/images?shared=both", "in, out or none"),
        ("/images?shared=", "in, out or none"),
        ("/images?platform=yes", "true or false"),
        ("/images?name=App", "lower-case"),
        ("/images?name=a%00", "lower-case"),
        ("/images?shared=in&shared=out", "more than once"),
        ("/images?limit=0", "1 to 1000"),
        ("/images/App", "App"),
        ("/images/app:v1", "leave tag and digest out"),
        ("/images/app%2Fb", "\u{ff05}"),
    ] {
        refused(scene.admin.get(path).await, 400, "bad_request", &[word]);
    }
    let long = "a".repeat(256);
    refused(
        scene.admin.get(&format!("/images?name={long}")).await,
        400,
        "bad_request",
        &["at most 255"],
    );
    scene.end().await;
}
