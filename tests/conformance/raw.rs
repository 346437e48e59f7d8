//! Requests written byte by byte, for what no HTTP client would send.

use std::time::Duration;

use reqwest::{Method, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::case::Failure;
use crate::repository::Repository;

/// A registry that neither answers nor hangs up by then is stuck.
const TIMEOUT: Duration = Duration::from_secs(30);
/// No answer here is longer.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// A request whose head and body need not fit.
#[derive(Debug)]
pub(crate) struct RawRequest {
    stream: TcpStream,
    head: String,
}

impl RawRequest {
    /// Connects, and begins a request with our rights; the token must be known from an earlier call of the same kind.
    pub(crate) async fn begin(
        repository: &Repository,
        method: &Method,
        url: &Url,
    ) -> Result<Self, Failure> {
        if url.scheme() != "http" {
            return Err(Failure::NotOffered(String::from(
                "raw requests go over plain HTTP only",
            )));
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(80);
        let stream = TcpStream::connect((host, port)).await.map_err(broken)?;
        let path = url.query().map_or_else(
            || url.path().to_owned(),
            |query| format!("{}?{query}", url.path()),
        );
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n");
        if let Some(authorization) = repository.registry.tokens.known(&repository.access(method)) {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        Ok(Self { stream, head })
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Sends head and body, stops sending, and waits for the registry to end: the status, if there was one.
    pub(crate) async fn exchange(mut self, body: &[u8]) -> Result<Option<u16>, Failure> {
        self.write(body).await?;
        // The registry may have hung up already, which is an answer too.
        let _ = self.stream.shutdown().await;
        self.read_status().await
    }

    /// Sends head and body and is gone without a word.
    pub(crate) async fn hang_up(mut self, body: &[u8]) -> Result<(), Failure> {
        self.write(body).await?;
        self.stream.flush().await.map_err(broken)
    }

    async fn write(&mut self, body: &[u8]) -> Result<(), Failure> {
        let head = format!("{}\r\n", self.head);
        self.stream
            .write_all(head.as_bytes())
            .await
            .map_err(broken)?;
        self.stream.write_all(body).await.map_err(broken)
    }

    async fn read_status(self) -> Result<Option<u16>, Failure> {
        let mut answer = Vec::new();
        let mut limited = self.stream.take(MAX_ANSWER_BYTES);
        match timeout(TIMEOUT, limited.read_to_end(&mut answer)).await {
            Err(_) => Err(Failure::Wrong(String::from(
                "the registry neither answers nor hangs up",
            ))),
            // A reset after the answer, or in its place, is a hang-up like any other.
            Ok(_) => Ok(status_of(&answer)),
        }
    }
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn broken(error: std::io::Error) -> Failure {
    Failure::Wrong(format!("the connection broke: {error}"))
}
