//! What was answered by one server holds on the other at once.

use berth::http::Door;
use serde_json::json;

use super::pair::{Pair, REPOSITORY};
use crate::support::distribution::{Login, image};

/// Times a tag moves.
const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_was_pushed_is_read_everywhere_at_once() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let docker = pair.docker();
    for round in 0..ROUNDS {
        let content = image().layer(format!("round {round}")).build();
        let (here, there) = (&docker[round % 2], &docker[(round + 1) % 2]);
        // Looked at before, so that whatever could be remembered is.
        there.get("/v2/t-main/app/manifests/latest").await;
        here.push_image(REPOSITORY, "latest", &content).await;
        let reply = there.get("/v2/t-main/app/manifests/latest").await;
        assert_eq!(reply.expect(200).body, content.manifest.bytes);
        let reply = there.head("/v2/t-main/app/manifests/latest").await;
        let digest = reply.header("docker-content-digest").to_owned();
        assert_eq!(digest, content.manifest.digest, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_protection_and_leases_of_one_bind_the_other() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let (docker, api) = (pair.docker(), pair.api());
    let content = image().layer("layer").build();
    docker[0].push_image(REPOSITORY, "v1", &content).await;
    let manifest = "/v2/t-main/app/manifests/v1";

    let immutable = json!({"immutableTags": "v*"});
    api[0].patch("/images/app", &immutable).await.expect(200);
    let other = image().layer("another").build();
    for blob in std::iter::once(&other.config).chain(&other.layers) {
        docker[1].push_blob(REPOSITORY, blob).await.expect(201);
    }
    let moved = docker[1]
        .put_manifest(REPOSITORY, "v1", &other.manifest)
        .await;
    moved.expect(403);
    let mutable = json!({"immutableTags": false, "protected": true});
    api[1].patch("/images/app", &mutable).await.expect(200);
    docker[0].delete(manifest).await.expect(403);
    let free = json!({"protected": false});
    api[0].patch("/images/app", &free).await.expect(200);

    let lease = json!({"image": "app:v1"});
    api[1].put("/leases/cluster/node", &lease).await.expect(200);
    docker[0].delete(manifest).await.expect(403);
    api[0].delete("/leases/cluster/node").await.expect(204);

    docker[1].delete(manifest).await.expect(202);
    docker[0].get(manifest).await.expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_one_is_good_at_the_other() {
    let Some(pair) = Pair::start().await else {
        return;
    };
    let docker = pair.docker();
    let content = image().layer("layer").build();
    docker[0].push_image(REPOSITORY, "v1", &content).await;
    for (from, to) in [(0, 1), (1, 0)] {
        let scope = format!("repository:{REPOSITORY}:pull");
        let caller = docker[from].exchanged(&[&scope]).await;
        let Login::Bearer(token) = caller.login else {
            panic!("a token was asked for");
        };
        let there = docker[to].with(Login::Bearer(token.clone()));
        there.get("/v2/t-main/app/manifests/v1").await.expect(200);
        // And behind the proxy, whichever it chooses.
        let any = pair
            .registry
            .distribution(Door::Public, Login::Bearer(token));
        for _ in 0..2 {
            any.get("/v2/t-main/app/manifests/v1").await.expect(200);
        }
    }
}
