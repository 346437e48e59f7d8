//! Listeners: accepting connections, serving HTTP/1.1 and HTTP/2 on them with or without TLS, and ending in order.

mod connection;
mod descriptors;
mod streams;
mod transport;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_rustls::TlsAcceptor;

use self::connection::Connection;
pub use self::descriptors::{connections_that_fit, transfers_that_fit};
use crate::config::AddressRange;
use crate::http::{Door, DoorService};
use crate::shares::{Neighbourhood, Share, Shares};
use crate::telemetry::Metrics;

/// How long accepting pauses when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests on one HTTP/2 connection at one time.
const HTTP2_STREAMS: u32 = 100;
/// What one of them holds ready for a client that reads slowly, in bytes: two pieces.
const HTTP2_STREAM_BUFFER_BYTES: usize = 128 * 1024;

/// Limits of all listeners.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Connections of each door at one time; more wait to be accepted.
    pub max_connections: usize,
    /// Of these, what one address may hold; more are closed at once.
    pub max_connections_per_address: usize,
    /// Addresses that may hold as many as there are: many clients stand behind them.
    pub trusted_proxies: Vec<AddressRange>,
    /// How long a client may take for the TLS handshake.
    pub handshake: Duration,
    /// How long a client may take for its first byte and for the head of a request, and how long a connection may wait
    /// for the next one.
    pub header_read_timeout: Duration,
    /// The head of a request, in bytes.
    pub header_limit_bytes: usize,
    /// How long a client may read nothing of an answer.
    pub response_idle: Duration,
    /// How long requests under way may take to end at shutdown.
    pub drain: Duration,
}

/// A door with its bound socket.
pub struct BoundDoor {
    /// Which one.
    pub door: Door,
    /// Its socket.
    pub listener: TcpListener,
    /// What it needs to speak TLS; without it, it speaks plain HTTP.
    pub tls: Option<TlsAcceptor>,
}

/// Serves the doors until `stop` says so; then lets requests under way end, for as long as the options allow.
pub async fn serve(
    doors: Vec<(BoundDoor, DoorService)>,
    options: ServerOptions,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    for (bound, service) in doors {
        let acceptor = Acceptor {
            door: bound.door,
            service,
            tls: bound.tls,
            options: options.clone(),
            metrics: metrics.clone(),
            slots: Arc::new(Semaphore::new(options.max_connections)),
            by_address: Shares::new(options.max_connections, options.max_connections_per_address),
            stop: stop.clone(),
        };
        tasks.spawn(acceptor.run(bound.listener));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(error = %error, "a listener ended unexpectedly");
        }
    }
}

struct Acceptor {
    door: Door,
    service: DoorService,
    tls: Option<TlsAcceptor>,
    options: ServerOptions,
    metrics: Metrics,
    slots: Arc<Semaphore>,
    by_address: Shares<Neighbourhood>,
    stop: watch::Receiver<bool>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = connections.join_next() => {
                    note_end(ended);
                    continue;
                }
                accepted = self.accept(&listener) => accepted,
            };
            if let Some((stream, address, slot)) = accepted {
                let Ok(share) = self.share_of(address) else {
                    self.metrics.connection_cut(self.door.as_str(), "address");
                    continue;
                };
                let connection = self.connection(address);
                connections.spawn(async move {
                    connection.run(stream).await;
                    drop((slot, share));
                });
            }
        }
        drop(listener);
        let drained = tokio::time::timeout(self.options.drain, async {
            while let Some(ended) = connections.join_next().await {
                note_end(ended);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(
                door = self.door.as_str(),
                connections = connections.len(),
                "requests were still under way when the time to drain was over"
            );
            connections.shutdown().await;
        }
    }

    /// What a new connection counts for at its address; nothing at a proxy's, and an error where there are too many.
    fn share_of(&self, address: SocketAddr) -> Result<Option<Share<Neighbourhood>>, ()> {
        let proxies = &self.options.trusted_proxies;
        if proxies.iter().any(|range| range.contains(address.ip())) {
            return Ok(None);
        }
        let share = self.by_address.take(address.ip().into(), 1);
        share.map(Some).ok_or(())
    }

    fn connection(&self, address: SocketAddr) -> Connection {
        Connection {
            door: self.door,
            address,
            service: self.service.clone(),
            tls: self.tls.clone(),
            options: self.options.clone(),
            metrics: self.metrics.clone(),
            stop: self.stop.clone(),
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, address)) => Some((stream, address, slot)),
            Err(error) => {
                tracing::warn!(door = self.door.as_str(), error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a connection ended unexpectedly");
    }
}
