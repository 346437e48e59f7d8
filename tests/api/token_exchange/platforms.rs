//! Tokens as Kubernetes, GitHub Actions and GitLab make them, and the traps in each.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::{Scene, refused, rule};
use crate::support::START;
use crate::support::database::TestDatabase;
use crate::support::issuer::{AUDIENCE, SigningKey, key_set};

/// A registry that takes the tokens of an issuer of this name, and that issuer's key.
async fn scene(issuer: &str, claims: Value) -> (Scene, SigningKey) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let key = SigningKey::new("one", Algorithm::RS256);
    std::fs::write(&file, key_set(&[&key]).to_string()).unwrap();
    let rules = json!([rule(json!({"role": "builder", "claims": claims}))]);
    let scene = Scene::with(TestDatabase::chosen(), rules, |entry| {
        entry.issuer = issuer.to_owned();
        entry.jwks_file = Some(file.clone());
    })
    .await;
    // Asked once, so that the keys are known from now on; behind a proxy, by each server.
    for _ in 0..2 {
        scene.exchange(&key.sign(&json!({
            "iss": issuer, "aud": AUDIENCE, "sub": "x", "iat": START.seconds(), "exp": START.seconds() + 60,
        })))
        .await
        .expect(400);
    }
    (scene, key)
}

/// Exchanges the claims, each time with one of them changed.
async fn only_as_it_is(scene: &Scene, key: &SigningKey, claims: &Value, changes: &[(&str, Value)]) {
    let reply = scene.exchange(&key.sign(claims)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    for (pointer, value) in changes {
        let mut changed = claims.clone();
        match changed.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => changed[&pointer[1..]] = value.clone(),
        }
        let reply = scene.exchange(&key.sign(&changed)).await;
        assert_eq!(reply.status, 400, "{pointer} {value}: {}", reply.text());
        refused(
            &reply,
            400,
            "invalid_grant",
            "no rule of the issuer 'test' fits",
        );
    }
}

#[tokio::test]
async fn a_service_account_of_kubernetes() {
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let (scene, key) = scene(
        issuer,
        json!({"/kubernetes.io/namespace": "shop", "/kubernetes.io/serviceaccount/name": ["default", "build"]}),
    )
    .await;
    let now = START.seconds();
    let claims = json!({
        "aud": [AUDIENCE], "exp": now + 3600, "iat": now, "iss": issuer, "jti": "f9d2a0f5-7f1c-4c1b-9f0e-1b8a3a1d2c4e",
        "kubernetes.io": {
            "namespace": "shop",
            "node": {"name": "node-1", "uid": "6d0c4f7b-9a53-4f4f-8c0f-1d2e0b9f4a2e"},
            "pod": {"name": "app-7d9c5b6f4-x2x7k", "uid": "0b9f4a2e-6d0c-4f7b-9a53-5f4f4c0f1d2e"},
            "serviceaccount": {"name": "default", "uid": "7f0b7a56-8a0f-4c5e-9a67-0d5f0f5b6a11"},
        },
        "nbf": now, "sub": "system:serviceaccount:shop:default",
    });
    only_as_it_is(
        &scene,
        &key,
        &claims,
        &[
            ("/kubernetes.io/namespace", json!("shop-2")),
            ("/kubernetes.io/namespace", json!("SHOP")),
            ("/kubernetes.io/namespace", json!(["shop"])),
            ("/kubernetes.io/serviceaccount/name", json!("default-2")),
            ("/kubernetes.io/serviceaccount", json!("default")),
            ("/kubernetes.io", json!({"namespace": "shop"})),
        ],
    )
    .await;
    // The flat claims of the tokens of old say nothing.
    let mut flat = claims.clone();
    flat.as_object_mut().unwrap().remove("kubernetes.io");
    flat["kubernetes.io/namespace"] = json!("shop");
    flat["kubernetes.io/serviceaccount/namespace"] = json!("shop");
    flat["kubernetes.io/serviceaccount/name"] = json!("default");
    flat["/kubernetes.io/namespace"] = json!("shop");
    flat["/kubernetes.io/serviceaccount/name"] = json!("default");
    refused(
        &scene.exchange(&key.sign(&flat)).await,
        400,
        "invalid_grant",
        "no rule",
    );
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_subject_is_compared_as_a_whole() {
    let (scene, key) = scene(
        "https://kubernetes.default.svc",
        json!({"sub": "system:serviceaccount:shop:default"}),
    )
    .await;
    let mut claims = scene.issuer.claims("default");
    claims["iss"] = json!("https://kubernetes.default.svc");
    only_as_it_is(
        &scene,
        &key,
        &claims,
        &[
            ("/sub", json!("system:serviceaccount:shop:default2")),
            ("/sub", json!("system:serviceaccount:shop:default:")),
            ("/sub", json!("system:serviceaccount:shop:defaul")),
            ("/sub", json!("System:serviceaccount:shop:default")),
            ("/sub", json!(" system:serviceaccount:shop:default")),
        ],
    )
    .await;
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_job_of_github_actions() {
    let issuer = "https://token.actions.githubusercontent.com";
    let (scene, key) = scene(
        issuer,
        json!({"repository_id": "74", "repository_owner_id": "65", "ref": "refs/heads/main"}),
    )
    .await;
    let now = START.seconds();
    let claims = json!({
        "jti": "81de5a0b-2f34-4d1e-9c3e-1f6d0b9c7a55", "sub": "repo:octo-org/octo-repo:ref:refs/heads/main",
        "aud": AUDIENCE, "ref": "refs/heads/main", "sha": "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15",
        "repository": "octo-org/octo-repo", "repository_owner": "octo-org", "repository_owner_id": "65",
        "run_id": "9100000000", "run_number": "10", "run_attempt": "2", "repository_visibility": "private",
        "repository_id": "74", "actor_id": "12", "actor": "octocat", "workflow": "release", "head_ref": "",
        "base_ref": "", "event_name": "push", "ref_protected": "true", "ref_type": "branch",
        "workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
        "workflow_sha": "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15",
        "job_workflow_ref": "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
        "job_workflow_sha": "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15", "runner_environment": "github-hosted",
        "iss": issuer, "nbf": now - 300, "exp": now + 300, "iat": now,
    });
    only_as_it_is(
        &scene,
        &key,
        &claims,
        &[
            // Another repository that took the name over, and one that is called so elsewhere.
            ("/repository_id", json!("75")),
            ("/repository_owner_id", json!("66")),
            ("/repository_id", json!(74)),
            ("/ref", json!("refs/heads/main2")),
            ("/ref", json!("refs/pull/7/merge")),
            // Code of a stranger with the rights of the repository.
            ("/event_name", json!("pull_request_target")),
            ("/event_name", json!("workflow_run")),
        ],
    )
    .await;
    // The form that subjects of new repositories have; names that changed.
    let mut renamed = claims.clone();
    renamed["sub"] = json!("repo:octo-org@65/octo-repo@74:ref:refs/heads/main");
    renamed["repository"] = json!("octo-org/renamed");
    scene.exchange(&key.sign(&renamed)).await.expect(200);
    scene.registry.stop().await;
}

#[tokio::test]
async fn an_event_with_the_code_of_strangers_has_to_be_named() {
    let issuer = "https://token.actions.githubusercontent.com";
    let (scene, key) = scene(
        issuer,
        json!({"repository_id": "74", "event_name": ["push", "workflow_run"]}),
    )
    .await;
    let mut claims = scene.issuer.claims("x");
    claims["iss"] = json!(issuer);
    claims["repository_id"] = json!("74");
    for (event, good) in [
        ("push", true),
        ("workflow_run", true),
        ("pull_request_target", false),
        ("release", false),
    ] {
        claims["event_name"] = json!(event);
        let reply = scene.exchange(&key.sign(&claims)).await;
        assert_eq!(reply.status == 200, good, "{event}: {}", reply.text());
    }
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_job_of_gitlab() {
    let issuer = "https://gitlab.example.com";
    let (scene, key) = scene(
        issuer,
        json!({"project_id": "20", "namespace_id": "72", "ref_protected": "true", "ref_type": "branch"}),
    )
    .await;
    let now = START.seconds();
    let claims = json!({
        "namespace_id": "72", "namespace_path": "my-group", "project_id": "20", "project_path": "my-group/my-project",
        "user_id": "1", "user_login": "sample-user", "user_email": "sample-user@example.com", "user_access_level": "developer",
        "job_project_id": "20", "job_project_path": "my-group/my-project", "job_namespace_id": "72",
        "job_namespace_path": "my-group", "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "main",
        "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true", "runner_id": 1,
        "runner_environment": "self-hosted", "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "project_visibility": "public",
        "ci_config_ref_uri": "gitlab.example.com/my-group/my-project//.gitlab-ci.yml@refs/heads/main",
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc", "jti": "235b3a54-b797-45c7-ae9a-f72d7bc6ef5b",
        "iat": now, "nbf": now - 5, "exp": now + 3600, "iss": issuer,
        "sub": "project_path:my-group/my-project:ref_type:branch:ref:main", "aud": AUDIENCE,
    });
    only_as_it_is(
        &scene,
        &key,
        &claims,
        &[
            // A merge request of a fork that runs in this project: `project_*` is the fork, `job_project_*` is this one.
            ("/project_id", json!("21")),
            ("/namespace_id", json!("73")),
            ("/ref_protected", json!("false")),
            // It is a text, and no truth value.
            ("/ref_protected", json!(true)),
            ("/ref_type", json!("tag")),
        ],
    )
    .await;
    scene.registry.stop().await;
}
