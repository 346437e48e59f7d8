//! Shares: who sees an image, under which name, and since when.

use berth::clock::Millis;
use berth::metadata::{
    Direction, MetadataError, NewShare, Repository, Share, ShareStatus, Transaction,
};
use berth::oci::{ImageName, RepositoryName};

use crate::contracts;
use crate::fixture::{ACTOR, Fixture, OTHER_WORKSPACE, START, WORKSPACE, retried, together};

contracts![
    a_share_is_found_by_its_id_its_image_and_its_target,
    pending_shares_are_listed_for_both_sides_until_they_expire,
    a_pending_share_tells_of_a_name_that_is_taken,
    a_pending_share_is_activated_once,
    an_alias_stands_for_its_source_until_the_share_ends,
    a_name_is_claimed_once,
    an_image_is_shared_with_a_workspace_once,
    what_a_workspace_received_ends_together,
    only_expired_pending_shares_are_forgotten,
];

fn image(text: &str) -> ImageName {
    text.parse().unwrap()
}

fn name(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// Writes a share with the other workspace.
async fn insert(
    change: &mut Transaction,
    repository: &Repository,
    id: &str,
    expires_at: Option<Millis>,
) -> Result<(), MetadataError> {
    change
        .insert_share(&NewShare {
            id,
            repository: repository.id,
            source_workspace_id: WORKSPACE,
            target_workspace_id: OTHER_WORKSPACE,
            status: match expires_at {
                None => ShareStatus::Active,
                Some(_) => ShareStatus::Pending,
            },
            alias: &image("alias"),
            actor: ACTOR,
            now: START,
            expires_at,
        })
        .await
}

async fn shared(fixture: &Fixture, id: &str, expires_at: Option<Millis>) -> Repository {
    let repository = fixture.repository(&format!("t-1111/{id}")).await;
    let inserted = fixture.change(async |change| insert(change, &repository, id, expires_at).await);
    inserted.await.unwrap();
    repository
}

async fn share(fixture: &Fixture, id: &str) -> Option<Share> {
    let found = fixture.change(async |change| change.share(id).await);
    found.await.unwrap()
}

fn ids(shares: &[Share]) -> Vec<&str> {
    shares.iter().map(|share| share.id.as_str()).collect()
}

async fn a_share_is_found_by_its_id_its_image_and_its_target(fixture: Fixture) {
    let repository = shared(&fixture, "one", None).await;
    let found = share(&fixture, "one").await.unwrap();
    assert_eq!(found.repository_id, repository.id);
    assert_eq!(found.repository, repository.name);
    assert_eq!(
        (&*found.source.workspace, &*found.source.prefix),
        ("one", "t-1111")
    );
    assert_eq!(
        (&*found.target.workspace, &*found.target.prefix),
        ("two", "t-2222")
    );
    assert_eq!(
        (found.status, found.alias.as_str()),
        (ShareStatus::Active, "alias")
    );
    assert_eq!((&*found.shared_by, found.created_at), (ACTOR, START));
    assert_eq!((found.expires_at, found.has_conflict), (None, false));
    let of_image = fixture.metadata.shares_of(repository.id, "", START, 10);
    assert_eq!(ids(&of_image.await.unwrap()), ["one"]);
    let after = fixture.metadata.shares_of(repository.id, "one", START, 10);
    assert!(after.await.unwrap().is_empty());
    let to = fixture.change(async |change| {
        let there = change.share_to(repository.id, OTHER_WORKSPACE).await?;
        Ok((there, change.share_to(repository.id, WORKSPACE).await?))
    });
    let (there, nowhere) = to.await.unwrap();
    assert_eq!(there.unwrap().id, "one");
    assert!(nowhere.is_none());
    assert!(share(&fixture, "two").await.is_none());
}

async fn pending_shares_are_listed_for_both_sides_until_they_expire(fixture: Fixture) {
    let end = START.plus(10);
    for id in ["b", "a", "c"] {
        shared(&fixture, id, Some(end)).await;
    }
    shared(&fixture, "active", None).await;
    let metadata = &fixture.metadata;
    for (workspace, direction) in [
        (OTHER_WORKSPACE, Direction::Incoming),
        (WORKSPACE, Direction::Outgoing),
    ] {
        let page = metadata.pending_shares(workspace, direction, "", START, 2);
        assert_eq!(ids(&page.await.unwrap()), ["a", "b"]);
        let rest = metadata.pending_shares(workspace, direction, "b", START, 2);
        assert_eq!(ids(&rest.await.unwrap()), ["c"]);
        let expired = metadata.pending_shares(workspace, direction, "", end, 10);
        assert!(expired.await.unwrap().is_empty());
    }
    let none = metadata.pending_shares(WORKSPACE, Direction::Incoming, "", START, 10);
    assert!(none.await.unwrap().is_empty());
    let counted = fixture.change(async |change| {
        let before = change.count_shares_of(WORKSPACE, START).await?;
        Ok((before, change.count_shares_of(WORKSPACE, end).await?))
    });
    assert_eq!(counted.await.unwrap(), (4, 1));
    // An expired one is still known by its id.
    assert!(share(&fixture, "a").await.unwrap().is_expired(end));
}

async fn a_pending_share_tells_of_a_name_that_is_taken(fixture: Fixture) {
    shared(&fixture, "pending", Some(START.plus(10))).await;
    assert!(!share(&fixture, "pending").await.unwrap().has_conflict);
    // A push that has not come to a manifest yet is not seen, and in nobody's way.
    let theirs = fixture.repository_of(OTHER_WORKSPACE, "t-2222/alias").await;
    assert!(!share(&fixture, "pending").await.unwrap().has_conflict);
    let finished = fixture.change(async |change| change.become_image(&theirs, START).await);
    finished.await.unwrap();
    assert!(share(&fixture, "pending").await.unwrap().has_conflict);
}

async fn a_pending_share_is_activated_once(fixture: Fixture) {
    shared(&fixture, "pending", Some(START.plus(10))).await;
    let metadata = fixture.metadata.clone();
    let activated = together(4, |number| {
        let metadata = metadata.clone();
        async move {
            retried!({
                let alias = image(&format!("alias-{number}"));
                let mut change = metadata.begin().await.unwrap();
                let activated = change.activate_share("pending", &alias).await;
                match activated {
                    Ok(activated) => change.commit().await.map(|()| activated),
                    Err(error) => Err(error),
                }
            })
        }
    });
    let activated = activated.await;
    assert_eq!(activated.iter().filter(|activated| **activated).count(), 1);
    let number = activated.iter().position(|activated| *activated).unwrap();
    let found = share(&fixture, "pending").await.unwrap();
    assert_eq!(
        (found.status, found.expires_at),
        (ShareStatus::Active, None)
    );
    assert_eq!(found.alias.as_str(), format!("alias-{number}"));
}

async fn an_alias_stands_for_its_source_until_the_share_ends(fixture: Fixture) {
    let repository = shared(&fixture, "one", None).await;
    let alias = name("t-2222/alias");
    assert!(fixture.metadata.repository(&alias).await.unwrap().is_none());
    let claimed = fixture.change(async |change| {
        change.claim_alias(&alias, repository.id, "one").await?;
        change.repository(&alias).await
    });
    assert!(claimed.await.unwrap().is_some());
    let found = fixture.metadata.repository(&alias).await.unwrap().unwrap();
    assert_eq!((found.id, &found.name), (repository.id, &repository.name));
    assert_eq!(found.share_id.as_deref(), Some("one"));
    let own = fixture.metadata.repository(&repository.name).await.unwrap();
    assert_eq!(own.unwrap().share_id, None);
    let ended = fixture.change(async |change| {
        assert!(change.end_share("one").await?);
        change.end_share("one").await
    });
    assert!(!ended.await.unwrap());
    assert!(fixture.metadata.repository(&alias).await.unwrap().is_none());
    let own = fixture.metadata.repository(&repository.name).await.unwrap();
    assert_eq!(own.unwrap().id, repository.id);
}

async fn a_name_is_claimed_once(fixture: Fixture) {
    let first = shared(&fixture, "first", None).await;
    let second = shared(&fixture, "second", None).await;
    let alias = name("t-2222/alias");
    let claim = async |repository: &Repository, id: &str| {
        let claimed =
            fixture.change(async |change| change.claim_alias(&alias, repository.id, id).await);
        claimed.await
    };
    claim(&first, "first").await.unwrap();
    assert!(claim(&second, "second").await.unwrap_err().is_conflict());
    let own = fixture.repository_of(OTHER_WORKSPACE, "t-2222/alias").await;
    assert_eq!(own.id, first.id, "the name stands for the source");
}

async fn an_image_is_shared_with_a_workspace_once(fixture: Fixture) {
    let repository = shared(&fixture, "one", None).await;
    let again = fixture.change(async |change| insert(change, &repository, "two", None).await);
    assert!(again.await.unwrap_err().is_conflict());
    let workspace = fixture.metadata.workspace(OTHER_WORKSPACE).await.unwrap();
    let deleted = fixture.change(async |change| {
        change.end_shares_to(OTHER_WORKSPACE).await?;
        change.delete_workspace(&workspace.unwrap(), START).await
    });
    deleted.await.unwrap();
    let gone = fixture.change(async |change| insert(change, &repository, "two", None).await);
    assert!(gone.await.unwrap_err().is_conflict());
}

async fn what_a_workspace_received_ends_together(fixture: Fixture) {
    let first = shared(&fixture, "first", None).await;
    shared(&fixture, "second", Some(START.plus(10))).await;
    let alias = name("t-2222/alias");
    let ended = fixture.change(async |change| {
        change.claim_alias(&alias, first.id, "first").await?;
        change.end_shares_to(WORKSPACE).await?;
        assert!(change.share("first").await?.is_some());
        change.end_shares_to(OTHER_WORKSPACE).await
    });
    ended.await.unwrap();
    assert_eq!(fixture.number("SELECT COUNT(*) FROM shares").await, 0);
    assert!(fixture.metadata.repository(&alias).await.unwrap().is_none());
}

async fn only_expired_pending_shares_are_forgotten(fixture: Fixture) {
    let end = START.plus(10);
    for id in ["a", "b", "c"] {
        shared(&fixture, id, Some(end)).await;
    }
    shared(&fixture, "active", None).await;
    shared(&fixture, "later", Some(end.plus(1))).await;
    let forgotten = fixture.change(async |change| {
        let early = change.forget_expired_shares(end.plus(-1), 10).await?;
        let some = change.forget_expired_shares(end, 2).await?;
        Ok((early, some, change.forget_expired_shares(end, 10).await?))
    });
    assert_eq!(forgotten.await.unwrap(), (0, 2, 1));
    let left = fixture.texts("SELECT id FROM shares ORDER BY id").await;
    assert_eq!(left, ["active", "later"]);
}
