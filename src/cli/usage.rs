//! `berth usage`: how much workspaces store and read.

use clap::Args;

use super::Context;
use super::connection::Connection;
use super::output::Column;

const COLUMNS: [Column; 10] = [
    ("Workspace", "workspace"),
    ("Images", "images"),
    ("Tags", "tags"),
    ("Stored", "storedBytes"),
    ("Logical", "logicalBytes"),
    ("Deleted", "deletedBytes"),
    ("Quota", "quotaBytes"),
    ("Shared in", "sharedIn"),
    ("Shared out", "sharedOut"),
    ("Egress", "egressBytes"),
];

/// Show how much a workspace stores; to operators, all of them
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth usage
  berth usage --workspace web
  berth usage -o json | jq .storedBytes

Stored counts what several images have in common once; logical counts it for
each. Deleted is what can still be restored, and does not count against the
quota. Egress is what the workspace has pulled.")]
pub(super) struct Usage {
    #[command(flatten)]
    connection: Connection,
}

impl Usage {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let format = self.connection.format;
        let client = self.connection.client(context)?;
        let usage = client.get(&["usage"])?;
        if usage["items"].is_array() {
            // The list of an operator who named no workspace, which is read from its beginning in larger pages.
            let workspaces = client.pages(&["usage"], &[])?;
            return context
                .output
                .pages(format, &COLUMNS, workspaces, "workspaces");
        }
        context.output.record(format, &COLUMNS, &usage)?;
        Ok(())
    }
}
