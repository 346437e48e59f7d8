//! The Docker engine, 20.10 to 28: it looks at `/v2/` first, and asks with GET and Basic unless it was given an
//! identity token.

use berth::http::Door;
use reqwest::Method;

use super::{Challenge, Client, Headers, Scene, granted, is_refused};
use crate::support::distribution::Reply;

const HEADERS: Headers = &[(
    "user-agent",
    "docker/20.10.24+dfsg1 go/go1.19.8 git-commit/5d6db84 os/linux arch/amd64 UpstreamClient(Docker-Client/20.10.24)",
)];
const FORM: &str = "application/x-www-form-urlencoded";

dances! {
    logs_in_at_both_doors,
    pulls_at_both_doors,
    pushes_and_mounts,
    names_the_class_of_what_it_pulls,
    takes_a_credential_for_an_identity_token,
}

/// The look at `/v2/`, which names no scope.
async fn ping(docker: &Client) -> Challenge {
    let challenge = docker.challenge(Method::GET, "/v2/").await;
    assert_eq!(challenge.scope, None);
    challenge
}

/// A token as pushes and pulls ask for it.
async fn token_for(docker: &Client, scopes: &[&str]) -> Reply {
    let challenge = ping(docker).await;
    let mut query = vec![("account", docker.user.as_str())];
    query.extend(scopes.iter().map(|scope| ("scope", *scope)));
    query.push(("service", &challenge.service));
    docker.get_token(&challenge, &query).await
}

/// `docker login`.
async fn login(docker: &Client) -> Reply {
    let challenge = ping(docker).await;
    let query = [
        ("account", docker.user.as_str()),
        ("client_id", "docker"),
        ("offline_token", "true"),
        ("service", &challenge.service),
    ];
    docker.get_token(&challenge, &query).await
}

async fn logs_in_at_both_doors(scene: &Scene<'_>) {
    for docker in scene.at_each_door(HEADERS) {
        let reply = login(&docker).await;
        docker.send(&reply, Method::GET, "/v2/").await.expect(200);
        let by_key = docker.with_password("anyone", &scene.team.admin_key);
        let reply = login(&by_key).await;
        by_key.send(&reply, Method::GET, "/v2/").await.expect(200);
        let wrong = docker.with_password(&docker.user, "wrong");
        is_refused(&login(&wrong).await, "the password is no API key");
    }
}

async fn pulls_at_both_doors(scene: &Scene<'_>) {
    for docker in scene.at_each_door(HEADERS) {
        let scope = format!("repository:{}:pull", scene.name("base"));
        let reply = token_for(&docker, &[&scope]).await;
        docker.pulls(scene, &reply).await;
    }
}

async fn pushes_and_mounts(scene: &Scene<'_>) {
    let docker = scene.client(Door::Public, HEADERS);
    let (target, base) = (scene.name("app"), scene.name("base"));
    let push = format!("repository:{target}:push,pull");
    let reply = token_for(&docker, &[&push]).await;
    docker.pushes(scene, "app", &reply).await;

    // For a mount it asks for one more scope, and does not keep that token.
    let pull = format!("repository:{base}:pull");
    let reply = token_for(&docker, &[&push, &pull]).await;
    assert_eq!(docker.mount(scene, "app", &base, &reply).await, 201);
    // What it may not pull is cut away, and the mount becomes an upload.
    let foreign = "repository:t-main/secret:pull";
    let reply = token_for(&docker, &[&push, foreign]).await;
    let status = docker.mount(scene, "app", "t-main/secret", &reply).await;
    assert_eq!(status, 202);
}

async fn names_the_class_of_what_it_pulls(scene: &Scene<'_>) {
    let docker = scene.client(Door::Public, HEADERS);
    let scope = format!("repository(plugin):{}:pull", scene.name("base"));
    let reply = token_for(&docker, &[&scope]).await;
    docker.pulls(scene, &reply).await;
}

async fn takes_a_credential_for_an_identity_token(scene: &Scene<'_>) {
    for docker in scene.at_each_door(HEADERS) {
        let challenge = ping(&docker).await;
        let scope = format!("repository:{}:pull", scene.name("base"));
        let fields = [
            ("client_id", "docker"),
            ("grant_type", "refresh_token"),
            ("refresh_token", docker.password.as_str()),
            ("scope", &scope),
            ("service", &challenge.service),
        ];
        let reply = docker.post_token(&challenge, FORM, &fields).await;
        assert_eq!(granted(&reply), scope);
        docker.pulls(scene, &reply).await;
    }
}
