//! The limits of the doors: on silence, on heads, on connections, and on clients that read nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use berth::config::Config;
use berth::http::Door;
use futures_util::stream;
use reqwest::{Client, Method, Version};

use crate::raw::{Raw, authorization, cut, open, until};
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Login, Reply};

const REPOSITORY: &str = "t-main/app";
/// More than every buffer between a door and a client holds.
const LARGE_BYTES: usize = 8 << 20;

/// A registry that waits for nothing longer than three seconds: a slow test needs one of them for itself.
async fn impatient(change: impl FnOnce(&mut Config)) -> TestRegistry {
    TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        config.server.header_read_timeout_seconds = 3;
        config.server.response_idle_timeout_seconds = 3;
        change(config);
    })
    .await
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut() {
    let registry = impatient(|_| {}).await;
    let mut silent = Raw::connect(&registry, Door::Public).await;
    assert_eq!(silent.rest().await, "");
    until(1, async || cut(&registry, "silent").await).await;
    until(0, async || open(&registry).await).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut() {
    let registry = impatient(|_| {}).await;
    for (number, beginning) in [
        (1, "G"),
        (2, "GET /v2/ HTTP/1.1\r\nHost: "),
        // As far as HTTP/2 begins too, and further.
        (3, "P"),
        (4, "PRI * HTTP/2.0\r\n"),
    ] {
        let mut slow = Raw::connect(&registry, Door::Public).await;
        slow.send(beginning).await;
        slow.read_to_any_end().await;
        until(number, async || cut(&registry, "header").await).await;
    }
    assert_eq!(cut(&registry, "silent").await, 0);
}

#[tokio::test]
async fn a_connection_without_a_further_request_is_cut() {
    let registry = impatient(|_| {}).await;
    let mut idle = Raw::connect(&registry, Door::Public).await;
    for _ in 0..2 {
        idle.send_head("GET /nothing", "").await;
        assert!(idle.head().await.starts_with("HTTP/1.1 404"));
        let body = idle.read(4096).await.unwrap();
        assert!(!body.is_empty());
    }
    assert_eq!(idle.rest().await, "");
    until(1, async || cut(&registry, "idle").await).await;
    assert_eq!(cut(&registry, "header").await, 0);
}

#[tokio::test]
async fn a_connection_with_one_request_after_the_other_lives_on() {
    let limit = Duration::from_secs(3);
    let registry = impatient(|config| {
        config.server.header_read_timeout_seconds = limit.as_secs();
    })
    .await;
    let mut busy = Raw::connect(&registry, Door::Public).await;
    let begun = Instant::now();
    while begun.elapsed() < limit + Duration::from_secs(1) {
        busy.send_head("GET /nothing", "").await;
        let head = busy.head().await;
        assert!(head.starts_with("HTTP/1.1 404"), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
        assert!(!busy.read(4096).await.unwrap().is_empty());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(cut(&registry, "idle").await, 0);
}

fn http2() -> Client {
    let builder = Client::builder().no_proxy().http2_prior_knowledge();
    builder.build().unwrap()
}

#[tokio::test]
async fn an_http2_connection_without_a_stream_is_cut() {
    let registry = impatient(|_| {}).await;
    let client = http2();
    let url = format!("{}/nothing", registry.url(Door::Public));
    let reply = client.get(&url).send().await.unwrap();
    assert_eq!(reply.version(), Version::HTTP_2);
    assert_eq!(reply.status(), 404);
    drop(reply);
    until(1, async || cut(&registry, "idle").await).await;
    until(0, async || open(&registry).await).await;
    let again = client.get(&url).send().await.unwrap();
    assert_eq!(again.status(), 404);
}

#[tokio::test]
async fn an_http2_connection_that_never_had_a_stream_is_cut() {
    let registry = impatient(|_| {}).await;
    let mut client = Raw::connect(&registry, Door::Public).await;
    // The preface and empty settings (RFC 9113 section 3.4); pings are never answered.
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    client.read_to_any_end().await;
    until(1, async || cut(&registry, "header").await).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431_whatever_else_is_sent() {
    let registry = impatient(|config| config.server.header_limit_bytes = 8192).await;
    let mut fits = Raw::connect(&registry, Door::Public).await;
    let padding = "a".repeat(7 * 1024);
    fits.send_head("GET /nothing", &format!("X-Padding: {padding}\r\n"))
        .await;
    assert!(fits.head().await.starts_with("HTTP/1.1 404"));

    let mut large = Raw::connect(&registry, Door::Public).await;
    let padding = "a".repeat(8 << 20);
    large
        .send_head("GET /nothing", &format!("X-Padding: {padding}\r\n"))
        .await;
    assert!(large.head().await.starts_with("HTTP/1.1 431"));
    assert_eq!(large.rest().await, "");
    until(1, async || cut(&registry, "header").await).await;

    let reply = http2()
        .get(format!("{}/nothing", registry.url(Door::Public)))
        .header("x-padding", "a".repeat(9 * 1024))
        .send()
        .await;
    // Answered, or reset when the client had not yet heard of the limit.
    assert!(reply.map_or(true, |reply| reply.status() == 431));
}

#[tokio::test]
async fn what_is_no_http_is_answered_400() {
    let registry = impatient(|_| {}).await;
    let mut other = Raw::connect(&registry, Door::Public).await;
    other
        .send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        .await;
    assert!(other.rest().await.starts_with("HTTP/1.1 400"));
    until(1, async || cut(&registry, "header").await).await;
}

#[tokio::test]
async fn a_door_holds_no_more_connections_than_it_may() {
    let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        config.server.max_connections = 2;
    })
    .await;
    let mut first = Raw::connect(&registry, Door::Public).await;
    first.send_head("GET /nothing", "").await;
    first.head().await;
    // One that says nothing counts too.
    let second = Raw::connect(&registry, Door::Public).await;
    until(2, async || open(&registry).await).await;
    let mut third = Raw::connect(&registry, Door::Public).await;
    third.send_head("GET /nothing", "").await;
    for _ in 0..20 {
        assert_eq!(open(&registry).await, 2);
    }
    drop(second);
    assert!(third.head().await.starts_with("HTTP/1.1 404"));
    assert_eq!(open(&registry).await, 2);
}

/// Pushes a blob that fits into no buffer.
async fn large_blob(docker: &Distribution) -> Content {
    let content = Content::new(vec![7; LARGE_BYTES]);
    docker.push_blob(REPOSITORY, &content).await.expect(201);
    content
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut() {
    let registry = impatient(|_| {}).await;
    let content = large_blob(&registry.with_key(&registry.main_key())).await;
    let mut client = Raw::connect_narrow(&registry, Door::Public).await;
    let line = format!("GET /v2/{REPOSITORY}/blobs/{}", content.digest);
    client
        .send_head(&line, &authorization(&registry.main_key()))
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    until(1, async || cut(&registry, "stalled").await).await;
    until(0, async || open(&registry).await).await;
    assert!(client.read_to_any_end().await < LARGE_BYTES);
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_all_of_it() {
    let registry = impatient(|config| config.server.response_idle_timeout_seconds = 6).await;
    let content = large_blob(&registry.with_key(&registry.main_key())).await;
    let mut client = Raw::connect_narrow(&registry, Door::Public).await;
    let line = format!("GET /v2/{REPOSITORY}/blobs/{}", content.digest);
    let headers = format!(
        "{}Connection: close\r\n",
        authorization(&registry.main_key())
    );
    client.send_head(&line, &headers).await;
    client.head().await;
    let mut count = 0;
    // For longer than the limit, at a pace at which a socket's own buffer would hide the progress.
    for _ in 0..80 {
        count += client.read(32 * 1024).await.unwrap().len();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    count += client.read_to_any_end().await;
    assert_eq!(count, LARGE_BYTES);
    assert_eq!(cut(&registry, "stalled").await, 0);
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_reset_and_its_connection_lives_on() {
    let registry = impatient(|config| config.server.header_read_timeout_seconds = 60).await;
    let docker = Distribution::new(
        &http2(),
        &registry.url(Door::Public),
        Login::key(&registry.main_key()),
    );
    let content = large_blob(&docker).await;
    let path = format!("/v2/{REPOSITORY}/blobs/{}", content.digest);
    let stalled = docker.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(stalled.status(), 200);
    assert_eq!(stalled.version(), Version::HTTP_2);
    docker.get("/v2/").await.expect(200);
    until(1, async || cut(&registry, "stalled_stream").await).await;
    stalled.bytes().await.expect_err("it was reset");
    docker.get("/v2/").await.expect(200);
    let whole = docker.get(&path).await.expect(200);
    assert!(whole.body == content.bytes);
    assert_eq!(cut(&registry, "stalled").await, 0);
    assert_eq!(open(&registry).await, 1);
}

/// What a refused request is, and how it is answered.
struct Refused {
    line: String,
    headers: String,
    status: u16,
}

async fn refusals(registry: &TestRegistry) -> Vec<Refused> {
    let key = authorization(&registry.main_key());
    let unknown = "6a0ab4c3-7a2e-4d0c-8a4b-6c1b1a9c2f00";
    let put = |tag: &str| format!("PUT /v2/{REPOSITORY}/manifests/{tag}");
    let refused = |line: String, headers: &str, status| Refused {
        line,
        headers: headers.to_owned(),
        status,
    };
    let digest = Content::new("other").digest;
    vec![
        refused(put("v1"), "", 401),
        refused(put("v1"), &key, 413),
        refused(put("-"), &key, 400),
        refused(
            String::from("POST /v2/t-rival/app/blobs/uploads/"),
            &key,
            403,
        ),
        refused(
            format!("PATCH /v2/{REPOSITORY}/blobs/uploads/{unknown}"),
            &key,
            404,
        ),
        refused(
            format!("PUT /v2/{REPOSITORY}/blobs/uploads/{unknown}?digest={digest}"),
            "",
            401,
        ),
        refused(String::from("POST /api/v1/registry/credentials"), &key, 413),
        refused(String::from("POST /nothing"), "", 404),
    ]
}

#[tokio::test]
async fn a_client_that_writes_everything_first_hears_why_it_is_refused() {
    let registry = TestRegistry::start().await;
    let body = vec![b'a'; 8 << 20];
    for refused in refusals(&registry).await {
        for chunked in [false, true] {
            let mut client = Raw::connect(&registry, Door::Public).await;
            let length = if chunked {
                String::from("Transfer-Encoding: chunked\r\n")
            } else {
                format!("Content-Length: {}\r\n", body.len())
            };
            let headers = format!("{}{length}", refused.headers);
            client.send_head(&refused.line, &headers).await;
            if chunked {
                client.send(format!("{:x}\r\n", body.len())).await;
            }
            client.send(&body).await;
            if chunked {
                client.send("\r\n0\r\n\r\n").await;
            }
            let head = client.head().await;
            let status = format!("HTTP/1.1 {}", refused.status);
            assert!(head.starts_with(&status), "{}: {head}", refused.line);
            assert!(head.contains("connection: close"), "{head}");
            client.rest().await;
        }
    }
    until(0, async || open(&registry).await).await;
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_before_it_comes() {
    let registry = TestRegistry::start().await;
    let key = authorization(&registry.main_key());
    for line in [
        format!("PUT /v2/{REPOSITORY}/manifests/v1"),
        String::from("POST /api/v1/registry/credentials"),
    ] {
        for expect in ["", "Expect: 100-continue\r\n"] {
            let mut client = Raw::connect(&registry, Door::Public).await;
            let headers = format!("{key}{expect}Content-Length: 1000000000\r\n");
            client.send_head(&line, &headers).await;
            let head = client.head().await;
            assert!(head.starts_with("HTTP/1.1 413"), "{line}: {head}");
            assert!(head.contains("connection: close"), "{head}");
        }
    }
}

#[tokio::test]
async fn a_body_that_was_read_keeps_the_connection_open() {
    let registry = TestRegistry::start().await;
    let key = authorization(&registry.main_key());
    let mut client = Raw::connect(&registry, Door::Public).await;
    for (length, body) in [
        ("Content-Length: 2\r\n", "{}"),
        ("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("", ""),
    ] {
        let headers = format!("{key}Content-Type: application/json\r\n{length}");
        client
            .send_head(&format!("PUT /v2/{REPOSITORY}/manifests/v1"), &headers)
            .await;
        client.send(body).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 400"), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
        let body = client.read(4096).await.unwrap();
        assert!(body.ends_with(b"}"));
    }
    let upload = format!(
        "POST /v2/{REPOSITORY}/blobs/uploads/?digest={}",
        Content::new("hello").digest
    );
    for (length, body) in [
        ("Content-Length: 5\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        client.send_head(&upload, &format!("{key}{length}")).await;
        client.send(body).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 201"), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
    }
}

/// As nginx does that passes bodies on while its own client never pauses.
#[tokio::test]
async fn a_client_that_listens_only_when_all_is_sent_hears_a_refusal() {
    let registry = TestRegistry::start().await;
    let mut client = Raw::connect(&registry, Door::Public).await;
    let upload =
        format!("PATCH /v2/{REPOSITORY}/blobs/uploads/6a0ab4c3-7a2e-4d0c-8a4b-6c1b1a9c2f00");
    client
        .send_head(&upload, "Transfer-Encoding: chunked\r\n")
        .await;
    let mebibyte = format!("100000\r\n{}\r\n", "a".repeat(1 << 20));
    for _ in 0..96 {
        client.send(&mebibyte).await;
    }
    client.send("0\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 401"), "{head}");
}

#[tokio::test]
async fn over_http2_a_refused_body_is_read_to_its_end_and_the_connection_lives_on() {
    let registry = TestRegistry::start_on(TestDatabase::one_server()).await;
    let docker = Distribution::new(
        &http2(),
        &registry.url(Door::Public),
        Login::key(&registry.main_key()),
    );
    docker.get("/v2/").await.expect(200);
    for _ in 0..3 {
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&taken);
        let pieces = (0..8).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(vec![b'a'; 1 << 20])
        });
        let put = docker
            .request(Method::PUT, &format!("/v2/{REPOSITORY}/manifests/v1"))
            .header("content-length", 8 << 20)
            .body(reqwest::Body::wrap_stream(stream::iter(pieces)));
        let reply = Reply::of(put).await.expect(413);
        assert_eq!(reply.header("connection"), "");
        until(8, async || taken.load(Ordering::Relaxed)).await;
    }
    docker.get("/v2/").await.expect(200);
    assert_eq!(open(&registry).await, 1);
}

#[tokio::test]
async fn one_address_does_not_hold_every_connection_of_a_door() {
    let change = |config: &mut Config| config.server.max_connections_per_address = 2;
    let registry = TestRegistry::start_with(TestDatabase::Sqlite, change).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut one = Raw::connect(&registry, Door::Public).await;
        one.send_head("GET /nothing", "").await;
        assert!(one.head().await.starts_with("HTTP/1.1 404"));
        held.push(one);
    }
    let mut third = Raw::connect(&registry, Door::Public).await;
    third.read_to_any_end().await;
    until(1, async || cut(&registry, "address").await).await;
    drop(held);
    until(0, async || open(&registry).await).await;
    let mut again = Raw::connect(&registry, Door::Public).await;
    again.send_head("GET /nothing", "").await;
    assert!(again.head().await.starts_with("HTTP/1.1 404"));

    let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        change(config);
        config.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut one = Raw::connect(&registry, Door::Public).await;
        one.send_head("GET /nothing", "").await;
        assert!(one.head().await.starts_with("HTTP/1.1 404"));
        held.push(one);
    }
}
