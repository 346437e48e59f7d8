//! Rights that end take effect within five seconds, for new logins and for tokens that are alive.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::json;

use crate::docker::Docker;
use crate::fact;
use crate::http::Caller;
use crate::images::Layout;
use crate::process::POLL;
use crate::server::{Login, Server, Team};
use crate::skopeo::Skopeo;

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
fn refused_in_time(ended: Instant, attempt: impl Fn() -> Option<String>) -> String {
    loop {
        let begun = ended.elapsed();
        if let Some(refusal) = attempt() {
            return refusal;
        }
        assert!(
            begun < EFFECT_LIMIT,
            "still accepted {begun:?} after the right had ended"
        );
        std::thread::sleep(POLL);
    }
}

/// What the registry says to `caller` who asks for the manifest of app:v1, unless it gives it.
fn refusal(team: &Team<'_>, caller: &Caller) -> Option<String> {
    let answer = team.manifest("app", "v1", caller);
    match answer.status {
        200 => None,
        401 | 403 => Some(answer.body),
        status => panic!("neither given nor refused: {status} {}", answer.body),
    }
}

/// Pushes app:v1 and gives what `docker` needs to pull it.
fn push_app(server: &Server, team: &Team<'_>) -> String {
    let reference = team.reference("app:v1");
    Skopeo::logged_in(&server.registry, &team.credential(&json!({})))
        .copy(
            &[],
            &Layout::image("for now").source(),
            &format!("docker://{reference}"),
        )
        .succeeded();
    reference
}

/// Asserts that every way to use `login` and `token` ends in time, counted from `ended`.
fn everything_ends(
    server: &Server,
    team: &Team<'_>,
    reference: &str,
    login: &Login,
    token: &Caller,
    docker: &Docker,
) {
    let ended = Instant::now();
    let told = refused_in_time(ended, || refusal(team, token));
    assert!(
        told.contains("UNAUTHORIZED") || told.contains("DENIED"),
        "the refusal has no code: {told}"
    );
    refused_in_time(ended, || refusal(team, &login.caller()));
    let pull = || {
        let outcome = docker.run(&["pull", reference]);
        outcome.failed().then(|| outcome.text.clone())
    };
    let told = refused_in_time(ended, pull);
    assert!(
        told.contains("unauthorized") || told.contains("denied"),
        "a person is told only: {told}"
    );
    docker
        .login(&server.registry, login)
        .refused_with(&["unauthorized: "]);
}

fn a_revoked_credential_stops_working() {
    let server = Server::start();
    let team = server.team("blue");
    let reference = push_app(&server, &team);
    let login = team.credential(&json!({}));
    let token = team.access_token(&login, "app", "pull");
    let docker = Docker::new();
    docker.login(&server.registry, &login).succeeded();
    docker.run(&["pull", &reference]).succeeded();
    team.manifest("app", "v1", &token).expect(200);

    team.revoke(&login);
    everything_ends(&server, &team, &reference, &login, &token, &docker);
}

fn a_deleted_key_ends_its_credentials_and_tokens() {
    let server = Server::start();
    let team = server.team("blue");
    let reference = push_app(&server, &team);
    let key = team.api_key("builder");
    let login = team.credential_of(&key.key, &json!({}));
    let token = team.access_token(&login, "app", "pull");
    let token_of_key = team.access_token(&Login::of_key(&key.key), "app", "pull");
    let docker = Docker::new();
    docker.login(&server.registry, &login).succeeded();
    docker.run(&["pull", &reference]).succeeded();
    team.manifest("app", "v1", &token_of_key).expect(200);

    team.delete_api_key(&key);
    everything_ends(&server, &team, &reference, &login, &token, &docker);
    let ended = Instant::now();
    refused_in_time(ended, || refusal(&team, &token_of_key));
    docker
        .login(&server.registry, &Login::of_key(&key.key))
        .refused_with(&["unauthorized: "]);
}

fn one_revoked_credential_leaves_the_others() {
    let server = Server::start();
    let team = server.team("blue");
    push_app(&server, &team);
    let (first, second) = (team.credential(&json!({})), team.credential(&json!({})));
    team.revoke(&first);
    refused_in_time(Instant::now(), || refusal(&team, &first.caller()));
    team.manifest("app", "v1", &second.caller()).expect(200);
}
