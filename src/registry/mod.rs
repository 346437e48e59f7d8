//! The use-cases of the distribution API: what a push, a pull and a delete mean.
//!
//! Each takes a [`Granted`](crate::auth::Granted) in place of a repository name, so that a forgotten check does not
//! compile. Nothing here knows HTTP; the rows are `metadata`'s, the bytes `berth_storage`'s.

mod blobs;
mod completing;
mod error;
mod heartbeat;
mod keys;
mod manifests;
mod platforms;
mod referrers;
mod tags;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use berth_storage::Store;

pub use blobs::Blob;
pub use completing::Completion;
pub use error::RegistryError;
pub use manifests::{PulledManifest, PushedManifest};
pub use referrers::Referrers;
pub use tags::{CatalogPage, Listing};
pub use uploads::{Body, Chunk, ChunkError};

use crate::clock::Clock;
use crate::metadata::{Metadata, Repository};
use crate::oci::RepositoryName;
use crate::telemetry::StorageLatency;
use keys::RecordedKeys;

/// What the use-cases may take and keep.
#[derive(Clone, Debug)]
pub struct RegistryLimits {
    /// Open upload sessions of one workspace.
    pub open_uploads_per_workspace: u64,
    /// A blob that is pushed under another algorithm than its session began with is read once more up to this size.
    pub rehash_bytes: u64,
    /// Tag parameters of one manifest push.
    pub tag_parameters: usize,
    /// How often a request that writes to a session says so, where several servers share the database.
    pub heartbeat: Duration,
}

/// The distribution API's use-cases. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    metadata: Metadata,
    store: Store,
    clock: Clock,
    limits: Arc<RegistryLimits>,
    keys: Arc<RecordedKeys>,
    latency: StorageLatency,
}

impl Registry {
    /// Puts the use-cases on top of a database and a store.
    #[must_use]
    pub fn new(
        metadata: Metadata,
        store: Store,
        clock: Clock,
        limits: RegistryLimits,
        latency: StorageLatency,
    ) -> Self {
        Self {
            metadata,
            store,
            clock,
            limits: Arc::new(limits),
            keys: Arc::default(),
            latency,
        }
    }

    /// The repository, or the error that says that there is none.
    async fn repository(&self, name: &RepositoryName) -> Result<Repository, RegistryError> {
        self.metadata
            .repository(name)
            .await?
            .ok_or_else(|| RegistryError::NameUnknown(name.clone()))
    }
}

/// The repository, unless the name that it was found by is an alias: that can only be pulled.
fn writable(repository: Repository, name: &RepositoryName) -> Result<Repository, RegistryError> {
    if repository.share_id.is_some() {
        return Err(RegistryError::SharedAlias {
            alias: name.clone(),
            source_name: repository.name,
        });
    }
    Ok(repository)
}
