//! `berth migrate`: brings the schema of the database up to date, before a new version starts.

use berth::app;
use clap::Args;

use super::Context;
use super::installation::Installation;
use super::output::Format;

/// Bring the schema of the database up to date, without starting a server
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth migrate --config /etc/berth/berth.toml
  berth migrate --data-dir /var/lib/berth

Every start of `berth serve` does the same, unless database.migrate is false.
An embedded installation must be stopped. With PostgreSQL, servers of the
version before may go on; one that cannot says so at /readyz.")]
pub(super) struct Migrate {
    #[command(flatten)]
    installation: Installation,
}

impl Migrate {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let migrated = self
            .installation
            .run(context, async |config| app::migrate(&config).await)?;
        for name in &migrated.applied {
            context.output.note(&format!("applied {name}"))?;
        }
        let text = match migrated.applied.len() {
            0 => format!("The schema is up to date, at {}.", migrated.version),
            1 => format!(
                "1 migration was applied: the schema is at {}.",
                migrated.version
            ),
            count => format!(
                "{count} migrations were applied: the schema is at {}.",
                migrated.version
            ),
        };
        Ok(context.output.done(Format::Table, &text)?)
    }
}
