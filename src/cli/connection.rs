//! Which server a client command speaks to, as whom and for which workspace.
//!
//! Flags win over the environment, and that over what `berth login` saved. A saved key goes to the URL it was saved
//! with and nowhere else.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use berth::config::Secret;
use clap::Args;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Context;
use super::client::Client;
use super::output::Format;

/// Where a server listens unless something else is said.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:5000";

/// The largest saved file that is read, in bytes.
const SAVED_LIMIT_BYTES: u64 = 64 * 1024;

/// The flags every client command takes.
#[derive(Args)]
pub(super) struct Connection {
    #[command(flatten)]
    pub(super) server: Server,
    /// How the result is printed
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value = "table",
        help_heading = "Connection"
    )]
    pub(super) format: Format,
}

/// Those of them that say which server is asked, and by whom.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(super) struct Server {
    /// The server's URL [env: BERTH_URL] [default: the saved one, else http://127.0.0.1:5000]
    #[arg(long, value_name = "URL")]
    pub(super) url: Option<String>,
    /// The API key; others on this machine can see it here [env: BERTH_API_KEY]
    #[arg(long, value_name = "KEY")]
    pub(super) api_key: Option<String>,
    /// The workspace an operator's key acts in [env: BERTH_WORKSPACE]
    #[arg(long, value_name = "NAME")]
    pub(super) workspace: Option<String>,
}

/// A server, and who asks.
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) api_key: Option<Secret>,
    pub(super) workspace: Option<String>,
}

/// What `berth login` saves.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) url: String,
    pub(super) api_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workspace: Option<String>,
}

impl Connection {
    /// A client with a key, or an error that says how to get one.
    pub(super) fn client(&self, context: &mut Context<'_>) -> anyhow::Result<Client> {
        self.server.client(context)
    }
}

impl Server {
    /// No flags: the environment and the saved login alone.
    pub(super) fn from_environment() -> Self {
        Self {
            url: None,
            api_key: None,
            workspace: None,
        }
    }

    /// Where requests go and who sends them, by the flags, the environment and the saved login.
    pub(super) fn target(&self, context: &Context<'_>) -> anyhow::Result<Target> {
        let saved = saved_path(context)
            .map(|path| load(&path))
            .transpose()?
            .flatten();
        self.resolve(context, saved)
    }

    /// A client with a key, or an error that says how to get one.
    pub(super) fn client(&self, context: &mut Context<'_>) -> anyhow::Result<Client> {
        let target = self.target(context)?;
        let api_key = target.api_key.context(
            "no API key: run `berth login`, or set BERTH_API_KEY; a new installation's first key is in main.key in \
             its data folder",
        )?;
        warn_of_plain_http(context, &target.url)?;
        Ok(Client::new(&target.url, &api_key, target.workspace)?)
    }

    /// Applies the order of precedence.
    pub(super) fn resolve(
        &self,
        context: &Context<'_>,
        saved: Option<Saved>,
    ) -> anyhow::Result<Target> {
        let given = |flag: &Option<String>, variable: &str| {
            flag.clone()
                .or_else(|| context.variable(variable).map(str::to_owned))
        };
        let saved_url = saved
            .as_ref()
            .map(|saved| parse_url(&saved.url).context("in the saved login"))
            .transpose()?;
        let url = match given(&self.url, "BERTH_URL") {
            Some(url) => parse_url(&url)?,
            None => match &saved_url {
                Some(url) => url.clone(),
                None => parse_url(DEFAULT_URL)?,
            },
        };
        let given_key = given(&self.api_key, "BERTH_API_KEY");
        // A key of one server must not be shown to another, and a saved workspace belongs to the saved key.
        let saved = saved.filter(|_| given_key.is_none() && saved_url.as_ref() == Some(&url));
        let (saved_key, saved_workspace) =
            saved.map_or((None, None), |saved| (Some(saved.api_key), saved.workspace));
        Ok(Target {
            url,
            api_key: given_key.or(saved_key).map(Secret::new),
            workspace: given(&self.workspace, "BERTH_WORKSPACE").or(saved_workspace),
        })
    }
}

/// Says so when a key is about to travel where others can read it.
pub(super) fn warn_of_plain_http(context: &mut Context<'_>, url: &Url) -> io::Result<()> {
    if url.scheme() == "http" && !is_loopback(url) {
        context.output.note(&format!(
            "warning: the API key travels to {} without encryption; use https",
            url.host_str().unwrap_or_default()
        ))?;
    }
    Ok(())
}

/// Whether `url` is on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Parses a server's URL; a bare host is refused with a hint.
pub(super) fn parse_url(text: &str) -> anyhow::Result<Url> {
    let url = Url::parse(text.trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .with_context(|| {
            format!(
                "{text:?} is not a URL of a server; write one such as https://registry.example.com"
            )
        })?;
    anyhow::ensure!(
        url.username().is_empty() && url.password().is_none(),
        "the URL holds a user name or a password; give the API key by --api-key or BERTH_API_KEY"
    );
    anyhow::ensure!(
        url.query().is_none() && url.fragment().is_none(),
        "{text:?} has a query or a fragment; write a URL such as https://registry.example.com"
    );
    Ok(url)
}

/// Where a login is saved; nothing when no home folder is known.
pub(super) fn saved_path(context: &Context<'_>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        context
            .variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CONFIG_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("berth").join("config.toml"))
}

/// Reads a saved login; nothing when there is none.
fn load(path: &Path) -> anyhow::Result<Option<Saved>> {
    let mut text = String::new();
    let read = fs::File::open(path)
        .and_then(|file| file.take(SAVED_LIMIT_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    }
    // The parser's message is not shown: it could repeat a line with the key.
    toml::from_str(&text).map(Some).map_err(|_| {
        anyhow::anyhow!(
            "{} is not a saved login; run `berth login` again",
            path.display()
        )
    })
}

impl Saved {
    /// Writes the login so that only its owner can read it, whole or not at all.
    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = toml::to_string(self)?;
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)?;
            }
            let unfinished = path.with_extension(format!("toml.{}", std::process::id()));
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&unfinished)?;
            // The mode above counts only for a file that did not exist.
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}
