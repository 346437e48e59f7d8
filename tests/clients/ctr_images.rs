//! containerd moves whole indexes, and takes a registry credential as an identity token.

use libtest_mimic::Trial;
use serde_json::json;

use crate::client::{Client, Scene, trials_of};
use crate::containerd::Ctr;
use crate::containers::{Containers, Podman};
use crate::docker::Docker;
use crate::images::Layout;
use crate::skopeo::Skopeo;

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    trials_of::<Ctr>(&[
        (
            "all_platforms_are_pushed_and_pulled",
            all_platforms_are_pushed_and_pulled,
        ),
        (
            "a_credential_serves_as_an_identity_token",
            a_credential_serves_as_an_identity_token,
        ),
        (
            "what_other_clients_pushed_is_pulled",
            what_other_clients_pushed_is_pulled,
        ),
    ])
}

fn all_platforms_are_pushed_and_pulled() {
    let scene = Scene::<Ctr>::start();
    let layout = Layout::two_platforms("everywhere");
    let reference = scene.team.reference("app:v1");
    scene.client.import(&layout, &reference);
    scene.client.push(&reference).succeeded();
    assert_eq!(scene.team.digest("app", "v1"), layout.digest);

    let puller: Ctr = scene.colleague();
    let at_pull_door = scene.team.reference_at_pull_door("app:v1");
    puller
        .transfer(
            "pull",
            &["--all-platforms", "--snapshotter", "native"],
            &at_pull_door,
        )
        .succeeded();
    let listed = puller.images(&["ls", &format!("name=={at_pull_door}")]);
    listed
        .succeeded()
        .said(&layout.digest)
        .said("linux/amd64,linux/arm64");
}

fn a_credential_serves_as_an_identity_token() {
    let scene = Scene::<Ctr>::start();
    scene.push("app:v1", "by an identity");
    let credential = scene
        .team
        .credential(&json!({"actions": ["pull"]}))
        .password;
    let reference = scene.team.reference("app:v1");
    let pull = [
        "pull",
        "--plain-http",
        "--snapshotter",
        "native",
        "--refresh",
        &credential,
        &reference,
    ];
    Ctr::new().images(&pull).succeeded();
}

fn what_other_clients_pushed_is_pulled() {
    let scene = Scene::<Ctr>::start();
    pushed_by::<Docker>(&scene, "docker:v1");
    pushed_by::<Containers<Podman>>(&scene, "podman:v1");
    pushed_by::<Skopeo>(&scene, "skopeo:v1");
}

fn pushed_by<C: Client>(scene: &Scene<Ctr>, image: &str) {
    let reference = scene.team.reference(image);
    let colleague: C = scene.colleague();
    colleague.make(&reference, image);
    colleague.push(&reference).succeeded();
    colleague.forget(&reference);
    scene.pulls(&reference, image);
    scene.pulls(&scene.team.reference_at_pull_door(image), image);
}
