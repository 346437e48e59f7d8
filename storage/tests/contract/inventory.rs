//! What a store holds, and whose it is.

use berth_storage::{LIST_LIMIT, ListedObject, ObjectKey, StoreError};

use crate::support::{Fixture, append, content, on_every_backend, put, start};

on_every_backend!(
    objects_are_listed_in_the_order_of_their_keys_page_by_page,
    a_listing_shows_objects_alone,
    a_page_of_nothing_is_empty,
    a_store_is_claimed_once_and_by_one_installation,
);

async fn objects_are_listed_in_the_order_of_their_keys_page_by_page(fixture: Fixture) {
    let mut expected = Vec::new();
    for size_bytes in 0..20 {
        let key = put(&fixture.store, &content(size_bytes)).await.unwrap();
        let size_bytes = size_bytes as u64;
        expected.push(ListedObject { key, size_bytes });
    }
    expected.sort_by_key(|object| object.key);
    for limit in [1, 7, 20, LIST_LIMIT + 1] {
        let mut listed: Vec<ListedObject> = Vec::new();
        loop {
            let after = listed.last().map(|object| object.key);
            let page = fixture.store.list_objects(after, limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        assert_eq!(listed, expected, "in pages of {limit}");
    }
}

async fn a_listing_shows_objects_alone(fixture: Fixture) {
    fixture.store.claim("mine").await.unwrap();
    append(&fixture.store, ObjectKey::random(), &start(), &content(10))
        .await
        .unwrap();
    let deleted = put(&fixture.store, &content(10)).await.unwrap();
    fixture.store.delete(deleted).await.unwrap();
    assert_eq!(fixture.store.list_objects(None, 10).await.unwrap(), []);
}

async fn a_page_of_nothing_is_empty(fixture: Fixture) {
    put(&fixture.store, &content(10)).await.unwrap();
    assert_eq!(fixture.store.list_objects(None, 0).await.unwrap(), []);
}

async fn a_store_is_claimed_once_and_by_one_installation(fixture: Fixture) {
    let store = &fixture.store;
    assert!(!store.is_claimed_by("one").await.unwrap());
    let (one, other) = tokio::join!(store.claim("one"), store.claim("one"));
    one.unwrap();
    other.unwrap();
    let store = fixture.reopened().await;
    store.claim("one").await.unwrap();
    assert!(store.is_claimed_by("one").await.unwrap());
    let looked = store.is_claimed_by("another").await.unwrap_err();
    let claimed = store.claim("another").await.unwrap_err();
    for error in [looked, claimed] {
        assert!(
            matches!(&error, StoreError::OtherInstallation { found, expected } if found == "one" && expected == "another"),
            "{error}"
        );
    }
    store.claim("one").await.unwrap();
}
