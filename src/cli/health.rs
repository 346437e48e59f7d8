//! `berth health`: asks the server on this machine whether it is ready.
//!
//! For a container, whose image has neither a shell nor curl. It finds the ops door as `berth serve` does, from the
//! configuration, and speaks to it and to nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use berth::config::{Config, DoorName};
use clap::Args;
use reqwest::{Response, StatusCode};

use super::client::root_cause;
use super::{Context, output};

/// How long the whole question may take: less than the 10 s after which the Dockerfile's HEALTHCHECK kills this
/// command, so that the reason is still printed.
const TIMEOUT: Duration = Duration::from_secs(8);

/// How much of an answer is read, in bytes. Berth's own fit in a line.
const ANSWER_LIMIT_BYTES: usize = 1024;

/// Ask the server on this machine whether it is ready
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth health
  berth health --ops-listen 0.0.0.0:9000
  berth health --config /etc/berth/berth.toml

Asks /readyz of the ops door: whether the database answers and the storage can
be written. Exits with 0 when the server is ready, else with 1 and the reason.
Needs no key, and no shell or curl, so that a container's health check can be
this command. Say here what `berth serve` was told.")]
pub(super) struct Health {
    /// The server's configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the server's ops door listens [default: 127.0.0.1:5009]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
}

impl Health {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let flags: Vec<(&str, String)> = self
            .ops_listen
            .map(|address| ("server.ops_listen", address))
            .into_iter()
            .collect();
        let config = Config::load(
            self.config.as_deref(),
            std::mem::take(&mut context.environment),
            &flags,
        )?;
        let address = from_this_machine(config.server.ops_listen);
        let scheme = if config.tls.is_on(DoorName::Ops) {
            "https"
        } else {
            "http"
        };
        let (status, body) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?
            .block_on(ask(&format!("{scheme}://{address}/readyz")))
            .map_err(|error| anyhow::anyhow!("cannot reach {address}: {}", root_cause(&error)))?;
        anyhow::ensure!(
            status == StatusCode::OK,
            "{address} answered {status}: {body}"
        );
        context.output.line(&output::plain(&body))?;
        Ok(())
    }
}

/// Where a door that listens on `address` can be reached from the machine it runs on.
pub(super) fn from_this_machine(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(url: &str) -> reqwest::Result<(StatusCode, String)> {
    let mut response = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // The certificate is for the name by which others reach the door, and nothing secret is sent or believed. The
        // system's own certificates may be missing.
        .tls_certs_only([])
        .tls_danger_accept_invalid_certs(true)
        .build()?
        .get(url)
        .send()
        .await?;
    let body = beginning(&mut response).await?;
    Ok((response.status(), body))
}

/// The first [`ANSWER_LIMIT_BYTES`] of a body: another program may listen where the ops door was looked for.
async fn beginning(response: &mut Response) -> reqwest::Result<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= ANSWER_LIMIT_BYTES {
            bytes.truncate(ANSWER_LIMIT_BYTES);
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
