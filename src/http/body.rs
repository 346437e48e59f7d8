//! Request bodies: streamed with a limit on silence, or collected with a limit on size and on what all of them hold.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Http;

use crate::registry::ChunkError;

/// A body as it comes. It is an error when nothing comes for `idle_seconds`.
pub(super) fn stream(
    body: Body,
    idle_seconds: u64,
) -> impl Stream<Item = Result<Bytes, ChunkError>> + Send + Unpin + 'static {
    let idle = Duration::from_secs(idle_seconds);
    Box::pin(futures_util::stream::unfold(
        body.into_data_stream(),
        move |mut body| async move {
            match tokio::time::timeout(idle, body.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(bytes))) => Some((Ok(bytes), body)),
                Ok(Some(Err(error))) => Some((Err(ChunkError::Broken(error.to_string())), body)),
                Err(_) => Some((Err(ChunkError::Idle(idle_seconds)), body)),
            }
        },
    ))
}

/// Bytes of bodies that are in memory at one time.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<Semaphore>,
    bytes: usize,
}

impl Budget {
    /// A budget of this many bytes, none of them spent.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self {
            left: Arc::new(Semaphore::new(bytes)),
            bytes,
        }
    }

    /// Bytes that are held now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes - self.left.available_permits()
    }

    /// Never waits: whoever waits for memory holds what it has already, and many of them would wait for each other.
    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(&self.left).try_acquire_many_owned(bytes).ok()
    }
}

/// A limit on one body, by the name of its setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit {
    pub(super) key: &'static str,
    pub(super) bytes: usize,
}

/// A whole body. Its bytes count against the budget until this is dropped.
pub(super) struct Collected {
    pub(super) bytes: Bytes,
    pub(super) held: Option<OwnedSemaphorePermit>,
}

/// Why a body could not be collected.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollectError {
    #[error("the body may have {} bytes", .0.bytes)]
    TooLarge(BodyLimit),
    #[error("the registry holds as many bodies in memory as it may; try again in a second")]
    Busy,
    #[error("the body ended before its time: {0}")]
    Broken(String),
    #[error("the body did not arrive in time")]
    Idle,
}

impl CollectError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Idle => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The setting behind it.
    pub(super) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge(limit) => Some(limit.key),
            Self::Busy => Some("limits.buffered_bytes"),
            Self::Idle => Some("server.body_idle_timeout_seconds"),
            Self::Broken(_) => None,
        }
    }
}

impl Http {
    /// The whole body of a request that somebody may make.
    pub(super) async fn collect(
        &self,
        body: Body,
        limit: BodyLimit,
    ) -> Result<Collected, CollectError> {
        collect(body, limit, &self.bodies, self.options.body_idle_seconds).await
    }

    /// The whole body of a request of which nobody knows yet whose it is.
    pub(super) async fn collect_form(
        &self,
        body: Body,
        limit: BodyLimit,
    ) -> Result<Collected, CollectError> {
        collect(body, limit, &self.forms, self.options.body_idle_seconds).await
    }
}

async fn collect(
    mut body: Body,
    limit: BodyLimit,
    budget: &Budget,
    idle_seconds: u64,
) -> Result<Collected, CollectError> {
    if body.size_hint().lower() > limit.bytes as u64 {
        return Err(CollectError::TooLarge(limit));
    }
    // One time for all of it: what is collected is small. What is larger is refused as soon as that shows; the listener
    // sees to it that a client which is still writing hears the answer.
    let idle = Duration::from_secs(idle_seconds);
    tokio::time::timeout(idle, read(&mut body, limit, budget))
        .await
        .unwrap_or(Err(CollectError::Idle))
}

async fn read(
    body: &mut Body,
    limit: BodyLimit,
    budget: &Budget,
) -> Result<Collected, CollectError> {
    let mut bytes = BytesMut::new();
    let mut held: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CollectError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit.bytes {
            return Err(CollectError::TooLarge(limit));
        }
        let more = budget.take(data.len()).ok_or(CollectError::Busy)?;
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Collected {
        bytes: bytes.freeze(),
        held,
    })
}
