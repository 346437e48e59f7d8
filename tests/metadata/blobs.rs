//! Blobs: of several objects that hold one digest, which one counts.

use berth::metadata::{MetadataError, NewBlob};
use berth_storage::ObjectKey;

use crate::contracts;
use crate::fixture::{Fixture, START, digest_of, new_blob, together};

contracts![
    of_two_pushes_the_first_wins_and_the_loser_is_doomed,
    of_many_pushes_at_once_one_wins,
    a_damaged_object_gives_way_and_nobody_reads_it_any_more,
    an_object_that_is_damaged_no_more_stays,
    a_blob_of_an_object_that_was_given_up_is_a_conflict,
    the_largest_size_is_kept_as_it_is,
];

async fn store(fixture: &Fixture, blob: &NewBlob, damaged: Option<ObjectKey>) {
    fixture
        .change(async |change| {
            change.record_object(blob.object_key, None, START).await?;
            change.store_blob(blob, damaged, START.plus(9), START).await
        })
        .await
        .unwrap();
}

pub(crate) async fn state(fixture: &Fixture, key: ObjectKey) -> String {
    let statement = format!(
        "SELECT state || ' ' || coalesce(CAST(due_at AS TEXT), '-') FROM objects WHERE key = '{key}'"
    );
    fixture.texts(&statement).await.pop().unwrap_or_default()
}

fn doomed() -> String {
    format!("doomed {}", START.plus(9).0)
}

async fn of_two_pushes_the_first_wins_and_the_loser_is_doomed(fixture: Fixture) {
    let (first, second) = (new_blob("content"), new_blob("content"));
    for blob in [&first, &second] {
        store(&fixture, blob, None).await;
    }
    let stored = fixture
        .metadata
        .stored_blob(&first.digest)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (stored.object_key, stored.size_bytes),
        (first.object_key, 7)
    );
    assert_eq!(state(&fixture, first.object_key).await, "live -");
    assert_eq!(state(&fixture, second.object_key).await, doomed());
}

async fn of_many_pushes_at_once_one_wins(fixture: Fixture) {
    const PUSHES: usize = 12;
    let repository = fixture.repository("t-1111/app").await;
    let metadata = fixture.metadata.clone();
    together(PUSHES, move |_| {
        let metadata = metadata.clone();
        async move {
            let blob = new_blob("content");
            let mut change = metadata.begin().await?;
            change.record_object(blob.object_key, None, START).await?;
            change.commit().await?;
            let mut change = metadata.begin().await?;
            change.store_blob(&blob, None, START, START).await?;
            change.link(repository.id, &blob.digest, START).await?;
            change.commit().await
        }
    })
    .await
    .into_iter()
    .collect::<Result<Vec<()>, MetadataError>>()
    .unwrap();
    let count = async |state: &str| {
        let statement = format!("SELECT COUNT(*) FROM objects WHERE state = '{state}'");
        usize::try_from(fixture.number(&statement).await).unwrap()
    };
    assert_eq!(
        (count("live").await, count("doomed").await),
        (1, PUSHES - 1)
    );
    let stored = fixture.metadata.stored_blob(&digest_of("content")).await;
    let stored = stored.unwrap().unwrap();
    assert_eq!(state(&fixture, stored.object_key).await, "live -");
}

async fn a_damaged_object_gives_way_and_nobody_reads_it_any_more(fixture: Fixture) {
    let old = new_blob("content");
    store(&fixture, &old, None).await;
    let mut repositories = Vec::new();
    for name in ["t-1111/app", "t-1111/other"] {
        let repository = fixture.repository(name).await;
        fixture
            .change(async |change| change.link(repository.id, &old.digest, START).await)
            .await
            .unwrap();
        let linked = fixture
            .metadata
            .linked_blob(repository.id, &old.digest)
            .await;
        assert_eq!(linked.unwrap().unwrap().object_key, old.object_key);
        repositories.push(repository);
    }
    let new = new_blob("content");
    store(&fixture, &new, Some(old.object_key)).await;
    for repository in repositories {
        let linked = fixture
            .metadata
            .linked_blob(repository.id, &old.digest)
            .await;
        assert_eq!(linked.unwrap().unwrap().object_key, new.object_key);
    }
    assert_eq!(state(&fixture, new.object_key).await, "live -");
    assert_eq!(state(&fixture, old.object_key).await, doomed());
}

async fn an_object_that_is_damaged_no_more_stays(fixture: Fixture) {
    let (damaged, repaired, late) = (
        new_blob("content"),
        new_blob("content"),
        new_blob("content"),
    );
    store(&fixture, &damaged, None).await;
    store(&fixture, &repaired, Some(damaged.object_key)).await;
    store(&fixture, &late, Some(damaged.object_key)).await;
    let stored = fixture.metadata.stored_blob(&late.digest).await.unwrap();
    assert_eq!(stored.unwrap().object_key, repaired.object_key);
    assert_eq!(state(&fixture, repaired.object_key).await, "live -");
    assert_eq!(state(&fixture, late.object_key).await, doomed());
}

async fn a_blob_of_an_object_that_was_given_up_is_a_conflict(fixture: Fixture) {
    let (doomed, unknown) = (new_blob("doomed"), new_blob("unknown"));
    fixture
        .change(async |change| {
            change.record_object(doomed.object_key, None, START).await?;
            change.doom_object(doomed.object_key, START).await
        })
        .await
        .unwrap();
    for blob in [doomed, unknown] {
        let stored = fixture
            .change(async |change| change.store_blob(&blob, None, START, START).await)
            .await;
        assert!(stored.unwrap_err().is_conflict());
        assert!(
            fixture
                .metadata
                .stored_blob(&blob.digest)
                .await
                .unwrap()
                .is_none()
        );
    }
}

async fn the_largest_size_is_kept_as_it_is(fixture: Fixture) {
    let largest = i64::MAX.unsigned_abs();
    let blob = NewBlob {
        size_bytes: largest,
        ..new_blob("large")
    };
    store(&fixture, &blob, None).await;
    let stored = fixture.metadata.stored_blob(&blob.digest).await.unwrap();
    assert_eq!(stored.unwrap().size_bytes, largest);
}
