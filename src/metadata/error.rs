//! What can go wrong between us and the database.

use std::collections::BTreeMap;

use berth_storage::Digest;

/// An error of the metadata layer. Absence is never an error here: it is an `Option`.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The database cannot be reached or cannot answer now; the caller may try again.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A row that another row depends on is gone, or the other way round: a race was lost.
    #[error("a row that this change depends on has changed")]
    Conflict(#[source] sqlx::Error),
    /// The database holds something that this version cannot read.
    #[error("the database holds a {what} that cannot be read: {value}")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// The value as it stands in the database.
        value: String,
    },
    /// The database is set up in a way that would lose data.
    #[error("{0}")]
    Refused(String),
    /// The schema could not be brought up to date.
    #[error("the migration {name} of the database failed; nothing was changed")]
    Migrate {
        /// Which migration it was.
        name: String,
        /// What the database said.
        #[source]
        source: sqlx::Error,
    },
    /// A text was asked for that the database cannot hold: it has a NUL.
    #[error("a text has a NUL character")]
    NoSuchText,
    /// Anything else the database said.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
}

impl MetadataError {
    /// Another change came in between: what this one began with is not what it would end with.
    pub(crate) fn overtaken() -> Self {
        Self::Conflict(sqlx::Error::RowNotFound)
    }

    /// Whether the same change may succeed when it is tried again at once.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }
}

/// PostgreSQL's code for a character that its texts cannot have.
const POSTGRES_UNTRANSLATABLE: &str = "22021";
/// SQLite's codes for the same: busy, locked, full.
const SQLITE_UNAVAILABLE: [&str; 3] = ["5", "6", "13"];
/// PostgreSQL's classes for "not now": connection exceptions, a role or a database that is not there while it is set up
/// anew, resources, operator intervention.
const UNAVAILABLE_CLASSES: [&str; 5] = ["08", "28", "3D", "53", "57"];
/// PostgreSQL's codes for the same: a standby, a change that was silent for too long, a lock that others held for too
/// long.
const POSTGRES_UNAVAILABLE: [&str; 3] = ["25006", "25P03", "55P03"];

impl From<sqlx::Error> for MetadataError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error;
        use sqlx::error::ErrorKind;
        match &error {
            Error::PoolTimedOut
            | Error::PoolClosed
            | Error::Io(_)
            | Error::Tls(_)
            | Error::BeginFailed
            // A connection that broke in the middle of a word.
            | Error::Protocol(_)
            | Error::WorkerCrashed => Self::Unavailable(error),
            Error::Database(cause) => {
                let code = cause.code().unwrap_or_default().into_owned();
                if matches!(
                    cause.kind(),
                    ErrorKind::UniqueViolation | ErrorKind::ForeignKeyViolation
                ) || code.starts_with("40")
                {
                    Self::Conflict(error)
                } else if code == POSTGRES_UNTRANSLATABLE {
                    Self::NoSuchText
                } else if is_unavailable(&code) {
                    Self::Unavailable(error)
                } else {
                    Self::Database(error)
                }
            }
            _ => Self::Database(error),
        }
    }
}

fn is_unavailable(code: &str) -> bool {
    // Only PostgreSQL's codes have five characters.
    let class = code.get(..2).filter(|_| code.len() == 5);
    class.is_some_and(|class| UNAVAILABLE_CLASSES.contains(&class))
        || POSTGRES_UNAVAILABLE.contains(&code)
        || SQLITE_UNAVAILABLE.contains(&code)
}

/// Reads a typed value out of a text column.
pub(super) fn parse<T: std::str::FromStr>(
    what: &'static str,
    value: &str,
) -> Result<T, MetadataError> {
    value.parse().map_err(|_| MetadataError::Corrupt {
        what,
        value: value.to_owned(),
    })
}

/// A size or count as the database keeps it; beyond `i64` there is no such blob.
pub(super) fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A size or count out of the database.
pub(super) fn to_u64(what: &'static str, value: i64) -> Result<u64, MetadataError> {
    u64::try_from(value).map_err(|_| MetadataError::Corrupt {
        what,
        value: value.to_string(),
    })
}

/// Digests and sizes out of the database.
pub(super) fn sizes(
    what: &'static str,
    rows: &[(String, i64)],
) -> Result<BTreeMap<Digest, u64>, MetadataError> {
    rows.iter()
        .map(|(digest, size)| Ok((parse("digest", digest)?, to_u64(what, *size)?)))
        .collect()
}
