//! The database of an installation: opening it for a server, and bringing its schema up to date without one.

use std::fs::File;

use anyhow::Context as _;

use super::own;
use crate::config::{Config, DatabaseLocation};
use crate::metadata::{Metadata, MetadataOptions, Migrated};
use crate::telemetry::{DatabaseLatency, Metrics};

/// Opens the database that a configuration names.
pub(super) async fn open(config: &Config, latency: DatabaseLatency) -> anyhow::Result<Metadata> {
    Metadata::open(&MetadataOptions::of(config, latency))
        .await
        .with_context(|| cannot_open(config))
}

/// Brings the schema of a database up to date, whatever `database.migrate` says, and does nothing else with it. An
/// embedded installation must be stopped; replicas may go on as long as the new schema lets them.
pub async fn migrate(config: &Config) -> anyhow::Result<Migrated> {
    let _owner = owner(config)?;
    let options = MetadataOptions::of(config, Metrics::new()?.database_latency());
    Metadata::migrate(&options)
        .await
        .with_context(|| cannot_open(config))
}

/// The lock of an embedded installation.
fn owner(config: &Config) -> anyhow::Result<Option<File>> {
    match config.database_location() {
        DatabaseLocation::Sqlite(_) => Ok(Some(own(&config.server.data_dir)?)),
        DatabaseLocation::Postgres(_) => Ok(None),
    }
}

/// The URL is shown without its password.
pub(super) fn cannot_open(config: &Config) -> String {
    match config.database_location() {
        DatabaseLocation::Sqlite(path) => {
            format!("the database {} cannot be opened", path.display())
        }
        DatabaseLocation::Postgres(url) => format!("the database {url} cannot be opened"),
    }
}
