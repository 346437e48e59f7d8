//! `berth keys`: the keys that sign credentials and access tokens.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use berth::app;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value};

use super::Context;
use super::connection::Connection;
use super::installation::Installation;
use super::output::{Column, Format};

const COLUMNS: [Column; 6] = [
    ("Id", "id"),
    ("Purpose", "purpose"),
    ("State", "state"),
    ("Created", "createdAt"),
    ("Signs from", "signsFrom"),
    ("Expires", "expiresAt"),
];

/// The largest file of a secret that is read, in bytes.
const SECRET_LIMIT_BYTES: u64 = 64 * 1024;

/// Look at, rotate and replace the keys that sign credentials and tokens (operators)
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth keys ls
  berth keys rotate
  berth keys rotate --now            Somebody else may have the keys
  berth keys reset --data-dir data   The same, while the server is stopped")]
pub(super) enum Keys {
    Ls(List),
    Rotate(Rotate),
    Reset(Reset),
    Rewrap(Rewrap),
}

/// What a key signs.
#[derive(Clone, Copy, ValueEnum)]
enum Purpose {
    /// Access tokens, which /token gives out
    Access,
    /// Registry credentials
    Credential,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Credential => "credential",
        }
    }
}

/// List the signing keys: which one signs, which one will, which only verify
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Make new signing keys; the old ones verify until their last token has ended
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth keys rotate
  berth keys rotate --purpose access
  berth keys rotate --now

A new key signs after ten minutes, so that every server knows it by then. With
--now it signs at once, and the old keys end with everything that they signed:
every credential and token is void within five seconds. API keys stay.")]
pub(super) struct Rotate {
    /// Only the key of this purpose [default: all]
    #[arg(long, value_enum)]
    purpose: Option<Purpose>,
    /// End the old keys at once, and all credentials and tokens with them
    #[arg(long)]
    now: bool,
    #[command(flatten)]
    connection: Connection,
}

/// End all signing keys and make new ones, without the server
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth keys reset --data-dir /var/lib/berth
  berth keys reset --config /etc/berth/berth.toml

An embedded installation must be stopped. With PostgreSQL the keys in the
database are replaced by some under the configured auth.key_wrapping_secret,
whatever the old ones were wrapped with; servers that run notice within
seconds. Every credential and token is void afterwards. API keys stay.")]
pub(super) struct Reset {
    #[command(flatten)]
    installation: Installation,
}

/// Wrap the signing keys in PostgreSQL by a new secret, without the server
#[derive(Args)]
#[command(after_help = "\
Example:
  berth keys rewrap --config /etc/berth/berth.toml \\
    --previous-secret-file /etc/berth/old-secret

The configuration has the new auth.key_wrapping_secret. Nothing that was
signed ends. Servers go on with what they know until they are restarted with
the new secret.")]
pub(super) struct Rewrap {
    /// A file with the secret that the keys are wrapped with until now
    #[arg(long, value_name = "FILE")]
    previous_secret_file: PathBuf,
    #[command(flatten)]
    installation: Installation,
}

impl Keys {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Ls(list) => {
                let client = list.connection.client(context)?;
                let keys = ordered(client.list(&["signing-keys"])?);
                context
                    .output
                    .list(list.connection.format, &COLUMNS, keys, "signing keys")?;
                Ok(())
            }
            Self::Rotate(rotate) => rotate.run(context),
            Self::Reset(reset) => {
                let clock = context.clock.clone();
                reset.installation.run(context, async |config| {
                    app::reset_signing_keys(&config, clock).await
                })?;
                let text = "All signing keys are new. Every credential and access token is void.";
                context.output.done(Format::Table, text)?;
                Ok(())
            }
            Self::Rewrap(rewrap) => rewrap.run(context),
        }
    }
}

impl Rotate {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let mut body = Map::new();
        if let Some(purpose) = self.purpose {
            body.insert(String::from("purpose"), Value::from(purpose.as_str()));
        }
        if self.now {
            body.insert(String::from("now"), Value::from(true));
        }
        let client = self.connection.client(context)?;
        let answer = client.post(&["signing-keys", "rotate"], &Value::Object(body))?;
        let keys = answer["items"].as_array().cloned().unwrap_or_default();
        context.output.list(
            self.connection.format,
            &COLUMNS,
            ordered(keys),
            "signing keys",
        )?;
        Ok(())
    }
}

impl Rewrap {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let previous = read_secret(&self.previous_secret_file)?;
        let count = self.installation.run(context, async |config| {
            app::rewrap_signing_keys(&config, previous).await
        })?;
        let text = format!(
            "{count} signing keys are wrapped by the new secret. Restart every server with it."
        );
        context.output.done(Format::Table, &text)?;
        Ok(())
    }
}

/// By purpose, and in the order in which they sign.
fn ordered(mut keys: Vec<Value>) -> Vec<Value> {
    keys.sort_by_key(|key| {
        let text = |field: &str| key[field].as_str().unwrap_or_default().to_owned();
        (text("purpose"), text("signsFrom"), text("id"))
    });
    keys
}

/// The secret in a file, without the line break at its end.
fn read_secret(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(SECRET_LIMIT_BYTES).read_to_string(&mut text))
        .with_context(|| format!("cannot read {}", path.display()))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!secret.is_empty(), "{} is empty", path.display());
    Ok(secret.to_owned())
}
