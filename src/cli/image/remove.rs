//! `berth image rm`: deletes, and says how to undo it.

use berth::oci::Reference;
use clap::Args;
use serde_json::Value;

use super::super::Context;
use super::super::connection::Connection;
use super::super::output::shown;
use super::super::prompt::Consent;
use super::name::{self, Named};

/// Delete a whole image, one tag or one manifest
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image rm team/app:v1               The tag; what it names stays
  berth image rm team/app@sha256:…         The manifest, and the tags that name it
  berth image rm team/app                  All of the image

Before a whole image is deleted, you are asked on a terminal. What is shared,
leased or protected is not deleted. What was deleted comes back with `berth
deletions restore` until its time is over.")]
pub(in crate::cli) struct Remove {
    /// The image, the tag or the manifest
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// Even if other workspaces have leases on it (admins)
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    connection: Connection,
}

impl Remove {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let Named { image, reference } = Named::parse(&self.name)?;
        let client = self.connection.client(context)?;
        let named = reference.as_ref().map(ToString::to_string);
        let rest = match (&reference, &named) {
            (Some(Reference::Tag(_)), Some(tag)) => vec!["-", "tags", tag],
            (Some(Reference::Digest(_)), Some(digest)) => vec!["-", "manifests", digest],
            (_, _) => {
                let question = format!("Delete the whole image {image} with all its tags?");
                self.consent.ask(context, &question)?;
                Vec::new()
            }
        };
        let query: &[_] = if self.force {
            &[("force", "true")]
        } else {
            &[]
        };
        let deletion = client.delete(&name::path(&image, &rest), query)?;
        let sentences = [
            format!("{} is deleted{}.", self.name, extent(&deletion)),
            way_back(&deletion),
        ];
        context
            .output
            .outcome(self.connection.format, &deletion, &sentences)?;
        Ok(())
    }
}

/// What went with it.
fn extent(deletion: &Value) -> String {
    let count = |field: &str, one: &str| match deletion[field].as_array().map(Vec::len) {
        None | Some(0) => None,
        Some(1) => Some(format!("1 {one}")),
        Some(count) => Some(format!("{count} {one}s")),
    };
    let bytes =
        Some(&deletion["bytes"]).filter(|bytes| bytes.as_u64().is_some_and(|size| size > 0));
    let parts: Vec<String> = [
        count("tags", "tag"),
        count("digests", "manifest"),
        bytes.map(|bytes| shown("bytes", bytes)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(" ({})", parts.join(", "))
}

fn way_back(deletion: &Value) -> String {
    match (deletion["id"].as_str(), &deletion["restorableUntil"]) {
        (Some(id), until @ Value::String(_)) => format!(
            "Until {} it comes back with: berth deletions restore {id}",
            shown("restorableUntil", until)
        ),
        _ => String::from("It cannot be restored: this server keeps nothing that is deleted."),
    }
}
