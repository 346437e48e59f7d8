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

/// Lists the keys that sign credentials and access tokens (operator).
#[utoipa::path(
    get, path = "/api/v1/signing-keys", tag = "signing-keys",
    params(ListQuery),
    responses((status = 200, description = "Keys by id, without their private halves.", body = [SigningKeyView]))
)]
pub(super) async fn list(
    State(http): State<Shared>,
    key: Key,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let keys = http.auth.signing_keys(&key.principal)?;
    Ok(page(keys, after.as_deref(), query.limit()))
}

/// Makes new signing keys (operator).
///
/// The old ones verify until their last token has ended; with `now` they end at once, with everything that they signed.
#[utoipa::path(
    post, path = "/api/v1/signing-keys/rotate", tag = "signing-keys",
    request_body = RotateSigningKeys,
    responses(
        (status = 200, description = "All signing keys as they are now.", body = [SigningKeyView]),
        (status = 409, description = "A key of this purpose is still to begin."),
    )
)]
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
