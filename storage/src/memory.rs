//! The store in memory, for tests and for trying things out.
//!
//! Owns the maps of staging bytes and, through object_store's `InMemory`, of objects. It behaves as
//! the folder does, except that nothing survives it and that an upload costs its size in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::claim::{MARKER, claim, is_claimed};
use crate::error::StoreError;
use crate::key::{OBJECTS, ObjectKey};
use crate::listing::{ListedObject, list_page};

#[derive(Default)]
pub(crate) struct MemoryStore {
    objects: InMemory,
    staging: Mutex<HashMap<ObjectKey, SharedBuffer>>,
}

type SharedBuffer = Arc<Mutex<Vec<u8>>>;

impl MemoryStore {
    /// As in the folder: refuses a key that has its object, and cuts the bytes to `offset`.
    pub(crate) async fn open_staging(
        &self,
        key: ObjectKey,
        offset: u64,
    ) -> Result<StagingBuffer, StoreError> {
        if self.size(key).await?.is_some() {
            return Err(StoreError::AlreadyPublished { key });
        }
        let mut staging = self.staging();
        let existing = match staging.get(&key) {
            Some(buffer) => Arc::clone(buffer),
            None if offset == 0 => Arc::clone(staging.entry(key).or_default()),
            None => {
                return Err(StoreError::StagingLost {
                    key,
                    expected: offset,
                    found: None,
                });
            }
        };
        let mut buffer = lock(&existing);
        let found = buffer.len() as u64;
        if found < offset {
            return Err(StoreError::StagingLost {
                key,
                expected: offset,
                found: Some(found),
            });
        }
        // Cannot be cut wrongly: `offset` is at most the length, which is a `usize`.
        buffer.truncate(usize::try_from(offset).unwrap_or(usize::MAX));
        drop(buffer);
        Ok(StagingBuffer(existing))
    }

    pub(crate) fn staged_bytes(&self, key: ObjectKey) -> Result<Bytes, StoreError> {
        let staging = self.staging();
        let buffer = staging.get(&key).ok_or(StoreError::Missing { key })?;
        Ok(Bytes::copy_from_slice(&lock(buffer)))
    }

    pub(crate) async fn publish(&self, key: ObjectKey) -> Result<(), StoreError> {
        let bytes = self.staged_bytes(key)?;
        let create = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        self.objects
            .put_opts(&path(key), PutPayload::from_bytes(bytes), create)
            .await
            .map_err(|error| refused("publish", key, error))?;
        self.discard_staging(key);
        Ok(())
    }

    pub(crate) fn discard_staging(&self, key: ObjectKey) {
        self.staging().remove(&key);
    }

    pub(crate) async fn object_bytes(&self, key: ObjectKey) -> Result<Bytes, StoreError> {
        let failed = |error| refused("read", key, error);
        let object = self.objects.get(&path(key)).await.map_err(failed)?;
        object.bytes().await.map_err(failed)
    }

    pub(crate) async fn size(&self, key: ObjectKey) -> Result<Option<u64>, StoreError> {
        match self.objects.head(&path(key)).await {
            Ok(object) => Ok(Some(object.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(refused("inspect", key, error)),
        }
    }

    pub(crate) async fn delete(&self, key: ObjectKey) -> Result<(), StoreError> {
        match self.objects.delete(&path(key)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(refused("delete", key, error)),
        }
    }

    pub(crate) async fn list_objects(
        &self,
        after: Option<ObjectKey>,
        limit: usize,
    ) -> Result<Vec<ListedObject>, StoreError> {
        list_page(&self.objects, &Path::default(), after, limit)
            .await
            .map_err(|error| StoreError::from_store("list", OBJECTS, error))
    }

    pub(crate) async fn claim(&self, installation_id: &str) -> Result<(), StoreError> {
        claim(&self.objects, &Path::default(), installation_id)
            .await
            .unwrap_or_else(|error| Err(StoreError::from_store("write", MARKER, error)))
    }

    pub(crate) async fn is_claimed_by(&self, installation_id: &str) -> Result<bool, StoreError> {
        is_claimed(&self.objects, &Path::default(), installation_id)
            .await
            .unwrap_or_else(|error| Err(StoreError::from_store("read", MARKER, error)))
    }

    pub(crate) fn staged_keys(&self) -> Vec<ObjectKey> {
        self.staging().keys().copied().collect()
    }

    fn staging(&self) -> MutexGuard<'_, HashMap<ObjectKey, SharedBuffer>> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The staging bytes of one key.
pub(crate) struct StagingBuffer(SharedBuffer);

impl StagingBuffer {
    pub(crate) fn append(&mut self, pieces: &[Bytes]) {
        let mut buffer = lock(&self.0);
        for piece in pieces {
            buffer.extend_from_slice(piece);
        }
    }
}

fn lock(buffer: &SharedBuffer) -> MutexGuard<'_, Vec<u8>> {
    buffer.lock().unwrap_or_else(PoisonError::into_inner)
}

fn path(key: ObjectKey) -> Path {
    Path::from(key.object_path())
}

fn refused(action: &'static str, key: ObjectKey, error: Error) -> StoreError {
    match error {
        Error::NotFound { .. } => StoreError::Missing { key },
        Error::AlreadyExists { .. } => StoreError::AlreadyPublished { key },
        error => StoreError::from_store(action, key.object_path(), error),
    }
}
