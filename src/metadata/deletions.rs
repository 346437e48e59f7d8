//! Deletions: every delete has an id that covers all that went with it, so that it can be undone.

use super::database::{Transaction, on};
use super::error::MetadataError;
use crate::clock::Millis;
use crate::oci::RepositoryName;

/// What was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionKind {
    /// A tag.
    Tag,
    /// A manifest, with the tags that pointed at it.
    Manifest,
    /// A blob's membership of the repository.
    Blob,
}

impl DeletionKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Manifest => "manifest",
            Self::Blob => "blob",
        }
    }
}

/// A deletion about to happen.
#[derive(Clone, Copy, Debug)]
pub struct NewDeletion<'a> {
    /// The workspace it happens in.
    pub workspace_id: &'a str,
    /// The repository it happens in.
    pub repository: &'a RepositoryName,
    /// What kind of thing goes.
    pub kind: DeletionKind,
    /// The tag or digest that goes.
    pub subject: &'a str,
    /// Who deletes it.
    pub actor: &'a str,
    /// When.
    pub now: Millis,
    /// Until when it can be undone.
    pub restorable_until: Millis,
}

impl Transaction {
    /// Opens a deletion and returns its id.
    pub async fn open_deletion(
        &mut self,
        deletion: &NewDeletion<'_>,
    ) -> Result<String, MetadataError> {
        let id = uuid::Uuid::new_v4().to_string();
        on!(self.connection(), c => sqlx::query(
            "INSERT INTO deletions (id, workspace_id, repository, kind, subject, deleted_by, deleted_at, restorable_until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(&id)
        .bind(deletion.workspace_id)
        .bind(deletion.repository.as_str())
        .bind(deletion.kind.as_str())
        .bind(deletion.subject)
        .bind(deletion.actor)
        .bind(deletion.now.0)
        .bind(deletion.restorable_until.0)
        .execute(c)
        .await
        .map(|_| ()))?;
        Ok(id)
    }
}
