//! What must hold of a reference for a change of it to happen (RFC 9110 section 13.1): content that is named by a digest
//! has the digest as its entity tag.

use berth_storage::Digest;

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// `If-Match: *`: the reference exists.
    Exists,
    /// `If-Match: "<digest>", …`: the reference is one of these.
    Is(Vec<Digest>),
    /// `If-None-Match: *`: the reference does not exist.
    Absent,
    /// `If-None-Match: "<digest>", …`: the reference is none of these.
    IsNot(Vec<Digest>),
}

/// A precondition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreconditionFailed {
    /// What the reference is instead.
    #[error("the reference is {0}")]
    Is(Box<Digest>),
    /// It is nothing.
    #[error("the reference does not exist")]
    Absent,
}

impl Precondition {
    /// Whether it holds where the reference is `current`.
    pub fn check(&self, current: Option<Digest>) -> Result<(), PreconditionFailed> {
        let holds = match self {
            Self::None => true,
            Self::Exists => current.is_some(),
            Self::Is(digests) => current.is_some_and(|current| digests.contains(&current)),
            Self::Absent => current.is_none(),
            Self::IsNot(digests) => !current.is_some_and(|current| digests.contains(&current)),
        };
        if holds {
            return Ok(());
        }
        Err(match current {
            Some(digest) => PreconditionFailed::Is(Box::new(digest)),
            None => PreconditionFailed::Absent,
        })
    }
}
