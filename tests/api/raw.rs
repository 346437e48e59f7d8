//! Connections written byte by byte, for what no HTTP client would do, and what the metrics say of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use berth::http::Door;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::TestRegistry;

/// How long something that is to happen soon may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Between two looks at something that will change soon.
const POLL: Duration = Duration::from_millis(10);
/// What a client that hardly reads has room for, in bytes.
const NARROW_BYTES: u32 = 16 * 1024;

/// A connection to a door.
pub(crate) struct Raw {
    stream: TcpStream,
    address: SocketAddr,
}

impl Raw {
    pub(crate) async fn connect(registry: &TestRegistry, door: Door) -> Self {
        Self::connect_with(registry, door, |_| {}).await
    }

    /// A client that has room for little of an answer.
    pub(crate) async fn connect_narrow(registry: &TestRegistry, door: Door) -> Self {
        Self::connect_with(registry, door, |socket| {
            socket.set_recv_buffer_size(NARROW_BYTES).unwrap();
        })
        .await
    }

    async fn connect_with(
        registry: &TestRegistry,
        door: Door,
        prepare: impl FnOnce(&TcpSocket),
    ) -> Self {
        let address = registry.running.address(door).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        prepare(&socket);
        let stream = socket.connect(address).await.unwrap();
        Self { stream, address }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The head of a request, with the headers given; each ends in a line break.
    pub(crate) async fn send_head(&mut self, line: &str, headers: &str) {
        let head = format!("{line} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address);
        self.send(head).await;
    }

    /// One answer up to the end of its head.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(LIMIT, self.stream.read_u8()).await.unwrap();
            head.push(byte.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&head))
            }));
        }
        String::from_utf8(head).unwrap()
    }

    /// At most so many bytes of what comes next.
    pub(crate) async fn read(&mut self, bytes: usize) -> std::io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        let count = timeout(LIMIT, self.stream.read(&mut buffer))
            .await
            .unwrap()?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Everything up to the end of the connection, which must come by itself and in order.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let read = timeout(LIMIT, self.stream.read_to_end(&mut rest)).await;
        // The door closes the connection by itself, and in order.
        read.unwrap().unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Reads until the connection is at its end, in order or not; gives how many bytes came.
    pub(crate) async fn read_to_any_end(&mut self) -> usize {
        let mut count = 0;
        while let Ok(bytes) = self.read(1 << 20).await {
            if bytes.is_empty() {
                break;
            }
            count += bytes.len();
        }
        count
    }
}

/// The header by which a key is a password.
pub(crate) fn authorization(key: &str) -> String {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("any:{key}"));
    format!("Authorization: Basic {basic}\r\n")
}

/// The value of a metric, given by its name and labels; 0 while it has none.
pub(crate) async fn metric(registry: &TestRegistry, name: &str) -> u64 {
    // Not by a client that keeps its connection: the limits under test are those of this door too.
    let mut ops = Raw::connect(registry, Door::Ops).await;
    ops.send_head("GET /metrics", "Connection: close\r\n").await;
    let text = ops.rest().await;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// How many connections of the public door were ended for a reason.
pub(crate) async fn cut(registry: &TestRegistry, reason: &str) -> u64 {
    let name = format!("berth_connections_closed_total{{door=\"public\",reason=\"{reason}\"}}");
    metric(registry, &name).await
}

/// Connections open at the public door.
pub(crate) async fn open(registry: &TestRegistry) -> u64 {
    metric(registry, "berth_http_connections{door=\"public\"}").await
}

/// Waits until `look` gives what is expected.
pub(crate) async fn until(expected: u64, look: impl AsyncFn() -> u64) {
    let begun = Instant::now();
    loop {
        let found = look().await;
        if found == expected {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "still {found}, not {expected}");
        tokio::time::sleep(POLL).await;
    }
}
