//! `berth config check`: shows the configuration that is in effect, or what is wrong with it.

use std::path::PathBuf;

use berth::auth::Federation;
use berth::telemetry;
use clap::{Args, Subcommand};

use super::Context;

/// Look at the server's configuration
#[derive(Subcommand)]
pub(super) enum Config {
    Check(Check),
}

/// Check the configuration and print what is in effect, without secrets
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth config check
  berth config check --config /etc/berth/berth.toml

Takes the file and the environment into account, as `berth serve` does, and
reads the files of certificates. Prints one line for each error and exits
with 1 when there is any.")]
pub(super) struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Config {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => {
                let config = berth::config::Config::load(
                    check.config.as_deref(),
                    std::mem::take(&mut context.environment),
                    &[],
                )?;
                telemetry::check_filter(&config.log)?;
                berth::tls::check(&config.tls)?;
                Federation::open(&config.auth.issuers, &context.clock)?;
                context.output.line(config.to_masked_toml().trim_end())?;
                Ok(())
            }
        }
    }
}
