//! `berth gc`: what ends by itself, when, and why not.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::connection::Connection;
use super::output::{Column, Format};

const QUEUES: [Column; 6] = [
    ("Queue", "name"),
    ("Waiting", "length"),
    ("Size", "bytes"),
    ("Due", "due"),
    ("Due size", "dueBytes"),
    ("First due", "firstDueAt"),
];

const WAITING: [Column; 6] = [
    ("Queue", "queue"),
    ("What", "what"),
    ("Repository", "repository"),
    ("Size", "bytes"),
    ("Next", "next"),
    ("Due", "dueAt"),
];

const COLLECTED: [Column; 10] = [
    ("Uploads ended", "uploads"),
    ("Deleted by retention", "retired"),
    ("Deletions done", "deletions"),
    ("Blobs condemned", "linksCondemned"),
    ("Blobs left repositories", "linksRemoved"),
    ("Blobs of nobody", "blobs"),
    ("Their size", "blobBytes"),
    ("Objects deleted", "objects"),
    ("Freed", "objectBytes"),
    ("Failures", "failures"),
];

const PLACES: [Column; 6] = [
    ("Repository", "repository"),
    ("Workspace", "workspace"),
    ("As", "kind"),
    ("Kept", "kept"),
    ("Goes", "goesAt"),
    ("Why", "reasons"),
];

/// See and run the collection of what nobody needs
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  berth gc status
  berth gc --dry-run             What goes next, and when
  berth gc run                   Do what is due now
  berth gc explain sha256:4bf9…  Why something is kept, or when it goes

Collection runs by itself, while clients push and pull; nobody has to start it."
)]
pub(super) struct Gc {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    Run(Run),
    Status(Status),
    Explain(Explain),
}

/// Do what is due now, a part of each queue (operators)
#[derive(Args)]
struct Run {
    /// Only tell what goes next, and when
    #[arg(long)]
    dry_run: bool,
    /// Take the clock for right although it jumped
    #[arg(long, conflicts_with = "dry_run")]
    force: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Show what waits (operators)
#[derive(Args)]
struct Status {
    #[command(flatten)]
    connection: Connection,
}

/// Tell why a blob or manifest is kept, or when it goes
#[derive(Args)]
#[command(after_help = "\
Example:
  berth gc explain sha256:4bf92f3577b34da6a3ce929d0e0e4736…

Operators who name no workspace are told of all repositories, everybody else of
those of the workspace.")]
struct Explain {
    /// Its digest
    digest: String,
    #[command(flatten)]
    connection: Connection,
}

impl Gc {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self.command {
            None => self.run.run(context),
            Some(Command::Run(run)) => run.run(context),
            Some(Command::Status(status)) => status.run(context),
            Some(Command::Explain(explain)) => explain.run(context),
        }
    }
}

impl Run {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let format = self.connection.format;
        let client = self.connection.client(context)?;
        if self.dry_run {
            let preview = client.get(&["collection", "preview"])?;
            let items = waiting(&preview);
            return table(
                context,
                format,
                &WAITING,
                &preview,
                items,
                "things that wait",
            );
        }
        let done = client.post(&["collection", "run"], &json!({"force": self.force}))?;
        match format {
            Format::Json => return Ok(context.output.outcome(format, &done, &[])?),
            Format::Table => context
                .output
                .record(format, &COLLECTED, &done["collected"])?,
        }
        for error in done["errors"].as_array().into_iter().flatten() {
            let text = error.as_str().unwrap_or_default();
            context.output.note(&format!("warning: {text}"))?;
        }
        if done["more"] == true {
            context
                .output
                .note("More is due: run it again, or let the server go on.")?;
        }
        Ok(())
    }
}

/// A list that is a part of an answer: a table of it to people, the whole answer to programs.
pub(super) fn table(
    context: &mut Context<'_>,
    format: Format,
    columns: &[Column],
    answer: &Value,
    rows: Vec<Value>,
    noun: &str,
) -> anyhow::Result<()> {
    match format {
        Format::Json => Ok(context.output.outcome(format, answer, &[])?),
        Format::Table => {
            let page: anyhow::Result<_> = Ok(rows);
            context.output.pages(format, columns, [page], noun)
        }
    }
}

/// The items of all queues, each with the name of its own.
fn waiting(preview: &Value) -> Vec<Value> {
    let mut rows = Vec::new();
    for queue in preview["queues"].as_array().into_iter().flatten() {
        for item in queue["items"].as_array().into_iter().flatten() {
            let mut row = item.clone();
            row["queue"] = queue["name"].clone();
            rows.push(row);
        }
    }
    rows
}

impl Status {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let format = self.connection.format;
        let client = self.connection.client(context)?;
        let status = client.get(&["collection"])?;
        let queues = status["queues"].as_array().cloned().unwrap_or_default();
        table(context, format, &QUEUES, &status, queues, "queues")?;
        if let Some(seconds) = status["paused"]["clockJumpedSeconds"].as_i64() {
            context.output.note(&format!(
                "warning: nothing is collected, since the clock jumped by {seconds} seconds"
            ))?;
        }
        Ok(())
    }
}

impl Explain {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let format = self.connection.format;
        let client = self.connection.client(context)?;
        let explained = client.get(&["collection", "explain", &self.digest])?;
        let places = explained["places"].as_array().cloned().unwrap_or_default();
        table(context, format, &PLACES, &explained, places, "repositories")?;
        if let Some(summary) = explained["summary"].as_str() {
            context.output.note(summary)?;
        }
        Ok(())
    }
}
