//! `berth pull-secret`: what nodes pull with, as Secrets for Kubernetes.

mod sync;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth::tenancy::SecretManifest;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use super::Context;
use super::client::{self, Client};
use super::connection::{Connection, Server};
use super::output::{Column, Format};
use super::units;

const COLUMNS: [Column; 9] = [
    ("Id", "id"),
    ("Scope", "scope"),
    ("Workspace", "workspace"),
    ("Name", "name"),
    ("Namespace", "namespace"),
    ("Created", "createdAt"),
    ("Expires", "expiresAt"),
    ("Last used", "lastUsedAt"),
    ("Replaced by", "replacedBy"),
];
const NEW: [Column; 9] = [
    ("Id", "id"),
    ("Scope", "scope"),
    ("Workspace", "workspace"),
    ("Name", "name"),
    ("Namespace", "namespace"),
    ("Hosts", "hosts"),
    ("Username", "username"),
    ("Password", "password"),
    ("Expires", "expiresAt"),
];
const SECONDS_OF_A_DAY: u64 = 24 * 3_600;

/// Manage pull secrets: what nodes pull with, and do nothing else (admins)
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth pull-secret create -o yaml | kubectl apply -f -
  berth pull-secret create --namespace shop --expires-in 90d -o yaml
  berth pull-secret ls
  berth pull-secret rotate 6f1c… -o yaml | kubectl apply -f -
  berth pull-secret rm 6f1c…
  berth pull-secret sync --namespace shop --namespace site")]
pub(super) enum PullSecret {
    Create(Create),
    Ls(List),
    Rotate(Rotate),
    #[command(alias = "delete")]
    Rm(Remove),
    Sync(sync::Sync),
}

/// Create a pull secret and print it, this once
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth pull-secret create -o yaml | kubectl apply -f -
  berth pull-secret create --name berth --namespace shop --expires-in 90d
  berth pull-secret create --all -o json > node.json   For nodes (operators)

It pulls the images of its workspace, those shared with it, and platform
images. One made with --all pulls everything there is: it belongs into the
configuration of nodes, and never into a namespace.")]
pub(super) struct Create {
    /// Pull from every workspace (operators)
    #[arg(long)]
    all: bool,
    /// How long it lives, in whole days [default: 365d]
    #[arg(long, value_name = "TIME", value_parser = days)]
    expires_in: Option<u64>,
    /// The name of the Secret [default: berth-pull]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The namespace of the Secret [default: the one that kubectl is in]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    #[command(flatten)]
    shown: Shown,
}

/// List the pull secrets, without the secrets themselves
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Make a new pull secret in the place of one, which ends after a while
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth pull-secret rotate 6f1c… -o yaml | kubectl apply -f -
  berth pull-secret rotate 6f1c… --overlap 0    Somebody else may have it

The new one has the reach, the name and the namespace of the old one.")]
pub(super) struct Rotate {
    /// The id of the old one, as `berth pull-secret ls` shows it
    id: String,
    /// How long the old one goes on, 0 to 30d [default: 1d]
    #[arg(long, value_name = "TIME", value_parser = units::seconds_or_zero)]
    overlap: Option<u64>,
    /// How long the new one lives, in whole days [default: as long as the old one was made for]
    #[arg(long, value_name = "TIME", value_parser = days)]
    expires_in: Option<u64>,
    #[command(flatten)]
    shown: Shown,
}

/// End a pull secret, and every token that came from it
#[derive(Args)]
pub(super) struct Remove {
    /// Its id, as `berth pull-secret ls` shows it
    id: String,
    /// How long it goes on, 0 to 30d [default: 0]
    #[arg(long, value_name = "TIME", value_parser = units::seconds_or_zero)]
    overlap: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

/// How a new pull secret is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SecretFormat {
    Table,
    Json,
    Yaml,
}

/// Who is asked, and how the new pull secret is printed.
#[derive(Args)]
struct Shown {
    #[command(flatten)]
    server: Server,
    /// How the result is printed; yaml is the Secret alone, for kubectl
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value = "table",
        help_heading = "Connection"
    )]
    format: SecretFormat,
}

/// A time in whole days.
fn days(text: &str) -> Result<u64, String> {
    units::seconds(text)
        .ok()
        .filter(|seconds| seconds % SECONDS_OF_A_DAY == 0)
        .map(|seconds| seconds / SECONDS_OF_A_DAY)
        .ok_or_else(|| String::from("write a time in whole days, such as 90d"))
}

impl PullSecret {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(context)?,
            Self::Ls(list) => {
                let client = list.connection.client(context)?;
                let secrets = client.pages(&["registry", "pull-secret"], &[])?;
                let format = list.connection.format;
                context
                    .output
                    .pages(format, &COLUMNS, secrets, "pull secrets")?;
            }
            Self::Rotate(rotate) => rotate.run(context)?,
            Self::Rm(remove) => remove.run(context)?,
            Self::Sync(sync) => sync.run(context)?,
        }
        Ok(())
    }
}

impl Create {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let body = client::body([
            ("scope", self.all.then(|| Value::from("all"))),
            ("expiresInDays", self.expires_in.map(Value::from)),
            ("name", self.name.map(Value::from)),
            ("namespace", self.namespace.map(Value::from)),
        ]);
        let client = self.shown.server.client(context)?;
        self.shown
            .print(context, &client, &["registry", "pull-secret"], &body)
    }
}

impl Rotate {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let body = client::body([
            ("overlapSeconds", self.overlap.map(Value::from)),
            ("expiresInDays", self.expires_in.map(Value::from)),
        ]);
        let client = self.shown.server.client(context)?;
        let path = ["registry", "pull-secret", self.id.as_str(), "rotate"];
        self.shown.print(context, &client, &path, &body)
    }
}

impl Remove {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        let overlap = self.overlap.map(|seconds| seconds.to_string());
        let query: Vec<_> = overlap
            .iter()
            .map(|seconds| ("overlapSeconds", seconds.as_str()))
            .collect();
        client.delete(&["registry", "pull-secret", &self.id], &query)?;
        let text = match self.overlap {
            None | Some(0) => format!("Pull secret {} is removed.", self.id),
            Some(seconds) => format!("Pull secret {} ends in {seconds} seconds.", self.id),
        };
        context.output.done(self.connection.format, &text)?;
        Ok(())
    }
}

impl Shown {
    /// Asks for a new pull secret, which the server shows this once, and prints it.
    fn print(
        &self,
        context: &mut Context<'_>,
        client: &Client,
        path: &[&str],
        body: &Value,
    ) -> anyhow::Result<()> {
        let mut created = client.post(path, body)?;
        // Also beside a manifest, which has no room for it.
        if let Some(warning) = created["warning"].as_str() {
            context.output.note(&format!("warning: {warning}"))?;
        }
        match self.format {
            SecretFormat::Json => context.output.record(Format::Json, &NEW, &created)?,
            SecretFormat::Yaml => {
                let manifest: SecretManifest = serde_json::from_value(created["secret"].clone())
                    .context("the server's answer has no Secret in it")?;
                context.output.part(&manifest.yaml())?;
            }
            SecretFormat::Table => {
                created["password"] = Value::from(password(&created["secret"])?);
                context.output.record(Format::Table, &NEW, &created)?;
                context.output.note(
                    "The password is shown this once; -o yaml prints the Secret for kubectl.",
                )?;
            }
        }
        if self.format != SecretFormat::Json
            && let (Some(id), Some(end)) = (
                created["replaces"]["id"].as_str(),
                created["replaces"]["expiresAt"].as_str(),
            )
        {
            context
                .output
                .note(&format!("The old one, {id}, ends at {end}."))?;
        }
        Ok(())
    }
}

/// The password in a Secret: the same for each host.
fn password(secret: &Value) -> anyhow::Result<String> {
    let config = secret["data"][".dockerconfigjson"]
        .as_str()
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    config
        .as_ref()
        .and_then(|config| config["auths"].as_object()?.values().next())
        .and_then(|login| login["password"].as_str())
        .map(str::to_owned)
        .context("the server's answer has no password in it")
}
