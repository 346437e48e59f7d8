//! Work on an installation without its server: the ways in when keys are lost, or a server is not to be trusted.
//!
//! An embedded installation must be stopped: its lock is taken. Servers that run on a PostgreSQL database notice within
//! seconds.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{auth_options, own};
use crate::auth::{self, SecretText};
use crate::clock::Clock;
use crate::config::{Config, DatabaseLocation};
use crate::metadata::{Metadata, MetadataOptions};
use crate::telemetry::Metrics;
use crate::tenancy::Tenancy;

/// An installation in hands.
struct Installation {
    metadata: Metadata,
    _owner: Option<File>,
}

impl Installation {
    async fn take(config: &Config) -> anyhow::Result<Self> {
        let owner = match config.database_location() {
            DatabaseLocation::Postgres(_) => None,
            DatabaseLocation::Sqlite(file) => {
                let data_dir = &config.server.data_dir;
                anyhow::ensure!(
                    file.exists(),
                    "there is no installation in {}: name its folder by --data-dir, or its configuration by --config",
                    data_dir.display()
                );
                Some(own(data_dir)?)
            }
        };
        let metadata = Metadata::open(&MetadataOptions::of(
            config,
            Metrics::new()?.database_latency(),
        ))
        .await
        .context("the database cannot be opened")?;
        Ok(Self {
            metadata,
            _owner: owner,
        })
    }

    /// Gives it back in order, also when the work failed.
    async fn give_back<T, E>(self, done: Result<T, E>) -> anyhow::Result<T>
    where
        anyhow::Error: From<E>,
    {
        self.metadata.close().await;
        Ok(done?)
    }
}

/// Ends every operator key and writes a new one to `file`, `operator.key` in the data folder unless another one is
/// named; which file it was.
pub async fn reset_operator_keys(
    config: &Config,
    file: Option<&Path>,
    clock: Clock,
) -> anyhow::Result<PathBuf> {
    let installation = Installation::take(config).await?;
    let file = file.map_or_else(
        || config.server.data_dir.join("operator.key"),
        Path::to_owned,
    );
    let tenancy = Tenancy::new(installation.metadata.clone(), clock);
    let done = tenancy.reset_operator_keys(&file).await;
    installation.give_back(done).await?;
    Ok(file)
}

/// Ends every signing key, with all credentials and access tokens, and makes new ones.
pub async fn reset_signing_keys(config: &Config, clock: Clock) -> anyhow::Result<()> {
    let options = auth_options(config, &clock)?;
    let installation = Installation::take(config).await?;
    let done = auth::reset_signing_keys(&options, &installation.metadata, &clock).await;
    installation.give_back(done).await
}

/// Wraps the signing keys of a PostgreSQL database by the configured secret, which `previous` did until now; how many
/// there are.
pub async fn rewrap_signing_keys(config: &Config, previous: String) -> anyhow::Result<usize> {
    let options = auth_options(config, &Clock::System)?;
    let installation = Installation::take(config).await?;
    let previous = SecretText::new(previous);
    let done = auth::rewrap_signing_keys(&options, &installation.metadata, &previous).await;
    installation.give_back(done).await
}
