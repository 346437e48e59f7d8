//! One upload, several writers: the newest wins, and no bytes mix.

use std::pin::pin;
use std::task::Poll;

use berth_storage::{ObjectKey, StoreError, Writer};
use bytes::Bytes;
use futures_util::{FutureExt, poll};

use crate::support::{Fixture, append, content, digest, on_every_backend, read_all, start};

/// Enough to hand a batch to the disk.
const BATCH: usize = 512 * 1024;

on_every_backend!(
    a_writer_is_told_to_stop_by_the_next_one,
    a_superseded_writer_gives_way_when_it_writes_again,
    a_superseded_writer_can_neither_pause_nor_finish,
    a_silent_writer_wakes_when_it_is_superseded,
    a_taker_waits_for_a_write_that_stands_still_in_the_kernel,
    a_dropped_writer_frees_the_key_only_after_its_write_has_ended,
    cancelling_stops_the_writer_first,
    the_newest_of_several_takers_wins,
    a_staged_upload_that_was_superseded_is_not_published,
    dropping_any_future_loses_nothing_that_was_paused,
    writers_of_different_keys_do_not_stop_each_other,
);

async fn stalled_writer(
    fixture: &Fixture,
    key: ObjectKey,
) -> (Writer, berth_storage::testing::Stall) {
    let stall = fixture.faults.stall_write(1);
    let mut writer = fixture.store.writer(key, &start()).await.unwrap();
    writer.write(Bytes::from(vec![b'o'; BATCH])).await.unwrap();
    stall.reached().await;
    (writer, stall)
}

async fn a_writer_is_told_to_stop_by_the_next_one(fixture: Fixture) {
    let key = ObjectKey::random();
    let first = fixture.store.writer(key, &start()).await.unwrap();
    let told = first.superseded();
    assert!(first.superseded().now_or_never().is_none());
    let progress = start();
    let mut second = pin!(fixture.store.writer(key, &progress));
    assert!(poll!(&mut second).is_pending());
    told.await;
    drop(first);
    assert!(second.await.is_ok());
}

async fn a_superseded_writer_gives_way_when_it_writes_again(fixture: Fixture) {
    let key = ObjectKey::random();
    let mut first = fixture.store.writer(key, &start()).await.unwrap();
    let progress = start();
    let mut second = pin!(fixture.store.writer(key, &progress));
    assert!(poll!(&mut second).is_pending());
    let error = first.write(Bytes::from_static(b"late")).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    let staged = second.await.unwrap().finish().await.unwrap();
    assert_eq!(staged.digest(), digest(b""));
    let error = first.write(Bytes::from_static(b"later")).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
}

async fn a_superseded_writer_can_neither_pause_nor_finish(fixture: Fixture) {
    let key = ObjectKey::random();
    for finishes in [true, false] {
        let first = fixture.store.writer(key, &start()).await.unwrap();
        let progress = start();
        let mut second = pin!(fixture.store.writer(key, &progress));
        assert!(poll!(&mut second).is_pending());
        let error = if finishes {
            first.finish().await.err().unwrap()
        } else {
            first.pause().await.unwrap_err()
        };
        assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
        assert!(second.await.is_ok());
    }
}

async fn a_silent_writer_wakes_when_it_is_superseded(fixture: Fixture) {
    let key = ObjectKey::random();
    let first = fixture.store.writer(key, &start()).await.unwrap();
    let silent_client = tokio::spawn(async move {
        tokio::select! {
            () = first.superseded() => "stopped",
            () = std::future::pending() => "got bytes",
        }
    });
    assert!(fixture.store.writer(key, &start()).await.is_ok());
    assert_eq!(silent_client.await.unwrap(), "stopped");
}

async fn a_taker_waits_for_a_write_that_stands_still_in_the_kernel(fixture: Fixture) {
    let key = ObjectKey::random();
    let known = append(&fixture.store, key, &start(), &content(1_000))
        .await
        .unwrap();
    let stall = fixture.faults.stall_write(1);
    let mut old = fixture.store.writer(key, &known).await.unwrap();
    old.write(Bytes::from(vec![b'o'; BATCH])).await.unwrap();
    stall.reached().await;

    let mut taking = pin!(fixture.store.writer(key, &known));
    assert!(poll!(&mut taking).is_pending());
    let error = old.write(Bytes::from_static(b"o")).await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    // The old writer has noticed, but its write is still in the kernel.
    assert!(poll!(&mut taking).is_pending());
    stall.release();
    let mut new = taking.await.unwrap();
    new.write(Bytes::from_static(b"new")).await.unwrap();
    let staged = new.finish().await.unwrap();
    let expected = [&content(1_000)[..], b"new"].concat();
    assert_eq!(staged.digest(), digest(&expected));
    staged.publish().await.unwrap();
    assert_eq!(
        read_all(&fixture.store, key, 1_003).await.unwrap(),
        expected
    );
    assert_eq!(fixture.store.size(key).await.unwrap(), Some(1_003));
}

async fn a_dropped_writer_frees_the_key_only_after_its_write_has_ended(fixture: Fixture) {
    let key = ObjectKey::random();
    let (old, stall) = stalled_writer(&fixture, key).await;
    drop(old);
    let progress = start();
    let mut taking = pin!(fixture.store.writer(key, &progress));
    assert!(poll!(&mut taking).is_pending());
    tokio::task::yield_now().await;
    assert!(poll!(&mut taking).is_pending());
    stall.release();
    let staged = taking.await.unwrap().finish().await.unwrap();
    assert_eq!(staged.size_bytes(), 0);
    assert_eq!(
        staged.rehash(crate::support::SHA256).await.unwrap(),
        digest(b"")
    );
}

async fn cancelling_stops_the_writer_first(fixture: Fixture) {
    let key = ObjectKey::random();
    let (old, stall) = stalled_writer(&fixture, key).await;
    let mut discarding = pin!(fixture.store.discard_staging(key));
    assert!(poll!(&mut discarding).is_pending());
    old.superseded().await;
    drop(old);
    assert!(poll!(&mut discarding).is_pending());
    stall.release();
    discarding.await.unwrap();
    assert!(fixture.store.staged_keys().await.unwrap().is_empty());
}

async fn the_newest_of_several_takers_wins(fixture: Fixture) {
    let key = ObjectKey::random();
    let first = fixture.store.writer(key, &start()).await.unwrap();
    let progress = start();
    let mut second = pin!(fixture.store.writer(key, &progress));
    assert!(poll!(&mut second).is_pending());
    let mut third = pin!(fixture.store.writer(key, &progress));
    assert!(poll!(&mut third).is_pending());
    let error = second.await.err().unwrap();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    drop(first);
    assert!(third.await.is_ok());
}

async fn a_staged_upload_that_was_superseded_is_not_published(fixture: Fixture) {
    let key = ObjectKey::random();
    let known = append(&fixture.store, key, &start(), &content(10))
        .await
        .unwrap();
    let staged = fixture
        .store
        .writer(key, &known)
        .await
        .unwrap()
        .finish()
        .await
        .unwrap();
    let mut taking = pin!(fixture.store.writer(key, &known));
    assert!(poll!(&mut taking).is_pending());
    staged.superseded().await;
    let error = staged.publish().await.unwrap_err();
    assert!(matches!(error, StoreError::Superseded { .. }), "{error}");
    let again = taking.await.unwrap().finish().await.unwrap();
    assert_eq!(again.digest(), digest(&content(10)));
    again.publish().await.unwrap();
}

/// Drops the future of each step after its first poll, wherever that leaves it, and then goes on
/// from the progress known last.
async fn dropping_any_future_loses_nothing_that_was_paused(fixture: Fixture) {
    let key = ObjectKey::random();
    let known = append(&fixture.store, key, &start(), &content(200_000))
        .await
        .unwrap();
    let junk = || Bytes::from(vec![b'x'; BATCH]);
    for step in 0..5 {
        if step == 0 {
            drop(poll!(pin!(fixture.store.writer(key, &known))));
            continue;
        }
        let mut writer = fixture.store.writer(key, &known).await.unwrap();
        writer.write(junk()).await.unwrap();
        match step {
            1 => {
                writer.write(junk()).await.unwrap();
                let _dropped = poll!(pin!(writer.write(junk())));
            }
            2 => drop(poll!(pin!(writer.pause()))),
            3 => drop(poll!(pin!(writer.finish()))),
            _ => drop(writer),
        }
    }
    let staged = fixture
        .store
        .writer(key, &known)
        .await
        .unwrap()
        .finish()
        .await
        .unwrap();
    assert_eq!(staged.digest(), digest(&content(200_000)));
    assert_eq!(
        staged.rehash(crate::support::SHA256).await.unwrap(),
        digest(&content(200_000))
    );

    let publishing = pin!(staged.publish()).poll_unpin(&mut std::task::Context::from_waker(
        futures_util::task::noop_waker_ref(),
    ));
    if let Poll::Ready(outcome) = publishing {
        outcome.unwrap();
    }
    // The work that the dropped future began still holds the key, so this waits for its end.
    match fixture.store.writer(key, &known).await {
        // Opening asks nobody; the same bytes may be published again.
        Ok(writer) => drop(writer.finish().await.unwrap().publish().await.unwrap()),
        Err(StoreError::AlreadyPublished { .. }) => {}
        Err(after) => panic!("{after}"),
    }
    assert_eq!(
        read_all(&fixture.store, key, 200_000).await.unwrap(),
        content(200_000)
    );
}

async fn writers_of_different_keys_do_not_stop_each_other(fixture: Fixture) {
    let (old, _stall) = stalled_writer(&fixture, ObjectKey::random()).await;
    let other = fixture
        .store
        .writer(ObjectKey::random(), &start())
        .await
        .unwrap();
    assert!(old.superseded().now_or_never().is_none());
    other.finish().await.unwrap().publish().await.unwrap();
}
