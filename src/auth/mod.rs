//! Who calls, and what they may do: principals, roles, scopes, tokens, the one decision, and [`Granted`].
//!
//! Rights are read live on every request, through the memory of [`crate::metadata`]; a signed token proves identity and
//! limits, never rights. This module knows no HTTP: headers come in as text, refusals go out as values.

mod action;
mod allowance;
mod authenticate;
mod credentials;
mod decide;
mod error;
mod exchange;
mod federation;
mod granted;
mod key_files;
mod key_ring;
mod key_rows;
mod key_schedule;
mod keys;
mod last_used;
mod live;
mod managing;
mod origin;
mod principal;
mod pull_secrets;
mod refusal;
mod rejection;
mod role;
mod rotation;
mod scope;
mod secret_file;
mod secrets;
mod target;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod token_endpoint;
mod tokens;
mod whole_number;

use std::sync::Arc;

pub use action::{Action, ActionSet, UnknownAction};
pub use allowance::Throttled;
pub use authenticate::{
    BasicCredentials, BearerCaller, Caller, MAX_HEADER_BYTES, basic_credentials, single_header,
};
pub use credentials::{CredentialRequest, IssuedCredential, Revocation};
pub use decide::{Decision, decide};
pub use error::{Holder, InUse, InUseReason, RequestError};
pub use exchange::{ExchangeError, ExchangeRequest, Exchanged};
pub use federation::{Federation, FederationError};
pub use granted::{Delete, Granted, GrantedCatalog, Manage, Permission, Pull, Push};
pub use key_ring::{Jwk, JwkSet};
pub use key_schedule::CLOCK_LEEWAY_MS;
pub use keys::{KeyError, KeyLocation, Purpose};
pub use managing::{Covers, Manager, ToAdminister, ToChange, ToLease, ToRead, Wish, require};
pub use origin::{Origin, SecretOwner, credential_actor, issuer_of, key_actor, pull_secret_actor};
pub(crate) use principal::ImagePattern;
pub use principal::{
    ImagePatterns, MAX_PATTERNS, Narrowing, PatternError, Principal, PrincipalKind,
};
pub use pull_secrets::pull_secret_username;
pub use refusal::{ChallengeError, Refusal};
pub use rejection::{AuthenticationError, Rejection};
pub(crate) use role::WorkspaceRole;
pub use role::{Right, Role, UnknownRole};
pub use rotation::{
    RotateSigningKeys, SIGNING_KEYS_INTERVAL, SigningKeyView, reset_signing_keys,
    rewrap_signing_keys,
};
pub use scope::{
    CATALOG_SCOPE, MAX_SCOPES, MAX_SCOPES_BYTES, Scope, ScopeError, parse_scopes, repository_scope,
};
pub use secret_file::{remove_secret_file, write_secret_file};
pub(crate) use secrets::Secret;
pub use secrets::{
    API_KEY_PREFIX, ApiKeySecret, NoRandomness, PULL_SECRET_PREFIX, PullSecretPassword, SecretHash,
    SecretText,
};
pub use target::RegistryHosts;
pub use token_endpoint::{TokenAnswer, TokenCredentials, TokenEndpointError, TokenRequest};
pub use tokens::{AccessToken, TokenError};
pub use whole_number::WholeNumber;

use crate::clock::Clock;
use crate::metadata::{Metadata, MetadataError, Workspace};
use crate::oci::RepositoryName;
use crate::shares::Neighbourhood;
use allowance::Allowance;
use key_ring::KeyRing;
use key_schedule::Schedule;
use last_used::LastUsed;
use live::Rights;
use principal::PatternCache;
use tokens::{Credential, Verifier};

/// Secrets that are looked at at one time, of all addresses that sent too many wrong ones.
const DOUBTFUL_AT_ONCE: usize = 2;
/// Revocations, ended pull secrets, and tokens that counted once, that one call forgets at most.
const PURGE_BATCH: u32 = 1_000;
/// How long a pull secret that has ended is kept: whoever still shows it hears that it has ended, and the list says what
/// took its place.
const ENDED_PULL_SECRETS_KEPT_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// What an installation decides about tokens.
#[derive(Clone, Debug)]
pub struct AuthOptions {
    /// The name of the service in challenges, and the `iss` of every token.
    pub service_name: String,
    /// How long a registry credential lives when nothing is asked for, in seconds.
    pub credential_default_seconds: u64,
    /// How long a registry credential may live, in seconds; at most twelve hours.
    pub credential_max_seconds: u64,
    /// How long an access token lives, in seconds; at least sixty.
    pub access_token_seconds: u64,
    /// Whether API keys are taken as registry passwords.
    pub api_keys_as_passwords: bool,
    /// Wrong secrets that one address may send in a minute.
    pub auth_failures_per_minute: u32,
    /// Registry credentials that one key may ask for in a minute.
    pub credentials_per_minute: u32,
    /// Access tokens that one key may ask for in a minute.
    pub tokens_per_minute: u32,
    /// Registry credentials that one identity of an issuer may exchange its tokens for in a minute.
    pub exchanges_per_minute: u32,
    /// Verified tokens that are remembered at most, of each kind.
    pub token_cache_entries: u64,
    /// Whose tokens are exchanged for registry credentials.
    pub federation: Federation,
    /// Where the signing keys are kept.
    pub keys: KeyLocation,
    /// How long a signing key signs before the next one does, in seconds; 0 is for good.
    pub signing_key_rotation_seconds: u64,
}

impl AuthOptions {
    fn schedule(&self) -> Schedule {
        Schedule::of_seconds(
            self.signing_key_rotation_seconds,
            self.credential_max_seconds,
            self.access_token_seconds,
        )
    }
}

struct Inner {
    metadata: Metadata,
    keys: KeyRing,
    options: AuthOptions,
    clock: Clock,
    patterns: PatternCache,
    last_used: LastUsed,
    pull_secrets_last_used: LastUsed,
    failures: Allowance<Neighbourhood>,
    doubtful: tokio::sync::Semaphore,
    credentials_issued: Allowance<String>,
    credentials_revoked: Allowance<String>,
    tokens_issued: Allowance<String>,
    exchanges: Allowance<String>,
    credentials: Verifier<Credential>,
    access_tokens: Verifier<AccessToken>,
}

/// Authorisation as a whole. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

impl Auth {
    /// Puts it together; reads the signing keys, and makes those that are missing.
    pub async fn open(
        options: AuthOptions,
        metadata: Metadata,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        let schedule = options.schedule();
        let keys = KeyRing::open(&options.keys, &metadata, schedule, clock.clone()).await?;
        let (issuer, entries) = (&options.service_name, options.token_cache_entries);
        let federation = &options.federation;
        let credentials = Verifier::new(keys.clone(), issuer.clone(), federation.clone(), entries);
        let access_tokens =
            Verifier::new(keys.clone(), issuer.clone(), federation.clone(), entries);
        let failures = Allowance::new(
            "limits.auth_failures_per_minute",
            "too many wrong passwords and keys came from this address",
            options.auth_failures_per_minute,
        );
        let credentials_issued = Allowance::new(
            "limits.credentials_per_minute",
            "this key asked for too many registry credentials; each can be used until it ends",
            options.credentials_per_minute,
        );
        let credentials_revoked = Allowance::new(
            "limits.credentials_per_minute",
            "this key revoked too many registry credentials one by one; revoke those of a key, or all, at once",
            options.credentials_per_minute,
        );
        let tokens_issued = Allowance::new(
            "limits.tokens_per_minute",
            "this key asked for too many access tokens",
            options.tokens_per_minute,
        );
        let exchanges = Allowance::new(
            "limits.exchanges_per_minute",
            "this identity asked for too many registry credentials; each can be used until it ends",
            options.exchanges_per_minute,
        );
        Ok(Self(Arc::new(Inner {
            metadata,
            keys,
            options,
            clock,
            patterns: PatternCache::new(),
            last_used: LastUsed::default(),
            pull_secrets_last_used: LastUsed::default(),
            failures,
            doubtful: tokio::sync::Semaphore::new(DOUBTFUL_AT_ONCE),
            credentials_issued,
            credentials_revoked,
            tokens_issued,
            exchanges,
            credentials,
            access_tokens,
        })))
    }

    fn inner(&self) -> &Inner {
        &self.0
    }

    /// Where rights are read and keys are kept.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The clock that ends are judged by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The name of the service, as challenges give it.
    #[must_use]
    pub fn service_name(&self) -> &str {
        &self.0.options.service_name
    }

    /// What was decided about tokens.
    #[must_use]
    pub fn options(&self) -> &AuthOptions {
        &self.0.options
    }

    /// The public keys of access tokens.
    #[must_use]
    pub fn jwks(&self) -> JwkSet {
        self.0.keys.jwks()
    }

    /// Lets a caller do `P` to a repository, or says why not.
    ///
    /// # Errors
    /// A challenge if a (new) token could help this caller, a denial if live rights forbid it whatever is sent.
    pub async fn grant<P: Permission>(
        &self,
        caller: &Caller,
        repository: &RepositoryName,
    ) -> Result<Granted<P>, Refusal> {
        let inner = self.inner();
        let now = inner.clock.now();
        let scope = || repository_scope(repository, P::ASKED);
        match caller {
            Caller::Anonymous => Err(anonymous(scope())),
            Caller::Basic(principal) => {
                let mut rights = Rights::Remembered(&inner.metadata);
                Granted::decide(&mut rights, principal, repository, &inner.patterns, now).await
            }
            Caller::Bearer(bearer) => {
                let (principal, patterns) = (&bearer.principal, &inner.patterns);
                let mut rights = Rights::Remembered(&inner.metadata);
                let granted =
                    Granted::decide(&mut rights, principal, repository, patterns, now).await?;
                if bearer.token.covers(repository, P::ACTION) {
                    return Ok(granted);
                }
                let message = format!(
                    "the access token was not given for {} on \"{repository}\"",
                    P::ACTION
                );
                Err(insufficient_scope(scope(), message))
            }
        }
    }

    /// Lets a principal do something in a workspace, which is its own or one that an operator named.
    pub fn manage<W: Wish>(
        &self,
        principal: &Arc<Principal>,
        workspace: Arc<Workspace>,
    ) -> Result<Manager<W>, RequestError> {
        let inner = self.inner();
        let patterns = inner.patterns.clone();
        Manager::new(principal, workspace, patterns, inner.clock.now())
    }

    /// Lets a caller list the repositories of its workspace, or says why not.
    pub async fn grant_catalog(&self, caller: &Caller) -> Result<GrantedCatalog, Refusal> {
        match caller {
            Caller::Anonymous => Err(anonymous(CATALOG_SCOPE.to_owned())),
            Caller::Basic(principal) => GrantedCatalog::decide(principal),
            Caller::Bearer(bearer) => {
                let granted = GrantedCatalog::decide(&bearer.principal)?;
                if bearer.token.covers_catalog() {
                    return Ok(granted);
                }
                let message = String::from("the access token was not given for the catalogue");
                Err(insufficient_scope(CATALOG_SCOPE.to_owned(), message))
            }
        }
    }

    /// Lets anybody in who is somebody: what `GET /v2/` asks for.
    pub fn grant_base(&self, caller: &Caller) -> Result<(), Refusal> {
        match caller {
            Caller::Anonymous => Err(anonymous(String::new())),
            Caller::Basic(_) | Caller::Bearer(_) => Ok(()),
        }
    }

    /// Writes down when keys and pull secrets were last used. For a task in the background; losing a few is fine.
    pub async fn flush_last_used(&self) -> Result<(), MetadataError> {
        let inner = self.inner();
        let (keys, pull_secrets) = (inner.last_used.take(), inner.pull_secrets_last_used.take());
        inner.metadata.record_api_key_uses(&keys).await?;
        inner.metadata.record_pull_secret_uses(&pull_secrets).await
    }

    /// Forgets revocations of credentials that have ended by themselves, pull secrets that ended long ago, and tokens of
    /// issuers that counted once and have ended; how many.
    /// For a task in the background, to be called again while it says that there were some.
    pub async fn purge_ended(&self) -> Result<u64, MetadataError> {
        let now = self.0.clock.now();
        let mut transaction = self.0.metadata.begin().await?;
        let revocations = transaction.purge_revocations(now, PURGE_BATCH).await?;
        let pull_secrets = transaction
            .purge_pull_secrets(now.plus(-ENDED_PULL_SECRETS_KEPT_MS), PURGE_BATCH)
            .await?;
        let used_tokens = transaction.purge_used_tokens(now, PURGE_BATCH).await?;
        transaction.commit().await?;
        Ok(revocations + pull_secrets + used_tokens)
    }
}

fn anonymous(scope: String) -> Refusal {
    Refusal::Challenge {
        error: None,
        scope,
        message: String::from(
            "authentication is needed: log in with an API key, a registry credential or a pull secret as the password",
        ),
    }
}

fn insufficient_scope(scope: String, message: String) -> Refusal {
    Refusal::Challenge {
        error: Some(ChallengeError::InsufficientScope),
        scope,
        message,
    }
}
