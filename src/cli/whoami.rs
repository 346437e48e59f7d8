//! `berth whoami`: which principal a key is.

use clap::Args;
use serde::Deserialize;

use super::Context;
use super::client::Client;
use super::connection::Connection;
use super::output::Column;

const COLUMNS: [Column; 8] = [
    ("Kind", "kind"),
    ("Id", "id"),
    ("Role", "role"),
    ("Workspace", "workspace"),
    ("Account", "account"),
    ("Account id", "accountId"),
    ("Prefix", "repositoryPrefix"),
    ("Expires", "expiresAt"),
];

/// Show who you are to the server
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth whoami
  berth whoami -o json")]
pub(super) struct Whoami {
    #[command(flatten)]
    connection: Connection,
}

impl Whoami {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let answer = self.connection.client(context)?.get(&["whoami"])?;
        context
            .output
            .record(self.connection.format, &COLUMNS, &answer)?;
        Ok(())
    }
}

/// What of the answer other commands need.
#[derive(Deserialize)]
pub(super) struct Principal {
    pub(super) role: Option<String>,
    pub(super) workspace: Option<String>,
}

/// Asks the server whose key this is.
pub(super) fn principal(client: &Client) -> anyhow::Result<Principal> {
    let answer = client.get(&["whoami"])?;
    Ok(serde_json::from_value(answer)?)
}

/// The workspace a command is about: the one that was named, else the key's own.
pub(super) fn workspace(client: &Client) -> anyhow::Result<String> {
    if let Some(workspace) = client.workspace() {
        return Ok(workspace.to_owned());
    }
    principal(client)?.workspace.ok_or_else(|| {
        anyhow::anyhow!("this key belongs to no workspace; name one with --workspace")
    })
}
