//! Pushing and pulling manifests.

use std::collections::BTreeSet;

use berth_storage::{Digest, DigestAlgorithm};
use bytes::Bytes;

use super::{Registry, RegistryError, writable};
use crate::auth::{Granted, Pull, Push};
use crate::metadata::{ManifestRow, NewManifest, Repository, RepositoryId, TagChange, Transaction};
use crate::oci::{Manifest, ManifestKind, MediaType, Precondition, Reference, Tag};
use crate::retries::{to_the_end, with_retries};

/// A manifest that this caller may read; its bytes are asked for apart.
#[derive(Clone, Debug)]
pub struct PulledManifest {
    /// Where it was found.
    pub repository: RepositoryId,
    /// What a HEAD needs.
    pub row: ManifestRow,
}

/// A manifest that was stored.
#[derive(Clone, Debug)]
pub struct PushedManifest {
    /// Its address.
    pub digest: Digest,
    /// What it refers to, if it does.
    pub subject: Option<Digest>,
}

impl Registry {
    /// The manifest that a tag or digest names.
    pub async fn manifest(
        &self,
        granted: &Granted<Pull>,
        reference: &Reference,
    ) -> Result<PulledManifest, RegistryError> {
        let repository = self.repository(granted.repository()).await?;
        let unknown = || RegistryError::ManifestUnknown(reference.clone());
        let digest = match reference {
            Reference::Digest(digest) => *digest,
            Reference::Tag(tag) => self
                .metadata
                .tag(repository.id, tag)
                .await?
                .ok_or_else(unknown)?,
        };
        let row = self
            .metadata
            .manifest(repository.id, &digest)
            .await?
            .ok_or_else(unknown)?;
        Ok(PulledManifest {
            repository: repository.id,
            row,
        })
    }

    /// The exact bytes of a manifest.
    pub async fn manifest_bytes(&self, manifest: &PulledManifest) -> Result<Bytes, RegistryError> {
        let digest = manifest.row.digest;
        let bytes = self.metadata.manifest_bytes(&digest).await?;
        bytes.ok_or(RegistryError::ManifestUnknown(Reference::Digest(digest)))
    }

    /// Stores a manifest under its digest, and points the tag of the reference and `tags` at it.
    pub async fn put_manifest(
        &self,
        granted: &Granted<Push>,
        reference: &Reference,
        tags: Vec<Tag>,
        manifest: Manifest,
        precondition: Precondition,
    ) -> Result<PushedManifest, RegistryError> {
        let digest = self.check_push(reference, &tags, &manifest)?;
        let tags = match reference {
            Reference::Tag(tag) => BTreeSet::from([tag.clone()]),
            Reference::Digest(_) => tags.into_iter().collect(),
        };
        let subject = manifest.subject().map(|subject| subject.digest);
        let platforms = Box::pin(self.platforms(granted, &manifest)).await;
        let (this, granted, reference) = (self.clone(), granted.clone(), reference.clone());
        to_the_end(async move {
            let push = PendingManifest {
                digest,
                reference,
                tags,
                manifest,
                platforms,
                precondition,
            };
            with_retries!(this.put_manifest_once(&granted, &push).await)
        })
        .await?;
        Ok(PushedManifest { digest, subject })
    }

    fn check_push(
        &self,
        reference: &Reference,
        tags: &[Tag],
        manifest: &Manifest,
    ) -> Result<Digest, RegistryError> {
        let limit = self.limits.tag_parameters;
        if tags.len() > limit {
            return Err(RegistryError::TooManyTags {
                given: tags.len(),
                limit,
            });
        }
        match reference {
            Reference::Tag(_) if !tags.is_empty() => Err(RegistryError::TagsWithoutDigest),
            Reference::Tag(_) => Ok(Digest::of(DigestAlgorithm::Sha256, manifest.bytes())),
            Reference::Digest(expected) => {
                let actual = Digest::of(expected.algorithm(), manifest.bytes());
                if actual == *expected {
                    Ok(actual)
                } else {
                    Err(RegistryError::DigestMismatch {
                        expected: Box::new(*expected),
                        actual: Box::new(actual),
                    })
                }
            }
        }
    }

    async fn put_manifest_once(
        &self,
        granted: &Granted<Push>,
        push: &PendingManifest,
    ) -> Result<(), RegistryError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        granted.confirm(&mut change, now).await?;
        let repository = change
            .ensure_repository(granted.workspace_id(), granted.repository(), now)
            .await?;
        let repository = writable(repository, granted.repository())?;
        change.lock_tags(repository.id, &push.tags).await?;
        let current = match &push.reference {
            Reference::Tag(tag) => change.tag(repository.id, tag).await?,
            Reference::Digest(digest) => change
                .manifest(repository.id, digest)
                .await?
                .map(|row| row.digest),
        };
        push.precondition.check(current)?;
        let needs = needs(&mut change, &repository, &push.manifest).await?;
        change
            .put_manifest(&NewManifest {
                repository: repository.id,
                digest: push.digest,
                media_type: push.manifest.media_type().as_str(),
                bytes: push.manifest.bytes(),
                subject: push.manifest.subject().map(|subject| {
                    let artifact_type = push.manifest.artifact_type().map(MediaType::as_str);
                    (subject.digest, artifact_type, push.referrer_descriptor())
                }),
                blobs: &needs.blobs,
                children: &needs.children,
                total_bytes: needs.size_bytes + push.manifest.bytes().len() as u64,
                platforms: push.platforms.as_deref(),
                actor: granted.actor(),
                now,
            })
            .await?;
        for tag in &push.tags {
            check_immutable(&mut change, &repository, tag, &push.digest).await?;
            let tag_change = TagChange {
                repository: repository.id,
                tag,
                actor: granted.actor(),
                now,
            };
            change.put_tag(&tag_change, &push.digest).await?;
        }
        change.become_image(&repository, now).await?;
        Ok(change.commit().await?)
    }
}

/// Refuses to move a tag that is immutable; the same digest again is no move.
async fn check_immutable(
    change: &mut Transaction,
    repository: &Repository,
    tag: &Tag,
    digest: &Digest,
) -> Result<(), RegistryError> {
    if !repository.immutable_tags.hold(tag) {
        return Ok(());
    }
    match change.tag(repository.id, tag).await? {
        Some(current) if current != *digest => Err(RegistryError::ImmutableTag {
            tag: tag.clone(),
            digest: Box::new(current),
        }),
        Some(_) | None => Ok(()),
    }
}

/// A manifest on its way into the database.
struct PendingManifest {
    digest: Digest,
    reference: Reference,
    tags: BTreeSet<Tag>,
    manifest: Manifest,
    platforms: Option<Vec<String>>,
    precondition: Precondition,
}

impl PendingManifest {
    /// How the list of referrers shows this manifest.
    fn referrer_descriptor(&self) -> String {
        // A descriptor is texts and numbers: it can always be written as JSON.
        serde_json::to_string(&self.manifest.referrer_descriptor(self.digest)).unwrap_or_default()
    }
}

/// What a manifest holds on to in its repository.
struct Needs {
    blobs: BTreeSet<Digest>,
    children: BTreeSet<Digest>,
    /// What is here of them, in bytes.
    size_bytes: u64,
}

/// Checks the references of a manifest for membership.
///
/// An image needs its config and its layers, but those that may stay elsewhere. An index may be sparse: a descriptor is
/// a child whether or not its manifest is here yet; one that names a blob of the repository (as old build caches do)
/// needs that blob.
/// Children of an index that may be missing from the repository: each one costs a row, and takes the database's time
/// from everybody. Those that are there may be as many as an index can name.
const MAX_ABSENT_CHILDREN: usize = 1_000;

async fn needs(
    change: &mut Transaction,
    repository: &Repository,
    manifest: &Manifest,
) -> Result<Needs, RegistryError> {
    match manifest.kind() {
        ManifestKind::Image => {
            let named = manifest
                .config()
                .into_iter()
                .chain(manifest.layers())
                .map(|blob| blob.digest);
            let named: BTreeSet<Digest> = named.collect();
            let members = change.need_links(repository.id, &named).await?;
            let missing: BTreeSet<Digest> = manifest
                .required_blobs()
                .map(|blob| blob.digest)
                .filter(|digest| !members.contains_key(digest))
                .collect();
            if missing.is_empty() {
                Ok(Needs {
                    size_bytes: members.values().sum(),
                    blobs: members.into_keys().collect(),
                    children: BTreeSet::new(),
                })
            } else {
                Err(RegistryError::ManifestBlobUnknown(
                    missing.into_iter().collect(),
                ))
            }
        }
        ManifestKind::Index => {
            let named: BTreeSet<Digest> = manifest
                .children()
                .iter()
                .map(|child| child.digest)
                .collect();
            let present = change.present_manifests(repository.id, &named).await?;
            let absent = |digest: &Digest| !present.contains_key(digest);
            let absent: BTreeSet<Digest> = named.iter().copied().filter(absent).collect();
            let blobs = change.need_links(repository.id, &absent).await?;
            let unknown = absent.len() - blobs.len();
            if unknown > MAX_ABSENT_CHILDREN {
                return Err(RegistryError::TooManyAbsent(unknown));
            }
            let is_child = |digest: &Digest| !blobs.contains_key(digest);
            Ok(Needs {
                children: named.into_iter().filter(is_child).collect(),
                size_bytes: present.values().chain(blobs.values()).sum(),
                blobs: blobs.into_keys().collect(),
            })
        }
    }
}
