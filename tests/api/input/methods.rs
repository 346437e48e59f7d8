//! Methods: every path answers those of its rows, says which they are to all others, and a HEAD is its GET without the
//! body.

use std::collections::BTreeMap;

use berth::http::{Door, rows};
use reqwest::Method;

use super::scene::Scene;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Login, Reply};

/// Headers that differ from one answer to the next.
const CHANGING: [&str; 2] = ["date", "x-request-id"];

/// A path of the route table with what the scene has.
fn filled(scene: &Scene, path: &str) -> String {
    let name = if path.contains("/api/v1/accounts") {
        "main"
    } else if path.contains("/api/v1/") {
        "acme"
    } else {
        "{own}"
    };
    let blob = if path.contains("referrers") {
        "{manifest}"
    } else {
        "{layer}"
    };
    let path = path
        .replace("{name}", name)
        .replace("{digest}", blob)
        .replace("{reference}", "v1")
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
    Reply::of(caller.request(method, &path)).await
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
    let scene = Scene::set(TestDatabase::Sqlite).await;
    for door in [Door::Public, Door::Pull, Door::Ops] {
        for (path, methods) in methods(door) {
            for wrong in ["OPTIONS", "FROB", "HEAD", "PUT", "DELETE"] {
                if methods.iter().any(|method| method == wrong) {
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
    let scene = Scene::set(TestDatabase::Sqlite).await;
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
