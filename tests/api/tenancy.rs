//! Accounts, workspaces and keys, as the table "Tenancy" of the contract has them.

use berth::http::Door;
use serde_json::{Value, json};

use crate::support::TestRegistry;
use crate::support::calls::{Answer, Api};
use crate::support::database::TestDatabase;
use crate::support::distribution::image;

/// What differs from run to run, told apart from what must not.
const VOLATILE: [&str; 3] = ["id", "accountId", "key"];

/// The data with a word in place of what is drawn at random.
fn steady(mut data: Value) -> Value {
    let Some(fields) = data.as_object_mut() else {
        return data;
    };
    for name in VOLATILE {
        if let Some(value) = fields.get_mut(name).filter(|value| value.is_string()) {
            assert!(!value.as_str().unwrap().is_empty());
            *value = json!(format!("<{name}>"));
        }
    }
    if let Some(maker) = fields.get_mut("createdBy") {
        assert!(maker.as_str().unwrap().starts_with("key:"), "{maker}");
        *maker = json!("key:<id>");
    }
    data
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect()
}

#[track_caller]
fn refused(answer: Answer, code: &str, words: &[&str]) {
    let status = match code {
        "bad_request" => 400,
        "forbidden" => 403,
        "not_found" => 404,
        _ => 409,
    };
    let message = answer.expect_error(status, code);
    for word in words {
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test]
async fn a_key_that_names_another_workspace_is_refused_wherever_it_does() {
    let registry = TestRegistry::start().await;
    let team = registry.team("team").await;
    let api = registry.api(&team.admin_key);
    for path in ["/whoami", "/workspaces", "/workspaces/team"] {
        api.in_workspace("team").get(path).await.expect(200);
        let answer = api.in_workspace("main").get(path).await;
        refused(answer, "forbidden", &["\"team\"", "X-Workspace"]);
    }
}

mod accounts {
    use super::*;

    #[tokio::test]
    async fn are_made_shown_listed_and_ended() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let operator = registry.operator();
            let made = operator.post("/accounts", &json!({"name": "acme"})).await;
            let made = made.expect(201);
            insta::allow_duplicates! {
            insta::assert_json_snapshot!(steady(made.clone()), @r#"
            {
              "createdAt": "2026-01-01T00:00:00Z",
              "id": "<id>",
              "name": "acme"
            }
            "#);
            }
            let again = operator.post("/accounts", &json!({"name": "acme"})).await;
            refused(again, "conflict", &["acme"]);
            let shown = operator.get("/accounts/acme").await.expect(200);
            assert_eq!(shown, made);
            let listed = operator.get("/accounts").await.expect(200);
            assert_eq!(names(&listed), ["acme", "main"]);
            assert_eq!(listed["nextCursor"], Value::Null);
            refused(
                operator.delete("/accounts/main").await,
                "conflict",
                &["workspaces"],
            );
            operator.delete("/accounts/acme").await.expect(204);
            refused(operator.get("/accounts/acme").await, "not_found", &["acme"]);
            refused(operator.delete("/accounts/acme").await, "not_found", &[]);
            operator
                .post("/accounts", &json!({"name": "acme"}))
                .await
                .expect(201);
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn have_slugs_for_names_and_no_other_field() {
        let registry = TestRegistry::start().await;
        let operator = registry.operator();
        for name in ["", "A", "a b", "-a", "a/b", "~a", &"a".repeat(65)] {
            let answer = operator.post("/accounts", &json!({"name": name})).await;
            refused(answer, "bad_request", &["name", "1 to 64"]);
        }
        let answer = operator
            .post("/accounts", &json!({"name": "a", "colour": 1}))
            .await;
        refused(answer, "bad_request", &["colour"]);
        let answer = operator.post("/accounts", &json!({})).await;
        refused(answer, "bad_request", &["name"]);
        let answer = operator.post("/accounts", &json!({"name": 5})).await;
        refused(answer, "bad_request", &[]);
    }
}

mod workspaces {
    use super::*;

    async fn create(operator: &Api, mut body: Value) -> Answer {
        if body["account"].is_null() {
            body["account"] = json!("main");
        }
        operator.post("/workspaces", &body).await
    }

    #[tokio::test]
    async fn get_the_prefix_that_was_asked_for_and_keep_it_for_ever() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let operator = registry.operator();
            let derived = create(&operator, json!({"name": "a", "teamId": "team-123"})).await;
            let derived = derived.expect(201);
            insta::allow_duplicates! {
            insta::assert_json_snapshot!(steady(derived), @r#"
            {
              "account": "main",
              "accountId": "<accountId>",
              "createdAt": "2026-01-01T00:00:00Z",
              "displayName": null,
              "id": "<id>",
              "name": "a",
              "quotaBytes": null,
              "repositoryPrefix": "t-6a1ba868/",
              "teamKey": "6a1ba868",
              "untaggedRetentionDays": null
            }
            "#);
            }
            let given = json!({"name": "b", "teamKey": "teamb", "displayName": "Team B", "quotaBytes": 1024});
            let given = create(&operator, given).await.expect(201);
            insta::allow_duplicates! {
            insta::assert_json_snapshot!(steady(given), @r#"
            {
              "account": "main",
              "accountId": "<accountId>",
              "createdAt": "2026-01-01T00:00:00Z",
              "displayName": "Team B",
              "id": "<id>",
              "name": "b",
              "quotaBytes": 1024,
              "repositoryPrefix": "t-teamb/",
              "teamKey": "teamb",
              "untaggedRetentionDays": null
            }
            "#);
            }
            let named = create(&operator, json!({"name": "c", "namespace": "platform"})).await;
            let named = named.expect(201);
            assert_eq!(named["repositoryPrefix"], "platform/");
            let drawn = create(&operator, json!({"name": "d"})).await.expect(201);
            let key = drawn["teamKey"].as_str().unwrap();
            assert!(key.len() == 8 && key.bytes().all(|byte| byte.is_ascii_hexdigit()));

            for (body, word) in [
                (json!({"name": "a"}), "\"a\""),
                (json!({"name": "e", "teamId": "team-123"}), "t-6a1ba868/"),
                (json!({"name": "e", "teamKey": "6a1ba868"}), "t-6a1ba868/"),
                (json!({"name": "e", "namespace": "platform"}), "platform/"),
            ] {
                refused(create(&operator, body).await, "conflict", &[word]);
            }
            for name in ["a", "c"] {
                let path = format!("/workspaces/{name}");
                operator.delete(&path).await.expect(204);
                refused(operator.get(&path).await, "not_found", &[]);
            }
            for body in [
                json!({"name": "a", "teamId": "team-123"}),
                json!({"name": "a", "teamKey": "6a1ba868"}),
                json!({"name": "c", "namespace": "platform"}),
            ] {
                refused(
                    create(&operator, body).await,
                    "conflict",
                    &["once belonged"],
                );
            }
            // The name alone is free again.
            create(&operator, json!({"name": "a"})).await.expect(201);
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn are_asked_for_in_one_way_at_a_time_and_with_known_fields() {
        let registry = TestRegistry::start().await;
        let operator = registry.operator();
        for (body, words) in [
            (
                json!({"name": "x", "teamId": "a", "teamKey": "abcd"}),
                ["teamId, teamKey and namespace"].as_slice(),
            ),
            (
                json!({"name": "x", "teamKey": "abcd", "namespace": "abcd"}),
                &["at most one"],
            ),
            (
                json!({"name": "x", "teamKey": "abc"}),
                &["teamKey", "4 to 32"],
            ),
            (json!({"name": "x", "teamKey": "ABCD"}), &["teamKey"]),
            (json!({"name": "x", "teamId": ""}), &["teamId", "1 to 255"]),
            (
                json!({"name": "x", "namespace": "t-x"}),
                &["namespace", "team keys"],
            ),
            (json!({"name": "x", "namespace": "a/b"}), &["namespace"]),
            (json!({"name": "x", "namespace": "v2"}), &["reserved"]),
            (
                json!({"name": "x", "quotaBytes": 0}),
                &["quotaBytes", "from 1 to"],
            ),
            (json!({"name": "x", "quotaBytes": -1}), &[]),
            (
                json!({"name": "x", "displayName": ""}),
                &["displayName", "1 to 200"],
            ),
            (json!({"name": "x", "teamkey": "abcd"}), &["teamkey"]),
            (json!({"name": "X"}), &["name"]),
            (
                json!({"name": "x", "account": "nobody"}),
                &["account", "nobody"],
            ),
        ] {
            refused(create(&operator, body).await, "bad_request", words);
        }
        let listed = operator.get("/workspaces").await.expect(200);
        assert_eq!(names(&listed), ["main"], "nothing was made");
    }

    #[tokio::test]
    async fn are_seen_and_set_up_by_their_own() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let team = registry.team("acme").await;
            let (admin, operator) = (registry.api(&team.admin_key), registry.operator());
            let listed = operator.get("/workspaces").await.expect(200);
            assert_eq!(names(&listed), ["acme", "main"]);
            let listed = admin.get("/workspaces").await.expect(200);
            assert_eq!(names(&listed), ["acme"]);
            let changed = admin
                .patch(
                    "/workspaces/acme",
                    &json!({"displayName": "Acme", "untaggedRetentionDays": 30}),
                )
                .await
                .expect(200);
            assert_eq!(changed["displayName"], "Acme");
            assert_eq!(changed["untaggedRetentionDays"], 30);
            let shown = admin.get("/workspaces/acme").await.expect(200);
            assert_eq!(shown, changed, "what was changed is seen at once");
            let kept = admin
                .patch("/workspaces/acme", &json!({"untaggedRetentionDays": null}))
                .await
                .expect(200);
            assert_eq!(kept["untaggedRetentionDays"], Value::Null);
            assert_eq!(kept["displayName"], "Acme", "what is left out stays");
            let quota = json!({"quotaBytes": 5});
            let own = admin.patch("/workspaces/acme", &quota).await;
            refused(own, "forbidden", &["operator"]);
            let set = operator.patch("/workspaces/acme", &quota).await.expect(200);
            assert_eq!(set["quotaBytes"], 5);
            for (body, words) in [
                (
                    json!({"untaggedRetentionDays": 0}),
                    ["untaggedRetentionDays", "from 1 to 36500"].as_slice(),
                ),
                (
                    json!({"untaggedRetentionDays": 36501}),
                    &["from 1 to 36500"],
                ),
                (json!({"untaggedRetentionDays": 1.5}), &[]),
                (json!({"displayName": "a\nb"}), &["displayName"]),
                (json!({"name": "other"}), &["name"]),
                (json!({"retention": 1}), &["retention"]),
            ] {
                refused(
                    admin.patch("/workspaces/acme", &body).await,
                    "bad_request",
                    words,
                );
            }
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn with_an_image_are_not_deleted() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let team = registry.team("acme").await;
            let docker = registry.with_key(&team.admin_key);
            let content = image().layer("layer").build();
            let repository = format!("{}/app", team.prefix);
            docker.push_image(&repository, "v1", &content).await;
            let operator = registry.operator();
            let answer = operator.delete("/workspaces/acme").await;
            refused(answer, "conflict", &["acme", "images (1)"]);
            let pulled = docker
                .get(&format!("/v2/{repository}/manifests/v1"))
                .await
                .expect(200);
            assert_eq!(pulled.body, content.manifest.bytes, "it is all there still");
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn end_with_their_keys_and_tokens() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let team = registry.team("acme").await;
            let admin = registry.api(&team.admin_key);
            let token = registry.with_key(&team.admin_key).exchanged(&[]).await;
            token.get("/v2/").await.expect(200);
            registry
                .operator()
                .delete("/workspaces/acme")
                .await
                .expect(204);
            registry.rights_known().await;
            admin.get("/whoami").await.expect_error(401, "unauthorized");
            token.get("/v2/").await.expect(401);
            registry.running.stop().await;
        }
    }
}

mod keys {
    use super::*;

    const KEYS: &str = "/workspaces/acme/api-keys";

    #[tokio::test]
    async fn are_shown_once_and_their_last_use_after_a_flush() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let team = registry.team("acme").await;
            let admin = registry.api(&team.admin_key);
            let body = json!({"name": "ci", "role": "builder", "repositories": ["app", "base/**"],
                "actions": ["push", "pull"], "expiresAt": "2026-06-01T00:00:00Z"});
            let made = admin.post(KEYS, &body).await.expect(201);
            insta::allow_duplicates! {
            insta::assert_json_snapshot!(steady(made.clone()), @r#"
            {
              "actions": [
                "pull",
                "push"
              ],
              "createdAt": "2026-01-01T00:00:00Z",
              "createdBy": "key:<id>",
              "expiresAt": "2026-06-01T00:00:00Z",
              "id": "<id>",
              "key": "<key>",
              "lastUsedAt": null,
              "name": "ci",
              "repositories": [
                "app",
                "base/**"
              ],
              "role": "builder"
            }
            "#);
            }
            let key = made["key"].as_str().unwrap();
            assert!(key.starts_with("berth_"));
            let listed = admin.get(KEYS).await.expect(200);
            assert!(!listed.to_string().contains(key), "{listed}");
            let item = |listed: &Value| {
                let items = listed["items"].as_array().unwrap().clone();
                let found = items.into_iter().find(|item| item["id"] == made["id"]);
                found.unwrap()
            };
            assert_eq!(item(&listed)["lastUsedAt"], Value::Null);
            assert_eq!(item(&listed).get("key"), None);

            registry.clock.advance(60_000);
            let whoami = registry.api(key).get("/whoami").await.expect(200);
            insta::allow_duplicates! {
            insta::assert_json_snapshot!(steady(whoami), @r#"
            {
              "account": "main",
              "accountId": "<accountId>",
              "expiresAt": "2026-06-01T00:00:00Z",
              "id": "<id>",
              "kind": "api_key",
              "repositoryPrefix": "t-acmekey/",
              "role": "builder",
              "workspace": "acme"
            }
            "#);
            }
            for server in registry.servers() {
                server.http.auth.flush_last_used().await.unwrap();
            }
            let listed = admin.get(KEYS).await.expect(200);
            assert_eq!(item(&listed)["lastUsedAt"], "2026-01-01T00:01:00Z");

            let path = format!("{KEYS}/{}", made["id"].as_str().unwrap());
            admin.delete(&path).await.expect(204);
            refused(admin.delete(&path).await, "not_found", &[]);
            registry.rights_known().await;
            registry
                .api(key)
                .get("/whoami")
                .await
                .expect_error(401, "unauthorized");
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn of_the_operator_are_somebody_without_a_workspace() {
        let registry = TestRegistry::start().await;
        let whoami = registry.operator().get("/whoami").await.expect(200);
        insta::assert_json_snapshot!(steady(whoami), @r#"
        {
          "account": null,
          "accountId": null,
          "expiresAt": null,
          "id": "<id>",
          "kind": "operator_key",
          "repositoryPrefix": null,
          "role": "operator",
          "workspace": null
        }
        "#);
    }

    #[tokio::test]
    async fn are_asked_for_with_known_words() {
        let registry = TestRegistry::start().await;
        let team = registry.team("acme").await;
        let admin = registry.api(&team.admin_key);
        let patterns: Vec<String> = (0..65).map(|number| format!("image-{number}")).collect();
        for (body, words) in [
            (json!({"role": "viewer"}), ["name"].as_slice()),
            (json!({"name": "x"}), &["role"]),
            (
                json!({"name": "x", "role": "root"}),
                &["viewer, builder, developer and admin"],
            ),
            (json!({"name": "", "role": "viewer"}), &["name", "1 to 200"]),
            (
                json!({"name": "x", "role": "viewer", "repositories": []}),
                &["repositories"],
            ),
            (
                json!({"name": "x", "role": "viewer", "repositories": ["A"]}),
                &["repositories", "\"A\""],
            ),
            (
                json!({"name": "x", "role": "viewer", "repositories": patterns}),
                &["at most 64"],
            ),
            (
                json!({"name": "x", "role": "viewer", "actions": []}),
                &["actions"],
            ),
            (
                json!({"name": "x", "role": "viewer", "actions": ["write"]}),
                &["pull, push and delete"],
            ),
            (
                json!({"name": "x", "role": "viewer", "actions": ["push"]}),
                &["viewer has pull"],
            ),
            (
                json!({"name": "x", "role": "viewer", "expiresAt": "tomorrow"}),
                &["expiresAt", "RFC 3339"],
            ),
            (
                json!({"name": "x", "role": "viewer", "expiresAt": "2025-12-31T23:59:59Z"}),
                &["still to come"],
            ),
            (
                json!({"name": "x", "role": "viewer", "scopes": ["a"]}),
                &["scopes"],
            ),
        ] {
            refused(admin.post(KEYS, &body).await, "bad_request", words);
        }
        for role in ["operator", "puller"] {
            let body = json!({"name": "x", "role": role});
            refused(admin.post(KEYS, &body).await, "forbidden", &[role]);
            let answer = registry.operator().post(KEYS, &body).await;
            refused(answer, "bad_request", &[role]);
        }
    }

    #[tokio::test]
    async fn hand_out_no_more_than_they_have() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            registry.team("acme").await;
            for role in ["viewer", "builder", "developer"] {
                let key = registry.key_of("acme", role).await;
                let answer = registry
                    .api(&key)
                    .post(KEYS, &json!({"name": "x", "role": "viewer"}))
                    .await;
                refused(answer, "forbidden", &["admin"]);
            }
            let (narrow, _) = registry
                .key_with(
                    "acme",
                    &json!({"name": "narrow", "role": "admin", "repositories": ["app/*"],
                        "actions": ["pull"], "expiresAt": "2026-02-01T00:00:00Z"}),
                )
                .await;
            let narrow = registry.api(&narrow);
            let fits = json!({"name": "fits", "role": "viewer", "repositories": ["app/web"],
                "expiresAt": "2026-01-31T00:00:00Z"});
            narrow.post(KEYS, &fits).await.expect(201);
            for (field, value, word) in [
                ("repositories", json!(["app/*", "base"]), "app/*"),
                ("repositories", Value::Null, "app/*"),
                ("repositories", json!(["app/**"]), "app/*"),
                ("role", json!("builder"), "pull"),
                ("expiresAt", json!("2026-02-02T00:00:00Z"), "2026-02-01"),
                ("expiresAt", Value::Null, "2026-02-01"),
            ] {
                let mut wider = fits.clone();
                wider[field] = value;
                refused(narrow.post(KEYS, &wider).await, "forbidden", &[word]);
            }
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn of_another_workspace_are_not_ended_by_their_id() {
        let registry = TestRegistry::start().await;
        let team = registry.team("acme").await;
        registry.team("rival").await;
        let (key, id) = registry
            .key_with("rival", &json!({"name": "x", "role": "viewer"}))
            .await;
        let admin = registry.api(&team.admin_key);
        let known = admin.delete(&format!("{KEYS}/{id}")).await;
        let unknown = admin.delete(&format!("{KEYS}/{}", uuid::Uuid::nil())).await;
        assert_eq!(known.body, unknown.body);
        refused(known, "not_found", &[]);
        registry.api(&key).get("/whoami").await.expect(200);
    }

    #[tokio::test]
    async fn act_where_they_belong_whatever_the_header_says() {
        let registry = TestRegistry::start().await;
        let team = registry.team("acme").await;
        registry.team("rival").await;
        let admin = registry.api(&team.admin_key);
        let path = "/registry/credentials";
        let own = admin.in_workspace("acme").post(path, &json!({})).await;
        assert_eq!(own.expect(200)["username"], "t-acmekey");
        for foreign in ["rival", "nobody"] {
            let answer = admin.in_workspace(foreign).post(path, &json!({})).await;
            refused(answer, "forbidden", &["\"acme\" alone"]);
        }
        let operator = registry.operator();
        let revoke = json!({"all": true});
        let path = "/registry/credentials/revoke";
        refused(
            operator.post(path, &revoke).await,
            "bad_request",
            &["X-Workspace"],
        );
        let absent = operator.in_workspace("nobody").post(path, &revoke).await;
        refused(absent, "not_found", &["nobody"]);
        operator
            .in_workspace("rival")
            .post(path, &revoke)
            .await
            .expect(204);
    }
}

mod lists {
    use super::*;

    /// Walks a list to its end; the names in their order, and the pages it took.
    async fn walk(api: &Api, path: &str, limit: usize) -> (Vec<String>, usize) {
        let (mut found, mut pages, mut next) = (Vec::new(), 0, String::new());
        loop {
            let page = api.get(&format!("{path}?limit={limit}{next}")).await;
            let page = page.expect(200);
            assert!(names(&page).len() <= limit);
            found.extend(names(&page).iter().map(ToString::to_string));
            pages += 1;
            match page["nextCursor"].as_str() {
                Some(cursor) => next = format!("&cursor={cursor}"),
                None => return (found, pages),
            }
            assert!(pages < 20, "the list never ends");
        }
    }

    #[tokio::test]
    async fn are_walked_page_by_page_without_gap_or_repeat() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let operator = registry.operator();
            for name in ["b", "a", "d", "c"] {
                let account = json!({"name": name});
                operator.post("/accounts", &account).await.expect(201);
                let workspace = json!({"name": name, "account": name});
                operator.post("/workspaces", &workspace).await.expect(201);
                let key = json!({"name": name, "role": "viewer"});
                let path = "/workspaces/main/api-keys";
                operator.post(path, &key).await.expect(201);
            }
            let all = ["a", "b", "c", "d", "main"];
            for path in ["/accounts", "/workspaces"] {
                for (limit, pages) in [(1, 5), (2, 3), (5, 1), (1000, 1)] {
                    assert_eq!(
                        walk(&operator, path, limit).await,
                        (all.map(str::to_owned).to_vec(), pages),
                        "{path} by {limit}"
                    );
                }
            }
            let (mut keys, pages) = walk(&operator, "/workspaces/main/api-keys", 2).await;
            keys.sort();
            assert_eq!(keys, ["a", "b", "c", "d", "first start"]);
            assert_eq!(pages, 3);
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn give_the_range_of_a_limit_and_know_their_cursors() {
        let registry = TestRegistry::start().await;
        let operator = registry.operator();
        operator
            .post("/accounts", &json!({"name": "a"}))
            .await
            .expect(201);
        for path in ["/accounts", "/workspaces", "/workspaces/main/api-keys"] {
            for limit in ["0", "1001", "-1", "ten", "", "99999999999999999999"] {
                let answer = operator.get(&format!("{path}?limit={limit}")).await;
                refused(answer, "bad_request", &["1 to 1000"]);
            }
            for cursor in ["", "junk", "%00", "YWNjb3VudHM", &"a".repeat(2000)] {
                let answer = operator.get(&format!("{path}?cursor={cursor}")).await;
                refused(answer, "bad_request", &["cursor"]);
            }
            let answer = operator.get(&format!("{path}?limit=1&limit=2")).await;
            refused(answer, "bad_request", &["limit"]);
        }
        let page = operator.get("/accounts?limit=1").await.expect(200);
        let cursor = page["nextCursor"].as_str().unwrap();
        operator
            .get(&format!("/accounts?cursor={cursor}"))
            .await
            .expect(200);
        for path in ["/workspaces", "/workspaces/main/api-keys"] {
            let answer = operator.get(&format!("{path}?cursor={cursor}")).await;
            refused(answer, "bad_request", &["not one of this list"]);
        }
    }
}

mod requests {
    use reqwest::Method;

    use super::*;

    #[tokio::test]
    async fn that_are_no_json_are_answered_in_the_envelope() {
        let registry = TestRegistry::start().await;
        let operator = registry.operator();
        let post = |body: &str| operator.send(Method::POST, "/accounts", Some(body.to_owned()));
        for body in [
            "{",
            "[]",
            "null",
            "\"a\"",
            "{\"name\":\"a\"}x",
            "\u{feff}{}",
        ] {
            refused(post(body).await, "bad_request", &["the body"]);
        }
        let twice = post("{\"name\":\"a\",\"name\":\"b\"}").await;
        refused(twice, "bad_request", &["name"]);
        let long = format!("{{\"name\":\"{}\"}}", "a".repeat(64 * 1024));
        post(&long).await.expect_error(413, "payload_too_large");
        let answer = operator.get("/nothing").await;
        answer.expect_error(404, "not_found");
        let answer = operator.send(Method::PUT, "/accounts", None).await;
        let allowed = answer.headers["allow"].to_str().unwrap();
        assert!(allowed.contains("GET") && allowed.contains("POST"));
        answer.expect_error(405, "bad_request");
    }

    #[tokio::test]
    async fn get_an_id_whatever_becomes_of_them() {
        let registry = TestRegistry::start().await;
        let operator = registry.operator();
        for path in ["/whoami", "/accounts/nobody", "/nothing"] {
            let answer = operator.get(path).await;
            assert_eq!(answer.headers["x-request-id"].len(), 32, "{path}");
        }
        let url = format!("{}/api/v1/whoami", registry.url(Door::Public));
        let anonymous = reqwest::get(url).await.unwrap();
        assert_eq!(anonymous.status(), 401);
        assert!(anonymous.headers().contains_key("x-request-id"));
    }
}
