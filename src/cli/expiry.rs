//! When a new key or lease ends, as people say it.

use anyhow::Context as _;
use berth::clock::Clock;
use clap::Args;

use super::units;

/// The flags of a command that makes a key.
#[derive(Args)]
pub(super) struct Expiry {
    /// When the new key ends, counted from now, such as 90d [default: never]
    #[arg(long, value_name = "TIME", value_parser = units::seconds)]
    expires_in: Option<u64>,
    /// When the new key ends, such as 2030-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "expires_in")]
    expires_at: Option<String>,
}

impl Expiry {
    /// The time, as the API takes it.
    pub(super) fn expires_at(&self, clock: &Clock) -> anyhow::Result<Option<String>> {
        match self.expires_in {
            Some(seconds) => after(seconds, clock).map(Some),
            None => Ok(self.expires_at.clone()),
        }
    }
}

/// The time that comes `seconds` from now, as the API takes it.
pub(super) fn after(seconds: u64, clock: &Clock) -> anyhow::Result<String> {
    let milliseconds = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| seconds.checked_mul(1000))
        .context("--expires-in is too long")?;
    Ok(clock.now().plus(milliseconds).rfc3339())
}
