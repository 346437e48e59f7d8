//! Which registry hosts belong to which server, as the servers named them to `berth configure-docker`.
//!
//! docker asks its helpers by host. Which hosts are ours must be known before anything is asked over the network: a
//! registry may have other names than the API, and one more for pulls.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::Context;
use super::connection;
use super::whole_file::WholeFile;

/// The largest file that is read, in bytes.
const LIMIT_BYTES: u64 = 256 * 1024;

/// The servers that are kept; the one that was named least recently makes room.
const SERVERS_LIMIT: usize = 100;

/// The access of the file: it holds no secret, and nobody else needs it.
const MODE: u32 = 0o600;

/// All servers that have been named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registries {
    #[serde(default)]
    server: Vec<Registry>,
}

/// One server and what its registry is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registry {
    /// The URL that `berth` speaks to.
    pub(super) url: String,
    /// Where docker pushes and pulls.
    pub(super) hosts: Vec<String>,
    /// The user name of the credentials.
    pub(super) username: String,
}

/// Where they are kept, beside the saved login; nothing when no home folder is known.
pub(super) fn path(context: &Context<'_>) -> Option<PathBuf> {
    connection::saved_path(context).map(|path| path.with_file_name("registries.toml"))
}

impl Registries {
    /// What is kept at `path`; nothing is no error.
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let mut text = String::new();
        let read =
            fs::File::open(path).and_then(|file| file.take(LIMIT_BYTES).read_to_string(&mut text));
        match read {
            Ok(_) => toml::from_str(&text).map_err(|_| {
                anyhow::anyhow!(
                    "{} is not what `berth configure-docker` writes; remove it and run that again",
                    path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// What is known of the server at `url`.
    pub(super) fn of(&self, url: &Url) -> Option<&Registry> {
        let url = key(url);
        self.server.iter().find(|server| server.url == url)
    }

    /// The server that has a registry host of this name.
    pub(super) fn with_host(&self, host: &str) -> Option<&Registry> {
        self.server.iter().find(|server| server.has(host))
    }

    /// Notes what the server at `url` calls its registry.
    pub(super) fn note(&mut self, url: &Url, hosts: Vec<String>, username: String) {
        let url = key(url);
        self.server.retain(|server| server.url != url);
        self.server.insert(
            0,
            Registry {
                url,
                hosts,
                username,
            },
        );
        self.server.truncate(SERVERS_LIMIT);
    }

    /// What is to be written to keep them.
    pub(super) fn staged(&self, path: &Path) -> anyhow::Result<WholeFile> {
        WholeFile::stage(path, toml::to_string(self)?.as_bytes(), MODE)
    }
}

impl Registry {
    /// Whether its registry is called `host`.
    pub(super) fn has(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| own.eq_ignore_ascii_case(host))
    }
}

/// How a server's URL is written here, as in the saved login.
fn key(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Host and port of a URL, as registries are named: without the port that goes without saying.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The host of a registry with the prefix of a workspace behind it.
pub(super) fn host_of(registry: &str) -> &str {
    registry.split('/').next().unwrap_or_default()
}
