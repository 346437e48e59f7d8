//! All namespaces: which are looked at when, and what is done while nothing works.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use berth::clock::{Clock, Millis};
use tokio::sync::watch;
use tokio::time::Instant;

use super::MAX_NAMESPACES;
use super::agenda::Agenda;
use super::cluster::{Cluster, ClusterError, Listed, Watched};
use super::content::Extra;
use super::keeper::{Pass, Trouble, Wanted};
use super::registry::{Registry, Session};

/// How long one namespace may go on that is being brought in order, once the command is told to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// The first pause before namespaces are watched again when that failed.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// How long changes of namespaces may go on before they are looked at.
const SETTLING: Duration = Duration::from_millis(300);
/// Namespaces that fail in a row, without a word on why, before the rest is left for later.
const FAILURES: usize = 3;
/// How long nothing may work before the command gives up, so that whoever started it takes note.
const LASTING_OUTAGE: Duration = Duration::from_secs(30 * 60);
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// Which namespaces are looked after.
pub(super) enum Selection {
    Names(Vec<String>),
    Labelled(String),
}

/// The command, ready to start.
pub(super) struct Sweeper {
    pub(super) cluster: Cluster,
    pub(super) registry: Registry,
    pub(super) wanted: Wanted,
    pub(super) selection: Selection,
    pub(super) auths: Option<PathBuf>,
    pub(super) clock: Clock,
    pub(super) stop: watch::Receiver<bool>,
    /// The end of the API key that was told last.
    pub(super) told_of_end: Cell<Option<jiff::Timestamp>>,
}

/// How a look at what was due ended.
enum Swept {
    /// Everything was looked at, and in so many namespaces something is not in order.
    All { in_trouble: usize, of: usize },
    /// Some are in order, and the last ones that were looked at all failed: the rest was not.
    BrokenOff,
    /// The command is to stop.
    Stopped,
}

impl Sweeper {
    /// Brings everything in order, or says what is not.
    pub(super) async fn once(&self) -> anyhow::Result<()> {
        let mut agenda = Agenda::new(Duration::ZERO, Instant::now());
        let listed = self.listed().await?;
        match self.sweep(&listed.names, &mut agenda).await? {
            Swept::All { in_trouble: 0, .. } => Ok(()),
            Swept::All { in_trouble, of } => {
                anyhow::bail!("{in_trouble} of {of} namespaces are not in order: the log says why")
            }
            Swept::BrokenOff => {
                anyhow::bail!(
                    "so many namespaces fail that not all were looked at: the log says why"
                )
            }
            Swept::Stopped => anyhow::bail!("it was stopped before everything was looked at"),
        }
    }

    /// Keeps everything in order until the command is told to stop, or nothing has worked for long.
    pub(super) async fn for_ever(&self, interval: Duration) -> anyhow::Result<()> {
        let mut agenda = Agenda::new(interval, Instant::now());
        let mut watch_pause = WATCH_PAUSE;
        while !*self.stop.borrow() {
            let version = match self.round(&mut agenda).await {
                Ok(version) => version,
                Err(trouble) => {
                    let lasted = agenda.failed(Instant::now());
                    tracing::error!(reason = %trouble, "nothing can be kept in order now");
                    anyhow::ensure!(
                        lasted < LASTING_OUTAGE,
                        "nothing could be kept in order for {} minutes: {trouble}",
                        lasted.as_secs() / 60
                    );
                    None
                }
            };
            let next = tokio::time::sleep_until(agenda.next());
            tokio::select! {
                () = self.stopped() => {}
                () = next => {}
                () = self.something_new(version.as_deref(), &mut watch_pause, interval) => {}
            }
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// One look at what is due; the answer is what changes of the namespaces are counted from.
    async fn round(&self, agenda: &mut Agenda) -> Result<Option<String>, Trouble> {
        let listed = tokio::select! {
            listed = self.listed() => listed?,
            () = self.stopped() => return Ok(None),
        };
        match self.sweep(&listed.names, agenda).await? {
            Swept::BrokenOff => {
                agenda.broken_off(Instant::now());
                tracing::error!("so many namespaces fail that the rest is left for later");
            }
            Swept::All { .. } | Swept::Stopped => {}
        }
        Ok(listed.version)
    }

    async fn listed(&self) -> Result<Listed, ClusterError> {
        let mut listed = match &self.selection {
            Selection::Names(names) => Listed {
                names: names.clone(),
                version: None,
            },
            Selection::Labelled(selector) => self.cluster.namespaces(selector).await?,
        };
        listed.names.sort();
        listed.names.dedup();
        Ok(listed)
    }

    /// Asks Berth what there is. Nothing is changed when the file of logins cannot be read: what was in it before may
    /// still be needed.
    async fn pass(&self) -> anyhow::Result<Pass<'_>> {
        let extra = self.auths.as_deref().map_or_else(
            || Ok(Extra::default()),
            |path| Extra::read(path).context("the logins for other registries"),
        )?;
        let session = self.registry.open().await?;
        self.tell_of_end(&session);
        let issued = session.issued().await?;
        Ok(Pass {
            cluster: &self.cluster,
            wanted: &self.wanted,
            session,
            issued,
            extra,
            now: self.clock.now(),
        })
    }

    /// Says when the API key is of no use any more, which is before it ends.
    fn tell_of_end(&self, session: &Session) {
        let Some(end) = session.key_ends_at else {
            return;
        };
        if self.told_of_end.replace(Some(end)) == Some(end) {
            return;
        }
        let days = i64::try_from(self.wanted.lifetime_days).unwrap_or(i64::MAX);
        let last = Millis(end.as_millisecond()).plus(days.saturating_mul(-DAY_MS));
        tracing::warn!(
            key_ends_at = %end,
            renews_until = last.rfc3339(),
            "the API key has an end, and makes nothing that would end later: give one without an end, or another in time"
        );
    }

    /// Looks at what is due among the selected namespaces.
    async fn sweep(&self, selected: &[String], agenda: &mut Agenda) -> Result<Swept, Trouble> {
        let mut in_trouble = 0;
        let most = selected.len().min(MAX_NAMESPACES);
        if most < selected.len() {
            in_trouble += 1;
            tracing::error!(
                most,
                "more namespaces are selected than one workspace has pull secrets for: those behind the first ones, by \
                 name, are left out"
            );
        }
        let due = agenda.due(&selected[..most], Instant::now());
        for namespace in &due.left {
            tracing::info!(
                namespace,
                "the namespace is not selected any more: what it has stays there, and ends by itself"
            );
        }
        if !due.names.is_empty() {
            let pass = tokio::select! {
                pass = self.pass() => pass?,
                () = self.patience_ends() => return Ok(Swept::Stopped),
            };
            let (mut in_order, mut failures) = (0, 0);
            for namespace in &due.names {
                if *self.stop.borrow() {
                    return Ok(Swept::Stopped);
                }
                if failures == FAILURES {
                    return Ok(Swept::BrokenOff);
                }
                let kept = tokio::select! {
                    kept = pass.keep(namespace) => kept,
                    () = self.patience_ends() => return Ok(Swept::Stopped),
                };
                agenda.looked_at(namespace, kept.is_ok(), Instant::now());
                let (reason, is_unclear) = match kept {
                    Ok(()) => {
                        (in_order, failures) = (in_order + 1, 0);
                        continue;
                    }
                    Err(Trouble::Here(reason)) => (reason, false),
                    Err(Trouble::Unclear(reason)) => (reason, true),
                    Err(trouble @ Trouble::Everywhere(_)) => return Err(trouble),
                };
                tracing::error!(namespace, reason, "the namespace is not in order");
                in_trouble += 1;
                failures = if is_unclear { failures + 1 } else { 0 };
                if failures == FAILURES && in_order == 0 {
                    return Err(Trouble::Everywhere(reason));
                }
            }
        }
        agenda.passed();
        Ok(Swept::All {
            in_trouble,
            of: selected.len(),
        })
    }

    /// Returns when namespaces have changed since `version`, or should be listed again because that is not known.
    async fn something_new(&self, version: Option<&str>, pause: &mut Duration, interval: Duration) {
        let (Selection::Labelled(selector), Some(version)) = (&self.selection, version) else {
            return std::future::pending().await;
        };
        let rest = match self.cluster.watch(selector, version).await {
            Ok(Watched::Changed) => {
                *pause = WATCH_PAUSE;
                // A new namespace gets its ServiceAccount a moment later, and often comes with others.
                SETTLING
            }
            Ok(Watched::Ended) => {
                *pause = WATCH_PAUSE;
                WATCH_PAUSE
            }
            Err(error) => {
                let rest = *pause;
                *pause = (rest * 2).min(interval);
                tracing::warn!(
                    error = %error,
                    "new namespaces are found when everything is looked at: they could not be watched"
                );
                rest
            }
        };
        tokio::time::sleep(rest).await;
    }

    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // The sender only goes away together with the runtime.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Returns some time after the command was told to stop.
    async fn patience_ends(&self) {
        self.stopped().await;
        tokio::time::sleep(STOP_PATIENCE).await;
    }
}
