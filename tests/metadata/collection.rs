//! Links and blobs that nothing needs: when they go, what keeps them, and what happens to those who come at that moment.

use std::collections::BTreeSet;

use berth::clock::Millis;
use berth::metadata::{CollectedLinks, LinkTimes, Metadata, MetadataError, Repository};
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{
    Fixture, OTHER_WORKSPACE, START, STUCK, TestManifest, new_blob, open_deletion, retried,
    together,
};

contracts![
    a_link_is_condemned_after_its_grace_and_gone_one_grace_later,
    what_a_manifest_needs_is_never_condemned,
    a_condemned_link_comes_back_with_whatever_needs_it,
    what_only_a_deleted_manifest_needs_waits_for_its_purge,
    a_restored_link_has_its_grace_again,
    a_blob_stays_until_its_last_link_goes,
    the_purge_of_an_image_gives_up_its_blobs,
    the_last_two_links_go_at_one_time_and_the_blob_with_them,
    two_collectors_do_nothing_twice,
    what_is_dropped_half_way_is_done_by_the_next,
    a_push_and_the_collector_leave_nothing_broken,
    an_upload_beside_the_collector_keeps_its_bytes,
];

const GRACE: i64 = 100;
const DELAY: i64 = 1_000;

fn at(after: i64) -> LinkTimes {
    let now = START.plus(after);
    LinkTimes {
        now,
        waiting_since: now.plus(-GRACE),
        object_due: now.plus(DELAY),
    }
}

async fn collect(fixture: &Fixture, after: i64) -> CollectedLinks {
    let times = at(after);
    let collected = fixture.change(async |change| change.collect_links(&times, 100).await);
    collected.await.unwrap()
}

/// Condemned and removed.
async fn steps(fixture: &Fixture, after: i64) -> (u64, u64) {
    let collected = collect(fixture, after).await;
    (collected.condemned, collected.removed)
}

async fn is_member(fixture: &Fixture, repository: &Repository, digest: &Digest) -> bool {
    let linked = fixture.metadata.linked_blob(repository.id, digest).await;
    linked.unwrap().is_some()
}

async fn purge(fixture: &Fixture, repository: &Repository, id: &str, now: Millis) {
    let purged = fixture.change(async |change| {
        let deletion = change
            .deletion(&repository.workspace_id, id)
            .await?
            .unwrap();
        assert!(change.purge(&deletion, now, now.plus(DELAY), 100).await?);
        Ok(())
    });
    purged.await.unwrap();
}

async fn a_link_is_condemned_after_its_grace_and_gone_one_grace_later(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    assert!(is_member(&fixture, &repository, &blob).await);
    assert_eq!(steps(&fixture, GRACE - 1).await, (0, 0));
    assert!(is_member(&fixture, &repository, &blob).await);
    assert_eq!(steps(&fixture, GRACE).await, (1, 0));
    assert!(!is_member(&fixture, &repository, &blob).await);
    assert_eq!(steps(&fixture, 2 * GRACE - 1).await, (0, 0));
    assert_eq!(fixture.number("SELECT COUNT(*) FROM links").await, 1);
    let last = collect(&fixture, 2 * GRACE).await;
    assert_eq!((last.condemned, last.removed), (0, 1));
    assert_eq!((last.blobs.count, last.blobs.bytes), (1, 5));
    for table in ["links", "blobs"] {
        let rows = format!("SELECT COUNT(*) FROM {table}");
        assert_eq!(fixture.number(&rows).await, 0, "{table}");
    }
    let due = "SELECT due_at FROM objects WHERE state = 'doomed' AND size_bytes = 5";
    assert_eq!(fixture.number(due).await, START.plus(2 * GRACE + DELAY).0);
}

async fn what_a_manifest_needs_is_never_condemned(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let needed = fixture.blob(repository.id, "needed").await;
    fixture.manifest(repository.id, "one", &[needed]).await;
    assert_eq!(steps(&fixture, 10 * GRACE).await, (1, 0));
    assert_eq!(steps(&fixture, 20 * GRACE).await, (0, 1));
    assert_eq!(steps(&fixture, 90 * GRACE).await, (0, 0));
    assert!(is_member(&fixture, &repository, &needed).await);
    assert!(!is_member(&fixture, &repository, &blob).await);
}

async fn a_condemned_link_comes_back_with_whatever_needs_it(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let pushed = fixture.blob(repository.id, "pushed").await;
    let uploaded = fixture.blob(repository.id, "uploaded").await;
    assert_eq!(steps(&fixture, GRACE).await, (2, 0));
    let manifest = TestManifest::new("one").needing(&[pushed]);
    let later = START.plus(2 * GRACE - 1);
    fixture
        .change(async |change| {
            manifest.put(change, repository.id, later).await?;
            change.link(repository.id, &uploaded, later).await
        })
        .await
        .unwrap();
    for digest in [&pushed, &uploaded] {
        assert!(is_member(&fixture, &repository, digest).await);
    }
    // The grace of the uploaded one begins with the upload.
    assert_eq!(steps(&fixture, 2 * GRACE).await, (0, 0));
    assert_eq!(steps(&fixture, 3 * GRACE - 1).await, (1, 0));
    assert_eq!(steps(&fixture, 9 * GRACE).await, (0, 1));
    assert!(is_member(&fixture, &repository, &pushed).await);
}

async fn what_only_a_deleted_manifest_needs_waits_for_its_purge(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let manifest = fixture.manifest(repository.id, "one", &[blob]).await;
    let deletion = fixture.delete_manifest(&repository, &manifest, START).await;
    // It is looked at once, and then no more: else what can be undone would be read again and again.
    assert_eq!(collect(&fixture, GRACE).await.seen, 1);
    assert_eq!(collect(&fixture, 9 * GRACE).await.seen, 0);
    assert!(is_member(&fixture, &repository, &blob).await);
    fixture
        .change(async |change| {
            change
                .restore_manifests(repository.id, &deletion, START)
                .await
        })
        .await
        .unwrap();
    let again = fixture
        .delete_manifest(&repository, &manifest, START.plus(10 * GRACE))
        .await;
    assert_eq!(steps(&fixture, 11 * GRACE).await, (0, 0));
    purge(&fixture, &repository, &again, START.plus(12 * GRACE)).await;
    assert_eq!(steps(&fixture, 12 * GRACE).await, (1, 0));
    assert_eq!(steps(&fixture, 13 * GRACE).await, (0, 1));
}

async fn a_restored_link_has_its_grace_again(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let deletion = fixture.change(async |change| {
        let id = open_deletion(change, &repository, START).await?;
        assert!(change.remove_link(repository.id, &blob, &id).await?);
        Ok(id)
    });
    let deletion = deletion.await.unwrap();
    // Deleted by hand, it is the deletion's and not the collector's.
    assert_eq!(steps(&fixture, 9 * GRACE).await, (0, 0));
    let now = START.plus(9 * GRACE);
    fixture
        .change(async |change| change.restore_links(repository.id, &deletion, now).await)
        .await
        .unwrap();
    assert_eq!(steps(&fixture, 10 * GRACE - 1).await, (0, 0));
    assert!(is_member(&fixture, &repository, &blob).await);
    assert_eq!(steps(&fixture, 10 * GRACE).await, (1, 0));
}

async fn a_blob_stays_until_its_last_link_goes(fixture: Fixture) {
    let one = fixture.repository("t-1111/app").await;
    let other = fixture.repository_of(OTHER_WORKSPACE, "t-2222/app").await;
    let blob = fixture.blob(one.id, "layer").await;
    fixture
        .change(async |change| change.link(other.id, &blob, START.plus(GRACE)).await)
        .await
        .unwrap();
    assert_eq!(steps(&fixture, GRACE).await, (1, 0));
    let first = collect(&fixture, 2 * GRACE).await;
    assert_eq!((first.removed, first.blobs.count), (1, 0));
    assert!(!is_member(&fixture, &one, &blob).await);
    assert_eq!(fixture.number("SELECT COUNT(*) FROM blobs").await, 1);
    let last = collect(&fixture, 3 * GRACE).await;
    assert_eq!((last.removed, last.blobs.count), (1, 1));
    assert_eq!(fixture.number("SELECT COUNT(*) FROM blobs").await, 0);
}

async fn the_purge_of_an_image_gives_up_its_blobs(fixture: Fixture) {
    let app = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    let shared = fixture.blob(app.id, "shared").await;
    let own = fixture.blob(app.id, "own").await;
    fixture.manifest(app.id, "one", &[shared, own]).await;
    fixture
        .change(async |change| change.link(other.id, &shared, START).await)
        .await
        .unwrap();
    fixture.manifest(other.id, "two", &[shared]).await;
    let now = START.plus(5_000);
    let purged = fixture.change(async |change| {
        let deletion = berth::metadata::NewDeletion {
            workspace_id: &app.workspace_id,
            repository: app.id,
            name: &app.name,
            kind: berth::metadata::DeletionKind::Image,
            subject: "app",
            tags: &[],
            digests: &[],
            bytes: 0,
            actor: "key:one",
            now: START,
            restorable_until: START,
        };
        let id = change.open_deletion(&deletion).await?;
        change.remove_repository(app.id, &app.name, &id).await?;
        let deletion = change.deletion(&app.workspace_id, &id).await?.unwrap();
        while !change.purge(&deletion, now, now.plus(DELAY), 1).await? {}
        Ok(())
    });
    purged.await.unwrap();
    assert!(is_member(&fixture, &other, &shared).await);
    let left = fixture.texts("SELECT digest FROM blobs").await;
    assert_eq!(left, [shared.to_string()]);
    let due = fixture.number("SELECT due_at FROM objects WHERE state = 'doomed'");
    assert_eq!(due.await, now.plus(DELAY).0);
}

/// One change of a collector, tried again while others get in its way.
async fn step(metadata: &Metadata, times: LinkTimes, limit: u32) -> CollectedLinks {
    let once = async || -> Result<CollectedLinks, MetadataError> {
        let mut change = metadata.begin().await?;
        let collected = change.collect_links(&times, limit).await?;
        change.commit().await?;
        Ok(collected)
    };
    retried!(once().await)
}

async fn the_last_two_links_go_at_one_time_and_the_blob_with_them(fixture: Fixture) {
    let one = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    for round in 0..10 {
        let blob = fixture.blob(one.id, &format!("layer {round}")).await;
        fixture
            .change(async |change| change.link(other.id, &blob, START).await)
            .await
            .unwrap();
    }
    assert_eq!(steps(&fixture, GRACE).await, (20, 0));
    let metadata = fixture.metadata.clone();
    let steps = together(20, move |_| {
        let metadata = metadata.clone();
        async move { step(&metadata, at(2 * GRACE), 1).await }
    });
    let steps = steps.await;
    let mut removed: u64 = steps.iter().map(|step| step.removed).sum();
    let mut blobs: u64 = steps.iter().map(|step| step.blobs.count).sum();
    // Whoever found all of it in other hands comes again.
    let rest = collect(&fixture, 2 * GRACE).await;
    removed += rest.removed;
    blobs += rest.blobs.count;
    assert_eq!((removed, blobs), (20, 10));
    assert_eq!(fixture.number("SELECT COUNT(*) FROM blobs").await, 0);
}

async fn two_collectors_do_nothing_twice(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    for number in 0..30 {
        fixture
            .blob(repository.id, &format!("layer {number}"))
            .await;
    }
    for (after, expected) in [(GRACE, (30, 0)), (2 * GRACE, (0, 30))] {
        let metadata = fixture.metadata.clone();
        let steps = together(8, move |_| {
            let metadata = metadata.clone();
            async move { step(&metadata, at(after), 5).await }
        });
        let mut total = (0, 0);
        for step in steps.await {
            total = (total.0 + step.condemned, total.1 + step.removed);
        }
        let rest = collect(&fixture, after).await;
        total = (total.0 + rest.condemned, total.1 + rest.removed);
        assert_eq!(total, expected);
    }
    let metadata = fixture.metadata.clone();
    let taken = together(8, move |_| {
        let metadata = metadata.clone();
        async move {
            let now = START.plus(2 * GRACE + DELAY);
            let mut change = metadata.begin().await.unwrap();
            let taken = change
                .take_doomed_objects(now, now.plus(1), 5)
                .await
                .unwrap();
            change.commit().await.unwrap();
            taken
        }
    });
    let taken: Vec<_> = taken
        .await
        .into_iter()
        .flatten()
        .map(|object| object.key)
        .collect();
    let once: BTreeSet<_> = taken.iter().map(ToString::to_string).collect();
    assert_eq!(taken.len(), once.len());
}

async fn what_is_dropped_half_way_is_done_by_the_next(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    for number in 0..3 {
        fixture
            .blob(repository.id, &format!("layer {number}"))
            .await;
    }
    assert_eq!(steps(&fixture, GRACE).await, (3, 0));
    let mut change = fixture.metadata.begin().await.unwrap();
    let collected = change.collect_links(&at(2 * GRACE), 100).await.unwrap();
    assert_eq!(collected.removed, 3);
    drop(change);
    // PostgreSQL lets go of the rows a moment after the change was dropped, and until then they are passed over.
    let again = async {
        loop {
            let again = step(&fixture.metadata, at(2 * GRACE), 100).await;
            if again.seen > 0 {
                return again;
            }
            tokio::task::yield_now().await;
        }
    };
    let again = tokio::time::timeout(STUCK, again).await.unwrap();
    assert_eq!((again.removed, again.blobs.count), (3, 3));
}

/// Every manifest has its links, every link its blob, every blob a live object; and every blob has a link.
async fn nothing_is_broken(fixture: &Fixture) {
    for broken in [
        "SELECT COUNT(*) FROM manifest_blobs WHERE NOT EXISTS (SELECT 1 FROM links \
         WHERE links.repository_id = manifest_blobs.repository_id AND links.digest = manifest_blobs.blob_digest \
         AND links.condemned_at IS NULL AND links.deletion_id IS NULL)",
        "SELECT COUNT(*) FROM links WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE blobs.digest = links.digest)",
        "SELECT COUNT(*) FROM blobs WHERE NOT EXISTS \
         (SELECT 1 FROM objects WHERE objects.key = blobs.object_key AND objects.state = 'live')",
        "SELECT COUNT(*) FROM blobs WHERE NOT EXISTS (SELECT 1 FROM links WHERE links.digest = blobs.digest)",
    ] {
        assert_eq!(fixture.number(broken).await, 0, "{broken}");
    }
}

async fn a_push_and_the_collector_leave_nothing_broken(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    for round in 0..5 {
        let content = format!("layer {round}");
        let blob = fixture.blob(repository.id, &content).await;
        step(&fixture.metadata, at(GRACE), 100).await;
        let (metadata, id) = (fixture.metadata.clone(), repository.id);
        let results = together(6, move |number| {
            let (metadata, content) = (metadata.clone(), format!("manifest {round} {number}"));
            async move {
                if number % 2 == 0 {
                    step(&metadata, at(2 * GRACE), 100).await;
                    return true;
                }
                let push = async || -> Result<bool, MetadataError> {
                    let mut change = metadata.begin().await?;
                    let members = change.need_links(id, &BTreeSet::from([blob])).await?;
                    if members.is_empty() {
                        return Ok(false);
                    }
                    let manifest = TestManifest::new(&content).needing(&[blob]);
                    manifest.put(&mut change, id, START.plus(2 * GRACE)).await?;
                    change.commit().await?;
                    Ok(true)
                };
                retried!(push().await)
            }
        });
        let results = results.await;
        nothing_is_broken(&fixture).await;
        // Who came before the collector has all of it, who came after was told.
        let pushed = results
            .iter()
            .skip(1)
            .step_by(2)
            .filter(|pushed| **pushed)
            .count();
        let manifests = format!("SELECT COUNT(*) FROM manifest_blobs WHERE blob_digest = '{blob}'");
        assert_eq!(
            fixture.number(&manifests).await,
            i64::try_from(pushed).unwrap()
        );
    }
}

async fn an_upload_beside_the_collector_keeps_its_bytes(fixture: Fixture) {
    let one = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    for round in 0..5 {
        let content = format!("layer {round}");
        let digest = fixture.blob(one.id, &content).await;
        step(&fixture.metadata, at(GRACE), 100).await;
        let (metadata, id) = (fixture.metadata.clone(), other.id);
        let results = together(4, move |number| {
            let (metadata, content) = (metadata.clone(), content.clone());
            async move {
                if number < 2 {
                    step(&metadata, at(2 * GRACE), 100).await;
                    return;
                }
                let blob = new_blob(&content);
                let mut change = metadata.begin().await.unwrap();
                change
                    .record_object(blob.object_key, None, START)
                    .await
                    .unwrap();
                change.commit().await.unwrap();
                let now = START.plus(2 * GRACE);
                let upload = async || -> Result<(), MetadataError> {
                    let mut change = metadata.begin().await?;
                    change.store_blob(&blob, None, now, now).await?;
                    change.link(id, &blob.digest, now).await?;
                    change.commit().await
                };
                retried!(upload().await);
            }
        });
        results.await;
        nothing_is_broken(&fixture).await;
        assert!(is_member(&fixture, &other, &digest).await);
    }
}
