//! A store of each kind, and short ways to fill it.

use berth_storage::testing::Faults;
use berth_storage::{
    Digest, DigestAlgorithm, LocalOptions, ObjectKey, Progress, Store, StoreError,
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use tempfile::TempDir;

pub(crate) const SHA256: DigestAlgorithm = DigestAlgorithm::Sha256;
pub(crate) const SHA512: DigestAlgorithm = DigestAlgorithm::Sha512;

/// Runs each test once per backend.
macro_rules! on_every_backend {
    ($($test:ident),* $(,)?) => {
        mod local {
            $(#[tokio::test] async fn $test() { super::$test($crate::support::Fixture::local().await).await; })*
        }
        mod memory {
            $(#[tokio::test] async fn $test() { super::$test($crate::support::Fixture::memory()).await; })*
        }
    };
}
pub(crate) use on_every_backend;

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    folder: Option<TempDir>,
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
            folder: Some(folder),
        }
    }

    pub(crate) fn memory() -> Self {
        let faults = Faults::new();
        Self {
            store: Store::memory().with_faults(faults.clone()),
            faults,
            folder: None,
        }
    }

    /// As after a restart; memory has none, so there it is the same store.
    pub(crate) async fn reopened(&self) -> Store {
        match &self.folder {
            Some(folder) => Store::local(folder.path(), LocalOptions::default())
                .await
                .unwrap(),
            None => self.store.clone(),
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
