//! What lies in a Secret: its docker configuration, and the marks by which it is known again. Pure.
//!
//! The Secret is all that is remembered between two runs: which pull secret lies in it, and a digest of what was
//! written, which tells whether somebody has changed it since.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use berth_storage::{Digest, DigestAlgorithm};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};

/// The label of what Berth looks after.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const MANAGER: &str = "berth";
/// What a Secret of docker logins is.
const TYPE: &str = "kubernetes.io/dockerconfigjson";
/// Where the logins are in it.
const KEY: &str = ".dockerconfigjson";

/// The pull secret that lies in the Secret.
const ID: &str = "berth/pull-secret-id";
/// The workspace that it is of.
const WORKSPACE: &str = "berth/workspace";
/// When it ends, for people to read.
const EXPIRES_AT: &str = "berth/expires-at";
/// The digest of the logins as they were written.
const DIGEST: &str = "berth/content-digest";

/// What kubectl keeps of what it applied: of a Secret that was made by hand, its logins.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The largest file of logins for other registries, in bytes: Kubernetes takes a Secret of one MiB.
const EXTRA_LIMIT_BYTES: u64 = 256 * 1024;

/// Logins by host, or by host and path.
pub(super) type Auths = BTreeMap<String, Value>;

/// Logins for other registries, which the operator gives.
#[derive(Default)]
pub(super) struct Extra(Auths);

/// What is written into a Secret.
pub(super) struct Content {
    pub(super) id: String,
    pub(super) expires_at: String,
    /// The docker configuration.
    pub(super) text: String,
}

/// What there is of a Secret.
pub(super) enum Found {
    /// Nothing.
    Missing,
    /// One that is somebody else's, and why.
    Foreign(String),
    /// One of ours that does not hold what was written.
    Damaged(Option<String>),
    /// One of ours as it was written.
    Whole { id: String, text: String },
}

impl Extra {
    /// Reads a docker configuration.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| {
                file.take(EXTRA_LIMIT_BYTES + 1)
                    .read_to_string(&mut text)
                    .map(drop)
            })
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not used", path.display()))
    }

    // No error repeats the text: passwords are in it.
    fn parse(text: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(
            u64::try_from(text.len()).is_ok_and(|length| length <= EXTRA_LIMIT_BYTES),
            "it has more than {EXTRA_LIMIT_BYTES} bytes"
        );
        let config: Value = serde_json::from_str(text).map_err(|error| {
            anyhow::anyhow!(
                "it is not JSON (line {}, column {})",
                error.line(),
                error.column()
            )
        })?;
        for key in ["credsStore", "credHelpers"] {
            anyhow::ensure!(
                config.get(key).is_none(),
                "it has {key}, and nodes have no such program: give the logins themselves, as \
                 `kubectl create secret docker-registry` makes them"
            );
        }
        let auths = config["auths"]
            .as_object()
            .context("it has no object \"auths\", with a login for each host")?;
        for (host, login) in auths {
            let has = |key: &str| login[key].as_str().is_some_and(|text| !text.is_empty());
            anyhow::ensure!(
                has("auth") || has("username") && has("password"),
                "there is no login for {host:?} in it: write \"auth\", or \"username\" and \"password\""
            );
        }
        let auths = auths.iter();
        Ok(Self(
            auths
                .map(|(host, login)| (host.clone(), login.clone()))
                .collect(),
        ))
    }

    /// The hosts of it that are hosts of `own`: what is given for them is left out.
    pub(super) fn left_out(&self, own: &Auths) -> Vec<&str> {
        let keys = self.0.keys().map(String::as_str);
        keys.filter(|key| is_of(key, own)).collect()
    }

    /// The docker configuration of `own` logins and these, the same text each time.
    pub(super) fn merged_with(&self, own: &Auths) -> String {
        let mut auths = own.clone();
        for (key, login) in self.0.iter().filter(|(key, _)| !is_of(key, own)) {
            auths.insert(key.clone(), login.clone());
        }
        json!({"auths": auths}).to_string()
    }
}

/// The host of a key, which may have a scheme and a path around it: nodes look at the longest key that fits.
fn host_of(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default();
    host.to_ascii_lowercase()
}

fn is_of(key: &str, own: &Auths) -> bool {
    let host = host_of(key);
    own.keys().any(|own| host_of(own) == host)
}

/// The logins of a docker configuration.
pub(super) fn auths_of(text: &[u8]) -> Option<Auths> {
    let config: Value = serde_json::from_slice(text).ok()?;
    serde_json::from_value(config.get("auths")?.clone()).ok()
}

/// Those of the logins that are of one user.
pub(super) fn of_user(auths: Auths, username: &str) -> Auths {
    let is_of_user = |login: &Value| login["username"] == username;
    let auths = auths.into_iter();
    auths.filter(|(_, login)| is_of_user(login)).collect()
}

fn digest(text: &[u8]) -> String {
    Digest::of(DigestAlgorithm::Sha256, text).to_string()
}

impl Found {
    /// Looks at a Secret for the pull secrets of `workspace`.
    pub(super) fn of(secret: Option<&Secret>, workspace: &str) -> Self {
        let Some(secret) = secret else {
            return Self::Missing;
        };
        let kind = secret.type_.as_deref().unwrap_or_default();
        if kind != TYPE {
            return Self::Foreign(format!("it is of the type {kind:?}, and not of {TYPE:?}"));
        }
        let label = mark(secret.metadata.labels.as_ref(), MANAGED_BY);
        if label != Some(MANAGER) {
            return Self::Foreign(format!(
                "it has no label {MANAGED_BY}={MANAGER}, so it is not Berth's"
            ));
        }
        let marks = secret.metadata.annotations.as_ref();
        if let Some(other) = mark(marks, WORKSPACE).filter(|other| *other != workspace) {
            return Self::Foreign(format!("it is of the workspace {other:?}"));
        }
        let id = mark(marks, ID).map(str::to_owned);
        let bytes = secret.data.as_ref().and_then(|data| data.get(KEY));
        match (
            id,
            bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()),
        ) {
            (Some(id), Some(text)) if mark(marks, DIGEST) == Some(&digest(text.as_bytes())) => {
                Self::Whole {
                    id,
                    text: text.to_owned(),
                }
            }
            (id, _) => Self::Damaged(id),
        }
    }

    /// Whether it holds what was written.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole { .. })
    }

    /// The pull secret that lies in it, or lay.
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Missing | Self::Foreign(_) => None,
            Self::Damaged(id) => id.as_deref(),
            Self::Whole { id, .. } => Some(id),
        }
    }
}

fn mark<'a>(marks: Option<&'a BTreeMap<String, String>>, key: &str) -> Option<&'a str> {
    marks?.get(key).map(String::as_str)
}

impl Content {
    /// A Secret with this in it: the one that is there, with what others wrote to its metadata, or a new one.
    pub(super) fn secret(
        &self,
        before: Option<&Secret>,
        name: &str,
        namespace: &str,
        workspace: &str,
    ) -> Secret {
        let mut secret = before.cloned().unwrap_or_default();
        let metadata = &mut secret.metadata;
        metadata.name = Some(name.to_owned());
        metadata.namespace = Some(namespace.to_owned());
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
        let marks = metadata.annotations.get_or_insert_default();
        for (key, value) in [
            (ID, self.id.as_str()),
            (WORKSPACE, workspace),
            (EXPIRES_AT, &self.expires_at),
            (DIGEST, &digest(self.text.as_bytes())),
        ] {
            marks.insert(key.to_owned(), value.to_owned());
        }
        marks.remove(APPLIED);
        secret.type_ = Some(TYPE.to_owned());
        let bytes = ByteString(self.text.clone().into_bytes());
        secret.data = Some(BTreeMap::from([(KEY.to_owned(), bytes)]));
        secret
    }

    /// What the cluster is asked about before Berth is: whether it would take a Secret.
    pub(super) fn placeholder() -> Self {
        Self {
            id: String::new(),
            expires_at: String::new(),
            text: Extra::default().merged_with(&Auths::new()),
        }
    }
}

#[cfg(test)]
mod tests;
