//! The cluster: the few requests that are made of its API, each with a limit of time and of size.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use http_body_util::Limited;
use hyper::Response;
use hyper::header::{self, HeaderValue};
use k8s_openapi::api::core::v1::{LocalObjectReference, Namespace, Secret, ServiceAccount};
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::client::{ClientBuilder, DynBody};
use kube::config::KubeConfigOptions;
use kube::core::PartialObjectMeta;
use kube::{Api, Config};
use serde_json::json;
use tower::util::MapResponseLayer;

use super::super::super::client::USER_AGENT;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long the cluster is asked to tell of changes in one request.
const WATCH_SECONDS: u32 = 290;
/// By how much a watch may outlive that before it counts as broken.
const WATCH_GRACE: Duration = Duration::from_secs(15);
/// The largest answer that is read, and the most of one watch, in bytes.
const ANSWER_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// Namespaces that are asked for at one time.
const PAGE: u32 = 500;
/// Characters of a message of the cluster that are shown.
const MESSAGE_CHARS: usize = 400;
/// Who changes things, as the cluster notes it beside each field.
const MANAGER: &str = "berth-pull-secrets";
/// The ServiceAccount of pods that name none.
pub(super) const ACCOUNT: &str = "default";

const CONFLICT: u16 = 409;
const GONE: u16 = 410;

/// Why the cluster did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClusterError {
    /// It refused this one thing.
    #[error("the cluster refuses to {what}: {message} ({code})")]
    Refused {
        what: &'static str,
        code: u16,
        message: String,
    },
    /// It failed, or took too long: what was asked for may have been done.
    #[error("the cluster did not {what}: {reason}")]
    Failed { what: &'static str, reason: String },
    /// It does not answer, or to nobody: what was asked for may have been done.
    #[error("the cluster did not {what}: {reason}")]
    Unreachable { what: &'static str, reason: String },
}

impl ClusterError {
    /// Whether somebody else was faster.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: CONFLICT, .. })
    }
}

/// The namespaces that fit a selector, and what their list was made of.
pub(super) struct Listed {
    pub(super) names: Vec<String>,
    pub(super) version: Option<String>,
}

/// How a watch ended.
pub(super) enum Watched {
    /// Something has changed.
    Changed,
    /// Nothing has, as long as it lasted.
    Ended,
}

/// A cluster, and what of it is looked after.
pub(super) struct Cluster {
    client: kube::Client,
    /// The name of the Secrets.
    name: String,
}

impl Cluster {
    /// The cluster that `KUBECONFIG` or `~/.kube/config` names, or that this process runs in.
    pub(super) async fn reach(is_inside: bool, name: String) -> anyhow::Result<Self> {
        let mut config = if is_inside {
            Config::incluster().context("cannot use the ServiceAccount of this pod")?
        } else {
            let read = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
            read.context("no cluster is known: run it in one, or set KUBECONFIG")?
        };
        let name_and_version = HeaderValue::from_static(USER_AGENT);
        config.headers.push((header::USER_AGENT, name_and_version));
        // What failed is tried again by who asked.
        config.default_retry = false;
        let limit = MapResponseLayer::new(|response: Response<Box<DynBody>>| {
            response.map(|body| Limited::new(body, ANSWER_LIMIT_BYTES))
        });
        let builder = ClientBuilder::try_from(config).context("cannot reach the cluster")?;
        let client = builder.with_layer(&limit).build();
        Ok(Self { client, name })
    }

    fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn accounts(&self, namespace: &str) -> Api<ServiceAccount> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The Secret in a namespace.
    pub(super) async fn secret(&self, namespace: &str) -> Result<Option<Secret>, ClusterError> {
        let secrets = self.secrets(namespace);
        answer("show the Secret", secrets.get_opt(&self.name)).await
    }

    /// Writes a Secret: a new one, or over the one whose version it has. A rehearsal changes nothing.
    pub(super) async fn write(
        &self,
        namespace: &str,
        secret: &Secret,
        is_rehearsal: bool,
    ) -> Result<(), ClusterError> {
        let secrets = self.secrets(namespace);
        let parameters = PostParams {
            dry_run: is_rehearsal,
            field_manager: Some(MANAGER.to_owned()),
        };
        let written = if secret.metadata.resource_version.is_some() {
            let replaced = secrets.replace(&self.name, &parameters, secret);
            answer("change the Secret", replaced).await
        } else {
            answer("make the Secret", secrets.create(&parameters, secret)).await
        };
        written.map(drop)
    }

    /// The ServiceAccount of a namespace.
    pub(super) async fn account(
        &self,
        namespace: &str,
    ) -> Result<Option<ServiceAccount>, ClusterError> {
        let accounts = self.accounts(namespace);
        answer("show the ServiceAccount", accounts.get_opt(ACCOUNT)).await
    }

    /// Adds the Secret to those that pods of a ServiceAccount pull with; false when it is there already.
    ///
    /// The list is one value to every kind of patch, so a patch with one entry would take away the others: all are
    /// sent, for the version in which they were read.
    pub(super) async fn admit(
        &self,
        namespace: &str,
        account: &ServiceAccount,
    ) -> Result<bool, ClusterError> {
        let mut entries = account.image_pull_secrets.clone().unwrap_or_default();
        if entries.iter().any(|entry| entry.name == self.name) {
            return Ok(false);
        }
        entries.push(LocalObjectReference {
            name: self.name.clone(),
        });
        let patch = Patch::Merge(json!({
            "metadata": {"resourceVersion": account.metadata.resource_version},
            "imagePullSecrets": entries,
        }));
        let accounts = self.accounts(namespace);
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = accounts.patch_metadata(ACCOUNT, &parameters, &patch);
        answer("change the ServiceAccount", patched).await?;
        Ok(true)
    }

    /// The names of the namespaces that fit a selector, without those on their way out.
    pub(super) async fn namespaces(&self, selector: &str) -> Result<Listed, ClusterError> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let mut parameters = ListParams::default().labels(selector).limit(PAGE);
        let mut names = Vec::new();
        loop {
            let listed = namespaces.list_metadata(&parameters);
            let page = answer("list the namespaces", listed).await?;
            let staying = page
                .items
                .into_iter()
                .filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
            names.extend(staying.filter_map(|namespace| namespace.metadata.name));
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            // One more than are looked after is enough to know that there are too many.
            if next.is_none() || names.len() > super::MAX_NAMESPACES {
                return Ok(Listed {
                    names,
                    version: page.metadata.resource_version,
                });
            }
            parameters.continue_token = next;
        }
    }

    /// Waits for a change of the namespaces that fit a selector since they were listed.
    pub(super) async fn watch(
        &self,
        selector: &str,
        version: &str,
    ) -> Result<Watched, ClusterError> {
        const WHAT: &str = "tell of changes of namespaces";
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let parameters = WatchParams::default()
            .labels(selector)
            .timeout(WATCH_SECONDS);
        let events = answer(WHAT, namespaces.watch_metadata(&parameters, version)).await?;
        let mut events = std::pin::pin!(events);
        let limit = Duration::from_secs(u64::from(WATCH_SECONDS)) + WATCH_GRACE;
        let first = async {
            loop {
                match events.try_next().await? {
                    Some(WatchEvent::Bookmark(_)) => {}
                    other => return Ok(other),
                }
            }
        };
        let first: Result<Option<WatchEvent<PartialObjectMeta<Namespace>>>, kube::Error> =
            match tokio::time::timeout(limit, first).await {
                Ok(first) => first,
                Err(_) => return Err(failed(WHAT, "nothing was heard of it in time")),
            };
        match first.map_err(|error| refusal(WHAT, &error))? {
            Some(WatchEvent::Error(status)) if status.code == GONE => Ok(Watched::Ended),
            Some(WatchEvent::Error(status)) => Err(refusal(WHAT, &kube::Error::Api(status))),
            Some(_) => Ok(Watched::Changed),
            None => Ok(Watched::Ended),
        }
    }
}

/// Waits for an answer, for so long.
async fn answer<T>(
    what: &'static str,
    asked: impl Future<Output = kube::Result<T>>,
) -> Result<T, ClusterError> {
    match tokio::time::timeout(ANSWER_LIMIT, asked).await {
        Ok(answered) => answered.map_err(|error| refusal(what, &error)),
        Err(_) => Err(failed(what, "no answer in time")),
    }
}

fn unreachable(what: &'static str, reason: &str) -> ClusterError {
    ClusterError::Unreachable {
        what,
        reason: reason.to_owned(),
    }
}

fn failed(what: &'static str, reason: &str) -> ClusterError {
    ClusterError::Failed {
        what,
        reason: reason.to_owned(),
    }
}

fn refusal(what: &'static str, error: &kube::Error) -> ClusterError {
    match error {
        kube::Error::Api(status) => {
            let message = cut(&status.message);
            let reason = || format!("{message} ({})", status.code);
            match status.code {
                // These are for every request, whatever it asks for.
                401 | 429 => unreachable(what, &reason()),
                500.. => failed(what, &reason()),
                code => ClusterError::Refused {
                    what,
                    code,
                    message,
                },
            }
        }
        // It would repeat a part of the answer, which may be a Secret.
        kube::Error::SerdeError(_) => failed(what, "the answer is not one of Kubernetes"),
        other => unreachable(what, &root_cause(other)),
    }
}

/// As much of a message as belongs into a line: what is between here and the cluster may answer with a page.
fn cut(message: &str) -> String {
    match message.char_indices().nth(MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

/// The innermost error: the outer ones only say that sending failed.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
