//! One namespace: what is there, what should be, and the way between.

use std::collections::BTreeMap;
use std::time::Duration;

use berth::clock::Millis;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

use super::super::super::client::ClientError;
use super::cluster::{ACCOUNT, Cluster, ClusterError};
use super::content::{Content, Extra, Found, auths_of, of_user};
use super::registry::{Issued, STRAY_MS, Session};

/// How often a change is tried that others get in the way of.
const TRIES: usize = 4;
/// Pull secrets that are made for one Secret within [`STRAY_MS`] at most: whatever undoes them each time must not use up
/// those of the workspace.
const MAKES: usize = 4;

/// What holds for all namespaces.
pub(super) struct Wanted {
    /// The name of the Secrets.
    pub(super) name: String,
    pub(super) lifetime_days: u64,
    /// How long before its end a pull secret is replaced.
    pub(super) renew_before: Duration,
}

/// All that is known before the namespaces are looked at.
pub(super) struct Pass<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) wanted: &'a Wanted,
    pub(super) session: Session,
    pub(super) issued: BTreeMap<String, Issued>,
    pub(super) extra: Extra,
    pub(super) now: Millis,
}

/// Why a namespace is not in order.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Others fare the same: nothing more is tried now.
    #[error("{0}")]
    Everywhere(String),
    /// It may be about this one, or others fare the same.
    #[error("{0}")]
    Unclear(String),
    /// It is about this one.
    #[error("{0}")]
    Here(String),
}

impl From<ClusterError> for Trouble {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Refused { .. } => Self::Here(error.to_string()),
            ClusterError::Failed { .. } => Self::Unclear(error.to_string()),
            ClusterError::Unreachable { .. } => Self::Everywhere(error.to_string()),
        }
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        let text = format!("{error:#}");
        match error.downcast_ref() {
            Some(ClientError::Refused(refusal)) => match refusal.code.as_str() {
                // The key, or how often it asks.
                "unauthorized" | "forbidden" | "too_many_requests" => Self::Everywhere(text),
                "internal_error" | "unavailable" | "insufficient_storage" => Self::Unclear(text),
                _ => Self::Here(text),
            },
            Some(ClientError::Foreign { status, .. }) if status.is_server_error() => {
                Self::Unclear(text)
            }
            Some(_) | None => Self::Everywhere(text),
        }
    }
}

/// What is to be done about a Secret.
pub(super) enum Plan {
    Nothing,
    /// The same pull secret in another text.
    Rewrite(Content),
    /// Another pull secret, in the place of this one if there is one that can be replaced.
    Renew(Option<String>),
}

/// Compares a Secret of ours, or none, with what should be; `known` is the pull secret that it says lies in it.
pub(super) fn plan(
    found: &Found,
    known: Option<&Issued>,
    extra: &Extra,
    now: Millis,
    renew_before: Duration,
) -> Plan {
    let Some(known) = known.filter(|known| known.is_alive(now)) else {
        return Plan::Renew(None);
    };
    let Found::Whole { text, .. } = found else {
        return Plan::Renew(None);
    };
    // The one that was to take its place never got here, and only one may.
    if known.replaced_by.is_some() {
        return Plan::Renew(None);
    }
    let margin = i64::try_from(renew_before.as_millis()).unwrap_or(i64::MAX);
    if !known.is_alive(now.plus(margin)) {
        return Plan::Renew(Some(known.id.clone()));
    }
    let own = auths_of(text.as_bytes()).map(|auths| of_user(auths, &known.username));
    let Some(own) = own.filter(|own| !own.is_empty()) else {
        return Plan::Renew(None);
    };
    let merged = extra.merged_with(&own);
    if merged == *text {
        return Plan::Nothing;
    }
    Plan::Rewrite(Content {
        id: known.id.clone(),
        expires_at: known.expires_at.to_string(),
        text: merged,
    })
}

impl Pass<'_> {
    /// Brings one namespace in order.
    pub(super) async fn keep(&self, namespace: &str) -> Result<(), Trouble> {
        let account = self.cluster.account(namespace).await?;
        let secret = self.cluster.secret(namespace).await?;
        let found = self.look(secret.as_ref());
        if let Found::Foreign(why) = &found {
            return Err(Trouble::Here(format!(
                "the Secret {} is left alone: {why}; delete it, or give another name with --name",
                self.wanted.name
            )));
        }
        if account.is_none() && secret.is_none() {
            return Err(Trouble::Here(format!(
                "there is no ServiceAccount {ACCOUNT} yet, or no such namespace"
            )));
        }
        let before = self.wanted.renew_before;
        let fresh = match found.id() {
            // Another command may have put it there since Berth was asked.
            Some(id) if !self.issued.contains_key(id) => Some(self.session.issued().await?),
            Some(_) | None => None,
        };
        let issued = fresh.as_ref().unwrap_or(&self.issued);
        // One that was made for another Secret does not count: somebody has copied that, and each has its own.
        let known = found
            .id()
            .and_then(|id| issued.get(id))
            .filter(|known| known.is_for(&self.wanted.name, namespace));
        match plan(&found, known, &self.extra, self.now, before) {
            Plan::Nothing => {}
            Plan::Rewrite(content) => {
                self.put(namespace, secret, &found, &content).await?;
                tracing::info!(namespace, "the logins for other registries were changed");
            }
            Plan::Renew(old) => {
                let own = self.own(issued, namespace);
                self.check_makes(&own)?;
                self.renew(namespace, secret, &found, old.as_deref())
                    .await?;
                let replaced = known.filter(|known| found.is_whole() && known.is_alive(self.now));
                self.end_strays(namespace, &own, replaced).await;
            }
        }
        self.admit(namespace, account).await
    }

    fn look(&self, secret: Option<&Secret>) -> Found {
        Found::of(secret, &self.session.workspace)
    }

    fn filled(&self, content: &Content, before: Option<&Secret>, namespace: &str) -> Secret {
        let (name, workspace) = (&self.wanted.name, &self.session.workspace);
        content.secret(before, name, namespace, workspace)
    }

    /// Those that this key made for the Secret of a namespace.
    fn own<'b>(&self, issued: &'b BTreeMap<String, Issued>, namespace: &str) -> Vec<&'b Issued> {
        let (name, maker) = (&self.wanted.name, &self.session.maker);
        let all = issued.values();
        all.filter(|issued| issued.is_for(name, namespace) && issued.created_by == *maker)
            .collect()
    }

    /// Asserts that another one may be made for a Secret.
    fn check_makes(&self, own: &[&Issued]) -> Result<(), Trouble> {
        let since = self.now.plus(-STRAY_MS).0;
        let lately = own
            .iter()
            .filter(|issued| issued.created_at.as_millisecond() > since);
        if lately.count() < MAKES {
            return Ok(());
        }
        Err(Trouble::Here(format!(
            "the Secret {} was made anew {MAKES} times within an hour, and each time something deleted or changed it: it \
             is made again when the hour is over",
            self.wanted.name
        )))
    }

    /// Ends those that lie in no Secret, now that another one does: all that were made before for one that was deleted
    /// or damaged, and those that were to replace what lay there and never got in. What lay there goes on.
    async fn end_strays(&self, namespace: &str, own: &[&Issued], replaced: Option<&Issued>) {
        let is_stray = |issued: &Issued| match replaced {
            Some(old) => issued.id != old.id && issued.created_at >= old.created_at,
            None => true,
        };
        let strays = own
            .iter()
            .filter(|issued| issued.is_alive(self.now.plus(STRAY_MS)) && is_stray(issued));
        for stray in strays {
            let id = &stray.id;
            match self.session.end_stray(id).await {
                Ok(()) => {
                    tracing::info!(namespace, pull_secret = %id, "one that lies in no Secret ends soon");
                }
                Err(error) => tracing::warn!(
                    namespace, pull_secret = %id, expires_at = %stray.expires_at, error = %error,
                    "a pull secret that lies in no Secret could not be ended: it ends by itself"
                ),
            }
        }
    }

    /// Puts another pull secret in. Berth is asked for one only when the cluster would take it.
    async fn renew(
        &self,
        namespace: &str,
        before: Option<Secret>,
        found: &Found,
        old: Option<&str>,
    ) -> Result<(), Trouble> {
        let rehearsed = self.filled(&Content::placeholder(), before.as_ref(), namespace);
        self.cluster.write(namespace, &rehearsed, true).await?;
        let (name, days) = (&self.wanted.name, self.wanted.lifetime_days);
        let made = self.session.make(name, namespace, days, old).await?;
        let id = &made.issued.id;
        let content = Content {
            id: id.clone(),
            expires_at: made.issued.expires_at.to_string(),
            text: self.extra.merged_with(&made.auths),
        };
        let expires_at = &content.expires_at;
        match self.put(namespace, before, found, &content).await {
            Ok(()) => {}
            Err(error @ ClusterError::Refused { .. }) => {
                if let Err(error) = self.session.discard(id).await {
                    tracing::warn!(
                        namespace, pull_secret = %id, expires_at, error = %error,
                        "a pull secret that was made in vain could not be ended: it ends by itself"
                    );
                }
                return Err(error.into());
            }
            // It may have got in all the same: the next look finds it there, or ends it.
            Err(error @ (ClusterError::Failed { .. } | ClusterError::Unreachable { .. })) => {
                return Err(error.into());
            }
        }
        for host in self.extra.left_out(&made.auths) {
            tracing::warn!(
                namespace,
                host,
                "a login for Berth's own host is left out: the pull secret is for that"
            );
        }
        tracing::info!(
            namespace, secret = name, pull_secret = %id, expires_at,
            replaces = old.unwrap_or_default(), "a new pull secret was put in"
        );
        Ok(())
    }

    /// Writes a Secret. Others may change it in the meantime, but not put another pull secret in.
    async fn put(
        &self,
        namespace: &str,
        mut before: Option<Secret>,
        found: &Found,
        content: &Content,
    ) -> Result<(), ClusterError> {
        let mut tries = 1..=TRIES;
        loop {
            let secret = self.filled(content, before.as_ref(), namespace);
            let written = self.cluster.write(namespace, &secret, false).await;
            let Err(error) = written else { return Ok(()) };
            tries.next();
            if !error.is_conflict() || tries.is_empty() {
                return Err(error);
            }
            before = self.cluster.secret(namespace).await?;
            let now = self.look(before.as_ref());
            if matches!(now, Found::Foreign(_)) || now.id() != found.id() {
                return Err(error);
            }
        }
    }

    /// Has pods of the ServiceAccount pull with the Secret.
    async fn admit(
        &self,
        namespace: &str,
        mut account: Option<ServiceAccount>,
    ) -> Result<(), Trouble> {
        let mut tries = 1..=TRIES;
        loop {
            let Some(current) = &account else {
                let why = format!("there is no ServiceAccount {ACCOUNT} yet");
                return Err(Trouble::Here(why));
            };
            let admitted = self.cluster.admit(namespace, current).await;
            tries.next();
            match admitted {
                Ok(is_new) => {
                    if is_new {
                        let secret = &self.wanted.name;
                        tracing::info!(
                            namespace,
                            secret,
                            account = ACCOUNT,
                            "pods of the ServiceAccount pull with the Secret now"
                        );
                    }
                    return Ok(());
                }
                Err(error) if error.is_conflict() && !tries.is_empty() => {
                    account = self.cluster.account(namespace).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
