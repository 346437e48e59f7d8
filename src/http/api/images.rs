//! `/api/v1/images`: what images there are, and what is decided about each.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;

use super::super::Shared;
use super::credentials::Hosts;
use super::error::ApiError;
use super::extract::{Json, ListQuery, Manage, PathImage, answer, flag, listed, parameter};
use crate::auth::{ToAdminister, ToRead};
use crate::images::{ImageFilter, ImagesQuery, ResolveRequest, UpdateImage};
use crate::oci::RepositoryName;

/// Which images are asked for, and the list as its cursors name it: a page goes on where the same question stopped.
pub(super) struct Which {
    query: ImagesQuery,
    list: String,
}

impl FromRequestParts<Shared> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let shared = parameter(parts, "shared")?;
        let filter = match shared.as_deref() {
            None => ImageFilter::Every,
            Some("in") => ImageFilter::SharedIn,
            Some("out") => ImageFilter::SharedOut,
            Some("none") => ImageFilter::NotShared,
            Some(_) => return Err(ApiError::bad_request("shared is in, out or none")),
        };
        let start = parameter(parts, "name")?.unwrap_or_default();
        let known = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte)
        };
        if start.len() > RepositoryName::MAX_LENGTH || !start.bytes().all(known) {
            return Err(ApiError::bad_request(format!(
                "name is what names begin with: at most {} lower-case letters, digits, '.', '_', '-' and '/'",
                RepositoryName::MAX_LENGTH
            )));
        }
        let with_platform = flag(parts, "platform")?;
        let shared = shared.unwrap_or_default();
        Ok(Self {
            list: format!("images {shared} {with_platform} {start}"),
            query: ImagesQuery {
                filter,
                start,
                with_platform,
            },
        })
    }
}

pub(super) async fn list(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    Hosts(hosts): Hosts,
    which: Which,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let after = query.after(&which.list)?;
    let page = http
        .images
        .images(
            &manager,
            &which.query,
            &hosts,
            after.as_deref(),
            query.limit(),
        )
        .await?;
    Ok(listed(&which.list, &page))
}

pub(super) async fn show(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    Hosts(hosts): Hosts,
    PathImage(image): PathImage,
) -> Result<Response, ApiError> {
    let found = http.images.image(&manager, &image, &hosts).await?;
    Ok(answer(StatusCode::OK, &found))
}

pub(super) async fn update(
    State(http): State<Shared>,
    Manage(manager): Manage<ToAdminister>,
    Hosts(hosts): Hosts,
    PathImage(image): PathImage,
    Json(request): Json<UpdateImage>,
) -> Result<Response, ApiError> {
    let updated = http
        .images
        .update_image(&manager, &image, request, &hosts)
        .await?;
    Ok(answer(StatusCode::OK, &updated))
}

pub(super) async fn resolve(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    Hosts(hosts): Hosts,
    Json(request): Json<ResolveRequest>,
) -> Result<Response, ApiError> {
    let resolution = http.images.resolve(&manager, &request, &hosts).await?;
    Ok(answer(StatusCode::OK, &resolution))
}
