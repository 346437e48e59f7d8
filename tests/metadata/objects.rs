//! Objects: every key is known before its first byte, and forgotten after its last.

use berth_storage::ObjectKey;

use crate::blobs::state;
use crate::contracts;
use crate::fixture::{Fixture, START, new_blob};
use crate::uploads::new_upload;

contracts![
    due_objects_come_by_their_time,
    only_doomed_objects_are_forgotten,
    what_a_blob_names_is_never_given_up,
    objects_are_given_up_when_their_time_is_over,
    the_sole_owner_gives_up_all_objects_without_a_session,
];

async fn due_objects_come_by_their_time(fixture: Fixture) {
    let keys: Vec<ObjectKey> = (0..4).map(|_| ObjectKey::random()).collect();
    fixture
        .change(async |change| {
            for (key, due) in keys.iter().zip([30, 10, 20, 99]) {
                change.record_object(*key, None, START).await?;
                change.doom_object(*key, START.plus(due)).await?;
            }
            // Neither written objects nor live ones are due, whatever their time.
            change
                .record_object(ObjectKey::random(), Some(START), START)
                .await
        })
        .await
        .unwrap();
    let take = async |after, again, limit| {
        let taken = fixture.change(async |change| {
            change
                .take_doomed_objects(START.plus(after), START.plus(again), limit)
                .await
        });
        let taken = taken.await.unwrap();
        taken.iter().map(|object| object.key).collect::<Vec<_>>()
    };
    assert_eq!(take(9, 100, 10).await, []);
    assert_eq!(take(10, 100, 10).await, [keys[1]]);
    // What one has taken is nobody else's until its time is over.
    assert_eq!(take(30, 101, 1).await, [keys[2]]);
    assert_eq!(take(30, 201, 10).await, [keys[0]]);
    assert_eq!(take(101, 300, 1).await, [keys[3]]);
    let later = START.plus(500);
    fixture
        .change(async |change| change.postpone_object(keys[0], later).await)
        .await
        .unwrap();
    assert_eq!(take(101, 600, 10).await, [keys[1], keys[2]]);
    assert_eq!(take(499, 600, 10).await, [keys[3]]);
    let tried = fixture.change(async |change| change.take_doomed_objects(later, later, 10).await);
    let tried = tried.await.unwrap();
    assert_eq!((tried[0].key, tried[0].attempts), (keys[0], 1));
}

async fn only_doomed_objects_are_forgotten(fixture: Fixture) {
    let (writing, doomed, live) = (
        ObjectKey::random(),
        ObjectKey::random(),
        new_blob("content"),
    );
    fixture
        .change(async |change| {
            for key in [writing, doomed, live.object_key] {
                change.record_object(key, None, START).await?;
            }
            change.store_blob(&live, None, START, START).await?;
            change.doom_object(doomed, START).await
        })
        .await
        .unwrap();
    fixture
        .change(async |change| {
            for key in [writing, doomed, live.object_key, ObjectKey::random()] {
                change.forget_object(key).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(state(&fixture, writing).await, "writing -");
    assert_eq!(state(&fixture, doomed).await, "");
    assert_eq!(state(&fixture, live.object_key).await, "live -");
}

async fn what_a_blob_names_is_never_given_up(fixture: Fixture) {
    let (live, doomed) = (new_blob("content"), new_blob("other content"));
    let keys = [live.object_key, doomed.object_key];
    fixture
        .change(async |change| {
            for blob in [&live, &doomed] {
                change.record_object(blob.object_key, None, START).await?;
                change.store_blob(blob, None, START, START).await?;
            }
            change.doom_object(live.object_key, START).await
        })
        .await
        .unwrap();
    assert_eq!(state(&fixture, live.object_key).await, "live -");
    // However its row came to say so: the bytes stay as long as somebody has them.
    let broken = format!(
        "UPDATE objects SET state = 'doomed', due_at = 0 WHERE key = '{}'",
        keys[1]
    );
    assert_eq!(fixture.execute(&broken).await.unwrap(), 1);
    let taken = fixture.change(async |change| change.take_doomed_objects(START, START, 10).await);
    assert_eq!(taken.await.unwrap().len(), 0);
}

/// Objects in every state: with and without a session, in and past their time. Returns those that nobody may give up,
/// the one past its time, and the one that is still being written.
async fn in_every_state(fixture: &Fixture) -> ([ObjectKey; 2], ObjectKey, ObjectKey) {
    let upload = new_upload();
    fixture.metadata.open_upload(&upload).await.unwrap();
    let taken = fixture
        .metadata
        .take_upload(upload.id, START)
        .await
        .unwrap();
    assert!(taken.is_some_and(|taken| !taken.fresh));
    let (live, past, writing) = (
        new_blob("content"),
        ObjectKey::random(),
        ObjectKey::random(),
    );
    fixture
        .change(async |change| {
            change
                .record_object(live.object_key, Some(START), START)
                .await?;
            change.store_blob(&live, None, START, START).await?;
            change
                .record_object(past, Some(START.plus(10)), START)
                .await?;
            change
                .record_object(writing, Some(START.plus(11)), START)
                .await
        })
        .await
        .unwrap();
    ([upload.object_key, live.object_key], past, writing)
}

async fn give_up(fixture: &Fixture, all: bool) -> u64 {
    let now = START.plus(10);
    fixture
        .change(async |change| change.doom_abandoned_objects(all, now).await)
        .await
        .unwrap()
}

async fn objects_are_given_up_when_their_time_is_over(fixture: Fixture) {
    let (kept, past, writing) = in_every_state(&fixture).await;
    assert_eq!(give_up(&fixture, false).await, 1);
    let now = START.plus(10).0;
    assert_eq!(state(&fixture, past).await, format!("doomed {now}"));
    assert_eq!(
        state(&fixture, writing).await,
        format!("writing {}", now + 1)
    );
    assert_eq!(state(&fixture, kept[0]).await, "writing -");
    assert_eq!(state(&fixture, kept[1]).await, "live -");
    assert_eq!(give_up(&fixture, false).await, 0);
}

async fn the_sole_owner_gives_up_all_objects_without_a_session(fixture: Fixture) {
    let (kept, past, writing) = in_every_state(&fixture).await;
    assert_eq!(give_up(&fixture, true).await, 2);
    let doomed = format!("doomed {}", START.plus(10).0);
    assert_eq!(state(&fixture, past).await, doomed);
    assert_eq!(state(&fixture, writing).await, doomed);
    assert_eq!(state(&fixture, kept[0]).await, "writing -");
    assert_eq!(state(&fixture, kept[1]).await, "live -");
}
