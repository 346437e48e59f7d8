//! Uploads that go wrong in the middle: nothing that arrived is lost, and nothing is left behind.

use berth::clock::Clock;
use berth::oci::UploadId;
use futures_util::stream;
use reqwest::{Body, Method};
use serde_json::json;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Reply, image};

/// Pairs of closing PUTs that race.
const ROUNDS: u8 = 12;

const REPOSITORY: &str = "t-main/app";

fn with_digest(location: &str, blob: &Content) -> String {
    format!("{location}?digest={}", blob.digest)
}

/// The id of the session that a location names.
fn id_of(location: &str) -> UploadId {
    let (_, id) = location.rsplit_once('/').unwrap();
    id.parse().unwrap()
}

async fn put(docker: &Distribution, location: &str, blob: &Content) -> u16 {
    let path = with_digest(location, blob);
    Reply::of(docker.request(Method::PUT, &path)).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closing_put_that_is_sent_twice_stores_the_blob_and_says_so_twice() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let docker = registry.with_key(&registry.main_key());
        for round in 0..ROUNDS {
            let blob = Content::new(vec![round; 300_000]);
            let location = docker.open_upload(REPOSITORY).await;
            docker
                .patch(&location, blob.bytes.clone())
                .await
                .expect(202);
            let (first, second) = tokio::join!(
                put(&docker, &location, &blob),
                put(&docker, &location, &blob)
            );
            // The one that was overtaken before its bytes were complete may be told so; never both.
            let statuses = [first, second];
            assert!(statuses.contains(&201), "round {round}: {statuses:?}");
            assert!(
                statuses.iter().all(|status| [201, 409].contains(status)),
                "round {round}: {statuses:?}"
            );
            assert_eq!(put(&docker, &location, &blob).await, 201, "round {round}");
            let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
            docker.head(&path).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_put_finds_what_was_published_before_the_process_ended() {
    let registry = TestRegistry::start().await;
    let docker = registry.with_key(&registry.main_key());
    let blob = Content::new("published, and then the process ended");
    let location = docker.open_upload(REPOSITORY).await;
    docker
        .patch(&location, blob.bytes.clone())
        .await
        .expect(202);
    let http = &registry.running.http;
    let row = http.metadata.upload(id_of(&location)).await.unwrap();
    let row = row.unwrap();
    let writer = http.store.writer(row.object_key, &row.progress).await;
    let staged = writer.unwrap().finish().await.unwrap();
    drop(staged.publish().await.unwrap());

    assert_eq!(put(&docker, &location, &blob).await, 201);
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
    assert_eq!(docker.get(&path).await.expect(200).body, blob.bytes);
}

#[tokio::test]
async fn a_single_post_that_breaks_leaves_no_session() {
    let registry = TestRegistry::start().await;
    let docker = registry.with_key(&registry.main_key());
    let blob = Content::new("0123456789");
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", blob.digest);
    let half = stream::iter([Ok::<_, std::io::Error>(blob.bytes.slice(..5))]);
    let reply = docker
        .request(Method::POST, &path)
        .header("content-range", "0-9")
        .body(Body::wrap_stream(half));
    let reply = Reply::of(reply).await;
    assert!(reply.expect(400).text().contains("SIZE_INVALID"));
    let open = registry.running.http.metadata.count_open_uploads().await;
    assert_eq!(open.unwrap(), 0);
}

#[tokio::test]
async fn a_session_in_use_does_not_expire() {
    let registry = TestRegistry::start().await;
    let docker = registry.with_key(&registry.main_key());
    let location = docker.open_upload(REPOSITORY).await;
    docker.patch(&location, "one").await.expect(202);
    let http = &registry.running.http;
    let row = http.metadata.upload(id_of(&location)).await.unwrap();
    let row = row.unwrap();
    let writer = http.store.writer(row.object_key, &row.progress).await;
    let writer = writer.unwrap();
    advance(&registry.clock, 48);
    let idle_ms = 24 * 3_600_000;
    let now = registry.clock.now();
    let expire = async || {
        http.registry
            .expire_uploads(now, idle_ms, idle_ms, 10)
            .await
    };
    assert_eq!(expire().await.unwrap(), 0);
    drop(writer);
    assert_eq!(expire().await.unwrap(), 1);
}

fn advance(clock: &Clock, hours: i64) {
    clock.advance(hours * 3_600_000);
}

#[tokio::test]
async fn a_narrowed_key_lists_only_what_it_may_pull() {
    let registry = TestRegistry::start().await;
    let docker = registry.with_key(&registry.main_key());
    for name in ["app", "secret-a", "secret-b", "zebra/app"] {
        let image = image().layer("a layer").build();
        docker
            .push_image(&format!("t-main/{name}"), "v1", &image)
            .await;
    }
    let body = json!({"name": "narrow", "role": "viewer", "repositories": ["app", "zebra/*"]});
    let (key, _) = registry.key_with("main", &body).await;
    let narrow = registry.with_key(&key);
    let first = narrow.get("/v2/_catalog?n=1").await.expect(200);
    assert_eq!(first.json(), json!({"repositories": ["t-main/app"]}));
    assert!(!first.header("link").contains("secret"));
    let second = narrow
        .get("/v2/_catalog?n=1&last=t-main/app")
        .await
        .expect(200);
    assert_eq!(second.json(), json!({"repositories": ["t-main/zebra/app"]}));
    assert_eq!(second.header("link"), "");
}
