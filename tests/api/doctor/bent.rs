//! A proxy that changes answers on their way.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

pub(super) type Answer = Response<Full<Bytes>>;

/// What came in.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body_bytes: usize,
}

type Change = dyn Fn(&Asked, Answer) -> Answer + Send + Sync;

/// The running proxy; it ends when this is dropped.
pub(super) struct Bent {
    address: SocketAddr,
    behind: Arc<Mutex<Option<SocketAddr>>>,
    accepting: JoinHandle<()>,
}

impl Bent {
    /// One that `change` sees all answers of. Until it leads somewhere, these are 502.
    pub(super) async fn start(
        change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let behind = Arc::new(Mutex::new(None));
        let (change, target): (Arc<Change>, _) = (Arc::new(change), Arc::clone(&behind));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (change, target) = (Arc::clone(&change), Arc::clone(&target));
                let service = service_fn(move |request| {
                    let behind = *target.lock().unwrap();
                    pass(request, behind, Arc::clone(&change))
                });
                tokio::spawn(async move {
                    let server = hyper::server::conn::http1::Builder::new();
                    // A client may hang up at any time.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            address,
            behind,
            accepting,
        }
    }

    /// Before this server.
    pub(super) async fn before(
        server: SocketAddr,
        change: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let bent = Self::start(change).await;
        bent.lead_to(server);
        bent
    }

    pub(super) fn lead_to(&self, server: SocketAddr) {
        *self.behind.lock().unwrap() = Some(server);
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it. Nobody else gets its address, where nothing listens any more, until what is given back is dropped.
    pub(super) async fn end(mut self) -> TcpSocket {
        self.accepting.abort();
        // When the task is over, its listener is closed.
        let _ = (&mut self.accepting).await;
        let held = TcpSocket::new_v4().unwrap();
        // Its connections may be there still.
        held.set_reuseaddr(true).unwrap();
        held.bind(self.address).unwrap();
        held
    }
}

impl Drop for Bent {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(
    request: Request<Incoming>,
    behind: Option<SocketAddr>,
    change: Arc<Change>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let asked = Asked {
        method: head.method.clone(),
        path: head.uri.path().to_owned(),
        body_bytes: body.len(),
    };
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::BAD_GATEWAY;
    if let Some(server) = behind {
        let stream = TcpStream::connect(server).await.unwrap();
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::from_parts(head, Full::new(body));
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        answer = Response::from_parts(head, Full::new(body));
    }
    Ok(change(&asked, answer))
}
