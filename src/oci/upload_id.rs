//! The id of an upload session: random, so that it cannot be guessed, and worth nothing outside its repository.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The id of an upload session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UploadId(Uuid);

/// A text that is no upload id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upload id is a UUID in lower case with hyphens, as given by the Location header")]
pub struct UploadIdError;

impl UploadId {
    /// A new id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for UploadId {
    type Err = UploadIdError;

    fn from_str(text: &str) -> Result<Self, UploadIdError> {
        let id = Uuid::try_parse(text).map_err(|_| UploadIdError)?;
        // One spelling only: an id is compared and stored as text.
        if id.to_string() == text {
            Ok(Self(id))
        } else {
            Err(UploadIdError)
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
