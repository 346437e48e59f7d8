//! Rights that end take effect within five seconds, for new logins and for tokens that are alive.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::json;

use crate::client::{Client, Scene};
use crate::docker::Docker;
use crate::fact;
use crate::http::Caller;
use crate::process;
use crate::skopeo::Skopeo;
use crate::team::{Login, Team};

/// How long something may work after its right to has ended (ARCHITECTURE.md, rights are read live).
const EFFECT_LIMIT: Duration = Duration::from_secs(5);

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        fact(
            "live::a_revoked_credential_stops_working",
            a_revoked_credential_stops_working,
        ),
        fact(
            "live::a_deleted_key_ends_its_credentials_and_tokens",
            a_deleted_key_ends_its_credentials_and_tokens,
        ),
        fact(
            "live::one_revoked_credential_leaves_the_others",
            one_revoked_credential_leaves_the_others,
        ),
    ]
}

/// Tries until `attempt` is refused; an attempt that begins after the limit has to be. Gives what it was told.
#[track_caller]
fn refused_in_time(ended: Instant, attempt: impl FnMut() -> Option<String>) -> String {
    let left = EFFECT_LIMIT.saturating_sub(ended.elapsed());
    process::wait_for("a refusal after the right had ended", left, attempt)
}

/// What the registry says to `caller` who asks for the manifest of app:v1, unless it gives it.
fn refusal(team: &Team, caller: &Caller) -> Option<String> {
    let answer = team.manifest("app", "v1", caller);
    match answer.status {
        200 => None,
        401 | 403 => Some(answer.body),
        status => panic!("neither given nor refused: {status} {}", answer.body),
    }
}

/// A team with app:v1.
fn scene() -> Scene<Skopeo> {
    let scene = Scene::start();
    scene.push("app:v1", "for now");
    scene
}

/// Asserts that every way to use `login` and `token` ends in time, counted from `ended`.
fn everything_ends(scene: &Scene<Skopeo>, login: &Login, token: &Caller, docker: &Docker) {
    let (ended, team) = (Instant::now(), &scene.team);
    let told = refused_in_time(ended, || refusal(team, token));
    assert!(
        told.contains("UNAUTHORIZED") || told.contains("DENIED"),
        "the refusal has no code: {told}"
    );
    refused_in_time(ended, || refusal(team, &login.caller()));
    let reference = team.reference("app:v1");
    let told = refused_in_time(ended, || {
        let outcome = docker.pull(&reference);
        outcome.failed().then_some(outcome.stderr)
    });
    assert!(
        told.contains("unauthorized: ") || told.contains("denied: "),
        "a person is told only: {told}"
    );
    docker
        .login(&scene.server.registry, login)
        .refused_with(&["unauthorized: "]);
}

/// A person who has pulled app:v1 with `login`.
fn puller(scene: &Scene<Skopeo>, login: &Login) -> Docker {
    let docker = Docker::new();
    scene.enter_as(&docker, login);
    docker.pull(&scene.team.reference("app:v1")).succeeded();
    docker
}

fn a_revoked_credential_stops_working() {
    let scene = scene();
    let login = scene.team.credential(&json!({}));
    let token = scene.team.access_token(&login, "app", "pull");
    let docker = puller(&scene, &login);
    scene.team.manifest("app", "v1", &token).expect(200);

    scene.team.revoke(&login);
    everything_ends(&scene, &login, &token, &docker);
}

fn a_deleted_key_ends_its_credentials_and_tokens() {
    let scene = scene();
    let team = &scene.team;
    let key = team.api_key("builder");
    let login = team.credential_of(&key.key, &json!({}));
    let token = team.access_token(&login, "app", "pull");
    let token_of_key = team.access_token(&Login::of_key(&key.key), "app", "pull");
    let docker = puller(&scene, &login);
    team.manifest("app", "v1", &token_of_key).expect(200);

    team.delete_api_key(&key);
    everything_ends(&scene, &login, &token, &docker);
    let ended = Instant::now();
    refused_in_time(ended, || refusal(team, &token_of_key));
    docker
        .login(&scene.server.registry, &Login::of_key(&key.key))
        .refused_with(&["unauthorized: there is no such API key"]);
}

fn one_revoked_credential_leaves_the_others() {
    let scene = scene();
    let team = &scene.team;
    let (first, second) = (team.credential(&json!({})), team.credential(&json!({})));
    team.revoke(&first);
    refused_in_time(Instant::now(), || refusal(team, &first.caller()));
    team.manifest("app", "v1", &second.caller()).expect(200);
}
