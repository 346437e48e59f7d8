//! `berth login` and `berth logout`: keep a server and a key for the next commands.

use anyhow::Context as _;
use berth::config::Secret;
use clap::Args;
use serde_json::json;

use super::Context;
use super::client::Client;
use super::connection::{self, Connection, Saved};
use super::output::Format;
use super::prompt;
use super::whoami;

/// Check an API key and save it for the next commands
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth login --url https://registry.example.com
  berth login --api-key-stdin < data/main.key
  berth login --workspace web --api-key-stdin < data/operator.key

Asks for the key on a terminal unless it is given. Saves the URL, the key and
the workspace in $XDG_CONFIG_HOME/berth/config.toml, which only you can read.
This is the login of `berth`; for docker see `berth credentials`.")]
pub(super) struct Login {
    /// Read the API key from standard input
    #[arg(long, conflicts_with = "api_key")]
    api_key_stdin: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Forget the saved API key
#[derive(Args)]
#[command(after_help = "\
Removes the saved login from this machine. The key itself stays valid:
`berth api-key rm` ends it.")]
pub(super) struct Logout {}

impl Login {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let path = connection::saved_path(context)
            .context("no place to save the login: neither XDG_CONFIG_HOME nor HOME is set")?;
        let target = self.connection.server.resolve(context, None)?;
        let api_key = if self.api_key_stdin {
            Secret::new(prompt::read_line(context.input)?)
        } else if let Some(api_key) = target.api_key {
            api_key
        } else if context.input_is_terminal {
            let question = format!(
                "API key for {}: ",
                target.url.as_str().trim_end_matches('/')
            );
            Secret::new(prompt::secret(context, &question)?)
        } else {
            anyhow::bail!("no API key: pass it by --api-key-stdin or BERTH_API_KEY")
        };
        connection::warn_of_plain_http(context, &target.url)?;
        let client = Client::new(&target.url, &api_key, target.workspace.clone())?;
        let principal = whoami::principal(&client)?;
        if let Some(named) = &target.workspace {
            match &principal.workspace {
                Some(own) => anyhow::ensure!(
                    own == named,
                    "this key belongs to workspace {own}, not to {named}"
                ),
                // An operator's key belongs to none; the name is worth a check before it is saved.
                None => drop(client.get(&["workspaces", named])?),
            }
        }
        let workspace = target.workspace.or(principal.workspace);
        let url = target.url.as_str().trim_end_matches('/').to_owned();
        Saved {
            url: url.clone(),
            api_key: api_key.expose().to_owned(),
            workspace: workspace.clone(),
        }
        .save(&path)?;
        let role = principal.role.unwrap_or_else(|| String::from("unknown"));
        match self.connection.format {
            Format::Json => context.output.record(
                Format::Json,
                &[],
                &json!({ "url": url, "role": role, "workspace": workspace }),
            )?,
            Format::Table => {
                let place = workspace
                    .map(|workspace| format!(" in workspace {workspace}"))
                    .unwrap_or_default();
                context.output.done(
                    Format::Table,
                    &format!(
                        "Logged in to {url} as {role}{place}; saved in {}.",
                        path.display()
                    ),
                )?;
            }
        }
        Ok(())
    }
}

impl Logout {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let path = connection::saved_path(context)
            .context("no saved login: neither XDG_CONFIG_HOME nor HOME is set")?;
        match std::fs::remove_file(&path) {
            Ok(()) => context.output.done(
                Format::Table,
                &format!("Logged out; {} is removed.", path.display()),
            )?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                context.output.note("Nobody is logged in.")?;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot remove {}", path.display()));
            }
        }
        Ok(())
    }
}
