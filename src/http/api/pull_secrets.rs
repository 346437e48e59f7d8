//! `/api/v1/registry/pull-secret`: what nodes pull with.

use axum::extract::{FromRequestParts, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::super::Shared;
use super::credentials::Hosts;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, PathId, answer, listed, parameter};
use super::openapi::{InWorkspace, OfWorkspace, optional};
use crate::auth::RegistryHosts;
use crate::tenancy::{
    CreatePullSecret, CreatedPullSecret, OVERLAP_MAX_SECONDS, Overlap, PullSecretFormat,
    PullSecretView, RotatePullSecret, SecretManifest,
};

/// The list, as its cursors name it.
const LIST: &str = "pull-secrets";
/// What to say where the configuration names no host at all.
const NOT_CONFIGURED: &str = "the configuration does not say what nodes call this registry: set server.pull_url, or \
    server.public_url if they pull from there";
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");

/// `?format=`: how a pull secret is answered.
pub(super) struct Format(Option<PullSecretFormat>);

impl FromRequestParts<Shared> for Format {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        match parameter(parts, "format")?.as_deref() {
            None => Ok(Self(None)),
            Some("json") => Ok(Self(Some(PullSecretFormat::Json))),
            Some("yaml") => Ok(Self(Some(PullSecretFormat::Yaml))),
            Some(_) => Err(ApiError::bad_request("format is json or yaml")),
        }
    }
}

impl utoipa::IntoParams for Format {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![optional(
            ParameterIn::Query,
            "format",
            "`yaml` for the Secret alone.",
            PullSecretFormat::schema(),
        )]
    }
}

impl Format {
    /// What the query and the body say together.
    fn and(self, in_body: Option<PullSecretFormat>) -> Result<PullSecretFormat, ApiError> {
        match (self.0, in_body) {
            (Some(one), Some(other)) if one != other => Err(ApiError::bad_request(
                "format: the query and the body say two things: leave one of them out",
            )),
            (one, other) => Ok(one.or(other).unwrap_or(PullSecretFormat::Json)),
        }
    }
}

/// `?overlapSeconds=`: how long a pull secret goes on that is to end.
pub(super) struct OverlapQuery(Option<Overlap>);

impl FromRequestParts<Shared> for OverlapQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let Some(text) = parameter(parts, "overlapSeconds")? else {
            return Ok(Self(None));
        };
        let seconds = text.parse().ok().and_then(Overlap::new);
        let seconds = seconds.ok_or_else(|| {
            ApiError::bad_request(format!(
                "overlapSeconds is a number from 0 to {OVERLAP_MAX_SECONDS}"
            ))
        })?;
        Ok(Self(Some(seconds)))
    }
}

impl utoipa::IntoParams for OverlapQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![optional(
            ParameterIn::Query,
            "overlapSeconds",
            "How long it goes on; it ends at once unless something is said.",
            Overlap::schema(),
        )]
    }
}

/// The hosts of a new pull secret, if need be without the one that this request happened to be sent to.
fn hosts_for(
    http: &Shared,
    hosts: RegistryHosts,
    configured_only: Option<bool>,
) -> Result<RegistryHosts, ApiError> {
    if configured_only != Some(true) || http.options.public_url.is_some() {
        return Ok(hosts);
    }
    let Some(pull) = hosts.pull.clone() else {
        return Err(ApiError::new(StatusCode::CONFLICT, NOT_CONFIGURED));
    };
    Ok(RegistryHosts {
        push: pull,
        ..hosts
    })
}

fn shown(format: PullSecretFormat, created: &CreatedPullSecret) -> Response {
    match format {
        PullSecretFormat::Json => answer(StatusCode::CREATED, created),
        PullSecretFormat::Yaml => {
            let headers = [(CONTENT_TYPE, YAML)];
            (StatusCode::CREATED, headers, created.yaml()).into_response()
        }
    }
}

/// Makes a pull secret (admin; of all workspaces, operator).
///
/// It can pull and do nothing else. One of a workspace pulls the images of the workspace, those that are shared with it, and
/// platform images; one of the scope `all` pulls everything, and is for the configuration of nodes alone.
#[utoipa::path(
    post, path = "/api/v1/registry/pull-secret", tag = "pull-secrets",
    params(InWorkspace, Format),
    request_body = CreatePullSecret,
    responses(
        (status = 201, description = "The pull secret as a Kubernetes Secret, shown this once.", content(
            (CreatedPullSecret = "application/json"),
            (SecretManifest = "application/yaml"),
        )),
        (status = 409, description = "There are as many pull secrets as there may be, or no host is configured where only such are wanted."),
    )
)]
pub(super) async fn create(
    State(http): State<Shared>,
    key: Key,
    Hosts(hosts): Hosts,
    format: Format,
    Json(request): Json<CreatePullSecret>,
) -> Result<Response, ApiError> {
    let format = format.and(request.format)?;
    let hosts = hosts_for(&http, hosts, request.configured_hosts_only)?;
    let named = key.named_workspace.as_deref();
    let created = http
        .tenancy
        .create_pull_secret(&key.principal, named, &request, &hosts)
        .await?;
    Ok(shown(format, &created))
}

/// Lists the pull secrets (admin).
///
/// An admin sees those of its own workspace, an operator those of the workspace that it names, or all of them.
#[utoipa::path(
    get, path = "/api/v1/registry/pull-secret", tag = "pull-secrets",
    params(OfWorkspace, ListQuery),
    responses((status = 200, description = "Pull secrets by id, without the secrets.", body = [PullSecretView]))
)]
pub(super) async fn list(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let named = key.named_workspace.as_deref();
    let page = http
        .tenancy
        .pull_secrets(&key.principal, named, after.as_deref(), query.limit())
        .await?;
    Ok(listed(LIST, &page))
}

/// Ends a pull secret, now or after a while, with every token that came from it (admin).
#[utoipa::path(
    delete, path = "/api/v1/registry/pull-secret/{id}", tag = "pull-secrets",
    params(PathId, OfWorkspace, OverlapQuery),
    responses((status = 204, description = "It is gone, or ends when it was said to."))
)]
pub(super) async fn delete(
    State(http): State<Shared>,
    key: Key,
    PathId(id): PathId,
    OverlapQuery(overlap): OverlapQuery,
) -> Result<Response, ApiError> {
    let named = key.named_workspace.as_deref();
    http.tenancy
        .delete_pull_secret(&key.principal, named, &id, overlap)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Makes a pull secret in the place of another, which goes on for a while (admin).
///
/// The new one has the reach, the name and the namespace of the old one.
#[utoipa::path(
    post, path = "/api/v1/registry/pull-secret/{id}/rotate", tag = "pull-secrets",
    params(PathId, OfWorkspace, Format),
    request_body = RotatePullSecret,
    responses(
        (status = 201, description = "The new one as a Kubernetes Secret, shown this once, and the old one with its end.", content(
            (CreatedPullSecret = "application/json"),
            (SecretManifest = "application/yaml"),
        )),
        (status = 409, description = "It has ended or been replaced, there are as many as there may be, or no host is configured where only such are wanted."),
    )
)]
pub(super) async fn rotate(
    State(http): State<Shared>,
    key: Key,
    PathId(id): PathId,
    Hosts(hosts): Hosts,
    format: Format,
    Json(request): Json<RotatePullSecret>,
) -> Result<Response, ApiError> {
    let format = format.and(request.format)?;
    let hosts = hosts_for(&http, hosts, request.configured_hosts_only)?;
    let named = key.named_workspace.as_deref();
    let created = http
        .tenancy
        .rotate_pull_secret(&key.principal, named, &id, &request, &hosts)
        .await?;
    Ok(shown(format, &created))
}
