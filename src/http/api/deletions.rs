//! Deleting images, tags and manifests, and `/api/v1/deletions`: what can be taken back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::Shared;
use super::error::ApiError;
use super::extract::{
    Force, ListQuery, Manage, PathDigest, PathId, PathImage, PathTag, answer, listed,
};
use super::openapi::InWorkspace;
use crate::auth::{
    Delete, Granted, Manager, RequestError, Right, ToAdminister, ToChange, ToRead, require,
};
use crate::images::DeletionView;
use crate::oci::{ImageName, Reference};

/// The list, as its cursors name it.
const LIST: &str = "deletions";

/// The right to delete something of an image; to override the leases of others it takes an admin.
fn granted(
    manager: &Manager<ToChange>,
    image: &ImageName,
    force: bool,
) -> Result<Granted<Delete>, RequestError> {
    if force {
        require(manager.principal(), Right::Administer)?;
    }
    manager.image(image)
}

/// Deletes an image with all its tags (developer).
///
/// It can be restored until the undo window is over; its name is free at once.
#[utoipa::path(
    delete, path = "/api/v1/images/{name}", tag = "deletions", operation_id = "image",
    params(InWorkspace, PathImage, Force),
    responses(
        (status = 200, description = "The deletion, by whose id the image is restored.", body = DeletionView),
        (status = 403, description = "The role of this key does not allow it, or not `force`; the key is narrowed to something \
            else; or the image was shared with this workspace."),
        (status = 404, description = "There is no such image in this workspace."),
        (status = 409, description = "Something stands in the way, and `details.holders` names it. `details.reason` is \
            `protected`, `shared`, `immutable` or `leased`."),
    )
)]
pub(super) async fn delete_image(
    State(http): State<Shared>,
    Manage(manager): Manage<ToChange>,
    PathImage(image): PathImage,
    Force(force): Force,
) -> Result<Response, ApiError> {
    let granted = granted(&manager, &image, force)?;
    let deletion = http.images.delete_image(&granted, force).await;
    Ok(answer(
        StatusCode::OK,
        &deletion.map_err(RequestError::from)?,
    ))
}

/// Deletes a tag; what it points to stays (developer).
#[utoipa::path(
    delete, path = "/api/v1/images/{name}/-/tags/{tag}", tag = "deletions", operation_id = "tag",
    params(InWorkspace, PathImage, PathTag, Force),
    responses(
        (status = 200, description = "The deletion, by whose id the tag is restored.", body = DeletionView),
        (status = 403, description = "The role of this key does not allow it, or not `force`; the key is narrowed to something \
            else; or the image was shared with this workspace."),
        (status = 404, description = "There is no such image in this workspace, or it has no such tag."),
        (status = 409, description = "Something stands in the way, and `details.holders` names it. `details.reason` is \
            `protected`, `shared`, `immutable` or `leased`."),
    )
)]
pub(super) async fn delete_tag(
    State(http): State<Shared>,
    Manage(manager): Manage<ToChange>,
    PathImage(image): PathImage,
    PathTag(tag): PathTag,
    Force(force): Force,
) -> Result<Response, ApiError> {
    delete(&http, &manager, &image, &Reference::Tag(tag), force).await
}

/// Deletes a manifest, and the tags that point to it (developer).
#[utoipa::path(
    delete, path = "/api/v1/images/{name}/-/manifests/{digest}", tag = "deletions", operation_id = "manifest",
    params(InWorkspace, PathImage, PathDigest, Force),
    responses(
        (status = 200, description = "The deletion, by whose id all of it is restored.", body = DeletionView),
        (status = 403, description = "The role of this key does not allow it, or not `force`; the key is narrowed to something \
            else; or the image was shared with this workspace."),
        (status = 404, description = "There is no such image in this workspace, or it has no such manifest."),
        (status = 409, description = "Something stands in the way, and `details.holders` names it. `details.reason` is \
            `protected`, `shared`, `immutable`, `index_child` or `leased`."),
    )
)]
pub(super) async fn delete_manifest(
    State(http): State<Shared>,
    Manage(manager): Manage<ToChange>,
    PathImage(image): PathImage,
    PathDigest(digest): PathDigest,
    Force(force): Force,
) -> Result<Response, ApiError> {
    delete(&http, &manager, &image, &Reference::Digest(digest), force).await
}

async fn delete(
    http: &Shared,
    manager: &Manager<ToChange>,
    image: &ImageName,
    reference: &Reference,
    force: bool,
) -> Result<Response, ApiError> {
    let granted = granted(manager, image, force)?;
    let deletion = http
        .images
        .delete_reference(&granted, reference, force)
        .await;
    Ok(answer(
        StatusCode::OK,
        &deletion.map_err(RequestError::from)?,
    ))
}

/// Lists what was deleted and can be restored or purged.
#[utoipa::path(
    get, path = "/api/v1/deletions", tag = "deletions",
    params(InWorkspace, ListQuery),
    responses((status = 200, description = "Deletions, newest first.", body = [DeletionView]))
)]
pub(super) async fn list(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let list = format!("{LIST} {}", manager.workspace().id);
    let after = query.after(&list)?;
    let page = http
        .images
        .deletions(&manager, after.as_deref(), query.limit())
        .await?;
    Ok(listed(&list, &page))
}

/// Brings back all that went with a deletion (developer).
#[utoipa::path(
    post, path = "/api/v1/deletions/{id}/restore", tag = "deletions",
    params(InWorkspace, PathId),
    responses(
        (status = 200, description = "What was restored.", body = DeletionView),
        (status = 404, description = "There is no such deletion in this workspace, or it was restored already."),
        (status = 409, description = "There is an image of this name again, a tag points elsewhere by now, or the image \
            itself was deleted afterwards."),
        (status = 410, description = "The undo window is over, or the deletion was purged."),
    )
)]
pub(super) async fn restore(
    State(http): State<Shared>,
    Manage(manager): Manage<ToChange>,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    Ok(answer(
        StatusCode::OK,
        &http.images.restore(&manager, &id).await?,
    ))
}

/// Does a deletion for good, now (admin).
#[utoipa::path(
    post, path = "/api/v1/deletions/{id}/purge", tag = "deletions",
    params(InWorkspace, PathId),
    responses(
        (status = 200, description = "What is gone for good.", body = DeletionView),
        (status = 404, description = "There is no such deletion in this workspace, or it was restored or purged already."),
        (status = 409, description = "Something of it is leased: `details.reason` is `leased`."),
    )
)]
pub(super) async fn purge(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    PathId(id): PathId,
) -> Result<Response, ApiError> {
    Ok(answer(
        StatusCode::OK,
        &http.images.purge(&manager, &id).await?,
    ))
}
