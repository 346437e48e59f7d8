//! What is remembered of the database: never an old value after a commit, and only what may be remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use berth::metadata::{Metadata, NewApiKey, NewPullSecret, RepositoryId, WorkspaceSettings};
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{Fixture, START, WORKSPACE, tag, tag_change};
use crate::support::ending::{ENDS_WITHIN, seen_within};

contracts![
    no_reader_leaves_an_old_tag_behind_a_commit,
    content_is_remembered_by_a_sole_owner_alone,
    absence_of_content_is_never_remembered,
    content_that_another_process_changed_is_seen_at_once,
    rights_that_another_process_changed_are_seen_in_seconds,
    a_sole_owner_sees_its_own_changes_of_rights_at_once,
    what_an_undone_change_wrote_is_not_remembered,
];

/// Rights are remembered for so long in any case.
const MOMENT: Duration = Duration::from_secs(2);

/// Reads a tag over and over: what was committed when a read began is the oldest that it may see.
async fn watch(
    metadata: Metadata,
    repository: RepositoryId,
    versions: Arc<Vec<Digest>>,
    committed: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> usize {
    let latest = tag("latest");
    let mut reads = 0;
    while !stop.load(Ordering::SeqCst) {
        let oldest = committed.load(Ordering::SeqCst);
        let seen = metadata.tag(repository, &latest).await.unwrap().unwrap();
        let newest = committed.load(Ordering::SeqCst) + 1;
        let allowed = &versions[oldest..versions.len().min(newest + 1)];
        assert!(
            allowed.contains(&seen),
            "version {oldest} was committed before this read"
        );
        reads += 1;
        tokio::task::yield_now().await;
    }
    reads
}

async fn no_reader_leaves_an_old_tag_behind_a_commit(fixture: Fixture) {
    const VERSIONS: usize = 250;
    const READERS: usize = 6;
    let repository = fixture.repository("t-1111/app").await.id;
    let mut versions = Vec::new();
    for version in 0..VERSIONS {
        versions.push(
            fixture
                .manifest(repository, &version.to_string(), &[])
                .await,
        );
    }
    let versions = Arc::new(versions);
    let latest = tag("latest");
    let put = async |version: usize| {
        fixture
            .change(async |change| {
                let moved = tag_change(repository, &latest, START);
                change.put_tag(&moved, &versions[version]).await
            })
            .await
            .unwrap();
    };
    put(0).await;
    let (committed, stop) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (versions, committed) = (Arc::clone(&versions), Arc::clone(&committed));
            let (metadata, stop) = (fixture.metadata.clone(), Arc::clone(&stop));
            tokio::spawn(watch(metadata, repository, versions, committed, stop))
        })
        .collect();
    for version in 1..VERSIONS {
        put(version).await;
        committed.store(version, Ordering::SeqCst);
        let seen = fixture.metadata.tag(repository, &latest).await.unwrap();
        assert_eq!(seen, Some(versions[version]));
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

async fn content_is_remembered_by_a_sole_owner_alone(fixture: Fixture) {
    const TIMES: u64 = 5;
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let manifest = fixture.manifest(repository.id, "one", &[blob]).await;
    let latest = tag("latest");
    fixture
        .change(async |change| {
            let put = tag_change(repository.id, &latest, START);
            change.put_tag(&put, &manifest).await
        })
        .await
        .unwrap();
    let metadata = &fixture.metadata;
    let read = async || {
        assert!(
            metadata
                .repository(&repository.name)
                .await
                .unwrap()
                .is_some()
        );
        assert!(
            metadata
                .tag(repository.id, &latest)
                .await
                .unwrap()
                .is_some()
        );
        assert!(
            metadata
                .manifest(repository.id, &manifest)
                .await
                .unwrap()
                .is_some()
        );
        assert!(
            metadata
                .linked_blob(repository.id, &blob)
                .await
                .unwrap()
                .is_some()
        );
    };
    read().await;
    let before = metadata.reads();
    for _ in 0..TIMES {
        read().await;
    }
    let asked = if fixture.is_sqlite() { 0 } else { 4 * TIMES };
    assert_eq!(metadata.reads() - before, asked);
}

async fn absence_of_content_is_never_remembered(fixture: Fixture) {
    let name = "t-1111/app".parse().unwrap();
    assert!(fixture.metadata.repository(&name).await.unwrap().is_none());
    let repository = fixture.repository("t-1111/app").await;
    assert!(fixture.metadata.repository(&name).await.unwrap().is_some());
    let digest = crate::fixture::digest_of("layer");
    assert!(
        fixture
            .metadata
            .linked_blob(repository.id, &digest)
            .await
            .unwrap()
            .is_none()
    );
    fixture.blob(repository.id, "layer").await;
    assert!(
        fixture
            .metadata
            .linked_blob(repository.id, &digest)
            .await
            .unwrap()
            .is_some()
    );
}

async fn content_that_another_process_changed_is_seen_at_once(fixture: Fixture) {
    if fixture.is_sqlite() {
        // One process owns the file.
        return;
    }
    let repository = fixture.repository("t-1111/app").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    let two = fixture.manifest(repository.id, "two", &[]).await;
    let other = fixture.open_again().await;
    let latest = tag("latest");
    for digest in [one, two, one] {
        fixture
            .change(async |change| {
                let moved = tag_change(repository.id, &latest, START);
                change.put_tag(&moved, &digest).await
            })
            .await
            .unwrap();
        assert_eq!(
            other.tag(repository.id, &latest).await.unwrap(),
            Some(digest)
        );
    }
    fixture.delete_manifest(&repository, &one, START).await;
    assert!(other.manifest(repository.id, &one).await.unwrap().is_none());
    assert_eq!(other.tag(repository.id, &latest).await.unwrap(), None);
}

/// A right of each kind, and then none of them any more.
async fn grant(fixture: &Fixture) {
    let key = NewApiKey {
        id: String::from("key"),
        workspace_id: Some(String::from(WORKSPACE)),
        name: String::from("a key"),
        role: String::from("builder"),
        hash: String::from("hash"),
        repositories: Some(vec![String::from("*")]),
        actions: None,
        created_by: String::from("a test"),
        created_at: START,
        expires_at: None,
    };
    let secret = NewPullSecret {
        id: String::from("secret"),
        workspace_id: Some(String::from(WORKSPACE)),
        name: String::from("berth-pull"),
        namespace: None,
        hash: String::from("hash of a secret"),
        lifetime_days: 1,
        created_by: String::from("a test"),
        created_at: START,
        expires_at: START.plus(1),
    };
    fixture
        .change(async |change| {
            change.insert_pull_secret(&secret).await?;
            change.insert_api_key(&key).await
        })
        .await
        .unwrap();
}

async fn withdraw(fixture: &Fixture) {
    let workspace = fixture
        .metadata
        .workspace_by_name("one")
        .await
        .unwrap()
        .unwrap();
    let settings = WorkspaceSettings {
        display_name: Some(String::from("changed")),
        quota_bytes: Some(1),
        untagged_retention_days: Some(1),
    };
    fixture
        .change(async |change| {
            assert!(change.delete_api_key(WORKSPACE, "key").await?);
            let secret = change.pull_secret("secret").await?.unwrap();
            change.end_pull_secret(&secret, START, None).await?;
            change
                .revoke_credential(WORKSPACE, "credential", START, START.plus(1))
                .await?;
            change.update_workspace(&workspace, &settings).await?;
            change.revoke_workspace_credentials(&workspace).await
        })
        .await
        .unwrap();
}

/// Whether the old rights stand, all of them or none: each is asked for, so that each is remembered.
async fn rights(metadata: &Metadata) -> [bool; 7] {
    let by_id = metadata.workspace(WORKSPACE).await.unwrap().unwrap();
    let by_prefix = metadata.workspace_by_prefix("t-1111").await;
    let by_prefix = by_prefix.unwrap().unwrap();
    let secret = metadata.pull_secret("secret").await.unwrap().unwrap();
    let by_hash = metadata.pull_secret_by_hash("hash of a secret").await;
    let revoked = metadata
        .is_credential_revoked(WORKSPACE, "credential")
        .await;
    [
        metadata.api_key("key").await.unwrap().is_some(),
        metadata.api_key_by_hash("hash").await.unwrap().is_some(),
        !revoked.unwrap(),
        by_id.credential_generation == 0 && by_id.display_name.is_none(),
        by_prefix.credential_generation == 0 && by_prefix.display_name.is_none(),
        secret.expires_at > START,
        by_hash.unwrap().unwrap().expires_at > START,
    ]
}

async fn rights_that_another_process_changed_are_seen_in_seconds(fixture: Fixture) {
    if fixture.is_sqlite() {
        return;
    }
    grant(&fixture).await;
    let other = fixture.open_again().await;
    let begun = Instant::now();
    assert_eq!(rights(&other).await, [true; 7]);
    let asked = other.reads();
    assert_eq!(rights(&other).await, [true; 7]);
    let reads = other.reads();
    // The memory's age is real time on purpose: the database's and the process's clocks may differ. On a slow machine
    // the moment may be over.
    if begun.elapsed() < MOMENT {
        assert_eq!(reads, asked, "rights are remembered for a moment");
    }
    withdraw(&fixture).await;
    // Invariant 5 is of all of a right's way, so of the memory's part of it in any case.
    let look = async || rights(&other).await == [false; 7];
    seen_within(ENDS_WITHIN, Instant::now(), "the end of the rights", look).await;
}

async fn a_sole_owner_sees_its_own_changes_of_rights_at_once(fixture: Fixture) {
    if !fixture.is_sqlite() {
        return;
    }
    grant(&fixture).await;
    assert_eq!(rights(&fixture.metadata).await, [true; 7]);
    withdraw(&fixture).await;
    assert_eq!(rights(&fixture.metadata).await, [false; 7]);
}

async fn what_an_undone_change_wrote_is_not_remembered(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    let two = fixture.manifest(repository.id, "two", &[]).await;
    let latest = tag("latest");
    let moved = tag_change(repository.id, &latest, START);
    fixture
        .change(async |change| change.put_tag(&moved, &one).await)
        .await
        .unwrap();
    let mut change = fixture.metadata.begin().await.unwrap();
    change.put_tag(&moved, &two).await.unwrap();
    assert_eq!(change.tag(repository.id, &latest).await.unwrap(), Some(two));
    let outside = fixture.metadata.tag(repository.id, &latest).await;
    assert_eq!(outside.unwrap(), Some(one));
    drop(change);
    let after = fixture.metadata.tag(repository.id, &latest).await;
    assert_eq!(after.unwrap(), Some(one));
}
