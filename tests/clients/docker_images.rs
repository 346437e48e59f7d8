//! Docker pushes, pulls and runs images.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::client::{Client, Scene};
use crate::docker::{Docker, with_each_program};
use crate::fact;
use crate::server::Server;
use crate::team::Team;

/// The facts of this file; the round trip for each command line of the machine.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        fact(
            "docker::a_mount_is_told_by_the_name_of_its_source",
            a_mount_is_told_by_the_name_of_its_source,
        ),
        fact(
            "docker::a_tag_moves_to_what_was_pushed_last",
            a_tag_moves_to_what_was_pushed_last,
        ),
        fact(
            "docker::a_name_may_have_many_parts",
            a_name_may_have_many_parts,
        ),
    ];
    trials.extend(with_each_program(&[
        (
            "what_was_pushed_is_pulled_and_runs",
            what_was_pushed_is_pulled_and_runs,
        ),
        (
            "a_list_of_two_platforms_is_pushed_and_pulled",
            a_list_of_two_platforms_is_pushed_and_pulled,
        ),
    ]));
    trials
}

/// Builds `greeting` as `reference`, pushes it, and removes it from the engine; gives the digest that docker was told.
fn build_and_push(docker: &Docker, reference: &str, greeting: &str) -> String {
    docker.make(reference, greeting);
    let outcome = docker.push(reference).succeeded();
    docker.forget(reference);
    let digest = outcome
        .stdout
        .split("digest: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    digest.map_or_else(|| panic!("no digest in {}", outcome.stdout), String::from)
}

/// A server, a team, and a login of `docker` with its credential.
fn enter(docker: &Docker) -> (Server, Team) {
    let server = Server::start();
    let team = Team::new(&server, "blue");
    docker
        .login(&server.registry, &team.credential(&json!({})))
        .succeeded();
    (server, team)
}

fn what_was_pushed_is_pulled_and_runs(docker: &Docker) {
    let (_server, team) = enter(docker);
    let reference = team.reference("app:v1");
    let digest = build_and_push(docker, &reference, "hello from blue");
    docker.pull(&reference).succeeded().said(&digest);
    assert_eq!(docker.greeting(&reference), "hello from blue");
    assert_eq!(team.catalogue(), ["t-blue/app"]);
}

fn a_mount_is_told_by_the_name_of_its_source() {
    let scene = Scene::<Docker>::start();
    let (first, second) = (
        scene.team.reference("first:v1"),
        scene.team.reference("second:v1"),
    );
    scene.client.make(&first, "pushed once");
    scene.client.push(&first).succeeded().said("Pushed");
    scene.client.tag(&first, &second);
    let told = scene
        .client
        .push(&second)
        .succeeded()
        .said("Mounted from t-blue/first")
        .text();
    assert!(!told.contains("Pushed"), "a layer was sent again:\n{told}");
}

fn a_tag_moves_to_what_was_pushed_last() {
    let scene = Scene::<Docker>::start();
    let reference = scene.team.reference("app:latest");
    let first = build_and_push(&scene.client, &reference, "the first");
    let second = build_and_push(&scene.client, &reference, "the second");
    assert_ne!(first, second);
    scene.client.pull(&reference).succeeded().said(&second);
    assert_eq!(scene.client.greeting(&reference), "the second");
}

fn a_name_may_have_many_parts() {
    let scene = Scene::<Docker>::start();
    let reference = scene.team.reference("group/sub.group/my-app_x:v1");
    build_and_push(&scene.client, &reference, "deep down");
    scene.pulls(&reference, "deep down");
    assert_eq!(scene.team.catalogue(), ["t-blue/group/sub.group/my-app_x"]);
}

fn a_list_of_two_platforms_is_pushed_and_pulled(docker: &Docker) {
    let (_server, team) = enter(docker);
    let list = team.reference("app:v1");
    let (amd64, arm64) = (
        team.reference("app:v1-amd64"),
        team.reference("app:v1-arm64"),
    );
    let amd64_digest = build_and_push(docker, &amd64, "for amd64");
    let arm64_digest = build_and_push(docker, &arm64, "for arm64");
    docker
        .run(&["manifest", "create", "--insecure", &list, &amd64, &arm64])
        .succeeded();
    docker
        .run(&[
            "manifest", "annotate", "--os", "linux", "--arch", "arm64", &list, &arm64,
        ])
        .succeeded();
    docker
        .run(&["manifest", "push", "--insecure", &list])
        .succeeded()
        .said("sha256:");

    let stored = team.stored("app", "v1");
    let platforms: Vec<(&Value, &Value)> = stored["manifests"]
        .as_array()
        .expect("a list has manifests")
        .iter()
        .map(|manifest| (&manifest["platform"]["architecture"], &manifest["digest"]))
        .collect();
    assert_eq!(
        platforms,
        [
            (&json!("amd64"), &json!(amd64_digest)),
            (&json!("arm64"), &json!(arm64_digest))
        ]
    );

    docker.pull(&list).succeeded();
    assert_eq!(docker.greeting(&list), "for amd64");
}
