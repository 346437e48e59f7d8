//! Berth: the pull secrets of one workspace, by the key of an admin.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use berth::clock::Millis;
use berth::config::Secret;
use berth::tenancy::SecretManifest;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::super::client::{ClientError, Requests};
use super::content::{Auths, auths_of};

const PATH: &[&str] = &["registry", "pull-secret"];
/// The largest file of a key that is read, in bytes.
const KEY_LIMIT_BYTES: u64 = 4 * 1024;
/// Pull secrets that are asked for at one time, and how often: a workspace has as many as one answer holds, and an
/// operator that names a workspace sees no others.
const PAGE: &str = "1000";
const PAGES: usize = 4;
/// How long a replaced one goes on, in seconds: as long as it may, so that it lives as long as it was to.
const OVERLAP_SECONDS: u64 = 30 * 24 * 3_600;
/// How long one goes on, in milliseconds, that lies in no Secret any more, or never did.
pub(super) const STRAY_MS: i64 = 3_600 * 1_000;

/// Where Berth is, and how it is asked.
pub(super) struct Registry {
    pub(super) url: Url,
    pub(super) key: Key,
    pub(super) workspace: Option<String>,
}

/// The API key.
pub(super) enum Key {
    Given(Secret),
    /// A file that is read anew each time: a mounted Secret may change.
    File(PathBuf),
}

/// A registry that took the key.
pub(super) struct Session {
    requests: Requests,
    /// The workspace that nodes pull for.
    pub(super) workspace: String,
    /// How pull secrets name the key that made them.
    pub(super) maker: String,
    /// When the key ends.
    pub(super) key_ends_at: Option<jiff::Timestamp>,
}

/// Whose the key is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Holder {
    id: String,
    workspace: Option<String>,
    expires_at: Option<jiff::Timestamp>,
}

/// A pull secret, as Berth knows of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Issued {
    pub(super) id: String,
    pub(super) username: String,
    /// The Secret that it was made for, and where that is.
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) created_by: String,
    pub(super) created_at: jiff::Timestamp,
    pub(super) expires_at: jiff::Timestamp,
    pub(super) replaced_by: Option<String>,
}

/// One that was just made, with its logins.
pub(super) struct Made {
    pub(super) issued: Issued,
    pub(super) auths: Auths,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Issued>,
    #[serde(rename = "nextCursor")]
    next_cursor: Option<String>,
}

impl Issued {
    /// Whether it pulls at this time.
    pub(super) fn is_alive(&self, at: Millis) -> bool {
        self.expires_at.as_millisecond() > at.0
    }

    /// Whether it was made for this Secret.
    pub(super) fn is_for(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace.as_deref() == Some(namespace)
    }
}

/// Reads a key from a file of its own.
pub(super) fn read_key(path: &Path) -> anyhow::Result<Secret> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(KEY_LIMIT_BYTES).read_to_string(&mut text))
        .with_context(|| format!("cannot read the API key in {}", path.display()))?;
    let key = text.trim();
    anyhow::ensure!(!key.is_empty(), "{} holds no API key", path.display());
    Ok(Secret::new(key.to_owned()))
}

impl Registry {
    /// Asks whose the key is.
    pub(super) async fn open(&self) -> anyhow::Result<Session> {
        let read;
        let key = match &self.key {
            Key::Given(key) => key,
            Key::File(path) => {
                read = read_key(path)?;
                &read
            }
        };
        let requests = Requests::new(&self.url, key, self.workspace.clone())?;
        let whoami = requests.get(&["whoami"], &[]).await.map_err(explained)?;
        let holder: Holder = serde_json::from_value(whoami)?;
        let workspace = self.workspace.clone().or(holder.workspace).context(
            "the API key is an operator's, and belongs to no workspace: name one with --workspace or BERTH_WORKSPACE",
        )?;
        Ok(Session {
            requests,
            workspace,
            maker: format!("key:{}", holder.id),
            key_ends_at: holder.expires_at,
        })
    }
}

impl Session {
    /// The pull secrets by id, those included that have just ended.
    pub(super) async fn issued(&self) -> anyhow::Result<BTreeMap<String, Issued>> {
        let (mut issued, mut cursor) = (BTreeMap::new(), None);
        for _ in 0..PAGES {
            let mut query = vec![("limit", PAGE)];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let answer = self.requests.get(PATH, &query).await.map_err(explained)?;
            let page: Page = serde_json::from_value(answer)?;
            let items = page.items.into_iter();
            issued.extend(items.map(|secret| (secret.id.clone(), secret)));
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(issued);
            }
        }
        anyhow::bail!("the server has more than {PAGES} pages of pull secrets");
    }

    /// Makes a pull secret for a Secret, in the place of another if there is one.
    pub(super) async fn make(
        &self,
        name: &str,
        namespace: &str,
        lifetime_days: u64,
        replaced: Option<&str>,
    ) -> anyhow::Result<Made> {
        let mut answer = None;
        if let Some(id) = replaced {
            let rotated = self.rotate(id, lifetime_days).await;
            // It has been replaced or ended in the meantime: its place is free for a new one.
            answer = Some(rotated).filter(|rotated| !is_of_old(rotated));
        }
        let answer = match answer {
            Some(answer) => answer,
            None => {
                // The host of this request is one of the cluster's own, and no node knows it.
                let body = json!({
                    "name": name, "namespace": namespace, "expiresInDays": lifetime_days,
                    "configuredHostsOnly": true,
                });
                self.requests.post(PATH, &body).await
            }
        };
        let answer = answer.map_err(|error| self.explained_to_maker(error))?;
        made(answer).context("the server's answer is not a pull secret")
    }

    async fn rotate(&self, id: &str, lifetime_days: u64) -> Result<Value, ClientError> {
        let body = json!({
            "overlapSeconds": OVERLAP_SECONDS, "expiresInDays": lifetime_days,
            "configuredHostsOnly": true,
        });
        let path = [PATH, &[id, "rotate"]].concat();
        self.requests.post(&path, &body).await
    }

    /// Ends one that the cluster did not take.
    pub(super) async fn discard(&self, id: &str) -> Result<(), ClientError> {
        self.end(id, &[]).await
    }

    /// Ends one that lies in no Secret, after a while: nodes may still know of it.
    pub(super) async fn end_stray(&self, id: &str) -> Result<(), ClientError> {
        let seconds = (STRAY_MS / 1_000).to_string();
        self.end(id, &[("overlapSeconds", seconds.as_str())]).await
    }

    async fn end(&self, id: &str, query: &[(&str, &str)]) -> Result<(), ClientError> {
        let path = [PATH, &[id]].concat();
        self.requests.delete(&path, query).await.map(drop)
    }

    /// Whoever could list pull secrets is an admin: what is refused now is beyond the limits of the key itself.
    fn explained_to_maker(&self, error: ClientError) -> anyhow::Error {
        match &error {
            ClientError::Refused(refusal) if refusal.code == "forbidden" => {
                let advice = match self.key_ends_at {
                    Some(end) => format!(
                        "the API key ends at {end}, and so does what it makes: give a key without an end, or a shorter \
                         --expires-in"
                    ),
                    None => String::from("the limits of the API key are too narrow"),
                };
                anyhow::Error::new(error).context(advice)
            }
            _ => explained(error),
        }
    }
}

/// Whether Berth refused because of the pull secret that was to be replaced.
fn is_of_old(answer: &Result<Value, ClientError>) -> bool {
    let Err(ClientError::Refused(refusal)) = answer else {
        return false;
    };
    matches!(refusal.code.as_str(), "conflict" | "not_found")
}

fn made(answer: Value) -> anyhow::Result<Made> {
    let manifest: SecretManifest = serde_json::from_value(answer["secret"].clone())?;
    let issued = serde_json::from_value(answer)?;
    // Neither error is shown with its cause: passwords are in the text.
    let text = STANDARD.decode(manifest.data.docker_config_json).ok();
    let auths = text.and_then(|text| auths_of(&text));
    Ok(Made {
        issued,
        auths: auths.context("there are no logins in it")?,
    })
}

/// What a person has to do about a refusal.
fn explained(error: ClientError) -> anyhow::Error {
    let code = match &error {
        ClientError::Refused(refusal) => refusal.code.as_str(),
        ClientError::Key
        | ClientError::Workspace(_)
        | ClientError::Name(_)
        | ClientError::SetUp(_)
        | ClientError::Unreachable { .. }
        | ClientError::Redirected { .. }
        | ClientError::Foreign { .. }
        | ClientError::TooLarge { .. }
        | ClientError::TooManyPages { .. } => "",
    };
    let advice = match code {
        "unauthorized" => {
            "Berth refuses the API key: make another with `berth api-key create --role admin`"
        }
        "forbidden" => "the API key may not do this: it takes that of an admin of the workspace",
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(advice)
}
