//! Many clients at once: whatever the order, nothing is mixed, lost or half there.

use reqwest::Method;
use tokio::task::JoinSet;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Content, Distribution, Reply, image};
use crate::support::process::files;

/// Clients at once.
const CLIENTS: usize = 8;
/// Races of one kind, each with content of its own.
const ROUNDS: usize = 6;

const REPOSITORY: &str = "t-main/app";

async fn start(database: TestDatabase) -> (TestRegistry, Distribution) {
    let registry = TestRegistry::start_on(database).await;
    let docker = registry.with_key(&registry.main_key());
    (registry, docker)
}

/// Runs requests at once; their replies in the order in which they were given.
async fn at_once<F>(requests: Vec<F>) -> Vec<Reply>
where
    F: Future<Output = Reply> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (index, request) in requests.into_iter().enumerate() {
        tasks.spawn(async move { (index, request.await) });
    }
    let mut replies = tasks.join_all().await;
    replies.sort_by_key(|(index, _)| *index);
    replies.into_iter().map(|(_, reply)| reply).collect()
}

fn objects(registry: &TestRegistry) -> usize {
    let blobs = registry.config().blobs_path();
    files(&blobs)
        .iter()
        .filter(|file| !file.starts_with(blobs.join("staging")))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_pushes_of_one_digest_one_object_stays() {
    for database in [TestDatabase::one_server()] {
        let (registry, docker) = start(database).await;
        let before = objects(&registry);
        let blob = Content::new(vec![3; 200_000]);
        let pushes = (0..CLIENTS).map(|number| {
            let (docker, blob) = (docker.clone(), blob.clone());
            // Two clients for each repository.
            let repository = format!("t-main/app-{}", number / 2);
            async move { docker.push_blob(&repository, &blob).await }
        });
        for reply in at_once(pushes.collect()).await {
            reply.expect(201);
        }
        let http = &registry.running.http;
        http.collector.round().await.unwrap();
        assert_eq!(objects(&registry), before + 1, "{database:?}");
        for number in 0..CLIENTS / 2 {
            let path = format!("/v2/t-main/app-{number}/blobs/{}", blob.digest);
            assert_eq!(docker.get(&path).await.expect(200).body, blob.bytes);
        }
        registry.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_on_one_upload_never_mix_their_bytes() {
    for database in TestDatabase::available() {
        let (registry, docker) = start(database).await;
        for round in 0..ROUNDS {
            let contents: Vec<Content> = (0..2)
                .map(|client| Content::new(vec![(round * 2 + client) as u8; 100_000]))
                .collect();
            let session = docker.open_upload(REPOSITORY).await;
            let puts = contents.iter().map(|content| {
                let path = format!("{session}?digest={}", content.digest);
                let request = docker
                    .request(Method::PUT, &path)
                    .header("content-type", "application/octet-stream")
                    .header("content-range", "0-99999")
                    .body(content.bytes.clone());
                Reply::of(request)
            });
            let replies = at_once(puts.collect()).await;
            let winners = replies.iter().filter(|reply| reply.status == 201).count();
            assert!(winners <= 1, "{replies:?}");
            for (content, reply) in contents.iter().zip(&replies) {
                let path = format!("/v2/{REPOSITORY}/blobs/{}", content.digest);
                let read = docker.get(&path).await;
                if reply.status == 201 {
                    assert!(read.expect(200).body == content.bytes);
                } else {
                    assert!((400..500).contains(&reply.status), "{reply:?}");
                    read.expect(404);
                    docker.push_blob(REPOSITORY, content).await.expect(201);
                }
            }
        }
        registry.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_many_push_is_one_of_theirs_and_nothing_is_lost() {
    for database in TestDatabase::available() {
        let (registry, docker) = start(database).await;
        let contents: Vec<_> = (0..CLIENTS)
            .map(|number| image().layer(format!("layer {number}")).build())
            .collect();
        let config = &contents[0].config;
        docker.push_blob(REPOSITORY, config).await.expect(201);
        for content in &contents {
            let layer = &content.layers[0];
            docker.push_blob(REPOSITORY, layer).await.expect(201);
        }
        let puts = contents.iter().map(|content| {
            let (docker, manifest) = (docker.clone(), content.manifest.clone());
            async move { docker.put_manifest(REPOSITORY, "v1", &manifest).await }
        });
        for reply in at_once(puts.collect()).await {
            reply.expect(201);
        }
        let path = format!("/v2/{REPOSITORY}/manifests/v1");
        let tagged = docker.get(&path).await.expect(200).body;
        let digests = contents.iter().map(|content| &content.manifest);
        assert!(digests.clone().any(|manifest| manifest.bytes == tagged));
        for manifest in digests {
            let path = format!("/v2/{REPOSITORY}/manifests/{}", manifest.digest);
            assert_eq!(docker.get(&path).await.expect(200).body, manifest.bytes);
        }
        let tags = docker.get(&format!("/v2/{REPOSITORY}/tags/list")).await;
        assert_eq!(tags.expect(200).json()["tags"], serde_json::json!(["v1"]));
        registry.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_races_with_a_push_leaves_all_of_an_image_or_nothing() {
    for database in TestDatabase::available() {
        let (registry, docker) = start(database).await;
        for round in 0..ROUNDS {
            let content = image().layer(format!("layer {round}")).build();
            let tag = format!("v{round}");
            docker.push_image(REPOSITORY, &tag, &content).await;
            let manifest = content.manifest.clone();
            let by_digest = format!("/v2/{REPOSITORY}/manifests/{}", manifest.digest);
            let delete = docker.request(Method::DELETE, &by_digest);
            let put = docker
                .request(Method::PUT, &format!("/v2/{REPOSITORY}/manifests/{tag}"))
                .header("content-type", manifest.media_type)
                .body(manifest.bytes.clone());
            let replies = at_once(vec![Reply::of(delete), Reply::of(put)]).await;
            assert_eq!(replies[0].status, 202, "{replies:?}");
            assert_eq!(replies[1].status, 201, "{replies:?}");
            let by_tag = format!("/v2/{REPOSITORY}/manifests/{tag}");
            let (tagged, whole) = (docker.get(&by_tag).await, docker.get(&by_digest).await);
            assert_eq!(tagged.status, whole.status, "{tagged:?} {whole:?}");
            let tags = docker.get(&format!("/v2/{REPOSITORY}/tags/list")).await;
            let listed = tags.text().contains(&format!("\"{tag}\""));
            assert_eq!(listed, tagged.status == 200, "{}", tags.text());
            if tagged.status == 200 {
                assert_eq!(tagged.body, manifest.bytes);
            } else {
                assert_eq!(tagged.status, 404);
                docker.push_image(REPOSITORY, &tag, &content).await;
            }
        }
        registry.running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_that_is_deleted_while_a_manifest_needs_it_stays_or_the_manifest_is_refused() {
    for database in TestDatabase::available() {
        let (registry, docker) = start(database).await;
        for round in 0..ROUNDS {
            let content = image().layer(format!("layer {round}")).build();
            let layer = &content.layers[0];
            for blob in [&content.config, layer] {
                docker.push_blob(REPOSITORY, blob).await.expect(201);
            }
            let blob_path = format!("/v2/{REPOSITORY}/blobs/{}", layer.digest);
            let delete = docker.request(Method::DELETE, &blob_path);
            let put = docker
                .request(Method::PUT, &format!("/v2/{REPOSITORY}/manifests/v1"))
                .header("content-type", content.manifest.media_type)
                .body(content.manifest.bytes.clone());
            let replies = at_once(vec![Reply::of(delete), Reply::of(put)]).await;
            let blob = docker.get(&blob_path).await;
            match (replies[0].status, replies[1].status) {
                (403, 201) => assert_eq!(blob.expect(200).body, layer.bytes),
                (202, 400) => {
                    assert!(replies[1].text().contains("MANIFEST_BLOB_UNKNOWN"));
                    blob.expect(404);
                }
                other => panic!("{other:?}: {replies:?}"),
            }
        }
        registry.running.stop().await;
    }
}
