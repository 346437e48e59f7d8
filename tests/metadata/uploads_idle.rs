//! Upload sessions that nobody uses any more.

use berth::clock::Millis;
use berth::metadata::UploadRow;
use berth::oci::UploadId;

use crate::blobs::state;
use crate::contracts;
use crate::fixture::{Fixture, START, digest_of};
use crate::uploads::{new_upload, taken};

contracts![
    an_idle_session_ends_and_its_object_with_it,
    a_session_that_was_used_since_it_was_listed_stays,
    open_and_done_sessions_each_have_their_own_time,
    idle_sessions_come_oldest_first,
    a_session_without_bytes_ends_when_it_is_idle,
    many_finished_sessions_push_no_open_one_out,
];

async fn idle(fixture: &Fixture, idle_since: Millis, done_since: Millis) -> Vec<UploadId> {
    let idle = fixture
        .metadata
        .idle_uploads(idle_since, done_since, 100)
        .await;
    idle.unwrap().iter().map(|upload| upload.id).collect()
}

/// A session that was last used at a time.
async fn used(fixture: &Fixture, at: Millis) -> UploadRow {
    let upload = taken(fixture).await;
    let used = fixture.metadata.take_upload(upload.id, at).await.unwrap();
    used.unwrap().upload
}

/// A session that was done at a time.
async fn done(fixture: &Fixture, at: Millis) -> UploadRow {
    let upload = taken(fixture).await;
    let digest = digest_of("content");
    fixture
        .change(async |change| {
            change
                .finish_upload(upload.id, upload.object_key, &digest, at)
                .await
        })
        .await
        .unwrap();
    fixture.metadata.upload(upload.id).await.unwrap().unwrap()
}

async fn an_idle_session_ends_and_its_object_with_it(fixture: Fixture) {
    let upload = used(&fixture, START).await;
    assert_eq!(
        idle(&fixture, START, START).await,
        [],
        "at the limit it is not idle yet"
    );
    assert_eq!(
        idle(&fixture, START.plus(1), START.plus(1)).await,
        [upload.id]
    );
    let now = START.plus(2);
    assert!(fixture.metadata.expire_upload(&upload, now).await.unwrap());
    assert!(fixture.metadata.upload(upload.id).await.unwrap().is_none());
    let doomed = format!("doomed {}", now.0);
    assert_eq!(state(&fixture, upload.object_key).await, doomed);
    assert!(!fixture.metadata.expire_upload(&upload, now).await.unwrap());
}

async fn a_session_that_was_used_since_it_was_listed_stays(fixture: Fixture) {
    let listed = used(&fixture, START).await;
    let taken = fixture
        .metadata
        .take_upload(listed.id, START.plus(5))
        .await
        .unwrap();
    assert!(
        !fixture
            .metadata
            .expire_upload(&listed, START.plus(6))
            .await
            .unwrap()
    );
    let upload = taken.unwrap().upload;
    let saved = fixture
        .metadata
        .save_upload(upload.id, upload.epoch, &upload.progress, START.plus(7))
        .await;
    assert!(saved.unwrap());
    assert!(
        !fixture
            .metadata
            .expire_upload(&upload, START.plus(8))
            .await
            .unwrap()
    );
    assert_eq!(state(&fixture, upload.object_key).await, "writing -");
}

async fn open_and_done_sessions_each_have_their_own_time(fixture: Fixture) {
    let open = used(&fixture, START.plus(10)).await;
    let done = done(&fixture, START.plus(10)).await;
    let (before, after) = (START.plus(10), START.plus(11));
    assert_eq!(idle(&fixture, before, before).await, []);
    assert_eq!(idle(&fixture, before, after).await, [done.id]);
    assert_eq!(idle(&fixture, after, before).await, [open.id]);
    assert_eq!(idle(&fixture, after, after).await.len(), 2);
    assert!(fixture.metadata.expire_upload(&done, after).await.unwrap());
    let kept = state(&fixture, done.object_key).await;
    assert_eq!(
        kept, "writing -",
        "the object of a done session is its blob's"
    );
}

async fn idle_sessions_come_oldest_first(fixture: Fixture) {
    let mut expected = Vec::new();
    for at in [3, 1, 2] {
        let upload = used(&fixture, START.plus(at)).await;
        expected.push((at, upload.id));
    }
    expected.sort_unstable_by_key(|(at, _)| *at);
    let late = START.plus(9);
    let oldest = fixture.metadata.idle_uploads(late, late, 2).await.unwrap();
    let oldest: Vec<_> = oldest.iter().map(|upload| upload.id).collect();
    assert_eq!(oldest, [expected[0].1, expected[1].1]);
}

async fn a_session_without_bytes_ends_when_it_is_idle(fixture: Fixture) {
    let upload = new_upload();
    fixture.metadata.open_upload(&upload).await.unwrap();
    idle(&fixture, START, START).await;
    assert!(fixture.metadata.upload(upload.id).await.unwrap().is_some());
    let later = START.plus(1);
    let listed = fixture.metadata.idle_uploads(later, START, 10).await;
    for upload in &listed.unwrap() {
        let expired = fixture.metadata.expire_upload(upload, later).await;
        assert!(expired.unwrap());
    }
    assert!(fixture.metadata.upload(upload.id).await.unwrap().is_none());
}

async fn many_finished_sessions_push_no_open_one_out(fixture: Fixture) {
    if !fixture.is_sqlite() {
        // There each session has a row.
        return;
    }
    /// More than are kept without a row.
    const PUSHES: i64 = 20_100;
    let open = new_upload();
    fixture.metadata.open_upload(&open).await.unwrap();
    let digest = digest_of("content");
    for push in 1..=PUSHES {
        let now = START.plus(push);
        let upload = UploadRow {
            touched_at: now,
            ..new_upload()
        };
        fixture.metadata.open_upload(&upload).await.unwrap();
        let taken = fixture.metadata.take_fresh_upload(upload.id).unwrap();
        fixture
            .metadata
            .finish_fresh_upload(taken.upload, digest, now);
    }
    assert!(fixture.metadata.upload(open.id).await.unwrap().is_some());
}
