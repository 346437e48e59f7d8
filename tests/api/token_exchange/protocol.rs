//! What the call takes and answers, as RFC 8693 and RFC 6749 have it.

use berth::http::Door;
use reqwest::Method;
use serde_json::json;

use super::{GRANT_TYPE, ID_TOKEN, JWT, PATH, Scene, post, refused};
use crate::support::TestRegistry;
use crate::support::distribution::{Distribution, Login, Reply, form};

#[tokio::test]
async fn the_answer_is_that_of_the_rfc_and_has_what_docker_needs() {
    let scene = Scene::set().await;
    let reply = scene
        .exchange_for(&scene.token(), "repository:t-shopkey/app:pull,push")
        .await
        .expect(200);
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("content-type"), "application/json");
    let mut issued = reply.json();
    let host = scene.registry.host(Door::Public);
    let password = issued["access_token"].take();
    assert_eq!(password.as_str().unwrap().split('.').count(), 3);
    let id = issued["credentialId"].take();
    assert_eq!(id.as_str().unwrap().len(), 32);
    assert_eq!(
        issued,
        json!({
            "access_token": null, "issued_token_type": JWT, "token_type": "N_A", "expires_in": 900,
            // Of what was asked for, what the rule gives.
            "scope": "repository:t-shopkey/app:pull", "username": "t-shopkey",
            "pushRegistry": format!("{host}/t-shopkey"), "pullRegistry": format!("{host}/t-shopkey"),
            "credentialId": null, "expiresAt": "2026-01-01T00:15:00Z",
        })
    );
    let whole = scene.exchange(&scene.token()).await.expect(200).json();
    assert_eq!(whole["scope"], "repository:t-shopkey/**:pull");
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_form_that_asks_for_something_else_is_refused() {
    let scene = Scene::set().await;
    let url = scene.registry.url(Door::Public);
    let token = scene.token();
    let good = [
        ("grant_type", GRANT_TYPE),
        ("subject_token_type", ID_TOKEN),
        ("subject_token", token.as_str()),
        ("requested_token_type", JWT),
        ("audience", "berth"),
        // What has no value counts as left out, and what is not known is passed over.
        ("scope", ""),
        ("resource", ""),
        ("client_id", "anything"),
    ];
    post(&url, &good).await.expect(200);
    for (name, value, code, says) in [
        (
            "grant_type",
            "password",
            "unsupported_grant_type",
            "grant_type is urn:",
        ),
        (
            "grant_type",
            "",
            "unsupported_grant_type",
            "grant_type is urn:",
        ),
        ("subject_token", "", "invalid_request", "subject_token"),
        (
            "subject_token_type",
            "",
            "invalid_request",
            "subject_token_type is urn:",
        ),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
            "invalid_request",
            "subject_token_type is urn:",
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:refresh_token",
            "invalid_request",
            "requested_token_type",
        ),
        (
            "audience",
            "https://elsewhere.example.com",
            "invalid_target",
            "this registry alone",
        ),
        (
            "resource",
            "https://registry.example.com",
            "invalid_target",
            "this registry alone",
        ),
        (
            "scope",
            "registry:catalog:*",
            "invalid_scope",
            "one repository",
        ),
        (
            "scope",
            "repository:t-shopkey/app:",
            "invalid_scope",
            "one repository",
        ),
        (
            "scope",
            "repository:t-shopkey/app:pull repository:t-shopkey/tools:pull",
            "invalid_scope",
            "one repository",
        ),
    ] {
        let fields: Vec<(&str, &str)> = good
            .iter()
            .map(|(field, old)| (*field, if *field == name { value } else { *old }))
            .collect();
        refused(&post(&url, &fields).await, 400, code, says);
    }
    let with = |more: (&'static str, &'static str)| [&good[..], &[more]].concat();
    let twice = post(&url, &with(("subject_token", "another"))).await;
    refused(&twice, 400, "invalid_request", "more than once");
    let two_audiences = post(&url, &with(("audience", "elsewhere"))).await;
    refused(&two_audiences, 400, "invalid_target", "alone");
    let actor = post(&url, &with(("actor_token", "x"))).await;
    refused(&actor, 400, "invalid_request", "actor_token");
    scene.registry.stop().await;
}

#[tokio::test]
async fn only_a_form_without_other_credentials_is_taken() {
    let scene = Scene::set().await;
    let url = scene.registry.url(Door::Public);
    let nobody = Distribution::new(&crate::support::client(), &url, Login::Nobody);
    let json = nobody
        .request(Method::POST, PATH)
        .header("content-type", "application/json")
        .body("{}");
    let reply = Reply::of(json).await;
    refused(
        &reply,
        415,
        "invalid_request",
        "application/x-www-form-urlencoded",
    );
    let long = "x".repeat(33 * 1024);
    let reply = post(&url, &[("subject_token", &long)]).await;
    refused(&reply, 413, "invalid_request", "32768 bytes");
    let admin = nobody.with(Login::key(&scene.registry.operator_key()));
    let fields = [("grant_type", GRANT_TYPE)];
    let reply = Reply::of(form(admin.request(Method::POST, PATH), &fields)).await;
    refused(&reply, 400, "invalid_request", "Authorization");
    // It is a route like others of the API.
    let reply = nobody.get(PATH).await.expect(405);
    assert_eq!(reply.header("allow"), "POST");
    scene.registry.stop().await;
}

#[tokio::test]
async fn without_issuers_nothing_is_exchanged() {
    let registry = TestRegistry::start().await;
    let reply = super::exchange(&registry, "a.b.c", None).await;
    refused(&reply, 400, "unsupported_grant_type", "no issuers");
    registry.stop().await;
}

#[tokio::test]
async fn it_is_at_the_public_door_also_where_the_api_has_its_own() {
    let any_port = ([127, 0, 0, 1], 0).into();
    let database = crate::support::database::TestDatabase::Sqlite;
    let registry = TestRegistry::start_with(database, |config| {
        config.server.api_listen = Some(any_port);
    });
    let registry = registry.await;
    for door in [Door::Public, Door::Api] {
        let reply = super::exchange_at(&registry.url(door), "a.b.c", None).await;
        refused(&reply, 400, "unsupported_grant_type", "no issuers");
    }
    let reply = super::exchange_at(&registry.url(Door::Pull), "a.b.c", None).await;
    assert_eq!(reply.status, 404);
    registry.stop().await;
}
