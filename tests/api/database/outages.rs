//! A database that goes away or hangs: every request ends soon with 503 and Retry-After, nothing is answered from what
//! was, and all goes on without a restart when it is back.

use std::time::{Duration, Instant};

use berth::http::Door;
use reqwest::Method;

use super::line::{Line, State};
use crate::support::TestRegistry;
use crate::support::database::{TestDatabase, postgres_server};
use crate::support::distribution::{Distribution, Login, Reply, image};

const REPOSITORY: &str = "t-main/app";
/// What a request may take while the database hangs: to wait for a connection, and for one answer.
const LIMIT: Duration = Duration::from_secs(30);
/// How soon everything works again.
const RECOVERY: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);
/// Requests at one time: more than the pool has connections.
const AT_ONCE: usize = 12;

/// A registry whose database is at the other end of a line; none without PostgreSQL.
async fn start() -> Option<(TestRegistry, Line)> {
    if !TestDatabase::available().contains(&TestDatabase::Postgres) {
        return None;
    }
    let server = postgres_server().unwrap();
    let (_, rest) = server.rsplit_once('@').unwrap();
    let (target, _) = rest.split_once('/').unwrap();
    let line = Line::to(target.to_owned()).await;
    let there = line.address().to_string();
    let target = target.to_owned();
    let registry = TestRegistry::start_with(TestDatabase::Postgres, move |config| {
        let url = config.database.url.as_ref().unwrap().expose();
        config.database.url = Some(url.replace(&target, &there).parse().unwrap());
        config.database.acquire_timeout_seconds = 3;
        config.database.statement_timeout_seconds = 3;
    })
    .await;
    Some((registry, line))
}

async fn expect_unavailable(what: &str, request: reqwest::RequestBuilder) {
    let since = Instant::now();
    let reply = Reply::of(request).await;
    assert_eq!(reply.status, 503, "{what}: {}", reply.text());
    assert!(!reply.header("retry-after").is_empty(), "{what}");
    assert!(since.elapsed() < LIMIT, "{what} took {:?}", since.elapsed());
}

async fn everything_is_unavailable(registry: &TestRegistry, docker: &Distribution) {
    let api = format!("{}/api/v1/images", registry.url(Door::Public));
    let key = registry.main_key();
    let manifest = format!("/v2/{REPOSITORY}/manifests/v1");
    let uploads = format!("/v2/{REPOSITORY}/blobs/uploads/");
    tokio::join!(
        expect_unavailable("a pull", docker.request(Method::GET, &manifest)),
        expect_unavailable("a push", docker.request(Method::POST, &uploads)),
        expect_unavailable("a deletion", docker.request(Method::DELETE, &manifest)),
        expect_unavailable("the API", docker.client.get(api).bearer_auth(key)),
    );
    let ops = registry.distribution(Door::Ops, Login::Nobody);
    ops.get("/readyz").await.expect(503);
    ops.get("/healthz").await.expect(200);
}

async fn everything_works_again(registry: &TestRegistry, docker: &Distribution, tag: &str) {
    let ops = registry.distribution(Door::Ops, Login::Nobody);
    let since = Instant::now();
    while ops.get("/readyz").await.status != 200 {
        assert!(since.elapsed() < RECOVERY, "it does not recover");
        tokio::time::sleep(POLL).await;
    }
    let manifest = format!("/v2/{REPOSITORY}/manifests/v1");
    // Every connection of the pool has its place back.
    let pulls = (0..AT_ONCE).map(|_| docker.get(&manifest));
    loop {
        let replies = futures_util::future::join_all(pulls.clone()).await;
        if replies.iter().all(|reply| reply.status == 200) {
            break;
        }
        assert!(since.elapsed() < RECOVERY, "some pulls fail: {replies:?}");
    }
    let content = image().layer(format!("pushed for {tag}")).build();
    docker.push_image(REPOSITORY, tag, &content).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_cut_off_is_503_until_it_is_back() {
    let Some((registry, line)) = start().await else {
        return;
    };
    let docker = registry.with_key(&registry.main_key());
    let content = image().layer("layer").build();
    docker.push_image(REPOSITORY, "v1", &content).await;
    line.set(State::IsCut);
    everything_is_unavailable(&registry, &docker).await;
    line.set(State::Carries);
    everything_works_again(&registry, &docker, "v2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_keeps_no_request_waiting() {
    let Some((registry, line)) = start().await else {
        return;
    };
    let docker = registry.with_key(&registry.main_key());
    let content = image().layer("layer").build();
    docker.push_image(REPOSITORY, "v1", &content).await;
    for tag in ["v2", "v3"] {
        line.set(State::Hangs);
        everything_is_unavailable(&registry, &docker).await;
        line.set(State::Carries);
        everything_works_again(&registry, &docker, tag).await;
    }
}
