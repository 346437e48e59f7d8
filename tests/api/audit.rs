//! The audit log: what changes and refusals leave in it, who reads it, and what never stands there.

use berth::app;
use berth::http::Door;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestRegistry;
use crate::support::calls::{Answer, Api};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login, Reply, image};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// Refusals of one workspace and minute that are kept apart.
const APART: usize = 50;

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap().to_owned()
}

fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().unwrap().clone()
}

async fn list(api: &Api) -> Vec<Value> {
    let list = api.get("/audit-events?limit=1000").await.expect(200);
    assert_eq!(list["nextCursor"], Value::Null);
    items(&list)
}

async fn actor(api: &Api) -> String {
    format!("key:{}", text(&api.get("/whoami").await.expect(200), "id"))
}

/// A registry whose log is read from where it was left.
struct Log {
    registry: TestRegistry,
    operator: Api,
    read: usize,
}

impl Log {
    async fn start(database: TestDatabase) -> Self {
        let registry = TestRegistry::start_on(database).await;
        let operator = registry.operator();
        let mut log = Self {
            registry,
            operator,
            read: 0,
        };
        log.news().await;
        log
    }

    /// What has been added since, the oldest first.
    async fn news(&mut self) -> Vec<Value> {
        for server in self.registry.servers() {
            server.http.audit.flush_all().await.unwrap();
        }
        let mut all = list(&self.operator).await;
        all.reverse();
        let news = all.split_off(self.read);
        self.read += news.len();
        news
    }

    /// The one event of a change, which tells of its request.
    #[track_caller]
    fn check(news: &[Value], by: &str, request_id: &str, action: &str, target: &str) -> Value {
        let [event] = news else {
            panic!("{action}: {news:#?}")
        };
        assert_eq!(event["actor"], by, "{event:#}");
        assert_eq!(event["action"], action, "{event:#}");
        assert_eq!(event["target"], target, "{event:#}");
        assert_eq!(event["outcome"], "allowed", "{event:#}");
        assert_eq!(event["address"], "127.0.0.1", "{event:#}");
        assert_eq!(event["requestId"], request_id, "{event:#}");
        assert_eq!(event["count"], 1, "{event:#}");
        assert_eq!(event["at"], "2026-01-01T00:00:00Z", "{event:#}");
        event.clone()
    }

    /// Makes a change, and finds it told once; answers with what it answered and the reason of its event.
    async fn told(
        &mut self,
        api: &Api,
        call: (Method, &str, Value),
        action: &str,
        target: impl FnOnce(&Value) -> String,
    ) -> (Value, Value) {
        let (method, path, body) = call;
        let by = actor(api).await;
        let answer = api.send(method, path, Some(body.to_string())).await;
        assert!(answer.status.is_success(), "{answer:?}");
        let request_id = request_id(&answer);
        let data = answer.body["data"].clone();
        let target = target(&data);
        let news = self.news().await;
        let event = Self::check(&news, &by, &request_id, action, &target);
        (data, event["reason"].clone())
    }
}

fn request_id(answer: &Answer) -> String {
    let id = answer.headers.get("x-request-id").unwrap();
    id.to_str().unwrap().to_owned()
}

fn key_of(data: &Value) -> String {
    format!("key:{}", text(data, "id"))
}

fn named(name: &str) -> impl FnOnce(&Value) -> String + use<> {
    let name = name.to_owned();
    move |_| name
}

#[tokio::test]
async fn each_change_of_the_tenancy_leaves_one_event() {
    for database in TestDatabase::available() {
        let mut log = Log::start(database).await;
        let operator = log.operator.clone();
        let post = |path: &'static str, body| (Method::POST, path, body);
        let call = post("/accounts", json!({"name": "acme"}));
        log.told(&operator, call, "account.create", named("acme"))
            .await;
        let body = json!({"name": "shop", "account": "acme", "teamKey": "shop"});
        let call = post("/workspaces", body);
        log.told(&operator, call, "workspace.create", named("shop"))
            .await;
        let body = json!({"displayName": "The shop", "quotaBytes": null});
        let call = (Method::PATCH, "/workspaces/shop", body);
        let (_, how) = log
            .told(&operator, call, "workspace.update", named("shop"))
            .await;
        assert_eq!(how, "displayName, quotaBytes");
        let keys = "/workspaces/shop/api-keys";
        let call = post(keys, json!({"name": "boss", "role": "admin"}));
        let (boss, how) = log.told(&operator, call, "api_key.create", key_of).await;
        assert_eq!(how, "role admin");
        let boss = log.registry.api(&text(&boss, "key"));
        // By the workspace's own admin, and seen by it.
        let call = post(keys, json!({"name": "ci", "role": "builder"}));
        let (ci, _) = log.told(&boss, call, "api_key.create", key_of).await;
        let path = format!("{keys}/{}", text(&ci, "id"));
        let call = (Method::DELETE, path.as_str(), Value::Null);
        log.told(&boss, call, "api_key.delete", named(&key_of(&ci)))
            .await;
        let own: Vec<String> = list(&boss)
            .await
            .iter()
            .map(|e| text(e, "action"))
            .collect();
        let expected = [
            "api_key.delete",
            "api_key.create",
            "api_key.create",
            "workspace.update",
            "workspace.create",
        ];
        assert_eq!(own, expected);
        let call = (Method::DELETE, "/workspaces/shop", Value::Null);
        log.told(&operator, call, "workspace.delete", named("shop"))
            .await;
        let call = (Method::DELETE, "/accounts/acme", Value::Null);
        log.told(&operator, call, "account.delete", named("acme"))
            .await;
        log.registry.running.stop().await;
    }
}

#[tokio::test]
async fn each_credential_and_each_revocation_leaves_one_event() {
    for database in TestDatabase::available() {
        let mut log = Log::start(database).await;
        let admin = log.registry.api(&log.registry.main_key());
        let issue = |body| (Method::POST, "/registry/credentials", body);
        let revoke = |body| (Method::POST, "/registry/credentials/revoke", body);
        let credential = |data: &Value| format!("credential:{}", text(data, "credentialId"));
        let call = issue(json!({}));
        let (issued, how) = log.told(&admin, call, "credential.issue", credential).await;
        assert_eq!(how, "pull,push on t-main/");
        let call = issue(json!({"targetImage": "app:v1", "actions": ["pull"]}));
        let (_, how) = log.told(&admin, call, "credential.issue", credential).await;
        assert_eq!(how, "pull on t-main/app");
        let call = revoke(json!({"credentialId": text(&issued, "credentialId")}));
        let target = named(&credential(&issued));
        log.told(&admin, call, "credential.revoke", target).await;
        let own = actor(&admin).await;
        let call = revoke(json!({"apiKeyId": own.trim_start_matches("key:")}));
        log.told(&admin, call, "credential.revoke", named(&own))
            .await;
        let call = revoke(json!({"all": true}));
        log.told(&admin, call, "credential.revoke", named("all"))
            .await;
        log.registry.rights_known().await;
        // Tokens are made and used by the thousand: they are not told.
        let docker = log.registry.with_key(&log.registry.main_key());
        let content = image().layer("a layer").build();
        docker.push_image("t-main/app", "v1", &content).await;
        let puller = docker.exchanged(&["repository:t-main/app:pull"]).await;
        puller.get("/v2/t-main/app/manifests/v1").await.expect(200);
        assert_eq!(log.news().await, Vec::<Value>::new());
        log.registry.running.stop().await;
    }
}

#[tokio::test]
async fn each_change_of_the_keys_of_the_installation_leaves_one_event() {
    for database in TestDatabase::available() {
        let mut log = Log::start(database).await;
        let operator = log.operator.clone();
        let call = (Method::POST, "/operator-keys", json!({"name": "alice"}));
        let (alice, _) = log
            .told(&operator, call, "operator_key.create", key_of)
            .await;
        let path = format!("/operator-keys/{}/rotate", text(&alice, "id"));
        let call = (Method::POST, path.as_str(), json!({}));
        let target = named(&key_of(&alice));
        let (new, how) = log
            .told(&operator, call, "operator_key.rotate", target)
            .await;
        assert_eq!(how, format!("replaced by {}", key_of(&new)));
        let path = format!("/operator-keys/{}", text(&alice, "id"));
        let call = (Method::DELETE, path.as_str(), Value::Null);
        let target = named(&key_of(&alice));
        log.told(&operator, call, "operator_key.delete", target)
            .await;
        let rotate = |body| (Method::POST, "/signing-keys/rotate", body);
        let call = rotate(json!({"purpose": "access"}));
        let (_, how) = log
            .told(&operator, call, "signing_key.rotate", named("access"))
            .await;
        assert_eq!(how, Value::Null);
        let call = rotate(json!({"now": true}));
        let both = named("credential, access");
        let (_, how) = log.told(&operator, call, "signing_key.rotate", both).await;
        assert!(how.as_str().unwrap().contains("ended"), "{how}");
        // These are none of a workspace's business.
        let admin = log.registry.api(&log.registry.main_key());
        assert_eq!(list(&admin).await, Vec::<Value>::new());
        log.registry.running.stop().await;
    }
}

#[tokio::test]
async fn what_is_reset_without_a_server_is_told_when_there_is_one_again() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let clock = registry.clock.clone();
        let registry = registry
            .restart_after(async |config| {
                app::reset_operator_keys(config, None, clock.clone())
                    .await
                    .unwrap();
                app::reset_signing_keys(config, clock).await.unwrap();
            })
            .await;
        let told: Vec<_> = list(&registry.operator())
            .await
            .iter()
            .map(|event| {
                assert_eq!(event["address"], Value::Null, "{event:#}");
                assert_eq!(event["requestId"], Value::Null, "{event:#}");
                ["actor", "action", "target"].map(|field| text(event, field))
            })
            .collect();
        let expected = [
            ["reset", "signing_key.reset", "credential, access"],
            ["reset", "operator_key.reset", "all"],
        ];
        assert_eq!(told, expected);
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn what_was_not_changed_is_not_told() {
    for database in TestDatabase::available() {
        let mut log = Log::start(database).await;
        let operator = log.operator.clone();
        let docker = log.registry.with_key(&log.registry.main_key());
        let content = image().layer("a layer").build();
        docker.push_image("t-main/app", "v1", &content).await;
        let own = actor(&operator).await.replace("key:", "/operator-keys/");
        // The first three are found out after the rows were changed, and undone.
        for path in ["/workspaces/main", "/accounts/main", &own] {
            operator.delete(path).await.expect_error(409, "conflict");
        }
        let account = json!({"name": "main"});
        let answer = operator.post("/accounts", &account).await;
        answer.expect_error(409, "conflict");
        let answer = operator.delete("/workspaces/main/api-keys/nobody").await;
        answer.expect_error(404, "not_found");
        let rotate = json!({"purpose": "access"});
        operator
            .post("/signing-keys/rotate", &rotate)
            .await
            .expect(200);
        assert_eq!(log.news().await.len(), 1);
        let answer = operator.post("/signing-keys/rotate", &rotate).await;
        answer.expect_error(409, "conflict");
        let admin = log.registry.api(&log.registry.main_key());
        let wrong = json!({"targetImage": "docker.io/app"});
        let answer = admin.post("/registry/credentials", &wrong).await;
        answer.expect_error(400, "bad_request");
        assert_eq!(log.news().await, Vec::<Value>::new());
        log.registry.running.stop().await;
    }
}

/// A viewer of `main`: its actor, its key and a client with it.
async fn viewer(log: &mut Log) -> (String, Api, Distribution) {
    let key = log.registry.key_of("main", "viewer").await;
    let api = log.registry.api(&key);
    let actor = actor(&api).await;
    log.news().await;
    (actor, api, log.registry.with_key(&key))
}

#[tokio::test]
async fn refusals_of_one_kind_in_one_minute_are_one_event_with_their_number() {
    for database in [TestDatabase::one_server()] {
        let mut log = Log::start(database).await;
        let (actor, api, docker) = viewer(&mut log).await;
        let blob = Content::new("a blob");
        let mut first = String::new();
        for _ in 0..3 {
            let reply = docker.push_blob("t-main/app", &blob).await.expect(403);
            if first.is_empty() {
                reply.header("x-request-id").clone_into(&mut first);
            }
        }
        docker.head("/v2/t-rival/app/tags/list").await.expect(404);
        let body = json!({"name": "new", "role": "viewer"});
        for _ in 0..2 {
            let answer = api.post("/workspaces/main/api-keys", &body).await;
            answer.expect_error(403, "forbidden");
        }
        // Nothing is written while the minute lasts.
        log.registry.clock.advance(MINUTE_MS - 1);
        let audit = log.registry.running.http.audit.clone();
        audit.flush().await.unwrap();
        assert_eq!(list(&log.operator).await.len(), log.read);
        log.registry.clock.advance(1);
        docker.push_blob("t-main/app", &blob).await.expect(403);
        audit.flush().await.unwrap();
        let mut news = list(&log.operator).await;
        news.truncate(news.len() - log.read);
        log.read += news.len();
        news.sort_by_key(|event| text(event, "action"));
        let [head, key, push] = news.as_slice() else {
            panic!("{news:#?}")
        };
        for (event, action, target, says, count) in [
            (
                head,
                "HEAD /v2/{name}/tags/list",
                "t-rival/app",
                "this key reaches t-main/",
                1,
            ),
            (
                key,
                "POST /api/v1/workspaces/{name}/api-keys",
                "/api/v1/workspaces/{name}/api-keys",
                "this takes a key with the role admin",
                2,
            ),
            (
                push,
                "POST /v2/{name}/blobs/uploads/",
                "t-main/app",
                "the role viewer may not push",
                3,
            ),
        ] {
            assert_eq!(text(event, "actor"), actor);
            assert_eq!(text(event, "action"), action);
            assert_eq!(text(event, "target"), target);
            assert_eq!(text(event, "outcome"), "refused");
            assert_eq!(text(event, "address"), "127.0.0.1");
            assert!(text(event, "reason").starts_with(says), "{event:#}");
            assert_eq!(event["count"], count, "{event:#}");
        }
        assert_eq!(text(push, "requestId"), first);
        // What came after the minute is an event of its own.
        let news = log.news().await;
        assert_eq!(news.len(), 1, "{news:#?}");
        assert_eq!(news[0]["count"], 1);
        log.registry.running.stop().await;
    }
}

#[tokio::test]
async fn a_key_that_is_refused_in_many_ways_leaves_a_bounded_number_of_events() {
    let mut log = Log::start(TestDatabase::one_server()).await;
    let (actor, _, docker) = viewer(&mut log).await;
    for number in 0..APART + 4 {
        let path = format!("/v2/t-rival/app-{number}/tags/list");
        docker.get(&path).await.expect(403);
    }
    let news = log.news().await;
    let of = |actor: &str| {
        let of = news.iter().filter(|event| event["actor"] == actor);
        of.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(&actor).len(), APART);
    let [several] = of("several").try_into().unwrap();
    assert_eq!(several["count"], 4, "{several:#}");
    assert_eq!(several["outcome"], "refused", "{several:#}");
    log.registry.running.stop().await;
}

#[tokio::test]
async fn steps_of_the_protocol_and_strangers_leave_nothing() {
    let mut log = Log::start(TestDatabase::chosen()).await;
    let (_, _, docker) = viewer(&mut log).await;
    let nobody = docker.with(Login::Nobody);
    let wrong = Login::Basic(String::from("t-main"), String::from("wrong"));
    let unknown = format!("berth_{}", "0".repeat(49));
    for stranger in [
        nobody,
        docker.with(wrong),
        docker.with(Login::key(&unknown)),
        docker.with(Login::Bearer(String::from("a.b.c"))),
    ] {
        stranger.get("/v2/t-main/app/tags/list").await.expect(401);
        stranger.get("/api/v1/whoami").await.expect(401);
        stranger.token_reply(&[]).await.expect(401);
    }
    // A token that was given for less is exchanged for another one.
    let token = docker.exchanged(&[]).await;
    token.get("/v2/t-main/app/tags/list").await.expect(401);
    docker.get("/v2/t-main/app/tags/list").await.expect(404);
    docker.head("/v2/t-main/app/manifests/v1").await.expect(404);
    assert_eq!(log.news().await, Vec::<Value>::new());
    log.registry.running.stop().await;
}

#[tokio::test]
async fn who_shows_a_secret_that_counts_no_longer_or_not_here_is_told_by_name() {
    for database in TestDatabase::available() {
        let mut log = Log::start(database).await;
        let main_key = log.registry.main_key();
        let (api, docker) = (
            log.registry.api(&main_key),
            log.registry.with_key(&main_key),
        );
        let issued = api.post("/registry/credentials", &json!({})).await;
        let issued = issued.expect(200);
        let login = Login::Basic(text(&issued, "username"), text(&issued, "password"));
        let revoked = docker.with(login);
        let token = revoked.exchanged(&[]).await;
        let body = json!({"name": "short", "role": "viewer", "expiresAt": "2026-01-01T00:01:00Z"});
        let (ended, ended_id) = log.registry.key_with("main", &body).await;
        let body = json!({"credentialId": text(&issued, "credentialId")});
        let answer = api.post("/registry/credentials/revoke", &body).await;
        answer.expect(204);
        log.registry.rights_known().await;
        log.registry.clock.advance(MINUTE_MS);
        log.news().await;

        let credential = format!("credential:{}", text(&issued, "credentialId"));
        let of_operator = log.registry.with_key(&log.registry.operator_key());
        let of_ended = log.registry.with_key(&ended);
        let ended = log.registry.api(&ended);
        ended.get("/whoami").await.expect_error(401, "unauthorized");
        of_ended.get("/v2/").await.expect(401);
        of_operator.get("/v2/").await.expect(401);
        of_operator.token_reply(&[]).await.expect(401);
        revoked.get("/v2/").await.expect(401);
        token.get("/v2/").await.expect(401);
        revoked.token_reply(&[]).await.expect(401);
        let mut news: Vec<[String; 3]> = log
            .news()
            .await
            .iter()
            .map(|event| ["actor", "action", "reason"].map(|field| text(event, field)))
            .collect();
        news.sort();
        let ended = format!("key:{ended_id}");
        let operator = actor(&log.operator).await;
        let gone = "it has been revoked";
        let mut expected = [
            [&*ended, "GET /api/v1/whoami", "the API key has expired"],
            [&*ended, "GET /v2/", "the API key has expired"],
            [&*operator, "GET /v2/", "an operator key is no registry password: use an API key of a workspace, or a registry credential"],
            [&*operator, "GET /token", "an operator key is no registry password: use an API key of a workspace, or a registry credential"],
            [&*credential, "GET /v2/", &format!("the registry credential no longer counts: {gone}")],
            [&*credential, "GET /v2/", &format!("the access token no longer counts: {gone}")],
            [&*credential, "GET /token", &format!("the registry credential no longer counts: {gone}")],
        ]
        .map(|texts| texts.map(str::to_owned));
        expected.sort();
        assert_eq!(news, expected);
        // The workspace reads of its own.
        let own = list(&api).await;
        let refused = own.iter().filter(|event| event["outcome"] == "refused");
        assert_eq!(refused.count(), 5);
        log.registry.running.stop().await;
    }
}

#[tokio::test]
async fn no_row_holds_a_secret() {
    let mut log = Log::start(TestDatabase::chosen()).await;
    let mut secrets = vec![log.registry.operator_key(), log.registry.main_key()];
    let operator = log.operator.clone();
    let body = json!({"name": "alice"});
    let made = operator.post("/operator-keys", &body).await.expect(201);
    secrets.push(text(&made, "key"));
    let key = log.registry.key_of("main", "viewer").await;
    let api = log.registry.api(&key);
    let issued = api.post("/registry/credentials", &json!({})).await;
    let issued = issued.expect(200);
    secrets.extend([key.clone(), text(&issued, "password")]);
    let login = Login::Basic(text(&issued, "username"), text(&issued, "password"));
    let docker = log.registry.distribution(Door::Public, login);
    let token = docker.exchanged(&["repository:t-main/app:pull"]).await;
    let Login::Bearer(text_of_token) = token.login.clone() else {
        unreachable!("it was exchanged")
    };
    secrets.push(text_of_token);
    // Secrets in the wrong places, sent by somebody who is refused.
    for secret in &secrets.clone() {
        for path in [
            format!("/api/v1/accounts/{secret}"),
            format!("/api/v1/accounts?cursor={secret}"),
            format!("/api/v1/operator-keys/{secret}"),
        ] {
            let reply = docker.with(Login::Bearer(key.clone())).get(&path).await;
            assert!((400..500).contains(&reply.status), "{path}: {reply:?}");
        }
        let path = format!("/v2/t-main/app/blobs/uploads/?digest={secret}");
        let request = token.request(Method::POST, &path);
        assert!(Reply::of(request).await.status >= 400);
        let body = json!({"name": "a", "role": "viewer", "repositories": [secret]});
        let answer = api.post("/workspaces/main/api-keys", &body).await;
        answer.expect_error(403, "forbidden");
    }
    let body = json!({"all": true});
    let admin = log.registry.api(&log.registry.main_key());
    let answer = admin.post("/registry/credentials/revoke", &body).await;
    answer.expect(204);
    log.registry.rights_known().await;
    docker.get("/v2/").await.expect(401);
    token.get("/v2/").await.expect(401);
    let news = log.news().await;
    assert!(news.len() > 8, "{news:#?}");
    for secret in &secrets {
        // Either half of it would be as bad.
        let parts = [&secret[..secret.len() / 2], &secret[secret.len() / 2..]];
        for event in &news {
            let row = event.to_string();
            assert!(!parts.iter().any(|part| row.contains(part)), "{row}");
        }
    }
    log.registry.running.stop().await;
}

#[tokio::test]
async fn admins_read_of_their_workspace_and_operators_of_all() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let (acme, rival) = (registry.team("acme").await, registry.team("rival").await);
        let operator = registry.operator();
        for role in ["viewer", "builder", "developer"] {
            let key = registry.key_of("acme", role).await;
            let answer = registry.api(&key).get("/audit-events").await;
            let message = answer.expect_error(403, "forbidden");
            assert!(message.contains("admin"), "{message}");
        }
        let (of_acme, of_rival) = (
            registry.api(&acme.admin_key),
            registry.api(&rival.admin_key),
        );
        let count = async |api: &Api| list(api).await.len();
        // A workspace, its admin's key, and three more.
        assert_eq!(count(&of_acme).await, 5);
        assert_eq!(count(&of_rival).await, 2);
        assert_eq!(count(&of_acme.in_workspace("acme")).await, 5);
        let foreign = of_acme.in_workspace("rival").get("/audit-events").await;
        let absent = of_acme.in_workspace("ghost").get("/audit-events").await;
        assert_eq!(
            foreign.expect_error(403, "forbidden"),
            absent.expect_error(403, "forbidden")
        );
        assert_eq!(count(&operator).await, 7);
        assert_eq!(count(&operator.in_workspace("acme")).await, 5);
        let ghost = operator.in_workspace("ghost").get("/audit-events").await;
        ghost.expect_error(404, "not_found");
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn pages_go_from_the_newest_to_the_oldest_and_know_their_cursors() {
    use base64::Engine as _;
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        registry.team("acme").await;
        let operator = registry.operator();
        for number in 0..5 {
            let body = json!({"name": format!("account-{number}")});
            operator.post("/accounts", &body).await.expect(201);
        }
        let all = list(&operator).await;
        let targets: Vec<&str> = all
            .iter()
            .filter_map(|event| event["target"].as_str())
            .collect();
        assert_eq!(targets[..2], ["account-4", "account-3"]);
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/audit-events?limit=3{cursor}");
            let page = operator.get(&path).await.expect(200);
            walked.extend(items(&page));
            // What is added meanwhile changes no page that is still to come.
            let body = json!({"name": format!("later-{}", walked.len())});
            operator.post("/accounts", &body).await.expect(201);
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(walked, all);
        let encoded = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let page = operator.get("/accounts?limit=1").await.expect(200);
        for cursor in [
            text(&page, "nextCursor"),
            encoded("audit-events\nacme"),
            encoded("audit-events\n"),
            encoded("audit-events\n9223372036854775808"),
            String::from("x"),
        ] {
            let path = format!("/audit-events?cursor={cursor}");
            let message = operator.get(&path).await.expect_error(400, "bad_request");
            assert!(
                message.contains("cursor is not one of this list"),
                "{message}"
            );
        }
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn events_are_removed_when_they_are_older_than_they_are_kept_for() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_with(database, |config| {
            config.audit.retention_days = 30;
        })
        .await;
        let operator = registry.operator();
        let make = async |name: &str| {
            let answer = operator.post("/accounts", &json!({"name": name})).await;
            answer.expect(201);
        };
        make("old").await;
        registry.clock.advance(10 * DAY_MS);
        make("new").await;
        let audit = &registry.running.http.audit;
        let left = async || {
            assert!(!audit.remove_old().await.unwrap());
            let events = list(&operator).await;
            let targets = events.iter().map(|event| text(event, "target"));
            targets.collect::<Vec<_>>()
        };
        registry.clock.advance(20 * DAY_MS);
        assert_eq!(left().await, ["new", "old"]);
        registry.clock.advance(1);
        assert_eq!(left().await, ["new"]);
        registry.clock.advance(10 * DAY_MS);
        assert_eq!(left().await, Vec::<String>::new());
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn what_is_held_when_the_server_stops_is_written() {
    for database in TestDatabase::available() {
        let mut log = Log::start(database).await;
        let (actor, api, docker) = viewer(&mut log).await;
        api.post("/registry/credentials", &json!({}))
            .await
            .expect(200);
        let blob = Content::new("a blob");
        docker.push_blob("t-main/app", &blob).await.expect(403);
        let before = log.read;
        let registry = log.registry.restart().await;
        let events = list(&registry.operator()).await;
        let told: Vec<&str> = events[..events.len() - before]
            .iter()
            .map(|event| {
                assert_eq!(event["actor"], *actor, "{event:#}");
                event["outcome"].as_str().unwrap()
            })
            .collect();
        assert_eq!(told, ["refused", "allowed"]);
        registry.running.stop().await;
    }
}
