//! A bucket that is hard to reach: in bounded time an error that may pass, nothing wrong stored, and all is well again
//! when the weather is.

use std::time::{Duration, Instant};

use berth_storage::{MIN_PART_BYTES, ObjectKey, S3Options, Store, StoreError};
use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::bucket::Bucket;
use crate::proxy::{Proxy, Weather};
use crate::support::{append, content, put, read_all, start};

const PART: usize = MIN_PART_BYTES as usize;
/// Of a request of the impatient store.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Of each thing that fails there, which takes a few such times.
const BOUND: Duration = Duration::from_secs(60);

struct Scene {
    bucket: Bucket,
    proxy: Proxy,
    /// For all that must succeed: it waits for longer than any request takes.
    store: Store,
}

impl Scene {
    async fn set() -> Option<Self> {
        Self::under(Weather::Fair).await
    }

    async fn under(weather: Weather) -> Option<Self> {
        let bucket = Bucket::own()?;
        let proxy = Proxy::to(&bucket.server.endpoint).await;
        proxy.set(weather);
        let store = Store::s3(options(&bucket, &proxy)).await.unwrap();
        Some(Self {
            bucket,
            proxy,
            store,
        })
    }

    /// Another store on the same way to the bucket, for what must fail: it does so soon.
    async fn impatient(&self) -> Store {
        at_last(async || {
            let options = S3Options {
                request_timeout: TIMEOUT,
                ..options(&self.bucket, &self.proxy)
            };
            Store::s3(options).await
        })
        .await
    }
}

fn options(bucket: &Bucket, proxy: &Proxy) -> S3Options {
    S3Options {
        endpoint: Some(proxy.url.clone()),
        retries: 1,
        ..bucket.options()
    }
}

/// What an impatient store does in fair weather: on a slow machine it may have to try several times.
async fn at_last<T>(mut attempt: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(begun.elapsed() < BOUND, "{error}"),
        }
    }
}

#[tokio::test]
async fn a_store_that_falls_silent_or_is_cut_off_is_unavailable_and_comes_back() {
    let Some(scene) = Scene::set().await else {
        return;
    };
    let impatient = scene.impatient().await;
    let bytes = content(PART + 100);
    let kept = put(&scene.store, &bytes).await.unwrap();
    for weather in [Weather::Silent, Weather::Cut] {
        let key = ObjectKey::random();
        let known = append(&scene.store, key, &start(), &bytes.slice(..100))
            .await
            .unwrap();
        scene.proxy.set(weather);
        let begun = Instant::now();
        let errors = [
            put(&impatient, &bytes).await.unwrap_err(),
            put(&impatient, &content(10)).await.unwrap_err(),
            append(&impatient, key, &known, &bytes.slice(100..))
                .await
                .unwrap_err(),
            impatient.read(kept, 0..100).await.err().unwrap(),
            impatient.size(kept).await.unwrap_err(),
            impatient.delete(kept).await.unwrap_err(),
        ];
        for error in errors {
            assert!(
                matches!(error, StoreError::Unavailable { .. }),
                "{weather:?}: {error:?}"
            );
        }
        assert!(begun.elapsed() < 6 * BOUND, "{:?}", begun.elapsed());
        scene.proxy.set(Weather::Fair);
        // Whether the object is there does not matter: its deletion may have got through late.
        at_last(async || impatient.size(kept).await).await;
        let progress = append(&scene.store, key, &known, &bytes.slice(100..))
            .await
            .unwrap();
        let writer = scene.store.writer(key, &progress).await.unwrap();
        writer.finish().await.unwrap().publish().await.unwrap();
        let read = read_all(&scene.store, key, bytes.len() as u64)
            .await
            .unwrap();
        assert!(read == bytes);
    }
    assert!(scene.proxy.harmed() > 0);
}

#[tokio::test]
async fn readiness_notices_a_store_that_is_gone_and_that_it_is_back() {
    let Some(scene) = Scene::set().await else {
        return;
    };
    scene.proxy.set(Weather::Cut);
    let error = scene.store.check_writable().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    scene.proxy.set(Weather::Fair);
    scene.store.check_writable().await.unwrap();
}

#[tokio::test]
async fn bytes_that_changed_on_their_way_are_refused_and_not_stored() {
    let Some(scene) = Scene::set().await else {
        return;
    };
    for length in [200_000, PART + 200_000] {
        scene.proxy.set(Weather::Corrupts);
        let harmed = scene.proxy.harmed();
        let bytes = content(length);
        let key = ObjectKey::random();
        let mut writer = scene.store.writer(key, &start()).await.unwrap();
        writer.write(bytes).await.unwrap();
        let outcome = match writer.finish().await {
            Ok(staged) => staged.publish().await.map(drop),
            Err(error) => Err(error),
        };
        let error = outcome.unwrap_err();
        assert!(scene.proxy.harmed() > harmed);
        scene.proxy.set(Weather::Fair);
        assert_eq!(scene.store.size(key).await.unwrap(), None, "{error}");
    }
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on_where_it_was() {
    let Some(scene) = Scene::set().await else {
        return;
    };
    let bytes = content(3_000_000);
    let key = put(&scene.store, &bytes).await.unwrap();
    let harmed = scene.proxy.harmed();
    scene.proxy.set(Weather::CutsAnswersAfter(1_000_000));
    let read = read_all(&scene.store, key, bytes.len() as u64)
        .await
        .unwrap();
    assert!(read == bytes);
    assert!(scene.proxy.harmed() > harmed);
}

#[tokio::test]
async fn a_download_that_falls_silent_ends_with_an_error_and_not_early() {
    let Some(scene) = Scene::set().await else {
        return;
    };
    let bytes = content(30_000_000);
    let key = put(&scene.store, &bytes).await.unwrap();
    let impatient = scene.impatient().await;
    let mut reader = at_last(async || impatient.read(key, 0..30_000_000).await).await;
    let first = reader.try_next().await.unwrap().unwrap();
    assert_eq!(first, bytes.slice(..first.len()));
    scene.proxy.set(Weather::Silent);
    let begun = Instant::now();
    let rest: Result<Vec<Bytes>, StoreError> = reader.try_collect().await;
    assert!(
        matches!(rest, Err(StoreError::Unavailable { .. })),
        "{rest:?}"
    );
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_found_to_have_happened() {
    let Some(scene) = Scene::set().await else {
        return;
    };
    let bytes = content(PART + 100);
    scene.proxy.set(Weather::LosesCompletion);
    let key = put(&scene.store, &bytes).await.unwrap();
    assert!(scene.proxy.harmed() > 0);
    scene.proxy.set(Weather::Fair);
    let read = read_all(&scene.store, key, bytes.len() as u64)
        .await
        .unwrap();
    assert!(read == bytes);
    assert_eq!(scene.bucket.unfinished_uploads().await, 0);
}

#[tokio::test]
async fn a_store_that_is_busy_with_a_key_is_asked_again() {
    // Refused in its trial, a store is one that makes an object only if there is none.
    let weather = Weather::RefusesCreation { times: 1 };
    let Some(scene) = Scene::under(weather).await else {
        return;
    };
    assert_eq!(scene.proxy.harmed(), 1);
    scene.proxy.set(Weather::RefusesCreation { times: 3 });
    scene.store.claim("one").await.unwrap();
    assert_eq!(scene.proxy.harmed(), 3);
    scene.proxy.set(Weather::RefusesCreation { times: 5 });
    let bytes = content(100);
    let key = put(&scene.store, &bytes).await.unwrap();
    assert_eq!(scene.proxy.harmed(), 5);
    let read = read_all(&scene.store, key, 100).await.unwrap();
    assert!(read == bytes);
    // In the end it is the store's trouble, and not an object that is there.
    let weather = Weather::RefusesCreation { times: u64::MAX };
    scene.proxy.set(weather);
    let error = put(&scene.store, &bytes).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
}
