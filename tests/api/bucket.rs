//! Blobs in a bucket, on the embedded database: what clients see of it. Nothing is tested where `BERTH_TEST_S3` names
//! no bucket.

use berth::config::DoorName;
use berth::http::Door;
use reqwest::Client;
use reqwest::Method;
use reqwest::redirect::Policy;

use crate::support::TestRegistry;
use crate::support::database::{Bucket, TestDatabase};
use crate::support::distribution::{Content, Distribution, Login, Reply};

const REPOSITORY: &str = "t-main/app";
const PART_BYTES: u64 = 5 * 1024 * 1024;

/// A registry with a corner of the bucket of its own; its pull door sends clients to the bucket.
async fn registry() -> Option<TestRegistry> {
    let bucket = Bucket::of_environment()?;
    let prefix = format!("tests/{}", uuid::Uuid::new_v4());
    let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        bucket.configure(config, &prefix);
        config.storage.s3.part_bytes = PART_BYTES;
        config.storage.s3.redirect_doors = vec![DoorName::Pull];
    });
    Some(registry.await)
}

/// A client that shows a redirect instead of following it.
fn staying(registry: &TestRegistry, door: Door) -> Distribution {
    let client = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .build()
        .unwrap();
    let login = Login::key(&registry.main_key());
    Distribution::new(&client, &registry.url(door), login)
}

#[tokio::test]
async fn a_blob_of_several_parts_goes_in_by_chunks_and_comes_out_whole() {
    let Some(registry) = registry().await else {
        return;
    };
    let docker = registry.with_key(&registry.main_key());
    let opened = docker.request(Method::POST, &format!("/v2/{REPOSITORY}/blobs/uploads/"));
    let opened = Reply::of(opened).await.expect(202);
    assert_eq!(
        opened.header("oci-chunk-min-length"),
        PART_BYTES.to_string()
    );
    let bytes: Vec<u8> = (0..12_000_000_u32).map(|at| (at % 251) as u8).collect();
    let blob = Content::new(bytes);
    let location = opened.header("location").to_owned();
    for range in [0..5_300_000, 5_300_000..5_300_001, 5_300_001..11_000_000] {
        docker
            .patch(&location, blob.bytes.slice(range))
            .await
            .expect(202);
    }
    // A restart in between: another process has nothing but the row and the bucket.
    let registry = registry.restart().await;
    let docker = registry.with_key(&registry.main_key());
    let path = format!("{location}?digest={}", blob.digest);
    let put = docker.request(Method::PUT, &path);
    Reply::of(put.body(blob.bytes.slice(11_000_000..)))
        .await
        .expect(201);
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
    let read = docker.get(&path).await.expect(200);
    assert!(read.body == blob.bytes);
    let range = docker.request(Method::GET, &path);
    let range = range.header("range", "bytes=5242879-5242880");
    let part = Reply::of(range).await.expect(206);
    assert_eq!(part.body, blob.bytes.slice(5_242_879..5_242_881));
}

#[tokio::test]
async fn a_door_that_redirects_checks_first_and_keeps_the_address_out_of_caches() {
    let Some(registry) = registry().await else {
        return;
    };
    let docker = registry.with_key(&registry.main_key());
    let blob = Content::new("to be read from the bucket");
    docker.push_blob(REPOSITORY, &blob).await.expect(201);
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);

    staying(&registry, Door::Public)
        .get(&path)
        .await
        .expect(200);
    let pulling = staying(&registry, Door::Pull);
    let head = pulling.head(&path).await.expect(200);
    assert_eq!(head.header("content-length"), "26");
    let sent = pulling.get(&path).await.expect(307);
    assert_eq!(sent.header("cache-control"), "no-store");
    assert!(sent.body.is_empty());
    let address = sent.header("location").to_owned();
    assert!(address.contains("X-Amz-Expires=60"), "{address}");

    // A client that follows gets the bytes, and the range that it asked for.
    let following = registry.distribution(Door::Pull, Login::key(&registry.main_key()));
    let whole = following.get(&path).await.expect(200);
    assert_eq!(whole.body, blob.bytes);
    let part = following.request(Method::GET, &path);
    let part = Reply::of(part.header("range", "bytes=3-4"))
        .await
        .expect(206);
    assert_eq!(part.body, blob.bytes.slice(3..5));

    let unsatisfiable = pulling.request(Method::GET, &path);
    Reply::of(unsatisfiable.header("range", "bytes=26-"))
        .await
        .expect(416);
    let team = registry.team("other").await;
    let foreign = pulling.with(Login::key(&team.admin_key));
    assert_ne!(foreign.get(&path).await.status, 307);
    let absent = format!("/v2/{REPOSITORY}/blobs/{}", Content::new("absent").digest);
    pulling.get(&absent).await.expect(404);
}

#[tokio::test]
async fn a_bucket_of_another_installation_is_refused_with_what_to_do() {
    let Some(registry) = registry().await else {
        return;
    };
    let mut config = registry.config().clone();
    let folder = tempfile::tempdir().unwrap();
    config.server.data_dir = folder.path().join("data");
    let refused = berth::app::start(&config, registry.clock.clone()).await;
    let message = format!("{:#}", refused.err().unwrap());
    assert!(
        message.contains("belongs to another installation"),
        "{message}"
    );
    assert!(message.contains("prefix"), "{message}");
}

#[tokio::test]
async fn an_object_that_was_made_and_not_written_down_is_taken_over_without_what_it_was_made_of() {
    let Some(registry) = registry().await else {
        return;
    };
    let docker = registry.with_key(&registry.main_key());
    let location = docker.open_upload(REPOSITORY).await;
    let blob = Content::new("made, and not written down");
    let sent = docker.patch(&location, blob.bytes.clone());
    sent.await.expect(202);
    let http = &registry.running.http;
    let (_, id) = location.rsplit_once('/').unwrap();
    let row = http.metadata.upload(id.parse().unwrap()).await.unwrap();
    let row = row.unwrap();
    // As by a server that ends between the two.
    let writer = http.store.writer(row.object_key, &row.progress).await;
    let staged = writer.unwrap().finish().await.unwrap();
    drop(staged.publish().await.unwrap());
    let staged = async || http.store.staged_keys().await.unwrap();
    assert_eq!(staged().await, [row.object_key]);
    let path = format!("{location}?digest={}", blob.digest);
    let put = docker.request(Method::PUT, &path);
    Reply::of(put).await.expect(201);
    assert_eq!(staged().await, []);
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
    assert_eq!(docker.get(&path).await.expect(200).body, blob.bytes);
}
