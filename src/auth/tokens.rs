//! Signed tokens: Ed25519 JWTs of two kinds that never stand in for one another.
//!
//! The key is looked up in our own ring by `kid`; `jwk`, `jku` and `x5u` in a token mean nothing (CVE-2025-24976). The
//! algorithm is fixed. What a token proves is identity and limits; rights are read live from the database each time.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::{Algorithm, Header, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::action::{Action, ActionSet};
use super::federation::{Federation, Identity};
use super::key_ring::KeyRing;
use super::keys::{KeyError, Purpose, Standing};
use super::live::{CredentialLimits, Identified, OfWorkspace, Parent, Proof};
use super::secrets::SecretText;
use crate::clock::Millis;
use crate::oci::RepositoryName;

/// Bytes of a token at most: what the most scopes can make, and room.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How far the clock of another replica may be ahead of ours. Ends are exact.
const NOT_BEFORE_LEEWAY_S: i64 = 5;

/// Why a token was refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is not a token of ours, or was changed.
    #[error("the token is not valid")]
    Invalid,
    /// It is of another kind.
    #[error("this kind of token is not taken here")]
    WrongKind,
    /// It was signed by a key that is not in the ring.
    #[error("the token was signed by a key that is not known here")]
    UnknownKey,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It has not begun.
    #[error("the token is not valid yet")]
    NotYet,
}

/// What every token says.
#[derive(Serialize, Deserialize)]
pub(super) struct Claims<B> {
    pub(super) iss: String,
    pub(super) aud: String,
    pub(super) sub: String,
    pub(super) jti: String,
    pub(super) iat: i64,
    pub(super) nbf: i64,
    pub(super) exp: i64,
    #[serde(flatten)]
    pub(super) body: B,
}

/// Who is behind a token, and as of which revocations.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ParentClaims {
    pub(super) workspace: String,
    pub(super) workspace_generation: i64,
    pub(super) key: String,
    pub(super) key_generation: i64,
}

/// What a token says of the pull secret behind it, and of its workspace if it has one.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PullSecretClaims {
    pub(super) pull_secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workspace: Option<WorkspaceClaims>,
}

/// A workspace, and as of which revocations.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct WorkspaceClaims {
    pub(super) id: String,
    pub(super) generation: i64,
}

/// What a token says of somebody of another issuer, and of the rule that let it in.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct IdentityClaims {
    pub(super) issuer: String,
    pub(super) rule: String,
    pub(super) rule_id: String,
    pub(super) subject: String,
    pub(super) workspace: WorkspaceClaims,
}

impl IdentityClaims {
    pub(super) fn of(identified: &Identified) -> Self {
        let Identity {
            issuer,
            rule,
            subject,
        } = identified.identity.clone();
        Self {
            issuer,
            rule: rule.unwrap_or_default(),
            rule_id: identified.rule_id.clone(),
            subject,
            workspace: WorkspaceClaims {
                id: identified.workspace.id.clone(),
                generation: identified.workspace.generation,
            },
        }
    }

    fn into_parent(self, credential: CredentialLimits, federation: &Federation) -> Parent {
        let identity = Identity {
            issuer: self.issuer,
            rule: Some(self.rule),
            subject: self.subject,
        };
        Parent::Rule(Arc::new(Identified {
            id: identity.id(),
            identity,
            rule: federation.rule(&self.rule_id),
            rule_id: self.rule_id,
            workspace: OfWorkspace {
                id: self.workspace.id,
                generation: self.workspace.generation,
            },
            credential,
        }))
    }
}

/// Whose rights an access token carries. No two have no field in common that both need, so that none is ever read as
/// another; a server that does not know pull secrets or identities finds no key in theirs, and refuses it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum AccessParent {
    Key {
        #[serde(flatten)]
        parent: ParentClaims,
        /// The credential that it was got with; none when it was the key itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        credential: Option<ParentCredential>,
    },
    PullSecret(PullSecretClaims),
    Identity {
        identity: IdentityClaims,
        credential: ParentCredential,
    },
}

/// Whose rights a registry credential carries.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum CredentialParent {
    Key(ParentClaims),
    Identity { identity: IdentityClaims },
}

/// What a registry credential says.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct CredentialClaims {
    #[serde(flatten)]
    pub(super) parent: CredentialParent,
    pub(super) prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repository: Option<String>,
    pub(super) actions: ActionSet,
}

/// What an access token says.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AccessClaims {
    #[serde(flatten)]
    pub(super) parent: AccessParent,
    pub(super) access: Vec<AccessEntry>,
}

/// A credential's own limits, carried on by the access tokens it gets.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ParentCredential {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repository: Option<String>,
    pub(super) actions: ActionSet,
}

/// One entry of the token specification's `access`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AccessEntry {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) actions: Vec<String>,
}

/// A registry credential that was checked.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) prefix: String,
    pub(super) proof: Arc<Proof>,
}

/// An access token that was checked.
#[derive(Debug)]
pub struct AccessToken {
    repositories: Vec<(RepositoryName, ActionSet)>,
    catalog: bool,
    pub(super) proof: Arc<Proof>,
}

impl AccessToken {
    /// Whether it was given for an action on a repository. Whether its owner may still do that is another question.
    #[must_use]
    pub fn covers(&self, repository: &RepositoryName, action: Action) -> bool {
        self.repositories
            .iter()
            .any(|(name, actions)| name == repository && actions.contains(action))
    }

    /// Whether it was given for the catalogue.
    #[must_use]
    pub fn covers_catalog(&self) -> bool {
        self.catalog
    }
}

/// A kind of token: how its claims become something checked.
pub(super) trait Kind: Sized + Send + Sync + 'static {
    const PURPOSE: Purpose;
    type Body: DeserializeOwned;

    fn from_claims(
        claims: Claims<Self::Body>,
        signed_by: &Standing,
        federation: &Federation,
    ) -> Option<Self>;
}

fn of_key(parent: ParentClaims, credential: Option<CredentialLimits>) -> Parent {
    Parent::Key {
        id: parent.key,
        generation: parent.key_generation,
        workspace: OfWorkspace {
            id: parent.workspace,
            generation: parent.workspace_generation,
        },
        credential,
    }
}

impl ParentCredential {
    pub(super) fn of(limits: &CredentialLimits) -> Self {
        Self {
            id: limits.id.clone(),
            repository: limits
                .repository
                .as_ref()
                .map(|name| name.as_str().to_owned()),
            actions: limits.actions,
        }
    }

    fn into_limits(self) -> Option<CredentialLimits> {
        Some(CredentialLimits {
            id: self.id,
            repository: repository(self.repository)?,
            actions: self.actions,
        })
    }
}

impl AccessParent {
    fn into_parent(self, federation: &Federation) -> Option<Parent> {
        match self {
            Self::Key { parent, credential } => {
                let limits = match credential {
                    None => None,
                    Some(credential) => Some(credential.into_limits()?),
                };
                Some(of_key(parent, limits))
            }
            Self::Identity {
                identity,
                credential,
            } => Some(identity.into_parent(credential.into_limits()?, federation)),
            Self::PullSecret(claims) => Some(Parent::PullSecret {
                id: claims.pull_secret,
                workspace: claims.workspace.map(|workspace| OfWorkspace {
                    id: workspace.id,
                    generation: workspace.generation,
                }),
            }),
        }
    }
}

fn proof(parent: Parent, exp: i64, signed_by: &Standing) -> Option<Arc<Proof>> {
    Some(Arc::new(Proof {
        parent,
        expires_at: Millis(exp.checked_mul(1000)?),
        signed_by: signed_by.clone(),
    }))
}

fn repository(name: Option<String>) -> Option<Option<RepositoryName>> {
    name.map(|name| name.parse().ok())
        .map_or(Some(None), |parsed| parsed.map(Some))
}

impl Kind for Credential {
    const PURPOSE: Purpose = Purpose::RegistryCredential;
    type Body = CredentialClaims;

    fn from_claims(
        claims: Claims<CredentialClaims>,
        signed_by: &Standing,
        federation: &Federation,
    ) -> Option<Self> {
        let body = claims.body;
        let limits = CredentialLimits {
            id: claims.jti,
            repository: repository(body.repository)?,
            actions: body.actions,
        };
        let parent = match body.parent {
            CredentialParent::Key(parent) => of_key(parent, Some(limits)),
            CredentialParent::Identity { identity } => identity.into_parent(limits, federation),
        };
        Some(Self {
            prefix: body.prefix,
            proof: proof(parent, claims.exp, signed_by)?,
        })
    }
}

impl Kind for AccessToken {
    const PURPOSE: Purpose = Purpose::AccessToken;
    type Body = AccessClaims;

    fn from_claims(
        claims: Claims<AccessClaims>,
        signed_by: &Standing,
        federation: &Federation,
    ) -> Option<Self> {
        let body = claims.body;
        let mut repositories = Vec::new();
        let mut catalog = false;
        for entry in body.access {
            match entry.kind.as_str() {
                "repository" => {
                    let actions = entry
                        .actions
                        .iter()
                        .map(|action| action.parse())
                        .collect::<Result<_, _>>()
                        .ok()?;
                    repositories.push((entry.name.parse().ok()?, actions));
                }
                "registry" if entry.name == "catalog" => catalog = true,
                _ => return None,
            }
        }
        Some(Self {
            repositories,
            catalog,
            proof: proof(body.parent.into_parent(federation)?, claims.exp, signed_by)?,
        })
    }
}

/// Signs claims with the key that signs such tokens now.
pub(super) fn sign<B: Serialize>(
    ring: &KeyRing,
    purpose: Purpose,
    claims: &Claims<B>,
) -> Result<SecretText, KeyError> {
    let key = ring.signer(purpose)?;
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(purpose.token_type().to_owned());
    header.kid = Some(key.id().to_owned());
    let token = jsonwebtoken::encode(&header, claims, key.encoding())
        .map_err(|_| KeyError::Cryptography)?;
    Ok(SecretText::new(token))
}

/// A token that was checked, and what has to be looked at again each time it is shown.
struct Checked<T> {
    token: T,
    key_id: String,
    not_before_s: i64,
    expires_at_s: i64,
}

/// Checks tokens of one kind, and remembers by hash those that were good.
#[derive(Clone)]
pub(super) struct Verifier<T> {
    ring: KeyRing,
    issuer: String,
    federation: Federation,
    checked: moka::sync::Cache<[u8; 32], Arc<Checked<T>>>,
}

fn hash(token: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// A good token, kept alive by the memory of it.
pub(super) struct Good<T>(Arc<Checked<T>>);

impl<T> Clone for Good<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> std::ops::Deref for Good<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.token
    }
}

impl<T: Kind> Verifier<T> {
    pub(super) fn new(
        ring: KeyRing,
        issuer: String,
        federation: Federation,
        capacity: u64,
    ) -> Self {
        Self {
            ring,
            issuer,
            federation,
            checked: moka::sync::Cache::new(capacity),
        }
    }

    /// Checks a token: by its hash if it was seen, by its signature if not; its times and its key in either case.
    pub(super) fn verify(&self, token: &str, now: Millis) -> Result<Good<T>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let hash = hash(token);
        let checked = match self.checked.get(&hash) {
            Some(checked) => {
                self.ring
                    .verifier(T::PURPOSE, &checked.key_id)
                    .ok_or(TokenError::UnknownKey)?;
                checked
            }
            None => {
                let checked = Arc::new(self.check(token)?);
                self.checked.insert(hash, Arc::clone(&checked));
                checked
            }
        };
        if now.0 >= checked.expires_at_s.saturating_mul(1000) {
            self.checked.invalidate(&hash);
            return Err(TokenError::Expired);
        }
        if now.seconds() < checked.not_before_s.saturating_sub(NOT_BEFORE_LEEWAY_S) {
            return Err(TokenError::NotYet);
        }
        Ok(Good(checked))
    }

    fn check(&self, token: &str) -> Result<Checked<T>, TokenError> {
        let kind = T::PURPOSE.token_type();
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        if header.alg != Algorithm::EdDSA {
            return Err(TokenError::Invalid);
        }
        if header.typ.as_deref() != Some(kind) {
            return Err(TokenError::WrongKind);
        }
        let key_id = header.kid.ok_or(TokenError::Invalid)?;
        let key = self
            .ring
            .verifier(T::PURPOSE, &key_id)
            .ok_or(TokenError::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp", "nbf"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[kind]);
        // The library asks the system for the time; ours is handed in, see `verify`.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims = jsonwebtoken::decode::<Claims<T::Body>>(token, key.decoding(), &validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let (not_before_s, expires_at_s) = (claims.nbf, claims.exp);
        let token =
            T::from_claims(claims, key.standing(), &self.federation).ok_or(TokenError::Invalid)?;
        Ok(Checked {
            token,
            key_id,
            not_before_s,
            expires_at_s,
        })
    }
}
