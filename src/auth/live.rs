//! From what was proved (a key, a signed token) to what it may do now: the one place where rights are read.
//!
//! The same reading serves a request, from memory, and a commit, from inside its own transaction.

use std::sync::Arc;

use super::action::ActionSet;
use super::keys::Standing;
use super::origin::{SecretOwner, credential_actor, key_actor};
use super::principal::{Narrowing, PatternCache, Principal, PrincipalKind};
use super::role::Role;
use crate::clock::Millis;
use crate::metadata::{ApiKey, Metadata, MetadataError, Transaction, Workspace};
use crate::oci::RepositoryName;

/// What was proved, and never changes.
#[derive(Clone, Debug)]
pub(super) enum Basis {
    /// An API key was shown itself.
    Key {
        /// Its id.
        id: String,
    },
    /// A signed token was shown.
    Token(Arc<Proof>),
}

/// What a signed token proves.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) key_id: String,
    pub(super) workspace_id: String,
    pub(super) generations: Generations,
    pub(super) credential: Option<CredentialLimits>,
    pub(super) expires_at: Millis,
    /// The standing of the key that signed it.
    pub(super) signed_by: Standing,
}

impl Proof {
    /// Whose the token is, also where it counts no longer.
    pub(super) fn owner(&self) -> SecretOwner {
        SecretOwner {
            actor: match &self.credential {
                Some(limits) => credential_actor(&limits.id),
                None => key_actor(&self.key_id),
            },
            workspace_id: Some(self.workspace_id.clone()),
        }
    }
}

/// As of which revocations a token was issued: a later one voids it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generations {
    pub(super) key: i64,
    pub(super) workspace: i64,
}

/// A registry credential's own limits.
#[derive(Clone, Debug)]
pub(super) struct CredentialLimits {
    pub(super) id: String,
    pub(super) repository: Option<RepositoryName>,
    pub(super) actions: ActionSet,
}

/// Where rights are read. The statements of a commit are kept on the heap, so that the requests that only remember do
/// not carry them along.
pub(super) enum Rights<'a> {
    /// For a request: remembered, at most seconds old.
    Remembered(&'a Metadata),
    /// For a commit: as its own transaction sees them.
    Inside(&'a mut Transaction),
}

impl Rights<'_> {
    async fn api_key(&mut self, id: &str) -> Result<Option<Arc<ApiKey>>, MetadataError> {
        match self {
            Self::Remembered(metadata) => metadata.api_key(id).await,
            Self::Inside(transaction) => Box::pin(transaction.api_key(id)).await,
        }
    }

    async fn workspace(&mut self, id: &str) -> Result<Option<Arc<Workspace>>, MetadataError> {
        match self {
            Self::Remembered(metadata) => metadata.workspace(id).await,
            Self::Inside(transaction) => Box::pin(transaction.workspace(id)).await,
        }
    }

    /// Whether this repository is for every workspace to pull.
    pub(super) async fn is_platform_image(
        &mut self,
        name: &RepositoryName,
    ) -> Result<bool, MetadataError> {
        let repository = match self {
            Self::Remembered(metadata) => metadata.repository(name).await?,
            Self::Inside(transaction) => Box::pin(transaction.repository(name)).await?,
        };
        // An alias is its target's alone, whatever its source is.
        Ok(repository.is_some_and(|found| found.is_platform && found.share_id.is_none()))
    }

    async fn is_revoked(
        &mut self,
        workspace_id: &str,
        credential_id: &str,
    ) -> Result<bool, MetadataError> {
        match self {
            Self::Remembered(metadata) => {
                metadata
                    .is_credential_revoked(workspace_id, credential_id)
                    .await
            }
            Self::Inside(transaction) => {
                Box::pin(transaction.is_credential_revoked(workspace_id, credential_id)).await
            }
        }
    }
}

/// Why there is no principal behind a proof.
#[derive(Debug, thiserror::Error)]
pub(super) enum LiveError {
    /// What was proved has been taken back.
    #[error("{0}")]
    Withdrawn(&'static str),
    /// The database failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

/// Who is behind a proof, now.
///
/// Whether a key or token has ended by itself is not asked here: a request asks before it begins, and what it began it
/// may finish.
pub(super) async fn principal(
    rights: &mut Rights<'_>,
    basis: &Basis,
    patterns: &PatternCache,
) -> Result<Principal, LiveError> {
    let key_id = match basis {
        Basis::Key { id } => id,
        Basis::Token(proof) => &proof.key_id,
    };
    let key = rights.api_key(key_id).await?.ok_or(LiveError::Withdrawn(
        "the API key behind it has been deleted",
    ))?;
    principal_of_key(rights, key, basis, patterns).await
}

/// The same, of a key that was just read.
pub(super) async fn principal_of_key(
    rights: &mut Rights<'_>,
    key: Arc<ApiKey>,
    basis: &Basis,
    patterns: &PatternCache,
) -> Result<Principal, LiveError> {
    let role: Role = key.role.parse().map_err(|_| MetadataError::Corrupt {
        what: "role of an API key",
        value: key.role.clone(),
    })?;
    let workspace = match &key.workspace_id {
        None => None,
        Some(id) => Some(rights.workspace(id).await?.ok_or(WORKSPACE_GONE)?),
    };
    let images = key
        .repositories
        .as_deref()
        .map(|list| patterns.get(list))
        .transpose()?;
    let narrowing = Narrowing {
        images,
        repository: None,
        actions: key_actions(&key)?,
    };
    let kind = if workspace.is_some() {
        PrincipalKind::ApiKey
    } else {
        PrincipalKind::OperatorKey
    };
    let by_key = Principal {
        kind,
        id: key.id.clone(),
        actor: key_actor(&key.id),
        role,
        expires_at: key.expires_at,
        workspace,
        narrowing,
        basis: basis.clone(),
        origin: None,
        key,
    };
    match basis {
        Basis::Key { .. } => Ok(by_key),
        Basis::Token(proof) => by_token(rights, by_key, proof).await,
    }
}

const WORKSPACE_GONE: LiveError = LiveError::Withdrawn("the workspace behind it has been deleted");
const REVOKED: LiveError = LiveError::Withdrawn("it has been revoked");

/// What is left of the key that a token came from, if the token still counts.
async fn by_token(
    rights: &mut Rights<'_>,
    by_key: Principal,
    proof: &Proof,
) -> Result<Principal, LiveError> {
    if proof.signed_by.is_taken_back() {
        return Err(LiveError::Withdrawn(
            "the key that signed it has been replaced",
        ));
    }
    let workspace = by_key.workspace.as_ref();
    let workspace = workspace
        .filter(|workspace| workspace.id == proof.workspace_id)
        .ok_or(WORKSPACE_GONE)?;
    let generations = Generations {
        key: by_key.key.credential_generation,
        workspace: workspace.credential_generation,
    };
    if generations != proof.generations {
        return Err(REVOKED);
    }
    let expires_at = Some(proof.expires_at);
    let Some(limits) = &proof.credential else {
        return Ok(Principal {
            expires_at,
            ..by_key
        });
    };
    if rights.is_revoked(&workspace.id, &limits.id).await? {
        return Err(REVOKED);
    }
    Ok(Principal {
        kind: PrincipalKind::RegistryCredential,
        id: limits.id.clone(),
        actor: credential_actor(&limits.id),
        narrowing: Narrowing {
            images: by_key.narrowing.images,
            repository: limits.repository.clone(),
            actions: by_key.narrowing.actions.intersection(limits.actions),
        },
        expires_at,
        ..by_key
    })
}

fn key_actions(key: &ApiKey) -> Result<ActionSet, MetadataError> {
    let Some(actions) = &key.actions else {
        return Ok(ActionSet::ALL);
    };
    actions
        .iter()
        .map(|action| action.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| MetadataError::Corrupt {
            what: "list of actions of an API key",
            value: actions.join(","),
        })
}
