//! A pull of what is remembered asks the embedded database nothing.

use berth::http::Door;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Login, image};

#[tokio::test]
async fn a_warm_pull_reads_nothing_from_the_embedded_database() {
    let registry = TestRegistry::start_on(TestDatabase::Sqlite).await;
    let key = registry.main_key();
    let docker = registry.with_key(&key);
    let content = image().layer("a layer").build();
    docker.push_image("t-main/app", "v1", &content).await;
    let scope = "repository:t-main/app:pull";
    let issued = registry
        .api(&key)
        .post("/registry/credentials", &serde_json::json!({}))
        .await
        .expect(200);
    let text = |field: &str| issued[field].as_str().unwrap().to_owned();
    let credential = docker.with(Login::Basic(text("username"), text("password")));
    let by_key = docker.exchanged(&[scope]).await;
    let by_credential = credential.exchanged(&[scope]).await;
    let node = registry
        .distribution(Door::Pull, Login::Nobody)
        .with(by_key.login.clone());
    let manifest = &content.manifest.digest;
    let paths = [
        String::from("/v2/t-main/app/manifests/v1"),
        format!("/v2/t-main/app/manifests/{manifest}"),
        format!("/v2/t-main/app/blobs/{}", content.layers[0].digest),
        format!("/v2/t-main/app/blobs/{}", content.config.digest),
        String::from("/v2/"),
    ];
    let metadata = &registry.running.http.metadata;
    for caller in [&docker, &credential, &by_key, &by_credential, &node] {
        for path in &paths {
            // One to warm; those that follow must find everything in memory.
            caller.get(path).await.expect(200);
            let before = metadata.reads();
            for _ in 0..3 {
                caller.get(path).await.expect(200);
                caller.head(path).await.expect(200);
            }
            assert_eq!(metadata.reads(), before, "{path} as {:?}", caller.login);
        }
    }
}

#[tokio::test]
async fn a_push_is_seen_by_the_next_pull_however_warm() {
    let registry = TestRegistry::start_on(TestDatabase::Sqlite).await;
    let docker = registry.with_key(&registry.main_key());
    for number in 0..5 {
        let content = image().layer(format!("layer {number}")).build();
        docker.push_image("t-main/app", "v1", &content).await;
        for _ in 0..2 {
            let pulled = docker.get("/v2/t-main/app/manifests/v1").await.expect(200);
            assert_eq!(pulled.body, content.manifest.bytes);
        }
        let path = "/v2/t-main/app/manifests/v1";
        docker.delete(path).await.expect(202);
        docker.get(path).await.expect(404);
    }
}
