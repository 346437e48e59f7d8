//! Why a request of the management API was refused, in words for its sender. One variant for each code of API.md that
//! authorisation and tenancy give.

use super::allowance::Throttled;
use crate::metadata::MetadataError;

/// A refused request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request itself is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// There is no key, or a wrong one.
    #[error("{0}")]
    Unauthorized(String),
    /// The key may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing, or the key may not know of it.
    #[error("{0}")]
    NotFound(String),
    /// It does not fit what is there.
    #[error("{0}")]
    Conflict(String),
    /// It comes too often.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The database or the key ring failed; the cause is for the log.
    #[error("the database cannot answer now")]
    Metadata(#[from] MetadataError),
    /// Something that should not be possible; the cause is for the log.
    #[error("{0}")]
    Internal(String),
}
