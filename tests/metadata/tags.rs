//! Tags: where they point, and where they pointed before.

use std::collections::BTreeSet;

use berth::metadata::{MetadataError, Repository};
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{
    ACTOR, Fixture, START, TestManifest, WORKSPACE, digest_of, open_deletion, retried, tag,
    tag_change, together,
};

contracts![
    a_tag_points_where_it_was_put_last,
    putting_a_tag_where_it_points_leaves_no_history,
    each_of_many_moves_at_once_leaves_its_overwritten_target_once,
    a_tag_of_nothing_is_a_conflict,
    removing_a_tag_leaves_its_target_under_the_deletion,
    removing_a_manifests_tags_takes_those_and_no_others,
    tags_are_listed_in_bytewise_order_whatever_the_page,
    tags_of_another_repository_are_not_listed,
];

async fn put(fixture: &Fixture, repository: &Repository, name: &str, digest: &Digest, at: i64) {
    let name = tag(name);
    fixture
        .change(async |change| {
            let moved = tag_change(repository.id, &name, START.plus(at));
            change.put_tag(&moved, digest).await
        })
        .await
        .unwrap();
}

async fn history(fixture: &Fixture) -> Vec<String> {
    fixture
        .texts("SELECT name || ' ' || digest || ' ' || set_at || ' ' || ended_at FROM tag_history ORDER BY id")
        .await
}

async fn a_tag_points_where_it_was_put_last(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    let two = fixture.manifest(repository.id, "two", &[]).await;
    let latest = tag("latest");
    let points = async || fixture.metadata.tag(repository.id, &latest).await.unwrap();
    assert_eq!(points().await, None);
    put(&fixture, &repository, "latest", &one, 0).await;
    assert_eq!(points().await, Some(one));
    put(&fixture, &repository, "latest", &two, 7).await;
    assert_eq!(points().await, Some(two));
    let (set, ended) = (START.0, START.plus(7).0);
    let expected = format!("latest {one} {set} {ended}");
    assert_eq!(history(&fixture).await, [expected]);
    let made = fixture.number("SELECT created_at FROM tags").await;
    assert_eq!(made, set, "a move keeps when the tag was made");
}

async fn putting_a_tag_where_it_points_leaves_no_history(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    put(&fixture, &repository, "latest", &one, 0).await;
    put(&fixture, &repository, "latest", &one, 1).await;
    assert_eq!(history(&fixture).await, [""; 0]);
}

async fn each_of_many_moves_at_once_leaves_its_overwritten_target_once(fixture: Fixture) {
    const MOVES: usize = 12;
    let repository = fixture.repository("t-1111/app").await;
    let metadata = fixture.metadata.clone();
    let name = repository.name.clone();
    let pushed: BTreeSet<Digest> = together(MOVES, move |i| {
        let (metadata, name) = (metadata.clone(), name.clone());
        async move {
            let manifest = TestManifest::new(&format!("manifest {i}"));
            let latest = tag("latest");
            retried!(
                async {
                    let mut change = metadata.begin().await?;
                    let repository = change.ensure_repository(WORKSPACE, &name, START).await?;
                    change
                        .lock_tags(repository.id, &BTreeSet::from([latest.clone()]))
                        .await?;
                    let digest = manifest.put(&mut change, repository.id, START).await?;
                    let moved = tag_change(repository.id, &latest, START);
                    change.put_tag(&moved, &digest).await?;
                    change.commit().await?;
                    Ok::<_, MetadataError>(digest)
                }
                .await
            )
        }
    })
    .await
    .into_iter()
    .collect();
    let overwritten = fixture.texts("SELECT digest FROM tag_history").await;
    assert_eq!(overwritten.len(), MOVES - 1);
    let last = fixture.metadata.tag(repository.id, &tag("latest")).await;
    let mut seen: BTreeSet<Digest> = overwritten.iter().map(|d| d.parse().unwrap()).collect();
    seen.extend(last.unwrap());
    assert_eq!(seen, pushed);
}

async fn a_tag_of_nothing_is_a_conflict(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let latest = tag("latest");
    let refused = fixture
        .change(async |change| {
            let moved = tag_change(repository.id, &latest, START);
            change.put_tag(&moved, &digest_of("nothing")).await
        })
        .await;
    assert!(refused.unwrap_err().is_conflict());
}

async fn removing_a_tag_leaves_its_target_under_the_deletion(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    put(&fixture, &repository, "latest", &one, 0).await;
    put(&fixture, &repository, "kept", &one, 0).await;
    let latest = tag("latest");
    assert!(
        fixture
            .metadata
            .tag(repository.id, &latest)
            .await
            .unwrap()
            .is_some()
    );
    let remove = async || {
        fixture
            .change(async |change| {
                let deletion = open_deletion(change, &repository, START.plus(3)).await?;
                let gone = tag_change(repository.id, &latest, START.plus(3));
                Ok((change.remove_tag(&gone, &deletion).await?, deletion))
            })
            .await
            .unwrap()
    };
    let (removed, deletion) = remove().await;
    assert!(removed);
    assert_eq!(
        fixture.metadata.tag(repository.id, &latest).await.unwrap(),
        None
    );
    let under = fixture.texts("SELECT deletion_id FROM tag_history").await;
    assert_eq!(under, [deletion]);
    let expected = format!("latest {one} {} {}", START.0, START.plus(3).0);
    assert_eq!(history(&fixture).await, [expected]);
    assert!(
        !remove().await.0,
        "a second time there is nothing to remove"
    );
    assert_eq!(fixture.texts("SELECT name FROM tags").await, ["kept"]);
}

async fn removing_a_manifests_tags_takes_those_and_no_others(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let other_repository = fixture.repository("t-1111/other").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    let two = fixture.manifest(repository.id, "two", &[]).await;
    fixture.manifest(other_repository.id, "one", &[]).await;
    for (name, digest) in [("a", &one), ("b", &one), ("c", &two)] {
        put(&fixture, &repository, name, digest, 0).await;
        assert!(
            fixture
                .metadata
                .tag(repository.id, &tag(name))
                .await
                .unwrap()
                .is_some()
        );
    }
    put(&fixture, &other_repository, "d", &one, 0).await;
    fixture
        .change(async |change| {
            let deletion = open_deletion(change, &repository, START).await?;
            change
                .remove_tags_of(repository.id, &one, ACTOR, START, &deletion)
                .await
        })
        .await
        .unwrap();
    for (name, points) in [("a", None), ("b", None), ("c", Some(two))] {
        let found = fixture.metadata.tag(repository.id, &tag(name)).await;
        assert_eq!(found.unwrap(), points, "{name}");
    }
    let left = fixture.texts("SELECT name FROM tags ORDER BY name").await;
    assert_eq!(left, ["c", "d"]);
}

async fn tags_are_listed_in_bytewise_order_whatever_the_page(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let one = fixture.manifest(repository.id, "one", &[]).await;
    let mut names = [
        "a", "A", "b", "B", "Z", "z", "_", "_a", "0", "9", "10", "1.0", "1-0", "1_0", "a-1", "a.1",
        "a_1", "aA", "Aa", "latest", "LATEST",
    ];
    for name in names {
        put(&fixture, &repository, name, &one, 0).await;
    }
    names.sort_unstable();
    for page in [1, 2, 3, 5, 20, 21, 22, 1_000] {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let last = listed.last().cloned().unwrap_or_default();
            let next = fixture
                .metadata
                .tags(repository.id, &last, page)
                .await
                .unwrap();
            if next.is_empty() {
                break;
            }
            listed.extend(next.iter().map(ToString::to_string));
        }
        assert_eq!(listed, names, "pages of {page}");
    }
    let between = fixture.metadata.tags(repository.id, "a-", 1).await.unwrap();
    assert_eq!(
        between[0].as_str(),
        "a-1",
        "a page may begin where no tag is"
    );
}

async fn tags_of_another_repository_are_not_listed(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let other = fixture.repository("t-1111/other").await;
    let one = fixture.manifest(other.id, "one", &[]).await;
    put(&fixture, &other, "latest", &one, 0).await;
    assert!(
        fixture
            .metadata
            .tags(repository.id, "", 10)
            .await
            .unwrap()
            .is_empty()
    );
    let found = fixture.metadata.tag(repository.id, &tag("latest")).await;
    assert_eq!(found.unwrap(), None);
}
