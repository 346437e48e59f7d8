//! Shares inside an account, what they may not be, and their ends.

use reqwest::Method;
use serde_json::{Value, json};

use super::{APP, DAY_MS, Scene, Side, items, send};
use crate::support::database::TestDatabase;
use crate::support::distribution::Content;

#[tokio::test]
async fn a_share_inside_an_account_is_active_at_once() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let shared = scene.acme.share(APP, &scene.beta).await.expect(200);
        assert_eq!(shared["workspace"], "beta");
        assert_eq!(shared["status"], "active");
        assert_eq!(shared["alias"], APP);
        assert_eq!(shared["pendingShareId"], Value::Null);
        assert_eq!(shared["expiresAt"], Value::Null);
        assert_eq!(shared["createdAt"], "2026-01-01T00:00:00Z");
        let listed = items(&scene.acme.api, &format!("/images/{APP}/-/share")).await;
        assert_eq!(listed, std::slice::from_ref(&shared));
        let whoami = scene.acme.api.get("/whoami").await.expect(200);
        let id = whoami["id"].as_str().unwrap();
        assert_eq!(shared["sharedBy"], format!("key:{id}"));
        assert_eq!(shared["accountId"], whoami["accountId"]);
        // Whom else the owner shares it with is not for the target.
        assert_eq!(
            items(&scene.beta.api, &format!("/images/{APP}/-/share")).await,
            [] as [Value; 0]
        );
        let audited = scene.audited(&scene.acme, "share.create").await;
        assert_eq!(
            audited,
            ["t-acmekey/team/app with workspace beta as team/app "]
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn unsharing_names_the_leases_it_would_break_unless_it_is_forced() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        beta.lease("template/web", &format!("{APP}:v1"))
            .await
            .expect(200);
        let holders = acme.unshare(APP, beta).await.expect_in_use("leased");
        assert_eq!(holders, ["lease template/web"]);
        let path = format!("/images/{APP}/-/share");
        let holders = beta.api.delete(&path).await.expect_in_use("leased");
        assert_eq!(holders, ["lease template/web"]);
        beta.pull(APP, "v1").await.expect(200);
        let path = format!("/images/{APP}/-/share/beta");
        for force in ["false", "yes", ""] {
            let status = acme
                .api
                .delete(&format!("{path}?force={force}"))
                .await
                .status;
            assert_eq!(status, if force == "false" { 409 } else { 400 }, "{force}");
        }
        acme.api
            .delete(&format!("{path}?force=true"))
            .await
            .expect(200);
        beta.pull(APP, "v1").await.expect(404);
        // Own leases are no reason: the share is not theirs.
        acme.share(APP, beta).await.expect(200);
        acme.lease("own", &format!("{APP}:v1")).await.expect(200);
        beta.api.delete("/leases/template/web").await.expect(204);
        acme.unshare(APP, beta).await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_lease_that_has_ended_keeps_no_share() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let body = json!({"image": format!("{APP}:v1"), "expiresAt": "2026-01-02T00:00:00Z"});
        beta.api.put("/leases/short", &body).await.expect(200);
        scene.registry.clock.advance(DAY_MS - 1);
        acme.unshare(APP, beta).await.expect_in_use("leased");
        scene.registry.clock.advance(1);
        acme.unshare(APP, beta).await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn what_cannot_be_shared_is_refused_with_its_reason() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let path = format!("/images/{APP}/-/share");
        let to_beta = json!({"targetWorkspace": "beta"});
        for name in [
            "team/app:v1",
            "team/app@sha256:00",
            "team%2Fapp",
            "Team/app",
            "team//app",
            "app%3Av1",
        ] {
            let path = format!("/images/{name}/-/share");
            acme.api
                .post(&path, &to_beta)
                .await
                .expect_error(400, "bad_request");
        }
        let message = acme.api.post("/images/team/app:v1/-/share", &to_beta).await;
        let message = message.expect_error(400, "bad_request");
        assert!(message.contains("whole image"), "{message}");
        for (body, says) in [
            (r#"{"targetWorkspace":"acme"}"#, "own workspace"),
            (
                r#"{"targetWorkspace":"beta","tag":"v1"}"#,
                "unknown field `tag`",
            ),
            (r#"{"targetWorkspace":7}"#, "targetWorkspace: invalid type"),
            (r#"{"targetWorkspace":"beta","alias":"App"}"#, "alias: "),
            (r#"{"targetWorkspace":"beta","alias":"app:v1"}"#, "alias: "),
            (r#"{"targetWorkspace":"beta","alias":""}"#, "alias: "),
            ("{}", "missing field `targetWorkspace`"),
            ("[]", "JSON object"),
        ] {
            let answer = send(&acme.api, Method::POST, &path, body).await;
            let message = answer.expect_error(400, "bad_request");
            assert!(message.contains(says), "{body}: {message}");
        }
        for role in ["viewer", "builder", "developer"] {
            let api = acme.as_role(&scene.registry, role).await;
            api.post(&path, &to_beta)
                .await
                .expect_error(403, "forbidden");
            api.delete(&format!("{path}/beta"))
                .await
                .expect_error(403, "forbidden");
        }
        let narrow = acme.narrowed(&scene.registry, &["else"]).await;
        narrow
            .post(&path, &to_beta)
            .await
            .expect_error(403, "forbidden");
        narrow.get(&path).await.expect_error(403, "forbidden");
        let absent = acme.api.post("/images/absent/-/share", &to_beta).await;
        absent.expect_error(404, "not_found");
        acme.api
            .get("/images/absent/-/share")
            .await
            .expect_error(404, "not_found");
        acme.api
            .delete("/images/absent/-/share/beta")
            .await
            .expect_error(404, "not_found");
        // An upload alone is no image yet.
        acme.docker
            .push_blob(&acme.name("begun"), &Content::new("a blob"))
            .await
            .expect(201);
        let begun = acme.api.post("/images/begun/-/share", &to_beta).await;
        begun.expect_error(404, "not_found");

        acme.share(APP, beta).await.expect(200);
        let message = acme.share(APP, beta).await.expect_error(409, "conflict");
        assert!(message.contains("already"), "{message}");
        let other = json!({"targetWorkspace": "beta", "alias": "other"});
        acme.api
            .post(&path, &other)
            .await
            .expect_error(409, "conflict");
        scene.stop().await;
    }
}

#[tokio::test]
async fn workspaces_that_cannot_be_shared_with_all_answer_the_same() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let path = format!("/images/{APP}/-/share");
        let main = scene.acme.api.get("/whoami").await.expect(200)["accountId"].clone();
        let message = async |workspace: &str, account: Option<&str>| {
            let mut body = json!({"targetWorkspace": workspace});
            if let Some(account) = account {
                body["targetAccountId"] = json!(account);
            }
            let answer = scene.acme.api.post(&path, &body).await;
            let message = answer.expect_error(404, "not_found");
            message.replace(workspace, "<workspace>")
        };
        let absent = message("delta", None).await;
        for (workspace, account) in [
            ("gamma", None),
            ("gamma", main.as_str()),
            ("gamma", Some("nobody")),
            ("gamma", Some("")),
            ("delta", main.as_str()),
            ("delta", Some(scene.other_account.as_str())),
            ("beta", Some(scene.other_account.as_str())),
            ("acme", Some(scene.other_account.as_str())),
            ("main", Some("nobody")),
        ] {
            let said = message(workspace, account).await;
            assert_eq!(said, absent, "{workspace} {account:?}");
        }
        let body = json!({"targetWorkspace": "beta", "targetAccountId": main});
        scene.acme.api.post(&path, &body).await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn shares_are_listed_page_by_page() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let acme = &scene.acme;
        let path = format!("/images/{APP}/-/share");
        acme.share(APP, &scene.beta).await.expect(200);
        scene.registry.clock.advance(1);
        let pending = scene.offer().await;
        let first = acme.api.get(&format!("{path}?limit=1")).await.expect(200);
        assert_eq!(first["items"][0]["workspace"], "beta");
        let cursor = first["nextCursor"].as_str().unwrap();
        let second = acme
            .api
            .get(&format!("{path}?limit=1&cursor={cursor}"))
            .await;
        let second = second.expect(200);
        let row = &second["items"][0];
        assert_eq!(
            (&row["workspace"], &row["status"]),
            (&json!("gamma"), &json!("pending"))
        );
        assert_eq!(row["pendingShareId"], pending["id"]);
        assert_eq!(row["accountId"], scene.other_account);
        assert_eq!(second["nextCursor"], Value::Null);
        let viewer = acme.as_role(&scene.registry, "viewer").await;
        assert_eq!(items(&viewer, &path).await.len(), 2);
        for list in [
            "/leases",
            "/deletions",
            "/pending-image-shares",
            "/workspaces",
        ] {
            let answer = acme.api.get(&format!("{list}?cursor={cursor}")).await;
            answer.expect_error(400, "bad_request");
        }
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_workspace_goes_with_what_it_received_and_not_with_what_it_gives() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let operator = scene.registry.operator();
        acme.share(APP, beta).await.expect(200);
        scene.registry.clock.advance(1);
        scene.offer().await;
        beta.lease("template/web", &format!("{APP}:v1"))
            .await
            .expect(200);
        operator
            .delete("/workspaces/acme")
            .await
            .expect_error(409, "conflict");
        acme.pull(APP, "v1").await.expect(200);
        let image = format!("/images/{APP}");
        let holders = acme.api.delete(&image).await.expect_in_use("shared");
        assert_eq!(holders, ["workspace beta", "workspace gamma"]);
        for workspace in ["beta", "gamma"] {
            operator
                .delete(&format!("/workspaces/{workspace}"))
                .await
                .expect(204);
        }
        assert_eq!(
            items(&acme.api, &format!("{image}/-/share")).await,
            [] as [Value; 0]
        );
        // Its leases went too: nobody could end them any more.
        acme.api.delete(&image).await.expect(200);
        operator.delete("/workspaces/acme").await.expect(204);
        assert_eq!(
            scene.registry.number("SELECT COUNT(*) FROM shares").await,
            0
        );
        assert_eq!(
            scene.registry.number("SELECT COUNT(*) FROM leases").await,
            0
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_workspace_gives_so_many_shares_and_no_more() {
    for database in TestDatabase::available() {
        let scene =
            Scene::set_with(database, |config| config.images.shares_per_workspace = 1).await;
        let (acme, beta): (&Side, &Side) = (&scene.acme, &scene.beta);
        scene.offer().await;
        let message = acme.share(APP, beta).await.expect_error(409, "conflict");
        assert!(
            message.contains("1 shares, which is the limit"),
            "{message}"
        );
        // What has expired is none any more, whether or not its row is still there.
        scene.registry.clock.advance(7 * DAY_MS);
        acme.share(APP, beta).await.expect(200);
        scene.stop().await;
    }
}
