//! `berth audit`: who changed what, and what was refused.

use clap::Args;

use super::Context;
use super::connection::Connection;
use super::output::Column;

const COLUMNS: [Column; 7] = [
    ("Time", "at"),
    ("Actor", "actor"),
    ("Action", "action"),
    ("Target", "target"),
    ("Outcome", "outcome"),
    ("Reason", "reason"),
    ("Address", "address"),
];

/// Show who changed what, and what was refused, newest first (admins)
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth audit
  berth audit --limit 1000
  berth audit -o json | jq -r '.[] | [.at, .actor, .action, .target] | @tsv'")]
pub(super) struct Audit {
    /// How many events
    #[arg(
        long,
        value_name = "COUNT",
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

impl Audit {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        let most = usize::try_from(self.limit)?;
        let events = client.pages(&["audit-events"], &[])?.at_most(most);
        context
            .output
            .pages(self.connection.format, &COLUMNS, events, "audit events")
    }
}
