//! From what was proved (a key, a signed token) to what it may do now: the one place where rights are read.
//!
//! The same reading serves a request, from memory, and a commit, from inside its own transaction.

use std::sync::Arc;

use super::action::{Action, ActionSet};
use super::federation::{Identity, Rule};
use super::keys::Standing;
use super::origin::{SecretOwner, credential_actor, key_actor, pull_secret_actor};
use super::principal::{Foundation, Narrowing, PatternCache, Principal, PrincipalKind};
use super::role::Role;
use crate::clock::Millis;
use crate::metadata::{
    ApiKey, Metadata, MetadataError, PullSecret, Repository, Transaction, Workspace,
};
use crate::oci::RepositoryName;

/// What was proved, and never changes.
#[derive(Clone, Debug)]
pub(super) enum Basis {
    /// An API key was shown itself.
    Key {
        /// Its id.
        id: String,
    },
    /// A pull secret was shown itself.
    PullSecret {
        /// Its id.
        id: String,
    },
    /// A signed token was shown.
    Token(Arc<Proof>),
}

/// What a signed token proves.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) parent: Parent,
    pub(super) expires_at: Millis,
    /// The standing of the key that signed it.
    pub(super) signed_by: Standing,
}

impl Proof {
    /// Whose the token is, also where it counts no longer.
    pub(super) fn owner(&self) -> SecretOwner {
        let (actor, workspace) = match &self.parent {
            Parent::Key {
                id,
                workspace,
                credential,
                ..
            } => (
                match credential {
                    Some(limits) => credential_actor(&limits.id),
                    None => key_actor(id),
                },
                Some(workspace),
            ),
            Parent::PullSecret { id, workspace } => (pull_secret_actor(id), workspace.as_ref()),
            Parent::Rule(identified) => (identified.identity.actor(), Some(&identified.workspace)),
        };
        SecretOwner {
            actor,
            workspace_id: workspace.map(|workspace| workspace.id.clone()),
        }
    }
}

/// Whose rights a token carries. What is said to be of a generation is void as soon as that has moved on.
#[derive(Debug)]
pub(super) enum Parent {
    /// A key's, as far as the credential goes that it was got with.
    Key {
        id: String,
        generation: i64,
        workspace: OfWorkspace,
        credential: Option<CredentialLimits>,
    },
    /// A pull secret's, of one workspace or of all.
    PullSecret {
        id: String,
        workspace: Option<OfWorkspace>,
    },
    /// Those that a rule of the configuration gives.
    Rule(Arc<Identified>),
}

/// Somebody of another issuer, and the rule that let it in.
#[derive(Debug)]
pub(super) struct Identified {
    /// Who it is, whatever the rule.
    pub(super) id: String,
    pub(super) identity: Identity,
    /// None, if the configuration has it no longer just as it was.
    pub(super) rule: Option<Arc<Rule>>,
    /// The id of the rule, and so of all that it says.
    pub(super) rule_id: String,
    pub(super) workspace: OfWorkspace,
    pub(super) credential: CredentialLimits,
}

/// A workspace, as of a generation of its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OfWorkspace {
    pub(super) id: String,
    pub(super) generation: i64,
}

impl OfWorkspace {
    pub(super) fn of(workspace: &Workspace) -> Self {
        Self {
            id: workspace.id.clone(),
            generation: workspace.credential_generation,
        }
    }
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

    async fn pull_secret(&mut self, id: &str) -> Result<Option<Arc<PullSecret>>, MetadataError> {
        match self {
            Self::Remembered(metadata) => metadata.pull_secret(id).await,
            Self::Inside(transaction) => Box::pin(transaction.pull_secret(id)).await,
        }
    }

    async fn workspace(&mut self, id: &str) -> Result<Option<Arc<Workspace>>, MetadataError> {
        match self {
            Self::Remembered(metadata) => metadata.workspace(id).await,
            Self::Inside(transaction) => Box::pin(transaction.workspace(id)).await,
        }
    }

    async fn repository(
        &mut self,
        name: &RepositoryName,
    ) -> Result<Option<Repository>, MetadataError> {
        match self {
            Self::Remembered(metadata) => metadata.repository(name).await,
            Self::Inside(transaction) => Box::pin(transaction.repository(name)).await,
        }
    }

    /// The live workspace under whose prefix there is a repository or an alias of this name. It takes a row, not the
    /// name alone, so that a prefix that nobody has and an image that is not there are the same.
    pub(super) async fn workspace_of(
        &mut self,
        name: &RepositoryName,
    ) -> Result<Option<Arc<Workspace>>, MetadataError> {
        let Some(repository) = self.repository(name).await? else {
            return Ok(None);
        };
        if repository.share_id.is_none() {
            return self.workspace(&repository.workspace_id).await;
        }
        // The row is that of the source; the alias is its target's.
        match self {
            Self::Remembered(metadata) => metadata.workspace_by_prefix(name.prefix()).await,
            Self::Inside(transaction) => {
                Box::pin(transaction.workspace_by_prefix(name.prefix())).await
            }
        }
    }

    /// Whether this repository is for every workspace to pull.
    pub(super) async fn is_platform_image(
        &mut self,
        name: &RepositoryName,
    ) -> Result<bool, MetadataError> {
        let repository = self.repository(name).await?;
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
    let found = match basis {
        Basis::Key { id } => Found::Key(id),
        Basis::PullSecret { id } => Found::PullSecret(id),
        Basis::Token(proof) => match &proof.parent {
            Parent::Key { id, .. } => Found::Key(id),
            Parent::PullSecret { id, .. } => Found::PullSecret(id),
            Parent::Rule(identified) => {
                return principal_of_rule(rights, identified, proof, basis).await;
            }
        },
    };
    match found {
        Found::Key(id) => {
            let key = rights.api_key(id).await?.ok_or(KEY_GONE)?;
            principal_of_key(rights, key, basis, patterns).await
        }
        Found::PullSecret(id) => {
            let secret = rights.pull_secret(id).await?.ok_or(PULL_SECRET_GONE)?;
            principal_of_pull_secret(rights, secret, basis).await
        }
    }
}

/// Where the row behind a proof is looked for, and its id.
enum Found<'a> {
    Key(&'a str),
    PullSecret(&'a str),
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
        foundation: Foundation::Key(Arc::clone(&key)),
    };
    match basis {
        Basis::Token(proof) => by_token(rights, by_key, &key, proof).await,
        Basis::Key { .. } | Basis::PullSecret { .. } => Ok(by_key),
    }
}

/// The same, of a pull secret that was just read: a principal that pulls, whatever else is in the row or the proof.
pub(super) async fn principal_of_pull_secret(
    rights: &mut Rights<'_>,
    secret: Arc<PullSecret>,
    basis: &Basis,
) -> Result<Principal, LiveError> {
    let workspace = match &secret.workspace_id {
        None => None,
        Some(id) => Some(rights.workspace(id).await?.ok_or(WORKSPACE_GONE)?),
    };
    let mut expires_at = secret.expires_at;
    if let Basis::Token(proof) = basis {
        check_signer(proof)?;
        let Parent::PullSecret { workspace: of, .. } = &proof.parent else {
            return Err(REVOKED);
        };
        if *of != workspace.as_deref().map(OfWorkspace::of) {
            return Err(REVOKED);
        }
        expires_at = proof.expires_at;
    }
    Ok(Principal {
        kind: PrincipalKind::PullSecret,
        id: secret.id.clone(),
        actor: pull_secret_actor(&secret.id),
        role: Role::Puller,
        expires_at: Some(expires_at),
        workspace,
        narrowing: Narrowing {
            images: None,
            repository: None,
            actions: ActionSet::of(&[Action::Pull]),
        },
        basis: basis.clone(),
        origin: None,
        foundation: Foundation::PullSecret(secret),
    })
}

/// The same, of somebody whom a rule of the configuration let in. The configuration is read at the start: a rule that is
/// there now is there for as long as this server runs.
async fn principal_of_rule(
    rights: &mut Rights<'_>,
    identified: &Arc<Identified>,
    proof: &Proof,
    basis: &Basis,
) -> Result<Principal, LiveError> {
    check_signer(proof)?;
    let rule = identified.rule.as_ref().ok_or(RULE_GONE)?;
    let of = &identified.workspace;
    let workspace = rights.workspace(&of.id).await?.ok_or(WORKSPACE_GONE)?;
    if workspace.name != rule.workspace {
        return Err(RULE_GONE);
    }
    if workspace.credential_generation != of.generation {
        return Err(REVOKED);
    }
    let limits = &identified.credential;
    if rights.is_revoked(&workspace.id, &limits.id).await? {
        return Err(REVOKED);
    }
    Ok(Principal {
        kind: PrincipalKind::ExchangedIdentity,
        id: limits.id.clone(),
        actor: identified.identity.actor(),
        role: rule.role,
        expires_at: Some(proof.expires_at),
        workspace: Some(workspace),
        narrowing: Narrowing {
            images: rule.images.clone(),
            repository: limits.repository.clone(),
            actions: rule.actions.intersection(limits.actions),
        },
        basis: basis.clone(),
        origin: None,
        foundation: Foundation::Rule(Arc::clone(identified)),
    })
}

/// A token counts only while the key that signed it does.
fn check_signer(proof: &Proof) -> Result<(), LiveError> {
    if proof.signed_by.is_taken_back() {
        return Err(LiveError::Withdrawn(
            "the key that signed it has been replaced",
        ));
    }
    Ok(())
}

const KEY_GONE: LiveError = LiveError::Withdrawn("the API key behind it has been deleted");
const PULL_SECRET_GONE: LiveError =
    LiveError::Withdrawn("the pull secret behind it has been deleted");
const RULE_GONE: LiveError =
    LiveError::Withdrawn("the rule behind it has been removed or changed: exchange a token again");
const WORKSPACE_GONE: LiveError = LiveError::Withdrawn("the workspace behind it has been deleted");
const REVOKED: LiveError = LiveError::Withdrawn("it has been revoked");

/// What is left of the key that a token came from, if the token still counts.
async fn by_token(
    rights: &mut Rights<'_>,
    by_key: Principal,
    key: &ApiKey,
    proof: &Proof,
) -> Result<Principal, LiveError> {
    check_signer(proof)?;
    let Parent::Key {
        generation,
        workspace: of,
        credential,
        ..
    } = &proof.parent
    else {
        return Err(REVOKED);
    };
    let workspace = by_key.workspace.as_ref();
    let workspace = workspace
        .filter(|workspace| workspace.id == of.id)
        .ok_or(WORKSPACE_GONE)?;
    if (key.credential_generation, workspace.credential_generation) != (*generation, of.generation)
    {
        return Err(REVOKED);
    }
    let expires_at = Some(proof.expires_at);
    let Some(limits) = credential else {
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
