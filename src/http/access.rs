//! Who calls, and what that grants: the extractors that stand between a route and a use-case.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::HeaderValue;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::Shared;
use super::error::DistributionError;
use super::track::Notes;
use crate::auth::{Caller, Granted, GrantedCatalog, Permission, Pull, Refusal, single_header};
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

/// One segment of the path, decoded.
pub(super) async fn segment(parts: &mut Parts, name: &str) -> String {
    let Ok(params) = RawPathParams::from_request_parts(parts, &()).await else { return String::new() };
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).unwrap_or_default()
}

fn authorization<'a>(parts: &'a Parts, http: &Shared) -> Result<Option<&'a str>, DistributionError> {
    single_header(parts.headers.get_all(AUTHORIZATION).iter().map(HeaderValue::as_bytes)).map_err(|error| {
        let refusal = Refusal::Challenge { error: None, scope: String::new(), message: error.to_string() };
        refused(refusal, parts, http)
    })
}

/// Where tokens for this door come from.
fn realm(parts: &Parts, http: &Shared) -> Option<String> {
    http.door_url(parts).map(|url| url.join("/token"))
}

fn refused(refusal: Refusal, parts: &Parts, http: &Shared) -> DistributionError {
    let reason = match &refusal {
        Refusal::Challenge { error: None, .. } => "anonymous",
        Refusal::Challenge { error: Some(error), .. } => error.as_str(),
        Refusal::Denied { .. } => "denied",
        Refusal::Unavailable(_) => "unavailable",
    };
    http.metrics.auth_failure(reason);
    DistributionError::refusal(refusal, realm(parts, http).as_deref(), http.auth.service_name())
}

async fn caller(parts: &mut Parts, http: &Shared) -> Result<Caller, DistributionError> {
    let header = authorization(parts, http)?;
    let caller = http.auth.authenticate_registry(header).await;
    let caller = caller.map_err(|refusal| refused(refusal, parts, http))?;
    if let Some(notes) = parts.extensions.get::<Notes>() {
        notes.principal(caller.actor());
    }
    Ok(caller)
}

impl<P: Permission> FromRequestParts<Shared> for Access<P> {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, http: &Shared) -> Result<Self, DistributionError> {
        let name: RepositoryName = segment(parts, "name")
            .await
            .parse()
            .map_err(|error| DistributionError::bad_request(ErrorCode::NameInvalid, error))?;
        if let Some(notes) = parts.extensions.get::<Notes>() {
            notes.repository(&name);
        }
        let caller = caller(parts, http).await?;
        let granted = http.auth.grant::<P>(&caller, &name).await;
        let granted = granted.map_err(|refusal| refused(refusal, parts, http))?;
        Ok(Self { granted, caller })
    }
}

impl<P: Permission> Access<P> {
    /// The right to pull from another repository, if the same caller has it.
    pub(super) async fn also_pull(&self, http: &Shared, name: &RepositoryName) -> Option<Granted<Pull>> {
        http.auth.grant::<Pull>(&self.caller, name).await.ok()
    }
}

impl FromRequestParts<Shared> for CatalogAccess {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, http: &Shared) -> Result<Self, DistributionError> {
        let caller = caller(parts, http).await?;
        let granted = http.auth.grant_catalog(&caller).await;
        granted.map(Self).map_err(|refusal| refused(refusal, parts, http))
    }
}

impl FromRequestParts<Shared> for Authenticated {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, http: &Shared) -> Result<Self, DistributionError> {
        let caller = caller(parts, http).await?;
        let known = http.auth.grant_base(&caller);
        known.map(|()| Self).map_err(|refusal| refused(refusal, parts, http))
    }
}
