//! Behind proxies: whose word on host, scheme and address counts.

use berth::config::Config;
use berth::http::Door;
use reqwest::Method;
use serde_json::json;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Login, Reply};
use crate::support::process::Folder;

async fn start(change: impl FnOnce(&mut Config)) -> TestRegistry {
    TestRegistry::start_with(TestDatabase::Sqlite, change).await
}

fn trusting(config: &mut Config) {
    config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

/// The realm that a first request is sent to.
async fn realm(registry: &TestRegistry, headers: &[(&str, &str)]) -> String {
    let door = registry.distribution(Door::Public, Login::Nobody);
    let mut request = door.request(Method::GET, "/v2/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let reply = Reply::of(request).await.expect(401);
    let challenge = reply.header("www-authenticate");
    let (_, rest) = challenge.split_once("realm=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

#[tokio::test]
async fn the_word_of_a_trusted_proxy_makes_the_realm() {
    let registry = start(trusting).await;
    let own = format!("{}/token", registry.url(Door::Public));
    let tls = own.replacen("http:", "https:", 1);
    for (headers, expected) in [
        (&[][..], own.as_str()),
        (&[("x-forwarded-proto", "https")], &tls),
        (&[("x-forwarded-proto", "HTTPS")], &tls),
        (&[("x-forwarded-proto", "http")], &own),
        (
            &[("x-forwarded-host", "r.example.com:8443")],
            "http://r.example.com:8443/token",
        ),
        (
            &[
                ("x-forwarded-host", "[2001:db8::1]:443"),
                ("x-forwarded-proto", "https"),
            ],
            "https://[2001:db8::1]:443/token",
        ),
        // Of a list, what the nearest proxy added.
        (
            &[
                ("x-forwarded-host", "evil.example.com, r.example.com"),
                ("x-forwarded-proto", "http, https"),
            ],
            "https://r.example.com/token",
        ),
        (
            &[
                ("x-forwarded-host", "evil.example.com"),
                ("x-forwarded-host", "r.example.com"),
            ],
            "http://r.example.com/token",
        ),
        // What means nothing counts as not said.
        (&[("x-forwarded-host", "a\"b")], &own),
        (&[("x-forwarded-host", "r.example.com/x")], &own),
        (&[("x-forwarded-host", "")], &own),
        (&[("x-forwarded-host", "r.example.com,")], &own),
        (&[("x-forwarded-proto", "javascript")], &own),
        (&[("x-forwarded-proto", "https,")], &own),
        (&[("forwarded", "proto=https;host=r.example.com")], &own),
    ] {
        assert_eq!(realm(&registry, headers).await, expected, "{headers:?}");
    }
}

#[tokio::test]
async fn nobody_elses_word_counts() {
    let headers = [
        ("x-forwarded-host", "evil.example.com"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", "127.0.0.1"),
    ];
    for proxies in [vec![], vec!["192.0.2.0/24"]] {
        let registry = start(|config| {
            let ranges = proxies.iter().map(|range| range.parse().unwrap());
            config.server.trusted_proxies = ranges.collect();
        })
        .await;
        let own = format!("{}/token", registry.url(Door::Public));
        assert_eq!(realm(&registry, &headers).await, own);
    }
}

#[tokio::test]
async fn a_configured_url_wins_over_every_proxy() {
    let registry = start(|config| {
        trusting(config);
        config.server.public_url = Some("https://registry.example.com".parse().unwrap());
    })
    .await;
    let headers = [("x-forwarded-host", "other.example.com")];
    assert_eq!(
        realm(&registry, &headers).await,
        "https://registry.example.com/token"
    );
}

#[tokio::test]
async fn issued_names_are_those_the_proxy_is_reached_by() {
    let registry = start(trusting).await;
    let issued = registry
        .distribution(Door::Public, Login::Bearer(registry.main_key()))
        .request(Method::POST, "/api/v1/registry/credentials")
        .header("x-forwarded-host", "r.example.com")
        .json(&json!({}));
    let issued = Reply::of(issued).await.expect(200).json();
    assert_eq!(issued["data"]["pushRegistry"], "r.example.com/t-main");
}

/// The file is what `tests/clients/nginx.rs` runs.
#[test]
fn the_documentation_shows_the_configuration_that_is_tested() {
    let tested = include_str!("../../config/nginx.conf");
    let documented = include_str!("../../docs/operations.md");
    assert!(documented.contains(tested));
}

/// The addresses of the log, after one request with each `X-Forwarded-For`.
async fn logged(proxies: &str, values: &[&str]) -> Vec<String> {
    let environment = [
        ("BERTH_LOG__FORMAT", "json"),
        ("BERTH_SERVER__TRUSTED_PROXIES", proxies),
    ];
    let server = Folder::new().start(&environment);
    let docker = server.docker();
    for value in values {
        let request = docker
            .request(Method::DELETE, "/nothing")
            .header("x-forwarded-for", *value);
        Reply::of(request).await.expect(404);
    }
    server.terminate();
    let (status, folder) = server.ended();
    assert!(status.success(), "{status}");
    let log = folder.log();
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["message"] == "request answered")
        .map(|line| line["address"].as_str().unwrap().to_owned());
    lines.collect()
}

#[tokio::test]
async fn the_log_names_the_client_behind_a_trusted_proxy() {
    let values = [
        "192.0.2.1",
        "203.0.113.9, 192.0.2.1",
        "[2001:db8::1]:4711",
        "nonsense",
    ];
    assert_eq!(
        logged("127.0.0.1", &values).await,
        ["192.0.2.1", "192.0.2.1", "2001:db8::1", "127.0.0.1"]
    );
    assert_eq!(logged("", &values).await, ["127.0.0.1"; 4]);
}
