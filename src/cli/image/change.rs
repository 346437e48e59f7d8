//! Commands that move tags and change the settings of an image.

use anyhow::Context as _;
use berth::oci::Reference;
use clap::{ArgGroup, Args, ValueEnum};
use serde_json::{Value, json};

use super::super::Context;
use super::super::client::body;
use super::super::connection::Connection;
use super::look::{COLUMNS, TAG_COLUMNS};
use super::name::{self, Named};

/// Let a tag name what another tag, or a digest, names
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image tag team/app:v1 stable
  berth image tag team/app@sha256:… stable
  berth image tag team/app:v2 stable --if-match sha256:…

Nothing is copied: the new tag names the same manifest. What a moved tag named
before is in `berth image history`.")]
pub(in crate::cli) struct Tag {
    /// What is to be named, such as team/app:v1 or team/app@sha256:…
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The tag of the same image that is to name it
    #[arg(value_name = "NEW-TAG")]
    tag: String,
    /// Only if the tag names this now
    #[arg(long, value_name = "DIGEST")]
    if_match: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Change the settings of an image (admins)
#[derive(Args)]
#[command(
    group(
        ArgGroup::new("change")
            .args(["protected", "immutable_tags", "visibility"])
            .required(true)
            .multiple(true)
    ),
    after_help = "\
Examples:
  berth image set team/app --protected true
  berth image set team/app --immutable-tags 'v*'
  berth image set base --visibility platform"
)]
pub(in crate::cli) struct Set {
    /// The image
    name: String,
    /// Whether it is kept from being deleted
    #[arg(long, value_name = "true|false", action = clap::ArgAction::Set)]
    protected: Option<bool>,
    /// Which tags stay what they are: true for all, false for none, or a pattern such as v*
    #[arg(long, value_name = "WHICH")]
    immutable_tags: Option<String>,
    /// Who may pull it
    #[arg(long, value_enum, value_name = "WHO")]
    visibility: Option<Visibility>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
enum Visibility {
    /// Its workspace, and those it is shared with
    Private,
    /// Every workspace, by its full name; operators, and admins where the server lets them
    Platform,
}

impl Tag {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let Named { image, reference } = Named::parse(&self.source)?;
        let reference = reference.with_context(|| {
            format!("{image} is a whole image; write what is to be named, such as {image}:v1")
        })?;
        let tag = name::parsed_tag(&self.tag)?;
        let if_match = self.if_match.as_deref().map(name::parsed_digest);
        let if_match = if_match.transpose()?;
        let client = self.connection.client(context)?;
        let digest = match reference {
            Reference::Digest(digest) => digest,
            Reference::Tag(source) => {
                let found = client.get(&name::path(&image, &["-", "tags", source.as_str()]))?;
                let digest = found["digest"].as_str();
                name::parsed_digest(digest.context("the server's answer has no digest")?)?
            }
        };
        let path = name::path(&image, &["-", "tags", tag.as_str()]);
        let moved = client.put(&path, &json!({ "digest": digest }), if_match.as_ref())?;
        context
            .output
            .record(self.connection.format, &TAG_COLUMNS, &moved)?;
        Ok(())
    }
}

impl Set {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let image = name::whole(&self.name)?;
        let immutable_tags = self.immutable_tags.map(|tags| match tags.as_str() {
            "true" => Value::from(true),
            "false" => Value::from(false),
            _ => Value::from(tags),
        });
        let visibility = self.visibility.map(|visibility| match visibility {
            Visibility::Private => "private",
            Visibility::Platform => "platform",
        });
        let body = body([
            ("protected", self.protected.map(Value::from)),
            ("immutableTags", immutable_tags),
            ("visibility", visibility.map(Value::from)),
        ]);
        let client = self.connection.client(context)?;
        let changed = client.patch(&name::path(&image, &[]), &body)?;
        // The newest tag is no setting.
        let columns = COLUMNS.iter().filter(|(_, field)| *field != "latest");
        let columns: Vec<_> = columns.copied().collect();
        context
            .output
            .record(self.connection.format, &columns, &changed)?;
        Ok(())
    }
}
