//! What it does not do: guess hosts, use up the pull secrets of a workspace, take over those of others, promise too much.

use serde_json::json;

use super::rights::Rights;
use super::scene::{BY_LABEL, NAME, PULL_HOST, Scene, auths};

#[tokio::test]
async fn hosts_are_those_of_the_configuration() {
    let public = "push.example";
    let both = Scene::reached(Rights::by_label(), Some(PULL_HOST), Some(public)).await;
    both.namespace("web");
    both.once(&BY_LABEL).await.well();
    let logins = auths(&both.secret("web"));
    let hosts: Vec<_> = logins.as_object().unwrap().keys().collect();
    assert_eq!(hosts, [PULL_HOST, public]);
    both.registry.stop().await;

    let none = Scene::reached(Rights::by_label(), None, None).await;
    none.namespace("web");
    let ended = none.once(&BY_LABEL).await;
    ended.badly(&[
        "1 of 1 namespaces",
        "set server.pull_url, or server.public_url",
    ]);
    assert!(none.issued().await.is_empty());
    none.registry.stop().await;
}

#[tokio::test]
async fn whatever_undoes_it_each_time_does_not_use_up_the_pull_secrets() {
    let scene = Scene::set().await;
    scene.namespace("web");
    let body = json!({"name": NAME, "namespace": "web"});
    let path = "/registry/pull-secret";
    let other = scene.admin.post(path, &body).await.expect(201);
    let remove = || {
        scene
            .cluster
            .change(|resources| resources.remove("secrets", "web", NAME));
    };
    for _ in 0..4 {
        scene.once(&BY_LABEL).await.well();
        let mut lasting = [scene.id("web"), other["id"].as_str().unwrap().to_owned()];
        lasting.sort_unstable();
        // That of another maker, say of another cluster, is none of its business.
        assert_eq!(scene.lasting().await, lasting);
        remove();
    }
    let ended = scene.once(&BY_LABEL).await;
    ended.badly(&["made anew 4 times within an hour"]);
    assert_eq!(scene.issued().await.len(), 5);
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_copy_of_another_namespaces_secret_is_replaced_and_that_one_stays() {
    let scene = Scene::set().await;
    scene.namespace("a");
    scene.once(&BY_LABEL).await.well();
    let original = scene.secret("a");
    scene.namespace("b");
    scene.cluster.change(|resources| {
        let mut copy = original.clone();
        copy["metadata"] = json!({
            "name": NAME, "namespace": "b", "labels": original["metadata"]["labels"],
            "annotations": original["metadata"]["annotations"],
        });
        resources.put(copy);
    });
    scene.once(&BY_LABEL).await.well();
    assert_ne!(scene.id("a"), scene.id("b"));
    assert_eq!(scene.secret("a"), original);
    assert_eq!(scene.lasting().await.len(), 2);
    for namespace in ["a", "b"] {
        assert!(scene.pulls(&scene.secret(namespace)).await, "{namespace}");
    }
    scene.registry.stop().await;
}

#[tokio::test]
async fn times_that_would_leave_gaps_are_refused() {
    let scene = Scene::set().await;
    scene.namespace("web");
    let with = |more: &[&'static str]| [BY_LABEL.as_slice(), more].concat();
    let arguments = with(&["--expires-in", "4d", "--renew-before", "73h"]);
    let ended = scene.once(&arguments).await;
    ended.badly(&["more than three quarters of --expires-in"]);
    let arguments = with(&["--expires-in", "4d", "--renew-before", "3d"]);
    scene.once(&arguments).await.well();

    let arguments = with(&["--renew-before", "1h", "--interval", "31m"]);
    let running = scene.start(&arguments);
    let status = tokio::task::spawn_blocking(|| running.ended()).await;
    assert_eq!(status.unwrap().code(), Some(1));
    // It has none between two looks, since there is one alone.
    scene.once(&arguments).await.well();
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_key_with_an_end_is_told_of_and_what_it_cannot_make_is_put_right() {
    let scene = Scene::set().await;
    scene.namespace("web");
    let end = scene.registry.clock.now().plus(5 * super::DAY_MS).rfc3339();
    let body = json!({"name": "short", "role": "admin", "actions": ["pull"], "expiresAt": end});
    let (key, _) = scene.registry.key_with("acme", &body).await;
    let path = scene.file("short", &key);
    let arguments = [BY_LABEL.as_slice(), &["--api-key-file", &path]].concat();
    let ended = scene.once(&arguments).await;
    let notes = ended.badly(&[
        "the API key has an end",
        "give a key without an end, or a shorter --expires-in",
    ]);
    assert!(!notes.contains("it takes that of an admin"), "{notes}");
    let arguments = [arguments.as_slice(), &["--expires-in", "4d"]].concat();
    scene.once(&arguments).await.well();
    assert!(scene.pulls(&scene.secret("web")).await);
    scene.registry.stop().await;
}
