//! Request bodies: streamed with a limit on silence, or collected with a limit on size.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::registry::ChunkError;

/// Bytes past a limit that are read and dropped before the answer.
const DRAIN_LIMIT_BYTES: usize = 64 * 1024 * 1024;

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
pub(super) async fn collect(
    mut body: Body,
    limit_bytes: usize,
    idle_seconds: u64,
) -> Result<Bytes, CollectError> {
    let collected = async {
        match Limited::new(&mut body, limit_bytes).collect().await {
            Ok(whole) => Ok(whole.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                drain(&mut body).await;
                Err(CollectError::TooLarge(limit_bytes))
            }
            Err(error) => Err(CollectError::Broken(error.to_string())),
        }
    };
    // One time for all of it: what is collected is small.
    match tokio::time::timeout(Duration::from_secs(idle_seconds), collected).await {
        Ok(result) => result,
        Err(_) => Err(CollectError::Idle),
    }
}

/// Reads on past a limit for a while: a client that is still writing would see its connection break, not our answer.
async fn drain(body: &mut Body) {
    let mut left_bytes = DRAIN_LIMIT_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        left_bytes = left_bytes.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        if left_bytes == 0 {
            return;
        }
    }
}
