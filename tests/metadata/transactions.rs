//! Changes: kept whole or not at all, whatever becomes of the one who makes them.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use berth::metadata::{Metadata, MetadataError};
use berth::oci::RepositoryName;

use crate::contracts;
use crate::fixture::{Fixture, START, STUCK, WORKSPACE, digest_of, new_blob, together};

contracts![
    a_change_that_is_dropped_is_undone_and_others_go_on,
    a_failed_change_takes_nobody_with_it,
    each_committed_change_is_seen_when_its_commit_returns,
    committed_changes_outlive_the_process,
    a_cancelled_change_is_whole_or_nothing,
    changes_go_on_beside_cancelled_ones,
    closing_waits_for_the_change_under_way,
    closing_ends_although_changes_keep_coming,
    a_closed_database_is_unavailable,
];

/// A change of several tables: a repository, an object, its blob and the link between them.
async fn push(metadata: &Metadata, name: &str) -> Result<(), MetadataError> {
    let name: RepositoryName = name.parse().unwrap();
    let blob = new_blob(name.as_str());
    let mut change = metadata.begin().await?;
    let repository = change.ensure_repository(WORKSPACE, &name, START).await?;
    change.record_object(blob.object_key, None, START).await?;
    change.store_blob(&blob, None, START, START).await?;
    change.link(repository.id, &blob.digest, START).await?;
    change.commit().await
}

/// Whether a push is there, whole.
async fn pushed(metadata: &Metadata, name: &str) -> bool {
    let repository = metadata.repository(&name.parse().unwrap()).await.unwrap();
    let Some(repository) = repository else {
        let stored = metadata.stored_blob(&digest_of(name)).await.unwrap();
        assert!(stored.is_none(), "{name}: a blob without its repository");
        return false;
    };
    let linked = metadata.linked_blob(repository.id, &digest_of(name)).await;
    assert!(
        linked.unwrap().is_some(),
        "{name}: a repository without its blob"
    );
    true
}

async fn a_change_that_is_dropped_is_undone_and_others_go_on(fixture: Fixture) {
    let name = "t-1111/dropped".parse().unwrap();
    let mut change = fixture.metadata.begin().await.unwrap();
    change
        .ensure_repository(WORKSPACE, &name, START)
        .await
        .unwrap();
    drop(change);
    push(&fixture.metadata, "t-1111/next").await.unwrap();
    assert!(pushed(&fixture.metadata, "t-1111/next").await);
    assert!(!pushed(&fixture.metadata, "t-1111/dropped").await);
    assert_eq!(fixture.number("SELECT COUNT(*) FROM repositories").await, 1);
}

async fn a_failed_change_takes_nobody_with_it(fixture: Fixture) {
    let name: RepositoryName = "t-1111/failed".parse().unwrap();
    let mut change = fixture.metadata.begin().await.unwrap();
    let repository = change
        .ensure_repository(WORKSPACE, &name, START)
        .await
        .unwrap();
    let refused = change
        .link(repository.id, &digest_of("nothing"), START)
        .await;
    assert!(refused.unwrap_err().is_conflict());
    drop(change);
    push(&fixture.metadata, "t-1111/next").await.unwrap();
    assert!(!pushed(&fixture.metadata, "t-1111/failed").await);
}

async fn each_committed_change_is_seen_when_its_commit_returns(fixture: Fixture) {
    const CHANGES: usize = 60;
    let metadata = fixture.metadata.clone();
    together(CHANGES, move |i| {
        let metadata = metadata.clone();
        async move {
            let name = format!("t-1111/app-{i}");
            match i % 3 {
                0 => {
                    push(&metadata, &name).await.unwrap();
                    assert!(pushed(&metadata, &name).await);
                }
                1 => {
                    let mut change = metadata.begin().await.unwrap();
                    let name = name.parse().unwrap();
                    let made = change.ensure_repository(WORKSPACE, &name, START).await;
                    let repository = made.unwrap().id;
                    let nothing = digest_of("nothing");
                    let refused = change.link(repository, &nothing, START).await;
                    assert!(refused.unwrap_err().is_conflict());
                }
                _ => {
                    let mut change = metadata.begin().await.unwrap();
                    let name = name.parse().unwrap();
                    change
                        .ensure_repository(WORKSPACE, &name, START)
                        .await
                        .unwrap();
                }
            }
        }
    })
    .await;
    for i in 0..CHANGES {
        let there = pushed(&fixture.metadata, &format!("t-1111/app-{i}")).await;
        assert_eq!(there, i % 3 == 0, "{i}");
    }
}

async fn committed_changes_outlive_the_process(fixture: Fixture) {
    push(&fixture.metadata, "t-1111/app").await.unwrap();
    // Another connection reads the file or the server, not the memory of this one.
    let other = fixture.open_again().await;
    assert!(pushed(&other, "t-1111/app").await);
}

/// A future that goes away when it is polled for the last time that it is allowed.
struct Cancelled<F> {
    change: Pin<Box<F>>,
    polls_left: usize,
}

impl<F: Future> Future for Cancelled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.change.as_mut().poll(context).map(Some)
    }
}

/// Pushes, but goes away at the given await point. `None` when it did.
async fn push_cancelled(metadata: &Metadata, name: &str, polls: usize) -> Option<()> {
    let cancelled = Cancelled {
        change: Box::pin(push(metadata, name)),
        polls_left: polls,
    };
    let result = tokio::time::timeout(STUCK, cancelled).await;
    result.expect("the change goes on").map(Result::unwrap)
}

async fn a_cancelled_change_is_whole_or_nothing(fixture: Fixture) {
    /// More await points than a push has.
    const POLLS: usize = 200;
    let mut finished = 0;
    for polls in 0..POLLS {
        let name = format!("t-1111/cancelled-{polls}");
        let done = push_cancelled(&fixture.metadata, &name, polls).await;
        let next = format!("t-1111/next-{polls}");
        let pushing = tokio::time::timeout(STUCK, push(&fixture.metadata, &next)).await;
        pushing.expect("nothing is stuck").unwrap();
        // What was given to the writer before the cancellation may be kept, but then it is whole.
        let there = pushed(&fixture.metadata, &name).await;
        assert!(there || done.is_none(), "{name}");
        finished += usize::from(done.is_some());
        if finished == 5 {
            return;
        }
    }
    panic!("a push has more than {POLLS} await points: try more");
}

async fn changes_go_on_beside_cancelled_ones(fixture: Fixture) {
    const TASKS: usize = 160;
    let metadata = fixture.metadata.clone();
    let done = together(TASKS, move |i| {
        let metadata = metadata.clone();
        async move {
            let name = format!("t-1111/app-{i}");
            if i % 2 == 0 {
                push(&metadata, &name).await.unwrap();
                assert!(pushed(&metadata, &name).await);
                return true;
            }
            let mut task = tokio::spawn(async move { push(&metadata, &name).await });
            for _ in 0..i {
                tokio::task::yield_now().await;
            }
            task.abort();
            (&mut task).await.is_ok()
        }
    })
    .await;
    for (i, done) in done.into_iter().enumerate() {
        let there = pushed(&fixture.metadata, &format!("t-1111/app-{i}")).await;
        assert!(there || !done, "{i}");
    }
    push(&fixture.metadata, "t-1111/last").await.unwrap();
}

async fn closing_waits_for_the_change_under_way(fixture: Fixture) {
    let name = "t-1111/app".parse().unwrap();
    let mut change = fixture.metadata.begin().await.unwrap();
    change
        .ensure_repository(WORKSPACE, &name, START)
        .await
        .unwrap();
    let metadata = fixture.metadata.clone();
    let closing = tokio::spawn(async move { metadata.close().await });
    tokio::task::yield_now().await;
    assert!(!closing.is_finished());
    change.commit().await.unwrap();
    let closed = tokio::time::timeout(STUCK, closing).await;
    closed.expect("closing ends").unwrap();
    let again = fixture.open_again().await;
    assert!(again.repository(&name).await.unwrap().is_some());
}

async fn closing_ends_although_changes_keep_coming(fixture: Fixture) {
    let metadata = fixture.metadata.clone();
    let writers = tokio::spawn(together(8, move |i| {
        let metadata = metadata.clone();
        async move {
            let mut pushed = 0;
            while push(&metadata, &format!("t-1111/app-{i}-{pushed}"))
                .await
                .is_ok()
            {
                pushed += 1;
            }
            pushed
        }
    }));
    let first = "t-1111/app-0-0".parse().unwrap();
    crate::fixture::until("the first push", async || {
        fixture.metadata.repository(&first).await.unwrap().is_some()
    })
    .await;
    let closed = tokio::time::timeout(STUCK, fixture.metadata.close()).await;
    closed.expect("closing ends");
    let pushes: i64 = writers.await.unwrap().iter().sum();
    let kept = fixture.number("SELECT COUNT(*) FROM repositories").await;
    assert!(kept >= pushes, "{kept} of {pushes}");
}

async fn a_closed_database_is_unavailable(fixture: Fixture) {
    fixture.metadata.close().await;
    let change = push(&fixture.metadata, "t-1111/app").await.unwrap_err();
    assert!(
        matches!(change, MetadataError::Unavailable(_)),
        "{change:?}"
    );
    let read = fixture.metadata.stored_blob(&digest_of("content")).await;
    let read = read.unwrap_err();
    assert!(matches!(read, MetadataError::Unavailable(_)), "{read:?}");
    fixture.metadata.close().await;
}
