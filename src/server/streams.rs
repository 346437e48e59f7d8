//! The streams of one HTTP/2 connection: how many are under way, and which of them nobody reads.
//!
//! A stream whose client opens no window is not seen at the socket, and hyper waits for the window without an end. So
//! each stream runs beside a clock that counts while a piece of its answer waits to be taken.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, timeout};

use super::transport::{LINGER_BYTES, LINGER_LIMIT, LINGER_SILENCE};
use crate::telemetry::Metrics;

/// What a stream gives to the connection at one time: how finely the progress of a slow client shows, and what the
/// end of an answer may leave in memory until its client takes it.
const PIECE_BYTES: usize = 64 * 1024;

/// Why a stream was cut, as the metric names it.
const STALLED_STREAM: &str = "stalled_stream";

tokio::task_local! {
    /// Of the stream whose task this is.
    static PROGRESS: Arc<Progress>;
}

/// How far the answer of one stream has come.
#[derive(Debug, Default)]
struct Progress {
    pieces: AtomicU64,
    /// A piece was given, and the next one has not been asked for.
    is_waiting: AtomicBool,
}

/// Runs the streams of one connection.
#[derive(Clone)]
pub(super) struct Streams(Arc<Inner>);

struct Inner {
    stall_limit: Duration,
    door: &'static str,
    metrics: Metrics,
    census: Mutex<Census>,
}

struct Census {
    under_way: usize,
    /// Since when there are so many.
    since: Instant,
}

impl Streams {
    pub(super) fn new(stall_limit: Duration, door: &'static str, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            stall_limit,
            door,
            metrics,
            census: Mutex::new(Census {
                under_way: 0,
                since: Instant::now(),
            }),
        }))
    }

    /// How long there has been no stream; nothing while there is one.
    pub(super) fn idle(&self) -> Option<Duration> {
        let census = self.0.census();
        (census.under_way == 0).then(|| census.since.elapsed())
    }
}

impl Inner {
    fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that is under way, until this is dropped.
struct UnderWay(Arc<Inner>);

impl UnderWay {
    fn begin(inner: &Arc<Inner>) -> Self {
        let mut census = inner.census();
        census.under_way += 1;
        census.since = Instant::now();
        drop(census);
        Self(Arc::clone(inner))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut census = self.0.census();
        census.under_way -= 1;
        census.since = Instant::now();
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let under_way = UnderWay::begin(&self.0);
        let progress = Arc::new(Progress::default());
        let run = run(stream, Arc::clone(&progress), under_way);
        tokio::spawn(PROGRESS.scope(progress, run));
    }
}

/// Runs a stream to its end, or until its client has taken nothing for too long. Dropping it resets it.
async fn run(stream: impl Future<Output = ()>, progress: Arc<Progress>, under_way: UnderWay) {
    let mut stream = pin!(stream);
    let mut patience = Patience {
        progress,
        limit: under_way.0.stall_limit,
        seen: 0,
        timer: None,
    };
    let has_ended = poll_fn(|context| {
        if stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        patience.poll_end(context).map(|()| false)
    });
    if !has_ended.await {
        let inner = &under_way.0;
        inner.metrics.connection_cut(inner.door, STALLED_STREAM);
        tracing::debug!(
            door = inner.door,
            "a stream was reset: its client read nothing"
        );
    }
}

/// With a client that has been given a piece and does not take it.
struct Patience {
    progress: Arc<Progress>,
    limit: Duration,
    /// The piece that the timer counts for.
    seen: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.progress.is_waiting.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let pieces = self.progress.pieces.load(Ordering::Relaxed);
        let end = Instant::now() + self.limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if self.seen != pieces {
            self.seen = pieces;
            timer.as_mut().reset(end);
        }
        timer.as_mut().poll(context)
    }
}

/// The answer, with its body in pieces whose progress shows. An answer of HTTP/1 stays as it is: its progress shows at
/// the socket.
pub(super) fn in_pieces(response: Response) -> Response {
    match PROGRESS.try_with(Arc::clone) {
        Ok(progress) if !response.body().is_end_stream() => response.map(|body| {
            Body::new(Pieces {
                body,
                rest: Bytes::new(),
                progress,
            })
        }),
        Ok(_) | Err(_) => response,
    }
}

/// The body of a stream's request. Where the answer comes before all of it was read, the rest is read and dropped
/// within the limits of lingering: the reset that the protocol foresees here (RFC 9113 section 8.1) makes some clients
/// drop the answer that came before it.
pub(super) struct Received(Option<Incoming>);

impl Received {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let rest = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(timeout(LINGER_LIMIT, read_and_drop(rest)));
        }
    }
}

async fn read_and_drop(mut body: Incoming) {
    let mut left_bytes = LINGER_BYTES;
    while let Ok(Some(Ok(frame))) = timeout(LINGER_SILENCE, body.frame()).await {
        left_bytes = left_bytes.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left_bytes == 0 {
            return;
        }
    }
}

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

struct Pieces {
    body: Body,
    rest: Bytes,
    progress: Arc<Progress>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.progress.is_waiting.store(false, Ordering::Relaxed);
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let piece_bytes = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(piece_bytes);
        self.progress.pieces.fetch_add(1, Ordering::Relaxed);
        self.progress.is_waiting.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked for before the first piece alone, when there is no rest.
        self.body.size_hint()
    }
}
