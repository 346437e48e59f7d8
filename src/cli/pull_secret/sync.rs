//! `berth pull-secret sync`: keeps a pull secret in each of some namespaces of a cluster.
//!
//! It remembers nothing itself: what it has to know lies in the Secrets, and Berth knows which pull secrets there are.
//! So it can be stopped and started at any time, and of two that run at once one finds its work done.

mod agenda;
mod cluster;
mod content;
mod keeper;
mod registry;
mod sweeper;

use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use berth::config::Config;
use berth::telemetry;
use clap::{ArgGroup, Args};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::super::Context;
use super::super::connection::{Server, warn_of_plain_http};
use super::super::units;
use cluster::Cluster;
use keeper::Wanted;
use registry::{Key, Registry, read_key};
use sweeper::{Selection, Sweeper};

/// Namespaces at most: a workspace may have 1000 pull secrets, each namespace has two while one is replaced, and some
/// of those that ended count for a while.
const MAX_NAMESPACES: usize = 400;
/// The shortest and the longest time between two looks at everything, in seconds.
const INTERVALS: std::ops::RangeInclusive<u64> = 10..=24 * 3_600;
/// Days that a pull secret lives when nothing is said.
const LIFETIME_DEFAULT_DAYS: u64 = 30;
/// Seconds between two looks when nothing is said.
const INTERVAL_DEFAULT_SECONDS: u64 = 300;
/// Characters of a name in Kubernetes: RFC 1123.
const NAME_CHARS: usize = 253;
const NAMESPACE_CHARS: usize = 63;

/// Keep a pull secret in namespaces of a Kubernetes cluster, and have their pods use it
#[derive(Args)]
#[command(
    group = ArgGroup::new("which").required(true).args(["namespaces", "namespace_selector"]),
    after_help = "\
Examples:
  berth pull-secret sync --namespace-selector berth/pull-secrets=allow
  berth pull-secret sync --namespace shop --namespace site --once
  berth pull-secret sync --namespace shop --auths other-registries.json

Makes a pull secret for each namespace, puts it into the Secret berth-pull
there, adds that to the imagePullSecrets of the ServiceAccount default, and
replaces it well before it ends. A Secret that is not labelled as Berth's is
left alone. The cluster is the one it runs in, or that of KUBECONFIG. It takes
the API key of an admin, which nobody else uses, as `berth api-key create
--role admin --actions pull` makes it. It stops on SIGTERM, and fails when
nothing has worked for half an hour."
)]
pub(in crate::cli) struct Sync {
    /// A namespace; may be given many times
    #[arg(long = "namespace", value_name = "NAME", value_parser = namespace)]
    namespaces: Vec<String>,
    /// The label of the namespaces, as kubectl takes it, such as team=shop
    #[arg(long, value_name = "SELECTOR")]
    namespace_selector: Option<String>,
    /// The name of the Secrets
    #[arg(long, value_name = "NAME", default_value = "berth-pull", value_parser = secret_name)]
    name: String,
    /// A docker configuration with logins for other registries, which the Secrets get too
    #[arg(long, value_name = "FILE")]
    auths: Option<PathBuf>,
    /// How long a pull secret lives, in whole days [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = super::days)]
    expires_in: Option<u64>,
    /// How long before its end it is replaced, up to three quarters of its life [default: a third of it]
    #[arg(long, value_name = "TIME", value_parser = units::seconds)]
    renew_before: Option<u64>,
    /// Between two looks at everything, 10s to 1d, up to half of --renew-before [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    interval: Option<u64>,
    /// Bring everything in order once; fails if something is not
    #[arg(long)]
    once: bool,
    /// A file with the API key, which is read again each time [env: BERTH_API_KEY_FILE]
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Connection",
        conflicts_with = "api_key"
    )]
    api_key_file: Option<PathBuf>,
    #[command(flatten)]
    server: Server,
}

fn interval(text: &str) -> Result<u64, String> {
    let seconds = units::seconds(text)?;
    if INTERVALS.contains(&seconds) {
        return Ok(seconds);
    }
    Err(String::from("write a time from 10s to 1d"))
}

/// A name as Kubernetes takes it: it becomes part of an address.
fn is_name(text: &str, chars: usize) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = bytes.first().zip(bytes.last());
        ends.is_some_and(|(first, last)| is_plain(*first) && is_plain(*last))
            && bytes.iter().all(|byte| is_plain(*byte) || *byte == b'-')
    };
    text.len() <= chars && text.split('.').all(is_label)
}

fn secret_name(text: &str) -> Result<String, String> {
    let is_good = is_name(text, NAME_CHARS);
    is_good
        .then(|| text.to_owned())
        .ok_or_else(|| String::from("write lower-case letters, digits, '-' and '.'"))
}

fn namespace(text: &str) -> Result<String, String> {
    let is_good = is_name(text, NAMESPACE_CHARS) && !text.contains('.');
    is_good
        .then(|| text.to_owned())
        .ok_or_else(|| String::from("write lower-case letters, digits and '-'"))
}

impl Sync {
    pub(super) fn run(mut self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let wanted = self.wanted()?;
        let registry = self.registry(context)?;
        warn_of_plain_http(context, &registry.url)?;
        let is_inside = context.variable("KUBECONFIG").is_none()
            && context.variable("KUBERNETES_SERVICE_HOST").is_some();
        let mut log = Config::load(None, std::mem::take(&mut context.environment), &[])?.log;
        // The library shows what it cannot read, and that may be a Secret.
        log.filter.push_str(",kube_client=off");
        telemetry::install_logging(&log)?;
        let interval = Duration::from_secs(self.interval_seconds());
        let (clock, once) = (context.clock.clone(), self.once);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        runtime.block_on(async {
            // Listened for before anything is done, so that no signal is missed.
            let stop = stop_on_signals()?;
            let name = wanted.name.clone();
            let cluster = Cluster::reach(is_inside, name).await?;
            let sweeper = Sweeper {
                cluster,
                registry,
                wanted,
                selection: match self.namespace_selector {
                    Some(selector) => Selection::Labelled(selector),
                    None => Selection::Names(self.namespaces),
                },
                auths: self.auths,
                clock,
                stop,
                told_of_end: Cell::new(None),
            };
            if once {
                sweeper.once().await
            } else {
                sweeper.for_ever(interval).await
            }
        })
    }

    fn interval_seconds(&self) -> u64 {
        self.interval.unwrap_or(INTERVAL_DEFAULT_SECONDS)
    }

    fn wanted(&self) -> anyhow::Result<Wanted> {
        let lifetime_days = self.expires_in.unwrap_or(LIFETIME_DEFAULT_DAYS);
        let lifetime_seconds = lifetime_days.saturating_mul(super::SECONDS_OF_A_DAY);
        let seconds = self.renew_before.unwrap_or(lifetime_seconds / 3);
        anyhow::ensure!(
            seconds <= lifetime_seconds / 4 * 3,
            "--renew-before is more than three quarters of --expires-in: a pull secret would be replaced soon after it is \
             made"
        );
        anyhow::ensure!(
            self.once || self.interval_seconds().saturating_mul(2) <= seconds,
            "--interval is more than half of --renew-before (a third of --expires-in unless it is given): a pull secret \
             could end before it is looked at twice"
        );
        anyhow::ensure!(
            self.namespaces.len() <= MAX_NAMESPACES,
            "there are at most {MAX_NAMESPACES} namespaces for one workspace"
        );
        Ok(Wanted {
            name: self.name.clone(),
            lifetime_days,
            renew_before: Duration::from_secs(seconds),
        })
    }

    /// Berth, and the key: from a file if one is named by flag, or by variable when no flag gives a key.
    fn registry(&mut self, context: &Context<'_>) -> anyhow::Result<Registry> {
        let file = self.api_key_file.take().or_else(|| {
            let variable = context.variable("BERTH_API_KEY_FILE").map(PathBuf::from);
            variable.filter(|_| self.server.api_key.is_none())
        });
        if let Some(path) = &file {
            // What a login saved beside another key is not for this one.
            self.server.api_key = Some(read_key(path)?.expose().to_owned());
        }
        let target = self.server.target(context)?;
        let given = target.api_key.context(
            "no API key: name a file by --api-key-file or BERTH_API_KEY_FILE, or set BERTH_API_KEY",
        )?;
        Ok(Registry {
            url: target.url,
            key: file.map_or(Key::Given(given), Key::File),
            workspace: target.workspace,
        })
    }
}

/// Turns true when the process is told to stop.
fn stop_on_signals() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: the namespace at hand is brought to an end");
        let _ = sender.send(true);
        sender.closed().await;
    });
    Ok(receiver)
}
