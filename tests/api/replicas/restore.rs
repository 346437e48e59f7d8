//! The documented backup of PostgreSQL and a bucket, taken while images are pushed and deleted, and what comes back of it.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::TestRegistry;
use crate::support::database::{Location, TestDatabase};
use crate::support::distribution::{Distribution, Image, image};

/// Those who push all the time.
const PUSHERS: usize = 3;

fn an_image(label: &str) -> Image {
    let config = format!(r#"{{"label":"{label}"}}"#);
    image().config(config).layer(label.repeat(5_000)).build()
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {notes}");
}

fn copy_objects(from: &Location, to: &Location) {
    let ((from, settings), (to, _)) = (from.rclone(), to.rclone());
    run(Command::new("rclone")
        .args(["sync", "--immutable", &from, &to])
        // The endpoint speaks plain HTTP, and this client takes no other roots of trust.
        .env_remove("AWS_CA_BUNDLE")
        .envs(settings));
}

/// Pushes one image after the other until it is over.
async fn push(
    docker: Distribution,
    pusher: usize,
    pushed: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
) {
    let repository = format!("t-main/app{pusher}");
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let image = an_image(&format!("{pusher} {number}"));
        docker
            .push_image(&repository, &format!("v{number}"), &image)
            .await;
        number += 1;
        pushed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until so many more images were pushed.
async fn more(pushed: &AtomicUsize, images: usize) {
    let wanted = pushed.load(Ordering::Relaxed) + images;
    while pushed.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_and_a_copy_of_the_bucket_restore_to_images_that_all_pull() {
    if TestDatabase::chosen() != TestDatabase::Replicas {
        return;
    }
    let registry = TestRegistry::start().await;
    let (key, operator_key) = (registry.main_key(), registry.operator_key());
    let docker = registry.with_key(&key);
    docker
        .push_image("t-main/first", "v1", &an_image("first"))
        .await;
    let (pushed, over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|pusher| {
            let (pushed, over) = (Arc::clone(&pushed), Arc::clone(&over));
            tokio::spawn(push(docker.clone(), pusher, pushed, over))
        })
        .collect();
    more(&pushed, PUSHERS).await;

    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("berth.dump");
    run(Command::new("pg_dump")
        .args(["--format=custom", "--file"])
        .arg(&dump)
        .arg(registry.location().url()));
    // What goes for good after the dump is in the storage as long as the delay of objects.
    let admin = registry.api(&key);
    let deletion = admin.delete("/images/first").await.expect(200);
    let purge = format!("/deletions/{}/purge", deletion["id"].as_str().unwrap());
    admin.post(&purge, &json!({})).await.expect(200);
    let run_now = "/collection/run?force=true";
    registry
        .operator()
        .post(run_now, &json!({}))
        .await
        .expect(200);
    more(&pushed, PUSHERS).await;
    let copy = TestDatabase::Replicas.make().await;
    copy_objects(registry.location(), &copy);
    over.store(true, Ordering::Relaxed);
    for pusher in pushers {
        pusher.await.unwrap();
    }

    run(Command::new("pg_restore")
        .args(["--exit-on-error", "--dbname", copy.url()])
        .arg(&dump));
    let restored = registry.restored(copy).await;
    let docker = restored.with_key(&key);
    assert!(docker.pull_everything().await > PUSHERS);
    docker
        .get("/v2/t-main/first/manifests/v1")
        .await
        .expect(200);
    let operator = restored.api(&operator_key);
    for finding in operator.findings(true, true).await {
        // What was pushed between the dump and the copy.
        assert_eq!(finding["problem"], "unknown", "{finding}");
    }
    docker
        .push_image("t-main/new", "v1", &an_image("new"))
        .await;
    assert!(operator.findings(true, false).await.is_empty());
    restored.stop().await;
    registry.stop().await;
}
