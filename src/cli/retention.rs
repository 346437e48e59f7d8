//! `berth retention`: what goes by itself.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use berth::oci::ImageName;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::client::body;
use super::connection::Connection;
use super::gc::table;
use super::image::name;
use super::output::{Column, Format};

/// The largest file with a policy that is read, in bytes.
const POLICY_LIMIT_BYTES: u64 = 1024 * 1024;

const VERDICTS: [Column; 6] = [
    ("Image", "image"),
    ("Tag", "tag"),
    ("Digest", "digest"),
    ("Goes", "goes"),
    ("Size", "sizeBytes"),
    ("Why", "reason"),
];

/// Say which tags go by themselves, and when manifests without a tag do
#[derive(Subcommand)]
#[command(after_help = "\
Examples:
  berth retention show
  berth retention set --untagged-days 14
  berth retention set team/app --tags 'pr-*' --keep-last 10 --older-than-days 30
  berth retention preview team/app
  berth retention clear team/app

Without an image it is about all images of the workspace that have no policy of
their own. What goes can be restored: see `berth deletions`. What is leased,
shared, protected or needed by an index does not go.")]
pub(super) enum Retention {
    Show(Show),
    Set(Set),
    Preview(Preview),
    Clear(Clear),
}

/// Show the policy that holds
#[derive(Args)]
pub(super) struct Show {
    /// The image; without it, the workspace
    image: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Set the policy, in place of the one that was (admins)
#[derive(Args)]
#[command(group(ArgGroup::new("rule").args(["keep_last", "older_than_days", "not_pulled_days"]).multiple(true).requires("tags")))]
pub(super) struct Set {
    /// The image; without it, the workspace
    image: Option<String>,
    #[command(flatten)]
    policy: Policy,
    #[command(flatten)]
    connection: Connection,
}

/// A policy as it is typed: one rule at most; a file has room for more.
#[derive(Args)]
struct Policy {
    /// After how many days without a tag a manifest goes
    #[arg(long, value_name = "DAYS", conflicts_with = "file")]
    untagged_days: Option<u32>,
    /// A pattern of tags that stay whatever the rule says; may be repeated
    #[arg(long, value_name = "PATTERN", conflicts_with = "file")]
    keep_tag: Vec<String>,
    /// A pattern of tags that go, such as 'pr-*'; may be repeated
    #[arg(
        long,
        value_name = "PATTERN",
        conflicts_with = "file",
        requires = "rule"
    )]
    tags: Vec<String>,
    /// Of them, how many of the newest stay
    #[arg(long, value_name = "NUMBER")]
    keep_last: Option<u32>,
    /// How old they are when they go
    #[arg(long, value_name = "DAYS")]
    older_than_days: Option<u32>,
    /// For how long nobody has pulled them when they go
    #[arg(long, value_name = "DAYS")]
    not_pulled_days: Option<u32>,
    /// Read the policy from a file with JSON, - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Tell what the policy would do now
#[derive(Args)]
pub(super) struct Preview {
    /// The image; without it, the workspace
    image: Option<String>,
    /// Try this policy in place of the one that holds: a file with JSON, - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Take the policy away: everything stays, or an image follows its workspace (admins)
#[derive(Args)]
pub(super) struct Clear {
    /// The image; without it, the workspace
    image: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Where the policy of an image or of the workspace is.
struct Place(Option<ImageName>);

impl Place {
    fn of(image: Option<&str>) -> anyhow::Result<Self> {
        image.map(name::whole).transpose().map(Self)
    }

    fn path<'a>(&'a self, rest: &[&'a str]) -> Vec<&'a str> {
        let mut parts = match &self.0 {
            None => vec!["retention"],
            Some(image) => name::path(image, &["-", "retention"]),
        };
        parts.extend(rest);
        parts
    }
}

impl Retention {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self {
            Self::Show(show) => {
                let place = Place::of(show.image.as_deref())?;
                let client = show.connection.client(context)?;
                let view = client.get(&place.path(&[]))?;
                tell(context, show.connection.format, &view)
            }
            Self::Set(set) => {
                let place = Place::of(set.image.as_deref())?;
                let policy = set.policy.read(context)?;
                let client = set.connection.client(context)?;
                let view = client.put(&place.path(&[]), &policy, None)?;
                tell(context, set.connection.format, &view)
            }
            Self::Preview(preview) => preview.run(context),
            Self::Clear(clear) => {
                let place = Place::of(clear.image.as_deref())?;
                let client = clear.connection.client(context)?;
                let view = client.delete(&place.path(&[]), &[])?;
                tell(context, clear.connection.format, &view)
            }
        }
    }
}

impl Policy {
    fn read(&self, context: &mut Context<'_>) -> anyhow::Result<Value> {
        if let Some(file) = &self.file {
            return read(context, file);
        }
        let mut rules = Vec::new();
        if !self.tags.is_empty() {
            rules.push(body([
                ("tags", Some(json!(self.tags))),
                ("keepLast", self.keep_last.map(Value::from)),
                ("olderThanDays", self.older_than_days.map(Value::from)),
                ("notPulledDays", self.not_pulled_days.map(Value::from)),
            ]));
        }
        anyhow::ensure!(
            self.untagged_days.is_some() || !rules.is_empty(),
            "say what goes: --untagged-days, or --tags with --keep-last or --older-than-days; \
             to keep everything, use `berth retention clear`"
        );
        Ok(json!({
            "untaggedDays": self.untagged_days, "keepTags": self.keep_tag, "rules": rules,
        }))
    }
}

/// A policy out of a file.
fn read(context: &mut Context<'_>, file: &PathBuf) -> anyhow::Result<Value> {
    let mut text = String::new();
    let shown = file.display();
    if file.as_os_str() == "-" {
        (&mut *context.input)
            .take(POLICY_LIMIT_BYTES)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(POLICY_LIMIT_BYTES).read_to_string(&mut text))
    }
    .with_context(|| format!("{shown} cannot be read"))?;
    serde_json::from_str(&text).with_context(|| format!("{shown} is not JSON"))
}

impl Preview {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let place = Place::of(self.image.as_deref())?;
        let request = match &self.file {
            None => json!({}),
            Some(file) => json!({"policy": read(context, file)?}),
        };
        let client = self.connection.client(context)?;
        let preview = client.post(&place.path(&["preview"]), &request)?;
        let items = preview["items"].as_array().cloned().unwrap_or_default();
        let format = self.connection.format;
        table(
            context,
            format,
            &VERDICTS,
            &preview,
            items,
            "things that a rule is about",
        )?;
        if preview["complete"] == false {
            context.output.note("There is more than is shown.")?;
        }
        Ok(())
    }
}

/// A policy in a few lines.
fn tell(context: &mut Context<'_>, format: Format, view: &Value) -> anyhow::Result<()> {
    let policy = &view["policy"];
    let mut lines = Vec::new();
    if view["inherited"] == true {
        lines.push(String::from("The policy of the workspace holds."));
    }
    lines.push(match policy["untaggedDays"].as_u64() {
        None => String::from("Manifests without a tag stay."),
        Some(days) => format!("Manifests go after {days} days without a tag."),
    });
    let list = |value: &Value| {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    for rule in policy["rules"].as_array().into_iter().flatten() {
        let mut line = format!("Tags {} go", list(&rule["tags"]));
        for (field, word) in [
            ("keepLast", "but the newest"),
            ("olderThanDays", "once they are older, in days, than"),
            ("notPulledDays", "when nobody pulled them, in days, for"),
        ] {
            if let Some(number) = rule[field].as_u64() {
                line.push_str(&format!(", {word} {number}"));
            }
        }
        lines.push(line + ".");
    }
    let kept = list(&policy["keepTags"]);
    if !kept.is_empty() {
        lines.push(format!("Tags {kept} stay."));
    }
    Ok(context.output.outcome(format, view, &lines)?)
}
