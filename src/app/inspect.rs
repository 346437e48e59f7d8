//! A look at an installation from beside its server, which may run or not: its database and its storage. Nothing is
//! brought up to date, nothing stays that was made, and no lock is taken.

use anyhow::Context as _;
use berth_storage::{LocalOptions, OBJECTS, Store, StoreError};

use super::database::cannot_open;
use super::store::s3_options;
use crate::config::{Config, DatabaseLocation};
use crate::metadata::{Inspection, Metadata, MetadataOptions};
use crate::telemetry::Metrics;

/// What was seen of a storage that can be written, read and deleted in.
#[derive(Debug)]
pub struct StorageSeen {
    /// The folder or the bucket.
    pub place: String,
    /// Whether it carries the mark of the installation; an error where it carries that of another one.
    pub claimed: Result<bool, StoreError>,
}

/// Looks at the database of a configuration.
pub async fn inspect_database(config: &Config) -> anyhow::Result<Inspection> {
    if let DatabaseLocation::Sqlite(path) = config.database_location() {
        let exists = tokio::fs::try_exists(&path).await?;
        anyhow::ensure!(exists, "there is no {}", path.display());
    }
    let options = MetadataOptions::of(config, Metrics::new()?.database_latency());
    Metadata::inspect(&options)
        .await
        .with_context(|| cannot_open(config))
}

/// Tries out the storage of a configuration as a start does, and reads whose it is.
pub async fn inspect_storage(
    config: &Config,
    installation_id: &str,
) -> anyhow::Result<StorageSeen> {
    let s3 = &config.storage.s3;
    let (opened, place) = match &s3.bucket {
        Some(bucket) => {
            // The spool of a server that runs is its own, and is emptied by whoever opens it.
            let spool = tempfile::tempdir().context("no folder for temporary files")?;
            let mut options = s3_options(config, s3, bucket);
            options.spool = spool.path().to_owned();
            (
                Store::s3(options).await,
                format!("bucket {bucket}/{}", s3.prefix),
            )
        }
        None => {
            let folder = config.blobs_path();
            let exists = tokio::fs::try_exists(folder.join(OBJECTS)).await;
            let exists = exists
                .with_context(|| format!("the folder {} cannot be read", folder.display()))?;
            // To open it would fill it with folders, and hide that its disk is missing.
            anyhow::ensure!(
                exists,
                "the folder {} has no {OBJECTS}/ in it: is its disk mounted?",
                folder.display()
            );
            (
                Store::local(&folder, LocalOptions::default()).await,
                folder.display().to_string(),
            )
        }
    };
    let store = opened.with_context(|| format!("the blobs in {place} cannot be used"))?;
    let claimed = store.is_claimed_by(installation_id).await;
    Ok(StorageSeen { place, claimed })
}
