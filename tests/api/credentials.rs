//! Registry credentials: what they say, what they may be asked for, and what ends them.

use berth::http::Door;
use serde_json::{Value, json};

use crate::support::TestRegistry;
use crate::support::calls::{Answer, Api};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login};

const PATH: &str = "/registry/credentials";
const REVOKE: &str = "/registry/credentials/revoke";
const HOUR_MS: i64 = 3_600_000;

fn text(data: &Value, field: &str) -> String {
    data[field].as_str().unwrap().to_owned()
}

async fn issue(api: &Api, body: Value) -> Value {
    api.post(PATH, &body).await.expect(200)
}

fn login(issued: &Value) -> Login {
    Login::Basic(text(issued, "username"), text(issued, "password"))
}

#[track_caller]
fn refused(answer: Answer, status: u16, words: &[&str]) {
    let code = match status {
        400 => "bad_request",
        403 => "forbidden",
        _ => "not_found",
    };
    let message = answer.expect_error(status, code);
    for word in words {
        assert!(message.contains(word), "{message}");
    }
}

/// The data without what is drawn at random or given by the system.
fn steady(mut issued: Value, registry: &TestRegistry) -> Value {
    assert_eq!(text(&issued, "password").split('.').count(), 3);
    assert_eq!(text(&issued, "credentialId").len(), 32);
    issued["password"] = json!("<jwt>");
    issued["credentialId"] = json!("<id>");
    let text = issued.to_string();
    let text = text.replace(&registry.host(Door::Public), "push.example:5000");
    serde_json::from_str(&text).unwrap()
}

mod issued {
    use super::*;

    #[tokio::test]
    async fn say_where_to_push_and_pull_and_until_when() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let team = registry.team("acme").await;
            let admin = registry.api(&team.admin_key);
            let plain = issue(&admin, json!({})).await;
            insta::allow_duplicates! {
            insta::assert_json_snapshot!(steady(plain, &registry), @r#"
            {
              "credentialId": "<id>",
              "expiresAt": "2026-01-01T01:00:00Z",
              "password": "<jwt>",
              "provider": "builtin",
              "pullRegistry": "push.example:5000/t-acmekey",
              "pushRegistry": "push.example:5000/t-acmekey",
              "username": "t-acmekey"
            }
            "#);
            }
            let body = json!({"targetImage": "my-app:v1", "expiresInSeconds": 60});
            let targeted = issue(&admin, body).await;
            insta::allow_duplicates! {
            insta::assert_json_snapshot!(steady(targeted, &registry), @r#"
            {
              "credentialId": "<id>",
              "expiresAt": "2026-01-01T00:01:00Z",
              "password": "<jwt>",
              "provider": "builtin",
              "pullImage": "push.example:5000/t-acmekey/my-app:v1",
              "pullRegistry": "push.example:5000/t-acmekey",
              "pushImage": "push.example:5000/t-acmekey/my-app:v1",
              "pushRegistry": "push.example:5000/t-acmekey",
              "username": "t-acmekey"
            }
            "#);
            }
            let empty = admin.send(reqwest::Method::POST, PATH, None).await;
            assert_eq!(text(&empty.expect(200), "username"), "t-acmekey");
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn name_the_configured_hosts() {
        let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.server.public_url = Some("https://push.example".parse().unwrap());
            config.server.pull_url = Some("http://pull.example:5001".parse().unwrap());
        })
        .await;
        let admin = registry.api(&registry.main_key());
        let issued = issue(
            &admin,
            json!({"targetImage": "pull.example:5001/t-main/app"}),
        )
        .await;
        insta::assert_json_snapshot!(steady(issued, &registry), @r#"
        {
          "credentialId": "<id>",
          "expiresAt": "2026-01-01T01:00:00Z",
          "password": "<jwt>",
          "provider": "builtin",
          "pullImage": "pull.example:5001/t-main/app",
          "pullRegistry": "pull.example:5001/t-main",
          "pushImage": "push.example/t-main/app",
          "pushRegistry": "push.example/t-main",
          "username": "t-main"
        }
        "#);
    }

    #[tokio::test]
    async fn reach_their_target_and_nothing_else() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            let team = registry.team("acme").await;
            let admin = registry.api(&team.admin_key);
            let body = json!({"targetImage": "team/app:v1"});
            let narrowed = login(&issue(&admin, body).await);
            let docker = registry.distribution(Door::Public, narrowed);
            let blob = Content::new("bytes");
            docker
                .push_blob("t-acmekey/team/app", &blob)
                .await
                .expect(201);
            let refusal = docker.push_blob("t-acmekey/team", &blob).await.expect(403);
            assert!(refusal.text().contains("t-acmekey/team/app"));
            let path = format!("/v2/t-acmekey/team/app/blobs/{}", blob.digest);
            let refusal = docker.delete(&path).await.expect(403);
            assert!(refusal.text().contains("DENIED"), "delete is asked for");
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn go_with_the_user_name_that_they_were_given() {
        let registry = TestRegistry::start().await;
        let issued = issue(&registry.api(&registry.main_key()), json!({})).await;
        for user in ["", "main", "t-other"] {
            let wrong = Login::Basic(user.to_owned(), text(&issued, "password"));
            let docker = registry.distribution(Door::Public, wrong);
            docker.get("/v2/").await.expect(401);
            docker.token_reply(&[]).await.expect(401);
        }
        let docker = registry.distribution(Door::Public, login(&issued));
        docker.get("/v2/").await.expect(200);
    }
}

mod requests {
    use super::*;

    #[tokio::test]
    async fn name_a_target_of_their_own_team() {
        let registry = TestRegistry::start().await;
        let team = registry.team("acme").await;
        let admin = registry.api(&team.admin_key);
        let host = registry.host(Door::Public);
        for (target, repository) in [
            ("my-app:v1", "my-app:v1"),
            ("my-app", "my-app"),
            ("team/my-app:v1", "team/my-app:v1"),
            ("t-acmekey/my-app:v1", "my-app:v1"),
            (&format!("{host}/t-acmekey/my-app:v1"), "my-app:v1"),
            (&format!("{host}/my-app:v1"), "my-app:v1"),
        ] {
            let issued = issue(&admin, json!({"targetImage": target})).await;
            let expected = format!("{host}/t-acmekey/{repository}");
            assert_eq!(issued["pushImage"], json!(expected), "{target}");
            assert_eq!(issued["pullImage"], json!(expected), "{target}");
        }
        for (target, word) in [
            ("t-rivalkey/my-app:v1", "another team"),
            (&format!("{host}/t-rivalkey/my-app"), "another team"),
            (
                "docker.io/library/my-app",
                "\"docker.io\" is another registry",
            ),
            ("localhost:1/my-app", "another registry"),
            ("my-app@sha256:0123", "digest"),
            ("My-App", "is no image name"),
            ("my-app:-v1", "is no tag"),
            ("t-acmekey", "names no image"),
            ("t-acmekey/", "is no image name"),
            ("", "1 to 1024"),
            (&"a/".repeat(600), "1 to 1024"),
        ] {
            let answer = admin.post(PATH, &json!({"targetImage": target})).await;
            refused(answer, 400, &["targetImage: ", word]);
        }
    }

    #[tokio::test]
    async fn keep_to_the_bounds_of_time_and_role() {
        let registry = TestRegistry::start().await;
        registry.team("acme").await;
        let viewer = registry.api(&registry.key_of("acme", "viewer").await);
        for (seconds, end) in [(60, "00:01:00"), (43_200, "12:00:00")] {
            let issued = issue(&viewer, json!({"expiresInSeconds": seconds})).await;
            assert_eq!(issued["expiresAt"], json!(format!("2026-01-01T{end}Z")));
        }
        for seconds in [59, 43_201, 0, -1] {
            let answer = viewer
                .post(PATH, &json!({"expiresInSeconds": seconds}))
                .await;
            refused(answer, 400, &["from 60 to 43200"]);
        }
        for action in ["push", "delete"] {
            let answer = viewer.post(PATH, &json!({"actions": [action]})).await;
            refused(answer, 403, &[action]);
        }
        refused(
            viewer.post(PATH, &json!({"actions": ["own"]})).await,
            400,
            &["actions"],
        );
        refused(
            viewer.post(PATH, &json!({"actions": []})).await,
            400,
            &["at least one"],
        );
        let answer = viewer.post(PATH, &json!({"target": "my-app"})).await;
        refused(answer, 400, &["target"]);
        let (ending, _) = registry
            .key_with(
                "acme",
                &json!({"name": "ending", "role": "viewer", "expiresAt": "2026-01-01T00:10:00Z"}),
            )
            .await;
        let issued = issue(&registry.api(&ending), json!({})).await;
        assert_eq!(
            issued["expiresAt"], "2026-01-01T00:10:00Z",
            "never past the key's end"
        );
        let answer = registry
            .operator()
            .in_workspace("acme")
            .post(PATH, &json!({}))
            .await;
        refused(answer, 403, &["operator key neither pulls nor pushes"]);
    }
}

mod ended {
    use super::*;

    struct Access {
        credential: Distribution,
        token: Distribution,
    }

    async fn access(registry: &TestRegistry, issued: &Value) -> Access {
        let credential = registry.distribution(Door::Public, login(issued));
        let token = credential.exchanged(&["registry:catalog:*"]).await;
        let access = Access { credential, token };
        access.expect(200).await;
        access
    }

    impl Access {
        async fn expect(&self, status: u16) {
            self.credential.get("/v2/_catalog").await.expect(status);
            self.token.get("/v2/_catalog").await.expect(status);
            self.credential.token_reply(&[]).await.expect(status);
        }
    }

    #[tokio::test]
    async fn by_their_id_their_key_or_all_at_once() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            registry.team("acme").await;
            let admin = registry.api(&registry.key_of("acme", "admin").await);
            let (key, id) = registry
                .key_with("acme", &json!({"name": "ci", "role": "builder"}))
                .await;
            let builder = registry.api(&key);
            let first = issue(&builder, json!({})).await;
            let first_access = access(&registry, &first).await;
            let second = access(&registry, &issue(&builder, json!({})).await).await;
            let own = access(&registry, &issue(&admin, json!({})).await).await;

            let by_id = json!({"credentialId": first["credentialId"]});
            refused(builder.post(REVOKE, &by_id).await, 403, &["admin"]);
            first_access.expect(200).await;
            admin.post(REVOKE, &by_id).await.expect(204);
            admin.post(REVOKE, &by_id).await.expect(204);
            registry.rights_known().await;
            first_access.expect(401).await;
            second.expect(200).await;

            admin
                .post(REVOKE, &json!({"apiKeyId": id}))
                .await
                .expect(204);
            registry.rights_known().await;
            second.expect(401).await;
            own.expect(200).await;
            let third = access(&registry, &issue(&builder, json!({})).await).await;

            admin.post(REVOKE, &json!({"all": true})).await.expect(204);
            registry.rights_known().await;
            third.expect(401).await;
            own.expect(401).await;
            access(&registry, &issue(&builder, json!({})).await).await;
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn by_one_name_at_a_time_that_is_known_here() {
        let registry = TestRegistry::start().await;
        registry.team("acme").await;
        registry.team("rival").await;
        let admin = registry.api(&registry.key_of("acme", "admin").await);
        let (_, foreign) = registry
            .key_with("rival", &json!({"name": "x", "role": "viewer"}))
            .await;
        for body in [
            json!({}),
            json!({"all": false}),
            json!({"all": true, "apiKeyId": foreign}),
            json!({"credentialId": "short"}),
        ] {
            refused(admin.post(REVOKE, &body).await, 400, &[]);
        }
        let answer = admin.post(REVOKE, &json!({"everything": true})).await;
        refused(answer, 400, &["everything"]);
        let answer = admin.post(REVOKE, &json!({"apiKeyId": foreign})).await;
        refused(answer, 404, &["no such API key"]);
    }

    #[tokio::test]
    async fn by_time_and_their_tokens_with_them() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            registry.team("acme").await;
            let admin = registry.api(&registry.key_of("acme", "admin").await);
            let issued = issue(&admin, json!({})).await;
            let access = access(&registry, &issued).await;
            registry.clock.advance(5 * 60_000 - 1);
            access.token.get("/v2/").await.expect(200);
            registry.clock.advance(1);
            let ended = access.token.get("/v2/").await.expect(401);
            assert!(
                ended
                    .header("www-authenticate")
                    .contains("error=\"invalid_token\"")
            );
            assert!(ended.text().contains("expired"), "{}", ended.text());
            access.credential.get("/v2/").await.expect(200);
            registry.clock.advance(HOUR_MS);
            let ended = access.credential.get("/v2/").await.expect(401);
            assert!(ended.text().contains("expired"), "{}", ended.text());
            access.credential.token_reply(&[]).await.expect(401);
            registry.running.stop().await;
        }
    }

    #[tokio::test]
    async fn with_the_key_that_asked_for_them() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            registry.team("acme").await;
            let (key, id) = registry
                .key_with("acme", &json!({"name": "ci", "role": "builder"}))
                .await;
            let access = access(&registry, &issue(&registry.api(&key), json!({})).await).await;
            let by_key = registry.with_key(&key).exchanged(&[]).await;
            registry
                .operator()
                .delete(&format!("/workspaces/acme/api-keys/{id}"))
                .await
                .expect(204);
            registry.rights_known().await;
            access.expect(401).await;
            by_key.get("/v2/").await.expect(401);
            registry.with_key(&key).get("/v2/").await.expect(401);
            registry.running.stop().await;
        }
    }
}
