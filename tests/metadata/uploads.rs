//! Upload sessions: who may write to one.

use berth::metadata::{MetadataError, UploadRow, UploadState};
use berth::oci::UploadId;
use berth_storage::{Digest, DigestAlgorithm, ObjectKey, Progress};

use crate::blobs::state;
use crate::contracts;
use crate::fixture::{ACTOR, Fixture, OTHER_WORKSPACE, START, WORKSPACE, digest_of, together};

contracts![
    a_session_without_bytes_has_a_row_only_where_others_need_it,
    taking_a_session_raises_its_epoch,
    of_many_that_take_a_session_the_last_one_writes,
    an_overtaken_writer_changes_nothing,
    a_closed_session_is_gone_and_its_object_doomed,
    a_done_session_keeps_its_digest_and_cannot_be_closed,
    open_sessions_are_counted_by_workspace,
    objects_of_sessions_are_known,
];

pub(crate) fn new_upload() -> UploadRow {
    UploadRow {
        id: UploadId::random(),
        workspace_id: String::from(WORKSPACE),
        repository: "t-1111/app".parse().unwrap(),
        algorithm: DigestAlgorithm::Sha256,
        object_key: ObjectKey::random(),
        state: UploadState::Open,
        epoch: 0,
        progress: Progress::start(DigestAlgorithm::Sha256),
        digest: None,
        actor: String::from(ACTOR),
        touched_at: START,
    }
}

/// An open session with a row, taken once.
pub(crate) async fn taken(fixture: &Fixture) -> UploadRow {
    let upload = new_upload();
    fixture.metadata.open_upload(&upload).await.unwrap();
    let taken = fixture
        .metadata
        .take_upload(upload.id, START)
        .await
        .unwrap();
    taken.unwrap().upload
}

fn progress(offset: u64) -> Progress {
    Progress {
        offset,
        hasher: vec![0, 255],
        backend: vec![1],
    }
}

async fn finish(
    fixture: &Fixture,
    upload: &UploadRow,
    digest: &Digest,
) -> Result<bool, MetadataError> {
    let now = START.plus(1);
    fixture
        .change(async |change| {
            change
                .finish_upload(upload.id, upload.object_key, digest, now)
                .await
        })
        .await
}

async fn row_count(fixture: &Fixture) -> i64 {
    fixture.number("SELECT COUNT(*) FROM uploads").await
}

async fn a_session_without_bytes_has_a_row_only_where_others_need_it(fixture: Fixture) {
    let upload = new_upload();
    fixture.metadata.open_upload(&upload).await.unwrap();
    let found = fixture.metadata.upload(upload.id).await.unwrap().unwrap();
    assert_eq!(found.repository, upload.repository);
    assert_eq!((found.state, found.epoch), (UploadState::Open, 0));
    assert_eq!(found.progress, upload.progress);
    assert_eq!(row_count(&fixture).await, i64::from(!fixture.is_sqlite()));
    let fresh = fixture.metadata.take_fresh_upload(upload.id);
    assert_eq!(fresh.is_some(), fixture.is_sqlite());
    let again = fixture.metadata.take_fresh_upload(upload.id);
    assert!(again.is_none(), "one request alone completes it");
}

async fn taking_a_session_raises_its_epoch(fixture: Fixture) {
    let upload = taken(&fixture).await;
    assert_eq!(upload.epoch, 1);
    assert_eq!(row_count(&fixture).await, 1);
    assert_eq!(state(&fixture, upload.object_key).await, "writing -");
    let again = fixture.metadata.take_upload(upload.id, START.plus(4)).await;
    let again = again.unwrap().unwrap();
    assert!(!again.fresh);
    assert_eq!(
        (again.upload.epoch, again.upload.touched_at),
        (2, START.plus(4))
    );
    let unknown = fixture
        .metadata
        .take_upload(UploadId::random(), START)
        .await;
    assert!(unknown.unwrap().is_none());
}

async fn of_many_that_take_a_session_the_last_one_writes(fixture: Fixture) {
    const WRITERS: usize = 8;
    let id = taken(&fixture).await.id;
    let metadata = fixture.metadata.clone();
    let epochs = together(WRITERS, move |_| {
        let metadata = metadata.clone();
        async move {
            metadata
                .take_upload(id, START)
                .await
                .unwrap()
                .unwrap()
                .upload
                .epoch
        }
    })
    .await;
    let mut sorted = epochs.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (2..=9).collect::<Vec<i64>>());
    for epoch in epochs {
        let offset = epoch.unsigned_abs();
        let saved = fixture
            .metadata
            .save_upload(id, epoch, &progress(offset), START)
            .await;
        assert_eq!(saved.unwrap(), epoch == 9, "epoch {epoch}");
    }
    let upload = fixture.metadata.upload(id).await.unwrap().unwrap();
    assert_eq!(upload.progress, progress(9));
}

async fn an_overtaken_writer_changes_nothing(fixture: Fixture) {
    let overtaken = taken(&fixture).await;
    let (id, later) = (overtaken.id, START.plus(2));
    let current = fixture
        .metadata
        .take_upload(id, later)
        .await
        .unwrap()
        .unwrap()
        .upload;
    let saved = fixture
        .metadata
        .save_upload(id, overtaken.epoch, &progress(5), START.plus(3))
        .await;
    assert!(!saved.unwrap());
    let digest = digest_of("content");
    let elsewhere = UploadRow {
        object_key: ObjectKey::random(),
        ..overtaken
    };
    assert!(!finish(&fixture, &elsewhere, &digest).await.unwrap());
    let found = fixture.metadata.upload(id).await.unwrap().unwrap();
    assert_eq!(
        (found.state, found.epoch),
        (UploadState::Open, current.epoch)
    );
    assert_eq!((found.progress.offset, found.touched_at), (0, later));
    assert!(finish(&fixture, &current, &digest).await.unwrap());
}

async fn a_closed_session_is_gone_and_its_object_doomed(fixture: Fixture) {
    let upload = taken(&fixture).await;
    let now = START.plus(6);
    assert!(
        fixture
            .metadata
            .close_upload(upload.id, None, now)
            .await
            .unwrap()
    );
    assert!(fixture.metadata.upload(upload.id).await.unwrap().is_none());
    let doomed = format!("doomed {}", now.0);
    assert_eq!(state(&fixture, upload.object_key).await, doomed);
    assert!(
        !fixture
            .metadata
            .close_upload(upload.id, None, now)
            .await
            .unwrap()
    );
    let saved = fixture
        .metadata
        .save_upload(upload.id, upload.epoch, &progress(5), now)
        .await;
    assert!(!saved.unwrap());
    let fresh = new_upload();
    fixture.metadata.open_upload(&fresh).await.unwrap();
    assert!(
        fixture
            .metadata
            .close_upload(fresh.id, None, now)
            .await
            .unwrap()
    );
    assert!(fixture.metadata.upload(fresh.id).await.unwrap().is_none());
}

async fn a_done_session_keeps_its_digest_and_cannot_be_closed(fixture: Fixture) {
    let digest = digest_of("content");
    let upload = taken(&fixture).await;
    assert!(finish(&fixture, &upload, &digest).await.unwrap());
    let mut done = vec![upload.id];
    let fresh = new_upload();
    fixture.metadata.open_upload(&fresh).await.unwrap();
    if let Some(taken) = fixture.metadata.take_fresh_upload(fresh.id) {
        fixture
            .metadata
            .finish_fresh_upload(taken.upload, digest, START);
        done.push(fresh.id);
    }
    for id in done {
        let found = fixture.metadata.upload(id).await.unwrap().unwrap();
        assert_eq!(
            (found.state, found.digest),
            (UploadState::Done, Some(digest))
        );
        assert!(
            fixture
                .metadata
                .take_upload(id, START)
                .await
                .unwrap()
                .is_none()
        );
        let closed = fixture
            .metadata
            .close_upload(id, None, START)
            .await
            .unwrap();
        assert!(!closed, "what is done stays done");
        assert!(fixture.metadata.upload(id).await.unwrap().is_some());
    }
}

async fn open_sessions_are_counted_by_workspace(fixture: Fixture) {
    let done = taken(&fixture).await;
    finish(&fixture, &done, &digest_of("content"))
        .await
        .unwrap();
    taken(&fixture).await;
    let foreign = UploadRow {
        workspace_id: String::from(OTHER_WORKSPACE),
        ..new_upload()
    };
    for upload in [new_upload(), new_upload(), foreign] {
        fixture.metadata.open_upload(&upload).await.unwrap();
    }
    let may_open = async |workspace, limit| {
        let may_open = fixture.metadata.may_open_upload(workspace, limit).await;
        may_open.unwrap()
    };
    for (workspace, open) in [(WORKSPACE, 3), (OTHER_WORKSPACE, 1), ("none", 0)] {
        assert!(may_open(workspace, open + 1).await, "{workspace}");
        assert!(!may_open(workspace, open).await, "{workspace}");
    }
    // However often it was asked before, rows that are written since count, and those that went do not.
    for open in 3..6 {
        assert!(may_open(WORKSPACE, open + 1).await);
        assert!(!may_open(WORKSPACE, open).await);
        taken(&fixture).await;
    }
    let gone = taken(&fixture).await;
    assert!(!may_open(WORKSPACE, 7).await);
    fixture
        .metadata
        .close_upload(gone.id, None, START)
        .await
        .unwrap();
    assert!(may_open(WORKSPACE, 7).await);
}

async fn objects_of_sessions_are_known(fixture: Fixture) {
    let done = taken(&fixture).await;
    finish(&fixture, &done, &digest_of("content"))
        .await
        .unwrap();
    let open = taken(&fixture).await;
    let keys = fixture.metadata.upload_object_keys().await.unwrap();
    assert_eq!(keys, [open.object_key]);
}
