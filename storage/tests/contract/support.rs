//! A store of each kind, and short ways to fill it.

use berth_storage::testing::Faults;
use berth_storage::{
    Digest, DigestAlgorithm, LocalOptions, ObjectKey, Progress, Store, StoreError,
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use tempfile::TempDir;

use crate::bucket::Bucket;

pub(crate) const SHA256: DigestAlgorithm = DigestAlgorithm::Sha256;
pub(crate) const SHA512: DigestAlgorithm = DigestAlgorithm::Sha512;

/// Runs each test once per backend; on a bucket where `BERTH_TEST_S3` says where one is, as `make test` and CI do.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        mod local {
            $(#[tokio::test] async fn $test() { super::$test($crate::support::Fixture::local().await).await; })*
        }
        mod memory {
            $(#[tokio::test] async fn $test() { super::$test($crate::support::Fixture::memory()).await; })*
        }
        mod s3 {
            $(#[tokio::test] async fn $test() {
                if let Some(fixture) = $crate::support::Fixture::s3().await {
                    super::$test(fixture).await;
                }
            })*
        }
    };
}
pub(crate) use on_every_backend;

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    kind: Kind,
}

enum Kind {
    Local(TempDir),
    Memory,
    S3(Bucket),
}

impl Fixture {
    pub(crate) async fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::new();
        let store = Store::local(folder.path(), LocalOptions::default())
            .await
            .unwrap();
        Self {
            store: store.with_faults(faults.clone()),
            faults,
            kind: Kind::Local(folder),
        }
    }

    pub(crate) fn memory() -> Self {
        let faults = Faults::new();
        Self {
            store: Store::memory().with_faults(faults.clone()),
            faults,
            kind: Kind::Memory,
        }
    }

    pub(crate) async fn s3() -> Option<Self> {
        let bucket = Bucket::own()?;
        let faults = Faults::new();
        Some(Self {
            store: bucket.store().await.with_faults(faults.clone()),
            faults,
            kind: Kind::S3(bucket),
        })
    }

    /// Whether what one request leaves stays as it is, whatever another one of the same upload does.
    pub(crate) fn keeps_every_tail(&self) -> bool {
        matches!(self.kind, Kind::S3(_))
    }

    /// As after a restart, or as another replica has it; memory has none, so there it is the same store.
    pub(crate) async fn reopened(&self) -> Store {
        match &self.kind {
            Kind::Local(folder) => Store::local(folder.path(), LocalOptions::default())
                .await
                .unwrap(),
            Kind::Memory => self.store.clone(),
            Kind::S3(bucket) => bucket.store().await,
        }
    }
}

pub(crate) fn start() -> Progress {
    Progress::start(SHA256)
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::of(SHA256, bytes)
}

/// Bytes in which every position can be told from its neighbours.
pub(crate) fn content(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect()
}

/// One request: opens, writes in pieces, pauses.
pub(crate) async fn append(
    store: &Store,
    key: ObjectKey,
    progress: &Progress,
    bytes: &Bytes,
) -> Result<Progress, StoreError> {
    let mut writer = store.writer(key, progress).await?;
    for piece in pieces(bytes, 16 * 1024) {
        writer.write(piece).await?;
    }
    writer.pause().await
}

/// A whole upload; gives the key of the object.
pub(crate) async fn put(store: &Store, bytes: &Bytes) -> Result<ObjectKey, StoreError> {
    let key = ObjectKey::random();
    let mut writer = store.writer(key, &start()).await?;
    for piece in pieces(bytes, 16 * 1024) {
        writer.write(piece).await?;
    }
    writer.finish().await?.publish().await?;
    Ok(key)
}

pub(crate) async fn read_all(
    store: &Store,
    key: ObjectKey,
    length: u64,
) -> Result<Vec<u8>, StoreError> {
    let chunks: Vec<Bytes> = store.read(key, 0..length).await?.try_collect().await?;
    Ok(chunks.concat())
}

pub(crate) fn pieces(bytes: &Bytes, length: usize) -> impl Iterator<Item = Bytes> + '_ {
    (0..bytes.len())
        .step_by(length)
        .map(move |from| bytes.slice(from..bytes.len().min(from + length)))
}
