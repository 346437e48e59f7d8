//! The life of an image among teams, as people with real clients see it: pushed, shared inside the account and across
//! accounts, pulled under other prefixes, taken back, deleted and restored.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, Scene, trials_of};
use crate::containers::{Containers, Podman};
use crate::docker::Docker;
use crate::http::{self, Caller};
use crate::process;
use crate::skopeo::Skopeo;
use crate::team::Team;

/// How long pulls may work after a share has ended (ARCHITECTURE.md, rights are read live).
const EFFECT_LIMIT: Duration = Duration::from_secs(5);

/// The facts of this file.
pub(crate) fn trials() -> Vec<Trial> {
    [
        stories::<Docker>(),
        stories::<Containers<Podman>>(),
        stories::<Skopeo>(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn stories<C: Client>() -> Vec<Trial> {
    trials_of::<C>(&[
        (
            "an_image_is_shared_pulled_taken_back_deleted_and_restored",
            an_image_is_shared::<C>,
        ),
        (
            "platform_images_are_pulled_by_every_team_and_pushed_by_one",
            platform_images_are_for_all::<C>,
        ),
    ])
}

/// What the API answers to the admin of `team`.
#[track_caller]
fn api(team: &Team, method: Method, path: &str, body: Option<&Value>, status: u16) -> Value {
    let answer = team.call(method, path, body).expect(status);
    if answer.body.is_empty() {
        Value::Null
    } else {
        answer.json()
    }
}

/// Somebody of `team` with the same kind of program, logged in.
fn person_of<C: Client>(scene: &Scene<C>, team: &Team) -> C {
    let person = C::new();
    scene.enter_as(&person, &team.credential(&json!({})));
    person
}

/// Pulls `reference` anew and asserts that it has `greeting`.
#[track_caller]
fn pulls(person: &impl Client, reference: &str, greeting: &str) {
    person.pull(reference).succeeded();
    assert_eq!(person.greeting(reference), greeting, "{reference}");
    person.forget(reference);
}

fn an_image_is_shared<C: Client>() {
    let scene = Scene::<C>::start();
    let (owner, server) = (&scene.team, &scene.server);
    let near = Team::in_account(server, "near", "account-blue");
    let far = Team::new(server, "away");
    let (neighbour, stranger) = (person_of(&scene, &near), person_of(&scene, &far));
    let digest = scene.push("app:v1", "hello from blue");

    // Inside the account it is there at once, across accounts when the other side says so.
    let share = "/images/app/-/share";
    let body = json!({"targetWorkspace": near.name});
    api(owner, Method::POST, share, Some(&body), 200);
    pulls(&neighbour, &near.reference("app:v1"), "hello from blue");
    let body = json!({"targetImage": "app:v1"});
    api(
        &near,
        Method::POST,
        "/registry/credentials",
        Some(&body),
        400,
    );
    let body = json!({
        "targetWorkspace": far.name, "targetAccountId": far.account_id, "alias": "from-blue/app",
    });
    let pending = api(owner, Method::POST, share, Some(&body), 202);
    let theirs = far.reference("from-blue/app:v1");
    assert!(stranger.pull(&theirs).failed(), "nobody accepted it yet");
    let id = pending["data"]["id"]
        .as_str()
        .expect("a pending share has an id");
    let accept = format!("/pending-image-shares/{id}/accept");
    api(&far, Method::POST, &accept, Some(&json!({})), 200);
    pulls(&stranger, &theirs, "hello from blue");
    pulls(
        &stranger,
        &far.reference_at_pull_door(&format!("from-blue/app@{digest}")),
        "hello from blue",
    );

    // What is pushed later is there too, and nobody but the owner pushes.
    scene.push("app:v2", "hello again");
    pulls(&neighbour, &near.reference("app:v2"), "hello again");
    pulls(&stranger, &far.reference("from-blue/app:v2"), "hello again");
    let alias = near.reference("app:v3");
    neighbour.make(&alias, "not from blue");
    neighbour.push(&alias).refused_with(&["t-blue/app"]);

    // What others have does not go.
    let refused = api(owner, Method::DELETE, "/images/app", None, 409);
    assert_eq!(refused["error"]["details"]["reason"], "shared");
    api(owner, Method::DELETE, "/images/app/-/tags/v1", None, 409);

    // Until it is taken back: then pulls end.
    for team in [&near, &far] {
        let path = format!("{share}/{}", team.name);
        api(owner, Method::DELETE, &path, None, 200);
    }
    let ended = Instant::now();
    for (person, reference) in [(&neighbour, near.reference("app:v1")), (&stranger, theirs)] {
        let left = EFFECT_LIMIT.saturating_sub(ended.elapsed());
        process::wait_for("pulls that fail after the share", left, || {
            if person.pull(&reference).failed() {
                return Some(());
            }
            person.forget(&reference);
            None
        });
    }

    // Deleted it is gone at once, restored it is the same.
    let reference = owner.reference("app:v1");
    scene.client.forget(&reference);
    let deletion = api(owner, Method::DELETE, "/images/app", None, 200);
    assert!(scene.client.pull(&reference).failed(), "it was deleted");
    let id = deletion["data"]["id"]
        .as_str()
        .expect("a deletion has an id");
    api(
        owner,
        Method::POST,
        &format!("/deletions/{id}/restore"),
        None,
        200,
    );
    assert_eq!(owner.digest("app", "v1"), digest);
    scene.pulls(
        &owner.reference(&format!("app@{digest}")),
        "hello from blue",
    );
    scene.pulls(&reference, "hello from blue");
}

fn platform_images_are_for_all<C: Client>() {
    let scene = Scene::<C>::start();
    scene.push("base:latest", "for all");
    let guest = Team::new(&scene.server, "guest");
    let person = person_of(&scene, &guest);
    let reference = scene.team.reference("base:latest");
    assert!(person.pull(&reference).failed(), "it is blue's alone");
    let operator = Caller::Bearer(scene.server.operator_key());
    let url = scene.server.url("/api/v1/images/base");
    let request = http::request(Method::PATCH, &url, &operator)
        .header("x-workspace", &scene.team.name)
        .json(&json!({"visibility": "platform"}));
    http::send(request).expect(200);
    pulls(&person, &reference, "for all");
    let other = scene.team.reference("base:mine");
    person.make(&other, "not blue's");
    assert!(person.push(&other).failed(), "only its team pushes");
}
