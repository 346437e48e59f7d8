//! What a full or broken disk does.

use berth_storage::testing::{Fault, Operation};
use berth_storage::{ObjectKey, StoreError};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::support::{Fixture, append, content, digest, on_every_backend, put, read_all, start};

on_every_backend!(
    a_full_disk_is_told_apart_from_a_broken_one,
    an_upload_goes_on_after_a_write_failed,
    a_writer_that_failed_takes_nothing_more,
    a_sync_that_fails_records_no_progress,
    publishing_that_fails_leaves_no_object,
    a_read_that_fails_ends_the_stream_with_the_error,
    a_deletion_that_fails_can_be_tried_again,
    a_probe_that_fails_names_the_errno,
);

async fn a_full_disk_is_told_apart_from_a_broken_one(fixture: Fixture) {
    for fault in [Fault::NoSpace, Fault::Io] {
        fixture.faults.fail(Operation::Write, 1, fault);
        let error = put(&fixture.store, &content(10)).await.unwrap_err();
        match fault {
            Fault::NoSpace => assert!(matches!(error, StoreError::NoSpace { .. }), "{error}"),
            Fault::Io => assert!(matches!(error, StoreError::Io { .. }), "{error}"),
        }
        assert!(std::error::Error::source(&error).is_some());
    }
}

async fn an_upload_goes_on_after_a_write_failed(fixture: Fixture) {
    let bytes = content(2_500_000);
    let key = ObjectKey::random();
    let known = append(&fixture.store, key, &start(), &bytes.slice(..400_000))
        .await
        .unwrap();
    fixture.faults.fail(Operation::Write, 3, Fault::NoSpace);
    let error = append(&fixture.store, key, &known, &bytes.slice(400_000..))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    let progress = append(&fixture.store, key, &known, &bytes.slice(400_000..))
        .await
        .unwrap();
    let staged = fixture
        .store
        .writer(key, &progress)
        .await
        .unwrap()
        .finish()
        .await
        .unwrap();
    assert_eq!(staged.digest(), digest(&bytes));
}

async fn a_writer_that_failed_takes_nothing_more(fixture: Fixture) {
    fixture.faults.fail(Operation::Write, 1, Fault::Io);
    let mut writer = fixture
        .store
        .writer(ObjectKey::random(), &start())
        .await
        .unwrap();
    // The first batch fails behind the back of the second, so the third hears of it.
    writer.write(content(600_000)).await.unwrap();
    writer.write(content(600_000)).await.unwrap();
    let error = writer.write(content(600_000)).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    let error = writer.write(content(600_000)).await.unwrap_err();
    assert!(matches!(error, StoreError::WriterClosed { .. }), "{error}");
    let error = writer.finish().await.err().unwrap();
    assert!(matches!(error, StoreError::WriterClosed { .. }), "{error}");
}

async fn a_sync_that_fails_records_no_progress(fixture: Fixture) {
    let key = ObjectKey::random();
    for _ in 0..2 {
        fixture.faults.fail(Operation::Sync, 1, Fault::Io);
        let mut writer = fixture.store.writer(key, &start()).await.unwrap();
        writer.write(Bytes::from_static(b"bytes")).await.unwrap();
        assert!(writer.pause().await.is_err());
    }
    assert!(
        append(&fixture.store, key, &start(), &content(10))
            .await
            .is_ok()
    );
}

async fn publishing_that_fails_leaves_no_object(fixture: Fixture) {
    let key = ObjectKey::random();
    let known = append(&fixture.store, key, &start(), &content(10))
        .await
        .unwrap();
    fixture.faults.fail(Operation::Publish, 1, Fault::NoSpace);
    let staged = fixture
        .store
        .writer(key, &known)
        .await
        .unwrap()
        .finish()
        .await
        .unwrap();
    let error = staged.publish().await.unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert_eq!(fixture.store.size(key).await.unwrap(), None);
    let again = fixture
        .store
        .writer(key, &known)
        .await
        .unwrap()
        .finish()
        .await
        .unwrap();
    again.publish().await.unwrap();
    assert_eq!(
        read_all(&fixture.store, key, 10).await.unwrap(),
        content(10)
    );
}

async fn a_read_that_fails_ends_the_stream_with_the_error(fixture: Fixture) {
    let key = put(&fixture.store, &content(1_000_000)).await.unwrap();
    fixture.faults.fail(Operation::Read, 3, Fault::Io);
    let mut reader = fixture.store.read(key, 0..1_000_000).await.unwrap();
    assert!(reader.next().await.unwrap().is_ok());
    assert!(reader.next().await.unwrap().is_ok());
    let error = reader.next().await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(reader.next().await.is_none());
}

async fn a_deletion_that_fails_can_be_tried_again(fixture: Fixture) {
    let key = put(&fixture.store, &content(10)).await.unwrap();
    fixture.faults.fail(Operation::Delete, 1, Fault::Io);
    assert!(fixture.store.delete(key).await.is_err());
    assert_eq!(fixture.store.size(key).await.unwrap(), Some(10));
    fixture.store.delete(key).await.unwrap();
    assert_eq!(fixture.store.size(key).await.unwrap(), None);
}

async fn a_probe_that_fails_names_the_errno(fixture: Fixture) {
    fixture.faults.fail(Operation::Probe, 1, Fault::NoSpace);
    let error = fixture.store.check_writable().await.unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("os error 28"), "{error}");
}
