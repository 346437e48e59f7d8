//! Who sent this request? Reads the `Authorization` header; bad credentials are an error, never anonymous.
//!
//! Each kind of secret has a fixed list of places that take it. `/v2/` takes access tokens as Bearer, and API keys,
//! registry credentials and pull secrets as Basic passwords; `/token` takes the same passwords; `/api/v1` takes API keys
//! and operator keys, either way.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Auth;
use super::keys::KeyError;
use super::live::{self, Basis, LiveError, Rights};
use super::origin::{Origin, SecretOwner, key_actor};
use super::principal::{Foundation, Principal, PrincipalKind};
use super::pull_secrets::is_pull_secret;
use super::rejection::{AuthenticationError, Rejection};
use super::secrets::{API_KEY_PREFIX, ApiKeySecret};
use super::tokens::{AccessToken, Good, Kind, TokenError, Verifier};
use crate::metadata::{ApiKey, MetadataError};
use crate::shares::Neighbourhood;

/// Bytes of an `Authorization` header at most: a token of the greatest length as a password, in base64.
pub const MAX_HEADER_BYTES: usize = 24 * 1024;

/// How long a secret from an address that sent many wrong ones waits for its turn to be looked at.
const PLACE_TIMEOUT: Duration = Duration::from_secs(2);

/// What an `Authorization` header holds.
pub(super) enum Authorization<'a> {
    Basic(BasicCredentials),
    Bearer(&'a str),
}

/// A user name and a password. No `Debug`: the password is a secret.
pub struct BasicCredentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// Who calls `/v2/`.
#[derive(Clone)]
pub enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// Somebody who showed a password.
    Basic(Arc<Principal>),
    /// Somebody who showed an access token.
    Bearer(BearerCaller),
}

/// Somebody who showed an access token.
#[derive(Clone)]
pub struct BearerCaller {
    pub(super) token: Good<AccessToken>,
    pub(super) principal: Arc<Principal>,
}

impl Caller {
    /// How the log names it.
    #[must_use]
    pub fn actor(&self) -> &str {
        self.principal()
            .map_or("anonymous", |principal| principal.actor())
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> Option<&Arc<Principal>> {
        match self {
            Self::Anonymous => None,
            Self::Basic(principal) => Some(principal),
            Self::Bearer(bearer) => Some(&bearer.principal),
        }
    }
}

pub(super) fn refused(message: &str) -> AuthenticationError {
    AuthenticationError::Refused(Rejection::new(message))
}

/// The one `Authorization` header of a request. Two of them could mean two things to two readers.
pub fn single_header<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<&'a str>, AuthenticationError> {
    let mut values = values.into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refused(
            "more than one Authorization header was sent: send one",
        ));
    }
    let text = std::str::from_utf8(value)
        .map_err(|_| refused("the Authorization header cannot be read"))?;
    Ok(Some(text))
}

/// The user name and password in an `Authorization` header, for the token endpoint.
pub fn basic_credentials(
    header: Option<&str>,
) -> Result<Option<BasicCredentials>, AuthenticationError> {
    match header.map(parse).transpose()? {
        None => Ok(None),
        Some(Authorization::Basic(credentials)) => Ok(Some(credentials)),
        Some(Authorization::Bearer(_)) => Err(refused(
            "a token is asked for with a user name and a password",
        )),
    }
}

pub(super) fn parse(header: &str) -> Result<Authorization<'_>, AuthenticationError> {
    if header.len() > MAX_HEADER_BYTES {
        return Err(refused(&format!(
            "the Authorization header is too long: it may have {MAX_HEADER_BYTES} bytes"
        )));
    }
    let unreadable =
        || refused("the Authorization header cannot be read: send Basic or Bearer credentials");
    let (scheme, value) = header.trim().split_once(' ').ok_or_else(unreadable)?;
    let value = value.trim_start();
    if value.is_empty() {
        return Err(unreadable());
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Authorization::Bearer(value));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(unreadable());
    }
    // RFC 7617: the user name ends at the first colon, the password may hold more of them.
    let decoded = STANDARD.decode(value).map_err(|_| unreadable())?;
    let decoded = String::from_utf8(decoded).map_err(|_| unreadable())?;
    let (username, password) = decoded.split_once(':').ok_or_else(unreadable)?;
    if decoded.chars().any(char::is_control) {
        return Err(unreadable());
    }
    Ok(Authorization::Basic(BasicCredentials {
        username: username.to_owned(),
        password: password.to_owned(),
    }))
}

impl Auth {
    /// Who calls `/v2/`. `header` is the one `Authorization` header, see [`single_header`]; `from` is where it came
    /// from.
    ///
    /// # Errors
    /// As a [`Refusal`](super::Refusal), bad credentials are a challenge without a scope.
    pub async fn authenticate_registry(
        &self,
        header: Option<&str>,
        from: &Origin,
    ) -> Result<Caller, AuthenticationError> {
        let Some(header) = header else {
            return Ok(Caller::Anonymous);
        };
        match parse(header)? {
            Authorization::Basic(credentials) => self
                .password(&credentials.username, &credentials.password, from)
                .await
                .map(Caller::Basic),
            Authorization::Bearer(token) => self.bearer(token, from).await.map(Caller::Bearer),
        }
    }

    /// Who calls `/api/v1`: an API key or an operator key, as Bearer or as the password of any user.
    pub async fn authenticate_api(
        &self,
        header: Option<&str>,
        from: &Origin,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        let header = header
            .ok_or_else(|| refused("an API key is needed: send it as Authorization: Bearer"))?;
        let secret = match parse(header)? {
            Authorization::Basic(credentials) => credentials.password,
            Authorization::Bearer(secret) => secret.to_owned(),
        };
        if is_pull_secret(&secret) {
            let misplaced = self.misplaced_pull_secret(&secret);
            return self.attempt(from.address, misplaced).await;
        }
        let secret = ApiKeySecret::parse(&secret).ok_or_else(|| {
            refused("this is no API key: the API takes the keys that start with berth_")
        })?;
        self.attempt(from.address, self.api_key(&secret, from))
            .await
    }

    /// Who a registry password belongs to.
    pub(super) async fn password(
        &self,
        username: &str,
        password: &str,
        from: &Origin,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        if password.starts_with(API_KEY_PREFIX) {
            let secret = ApiKeySecret::parse(password).ok_or_else(|| {
                refused("the password looks like an API key but is mistyped or cut off")
            })?;
            let key = self.api_key(&secret, from);
            let principal = self.attempt(from.address, key).await?;
            let misplaced = |message: &str| {
                AuthenticationError::Refused(Rejection::of(
                    SecretOwner {
                        actor: principal.actor().to_owned(),
                        workspace_id: principal.workspace().map(|own| own.id.clone()),
                    },
                    message,
                ))
            };
            return match principal.kind() {
                PrincipalKind::OperatorKey => Err(misplaced(
                    "an operator key is no registry password: use an API key of a workspace, or a registry credential",
                )),
                PrincipalKind::ApiKey
                | PrincipalKind::RegistryCredential
                | PrincipalKind::PullSecret
                | PrincipalKind::ExchangedIdentity
                    if self.options().api_keys_as_passwords =>
                {
                    Ok(principal)
                }
                PrincipalKind::ApiKey
                | PrincipalKind::RegistryCredential
                | PrincipalKind::PullSecret
                | PrincipalKind::ExchangedIdentity => Err(misplaced(
                    "API keys are not taken as registry passwords here: ask for a registry credential",
                )),
            };
        }
        if is_pull_secret(password) {
            let principal = self.pull_secret(username, password, from);
            return self.attempt(from.address, principal).await;
        }
        self.credential(Some(username), password, from).await
    }

    /// Who a registry credential belongs to; its user name is asked for where there is one.
    pub(super) async fn credential(
        &self,
        username: Option<&str>,
        token: &str,
        from: &Origin,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        let checked = self.checked_credential(username, token, from);
        self.attempt(from.address, checked).await
    }

    /// Looks at a secret, and counts it against the address if it is wrong.
    ///
    /// An address that sent too many wrong ones hears 429 in place of 401, and a few of its secrets are looked at at one
    /// time, so that it costs no more than that. Right ones are let in all the same: many clients may stand behind one
    /// address, and one that is wrong must not lock the others out. Keys and tokens cannot be guessed; it is the work
    /// that has to be limited.
    pub(super) async fn attempt<T>(
        &self,
        from: IpAddr,
        check: impl Future<Output = Result<T, AuthenticationError>>,
    ) -> Result<T, AuthenticationError> {
        let inner = self.inner();
        let (from, now) = (Neighbourhood::from(from), inner.clock.now());
        let throttled = inner.failures.check(&from, now).err();
        let _place = match &throttled {
            None => None,
            Some(throttled) => {
                let place = tokio::time::timeout(PLACE_TIMEOUT, inner.doubtful.acquire()).await;
                // The semaphore is never closed: no place means that none became free in time.
                let Ok(Ok(place)) = place else {
                    return Err(throttled.clone().into());
                };
                Some(place)
            }
        };
        let checked = check.await;
        if let Err(AuthenticationError::Refused(_)) = &checked {
            inner.failures.spend(from, now);
            if let Some(throttled) = throttled {
                return Err(throttled.into());
            }
        }
        checked
    }

    pub(super) async fn checked_credential(
        &self,
        username: Option<&str>,
        token: &str,
        from: &Origin,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        let good = self
            .verify(&self.inner().credentials, token)
            .await
            .map_err(|error| match error {
                VerifyError::Token(TokenError::Expired) => {
                    refused("the registry credential has expired: ask for a new one")
                }
                VerifyError::Token(TokenError::NotYet) => {
                    refused("the registry credential is not valid yet")
                }
                VerifyError::Token(
                    TokenError::Invalid | TokenError::WrongKind | TokenError::UnknownKey,
                ) => refused(
                    "the password is no API key and no registry credential of this registry, and no pull secret",
                ),
                VerifyError::Unavailable(error) => AuthenticationError::Unavailable(error),
            })?;
        if username.is_some_and(|username| username != good.prefix) {
            let message = format!(
                "this registry credential goes with the user name {}",
                good.prefix
            );
            return Err(AuthenticationError::Refused(Rejection::of(
                good.proof.owner(),
                message,
            )));
        }
        let basis = Basis::Token(Arc::clone(&good.proof));
        self.live(&basis, from).await.map_err(|error| match error {
            LiveError::Withdrawn(reason) => AuthenticationError::Refused(Rejection::of(
                good.proof.owner(),
                format!("the registry credential no longer counts: {reason}"),
            )),
            LiveError::Metadata(error) => AuthenticationError::Unavailable(error),
        })
    }

    async fn bearer(
        &self,
        token: &str,
        from: &Origin,
    ) -> Result<BearerCaller, AuthenticationError> {
        let invalid = |message: String| AuthenticationError::InvalidToken(Rejection::new(message));
        let token = self.verify(&self.inner().access_tokens, token).await.map_err(|error| match error {
            VerifyError::Token(TokenError::Expired) => {
                invalid(String::from("the access token has expired"))
            }
            VerifyError::Token(_) if token.starts_with(API_KEY_PREFIX) => invalid(
                String::from("an API key is no Bearer token in the registry: send it as a Basic password"),
            ),
            VerifyError::Token(_) if is_pull_secret(token) => invalid(
                String::from("a pull secret is no Bearer token in the registry: send it as a Basic password"),
            ),
            VerifyError::Token(error) => {
                invalid(format!("{error}: get an access token from the token endpoint"))
            }
            VerifyError::Unavailable(error) => AuthenticationError::Unavailable(error),
        })?;
        let basis = Basis::Token(Arc::clone(&token.proof));
        let principal = self.live(&basis, from).await.map_err(|error| match error {
            LiveError::Withdrawn(reason) => AuthenticationError::InvalidToken(Rejection::of(
                token.proof.owner(),
                format!("the access token no longer counts: {reason}"),
            )),
            LiveError::Metadata(error) => AuthenticationError::Unavailable(error),
        })?;
        Ok(BearerCaller { token, principal })
    }

    async fn api_key(
        &self,
        secret: &ApiKeySecret,
        from: &Origin,
    ) -> Result<Arc<Principal>, AuthenticationError> {
        let inner = self.inner();
        let unavailable = AuthenticationError::Unavailable;
        let key = inner
            .metadata
            .api_key_by_hash(secret.hash().as_str())
            .await
            .map_err(unavailable)?;
        let key = key.ok_or_else(|| refused("there is no such API key, or it has been deleted"))?;
        if key.expires_at.is_some_and(|end| end <= inner.clock.now()) {
            return Err(AuthenticationError::Refused(Rejection::of(
                owner(&key),
                "the API key has expired",
            )));
        }
        let basis = Basis::Key { id: key.id.clone() };
        let of_key = Arc::clone(&key);
        let mut rights = Rights::Remembered(&inner.metadata);
        let principal = live::principal_of_key(&mut rights, key, &basis, &inner.patterns).await;
        let principal = principal.map_err(|error| match error {
            LiveError::Withdrawn(reason) => AuthenticationError::Refused(Rejection::of(
                owner(&of_key),
                format!("the API key no longer counts: {reason}"),
            )),
            LiveError::Metadata(error) => AuthenticationError::Unavailable(error),
        })?;
        Ok(self.seen(principal, from))
    }

    /// A principal that was let in just now.
    pub(super) fn seen(&self, mut principal: Principal, from: &Origin) -> Arc<Principal> {
        let inner = self.inner();
        let uses = match &principal.foundation {
            Foundation::Key(_) => Some(&inner.last_used),
            Foundation::PullSecret(_) => Some(&inner.pull_secrets_last_used),
            // It has no row that this could be written to.
            Foundation::Rule(_) => None,
        };
        if let Some(uses) = uses {
            uses.record(principal.foundation.id(), inner.clock.now());
        }
        principal.origin = Some(from.clone());
        Arc::new(principal)
    }

    async fn live(&self, basis: &Basis, from: &Origin) -> Result<Arc<Principal>, LiveError> {
        let inner = self.inner();
        let mut rights = Rights::Remembered(&inner.metadata);
        let principal = live::principal(&mut rights, basis, &inner.patterns).await?;
        // A key may be outlived by a minute, a pull secret by nothing: whoever ends one for its place on a node means now.
        if let Foundation::PullSecret(secret) = &principal.foundation
            && secret.expires_at <= inner.clock.now()
        {
            return Err(LiveError::Withdrawn("the pull secret behind it has ended"));
        }
        Ok(self.seen(principal, from))
    }

    async fn verify<T: Kind>(
        &self,
        verifier: &Verifier<T>,
        token: &str,
    ) -> Result<Good<T>, VerifyError> {
        let inner = self.inner();
        match verifier.verify(token, inner.clock.now()) {
            Err(TokenError::UnknownKey) => {}
            other => return other.map_err(VerifyError::Token),
        }
        // Another replica may have a newer key. On the heap, so that no other request carries this way along.
        match Box::pin(inner.keys.refresh()).await {
            Ok(true) => verifier
                .verify(token, inner.clock.now())
                .map_err(VerifyError::Token),
            Ok(false) => Err(VerifyError::Token(TokenError::UnknownKey)),
            Err(KeyError::Metadata(error)) => Err(VerifyError::Unavailable(error)),
            Err(error) => {
                tracing::error!(error = %error, "the signing keys could not be read again");
                Err(VerifyError::Token(TokenError::UnknownKey))
            }
        }
    }
}

fn owner(key: &ApiKey) -> SecretOwner {
    SecretOwner {
        actor: key_actor(&key.id),
        workspace_id: key.workspace_id.clone(),
    }
}

enum VerifyError {
    Token(TokenError),
    Unavailable(MetadataError),
}
