//! `berth api-key`: the keys of a workspace.

use berth::clock::Clock;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use super::Context;
use super::connection::Connection;
use super::credentials::Action;
use super::expiry::Expiry;
use super::output::{Column, Format};
use super::whoami;

const COLUMNS: [Column; 8] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Role", "role"),
    ("Repositories", "repositories"),
    ("Actions", "actions"),
    ("Created", "createdAt"),
    ("Expires", "expiresAt"),
    ("Last used", "lastUsedAt"),
];

/// Manage the API keys of a workspace (admins)
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth api-key create ci --role builder
  berth api-key ls
  berth api-key rm 6f1c…")]
pub(super) enum ApiKey {
    Create(Create),
    Ls(List),
    Rm(Remove),
}

/// What a key may do in its workspace.
#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// List and pull
    Viewer,
    /// And push: for CI
    Builder,
    /// And delete and restore
    Developer,
    /// And share, settings and keys
    Admin,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Builder => "builder",
            Self::Developer => "developer",
            Self::Admin => "admin",
        }
    }
}

/// Create a key and print it, this once
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth api-key create ci --role builder
  berth api-key create ci --role builder --repository 'team/*' --expires-in 90d
  berth api-key create ci --role builder -o json | jq -r .key")]
pub(super) struct Create {
    /// What it is for
    name: String,
    /// What it may do
    #[arg(long, value_enum)]
    role: Role,
    /// Only images whose name matches this pattern; may be repeated
    #[arg(long = "repository", value_name = "GLOB")]
    repositories: Vec<String>,
    /// Only these of what the role may do; separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    actions: Vec<Action>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    connection: Connection,
}

/// List the keys, without the keys themselves
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Remove a key; what was issued with it ends too
#[derive(Args)]
pub(super) struct Remove {
    /// Its id, as `berth api-key ls` shows it
    id: String,
    #[command(flatten)]
    connection: Connection,
}

impl ApiKey {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(context)?,
            Self::Ls(list) => {
                let client = list.connection.client(context)?;
                let workspace = whoami::workspace(&client)?;
                let keys = client.pages(&["workspaces", &workspace, "api-keys"], &[])?;
                context
                    .output
                    .pages(list.connection.format, &COLUMNS, keys, "API keys")?;
            }
            Self::Rm(remove) => {
                let client = remove.connection.client(context)?;
                let workspace = whoami::workspace(&client)?;
                client.delete(&["workspaces", &workspace, "api-keys", &remove.id], &[])?;
                let text = format!("API key {} is removed.", remove.id);
                context.output.done(remove.connection.format, &text)?;
            }
        }
        Ok(())
    }
}

impl Create {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let body = self.body(&context.clock)?;
        let client = self.connection.client(context)?;
        let workspace = whoami::workspace(&client)?;
        let created = client.post(&["workspaces", &workspace, "api-keys"], &body)?;
        let mut columns = COLUMNS[..7].to_vec();
        columns.push(("Key", "key"));
        context
            .output
            .record(self.connection.format, &columns, &created)?;
        if self.connection.format == Format::Table {
            context.output.note("The key is shown this once.")?;
        }
        Ok(())
    }

    fn body(&self, clock: &Clock) -> anyhow::Result<Value> {
        let mut body = Map::new();
        body.insert(String::from("name"), Value::from(self.name.as_str()));
        body.insert(String::from("role"), Value::from(self.role.as_str()));
        if !self.repositories.is_empty() {
            body.insert(
                String::from("repositories"),
                Value::from(self.repositories.clone()),
            );
        }
        if !self.actions.is_empty() {
            body.insert(String::from("actions"), Action::list(&self.actions));
        }
        if let Some(expires_at) = self.expiry.expires_at(clock)? {
            body.insert(String::from("expiresAt"), Value::from(expires_at));
        }
        Ok(Value::Object(body))
    }
}
