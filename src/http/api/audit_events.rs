//! `/api/v1/audit-events`: who did what, and what was refused to whom.

use axum::extract::State;
use axum::response::Response;

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Key, ListQuery, listed};

/// The list, as its cursors name it.
const LIST: &str = "audit-events";

pub(super) async fn list(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let before = query.after_number(LIST)?;
    let named = key.named_workspace.as_deref();
    let page = http
        .tenancy
        .audit_events(&key.principal, named, before, query.limit())
        .await?;
    Ok(listed(LIST, &page))
}
