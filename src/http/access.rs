//! Who calls, and what that grants: the extractors that stand between a route and a use-case.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};

use super::Shared;
use super::error::DistributionError;
use super::query::Pairs;
use super::track::Notes;
use crate::auth::{
    CATALOG_SCOPE, Caller, Granted, GrantedCatalog, Permission, Pull, Push, Refusal,
    repository_scope, single_header,
};
use crate::oci::ErrorCode;
use crate::oci::RepositoryName;

/// The right to do `P` in the repository of the path, and who has it.
pub(super) struct Access<P: Permission> {
    pub(super) granted: Granted<P>,
    pub(super) caller: Caller,
}

/// The right to list a workspace's images.
pub(super) struct CatalogAccess(pub(super) GrantedCatalog);

/// Somebody, whoever it is: what `GET /v2/` asks for.
pub(super) struct Authenticated;

/// A path that is no text once it is decoded.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the path is not UTF-8 in percent-encoding")]
pub(super) struct NoText;

/// One segment of the path, decoded.
pub(super) async fn segment(parts: &mut Parts, name: &str) -> Result<String, NoText> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|_| NoText)?;
    Ok(params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
        .unwrap_or_default())
}

fn authorization<'a>(
    parts: &'a Parts,
    http: &Shared,
) -> Result<Option<&'a str>, DistributionError> {
    single_header(
        parts
            .headers
            .get_all(AUTHORIZATION)
            .iter()
            .map(HeaderValue::as_bytes),
    )
    .map_err(|error| {
        let refusal = Refusal::Challenge {
            error: None,
            scope: String::new(),
            message: error.to_string(),
        };
        refused(refusal, parts, http)
    })
}

/// Where tokens for this door come from.
fn realm(parts: &Parts, http: &Shared) -> Option<String> {
    http.door_url(parts).map(|url| url.join("/token"))
}

fn refused(refusal: Refusal, parts: &Parts, http: &Shared) -> DistributionError {
    if parts.method == Method::HEAD && matches!(refusal, Refusal::Denied { .. }) {
        http.metrics.auth_failure("denied");
        // A HEAD has no room for the reason. To it, what may not be seen does not exist, and the request that follows
        // gets the reason.
        return DistributionError::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, "not found")
            .denied(refusal.to_string());
    }
    let reason = match &refusal {
        // Clients begin without credentials; only a password that was sent has failed.
        Refusal::Challenge { error: None, .. } => parts
            .headers
            .contains_key(AUTHORIZATION)
            .then_some("password"),
        Refusal::Challenge {
            error: Some(error), ..
        } => Some(error.as_str()),
        Refusal::Denied { .. } => Some("denied"),
        // Limits are counted by their own names, and what is not there is no failure.
        Refusal::Unknown { .. } | Refusal::Throttled(_) | Refusal::Unavailable(_) => None,
    };
    if let Some(reason) = reason {
        http.metrics.auth_failure(reason);
    }
    DistributionError::refusal(
        refusal,
        realm(parts, http).as_deref(),
        http.auth.service_name(),
    )
}

/// Who sent the request; a challenge to bad credentials asks for `scope`.
async fn caller(
    parts: &Parts,
    http: &Shared,
    scope: impl FnOnce() -> String,
) -> Result<Caller, DistributionError> {
    let header = authorization(parts, http)?;
    let from = http.origin(parts);
    let caller = http.auth.authenticate_registry(header, &from).await;
    let notes = parts.extensions.get::<Notes>();
    let caller = caller.map_err(|error| {
        if let (Some(notes), Some(owner)) = (notes, error.owner()) {
            notes.owner(owner);
        }
        refused(Refusal::from(error).with_scope(scope), parts, http)
    })?;
    if let Some(notes) = notes {
        notes.caller(&caller);
    }
    Ok(caller)
}

impl<P: Permission> FromRequestParts<Shared> for Access<P> {
    type Rejection = DistributionError;

    async fn from_request_parts(
        parts: &mut Parts,
        http: &Shared,
    ) -> Result<Self, DistributionError> {
        let name: RepositoryName = segment(parts, "name")
            .await?
            .parse()
            .map_err(|error| DistributionError::bad_request(ErrorCode::NameInvalid, error))?;
        if let Some(notes) = parts.extensions.get::<Notes>() {
            notes.repository(&name);
        }
        let caller = caller(parts, http, || repository_scope(&name, P::ASKED)).await?;
        let granted = http.auth.grant::<P>(&caller, &name).await;
        let granted =
            granted.map_err(|refusal| refused(with_mount_source(refusal, parts), parts, http))?;
        Ok(Self { granted, caller })
    }
}

impl<P: Permission> Access<P> {
    /// The right to pull from another repository, if the same caller has it.
    pub(super) async fn also_pull(
        &self,
        http: &Shared,
        name: &RepositoryName,
    ) -> Result<Granted<Pull>, Refusal> {
        http.auth.grant::<Pull>(&self.caller, name).await
    }
}

/// Where this door's tokens come from, for handlers that refuse by themselves.
pub(super) struct Realm(Option<String>);

impl FromRequestParts<Shared> for Realm {
    type Rejection = DistributionError;

    async fn from_request_parts(
        parts: &mut Parts,
        http: &Shared,
    ) -> Result<Self, DistributionError> {
        Ok(Self(realm(parts, http)))
    }
}

impl Realm {
    /// 401 for a mount whose token was not given for its source; the challenge asks for both.
    pub(super) fn refuse_mount(
        &self,
        refusal: Refusal,
        target: &RepositoryName,
        http: &Shared,
    ) -> DistributionError {
        let refusal = refusal.with_further_scope(&repository_scope(target, Push::ASKED));
        DistributionError::refusal(refusal, self.0.as_deref(), http.auth.service_name())
    }
}

/// A challenge to a mount asks for the source too, so that one token serves the request.
fn with_mount_source(refusal: Refusal, parts: &Parts) -> Refusal {
    let source = Pairs::of_query(parts).ok().and_then(|query| {
        query.one("mount").ok()??;
        query.one("from").ok()??.parse::<RepositoryName>().ok()
    });
    match source {
        Some(source) => refusal.with_further_scope(&repository_scope(&source, Pull::ASKED)),
        None => refusal,
    }
}

impl FromRequestParts<Shared> for CatalogAccess {
    type Rejection = DistributionError;

    async fn from_request_parts(
        parts: &mut Parts,
        http: &Shared,
    ) -> Result<Self, DistributionError> {
        let caller = caller(parts, http, || CATALOG_SCOPE.to_owned()).await?;
        let granted = http.auth.grant_catalog(&caller).await;
        granted
            .map(Self)
            .map_err(|refusal| refused(refusal, parts, http))
    }
}

impl FromRequestParts<Shared> for Authenticated {
    type Rejection = DistributionError;

    async fn from_request_parts(
        parts: &mut Parts,
        http: &Shared,
    ) -> Result<Self, DistributionError> {
        let caller = caller(parts, http, String::new).await?;
        let known = http.auth.grant_base(&caller);
        known
            .map(|()| Self)
            .map_err(|refusal| refused(refusal, parts, http))
    }
}
