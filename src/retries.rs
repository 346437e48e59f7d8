//! Changes that others may get in the way of: tried again, and run to their end.

use std::future::Future;

use tokio::task::JoinError;
use tracing::Instrument as _;

/// How often a change is tried when another one got in its way.
pub(crate) const ATTEMPTS: u32 = 4;

/// An error that may say that the same change can succeed when it is tried again at once.
pub(crate) trait Retriable {
    fn is_conflict(&self) -> bool;
}

/// Runs a change to its end even if the request that asked for it goes away in the middle.
pub(crate) async fn to_the_end<T: Send + 'static, E: From<JoinError> + Send + 'static>(
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    tokio::spawn(change.in_current_span()).await?
}

/// Tries a change again while others get in its way. A macro, because the future of an async closure that borrows
/// cannot be said to be `Send` yet.
macro_rules! with_retries {
    ($attempt:expr) => {{
        let mut left = $crate::retries::ATTEMPTS;
        loop {
            left -= 1;
            match $attempt {
                Err(error) if left > 0 && $crate::retries::Retriable::is_conflict(&error) => {}
                result => break result,
            }
        }
    }};
}
pub(crate) use with_retries;
