//! Deletions: what they hide, what keeps it, what brings it back, and what is left in the end.

use berth::clock::Millis;
use berth::metadata::{
    Deletion, DeletionKind, MetadataError, NewDeletion, NewLease, Repository, Transaction,
};
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{
    ACTOR, Fixture, OTHER_WORKSPACE, START, TestManifest, WORKSPACE, open_deletion, tag, tag_change,
};

contracts![
    a_deletion_is_read_back_by_its_own_workspace,
    deletions_are_listed_newest_first_until_they_are_done_for_good,
    a_deleted_manifest_comes_back_with_its_tags_and_blobs,
    a_tag_that_points_elsewhere_is_in_the_way,
    a_deleted_repository_gives_its_name_away_and_takes_it_back,
    a_repository_is_purged_in_parts_until_nothing_is_left,
    a_purged_manifest_leaves_what_another_repository_has,
    a_deletion_is_forgotten_once_nothing_is_left_of_it,
    a_lease_on_what_is_deleted_is_found,
    a_manifest_is_rooted_by_what_holds_it,
    tags_are_listed_by_name_and_by_what_they_point_to,
];

/// Until when the deletions of these contracts can be undone.
const UNTIL: Millis = Millis(START.0 + 1_000);

async fn opened(
    change: &mut Transaction,
    repository: &Repository,
    kind: DeletionKind,
    digests: &[Digest],
) -> Result<Deletion, MetadataError> {
    let id = change
        .open_deletion(&NewDeletion {
            workspace_id: &repository.workspace_id,
            repository: repository.id,
            name: &repository.name,
            kind,
            subject: "a test",
            tags: &[tag("latest"), tag("v1")],
            digests,
            bytes: 7,
            actor: ACTOR,
            now: START,
            restorable_until: UNTIL,
        })
        .await?;
    let deletion = change.deletion(&repository.workspace_id, &id).await?;
    Ok(deletion.unwrap())
}

/// Deletes a whole repository.
async fn deleted(fixture: &Fixture, repository: &Repository) -> Deletion {
    let deletion = fixture.change(async |change| {
        let deletion = opened(change, repository, DeletionKind::Image, &[]).await?;
        change
            .remove_repository(repository.id, &repository.name, &deletion.id)
            .await?;
        Ok(deletion)
    });
    deletion.await.unwrap()
}

async fn by_id(fixture: &Fixture, workspace: &str, id: &str) -> Option<Deletion> {
    let found = fixture.change(async |change| change.deletion(workspace, id).await);
    found.await.unwrap()
}

/// Points a tag at a manifest.
async fn point(
    fixture: &Fixture,
    repository: &Repository,
    name: &str,
    digest: &Digest,
    at: Millis,
) {
    let name = tag(name);
    let pointed = fixture.change(async |change| {
        change
            .put_tag(&tag_change(repository.id, &name, at), digest)
            .await
    });
    pointed.await.unwrap();
}

/// Purges in parts of `limit`; how many parts it took.
async fn purge(fixture: &Fixture, deletion: &Deletion, limit: u32) -> usize {
    for part in 1..50 {
        let done = fixture.change(async |change| change.purge(deletion, UNTIL, UNTIL, limit).await);
        if done.await.unwrap() {
            return part;
        }
    }
    panic!("the purge never ends");
}

async fn a_deletion_is_read_back_by_its_own_workspace(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let digest = fixture.manifest(repository.id, "manifest", &[]).await;
    let made = fixture.change(async |change| {
        opened(change, &repository, DeletionKind::Manifest, &[digest]).await
    });
    let id = made.await.unwrap().id;
    let found = by_id(&fixture, WORKSPACE, &id).await.unwrap();
    assert_eq!(found.repository_id, Some(repository.id));
    assert_eq!(
        (found.name, found.kind),
        (repository.name, DeletionKind::Manifest)
    );
    assert_eq!(found.tags, ["latest", "v1"]);
    assert_eq!(found.digests, [digest.to_string()]);
    assert_eq!((found.bytes, &*found.deleted_by), (7, ACTOR));
    assert_eq!((found.deleted_at, found.restorable_until), (START, UNTIL));
    assert_eq!(found.purged_at, None);
    assert!(by_id(&fixture, OTHER_WORKSPACE, &id).await.is_none());
    assert!(by_id(&fixture, WORKSPACE, "another").await.is_none());
}

async fn deletions_are_listed_newest_first_until_they_are_done_for_good(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let mut made = Vec::new();
    for number in 0..3 {
        let at = START.plus(number);
        let id = fixture.change(async |change| open_deletion(change, &repository, at).await);
        made.push(id.await.unwrap());
    }
    let metadata = &fixture.metadata;
    let list = async |last: Option<&str>, limit: u32| {
        let page = metadata.deletions(WORKSPACE, last, limit).await.unwrap();
        page.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 2).await, [made[2].clone(), made[1].clone()]);
    assert_eq!(list(Some(&made[1]), 2).await, [made[0].clone()]);
    let none = metadata.deletions(OTHER_WORKSPACE, None, 10).await.unwrap();
    assert!(none.is_empty());
    // Their windows end as they began, one after the other.
    let due = async |now: Millis| metadata.due_deletions(now, 10).await.unwrap().len();
    assert_eq!(due(START.plus(999)).await, 0);
    assert_eq!(due(START.plus(1_000)).await, 1);
    assert_eq!(due(START.plus(1_002)).await, 3);
    // What cannot be purged now stands in nobody's way until later.
    let (now, later) = (START.plus(1_002), START.plus(2_000));
    for id in &made {
        let first = metadata.due_deletions(now, 1).await.unwrap();
        assert_eq!(first[0].id, *id);
        let postponed = fixture.change(async |change| change.postpone_purge(id, later).await);
        postponed.await.unwrap();
    }
    assert_eq!((due(now).await, due(later).await), (0, 3));
    let ended = fixture.change(async |change| {
        change.end_undo(&made[2], START.plus(5)).await?;
        change.end_undo(&made[0], START.plus(5_000)).await
    });
    ended.await.unwrap();
    assert_eq!(due(START.plus(5)).await, 1);
    let kept = by_id(&fixture, WORKSPACE, &made[0]).await.unwrap();
    assert_eq!(
        kept.restorable_until,
        START.plus(1_000),
        "a window is never made longer"
    );
    let newest = by_id(&fixture, WORKSPACE, &made[2]).await.unwrap();
    purge(&fixture, &newest, 10).await;
    assert_eq!(list(None, 10).await, [made[1].clone(), made[0].clone()]);
    assert_eq!(due(later).await, 2);
    let newest = by_id(&fixture, WORKSPACE, &made[2]).await.unwrap();
    assert_eq!(newest.purged_at, Some(UNTIL));
}

async fn a_deleted_manifest_comes_back_with_its_tags_and_blobs(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let digest = fixture.manifest(repository.id, "manifest", &[blob]).await;
    point(&fixture, &repository, "v1", &digest, START).await;
    let id = fixture.delete_manifest(&repository, &digest, START).await;
    let metadata = &fixture.metadata;
    // The blob, which nobody needs now, is deleted by hand.
    let removed = fixture.change(async |change| {
        let deletion = opened(change, &repository, DeletionKind::Blob, &[blob]).await?;
        assert!(
            change
                .remove_link(repository.id, &blob, &deletion.id)
                .await?
        );
        Ok(deletion)
    });
    let of_blob = removed.await.unwrap();
    assert!(
        metadata
            .linked_blob(repository.id, &blob)
            .await
            .unwrap()
            .is_none()
    );
    let restored = fixture.change(async |change| {
        change.restore_manifests(repository.id, &id, START).await?;
        change.restore_tags(repository.id, &id, START).await
    });
    assert_eq!(restored.await.unwrap(), 1);
    assert!(
        metadata
            .manifest(repository.id, &digest)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        metadata.tag(repository.id, &tag("v1")).await.unwrap(),
        Some(digest)
    );
    assert!(
        metadata
            .linked_blob(repository.id, &blob)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(fixture.number("SELECT COUNT(*) FROM tag_history").await, 0);
    // The purge of the blob's deletion takes nothing any more.
    purge(&fixture, &of_blob, 10).await;
    assert!(
        metadata
            .linked_blob(repository.id, &blob)
            .await
            .unwrap()
            .is_some()
    );
}

async fn a_tag_that_points_elsewhere_is_in_the_way(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let first = fixture.manifest(repository.id, "first", &[]).await;
    let second = fixture.manifest(repository.id, "second", &[]).await;
    let v1 = tag("v1");
    point(&fixture, &repository, "v1", &first, START).await;
    let deletion = fixture.change(async |change| {
        let deletion = opened(change, &repository, DeletionKind::Tag, &[]).await?;
        let gone = tag_change(repository.id, &v1, START);
        assert!(change.remove_tag(&gone, &deletion.id).await?);
        Ok(deletion)
    });
    let deletion = deletion.await.unwrap();
    let in_the_way = async || {
        let found = fixture.change(async |change| change.tags_in_the_way(&deletion.id, 5).await);
        found.await.unwrap()
    };
    assert!(in_the_way().await.is_empty());
    point(&fixture, &repository, "v1", &second, START).await;
    assert_eq!(in_the_way().await, ["v1"]);
    point(&fixture, &repository, "v1", &first, START).await;
    assert!(in_the_way().await.is_empty());
    // Its manifest was deleted afterwards.
    fixture.delete_manifest(&repository, &first, START).await;
    assert_eq!(in_the_way().await, ["v1"]);
}

async fn a_deleted_repository_gives_its_name_away_and_takes_it_back(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let metadata = &fixture.metadata;
    metadata
        .repository(&repository.name)
        .await
        .unwrap()
        .unwrap();
    let deletion = deleted(&fixture, &repository).await;
    assert!(
        metadata
            .repository(&repository.name)
            .await
            .unwrap()
            .is_none()
    );
    let hidden = fixture.change(async |change| change.deletion_of_repository(repository.id).await);
    assert_eq!(hidden.await.unwrap(), Some(deletion.id.clone()));
    let restore = async || {
        let restored = fixture.change(async |change| {
            change
                .restore_repository(repository.id, WORKSPACE, &repository.name)
                .await
        });
        restored.await
    };
    let next = fixture.repository("t-1111/app").await;
    assert_ne!(next.id, repository.id);
    assert!(restore().await.unwrap_err().is_conflict());
    deleted(&fixture, &next).await;
    restore().await.unwrap();
    let found = metadata.repository(&repository.name).await.unwrap();
    assert_eq!(found.unwrap().id, repository.id);
    let shown = fixture.change(async |change| change.deletion_of_repository(repository.id).await);
    assert_eq!(shown.await.unwrap(), None);
}

async fn a_repository_is_purged_in_parts_until_nothing_is_left(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let mut digests = Vec::new();
    for number in 0..3 {
        let blob = fixture
            .blob(repository.id, &format!("layer {number}"))
            .await;
        let content = format!("manifest {number}");
        let digest = fixture.manifest(repository.id, &content, &[blob]).await;
        point(&fixture, &repository, &format!("v{number}"), &digest, START).await;
        point(&fixture, &repository, "latest", &digest, START).await;
        digests.push(digest);
    }
    let index = TestManifest::new("index").index_of(&digests);
    let put = fixture.change(async |change| index.put(change, repository.id, START).await);
    put.await.unwrap();
    // Something of it was deleted before.
    let earlier = fixture
        .delete_manifest(&repository, &index.digest(), START)
        .await;
    let deletion = deleted(&fixture, &repository).await;
    let parts = purge(&fixture, &deletion, 2).await;
    assert!(parts > 3, "{parts}");
    for table in [
        "repositories",
        "names",
        "tags",
        "tag_history",
        "manifests",
        "manifest_blobs",
        "manifest_children",
        "manifest_contents",
        "links",
    ] {
        let count = fixture
            .number(&format!("SELECT COUNT(*) FROM {table}"))
            .await;
        assert_eq!(count, 0, "{table}");
    }
    // Bytes go later, and the earlier deletion knows that nothing is left of it.
    let doomed = "SELECT COUNT(*) FROM objects WHERE state = 'doomed'";
    assert_eq!(fixture.number("SELECT COUNT(*) FROM blobs").await, 0);
    assert_eq!(fixture.number(doomed).await, 3);
    let earlier = by_id(&fixture, WORKSPACE, &earlier).await.unwrap();
    assert_eq!(earlier.repository_id, None);
    assert_eq!(purge(&fixture, &earlier, 2).await, 1);
}

async fn a_purged_manifest_leaves_what_another_repository_has(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    let digest = fixture.manifest(repository.id, "shared by both", &[]).await;
    fixture.manifest(other.id, "shared by both", &[]).await;
    for (repository, contents) in [(&repository, 1), (&other, 0)] {
        let id = fixture.delete_manifest(repository, &digest, START).await;
        let deletion = by_id(&fixture, WORKSPACE, &id).await.unwrap();
        purge(&fixture, &deletion, 10).await;
        let count = fixture
            .number("SELECT COUNT(*) FROM manifest_contents")
            .await;
        assert_eq!(count, contents);
    }
}

async fn a_deletion_is_forgotten_once_nothing_is_left_of_it(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let digest = fixture.manifest(repository.id, "manifest", &[]).await;
    point(&fixture, &repository, "v1", &digest, START).await;
    let id = fixture.delete_manifest(&repository, &digest, START).await;
    // It is pushed again, so that its purge takes the history alone.
    fixture.manifest(repository.id, "manifest", &[]).await;
    let forget = async |before: Millis| {
        let forgotten = fixture.change(async |change| change.forget_purged(before, 10).await);
        forgotten.await.unwrap()
    };
    assert_eq!(forget(UNTIL).await, 0);
    let deletion = by_id(&fixture, WORKSPACE, &id).await.unwrap();
    purge(&fixture, &deletion, 10).await;
    assert_eq!(fixture.number("SELECT COUNT(*) FROM tag_history").await, 0);
    assert_eq!(forget(UNTIL.plus(-1)).await, 0);
    assert_eq!(forget(UNTIL).await, 1);
    let found = fixture.metadata.manifest(repository.id, &digest).await;
    assert!(found.unwrap().is_some());
}

async fn a_lease_on_what_is_deleted_is_found(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let leased = fixture.manifest(repository.id, "leased", &[]).await;
    let loose = fixture.manifest(repository.id, "loose", &[]).await;
    let end = START.plus(10);
    let lease = NewLease {
        workspace_id: OTHER_WORKSPACE,
        holder: "web",
        repository: repository.id,
        name: &"t-1111/app".parse().unwrap(),
        digest: &leased,
        image: "app",
        actor: ACTOR,
        now: START,
        expires_at: end,
    };
    let put = fixture.change(async |change| change.put_lease(&lease).await);
    put.await.unwrap();
    let holders = async |deletion: &Deletion, now: Millis| {
        let found =
            fixture.change(async |change| change.leases_on_deletion(deletion, now, 5).await);
        let found = found.await.unwrap().into_iter();
        found.map(|lease| lease.holder).collect::<Vec<_>>()
    };
    for (digest, expected) in [(&leased, vec!["web"]), (&loose, vec![])] {
        let id = fixture.delete_manifest(&repository, digest, START).await;
        let deletion = by_id(&fixture, WORKSPACE, &id).await.unwrap();
        assert_eq!(holders(&deletion, START).await, expected);
        assert!(holders(&deletion, end).await.is_empty());
    }
    let whole = deleted(&fixture, &repository).await;
    assert_eq!(holders(&whole, START).await, ["web"]);
}

async fn a_manifest_is_rooted_by_what_holds_it(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let child = fixture.manifest(repository.id, "child", &[]).await;
    let is_rooted = async |digest: &Digest, now: Millis, since: Millis| {
        let rooted = fixture
            .change(async |change| change.is_rooted(repository.id, digest, now, since).await);
        rooted.await.unwrap()
    };
    assert!(!is_rooted(&child, START, START).await);
    let index = TestManifest::new("index").index_of(&[child]);
    let mut signature = TestManifest::new("signature");
    signature.subject = Some((child, None, String::from("{}")));
    let put = fixture.change(async |change| {
        index.put(change, repository.id, START).await?;
        signature.put(change, repository.id, START).await
    });
    put.await.unwrap();
    for digest in [child, index.digest(), signature.digest()] {
        assert!(!is_rooted(&digest, START, START).await);
    }
    // A tag on the index roots its child, and what refers to the child; the other way round it does not.
    point(&fixture, &repository, "v1", &index.digest(), START).await;
    for digest in [child, index.digest(), signature.digest()] {
        assert!(is_rooted(&digest, START, START).await);
    }
    point(
        &fixture,
        &repository,
        "v1",
        &signature.digest(),
        START.plus(5),
    )
    .await;
    assert!(!is_rooted(&child, START, START.plus(5)).await);
    assert!(is_rooted(&signature.digest(), START, START.plus(5)).await);
    // What a push took the tag from is rooted for a while.
    assert!(is_rooted(&child, START, START.plus(4)).await);
    let lease = NewLease {
        workspace_id: OTHER_WORKSPACE,
        holder: "web",
        repository: repository.id,
        name: &"t-1111/app".parse().unwrap(),
        digest: &index.digest(),
        image: "app",
        actor: ACTOR,
        now: START,
        expires_at: START.plus(10),
    };
    let put = fixture.change(async |change| change.put_lease(&lease).await);
    put.await.unwrap();
    assert!(is_rooted(&child, START, START.plus(5)).await);
    assert!(!is_rooted(&child, START.plus(10), START.plus(5)).await);
}

async fn tags_are_listed_by_name_and_by_what_they_point_to(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let first = fixture.manifest(repository.id, "first", &[]).await;
    let second = fixture.manifest(repository.id, "second", &[]).await;
    for (name, digest) in [("b", &first), ("a", &first), ("c", &second)] {
        point(&fixture, &repository, name, digest, START).await;
    }
    let tags = async |digest: Option<&Digest>, last: &str, limit: u32| {
        let found =
            fixture.change(async |change| change.tags_of(repository.id, digest, last, limit).await);
        let found = found.await.unwrap().into_iter();
        found.map(|tag| tag.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(tags(None, "", 2).await, ["a", "b"]);
    assert_eq!(tags(None, "b", 2).await, ["c"]);
    assert_eq!(tags(Some(&first), "", 10).await, ["a", "b"]);
    assert_eq!(tags(Some(&first), "a", 10).await, ["b"]);
    assert_eq!(tags(Some(&second), "", 10).await, ["c"]);
}
