//! `berth lease`: what says that an image is in use.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Context;
use super::client::body;
use super::connection::Connection;
use super::output::Column;
use super::{expiry, units};

const COLUMNS: [Column; 4] = [
    ("Holder", "holder"),
    ("Image", "image"),
    ("Digest", "digest"),
    ("Expires", "expiresAt"),
];

/// Say that images are in use, so that nobody deletes them
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth lease set template/my-app team/app:v1 --expires-in 7d
  berth lease ls
  berth lease rm template/my-app

A lease holds the digest that the image had when it was set. It ends by itself;
whoever still uses the image sets it again in time.")]
pub(super) enum Lease {
    Set(Set),
    Ls(List),
    Show(Show),
    Rm(Remove),
}

/// Set a lease, renew it, or move it to another image
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth lease set template/my-app team/app:v1
  berth lease set template/my-app team/app:v2 --expires-in 7d")]
pub(super) struct Set {
    /// Your name for what uses the image, such as template/my-app
    holder: String,
    /// The image, such as team/app:v1
    image: String,
    /// When it ends, counted from now, such as 7d [default: the longest, 90d]
    #[arg(long, value_name = "TIME", value_parser = units::seconds)]
    expires_in: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

/// List the leases of your workspace
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Show one lease
#[derive(Args)]
pub(super) struct Show {
    /// What uses the image
    holder: String,
    #[command(flatten)]
    connection: Connection,
}

/// End a lease
#[derive(Args)]
pub(super) struct Remove {
    /// What uses the image no more
    holder: String,
    #[command(flatten)]
    connection: Connection,
}

/// The path of a lease in the API; a holder may have slashes.
fn path(holder: &str) -> Vec<&str> {
    ["leases"].into_iter().chain(holder.split('/')).collect()
}

impl Lease {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Set(set) => set.run(context)?,
            Self::Ls(list) => {
                let client = list.connection.client(context)?;
                let leases = client.pages(&["leases"], &[])?;
                context
                    .output
                    .pages(list.connection.format, &COLUMNS, leases, "leases")?;
            }
            Self::Show(show) => {
                let client = show.connection.client(context)?;
                let lease = client.get(&path(&show.holder))?;
                context
                    .output
                    .record(show.connection.format, &COLUMNS, &lease)?;
            }
            Self::Rm(remove) => {
                let client = remove.connection.client(context)?;
                let answer = client.delete(&path(&remove.holder), &[])?;
                let text = format!("The lease of {} is ended.", remove.holder);
                context
                    .output
                    .outcome(remove.connection.format, &answer, &[text])?;
            }
        }
        Ok(())
    }
}

impl Set {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let expires_at = self
            .expires_in
            .map(|seconds| expiry::after(seconds, &context.clock))
            .transpose()?;
        let body = body([
            ("image", Some(Value::from(self.image))),
            ("expiresAt", expires_at.map(Value::from)),
        ]);
        let client = self.connection.client(context)?;
        let lease = client.put(&path(&self.holder), &body, None)?;
        context
            .output
            .record(self.connection.format, &COLUMNS, &lease)?;
        Ok(())
    }
}
