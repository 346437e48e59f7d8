//! containers/image, the library of podman, buildah and skopeo: it looks at `/v2/` first and keeps what that says;
//! GET with Basic and `account`; it asks again where a 401 says `insufficient_scope`.

use berth::http::Door;
use reqwest::Method;

use super::{Challenge, Client, Headers, Scene, is_refused};
use crate::support::distribution::Reply;

const HEADERS: Headers = &[
    (
        "user-agent",
        "containers/5.23.1 (github.com/containers/image)",
    ),
    ("docker-distribution-api-version", "registry/2.0"),
];
const FORM: &str = "application/x-www-form-urlencoded";

dances! {
    logs_in_at_both_doors,
    pulls_at_both_doors,
    pushes_mounts_and_deletes,
    searches_with_the_scope_that_it_is_told,
    takes_a_credential_for_an_identity_token,
}

async fn token_for(podman: &Client, challenge: &Challenge, scopes: &[&str]) -> Reply {
    let mut query = vec![("account", podman.user.as_str())];
    query.extend(scopes.iter().map(|scope| ("scope", *scope)));
    query.push(("service", &challenge.service));
    podman.get_token(challenge, &query).await
}

async fn logs_in_at_both_doors(scene: &Scene<'_>) {
    for podman in scene.at_each_door(HEADERS) {
        let challenge = podman.challenge(Method::GET, "/v2/").await;
        let reply = token_for(&podman, &challenge, &[]).await;
        podman.send(&reply, Method::GET, "/v2/").await.expect(200);
        let wrong = podman.with_password(&podman.user, "wrong");
        let refused = token_for(&wrong, &challenge, &[]).await;
        is_refused(&refused, "the password is no API key");
    }
}

async fn pulls_at_both_doors(scene: &Scene<'_>) {
    for podman in scene.at_each_door(HEADERS) {
        let challenge = podman.challenge(Method::GET, "/v2/").await;
        let scope = format!("repository:{}:pull", scene.name("base"));
        let reply = token_for(&podman, &challenge, &[&scope]).await;
        podman.pulls(scene, &reply).await;
    }
}

async fn pushes_mounts_and_deletes(scene: &Scene<'_>) {
    let podman = scene.client(Door::Public, HEADERS);
    let (target, base) = (scene.name("app"), scene.name("base"));
    let challenge = podman.challenge(Method::GET, "/v2/").await;
    let push = format!("repository:{target}:pull,push");
    let reply = token_for(&podman, &challenge, &[&push]).await;
    podman.pushes(scene, "app", &reply).await;

    // One token looks at the source of a mount and then mounts.
    let pull = format!("repository:{base}:pull");
    let reply = token_for(&podman, &challenge, &[&push, &pull]).await;
    let blob = format!("/v2/{base}/blobs/{}", scene.layer().digest);
    podman.send(&reply, Method::HEAD, &blob).await.expect(200);
    assert_eq!(podman.mount(scene, "app", &base, &reply).await, 201);

    let all = format!("repository:{target}:*");
    let reply = token_for(&podman, &challenge, &[&all]).await;
    let path = |reference: &str| format!("/v2/{target}/manifests/{reference}");
    podman
        .send(&reply, Method::GET, &path("v1"))
        .await
        .expect(200);
    let digest = path(scene.digest());
    podman
        .send(&reply, Method::DELETE, &digest)
        .await
        .expect(202);
}

async fn searches_with_the_scope_that_it_is_told(scene: &Scene<'_>) {
    for podman in scene.at_each_door(HEADERS) {
        let challenge = podman.challenge(Method::GET, "/v2/").await;
        let reply = token_for(&podman, &challenge, &[]).await;
        let refused = podman.send(&reply, Method::GET, "/v2/_catalog").await;
        let told = Challenge::of(&refused);
        assert_eq!(told.error.as_deref(), Some("insufficient_scope"));
        assert_eq!(told.scope.as_deref(), Some("registry:catalog:*"));
        let reply = token_for(&podman, &challenge, &["registry:catalog:*"]).await;
        let found = podman.send(&reply, Method::GET, "/v2/_catalog").await;
        found.expect(200);
    }
}

async fn takes_a_credential_for_an_identity_token(scene: &Scene<'_>) {
    let podman = scene.client(Door::Public, HEADERS);
    let challenge = podman.challenge(Method::GET, "/v2/").await;
    let (target, base) = (scene.name("app"), scene.name("base"));
    let push = format!("repository:{target}:pull,push");
    let pull = format!("repository:{base}:pull");
    // It repeats the parameter, where others put spaces between.
    let fields = [
        ("client_id", "containers/image"),
        ("grant_type", "refresh_token"),
        ("refresh_token", podman.password.as_str()),
        ("scope", &push),
        ("scope", &pull),
        ("service", &challenge.service),
    ];
    let reply = podman.post_token(&challenge, FORM, &fields).await;
    podman.pushes(scene, "app", &reply).await;
    assert_eq!(podman.mount(scene, "app", &base, &reply).await, 201);
}
