//! Manifests: their exact bytes, what they need, what they are children and referrers of.

use std::collections::{BTreeMap, BTreeSet};

use berth_storage::Digest;
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::Metadata;
use super::database::{Connection, Transaction, on};
use super::dialect::{Statement, json_list, over_list};
use super::error::{MetadataError, parse, sizes, to_i64, to_u64};
use super::memory::Mark;
use super::repositories::RepositoryId;
use crate::clock::Millis;
use crate::oci::MediaType;

/// What a HEAD needs to know of a manifest.
#[derive(Clone, Debug)]
pub struct ManifestRow {
    /// Its address.
    pub digest: Digest,
    /// What it was pushed as.
    pub media_type: MediaType,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// A manifest about to be stored.
#[derive(Clone, Debug)]
pub struct NewManifest<'a> {
    /// The repository.
    pub repository: RepositoryId,
    /// Its address.
    pub digest: Digest,
    /// What it is.
    pub media_type: &'a str,
    /// The exact bytes.
    pub bytes: &'a Bytes,
    /// What it refers to, and the descriptor it has in the list of referrers.
    pub subject: Option<(Digest, Option<&'a str>, String)>,
    /// Blobs of its repository that it needs.
    pub blobs: &'a BTreeSet<Digest>,
    /// Manifests it is an index of, present or not.
    pub children: &'a BTreeSet<Digest>,
    /// What it weighs with all that it needs and that is here, in bytes, each digest once.
    pub total_bytes: u64,
    /// What it runs on; none when nothing says so.
    pub platforms: Option<&'a [String]>,
    /// Who pushes it.
    pub actor: &'a str,
    /// When.
    pub now: Millis,
}

/// A referrer, as the list of referrers shows it.
#[derive(Clone, Debug)]
pub struct ReferrerRow {
    /// Its address, by which the list is ordered.
    pub digest: Digest,
    /// Its descriptor: a JSON object.
    pub descriptor: String,
}

/// The bytes of manifests by digest. They never change, so this memory is never wrong; it is bounded by bytes.
#[derive(Clone)]
pub(super) struct Contents(moka::sync::Cache<Digest, Bytes>);

impl Contents {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self(
            moka::sync::Cache::builder()
                .max_capacity(limit_bytes)
                .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
                .build(),
        )
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    digest: String,
    media_type: String,
    size_bytes: i64,
}

impl TryFrom<Row> for ManifestRow {
    type Error = MetadataError;

    fn try_from(row: Row) -> Result<Self, MetadataError> {
        Ok(Self {
            digest: parse("digest", &row.digest)?,
            media_type: parse("media type", &row.media_type)?,
            size_bytes: to_u64("manifest size", row.size_bytes)?,
        })
    }
}

const ADD_BLOBS: Statement = Statement {
    sqlite: "INSERT INTO manifest_blobs (repository_id, manifest_digest, blob_digest) \
             SELECT $1, $2, value FROM json_each($3) WHERE true ON CONFLICT DO NOTHING",
    postgres: "INSERT INTO manifest_blobs (repository_id, manifest_digest, blob_digest) \
               SELECT $1, $2, json_array_elements_text($3::json) ON CONFLICT DO NOTHING",
};

const ADD_CHILDREN: Statement = Statement {
    sqlite: "INSERT INTO manifest_children (repository_id, parent_digest, child_digest) \
             SELECT $1, $2, value FROM json_each($3) WHERE true ON CONFLICT DO NOTHING",
    postgres: "INSERT INTO manifest_children (repository_id, parent_digest, child_digest) \
               SELECT $1, $2, json_array_elements_text($3::json) ON CONFLICT DO NOTHING",
};

const PRESENT: Statement = over_list!(
    "SELECT digest, COALESCE(total_bytes, size_bytes) FROM manifests WHERE repository_id = $1 AND deletion_id IS NULL AND digest IN ",
    "$2",
    ""
);

async fn find(
    connection: Connection<'_>,
    repository: RepositoryId,
    digest: &Digest,
) -> Result<Option<ManifestRow>, MetadataError> {
    let row: Option<Row> = on!(connection, c => sqlx::query_as(
        "SELECT digest, media_type, size_bytes FROM manifests \
         WHERE repository_id = $1 AND digest = $2 AND deletion_id IS NULL",
    )
    .bind(repository.0)
    .bind(digest.to_string())
    .fetch_optional(c)
    .await)?;
    row.map(ManifestRow::try_from).transpose()
}

impl Metadata {
    /// A manifest of this repository.
    pub async fn manifest(
        &self,
        repository: RepositoryId,
        digest: &Digest,
    ) -> Result<Option<ManifestRow>, MetadataError> {
        self.remembered(
            &self.memory.manifests,
            (repository, *digest),
            async |reader, (repository, digest)| {
                find(reader.connection(), *repository, digest).await
            },
        )
        .await
    }

    /// The exact bytes of a manifest. Whoever asks has seen it in a repository first.
    pub async fn manifest_bytes(&self, digest: &Digest) -> Result<Option<Bytes>, MetadataError> {
        match self.contents.0.get(digest) {
            Some(bytes) => Ok(Some(bytes)),
            None => Box::pin(self.loaded_manifest_bytes(digest)).await,
        }
    }

    async fn loaded_manifest_bytes(&self, digest: &Digest) -> Result<Option<Bytes>, MetadataError> {
        let mut reader = self.read().await?;
        let row: Option<(Vec<u8>,)> = on!(reader.connection(), c => sqlx::query_as("SELECT bytes FROM manifest_contents WHERE digest = $1")
                .bind(digest.to_string())
                .fetch_optional(c)
                .await)?;
        Ok(row.map(|(bytes,)| {
            let bytes = Bytes::from(bytes);
            self.contents.0.insert(*digest, bytes.clone());
            bytes
        }))
    }

    /// Referrers of a digest in the order of their digests, after `last`: at most `limit`, and no more once their
    /// descriptors have `limit_bytes`. The flag says whether more are left.
    pub async fn referrers(
        &self,
        repository: RepositoryId,
        subject: &Digest,
        artifact_type: Option<&str>,
        last: &str,
        limit: u32,
        limit_bytes: usize,
    ) -> Result<(Vec<ReferrerRow>, bool), MetadataError> {
        let mut reader = self.read().await?;
        on!(reader.connection(), c => {
            let mut rows = sqlx::query_as::<_, (String, String)>(
                "SELECT digest, descriptor FROM manifests \
                 WHERE repository_id = $1 AND subject = $2 AND digest > $3 AND deletion_id IS NULL \
                 AND (CAST($4 AS TEXT) IS NULL OR artifact_type = $4) ORDER BY digest LIMIT $5",
            )
            .bind(repository.0)
            .bind(subject.to_string())
            .bind(last)
            .bind(artifact_type)
            .bind(i64::from(limit) + 1)
            .fetch(c);
            let (mut referrers, mut total_bytes) = (Vec::new(), 0_usize);
            while let Some((digest, descriptor)) = rows.try_next().await? {
                total_bytes += descriptor.len();
                let full = referrers.len() >= limit as usize || total_bytes > limit_bytes;
                if full && !referrers.is_empty() {
                    return Ok((referrers, true));
                }
                referrers.push(ReferrerRow { digest: parse("digest", &digest)?, descriptor });
            }
            Ok((referrers, false))
        })
    }
}

impl Transaction {
    /// A manifest, as this change sees it.
    pub async fn manifest(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
    ) -> Result<Option<ManifestRow>, MetadataError> {
        find(self.connection(), repository, digest).await
    }

    /// Which of these manifests the repository has, and what each weighs with all that it needs, in bytes.
    pub async fn present_manifests(
        &mut self,
        repository: RepositoryId,
        digests: &BTreeSet<Digest>,
    ) -> Result<BTreeMap<Digest, u64>, MetadataError> {
        let connection = self.connection();
        let statement = PRESENT.of(&connection);
        let rows: Vec<(String, i64)> = on!(connection, c => sqlx::query_as(statement)
            .bind(repository.0)
            .bind(json_list(digests))
            .fetch_all(c)
            .await)?;
        sizes("manifest size", &rows)
    }

    /// Stores a manifest, or brings a deleted one back.
    ///
    /// # Errors
    /// [`MetadataError::Conflict`] when a blob it needs was unlinked in the meantime.
    pub async fn put_manifest(&mut self, manifest: &NewManifest<'_>) -> Result<(), MetadataError> {
        let digest = manifest.digest.to_string();
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO manifest_contents (digest, bytes, created_at) VALUES ($1, $2, $3) \
             ON CONFLICT (digest) DO NOTHING",
        )
        .bind(&digest)
        .bind(manifest.bytes.as_ref())
        .bind(manifest.now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        let (subject, artifact_type, descriptor) = match &manifest.subject {
            Some((subject, artifact_type, descriptor)) => {
                (Some(subject.to_string()), *artifact_type, Some(descriptor))
            }
            None => (None, None, None),
        };
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO manifests (repository_id, digest, media_type, size_bytes, subject, artifact_type, descriptor, \
             pushed_by, pushed_at, total_bytes, platforms, dangling_since) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, CASE WHEN $5 IS NULL THEN NULL ELSE $9 END) \
             ON CONFLICT (repository_id, digest) DO UPDATE SET media_type = excluded.media_type, \
             subject = excluded.subject, artifact_type = excluded.artifact_type, descriptor = excluded.descriptor, \
             total_bytes = excluded.total_bytes, platforms = COALESCE(excluded.platforms, manifests.platforms), \
             pushed_by = excluded.pushed_by, pushed_at = excluded.pushed_at, dangling_since = excluded.dangling_since, \
             deletion_id = NULL",
        )
        .bind(manifest.repository.0)
        .bind(&digest)
        .bind(manifest.media_type)
        .bind(to_i64(manifest.bytes.len() as u64))
        .bind(&subject)
        .bind(artifact_type)
        .bind(descriptor)
        .bind(manifest.actor)
        .bind(manifest.now.0)
        .bind(to_i64(manifest.total_bytes))
        .bind(manifest.platforms.map(json_list))
        .execute(c)
        .await
        .map(|_| ()))?;
        for (statement, digests) in [
            (&ADD_BLOBS, manifest.blobs),
            (&ADD_CHILDREN, manifest.children),
        ] {
            if digests.is_empty() {
                continue;
            }
            let connection = self.connection();
            let statement = statement.of(&connection);
            on!(connection, c => sqlx::query(statement)
                .bind(manifest.repository.0)
                .bind(&digest)
                .bind(json_list(digests))
                .execute(c)
                .await
                .map(|_| ()))?;
        }
        self.mark(Mark::Manifest(manifest.repository, manifest.digest));
        Ok(())
    }

    /// Live indexes of a repository that have this manifest as a child.
    pub async fn indexes_of(
        &mut self,
        repository: RepositoryId,
        child: &Digest,
        limit: u32,
    ) -> Result<Vec<Digest>, MetadataError> {
        let rows: Vec<(String,)> = on!(self.connection(), c => sqlx::query_as(
            "SELECT manifests.digest FROM manifest_children JOIN manifests \
             ON manifests.repository_id = manifest_children.repository_id \
             AND manifests.digest = manifest_children.parent_digest \
             WHERE manifest_children.repository_id = $1 AND manifest_children.child_digest = $2 \
             AND manifests.deletion_id IS NULL LIMIT $3",
        )
        .bind(repository.0)
        .bind(child.to_string())
        .bind(i64::from(limit))
        .fetch_all(c)
        .await)?;
        rows.iter()
            .map(|(digest,)| parse("digest", digest))
            .collect()
    }

    /// Hides a manifest under a deletion; the blobs that no other live manifest needs begin their grace, and what refers to
    /// it is without its subject.
    pub async fn remove_manifest(
        &mut self,
        repository: RepositoryId,
        digest: &Digest,
        deletion: &str,
        now: Millis,
    ) -> Result<(), MetadataError> {
        let text = digest.to_string();
        on!(self.connection(), c => sqlx::query(
            "UPDATE manifests SET deletion_id = $3 WHERE repository_id = $1 AND digest = $2 AND deletion_id IS NULL",
        )
        .bind(repository.0)
        .bind(&text)
        .bind(deletion)
        .execute(c)
        .await
        .map(|_| ()))?;
        on!(self.connection(), c => sqlx::query(
            "UPDATE links SET unneeded_since = $3 \
             WHERE repository_id = $1 AND unneeded_since IS NULL \
             AND digest IN (SELECT blob_digest FROM manifest_blobs WHERE repository_id = $1 AND manifest_digest = $2) \
             AND NOT EXISTS (SELECT 1 FROM manifest_blobs JOIN manifests \
               ON manifests.repository_id = manifest_blobs.repository_id \
               AND manifests.digest = manifest_blobs.manifest_digest \
               WHERE manifest_blobs.repository_id = $1 AND manifest_blobs.blob_digest = links.digest \
               AND manifests.deletion_id IS NULL)",
        )
        .bind(repository.0)
        .bind(&text)
        .bind(now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        on!(self.connection(), c => sqlx::query(
            "UPDATE manifests SET dangling_since = $3 WHERE repository_id = $1 AND subject = $2 AND deletion_id IS NULL",
        )
        .bind(repository.0)
        .bind(&text)
        .bind(now.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        self.mark(Mark::Manifest(repository, *digest));
        Ok(())
    }
}
