//! What can go wrong with bytes.
//!
//! One enum for the crate. Each message is one plain sentence that names the key or path; the
//! operating system's or the backend's reason is the error's source.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::hasher::HasherStateError;
use crate::key::ObjectKey;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or the quota is full; the operator must make room, and the client may try again
    /// later.
    #[error("there is no space left to {action} {}", path.display())]
    NoSpace {
        /// What was being done, in the infinitive.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was being done, in the infinitive.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// An object store refused.
    #[error("could not {action} {path} in the object store")]
    Backend {
        /// What was being done, in the infinitive.
        action: &'static str,
        /// Where, below the root of the store.
        path: String,
        /// What the object store said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An object store cannot be reached, does not answer, or says that the fault is its own: the same may succeed
    /// later.
    #[error("the object store is unavailable: could not {action} {path}")]
    Unavailable {
        /// What was being done, in the infinitive.
        action: &'static str,
        /// Where, below the root of the store.
        path: String,
        /// What the object store said, or what went wrong on the way to it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The object store cannot be used as it is configured; the text is for the operator and says what to do.
    #[error("the object store cannot be used: {reason}")]
    Unusable {
        /// What is wrong and what to do, without a secret.
        reason: String,
    },
    /// The upload has more bytes than an object of this store can have.
    #[error(
        "upload {key} is larger than {limit_bytes} bytes, which is the most that the object store takes in parts of this size"
    )]
    TooLarge {
        /// The upload.
        key: ObjectKey,
        /// The most it can have.
        limit_bytes: u64,
    },
    /// Another writer took the upload over, or it was cancelled: nothing more may be written here.
    #[error("upload {key} was taken over or cancelled")]
    Superseded {
        /// The upload.
        key: ObjectKey,
    },
    /// The writer failed before and takes nothing more; the upload can be opened again.
    #[error("the writer of upload {key} has failed before")]
    WriterClosed {
        /// The upload.
        key: ObjectKey,
    },
    /// The bytes received so far are gone or fewer than the caller knows of; the upload must begin
    /// again.
    #[error("upload {key} should hold {expected} bytes, but {} are left", found.unwrap_or(0))]
    StagingLost {
        /// The upload.
        key: ObjectKey,
        /// How many bytes the caller knows of.
        expected: u64,
        /// How many are there; `None` if there is no staging file.
        found: Option<u64>,
    },
    /// The saved progress cannot belong to this upload or backend.
    #[error("the saved progress of upload {key} cannot be used: {reason}")]
    BadProgress {
        /// The upload.
        key: ObjectKey,
        /// What does not fit.
        reason: &'static str,
        /// What the hash state says, if that is the cause.
        source: Option<HasherStateError>,
    },
    /// The key has an object already; keys are written once.
    #[error("object {key} exists already")]
    AlreadyPublished {
        /// The object.
        key: ObjectKey,
    },
    /// There is no such object.
    #[error("object {key} does not exist")]
    Missing {
        /// The object.
        key: ObjectKey,
    },
    /// The object has fewer bytes than were asked for, from the start or since the read began.
    #[error("object {key} has {size_bytes} bytes, so that bytes {start} to {end} cannot be read")]
    OutOfRange {
        /// The object.
        key: ObjectKey,
        /// The first byte asked for.
        start: u64,
        /// The byte behind the last one asked for.
        end: u64,
        /// How many there are.
        size_bytes: u64,
    },
    /// The store cannot be written; readiness reports this text, so it names the folder and the
    /// system's error at once.
    #[error("folder {} is not writable: could not {action}: {source}", folder.display())]
    NotWritable {
        /// The folder.
        folder: PathBuf,
        /// What was being done, in the infinitive.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The store holds the objects of another installation.
    #[error(
        "the store belongs to another installation: its marker names {found:?}, and this one is {expected:?}; \
         use a store, or a prefix in it, of its own"
    )]
    OtherInstallation {
        /// What the marker says.
        found: String,
        /// Whose store it should be.
        expected: String,
    },
    /// The process is shutting down, or the work panicked.
    #[error("the work on the store was interrupted")]
    Interrupted {
        /// How the task ended.
        source: tokio::task::JoinError,
    },
}

impl StoreError {
    /// An error of an object store that means nothing more to callers.
    pub(crate) fn from_store(
        action: &'static str,
        path: impl Into<String>,
        source: object_store::Error,
    ) -> Self {
        Self::Backend {
            action,
            path: path.into(),
            source: Box::new(source),
        }
    }

    /// An error of the operating system, told apart from a full disk.
    pub(crate) fn from_io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: io::Error,
    ) -> Self {
        let path = path.into();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            Self::NoSpace {
                action,
                path,
                source,
            }
        } else {
            Self::Io {
                action,
                path,
                source,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_full_quota_are_told_apart_from_other_errors() {
        let of = |errno| {
            StoreError::from_io(
                "write",
                "/data/staging/x",
                io::Error::from_raw_os_error(errno),
            )
        };
        let (enospc, edquot, eio) = (28, 122, 5);
        assert!(matches!(of(enospc), StoreError::NoSpace { .. }));
        assert!(matches!(of(edquot), StoreError::NoSpace { .. }));
        let error = of(eio);
        assert!(matches!(error, StoreError::Io { .. }));
        assert_eq!(error.to_string(), "could not write /data/staging/x");
        assert!(error.source().is_some());
    }
}
