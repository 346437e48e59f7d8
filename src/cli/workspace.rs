//! `berth workspace`: the teams.

use clap::{ArgGroup, Args, Subcommand};
use serde_json::Value;

use super::Context;
use super::client::body;
use super::connection::Connection;
use super::output::Column;
use super::units::{self, Setting};

const LIST_COLUMNS: [Column; 5] = [
    ("Name", "name"),
    ("Account", "account"),
    ("Prefix", "repositoryPrefix"),
    ("Quota", "quotaBytes"),
    ("Created", "createdAt"),
];

const COLUMNS: [Column; 10] = [
    ("Name", "name"),
    ("Id", "id"),
    ("Account", "account"),
    ("Account id", "accountId"),
    ("Team key", "teamKey"),
    ("Prefix", "repositoryPrefix"),
    ("Display name", "displayName"),
    ("Quota", "quotaBytes"),
    ("Untagged kept, days", "untaggedRetentionDays"),
    ("Created", "createdAt"),
];

/// Manage workspaces, one for each team
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth workspace create web --account acme --quota 100GiB
  berth workspace ls
  berth workspace set web --display-name \"The web team\"")]
pub(super) enum Workspace {
    Create(Create),
    Ls(List),
    Show(Show),
    Set(Set),
    Rm(Remove),
}

/// Create a workspace (operators only)
#[derive(Args)]
#[command(
    group(ArgGroup::new("prefix").args(["team_id", "team_key", "namespace"])),
    after_help = "\
Examples:
  berth workspace create web --account acme
  berth workspace create web --account acme --team-id team-123
  berth workspace create base --account acme --namespace platform

Its images lie under t-<team key>/, or under the namespace. The team key never
changes; without any of the three it is random."
)]
pub(super) struct Create {
    /// Its name, unique in the installation
    name: String,
    /// The account that owns it
    #[arg(long, value_name = "NAME")]
    account: String,
    /// Derive the team key from this id of the team in another system
    #[arg(long, value_name = "ID")]
    team_id: Option<String>,
    /// The team key: 4 to 32 of a-z and 0-9
    #[arg(long, value_name = "KEY")]
    team_key: Option<String>,
    /// A reserved first component in place of t-<team key>
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// How much it may store, such as 100GiB [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    quota: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

/// List the workspaces: all for operators, else your own
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Show one workspace
#[derive(Args)]
pub(super) struct Show {
    /// Its name
    name: String,
    #[command(flatten)]
    connection: Connection,
}

/// Change a workspace
#[derive(Args)]
#[command(
    group(
        ArgGroup::new("change")
            .args(["display_name", "untagged_retention", "quota"])
            .required(true)
            .multiple(true)
    ),
    after_help = "\
Examples:
  berth workspace set web --display-name \"The web team\"
  berth workspace set web --untagged-retention 30
  berth workspace set web --quota none"
)]
pub(super) struct Set {
    /// Its name
    name: String,
    /// A name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Days after which untagged manifests go, or `keep`
    #[arg(long, value_name = "DAYS", value_parser = units::days_or_keep)]
    untagged_retention: Option<Setting<u32>>,
    /// How much it may store, such as 100GiB, or `none` for no limit (operators only)
    #[arg(long, value_name = "SIZE", value_parser = units::bytes_or_none)]
    quota: Option<Setting<u64>>,
    #[command(flatten)]
    connection: Connection,
}

/// Remove a workspace that has no images and no outgoing shares (operators only)
#[derive(Args)]
pub(super) struct Remove {
    /// Its name
    name: String,
    #[command(flatten)]
    connection: Connection,
}

impl Workspace {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(context)?,
            Self::Ls(list) => {
                let client = list.connection.client(context)?;
                let workspaces = client.pages(&["workspaces"], &[])?;
                context.output.pages(
                    list.connection.format,
                    &LIST_COLUMNS,
                    workspaces,
                    "workspaces",
                )?;
            }
            Self::Show(show) => {
                let client = show.connection.client(context)?;
                let workspace = client.get(&["workspaces", &show.name])?;
                context
                    .output
                    .record(show.connection.format, &COLUMNS, &workspace)?;
            }
            Self::Set(set) => set.run(context)?,
            Self::Rm(remove) => {
                let client = remove.connection.client(context)?;
                client.delete(&["workspaces", &remove.name], &[])?;
                let text = format!("Workspace {} is removed.", remove.name);
                context.output.done(remove.connection.format, &text)?;
            }
        }
        Ok(())
    }
}

impl Create {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        let body = body([
            ("name", Some(Value::from(self.name))),
            ("account", Some(Value::from(self.account))),
            ("teamId", self.team_id.map(Value::from)),
            ("teamKey", self.team_key.map(Value::from)),
            ("namespace", self.namespace.map(Value::from)),
            ("displayName", self.display_name.map(Value::from)),
            ("quotaBytes", self.quota.map(Value::from)),
        ]);
        let workspace = client.post(&["workspaces"], &body)?;
        context
            .output
            .record(self.connection.format, &COLUMNS, &workspace)?;
        Ok(())
    }
}

impl Set {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        let body = body([
            ("displayName", self.display_name.map(Value::from)),
            (
                "untaggedRetentionDays",
                self.untagged_retention
                    .map(|Setting(days)| Value::from(days)),
            ),
            (
                "quotaBytes",
                self.quota.map(|Setting(bytes)| Value::from(bytes)),
            ),
        ]);
        let workspace = client.patch(&["workspaces", &self.name], &body)?;
        context
            .output
            .record(self.connection.format, &COLUMNS, &workspace)?;
        Ok(())
    }
}
