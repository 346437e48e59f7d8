//! A proxy that sends each request to the next of several servers, and passes over those that take no connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Pieces of a body that wait for the server.
const PIECES: usize = 8;

type Body = BoxBody<Bytes, hyper::Error>;

/// The running proxy; it ends when this is dropped.
pub(crate) struct RoundRobin {
    address: SocketAddr,
    servers: Arc<Servers>,
    accepting: JoinHandle<()>,
}

struct Servers {
    addresses: RwLock<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl RoundRobin {
    pub(crate) async fn start(addresses: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let servers = Arc::new(Servers {
            addresses: RwLock::new(addresses),
            next: AtomicUsize::new(0),
        });
        let all = Arc::clone(&servers);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let servers = Arc::clone(&servers);
                let service = service_fn(move |request| forward(Arc::clone(&servers), request));
                tokio::spawn(async move {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A client may hang up at any time.
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            servers: all,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts another server in the place of one, which may be gone.
    pub(crate) fn replace(&self, place: usize, address: SocketAddr) {
        self.servers.addresses.write().unwrap()[place] = address;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RoundRobin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A connection to the next server that takes one.
async fn connect(servers: &Servers) -> Option<(SendRequest<Body>, watch::Receiver<u64>)> {
    let addresses = servers.addresses.read().unwrap().clone();
    for _ in &addresses {
        let turn = servers.next.fetch_add(1, Ordering::Relaxed);
        let address = addresses[turn % addresses.len()];
        let Ok(stream) = TcpStream::connect(address).await else {
            continue;
        };
        let (flushes, flushed) = watch::channel(0);
        let stream = Flushing { stream, flushes };
        if let Ok((sender, connection)) = handshake(TokioIo::new(stream)).await {
            tokio::spawn(connection);
            return Some((sender, flushed));
        }
    }
    None
}

/// Passes one request on, over a connection of its own.
async fn forward(
    servers: Arc<Servers>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let Some((mut sender, flushed)) = connect(&servers).await else {
        return Ok(failed("no server takes connections"));
    };
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned();
    if let Some(path) = path {
        head.uri = path.into();
    }
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("close"));
    head.version = hyper::Version::HTTP_11;
    let request = Request::from_parts(head, pumped(body, flushed));
    match sender.send_request(request).await {
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            head.headers.remove(CONNECTION);
            head.version = hyper::Version::HTTP_11;
            Ok(Response::from_parts(head, body.boxed()))
        }
        Err(error) => Ok(failed(&format!("the server went away: {error}"))),
    }
}

/// A body that is read to its end even if the server answers before: a client that still sends would not hear it.
fn pumped(mut body: Incoming, mut flushed: watch::Receiver<u64>) -> Body {
    if body.is_end_stream() {
        return Full::default().map_err(|never| match never {}).boxed();
    }
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(PIECES);
    tokio::spawn(async move {
        let mut sender = Some(sender);
        while let Some(frame) = body.frame().await {
            let is_broken = frame.is_err();
            if let Some(open) = &sender
                && is_broken
            {
                delivered(open, &mut flushed).await;
            }
            if let Some(open) = &sender
                && open.send(frame).await.is_err()
            {
                sender = None;
            }
            if is_broken {
                return;
            }
        }
    });
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async {
        let frame: Result<Frame<Bytes>, hyper::Error> = mpsc::Receiver::recv(&mut receiver).await?;
        Some((frame, receiver))
    });
    StreamBody::new(frames).boxed()
}

/// Returns when all pieces are on their way to the server: what its connection still holds when a body breaks is lost
/// with it, and a client could not say what arrived.
async fn delivered(
    open: &mpsc::Sender<Result<Frame<Bytes>, hyper::Error>>,
    flushed: &mut watch::Receiver<u64>,
) {
    if open.reserve_many(PIECES).await.is_err() {
        return;
    }
    let before = *flushed.borrow();
    // Nothing, so that the connection looks once more at what it has to write.
    if open.send(Ok(Frame::data(Bytes::new()))).await.is_ok() {
        // An error says that the connection is gone.
        let _ = flushed.wait_for(|count| *count > before).await;
    }
}

/// A connection that counts how often all that was written to it had gone out.
struct Flushing {
    stream: TcpStream,
    flushes: watch::Sender<u64>,
}

impl AsyncRead for Flushing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Flushing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.flushes.send_modify(|count| *count += 1);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

fn failed(reason: &str) -> Response<Body> {
    let text = Full::from(format!("{reason}\n"));
    let mut response = Response::new(text.map_err(|never| match never {}).boxed());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
