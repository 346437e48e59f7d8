//! The token exchange (RFC 8693): a token of a configured issuer becomes a registry credential, by the rule that fits.
//!
//! What is issued is looked at just as it will be when it is shown, before anybody gets it: so it is for nothing that would
//! be refused then.

use std::sync::Arc;

use uuid::Uuid;

use super::Auth;
use super::action::ActionSet;
use super::allowance::Throttled;
use super::decide::{Decision, decide_live};
use super::federation::{Federation, Identity, Rule, SingleUse, Subject, SubjectError};
use super::keys::{KeyError, Purpose};
use super::live::{CredentialLimits, Identified, OfWorkspace, Rights};
use super::origin::{Origin, SecretOwner};
use super::principal::Principal;
use super::rejection::{AuthenticationError, Rejection};
use super::scope::{Scope, parse_scopes, repository_scope};
use super::secrets::SecretText;
use super::target::RegistryHosts;
use super::tokens::{self, Claims, CredentialClaims, CredentialParent, IdentityClaims};
use crate::clock::Millis;
use crate::metadata::{MetadataError, Workspace};
use crate::oci::RepositoryName;

/// How much longer a token is remembered that counts once, so that no replica whose clock is behind takes it again.
const SINGLE_USE_SLACK_MS: i64 = 5 * 60 * 1000;

/// What a credential is asked for with.
pub struct ExchangeRequest {
    /// The token of the issuer.
    pub subject_token: SecretText,
    /// The `scope` parameter: nothing, or one repository.
    pub scope: Option<String>,
    /// Where the request comes from.
    pub from: Origin,
}

// No `Debug`: it holds the password.
/// What the token was exchanged for.
pub struct Exchanged {
    /// The credential: a password of the registry.
    pub password: SecretText,
    /// The user name that goes with it.
    pub username: String,
    /// How long it lives, in seconds.
    pub expires_in: i64,
    /// When it ends.
    pub expires_at: Millis,
    /// What it is for, as scopes with spaces between.
    pub scope: String,
    /// What it is revoked by.
    pub credential_id: String,
    /// Host and prefix to push to.
    pub push_registry: String,
    /// Host and prefix to pull from.
    pub pull_registry: String,
    /// Who has it.
    pub principal: Arc<Principal>,
}

/// Why there is no credential.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No issuer is configured.
    #[error("no tokens are exchanged here: the configuration has no issuers")]
    Off,
    /// The token is not good, or no rule fits.
    #[error("{0}")]
    InvalidGrant(Rejection),
    /// It is asked for something that it cannot be for.
    #[error("{0}")]
    InvalidScope(String),
    /// Too often.
    #[error(transparent)]
    Throttled(#[from] Throttled),
    /// The issuer cannot be asked, or rights change at this moment.
    #[error("{0}")]
    Later(String),
    /// The database cannot answer.
    #[error("rights cannot be read now")]
    Unavailable(#[from] MetadataError),
    /// The credential could not be signed.
    #[error("the credential could not be signed")]
    Internal(#[from] KeyError),
}

impl From<AuthenticationError> for ExchangeError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Refused(rejection)
            | AuthenticationError::InvalidToken(rejection) => Self::InvalidGrant(rejection),
            AuthenticationError::Throttled(throttled) => Self::Throttled(throttled),
            AuthenticationError::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

/// One repository, and what to do there.
struct Wanted {
    repository: RepositoryName,
    actions: ActionSet,
}

/// A credential of one rule.
struct Issued {
    password: SecretText,
    principal: Arc<Principal>,
    workspace: Arc<Workspace>,
    scope: String,
    credential_id: String,
}

impl Auth {
    /// Exchanges a token of a configured issuer for a registry credential.
    pub async fn exchange(
        &self,
        request: &ExchangeRequest,
        hosts: &RegistryHosts,
    ) -> Result<Exchanged, ExchangeError> {
        let inner = self.inner();
        if inner.options.federation.is_empty() {
            return Err(ExchangeError::Off);
        }
        let wanted = request.scope.as_deref().map(wanted).transpose()?;
        let now = inner.clock.now();
        let subject = self.subject(request, now).await?;
        let id = format!("{}/{}", subject.issuer, subject.subject);
        inner.exchanges.take(id, now)?;
        let issued = self
            .issue(&subject, wanted.as_ref(), &request.from, now)
            .await?;
        if let Some(once) = &subject.single_use {
            let used = self.use_up(once, &issued.principal);
            self.attempt(request.from.address, used).await?;
        }
        let Issued {
            password,
            principal,
            workspace,
            scope,
            credential_id,
        } = issued;
        let expires_at = principal.expires_at().unwrap_or(now);
        let prefix = &workspace.prefix;
        Ok(Exchanged {
            password,
            username: prefix.clone(),
            expires_in: expires_at.seconds() - now.seconds(),
            expires_at,
            scope,
            credential_id,
            push_registry: format!("{}/{prefix}", hosts.push),
            pull_registry: format!("{}/{prefix}", hosts.pull_host()),
            principal,
        })
    }

    /// Whose token it is. Bad ones count against the address.
    async fn subject(
        &self,
        request: &ExchangeRequest,
        now: Millis,
    ) -> Result<Subject, ExchangeError> {
        let federation = &self.options().federation;
        // Whoever waits for an issuer takes no place from secrets that are looked at.
        let prepared = federation.prepare(request.subject_token.reveal()).await;
        let check = async {
            match prepared.and_then(|prepared| Federation::verify(prepared, now)) {
                Ok(subject) => Ok(Ok(subject)),
                Err(SubjectError::Refused { message, identity }) => {
                    Err(AuthenticationError::Refused(match identity {
                        None => Rejection::new(message),
                        Some(identity) => Rejection::of(owner(&identity), message),
                    }))
                }
                // The token may be good: this counts against nobody.
                Err(error @ SubjectError::Unavailable(_)) => {
                    Ok(Err(ExchangeError::Later(error.to_string())))
                }
            }
        };
        self.attempt(request.from.address, check).await?
    }

    /// A credential of the first rule that lets its owner do what it is asked for.
    async fn issue(
        &self,
        subject: &Subject,
        wanted: Option<&Wanted>,
        from: &Origin,
        now: Millis,
    ) -> Result<Issued, ExchangeError> {
        let mut refusal = None;
        for rule in &subject.rules {
            let workspace = match self.workspace_of(rule).await? {
                Ok(workspace) => workspace,
                Err(what) => {
                    let message = format!(
                        "the rule \"{}\" of the issuer \"{}\" gives a credential of {what}",
                        rule.name, subject.issuer
                    );
                    let rejection = Rejection::of(owner(&identity(subject, rule)), message);
                    refusal.get_or_insert(ExchangeError::InvalidGrant(rejection));
                    continue;
                }
            };
            match self
                .issue_by(subject, rule, workspace, wanted, from, now)
                .await
            {
                Err(error @ ExchangeError::InvalidScope(_)) => {
                    refusal.get_or_insert(error);
                }
                issued => return issued,
            }
        }
        // There is at least one rule, and each came to something.
        Err(refusal.unwrap_or(ExchangeError::Off))
    }

    /// The workspace that a rule means, or what stands in its place.
    async fn workspace_of(
        &self,
        rule: &Rule,
    ) -> Result<Result<Arc<Workspace>, &'static str>, MetadataError> {
        let workspace = self.metadata().workspace_by_name(&rule.workspace).await?;
        let is_meant = |found: &Workspace| {
            let prefix = rule.prefix.as_ref();
            prefix.is_none_or(|prefix| *prefix == found.prefix)
        };
        Ok(match workspace {
            None => Err("a workspace that does not exist"),
            Some(found) if is_meant(&found) => Ok(found),
            Some(_) => Err("a workspace that has another prefix than the rule says"),
        })
    }

    async fn issue_by(
        &self,
        subject: &Subject,
        rule: &Arc<Rule>,
        workspace: Arc<Workspace>,
        wanted: Option<&Wanted>,
        from: &Origin,
        now: Millis,
    ) -> Result<Issued, ExchangeError> {
        let own = rule.role.actions().intersection(rule.actions);
        let credential_id = Uuid::new_v4().simple().to_string();
        let limits = CredentialLimits {
            id: credential_id.clone(),
            repository: wanted.map(|wanted| wanted.repository.clone()),
            actions: wanted.map_or(own, |wanted| own.intersection(wanted.actions)),
        };
        let identity = identity(subject, rule);
        let identified = Identified {
            id: identity.id(),
            identity,
            rule: Some(Arc::clone(rule)),
            rule_id: rule.id().to_owned(),
            workspace: OfWorkspace::of(&workspace),
            credential: limits,
        };
        let password = self.sign_credential(&identified, &workspace, rule, now)?;
        let principal = self
            .checked_credential(Some(&workspace.prefix), password.reveal(), from)
            .await
            .map_err(|error| match error {
                AuthenticationError::Unavailable(error) => ExchangeError::Unavailable(error),
                // Another replica has changed something that this one remembers for some seconds more.
                AuthenticationError::Refused(_)
                | AuthenticationError::InvalidToken(_)
                | AuthenticationError::Throttled(_) => ExchangeError::Later(String::from(
                    "the workspace is being changed; try again in a few seconds",
                )),
            })?;
        let scope = match wanted {
            Some(wanted) => self.allowed(&principal, wanted).await?,
            None => reach(&principal, &workspace),
        };
        Ok(Issued {
            password,
            principal,
            workspace,
            scope,
            credential_id,
        })
    }

    fn sign_credential(
        &self,
        identified: &Identified,
        workspace: &Workspace,
        rule: &Rule,
        now: Millis,
    ) -> Result<SecretText, KeyError> {
        let limits = &identified.credential;
        let lifetime_s = i64::try_from(rule.lifetime_seconds).unwrap_or(i64::MAX);
        let claims = Claims {
            iss: self.options().service_name.clone(),
            aud: Purpose::RegistryCredential.token_type().to_owned(),
            sub: identified.identity.actor(),
            jti: limits.id.clone(),
            iat: now.seconds(),
            nbf: now.seconds(),
            exp: now.seconds().saturating_add(lifetime_s),
            body: CredentialClaims {
                parent: CredentialParent::Identity {
                    identity: IdentityClaims::of(identified),
                },
                prefix: workspace.prefix.clone(),
                repository: limits
                    .repository
                    .as_ref()
                    .map(|name| name.as_str().to_owned()),
                actions: limits.actions,
            },
        };
        tokens::sign(&self.inner().keys, Purpose::RegistryCredential, &claims)
    }

    /// What of the wanted may be done now, as a scope; it is an error when nothing is left.
    async fn allowed(
        &self,
        principal: &Arc<Principal>,
        wanted: &Wanted,
    ) -> Result<String, ExchangeError> {
        let mut rights = Rights::Remembered(self.metadata());
        let mut allowed = ActionSet::EMPTY;
        let mut denied = None;
        for action in wanted.actions.iter() {
            match decide_live(&mut rights, principal, &wanted.repository, action).await? {
                Decision::Allowed(_) => allowed = allowed.union(ActionSet::of(&[action])),
                Decision::Denied(message) | Decision::Unknown(message) => {
                    denied = denied.or(Some(message));
                }
            }
        }
        if allowed.is_empty() {
            return Err(ExchangeError::InvalidScope(denied.unwrap_or_default()));
        }
        Ok(repository_scope(&wanted.repository, allowed))
    }

    /// Notes that a token was used that counts once; an error when it was before.
    async fn use_up(
        &self,
        once: &SingleUse,
        principal: &Principal,
    ) -> Result<(), AuthenticationError> {
        let note = async {
            let mut change = self.metadata().begin().await?;
            let until = once.until.plus(SINGLE_USE_SLACK_MS);
            let is_first = change.use_token(&once.id, until).await?;
            change.commit().await?;
            Ok(is_first)
        };
        match note.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(AuthenticationError::Refused(Rejection::of(
                SecretOwner {
                    actor: principal.actor().to_owned(),
                    workspace_id: principal.workspace().map(|own| own.id.clone()),
                },
                "the token was exchanged before, and counts once: get a new one from its issuer",
            ))),
            Err(error) => Err(AuthenticationError::Unavailable(error)),
        }
    }
}

fn wanted(scope: &str) -> Result<Wanted, ExchangeError> {
    let bad = || {
        ExchangeError::InvalidScope(String::from(
            "scope names one repository and what to do there, such as repository:t-shop/app:pull",
        ))
    };
    let scopes =
        parse_scopes([scope]).map_err(|error| ExchangeError::InvalidScope(error.to_string()))?;
    match <[Scope; 1]>::try_from(scopes) {
        Ok([Scope::Repository { name, actions }]) if !actions.is_empty() => Ok(Wanted {
            repository: name,
            actions,
        }),
        Ok([Scope::Repository { .. } | Scope::Catalog | Scope::Unknown]) | Err(_) => Err(bad()),
    }
}

fn identity(subject: &Subject, rule: &Rule) -> Identity {
    Identity {
        issuer: subject.issuer.clone(),
        rule: Some(rule.name.clone()),
        subject: subject.subject.clone(),
    }
}

fn owner(identity: &Identity) -> SecretOwner {
    SecretOwner {
        actor: identity.actor(),
        workspace_id: None,
    }
}

/// What a credential reaches that is for no single repository, as scopes with globs in place of names.
fn reach(principal: &Principal, workspace: &Workspace) -> String {
    let (prefix, actions) = (&workspace.prefix, principal.actions());
    let scope = |glob: &str| format!("repository:{prefix}/{glob}:{actions}");
    match principal.narrowing().images() {
        None => scope("**"),
        Some(images) => {
            let scopes: Vec<String> = images.patterns().iter().map(|glob| scope(glob)).collect();
            scopes.join(" ")
        }
    }
}
