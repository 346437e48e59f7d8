//! Requests written byte by byte, with the rights of a repository.

use reqwest::{Method, Url};

use crate::case::Failure;
use crate::repository::Repository;
use crate::support::raw::{RawAnswer, Wire};

/// A request whose head and body need not fit.
#[derive(Debug)]
pub(crate) struct RawRequest {
    wire: Wire,
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
        let wire = Wire::open(host, port).await.map_err(broken)?;
        let path = url.query().map_or_else(
            || url.path().to_owned(),
            |query| format!("{}?{query}", url.path()),
        );
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n");
        if let Some(authorization) = repository.registry.tokens.known(&repository.access(method)) {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        Ok(Self { wire, head })
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Sends head and body, stops sending, and waits for the registry to end: the status, if there was one.
    pub(crate) async fn exchange(mut self, body: &[u8]) -> Result<Option<u16>, Failure> {
        self.write(body).await?;
        self.wire.shut().await;
        let answer = self.wire.rest().await.map_err(broken)?;
        let answer = RawAnswer::take(&mut answer.as_slice(), false);
        Ok(answer.map(|answer| answer.status))
    }

    /// Sends head and body and is gone without a word.
    pub(crate) async fn hang_up(mut self, body: &[u8]) -> Result<(), Failure> {
        self.write(body).await
    }

    async fn write(&mut self, body: &[u8]) -> Result<(), Failure> {
        let head = format!("{}\r\n", self.head);
        self.wire.send(head.as_bytes()).await.map_err(broken)?;
        self.wire.send(body).await.map_err(broken)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn broken(error: std::io::Error) -> Failure {
    Failure::Wrong(format!("the connection broke: {error}"))
}
