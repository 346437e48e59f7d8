//! Pull secrets: what they reach, what they never do, what ends them, and how they look to Kubernetes.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth::http::Door;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::TestRegistry;
use crate::support::calls::{Answer, Api};
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Image, Login, Reply, form, image};
use crate::support::ending::{ENDS_WITHIN, seen_within};

const PATH: &str = "/registry/pull-secret";
const DAY_MS: i64 = 24 * 3_600 * 1_000;

fn text(data: &Value, field: &str) -> String {
    data[field].as_str().unwrap().to_owned()
}

/// The docker configuration inside a Secret.
fn docker_config(secret: &Value) -> Value {
    let encoded = secret["data"][".dockerconfigjson"].as_str().unwrap();
    serde_json::from_slice(&STANDARD.decode(encoded).unwrap()).unwrap()
}

/// What a node sends that has a pull secret.
pub(crate) fn login(made: &Value) -> Login {
    let config = docker_config(&made["secret"]);
    let auths = config["auths"].as_object().unwrap();
    let first = auths.values().next().unwrap();
    Login::Basic(text(first, "username"), text(first, "password"))
}

async fn make(api: &Api, body: Value) -> Value {
    api.post(PATH, &body).await.expect(201)
}

/// A node with a pull secret, at the pull door.
fn node(registry: &TestRegistry, made: &Value) -> Distribution {
    registry.distribution(Door::Pull, login(made))
}

fn manifest_of(repository: &str) -> String {
    format!("/v2/{repository}/manifests/v1")
}

/// Pulls as clients do, by Basic and by a token for it, all that a pull asks for.
async fn pulls(node: &Distribution, repository: &str, content: &Image) {
    let scope = format!("repository:{repository}:pull");
    for sender in [node.clone(), node.exchanged(&[&scope]).await] {
        for (path, bytes) in [
            (manifest_of(repository), &content.manifest.bytes),
            (
                format!("/v2/{repository}/blobs/{}", content.layers[0].digest),
                &content.layers[0].bytes,
            ),
        ] {
            assert_eq!(sender.get(&path).await.expect(200).body, *bytes, "{path}");
        }
        let tags = sender.get(&format!("/v2/{repository}/tags/list")).await;
        assert_eq!(tags.expect(200).json()["tags"], json!(["v1"]));
        let digest = &content.manifest.digest;
        let path = format!("/v2/{repository}/referrers/{digest}");
        sender.get(&path).await.expect(200);
    }
}

/// The reason of a 401 to a password, which is the same at both places that take one.
async fn refused_password(node: &Distribution) -> String {
    let reply = node.get("/v2/").await.expect(401);
    let message = text(&reply.json()["errors"][0], "message");
    let at_token = node.token_reply(&[]).await.expect(401);
    assert_eq!(text(&at_token.json()["errors"][0], "message"), message);
    message
}

#[track_caller]
fn refused(answer: Answer, status: u16, says: &str) {
    let code = match status {
        400 => "bad_request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        _ => "conflict",
    };
    let message = answer.expect_error(status, code);
    assert!(message.contains(says), "{message}");
}

/// Two teams of one account with an image each, and what they may see of each other.
struct Scene {
    registry: TestRegistry,
    content: Image,
}

impl Scene {
    async fn set(database: TestDatabase) -> Self {
        let registry = TestRegistry::start_on(database).await;
        let content = image().layer("what nodes pull").build();
        for name in ["acme", "rival"] {
            let team = registry.team(name).await;
            let docker = registry.with_key(&team.admin_key);
            for image in ["app", "lent", "platform"] {
                let repository = format!("{}/{image}", team.prefix);
                docker.push_image(&repository, "v1", &content).await;
            }
        }
        let operator = registry.operator();
        let rival = operator.in_workspace("rival");
        let share = json!({"targetWorkspace": "acme", "alias": "borrowed"});
        rival.post("/images/lent/-/share", &share).await.expect(200);
        let public = json!({"visibility": "platform"});
        rival.patch("/images/platform", &public).await.expect(200);
        Self { registry, content }
    }
}

mod reach {
    use super::*;

    #[tokio::test]
    async fn a_workspaces_own_images_those_shared_with_it_and_platform_images() {
        for database in TestDatabase::available() {
            let Scene { registry, content } = Scene::set(database).await;
            let admin = registry.api(&registry.key_of("acme", "admin").await);
            let made = make(&admin, json!({})).await;
            assert_eq!(
                (&made["scope"], &made["workspace"], &made["warning"]),
                (&json!("workspace"), &json!("acme"), &Value::Null)
            );
            let node = node(&registry, &made);
            for repository in ["t-acmekey/app", "t-acmekey/borrowed", "t-rivalkey/platform"] {
                pulls(&node, repository, &content).await;
            }
            let catalogue = node.get("/v2/_catalog").await.expect(200).json();
            let listed = catalogue["repositories"].as_array().unwrap();
            let own = |name: &Value| name.as_str().unwrap().starts_with("t-acmekey/");
            assert!(listed.len() == 4 && listed.iter().all(own), "{listed:?}");

            // What is another's is one and the same, whether it is there or not.
            let mut answers = BTreeSet::new();
            for (repository, place) in [
                ("t-rivalkey/app", "t-rivalkey/app"),
                ("t-rivalkey/nil", "t-rivalkey/nil"),
                ("t-ghostkey/app", "t-ghostkey/app"),
            ] {
                let reply = node.get(&manifest_of(repository)).await.expect(403);
                let image = repository.rsplit('/').next().unwrap();
                let message = reply.text().replace(place, "…").replace(image, "…");
                assert!(message.contains("this pull secret reaches"), "{message}");
                answers.insert(message);
                let scope = format!("repository:{repository}:pull");
                let token = node.exchanged(&[&scope]).await;
                token.get(&manifest_of(repository)).await.expect(403);
                token.head(&manifest_of(repository)).await.expect(404);
            }
            assert_eq!(answers.len(), 1, "{answers:?}");
            registry.stop().await;
        }
    }

    #[tokio::test]
    async fn everything_for_one_of_all_workspaces_and_no_catalogue() {
        for database in TestDatabase::available() {
            let Scene { registry, content } = Scene::set(database).await;
            let operator = registry.operator();
            let made = make(&operator, json!({"scope": "all"})).await;
            assert_eq!(
                (&made["scope"], &made["workspace"]),
                (&json!("all"), &Value::Null)
            );
            assert!(text(&made, "warning").contains("every workspace"));
            let node = node(&registry, &made);
            for repository in [
                "t-acmekey/app",
                "t-acmekey/borrowed",
                "t-rivalkey/app",
                "t-rivalkey/lent",
                "t-rivalkey/platform",
            ] {
                pulls(&node, repository, &content).await;
            }
            let mut answers = BTreeSet::new();
            for repository in ["t-acmekey/missing", "t-unknown/missing"] {
                let scope = format!("repository:{repository}:pull");
                for sender in [node.clone(), node.exchanged(&[&scope]).await] {
                    let reply = sender.get(&manifest_of(repository)).await.expect(404);
                    let code = text(&reply.json()["errors"][0], "code");
                    assert_eq!(code, "NAME_UNKNOWN");
                    answers.insert(reply.text().replace(repository, "…"));
                    sender.head(&manifest_of(repository)).await.expect(404);
                }
            }
            assert_eq!(answers.len(), 1, "{answers:?}");
            let reply = node.get("/v2/_catalog").await.expect(403);
            assert!(reply.text().contains("lists none"), "{}", reply.text());

            // A workspace that has gone takes its names with it.
            let team = registry.team("third").await;
            let docker = registry.with_key(&team.admin_key);
            docker.push_image("t-thirdkey/app", "v1", &content).await;
            node.get(&manifest_of("t-thirdkey/app")).await.expect(200);
            let third = operator.in_workspace("third");
            third.delete("/images/app").await.expect(200);
            operator.delete("/workspaces/third").await.expect(204);
            registry.rights_known().await;
            node.get(&manifest_of("t-thirdkey/app")).await.expect(404);
            registry.stop().await;
        }
    }

    #[tokio::test]
    async fn what_is_taken_back_is_gone_for_its_tokens_too() {
        for database in TestDatabase::available() {
            let Scene { registry, content } = Scene::set(database).await;
            let operator = registry.operator();
            let own = make(&operator.in_workspace("acme"), json!({})).await;
            let all = make(&operator, json!({"scope": "all"})).await;
            let mut senders = Vec::new();
            for made in [&own, &all] {
                let node = node(&registry, made);
                let scopes = ["t-acmekey/borrowed", "t-rivalkey/platform"]
                    .map(|repository| format!("repository:{repository}:pull"));
                let token = node.exchanged(&[&scopes[0], &scopes[1]]).await;
                for repository in ["t-acmekey/borrowed", "t-rivalkey/platform"] {
                    pulls(&node, repository, &content).await;
                    token.get(&manifest_of(repository)).await.expect(200);
                }
                senders.push([node, token]);
            }
            let rival = operator.in_workspace("rival");
            rival.delete("/images/lent/-/share/acme").await.expect(200);
            let private = json!({"visibility": "private"});
            rival.patch("/images/platform", &private).await.expect(200);
            registry.rights_known().await;
            for (senders, platform) in senders.iter().zip([403, 200]) {
                for sender in senders {
                    let blob = format!("blobs/{}", content.layers[0].digest);
                    for what in ["manifests/v1", &blob] {
                        let borrowed = format!("/v2/t-acmekey/borrowed/{what}");
                        sender.get(&borrowed).await.expect(404);
                        let path = format!("/v2/t-rivalkey/platform/{what}");
                        sender.get(&path).await.expect(platform);
                    }
                }
            }
            registry.stop().await;
        }
    }

    #[tokio::test]
    async fn nothing_but_pulls_whatever_is_asked_for() {
        for database in TestDatabase::available() {
            let Scene { registry, content } = Scene::set(database).await;
            let operator = registry.operator();
            let own = make(&operator.in_workspace("acme"), json!({})).await;
            let all = make(&operator, json!({"scope": "all"})).await;
            for made in [&own, &all] {
                let node = registry.distribution(Door::Public, login(made));
                for repository in ["t-acmekey/app", "t-rivalkey/app", "t-unknown/app"] {
                    let scope = format!("repository:{repository}:pull,push,delete");
                    for sender in [node.clone(), node.exchanged(&[&scope]).await] {
                        let digest = &content.manifest.digest;
                        for (method, path) in [
                            ("POST", format!("/v2/{repository}/blobs/uploads/")),
                            ("PUT", format!("/v2/{repository}/manifests/v2")),
                            ("DELETE", format!("/v2/{repository}/manifests/{digest}")),
                            ("DELETE", format!("/v2/{repository}/blobs/{digest}")),
                        ] {
                            let request = sender.request(method.parse().unwrap(), &path);
                            let reply = Reply::of(request).await.expect(403);
                            let error = &reply.json()["errors"][0];
                            assert_eq!(error["code"], "DENIED", "{method} {path}");
                            let message = text(error, "message");
                            assert!(message.contains("this is a pull secret"), "{message}");
                        }
                    }
                }
                let Login::Basic(username, password) = login(made) else {
                    unreachable!("it is a password");
                };
                for login in [
                    Login::Basic(username, password.clone()),
                    Login::Bearer(password.clone()),
                ] {
                    let caller = node.with(login);
                    for path in ["/api/v1/whoami", "/api/v1/images", "/api/v1/accounts"] {
                        let reply = caller.get(path).await.expect(401);
                        assert!(
                            reply.text().contains("a pull secret pulls"),
                            "{}",
                            reply.text()
                        );
                    }
                }
                let as_token = node.with(Login::Bearer(password.clone()));
                let reply = as_token
                    .get(&manifest_of("t-acmekey/app"))
                    .await
                    .expect(401);
                assert!(reply.text().contains("no Bearer token"), "{}", reply.text());
                let refresh = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", password.as_str()),
                ];
                let nobody = node.with(Login::Nobody);
                let request = form(nobody.request(reqwest::Method::POST, "/token"), &refresh);
                Reply::of(request).await.expect(401);
            }
            registry.stop().await;
        }
    }
}

mod ended {
    use super::*;

    /// A secret, and a token that came from it.
    async fn with_token(node: Distribution) -> [Distribution; 2] {
        let token = node.exchanged(&["repository:t-acmekey/app:pull"]).await;
        token.get(&manifest_of("t-acmekey/app")).await.expect(200);
        [node, token]
    }

    async fn all_refused(senders: &[Distribution; 2]) -> String {
        let [node, token] = senders;
        let reply = token.get(&manifest_of("t-acmekey/app")).await.expect(401);
        let challenge = reply.header("www-authenticate");
        assert!(challenge.contains("invalid_token"), "{challenge}");
        refused_password(node).await
    }

    #[tokio::test]
    async fn by_being_deleted_with_their_tokens() {
        for database in TestDatabase::available() {
            let Scene { registry, .. } = Scene::set(database).await;
            let operator = registry.operator();
            let acme = operator.in_workspace("acme");
            for (api, body) in [(&acme, json!({})), (&operator, json!({"scope": "all"}))] {
                let made = make(api, body).await;
                let senders = with_token(node(&registry, &made)).await;
                let path = format!("{PATH}/{}", text(&made, "id"));
                api.delete(&path).await.expect(204);
                registry.rights_known().await;
                let message = all_refused(&senders).await;
                assert!(message.contains("it has been deleted"), "{message}");
                refused(api.delete(&path).await, 404, "no such pull secret");
            }
            registry.stop().await;
        }
    }

    #[tokio::test]
    async fn by_time_with_their_tokens() {
        for database in TestDatabase::available() {
            let Scene { registry, .. } = Scene::set(database).await;
            let acme = registry.operator().in_workspace("acme");
            let made = make(&acme, json!({"expiresInDays": 1})).await;
            assert_eq!(made["expiresAt"], "2026-01-02T00:00:00Z");
            let node = node(&registry, &made);
            registry.clock.advance(DAY_MS - 1);
            // Its token would live for a minute more.
            let senders = with_token(node).await;
            registry.clock.advance(1);
            let message = all_refused(&senders).await;
            assert!(message.contains("the pull secret has expired"), "{message}");

            let made = make(&acme, json!({})).await;
            let senders = with_token(super::node(&registry, &made)).await;
            let path = format!("{PATH}/{}?overlapSeconds=60", text(&made, "id"));
            acme.delete(&path).await.expect(204);
            registry.rights_known().await;
            senders[0].get("/v2/").await.expect(200);
            registry.clock.advance(60_000);
            all_refused(&senders).await;
            let rotate = format!("{PATH}/{}/rotate", text(&made, "id"));
            refused(acme.post(&rotate, &json!({})).await, 409, "has ended");
            registry.stop().await;
        }
    }

    /// A second successor would live on, and nothing would lead to the first.
    #[tokio::test]
    async fn by_one_other_however_many_rotate_it_at_once() {
        for database in TestDatabase::available() {
            let Scene { registry, .. } = Scene::set(database).await;
            let acme = registry.operator().in_workspace("acme");
            let made = make(&acme, json!({})).await;
            let path = format!("{PATH}/{}/rotate", text(&made, "id"));
            let body = json!({});
            let rotated = join_all((0..8).map(|_| acme.post(&path, &body))).await;
            let (new, refusals): (Vec<_>, Vec<_>) =
                rotated.into_iter().partition(|answer| answer.status == 201);
            assert_eq!((new.len(), refusals.len()), (1, 7));
            for answer in refusals {
                refused(answer, 409, "has been replaced by");
            }
            let listed = acme.get(PATH).await.expect(200);
            assert_eq!(listed["items"].as_array().unwrap().len(), 2);
            registry.stop().await;
        }
    }

    #[tokio::test]
    async fn by_another_in_their_place_after_the_overlap() {
        for database in TestDatabase::available() {
            let Scene { registry, content } = Scene::set(database).await;
            let admin = registry.api(&registry.key_of("acme", "admin").await);
            let body = json!({"name": "nodes", "namespace": "shop", "expiresInDays": 30});
            let old = make(&admin, body).await;
            let senders = with_token(node(&registry, &old)).await;
            let path = format!("{PATH}/{}/rotate", text(&old, "id"));
            let new = admin.post(&path, &json!({})).await.expect(201);
            assert_eq!(new["replaces"]["id"], old["id"]);
            assert_eq!(new["replaces"]["expiresAt"], "2026-01-02T00:00:00Z");
            assert_eq!(new["expiresAt"], "2026-01-31T00:00:00Z");
            assert_eq!(new["secret"]["metadata"], old["secret"]["metadata"]);
            let says = format!("has been replaced by {}", text(&new, "id"));
            refused(admin.post(&path, &json!({})).await, 409, &says);
            assert_ne!(new["secret"]["data"], old["secret"]["data"]);
            pulls(&node(&registry, &new), "t-acmekey/app", &content).await;
            registry.rights_known().await;
            senders[0].get("/v2/").await.expect(200);
            let token = senders[0]
                .exchanged(&["repository:t-acmekey/app:pull"])
                .await;
            let items = admin.get(PATH).await.expect(200)["items"].clone();
            let replaced = items.as_array().unwrap().iter();
            let replaced: Vec<_> = replaced.filter(|item| item["id"] == old["id"]).collect();
            assert_eq!(replaced[0]["replacedBy"], new["id"]);

            registry.clock.advance(DAY_MS);
            let message = refused_password(&senders[0]).await;
            assert!(message.contains("has been replaced"), "{message}");
            token.get("/v2/").await.expect(401);

            // At once, with every token, and for as long as it is told to.
            let senders = with_token(node(&registry, &new)).await;
            let path = format!("{PATH}/{}/rotate", text(&new, "id"));
            let at_once = json!({"overlapSeconds": 0, "expiresInDays": 2});
            let last = admin.post(&path, &at_once).await.expect(201);
            assert_eq!(last["expiresAt"], "2026-01-04T00:00:00Z");
            registry.rights_known().await;
            let message = all_refused(&senders).await;
            assert!(message.contains("has been replaced"), "{message}");
            registry.stop().await;
        }
    }

    #[tokio::test]
    async fn with_their_workspace_and_with_its_tokens() {
        for database in TestDatabase::available() {
            let registry = TestRegistry::start_on(database).await;
            registry.team("acme").await;
            let operator = registry.operator();
            let acme = operator.in_workspace("acme");
            let made = make(&acme, json!({})).await;
            let node = node(&registry, &made);
            let token = node.exchanged(&["registry:catalog:*"]).await;
            token.get("/v2/_catalog").await.expect(200);
            // What was issued until now is void, the secret is not.
            let all = json!({"all": true});
            let revoked = acme.post("/registry/credentials/revoke", &all).await;
            revoked.expect(204);
            registry.rights_known().await;
            token.get("/v2/_catalog").await.expect(401);
            node.get("/v2/_catalog").await.expect(200);

            operator.delete("/workspaces/acme").await.expect(204);
            registry.rights_known().await;
            refused_password(&node).await;
            let left = operator.get(PATH).await.expect(200);
            assert_eq!(left["items"], json!([]));
            registry.stop().await;
        }
    }

    #[tokio::test]
    async fn within_five_seconds_at_another_replica() {
        if !TestDatabase::available().contains(&TestDatabase::Postgres) {
            return;
        }
        // Without an image: the other one has a folder of its own.
        let registry = TestRegistry::start_on(TestDatabase::Postgres).await;
        let second = registry.replica().await;
        let made = make(&registry.operator(), json!({"scope": "all"})).await;
        let there = second.distribution(Door::Pull, login(&made));
        let senders = [there.exchanged(&[]).await, there];
        for sender in &senders {
            sender.get("/v2/").await.expect(200);
        }
        let path = format!("{PATH}/{}", text(&made, "id"));
        registry.operator().delete(&path).await.expect(204);
        let since = std::time::Instant::now();
        for sender in &senders {
            let look = async || sender.get("/v2/").await.status == 401;
            seen_within(ENDS_WITHIN, since, "the end of the secret", look).await;
        }
        second.stop().await;
        registry.stop().await;
    }
}

mod wrong {
    use super::*;

    #[tokio::test]
    async fn passwords_say_what_is_wrong_with_them() {
        let registry = TestRegistry::start().await;
        let made = make(&registry.operator().in_workspace("main"), json!({})).await;
        let Login::Basic(username, password) = login(&made) else {
            unreachable!("it is a password");
        };
        assert_eq!(username, format!("pull-{}", &text(&made, "id")[..8]));
        let mut cut_off = password.clone();
        cut_off.pop();
        let unknown = berth::auth::PullSecretPassword::generate().unwrap();
        for (user, secret, says) in [
            ("t-main", password.as_str(), "goes with the user name pull-"),
            ("", password.as_str(), "goes with the user name pull-"),
            (username.as_str(), cut_off.as_str(), "mistyped or cut off"),
            (username.as_str(), unknown.reveal(), "no such pull secret"),
        ] {
            let login = Login::Basic(user.to_owned(), secret.to_owned());
            let message = refused_password(&registry.distribution(Door::Public, login)).await;
            assert!(message.contains(says), "{message}");
            assert!(!message.contains(secret), "{message}");
        }
        node(&registry, &made).get("/v2/").await.expect(200);
    }

    #[tokio::test]
    async fn requests_say_what_would_be_right() {
        let registry = TestRegistry::start().await;
        let team = registry.team("acme").await;
        let (operator, admin) = (registry.operator(), registry.api(&team.admin_key));
        let main = operator.in_workspace("main");
        for (api, body, status, says) in [
            (&operator, json!({}), 400, "name the workspace"),
            (&operator, json!({"workspace": "ghost"}), 404, "ghost"),
            (
                &operator,
                json!({"scope": "all", "workspace": "main"}),
                400,
                "leave one of the two out",
            ),
            (&operator, json!({"scope": "none"}), 400, "scope"),
            (&main, json!({"workspace": "acme"}), 400, "X-Workspace"),
            (&admin, json!({"scope": "all"}), 403, "operator"),
            (&admin, json!({"workspace": "main"}), 403, "\"acme\" alone"),
            (&admin, json!({"expiresInDays": 0}), 400, "from 1 to 3650"),
            (
                &admin,
                json!({"expiresInDays": 3651}),
                400,
                "from 1 to 3650",
            ),
            (
                &admin,
                json!({"expiresInDays": null, "days": 1}),
                400,
                "days",
            ),
            (&admin, json!({"name": "Nodes"}), 400, "name: "),
            (&admin, json!({"name": "a..b"}), 400, "name: "),
            (&admin, json!({"namespace": "a.b"}), 400, "namespace: "),
            (&admin, json!({"format": "xml"}), 400, "format"),
        ] {
            refused(api.post(PATH, &body).await, status, says);
        }
        let wrong = admin.post(&format!("{PATH}?format=xml"), &json!({})).await;
        refused(wrong, 400, "format is json or yaml");
        let both = json!({"format": "json"});
        let wrong = admin.post(&format!("{PATH}?format=yaml"), &both).await;
        refused(wrong, 400, "leave one of them out");
        assert_eq!(operator.get(PATH).await.expect(200)["items"], json!([]));

        let made = make(&admin, json!({"workspace": "acme"})).await;
        let path = format!("{PATH}/{}", text(&made, "id"));
        for seconds in ["-1", "2592001", "x", ""] {
            let wrong = admin
                .delete(&format!("{path}?overlapSeconds={seconds}"))
                .await;
            refused(wrong, 400, "from 0 to 2592000");
        }
        let rotate = format!("{path}/rotate");
        let wrong = admin
            .post(&rotate, &json!({"overlapSeconds": 2_592_001}))
            .await;
        refused(wrong, 400, "from 0 to 2592000");
        // Another team's is not there.
        let main_admin = registry.api(&registry.main_key());
        refused(main_admin.delete(&path).await, 404, "no such");
        refused(main_admin.post(&rotate, &json!({})).await, 404, "no such");
        refused(main.delete(&path).await, 404, "no such");
        let all = make(&operator, json!({"scope": "all"})).await;
        let of_all = format!("{PATH}/{}", text(&all, "id"));
        refused(admin.delete(&of_all).await, 404, "no such");
        // An operator need not stop naming a workspace.
        main.delete(&of_all).await.expect(204);
        let items = |listed: Value| listed["items"].as_array().unwrap().len();
        assert_eq!(items(admin.get(PATH).await.expect(200)), 1);
        assert_eq!(items(main.get(PATH).await.expect(200)), 0);
        assert_eq!(items(operator.get(PATH).await.expect(200)), 1);
    }

    #[tokio::test]
    async fn keys_make_none_that_reaches_further_than_they_do() {
        let registry = TestRegistry::start().await;
        registry.team("acme").await;
        let key = async |limits: Value| {
            let mut body = json!({"name": "x", "role": "admin"});
            for (field, value) in limits.as_object().unwrap() {
                body[field] = value.clone();
            }
            registry.api(&registry.key_with("acme", &body).await.0)
        };
        let narrowed = key(json!({"repositories": ["app"]})).await;
        refused(
            narrowed.post(PATH, &json!({})).await,
            403,
            "limited to some",
        );
        let narrowed = key(json!({"actions": ["push"]})).await;
        refused(
            narrowed.post(PATH, &json!({})).await,
            403,
            "limited to some",
        );
        let ending = key(json!({"expiresAt": "2026-01-03T00:00:00Z"})).await;
        refused(ending.post(PATH, &json!({})).await, 403, "2026-01-03");
        make(&ending, json!({"expiresInDays": 2})).await;
        for role in ["viewer", "builder", "developer"] {
            let api = registry.api(&registry.key_of("acme", role).await);
            refused(api.post(PATH, &json!({})).await, 403, "admin");
            refused(api.get(PATH).await, 403, "admin");
        }
    }

    #[tokio::test]
    async fn numbers_are_limited_and_ended_ones_are_forgotten_after_a_month() {
        let registry = TestRegistry::start().await;
        let operator = registry.operator();
        let body = json!({"scope": "all", "expiresInDays": 1});
        for _ in 0..100 {
            make(&operator, body.clone()).await;
        }
        refused(operator.post(PATH, &body).await, 409, "at most 100");
        let listed = operator.get(&format!("{PATH}?limit=1")).await.expect(200);
        let cursor = text(&listed, "nextCursor");
        let rest = operator.get(&format!("{PATH}?cursor={cursor}")).await;
        assert_eq!(rest.expect(200)["items"].as_array().unwrap().len(), 99);
        // Of a workspace there may be others.
        make(&operator, json!({"workspace": "main"})).await;
        // One that has ended makes room, so that what rotates by itself never comes to a stop.
        registry.clock.advance(DAY_MS);
        let last = make(&operator, body.clone()).await;
        let rotate = format!("{PATH}/{}/rotate", text(&last, "id"));
        operator.post(&rotate, &json!({})).await.expect(201);
        let of_all = async |registry: &TestRegistry| {
            let listed = registry.operator().get(&format!("{PATH}?limit=1000")).await;
            let listed = listed.expect(200);
            let items = listed["items"].as_array().unwrap().iter();
            items.filter(|item| item["scope"] == "all").count()
        };
        assert_eq!(of_all(&registry).await, 100);
        registry.clock.advance(30 * DAY_MS);
        assert_eq!(of_all(&registry).await, 100);
        registry.clock.advance(1);
        // The task in the background does so within seconds; a start does it first of all.
        let registry = registry.restart().await;
        let begun = std::time::Instant::now();
        while of_all(&registry).await != 2 {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60));
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

mod shown {
    use super::*;

    #[tokio::test]
    async fn as_a_secret_for_both_hosts() {
        let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.server.public_url = Some("https://push.example:5000".parse().unwrap());
            config.server.pull_url = Some("http://pull.example:5001".parse().unwrap());
        })
        .await;
        let main = registry.api(&registry.main_key());
        let body = json!({"name": "nodes", "namespace": "shop"});
        let made = make(&main, body).await;
        assert_eq!(
            made["hosts"],
            json!(["pull.example:5001", "push.example:5000"])
        );
        let config = docker_config(&made["secret"]);
        let (username, password) = match login(&made) {
            Login::Basic(username, password) => (username, password),
            other => unreachable!("{other:?}"),
        };
        let auth = STANDARD.encode(format!("{username}:{password}"));
        let one = json!({"username": username, "password": password, "auth": auth});
        let both = json!({"auths": {"pull.example:5001": one, "push.example:5000": one}});
        assert_eq!(config, both);
        let mut steady = made.clone();
        steady["secret"]["data"][".dockerconfigjson"] = json!("<config>");
        for field in ["id", "username", "createdBy"] {
            steady[field] = json!(format!("<{field}>"));
        }
        insta::assert_json_snapshot!(steady, @r#"
        {
          "createdAt": "2026-01-01T00:00:00Z",
          "createdBy": "<createdBy>",
          "expiresAt": "2027-01-01T00:00:00Z",
          "hosts": [
            "pull.example:5001",
            "push.example:5000"
          ],
          "id": "<id>",
          "lastUsedAt": null,
          "name": "nodes",
          "namespace": "shop",
          "replacedBy": null,
          "scope": "workspace",
          "secret": {
            "apiVersion": "v1",
            "data": {
              ".dockerconfigjson": "<config>"
            },
            "kind": "Secret",
            "metadata": {
              "labels": {
                "app.kubernetes.io/managed-by": "berth"
              },
              "name": "nodes",
              "namespace": "shop"
            },
            "type": "kubernetes.io/dockerconfigjson"
          },
          "username": "<username>",
          "workspace": "main"
        }
        "#);
    }

    #[tokio::test]
    async fn as_bare_yaml() {
        let registry = TestRegistry::start().await;
        let main = registry.with_key(&registry.main_key());
        let post = async |path: &str, body: &str| {
            let request = main
                .request(reqwest::Method::POST, &format!("/api/v1{path}"))
                .header("content-type", "application/json")
                .body(body.to_owned());
            let reply = Reply::of(request).await.expect(201);
            assert_eq!(reply.header("content-type"), "application/yaml");
            let yaml = reply.text();
            let (shape, config) = yaml.split_once(".dockerconfigjson: ").unwrap();
            let made =
                json!({"secret": {"data": {".dockerconfigjson": config.trim().trim_matches('"')}}});
            node(&registry, &made).get("/v2/").await.expect(200);
            shape.to_owned()
        };
        let by_query = post(&format!("{PATH}?format=yaml"), "").await;
        assert!(by_query.contains("name: \"berth-pull\"\n"), "{by_query}");
        let by_body = post(PATH, r#"{"format":"yaml","namespace":"shop"}"#).await;
        insta::assert_snapshot!(by_body, @r#"
        apiVersion: v1
        kind: Secret
        metadata:
          name: "berth-pull"
          namespace: "shop"
          labels:
            app.kubernetes.io/managed-by: berth
        type: kubernetes.io/dockerconfigjson
        data:
        "#);
        let operator = registry.with_key(&registry.operator_key());
        let request = operator
            .request(reqwest::Method::POST, &format!("/api/v1{PATH}?format=yaml"))
            .header("content-type", "application/json")
            .body(r#"{"scope":"all"}"#);
        let of_all = Reply::of(request).await.expect(201).text();
        let warning = "# this secret pulls from every workspace: ";
        assert!(of_all.starts_with(warning), "{of_all}");
        assert!(of_all.contains("\napiVersion: v1\n"), "{of_all}");
        let api = registry.api(&registry.main_key());
        let listed = api.get(PATH).await.expect(200);
        let items = listed["items"].as_array().unwrap();
        let in_shop = items
            .iter()
            .find(|item| item["namespace"] == "shop")
            .unwrap();
        let path = format!("{PATH}/{}/rotate?format=yaml", text(in_shop, "id"));
        assert_eq!(
            post(&path, "").await,
            by_body,
            "it takes the place of the old one"
        );
    }

    #[tokio::test]
    async fn in_the_list_with_their_last_use_and_in_the_audit_log() {
        let registry = TestRegistry::start().await;
        let main = registry.api(&registry.main_key());
        let made = make(&main, json!({})).await;
        let (id, node) = (text(&made, "id"), node(&registry, &made));
        node.get("/v2/").await.expect(200);
        let outside = registry.distribution(Door::Public, login(&made));
        let upload = reqwest::Method::POST;
        let push = outside.request(upload, "/v2/t-main/app/blobs/uploads/");
        Reply::of(push).await.expect(403);
        outside.get("/api/v1/whoami").await.expect(401);
        let path = format!("{PATH}/{id}/rotate");
        let new = main.post(&path, &json!({})).await.expect(201);
        let path = format!("{PATH}/{}?overlapSeconds=60", text(&new, "id"));
        main.delete(&path).await.expect(204);
        // Both are written when it stops.
        let registry = registry.restart().await;
        let main = registry.api(&registry.main_key());
        let listed = main.get(PATH).await.expect(200);
        let items = listed["items"].as_array().unwrap();
        let old = items.iter().find(|item| item["id"] == id).unwrap();
        assert_eq!(old["lastUsedAt"], "2026-01-01T00:00:00Z");
        let fresh = items.iter().find(|item| item["id"] == new["id"]).unwrap();
        assert_eq!(fresh["lastUsedAt"], Value::Null);
        for secret in [&made, &new] {
            let Login::Basic(_, password) = login(secret) else {
                unreachable!("it is a password");
            };
            assert!(!listed.to_string().contains(&password));
        }
        let events = main.get("/audit-events").await.expect(200);
        let told: BTreeSet<String> = events["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event.to_string().contains("pull-secret:"))
            .map(|event| {
                let line = ["actor", "action", "target", "outcome"].map(|field| text(event, field));
                let line = line.join(" ").replace(&id, "<old>");
                let line = line.replace(&text(&new, "id"), "<new>");
                line.replace(&text(&made, "createdBy"), "<admin>")
            })
            .collect();
        insta::assert_debug_snapshot!(told, @r#"
        {
            "<admin> pull_secret.create pull-secret:<old> allowed",
            "<admin> pull_secret.delete pull-secret:<new> allowed",
            "<admin> pull_secret.rotate pull-secret:<old> allowed",
            "pull-secret:<old> GET /api/v1/whoami /api/v1/whoami refused",
            "pull-secret:<old> POST /v2/{name}/blobs/uploads/ t-main/app refused",
        }
        "#);
    }
}
