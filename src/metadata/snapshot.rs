//! A copy of an embedded database as it was at one moment, taken while its server goes on.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use berth_storage::{Digest, ObjectKey};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::database::make_private;
use super::error::{MetadataError, parse, to_u64};

/// How long the copy waits for a lock of the server's, which holds none for long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A blob that the snapshot promises.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotBlob {
    /// The object that holds its bytes.
    pub object_key: ObjectKey,
    /// Its digest.
    pub digest: Digest,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// The copy of a database.
pub struct Snapshot {
    connection: SqliteConnection,
}

impl Snapshot {
    /// Copies the database `from` to the new file `to`, which is on disk when this returns.
    ///
    /// # Errors
    /// `Unavailable` if one of them cannot be opened, read or written; `to` may be there in part then.
    pub async fn take(from: &Path, to: &Path) -> Result<Self, MetadataError> {
        let mut source = open(from).await?;
        // SQLite wants an empty file or none, and would make one that others may read.
        make_private(to)?;
        sqlx::query("VACUUM INTO $1")
            .bind(to.to_string_lossy())
            .execute(&mut source)
            .await?;
        source.close().await?;
        let synced = File::open(to).and_then(|file| file.sync_all());
        synced.map_err(|error| MetadataError::Unavailable(sqlx::Error::Io(error)))?;
        Ok(Self {
            connection: open(to).await?,
        })
    }

    /// The installation that the database is of.
    pub async fn installation_id(&mut self) -> Result<String, MetadataError> {
        let (id,): (String,) = sqlx::query_as("SELECT id FROM installation")
            .fetch_one(&mut self.connection)
            .await?;
        Ok(id)
    }

    /// How many blobs there are that can be read, and their bytes.
    pub async fn totals(&mut self) -> Result<(u64, u64), MetadataError> {
        let (blobs, bytes): (i64, i64) = sqlx::query_as(
            "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM blobs WHERE damaged_at IS NULL",
        )
        .fetch_one(&mut self.connection)
        .await?;
        Ok((to_u64("number of blobs", blobs)?, to_u64("bytes", bytes)?))
    }

    /// The blobs behind an object's key, in the order of the keys.
    pub async fn blobs_after(
        &mut self,
        after: Option<ObjectKey>,
        limit: u32,
    ) -> Result<Vec<SnapshotBlob>, MetadataError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT object_key, digest, size_bytes FROM blobs \
             WHERE object_key > $1 AND damaged_at IS NULL ORDER BY object_key LIMIT $2",
        )
        .bind(after.map(|key| key.to_string()).unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&mut self.connection)
        .await?;
        let blob = |(key, digest, size_bytes): &(String, String, i64)| {
            Ok(SnapshotBlob {
                object_key: parse("object key", key)?,
                digest: parse("digest", digest)?,
                size_bytes: to_u64("blob size", *size_bytes)?,
            })
        };
        rows.iter().map(blob).collect()
    }

    /// Whether a blob of the snapshot has its bytes in this object.
    pub async fn needs(&mut self, key: ObjectKey) -> Result<bool, MetadataError> {
        let found: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM blobs WHERE object_key = $1")
            .bind(key.to_string())
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(found.is_some())
    }

    /// Closes the copy, so that it can be moved.
    pub async fn close(self) -> Result<(), MetadataError> {
        Ok(self.connection.close().await?)
    }
}

async fn open(path: &Path) -> Result<SqliteConnection, MetadataError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT);
    Ok(options.connect().await?)
}
