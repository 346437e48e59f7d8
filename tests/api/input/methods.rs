//! Methods: every path answers those of its rows, says which they are to all others, and a HEAD is its GET without the
//! body.

use std::collections::BTreeMap;

use berth::http::{Door, rows};
use reqwest::Method;
use serde_json::json;

use super::scene::Scene;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Login, Reply};

/// The image of the scene, and who holds a lease of it.
const IMAGE: &str = "app";
const HOLDER: &str = "template/app";
/// By these methods an image may have this name.
const OF_AN_IMAGE: [&str; 2] = ["HEAD", "DELETE"];
const RESOLVE: &str = "/api/v1/images/resolve";

/// Headers that differ from one answer to the next.
const CHANGING: [&str; 2] = ["date", "x-request-id"];

/// A path of the route table with what the scene has.
fn filled(scene: &Scene, path: &str) -> String {
    let name = if path.contains("/api/v1/accounts") {
        "main"
    } else if path.contains("/api/v1/images") {
        IMAGE
    } else if path.contains("/api/v1/") {
        "acme"
    } else {
        "{own}"
    };
    let blob = if path.contains("referrers") || path.contains("/-/manifests/") {
        "{manifest}"
    } else {
        "{layer}"
    };
    let path = path
        .replace("{name}", name)
        .replace("{digest}", blob)
        .replace("{reference}", "v1")
        .replace("{tag}", "v1")
        .replace("{holder}", HOLDER)
        .replace("{target}", "rival")
        .replace("{id}", "{key-id}");
    scene.fill(&path)
}

fn caller(scene: &Scene, door: Door, path: &str) -> Distribution {
    let key = if path.starts_with("/api/") {
        scene.registry.operator_key()
    } else {
        scene.acme.admin_key.clone()
    };
    scene.registry.distribution(door, Login::key(&key))
}

async fn send(scene: &Scene, door: Door, method: &str, path: &str) -> Reply {
    let path = filled(scene, path);
    let caller = caller(scene, door, &path);
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = caller.request(method, &path);
    // The operator acts in the workspace that it names.
    let request = if path.starts_with("/api/") {
        request.header("x-workspace", "acme")
    } else {
        request
    };
    Reply::of(request).await
}

/// The methods of each path of a door.
fn methods(door: Door) -> BTreeMap<&'static str, Vec<String>> {
    let mut methods: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for row in rows(door, false) {
        methods.entry(row.path).or_default().push(row.method);
    }
    methods
}

#[tokio::test]
async fn every_path_names_its_methods_once_to_whoever_sends_another() {
    let scene = Scene::set(TestDatabase::chosen()).await;
    for door in [Door::Public, Door::Pull, Door::Ops] {
        for (path, methods) in methods(door) {
            for wrong in ["OPTIONS", "FROB", "HEAD", "PUT", "DELETE"] {
                let is_of_an_image = path == RESOLVE && OF_AN_IMAGE.contains(&wrong);
                if is_of_an_image || methods.iter().any(|method| method == wrong) {
                    continue;
                }
                let refused = send(&scene, door, wrong, path).await;
                assert_eq!(refused.status, 405, "{wrong} {path}");
                assert_eq!(
                    refused.header("allow"),
                    methods.join(", "),
                    "{wrong} {path}"
                );
                assert_eq!(refused.body.is_empty(), wrong == "HEAD", "{wrong} {path}");
            }
        }
    }
}

#[tokio::test]
async fn a_head_is_its_get_without_the_body() {
    let scene = Scene::set(TestDatabase::one_server()).await;
    let api = scene.registry.api(&scene.acme.admin_key);
    let lease = format!("/leases/{HOLDER}");
    let image = json!({"image": format!("{IMAGE}:v1")});
    api.put(&lease, &image).await.expect(200);
    let mut compared = 0;
    for door in [Door::Public, Door::Pull, Door::Ops] {
        for (path, methods) in methods(door) {
            if !methods.iter().any(|method| method == "HEAD") {
                continue;
            }
            let [mut get, mut head] = [
                send(&scene, door, "GET", path).await,
                send(&scene, door, "HEAD", path).await,
            ];
            assert!(get.status < 300, "{path}: {}", get.text());
            assert_eq!(
                (head.status, head.text()),
                (get.status, String::new()),
                "{path}"
            );
            for name in CHANGING {
                get.headers.remove(name);
                head.headers.remove(name);
            }
            // The one has the request before this one in it, the other has no length to speak of.
            if path == "/metrics" || get.status == 204 {
                get.headers.remove("content-length");
                head.headers.remove("content-length");
            }
            assert_eq!(head.headers, get.headers, "{path}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}
