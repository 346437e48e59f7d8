//! Request bodies: streamed with a limit on silence, or collected with a limit on size.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;

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

/// Why a body could not be collected.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollectError {
    #[error("the body may have {0} bytes")]
    TooLarge(usize),
    #[error("the body ended before its time: {0}")]
    Broken(String),
    #[error("the body did not arrive in time")]
    Idle,
}

impl CollectError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Idle => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

/// A whole body of at most `limit_bytes`.
///
/// What is larger is refused as soon as that shows: by the length that the head announces, or by the bytes that came.
/// The rest is left unread; the listener sees to it that a client which is still writing hears the answer.
pub(super) async fn collect(
    body: Body,
    limit_bytes: usize,
    idle_seconds: u64,
) -> Result<Bytes, CollectError> {
    let announced_bytes = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced_bytes > limit_bytes {
        return Err(CollectError::TooLarge(limit_bytes));
    }
    let collected = Limited::new(body, limit_bytes).collect();
    // One time for all of it: what is collected is small.
    match tokio::time::timeout(Duration::from_secs(idle_seconds), collected).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(CollectError::TooLarge(limit_bytes))
        }
        Ok(Err(error)) => Err(CollectError::Broken(error.to_string())),
        Err(_) => Err(CollectError::Idle),
    }
}
