//! `/api/v1/signing-keys`: the keys that sign credentials and access tokens.

use axum::extract::State;
use axum::response::Response;

use super::super::Shared;
use super::error::ApiError;
use super::extract::{Json, Key, ListQuery, listed};
use crate::auth::{RotateSigningKeys, SigningKeyView};
use crate::tenancy::Listed;

/// The list, as its cursors name it.
const LIST: &str = "signing-keys";

/// One page of the keys, which are few and come all at once.
fn page(keys: Vec<SigningKeyView>, after: Option<&str>, limit: u32) -> Response {
    let rest = keys
        .into_iter()
        .filter(|key| after.is_none_or(|last| key.id.as_str() > last))
        .collect();
    let page = Listed::cut(rest, limit, |key| &key.id, Clone::clone);
    listed(LIST, &page)
}

pub(super) async fn list(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let keys = http.auth.signing_keys(&key.principal)?;
    Ok(page(keys, after.as_deref(), query.limit()))
}

pub(super) async fn rotate(
    State(http): State<Shared>,
    key: Key,
    Json(request): Json<RotateSigningKeys>,
) -> Result<Response, ApiError> {
    let keys = http
        .auth
        .rotate_signing_keys(&key.principal, &request)
        .await?;
    Ok(page(keys, None, u32::MAX))
}
