//! Why a request of the management API was refused, in words for its sender. One variant for each code of API.md that
//! authorisation and tenancy give.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::allowance::Throttled;
use super::refusal::Refusal;
use crate::metadata::MetadataError;
use crate::turns::NoTurn;

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
    /// Something still needs what was to go.
    #[error("{0}")]
    InUse(InUse),
    /// It was there, and its time is over.
    #[error("{0}")]
    Gone(String),
    /// `If-Match` did not hold.
    #[error("{0}")]
    PreconditionFailed(String),
    /// It comes too often.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The database or the key ring failed; the cause is for the log.
    #[error("the database cannot answer now")]
    Metadata(#[from] MetadataError),
    /// Too many changes of the workspace wait.
    #[error(transparent)]
    Busy(#[from] NoTurn),
    /// A task of ours broke.
    #[error("a task ended unexpectedly")]
    Broken(#[from] tokio::task::JoinError),
    /// Something that should not be possible; the cause is for the log.
    #[error("{0}")]
    Internal(String),
}

/// Why something cannot go, for people and for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// The word for programs.
    pub reason: InUseReason,
    /// Who or what needs it: not all of them, when there are many.
    pub holders: Vec<Holder>,
    /// What was to go, such as `tag v1`.
    pub what: String,
    /// What would be right.
    pub hint: String,
}

/// The fixed words of `details.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InUseReason {
    /// Another workspace has it, or is about to.
    Shared,
    /// Somebody said that it is in use.
    Leased,
    /// Its owner protected it.
    Protected,
    /// Its tag may not change.
    Immutable,
    /// An index needs it.
    IndexChild,
}

/// Who or what needs something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// `workspace`, `lease`, `index`, `manifest` or `tag`.
    pub kind: &'static str,
    /// Its name, or its digest.
    pub name: String,
    /// The workspace it is in, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.kind, self.name)?;
        if let Some(workspace) = &self.workspace {
            write!(formatter, " of workspace {workspace}")?;
        }
        if let Some(end) = &self.expires_at {
            write!(formatter, " until {end}")?;
        }
        Ok(())
    }
}

impl fmt::Display for InUse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = match self.reason {
            InUseReason::Shared => "it is shared",
            InUseReason::Leased => "it is leased",
            InUseReason::Protected => "the image is protected",
            InUseReason::Immutable => "the tag is immutable",
            InUseReason::IndexChild => "it is needed",
        };
        write!(formatter, "{} cannot go: {because}", self.what)?;
        for (index, holder) in self.holders.iter().enumerate() {
            let before = if index == 0 { " (" } else { ", " };
            write!(formatter, "{before}{holder}")?;
        }
        let after = if self.holders.is_empty() { "" } else { ")" };
        write!(formatter, "{after}; {}", self.hint)
    }
}

impl From<Refusal> for RequestError {
    /// What a commit says that looked at the rights once more.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Challenge { message, .. } => Self::Unauthorized(message),
            Refusal::Denied { message } => Self::Forbidden(message),
            Refusal::Unknown { message } => Self::NotFound(message),
            Refusal::Throttled(throttled) => Self::Throttled(throttled),
            Refusal::Unavailable(error) => Self::Metadata(error),
        }
    }
}
