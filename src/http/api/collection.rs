//! `/api/v1/collection`: what ends by itself, when, and why not.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, PathDigest, answer, parameter};
use super::openapi::{OfWorkspace, optional};
use crate::auth::{Manager, Right, ToRead, require};
use crate::collect::{CollectionPreview, CollectionView, Explanation, RunView};

/// Things of one queue that are named unless the call says otherwise.
const DEFAULT_ITEMS: u32 = 20;
/// Things of one queue that are named at most.
const MAX_ITEMS: u32 = 1000;

/// `?limit=`: how many things are named.
pub(super) struct Items(pub(super) u32);

impl FromRequestParts<Shared> for Items {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let Some(text) = parameter(parts, "limit")? else {
            return Ok(Self(DEFAULT_ITEMS));
        };
        let limit = text.parse().ok().filter(|n| (1..=MAX_ITEMS).contains(n));
        limit.map(Self).ok_or_else(|| {
            ApiError::bad_request(format!("limit is a number from 1 to {MAX_ITEMS}"))
        })
    }
}

impl utoipa::IntoParams for Items {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX_ITEMS as usize))
            .default(Some(DEFAULT_ITEMS.into()));
        vec![optional(
            ParameterIn::Query,
            "limit",
            "How many things are named at most.",
            schema,
        )]
    }
}

/// How to collect.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schema(examples(json!({"force": false})))]
pub(super) struct RunCollection {
    /// Whether a clock that jumped, for which collecting was paused, is right now.
    #[schema(required = false)]
    force: bool,
}

/// Tells how the collector is (operator).
#[utoipa::path(
    get, path = "/api/v1/collection", tag = "collection",
    responses((status = 200, description = "Its queues, and its last round.", body = CollectionView))
)]
pub(super) async fn show(State(http): State<Shared>, key: Key) -> Result<Response, ApiError> {
    require(&key.principal, Right::Operate)?;
    Ok(answer(StatusCode::OK, &http.collector.status().await?))
}

/// Collects what is due now, a part of each queue (operator).
#[utoipa::path(
    post, path = "/api/v1/collection/run", tag = "collection",
    request_body = RunCollection,
    responses(
        (status = 200, description = "What was done.", body = RunView),
        (status = 409, description = "The clock jumped, and nothing is collected until it is right."),
    )
)]
pub(super) async fn run(
    State(http): State<Shared>,
    key: Key,
    Json(request): Json<RunCollection>,
) -> Result<Response, ApiError> {
    require(&key.principal, Right::Operate)?;
    Ok(answer(
        StatusCode::OK,
        &http.collector.run_now(request.force).await?,
    ))
}

/// Tells what the collector is going to do, and changes nothing (operator).
#[utoipa::path(
    get, path = "/api/v1/collection/preview", tag = "collection",
    params(Items),
    responses((status = 200, description = "What waits, and what comes first.", body = CollectionPreview))
)]
pub(super) async fn preview(
    State(http): State<Shared>,
    key: Key,
    Items(limit): Items,
) -> Result<Response, ApiError> {
    require(&key.principal, Right::Operate)?;
    Ok(answer(
        StatusCode::OK,
        &http.collector.preview(limit).await?,
    ))
}

/// Tells why a blob or manifest is kept, or when it goes.
///
/// An operator that names no workspace is told of all repositories, everybody else of those of the workspace.
#[utoipa::path(
    get, path = "/api/v1/collection/explain/{digest}", tag = "collection",
    params(OfWorkspace, PathDigest),
    responses((status = 200, description = "Where it is, and why.", body = Explanation))
)]
pub(super) async fn explain(
    State(http): State<Shared>,
    key: Key,
    PathDigest(digest): PathDigest,
) -> Result<Response, ApiError> {
    let (principal, named) = (&key.principal, key.named_workspace.as_deref());
    if principal.workspace().is_none() && named.is_none() {
        require(principal, Right::Operate)?;
        let explained = http.collector.explain(&digest, None, |_| true).await?;
        return Ok(answer(StatusCode::OK, &explained));
    }
    let workspace = http.tenancy.acting_workspace(principal, named).await?;
    let manager: Manager<ToRead> = http.auth.manage(principal, workspace)?;
    let own = Some(manager.workspace().id.as_str());
    let shows = |name: &_| manager.shows(name);
    let explained = http.collector.explain(&digest, own, shows).await?;
    Ok(answer(StatusCode::OK, &explained))
}
