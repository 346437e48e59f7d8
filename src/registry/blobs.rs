//! Pulling blobs, and making a blob of one repository a member of another.

use std::ops::Range;
use std::time::Duration;

use berth_storage::{Digest, ObjectReader};

use super::{Registry, RegistryError, writable};
use crate::auth::{Granted, Pull, Push};
use crate::metadata::LinkedBlob;
use crate::oci::RepositoryName;
use crate::retries::{to_the_end, with_retries};

/// How long the address of a redirect is good.
const REDIRECT_LIFE: Duration = Duration::from_secs(60);
/// Repositories tried for a mount that names no source.
const MOUNT_CANDIDATES: u32 = 20;

/// A blob that this caller may read.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its address.
    pub digest: Digest,
    /// The id of the workspace that owns it, which need not be the reader's.
    pub workspace_id: String,
    linked: LinkedBlob,
}

impl Blob {
    /// How many bytes it has.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.linked.size_bytes
    }
}

impl Registry {
    /// A blob of this repository: by membership, not by knowledge of its digest.
    pub async fn blob(
        &self,
        granted: &Granted<Pull>,
        digest: &Digest,
    ) -> Result<Blob, RegistryError> {
        let repository = self.repository(granted.repository()).await?;
        let linked = self.metadata.linked_blob(repository.id, digest).await?;
        let linked = linked.ok_or(RegistryError::BlobUnknown(*digest))?;
        Ok(Blob {
            digest: *digest,
            workspace_id: repository.workspace_id,
            linked,
        })
    }

    /// The bytes of a blob.
    pub async fn read_blob(
        &self,
        blob: &Blob,
        range: Range<u64>,
    ) -> Result<ObjectReader, RegistryError> {
        let _opening = self.latency.open.start();
        Ok(self.store.read(blob.linked.object_key, range).await?)
    }

    /// A URL at which whoever has it may read the blob for a minute, if the store has one.
    pub async fn redirect_url(&self, blob: &Blob) -> Result<Option<String>, RegistryError> {
        let key = blob.linked.object_key;
        Ok(self.store.redirect_url(key, REDIRECT_LIFE).await?)
    }

    /// Where a mount that names no source may find its blob: repositories of the same workspace that hold it.
    pub async fn mount_candidates(
        &self,
        target: &Granted<Push>,
        digest: &Digest,
    ) -> Result<Vec<RepositoryName>, RegistryError> {
        Ok(self
            .metadata
            .repositories_with_blob(target.workspace_id(), digest, MOUNT_CANDIDATES)
            .await?)
    }

    /// Makes a blob of the source a member of the target. `false` when the source does not have it.
    pub async fn mount(
        &self,
        target: &Granted<Push>,
        source: &Granted<Pull>,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let Some(from) = self.metadata.repository(source.repository()).await? else {
            return Ok(false);
        };
        if self.metadata.linked_blob(from.id, digest).await?.is_none() {
            return Ok(false);
        }
        let (this, target, source, digest) =
            (self.clone(), target.clone(), source.clone(), *digest);
        to_the_end(async move { with_retries!(this.mount_once(&target, &source, &digest).await) })
            .await
    }

    async fn mount_once(
        &self,
        target: &Granted<Push>,
        source: &Granted<Pull>,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        target.confirm(&mut change, now).await?;
        source.confirm(&mut change, now).await?;
        // The source is looked at again inside the change: it may have been deleted since.
        let Some(from) = change.repository(source.repository()).await? else {
            return Ok(false);
        };
        let into = change
            .ensure_repository(target.workspace_id(), target.repository(), now)
            .await?;
        let into = writable(into, target.repository())?;
        if !change.has_link(from.id, digest).await? {
            return Ok(false);
        }
        change.link(into.id, digest, now).await?;
        change.commit().await?;
        Ok(true)
    }
}
