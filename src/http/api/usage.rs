//! `/api/v1/usage`: what workspaces use.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use utoipa::ToSchema;

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Key, ListQuery, answer, listed};
use super::openapi::OfWorkspace;
use crate::images::{UsageView, WorkspaceUsageView};

/// The list, as its cursors name it.
const LIST: &str = "usage";

/// What is told: of one workspace, or of all of them.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is for the API's document alone")]
enum Usage {
    /// Of one workspace.
    One(UsageView),
    /// Of all of them.
    All(Vec<WorkspaceUsageView>),
}

/// Tells what a workspace stores and transfers.
///
/// To an operator that names no workspace it is a list of all of them, by their names. What is held is counted in the
/// background, and is seconds old.
#[utoipa::path(
    get, path = "/api/v1/usage", tag = "usage",
    params(OfWorkspace, ListQuery),
    responses((
        status = 200,
        description = "What the workspace uses; a page of workspaces to an operator that names none.",
        body = inline(Usage)
    ))
)]
pub(super) async fn show(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    // A cursor that is none is refused even where there is no list to go on.
    let after = query.after(LIST)?;
    let (principal, named) = (&key.principal, key.named_workspace.as_deref());
    if principal.workspace().is_none() && named.is_none() {
        let page = http
            .images
            .usage_of_all(principal, after.as_deref(), query.limit())
            .await?;
        return Ok(listed(LIST, &page));
    }
    let workspace = http.tenancy.acting_workspace(principal, named).await?;
    let manager = http.auth.manage(principal, workspace)?;
    Ok(answer(StatusCode::OK, &http.images.usage(&manager).await?))
}
