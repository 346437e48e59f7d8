//! `berth share`: what other workspaces offer. The side that shares is in `berth image share`.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::Context;
use super::client::body;
use super::connection::Connection;
use super::image::name;
use super::output::Column;

const INCOMING: [Column; 8] = [
    ("Id", "id"),
    ("Image", "imageName"),
    ("From", "sourceWorkspace"),
    ("Account id", "sourceAccountId"),
    ("Shared by", "sharedBy"),
    ("Created", "createdAt"),
    ("Expires", "expiresAt"),
    ("Name taken", "hasConflict"),
];

const OUTGOING: [Column; 7] = [
    ("Id", "id"),
    ("Image", "imageName"),
    ("To", "targetWorkspace"),
    ("Account id", "targetAccountId"),
    ("Shared by", "sharedBy"),
    ("Created", "createdAt"),
    ("Expires", "expiresAt"),
];

/// Accept, decline and drop what other workspaces share with you
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth share ls
  berth share accept 6f1c… --alias vendor/app
  berth share drop vendor/app

What is shared with you already is in `berth image ls --shared in`; to share an
image of your own, see `berth image share`.")]
pub(super) enum Share {
    Ls(List),
    Accept(Accept),
    Decline(Decline),
    Drop(Drop),
}

/// List the shares that wait for you to accept them
#[derive(Args)]
pub(super) struct List {
    /// Those that you offered, and that wait for others
    #[arg(long)]
    outgoing: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Accept a share; its image is then among yours, to pull (admins)
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth share accept 6f1c…
  berth share accept 6f1c… --alias vendor/app")]
pub(super) struct Accept {
    /// Its id, as `berth share ls` shows it
    id: String,
    /// What it is called here [default: what it is called there]
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Decline a share (admins)
#[derive(Args)]
pub(super) struct Decline {
    /// Its id, as `berth share ls` shows it
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// Give up an image that is shared with you (admins)
#[derive(Args)]
pub(super) struct Drop {
    /// What it is called here
    alias: String,
    #[command(flatten)]
    connection: Connection,
}

impl Share {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Ls(list) => list.run(context)?,
            Self::Accept(accept) => accept.run(context)?,
            Self::Decline(decline) => {
                let client = decline.connection.client(context)?;
                let path = ["pending-image-shares", decline.id.as_str(), "decline"];
                let answer = client.post(&path, &body([]))?;
                let text = String::from("The share is declined.");
                let format = decline.connection.format;
                context.output.outcome(format, &answer, &[text])?;
            }
            Self::Drop(drop) => {
                let alias = name::whole(&drop.alias)?;
                let client = drop.connection.client(context)?;
                let answer = client.delete(&name::path(&alias, &["-", "share"]), &[])?;
                let text = format!("{alias} is dropped.");
                let format = drop.connection.format;
                context.output.outcome(format, &answer, &[text])?;
            }
        }
        Ok(())
    }
}

impl List {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        let (direction, columns) = if self.outgoing {
            ("outgoing", &OUTGOING[..])
        } else {
            ("incoming", &INCOMING[..])
        };
        let shares = client.pages(&["pending-image-shares"], &[("direction", direction)])?;
        context
            .output
            .pages(self.connection.format, columns, shares, "pending shares")
    }
}

impl Accept {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let alias = self.alias.as_deref().map(name::whole).transpose()?;
        let body = body([("alias", alias.map(|alias| Value::from(alias.as_str())))]);
        let client = self.connection.client(context)?;
        let path = ["pending-image-shares", self.id.as_str(), "accept"];
        let share = client.post(&path, &body)?;
        let text = match share["alias"].as_str() {
            Some(alias) => format!("The share is accepted. Here the image is called {alias}."),
            None => String::from("The share is accepted."),
        };
        context
            .output
            .outcome(self.connection.format, &share, &[text])?;
        Ok(())
    }
}
