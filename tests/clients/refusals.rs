//! What a credential does not reach, and what each client's standard error tells a person then.

use libtest_mimic::Trial;
use serde_json::json;

use crate::client::{Client, Scene, trials_of};
use crate::containerd::Ctr;
use crate::containers::{Buildah, Containers, Podman};
use crate::database::TestDatabase;
use crate::docker::Docker;
use crate::oras::Oras;
use crate::server::Server;
use crate::skopeo::Skopeo;
use crate::team::{Login, Team};

/// The facts of this file, for each client.
pub(crate) fn trials() -> Vec<Trial> {
    [
        refusals::<Docker>(),
        refusals::<Containers<Podman>>(),
        refusals::<Containers<Buildah>>(),
        refusals::<Skopeo>(),
        refusals::<Ctr>(),
        refusals::<Oras>(),
        trials_of::<Docker>(&[
            ("a_push_to_no_team_is_refused", no_team),
            ("a_viewer_pulls_and_never_pushes", viewer),
            ("nobody_pulls_without_a_password", nobody),
        ]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn refusals<C: Client>() -> Vec<Trial> {
    trials_of::<C>(&[
        ("a_push_to_another_team_is_refused", foreign_push::<C>),
        ("a_pull_from_another_team_is_refused", foreign_pull::<C>),
        ("a_wrong_password_is_refused", wrong_password::<C>),
        ("a_push_at_the_pull_door_is_refused", push_at_pull_door::<C>),
        (
            "a_credential_for_pulls_never_pushes",
            credential_for_pulls::<C>,
        ),
        (
            "a_narrowed_credential_keeps_to_its_repository",
            narrowed_credential::<C>,
        ),
        (
            "a_revoked_credential_neither_pushes_nor_pulls",
            revoked_credential::<C>,
        ),
    ])
}

fn foreign_push<C: Client>() {
    let scene = Scene::<C>::start();
    let green = Team::new(&scene.server, "green");
    let reference = green.reference("app:v1");
    scene.client.make(&reference, "not theirs");
    for login in [scene.team.credential(&json!({})), scene.team.key_login()] {
        scene.enter(&login);
        scene
            .client
            .push(&reference)
            .refused_with(&[" reaches t-blue/", "t-green/app"]);
    }
    for team in [&green, &scene.team] {
        assert_eq!(team.catalogue(), [""; 0], "something was left behind");
    }
}

fn foreign_pull<C: Client>() {
    let scene = Scene::<C>::start();
    let green = Team::new(&scene.server, "green");
    let owner = C::new();
    scene.enter_as(&owner, &green.credential(&json!({})));
    let (there, nowhere) = (green.reference("app:v1"), green.reference("nothing:v1"));
    owner.make(&there, "only for green");
    owner.push(&there).succeeded();
    owner.forget(&there);

    let refused = |reference| {
        let outcome = scene.client.pull(reference);
        outcome.refused_with(&[C::WORDS.foreign_pull])
    };
    let (there, nowhere) = (refused(&there), refused(&nowhere));
    let sentence = |told: &str| {
        let line = told
            .lines()
            .rfind(|line| line.contains(C::WORDS.foreign_pull));
        let line = line.unwrap_or_default().replace("nothing", "app");
        // What comes before may have the time in it.
        line.split_once(C::WORDS.foreign_pull)
            .map(|(_, sentence)| String::from(sentence))
    };
    assert_eq!(
        sentence(&there),
        sentence(&nowhere),
        "the answer tells what another team has"
    );
}

fn wrong_password<C: Client>() {
    let scene = Scene::<C>::start();
    scene.push("app:v1", "behind a password");
    let mut login = scene.team.credential(&json!({}));
    login.password.push('x');
    let stranger = C::new();
    for (door, reference) in [
        (&scene.server.registry, scene.team.reference("app:v1")),
        (
            &scene.server.pull_door,
            scene.team.reference_at_pull_door("app:v1"),
        ),
    ] {
        let mut outcome = stranger.login(door, &login);
        if !outcome.failed() {
            // It keeps the password until it needs it.
            outcome = stranger.pull(&reference);
        }
        outcome.refused_with(&[C::WORDS.wrong_password]);
    }
}

fn push_at_pull_door<C: Client>() {
    let scene = Scene::<C>::start();
    let reference = scene.team.reference_at_pull_door("app:v1");
    scene.client.make(&reference, "never to be stored");
    scene
        .client
        .push(&reference)
        .refused_with(&["this address is for pulls alone: push to the registry's public address"]);
    assert_eq!(scene.team.catalogue(), [""; 0]);
}

fn credential_for_pulls<C: Client>() {
    let scene = Scene::<C>::start();
    scene.push("app:v1", "to be seen");
    scene.enter(&scene.team.credential(&json!({"actions": ["pull"]})));
    let there = scene.team.reference("app:v1");
    scene.client.forget(&there);
    scene.pulls(&there, "to be seen");

    let new = scene.team.reference("app:v2");
    scene.client.make(&new, "never to be stored");
    scene
        .client
        .push(&new)
        .refused_with(&["this credential is limited to pull: it may not push"]);
    scene.team.has_not("app", "v2");
}

fn narrowed_credential<C: Client>() {
    let scene = Scene::<C>::start_with(&json!({"targetImage": "mine:v1"}));
    scene.push("mine:v2", "narrow");
    let other = scene.team.reference("other:v1");
    scene.client.make(&other, "never to be stored");
    scene
        .client
        .push(&other)
        .refused_with(&["t-blue/mine", "t-blue/other"]);
    assert_eq!(scene.team.catalogue(), ["t-blue/mine"]);
}

fn revoked_credential<C: Client>() {
    let scene = Scene::<C>::start();
    let login = scene.team.credential(&json!({}));
    scene.enter(&login);
    scene.push("app:v1", "while it lasts");
    let (there, new) = (
        scene.team.reference("app:v1"),
        scene.team.reference("app:v2"),
    );
    scene.client.make(&new, "never to be stored");
    scene.team.revoke(&login);
    std::thread::sleep(TestDatabase::chosen().rights_are_remembered());
    scene.client.push(&new).refused_with(&[C::WORDS.revoked]);
    scene.team.has_not("app", "v2");
    scene.client.forget(&there);
    scene.client.pull(&there).refused_with(&[C::WORDS.revoked]);
}

fn no_team() {
    let scene = Scene::<Docker>::start();
    for name in ["app:v1", "library/app:v1", "t-nobody/app:v1"] {
        let reference = format!("{}/{name}", scene.server.registry);
        scene.client.make(&reference, "under no prefix");
        scene
            .client
            .push(&reference)
            .refused_with(&["denied: this credential reaches t-blue/"]);
    }
    assert_eq!(scene.team.catalogue(), [""; 0]);
}

fn viewer() {
    let scene = Scene::<Docker>::start();
    scene.push("app:v1", "to be seen");
    let (there, new) = (
        scene.team.reference("app:v1"),
        scene.team.reference("app:v2"),
    );
    scene.client.make(&new, "never to be stored");
    let key = scene.team.api_key("viewer").key;
    let credential = scene.team.credential_of(&key, &json!({}));
    for login in [Login::of_key(&key), credential] {
        let viewer = Docker::new();
        scene.enter_as(&viewer, &login);
        viewer.pull(&there).succeeded();
        viewer
            .push(&new)
            .refused_with(&["denied: the role viewer may not push"]);
        scene.team.has_not("app", "v2");
    }
}

fn nobody() {
    let server = Server::start();
    let team = Team::new(&server, "blue");
    Docker::new()
        .pull(&team.reference("app:v1"))
        .refused_with(&["unauthorized"]);
}
