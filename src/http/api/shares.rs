//! `/api/v1/images/{name}/-/share` and `/api/v1/pending-image-shares`: who else sees an image.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{
    Force, Json, ListQuery, Manage, PathId, PathImage, PathTarget, answer, listed, parameter,
};
use super::openapi::{InWorkspace, optional};
use crate::auth::{Pull, ToAdminister, ToRead};
use crate::grammar::word;
use crate::images::{
    AcceptRequest, Direction, PendingShareView, ShareRequest, ShareView, Shared as Made,
};

/// The lists, as their cursors name them.
const SHARES: &str = "shares";
const INCOMING: &str = "incoming-shares";
const OUTGOING: &str = "outgoing-shares";

/// Which end of pending shares is asked for.
pub(super) struct End(Direction);

impl FromRequestParts<Shared> for End {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        match parameter(parts, "direction")?.as_deref() {
            None | Some("incoming") => Ok(Self(Direction::Incoming)),
            Some("outgoing") => Ok(Self(Direction::Outgoing)),
            Some(_) => Err(ApiError::bad_request("direction is incoming or outgoing")),
        }
    }
}

impl utoipa::IntoParams for End {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![optional(
            ParameterIn::Query,
            "direction",
            "Shares that were made to the workspace, which is the default, or by it.",
            word("An end of shares.", ["incoming", "outgoing"]),
        )]
    }
}

/// Shares an image with another workspace (admin).
///
/// All its tags, also those to come. Inside an account the share is active at once; another account has to accept it.
#[utoipa::path(
    post, path = "/api/v1/images/{name}/-/share", tag = "shares",
    params(InWorkspace, PathImage),
    request_body = ShareRequest,
    responses(
        (status = 200, description = "The share, which is active.", body = ShareView),
        (status = 202, description = "The share, which waits for the other account.", body = PendingShareView),
        (status = 403, description = "The key is not an admin's, or is narrowed to other images; or the image was \
            shared with this workspace, and only its owner shares it."),
        (status = 404, description = "There is no such image in this workspace; or no such workspace in this account or \
            in the one that `targetAccountId` names."),
        (status = 409, description = "The image is shared with this workspace already, the alias is taken there, or this \
            workspace gives as many shares as it may."),
    )
)]
pub(super) async fn create(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathImage(image): PathImage,
    Json(request): Json<ShareRequest>,
) -> Result<Response, ApiError> {
    let granted = manager.image(&image)?;
    Ok(match http.images.share(&granted, request).await? {
        Made::Active(share) => answer(StatusCode::OK, &share),
        Made::Pending(share) => answer(StatusCode::ACCEPTED, &share),
    })
}

/// Lists with whom an image is shared.
///
/// Of an image that was shared with the workspace the list is empty: whom else it is shared with is its owner's business.
#[utoipa::path(
    get, path = "/api/v1/images/{name}/-/share", tag = "shares",
    params(InWorkspace, PathImage, ListQuery),
    responses(
        (status = 200, description = "Active and pending shares, oldest first.", body = [ShareView]),
        (status = 404, description = "There is no such image in this workspace."),
    )
)]
pub(super) async fn list(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathImage(image): PathImage,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let granted = manager.image::<Pull>(&image)?;
    let list = format!("{SHARES} {}", granted.repository());
    let after = query.after(&list)?;
    let page = http
        .images
        .shares(&granted, after.as_deref(), query.limit())
        .await?;
    Ok(listed(&list, &page))
}

/// Ends the share of an image with a workspace, or takes a pending one back (admin).
#[utoipa::path(
    delete, path = "/api/v1/images/{name}/-/share/{target}", tag = "shares",
    params(InWorkspace, PathImage, PathTarget, Force),
    responses(
        (status = 200, description = "What ended.", body = ShareView),
        (status = 404, description = "There is no such image in this workspace, or it is not shared with that one."),
        (status = 409, description = "The other workspace leases something of it: `details.reason` is `leased`, and \
            `details.holders` names the leases. `force` overrides them."),
    )
)]
pub(super) async fn end(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathImage(image): PathImage,
    PathTarget(target): PathTarget,
    Force(force): Force,
) -> Result<Response, ApiError> {
    let granted = manager.image(&image)?;
    let ended = http.images.unshare(&granted, &target, force).await?;
    Ok(answer(StatusCode::OK, &ended))
}

/// Gives up an image that was shared with the workspace, by its alias (admin).
#[utoipa::path(
    delete, path = "/api/v1/images/{name}/-/share", tag = "shares", operation_id = "drop",
    params(InWorkspace, PathImage),
    responses(
        (status = 200, description = "What ended.", body = ShareView),
        (status = 404, description = "No image of this name was shared with this workspace."),
        (status = 409, description = "This workspace leases something of it: `details.reason` is `leased`, and \
            `details.holders` names the leases."),
    )
)]
pub(super) async fn drop_alias(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathImage(alias): PathImage,
) -> Result<Response, ApiError> {
    let granted = manager.image(&alias)?;
    let dropped = http.images.drop_alias(&granted).await?;
    Ok(answer(StatusCode::OK, &dropped))
}

/// Lists shares that wait for an answer.
#[utoipa::path(
    get, path = "/api/v1/pending-image-shares", tag = "shares",
    params(InWorkspace, End, ListQuery),
    responses((status = 200, description = "Pending shares, oldest first.", body = [PendingShareView]))
)]
pub(super) async fn pending(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    End(direction): End,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let list = match direction {
        Direction::Incoming => INCOMING,
        Direction::Outgoing => OUTGOING,
    };
    let list = format!("{list} {}", manager.workspace().id);
    let after = query.after(&list)?;
    let page = http
        .images
        .pending_shares(&manager, direction, after.as_deref(), query.limit())
        .await?;
    Ok(listed(&list, &page))
}

/// Accepts what another account shared (admin).
#[utoipa::path(
    post, path = "/api/v1/pending-image-shares/{id}/accept", tag = "shares",
    params(InWorkspace, PathId),
    request_body = AcceptRequest,
    responses(
        (status = 200, description = "The share, which is active now.", body = ShareView),
        (status = 403, description = "The key is not an admin's, or is narrowed to other images; or this workspace made \
            the share, and the other one accepts it."),
        (status = 404, description = "There is no such pending share: it may have been declined or withdrawn."),
        (status = 409, description = "The alias is taken, or the share is accepted already."),
        (status = 410, description = "The share has expired."),
    )
)]
pub(super) async fn accept(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathId(id): PathId,
    Json(request): Json<AcceptRequest>,
) -> Result<Response, ApiError> {
    let share = http.images.accept_share(&manager, &id, request).await?;
    Ok(answer(StatusCode::OK, &share))
}

/// Declines what another account shared (admin).
#[utoipa::path(
    post, path = "/api/v1/pending-image-shares/{id}/decline", tag = "shares",
    params(InWorkspace, PathId),
    responses(
        (status = 204, description = "The share is gone."),
        (status = 403, description = "The key is not an admin's; or this workspace made the share, and takes it back \
            where it was made."),
        (status = 404, description = "There is no such pending share: it may have been accepted, declined or withdrawn."),
    )
)]
pub(super) async fn decline(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    http.images.decline_share(&manager, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
