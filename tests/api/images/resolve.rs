//! `POST /images/resolve`.

use berth::config::ExternalImages;
use berth::http::Door;
use serde_json::{Value, json};

use super::{Scene, refused, weight};
use crate::support::TestRegistry;
use crate::support::calls::Api;
use crate::support::database::TestDatabase;

async fn resolve(api: &Api, image: &str) -> Value {
    let answer = api.post("/images/resolve", &json!({"image": image})).await;
    answer.expect(200)
}

/// What a reference came to, with a word of the reason where it cannot be used.
#[track_caller]
fn comes_to(found: &Value, kind: &str, word: Option<&str>) {
    assert_eq!(found["kind"], kind, "{found:#}");
    assert_eq!(found["usable"], json!(word.is_none()), "{found:#}");
    match word {
        None => assert_eq!(found["reason"], Value::Null),
        Some(word) => {
            let reason = found["reason"].as_str().unwrap();
            assert!(reason.contains(word), "{reason}");
            for field in ["digest", "pullReference", "sizeBytes"] {
                assert_eq!(found[field], Value::Null, "{field}");
            }
            assert_eq!(found["platforms"], json!([]));
        }
    }
}

#[tokio::test]
async fn an_own_image_is_found_however_it_is_written() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_with(database, |config| {
            config.server.pull_url = Some("http://pull.example:5001".parse().unwrap());
        })
        .await;
        let scene = Scene::of(registry).await;
        let content = scene.push("team/app", "v1", "one").await;
        let digest = &content.manifest.digest;
        let public = scene.registry.host(Door::Public);
        let by_tag = "pull.example:5001/t-shopkey/team/app:v1".to_owned();
        let by_digest = format!("pull.example:5001/t-shopkey/team/app@{digest}");
        for (image, expected) in [
            ("team/app:v1".to_owned(), &by_tag),
            ("t-shopkey/team/app:v1".to_owned(), &by_tag),
            (format!("{public}/t-shopkey/team/app:v1"), &by_tag),
            (by_tag.clone(), &by_tag),
            (format!("team/app@{digest}"), &by_digest),
            (format!("team/app:v9@{digest}"), &by_digest),
        ] {
            let found = resolve(&scene.admin, &image).await;
            comes_to(&found, "own", None);
            assert_eq!(found["digest"], json!(digest));
            assert_eq!(found["pullReference"], json!(expected), "{image}");
            assert_eq!(found["platforms"], json!(["linux/amd64"]));
            assert_eq!(found["sizeBytes"], json!(weight(&content)));
        }
        // A name alone means latest, as clients read it.
        let found = resolve(&scene.admin, "team/app").await;
        comes_to(&found, "own", Some("no tag \"latest\""));
        scene.push("team/app", "latest", "two").await;
        comes_to(&resolve(&scene.admin, "team/app").await, "own", None);
        scene.end().await;
    }
}

#[tokio::test]
async fn shared_and_everybodys_images_are_told_apart() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        scene.push("base", "v1", "two").await;
        scene.share("app", "from/shop").await;
        scene.publish("base").await;
        let public = scene.registry.host(Door::Public);
        let shared = resolve(&scene.other, "from/shop:v1").await;
        comes_to(&shared, "shared", None);
        let expected = format!("{public}/t-guestkey/from/shop:v1");
        assert_eq!(shared["pullReference"], json!(expected));
        let found = resolve(&scene.other, "from/shop:v2").await;
        comes_to(&found, "shared", Some("no tag \"v2\""));
        for image in [
            "t-shopkey/base:v1".to_owned(),
            format!("{public}/t-shopkey/base:v1"),
        ] {
            let found = resolve(&scene.other, &image).await;
            comes_to(&found, "platform", None);
            assert_eq!(
                found["pullReference"],
                json!(format!("{public}/t-shopkey/base:v1"))
            );
        }
        let found = resolve(&scene.other, "t-shopkey/base:v2").await;
        comes_to(&found, "platform", Some("no tag \"v2\""));
        comes_to(&resolve(&scene.admin, "base:v1").await, "own", None);
        scene.end().await;
    }
}

#[tokio::test]
async fn a_name_in_a_namespace_is_an_own_image_first() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let operator = scene.registry.operator();
        let body = json!({"name": "platform", "account": "main", "namespace": "platform"});
        operator.post("/workspaces", &body).await.expect(201);
        let key = scene.registry.key_of("platform", "admin").await;
        let content = crate::support::distribution::image().layer("base").build();
        let docker = scene.registry.with_key(&key);
        docker.push_image("platform/base", "latest", &content).await;
        let publish = json!({"visibility": "platform"});
        let operator = operator.in_workspace("platform");
        let found = resolve(&scene.admin, "platform/base").await;
        comes_to(
            &found,
            "own",
            Some("no image \"platform/base\" in this workspace"),
        );
        operator.patch("/images/base", &publish).await.expect(200);
        comes_to(
            &resolve(&scene.admin, "platform/base").await,
            "platform",
            None,
        );
        scene.push("platform/base", "latest", "own").await;
        comes_to(&resolve(&scene.admin, "platform/base").await, "own", None);
        scene.end().await;
    }
}

#[tokio::test]
async fn foreign_images_are_the_same_whether_they_are_there_or_not() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        let public = scene.registry.host(Door::Public);
        let mut answers = Vec::new();
        for prefix in ["t-shopkey", "t-nobody1"] {
            for image in [
                format!("{prefix}/app:v1"),
                format!("{public}/{prefix}/app:v1"),
            ] {
                let found = resolve(&scene.other, &image).await;
                comes_to(&found, "foreign", Some("its owner can share it"));
                answers.push(found.to_string().replace(prefix, "<prefix>"));
            }
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        scene.end().await;
    }
}

#[tokio::test]
async fn an_unknown_own_image_says_how_another_registrys_is_written() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let public = scene.registry.host(Door::Public);
        for (image, word) in [
            ("ubuntu:24.04".to_owned(), "docker.io/library/ubuntu"),
            ("grafana/grafana".to_owned(), "docker.io/grafana/grafana"),
            (
                "t-shopkey/nothing".to_owned(),
                "no image \"t-shopkey/nothing\"",
            ),
            (format!("{public}/t-shopkey/nothing:v1"), "no image"),
            (format!("{public}/nothing:v1"), "no image"),
        ] {
            let found = resolve(&scene.admin, &image).await;
            comes_to(&found, "own", Some(word));
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn images_of_other_registries_are_judged_by_the_configuration() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (external, allowed) in [
        ("allow", ["docker.io", "ghcr.io"].as_slice()),
        ("docker.io", &["docker.io"]),
        ("deny", &[]),
    ] {
        let external: ExternalImages = external.parse().unwrap();
        let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.images.external_images = external;
        })
        .await;
        let scene = Scene::of(registry).await;
        for host in ["docker.io", "ghcr.io"] {
            for rest in [
                "library/ubuntu:24.04".to_owned(),
                format!("library/ubuntu@{digest}"),
            ] {
                let image = format!("{host}/{rest}");
                let found = resolve(&scene.admin, &image).await;
                if allowed.contains(&host) {
                    comes_to(&found, "external", None);
                    assert_eq!(found["pullReference"], json!(image));
                    assert_eq!(found["digest"].is_string(), rest.contains('@'));
                    assert_eq!(found["sizeBytes"], Value::Null);
                } else {
                    comes_to(&found, "external", Some(host));
                }
            }
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn a_narrowed_key_learns_nothing_of_the_rest() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        scene.push("app", "v1", "one").await;
        scene.push("team/app", "v1", "two").await;
        scene.push("base", "v1", "three").await;
        scene.publish("base").await;
        let narrow = scene.narrowed("viewer", &["team/*"]).await;
        comes_to(&resolve(&narrow, "team/app:v1").await, "own", None);
        for image in ["app:v1", "nothing:v1", "t-shopkey/app:v1"] {
            let found = resolve(&narrow, image).await;
            comes_to(&found, "own", Some("limited to the images team/*"));
        }
        scene.end().await;
    }
}

#[tokio::test]
async fn what_is_no_reference_is_refused() {
    let scene = Scene::set(TestDatabase::Sqlite).await;
    let long = "a".repeat(1025);
    for (body, word) in [
        (json!({}), "missing field `image`"),
        (json!({"image": 7}), "image: "),
        (json!({"image": ""}), "1 to 1024 bytes"),
        (json!({"image": long}), "1 to 1024 bytes"),
        (json!({"image": "App"}), "is no image name"),
        (json!({"image": "app:-x"}), "is no tag"),
        (json!({"image": "app@sha256:00"}), "is no digest"),
        (json!({"image": "a//b"}), "is no image name"),
        (json!({"image": "t-shopkey"}), "names no image"),
        (json!({"image": "app", "tag": "v1"}), "unknown field `tag`"),
    ] {
        let answer = scene.admin.post("/images/resolve", &body).await;
        refused(answer, 400, "bad_request", &[word]);
    }
    scene.end().await;
}
