//! Why credentials were not accepted, and whose they are where that is known.

use std::fmt;

use super::allowance::Throttled;
use super::error::RequestError;
use super::origin::SecretOwner;
use super::refusal::{ChallengeError, Refusal};
use crate::metadata::MetadataError;

/// What was wrong with a secret, and whose it is where that is known: the audit log names its owner.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// For people.
    pub message: String,
    /// Whose it is, if it is a secret of ours: one that has ended, that was taken back, or that is not for this place.
    pub owner: Option<Box<SecretOwner>>,
}

impl Rejection {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            owner: None,
        }
    }

    pub(super) fn of(owner: SecretOwner, message: impl Into<String>) -> Self {
        Self {
            owner: Some(Box::new(owner)),
            ..Self::new(message)
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// Why credentials were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// A password was sent that is not good, or a header that cannot be read.
    #[error("{0}")]
    Refused(Rejection),
    /// A Bearer token was sent that is not good.
    #[error("{0}")]
    InvalidToken(Rejection),
    /// Too many wrong passwords came from this address.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// It could not be looked up.
    #[error("rights cannot be read now")]
    Unavailable(#[source] MetadataError),
}

impl AuthenticationError {
    /// Whose secret it was, where that is known.
    #[must_use]
    pub fn owner(&self) -> Option<&SecretOwner> {
        match self {
            Self::Refused(rejection) | Self::InvalidToken(rejection) => rejection.owner.as_deref(),
            Self::Throttled(_) | Self::Unavailable(_) => None,
        }
    }
}

impl From<AuthenticationError> for Refusal {
    fn from(error: AuthenticationError) -> Self {
        let challenge = |error, rejection: Rejection| Self::Challenge {
            error,
            scope: String::new(),
            message: rejection.message,
        };
        match error {
            AuthenticationError::Refused(rejection) => challenge(None, rejection),
            AuthenticationError::InvalidToken(rejection) => {
                challenge(Some(ChallengeError::InvalidToken), rejection)
            }
            AuthenticationError::Throttled(throttled) => Self::Throttled(throttled),
            AuthenticationError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl From<AuthenticationError> for RequestError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Refused(rejection)
            | AuthenticationError::InvalidToken(rejection) => Self::Unauthorized(rejection.message),
            AuthenticationError::Throttled(throttled) => Self::Throttled(throttled),
            AuthenticationError::Unavailable(error) => Self::Metadata(error),
        }
    }
}
