//! Counters, and what is gathered of pulls: what they say, and what notes that they are to be counted again.

use berth::metadata::{
    Changed, DeletionKind, EgressRow, ImageCount, NewDeletion, PullRow, Repository, Transaction,
    WorkspaceCount,
};
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{
    ACTOR, Fixture, OTHER_WORKSPACE, START, TestManifest, WORKSPACE, tag, tag_change,
};

contracts![
    an_image_counts_what_its_live_manifests_need_once,
    a_workspace_stores_each_digest_once,
    what_was_deleted_counts_apart_until_it_is_purged,
    a_deleted_image_counts_apart_and_comes_back,
    commits_note_what_changed_and_undone_changes_nothing,
    counters_are_written_for_what_is_still_there,
    pulls_are_written_down_and_never_go_back,
    pulls_of_tags_that_are_gone_are_forgotten,
    bytes_that_were_read_add_up,
];

async fn count(fixture: &Fixture, repository: &Repository) -> ImageCount {
    let count = fixture.metadata.count_image(repository.id).await.unwrap();
    count.unwrap()
}

async fn bytes(fixture: &Fixture) -> (u64, u64) {
    let count = fixture.metadata.count_workspace(WORKSPACE).await.unwrap();
    (count.stored_bytes, count.deleted_bytes)
}

async fn image(fixture: &Fixture, name: &str) -> Repository {
    let repository = fixture.repository(name).await;
    fixture
        .change(async |change| change.become_image(&repository, START).await)
        .await
        .unwrap();
    fixture.repository(name).await
}

async fn point(fixture: &Fixture, repository: &Repository, name: &str, digest: &Digest) {
    let name = tag(name);
    let put = tag_change(repository.id, &name, START);
    fixture
        .change(async |change| change.put_tag(&put, digest).await)
        .await
        .unwrap();
}

async fn an_image_counts_what_its_live_manifests_need_once(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let shared = fixture.blob(repository.id, "0123456789").await;
    let own = fixture.blob(repository.id, "01234").await;
    fixture.blob(repository.id, "nobody needs this").await;
    assert!(!count(&fixture, &repository).await.is_live_image);
    let repository = image(&fixture, "t-1111/app").await;
    let one = fixture.manifest(repository.id, "one", &[shared]).await;
    let two = fixture
        .manifest(repository.id, "two!", &[shared, own])
        .await;
    for (name, digest) in [("a", &one), ("b", &one), ("c", &two)] {
        point(&fixture, &repository, name, digest).await;
    }
    let counted = count(&fixture, &repository).await;
    assert!(counted.is_live_image);
    assert_eq!((counted.tags, counted.size_bytes), (3, 10 + 5 + 3 + 4));
    assert_eq!(counted.pushed_at, Some(START));
    assert_eq!(counted.workspace_id, WORKSPACE);
    fixture.delete_manifest(&repository, &two, START).await;
    let counted = count(&fixture, &repository).await;
    assert_eq!((counted.tags, counted.size_bytes), (2, 10 + 3));
}

async fn a_workspace_stores_each_digest_once(fixture: Fixture) {
    for name in ["t-1111/one", "t-1111/two"] {
        let repository = image(&fixture, name).await;
        let shared = fixture.blob(repository.id, "0123456789").await;
        let own = fixture.blob(repository.id, name).await;
        let manifest = fixture
            .manifest(repository.id, "same", &[shared, own])
            .await;
        point(&fixture, &repository, "latest", &manifest).await;
        let counted = [count(&fixture, &repository).await];
        let store = fixture.metadata.store_image_counts(&counted, START);
        store.await.unwrap();
    }
    let pushing = fixture.repository("t-1111/three").await;
    fixture.blob(pushing.id, "123").await;
    let other = fixture.repository_of(OTHER_WORKSPACE, "t-2222/app").await;
    fixture.blob(other.id, "somebody else's").await;
    let counted = fixture.metadata.count_workspace(WORKSPACE).await.unwrap();
    let expected = WorkspaceCount {
        images: 2,
        tags: 2,
        stored_bytes: 10 + 2 * 10 + 4 + 3,
        logical_bytes: 2 * (10 + 10 + 4),
        deleted_bytes: 0,
    };
    assert_eq!(counted, expected);
}

async fn purge(fixture: &Fixture, id: &str) {
    let purged = fixture.change(async |change| {
        let deletion = change.deletion(WORKSPACE, id).await?.unwrap();
        while !change.purge(&deletion, START, START, 100).await? {}
        Ok(())
    });
    purged.await.unwrap();
}

async fn what_was_deleted_counts_apart_until_it_is_purged(fixture: Fixture) {
    let repository = image(&fixture, "t-1111/app").await;
    let shared = fixture.blob(repository.id, "0123456789").await;
    let own = fixture.blob(repository.id, "01234").await;
    fixture.manifest(repository.id, "one", &[shared]).await;
    let two = fixture
        .manifest(repository.id, "two!", &[shared, own])
        .await;
    assert_eq!(bytes(&fixture).await, (22, 0));
    let deletion = fixture.delete_manifest(&repository, &two, START).await;
    assert_eq!(bytes(&fixture).await, (13, 9));
    // Another image of the workspace still has the blob: then it is no deletion that holds it.
    let elsewhere = image(&fixture, "t-1111/elsewhere").await;
    fixture
        .change(async |change| change.link(elsewhere.id, &own, START).await)
        .await
        .unwrap();
    assert_eq!(bytes(&fixture).await, (18, 4));
    let _ = fixture.metadata.take_changed();
    purge(&fixture, &deletion).await;
    assert!(!fixture.metadata.take_changed().is_empty());
    assert_eq!(bytes(&fixture).await, (18, 0));
}

async fn delete_image(
    change: &mut Transaction,
    repository: &Repository,
) -> Result<String, berth::metadata::MetadataError> {
    let id = change
        .open_deletion(&NewDeletion {
            workspace_id: WORKSPACE,
            repository: repository.id,
            name: &repository.name,
            kind: DeletionKind::Image,
            subject: "app",
            tags: &[],
            digests: &[],
            bytes: 0,
            actor: ACTOR,
            now: START,
            restorable_until: START.plus(1),
        })
        .await?;
    change
        .remove_repository(repository.id, &repository.name, &id)
        .await?;
    Ok(id)
}

async fn a_deleted_image_counts_apart_and_comes_back(fixture: Fixture) {
    let repository = image(&fixture, "t-1111/app").await;
    let blob = fixture.blob(repository.id, "0123456789").await;
    fixture.manifest(repository.id, "one", &[blob]).await;
    let deletion = fixture
        .change(async |change| delete_image(change, &repository).await)
        .await
        .unwrap();
    assert_eq!(bytes(&fixture).await, (0, 13));
    assert!(!count(&fixture, &repository).await.is_live_image);
    let restored = fixture.change(async |change| {
        let (id, name) = (repository.id, &repository.name);
        change.restore_repository(id, WORKSPACE, name).await
    });
    restored.await.unwrap();
    assert_eq!(bytes(&fixture).await, (13, 0));
    let again = fixture
        .change(async |change| delete_image(change, &repository).await)
        .await
        .unwrap();
    assert_ne!(again, deletion);
    purge(&fixture, &again).await;
    assert_eq!(bytes(&fixture).await, (0, 0));
    let gone = fixture.metadata.count_image(repository.id).await.unwrap();
    assert!(gone.is_none());
}

async fn commits_note_what_changed_and_undone_changes_nothing(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let changed = fixture.metadata.take_changed();
    assert_eq!(changed.prefixes.iter().collect::<Vec<_>>(), ["t-1111"]);
    assert_eq!(fixture.metadata.take_changed(), Changed::default());
    fixture.blob(repository.id, "layer").await;
    let changed = fixture.metadata.take_changed();
    assert!(changed.repositories.contains(&repository.id) && !changed.everything);
    fixture.metadata.give_changed_back(changed.clone());
    assert_eq!(fixture.metadata.take_changed(), changed);
    let mut undone = fixture.metadata.begin().await.unwrap();
    let manifest = TestManifest::new("one");
    manifest
        .put(&mut undone, repository.id, START)
        .await
        .unwrap();
    drop(undone);
    // The writer is through with it once the next change is in.
    fixture
        .change(async |change| change.workspace(WORKSPACE).await)
        .await
        .unwrap();
    assert!(fixture.metadata.take_changed().is_empty());
    fixture.metadata.note_everything_changed();
    fixture.metadata.something_changed().await;
    assert!(fixture.metadata.take_changed().everything);
}

async fn counters_are_written_for_what_is_still_there(fixture: Fixture) {
    let repository = image(&fixture, "t-1111/app").await;
    let gone = image(&fixture, "t-1111/gone").await;
    let mut counts = vec![
        count(&fixture, &gone).await,
        count(&fixture, &repository).await,
    ];
    let delete = format!(
        "DELETE FROM names WHERE repository_id = (SELECT id FROM repositories WHERE name = '{}')",
        gone.name
    );
    fixture.execute(&delete).await.unwrap();
    let delete = format!("DELETE FROM repositories WHERE name = '{}'", gone.name);
    fixture.execute(&delete).await.unwrap();
    for tags in [3, 4] {
        counts[1].tags = tags;
        let stored = fixture.metadata.store_image_counts(&counts, START);
        stored.await.unwrap();
    }
    assert_eq!(fixture.number("SELECT COUNT(*) FROM image_counts").await, 1);
    assert_eq!(fixture.number("SELECT tags FROM image_counts").await, 4);
    let usage = async || fixture.metadata.usage(WORKSPACE).await.unwrap().unwrap();
    assert_eq!(usage().await.count, WorkspaceCount::default());
    let counted = WorkspaceCount {
        images: 1,
        tags: 4,
        stored_bytes: 10,
        logical_bytes: 20,
        deleted_bytes: 30,
    };
    for count in [WorkspaceCount::default(), counted] {
        let store = fixture
            .metadata
            .store_workspace_count(WORKSPACE, &count, START);
        store.await.unwrap();
        assert_eq!(usage().await.count, count);
    }
    let all = fixture.metadata.usage_of_all("", 10).await.unwrap();
    let names: Vec<&str> = all.iter().map(|row| row.workspace.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!(all[0].count, counted);
    let rest = fixture.metadata.usage_of_all("one", 10).await.unwrap();
    assert_eq!(rest.len(), 1);
}

fn pull(repository: &Repository, name: Option<&str>, at: i64) -> PullRow {
    PullRow {
        repository: repository.id,
        tag: name.map(tag),
        at: START.plus(at),
    }
}

async fn pulls_are_written_down_and_never_go_back(fixture: Fixture) {
    let repository = image(&fixture, "t-1111/app").await;
    for (rows, expected) in [
        (
            vec![pull(&repository, Some("v1"), 5), pull(&repository, None, 5)],
            [5, 5],
        ),
        (
            vec![pull(&repository, Some("v1"), 3), pull(&repository, None, 7)],
            [7, 5],
        ),
    ] {
        fixture.metadata.record_pulls(&rows).await.unwrap();
        for (name, at) in ["", "v1"].into_iter().zip(expected) {
            let statement = format!("SELECT last_pulled_at FROM pulls WHERE tag = '{name}'");
            assert_eq!(fixture.number(&statement).await, START.plus(at).0);
        }
    }
    fixture.metadata.record_pulls(&[]).await.unwrap();
}

async fn pulls_of_tags_that_are_gone_are_forgotten(fixture: Fixture) {
    let repository = image(&fixture, "t-1111/app").await;
    let manifest = fixture.manifest(repository.id, "one", &[]).await;
    point(&fixture, &repository, "kept", &manifest).await;
    let rows: Vec<PullRow> = [None, Some("kept"), Some("a"), Some("b"), Some("c")]
        .map(|name| pull(&repository, name, 1))
        .to_vec();
    fixture.metadata.record_pulls(&rows).await.unwrap();
    assert_eq!(count(&fixture, &repository).await.pulls, 5);
    let forget = || fixture.metadata.forget_pulls_of_lost_tags(repository.id, 2);
    assert_eq!(forget().await.unwrap(), 2);
    assert_eq!(forget().await.unwrap(), 1);
    assert_eq!(forget().await.unwrap(), 0);
    let left = fixture.texts("SELECT tag FROM pulls ORDER BY tag").await;
    assert_eq!(left, ["", "kept"]);
}

async fn bytes_that_were_read_add_up(fixture: Fixture) {
    let row = |owner: &str, bytes| EgressRow {
        reader: WORKSPACE.to_owned(),
        owner: owner.to_owned(),
        bytes,
    };
    for rows in [
        vec![row(WORKSPACE, 1), row(OTHER_WORKSPACE, 10)],
        vec![row(OTHER_WORKSPACE, 100)],
        vec![],
    ] {
        fixture.metadata.record_egress(&rows).await.unwrap();
    }
    let usage = fixture.metadata.usage(WORKSPACE).await.unwrap().unwrap();
    assert_eq!(usage.egress_bytes, 111);
    let other = fixture.metadata.usage(OTHER_WORKSPACE).await.unwrap();
    assert_eq!(other.unwrap().egress_bytes, 0);
    assert_eq!(fixture.number("SELECT COUNT(*) FROM egress").await, 2);
}
