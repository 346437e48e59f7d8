//! What stands behind `/token`: a password becomes an access token, cut down to what its owner may do now.
//!
//! As the distribution project's token specification wants it, asking for more than one may is no error: the token is
//! the intersection, possibly empty. Bad credentials are an error.

use std::sync::Arc;

use uuid::Uuid;

use super::Auth;
use super::action::{Action, ActionSet};
use super::allowance::Throttled;
use super::authenticate::BasicCredentials;
use super::decide::{Decision, decide_live};
use super::granted::GrantedCatalog;
use super::keys::{KeyError, Purpose};
use super::live::{Basis, Parent, Rights};
use super::origin::Origin;
use super::principal::{Foundation, Principal};
use super::rejection::{AuthenticationError, Rejection};
use super::scope::{CATALOG_SCOPE, Scope, ScopeError, parse_scopes, repository_scope};
use super::secrets::SecretText;
use super::tokens::{
    self, AccessClaims, AccessEntry, AccessParent, Claims, IdentityClaims, ParentClaims,
    ParentCredential, PullSecretClaims, WorkspaceClaims,
};
use crate::clock::Millis;
use crate::metadata::{ApiKey, MetadataError, Workspace};

/// The specification asks for no shorter token; it may outlive what it was got with by at most this.
const MIN_LIFETIME_S: i64 = 60;

/// What a token is asked for with.
pub enum TokenCredentials {
    /// A user name and a password: GET with Basic, or POST with `grant_type=password`.
    Password(BasicCredentials),
    /// POST with `grant_type=refresh_token`: a registry credential as it is.
    RefreshToken(SecretText),
}

/// A request for an access token.
pub struct TokenRequest {
    /// Who asks; nobody gets nothing.
    pub credentials: Option<TokenCredentials>,
    /// Where the request came from.
    pub from: Origin,
    /// The `scope` parameters, each as it was sent.
    pub scopes: Vec<String>,
}

/// An access token. No `Debug`: it is a secret.
pub struct TokenAnswer {
    /// The token.
    pub token: SecretText,
    /// How long it lives, in seconds.
    pub expires_in: i64,
    /// When it was issued.
    pub issued_at: Millis,
    /// What it was given for, as scopes with spaces between.
    pub scope: String,
    /// Who it was given to, for the log.
    pub principal: Arc<Principal>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenEndpointError {
    /// No credentials, or bad ones: 401.
    #[error("{0}")]
    Unauthorized(Rejection),
    /// Too much was asked for: 400.
    #[error(transparent)]
    BadRequest(#[from] ScopeError),
    /// Too often: 429.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The database cannot answer: 503.
    #[error("rights cannot be read now")]
    Unavailable(#[from] MetadataError),
    /// The token could not be signed: 500.
    #[error("the token could not be signed")]
    Internal(#[from] KeyError),
}

impl From<AuthenticationError> for TokenEndpointError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Refused(rejection)
            | AuthenticationError::InvalidToken(rejection) => Self::Unauthorized(rejection),
            AuthenticationError::Throttled(throttled) => Self::Throttled(throttled),
            AuthenticationError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl Auth {
    /// Turns a password into an access token for what was asked for, as far as it is allowed now.
    pub async fn issue_access_token(
        &self,
        request: &TokenRequest,
    ) -> Result<TokenAnswer, TokenEndpointError> {
        let principal = match &request.credentials {
            None => {
                let message = "a token needs credentials: an API key, or a registry credential, or a pull secret";
                return Err(TokenEndpointError::Unauthorized(Rejection::new(message)));
            }
            Some(TokenCredentials::Password(basic)) => {
                self.password(&basic.username, &basic.password, &request.from)
                    .await?
            }
            Some(TokenCredentials::RefreshToken(token)) => {
                self.credential(None, token.reveal(), &request.from).await?
            }
        };
        self.limit_tokens(&principal)?;
        let scopes = parse_scopes(request.scopes.iter().map(String::as_str))?;
        let parent = access_parent(&principal).ok_or_else(|| {
            TokenEndpointError::Unauthorized(Rejection::new(
                "there are no access tokens for an operator key",
            ))
        })?;
        let mut granted = Vec::new();
        let mut access = Vec::new();
        let mut rights = Rights::Remembered(self.metadata());
        for scope in &scopes {
            if let Some((text, entry)) = cut_down(&mut rights, &principal, scope).await? {
                granted.push(text);
                access.push(entry);
            }
        }
        let now = self.clock().now();
        let lifetime_s = self.lifetime_s(&principal, now);
        let claims = Claims {
            iss: self.options().service_name.clone(),
            aud: Purpose::AccessToken.token_type().to_owned(),
            sub: principal.actor().to_owned(),
            jti: Uuid::new_v4().simple().to_string(),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: now.seconds() + lifetime_s,
            body: AccessClaims { parent, access },
        };
        let token = tokens::sign(&self.inner().keys, Purpose::AccessToken, &claims)?;
        Ok(TokenAnswer {
            token,
            expires_in: lifetime_s,
            issued_at: Millis(now.seconds() * 1000),
            scope: granted.join(" "),
            principal,
        })
    }

    /// Whoever can only pull is exempt: a thousand nodes may start at once with one secret.
    fn limit_tokens(&self, principal: &Principal) -> Result<(), Throttled> {
        let pulls_only = principal.actions() == ActionSet::of(&[Action::Pull]);
        if pulls_only {
            return Ok(());
        }
        let now = self.clock().now();
        let key_id = principal.foundation.id().to_owned();
        self.inner().tokens_issued.take(key_id, now)
    }

    fn lifetime_s(&self, principal: &Principal, now: Millis) -> i64 {
        let configured = i64::try_from(self.options().access_token_seconds).unwrap_or(i64::MAX);
        let left = principal
            .expires_at()
            .map_or(i64::MAX, |end| end.seconds() - now.seconds());
        configured.min(left).max(MIN_LIFETIME_S)
    }
}

/// What is left of a scope: its text and its entry in the token.
async fn cut_down(
    rights: &mut Rights<'_>,
    principal: &Arc<Principal>,
    scope: &Scope,
) -> Result<Option<(String, AccessEntry)>, MetadataError> {
    match scope {
        Scope::Repository { name, actions } => {
            let mut allowed = ActionSet::EMPTY;
            for action in actions.iter() {
                if let Decision::Allowed(_) = decide_live(rights, principal, name, action).await? {
                    allowed = allowed.union(ActionSet::of(&[action]));
                }
            }
            let entry = AccessEntry {
                kind: String::from("repository"),
                name: name.as_str().to_owned(),
                actions: allowed.iter().map(|action| action.to_string()).collect(),
            };
            Ok((!allowed.is_empty()).then(|| (repository_scope(name, allowed), entry)))
        }
        Scope::Catalog => {
            if GrantedCatalog::decide(principal).is_err() {
                return Ok(None);
            }
            let entry = AccessEntry {
                kind: String::from("registry"),
                name: String::from("catalog"),
                actions: vec![String::from("*")],
            };
            Ok(Some((CATALOG_SCOPE.to_owned(), entry)))
        }
        Scope::Unknown => Ok(None),
    }
}

/// What a token says about who is behind it, as of now.
pub(super) fn parent(key: &ApiKey, workspace: &Workspace) -> ParentClaims {
    ParentClaims {
        workspace: workspace.id.clone(),
        workspace_generation: workspace.credential_generation,
        key: key.id.clone(),
        key_generation: key.credential_generation,
    }
}

/// The same of an access token; none for an operator key, which gets none.
fn access_parent(principal: &Principal) -> Option<AccessParent> {
    Some(match &principal.foundation {
        Foundation::Key(key) => AccessParent::Key {
            parent: parent(key, principal.workspace()?),
            credential: credential(principal),
        },
        Foundation::PullSecret(secret) => AccessParent::PullSecret(PullSecretClaims {
            pull_secret: secret.id.clone(),
            workspace: principal.workspace().map(|workspace| WorkspaceClaims {
                id: workspace.id.clone(),
                generation: workspace.credential_generation,
            }),
        }),
        Foundation::Rule(identified) => AccessParent::Identity {
            identity: IdentityClaims::of(identified),
            credential: ParentCredential::of(&identified.credential),
        },
    })
}

fn credential(principal: &Principal) -> Option<ParentCredential> {
    let Basis::Token(proof) = &principal.basis else {
        return None;
    };
    let credential = match &proof.parent {
        Parent::Key { credential, .. } => credential.as_ref(),
        Parent::PullSecret { .. } | Parent::Rule(_) => None,
    };
    credential.map(ParentCredential::of)
}
