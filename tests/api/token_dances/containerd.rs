//! containerd 1.6 to 2.0, and so the kubelet and `nerdctl`: no look at `/v2/`; the scope comes from the request and
//! from the challenge to it; POST first, GET when that is refused. BuildKit has the same libraries and turns the order
//! around.

use berth::http::Door;
use reqwest::Method;

use super::{Challenge, Client, Headers, Scene, granted, is_refused};
use crate::support::distribution::Reply;

const HEADERS: Headers = &[("user-agent", "containerd/1.6.20~ds1")];
const BUILDKIT_HEADERS: Headers = &[("user-agent", "buildkit/v0.12")];
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*";

dances! {
    pulls_at_both_doors,
    takes_a_credential_for_an_identity_token,
    gets_no_identity_token_when_it_asks_for_one,
    goes_on_with_get_where_post_is_refused,
    pushes_and_mounts,
    is_told_at_once_what_no_token_would_change,
    gets_a_new_token_when_the_old_one_has_ended,
    buildkit_asks_by_get_or_by_post_with_actions_in_order,
}

/// POST with the password, or without a user name with an identity token.
async fn post(containerd: &Client, client_id: &str, challenge: &Challenge, scope: &str) -> Reply {
    let (user, secret) = (containerd.user.as_str(), containerd.password.as_str());
    let mut fields = vec![("client_id", client_id)];
    if user.is_empty() {
        fields.extend([("grant_type", "refresh_token"), ("refresh_token", secret)]);
    } else {
        fields.extend([("grant_type", "password"), ("password", secret)]);
    }
    fields.extend([("scope", scope), ("service", &challenge.service)]);
    if !user.is_empty() {
        fields.push(("username", user));
    }
    containerd.post_token(challenge, FORM, &fields).await
}

/// GET with Basic, where POST was refused.
async fn get(containerd: &Client, challenge: &Challenge, scopes: &[&str]) -> Reply {
    let mut query: Vec<(&str, &str)> = scopes.iter().map(|scope| ("scope", *scope)).collect();
    query.push(("service", &challenge.service));
    containerd.get_token(challenge, &query).await
}

/// The challenge to the HEAD of `base:v1` that a pull begins with.
async fn resolve(containerd: &Client, scene: &Scene<'_>) -> Challenge {
    let name = scene.name("base");
    let challenge = containerd
        .challenge(Method::HEAD, &format!("/v2/{name}/manifests/v1"))
        .await;
    assert_eq!(challenge.scopes(), [format!("repository:{name}:pull")]);
    challenge
}

async fn pulls_at_both_doors(scene: &Scene<'_>) {
    for containerd in scene.at_each_door(HEADERS) {
        let challenge = resolve(&containerd, scene).await;
        let scope = challenge.scope.clone().unwrap();
        let reply = post(&containerd, "containerd-client", &challenge, &scope).await;
        assert_eq!(granted(&reply), scope);
        containerd.pulls(scene, &reply).await;
        let path = format!("/v2/{}/manifests/v1", scene.name("base"));
        let resolved = containerd
            .with_token(&reply, Method::HEAD, &path)
            .header("accept", ACCEPT);
        Reply::of(resolved).await.expect(200);
    }
}

async fn takes_a_credential_for_an_identity_token(scene: &Scene<'_>) {
    for containerd in scene.at_each_door(HEADERS) {
        let identity = containerd.with_password("", &containerd.password);
        let challenge = resolve(&identity, scene).await;
        let scope = challenge.scope.clone().unwrap();
        let reply = post(&identity, "containerd-client", &challenge, &scope).await;
        identity.pulls(scene, &reply).await;
    }
}

async fn gets_no_identity_token_when_it_asks_for_one(scene: &Scene<'_>) {
    let containerd = scene.client(Door::Public, HEADERS);
    let challenge = resolve(&containerd, scene).await;
    let fields = [
        ("access_type", "offline"),
        ("client_id", "containerd-client"),
        ("grant_type", "password"),
        ("password", containerd.password.as_str()),
        ("scope", challenge.scope.as_deref().unwrap()),
        ("service", &challenge.service),
        ("username", &containerd.user),
    ];
    let reply = containerd.post_token(&challenge, FORM, &fields).await;
    containerd.pulls(scene, &reply).await;
}

async fn goes_on_with_get_where_post_is_refused(scene: &Scene<'_>) {
    for containerd in scene.at_each_door(HEADERS) {
        let challenge = resolve(&containerd, scene).await;
        let scope = challenge.scope.clone().unwrap();
        // An API key is a password, and no identity token.
        let key = containerd.with_password("", &scene.team.admin_key);
        let refused = post(&key, "containerd-client", &challenge, &scope).await;
        assert_eq!(refused.status, 401);
        let reply = get(&key, &challenge, &[&scope]).await;
        key.pulls(scene, &reply).await;

        let wrong = containerd.with_password(&containerd.user, "wrong");
        let refused = post(&wrong, "containerd-client", &challenge, &scope).await;
        is_refused(&refused, "the password is no API key");
        let refused = get(&wrong, &challenge, &[&scope]).await;
        is_refused(&refused, "the password is no API key");
    }
}

async fn pushes_and_mounts(scene: &Scene<'_>) {
    let containerd = scene.client(Door::Public, HEADERS);
    let (target, base) = (scene.name("app"), scene.name("base"));
    let blob = format!("/v2/{target}/blobs/{}", scene.layer().digest);
    let challenge = containerd.challenge(Method::HEAD, &blob).await;
    // The scope of the challenge and its own, though one holds the other.
    let push = format!("repository:{target}:pull,push");
    let both = format!("{} {push}", challenge.scope.clone().unwrap());
    let reply = post(&containerd, "containerd-client", &challenge, &both).await;
    assert_eq!(granted(&reply), push);
    containerd
        .send(&reply, Method::HEAD, &blob)
        .await
        .expect(404);
    containerd.pushes(scene, "app", &reply).await;

    let scope = format!("{both} repository:{base}:pull");
    let reply = post(&containerd, "containerd-client", &challenge, &scope).await;
    assert_eq!(containerd.mount(scene, "app", &base, &reply).await, 201);
    // A second 401 to the same request would end the push: a source that it may not pull is an upload.
    let scope = format!("{both} repository:t-main/secret:pull");
    let reply = post(&containerd, "containerd-client", &challenge, &scope).await;
    assert_eq!(granted(&reply), push);
    let status = containerd
        .mount(scene, "app", "t-main/secret", &reply)
        .await;
    assert_eq!(status, 202);
}

async fn is_told_at_once_what_no_token_would_change(scene: &Scene<'_>) {
    let containerd = scene.client(Door::Public, HEADERS);
    let uploads = "/v2/t-main/app/blobs/uploads/";
    let challenge = containerd.challenge(Method::POST, uploads).await;
    let scope = challenge.scope.clone().unwrap();
    assert_eq!(scope, "repository:t-main/app:pull,push");
    let reply = post(&containerd, "containerd-client", &challenge, &scope).await;
    assert_eq!(granted(&reply), "");
    let refused = containerd
        .send(&reply, Method::POST, uploads)
        .await
        .expect(403);
    let message = &refused.json()["errors"][0]["message"];
    let wanted = format!("this credential reaches {}/", scene.team.prefix);
    assert!(message.as_str().unwrap().starts_with(&wanted), "{message}");
}

async fn gets_a_new_token_when_the_old_one_has_ended(scene: &Scene<'_>) {
    let containerd = scene.client(Door::Public, HEADERS);
    let challenge = resolve(&containerd, scene).await;
    let scope = challenge.scope.clone().unwrap();
    let reply = post(&containerd, "containerd-client", &challenge, &scope).await;
    let lifetime_s = super::tokens(&reply).expires_in;
    scene.registry.clock.advance(i64::from(lifetime_s) * 1000);
    let path = format!("/v2/{}/manifests/v1", scene.name("base"));
    let ended = containerd.send(&reply, Method::HEAD, &path).await;
    let challenge = Challenge::of(&ended);
    // This word alone makes it forget the token that it has.
    assert_eq!(challenge.error.as_deref(), Some("invalid_token"));
    assert_eq!(challenge.scope.as_deref(), Some(scope.as_str()));
    let reply = post(&containerd, "containerd-client", &challenge, &scope).await;
    containerd.pulls(scene, &reply).await;
}

async fn buildkit_asks_by_get_or_by_post_with_actions_in_order(scene: &Scene<'_>) {
    let buildkit = scene.client(Door::Public, BUILDKIT_HEADERS);
    let (target, base) = (scene.name("app"), scene.name("base"));
    let blob = format!("/v2/{target}/blobs/{}", scene.layer().digest);
    let challenge = buildkit.challenge(Method::HEAD, &blob).await;
    let push = format!("repository:{target}:pull,push");
    let scopes = [push.as_str(), &format!("repository:{base}:pull")];
    let reply = get(&buildkit, &challenge, &scopes).await;
    buildkit.pushes(scene, "app", &reply).await;
    assert_eq!(buildkit.mount(scene, "app", &base, &reply).await, 201);
    // Its client side asks by POST, and takes both times for how long it keeps the token.
    let reply = post(&buildkit, "buildkit-client", &challenge, &scopes.join(" ")).await;
    let tokens = super::tokens(&reply);
    assert_eq!(
        tokens.issued_at.as_millisecond(),
        scene.registry.clock.now().0
    );
    buildkit.pushes(scene, "app", &reply).await;
}
