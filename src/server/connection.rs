//! One connection from its first byte to its last: the handshake, the protocol, and the limits on time.

use std::error::Error;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use axum::response::Response;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::streams::{Received, Streams, in_pieces};
use super::transport::{Protocol, Transport, Vitals};
use super::{
    HTTP2_PING_INTERVAL, HTTP2_PING_TIMEOUT, HTTP2_STREAM_BUFFER_BYTES, HTTP2_STREAMS,
    ServerOptions,
};
use crate::http::{Door, DoorService, Peer};
use crate::telemetry::Metrics;
use crate::tls;

/// The first byte of a TLS handshake (RFC 8446 section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The smallest limit of a head that hyper can keep, in bytes.
const HEADER_LIMIT_MIN_BYTES: usize = 8192;

/// How long an HTTP/2 connection without a stream stays open after the server was told to stop. Its client is to confirm
/// that it heard of it, and may not.
const SETTLE: Duration = Duration::from_secs(5);

/// Why a connection was ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Nothing was said: no first byte, or no answer to a ping.
    Silent,
    /// No TLS was agreed on.
    Handshake,
    /// Plain HTTP where TLS is spoken.
    PlainHttp,
    /// The head of a request was too slow, too large, or none.
    Header,
    /// No further request came.
    Idle,
    /// The client read nothing of an answer.
    Stalled,
}

impl Cut {
    /// The word for it in logs and metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Handshake => "handshake",
            Self::PlainHttp => "plain_http",
            Self::Header => "header",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
        }
    }
}

/// What the client will speak, as far as the handshake has said.
#[derive(Clone, Copy, Debug)]
enum Agreed {
    /// Nothing: the first bytes will tell.
    Nothing,
    /// One protocol and no other.
    Only(Protocol),
}

/// Serves one connection of a door.
pub(super) struct Connection {
    pub(super) door: Door,
    pub(super) address: SocketAddr,
    pub(super) service: DoorService,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) options: ServerOptions,
    pub(super) metrics: Metrics,
    pub(super) stop: watch::Receiver<bool>,
}

/// Counts a connection as open until it is dropped, however its task ends.
struct Counted {
    door: &'static str,
    metrics: Metrics,
}

impl Counted {
    fn begin(door: &'static str, metrics: &Metrics) -> Self {
        metrics.connection_opened(door);
        Self {
            door,
            metrics: metrics.clone(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.connection_closed(self.door);
    }
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn run(self, stream: TcpStream) {
        let (door, address, metrics) = (self.door.as_str(), self.address, self.metrics.clone());
        let _counted = Counted::begin(door, &metrics);
        if let Some(cut) = self.serve(stream).await {
            metrics.connection_cut(door, cut.as_str());
            tracing::debug!(door, %address, reason = cut.as_str(), "a connection was ended");
        }
    }

    async fn serve(mut self, stream: TcpStream) -> Option<Cut> {
        let first = match self.first_byte(&stream).await {
            Ok(first) => first?,
            Err(cut) => return Some(cut),
        };
        let vitals = Vitals::new();
        let transport = Transport::new(stream, Arc::clone(&vitals), self.options.response_idle);
        let Some(acceptor) = self.tls.take() else {
            return self.speak(transport, vitals, Agreed::Nothing).await;
        };
        if first != HANDSHAKE_RECORD {
            return Some(refuse_plain(transport, &vitals, first).await);
        }
        let agreed = match self.shake_hands(acceptor, transport).await {
            Ok(agreed) => agreed?,
            Err(cut) => return Some(cut),
        };
        vitals.agreed();
        let protocol = match agreed.get_ref().1.alpn_protocol() {
            Some(tls::HTTP2) => Protocol::Http2,
            Some(_) | None => Protocol::Http1,
        };
        self.speak(agreed, vitals, Agreed::Only(protocol)).await
    }

    /// The first byte, which stays where it is: before it nothing else looks at the clock. Nothing when the client is
    /// gone, or the server stops.
    async fn first_byte(&mut self, stream: &TcpStream) -> Result<Option<u8>, Cut> {
        let mut byte = [0];
        let first = timeout(self.options.header_read_timeout, stream.peek(&mut byte));
        tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => Ok(None),
            first = first => match first {
                Ok(Ok(bytes)) => Ok((bytes > 0).then_some(byte[0])),
                Ok(Err(_)) => Ok(None),
                Err(_) => Err(Cut::Silent),
            }
        }
    }

    async fn shake_hands(
        &mut self,
        acceptor: TlsAcceptor,
        transport: Transport,
    ) -> Result<Option<TlsStream<Transport>>, Cut> {
        let handshake = timeout(self.options.handshake, acceptor.accept(transport));
        let failure = tokio::select! {
            _ = self.stop.wait_for(|stop| *stop) => return Ok(None),
            agreed = handshake => match agreed {
                Ok(Ok(agreed)) => return Ok(Some(agreed)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => String::from("it took too long"),
            }
        };
        let (door, address) = (self.door.as_str(), self.address);
        tracing::debug!(door, %address, failure, "a TLS handshake failed");
        Err(Cut::Handshake)
    }

    /// Answers requests until the client is done, a limit is reached, or the server stops.
    async fn speak<T>(mut self, io: T, vitals: Arc<Vitals>, agreed: Agreed) -> Option<Cut>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = Peer {
            door: self.door,
            address: self.address,
            tls: matches!(agreed, Agreed::Only(_)),
        };
        let (before, after) = (Arc::clone(&vitals), Arc::clone(&vitals));
        let service = self
            .service
            .clone()
            .map_request(move |request| admit(request, peer, &before))
            .map_response(move |response| finish(response, &after));
        let streams = Streams::new(
            self.options.response_idle,
            self.door.as_str(),
            self.metrics.clone(),
        );
        let builder = builder(&self.options, streams.clone(), agreed);
        let connection =
            builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
        let mut connection = pin!(connection);
        // hyper looks at the clock between the requests of HTTP/1. Before it knows the protocol, and between the streams
        // of HTTP/2, nobody else does.
        let mut limit = self.options.header_read_timeout;
        let mut timer = pin!(sleep(limit));
        let (mut is_stopping, mut ending) = (false, None);
        loop {
            tokio::select! {
                ended = connection.as_mut() => return judge(ended, ending.flatten(), &vitals),
                _ = self.stop.wait_for(|stop| *stop), if !is_stopping => {
                    is_stopping = true;
                    ending.get_or_insert(None);
                    limit = SETTLE;
                }
                () = timer.as_mut(), if vitals.protocol() != Some(Protocol::Http1) => {
                    // What it is may have been told since the waiting began.
                    if vitals.protocol() == Some(Protocol::Http1) {
                        continue;
                    }
                    let idle = streams.idle().unwrap_or_default();
                    if idle < limit {
                        timer.as_mut().reset(Instant::now() + (limit - idle));
                        continue;
                    }
                    if let Some(cut) = ending {
                        return cut;
                    }
                    let had_requests = vitals.protocol().is_some();
                    ending = Some(Some(if had_requests { Cut::Idle } else { Cut::Header }));
                    // For what was answered and is still to be read.
                    limit = self.options.response_idle;
                }
            }
            connection.as_mut().graceful_shutdown();
            timer.as_mut().reset(Instant::now() + limit);
        }
    }
}

fn builder(options: &ServerOptions, streams: Streams, agreed: Agreed) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_read_timeout)
        .max_buf_size(options.header_limit_bytes.max(HEADER_LIMIT_MIN_BYTES));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .max_concurrent_streams(HTTP2_STREAMS)
        .max_send_buf_size(HTTP2_STREAM_BUFFER_BYTES)
        .max_header_list_size(u32::try_from(options.header_limit_bytes).unwrap_or(u32::MAX));
    match agreed {
        Agreed::Nothing => builder,
        Agreed::Only(Protocol::Http1) => builder.http1_only(),
        Agreed::Only(Protocol::Http2) => builder.http2_only(),
    }
}

/// Says in plain HTTP that the address speaks TLS, if it was HTTP that came.
async fn refuse_plain(mut transport: Transport, vitals: &Vitals, first: u8) -> Cut {
    if !first.is_ascii_uppercase() {
        return Cut::Handshake;
    }
    // What was sent is still to be read.
    vitals.bytes_came();
    let message = "this address speaks TLS: write https:// in the place of http://\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{message}",
        message.len()
    );
    if transport.write_all(answer.as_bytes()).await.is_ok() {
        // A client that is gone has nothing to hear.
        let _ = transport.shutdown().await;
    }
    Cut::PlainHttp
}

/// A request as the doors take it: it carries where it comes from, and its body tells when it was read.
fn admit(request: hyper::Request<Incoming>, peer: Peer, vitals: &Arc<Vitals>) -> Request {
    let protocol = match request.version() {
        Version::HTTP_2 => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let has_body = !request.body().is_end_stream();
    vitals.request_began(protocol, has_body);
    let mut request: Request = match protocol {
        Protocol::Http1 if has_body => request.map(|body| {
            Body::new(Told {
                body,
                vitals: Arc::clone(vitals),
            })
        }),
        Protocol::Http2 if has_body => request.map(|body| Body::new(Received::new(body))),
        Protocol::Http1 | Protocol::Http2 => request.map(Body::new),
    };
    request.extensions_mut().insert(peer);
    request
}

/// An answer as the connection takes it.
///
/// Where it comes before the whole body of an HTTP/1 request was read, hyper closes the connection behind it; the
/// client is told, so that it sends nothing more on it. In HTTP/2 this concerns the stream alone.
fn finish(mut response: Response, vitals: &Vitals) -> Response {
    if vitals.is_body_unread() {
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    in_pieces(response)
}

/// The body of a request, which says when it was read to its end.
struct Told {
    body: Incoming,
    vitals: Arc<Vitals>,
}

impl hyper::body::Body for Told {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.vitals.body_ended();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Which limit ended a connection, if one did.
fn judge(
    ended: Result<(), Box<dyn Error + Send + Sync>>,
    ending: Option<Cut>,
    vitals: &Vitals,
) -> Option<Cut> {
    if vitals.is_stalled() {
        return Some(Cut::Stalled);
    }
    if ending.is_some() {
        return ending;
    }
    let error = ended.err()?;
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse() => Some(Cut::Header),
        Some(error) if error.is_timeout() && vitals.protocol() == Some(Protocol::Http2) => {
            Some(Cut::Silent)
        }
        Some(error) if error.is_timeout() && vitals.is_quiet() => Some(Cut::Idle),
        Some(error) if error.is_timeout() => Some(Cut::Header),
        Some(_) | None => {
            tracing::debug!(error = %error, "a connection ended with an error");
            None
        }
    }
}
