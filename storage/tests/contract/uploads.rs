//! From the first byte to the object.

use berth_storage::{ObjectKey, StoreError};
use bytes::Bytes;

use crate::support::{
    Fixture, SHA512, append, content, digest, on_every_backend, pieces, put, read_all, start,
};

on_every_backend!(
    an_upload_in_one_go_becomes_an_object_with_its_digest,
    an_empty_upload_becomes_an_empty_object,
    the_offset_counts_what_was_taken,
    nothing_can_be_read_before_publishing,
    discarding_leaves_neither_object_nor_staging,
    a_staged_upload_that_is_dropped_is_found_by_the_sweep,
    a_published_upload_leaves_no_staging,
    a_key_with_an_object_takes_no_second_upload,
    staged_bytes_can_be_hashed_by_another_algorithm,
    discarding_staging_twice_is_fine,
    discarding_staging_leaves_the_object,
    one_byte_at_a_time_is_the_same_upload,
    one_piece_larger_than_every_buffer_is_the_same_upload,
    many_uploads_at_once_do_not_mix,
);

async fn an_upload_in_one_go_becomes_an_object_with_its_digest(fixture: Fixture) {
    let bytes = content(1_000_000);
    let key = ObjectKey::random();
    let mut writer = fixture.store.writer(key, &start()).await.unwrap();
    for piece in pieces(&bytes, 10_000) {
        writer.write(piece).await.unwrap();
    }
    let staged = writer.finish().await.unwrap();
    assert_eq!(staged.digest(), digest(&bytes));
    assert_eq!(staged.size_bytes(), 1_000_000);
    assert_eq!(staged.key(), key);
    staged.publish().await.unwrap();
    let store = fixture.reopened().await;
    assert_eq!(store.size(key).await.unwrap(), Some(1_000_000));
    assert_eq!(read_all(&store, key, 1_000_000).await.unwrap(), bytes);
}

async fn an_empty_upload_becomes_an_empty_object(fixture: Fixture) {
    let key = ObjectKey::random();
    let staged = fixture
        .store
        .writer(key, &start())
        .await
        .unwrap()
        .finish()
        .await
        .unwrap();
    assert_eq!(staged.digest(), digest(b""));
    staged.publish().await.unwrap();
    assert_eq!(fixture.store.size(key).await.unwrap(), Some(0));
    assert!(read_all(&fixture.store, key, 0).await.unwrap().is_empty());
    assert_eq!(
        fixture.store.rehash(key, SHA512).await.unwrap(),
        berth_storage::Digest::of(SHA512, b"")
    );
}

async fn the_offset_counts_what_was_taken(fixture: Fixture) {
    let key = ObjectKey::random();
    let mut writer = fixture.store.writer(key, &start()).await.unwrap();
    writer.write(Bytes::from_static(b"four")).await.unwrap();
    writer.write(Bytes::new()).await.unwrap();
    assert_eq!(writer.offset(), 4);
    let progress = writer.pause().await.unwrap();
    assert_eq!(progress.offset, 4);
    let writer = fixture.store.writer(key, &progress).await.unwrap();
    assert_eq!(writer.offset(), 4);
    assert_eq!(writer.key(), key);
}

async fn nothing_can_be_read_before_publishing(fixture: Fixture) {
    let key = ObjectKey::random();
    let mut writer = fixture.store.writer(key, &start()).await.unwrap();
    writer.write(Bytes::from_static(b"bytes")).await.unwrap();
    let staged = writer.finish().await.unwrap();
    assert_eq!(fixture.store.size(key).await.unwrap(), None);
    let error = fixture.store.read(key, 0..5).await.err().unwrap();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    staged.publish().await.unwrap();
}

async fn discarding_leaves_neither_object_nor_staging(fixture: Fixture) {
    let key = ObjectKey::random();
    let mut writer = fixture.store.writer(key, &start()).await.unwrap();
    writer.write(Bytes::from_static(b"bytes")).await.unwrap();
    writer.finish().await.unwrap().discard().await.unwrap();
    assert_eq!(fixture.store.size(key).await.unwrap(), None);
    assert!(fixture.store.staged_keys().await.unwrap().is_empty());
}

async fn a_staged_upload_that_is_dropped_is_found_by_the_sweep(fixture: Fixture) {
    let (kept, left) = (ObjectKey::random(), ObjectKey::random());
    append(&fixture.store, kept, &start(), &content(10))
        .await
        .unwrap();
    drop(
        fixture
            .store
            .writer(left, &start())
            .await
            .unwrap()
            .finish()
            .await
            .unwrap(),
    );
    let store = fixture.reopened().await;
    let mut keys = store.staged_keys().await.unwrap();
    keys.sort();
    // Bytes that fit into one part and were never paused are nowhere but with their writer.
    let mut expected = vec![kept];
    expected.extend((!fixture.keeps_every_tail()).then_some(left));
    expected.sort();
    assert_eq!(keys, expected);
    store.discard_staging(left).await.unwrap();
    assert_eq!(store.staged_keys().await.unwrap(), [kept]);
}

async fn a_published_upload_leaves_no_staging(fixture: Fixture) {
    put(&fixture.store, &content(100)).await.unwrap();
    assert!(fixture.store.staged_keys().await.unwrap().is_empty());
}

async fn a_key_with_an_object_takes_no_second_upload(fixture: Fixture) {
    let bytes = content(100);
    let key = put(&fixture.store, &bytes).await.unwrap();
    // Where opening asks nobody, publishing is refused.
    let error = match fixture.store.writer(key, &start()).await {
        Ok(mut writer) => {
            writer.write(content(50)).await.unwrap();
            writer.finish().await.unwrap().publish().await.unwrap_err()
        }
        Err(error) => error,
    };
    assert!(
        matches!(error, StoreError::AlreadyPublished { .. }),
        "{error}"
    );
    assert_eq!(read_all(&fixture.store, key, 100).await.unwrap(), bytes);
}

async fn staged_bytes_can_be_hashed_by_another_algorithm(fixture: Fixture) {
    let bytes = content(700_000);
    let mut writer = fixture
        .store
        .writer(ObjectKey::random(), &start())
        .await
        .unwrap();
    writer.write(bytes.clone()).await.unwrap();
    let staged = writer.finish().await.unwrap();
    let again = staged.rehash(SHA512).await.unwrap();
    assert_eq!(again, berth_storage::Digest::of(SHA512, &bytes));
    let key = staged.key();
    staged.publish().await.unwrap();
    assert_eq!(fixture.store.rehash(key, SHA512).await.unwrap(), again);
}

async fn discarding_staging_twice_is_fine(fixture: Fixture) {
    let key = ObjectKey::random();
    append(&fixture.store, key, &start(), &content(10))
        .await
        .unwrap();
    fixture.store.discard_staging(key).await.unwrap();
    fixture.store.discard_staging(key).await.unwrap();
    assert!(fixture.store.staged_keys().await.unwrap().is_empty());
}

async fn discarding_staging_leaves_the_object(fixture: Fixture) {
    let key = put(&fixture.store, &content(10)).await.unwrap();
    fixture.store.discard_staging(key).await.unwrap();
    assert_eq!(fixture.store.size(key).await.unwrap(), Some(10));
}

async fn one_byte_at_a_time_is_the_same_upload(fixture: Fixture) {
    let bytes = content(300_000);
    let mut writer = fixture
        .store
        .writer(ObjectKey::random(), &start())
        .await
        .unwrap();
    for piece in pieces(&bytes, 1) {
        writer.write(piece).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap().digest(), digest(&bytes));
}

async fn one_piece_larger_than_every_buffer_is_the_same_upload(fixture: Fixture) {
    let bytes = content(3_000_000);
    let key = ObjectKey::random();
    let mut writer = fixture.store.writer(key, &start()).await.unwrap();
    writer.write(bytes.clone()).await.unwrap();
    writer.write(Bytes::from_static(b"!")).await.unwrap();
    let staged = writer.finish().await.unwrap();
    assert_eq!(staged.digest(), digest(&[&bytes[..], b"!"].concat()));
    staged.publish().await.unwrap();
    let read = read_all(&fixture.store, key, 3_000_001).await.unwrap();
    assert_eq!(digest(&read), digest(&[&bytes[..], b"!"].concat()));
}

async fn many_uploads_at_once_do_not_mix(fixture: Fixture) {
    let contents: Vec<Bytes> = (0..20).map(|extra| content(200_000 + extra)).collect();
    let uploads = contents.iter().map(|bytes| put(&fixture.store, bytes));
    let keys = futures_util::future::try_join_all(uploads).await.unwrap();
    for (key, bytes) in keys.into_iter().zip(contents) {
        assert_eq!(
            fixture
                .store
                .rehash(key, crate::support::SHA256)
                .await
                .unwrap(),
            digest(&bytes)
        );
    }
}
