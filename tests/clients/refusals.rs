//! What a credential does not reach, and what a person is told then.

use libtest_mimic::Trial;
use serde_json::json;

use crate::docker::Docker;
use crate::fact;
use crate::images::Layout;
use crate::server::{Login, Server};
use crate::skopeo::Skopeo;

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "docker::a_push_to_another_team_is_refused",
            docker_cannot_push_to_another_team,
        ),
        fact(
            "docker::a_pull_from_another_team_is_refused",
            docker_cannot_pull_from_another_team,
        ),
        fact(
            "docker::a_push_to_no_team_is_refused",
            docker_cannot_push_to_no_team,
        ),
        fact(
            "docker::a_narrowed_credential_keeps_to_its_repository",
            docker_keeps_to_a_narrowed_credential,
        ),
        fact(
            "docker::a_viewer_pulls_and_never_pushes",
            docker_viewer_pulls_and_never_pushes,
        ),
        fact(
            "docker::nobody_pulls_without_a_password",
            docker_needs_a_password,
        ),
        fact(
            "skopeo::a_wrong_password_is_refused",
            skopeo_refuses_a_wrong_password,
        ),
        fact(
            "skopeo::a_push_to_another_team_is_refused",
            skopeo_cannot_push_to_another_team,
        ),
        fact(
            "skopeo::a_narrowed_credential_keeps_to_its_repository",
            skopeo_keeps_to_a_narrowed_credential,
        ),
    ]
}

fn docker_cannot_push_to_another_team() {
    let server = Server::start();
    let (blue, green) = (server.team("blue"), server.team("green"));
    let docker = Docker::new();
    for login in [blue.credential(&json!({})), blue.key_login()] {
        docker.login(&server.registry, &login).succeeded();
        let reference = green.reference("app:v1");
        docker.build(&reference, "not theirs");
        docker
            .run(&["push", &reference])
            .refused_with(&["denied: ", "t-blue/"]);
    }
    assert!(
        green.catalogue().is_empty(),
        "something was left behind: {:?}",
        green.catalogue()
    );
    assert!(
        blue.catalogue().is_empty(),
        "something was left behind: {:?}",
        blue.catalogue()
    );
}

fn docker_cannot_pull_from_another_team() {
    let server = Server::start();
    let (blue, green) = (server.team("blue"), server.team("green"));
    let layout = Layout::image("only for green");
    Skopeo::logged_in(&server.registry, &green.credential(&json!({})))
        .copy(
            &[],
            &layout.source(),
            &format!("docker://{}", green.reference("app:v1")),
        )
        .succeeded();

    let docker = Docker::new();
    docker
        .login(&server.registry, &blue.credential(&json!({})))
        .succeeded();
    let there = docker
        .run(&["pull", &green.reference("app:v1")])
        .refused_with(&["denied"]);
    let nowhere = docker
        .run(&["pull", &green.reference("nothing:v1")])
        .refused_with(&["denied"]);
    assert_eq!(
        there.replace("app", "nothing"),
        nowhere,
        "the answer tells what another team has"
    );
}

fn docker_cannot_push_to_no_team() {
    let server = Server::start();
    let team = server.main_team();
    let docker = Docker::new();
    docker
        .login(&server.registry, &team.credential(&json!({})))
        .succeeded();
    for name in ["app:v1", "library/app:v1", "t-nobody/app:v1"] {
        let reference = format!("{}/{name}", server.registry);
        docker.build(&reference, "under no prefix");
        docker
            .run(&["push", &reference])
            .refused_with(&["denied: ", "t-main/"]);
    }
    assert!(
        team.catalogue().is_empty(),
        "something was left behind: {:?}",
        team.catalogue()
    );
}

fn docker_keeps_to_a_narrowed_credential() {
    let server = Server::start();
    let team = server.main_team();
    let docker = Docker::new();
    docker
        .login(
            &server.registry,
            &team.credential(&json!({"targetImage": "mine:v1"})),
        )
        .succeeded();
    let (mine, other) = (team.reference("mine:v2"), team.reference("other:v1"));
    docker.build(&mine, "narrow");
    docker.push(&mine);
    docker.run(&["tag", &mine, &other]).succeeded();
    docker
        .run(&["push", &other])
        .refused_with(&["denied: ", "t-main/mine"]);
    assert_eq!(team.catalogue(), ["t-main/mine"]);
}

fn docker_viewer_pulls_and_never_pushes() {
    let server = Server::start();
    let team = server.main_team();
    let builder = Docker::new();
    builder
        .login(&server.registry, &team.credential(&json!({})))
        .succeeded();
    let (there, new) = (team.reference("app:v1"), team.reference("app:v2"));
    builder.build(&there, "to be seen");
    builder.push(&there);

    let viewer_key = team.api_key("viewer").key;
    for login in [
        Login::of_key(&viewer_key),
        team.credential_of(&viewer_key, &json!({})),
    ] {
        let viewer = Docker::new();
        viewer.login(&server.registry, &login).succeeded();
        viewer.run(&["pull", &there]).succeeded();
        viewer.build(&new, "never to be stored");
        viewer
            .run(&["push", &new])
            .refused_with(&["denied: ", "push"]);
        team.manifest("app", "v2", &login.caller()).expect(404);
    }
}

fn docker_needs_a_password() {
    let server = Server::start();
    let team = server.main_team();
    let layout = Layout::image("not for everyone");
    Skopeo::logged_in(&server.registry, &team.credential(&json!({})))
        .copy(
            &[],
            &layout.source(),
            &format!("docker://{}", team.reference("app:v1")),
        )
        .succeeded();
    Docker::new()
        .run(&["pull", &team.reference("app:v1")])
        .refused_with(&["unauthorized"]);
}

/// Asserts that skopeo names the refusal. It begins with a HEAD, whose answer has no body: where that is refused
/// it can only show the status, where it is a 404 the upload brings the registry's own words.
#[track_caller]
fn is_denied(told: &str) {
    assert!(
        told.contains("denied") || told.contains("403 (Forbidden)"),
        "a person is told only: {told}"
    );
}

fn skopeo_refuses_a_wrong_password() {
    let server = Server::start();
    let mut login = server.main_team().credential(&json!({}));
    login.password.push('x');
    let skopeo = Skopeo::new();
    for door in [&server.registry, &server.pull_door] {
        skopeo
            .login(door, &login)
            .refused_with(&["invalid username/password"]);
    }
}

fn skopeo_cannot_push_to_another_team() {
    let server = Server::start();
    let (blue, green) = (server.team("blue"), server.team("green"));
    let skopeo = Skopeo::logged_in(&server.registry, &blue.credential(&json!({})));
    let layout = Layout::image("not theirs");
    let target = format!("docker://{}", green.reference("app:v1"));
    is_denied(
        &skopeo
            .copy(&[], &layout.source(), &target)
            .refused_with(&["t-green/app"]),
    );
    assert!(
        green.catalogue().is_empty(),
        "something was left behind: {:?}",
        green.catalogue()
    );
}

fn skopeo_keeps_to_a_narrowed_credential() {
    let server = Server::start();
    let team = server.main_team();
    let skopeo = Skopeo::logged_in(
        &server.registry,
        &team.credential(&json!({"targetImage": "mine"})),
    );
    let layout = Layout::image("narrow");
    let remote = |image: &str| format!("docker://{}", team.reference(image));
    skopeo
        .copy(&[], &layout.source(), &remote("mine:v1"))
        .succeeded();
    is_denied(
        &skopeo
            .copy(&[], &layout.source(), &remote("other:v1"))
            .refused_with(&["t-main/other"]),
    );
    assert_eq!(team.catalogue(), ["t-main/mine"]);
}
