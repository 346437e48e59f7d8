//! A request that writes for long: no other server ends its session, and it ends when another request took it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use reqwest::Body;
use tokio::sync::mpsc;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;

const REPOSITORY: &str = "t-main/app";
/// How long a session may rest: a request says four times in that time that it is at work, once a second here.
const IDLE_SECONDS: u64 = 4;
/// Past this, a sign of life that should come is missing.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// A body that goes on as long as the test holds its other end.
fn body() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let chunks = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(bytes), receiver))
    });
    (sender, Body::wrap_stream(chunks))
}

async fn start() -> Option<TestRegistry> {
    if !TestDatabase::available().contains(&TestDatabase::Postgres) {
        return None;
    }
    let registry = TestRegistry::start_with(TestDatabase::Postgres, |config| {
        config.limits.upload_idle_seconds = IDLE_SECONDS;
    });
    Some(registry.await)
}

/// Waits until a statement answers `wanted`.
async fn until(registry: &TestRegistry, statement: &str, wanted: i64) {
    let since = Instant::now();
    while registry.number(statement).await != wanted {
        assert!(since.elapsed() < LIMIT, "{statement} is not {wanted}");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_written_to_is_not_ended_by_another_server() {
    let Some(first) = start().await else {
        return;
    };
    let second = first.replica().await;
    let docker = first.with_key(&first.main_key());
    let location = docker.open_upload(REPOSITORY).await;
    let (sender, body) = body();
    let patching = tokio::spawn({
        let (docker, location) = (docker.clone(), location.clone());
        async move { docker.patch(&location, body).await }
    });
    sender.send(Bytes::from_static(b"begun, ")).await.unwrap();
    until(&first, "SELECT MAX(epoch) FROM uploads", 1).await;
    // Time passes, and the request says again that it is at work.
    let idle_ms = i64::try_from(IDLE_SECONDS * 1000).unwrap();
    for _ in 0..3 {
        first.clock.advance(idle_ms * 3 / 4);
        let now = first.clock.now().0;
        until(&first, "SELECT MAX(touched_at) FROM uploads", now).await;
    }
    let there = &second.running.http.registry;
    let expire = async || {
        let now = first.clock.now();
        there.expire_uploads(now, idle_ms, idle_ms, 100).await
    };
    assert_eq!(expire().await.unwrap(), 0);
    sender.send(Bytes::from_static(b"and ended")).await.unwrap();
    drop(sender);
    let reply = patching.await.unwrap().expect(202);
    assert_eq!(reply.header("range"), "0-15");
    // One that nobody writes to ends there as everywhere.
    first.clock.advance(2 * idle_ms);
    assert_eq!(expire().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_session_was_taken_elsewhere_stops_before_its_body_does() {
    let Some(registry) = start().await else {
        return;
    };
    let docker = registry.with_key(&registry.main_key());
    let location = docker.open_upload(REPOSITORY).await;
    let (sender, body) = body();
    let patching = tokio::spawn({
        let (docker, location) = (docker.clone(), location.clone());
        async move { docker.patch(&location, body).await }
    });
    sender.send(Bytes::from_static(b"begun, ")).await.unwrap();
    until(&registry, "SELECT MAX(epoch) FROM uploads", 1).await;
    // What another server does when it takes the session.
    registry
        .execute("UPDATE uploads SET epoch = epoch + 1")
        .await;
    let reply = tokio::time::timeout(LIMIT, patching).await;
    let status = reply.expect("it ends by itself").unwrap().status;
    assert_eq!(status, 409);
    drop(sender);
}
