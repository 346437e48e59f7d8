//! Leases: what is in use, by whom, until when.

use berth::clock::Millis;
use berth::metadata::{LeaseFilter, MetadataError, NewLease, RepositoryId};
use berth_storage::Digest;

use crate::contracts;
use crate::fixture::{ACTOR, Fixture, OTHER_WORKSPACE, START, WORKSPACE, digest_of};

contracts![
    a_lease_is_made_renewed_moved_and_ended,
    leases_are_listed_by_holder_until_they_end,
    whoever_stands_in_the_way_is_found_by_what_and_whose_it_is,
    what_is_not_there_is_not_leased,
    leases_that_have_ended_are_forgotten_in_parts,
    the_leases_of_a_workspace_end_together,
];

async fn put(
    fixture: &Fixture,
    workspace_id: &str,
    holder: &str,
    on: (RepositoryId, &Digest),
    expires_at: Millis,
) -> Result<(), MetadataError> {
    let lease = NewLease {
        workspace_id,
        holder,
        repository: on.0,
        name: &"t-1111/app".parse().unwrap(),
        digest: on.1,
        image: "app:v1",
        actor: ACTOR,
        now: START,
        expires_at,
    };
    fixture
        .change(async |change| change.put_lease(&lease).await)
        .await
}

async fn a_lease_is_made_renewed_moved_and_ended(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await.id;
    let first = fixture.manifest(repository, "first", &[]).await;
    let second = fixture.manifest(repository, "second", &[]).await;
    let (metadata, end) = (&fixture.metadata, START.plus(10));
    put(&fixture, WORKSPACE, "web", (repository, &first), end)
        .await
        .unwrap();
    let lease = metadata
        .lease(WORKSPACE, "web", START)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((&*lease.holder, &*lease.image), ("web", "app:v1"));
    assert_eq!((lease.digest, lease.expires_at), (first, end));
    let later = START.plus(20);
    put(&fixture, WORKSPACE, "web", (repository, &second), later)
        .await
        .unwrap();
    let lease = metadata
        .lease(WORKSPACE, "web", end)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((lease.digest, lease.expires_at), (second, later));
    assert_eq!(fixture.number("SELECT COUNT(*) FROM leases").await, 1);
    assert!(
        metadata
            .lease(OTHER_WORKSPACE, "web", START)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        metadata
            .lease(WORKSPACE, "web", later)
            .await
            .unwrap()
            .is_none()
    );
    let ended = fixture.change(async |change| {
        let lease = change.lease(WORKSPACE, "web", START).await?;
        assert_eq!(lease.map(|lease| lease.digest), Some(second));
        assert!(change.lease(WORKSPACE, "other", START).await?.is_none());
        assert!(!change.end_lease(OTHER_WORKSPACE, "web", START).await?);
        assert!(!change.end_lease(WORKSPACE, "web", later).await?);
        let ended = change.end_lease(WORKSPACE, "web", START).await?;
        Ok((ended, change.end_lease(WORKSPACE, "web", START).await?))
    });
    assert_eq!(ended.await.unwrap(), (true, false));
}

async fn leases_are_listed_by_holder_until_they_end(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await.id;
    let digest = fixture.manifest(repository, "manifest", &[]).await;
    for (holder, end) in [("b", 10), ("a", 20), ("c", 20)] {
        let end = START.plus(end);
        put(&fixture, WORKSPACE, holder, (repository, &digest), end)
            .await
            .unwrap();
    }
    put(
        &fixture,
        OTHER_WORKSPACE,
        "d",
        (repository, &digest),
        START.plus(20),
    )
    .await
    .unwrap();
    let list = async |last: &str, now: Millis, limit: u32| {
        let page = fixture.metadata.leases(WORKSPACE, last, now, limit).await;
        let page = page.unwrap().into_iter();
        page.map(|lease| lease.holder).collect::<Vec<_>>()
    };
    assert_eq!(list("", START, 2).await, ["a", "b"]);
    assert_eq!(list("b", START, 2).await, ["c"]);
    assert_eq!(list("", START.plus(10), 10).await, ["a", "c"]);
    let counted = fixture.change(async |change| {
        let all = change.count_leases(WORKSPACE, START).await?;
        Ok((all, change.count_leases(WORKSPACE, START.plus(10)).await?))
    });
    assert_eq!(counted.await.unwrap(), (3, 2));
}

async fn whoever_stands_in_the_way_is_found_by_what_and_whose_it_is(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await.id;
    let other = fixture.repository("t-1111/other").await.id;
    let first = fixture.manifest(repository, "first", &[]).await;
    let second = fixture.manifest(repository, "second", &[]).await;
    fixture.manifest(other, "first", &[]).await;
    let end = START.plus(10);
    for (workspace, holder, on) in [
        (WORKSPACE, "own-first", (repository, &first)),
        (WORKSPACE, "own-second", (repository, &second)),
        (OTHER_WORKSPACE, "foreign-first", (repository, &first)),
        (WORKSPACE, "elsewhere", (other, &first)),
    ] {
        put(&fixture, workspace, holder, on, end).await.unwrap();
    }
    let all = LeaseFilter {
        repository,
        digest: None,
        workspace_id: None,
        but_not_of: None,
    };
    let holders = async |filter: LeaseFilter<'_>, now: Millis, limit: u32| {
        let found = fixture.change(async |change| change.lease_holders(&filter, now, limit).await);
        let mut holders: Vec<String> = found
            .await
            .unwrap()
            .into_iter()
            .map(|lease| format!("{} {}", lease.workspace, lease.holder))
            .collect();
        holders.sort_unstable();
        holders
    };
    let everybody = ["one own-first", "one own-second", "two foreign-first"];
    assert_eq!(holders(all, START, 10).await, everybody);
    assert_eq!(holders(all, START, 2).await.len(), 2);
    assert!(holders(all, end, 10).await.is_empty());
    let of_first = LeaseFilter {
        digest: Some(&first),
        ..all
    };
    assert_eq!(
        holders(of_first, START, 10).await,
        ["one own-first", "two foreign-first"]
    );
    let own = LeaseFilter {
        workspace_id: Some(WORKSPACE),
        ..of_first
    };
    assert_eq!(holders(own, START, 10).await, ["one own-first"]);
    let foreign = LeaseFilter {
        but_not_of: Some(WORKSPACE),
        ..all
    };
    assert_eq!(holders(foreign, START, 10).await, ["two foreign-first"]);
}

async fn what_is_not_there_is_not_leased(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await.id;
    let digest = fixture.manifest(repository, "manifest", &[]).await;
    let end = START.plus(10);
    let unknown = put(
        &fixture,
        WORKSPACE,
        "web",
        (repository, &digest_of("unknown")),
        end,
    )
    .await;
    assert!(unknown.unwrap_err().is_conflict());
    let workspace = fixture.metadata.workspace(OTHER_WORKSPACE).await.unwrap();
    let deleted =
        fixture.change(async |change| change.delete_workspace(&workspace.unwrap(), START).await);
    deleted.await.unwrap();
    let homeless = put(&fixture, OTHER_WORKSPACE, "web", (repository, &digest), end).await;
    assert!(homeless.unwrap_err().is_conflict());
}

async fn leases_that_have_ended_are_forgotten_in_parts(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await.id;
    let digest = fixture.manifest(repository, "manifest", &[]).await;
    for (holder, end) in [("a", 10), ("b", 10), ("c", 10), ("d", 11)] {
        let end = START.plus(end);
        put(&fixture, WORKSPACE, holder, (repository, &digest), end)
            .await
            .unwrap();
    }
    let now = START.plus(10);
    let forgotten = fixture.change(async |change| {
        let early = change.forget_ended_leases(now.plus(-1), 10).await?;
        let some = change.forget_ended_leases(now, 2).await?;
        Ok((early, some, change.forget_ended_leases(now, 10).await?))
    });
    assert_eq!(forgotten.await.unwrap(), (0, 2, 1));
    assert_eq!(fixture.texts("SELECT holder FROM leases").await, ["d"]);
}

async fn the_leases_of_a_workspace_end_together(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await.id;
    let digest = fixture.manifest(repository, "manifest", &[]).await;
    for (workspace, holder) in [
        (WORKSPACE, "a"),
        (OTHER_WORKSPACE, "b"),
        (OTHER_WORKSPACE, "c"),
    ] {
        let end = START.plus(10);
        put(&fixture, workspace, holder, (repository, &digest), end)
            .await
            .unwrap();
    }
    let ended = fixture.change(async |change| change.end_leases_of(OTHER_WORKSPACE).await);
    ended.await.unwrap();
    assert_eq!(fixture.texts("SELECT holder FROM leases").await, ["a"]);
}
