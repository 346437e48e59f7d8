//! What an exchanged identity reaches, what it never does, and what ends it.

use berth::http::Door;
use serde_json::{Value, json};

use super::{Scene, exchange, manifest_of, refused, rule};
use crate::support::START;
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login, Reply};

const SHOP: &str = "t-shopkey/app";

/// Whether somebody may pull an image and push one, by Basic and by a token for it.
async fn may(docker: &Distribution, repository: &str) -> (bool, bool) {
    let scope = format!("repository:{repository}:pull,push");
    let by_token = docker.exchanged(&[&scope]).await;
    let mut answers = Vec::new();
    for sender in [docker, &by_token] {
        let pulled = sender.get(&manifest_of(repository)).await.status;
        let blob = Content::new(format!("a layer for {repository}"));
        let pushed = sender.push_blob(repository, &blob).await.status;
        answers.push((pulled == 200, pushed == 201));
        assert!(matches!(pulled, 200 | 401 | 403), "{repository}: {pulled}");
        assert!(matches!(pushed, 201 | 401 | 403), "{repository}: {pushed}");
        let deleted = sender.delete(&manifest_of(repository)).await.status;
        assert!(matches!(deleted, 401 | 403), "{repository}: {deleted}");
    }
    assert_eq!(answers[0], answers[1], "{repository}");
    answers[0]
}

#[tokio::test]
async fn a_viewer_pulls_what_its_workspace_may_and_pushes_nothing() {
    let scene = Scene::set().await;
    let docker = scene.docker(&scene.exchange(&scene.token()).await);
    for (repository, pulls) in [
        (SHOP, true),
        ("t-shopkey/tools", true),
        ("t-rivalkey/platform", true),
        ("t-rivalkey/app", false),
        ("t-ghostkey/app", false),
    ] {
        assert_eq!(
            may(&docker, repository).await,
            (pulls, false),
            "{repository}"
        );
    }
    let list = docker.get("/v2/_catalog").await.expect(200).json();
    assert_eq!(list["repositories"].as_array().unwrap().len(), 3, "{list}");
    // The pull door is where nodes are.
    let node = scene
        .registry
        .distribution(Door::Pull, docker.login.clone());
    node.get(&manifest_of(SHOP)).await.expect(200);
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_rule_gives_what_it_says_and_a_scope_narrows_that() {
    let scene = Scene::with_rules(json!([rule(json!({
        "role": "builder", "repositories": ["app"], "lifetime_seconds": 120,
    }))]))
    .await;
    let issued = scene.exchange(&scene.token()).await;
    assert_eq!(issued.json()["scope"], "repository:t-shopkey/app:pull,push");
    assert_eq!(issued.json()["expires_in"], 120);
    let docker = scene.docker(&issued);
    assert_eq!(may(&docker, SHOP).await, (true, true));
    assert_eq!(may(&docker, "t-shopkey/tools").await, (false, false));
    // What is narrowed to images of the workspace has no others.
    assert_eq!(may(&docker, "t-rivalkey/platform").await, (false, false));

    let pull = scene
        .exchange_for(&scene.token(), "repository:t-shopkey/app:pull")
        .await;
    assert_eq!(may(&scene.docker(&pull), SHOP).await, (true, false));
    for scope in [
        "repository:t-shopkey/tools:pull",
        "repository:t-shopkey/app:delete",
        "repository:t-rivalkey/app:pull",
        "repository:t-rivalkey/platform:pull",
        "repository:t-ghostkey/app:pull",
    ] {
        refused(
            &scene.exchange_for(&scene.token(), scope).await,
            400,
            "invalid_scope",
            "",
        );
    }
    scene.registry.stop().await;
}

#[tokio::test]
async fn a_scope_may_name_an_image_that_every_workspace_pulls() {
    let scene = Scene::set().await;
    let scope = "repository:t-rivalkey/platform:pull";
    let issued = scene.exchange_for(&scene.token(), scope).await;
    assert_eq!(issued.json()["scope"], scope);
    let docker = scene.docker(&issued);
    assert_eq!(may(&docker, "t-rivalkey/platform").await, (true, false));
    assert_eq!(may(&docker, SHOP).await, (false, false));
    // Foreign names get one answer, whether they are there or not.
    let mut answers = Vec::new();
    for repository in ["t-rivalkey/app", "t-ghostkey/app"] {
        let scope = format!("repository:{repository}:pull");
        let reply = scene.exchange_for(&scene.token(), &scope).await;
        let said = refused(&reply, 400, "invalid_scope", "t-shopkey/");
        answers.push(said.replace(repository, "…"));
    }
    assert_eq!(answers[0], answers[1]);
    scene.registry.stop().await;
}

#[tokio::test]
async fn of_several_rules_the_first_counts_that_gives_what_is_asked_for() {
    let of_namespace = json!({"/kubernetes.io/namespace": "shop"});
    let scene = Scene::with_rules(json!([
        rule(json!({"name": "others", "claims": {"sub": "system:serviceaccount:shop:other"}, "workspace": "rival"})),
        rule(json!({"name": "pull", "claims": of_namespace})),
        rule(json!({"name": "push", "claims": of_namespace, "workspace": "rival", "role": "builder",
            "repositories": ["tools"]})),
    ]))
    .await;
    let issued = scene.exchange(&scene.token()).await;
    assert_eq!(issued.json()["username"], "t-shopkey");
    let scope = "repository:t-rivalkey/tools:push";
    let issued = scene.exchange_for(&scene.token(), scope).await;
    assert_eq!(
        (&issued.json()["username"], &issued.json()["scope"]),
        (&json!("t-rivalkey"), &json!(scope))
    );
    let docker = scene.docker(&issued);
    let blob = Content::new("a tool");
    docker
        .push_blob("t-rivalkey/tools", &blob)
        .await
        .expect(201);
    docker
        .get(&manifest_of("t-rivalkey/tools"))
        .await
        .expect(403);
    let reply = scene
        .exchange_for(&scene.token(), "repository:t-rivalkey/app:push")
        .await;
    refused(&reply, 400, "invalid_scope", "");
    scene.registry.stop().await;
}

#[tokio::test]
async fn it_is_a_password_of_the_registry_and_nothing_else() {
    let scene = Scene::set().await;
    let issued = scene.exchange(&scene.token()).await.expect(200);
    let docker = scene.docker(&issued);
    let password = issued.json()["access_token"].as_str().unwrap().to_owned();
    // Neither is the token of the issuer a password here, nor the credential one of the API.
    let api = scene.registry.api(&password);
    for path in [
        "/whoami",
        "/images",
        "/workspaces/shop/api-keys",
        "/audit-events",
    ] {
        api.get(path).await.expect_error(401, "unauthorized");
    }
    let basic = docker.get("/api/v1/whoami").await;
    assert_eq!(basic.status, 401, "{}", basic.text());
    let token = scene.token();
    let direct = docker.with(Login::Basic(String::from("t-shopkey"), token.clone()));
    direct.get("/v2/").await.expect(401);
    direct.token_reply(&[]).await.expect(401);
    direct
        .with(Login::Bearer(token))
        .get("/v2/")
        .await
        .expect(401);
    // It is no subject of an exchange itself.
    let again = scene.exchange(&password).await;
    refused(&again, 400, "invalid_grant", "");
    let wrong_name = docker.with(Login::Basic(String::from("anyone"), password));
    wrong_name.get("/v2/").await.expect(401);
    scene.registry.stop().await;
}

#[tokio::test]
async fn it_ends_by_itself_and_when_it_is_revoked() {
    let scene = Scene::set().await;
    let admin = scene.registry.operator().in_workspace("shop");
    let one = scene.exchange(&scene.token()).await.expect(200);
    let two = scene.exchange(&scene.token()).await.expect(200);
    let (first, second) = (scene.docker(&one), scene.docker(&two));
    let token = first.exchanged(&["repository:t-shopkey/app:pull"]).await;
    token.get(&manifest_of(SHOP)).await.expect(200);
    let id = one.json()["credentialId"].clone();
    let revoke = json!({"credentialId": id});
    admin
        .post("/registry/credentials/revoke", &revoke)
        .await
        .expect(204);
    scene.registry.rights_known().await;
    for sender in [&first, &token] {
        let reply = sender.get(&manifest_of(SHOP)).await.expect(401);
        assert!(reply.text().contains("revoked"), "{}", reply.text());
    }
    second.get(&manifest_of(SHOP)).await.expect(200);
    let all = json!({"all": true});
    admin
        .post("/registry/credentials/revoke", &all)
        .await
        .expect(204);
    scene.registry.rights_known().await;
    second.get(&manifest_of(SHOP)).await.expect(401);

    let third = scene.docker(&scene.exchange(&scene.token()).await);
    third.get(&manifest_of(SHOP)).await.expect(200);
    scene.registry.clock.advance(900 * 1000);
    let reply = third.get(&manifest_of(SHOP)).await.expect(401);
    assert!(reply.text().contains("expired"), "{}", reply.text());
    scene.registry.stop().await;
}

/// What was got with one set of rules, shown to a server that was started with another one.
async fn after_restart(rules: Value) -> (TestRegistry, Reply, String) {
    let scene = Scene::with_rules(json!([rule(json!({"role": "builder"})), rule(json!({
        "name": "other", "claims": {"sub": "system:serviceaccount:other:default"}, "workspace": "rival",
    }))]))
    .await;
    let token = scene.token();
    let issued = scene.exchange(&token).await.expect(200);
    let docker = scene.docker(&issued);
    let access = docker.exchanged(&["repository:t-shopkey/app:pull"]).await;
    let entry = scene.issuer.entry(&rules);
    let registry = scene
        .registry
        .restart_after(async |config| config.auth.issuers = vec![entry])
        .await;
    let mut statuses = Vec::new();
    for login in [docker.login, access.login] {
        let docker = registry.distribution(Door::Public, login);
        statuses.push(docker.get(&manifest_of(SHOP)).await);
    }
    let [basic, bearer] = <[Reply; 2]>::try_from(statuses).unwrap();
    assert_eq!(basic.status, bearer.status);
    let again = exchange(&registry, &token, None).await;
    (registry, basic, again.text())
}

#[tokio::test]
async fn it_ends_with_its_rule_and_with_every_change_of_it() {
    // Unchanged, it goes on.
    let (registry, reply, _) = after_restart(json!([rule(json!({"role": "builder"}))])).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    registry.stop().await;
    for (rules, again) in [
        (json!([]), "no rule"),
        (json!([rule(json!({}))]), "access_token"),
        (
            json!([rule(json!({"role": "builder", "workspace": "rival"}))]),
            "t-rivalkey",
        ),
        (
            json!([rule(json!({"role": "builder", "repositories": ["app"]}))]),
            "t-shopkey/app",
        ),
        (
            json!([rule(json!({"role": "builder", "lifetime_seconds": 60}))]),
            "access_token",
        ),
        (
            json!([rule(json!({"role": "builder", "prefix": "t-shopkey"}))]),
            "access_token",
        ),
        (
            json!([rule(
                json!({"role": "builder", "actions": ["pull", "push"]})
            )]),
            "access_token",
        ),
        (
            json!([rule(
                json!({"role": "builder", "claims": {"sub": "system:serviceaccount:shop:x"}})
            )]),
            "no rule",
        ),
    ] {
        let (registry, reply, said) = after_restart(rules.clone()).await;
        assert_eq!(reply.status, 401, "{rules}: {}", reply.text());
        assert!(
            reply.text().contains("removed or changed"),
            "{}",
            reply.text()
        );
        assert!(said.contains(again), "{rules}: {said}");
        registry.stop().await;
    }
}

#[tokio::test]
async fn it_ends_with_its_workspace() {
    let scene = Scene::with_rules(json!([rule(json!({"workspace": "empty"}))])).await;
    let missing = scene.exchange(&scene.token()).await;
    refused(
        &missing,
        400,
        "invalid_grant",
        "a workspace that does not exist",
    );
    scene.registry.team("empty").await;
    let issued = scene.exchange(&scene.token()).await.expect(200);
    let docker = scene.docker(&issued);
    docker.get("/v2/").await.expect(200);
    let operator = scene.registry.operator();
    operator.delete("/workspaces/empty").await.expect(204);
    scene.registry.rights_known().await;
    docker.get("/v2/").await.expect(401);
    refused(
        &scene.exchange(&scene.token()).await,
        400,
        "invalid_grant",
        "does not exist",
    );
    scene.registry.stop().await;
}

/// A name is free when its workspace is gone; a prefix is never given again.
#[tokio::test]
async fn a_rule_with_a_prefix_gives_nothing_of_another_workspace_of_that_name() {
    let scene = Scene::with_rules(json!([
        rule(json!({"name": "own", "workspace": "empty", "prefix": "t-emptykey"})),
        rule(json!({"name": "by-name", "workspace": "empty", "claims": {"sub": "system:serviceaccount:shop:named"}})),
    ]))
    .await;
    let named = || scene.key.sign(&scene.issuer.claims("named"));
    scene.registry.team("empty").await;
    let issued = scene.exchange(&scene.token()).await.expect(200);
    assert_eq!(issued.json()["username"], "t-emptykey");
    let docker = scene.docker(&issued);
    docker.get("/v2/").await.expect(200);
    let operator = scene.registry.operator();
    operator.delete("/workspaces/empty").await.expect(204);
    let successor = json!({"name": "empty", "account": "main", "teamKey": "anotherkey"});
    operator.post("/workspaces", &successor).await.expect(201);
    scene.registry.rights_known().await;
    docker.get("/v2/").await.expect(401);
    refused(
        &scene.exchange(&scene.token()).await,
        400,
        "invalid_grant",
        "has another prefix than the rule says",
    );
    // The name alone is whoever has it.
    let issued = scene.exchange(&named()).await.expect(200);
    assert_eq!(issued.json()["username"], "t-anotherkey");
    scene.registry.stop().await;
}

#[tokio::test]
async fn one_identity_may_not_ask_too_often() {
    let rules = json!([rule(json!({}))]);
    let scene = Scene::with(TestDatabase::one_server(), rules, |_| {}).await;
    let registry = scene
        .registry
        .restart_after(async |config| config.limits.exchanges_per_minute = 2)
        .await;
    let scene = Scene { registry, ..scene };
    for _ in 0..2 {
        scene.exchange(&scene.token()).await.expect(200);
    }
    let reply = scene.exchange(&scene.token()).await;
    refused(&reply, 429, "slow_down", "this identity asked for too many");
    assert_eq!(reply.header("retry-after"), "30");
    let other = scene.key.sign(&scene.issuer.claims("other"));
    scene.exchange(&other).await.expect(200);
    scene.registry.stop().await;
}

#[tokio::test]
async fn the_audit_log_names_issuer_rule_and_subject() {
    let scene = Scene::with_rules(json!([rule(json!({"role": "builder"}))])).await;
    let admin = scene.registry.operator().in_workspace("shop");
    let issued = scene
        .exchange_for(&scene.token(), "repository:t-shopkey/app:pull")
        .await
        .expect(200);
    let docker = scene.docker(&issued);
    let blob = Content::new("no");
    docker.push_blob(SHOP, &blob).await.expect(403);
    let foreign = scene.token_with(|claims| claims["kubernetes.io"]["namespace"] = json!("other"));
    let said = refused(
        &scene.exchange(&foreign).await,
        400,
        "invalid_grant",
        "no rule",
    );
    assert!(
        said.contains("system:serviceaccount:shop:default"),
        "{said}"
    );
    for server in scene.registry.servers() {
        server.http.audit.flush_all().await.unwrap();
    }
    let actor = "identity:test/pods:system:serviceaccount:shop:default";
    let log = admin.get("/audit-events?limit=1000").await.expect(200);
    let events = log["items"].as_array().unwrap();
    let by = |actor: &str| -> Vec<&Value> {
        events
            .iter()
            .filter(|event| event["actor"] == actor)
            .collect()
    };
    let own = by(actor);
    assert_eq!(own.len(), 2, "{log:#}");
    // Each server writes down its own in its time.
    let of = |outcome: &str| {
        own.iter()
            .find(|event| event["outcome"] == outcome)
            .unwrap()
    };
    let (exchange, refusal) = (of("allowed"), of("refused"));
    let id = issued.json()["credentialId"].as_str().unwrap().to_owned();
    assert_eq!(exchange["action"], "credential.issue");
    assert_eq!(exchange["target"], format!("credential:{id}"));
    assert_eq!(exchange["reason"], "repository:t-shopkey/app:pull");
    assert_eq!(exchange["at"], START.rfc3339());
    assert_eq!(refusal["target"], SHOP);
    // Whom no rule fits is told to the operator alone.
    let all = scene
        .registry
        .operator()
        .get("/audit-events?limit=1000")
        .await
        .expect(200);
    let stranger = "identity:test/-:system:serviceaccount:shop:default";
    let mut strangers = all["items"].as_array().unwrap().iter();
    let refusal = strangers.find(|event| event["actor"] == stranger).unwrap();
    assert_eq!(refusal["action"], "POST /api/v1/registry/token-exchange");
    assert_eq!(by(stranger).len(), 0);
    // No part of a token is in the log.
    let text = all.to_string();
    for token in [&foreign, issued.json()["access_token"].as_str().unwrap()] {
        assert!(token.split('.').all(|part| !text.contains(part)));
    }
    scene.registry.stop().await;
}
