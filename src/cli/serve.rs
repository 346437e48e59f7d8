//! `berth serve`: reads the configuration and starts the server.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use berth::app::{self, Running};
use berth::clock::Clock;
use berth::config::Config;
use berth::http::Door;
use berth::telemetry;
use berth::tenancy::FirstStart;
use clap::Args;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use super::health::from_this_machine;

/// Start the registry
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth serve
  berth serve --data-dir /var/lib/berth --listen 0.0.0.0:5000
  berth serve --config /etc/berth/berth.toml
  BERTH_SERVER__PUBLIC_URL=https://registry.example.com berth serve

Starts with nothing but a folder: the first start makes the database, the keys
and a first workspace, and writes an operator's key to operator.key and the
workspace's key to main.key in the data folder. Every key of the configuration
is a variable too; `berth config check` shows what is in effect.")]
pub(super) struct Serve {
    /// The configuration file; see config/berth.toml for every key
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the database, the blobs and the keys [default: data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Where the public door listens [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the pull door listens [default: off]
    #[arg(long, value_name = "ADDRESS")]
    pull_listen: Option<String>,
    /// Where the door of /api/v1 listens [default: off]
    #[arg(long, value_name = "ADDRESS")]
    api_listen: Option<String>,
    /// Where metrics and health are served [default: 127.0.0.1:5009]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
}

impl Serve {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let flags: Vec<(&str, String)> = [
            ("server.data_dir", self.data_dir),
            ("server.public_listen", self.listen),
            ("server.pull_listen", self.pull_listen),
            ("server.api_listen", self.api_listen),
            ("server.ops_listen", self.ops_listen),
        ]
        .into_iter()
        .filter_map(|(key, text)| Some((key, text?)))
        .collect();
        let config = Config::load(
            self.config.as_deref(),
            std::mem::take(&mut context.environment),
            &flags,
        )?;
        telemetry::install_logging(&config.log)?;
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(start(config))
    }
}

/// Runs the server until it is told to stop.
async fn start(config: Config) -> anyhow::Result<()> {
    // Listened for before anything is started, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let running = app::start(&config, Clock::System).await?;
    greet(&running, &mut std::io::stdout().lock())?;
    tell_manager(NotifyState::Ready);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                tracing::info!("SIGHUP: the files of the certificate are looked at");
                running.reload_certificate().await;
            }
        }
    }
    tell_manager(NotifyState::Stopping);
    tracing::info!("stopping: requests under way may end");
    running.stop().await;
    Ok(())
}

/// Tells the service manager that started this process, if it asked for it by NOTIFY_SOCKET, how far the server is.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(error = %error, "the service manager could not be told how far the server is");
    }
}

/// Says where the doors are, and after the first start what to try next.
fn greet(running: &Running, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "berth {}", env!("CARGO_PKG_VERSION"))?;
    for (door, _) in &running.addresses {
        let url = running.url(*door).unwrap_or_default();
        writeln!(out, "{:<8}{url}", door.as_str())?;
    }
    if let Some(first) = &running.first_start {
        first_steps(running, first, out)?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

fn first_steps(running: &Running, first: &FirstStart, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\nThis is the first start. The operator's key is in {}.",
        first.operator_key_file.display()
    )?;
    let (Some((_, key_file)), Some(address)) = (&first.main_key, running.address(Door::Public))
    else {
        return writeln!(out);
    };
    let key_file = key_file.display();
    // Clients know no "every interface", and take plain HTTP on this machine's own address alone.
    let address = from_this_machine(address);
    writeln!(
        out,
        "There is a workspace \"main\"; its key is in {key_file}. Try:\n"
    )?;
    writeln!(
        out,
        "  docker login {address} --username main --password-stdin < {key_file}"
    )?;
    writeln!(out, "  docker tag busybox {address}/t-main/busybox")?;
    writeln!(out, "  docker push {address}/t-main/busybox\n")
}
