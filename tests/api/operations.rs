//! The operator's door: health, readiness, metrics; and the id that every request gets.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use berth::http::Door;
use regex::Regex;
use serde_json::json;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Distribution, Login, Reply, image};

/// How long the workers of the collector may take until they have told of themselves.
const LIMIT: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

fn ops(registry: &TestRegistry) -> Distribution {
    registry.distribution(Door::Ops, Login::Nobody)
}

#[tokio::test]
async fn a_running_server_is_healthy_and_ready_without_credentials() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let ops = ops(&registry);
        assert_eq!(ops.get("/healthz").await.expect(200).text(), "ok\n");
        assert_eq!(ops.get("/readyz").await.expect(200).text(), "ready\n");
        registry.running.stop().await;
    }
}

#[tokio::test]
async fn a_storage_that_cannot_be_written_makes_it_unready_until_it_can() {
    let registry = TestRegistry::start_on(TestDatabase::one_server()).await;
    let ops = ops(&registry);
    let staging = registry.config().blobs_path().join("staging");
    let aside = staging.with_extension("aside");
    // To root every folder is writable; a file in its place is to nobody.
    std::fs::rename(&staging, &aside).unwrap();
    std::fs::write(&staging, "").unwrap();
    let reply = ops.get("/readyz").await.expect(503);
    assert_eq!(reply.text(), "not ready: the storage\n");
    ops.get("/healthz").await.expect(200);
    std::fs::remove_file(&staging).unwrap();
    std::fs::rename(&aside, &staging).unwrap();
    ops.get("/readyz").await.expect(200);
}

/// One of everything that is counted.
async fn traffic(registry: &TestRegistry) {
    let docker = registry.with_key(&registry.main_key());
    let content = image().layer("layer").build();
    docker.push_image("t-main/app", "v1", &content).await;
    docker.open_upload("t-main/app").await;
    docker.get("/v2/t-main/app/manifests/v1").await.expect(200);
    docker.get("/v2/t-rival/app/tags/list").await.expect(403);
    let nobody = docker.with(Login::Nobody);
    nobody.get("/v2/").await.expect(401);
    docker
        .with(Login::key("wrong"))
        .get("/v2/")
        .await
        .expect(401);
    nobody.get("/nothing/here").await.expect(404);
}

#[tokio::test]
async fn metrics_tell_what_went_through_the_doors() {
    for database in [TestDatabase::one_server()] {
        let registry = TestRegistry::start_on(database).await;
        traffic(&registry).await;
        let reply = ops(&registry).get("/metrics").await.expect(200);
        assert!(reply.header("content-type").starts_with("text/plain"));
        let text = reply.text();
        let put = r#"door="public",method="PUT",route="/v2/{name}/manifests/{reference}""#;
        for line in [
            &format!("berth_http_requests_total{{{put},status=\"201\"}} 1"),
            r#"berth_http_requests_total{door="public",method="GET",route="unmatched",status="404"} 1"#,
            r#"berth_auth_failures_total{reason="password"} 1"#,
            r#"berth_auth_failures_total{reason="denied"} 1"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        // Every client begins without credentials: that is no failure.
        assert!(!text.contains("anonymous"), "{text}");
        for name in ["t-main", "t-rival", "nothing"] {
            assert!(
                !text.contains(name),
                "a label must be bounded: {name}\n{text}"
            );
        }
        registry.running.stop().await;
    }
}

/// Every metric there is, from the one file that names them.
fn metric_names() -> BTreeSet<String> {
    let source = include_str!("../../src/telemetry.rs");
    let code = source.split("mod tests {").next().unwrap();
    let name = Regex::new("\"(berth_[a-z_]+)\"").unwrap();
    let names = name.captures_iter(code);
    names.map(|found| found[1].to_owned()).collect()
}

/// Metrics that ordinary traffic does not move; the tests of TLS and of the listeners do.
const OF_LISTENERS: [&str; 2] = [
    "berth_connections_closed_total",
    "berth_tls_certificate_expires_seconds",
];

/// What the operators' dashboards will ask for: a metric that is named and never written is a promise not kept.
#[tokio::test]
async fn every_metric_has_a_value_after_traffic() {
    let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        config.limits.tag_parameters = 0;
        config.collection.workers = 2;
    })
    .await;
    traffic(&registry).await;
    let docker = registry.with_key(&registry.main_key());
    let layer = image().layer("layer").build().layers[0].digest.clone();
    let blob = format!("/v2/t-main/app/blobs/{layer}");
    docker.get(&blob).await.expect(200);
    let digest = docker.head("/v2/t-main/app/manifests/v1").await;
    let digest = digest.header("docker-content-digest");
    let path = format!("/v2/t-main/app/manifests/{digest}?tag=v2");
    let manifest = docker.get("/v2/t-main/app/manifests/v1").await;
    let tagged = docker
        .request(reqwest::Method::PUT, &path)
        .header("content-type", manifest.header("content-type"))
        .body(manifest.body);
    Reply::of(tagged).await.expect(414);
    let has_value = |text: &str, name: &str| {
        text.lines().any(|line| {
            let rest = line.strip_prefix(name).unwrap_or("");
            let rest = rest.strip_prefix("_count").unwrap_or(rest);
            rest.starts_with(['{', ' '])
        })
    };
    let mut names = metric_names();
    names.retain(|name| !OF_LISTENERS.contains(&name.as_str()));
    let begun = Instant::now();
    let text = loop {
        let text = ops(&registry).get("/metrics").await.expect(200).text();
        let missing = names.iter().find(|name| !has_value(&text, name));
        let Some(missing) = missing else {
            break text;
        };
        assert!(begun.elapsed() < LIMIT, "{missing} has no value\n{text}");
        tokio::time::sleep(POLL).await;
    };
    for operation in ["wait", "read", "change"] {
        let counted =
            format!("berth_database_duration_seconds_count{{operation=\"{operation}\"}} ");
        assert!(text.contains(&counted), "{counted}\n{text}");
    }
    for operation in ["open", "sync", "publish"] {
        let counted = format!("berth_storage_duration_seconds_count{{operation=\"{operation}\"}} ");
        assert!(text.contains(&counted), "{counted}\n{text}");
    }
}

#[test]
fn the_manual_lists_every_metric_and_no_other() {
    let manual = include_str!("../../docs/operations.md");
    let row = Regex::new("(?m)^\\| `(berth_[a-z_]+)` \\|").unwrap();
    let listed: BTreeSet<String> = row
        .captures_iter(manual)
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(listed, metric_names());
}

#[tokio::test]
async fn a_sane_request_id_comes_back_and_another_is_replaced() {
    let registry = TestRegistry::start().await;
    let own = Regex::new("^[0-9a-f]{32}$").unwrap();
    let longest = "a".repeat(64);
    let too_long = "a".repeat(65);
    for (door, path) in [
        (Door::Public, "/v2/"),
        (Door::Public, "/api/v1/whoami"),
        (Door::Public, "/v2/t-main/app/tags/list"),
        (Door::Public, "/nothing"),
        (Door::Pull, "/token"),
        (Door::Ops, "/healthz"),
    ] {
        let door = registry.distribution(door, Login::Nobody);
        let id_of = async |sent: Option<&[u8]>| {
            let mut request = door.request(reqwest::Method::GET, path);
            if let Some(sent) = sent {
                request = request.header("x-request-id", sent);
            }
            Reply::of(request).await.header("x-request-id").to_owned()
        };
        for sane in ["a", "Request.1_2-3", longest.as_str()] {
            assert_eq!(id_of(Some(sane.as_bytes())).await, sane, "{path}");
        }
        for other in ["", "a b", "a\"b", "a\u{e9}", too_long.as_str()] {
            let id = id_of(Some(other.as_bytes())).await;
            assert!(own.is_match(&id), "{path}: {other} gives {id}");
        }
        let (first, second) = (id_of(None).await, id_of(None).await);
        assert!(own.is_match(&first) && first != second, "{path}");
    }
}

#[tokio::test]
async fn the_pull_door_reads_and_says_so_when_it_is_asked_to_write() {
    let registry = TestRegistry::start().await;
    let content = image().layer("layer").build();
    let docker = registry.with_key(&registry.main_key());
    docker.push_image("t-main/app", "v1", &content).await;
    let node = registry.distribution(Door::Pull, docker.login.clone());
    let node = node.exchanged(&["repository:t-main/app:pull"]).await;
    let pulled = node.get("/v2/t-main/app/manifests/v1").await.expect(200);
    assert_eq!(pulled.body, content.manifest.bytes);
    let layer = &content.layers[0];
    let path = format!("/v2/t-main/app/blobs/{}", layer.digest);
    assert_eq!(node.get(&path).await.expect(200).body, layer.bytes);
    node.head(&path).await.expect(200);
    let put = node
        .put_manifest("t-main/app", "v2", &content.manifest)
        .await;
    let put = put.expect(405);
    assert_eq!(put.header("allow"), "GET, HEAD");
    let post = node.push_blob("t-main/app", layer).await.expect(405);
    assert!(post.text().contains("for pulls alone"), "{}", post.text());
    let credentials = node.request(reqwest::Method::POST, "/api/v1/registry/credentials");
    Reply::of(credentials.json(&json!({}))).await.expect(404);
    let challenge = registry
        .distribution(Door::Pull, Login::Nobody)
        .get("/v2/")
        .await
        .expect(401);
    let realm = format!("realm=\"{}/token\"", registry.url(Door::Pull));
    assert!(challenge.header("www-authenticate").contains(&realm));
}
