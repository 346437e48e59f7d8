//! `berth account`: the owners of workspaces.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use super::connection::Connection;
use super::output::Column;

const COLUMNS: [Column; 3] = [("Name", "name"), ("Id", "id"), ("Created", "createdAt")];

/// Manage accounts, which own workspaces (operators only)
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth account create acme
  berth account ls")]
pub(super) enum Account {
    Create(Create),
    Ls(List),
    Show(Show),
    Rm(Remove),
}

/// Create an account
#[derive(Args)]
#[command(after_help = "\
Example:
  berth account create acme")]
pub(super) struct Create {
    /// Its name, unique in the installation
    name: String,
    #[command(flatten)]
    connection: Connection,
}

/// List the accounts
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Show one account
#[derive(Args)]
pub(super) struct Show {
    /// Its name
    name: String,
    #[command(flatten)]
    connection: Connection,
}

/// Remove an account that has no workspaces
#[derive(Args)]
pub(super) struct Remove {
    /// Its name
    name: String,
    #[command(flatten)]
    connection: Connection,
}

impl Account {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => {
                let client = create.connection.client(context)?;
                let account = client.post(&["accounts"], &json!({ "name": create.name }))?;
                context
                    .output
                    .record(create.connection.format, &COLUMNS, &account)?;
            }
            Self::Ls(list) => {
                let client = list.connection.client(context)?;
                let accounts = client.pages(&["accounts"], &[])?;
                context
                    .output
                    .pages(list.connection.format, &COLUMNS, accounts, "accounts")?;
            }
            Self::Show(show) => {
                let client = show.connection.client(context)?;
                let account = client.get(&["accounts", &show.name])?;
                context
                    .output
                    .record(show.connection.format, &COLUMNS, &account)?;
            }
            Self::Rm(remove) => {
                let client = remove.connection.client(context)?;
                client.delete(&["accounts", &remove.name], &[])?;
                let text = format!("Account {} is removed.", remove.name);
                context.output.done(remove.connection.format, &text)?;
            }
        }
        Ok(())
    }
}
