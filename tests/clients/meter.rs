//! A line between a client and a server that counts what the client sends, and can stop or break off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::process;

/// Carried at one time, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long the client may take to send as much as was waited for.
const LIMIT: Duration = Duration::from_secs(600);

/// The line, which ends when it is dropped.
pub(crate) struct Meter {
    /// `host:port`.
    pub(crate) address: String,
    line: Arc<Line>,
    _runtime: Runtime,
}

struct Line {
    server: SocketAddr,
    sent: AtomicU64,
    /// What is carried in all before it stops.
    stop_at: watch::Sender<u64>,
    /// Where it breaks off once.
    break_at: AtomicU64,
}

impl Meter {
    /// A line to the server at `address`.
    pub(crate) fn before(address: &str) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port is free");
        let own = listener.local_addr().expect("it has an address");
        let line = Arc::new(Line {
            server: address.parse().expect("a server has an address"),
            sent: AtomicU64::new(0),
            stop_at: watch::channel(u64::MAX).0,
            break_at: AtomicU64::new(u64::MAX),
        });
        let of_all = Arc::clone(&line);
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(Arc::clone(&of_all), client));
            }
        });
        Self {
            address: own.to_string(),
            line,
            _runtime: runtime,
        }
    }

    /// What clients have sent so far, in bytes.
    pub(crate) fn sent(&self) -> u64 {
        self.line.sent.load(Ordering::SeqCst)
    }

    /// Carries no more than `bytes` in all from now on.
    pub(crate) fn stop_after(&self, bytes: u64) {
        self.line.stop_at.send_replace(self.sent() + bytes);
    }

    /// Waits until it has stopped.
    pub(crate) fn wait_until_stopped(&self) {
        let stop_at = *self.line.stop_at.borrow();
        process::wait_for("half of a push", LIMIT, || {
            (self.sent() >= stop_at).then_some(())
        });
    }

    /// Carries everything again.
    pub(crate) fn go_on(&self) {
        self.line.stop_at.send_replace(u64::MAX);
    }

    /// Breaks the connection, once, that carries the last of `bytes` more.
    pub(crate) fn break_after(&self, bytes: u64) {
        self.line
            .break_at
            .store(self.sent() + bytes, Ordering::SeqCst);
    }
}

async fn carry(line: Arc<Line>, client: TcpStream) {
    let Ok(server) = TcpStream::connect(line.server).await else {
        return;
    };
    let (from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        // Either side may hang up at any time.
        let _ = copy(&mut from_server, &mut to_client).await;
    });
    if count(&line, from_client, to_server).await.is_none() {
        answers.abort();
    }
}

/// Carries what the client sends to its end; none where the line breaks.
async fn count(line: &Line, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) -> Option<()> {
    let mut stop_at = line.stop_at.subscribe();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let may_go_on = stop_at.wait_for(|stop_at| line.sent.load(Ordering::SeqCst) < *stop_at);
        may_go_on.await.ok()?;
        let length = client
            .read(&mut buffer)
            .await
            .ok()
            .filter(|length| *length > 0);
        let Some(length) = length else {
            return Some(());
        };
        server.write_all(&buffer[..length]).await.ok()?;
        let length = u64::try_from(length).unwrap_or_default();
        let sent = line.sent.fetch_add(length, Ordering::SeqCst) + length;
        let break_at = line.break_at.load(Ordering::SeqCst);
        let breaks = sent >= break_at
            && line
                .break_at
                .compare_exchange(break_at, u64::MAX, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
        if breaks {
            return None;
        }
    }
}
