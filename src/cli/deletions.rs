//! `berth deletions`: what was deleted, and its undo.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Context;
use super::connection::Connection;
use super::output::Column;
use super::prompt::Consent;

const COLUMNS: [Column; 8] = [
    ("Id", "id"),
    ("Image", "image"),
    ("Kind", "kind"),
    ("Tags", "tags"),
    ("Size", "bytes"),
    ("Deleted by", "deletedBy"),
    ("Deleted", "deletedAt"),
    ("Restorable until", "restorableUntil"),
];

/// See, undo and finish deletions of images
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth deletions ls
  berth deletions restore 6f1c…
  berth deletions purge 6f1c…")]
pub(super) enum Deletions {
    Ls(List),
    Restore(Restore),
    Purge(Purge),
}

/// List what was deleted and can be restored
#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    connection: Connection,
}

/// Bring back all that went with a deletion
#[derive(Args)]
#[command(after_help = "\
Example:
  berth deletions restore 6f1c…

Tags and manifests are what they were, byte for byte. A name that was taken again
in the meantime has to be free first.")]
pub(super) struct Restore {
    /// Its id, as `berth image rm` said it and `berth deletions ls` shows it
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// Free the space of a deletion now; it cannot be undone (admins)
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth deletions purge 6f1c…
  berth deletions purge 6f1c… --yes    Without the question that a terminal asks")]
pub(super) struct Purge {
    /// Its id, as `berth deletions ls` shows it
    id: String,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    connection: Connection,
}

impl Deletions {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Ls(list) => {
                let client = list.connection.client(context)?;
                let deletions = client.pages(&["deletions"], &[])?;
                let format = list.connection.format;
                context
                    .output
                    .pages(format, &COLUMNS, deletions, "deletions")
            }
            Self::Restore(restore) => restore.run(context),
            Self::Purge(purge) => purge.run(context),
        }
    }
}

impl Restore {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        let restored = client.post(&["deletions", &self.id, "restore"], &json!({}))?;
        let text = match restored["image"].as_str() {
            Some(image) => format!("What was deleted of {image} is back."),
            None => String::from("What was deleted is back."),
        };
        context
            .output
            .outcome(self.connection.format, &restored, &[text])?;
        Ok(())
    }
}

impl Purge {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        let question = format!("Purge deletion {}? It cannot be restored then.", self.id);
        self.consent.ask(context, &question)?;
        let purged = client.post(&["deletions", &self.id, "purge"], &json!({}))?;
        let text = format!("Deletion {} is purged.", self.id);
        context
            .output
            .outcome(self.connection.format, &purged, &[text])?;
        Ok(())
    }
}
