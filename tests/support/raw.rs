//! Requests written byte by byte, for what no HTTP client would send, and their answers.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A registry that neither answers nor hangs up by then is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer in a test that reads it whole is longer.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;

/// A connection of plain HTTP.
#[derive(Debug)]
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn open(host: &str, port: u16) -> Result<Self> {
        TcpStream::connect((host, port)).await.map(Self)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(PATIENCE, self.0.write_all(bytes))
            .await
            .unwrap_or_else(|_| Err(stuck()))?;
        self.0.flush().await
    }

    /// Says that nothing more comes.
    pub(crate) async fn shut(&mut self) {
        // The other end may have hung up already, which is an answer too.
        let _ = self.0.shutdown().await;
    }

    /// Everything that the other end says until it hangs up.
    pub(crate) async fn rest(self) -> Result<Vec<u8>> {
        let mut answer = Vec::new();
        let mut limited = self.0.take(MAX_ANSWER_BYTES);
        match timeout(PATIENCE, limited.read_to_end(&mut answer)).await {
            Err(_) => Err(stuck()),
            // A reset after the answer, or in its place, is a hang-up like any other.
            Ok(_) => Ok(answer),
        }
    }
}

fn stuck() -> Error {
    Error::new(
        ErrorKind::TimedOut,
        "the registry neither answers nor hangs up",
    )
}

/// One answer as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    /// In lower case, as they came.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl RawAnswer {
    /// Takes the first answer off `bytes`; none if there is no whole one. The answer to a HEAD has no body.
    pub(crate) fn take(bytes: &mut &[u8], to_head: bool) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let (version, status) = lines.next()?.split_once(' ')?;
        let status = status.get(..3)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers: Vec<(String, String)> = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        version.strip_prefix("HTTP/1.")?;
        let mut answer = Self {
            status,
            headers,
            body: String::new(),
        };
        let rest = &bytes[end + 4..];
        let length = answer.header("content-length").parse().unwrap_or(0);
        let length: usize = if to_head { 0 } else { length };
        let body = rest.get(..length)?;
        answer.body = String::from_utf8_lossy(body).into_owned();
        *bytes = &rest[length..];
        Some(answer)
    }

    /// A header that comes once; empty if it does not come.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        values.next().map_or("", |(_, value)| value.as_str())
    }
}
