//! `/api/v1/images`: what images there are, and what is decided about each.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::super::Shared;
use super::credentials::Hosts;
use super::error::ApiError;
use super::extract::{
    Json, ListQuery, Manage, PathImage, answer, flag, listed, optional_flag, parameter,
};
use super::openapi::{InWorkspace, optional};
use crate::auth::{ToAdminister, ToRead};
use crate::grammar::word;
use crate::images::{
    ImageDetails, ImageFilter, ImageView, ImagesQuery, Resolution, ResolveRequest, UpdateImage,
    names,
};
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

impl utoipa::IntoParams for Which {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let shared = word(
            "`in`: those that others shared with the workspace. `out`: those that it shares with others, pending \
             shares included. `none`: those that nobody shares.",
            ["in", "out", "none"],
        );
        vec![
            optional(
                ParameterIn::Query,
                "shared",
                "Which images, by who shares them; all of them where it is left out.",
                shared,
            ),
            optional(
                ParameterIn::Query,
                "name",
                "What the names of the images begin with.",
                names::ImageNameStart::schema(),
            ),
            optional_flag(
                "platform",
                "Whether those follow that every workspace may pull, under their full names.",
            ),
        ]
    }
}

/// Lists images: those of the workspace, those that were shared with it, and platform images.
#[utoipa::path(
    get, path = "/api/v1/images", tag = "images",
    params(InWorkspace, Which, ListQuery),
    responses((status = 200, description = "Images by name, platform images last.", body = [ImageView]))
)]
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

/// Shows an image with its newest tag.
///
/// A platform image is shown by its full name.
#[utoipa::path(
    get, path = "/api/v1/images/{name}", tag = "images",
    params(InWorkspace, PathImage),
    responses(
        (status = 200, description = "The image.", body = ImageDetails),
        (status = 404, description = "This workspace has no such image, and nobody shared one of this name with it."),
    )
)]
pub(super) async fn show(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    Hosts(hosts): Hosts,
    PathImage(image): PathImage,
) -> Result<Response, ApiError> {
    let found = http.images.image(&manager, &image, &hosts).await?;
    Ok(answer(StatusCode::OK, &found))
}

/// Changes what is decided about an image: what may be deleted, which tags move, who may pull (admin).
#[utoipa::path(
    patch, path = "/api/v1/images/{name}", tag = "images",
    params(InWorkspace, PathImage),
    request_body = UpdateImage,
    responses(
        (status = 200, description = "The image as it is now.", body = ImageDetails),
        (status = 403, description = "The key is not an admin's, or is narrowed to other images; the image was shared \
            with this workspace; or visibility is the operator's in this installation."),
        (status = 404, description = "This workspace has no such image."),
    )
)]
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

/// Tells whether the workspace may use an image reference, and what it names now.
///
/// What may not be used is no error: `usable` is false, and `reason` says why. Whether another workspace has an image
/// is never told. Other registries are not asked; whether their images may be used is configured.
#[utoipa::path(
    post, path = "/api/v1/images/resolve", tag = "images",
    params(InWorkspace),
    request_body = ResolveRequest,
    responses((status = 200, description = "What the reference came to.", body = Resolution))
)]
pub(super) async fn resolve(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    Hosts(hosts): Hosts,
    Json(request): Json<ResolveRequest>,
) -> Result<Response, ApiError> {
    let resolution = http.images.resolve(&manager, &request, &hosts).await?;
    Ok(answer(StatusCode::OK, &resolution))
}
