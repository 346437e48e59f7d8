//! Blobs in a bucket. Nothing is tested where `BERTH_TEST_S3` names none.

use berth::config::DoorName;
use berth::http::Door;

use super::bent::Bent;
use super::{Diagnosis, Patient};
use crate::support::TestRegistry;
use crate::support::database::{Bucket, TestDatabase};

/// A registry in a corner of the bucket, with the corner; its pull door sends clients to the bucket.
async fn registry(bucket: &Bucket, pull: &Bent) -> (TestRegistry, String) {
    let corner = format!("tests/{}", uuid::Uuid::new_v4());
    let registry = TestRegistry::start_with(TestDatabase::Sqlite, |config| {
        bucket.configure(config, &corner);
        config.storage.s3.redirect_doors = vec![DoorName::Pull];
        config.server.pull_url = Some(pull.url().parse().unwrap());
    });
    (registry.await, corner)
}

/// What the doctor says on the server, if its blobs were there.
async fn on_the_server(registry: &TestRegistry, variables: Vec<(&str, String)>) -> Diagnosis {
    let data = registry.data_dir().to_str().unwrap();
    let mut patient = Patient::new().says(&["--data-dir", data]);
    for (name, value) in variables {
        patient = patient.with(name, value);
    }
    patient.asks().await
}

#[tokio::test]
async fn a_redirect_to_the_bucket_gives_the_bytes() {
    let Some(bucket) = Bucket::of_environment() else {
        return;
    };
    let pull = Bent::start(|_, answer| answer).await;
    let (registry, _) = registry(&bucket, &pull).await;
    pull.lead_to(registry.running.address(Door::Pull).unwrap());
    let patient = Patient::at(&registry.url(Door::Public), &registry.main_key());
    let diagnosis = patient.asks().await;
    diagnosis
        .is_well()
        .is("ok", "pull address: pull", "clients are sent to")
        .is("ok", "pull address: redirect: bytes", "byte for byte");
    // The address that was signed is shown without what makes it one.
    assert!(!diagnosis.all.contains("X-Amz"), "{}", diagnosis.all);
}

#[tokio::test]
async fn the_bucket_of_another_installation_and_a_wrong_secret_are_named() {
    let Some(bucket) = Bucket::of_environment() else {
        return;
    };
    let pull = Bent::start(|_, answer| answer).await;
    let (one, corner) = registry(&bucket, &pull).await;
    let (_other, foreign) = registry(&bucket, &pull).await;
    let own = on_the_server(&one, bucket.variables(&corner)).await;
    own.is_well().ok("server: storage's owner");
    let other = on_the_server(&one, bucket.variables(&foreign)).await;
    other.ok("server: storage").fails(
        "server: storage's owner",
        "another installation",
        "its prefix",
    );
    let mut variables = bucket.variables(&corner);
    for (name, value) in &mut variables {
        if *name == "BERTH_STORAGE__S3__SECRET_ACCESS_KEY" {
            *value = String::from("0123456789abcdef0123456789abcdef");
        }
    }
    let wrong = on_the_server(&one, variables).await;
    wrong.fails("server: storage", "", "docs/s3.md");
}
