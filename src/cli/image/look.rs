//! Commands that look at images and change nothing.

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::super::Context;
use super::super::connection::Connection;
use super::super::output::{Column, Format, short_digest};
use super::name;

const LIST_COLUMNS: [Column; 9] = [
    ("Name", "name"),
    ("From", "sourceWorkspace"),
    ("Visibility", "visibility"),
    ("Tags", "tagCount"),
    ("Size", "sizeBytes"),
    ("Shares", "sharedWithCount"),
    ("Leases", "leaseCount"),
    ("Pushed", "pushedAt"),
    ("Last pulled", "lastPulledAt"),
];

pub(super) const COLUMNS: [Column; 16] = [
    ("Name", "name"),
    ("Repository", "repository"),
    ("Pull reference", "pullReference"),
    ("Shared by", "sourceWorkspace"),
    ("Of account", "sourceAccountId"),
    ("Visibility", "visibility"),
    ("Protected", "protected"),
    ("Immutable tags", "immutableTags"),
    ("Tags", "tagCount"),
    ("Latest", "latest"),
    ("Size", "sizeBytes"),
    ("Shares", "sharedWithCount"),
    ("Leases", "leaseCount"),
    ("Created", "createdAt"),
    ("Pushed", "pushedAt"),
    ("Last pulled", "lastPulledAt"),
];

pub(super) const TAG_COLUMNS: [Column; 7] = [
    ("Tag", "name"),
    ("Digest", "digest"),
    ("Size", "sizeBytes"),
    ("Platforms", "platforms"),
    ("Updated", "updatedAt"),
    ("Last pulled", "lastPulledAt"),
    ("Leases", "leaseCount"),
];

const HISTORY_COLUMNS: [Column; 5] = [
    ("Digest", "digest"),
    ("Set", "setAt"),
    ("Set by", "setBy"),
    ("Ended", "endedAt"),
    ("Ended by", "endedBy"),
];

const RESOLVED_COLUMNS: [Column; 7] = [
    ("Kind", "kind"),
    ("Usable", "usable"),
    ("Reason", "reason"),
    ("Digest", "digest"),
    ("Pull reference", "pullReference"),
    ("Platforms", "platforms"),
    ("Size", "sizeBytes"),
];

/// List the images: your own, and those shared with you
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image ls
  berth image ls --name team/
  berth image ls --shared in
  berth image ls -o json | jq -r '.[].name'

FROM is the workspace that shared an image; your own have none.")]
pub(in crate::cli) struct List {
    /// Only some of them
    #[arg(long, value_enum, value_name = "HOW")]
    shared: Option<Shared>,
    /// Those of the platform too, which every workspace may pull
    #[arg(long)]
    platform: bool,
    /// Only images whose name begins so
    #[arg(long, value_name = "PREFIX")]
    name: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shared {
    /// Shared with you by others
    In,
    /// Your own that you share
    Out,
    /// Your own that you share with nobody
    None,
}

/// Show one image
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image show team/app
  docker pull $(berth image show team/app --latest)")]
pub(in crate::cli) struct Show {
    /// Its name
    name: String,
    /// Print the reference of the newest tag, and nothing else
    #[arg(long)]
    latest: bool,
    #[command(flatten)]
    connection: Connection,
}

/// List the tags of an image, newest first
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image tags team/app
  berth image tags team/app --sort name
  berth image tags team/app -o json | jq -r '.[0].digest'

Digests are shortened; -o json prints them whole.")]
pub(in crate::cli) struct Tags {
    /// The image
    name: String,
    /// In which order
    #[arg(long, value_enum, value_name = "ORDER", default_value = "newest")]
    sort: Sort,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    Newest,
    Name,
}

/// Show what a tag has named so far, when, and by whom
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image history team/app:stable
  berth image history team/app:stable -o json | jq -r '.[].digest'

To go back to one of them: berth image tag team/app@sha256:… stable")]
pub(in crate::cli) struct History {
    /// The tag, such as team/app:v1
    #[arg(value_name = "NAME:TAG")]
    tag: String,
    #[command(flatten)]
    connection: Connection,
}

/// Say whether your workspace can use a reference; exits with 1 if not
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image resolve team/app:v1
  berth image resolve registry.example.com/t-6a1ba868/team/app:v1
  berth image resolve alpine:3 -o json | jq -r .reason

For whoever checks a template before it is saved. Other registries are judged by
the server's configuration and not asked.")]
pub(in crate::cli) struct Resolve {
    /// The reference, as a template would have it
    reference: String,
    #[command(flatten)]
    connection: Connection,
}

impl List {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let shared = self.shared.map(|shared| match shared {
            Shared::In => "in",
            Shared::Out => "out",
            Shared::None => "none",
        });
        let query: Vec<(&str, &str)> = [
            ("shared", shared),
            ("platform", self.platform.then_some("true")),
            ("name", self.name.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
        let mut columns = LIST_COLUMNS.to_vec();
        if self.platform {
            // Those of the platform are pulled by their full name.
            columns.insert(1, ("Repository", "repository"));
        }
        let client = self.connection.client(context)?;
        let images = client.pages(&["images"], &query)?;
        context
            .output
            .pages(self.connection.format, &columns, images, "images")
    }
}

impl Show {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let image = name::whole(&self.name)?;
        let client = self.connection.client(context)?;
        let mut shown = client.get(&name::path(&image, &[]))?;
        let format = self.connection.format;
        if self.latest {
            anyhow::ensure!(!shown["latest"].is_null(), "image {image} has no tags");
            let reference = latest(&shown).context("the server's answer has no reference")?;
            match format {
                Format::Table => context.output.done(format, &reference)?,
                Format::Json => context
                    .output
                    .record(format, &[], &Value::from(reference))?,
            }
            return Ok(());
        }
        if format == Format::Table {
            shown["latest"] = summary(&shown["latest"]);
        }
        context.output.record(format, &COLUMNS, &shown)?;
        Ok(())
    }
}

/// The full reference of an image's newest tag.
fn latest(image: &Value) -> Option<String> {
    let repository = image["pullReference"].as_str()?;
    let tag = image["latest"]["name"].as_str()?;
    Some(format!("{repository}:{tag}"))
}

/// A tag in a few words.
fn summary(tag: &Value) -> Value {
    let text = |field: &str| tag[field].as_str();
    match (text("name"), text("digest")) {
        (Some(name), Some(digest)) => Value::from(format!("{name} ({})", short_digest(digest))),
        _ => Value::Null,
    }
}

impl Tags {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let image = name::whole(&self.name)?;
        let query: &[_] = match self.sort {
            Sort::Newest => &[],
            Sort::Name => &[("sort", "name")],
        };
        let client = self.connection.client(context)?;
        let tags = client.pages(&name::path(&image, &["-", "tags"]), query)?;
        context
            .output
            .pages(self.connection.format, &TAG_COLUMNS, tags, "tags")
    }
}

impl History {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let (image, tag) = name::tagged(&self.tag)?;
        let path = name::path(&image, &["-", "tags", tag.as_str(), "history"]);
        let client = self.connection.client(context)?;
        let history = client.pages(&path, &[])?;
        let format = self.connection.format;
        context
            .output
            .pages(format, &HISTORY_COLUMNS, history, "history")
    }
}

impl Resolve {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        let body = json!({ "image": self.reference });
        let resolved = client.post(&["images", "resolve"], &body)?;
        context
            .output
            .record(self.connection.format, &RESOLVED_COLUMNS, &resolved)?;
        if resolved["usable"] != true {
            let reason = resolved["reason"].as_str();
            let reason = reason.map(|reason| format!(": {reason}"));
            anyhow::bail!(
                "{} cannot be used{}",
                self.reference,
                reason.unwrap_or_default()
            );
        }
        Ok(())
    }
}
