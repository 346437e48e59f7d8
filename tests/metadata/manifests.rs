//! Manifests: their exact bytes, what they need, and what begins to end with them.

use std::collections::BTreeMap;

use berth::metadata::MetadataError;
use berth::oci::MediaType;
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{
    Fixture, START, TestManifest, WORKSPACE, digest_of, retried, tag, tag_change, together,
};

contracts![
    a_manifest_put_twice_is_one,
    a_manifest_is_of_the_repository_it_was_put_to,
    a_deleted_manifest_is_gone_until_it_is_put_again,
    the_media_type_of_the_last_push_counts,
    a_manifest_that_needs_a_blob_of_no_link_is_a_conflict,
    a_child_binds_whether_or_not_it_is_there,
    indexes_that_were_deleted_hold_nothing,
    deleting_a_manifest_starts_the_grace_of_links_that_nobody_else_needs,
    pushing_one_image_under_many_tags_at_once_succeeds,
];

async fn a_manifest_put_twice_is_one(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let blob = fixture.blob(repository.id, "layer").await;
    let first = fixture.manifest(repository.id, "one", &[blob]).await;
    let second = fixture.manifest(repository.id, "one", &[blob]).await;
    assert_eq!(first, second);
    let row = fixture
        .metadata
        .manifest(repository.id, &first)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((row.digest, row.size_bytes), (first, 3));
    assert_eq!(row.media_type.as_str(), MediaType::OCI_MANIFEST);
    let bytes = fixture
        .metadata
        .manifest_bytes(&first)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bytes.as_ref(), b"one");
    for table in ["manifests", "manifest_contents", "manifest_blobs"] {
        let count = fixture
            .number(&format!("SELECT COUNT(*) FROM {table}"))
            .await;
        assert_eq!(count, 1, "{table}");
    }
}

async fn a_manifest_is_of_the_repository_it_was_put_to(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    assert!(
        fixture
            .metadata
            .manifest(other.id, &one)
            .await
            .unwrap()
            .is_none()
    );
    fixture.manifest(other.id, "one", &[]).await;
    assert!(
        fixture
            .metadata
            .manifest(other.id, &one)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(
        fixture
            .number("SELECT COUNT(*) FROM manifest_contents")
            .await,
        1
    );
}

async fn a_deleted_manifest_is_gone_until_it_is_put_again(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    let found = async || {
        let row = fixture
            .metadata
            .manifest(repository.id, &one)
            .await
            .unwrap();
        let inside = fixture
            .change(async |change| change.manifest(repository.id, &one).await)
            .await
            .unwrap();
        assert_eq!(row.is_some(), inside.is_some());
        row.is_some()
    };
    assert!(found().await);
    fixture.delete_manifest(&repository, &one, START).await;
    assert!(!found().await);
    fixture.manifest(repository.id, "one", &[]).await;
    assert!(found().await);
}

async fn the_media_type_of_the_last_push_counts(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let mut manifest = TestManifest::new("one");
    for media_type in [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST] {
        manifest.media_type = media_type;
        let put = fixture.change(async |change| manifest.put(change, repository.id, START).await);
        let digest = put.await.unwrap();
        let row = fixture
            .metadata
            .manifest(repository.id, &digest)
            .await
            .unwrap();
        assert_eq!(row.unwrap().media_type.as_str(), media_type);
    }
}

async fn a_manifest_that_needs_a_blob_of_no_link_is_a_conflict(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    let foreign = fixture.blob(other.id, "layer").await;
    for blob in [foreign, digest_of("nothing")] {
        let manifest = TestManifest::new("one").needing(&[blob]);
        let put = fixture.change(async |change| manifest.put(change, repository.id, START).await);
        assert!(put.await.unwrap_err().is_conflict());
    }
    assert_eq!(fixture.number("SELECT COUNT(*) FROM manifests").await, 0);
}

async fn a_child_binds_whether_or_not_it_is_there(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let here = fixture.manifest(repository.id, "here", &[]).await;
    let absent = digest_of("absent");
    let index = TestManifest::new("index").index_of(&[here, absent]);
    let (present, parents) = fixture
        .change(async |change| {
            index.put(change, repository.id, START).await?;
            let present = change
                .present_manifests(repository.id, &index.children)
                .await?;
            let mut parents = Vec::new();
            for child in [&here, &absent] {
                parents.push(change.indexes_of(repository.id, child, 5).await?);
            }
            Ok((present, parents))
        })
        .await
        .unwrap();
    assert_eq!(present, BTreeMap::from([(here, 4)]));
    assert_eq!(parents, [vec![index.digest()], vec![index.digest()]]);
}

async fn indexes_that_were_deleted_hold_nothing(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let child = fixture.manifest(repository.id, "child", &[]).await;
    let indexes: Vec<_> = (0..3)
        .map(|i| TestManifest::new(&format!("index {i}")).index_of(&[child]))
        .collect();
    for index in &indexes {
        let put = fixture.change(async |change| index.put(change, repository.id, START).await);
        put.await.unwrap();
    }
    let parents = async |limit| {
        fixture
            .change(async |change| change.indexes_of(repository.id, &child, limit).await)
            .await
            .unwrap()
    };
    assert_eq!(parents(2).await.len(), 2, "no more than asked for");
    for index in &indexes[1..] {
        fixture
            .delete_manifest(&repository, &index.digest(), START)
            .await;
    }
    assert_eq!(parents(5).await, [indexes[0].digest()]);
}

async fn unneeded_since(fixture: &Fixture, blob: &Digest) -> i64 {
    let statement = format!("SELECT unneeded_since FROM links WHERE digest = '{blob}'");
    fixture.number(&statement).await
}

async fn deleting_a_manifest_starts_the_grace_of_links_that_nobody_else_needs(fixture: Fixture) {
    const NEEDED: i64 = -1;
    let repository = fixture.repository("t-1111/app").await;
    let [only, both, other, never] = ["only", "both", "other", "never"];
    let only = fixture.blob(repository.id, only).await;
    let both = fixture.blob(repository.id, both).await;
    let other = fixture.blob(repository.id, other).await;
    let never = fixture.blob(repository.id, never).await;
    assert_eq!(
        unneeded_since(&fixture, &only).await,
        START.0,
        "before any manifest"
    );
    let first = fixture
        .manifest(repository.id, "first", &[only, both])
        .await;
    let second = fixture
        .manifest(repository.id, "second", &[both, other])
        .await;
    let all = async || {
        let mut all = Vec::new();
        for blob in [only, both, other, never] {
            all.push(unneeded_since(&fixture, &blob).await);
        }
        all
    };
    assert_eq!(all().await, [NEEDED, NEEDED, NEEDED, START.0]);
    let later = START.plus(10);
    fixture.delete_manifest(&repository, &first, later).await;
    assert_eq!(all().await, [later.0, NEEDED, NEEDED, START.0]);
    let last = START.plus(20);
    fixture.delete_manifest(&repository, &second, last).await;
    assert_eq!(all().await, [later.0, last.0, last.0, START.0]);
    fixture
        .manifest(repository.id, "first", &[only, both])
        .await;
    assert_eq!(all().await, [NEEDED, NEEDED, last.0, START.0]);
}

async fn pushing_one_image_under_many_tags_at_once_succeeds(fixture: Fixture) {
    const LAYERS: usize = 40;
    const TAGS: usize = 8;
    let repository = fixture.repository("t-1111/app").await;
    let mut layers = Vec::new();
    for layer in 0..LAYERS {
        layers.push(fixture.blob(repository.id, &format!("layer {layer}")).await);
    }
    let (metadata, name) = (fixture.metadata.clone(), repository.name.clone());
    together(TAGS, move |i| {
        let (metadata, name) = (metadata.clone(), name.clone());
        let manifest = TestManifest::new("one").needing(&layers);
        async move {
            let own = tag(&format!("v{i}"));
            retried!(
                async {
                    let mut change = metadata.begin().await?;
                    let repository = change.ensure_repository(WORKSPACE, &name, START).await?;
                    let digest = manifest.put(&mut change, repository.id, START).await?;
                    let moved = tag_change(repository.id, &own, START);
                    change.put_tag(&moved, &digest).await?;
                    change.commit().await?;
                    Ok::<_, MetadataError>(())
                }
                .await
            );
        }
    })
    .await;
    let tags = fixture.metadata.tags(repository.id, "", 100).await.unwrap();
    assert_eq!(tags.len(), TAGS);
}
