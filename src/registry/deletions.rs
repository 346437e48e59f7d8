//! Deleting tags, manifests and blobs: reads answer 404 at once, nothing in use goes, everything can be undone.

use berth_storage::Digest;

use super::{Registry, RegistryError};
use crate::auth::{Delete, Granted};
use crate::metadata::{DeletionKind, Lock, NewDeletion, Repository, TagChange, Transaction};
use crate::oci::Reference;
use crate::oci::Tag;
use crate::retries::{to_the_end, with_retries};

/// Holders named in a refusal at most.
const HOLDERS_NAMED: u32 = 5;

impl Registry {
    /// Deletes a tag, or a manifest together with the tags that point at it.
    pub async fn delete_manifest(
        &self,
        granted: &Granted<Delete>,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        let (this, granted, reference) = (self.clone(), granted.clone(), reference.clone());
        to_the_end(async move {
            with_retries!(match &reference {
                Reference::Tag(tag) => this.delete_tag_once(&granted, tag).await,
                Reference::Digest(digest) => this.delete_manifest_once(&granted, digest).await,
            })
        })
        .await
    }

    /// Deletes a blob's membership of this repository.
    pub async fn delete_blob(
        &self,
        granted: &Granted<Delete>,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let (this, granted, digest) = (self.clone(), granted.clone(), *digest);
        to_the_end(async move { with_retries!(this.delete_blob_once(&granted, &digest).await) })
            .await
    }

    async fn delete_tag_once(
        &self,
        granted: &Granted<Delete>,
        tag: &Tag,
    ) -> Result<(), RegistryError> {
        let (mut change, repository) = self.begin_deletion(granted).await?;
        let deletion = self
            .open_deletion(&mut change, granted, DeletionKind::Tag, tag.as_str())
            .await?;
        let tag_change = TagChange {
            repository: repository.id,
            tag,
            actor: granted.actor(),
            now: self.clock.now(),
        };
        if !change.remove_tag(&tag_change, &deletion).await? {
            return Err(RegistryError::ManifestUnknown(Reference::Tag(tag.clone())));
        }
        Ok(change.commit().await?)
    }

    async fn delete_manifest_once(
        &self,
        granted: &Granted<Delete>,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let (mut change, repository) = self.begin_deletion(granted).await?;
        if change.manifest(repository.id, digest).await?.is_none() {
            return Err(RegistryError::ManifestUnknown(Reference::Digest(*digest)));
        }
        let indexes = change
            .indexes_of(repository.id, digest, HOLDERS_NAMED)
            .await?;
        if !indexes.is_empty() {
            return Err(RegistryError::InUse {
                what: format!("manifest {digest}"),
                holders: format!(
                    "it is a child of the index {}; delete that first",
                    listed(&indexes)
                ),
            });
        }
        let now = self.clock.now();
        let deletion = self
            .open_deletion(
                &mut change,
                granted,
                DeletionKind::Manifest,
                &digest.to_string(),
            )
            .await?;
        change
            .remove_tags_of(repository.id, digest, granted.actor(), now, &deletion)
            .await?;
        change
            .remove_manifest(repository.id, digest, &deletion, now)
            .await?;
        Ok(change.commit().await?)
    }

    async fn delete_blob_once(
        &self,
        granted: &Granted<Delete>,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let (mut change, repository) = self.begin_deletion(granted).await?;
        let deletion = self
            .open_deletion(
                &mut change,
                granted,
                DeletionKind::Blob,
                &digest.to_string(),
            )
            .await?;
        if !change.remove_link(repository.id, digest, &deletion).await? {
            return Err(RegistryError::BlobUnknown(*digest));
        }
        let manifests = change
            .manifests_needing_blob(repository.id, digest, HOLDERS_NAMED)
            .await?;
        if !manifests.is_empty() {
            return Err(RegistryError::InUse {
                what: format!("blob {digest}"),
                holders: format!(
                    "the manifest {} needs it; delete that first",
                    listed(&manifests)
                ),
            });
        }
        Ok(change.commit().await?)
    }

    async fn begin_deletion(
        &self,
        granted: &Granted<Delete>,
    ) -> Result<(Transaction, Repository), RegistryError> {
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, self.clock.now()).await?;
        let repository = change
            .repository(granted.repository())
            .await?
            .ok_or_else(|| RegistryError::NameUnknown(granted.repository().clone()))?;
        change.lock(repository.id, Lock::Exclusive).await?;
        Ok((change, repository))
    }

    async fn open_deletion(
        &self,
        change: &mut Transaction,
        granted: &Granted<Delete>,
        kind: DeletionKind,
        subject: &str,
    ) -> Result<String, RegistryError> {
        let now = self.clock.now();
        Ok(change
            .open_deletion(&NewDeletion {
                workspace_id: granted.workspace_id(),
                repository: granted.repository(),
                kind,
                subject,
                actor: granted.actor(),
                now,
                restorable_until: now.plus(self.limits.undo_window_ms),
            })
            .await?)
    }
}

fn listed(digests: &[Digest]) -> String {
    digests
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
