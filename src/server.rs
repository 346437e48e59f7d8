//! Listeners: accepting connections, serving HTTP/1.1 and HTTP/2 on them, and ending in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

use crate::http::{Door, DoorService, Peer};
use crate::telemetry::Metrics;

/// How long accepting pauses when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often a silent HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests on one HTTP/2 connection at one time.
const HTTP2_STREAMS: u32 = 100;

/// Limits of all listeners.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Connections of each door at one time; more wait to be accepted.
    pub max_connections: usize,
    /// How long a client may take for the head of a request, and how long a connection may wait for one.
    pub header_read_timeout: Duration,
    /// The head of a request, in bytes.
    pub header_limit_bytes: usize,
    /// How long requests under way may take to end at shutdown.
    pub drain: Duration,
}

/// A door with its bound socket.
#[derive(Debug)]
pub struct BoundDoor {
    /// Which one.
    pub door: Door,
    /// Its socket.
    pub listener: TcpListener,
}

/// Serves the doors until `stop` says so; then lets requests under way end, for as long as the options allow.
pub async fn serve(
    doors: Vec<(BoundDoor, DoorService)>,
    options: ServerOptions,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for (bound, service) in doors {
        let acceptor = Acceptor {
            door: bound.door,
            service,
            options: options.clone(),
            metrics: metrics.clone(),
            slots: Arc::new(Semaphore::new(options.max_connections)),
        };
        tasks.spawn(acceptor.run(bound.listener, stop.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(error = %error, "a listener ended unexpectedly");
        }
    }
}

/// Whether a connection says anything at all in time: before its first byte nothing else looks at the clock.
async fn speaks(stream: &TcpStream, patience: Duration, mut stop: watch::Receiver<bool>) -> bool {
    let mut byte = [0];
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => false,
        first = tokio::time::timeout(patience, stream.peek(&mut byte)) => {
            matches!(first, Ok(Ok(bytes)) if bytes > 0)
        }
    }
}

struct Acceptor {
    door: Door,
    service: DoorService,
    options: ServerOptions,
    metrics: Metrics,
    slots: Arc<Semaphore>,
}

impl Acceptor {
    async fn run(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let graceful = GracefulShutdown::new();
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.header_read_timeout)
            .max_buf_size(self.options.header_limit_bytes.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_header_list_size(
                u32::try_from(self.options.header_limit_bytes).unwrap_or(u32::MAX),
            );
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                accepted = self.accept(&listener) => accepted,
            };
            let Some((stream, address, slot)) = accepted else {
                continue;
            };
            let peer = Peer {
                door: self.door,
                address,
            };
            let service =
                self.service
                    .clone()
                    .map_request(move |request: hyper::Request<Incoming>| {
                        let mut request: Request = request.map(Body::new);
                        request.extensions_mut().insert(peer);
                        request
                    });
            let (builder, watcher) = (builder.clone(), graceful.watcher());
            let (door, metrics) = (self.door.as_str(), self.metrics.clone());
            let (patience, stop) = (self.options.header_read_timeout, stop.clone());
            tokio::spawn(async move {
                metrics.connection_opened(door);
                if speaks(&stream, patience, stop).await {
                    let connection = builder
                        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
                    if let Err(error) = watcher.watch(connection.into_owned()).await {
                        tracing::debug!(door, error = %error, "a connection ended with an error");
                    }
                }
                metrics.connection_closed(door);
                drop(slot);
            });
        }
        drop(listener);
        if tokio::time::timeout(self.options.drain, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                door = self.door.as_str(),
                "requests were still under way when the time to drain was over"
            );
        }
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, address)) => {
                // Small answers go out at once; a socket that does not know the option still works.
                let _ = stream.set_nodelay(true);
                Some((stream, address, slot))
            }
            Err(error) => {
                tracing::warn!(door = self.door.as_str(), error = %error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}
