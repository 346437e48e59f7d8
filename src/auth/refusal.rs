//! How `/v2/` says no: a challenge if a new token could help, a plain denial if live rights forbid it anyway.

use super::allowance::Throttled;
use crate::metadata::MetadataError;

/// The `error` of a challenge (RFC 6750, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// The token that was sent is not good.
    InvalidToken,
    /// The token that was sent was given for less.
    InsufficientScope,
}

impl ChallengeError {
    /// The word for it in `WWW-Authenticate`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
        }
    }
}

/// A request to `/v2/` that was not let through.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// 401: ask the token endpoint, and come back.
    #[error("{message}")]
    Challenge {
        /// Present when a token was sent.
        error: Option<ChallengeError>,
        /// What to ask for; empty when nothing in particular.
        scope: String,
        /// For people.
        message: String,
    },
    /// 403: no token would help.
    #[error("{message}")]
    Denied {
        /// For people.
        message: String,
    },
    /// 404: there is no such repository, for somebody who may know that.
    #[error("{message}")]
    Unknown {
        /// For people.
        message: String,
    },
    /// 429: this comes too often.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// 503: rights could not be read, and nothing is let through on old ones.
    #[error("rights cannot be read now")]
    Unavailable(#[source] MetadataError),
}

impl Refusal {
    /// A challenge that asks for one scope more; anything else stays as it is.
    #[must_use]
    pub fn with_further_scope(self, further: &str) -> Self {
        match self {
            Self::Challenge {
                error,
                scope,
                message,
            } => {
                let scope = if scope.is_empty() {
                    further.to_owned()
                } else {
                    format!("{scope} {further}")
                };
                Self::Challenge {
                    error,
                    scope,
                    message,
                }
            }
            other @ (Self::Denied { .. }
            | Self::Unknown { .. }
            | Self::Throttled(_)
            | Self::Unavailable(_)) => other,
        }
    }

    /// The same; a challenge that names nothing to ask for names `scope`.
    #[must_use]
    pub fn with_scope(self, scope: impl FnOnce() -> String) -> Self {
        match self {
            Self::Challenge {
                error,
                scope: known,
                message,
            } if known.is_empty() => Self::Challenge {
                error,
                scope: scope(),
                message,
            },
            other @ (Self::Challenge { .. }
            | Self::Denied { .. }
            | Self::Unknown { .. }
            | Self::Throttled(_)
            | Self::Unavailable(_)) => other,
        }
    }
}
