//! What every client does in the same way: push, pull by tag and by digest at both doors, and mount.

use libtest_mimic::Trial;

use crate::client::{Client, Scene, trials_of};
use crate::containerd::Ctr;
use crate::containers::{Buildah, Containers, Podman};
use crate::docker::Docker;
use crate::oras::Oras;
use crate::skopeo::Skopeo;
use crate::team::Login;

/// The facts of this file, for each client.
pub(crate) fn trials() -> Vec<Trial> {
    [
        trips::<Docker>(),
        trips::<Containers<Podman>>(),
        trips::<Containers<Buildah>>(),
        trips::<Skopeo>(),
        trips::<Ctr>(),
        trips::<Oras>(),
        // ORAS never asks for a mount.
        mounts::<Docker>(),
        mounts::<Containers<Podman>>(),
        mounts::<Containers<Buildah>>(),
        mounts::<Skopeo>(),
        mounts::<Ctr>(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn trips<C: Client>() -> Vec<Trial> {
    trials_of::<C>(&[
        (
            "what_was_pushed_is_pulled_at_both_doors_by_tag_and_by_digest",
            what_was_pushed_is_pulled::<C>,
        ),
        (
            "an_api_key_pushes_and_pulls",
            an_api_key_pushes_and_pulls::<C>,
        ),
    ])
}

fn mounts<C: Client>() -> Vec<Trial> {
    trials_of::<C>(&[(
        "a_second_repository_mounts_the_layers_of_the_first",
        a_second_repository_mounts::<C>,
    )])
}

fn what_was_pushed_is_pulled<C: Client>() {
    let scene = Scene::<C>::start();
    let team = &scene.team;
    let digest = scene.push("group/my-app:v1", "hello from blue");
    assert_eq!(team.catalogue(), ["t-blue/group/my-app"]);
    scene.client.forget(&team.reference("group/my-app:v1"));
    let by_digest = format!("group/my-app@{digest}");
    for image in ["group/my-app:v1", &by_digest] {
        scene.pulls(&team.reference(image), "hello from blue");
        scene.pulls(&team.reference_at_pull_door(image), "hello from blue");
    }
}

fn an_api_key_pushes_and_pulls<C: Client>() {
    let scene = Scene::<C>::start_as(|team| Login::of_key(&team.api_key("builder").key));
    scene.push("by-key:v1", "pushed by a key");
    let reference = scene.team.reference("by-key:v1");
    scene.client.forget(&reference);
    scene.pulls(&reference, "pushed by a key");
}

fn a_second_repository_mounts<C: Client>() {
    let scene = Scene::<C>::start();
    let (first, second) = (
        scene.team.reference("first:v1"),
        scene.team.reference("second:v1"),
    );
    scene.push("first:v1", "sent once");
    // A client mounts from where it knows that the layers are; some learn it by pulls alone.
    scene.client.pull(&first).succeeded();
    scene.client.tag(&first, &second);
    scene.client.push(&second).succeeded();

    let layers = scene.team.stored("second", "v1")["layers"].clone();
    let layers = layers.as_array().expect("an image has layers").len();
    let arrivals = scene.server.arrivals("t-blue/second");
    assert!(arrivals.mounted >= layers, "{layers} layers: {arrivals:?}");
    // Its small configuration is sent by most clients.
    assert!(arrivals.sent <= 1, "{layers} layers: {arrivals:?}");
    scene.client.forget(&first);
    scene.client.forget(&second);
    scene.pulls(&second, "sent once");
}
