//! `/api/v1/retention` and the retention of images: what goes by itself.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::super::Shared;
use super::collection::Items;
use super::error::ApiError;
use super::extract::{Json, Manage, PathImage, answer};
use super::openapi::InWorkspace;
use crate::auth::{ToAdminister, ToRead};
use crate::images::{RetentionPolicy, RetentionPreview, RetentionView};

/// A policy to be tried.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct TryRetention {
    /// The policy; without it, the one that holds.
    #[schema(required = false)]
    policy: Option<RetentionPolicy>,
}

/// Shows what goes by itself in a workspace.
#[utoipa::path(
    get, path = "/api/v1/retention", tag = "retention",
    params(InWorkspace),
    responses((status = 200, description = "The policy; an empty one keeps everything.", body = RetentionView))
)]
pub(super) async fn show(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
) -> Result<Response, ApiError> {
    let view = http.images.workspace_retention(&manager).await?;
    Ok(answer(StatusCode::OK, &view))
}

/// Sets what goes by itself in a workspace (admin).
///
/// It holds for the images that have no policy of their own. What goes can be restored for as long as anything that is
/// deleted.
#[utoipa::path(
    put, path = "/api/v1/retention", tag = "retention", operation_id = "update",
    params(InWorkspace),
    request_body = RetentionPolicy,
    responses((status = 200, description = "The policy as it is now.", body = RetentionView))
)]
pub(super) async fn put(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    Json(policy): Json<RetentionPolicy>,
) -> Result<Response, ApiError> {
    let view = http
        .images
        .set_workspace_retention(&manager, Some(policy))
        .await?;
    Ok(answer(StatusCode::OK, &view))
}

/// Keeps everything in a workspace from now on (admin).
#[utoipa::path(
    delete, path = "/api/v1/retention", tag = "retention",
    params(InWorkspace),
    responses((status = 200, description = "The empty policy.", body = RetentionView))
)]
pub(super) async fn delete(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
) -> Result<Response, ApiError> {
    let view = http.images.set_workspace_retention(&manager, None).await?;
    Ok(answer(StatusCode::OK, &view))
}

/// Tells what a policy would do now in a workspace, and changes nothing.
#[utoipa::path(
    post, path = "/api/v1/retention/preview", tag = "retention",
    params(InWorkspace, Items),
    request_body = TryRetention,
    responses((status = 200, description = "What goes, and what is kept and why.", body = RetentionPreview))
)]
pub(super) async fn preview(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    Items(limit): Items,
    Json(request): Json<TryRetention>,
) -> Result<Response, ApiError> {
    let preview = http
        .images
        .preview_retention(&manager, None, request.policy, limit)
        .await?;
    Ok(answer(StatusCode::OK, &preview))
}

/// Shows what goes by itself of an image.
#[utoipa::path(
    get, path = "/api/v1/images/{name}/-/retention", tag = "retention", operation_id = "showImage",
    params(InWorkspace, PathImage),
    responses(
        (status = 200, description = "The policy that holds: its own, or its workspace's.", body = RetentionView),
        (status = 403, description = "The image was shared with this workspace."),
        (status = 404, description = "There is no such image in this workspace."),
    )
)]
pub(super) async fn show_image(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathImage(image): PathImage,
) -> Result<Response, ApiError> {
    let view = http.images.image_retention(&manager, &image).await?;
    Ok(answer(StatusCode::OK, &view))
}

/// Sets what goes by itself of an image, in place of what its workspace says (admin).
#[utoipa::path(
    put, path = "/api/v1/images/{name}/-/retention", tag = "retention", operation_id = "updateImage",
    params(InWorkspace, PathImage),
    request_body = RetentionPolicy,
    responses(
        (status = 200, description = "The policy as it is now.", body = RetentionView),
        (status = 403, description = "The role of this key does not allow it, or the image was shared with this workspace."),
        (status = 404, description = "There is no such image in this workspace."),
    )
)]
pub(super) async fn put_image(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathImage(image): PathImage,
    Json(policy): Json<RetentionPolicy>,
) -> Result<Response, ApiError> {
    let view = http
        .images
        .set_image_retention(&manager, &image, Some(policy))
        .await?;
    Ok(answer(StatusCode::OK, &view))
}

/// Has the policy of the workspace hold for an image again (admin).
#[utoipa::path(
    delete, path = "/api/v1/images/{name}/-/retention", tag = "retention", operation_id = "deleteImage",
    params(InWorkspace, PathImage),
    responses(
        (status = 200, description = "The policy of the workspace.", body = RetentionView),
        (status = 403, description = "The role of this key does not allow it, or the image was shared with this workspace."),
        (status = 404, description = "There is no such image in this workspace."),
    )
)]
pub(super) async fn delete_image(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathImage(image): PathImage,
) -> Result<Response, ApiError> {
    let view = http
        .images
        .set_image_retention(&manager, &image, None)
        .await?;
    Ok(answer(StatusCode::OK, &view))
}

/// Tells what a policy would do now to an image, and changes nothing.
#[utoipa::path(
    post, path = "/api/v1/images/{name}/-/retention/preview", tag = "retention", operation_id = "previewImage",
    params(InWorkspace, PathImage, Items),
    request_body = TryRetention,
    responses(
        (status = 200, description = "What goes, and what is kept and why.", body = RetentionPreview),
        (status = 403, description = "The image was shared with this workspace."),
        (status = 404, description = "There is no such image in this workspace."),
    )
)]
pub(super) async fn preview_image(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathImage(image): PathImage,
    Items(limit): Items,
    Json(request): Json<TryRetention>,
) -> Result<Response, ApiError> {
    let preview = http
        .images
        .preview_retention(&manager, Some(&image), request.policy, limit)
        .await?;
    Ok(answer(StatusCode::OK, &preview))
}
