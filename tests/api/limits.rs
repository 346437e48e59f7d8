//! What may come how often and how much of it at once: each limit answers in its own words, counts itself, and leaves
//! the others alone.

use berth::http::Door;
use reqwest::Method;
use serde_json::json;

use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, INDEX, Login, MANIFEST, Reply, form, image};
use crate::support::process::Folder;
use crate::support::{Team, TestRegistry};

/// How often the registry refused something by the limit of this name.
async fn reached(registry: &TestRegistry, limit: &str) -> u64 {
    let nobody = registry.distribution(Door::Ops, Login::Nobody);
    let metrics = nobody.get("/metrics").await.expect(200);
    let label = format!("berth_limits_reached_total{{limit=\"{limit}\"}} ");
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&label));
    line.map_or(0, |count| count.parse().unwrap())
}

async fn token(caller: &Distribution, scope: &str) -> Reply {
    let query = [("service", "berth"), ("scope", scope)];
    Reply::of(caller.request(Method::GET, "/token").query(&query)).await
}

#[track_caller]
fn says_when_to_come_back(reply: &Reply) {
    let seconds: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(reply.json()["errors"][0]["code"], "TOOMANYREQUESTS");
    assert!(reply.text().contains("try again in"), "{}", reply.text());
}

mod failures {
    use super::*;

    const ALLOWED: u32 = 5;

    async fn scene(database: TestDatabase) -> (TestRegistry, Team) {
        let registry = TestRegistry::start_with(database, |config| {
            config.limits.auth_failures_per_minute = ALLOWED;
        })
        .await;
        let team = registry.team("acme").await;
        (registry, team)
    }

    /// An API key of the right shape that nobody has.
    fn guess() -> Login {
        Login::key(berth::auth::ApiKeySecret::generate().unwrap().reveal())
    }

    async fn wrong_passwords_end_in_429_and_right_ones_go_on(database: TestDatabase) {
        let (registry, team) = scene(database).await;
        let known = registry.with_key(&team.admin_key);
        known.get("/v2/").await.expect(200);
        let credential = registry
            .api(&team.admin_key)
            .post("/registry/credentials", &json!({}))
            .await
            .expect(200);
        let text = |field: &str| credential[field].as_str().unwrap().to_owned();
        let credential = Login::Basic(text("username"), text("password"));
        let credential = registry.distribution(Door::Public, credential);
        token(&credential, "").await.expect(200);

        for _ in 0..ALLOWED {
            let caller = registry.distribution(Door::Public, guess());
            token(&caller, "").await.expect(401);
        }
        let wrong = registry.distribution(Door::Public, guess());
        says_when_to_come_back(&token(&wrong, "").await.expect(429));
        says_when_to_come_back(&wrong.get("/v2/").await.expect(429));
        let at_the_pull_door = registry.distribution(Door::Pull, wrong.login.clone());
        says_when_to_come_back(&token(&at_the_pull_door, "").await.expect(429));
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", "not.a.token"),
        ];
        let nobody = registry.distribution(Door::Public, Login::Nobody);
        let refresh = form(nobody.request(Method::POST, "/token"), &fields);
        says_when_to_come_back(&Reply::of(refresh).await.expect(429));
        let api = registry.api("berth_wrong").get("/whoami").await;
        // No key by its shape: nothing was looked up, so nothing is counted.
        api.expect_error(401, "unauthorized");
        let Login::Basic(_, guessed) = &wrong.login else {
            unreachable!("a guess is a password")
        };
        let api = registry.api(guessed).get("/whoami").await;
        assert!(api.headers.contains_key("retry-after"));
        api.expect_error(429, "too_many_requests");

        // Whoever stands behind the same address and is known goes on.
        known.get("/v2/").await.expect(200);
        token(&known, "").await.expect(200);
        token(&credential, "").await.expect(200);
        registry.operator().get("/whoami").await.expect(200);
        // And nobody is told to authenticate by a 429.
        nobody.get("/v2/").await.expect(401);
        assert_eq!(
            reached(&registry, "limits.auth_failures_per_minute").await,
            5
        );

        // Whoever goes on regardless owes a minute, and no more.
        registry.clock.advance(60_000 / i64::from(ALLOWED));
        token(&wrong, "").await.expect(429);
        registry.clock.advance(120_000);
        token(&wrong, "").await.expect(401);
    }

    #[tokio::test]
    async fn wrong_passwords_end_in_429_and_right_ones_go_on_on_both_databases() {
        for database in [TestDatabase::one_server()] {
            wrong_passwords_end_in_429_and_right_ones_go_on(database).await;
        }
    }

    #[tokio::test]
    async fn a_right_secret_that_nobody_has_seen_before_is_let_in_all_the_same() {
        for database in [TestDatabase::one_server()] {
            let (registry, team) = scene(database).await;
            for _ in 0..=ALLOWED {
                let caller = registry.distribution(Door::Public, guess());
                token(&caller, "").await;
            }
            let wrong = registry.distribution(Door::Public, guess());
            token(&wrong, "").await.expect(429);
            let key = registry.key_of("acme", "builder").await;
            token(&registry.with_key(&key), "").await.expect(200);
            registry.api(&key).get("/whoami").await.expect(200);
            let fresh = registry.with_key(&team.admin_key);
            token(&fresh, "").await.expect(200);
            token(&wrong, "").await.expect(429);
        }
    }

    #[tokio::test]
    async fn another_address_is_not_held_to_it() {
        let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.limits.auth_failures_per_minute = 1;
            config.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        })
        .await;
        let caller = registry.distribution(Door::Public, guess());
        let from = async |address: &str| {
            let request = caller.request(Method::GET, "/token");
            Reply::of(request.header("x-forwarded-for", address)).await
        };
        from("192.0.2.1").await.expect(401);
        from("192.0.2.1").await.expect(429);
        from("192.0.2.2").await.expect(401);
        from("2001:db8::1").await.expect(401);
        from("2001:db8::2").await.expect(429);
    }
}

mod issuing {
    use super::*;

    async fn each_key_has_its_own(database: TestDatabase) {
        let registry = TestRegistry::start_with(database, |config| {
            config.limits.credentials_per_minute = 3;
            config.limits.tokens_per_minute = 4;
        })
        .await;
        let team = registry.team("acme").await;
        let builder = registry.key_of("acme", "builder").await;
        let ask = async |key: &str| {
            registry
                .api(key)
                .post("/registry/credentials", &json!({}))
                .await
        };
        for _ in 0..3 {
            ask(&builder).await.expect(200);
        }
        let refused = ask(&builder).await;
        assert_eq!(refused.headers["retry-after"], "20");
        refused.expect_error(429, "too_many_requests");
        ask(&team.admin_key).await.expect(200);
        assert_eq!(reached(&registry, "limits.credentials_per_minute").await, 1);

        let push = format!("repository:{}/app:pull,push", team.prefix);
        let caller = registry.with_key(&builder);
        for _ in 0..4 {
            token(&caller, &push).await.expect(200);
        }
        says_when_to_come_back(&token(&caller, &push).await.expect(429));
        // What a key cannot do by itself its credentials cannot do for it.
        registry.clock.advance(15_000);
        let credential = ask(&builder).await;
        let credential = credential.expect_error(429, "too_many_requests");
        assert!(credential.contains("registry credentials"), "{credential}");
        token(&caller, &push).await.expect(200);
        token(&caller, &push).await.expect(429);
        token(&registry.with_key(&team.admin_key), &push)
            .await
            .expect(200);
        assert_eq!(reached(&registry, "limits.tokens_per_minute").await, 2);
    }

    #[tokio::test]
    async fn each_key_has_its_own_on_both_databases() {
        for database in [TestDatabase::one_server()] {
            each_key_has_its_own(database).await;
        }
    }

    #[tokio::test]
    async fn credentials_count_with_their_key_and_what_only_pulls_is_exempt() {
        let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.limits.tokens_per_minute = 2;
        })
        .await;
        let team = registry.team("acme").await;
        let issue = async |actions: &[&str]| {
            let body = json!({ "actions": actions });
            let api = registry.api(&team.admin_key);
            let issued = api.post("/registry/credentials", &body).await.expect(200);
            let text = |field: &str| issued[field].as_str().unwrap().to_owned();
            registry.distribution(
                Door::Public,
                Login::Basic(text("username"), text("password")),
            )
        };
        let scope = format!("repository:{}/app:pull", team.prefix);
        let (one, other) = (issue(&["pull", "push"]).await, issue(&["push"]).await);
        token(&one, &scope).await.expect(200);
        token(&other, &scope).await.expect(200);
        token(&one, &scope).await.expect(429);
        let node = issue(&["pull"]).await;
        let viewer = registry.with_key(&registry.key_of("acme", "viewer").await);
        for _ in 0..10 {
            token(&node, &scope).await.expect(200);
            token(&viewer, &scope).await.expect(200);
        }
    }
}

mod bodies {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[tokio::test]
    async fn a_body_that_says_it_is_too_large_is_refused_before_it_is_read() {
        let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.limits.manifest_bytes = 2048;
            config.limits.json_body_bytes = 1024;
        })
        .await;
        let docker = registry.with_key(&registry.main_key());
        let content = image().layer("layer").build();
        let request = docker
            .request(Method::PUT, "/v2/t-main/app/manifests/v1")
            .header("content-type", content.manifest.media_type)
            .body(vec![b' '; 2049]);
        let refused = Reply::of(request).await.expect(413);
        assert!(
            refused.text().contains("may have 2048 bytes"),
            "{}",
            refused.text()
        );
        let api = registry.operator();
        let name = "n".repeat(1024);
        let refused = api.post("/accounts", &json!({ "name": name })).await;
        refused.expect_error(413, "payload_too_large");
        let form_body = format!("grant_type=password&password={}", "p".repeat(32 * 1024));
        let nobody = registry.distribution(Door::Public, Login::Nobody);
        let request = nobody
            .request(Method::POST, "/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form_body);
        Reply::of(request).await.expect(413);
        for limit in [
            "limits.manifest_bytes",
            "limits.json_body_bytes",
            "token_form",
        ] {
            assert_eq!(reached(&registry, limit).await, 1, "{limit}");
        }
    }

    /// A body that sends what it is given, and ends when the sender is dropped.
    fn open_body() -> (
        tokio::sync::mpsc::Sender<Result<Vec<u8>, std::io::Error>>,
        reqwest::Body,
    ) {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|item| (item, receiver))
        });
        (sender, reqwest::Body::wrap_stream(stream))
    }

    fn held(registry: &TestRegistry) -> usize {
        let held = registry.running.http.bodies.held_bytes();
        held.iter().map(|(_, bytes)| bytes).sum()
    }

    #[tokio::test]
    async fn bodies_in_memory_share_a_budget_of_which_one_workspace_has_its_part() {
        let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.limits.manifest_bytes = MIB as usize;
            config.limits.buffered_bytes = 4 * MIB as usize;
        })
        .await;
        let team = registry.team("acme").await;
        let docker = registry.with_key(&registry.main_key());
        let content = image().layer("layer").build();
        let (sender, body) = open_body();
        let slow = docker
            .request(Method::PUT, "/v2/t-main/slow/manifests/v1")
            .header("content-type", content.manifest.media_type)
            .body(body);
        let slow = tokio::spawn(Reply::of(slow));
        sender.send(Ok(vec![b' '; MIB as usize])).await.unwrap();
        // It has arrived when all that one workspace may have is held.
        while held(&registry) < MIB as usize {
            tokio::task::yield_now().await;
        }
        let put = docker
            .put_manifest("t-main/app", "v1", &content.manifest)
            .await
            .expect(503);
        assert_eq!(put.header("retry-after"), "5");
        assert_eq!(reached(&registry, "limits.buffered_bytes").await, 1);
        // Nobody else is held up, and what the same workspace sends elsewhere neither.
        let other = registry.with_key(&team.admin_key);
        let repository = format!("{}/app", team.prefix);
        other.push_image(&repository, "v1", &content).await;
        let own = registry.api(&registry.main_key());
        let all = json!({"all": true});
        let revoked = own.post("/registry/credentials/revoke", &all).await;
        revoked.expect(204);
        let login = [
            ("grant_type", "password"),
            ("username", "main"),
            ("password", &registry.main_key()),
        ];
        let nobody = registry.distribution(Door::Public, Login::Nobody);
        let token = form(nobody.request(Method::POST, "/token"), &login);
        Reply::of(token).await.expect(200);

        drop(sender);
        slow.await.unwrap().expect(400);
        assert_eq!(held(&registry), 0);
        docker.push_image("t-main/app", "v1", &content).await;
    }

    #[tokio::test]
    async fn blobs_under_way_have_places_of_which_one_workspace_has_its_part() {
        let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.limits.open_transfers = 4;
        })
        .await;
        let team = registry.team("acme").await;
        let docker = registry.with_key(&registry.main_key());
        let content = image().layer("layer").build();
        docker.push_image("t-main/app", "v1", &content).await;
        let mut slow = Vec::new();
        for _ in 0..3 {
            let location = docker.open_upload("t-main/app").await;
            let (sender, body) = open_body();
            let patch = docker.request(Method::PATCH, &location).body(body);
            slow.push((sender, tokio::spawn(Reply::of(patch))));
        }
        while registry.running.http.transfers.held() < 3 {
            tokio::task::yield_now().await;
        }
        let blob = format!("/v2/t-main/app/blobs/{}", content.layers[0].digest);
        let refused = docker.get(&blob).await.expect(503);
        assert_eq!(refused.header("retry-after"), "5");
        assert_eq!(reached(&registry, "limits.open_transfers").await, 1);
        docker.head(&blob).await.expect(200);
        let other = registry.with_key(&team.admin_key);
        let repository = format!("{}/app", team.prefix);
        other.push_image(&repository, "v1", &content).await;
        for (sender, patch) in slow {
            drop(sender);
            patch.await.unwrap().expect(202);
        }
        docker.get(&blob).await.expect(200);
        // The last of an answer is read before the registry has seen that it was.
        let places = async {
            while registry.running.http.transfers.held() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let free = tokio::time::timeout(std::time::Duration::from_secs(30), places).await;
        free.expect("every place is free again");
    }

    #[tokio::test]
    async fn an_index_of_what_is_not_there_has_a_limit() {
        let registry = TestRegistry::start().await;
        let docker = registry.with_key(&registry.main_key());
        let index = |children: usize| {
            let child = |number: usize| json!({"mediaType": MANIFEST, "size": 1, "digest": format!("sha256:{number:064x}")});
            let children: Vec<_> = (0..children).map(child).collect();
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": children});
            docker
                .request(Method::PUT, "/v2/t-main/app/manifests/v1")
                .header("content-type", INDEX)
                .body(index.to_string())
        };
        Reply::of(index(1_000)).await.expect(201);
        let refused = Reply::of(index(1_001)).await.expect(400);
        let message = refused.text();
        assert!(message.contains("at most 1000 are taken"), "{message}");
    }

    /// A manifest of the greatest size that JSON can blow up most: an array of empty objects.
    fn hostile(bytes: usize) -> Vec<u8> {
        let mut text = String::from("{\"layers\":[{}");
        while text.len() + 5 < bytes {
            text.push_str(",{}");
        }
        text.push_str("]}");
        text.into_bytes()
    }

    #[tokio::test]
    async fn many_hostile_manifests_at_once_are_parsed_a_few_at_a_time() {
        let server = Folder::new().start(&[]);
        let docker = server.docker();
        let before = server.peak_memory_bytes();
        let body = bytes::Bytes::from(hostile(4 * 1024 * 1024 - 16));
        let puts: Vec<_> = (0..12)
            .map(|number| {
                let path = format!("/v2/t-main/app/manifests/v{number}");
                let request = docker
                    .request(Method::PUT, &path)
                    .header("content-type", MANIFEST)
                    .body(body.clone());
                tokio::spawn(Reply::of(request))
            })
            .collect();
        let mut parsed = 0;
        for put in puts {
            // Those that find the workspace's part of the memory taken are told to come back.
            let status = put.await.unwrap().status;
            parsed += usize::from(status == 400);
            assert!([400, 503].contains(&status), "{status}");
        }
        assert!(parsed >= 2, "{parsed}");
        let grown = server.peak_memory_bytes() - before;
        // What is buffered, twice while a buffer grows, and what two parsers hold.
        let limit = 2 * 64 * MIB + 2 * 64 * MIB;
        assert!(grown < limit, "{} MiB", grown / MIB);
    }
}
