//! Reading, measuring and deleting finished objects.

use berth_storage::{LocalOptions, ObjectKey, Store, StoreError};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use crate::support::{Fixture, SHA256, content, on_every_backend, put, read_all};

on_every_backend!(
    any_range_gives_exactly_its_bytes,
    a_range_past_the_end_is_refused,
    a_range_that_runs_backwards_is_refused,
    chunks_are_of_one_size_and_the_rest,
    a_missing_object_has_no_size_and_cannot_be_read,
    deleting_is_final_and_can_be_repeated,
    a_reader_that_is_dropped_half_way_does_no_harm,
    a_healthy_store_is_writable,
);

async fn any_range_gives_exactly_its_bytes(fixture: Fixture) {
    let bytes = content(600_000);
    let key = put(&fixture.store, &bytes).await.unwrap();
    let chunk = 262_144;
    for (start, end) in [
        (0, 600_000),
        (0, 0),
        (600_000, 600_000),
        (5, 5),
        (0, 1),
        (599_999, 600_000),
        (chunk - 1, chunk + 1),
        (chunk, 2 * chunk),
        (100, 500_000),
    ] {
        let reader = fixture
            .store
            .read(key, start as u64..end as u64)
            .await
            .unwrap();
        assert_eq!(reader.remaining_bytes(), (end - start) as u64);
        let chunks: Vec<Bytes> = reader.try_collect().await.unwrap();
        assert!(chunks.concat() == bytes[start..end], "{start}..{end}");
    }
}

async fn a_range_past_the_end_is_refused(fixture: Fixture) {
    let key = put(&fixture.store, &content(100)).await.unwrap();
    for range in [0..101, 100..101, 101..101, 0..u64::MAX] {
        let error = fixture.store.read(key, range).await.err().unwrap();
        assert!(
            matches!(
                error,
                StoreError::OutOfRange {
                    size_bytes: 100,
                    ..
                }
            ),
            "{error}"
        );
    }
}

async fn a_range_that_runs_backwards_is_refused(fixture: Fixture) {
    let key = put(&fixture.store, &content(100)).await.unwrap();
    let (start, end) = (10, 5);
    let error = fixture.store.read(key, start..end).await.err().unwrap();
    assert!(matches!(error, StoreError::OutOfRange { .. }), "{error}");
}

async fn chunks_are_of_one_size_and_the_rest(fixture: Fixture) {
    let key = put(&fixture.store, &content(600_000)).await.unwrap();
    let mut reader = fixture.store.read(key, 0..600_000).await.unwrap();
    let mut sizes = Vec::new();
    while let Some(chunk) = reader.next().await {
        sizes.push(chunk.unwrap().len());
    }
    assert_eq!(sizes, [262_144, 262_144, 75_712]);
    assert!(reader.next().await.is_none());
}

async fn a_missing_object_has_no_size_and_cannot_be_read(fixture: Fixture) {
    let key = ObjectKey::random();
    assert_eq!(fixture.store.size(key).await.unwrap(), None);
    let reading = fixture.store.read(key, 0..0).await.err().unwrap();
    assert!(matches!(reading, StoreError::Missing { .. }), "{reading}");
    let hashing = fixture.store.rehash(key, SHA256).await.unwrap_err();
    assert!(matches!(hashing, StoreError::Missing { .. }), "{hashing}");
}

async fn deleting_is_final_and_can_be_repeated(fixture: Fixture) {
    let (gone, kept) = (
        put(&fixture.store, &content(10)).await.unwrap(),
        put(&fixture.store, &content(10)).await.unwrap(),
    );
    fixture.store.delete(gone).await.unwrap();
    fixture.store.delete(gone).await.unwrap();
    assert_eq!(fixture.store.size(gone).await.unwrap(), None);
    assert_eq!(
        read_all(&fixture.store, kept, 10).await.unwrap(),
        content(10)
    );
}

async fn a_reader_that_is_dropped_half_way_does_no_harm(fixture: Fixture) {
    let key = put(&fixture.store, &content(2_000_000)).await.unwrap();
    let mut reader = fixture.store.read(key, 0..2_000_000).await.unwrap();
    reader.next().await.unwrap().unwrap();
    drop(reader);
    fixture.store.delete(key).await.unwrap();
}

async fn a_healthy_store_is_writable(fixture: Fixture) {
    fixture.store.check_writable().await.unwrap();
}

#[tokio::test]
async fn an_object_that_shrinks_while_it_is_read_is_an_error_and_not_a_silent_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::local(folder.path(), LocalOptions::default())
        .await
        .unwrap();
    let key = put(&store, &content(2_000_000)).await.unwrap();
    let mut reader = store.read(key, 0..2_000_000).await.unwrap();
    let path = folder.path().join(key.object_path());
    let object = std::fs::File::options().write(true).open(path).unwrap();
    object.set_len(262_145).unwrap();
    let outcomes: Vec<Result<Bytes, StoreError>> = reader.by_ref().collect().await;
    let last = outcomes.last().unwrap().as_ref().unwrap_err();
    assert!(
        matches!(
            last,
            StoreError::OutOfRange {
                size_bytes: 262_145,
                ..
            }
        ),
        "{last}"
    );
    assert_eq!(outcomes.len(), 2);
}
