//! What an upload keeps in the bucket until it is an object.
//!
//! Owns the names below `staging/<uuid>/`. Each is drawn anew, so that of two writers of one upload neither writes over
//! what the other one has recorded.

use futures_util::{TryStreamExt, stream};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutPayload};
use uuid::Uuid;

use super::progress::Tail;
use super::{S3Store, failed, trouble};
use crate::error::StoreError;
use crate::key::{ObjectKey, STAGING};
use crate::listing::under;
use crate::local::STAGED_KEYS_LIMIT;

/// What the name of a note starts with: an object whose content is the id of a multipart upload.
const NOTE: &str = "multipart-";
/// What the name of a tail starts with.
const TAIL: &str = "tail-";
/// The longest id of a multipart upload that is believed.
const MAX_ID_BYTES: u64 = 4096;
/// Objects that are removed at one time.
const REMOVED_AT_ONCE: usize = 16;

impl S3Store {
    /// Begins a multipart upload of the object. The note that names it comes before its first byte, so that whoever
    /// gives the key up, on any replica, finds what to abort.
    pub(super) async fn begin_multipart(&self, key: ObjectKey) -> Result<String, StoreError> {
        let object = self.object(key);
        let begun = self.client.create_multipart(&object).await;
        let id = begun
            .map_err(|error| failed("begin a multipart upload of", key.object_path(), error))?;
        let note = self.staged(key, &new_name(NOTE));
        let written = self.client.put(&note, PutPayload::from(id.clone())).await;
        if let Err(error) = written {
            // Nobody would find it again. It has no bytes yet.
            self.abort(&object, &id).await?;
            return Err(failed("write", note.to_string(), error));
        }
        Ok(id)
    }

    /// Keeps bytes for the next request.
    pub(super) async fn put_tail(
        &self,
        key: ObjectKey,
        bytes: bytes::Bytes,
    ) -> Result<Tail, StoreError> {
        let tail = Tail {
            name: new_name(TAIL),
            bytes: bytes.len() as u64,
            spent: Vec::new(),
        };
        let path = self.staged(key, &tail.name);
        self.client
            .put(&path, PutPayload::from_bytes(bytes))
            .await
            .map_err(|error| failed("write", path.to_string(), error))?;
        Ok(tail)
    }

    /// Gives up whatever uploads of this object have left: multipart uploads first, by their notes, then what names
    /// them.
    pub(crate) async fn discard_staging(&self, key: ObjectKey) -> Result<(), StoreError> {
        let paths = self.paths_below(&self.staging_folder(key)).await?;
        let object = self.object(key);
        for note in paths.iter().filter(|path| is_named(path, NOTE)) {
            let read = |error| failed("read", note.to_string(), error);
            let content = match self.client.get(note).await {
                Ok(content) if content.meta.size <= MAX_ID_BYTES => {
                    content.bytes().await.map_err(read)?
                }
                Ok(_) | Err(Error::NotFound { .. }) => continue,
                Err(error) => return Err(read(error)),
            };
            self.abort(&object, &String::from_utf8_lossy(&content))
                .await?;
        }
        self.remove_all(paths).await
    }

    /// Removes what an upload no longer needs, by name.
    pub(super) async fn remove_staged(
        &self,
        key: ObjectKey,
        names: &[String],
    ) -> Result<(), StoreError> {
        let paths = names.iter().map(|name| self.staged(key, name));
        self.remove_all(paths.collect()).await
    }

    async fn remove_all(&self, paths: Vec<Path>) -> Result<(), StoreError> {
        stream::iter(paths.into_iter().map(Ok))
            .try_for_each_concurrent(REMOVED_AT_ONCE, async |path| self.remove(&path).await)
            .await
    }

    /// Aborts a multipart upload; that it has ended is fine.
    async fn abort(&self, object: &Path, id: &str) -> Result<(), StoreError> {
        match self.client.abort_multipart(object, &id.to_owned()).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) if trouble(&error).is_code(&["NoSuchUpload"]) => Ok(()),
            Err(error) => Err(failed(
                "abort the multipart upload of",
                object.to_string(),
                error,
            )),
        }
    }

    pub(crate) async fn staged_keys(&self) -> Result<Vec<ObjectKey>, StoreError> {
        use object_store::ObjectStore;

        let folder = under(&self.root, STAGING);
        let mut keys: Vec<ObjectKey> = Vec::new();
        let mut listing = self.client.list(Some(&folder));
        while keys.len() < STAGED_KEYS_LIMIT {
            let listed = listing.try_next().await;
            let Some(object) = listed.map_err(|error| failed("list", STAGING, error))? else {
                break;
            };
            let mut below = object.location.prefix_match(&folder).into_iter().flatten();
            let key = below.next().and_then(|name| name.as_ref().parse().ok());
            keys.extend(key.filter(|key| keys.last() != Some(key)));
        }
        Ok(keys)
    }

    pub(super) fn staged(&self, key: ObjectKey, name: &str) -> Path {
        under(&self.root, &format!("{}/{name}", key.staging_path()))
    }

    fn staging_folder(&self, key: ObjectKey) -> Path {
        under(&self.root, &key.staging_path())
    }
}

fn new_name(kind: &str) -> String {
    format!("{kind}{}", Uuid::new_v4())
}

fn is_named(path: &Path, kind: &str) -> bool {
    path.filename().is_some_and(|name| name.starts_with(kind))
}
