//! Links: a blob's membership of one repository, and what keeps rows that others need.

use std::collections::{BTreeMap, BTreeSet};

use berth::metadata::Repository;
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{Fixture, OTHER_WORKSPACE, START, digest_of, open_deletion, tag, tag_change};

contracts![
    a_blob_is_read_where_it_is_linked_and_nowhere_else,
    a_link_that_was_removed_comes_back_with_the_next_one,
    linking_again_renews_the_grace_of_an_unneeded_link,
    a_manifest_revives_condemned_links_but_not_deleted_ones,
    an_upload_revives_what_was_condemned_or_deleted,
    a_condemned_link_cannot_be_removed_by_hand,
    mounts_are_looked_for_in_repositories_of_the_workspace,
    only_live_manifests_need_a_blob,
    what_is_in_use_cannot_be_deleted,
];

async fn linked(fixture: &Fixture, repository: &Repository, digest: &Digest) -> bool {
    let read = fixture
        .metadata
        .linked_blob(repository.id, digest)
        .await
        .unwrap();
    let inside = fixture
        .change(async |change| change.has_link(repository.id, digest).await)
        .await
        .unwrap();
    assert_eq!(read.is_some(), inside);
    inside
}

async fn remove(fixture: &Fixture, repository: &Repository, digest: &Digest) -> bool {
    fixture
        .change(async |change| {
            let deletion = open_deletion(change, repository, START).await?;
            change.remove_link(repository.id, digest, &deletion).await
        })
        .await
        .unwrap()
}

async fn link(fixture: &Fixture, repository: &Repository, digest: &Digest, at: i64) {
    fixture
        .change(async |change| change.link(repository.id, digest, START.plus(at)).await)
        .await
        .unwrap();
}

/// What the collector will do: past the layer, so before anything is remembered.
async fn condemn(fixture: &Fixture, digest: &Digest) {
    let statement = format!("UPDATE links SET condemned_at = 1 WHERE digest = '{digest}'");
    assert_eq!(fixture.execute(&statement).await.unwrap(), 1);
}

async fn a_blob_is_read_where_it_is_linked_and_nowhere_else(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    let blob = fixture.blob(repository.id, "layer").await;
    assert!(linked(&fixture, &repository, &blob).await);
    assert!(!linked(&fixture, &other, &blob).await);
    link(&fixture, &other, &blob, 0).await;
    assert!(linked(&fixture, &other, &blob).await);
    let unknown = digest_of("nothing");
    let refused = fixture
        .change(async |change| change.link(other.id, &unknown, START).await)
        .await;
    assert!(
        refused.unwrap_err().is_conflict(),
        "a blob that is not stored"
    );
}

async fn a_link_that_was_removed_comes_back_with_the_next_one(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    assert!(linked(&fixture, &repository, &blob).await);
    assert!(remove(&fixture, &repository, &blob).await);
    assert!(!linked(&fixture, &repository, &blob).await);
    assert!(!remove(&fixture, &repository, &blob).await);
    link(&fixture, &repository, &blob, 1).await;
    assert!(linked(&fixture, &repository, &blob).await);
}

async fn linking_again_renews_the_grace_of_an_unneeded_link(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let unneeded = async || fixture.number("SELECT unneeded_since FROM links").await;
    assert_eq!(unneeded().await, START.0);
    link(&fixture, &repository, &blob, 5).await;
    assert_eq!(unneeded().await, START.plus(5).0);
    fixture.manifest(repository.id, "one", &[blob]).await;
    link(&fixture, &repository, &blob, 6).await;
    assert_eq!(unneeded().await, -1, "what a manifest needs has no grace");
}

async fn a_manifest_revives_condemned_links_but_not_deleted_ones(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let live = fixture.blob(repository.id, "live").await;
    let condemned = fixture.blob(repository.id, "condemned").await;
    let deleted = fixture.blob(repository.id, "deleted").await;
    condemn(&fixture, &condemned).await;
    assert!(!linked(&fixture, &repository, &condemned).await);
    remove(&fixture, &repository, &deleted).await;
    let wanted = BTreeSet::from([live, condemned, deleted, digest_of("nothing")]);
    let members = fixture
        .change(async |change| change.need_links(repository.id, &wanted).await)
        .await
        .unwrap();
    assert_eq!(members, BTreeMap::from([(live, 4), (condemned, 9)]));
    assert!(linked(&fixture, &repository, &condemned).await);
    assert!(!linked(&fixture, &repository, &deleted).await);
    let none = fixture
        .change(async |change| change.need_links(repository.id, &BTreeSet::new()).await)
        .await;
    assert!(none.unwrap().is_empty());
}

async fn an_upload_revives_what_was_condemned_or_deleted(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let condemned = fixture.blob(repository.id, "condemned").await;
    let deleted = fixture.blob(repository.id, "deleted").await;
    condemn(&fixture, &condemned).await;
    remove(&fixture, &repository, &deleted).await;
    for digest in [condemned, deleted] {
        link(&fixture, &repository, &digest, 1).await;
        assert!(linked(&fixture, &repository, &digest).await);
    }
}

async fn a_condemned_link_cannot_be_removed_by_hand(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    condemn(&fixture, &blob).await;
    assert!(!remove(&fixture, &repository, &blob).await);
}

async fn mounts_are_looked_for_in_repositories_of_the_workspace(fixture: Fixture) {
    let app = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(app.id, "layer").await;
    let names = ["t-1111/second", "t-1111/condemned", "t-1111/deleted"];
    for name in names {
        let repository = fixture.repository(name).await;
        link(&fixture, &repository, &blob, 0).await;
        if name.ends_with("deleted") {
            remove(&fixture, &repository, &blob).await;
        }
        if name.ends_with("condemned") {
            let only = "UPDATE links SET condemned_at = 1 WHERE repository_id = \
                        (SELECT repository_id FROM names WHERE name = 't-1111/condemned')";
            fixture.execute(only).await.unwrap();
        }
    }
    let foreign = fixture.repository_of(OTHER_WORKSPACE, "t-2222/app").await;
    link(&fixture, &foreign, &blob, 0).await;
    let found = async |workspace: &str, limit| {
        let names = fixture
            .metadata
            .repositories_with_blob(workspace, &blob, limit)
            .await;
        let mut names: Vec<_> = names.unwrap().iter().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    };
    let mine = found(&app.workspace_id, 10).await;
    assert_eq!(mine, ["t-1111/app", "t-1111/second"]);
    assert_eq!(found(&app.workspace_id, 1).await.len(), 1);
    assert_eq!(found(OTHER_WORKSPACE, 10).await, ["t-2222/app"]);
}

async fn only_live_manifests_need_a_blob(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let live = fixture.manifest(repository.id, "live", &[blob]).await;
    let deleted = fixture.manifest(repository.id, "deleted", &[blob]).await;
    fixture.delete_manifest(&repository, &deleted, START).await;
    let needing = fixture
        .change(async |change| change.manifests_needing_blob(repository.id, &blob, 5).await)
        .await;
    assert_eq!(needing.unwrap(), [live]);
}

async fn what_is_in_use_cannot_be_deleted(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let one = fixture.manifest(repository.id, "one", &[blob]).await;
    let two = fixture.manifest(repository.id, "two", &[]).await;
    let latest = tag("latest");
    for digest in [&one, &two] {
        fixture
            .change(async |change| {
                let moved = tag_change(repository.id, &latest, START);
                change.put_tag(&moved, digest).await
            })
            .await
            .unwrap();
    }
    fixture.delete_manifest(&repository, &two, START).await;
    for (what, statement) in [
        ("a blob's object", "DELETE FROM objects"),
        ("a linked blob", "DELETE FROM blobs"),
        ("a needed link", "DELETE FROM links"),
        ("a manifest of the history", "DELETE FROM manifests"),
        ("the bytes of a manifest", "DELETE FROM manifest_contents"),
        ("a deletion that covers something", "DELETE FROM deletions"),
        ("a repository", "DELETE FROM repositories"),
        ("a workspace", "DELETE FROM workspaces"),
        ("an account", "DELETE FROM accounts"),
    ] {
        let error = fixture.execute(statement).await.expect_err(what);
        let error = error.as_database_error().unwrap();
        assert!(error.is_foreign_key_violation(), "{what}: {error}");
    }
}
