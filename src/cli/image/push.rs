//! `berth image push`: brings an image into the registry and says how templates name it.
//!
//! Here is what every way of pushing has in common: the credential, the names, and the words at the end.

mod daemon;
mod direct;
mod display;
pub(in crate::cli) mod files;
pub(in crate::cli) mod layout;
pub(in crate::cli) mod registry;
mod saved;
mod sessions;

use std::path::PathBuf;

use anyhow::Context as _;
use berth::config::Secret;
use berth::oci::WrittenReference;
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::super::Context;
use super::super::client::Client;
use super::super::connection::Connection;
use super::super::output::Output;

/// The tag of an image that is named without one.
const DEFAULT_TAG: &str = "latest";

/// What a push asks to be allowed.
const ACTIONS: [&str; 2] = ["pull", "push"];

/// Push an image from docker, or from files, to your workspace
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth image push my-app:v1 -t my-app:v1
  berth image push my-app:v1 -t team/app:v1 -o json | jq -r .pullImage
  berth image push --from ./layout -t my-app:v1
  berth image push --from images.tar my-app:v1 -t my-app:v1

Takes the image from the Docker daemon that the docker command would use, and
pushes it with a short-lived credential that reaches this image alone. It needs
no `docker login`. The last line is the reference for templates.

With --from it needs no daemon: the image lies in an OCI layout, as a folder or
as a tar archive, or in what `docker save` writes. Only what the registry lacks
is sent, and a push that broke off goes on where it was when it is repeated.")]
pub(in crate::cli) struct Push {
    /// The image, as `docker images` or the files name it; files with one image need no name
    #[arg(required_unless_present = "from")]
    image: Option<String>,
    /// An OCI layout (a folder or a tar archive), or an archive of `docker save`
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// What it is called in your workspace, such as my-app:v1
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    target: String,
    #[command(flatten)]
    connection: Connection,
}

/// Where an image goes, and with what right.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    push_image: String,
    pull_image: String,
    username: String,
    password: Secret,
}

impl Push {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let client = self.connection.client(context)?;
        // Looked at first: an image that is not there needs no credential.
        let (destination, digest) = match &self.from {
            None => {
                let name = self.image.as_deref().unwrap_or_default();
                let source = daemon::Source::find(context, name)?;
                let destination = Destination::ask(&client, &self.target)?;
                let digest = source.push(&destination, &mut context.output)?;
                (destination, digest)
            }
            Some(from) => {
                let source = direct::Source::find(context, from, self.image.as_deref())?;
                let destination = Destination::ask(&client, &self.target)?;
                // A mount reads other images of the workspace, which the credential for this one does not.
                let login =
                    client.post(&["registry", "credentials"], &json!({ "actions": ACTIONS }))?;
                let login = serde_json::from_value(login)
                    .context("the server's answer is not a credential")?;
                let digest =
                    source.push(&destination, login, client.base(), &mut context.output)?;
                (destination, digest)
            }
        };
        self.tell(&destination, &digest, &mut context.output)
    }

    /// The words at the end, which scripts rely on.
    fn tell(
        &self,
        destination: &Destination,
        digest: &str,
        output: &mut Output<'_>,
    ) -> anyhow::Result<()> {
        let Destination {
            push_image,
            pull_image,
            ..
        } = destination;
        let answer = json!({ "digest": digest, "pushImage": push_image, "pullImage": pull_image });
        let sentences = [
            format!("Digest: {digest}"),
            format!("Image pushed successfully: {push_image}"),
            format!("Template image reference: {pull_image}"),
        ];
        output.outcome(self.connection.format, &answer, &sentences)?;
        Ok(())
    }
}

impl Destination {
    /// Asks for a credential for this image alone. What is wrong with the name the server says.
    fn ask(client: &Client, target: &str) -> anyhow::Result<Self> {
        let body = json!({ "targetImage": target, "actions": ACTIONS });
        let answer = client.post(&["registry", "credentials"], &body)?;
        let mut destination: Self =
            serde_json::from_value(answer).context("the server's answer is not a credential")?;
        for reference in [&mut destination.push_image, &mut destination.pull_image] {
            if WrittenReference::split(reference).tag.is_none() {
                reference.push_str(&format!(":{DEFAULT_TAG}"));
            }
        }
        Ok(destination)
    }

    /// Host and repository of the push reference, its tag, and the host alone.
    fn parts(&self) -> (&str, &str, &str) {
        let (repository, tag) = self
            .push_image
            .rsplit_once(':')
            .unwrap_or((&self.push_image, DEFAULT_TAG));
        let host = WrittenReference::split(&self.push_image).host;
        (repository, tag, host.unwrap_or_default())
    }
}
