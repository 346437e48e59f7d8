//! What ends by itself: uploads that nobody uses, objects that nothing needs.
//!
//! Work comes from rows with due times, in small batches; nothing walks the store. The windows of retention and link
//! grace join here.

use std::collections::HashSet;
use std::time::Duration;

use berth_storage::{ObjectKey, Store, StoreError};
use tokio::sync::watch;

use crate::clock::{Clock, milliseconds};
use crate::config::{Config, DatabaseLocation};
use crate::images::{Images, RequestError};
use crate::metadata::{Metadata, MetadataError};
use crate::registry::{Registry, RegistryError};

/// How often due work is looked for.
const INTERVAL: Duration = Duration::from_secs(30);
/// Rows taken at once.
const BATCH: u32 = 100;
/// When an object that could not be deleted is tried again, in milliseconds.
const RETRY_MS: i64 = 60 * 60 * 1000;
/// How long a finished upload answers the same PUT again, in milliseconds.
const DONE_UPLOAD_MS: i64 = 60 * 60 * 1000;

/// Why a round of collecting was not finished.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Uploads or objects could not be collected.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Deletions, shares or leases could not be.
    #[error(transparent)]
    Images(#[from] RequestError),
    /// The database said no.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// The worker.
pub struct Collector {
    registry: Registry,
    images: Images,
    metadata: Metadata,
    store: Store,
    clock: Clock,
    upload_idle_ms: i64,
    sole_owner: bool,
}

impl Collector {
    /// A worker for one installation.
    #[must_use]
    pub fn new(
        registry: Registry,
        images: Images,
        metadata: Metadata,
        store: Store,
        clock: Clock,
        config: &Config,
    ) -> Self {
        Self {
            registry,
            images,
            metadata,
            store,
            clock,
            upload_idle_ms: milliseconds(config.limits.upload_idle_seconds),
            sole_owner: matches!(config.database_location(), DatabaseLocation::Sqlite(_)),
        }
    }

    /// Gives up what an earlier run left half written. Only the sole owner of a database may take everything without
    /// a session; elsewhere another process may still be writing it.
    pub async fn sweep(&self) -> Result<(), RegistryError> {
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        change.doom_abandoned_objects(self.sole_owner, now).await?;
        change.commit().await?;
        if self.sole_owner {
            let sessions: HashSet<_> = self
                .metadata
                .upload_object_keys()
                .await?
                .into_iter()
                .collect();
            for key in self.store.staged_keys().await? {
                if !sessions.contains(&key)
                    && let Err(error) = self.store.discard_staging(key).await
                {
                    tracing::warn!(%key, error = %error, "bytes that nobody knows stay in the staging folder");
                }
            }
        }
        Ok(())
    }

    /// Works until `stop` says so.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                _ = interval.tick() => {}
            }
            if let Err(error) = self.round().await {
                tracing::warn!(error = %error, "collecting will be tried again");
            }
        }
    }

    /// Does what is due now.
    pub async fn round(&self) -> Result<(), CollectError> {
        self.images.collect(BATCH).await?;
        while self
            .registry
            .expire_uploads(self.upload_idle_ms, DONE_UPLOAD_MS, BATCH)
            .await?
            == BATCH as usize
        {}
        let now = self.clock.now();
        let mut change = self.metadata.begin().await?;
        change.doom_abandoned_objects(false, now).await?;
        change.commit().await?;
        Ok(self.delete_objects().await?)
    }

    async fn delete_object(&self, key: ObjectKey) -> Result<(), StoreError> {
        self.store.discard_staging(key).await?;
        self.store.delete(key).await
    }

    /// Deletes doomed objects: bytes first, then the row, so that nothing is forgotten that still takes space.
    async fn delete_objects(&self) -> Result<(), RegistryError> {
        loop {
            let due = self.metadata.due_objects(self.clock.now(), BATCH).await?;
            for object in &due {
                let deleted = self.delete_object(object.key).await;
                let mut change = self.metadata.begin().await?;
                match deleted {
                    Ok(()) => change.forget_object(object.key).await?,
                    Err(error) => {
                        tracing::warn!(key = %object.key, error = %error, "an object could not be deleted; later again");
                        let later = self.clock.now().plus(RETRY_MS);
                        change.doom_object(object.key, later).await?;
                    }
                }
                change.commit().await?;
            }
            if due.len() < BATCH as usize {
                return Ok(());
            }
        }
    }
}
