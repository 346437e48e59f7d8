//! Uploads that span requests and restarts.

use berth_storage::{DigestAlgorithm, ObjectKey, Progress, Store, StoreError};
use bytes::Bytes;
use proptest::prelude::*;

use crate::support::{
    Fixture, SHA256, SHA512, append, content, digest, on_every_backend, read_all, start,
};

on_every_backend!(
    an_upload_goes_on_after_the_store_was_reopened,
    bytes_beyond_the_progress_are_cut_away,
    an_upload_can_begin_again_from_nothing,
    an_upload_without_its_staging_is_lost,
    an_upload_with_fewer_bytes_than_known_is_lost,
    a_damaged_hash_state_is_refused,
    a_hash_state_of_another_offset_is_refused,
    the_progress_of_another_backend_is_refused,
    a_refused_progress_leaves_the_upload_as_it_was,
);

async fn an_upload_goes_on_after_the_store_was_reopened(fixture: Fixture) {
    let bytes = content(1_000_001);
    let key = ObjectKey::random();
    let mut progress = start();
    for part in [
        0..333_333,
        333_333..333_334,
        333_334..333_334,
        333_334..900_000,
    ] {
        let store = fixture.reopened().await;
        progress = append(&store, key, &progress, &bytes.slice(part.clone()))
            .await
            .unwrap();
        assert_eq!(progress.offset, part.end as u64);
    }
    let store = fixture.reopened().await;
    let mut writer = store.writer(key, &progress).await.unwrap();
    writer.write(bytes.slice(900_000..)).await.unwrap();
    let staged = writer.finish().await.unwrap();
    assert_eq!(staged.digest(), digest(&bytes));
    staged.publish().await.unwrap();
    assert_eq!(read_all(&store, key, 1_000_001).await.unwrap(), bytes);
}

async fn bytes_beyond_the_progress_are_cut_away(fixture: Fixture) {
    let key = ObjectKey::random();
    let known = append(&fixture.store, key, &start(), &content(1_000))
        .await
        .unwrap();
    append(
        &fixture.store,
        key,
        &known,
        &Bytes::from(vec![b'x'; 500_000]),
    )
    .await
    .unwrap();

    let mut writer = fixture.reopened().await.writer(key, &known).await.unwrap();
    writer.write(Bytes::from_static(b"tail")).await.unwrap();
    let staged = writer.finish().await.unwrap();
    let expected = [&content(1_000)[..], b"tail"].concat();
    assert_eq!(staged.size_bytes(), 1_004);
    assert_eq!(staged.digest(), digest(&expected));
    assert_eq!(staged.rehash(SHA256).await.unwrap(), digest(&expected));
}

async fn an_upload_can_begin_again_from_nothing(fixture: Fixture) {
    let key = ObjectKey::random();
    append(&fixture.store, key, &start(), &content(1_000))
        .await
        .unwrap();
    let mut writer = fixture
        .store
        .writer(key, &Progress::start(SHA512))
        .await
        .unwrap();
    writer.write(Bytes::from_static(b"new")).await.unwrap();
    let staged = writer.finish().await.unwrap();
    assert_eq!(staged.digest(), berth_storage::Digest::of(SHA512, b"new"));
}

/// What comes of an upload that goes on: opening it says so, or finishing it, where opening asks nobody.
async fn finish(store: &Store, key: ObjectKey, progress: &Progress) -> Result<(), StoreError> {
    let staged = store.writer(key, progress).await?.finish().await?;
    staged.publish().await.map(drop)
}

async fn an_upload_without_its_staging_is_lost(fixture: Fixture) {
    let key = ObjectKey::random();
    let progress = append(&fixture.store, key, &start(), &content(10))
        .await
        .unwrap();
    fixture.store.discard_staging(key).await.unwrap();
    let error = finish(&fixture.store, key, &progress).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::StagingLost {
                expected: 10,
                found: None,
                ..
            }
        ),
        "{error}"
    );
}

async fn an_upload_with_fewer_bytes_than_known_is_lost(fixture: Fixture) {
    if fixture.keeps_every_tail() {
        return;
    }
    let key = ObjectKey::random();
    let known = append(&fixture.store, key, &start(), &content(10))
        .await
        .unwrap();
    append(&fixture.store, key, &start(), &content(9))
        .await
        .unwrap();
    let error = fixture.store.writer(key, &known).await.err().unwrap();
    assert!(
        matches!(
            error,
            StoreError::StagingLost {
                expected: 10,
                found: Some(9),
                ..
            }
        ),
        "{error}"
    );
}

async fn a_damaged_hash_state_is_refused(fixture: Fixture) {
    let mut progress = start();
    progress.hasher[20] ^= 1;
    let error = fixture
        .store
        .writer(ObjectKey::random(), &progress)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::BadProgress { .. }), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

async fn a_hash_state_of_another_offset_is_refused(fixture: Fixture) {
    let progress = Progress {
        offset: 1,
        ..start()
    };
    let error = fixture
        .store
        .writer(ObjectKey::random(), &progress)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::BadProgress { .. }), "{error}");
}

async fn the_progress_of_another_backend_is_refused(fixture: Fixture) {
    let progress = Progress {
        backend: vec![1],
        ..start()
    };
    let error = fixture
        .store
        .writer(ObjectKey::random(), &progress)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, StoreError::BadProgress { .. }), "{error}");
}

async fn a_refused_progress_leaves_the_upload_as_it_was(fixture: Fixture) {
    let key = ObjectKey::random();
    let progress = append(&fixture.store, key, &start(), &content(10))
        .await
        .unwrap();
    let damaged = Progress {
        offset: 3,
        ..progress.clone()
    };
    assert!(fixture.store.writer(key, &damaged).await.is_err());
    assert!(fixture.store.writer(key, &progress).await.is_ok());
}

/// What one request does in a random upload.
#[derive(Clone, Debug)]
enum Request {
    /// Sends pieces of these sizes and pauses.
    Pauses(Vec<usize>),
    /// Sends pieces of these sizes and hangs up, so that they count for nothing.
    HangsUp(Vec<usize>),
}

fn request() -> impl Strategy<Value = Request> {
    let size = prop_oneof![0_usize..20, 4_000_usize..4_200, 0_usize..300_000];
    let sizes = prop::collection::vec(size, 0..6);
    prop_oneof![
        3 => sizes.clone().prop_map(Request::Pauses),
        1 => sizes.prop_map(Request::HangsUp),
    ]
}

async fn upload(store: &Store, requests: &[Request], algorithm: DigestAlgorithm) {
    let key = ObjectKey::random();
    let source = content(300_000);
    let mut expected = Vec::new();
    let mut progress = Progress::start(algorithm);
    for request in requests {
        let mut writer = store.writer(key, &progress).await.unwrap();
        let (Request::Pauses(sizes) | Request::HangsUp(sizes)) = request;
        for size in sizes {
            writer.write(source.slice(300_000 - size..)).await.unwrap();
        }
        if let Request::Pauses(sizes) = request {
            progress = writer.pause().await.unwrap();
            sizes
                .iter()
                .for_each(|size| expected.extend_from_slice(&source[300_000 - size..]));
        }
    }
    let staged = store
        .writer(key, &progress)
        .await
        .unwrap()
        .finish()
        .await
        .unwrap();
    let whole = berth_storage::Digest::of(algorithm, &expected);
    assert_eq!(staged.digest(), whole);
    assert_eq!(staged.rehash(algorithm).await.unwrap(), whole);
    staged.publish().await.unwrap();
    assert_eq!(
        read_all(store, key, expected.len() as u64).await.unwrap(),
        expected
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_an_upload_into_requests_and_pieces_gives_the_same_object(
        requests in prop::collection::vec(request(), 0..6),
        long: bool,
        on_disk: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let fixture = if on_disk { Fixture::local().await } else { Fixture::memory() };
            upload(&fixture.store, &requests, if long { SHA512 } else { SHA256 }).await;
        });
    }
}
