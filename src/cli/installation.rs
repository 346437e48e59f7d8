//! Commands that work on an installation itself, without its server: which one, and how they run.

use std::path::PathBuf;

use anyhow::Context as _;
use berth::config::Config;
use clap::Args;

use super::Context;

/// The flags of a command that works without a server.
#[derive(Args)]
pub(super) struct Installation {
    /// The server's configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder [default: data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
}

impl Installation {
    /// Runs `work` with the configuration that the server has.
    pub(super) fn run<T, F: Future<Output = anyhow::Result<T>>>(
        self,
        context: &mut Context<'_>,
        work: impl FnOnce(Config) -> F,
    ) -> anyhow::Result<T> {
        let config = self.config(context)?;
        block_on(work(config))
    }

    /// The configuration that the server has.
    pub(super) fn config(self, context: &mut Context<'_>) -> anyhow::Result<Config> {
        let flags: Vec<(&str, String)> = self
            .data_dir
            .map(|folder| ("server.data_dir", folder))
            .into_iter()
            .collect();
        Ok(Config::load(
            self.config.as_deref(),
            std::mem::take(&mut context.environment),
            &flags,
        )?)
    }
}

/// Runs work on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(work)
}
