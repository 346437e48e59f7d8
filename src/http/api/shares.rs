//! `/api/v1/images/{name}/-/share` and `/api/v1/pending-image-shares`: who else sees an image.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::error::ApiError;
use super::extract::{
    Force, Json, ListQuery, Manage, PathId, PathImage, PathTarget, answer, listed, parameter,
};
use crate::auth::{Pull, ToAdminister, ToRead};
use crate::images::{AcceptRequest, Direction, ShareRequest, Shared as Made};

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

pub(super) async fn list(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathImage(image): PathImage,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(SHARES)?;
    let granted = manager.image::<Pull>(&image)?;
    let page = http
        .images
        .shares(&granted, after.as_deref(), query.limit())
        .await?;
    Ok(listed(SHARES, &page))
}

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

pub(super) async fn drop_alias(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathImage(alias): PathImage,
) -> Result<Response, ApiError> {
    let granted = manager.image(&alias)?;
    let dropped = http.images.drop_alias(&granted).await?;
    Ok(answer(StatusCode::OK, &dropped))
}

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
    let after = query.after(list)?;
    let page = http
        .images
        .pending_shares(&manager, direction, after.as_deref(), query.limit())
        .await?;
    Ok(listed(list, &page))
}

pub(super) async fn accept(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathId(id): PathId,
    Json(request): Json<AcceptRequest>,
) -> Result<Response, ApiError> {
    let share = http.images.accept_share(&manager, &id, request).await?;
    Ok(answer(StatusCode::OK, &share))
}

pub(super) async fn decline(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    http.images.decline_share(&manager, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
