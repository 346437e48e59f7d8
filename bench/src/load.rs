//! One request, sent again and again on connections that stay open.
//!
//! A reader of its own, because what is measured must not wait for what measures: it writes prepared bytes and looks
//! at no more of an answer than its status and length. `wrk`, which does the same, cannot send HEAD.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes taken from a connection at a time; the head of an answer must fit.
const BUFFER_BYTES: usize = 256 * 1024;
/// How much longer than asked for a measurement may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A read of known length.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    head: Vec<u8>,
    body_bytes: u64,
    announced_bytes: u64,
}

impl Read {
    /// A GET or HEAD of something that has `size_bytes`, with further headers.
    pub(crate) fn new(
        method: &str,
        host: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        size_bytes: u64,
    ) -> Self {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self {
            head: head.into_bytes(),
            body_bytes: if method == "HEAD" { 0 } else { size_bytes },
            announced_bytes: size_bytes,
        }
    }

    /// Checks the head of an answer: anything but what was asked for ends the measurement.
    fn check(&self, head: &[u8]) -> anyhow::Result<()> {
        if !head.starts_with(b"HTTP/1.1 200 ") {
            bail!("the answer was\n{}", String::from_utf8_lossy(head));
        }
        let announced = content_length(head).context("the answer does not say its length")?;
        ensure!(
            announced == self.announced_bytes,
            "the answer has {announced} bytes in place of {}",
            self.announced_bytes
        );
        Ok(())
    }
}

fn content_length(head: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"content-length:";
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let name = line.get(..NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then(|| &line[NAME.len()..])
    })?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// What was read in how much time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) requests: u64,
    pub(crate) body_bytes: u64,
    pub(crate) elapsed: Duration,
}

/// Repeats a read for `time` on so many connections, each of which has its first answer before the time begins.
pub(crate) async fn repeat(
    address: SocketAddr,
    read: &Read,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Count> {
    tokio::time::timeout(
        time + PATIENCE,
        repeat_patiently(address, read, connections, time),
    )
    .await
    .context("the server does not answer")?
}

async fn repeat_patiently(
    address: SocketAddr,
    read: &Read,
    connections: usize,
    time: Duration,
) -> anyhow::Result<Count> {
    let opened = (0..connections).map(|_| async {
        let mut connection = Connection::open(address).await?;
        connection.exchange(read).await?;
        anyhow::Ok(connection)
    });
    let opened = try_join_all(opened).await?;
    let begun = Instant::now();
    let repeated = opened.into_iter().map(|mut connection| async move {
        let mut requests = 0;
        while begun.elapsed() < time {
            connection.exchange(read).await?;
            requests += 1;
        }
        anyhow::Ok(requests)
    });
    let requests = try_join_all(repeated).await?.into_iter().sum();
    Ok(Count {
        requests,
        body_bytes: requests * read.body_bytes,
        elapsed: begun.elapsed(),
    })
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    async fn exchange(&mut self, read: &Read) -> anyhow::Result<()> {
        self.stream.write_all(&read.head).await?;
        let mut filled = 0;
        let head_bytes = loop {
            let seen = filled;
            filled += self.receive(filled).await?;
            if let Some(end) = head_end(&self.buffer[..filled], seen) {
                break end;
            }
        };
        read.check(&self.buffer[..head_bytes])?;
        let mut left = Some(read.body_bytes);
        let mut received = filled - head_bytes;
        loop {
            left = left.and_then(|left| left.checked_sub(received as u64));
            match left {
                Some(0) => return Ok(()),
                Some(_) => received = self.receive(0).await?,
                None => bail!("the body is longer than its head says"),
            }
        }
    }

    async fn receive(&mut self, from: usize) -> anyhow::Result<usize> {
        let free = &mut self.buffer[from..];
        ensure!(!free.is_empty(), "the head of the answer does not end");
        let received = self.stream.read(free).await?;
        ensure!(received > 0, "the connection was closed within an answer");
        Ok(received)
    }
}

/// Where the head ends, if it does; `seen` bytes were looked at before.
fn head_end(bytes: &[u8], seen: usize) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    let begin = seen.saturating_sub(END.len() - 1);
    let place = bytes[begin..]
        .windows(END.len())
        .position(|window| window == END)?;
    Some(begin + place + END.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_head_is_found_across_reads() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\nbody";
        assert_eq!(head_end(answer, 0), Some(19));
        assert_eq!(head_end(&answer[..18], 0), None);
        assert_eq!(head_end(answer, 18), Some(19));
    }

    #[test]
    fn an_answer_of_another_length_or_status_is_an_error() {
        let read = Read::new("GET", ([127, 0, 0, 1], 80).into(), "/", &[], 4);
        read.check(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            .unwrap();
        for head in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\n",
        ] {
            assert!(read.check(head).is_err());
        }
    }
}
