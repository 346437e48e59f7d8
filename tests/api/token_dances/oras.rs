//! ORAS. oras-go, the library of `oras` and Helm, begins with the request itself and adds what challenges ask for;
//! the Python client keeps the first token that it gets.

use berth::http::Door;
use reqwest::Method;

use super::{Challenge, Client, Headers, Scene, granted, is_refused};
use crate::support::distribution::Reply;

const HEADERS: Headers = &[("user-agent", "oras-go")];
const PYTHON_HEADERS: Headers = &[("user-agent", "python-requests/2.34.2"), ("accept", "*/*")];
const PYTHON_TOKEN_HEADERS: Headers = &[
    ("user-agent", "oras-py"),
    ("accept", "application/json"),
    ("service", "berth"),
];
const FORM: &str = "application/x-www-form-urlencoded";

dances! {
    go_logs_in_and_pulls_at_both_doors,
    go_asks_again_for_what_a_push_needs,
    go_mounts_with_what_one_challenge_asks_for,
    go_deletes_with_actions_in_the_order_of_letters,
    go_posts_where_it_is_told_to,
    python_pulls_with_its_one_token,
}

async fn token_for(oras: &Client, challenge: &Challenge, scopes: &[&str]) -> Reply {
    let mut query: Vec<(&str, &str)> = scopes.iter().map(|scope| ("scope", *scope)).collect();
    query.push(("service", &challenge.service));
    oras.get_token(challenge, &query).await
}

async fn go_logs_in_and_pulls_at_both_doors(scene: &Scene<'_>) {
    for oras in scene.at_each_door(HEADERS) {
        let challenge = oras.challenge(Method::GET, "/v2/").await;
        let reply = token_for(&oras, &challenge, &[]).await;
        oras.send(&reply, Method::GET, "/v2/").await.expect(200);
        let wrong = oras.with_password(&oras.user, "wrong");
        let refused = token_for(&wrong, &challenge, &[]).await;
        is_refused(&refused, "the password is no API key");

        let path = format!("/v2/{}/manifests/v1", scene.name("base"));
        let challenge = oras.challenge(Method::HEAD, &path).await;
        let reply = token_for(&oras, &challenge, &challenge.scopes()).await;
        oras.pulls(scene, &reply).await;
    }
}

async fn go_asks_again_for_what_a_push_needs(scene: &Scene<'_>) {
    let oras = scene.client(Door::Public, HEADERS);
    let target = scene.name("app");
    let blob = format!("/v2/{target}/blobs/{}", scene.layer().digest);
    let challenge = oras.challenge(Method::HEAD, &blob).await;
    assert_eq!(challenge.scopes(), [format!("repository:{target}:pull")]);
    let reply = token_for(&oras, &challenge, &challenge.scopes()).await;
    oras.send(&reply, Method::HEAD, &blob).await.expect(404);

    let uploads = format!("/v2/{target}/blobs/uploads/");
    let refused = oras.send(&reply, Method::POST, &uploads).await;
    let challenge = Challenge::of(&refused);
    assert_eq!(challenge.error.as_deref(), Some("insufficient_scope"));
    assert_eq!(
        challenge.scopes(),
        [format!("repository:{target}:pull,push")]
    );
    let reply = token_for(&oras, &challenge, &challenge.scopes()).await;
    oras.pushes(scene, "app", &reply).await;
}

async fn go_mounts_with_what_one_challenge_asks_for(scene: &Scene<'_>) {
    let oras = scene.client(Door::Public, HEADERS);
    let (target, base) = (scene.name("app"), scene.name("base"));
    let path = format!(
        "/v2/{target}/blobs/uploads/?mount={}&from={base}",
        scene.layer().digest
    );
    let challenge = oras.challenge(Method::POST, &path).await;
    let mut scopes = challenge.scopes();
    scopes.sort_unstable();
    assert_eq!(
        scopes,
        [
            format!("repository:{target}:pull,push"),
            format!("repository:{base}:pull"),
        ]
    );
    let reply = token_for(&oras, &challenge, &scopes).await;
    oras.send(&reply, Method::POST, &path).await.expect(201);
}

async fn go_deletes_with_actions_in_the_order_of_letters(scene: &Scene<'_>) {
    let oras = scene.client(Door::Public, HEADERS);
    let base = scene.name("base");
    let path = format!("/v2/{base}/manifests/{}", scene.digest());
    let challenge = oras.challenge(Method::DELETE, &path).await;
    assert_eq!(challenge.scopes(), [format!("repository:{base}:delete")]);
    let scope = format!("repository:{base}:delete,pull");
    let reply = token_for(&oras, &challenge, &[&scope]).await;
    oras.send(&reply, Method::DELETE, &path).await.expect(202);
}

async fn go_posts_where_it_is_told_to(scene: &Scene<'_>) {
    let oras = scene.client(Door::Public, HEADERS);
    let target = scene.name("app");
    let uploads = format!("/v2/{target}/blobs/uploads/");
    let challenge = oras.challenge(Method::POST, &uploads).await;
    let scope = challenge.scope.clone().unwrap();
    let common = [
        ("client_id", "oras-go"),
        ("scope", scope.as_str()),
        ("service", &challenge.service),
    ];
    for secret in [
        [
            ("grant_type", "password"),
            ("username", oras.user.as_str()),
            ("password", &oras.password),
        ]
        .as_slice(),
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", &oras.password),
        ],
    ] {
        let fields = [secret, &common].concat();
        let reply = oras.post_token(&challenge, FORM, &fields).await;
        assert_eq!(granted(&reply), scope);
        oras.pushes(scene, "app", &reply).await;
    }
}

async fn python_pulls_with_its_one_token(scene: &Scene<'_>) {
    for oras in scene.at_each_door(PYTHON_HEADERS) {
        let path = format!("/v2/{}/manifests/v1", scene.name("base"));
        let challenge = oras.challenge(Method::GET, &path).await;
        let asking = Client {
            headers: PYTHON_TOKEN_HEADERS,
            ..oras.with_password(&oras.user, &oras.password)
        };
        let scope = challenge.scope.clone().unwrap();
        let query = [("service", challenge.service.as_str()), ("scope", &scope)];
        let reply = asking.get_token(&challenge, &query).await;
        oras.pulls(scene, &reply).await;
        // Without a password it tries for a token that anybody may have.
        let nobody = asking
            .caller
            .request(Method::GET, &challenge.realm)
            .query(&query);
        is_refused(&Reply::of(nobody).await, "a token needs credentials");
    }
}
