//! `/api/v1/usage`: what workspaces use.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Key, ListQuery, answer, listed};

/// The list, as its cursors name it.
const LIST: &str = "usage";

/// Of one workspace, or to an operator who names none of all of them.
pub(super) async fn show(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let (principal, named) = (&key.principal, key.named_workspace.as_deref());
    if principal.workspace().is_none() && named.is_none() {
        let after = query.after(LIST)?;
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
