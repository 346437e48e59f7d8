//! The socket of one connection: a client that reads nothing is cut, and one that still writes hears the answer.
//!
//! Knows bytes and time. What the bytes mean is told to it through [`Vitals`].

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// What the kernel holds for a client beyond what is on its way. A socket takes more only when half of it is gone, so
/// this is also how finely the progress of a slow client shows.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;

/// After an early answer, a client that was still sending is listened to for so long, and for so many bytes, before the
/// socket or its stream is closed: closing at once would be a reset, and the answer would be lost with it. A proxy that
/// passes bodies on as they come looks for the answer only when its own client pauses, so the bytes are many.
pub(super) const LINGER_LIMIT: Duration = Duration::from_secs(30);
pub(super) const LINGER_BYTES: usize = 1024 * 1024 * 1024;
/// How long such a client may be silent.
pub(super) const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// Read at one time while lingering.
const LINGER_BUFFER_BYTES: usize = 16 * 1024;

/// The protocol of a connection, once its first request has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// One request after the other.
    Http1,
    /// Many requests at one time.
    Http2,
}

/// What the client is in the middle of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    /// Nothing.
    Nothing,
    /// The head of a request, or something that is none.
    Head,
    /// The body of a request that was begun.
    Body,
}

/// What is known of a connection while it lives; the socket, its requests and the task that serves it share it.
#[derive(Debug)]
pub(super) struct Vitals(Mutex<State>);

#[derive(Debug)]
struct State {
    protocol: Option<Protocol>,
    sending: Sending,
    stalled: bool,
}

impl Vitals {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            protocol: None,
            sending: Sending::Nothing,
            stalled: false,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes came in. Whoever waits for a head takes them for the beginning of one.
    pub(super) fn bytes_came(&self) {
        let mut state = self.lock();
        if state.sending == Sending::Nothing && state.protocol != Some(Protocol::Http2) {
            state.sending = Sending::Head;
        }
    }

    /// What came so far was a handshake.
    pub(super) fn agreed(&self) {
        self.lock().sending = Sending::Nothing;
    }

    /// The head of a request is complete.
    pub(super) fn request_began(&self, protocol: Protocol, has_body: bool) {
        let mut state = self.lock();
        state.protocol = Some(protocol);
        state.sending = match protocol {
            Protocol::Http1 if has_body => Sending::Body,
            Protocol::Http1 | Protocol::Http2 => Sending::Nothing,
        };
    }

    /// The body of the request was read to its end.
    pub(super) fn body_ended(&self) {
        self.lock().sending = Sending::Nothing;
    }

    /// The protocol, once there was a request.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.lock().protocol
    }

    /// Whether a request was begun and its body is not read to the end.
    pub(super) fn is_body_unread(&self) -> bool {
        self.lock().sending == Sending::Body
    }

    /// Whether the client is between two requests.
    pub(super) fn is_quiet(&self) -> bool {
        self.lock().sending == Sending::Nothing
    }

    /// Whether the connection ended because its client read nothing.
    pub(super) fn is_stalled(&self) -> bool {
        self.lock().stalled
    }
}

/// The socket of a connection.
pub(super) struct Transport {
    stream: TcpStream,
    vitals: Arc<Vitals>,
    stall_limit: Duration,
    stall: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    linger: Option<Linger>,
}

struct Linger {
    end: Instant,
    left_bytes: usize,
    silence: Pin<Box<Sleep>>,
}

impl Transport {
    /// Takes a socket over. An error of a write is the client's, once it has read nothing for `stall_limit`.
    pub(super) fn new(stream: TcpStream, vitals: Arc<Vitals>, stall_limit: Duration) -> Self {
        // A hint in both cases: a socket that does not know the option still works.
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
        Self {
            stream,
            vitals,
            stall_limit,
            stall: None,
            is_waiting: false,
            linger: None,
        }
    }

    /// What a write gave, or the end of the patience with a client that takes nothing.
    fn watched<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_waiting = false;
            return written;
        }
        let end = Instant::now() + self.stall_limit;
        let stall = self
            .stall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if !self.is_waiting {
            stall.as_mut().reset(end);
            self.is_waiting = true;
        }
        ready!(stall.as_mut().poll(context));
        self.vitals.lock().stalled = true;
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client reads nothing",
        )))
    }

    /// Reads what the client still sends and drops it, until it has nothing more to say or a limit is reached.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Linger {
            end: Instant::now() + LINGER_LIMIT,
            left_bytes: LINGER_BYTES,
            silence: Box::pin(sleep(LINGER_SILENCE)),
        });
        let mut scratch = [0; LINGER_BUFFER_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let now = Instant::now();
                    linger.left_bytes = linger.left_bytes.saturating_sub(buffer.filled().len());
                    if linger.left_bytes == 0 || linger.end <= now {
                        return Poll::Ready(());
                    }
                    let end = linger.end.min(now + LINGER_SILENCE);
                    linger.silence.as_mut().reset(end);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return linger.silence.as_mut().poll(context),
            }
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.vitals.bytes_came();
        }
        read
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watched(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if self.vitals.is_quiet() {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_linger(context).map(Ok)
    }
}
