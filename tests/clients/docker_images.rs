//! Docker pushes, pulls and runs images.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::docker::{Docker, with_each_program};
use crate::fact;
use crate::server::{Login, Server};

/// The facts of this file; the round trip for each command line of the machine.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        fact(
            "docker::a_digest_is_enough_to_pull",
            a_digest_is_enough_to_pull,
        ),
        fact(
            "docker::a_second_repository_mounts_the_layers_of_the_first",
            a_second_repository_mounts,
        ),
        fact(
            "docker::an_api_key_pushes_and_pulls",
            an_api_key_pushes_and_pulls,
        ),
        fact(
            "docker::a_tag_moves_to_what_was_pushed_last",
            a_tag_moves_to_what_was_pushed_last,
        ),
        fact(
            "docker::a_name_may_have_many_parts",
            a_name_may_have_many_parts,
        ),
        fact(
            "docker::the_pull_door_gives_images_and_takes_none",
            the_pull_door_gives_images_and_takes_none,
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

/// Builds `greeting` as `reference`, pushes it, and removes it from the engine; gives its digest.
fn build_and_push(docker: &Docker, reference: &str, greeting: &str) -> String {
    docker.build(reference, greeting);
    let digest = docker.push(reference);
    docker.run(&["rmi", reference]).succeeded();
    digest
}

fn what_was_pushed_is_pulled_and_runs(docker: &Docker) {
    let server = Server::start();
    let team = server.team("blue");
    let reference = team.reference("app:v1");
    docker
        .login(&server.registry, &team.credential(&json!({})))
        .succeeded();
    let digest = build_and_push(docker, &reference, "hello from blue");
    docker.run(&["pull", &reference]).succeeded().said(&digest);
    docker.prints(&reference, "hello from blue");
    assert_eq!(team.catalogue(), ["t-blue/app"]);
}

fn an_api_key_pushes_and_pulls() {
    let server = Server::start();
    let team = server.main_team();
    let docker = Docker::new();
    let reference = team.reference("by-key:v1");
    docker
        .login(
            &server.registry,
            &Login::of_key(&team.api_key("builder").key),
        )
        .succeeded();
    build_and_push(&docker, &reference, "pushed by a key");
    docker.run(&["pull", &reference]).succeeded();
    docker.prints(&reference, "pushed by a key");
}

fn a_digest_is_enough_to_pull() {
    let server = Server::start();
    let team = server.main_team();
    let docker = Docker::new();
    docker
        .login(&server.registry, &team.credential(&json!({})))
        .succeeded();
    let digest = build_and_push(&docker, &team.reference("app:v1"), "found by digest");
    let reference = format!("{}@{digest}", team.reference("app"));
    docker.run(&["pull", &reference]).succeeded();
    docker.prints(&reference, "found by digest");
}

fn a_second_repository_mounts() {
    let server = Server::start();
    let team = server.main_team();
    let docker = Docker::new();
    docker
        .login(&server.registry, &team.credential(&json!({})))
        .succeeded();
    let (first, second) = (team.reference("first:v1"), team.reference("second:v1"));
    docker.build(&first, "pushed once");
    docker.run(&["push", &first]).succeeded().said("Pushed");
    docker.run(&["tag", &first, &second]).succeeded();
    let outcome = docker
        .run(&["push", &second])
        .succeeded()
        .said("Mounted from t-main/first");
    assert!(
        !outcome.text.contains("Pushed"),
        "a layer was sent a second time:\n{}",
        outcome.text
    );
    docker.run(&["rmi", &first, &second]).succeeded();
    docker.run(&["pull", &second]).succeeded();
    docker.prints(&second, "pushed once");
}

fn a_tag_moves_to_what_was_pushed_last() {
    let server = Server::start();
    let team = server.main_team();
    let docker = Docker::new();
    docker
        .login(&server.registry, &team.credential(&json!({})))
        .succeeded();
    let reference = team.reference("app:latest");
    let first = build_and_push(&docker, &reference, "the first");
    let second = build_and_push(&docker, &reference, "the second");
    assert_ne!(first, second);
    docker.run(&["pull", &reference]).succeeded().said(&second);
    docker.prints(&reference, "the second");
}

fn a_name_may_have_many_parts() {
    let server = Server::start();
    let team = server.main_team();
    let docker = Docker::new();
    docker
        .login(&server.registry, &team.credential(&json!({})))
        .succeeded();
    let reference = team.reference("group/sub.group/my-app_x:v1");
    build_and_push(&docker, &reference, "deep down");
    docker.run(&["pull", &reference]).succeeded();
    assert_eq!(team.catalogue(), ["t-main/group/sub.group/my-app_x"]);
}

fn a_list_of_two_platforms_is_pushed_and_pulled(docker: &Docker) {
    let server = Server::start();
    let team = server.main_team();
    let login = team.credential(&json!({}));
    docker.login(&server.registry, &login).succeeded();
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

    let stored = team
        .manifest("app", "v1", &login.caller())
        .expect(200)
        .json();
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

    docker.run(&["pull", &list]).succeeded();
    docker.prints(&list, "for amd64");
}

fn the_pull_door_gives_images_and_takes_none() {
    let server = Server::start();
    let team = server.main_team();
    let docker = Docker::new();
    let login = team.credential(&json!({}));
    docker.login(&server.registry, &login).succeeded();
    build_and_push(&docker, &team.reference("app:v1"), "through the pull door");

    docker.login(&server.pull_door, &login).succeeded();
    let reference = format!("{}/{}app:v1", server.pull_door, team.prefix);
    docker.run(&["pull", &reference]).succeeded();
    docker.prints(&reference, "through the pull door");

    let other = format!("{}/{}other:v1", server.pull_door, team.prefix);
    docker.build(&other, "never to be stored");
    docker
        .run(&["push", &other])
        .refused_with(&["unsupported: "]);
    assert_eq!(team.catalogue(), ["t-main/app"]);
}
