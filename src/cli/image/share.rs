//! Commands of the workspace that shares an image. Those of the other side are in `berth share`.

use clap::Args;
use serde_json::Value;

use super::super::Context;
use super::super::client::body;
use super::super::connection::Connection;
use super::super::output::{Column, shown};
use super::name;

const COLUMNS: [Column; 7] = [
    ("Workspace", "workspace"),
    ("Account id", "accountId"),
    ("Status", "status"),
    ("Alias", "alias"),
    ("Pending share", "pendingShareId"),
    ("Shared by", "sharedBy"),
    ("Created", "createdAt"),
];

/// Let another workspace pull an image, without a copy (admins)
#[derive(Args)]
#[command(
    mut_arg("workspace", |own| own.long("source-workspace")),
    after_help = "\
Examples:
  berth image share team/app --workspace web
  berth image share team/app --workspace web --alias shop/app
  berth image share team/app --workspace theirs --account 5f0c…

The other workspace sees all its tags, now and later, under its own prefix. In
your account that is so at once. In another one, whose id you give, an admin of
the other workspace accepts first; they find the id with `berth whoami`."
)]
pub(in crate::cli) struct Share {
    /// The image, without a tag
    name: String,
    /// The workspace that is to see it
    #[arg(long = "workspace", value_name = "WORKSPACE")]
    target: String,
    /// The id of that workspace's account, if it is not yours
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// What it is called there [default: the same]
    #[arg(long, value_name = "NAME")]
    alias: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Take a share back, or the offer of one (admins)
#[derive(Args)]
#[command(
    mut_arg("workspace", |own| own.long("source-workspace")),
    after_help = "\
Examples:
  berth image unshare team/app --workspace web
  berth image unshare team/app --workspace web --force

Pulls by the other workspace end within five seconds. It is refused while they
hold leases on the image, unless forced."
)]
pub(in crate::cli) struct Unshare {
    /// The image
    name: String,
    /// The workspace that it is shared with
    #[arg(long = "workspace", value_name = "WORKSPACE")]
    target: String,
    /// Even if that workspace has leases on it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    connection: Connection,
}

/// List the workspaces that an image is shared with
#[derive(Args)]
pub(in crate::cli) struct Shares {
    /// The image
    name: String,
    #[command(flatten)]
    connection: Connection,
}

impl Share {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let image = name::whole(&self.name)?;
        let alias = self.alias.as_deref().map(name::whole).transpose()?;
        let body = body([
            ("targetWorkspace", Some(Value::from(self.target.as_str()))),
            ("targetAccountId", self.account.map(Value::from)),
            ("alias", alias.map(|alias| Value::from(alias.as_str()))),
        ]);
        let client = self.connection.client(context)?;
        let share = client.post(&name::path(&image, &["-", "share"]), &body)?;
        let sentences = said(image.as_str(), &self.target, &share);
        context
            .output
            .outcome(self.connection.format, &share, &sentences)?;
        Ok(())
    }
}

/// How a share stands, and who has to do what.
fn said(image: &str, target: &str, share: &Value) -> Vec<String> {
    if share["status"] == "active" {
        let alias = share["alias"].as_str().unwrap_or(image);
        return vec![format!(
            "{image} is shared with workspace {target}, where it is called {alias}."
        )];
    }
    let mut lines = vec![format!(
        "The share of {image} with workspace {target} is pending."
    )];
    let id = share["pendingShareId"].as_str().or(share["id"].as_str());
    if let Some(id) = id {
        let until = match &share["expiresAt"] {
            until @ Value::String(_) => format!(" until {}", shown("expiresAt", until)),
            _ => String::new(),
        };
        lines.push(format!(
            "An admin of {target} accepts it{until} with: berth share accept {id}"
        ));
    }
    lines
}

impl Unshare {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let image = name::whole(&self.name)?;
        let query: &[_] = if self.force {
            &[("force", "true")]
        } else {
            &[]
        };
        let client = self.connection.client(context)?;
        let ended = client.delete(&name::path(&image, &["-", "share", &self.target]), query)?;
        let text = format!(
            "{image} is no longer shared with workspace {}.",
            self.target
        );
        context
            .output
            .outcome(self.connection.format, &ended, &[text])?;
        Ok(())
    }
}

impl Shares {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let image = name::whole(&self.name)?;
        let client = self.connection.client(context)?;
        let shares = client.pages(&name::path(&image, &["-", "share"]), &[])?;
        context
            .output
            .pages(self.connection.format, &COLUMNS, shares, "shares")
    }
}
