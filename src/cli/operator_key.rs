//! `berth operator-key`: the keys of the installation.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use berth::app;
use berth::auth::write_secret_file;
use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::Context;
use super::connection::Connection;
use super::expiry::Expiry;
use super::installation::Installation;
use super::output::{Column, Format};
use super::units;

const COLUMNS: [Column; 6] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Created", "createdAt"),
    ("Created by", "createdBy"),
    ("Expires", "expiresAt"),
    ("Last used", "lastUsedAt"),
];
const NEW_KEY: [Column; 6] = [
    ("Id", "id"),
    ("Name", "name"),
    ("Created", "createdAt"),
    ("Created by", "createdBy"),
    ("Expires", "expiresAt"),
    ("Key", "key"),
];

/// Manage the operators' keys
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth operator-key ls
  berth operator-key create alice --expires-in 30d
  berth operator-key rotate --file data/operator.key
  berth operator-key reset --data-dir data   The key is lost, or stolen")]
pub(super) enum OperatorKey {
    Create(Create),
    Ls(List),
    #[command(alias = "delete")]
    Rm(Remove),
    Rotate(Rotate),
    Reset(Reset),
}

/// Create an operator key and print it, this once
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth operator-key create alice --expires-in 30d
  berth operator-key create backup --file backup.key")]
pub(super) struct Create {
    /// Whose it is, or what for
    name: String,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    delivery: Delivery,
    #[command(flatten)]
    connection: Connection,
}

/// List the operators' keys, without the keys themselves
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Remove an operator key, if another one lives as long
#[derive(Args)]
pub(super) struct Remove {
    /// Its id, as `berth operator-key ls` shows it
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// Make a new operator key in the place of one, which ends after a while
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth operator-key rotate --file data/operator.key
  berth operator-key rotate 6f1c… --overlap 0    Somebody else may have it")]
pub(super) struct Rotate {
    /// The id of the old key [default: the key that this command uses]
    id: Option<String>,
    /// How long the old key goes on, 0 to 30d [default: 1d]
    #[arg(long, value_name = "TIME", value_parser = units::seconds_or_zero)]
    overlap: Option<u64>,
    #[command(flatten)]
    expiry: Expiry,
    #[command(flatten)]
    delivery: Delivery,
    #[command(flatten)]
    connection: Connection,
}

/// End all operators' keys and write a new one, without the server
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth operator-key reset --data-dir /var/lib/berth
  berth operator-key reset --config /etc/berth/berth.toml --file operator.key

For a key that is lost, or in wrong hands. An embedded installation must be
stopped; with PostgreSQL servers may run, and notice within five seconds.")]
pub(super) struct Reset {
    /// Where to write the new key [default: operator.key in the data folder]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    installation: Installation,
}

/// Where the secret of a new key goes.
#[derive(Args)]
struct Delivery {
    /// Write the key to this file, for its owner alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl OperatorKey {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Create(create) => create.run(context)?,
            Self::Ls(list) => {
                let client = list.connection.client(context)?;
                let keys = client.pages(&["operator-keys"], &[])?;
                context
                    .output
                    .pages(list.connection.format, &COLUMNS, keys, "operator keys")?;
            }
            Self::Rm(remove) => {
                let client = remove.connection.client(context)?;
                client.delete(&["operator-keys", &remove.id], &[])?;
                let text = format!("Operator key {} is removed.", remove.id);
                context.output.done(remove.connection.format, &text)?;
            }
            Self::Rotate(rotate) => rotate.run(context)?,
            Self::Reset(reset) => reset.run(context)?,
        }
        Ok(())
    }
}

impl Create {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let mut body = Map::new();
        body.insert(String::from("name"), Value::from(self.name));
        if let Some(expires_at) = self.expiry.expires_at(&context.clock)? {
            body.insert(String::from("expiresAt"), Value::from(expires_at));
        }
        let client = self.connection.client(context)?;
        let created = client.post(&["operator-keys"], &Value::Object(body))?;
        self.delivery
            .deliver(context, self.connection.format, created)
    }
}

impl Rotate {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let mut body = Map::new();
        if let Some(seconds) = self.overlap {
            body.insert(String::from("overlapSeconds"), Value::from(seconds));
        }
        if let Some(expires_at) = self.expiry.expires_at(&context.clock)? {
            body.insert(String::from("expiresAt"), Value::from(expires_at));
        }
        let client = self.connection.client(context)?;
        let id = match self.id {
            Some(id) => id,
            None => client.get(&["whoami"])?["id"]
                .as_str()
                .context("the server does not say which key this is")?
                .to_owned(),
        };
        let path = ["operator-keys", id.as_str(), "rotate"];
        let created = client.post(&path, &Value::Object(body))?;
        let old_end = created["replaces"]["expiresAt"].as_str();
        let note = old_end.map(|end| format!("The old key, {id}, ends at {end}."));
        let format = self.connection.format;
        self.delivery.deliver(context, format, created)?;
        if let (Format::Table, Some(note)) = (format, note) {
            context.output.note(&note)?;
        }
        Ok(())
    }
}

impl Reset {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let (clock, file) = (context.clock.clone(), self.file);
        let file = self.installation.run(context, async |config| {
            app::reset_operator_keys(&config, file.as_deref(), clock).await
        })?;
        let text = format!(
            "All operator keys are ended. The new one is in {}.",
            file.display()
        );
        context.output.done(Format::Table, &text)?;
        Ok(())
    }
}

impl Delivery {
    /// Hands over a key that the server has shown this once: if its file cannot be written, it is printed all the same.
    fn deliver(
        &self,
        context: &mut Context<'_>,
        format: Format,
        mut created: Value,
    ) -> anyhow::Result<()> {
        let written = self.file.as_deref().map(|file| write(file, &created));
        if let Some(Ok(())) = written
            && let Some(fields) = created.as_object_mut()
        {
            fields.remove("key");
        }
        context.output.record(format, &NEW_KEY, &created)?;
        if format == Format::Table {
            let note = match (&self.file, &written) {
                (Some(file), Some(Ok(()))) => format!("The key is in {}.", file.display()),
                (_, _) => String::from("The key is shown this once."),
            };
            context.output.note(&note)?;
        }
        written.unwrap_or(Ok(()))
    }
}

fn write(file: &Path, created: &Value) -> anyhow::Result<()> {
    let key = created["key"]
        .as_str()
        .context("the server's answer has no key")?;
    write_secret_file(file, format!("{key}\n").as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))
}
