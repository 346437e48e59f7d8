//! From a finished upload to an object.
//!
//! Owns the last step, and what is done when its answer is lost: a completed multipart upload cannot be completed
//! again, and an object that is there already is no failure if it has the right bytes. So before an error is given the
//! key is looked at, and what lies there is hashed. That also heals what another process did before it ended.

use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::{Error, ObjectStore, PutMode, PutOptions, PutPayload};

use super::{RemoteReader, S3Store, S3Upload, failed, trouble};
use crate::digest::Digest;
use crate::error::StoreError;
use crate::hasher::Hasher;
use crate::read::ObjectReader;
use crate::store::hash_all;
use crate::testing::Faults;

/// What a store says when parts are not what they were, or when their upload has ended.
const PARTS_LOST: [&str; 4] = [
    "InvalidPart",
    "InvalidPartOrder",
    "NoSuchUpload",
    "NoSuchKey",
];

/// How often a store may refuse to make an object that is not there.
const MAX_REFUSALS: u32 = 4;

impl S3Upload {
    /// Makes the object. Once this returns, it is there as a whole. Doing it again is fine.
    pub(crate) async fn publish(
        &mut self,
        digest: Digest,
        size_bytes: u64,
    ) -> Result<(), StoreError> {
        if self.completed {
            return Ok(());
        }
        let made = self.make(size_bytes).await;
        if let Err(error) = made {
            self.heal(error, digest, size_bytes).await?;
        }
        self.completed = true;
        Ok(())
    }

    async fn make(&mut self, size_bytes: u64) -> Result<(), StoreError> {
        let permit = self.store.permit(&self.last).await;
        self.lease.check()?;
        let last = self.store.load(self.key, &self.last).await?;
        let Some(upload_id) = self.upload_id.clone() else {
            return self.put_whole(last).await;
        };
        self.check_number(self.parts.len())?;
        // A number that a request before this one may have sent: what counts is the entity tag.
        let tag = self
            .store
            .put_part(self.key, &upload_id, self.parts.len(), last)
            .await?;
        drop(permit);
        let tags = self.parts.iter().chain([&tag]);
        let parts = tags
            .map(|tag| PartId {
                content_id: tag.clone(),
            })
            .collect();
        // No condition goes with this request: an object that another process has made of the upload stays as it is.
        self.check_absent().await?;
        let object = self.store.object(self.key);
        let completed = self
            .store
            .client
            .complete_multipart(&object, &upload_id.to_string(), parts)
            .await;
        match completed {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(error, Error::NotFound { .. })
                    || trouble(&error).is_code(&PARTS_LOST) =>
            {
                Err(StoreError::StagingLost {
                    key: self.key,
                    expected: size_bytes,
                    found: None,
                })
            }
            Err(error) => Err(failed("complete", self.key.object_path(), error)),
        }
    }

    /// Puts an object of one part. A store also refuses because it is busy with another condition on the key: only one
    /// that is there is taken for a refusal.
    async fn put_whole(&self, bytes: Bytes) -> Result<(), StoreError> {
        let mut refusals = 0;
        while let Err(refused) = self.put_once(bytes.clone()).await? {
            self.check_absent().await?;
            refusals += 1;
            if refusals == MAX_REFUSALS {
                return Err(StoreError::Unavailable {
                    action: "write",
                    path: self.key.object_path(),
                    source: Box::new(refused),
                });
            }
        }
        Ok(())
    }

    /// `Ok(Err(_))` is a refusal because of what is there, or comes to be at this moment.
    async fn put_once(&self, bytes: Bytes) -> Result<Result<(), Error>, StoreError> {
        let mode = if self.store.creates() {
            PutMode::Create
        } else {
            self.check_absent().await?;
            PutMode::Overwrite
        };
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        let object = self.store.object(self.key);
        let payload = PutPayload::from_bytes(bytes);
        match self.store.client.put_opts(&object, payload, options).await {
            Ok(_) => Ok(Ok(())),
            Err(refused @ Error::AlreadyExists { .. }) => Ok(Err(refused)),
            Err(error) => Err(failed("write", self.key.object_path(), error)),
        }
    }

    async fn check_absent(&self) -> Result<(), StoreError> {
        match self.store.size(self.key).await? {
            None => Ok(()),
            Some(_) => Err(StoreError::AlreadyPublished { key: self.key }),
        }
    }

    /// Whether the object is there nevertheless: then the error is none.
    async fn heal(
        &self,
        error: StoreError,
        digest: Digest,
        size_bytes: u64,
    ) -> Result<(), StoreError> {
        if matches!(error, StoreError::Superseded { .. }) {
            return Err(error);
        }
        match self.store.size(self.key).await {
            Ok(None) => Err(error),
            Ok(Some(found)) => {
                let is_it = found == size_bytes
                    && self.store.digest_of(self.key, size_bytes, digest).await? == digest;
                if is_it {
                    Ok(())
                } else {
                    Err(StoreError::AlreadyPublished { key: self.key })
                }
            }
            // The first error says more.
            Err(_) => Err(error),
        }
    }

    /// Hashes all bytes again. Those of a multipart upload can only be read as an object, so it is completed first;
    /// nobody knows the object yet.
    pub(crate) async fn rehash(
        &mut self,
        digest: Digest,
        size_bytes: u64,
        algorithm: crate::DigestAlgorithm,
    ) -> Result<Digest, StoreError> {
        if self.upload_id.is_none() && !self.completed {
            let _permit = self.store.permit(&self.last).await;
            let bytes = self.store.load(self.key, &self.last).await?;
            let mut hasher = Hasher::new(algorithm);
            hasher.update(&bytes);
            return Ok(hasher.finish());
        }
        self.publish(digest, size_bytes).await?;
        let reader = self.store.reader(self.key, size_bytes).await?;
        hash_all(reader, algorithm).await
    }

    /// Gives up what there is of the upload; its object too, if it was made and is not the right one.
    pub(crate) async fn discard(&self) -> Result<(), StoreError> {
        if self.completed {
            return self.store.delete(self.key).await;
        }
        if self.is_staged() {
            return self.store.discard_staging(self.key).await;
        }
        Ok(())
    }

    /// Lets what the object was made of go, behind the back of the caller. If that fails, whoever deletes the object
    /// does it.
    pub(crate) fn clean_up(&self) {
        if !self.is_staged() {
            return;
        }
        let (store, key) = (Arc::clone(&self.store), self.key);
        tokio::spawn(async move {
            if let Err(error) = store.discard_staging(key).await {
                tracing::warn!(%key, %error, "what an object was made of stays until the object goes");
            }
        });
    }
}

impl S3Store {
    async fn digest_of(
        self: &Arc<Self>,
        key: crate::ObjectKey,
        size_bytes: u64,
        like: Digest,
    ) -> Result<Digest, StoreError> {
        hash_all(self.reader(key, size_bytes).await?, like.algorithm()).await
    }

    async fn reader(
        self: &Arc<Self>,
        key: crate::ObjectKey,
        size_bytes: u64,
    ) -> Result<ObjectReader, StoreError> {
        let reader = RemoteReader::open(self, key, Some(0..size_bytes), Faults::default()).await?;
        Ok(ObjectReader::of_remote(reader))
    }
}
