//! `berth credentials`: short-lived registry credentials, and their end.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::connection::Connection;
use super::output::{self, Column, Format};
use super::units;

const COLUMNS: [Column; 8] = [
    ("Push registry", "pushRegistry"),
    ("Pull registry", "pullRegistry"),
    ("Push image", "pushImage"),
    ("Pull image", "pullImage"),
    ("Username", "username"),
    ("Password", "password"),
    ("Expires", "expiresAt"),
    ("Id", "credentialId"),
];

/// Get a registry credential for your workspace, or revoke one
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  berth credentials --docker-login             Let docker push and pull
  berth credentials -t my-app:v1 --actions push
  berth credentials -o json | jq -r .password
  berth credentials revoke 6f1c…

The credential reaches your workspace's images and no others. A table masks
the password; -o json prints it. DOCKER names another program than docker."
)]
pub(super) struct Credentials {
    #[command(subcommand)]
    command: Option<Subcommands>,
    #[command(flatten)]
    issue: Issue,
}

#[derive(Subcommand)]
enum Subcommands {
    Revoke(Revoke),
}

#[derive(Args)]
struct Issue {
    /// Only for this image, such as my-app:v1
    #[arg(short = 't', long = "target", value_name = "IMAGE")]
    target_image: Option<String>,
    /// What it may do; separated by commas [default: pull, and push where your role has it]
    #[arg(long, value_enum, value_delimiter = ',')]
    actions: Vec<Action>,
    /// How long it lives, such as 30m or 12h [default: the server's, one hour]
    #[arg(long, value_name = "TIME", value_parser = units::seconds)]
    expires_in: Option<u64>,
    /// Hand it to `docker login` for the push registry
    #[arg(long)]
    docker_login: bool,
    #[command(flatten)]
    connection: Connection,
}

/// End registry credentials before their time (admins)
#[derive(Args)]
#[command(
    group(ArgGroup::new("which").args(["credential_id", "key_id", "all"]).required(true)),
    after_help = "\
Examples:
  berth credentials revoke 6f1c…
  berth credentials revoke --key-id 09ab…
  berth credentials revoke --all"
)]
pub(super) struct Revoke {
    /// The id of one credential
    credential_id: Option<String>,
    /// All that were issued with this API key
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// All of the workspace
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What a credential or a key may do in the registry.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    /// The actions as the API takes them.
    pub(super) fn list(actions: &[Self]) -> Value {
        actions
            .iter()
            .map(|action| match action {
                Self::Pull => "pull",
                Self::Push => "push",
                Self::Delete => "delete",
            })
            .collect()
    }
}

/// What of the answer `docker login` needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Login {
    push_registry: String,
    username: String,
    password: String,
}

impl Credentials {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        match self.command {
            Some(Subcommands::Revoke(revoke)) => revoke.run(context),
            None => self.issue.run(context),
        }
    }
}

impl Issue {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let mut body = Map::new();
        if let Some(target_image) = &self.target_image {
            body.insert(
                String::from("targetImage"),
                Value::from(target_image.as_str()),
            );
        }
        if !self.actions.is_empty() {
            body.insert(String::from("actions"), Action::list(&self.actions));
        }
        if let Some(seconds) = self.expires_in {
            body.insert(String::from("expiresInSeconds"), Value::from(seconds));
        }
        let client = self.connection.client(context)?;
        let mut credential = client.post(&["registry", "credentials"], &Value::Object(body))?;
        if self.docker_login {
            let login: Login = serde_json::from_value(credential.clone())
                .context("the server's answer is not a credential")?;
            let docker = context.variable("DOCKER").unwrap_or("docker");
            docker_login(OsStr::new(docker), &login)?;
            context
                .output
                .note(&format!("docker is logged in to {}.", host(&login)))?;
        }
        if self.connection.format == Format::Table {
            let shown = credential["password"].as_str().map(output::masked);
            credential["password"] = Value::from(shown);
        }
        context
            .output
            .record(self.connection.format, &COLUMNS, &credential)?;
        Ok(())
    }
}

impl Revoke {
    fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let (body, text) = match (self.credential_id, self.key_id) {
            (Some(id), _) => (
                json!({ "credentialId": id }),
                format!("Credential {id} is revoked."),
            ),
            (None, Some(id)) => (
                json!({ "apiKeyId": id }),
                format!("The credentials of API key {id} are revoked."),
            ),
            (None, None) => (
                json!({ "all": true }),
                String::from("All credentials of the workspace are revoked."),
            ),
        };
        let client = self.connection.client(context)?;
        client.post(&["registry", "credentials", "revoke"], &body)?;
        context.output.done(self.connection.format, &text)?;
        Ok(())
    }
}

/// The host of a registry, without the prefix of the workspace: docker stores credentials by host.
fn host(login: &Login) -> &str {
    login.push_registry.split('/').next().unwrap_or_default()
}

/// Runs `docker login`; the password goes in by standard input, where no process list shows it.
fn docker_login(docker: &OsStr, login: &Login) -> anyhow::Result<()> {
    let mut process = Command::new(docker)
        .args(["login", "--username", &login.username, "--password-stdin"])
        .arg(host(login))
        .stdin(Stdio::piped())
        // Its words are no result of ours: they would spoil the JSON. Its errors and warnings stay to be seen.
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {}", docker.display()))?;
    if let Some(mut stdin) = process.stdin.take() {
        // A docker that ends early tells why by its exit code.
        let _ = stdin.write_all(login.password.as_bytes());
    }
    let status = process.wait().context("cannot wait for docker")?;
    anyhow::ensure!(status.success(), "docker login failed ({status})");
    Ok(())
}
