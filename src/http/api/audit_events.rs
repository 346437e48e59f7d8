//! `/api/v1/audit-events`: who did what, and what was refused to whom.

use axum::extract::State;
use axum::response::Response;

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Key, ListQuery, listed};
use super::openapi::OfWorkspace;
use crate::tenancy::AuditEventView;

/// The list, as its cursors name it.
const LIST: &str = "audit-events";

/// Lists what was done and what was refused (admin).
///
/// An admin sees the events of its own workspace, an operator those of the workspace that it names, or all of them.
#[utoipa::path(
    get, path = "/api/v1/audit-events", tag = "audit-events",
    params(OfWorkspace, ListQuery),
    responses((status = 200, description = "Events, those that were written last first.", body = [AuditEventView]))
)]
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
