//! Repositories, the names they claim, and the lock that orders pushes against deletions.

use std::sync::Arc;
use std::sync::Mutex;

use berth::metadata::{Lock, MetadataError};

use crate::contracts;
use crate::fixture::{Fixture, OTHER_WORKSPACE, START, WORKSPACE, retried, together, until};

contracts![
    ensuring_one_name_at_once_makes_one_repository,
    a_name_is_claimed_once,
    a_repository_of_an_unfinished_change_is_seen_by_that_change_alone,
    a_repository_becomes_an_image_once,
    the_catalogue_is_in_bytewise_order_whatever_the_page,
    the_catalogue_shows_images_of_one_workspace,
    deletions_wait_for_the_pushes_under_way,
    pushes_go_beside_each_other,
];

async fn ensuring_one_name_at_once_makes_one_repository(fixture: Fixture) {
    let metadata = fixture.metadata.clone();
    let ids = together(16, move |_| {
        let metadata = metadata.clone();
        async move {
            retried!(
                async {
                    let name = "t-1111/app".parse().unwrap();
                    let mut change = metadata.begin().await?;
                    let repository = change.ensure_repository(WORKSPACE, &name, START).await?;
                    change.commit().await?;
                    Ok::<_, MetadataError>(repository.id)
                }
                .await
            )
        }
    })
    .await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(fixture.number("SELECT COUNT(*) FROM repositories").await, 1);
    assert_eq!(fixture.number("SELECT COUNT(*) FROM names").await, 1);
}

async fn a_name_is_claimed_once(fixture: Fixture) {
    fixture.repository("t-1111/app").await;
    fixture.repository("t-1111/other").await;
    for claim in [
        "UPDATE names SET name = 't-1111/app' WHERE name = 't-1111/other'",
        "INSERT INTO names (name, repository_id) SELECT 't-1111/third', repository_id FROM names WHERE name = 't-1111/app'",
    ] {
        let error = fixture.execute(claim).await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert!(error.is_unique_violation(), "{error}");
    }
}

async fn a_repository_of_an_unfinished_change_is_seen_by_that_change_alone(fixture: Fixture) {
    let name = "t-1111/app".parse().unwrap();
    let mut change = fixture.metadata.begin().await.unwrap();
    let made = change
        .ensure_repository(WORKSPACE, &name, START)
        .await
        .unwrap();
    assert_eq!(change.repository(&name).await.unwrap().unwrap().id, made.id);
    assert!(fixture.metadata.repository(&name).await.unwrap().is_none());
    change.commit().await.unwrap();
    let found = fixture.metadata.repository(&name).await.unwrap().unwrap();
    assert_eq!((found.id, found.is_image), (made.id, false));
    assert_eq!(found.workspace_id, WORKSPACE);
}

async fn a_repository_becomes_an_image_once(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let before = fixture.metadata.repository(&repository.name).await.unwrap();
    assert!(!before.unwrap().is_image);
    for now in [START, START.plus(5)] {
        fixture
            .change(async |change| change.become_image(&repository, now).await)
            .await
            .unwrap();
    }
    let after = fixture.metadata.repository(&repository.name).await.unwrap();
    assert!(after.unwrap().is_image);
    let image_at = fixture.number("SELECT image_at FROM repositories").await;
    assert_eq!(image_at, START.0);
}

async fn make_image(fixture: &Fixture, workspace: &str, name: &str) {
    let repository = fixture.repository_of(workspace, name).await;
    fixture
        .change(async |change| change.become_image(&repository, START).await)
        .await
        .unwrap();
}

async fn the_catalogue_is_in_bytewise_order_whatever_the_page(fixture: Fixture) {
    let mut names = [
        "t-1111/a",
        "t-1111/a-b",
        "t-1111/a--b",
        "t-1111/a.b",
        "t-1111/a/b",
        "t-1111/a/b/c",
        "t-1111/a0",
        "t-1111/a_b",
        "t-1111/a__b",
        "t-1111/aa",
        "t-1111/b",
        "t-1111/0",
    ];
    names.reverse();
    for name in names {
        make_image(&fixture, WORKSPACE, name).await;
    }
    names.sort_unstable();
    for page in 1..=names.len() + 1 {
        let mut listed: Vec<String> = Vec::new();
        loop {
            let last = listed.last().cloned().unwrap_or_default();
            let limit = u32::try_from(page).unwrap();
            let next = fixture.metadata.image_names("t-1111", &last, limit).await;
            let next = next.unwrap();
            assert!(next.len() <= page);
            if next.is_empty() {
                break;
            }
            listed.extend(next.iter().map(ToString::to_string));
        }
        assert_eq!(listed, names, "pages of {page}");
    }
}

async fn the_catalogue_shows_images_of_one_workspace(fixture: Fixture) {
    make_image(&fixture, WORKSPACE, "t-1111/image").await;
    make_image(&fixture, OTHER_WORKSPACE, "t-2222/foreign").await;
    fixture.repository("t-1111/only-blobs").await;
    let names = fixture.metadata.image_names("t-1111", "", 10).await;
    let names: Vec<_> = names.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["t-1111/image"]);
}

async fn deletions_wait_for_the_pushes_under_way(fixture: Fixture) {
    let repository = fixture.repository("t-1111/app").await;
    let mut push = fixture.metadata.begin().await.unwrap();
    push.ensure_repository(WORKSPACE, &repository.name, START)
        .await
        .unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let deletion = tokio::spawn({
        let (metadata, order) = (fixture.metadata.clone(), Arc::clone(&order));
        async move {
            let mut change = metadata.begin().await.unwrap();
            change.lock(repository.id, Lock::Exclusive).await.unwrap();
            order.lock().unwrap().push("deletion");
            change.commit().await.unwrap();
        }
    });
    let mut rows = fixture.rows().await;
    until("the wait of the deletion", async || {
        if fixture.is_sqlite() {
            fixture.metadata.writer_queue_length() == 1
        } else {
            let waiting = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
            rows.number(waiting).await == 1
        }
    })
    .await;
    order.lock().unwrap().push("push");
    push.commit().await.unwrap();
    deletion.await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["push", "deletion"]);
}

async fn pushes_go_beside_each_other(fixture: Fixture) {
    if fixture.is_sqlite() {
        // One writer: changes come one after the other.
        return;
    }
    let repository = fixture.repository("t-1111/app").await;
    let mut first = fixture.metadata.begin().await.unwrap();
    let mut second = fixture.metadata.begin().await.unwrap();
    for change in [&mut first, &mut second] {
        change
            .ensure_repository(WORKSPACE, &repository.name, START)
            .await
            .unwrap();
    }
    first.commit().await.unwrap();
    second.commit().await.unwrap();
}
