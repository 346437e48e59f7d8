//! The command as it goes on: what it notices, what it outlives, and how it stops.

use serde_json::json;

use super::resources::Resources;
use super::scene::{BY_LABEL, NAME, Scene};

/// Whether pods of a namespace pull with its Secret.
fn is_kept(resources: &Resources, namespace: &str) -> bool {
    let account = resources.find("serviceaccounts", namespace, "default");
    let entries = account.and_then(|account| account["imagePullSecrets"].as_array());
    let is_admitted = entries.is_some_and(|entries| entries.contains(&json!({"name": NAME})));
    is_admitted && resources.find("secrets", namespace, NAME).is_some()
}

fn count(resources: &Resources, request: &str) -> usize {
    resources
        .requests
        .iter()
        .filter(|line| *line == request)
        .count()
}

const WATCH: &str = "watch namespaces /";

#[tokio::test]
async fn namespaces_come_and_go_while_it_runs() {
    let scene = Scene::set().await;
    scene.namespace("first");
    // Everything is looked at once in the whole test: what happens later is noticed.
    let arguments = [BY_LABEL.as_slice(), &["--interval", "1d"]].concat();
    let running = scene.start(&arguments);
    let cluster = &scene.cluster;
    cluster
        .until("the first one", |all| is_kept(all, "first"))
        .await;
    cluster
        .until("it watches", |all| count(all, WATCH) > 0)
        .await;

    // Its ServiceAccount comes later.
    let allow = json!({"berth/pull-secrets": "allow"});
    cluster.change(|resources| resources.namespace("second", &allow));
    let asked = "get serviceaccounts second/default";
    cluster
        .until("the second one is looked at", |all| count(all, asked) > 1)
        .await;
    assert!(cluster.look().find("secrets", "second", NAME).is_none());
    cluster.change(|resources| resources.account("second", &["other"]));
    cluster
        .until("the second one", |all| is_kept(all, "second"))
        .await;
    assert_eq!(scene.admitted("second"), json!(["other", NAME]));

    // Another one gets the label, and the first one loses it: what it has stays.
    cluster.change(|resources| {
        resources.namespace("third", &json!({}));
        resources.account("third", &[]);
    });
    cluster.change(|resources| {
        resources.namespace("third", &allow);
        resources.namespace("first", &json!({}));
    });
    cluster
        .until("the third one", |all| is_kept(all, "third"))
        .await;
    assert!(is_kept(&cluster.look(), "first"));
    assert!(scene.pulls(&scene.secret("first")).await);

    scene.assert_rights_suffice();
    let (status, log) = scene.stop(running).await;
    assert!(status.success(), "{log}");
    assert!(log.contains("not selected any more"), "{log}");
    assert_eq!(scene.issued().await.len(), 3);
    scene.registry.stop().await;
}

#[tokio::test]
async fn it_outlives_a_cluster_that_is_down_and_versions_that_are_gone() {
    let scene = Scene::set().await;
    let cluster = &scene.cluster;
    cluster.change(|resources| resources.outage = Some(503));
    let arguments = [BY_LABEL.as_slice(), &["--interval", "1d"]].concat();
    let running = scene.start(&arguments);
    scene.namespace("first");
    cluster.change(|resources| resources.outage = None);
    cluster
        .until("the first one", |all| is_kept(all, "first"))
        .await;
    cluster
        .until("it watches", |all| count(all, WATCH) > 0)
        .await;

    // The stream breaks, and what happened meanwhile can not be told any more.
    let watches = count(&cluster.look(), WATCH);
    cluster.change(|resources| {
        resources.oldest = resources.version() + 1;
        resources.breaks += 1;
    });
    // Twice in vain, until the list has a version that is young enough.
    let again = |all: &Resources| count(all, WATCH) > watches + 1;
    cluster.until("it watches again", again).await;
    scene.namespace("second");
    cluster
        .until("the second one", |all| is_kept(all, "second"))
        .await;

    let (status, log) = scene.stop(running).await;
    assert!(status.success(), "{log}");
    assert!(log.contains("\"stopped\""), "{log}");
    scene.registry.stop().await;
}

#[tokio::test]
async fn it_goes_on_when_berth_takes_its_key_again() {
    let scene = Scene::set().await;
    scene.namespace("web");
    let key = scene.registry.key_of("acme", "admin").await;
    let path = scene.file("changing", "no key at all");
    let arguments = [BY_LABEL.as_slice(), &["--api-key-file", &path]].concat();
    let running = scene.start(&arguments);
    let cluster = &scene.cluster;
    let list = "list namespaces /";
    cluster
        .until("it tries again", |all| count(all, list) > 1)
        .await;
    assert!(cluster.look().find("secrets", "web", NAME).is_none());
    // As a mounted Secret changes.
    scene.file("changing", &key);
    cluster.until("the Secret", |all| is_kept(all, "web")).await;
    let (status, log) = scene.stop(running).await;
    assert!(status.success(), "{log}");
    assert!(log.contains("Berth refuses the API key"), "{log}");
    scene.registry.stop().await;
}
