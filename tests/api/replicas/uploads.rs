//! An upload that begins on one server goes on and ends on another.

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Method, RequestBuilder};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::pair::{Pair, REPOSITORY};
use crate::support::distribution::{Content, Distribution, Reply};

const MIB: usize = 1024 * 1024;

async fn put(docker: &Distribution, location: &str, blob: &Content) -> Reply {
    let path = format!("{location}?digest={}", blob.digest);
    Reply::of(docker.request(Method::PUT, &path)).await
}

async fn pulled(docker: &Distribution, blob: &Content) -> Bytes {
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
    docker.get(&path).await.expect(200).body
}

/// A request on its way, with a body that comes as it is told.
fn fed(request: RequestBuilder) -> (mpsc::Sender<Bytes>, JoinHandle<Reply>) {
    let (sender, receiver) = mpsc::channel(1);
    let chunks = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Bytes>| async {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(bytes), receiver))
    });
    let request = request.body(Body::wrap_stream(chunks));
    (sender, tokio::spawn(Reply::of(request)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_an_upload_may_go_to_another_server() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let docker = pair.docker();
    // Chunks below and above the size of a part.
    let chunk = |seed: u8, bytes: usize| Bytes::from(vec![seed; bytes]);
    let chunks = [
        chunk(1, 100_000),
        chunk(2, 20 * MIB),
        chunk(3, 3),
        chunk(4, 5_000_000),
    ];
    let blob = Content::new(chunks.concat());
    let location = docker[0].open_upload(REPOSITORY).await;
    let mut sent = 0;
    for (number, chunk) in chunks.iter().enumerate() {
        let reply = docker[number % 2].patch(&location, chunk.clone()).await;
        sent += chunk.len();
        let range = format!("0-{}", sent - 1);
        assert_eq!(reply.expect(202).header("range"), range);
        let reply = docker[(number + 1) % 2].get(&location).await.expect(204);
        assert_eq!(reply.header("range"), range);
    }
    put(&docker[1], &location, &blob).await.expect(201);
    for docker in &docker {
        // The same PUT again, wherever it goes.
        put(docker, &location, &blob).await.expect(201);
        assert!(pulled(docker, &blob).await == blob.bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_overtaken_on_another_server_adds_nothing() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let docker = pair.docker();
    let location = docker[0].open_upload(REPOSITORY).await;
    let begun = Bytes::from_static(b"begun, ");
    docker[0].patch(&location, begun.clone()).await.expect(202);
    // A request that stalls on the first server, in the middle of its body.
    let request = docker[0].request(Method::PATCH, &location);
    let (sender, stalled) = fed(request);
    sender.send(Bytes::from_static(b"stalled")).await.unwrap();
    pair.registry.until_upload_is_taken(2).await;
    // The client gives up on it, and goes on elsewhere from what the session says.
    let reply = docker[1].get(&location).await.expect(204);
    assert_eq!(reply.header("range"), format!("0-{}", begun.len() - 1));
    let rest = Bytes::from_static(b"and ended elsewhere");
    docker[1].patch(&location, rest.clone()).await.expect(202);
    // The stalled one wakes up.
    sender.send(Bytes::from_static(b" and late")).await.unwrap();
    drop(sender);
    assert_eq!(stalled.await.unwrap().status, 409);
    let blob = Content::new([begun, rest].concat());
    put(&docker[0], &location, &blob).await.expect(201);
    assert_eq!(pulled(&docker[1], &blob).await, blob.bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closing_put_that_another_server_was_faster_with_is_answered_alike() {
    // The smallest parts: it must be over before the slow one says that it is still at work, and hears that it is not.
    let small_parts = Pair::start_with(|config| config.storage.s3.part_bytes = 5 * MIB as u64);
    let Some(pair) = small_parts.await else {
        return;
    };
    let docker = pair.docker();
    // More than a part before and after.
    let half = Bytes::from(vec![7; 6 * MIB]);
    let blob = Content::new([half.clone(), half.clone()].concat());
    let location = docker[0].open_upload(REPOSITORY).await;
    docker[0].patch(&location, half.clone()).await.expect(202);
    let path = format!("{location}?digest={}", blob.digest);
    let (sender, slow) = fed(docker[0].request(Method::PUT, &path));
    sender.send(half.slice(..100)).await.unwrap();
    pair.registry.until_upload_is_taken(2).await;
    let fast = docker[1].request(Method::PUT, &path);
    Reply::of(fast.body(half.clone())).await.expect(201);
    // What the slow one sends has no place any more.
    sender.send(half.slice(100..)).await.unwrap();
    drop(sender);
    slow.await.unwrap().expect(201);
    assert!(pulled(&docker[0], &blob).await == blob.bytes);
}
