//! Shares inside an account, the aliases they make, and their ends.

use std::time::{Duration, Instant};

use berth::http::Door;
use reqwest::Method;
use serde_json::{Value, json};

use super::{APP, DAY_MS, Scene, Side, denied, items, send};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login, Reply, image};

/// How long a share may work at another replica after it has ended: what the contract promises.
const LIMIT: Duration = Duration::from_secs(5);

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
        assert_eq!(listed, [shared.clone()]);
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

/// Pulls everything there is of the image by its alias.
async fn pull_all(scene: &Scene, docker: &Distribution, alias: &str) {
    let name = scene.beta.name(alias);
    let manifest = &scene.content.manifest;
    for reference in ["v1", &manifest.digest] {
        let path = format!("/v2/{name}/manifests/{reference}");
        let pulled = docker.get(&path).await.expect(200);
        assert_eq!(pulled.body, manifest.bytes);
        assert_eq!(pulled.header("docker-content-digest"), manifest.digest);
        let seen = docker.head(&path).await.expect(200);
        assert_eq!(seen.header("docker-content-digest"), manifest.digest);
    }
    for blob in std::iter::once(&scene.content.config).chain(&scene.content.layers) {
        let path = format!("/v2/{name}/blobs/{}", blob.digest);
        assert_eq!(docker.get(&path).await.expect(200).body, blob.bytes);
        docker.head(&path).await.expect(200);
    }
    let tags = docker.get(&format!("/v2/{name}/tags/list")).await;
    assert_eq!(tags.expect(200).json()["name"], name);
}

#[tokio::test]
async fn an_alias_is_read_like_the_source_by_whoever_may_pull() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let body = json!({"targetWorkspace": "beta", "alias": "from/acme"});
        let path = format!("/images/{APP}/-/share");
        let shared = acme.api.post(&path, &body).await.expect(200);
        assert_eq!(shared["alias"], "from/acme");
        let name = beta.name("from/acme");
        let viewer = scene.registry.key_of("beta", "viewer").await;
        let credential = beta.docker.with(beta.credential(&json!({})).await);
        let scope = format!("repository:{name}:pull");
        let token = credential.exchanged(&[&scope]).await;
        for docker in [
            &beta.docker,
            &scene.registry.with_key(&viewer),
            &credential,
            &token,
        ] {
            pull_all(&scene, docker, "from/acme").await;
        }
        // It has no other name there.
        beta.pull(APP, "v1").await.expect(404);
        // Nor has anybody else one.
        let refused = scene
            .gamma
            .docker
            .get(&beta.manifest("from/acme", "v1"))
            .await;
        assert!(matches!(refused.status, 401 | 403), "{refused:?}");

        let second = image()
            .layer("version two")
            .subject(&scene.content.manifest)
            .build();
        acme.push(APP, "v2", &second).await;
        let tags = beta.docker.get(&format!("/v2/{name}/tags/list")).await;
        assert_eq!(tags.expect(200).json()["tags"], json!(["v1", "v2"]));
        let pulled = beta.pull("from/acme", "v2").await.expect(200);
        assert_eq!(pulled.body, second.manifest.bytes);
        let subject = &scene.content.manifest.digest;
        let referrers = beta
            .docker
            .get(&format!("/v2/{name}/referrers/{subject}"))
            .await;
        let referrers = referrers.expect(200).json();
        assert_eq!(referrers["manifests"][0]["digest"], second.manifest.digest);
        let own = image().layer("their own").build();
        beta.push("own", "v1", &own).await;
        let catalogue = beta.docker.get("/v2/_catalog").await.expect(200).json();
        assert_eq!(catalogue["repositories"], json!([name, beta.name("own")]));
        scene.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_pushed_to_or_deleted_from_an_alias() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let name = beta.name(APP);
        let early = beta.docker.open_upload(&name).await;
        acme.share(APP, beta).await.expect(200);
        let index = Content::empty_index("theirs");
        let uploads = format!("/v2/{name}/blobs/uploads/");
        let layer = &scene.content.layers[0].digest;
        let digest = &scene.content.manifest.digest;
        let request = |method: Method, path: &str| Reply::of(beta.docker.request(method, path));
        let put = format!("{early}?digest={}", Content::new("").digest);
        for reply in [
            beta.docker.put_manifest(&name, "v2", &index).await,
            beta.docker
                .put_manifest(&name, "v1", &scene.content.manifest)
                .await,
            beta.docker.put_manifest(&name, &index.digest, &index).await,
            request(Method::POST, &uploads).await,
            beta.docker.push_blob(&name, &Content::new("a blob")).await,
            request(
                Method::POST,
                &format!("{uploads}?mount={layer}&from={name}"),
            )
            .await,
            request(Method::PUT, &put).await,
            beta.docker.delete(&beta.manifest(APP, "v1")).await,
            beta.docker.delete(&beta.manifest(APP, digest)).await,
            beta.docker
                .delete(&format!("/v2/{name}/blobs/{layer}"))
                .await,
        ] {
            let message = denied(&reply);
            assert!(message.contains("t-acmekey/team/app"), "{message}");
        }
        for path in [
            format!("/images/{APP}"),
            format!("/images/{APP}/-/tags/v1"),
            format!("/images/{APP}/-/manifests/{digest}"),
        ] {
            let message = beta.api.delete(&path).await.expect_error(403, "forbidden");
            assert!(message.contains("t-acmekey/team/app"), "{message}");
        }
        acme.pull(APP, "v1").await.expect(200);
        acme.pull(APP, "v2").await.expect(404);
        scene.stop().await;
    }
}

#[tokio::test]
async fn a_blob_that_was_mounted_from_an_alias_stays_after_the_share() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let layer = &scene.content.layers[0];
        let path = format!(
            "/v2/{}/blobs/uploads/?mount={}&from={}",
            beta.name("mine"),
            layer.digest,
            beta.name(APP)
        );
        let mounted = Reply::of(beta.docker.request(Method::POST, &path)).await;
        mounted.expect(201);
        acme.unshare(APP, beta).await.expect(200);
        let kept = format!("/v2/{}/blobs/{}", beta.name("mine"), layer.digest);
        assert_eq!(beta.docker.get(&kept).await.expect(200).body, layer.bytes);
        // From an alias that is gone nothing is mounted: it is an ordinary upload.
        let path = path.replace("mine", "next");
        let upload = Reply::of(beta.docker.request(Method::POST, &path)).await;
        upload.expect(202);
        scene.stop().await;
    }
}

#[tokio::test]
async fn after_unsharing_the_next_pull_finds_nothing() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let name = beta.name(APP);
        let credential = beta.docker.with(beta.credential(&json!({})).await);
        let token = credential
            .exchanged(&[&format!("repository:{name}:pull")])
            .await;
        let digest = &scene.content.manifest.digest;
        let layer = &scene.content.layers[0].digest;
        let paths = [
            beta.manifest(APP, "v1"),
            beta.manifest(APP, digest),
            format!("/v2/{name}/blobs/{layer}"),
            format!("/v2/{name}/tags/list"),
        ];
        for path in &paths {
            token.get(path).await.expect(200);
        }
        let ended = acme.unshare(APP, beta).await.expect(200);
        assert_eq!(
            (&ended["workspace"], &ended["status"]),
            (&json!("beta"), &json!("active"))
        );
        for docker in [&beta.docker, &credential, &token] {
            for path in &paths {
                docker.get(path).await.expect(404);
            }
        }
        let catalogue = beta.docker.get("/v2/_catalog").await.expect(200);
        assert_eq!(catalogue.json()["repositories"], json!([]));
        let message = acme.unshare(APP, beta).await.expect_error(404, "not_found");
        assert!(message.contains("beta"), "{message}");
        let audited = scene.audited(acme, "share.end").await;
        assert_eq!(audited.len(), 1, "{audited:?}");
        // The name is free, and the image can be shared once more.
        beta.push(APP, "v1", &image().layer("their own").build())
            .await;
        acme.share(APP, beta).await.expect_error(409, "conflict");
        acme.pull(APP, "v1").await.expect(200);
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_ended_share_ends_at_another_replica_within_five_seconds() {
    if !TestDatabase::available().contains(&TestDatabase::Postgres) {
        return;
    }
    let scene = Scene::set(TestDatabase::Postgres).await;
    let second = scene.registry.replica().await;
    scene.acme.share(APP, &scene.beta).await.expect(200);
    let there = second.distribution(Door::Public, Login::key(&scene.beta.team.admin_key));
    let token = there
        .exchanged(&[&format!("repository:{}:pull", scene.beta.name(APP))])
        .await;
    let path = scene.beta.manifest(APP, "v1");
    for docker in [&there, &token] {
        docker.get(&path).await.expect(200);
    }
    scene.acme.unshare(APP, &scene.beta).await.expect(200);
    let since = Instant::now();
    for docker in [&there, &token] {
        while docker.get(&path).await.status != 404 {
            assert!(since.elapsed() < LIMIT, "it still pulls");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    second.running.stop().await;
    scene.stop().await;
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
async fn the_target_drops_an_alias() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let path = format!("/images/{APP}/-/share");
        let developer = beta.as_role(&scene.registry, "developer").await;
        developer.delete(&path).await.expect_error(403, "forbidden");
        let narrow = beta.narrowed(&scene.registry, &["else"]).await;
        narrow.delete(&path).await.expect_error(403, "forbidden");
        let dropped = beta.api.delete(&path).await.expect(200);
        assert_eq!(
            (&dropped["workspace"], &dropped["alias"]),
            (&json!("beta"), &json!(APP))
        );
        beta.pull(APP, "v1").await.expect(404);
        assert_eq!(items(&acme.api, &path).await, [] as [Value; 0]);
        beta.api.delete(&path).await.expect_error(404, "not_found");
        let message = acme.api.delete(&path).await.expect_error(404, "not_found");
        assert!(message.contains("not shared to it"), "{message}");
        acme.pull(APP, "v1").await.expect(200);
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
async fn an_alias_takes_no_name_that_stands_for_something() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        let theirs = image().layer("their own").build();
        beta.push(APP, "v1", &theirs).await;
        let message = acme.share(APP, beta).await.expect_error(409, "conflict");
        assert!(message.contains("another alias"), "{message}");
        let path = format!("/images/{APP}/-/share");
        assert_eq!(items(&acme.api, &path).await, [] as [Value; 0]);
        let body = json!({"targetWorkspace": "beta", "alias": "shared"});
        acme.api.post(&path, &body).await.expect(200);
        acme.push("second", "v1", &theirs).await;
        let taken = acme.api.post("/images/second/-/share", &body).await;
        taken.expect_error(409, "conflict");
        assert_eq!(
            beta.pull(APP, "v1").await.expect(200).body,
            theirs.manifest.bytes
        );
        scene.stop().await;
    }
}

#[tokio::test]
async fn an_alias_is_not_shared_on() {
    for database in TestDatabase::available() {
        let scene = Scene::set(database).await;
        let (acme, beta) = (&scene.acme, &scene.beta);
        acme.share(APP, beta).await.expect(200);
        let path = format!("/images/{APP}/-/share");
        for target in [
            json!({"targetWorkspace": "main"}),
            json!({"targetWorkspace": "acme"}),
            json!({"targetWorkspace": "gamma", "targetAccountId": scene.other_account}),
            json!({"targetWorkspace": "nobody"}),
        ] {
            let message = beta
                .api
                .post(&path, &target)
                .await
                .expect_error(403, "forbidden");
            assert!(message.contains("t-acmekey/team/app"), "{message}");
        }
        let ends = beta.api.delete(&format!("{path}/main")).await;
        ends.expect_error(404, "not_found");
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
