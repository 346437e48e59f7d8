//! Shares with another account: they wait until somebody there accepts them.

use reqwest::Method;
use serde_json::{Value, json};

use super::{APP, DAY_MS, Scene, Side, items, send};
use crate::support::calls::Answer;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, image};

const PENDING: &str = "/pending-image-shares";
const OUTGOING: &str = "/pending-image-shares?direction=outgoing";
const NOTHING: [Value; 0] = [];

fn path(share: &Value, end: &str) -> String {
    format!("{PENDING}/{}/{end}", share["id"].as_str().unwrap())
}

async fn accept(side: &Side, share: &Value) -> Answer {
    side.api.post(&path(share, "accept"), &json!({})).await
}

async fn decline(side: &Side, share: &Value) -> Answer {
    side.api
        .send(Method::POST, &path(share, "decline"), None)
        .await
}

#[tokio::test]
async fn a_share_with_another_account_waits_until_it_is_accepted() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, gamma) = (&scene.acme, &scene.gamma);
        let share = scene.offer().await;
        let main = acme.api.get("/whoami").await.expect(200);
        let id = &share["id"];
        let mut expected = json!({
            "id": id,
            "imageName": APP,
            "alias": APP,
            "sourceWorkspace": "acme",
            "sourceAccountId": main["accountId"],
            "targetWorkspace": "gamma",
            "targetAccountId": scene.other_account,
            "sharedBy": format!("key:{}", main["id"].as_str().unwrap()),
            "createdAt": "2026-01-01T00:00:00Z",
            "expiresAt": "2026-01-08T00:00:00Z",
        });
        assert_eq!(share, expected);
        assert_eq!(items(&acme.api, OUTGOING).await, [expected.clone()]);
        assert_eq!(items(&acme.api, PENDING).await, NOTHING);
        expected["hasConflict"] = json!(false);
        let viewer = gamma.as_role(&scene.registry, "viewer").await;
        assert_eq!(items(&viewer, PENDING).await, [expected.clone()]);
        assert_eq!(
            items(&gamma.api, &format!("{PENDING}?direction=incoming")).await,
            [expected]
        );
        assert_eq!(items(&gamma.api, OUTGOING).await, NOTHING);
        gamma.pull(APP, "v1").await.expect(404);
        let catalogue = gamma.docker.get("/v2/_catalog").await.expect(200);
        assert_eq!(catalogue.json()["repositories"], json!([]));
        // It keeps the image all the same.
        let image = format!("/images/{APP}");
        let holders = acme.api.delete(&image).await.expect_in_use("shared");
        assert_eq!(holders, ["workspace gamma"]);

        let accepted = gamma
            .api
            .send(Method::POST, &path(&share, "accept"), None)
            .await;
        let accepted = accepted.expect(200);
        assert_eq!(
            (&accepted["status"], &accepted["alias"]),
            (&json!("active"), &json!(APP))
        );
        assert_eq!(accepted["pendingShareId"], Value::Null);
        let pulled = gamma.pull(APP, "v1").await.expect(200);
        assert_eq!(pulled.body, scene.content.manifest.bytes);
        assert_eq!(items(&acme.api, OUTGOING).await, NOTHING);
        assert_eq!(items(&gamma.api, PENDING).await, NOTHING);
        let listed = items(&acme.api, &format!("/images/{APP}/-/share")).await;
        assert_eq!(listed, [accepted]);

        let message = accept(gamma, &share).await.expect_error(409, "conflict");
        assert!(message.contains("accepted already"), "{message}");
        decline(gamma, &share).await.expect_error(404, "not_found");
        gamma.pull(APP, "v1").await.expect(200);
        // It does not expire any more.
        scene.registry.clock.advance(30 * DAY_MS);
        scene.collect().await;
        gamma.pull(APP, "v1").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn what_was_declined_or_withdrawn_is_gone_for_both() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, gamma) = (&scene.acme, &scene.gamma);
        let declined = scene.offer().await;
        decline(gamma, &declined).await.expect(204);
        let withdrawn = scene.offer().await;
        let ended = acme.unshare(APP, gamma).await.expect(200);
        assert_eq!(
            (&ended["status"], &ended["pendingShareId"]),
            (&json!("pending"), &withdrawn["id"])
        );
        for share in [&declined, &withdrawn] {
            accept(gamma, share).await.expect_error(404, "not_found");
            decline(gamma, share).await.expect_error(404, "not_found");
        }
        acme.unshare(APP, gamma)
            .await
            .expect_error(404, "not_found");
        assert_eq!(items(&acme.api, OUTGOING).await, NOTHING);
        assert_eq!(items(&gamma.api, PENDING).await, NOTHING);
        gamma.pull(APP, "v1").await.expect(404);
        assert_eq!(scene.audited(gamma, "share.decline").await.len(), 1);
        acme.api.delete(&format!("/images/{APP}")).await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_pending_share_is_withdrawn_whatever_the_target_leased_before() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, gamma) = (&scene.acme, &scene.gamma);
        let share = scene.offer().await;
        accept(gamma, &share).await.expect(200);
        gamma.lease("web", &format!("{APP}:v1")).await.expect(200);
        acme.unshare(APP, gamma).await.expect_in_use("leased");
        let forced = format!("/images/{APP}/-/share/gamma?force=true");
        acme.api.delete(&forced).await.expect(200);
        scene.offer().await;
        acme.unshare(APP, gamma).await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_push_that_was_never_finished_is_in_nobodys_way() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (beta, gamma) = (&scene.beta, &scene.gamma);
        let blob = Content::new("pushed, and never needed");
        for side in [beta, gamma] {
            let pushed = side.docker.push_blob(&side.name(APP), &blob).await;
            pushed.expect(201);
        }
        let share = scene.offer().await;
        assert_eq!(items(&gamma.api, PENDING).await[0]["hasConflict"], false);
        accept(gamma, &share).await.expect(200);
        scene.acme.share(APP, beta).await.expect(200);
        for side in [beta, gamma] {
            let pulled = side.pull(APP, "v1").await.expect(200);
            assert_eq!(pulled.body, scene.content.manifest.bytes);
            let path = format!("/v2/{}/blobs/{}", side.name(APP), blob.digest);
            side.docker.get(&path).await.expect(404);
        }
        scene.collect().await;
        let left = "SELECT COUNT(*) FROM repositories WHERE deletion_id IS NOT NULL";
        assert_eq!(scene.registry.number(left).await, 0);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_share_that_nobody_accepts_expires() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, gamma) = (&scene.acme, &scene.gamma);
        let share = scene.offer().await;
        scene.registry.clock.advance(7 * DAY_MS - 1);
        assert_eq!(items(&gamma.api, PENDING).await.len(), 1);
        scene.registry.clock.advance(1);
        assert_eq!(items(&gamma.api, PENDING).await, NOTHING);
        assert_eq!(items(&acme.api, OUTGOING).await, NOTHING);
        assert_eq!(
            items(&acme.api, &format!("/images/{APP}/-/share")).await,
            NOTHING
        );
        let message = accept(gamma, &share).await.expect_error(410, "gone");
        assert!(message.contains("2026-01-08T00:00:00Z"), "{message}");
        acme.unshare(APP, gamma)
            .await
            .expect_error(404, "not_found");
        scene.collect().await;
        accept(gamma, &share).await.expect_error(410, "gone");

        // The same image can be shared once more, and the earlier id stays what it was.
        let again = scene.offer().await;
        accept(gamma, &share).await.expect_error(404, "not_found");
        decline(gamma, &again).await.expect(204);
        // An expired one keeps nothing.
        let third = scene.offer().await;
        scene.registry.clock.advance(7 * DAY_MS);
        acme.api.delete(&format!("/images/{APP}")).await.expect(200);
        accept(gamma, &third).await.expect_error(410, "gone");
        scene.registry.clock.advance(31 * DAY_MS);
        scene.collect().await;
        accept(gamma, &third).await.expect_error(404, "not_found");
        assert_eq!(
            scene.registry.number("SELECT COUNT(*) FROM shares").await,
            0
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_conflict_of_names_is_told_to_the_target_alone_and_judged_when_it_accepts() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, gamma) = (&scene.acme, &scene.gamma);
        let own = image().layer("their own").build();
        gamma.push(APP, "v1", &own).await;
        let share = scene.offer().await;
        assert_eq!(share.get("hasConflict"), None);
        assert_eq!(items(&acme.api, OUTGOING).await[0].get("hasConflict"), None);
        assert_eq!(items(&gamma.api, PENDING).await[0]["hasConflict"], true);
        let message = accept(gamma, &share).await.expect_error(409, "conflict");
        assert!(message.contains("another alias"), "{message}");
        assert_eq!(items(&gamma.api, PENDING).await.len(), 1);
        let body = json!({"alias": "from/acme"});
        let accepted = gamma
            .api
            .post(&path(&share, "accept"), &body)
            .await
            .expect(200);
        assert_eq!(accepted["alias"], "from/acme");
        let pulled = gamma.pull("from/acme", "v1").await.expect(200);
        assert_eq!(pulled.body, scene.content.manifest.bytes);
        assert_eq!(
            gamma.pull(APP, "v1").await.expect(200).body,
            own.manifest.bytes
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn only_admins_of_the_target_accept_and_decline() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta, gamma) = (&scene.acme, &scene.beta, &scene.gamma);
        let share = scene.offer().await;
        for end in ["accept", "decline"] {
            let path = path(&share, end);
            for role in ["viewer", "builder", "developer"] {
                let api = gamma.as_role(&scene.registry, role).await;
                api.post(&path, &json!({}))
                    .await
                    .expect_error(403, "forbidden");
            }
            let narrow = gamma.narrowed(&scene.registry, &["else/*"]).await;
            narrow
                .post(&path, &json!({}))
                .await
                .expect_error(403, "forbidden");
            let message = acme.api.post(&path, &json!({})).await;
            let message = message.expect_error(403, "forbidden");
            assert!(message.contains("gamma"), "{message}");
            let foreign = beta.api.post(&path, &json!({})).await;
            let foreign = foreign.expect_error(404, "not_found");
            let id = share["id"].as_str().unwrap();
            let ghost = "0".repeat(id.len());
            let absent = beta.api.post(&path.replace(id, &ghost), &json!({})).await;
            let absent = absent.expect_error(404, "not_found");
            assert_eq!(foreign.replace(id, "<id>"), absent.replace(&ghost, "<id>"));
        }
        // A narrowed key takes it under a name that it reaches.
        let narrow = gamma.narrowed(&scene.registry, &["else/*"]).await;
        let body = json!({"alias": "else/app"});
        narrow
            .post(&path(&share, "accept"), &body)
            .await
            .expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn requests_about_pending_shares_that_are_none_are_refused() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, gamma) = (&scene.acme, &scene.gamma);
        let share = scene.offer().await;
        for (body, says) in [
            (r#"{"alias":"App"}"#, "alias: "),
            (r#"{"alias":7}"#, "alias: "),
            (r#"{"alias":"app:v1"}"#, "alias: "),
            (r#"{"name":"app"}"#, "unknown field `name`"),
            ("[]", "JSON object"),
        ] {
            let answer = send(&gamma.api, Method::POST, &path(&share, "accept"), body).await;
            let message = answer.expect_error(400, "bad_request");
            assert!(message.contains(says), "{body}: {message}");
        }
        for query in [
            "direction=both",
            "direction=",
            "limit=0",
            "limit=1001",
            "cursor=x",
        ] {
            let answer = gamma.api.get(&format!("{PENDING}?{query}")).await;
            answer.expect_error(400, "bad_request");
        }
        acme.push("second", "v1", &image().layer("another").build())
            .await;
        let body = json!({"targetWorkspace": "gamma", "targetAccountId": scene.other_account});
        scene.registry.clock.advance(1);
        let second = acme
            .api
            .post("/images/second/-/share", &body)
            .await
            .expect(202);
        for (api, list, other) in [
            (&gamma.api, "incoming", "outgoing"),
            (&acme.api, "outgoing", "incoming"),
        ] {
            let first = format!("{PENDING}?direction={list}&limit=1");
            let page = api.get(&first).await.expect(200);
            assert_eq!(page["items"][0]["id"], share["id"]);
            let cursor = page["nextCursor"].as_str().unwrap();
            let page = api
                .get(&format!("{first}&cursor={cursor}"))
                .await
                .expect(200);
            assert_eq!(page["items"][0]["id"], second["id"]);
            assert_eq!(page["nextCursor"], Value::Null);
            let foreign = format!("{PENDING}?direction={other}&cursor={cursor}");
            api.get(&foreign).await.expect_error(400, "bad_request");
        }
        scene.stop().await;
    }
}
