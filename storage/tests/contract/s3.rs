//! What only a bucket does: parts and tails, several replicas, lost answers, and what a start says.

use std::time::{Duration, Instant};

use berth_storage::{
    MIN_PART_BYTES, ObjectKey, Progress, S3Credentials, S3Options, Store, StoreError,
};
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::bucket::Bucket;
use crate::proxy::{Proxy, Weather};
use crate::support::{append, content, digest, put, read_all, start};

const PART: usize = MIN_PART_BYTES as usize;

/// A corner of the bucket, or the end of the test where there is none.
macro_rules! bucket {
    () => {
        match Bucket::own() {
            Some(bucket) => bucket,
            None => return,
        }
    };
}

/// Writes the rest of an upload and makes the object.
async fn finish(
    store: &Store,
    key: ObjectKey,
    progress: &Progress,
    bytes: &Bytes,
) -> Result<(), StoreError> {
    let mut writer = store.writer(key, progress).await?;
    writer.write(bytes.clone()).await?;
    writer.finish().await?.publish().await.map(drop)
}

async fn assert_holds(store: &Store, key: ObjectKey, bytes: &Bytes) {
    let read = read_all(store, key, bytes.len() as u64).await.unwrap();
    assert!(read == *bytes, "the object has other bytes");
}

#[tokio::test]
async fn an_upload_goes_from_replica_to_replica_and_its_parts_are_equal() {
    let bucket = bucket!();
    let bytes = content(3 * PART + 1000);
    let key = ObjectKey::random();
    let mut progress = start();
    // Inside a part, up to its end exactly, over an end, many small pieces, nothing.
    let cuts = [
        1,
        4000,
        4000,
        PART,
        2 * PART + 7,
        2 * PART + 8,
        2 * PART + 9,
        3 * PART,
    ];
    let mut from = 0;
    for cut in cuts {
        let replica = bucket.store().await;
        progress = append(&replica, key, &progress, &bytes.slice(from..cut))
            .await
            .unwrap();
        assert_eq!(progress.offset, cut as u64);
        from = cut;
    }
    let replica = bucket.store().await;
    assert_eq!(replica.size(key).await.unwrap(), None);
    assert_eq!(bucket.unfinished_uploads().await, 1);
    finish(&replica, key, &progress, &bytes.slice(from..))
        .await
        .unwrap();
    assert_holds(&bucket.store().await, key, &bytes).await;
    assert_eq!(bucket.unfinished_uploads().await, 0);
    let object = Path::parse(format!("{}/{}", bucket.prefix, key.object_path())).unwrap();
    let tag = bucket.client().head(&object).await.unwrap().e_tag.unwrap();
    // The server counts the parts in the tag of the whole.
    assert!(tag.trim_matches('"').ends_with("-4"), "{tag}");
}

#[tokio::test]
async fn what_fits_into_one_part_is_one_plain_object() {
    let bucket = bucket!();
    let store = bucket.store().await;
    for length in [0, 1, PART] {
        let bytes = content(length);
        let key = put(&store, &bytes).await.unwrap();
        assert_eq!(bucket.names().await, [key.object_path()], "{length}");
        assert_holds(&store, key, &bytes).await;
        store.delete(key).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_digest_leaves_nothing_in_the_bucket() {
    let bucket = bucket!();
    let store = bucket.store().await;
    for length in [10, PART + 10] {
        let key = ObjectKey::random();
        let mut writer = store.writer(key, &start()).await.unwrap();
        writer.write(content(length)).await.unwrap();
        writer.finish().await.unwrap().discard().await.unwrap();
        assert_eq!(bucket.names().await, Vec::<String>::new(), "{length}");
        assert_eq!(bucket.unfinished_uploads().await, 0, "{length}");
    }
}

#[tokio::test]
async fn many_small_requests_leave_few_tails() {
    let bucket = bucket!();
    let store = bucket.store().await;
    let bytes = content(64);
    let key = ObjectKey::random();
    let mut progress = start();
    for at in 0..bytes.len() {
        progress = append(&store, key, &progress, &bytes.slice(at..=at))
            .await
            .unwrap();
    }
    let state: serde_json::Value = serde_json::from_slice(&progress.backend[1..]).unwrap();
    let tails = state["tails"].as_array().unwrap();
    assert!(tails.len() <= 8, "{state}");
    // Those that the last request has joined lie there until the next one.
    let staged = bucket.names().await;
    assert!(staged.len() <= 16, "{staged:?}");
    finish(&bucket.store().await, key, &progress, &Bytes::new())
        .await
        .unwrap();
    assert_holds(&store, key, &bytes).await;
}

#[tokio::test]
async fn a_tail_that_is_in_a_part_goes_with_the_next_request() {
    let bucket = bucket!();
    let store = bucket.store().await;
    let bytes = content(PART + 11);
    let key = ObjectKey::random();
    let mut progress = start();
    let mut staged = Vec::new();
    for (from, to) in [
        (0, PART - 10),
        (PART - 10, PART + 10),
        (PART + 10, PART + 11),
    ] {
        progress = append(&store, key, &progress, &bytes.slice(from..to))
            .await
            .unwrap();
        staged.push(bucket.names().await.len());
    }
    // The tail; then the note of the multipart upload and the new tail too; then a third tail, and the first is gone.
    assert_eq!(staged, [1, 3, 3]);
    finish(&bucket.store().await, key, &progress, &Bytes::new())
        .await
        .unwrap();
    assert_holds(&store, key, &bytes).await;
}

#[tokio::test]
async fn a_process_that_ends_at_any_step_loses_nothing_that_was_recorded() {
    let bucket = bucket!();
    let bytes = content(2 * PART + 100);
    for step in 0..4 {
        let key = ObjectKey::random();
        let store = bucket.store().await;
        let known = append(&store, key, &start(), &bytes.slice(..PART + 50))
            .await
            .unwrap();
        let mut writer = store.writer(key, &known).await.unwrap();
        writer.write(bytes.slice(PART + 50..)).await.unwrap();
        match step {
            // While bytes arrive; with parts sent and not recorded; with a finished upload; with an object.
            0 => drop(writer),
            1 => drop(writer.pause().await.unwrap()),
            2 => drop(writer.finish().await.unwrap()),
            _ => drop(writer.finish().await.unwrap().publish().await.unwrap()),
        }
        drop(store);
        let other = bucket.store().await;
        match finish(&other, key, &known, &bytes.slice(PART + 50..)).await {
            Ok(()) => assert!(step < 3),
            Err(StoreError::AlreadyPublished { .. }) => assert_eq!(step, 3),
            Err(error) => panic!("{step}: {error}"),
        }
        assert_holds(&other, key, &bytes).await;
        other.delete(key).await.unwrap();
        assert_eq!(bucket.names().await, Vec::<String>::new(), "{step}");
        assert_eq!(bucket.unfinished_uploads().await, 0, "{step}");
    }
}

#[tokio::test]
async fn what_a_stale_writer_sends_is_not_in_the_object() {
    let bucket = bucket!();
    let (one, other) = (bucket.store().await, bucket.store().await);
    let bytes = content(3 * PART);
    let key = ObjectKey::random();
    let known = append(&one, key, &start(), &bytes.slice(..PART + 10))
        .await
        .unwrap();
    let mut stale = one.writer(key, &known).await.unwrap();
    let wrong = Bytes::from(vec![b'x'; 2 * PART - 10]);
    stale.write(wrong).await.unwrap();

    let mut writer = other.writer(key, &known).await.unwrap();
    writer.write(bytes.slice(PART + 10..)).await.unwrap();
    let progress = writer.pause().await.unwrap();
    // The stale one is late: it sends its parts over those that are recorded.
    stale.pause().await.unwrap();
    let outcome = finish(&other, key, &progress, &Bytes::new()).await;
    // Either way nothing wrong is stored: the object is whole, or the client begins again.
    match outcome {
        Ok(()) => assert_holds(&other, key, &bytes).await,
        Err(error) => {
            assert!(matches!(error, StoreError::StagingLost { .. }), "{error}");
            assert_eq!(other.size(key).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn what_one_writer_publishes_leaves_another_ones_bytes_until_it_is_settled() {
    let bucket = bucket!();
    let (one, other) = (bucket.store().await, bucket.store().await);
    let bytes = content(2 * PART + 10);
    let key = ObjectKey::random();
    let known = append(&one, key, &start(), &bytes.slice(..100))
        .await
        .unwrap();
    let mut slow = other.writer(key, &known).await.unwrap();
    let mut fast = one.writer(key, &known).await.unwrap();
    fast.write(bytes.slice(100..)).await.unwrap();
    let published = fast.finish().await.unwrap().publish().await.unwrap();
    slow.write(bytes.slice(100..)).await.unwrap();
    // Its parts are made of what the first one has made its object of.
    slow.finish().await.unwrap().publish().await.unwrap();
    assert_eq!(one.staged_keys().await.unwrap(), [key]);
    published.settle();
    let object = key.object_path();
    let deadline = Instant::now() + Duration::from_secs(60);
    while bucket.names().await != [object.clone()] {
        assert!(Instant::now() < deadline, "{:?}", bucket.names().await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_holds(&one, key, &bytes).await;
}

#[tokio::test]
async fn a_key_takes_no_second_content() {
    let bucket = bucket!();
    let (one, other) = (bucket.store().await, bucket.store().await);
    for length in [100, PART + 100] {
        let bytes = content(length);
        let key = ObjectKey::random();
        finish(&one, key, &start(), &bytes).await.unwrap();
        // The same bytes once more are what a client sends whose answer was lost.
        finish(&other, key, &start(), &bytes).await.unwrap();
        let wrong = Bytes::from(vec![b'x'; length]);
        let error = finish(&other, key, &start(), &wrong).await.unwrap_err();
        assert!(
            matches!(error, StoreError::AlreadyPublished { .. }),
            "{error}"
        );
        assert_holds(&one, key, &bytes).await;
    }
}

#[tokio::test]
async fn a_small_object_does_not_wait_for_large_parts() {
    let bucket = bucket!();
    let proxy = Proxy::to(&bucket.server.endpoint).await;
    let options = S3Options {
        endpoint: Some(proxy.url.clone()),
        parts_in_flight: 1,
        ..bucket.options()
    };
    let store = Store::s3(options).await.unwrap();
    proxy.set(Weather::HoldsLarge);
    let other = store.clone();
    let large = tokio::spawn(async move {
        append(&other, ObjectKey::random(), &start(), &content(PART + 1)).await
    });
    while proxy.harmed() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let key = ObjectKey::random();
    let small = content(1000);
    finish(&store, key, &start(), &small).await.unwrap();
    assert!(!large.is_finished(), "the large part went first");
    assert_holds(&store, key, &small).await;
    proxy.set(Weather::Fair);
    large.await.unwrap().unwrap();
}

#[tokio::test]
async fn giving_an_upload_up_leaves_neither_parts_nor_tails() {
    let bucket = bucket!();
    let store = bucket.store().await;
    let key = ObjectKey::random();
    let known = append(&store, key, &start(), &content(2 * PART + 10))
        .await
        .unwrap();
    assert_eq!(bucket.unfinished_uploads().await, 1);
    // Another replica gives it up, and knows nothing but the key.
    let other = bucket.store().await;
    assert_eq!(other.staged_keys().await.unwrap(), [key]);
    other.discard_staging(key).await.unwrap();
    assert_eq!(bucket.unfinished_uploads().await, 0);
    assert_eq!(bucket.names().await, Vec::<String>::new());
    let error = finish(&store, key, &known, &content(PART))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::StagingLost { .. }), "{error}");
    store.delete(key).await.unwrap();
    assert_eq!(bucket.names().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_large_upload_can_be_hashed_by_another_algorithm_and_then_given_up() {
    let bucket = bucket!();
    let store = bucket.store().await;
    let bytes = content(PART + 10);
    for publishes in [true, false] {
        let key = ObjectKey::random();
        let mut writer = store.writer(key, &start()).await.unwrap();
        writer.write(bytes.clone()).await.unwrap();
        let staged = writer.finish().await.unwrap();
        assert_eq!(staged.digest(), digest(&bytes));
        let again = staged.rehash(crate::support::SHA512).await.unwrap();
        assert_eq!(
            again,
            berth_storage::Digest::of(crate::support::SHA512, &bytes)
        );
        if publishes {
            staged.publish().await.unwrap();
            assert_holds(&store, key, &bytes).await;
        } else {
            staged.discard().await.unwrap();
            assert_eq!(store.size(key).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn an_object_that_is_shorter_than_it_should_be_is_an_error() {
    let bucket = bucket!();
    let store = bucket.store().await;
    let key = put(&store, &content(600_000)).await.unwrap();
    let object = Path::parse(format!("{}/{}", bucket.prefix, key.object_path())).unwrap();
    bucket
        .client()
        .put(&object, PutPayload::from_static(b"short"))
        .await
        .unwrap();
    let error = store.read(key, 0..600_000).await.err().unwrap();
    assert!(
        matches!(error, StoreError::OutOfRange { size_bytes: 5, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_redirect_gives_ranges_until_it_expires() {
    let bucket = bucket!();
    let options = S3Options {
        redirect_endpoint: Some(bucket.server.endpoint.replace("127.0.0.1", "localhost")),
        ..bucket.options()
    };
    let store = Store::s3(options).await.unwrap();
    let bytes = content(1000);
    let key = put(&store, &bytes).await.unwrap();
    let url = store
        .redirect_url(key, Duration::from_secs(60))
        .await
        .unwrap()
        .unwrap();
    assert!(url.starts_with("http://localhost:"), "{url}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .get(&url)
        .header("range", "bytes=10-19")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 206);
    assert_eq!(answer.bytes().await.unwrap(), bytes.slice(10..20));
    let other = url.replace(&key.to_string(), &ObjectKey::random().to_string());
    assert_eq!(client.get(other).send().await.unwrap().status(), 403);
    let expired = store
        .redirect_url(key, Duration::from_secs(0))
        .await
        .unwrap()
        .unwrap();
    let refused = client.get(expired).send().await.unwrap().status();
    assert!(refused.is_client_error(), "{refused}");
}

#[tokio::test]
async fn a_start_says_what_is_wrong_and_which_setting_to_look_at() {
    let bucket = bucket!();
    let right = || S3Options {
        retries: 0,
        request_timeout: Duration::from_secs(10),
        ..bucket.options()
    };
    let key = |id: &str, secret: &str| S3Credentials::Key {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
    };
    let S3Credentials::Key { access_key_id, .. } = right().credentials else {
        panic!("tests have a key");
    };
    let wrong_secret = "f".repeat(64);
    let cases = [
        (
            S3Options {
                credentials: key("GKffffffffffffffffffffffff", &wrong_secret),
                ..right()
            },
            "storage.s3.access_key_id",
        ),
        (
            S3Options {
                credentials: key(&access_key_id, &wrong_secret),
                ..right()
            },
            "secret_access_key",
        ),
        (
            S3Options {
                bucket: String::from("no-such-bucket"),
                ..right()
            },
            "no-such-bucket",
        ),
        (
            S3Options {
                region: String::from("eu-west-1"),
                ..right()
            },
            "set storage.s3.region = \"garage\"",
        ),
        (
            S3Options {
                endpoint: Some(String::from("http://127.0.0.1:1")),
                ..right()
            },
            "http://127.0.0.1:1 cannot be reached",
        ),
        (
            S3Options {
                endpoint: Some(bucket.server.endpoint.replace("http", "https")),
                ..right()
            },
            "cannot be reached",
        ),
        (
            S3Options {
                allow_http: false,
                ..right()
            },
            "allow_http",
        ),
    ];
    for (options, expected) in cases {
        let error = Store::s3(options).await.err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unusable { .. }), "{text}");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains(&wrong_secret), "{text}");
    }
}
