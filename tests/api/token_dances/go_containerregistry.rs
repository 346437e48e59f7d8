//! go-containerregistry, the library of crane, ko and kaniko: it looks at `/v2/` first, checks that the realm belongs
//! to the registry, sends no `account`, and puts the scope of any later challenge before its own.

use berth::http::Door;
use reqwest::Method;

use super::{Challenge, Client, Headers, Scene, granted, is_refused};
use crate::support::distribution::Reply;

const HEADERS: Headers = &[("user-agent", "crane/0.20.2 go-containerregistry/0.20.2")];
const FORM: &str = "application/x-www-form-urlencoded";

dances! {
    pulls_at_both_doors,
    pushes_mounts_and_deletes,
    adds_what_a_later_challenge_asks_for,
    lists_the_catalogue,
    takes_a_credential_for_an_identity_token,
}

async fn token_for(crane: &Client, challenge: &Challenge, scopes: &[&str]) -> Reply {
    let mut query: Vec<(&str, &str)> = scopes.iter().map(|scope| ("scope", *scope)).collect();
    query.push(("service", &challenge.service));
    crane.get_token(challenge, &query).await
}

async fn pulls_at_both_doors(scene: &Scene<'_>) {
    for crane in scene.at_each_door(HEADERS) {
        let challenge = crane.challenge(Method::GET, "/v2/").await;
        let scope = format!("repository:{}:pull", scene.name("base"));
        let reply = token_for(&crane, &challenge, &[&scope]).await;
        crane.pulls(scene, &reply).await;
        let wrong = crane.with_password(&crane.user, "wrong");
        let refused = token_for(&wrong, &challenge, &[&scope]).await;
        is_refused(&refused, "the password is no API key");
    }
}

async fn pushes_mounts_and_deletes(scene: &Scene<'_>) {
    let crane = scene.client(Door::Public, HEADERS);
    let (target, base) = (scene.name("app"), scene.name("base"));
    let challenge = crane.challenge(Method::GET, "/v2/").await;
    let push = format!("repository:{target}:push,pull");
    let pull = format!("repository:{base}:pull");
    let reply = token_for(&crane, &challenge, &[&push, &pull]).await;
    crane.pushes(scene, "app", &reply).await;
    assert_eq!(crane.mount(scene, "app", &base, &reply).await, 201);

    let delete = format!("repository:{target}:push,pull,delete");
    let reply = token_for(&crane, &challenge, &[&delete]).await;
    let path = format!("/v2/{target}/manifests/{}", scene.digest());
    crane.send(&reply, Method::DELETE, &path).await.expect(202);
}

async fn adds_what_a_later_challenge_asks_for(scene: &Scene<'_>) {
    let crane = scene.client(Door::Public, HEADERS);
    let (target, base) = (scene.name("app"), scene.name("base"));
    let challenge = crane.challenge(Method::GET, "/v2/").await;
    let pull = format!("repository:{base}:pull");
    let reply = token_for(&crane, &challenge, &[&pull]).await;
    let uploads = format!("/v2/{target}/blobs/uploads/");
    let refused = crane.send(&reply, Method::POST, &uploads).await;
    let told = Challenge::of(&refused);
    assert_eq!(told.error.as_deref(), Some("insufficient_scope"));
    let wanted = told.scope.unwrap();
    assert_eq!(wanted, format!("repository:{target}:pull,push"));
    let reply = token_for(&crane, &challenge, &[&wanted, &pull]).await;
    crane.pushes(scene, "app", &reply).await;
}

async fn lists_the_catalogue(scene: &Scene<'_>) {
    for crane in scene.at_each_door(HEADERS) {
        let challenge = crane.challenge(Method::GET, "/v2/").await;
        let reply = token_for(&crane, &challenge, &["registry:catalog:*"]).await;
        let listed = crane.send(&reply, Method::GET, "/v2/_catalog").await;
        listed.expect(200);
    }
}

async fn takes_a_credential_for_an_identity_token(scene: &Scene<'_>) {
    let crane = scene.client(Door::Public, HEADERS);
    let challenge = crane.challenge(Method::GET, "/v2/").await;
    let (push, pull) = (
        format!("repository:{}:pull,push", scene.name("app")),
        format!("repository:{}:pull", scene.name("base")),
    );
    let scope = format!("{push} {pull}");
    let fields = [
        ("client_id", "go-containerregistry"),
        ("grant_type", "refresh_token"),
        ("refresh_token", crane.password.as_str()),
        ("scope", &scope),
        ("service", &challenge.service),
    ];
    let reply = crane.post_token(&challenge, FORM, &fields).await;
    assert_eq!(granted(&reply), scope);
    crane.pushes(scene, "app", &reply).await;
}
