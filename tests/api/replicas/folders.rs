//! Two servers never share a folder of blobs, nor a store with another installation.

use berth::app;
use berth::config::Config;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::Content;

const REPOSITORY: &str = "t-main/app";

/// What another start with a changed configuration says.
async fn refusal(registry: &TestRegistry, change: impl FnOnce(&mut Config)) -> String {
    let mut config = registry.config().clone();
    let other = tempfile::tempdir().unwrap();
    config.server.data_dir = other.path().to_owned();
    change(&mut config);
    let started = app::start(&config, registry.clock.clone()).await;
    format!("{:#}", started.err().unwrap())
}

#[tokio::test]
async fn a_second_server_on_one_folder_of_blobs_is_told_to_use_a_bucket() {
    if TestDatabase::chosen() == TestDatabase::Replicas {
        // There is no such folder.
        return;
    }
    let registry = TestRegistry::start().await;
    let blobs = registry.config().blobs_path();
    let text = refusal(&registry, |config| config.storage.path = Some(blobs)).await;
    assert!(text.contains("another berth owns"), "{text}");
    assert!(text.contains("in a bucket"), "{text}");
}

#[tokio::test]
async fn the_storage_of_another_installation_is_refused() {
    let registry = TestRegistry::start().await;
    let other = TestRegistry::start().await;
    let mut text = String::new();
    // Its lock is given up meanwhile; whose it is stays.
    let other = other.restart_after(async |theirs| {
        let (storage, blobs) = (theirs.storage.clone(), theirs.blobs_path());
        text = refusal(&registry, |config| {
            config.storage = storage;
            if config.storage.s3.bucket.is_none() {
                config.storage.path = Some(blobs);
            }
        })
        .await;
    });
    other.await.stop().await;
    assert!(text.contains("another installation"), "{text}");
}

#[tokio::test]
async fn an_empty_storage_is_refused_where_the_database_knows_blobs() {
    let registry = TestRegistry::start().await;
    let docker = registry.with_key(&registry.main_key());
    let blob = Content::new("expected where it was");
    docker.push_blob(REPOSITORY, &blob).await.expect(201);
    let clock = registry.clock.clone();
    let empty = tempfile::tempdir().unwrap();
    let mut text = String::new();
    let registry = registry.restart_after(async |config| {
        let mut elsewhere = config.clone();
        if elsewhere.storage.s3.bucket.is_some() {
            elsewhere.storage.s3.prefix.insert_str(0, "elsewhere/");
        } else {
            elsewhere.storage.path = Some(empty.path().to_owned());
            // An older version wrote no marker: then the blobs say whose it is.
            std::fs::remove_file(config.blobs_path().join("installation")).unwrap();
        }
        let started = app::start(&elsewhere, clock).await;
        text = format!("{:#}", started.err().unwrap());
    });
    let registry = registry.await;
    assert!(text.contains("none of the blobs"), "{text}");
    let path = format!("/v2/{REPOSITORY}/blobs/{}", blob.digest);
    let docker = registry.with_key(&registry.main_key());
    docker.get(&path).await.expect(200);
}
