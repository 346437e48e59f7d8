//! Deleting images, tags and manifests, and `/api/v1/deletions`: what can be taken back.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::Shared;
use super::error::ApiError;
use super::extract::{
    Force, ListQuery, Manage, PathDigest, PathId, PathImage, PathTag, answer, listed,
};
use crate::auth::{
    Delete, Granted, Manager, RequestError, Right, ToAdminister, ToChange, ToRead, require,
};
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

pub(super) async fn delete_tag(
    State(http): State<Shared>,
    Manage(manager): Manage<ToChange>,
    PathImage(image): PathImage,
    PathTag(tag): PathTag,
    Force(force): Force,
) -> Result<Response, ApiError> {
    delete(&http, &manager, &image, &Reference::Tag(tag), force).await
}

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

pub(super) async fn list(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(LIST)?;
    let page = http
        .images
        .deletions(&manager, after.as_deref(), query.limit())
        .await?;
    Ok(listed(LIST, &page))
}

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
