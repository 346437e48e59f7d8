//! What goes wrong on the way between Berth and the cluster, and that it costs nobody their pull secret.

use std::process::Command;
use std::sync::mpsc;

use serde_json::{Value, json};

use super::scene::{BY_LABEL, NAME, Scene};

/// What finds a pull secret of two days to be at its end.
const RENEWED: [&str; 6] = [
    BY_LABEL[0],
    BY_LABEL[1],
    "--expires-in",
    "10d",
    "--renew-before",
    "5d",
];

/// A namespace `web` whose pull secret is due for another.
async fn due() -> Scene {
    let scene = Scene::set().await;
    scene.namespace("web");
    let short = [BY_LABEL.as_slice(), &["--expires-in", "2d"]].concat();
    scene.once(&short).await.well();
    scene
}

/// Runs it once more, after which Berth keeps the pull secret that was there and the one that is there, and both pull.
async fn the_next_look_mends(scene: Scene, old: &Value, old_id: String) {
    scene.once(&RENEWED).await.well();
    let mut lasting = [old_id, scene.id("web")];
    lasting.sort_unstable();
    assert_eq!(scene.lasting().await, lasting);
    assert!(scene.pulls(old).await && scene.pulls(&scene.secret("web")).await);
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_new_one_that_the_cluster_refuses_is_ended_and_another_takes_its_place_at_the_next_look()
{
    let scene = due().await;
    let old = scene.secret("web");
    scene.cluster.interfere("update", "secrets", |resources| {
        resources.refused = Some(422);
    });
    scene.once(&RENEWED).await.badly(&["this is not taken"]);
    assert_eq!(scene.secret("web"), old);
    assert_eq!(scene.issued().await.len(), 1, "the new one is gone");

    scene.once(&RENEWED).await.well();
    let new = scene.secret("web");
    assert_ne!(old, new);
    assert!(scene.pulls(&old).await && scene.pulls(&new).await);
    assert_eq!(scene.issued().await.len(), 2);
    scene.assert_rights_suffice();
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_write_in_doubt_is_left_until_the_next_look() {
    let scene = due().await;
    let (old, old_id) = (scene.secret("web"), scene.id("web"));
    scene.cluster.interfere("update", "secrets", |resources| {
        resources.refused = Some(500);
    });
    scene.once(&RENEWED).await.badly(&["this is not taken"]);
    assert_eq!(scene.lasting().await.len(), 2, "it may be in the Secret");

    the_next_look_mends(scene, &old, old_id).await;
}

#[tokio::test]
async fn it_may_be_killed_between_berth_and_the_cluster() {
    let scene = due().await;
    let (old, old_id) = (scene.secret("web"), scene.id("web"));
    let (sender, receiver) = mpsc::channel::<u32>();
    scene
        .cluster
        .interfere("update", "secrets", move |resources| {
            let id = receiver.recv().unwrap().to_string();
            let killed = Command::new("kill").args(["-KILL", &id]).status();
            assert!(killed.unwrap().success());
            resources.refused = Some(500);
        });
    let running = scene.start(&RENEWED);
    sender.send(running.id()).unwrap();
    let status = tokio::task::spawn_blocking(|| running.ended()).await;
    assert!(!status.unwrap().success());
    assert_eq!(scene.secret("web"), old);
    assert_eq!(scene.lasting().await.len(), 2, "one that nobody has");

    the_next_look_mends(scene, &old, old_id).await;
}

#[tokio::test]
async fn one_that_an_admin_has_replaced_and_put_nowhere_is_replaced_again() {
    let scene = due().await;
    let path = format!("/registry/pull-secret/{}/rotate", scene.id("web"));
    let other = scene.admin.post(&path, &json!({})).await.expect(201);
    let old = scene.secret("web");
    scene.once(&BY_LABEL).await.well();
    assert_ne!(scene.secret("web"), old);
    assert!(scene.pulls(&scene.secret("web")).await);
    // It is the admin's, who may have put it elsewhere.
    let lasting = scene.lasting().await;
    assert!(lasting.iter().any(|id| other["id"] == **id), "{lasting:?}");
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_namespace_in_which_everything_fails_holds_up_no_other() {
    let scene = Scene::set().await;
    for name in ["a", "b"] {
        scene.namespace(name);
    }
    scene
        .cluster
        .change(|resources| resources.failing.extend([String::from("a")]));
    let ended = scene.once(&BY_LABEL).await;
    ended.badly(&["1 of 2 namespaces are not in order", "a webhook is broken"]);
    assert!(scene.pulls(&scene.secret("b")).await);
    scene.registry.stop().await;
}

#[tokio::test]
async fn as_many_as_an_outage_looks_like_hold_up_no_other_for_long() {
    let scene = Scene::set().await;
    let failing = ["a", "b", "c", "d", "e", "f"];
    for name in failing.iter().chain(&["g"]) {
        scene.namespace(name);
    }
    let names = failing.map(str::to_owned);
    scene
        .cluster
        .change(|resources| resources.failing.extend(names));
    // That much looks like an outage.
    let ended = scene.once(&BY_LABEL).await;
    ended.badly(&["a webhook is broken"]);
    let requests = scene.cluster.look().requests.clone();
    assert!(
        !requests.iter().any(|line| line.contains(" d/")),
        "{requests:?}"
    );

    let arguments = [BY_LABEL.as_slice(), &["--interval", "1d"]].concat();
    let running = scene.start(&arguments);
    let is_kept = |namespace: &'static str| {
        move |resources: &super::resources::Resources| {
            resources.find("secrets", namespace, NAME).is_some()
        }
    };
    scene.cluster.until("the last one", is_kept("g")).await;
    // One that comes later is noticed all the same.
    scene.namespace("h");
    scene.cluster.until("a new one", is_kept("h")).await;
    let (status, log) = scene.stop(running).await;
    assert!(status.success(), "{log}");
    scene.registry.stop().await;
}
