//! `/api/v1/images/{name}/-/tags`: where tags point, pointed, and shall point.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::super::Shared;
use super::super::conditions::precondition;
use super::error::ApiError;
use super::extract::{
    Json, ListQuery, Manage, PathImage, PathTag, answer, flag, listed, optional_flag, parameter,
};
use super::openapi::{InWorkspace, optional};
use crate::auth::{ToChange, ToRead};
use crate::grammar::word;
use crate::images::{PromoteRequest, TagOrder, TagTargetView, TagView, names};

/// Which tags are asked for.
pub(super) struct Which {
    order: TagOrder,
    newest_alone: bool,
}

impl FromRequestParts<Shared> for Which {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let order = match parameter(parts, "sort")?.as_deref() {
            None | Some("newest") => TagOrder::Newest,
            Some("name") => TagOrder::Name,
            Some(_) => return Err(ApiError::bad_request("sort is newest or name")),
        };
        let newest_alone = flag(parts, "latest")?;
        if newest_alone && order == TagOrder::Name {
            return Err(ApiError::bad_request(
                "latest gives the newest tag alone: leave sort out",
            ));
        }
        Ok(Self {
            order,
            newest_alone,
        })
    }
}

impl utoipa::IntoParams for Which {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            optional(
                ParameterIn::Query,
                "sort",
                "The order: `newest` is by when a tag was last pointed anywhere, and the default.",
                word("An order of tags.", ["newest", "name"]),
            ),
            optional_flag(
                "latest",
                "Whether only the newest tag is listed; not together with `sort=name`.",
            ),
        ]
    }
}

/// For `params(IfMatch)`: what has to be before a tag moves.
enum IfMatch {}

impl utoipa::IntoParams for IfMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            optional(
                ParameterIn::Header,
                "If-Match",
                "What the tag has to point to now: the digest in quotes, or several with commas; `*` is anything.",
                names::EntityTag::schema(),
            ),
            optional(
                ParameterIn::Header,
                "If-None-Match",
                "What the tag must not point to now; `*`: it must not be there yet. Not together with `If-Match`.",
                names::EntityTag::schema(),
            ),
        ]
    }
}

/// Lists the tags of an image.
#[utoipa::path(
    get, path = "/api/v1/images/{name}/-/tags", tag = "tags",
    params(InWorkspace, PathImage, Which, ListQuery),
    responses(
        (status = 200, description = "Tags, newest first or by name.", body = [TagView]),
        (status = 404, description = "There is no such image in this workspace."),
    )
)]
pub(super) async fn list(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathImage(image): PathImage,
    which: Which,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let list = match which.order {
        TagOrder::Newest => format!("newest tags of {image}"),
        TagOrder::Name => format!("tags of {image}"),
    };
    let after = query.after(&list)?;
    let page = if which.newest_alone {
        http.images.newest_tag(&manager, &image).await?
    } else {
        let (after, limit) = (after.as_deref(), query.limit());
        let page = http
            .images
            .tags(&manager, &image, which.order, after, limit);
        page.await?
    };
    Ok(listed(&list, &page))
}

/// Shows a tag of an image.
#[utoipa::path(
    get, path = "/api/v1/images/{name}/-/tags/{tag}", tag = "tags",
    params(InWorkspace, PathImage, PathTag),
    responses(
        (status = 200, description = "The tag.", body = TagView),
        (status = 404, description = "There is no such image in this workspace, or it has no such tag."),
    )
)]
pub(super) async fn show(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathImage(image): PathImage,
    PathTag(tag): PathTag,
) -> Result<Response, ApiError> {
    let found = http.images.tag(&manager, &image, &tag).await?;
    Ok(answer(StatusCode::OK, &found))
}

/// Lists what a tag points to and pointed to before, when, and by whom.
///
/// A deleted tag has a history too, as long as its deletion can be undone.
#[utoipa::path(
    get, path = "/api/v1/images/{name}/-/tags/{tag}/history", tag = "tags",
    params(InWorkspace, PathImage, PathTag, ListQuery),
    responses(
        (status = 200, description = "What it pointed to, newest first.", body = [TagTargetView]),
        (status = 404, description = "There is no such image in this workspace, or it never had such a tag."),
    )
)]
pub(super) async fn history(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathImage(image): PathImage,
    PathTag(tag): PathTag,
    query: ListQuery,
) -> Result<Response, ApiError> {
    let list = format!("history of {image}:{tag}");
    let after = query.after(&list)?;
    let page = http
        .images
        .tag_history(&manager, &image, &tag, after.as_deref(), query.limit())
        .await?;
    Ok(listed(&list, &page))
}

/// Points a tag at a manifest that the image has, or makes one (developer).
#[utoipa::path(
    put, path = "/api/v1/images/{name}/-/tags/{tag}", tag = "tags",
    params(InWorkspace, PathImage, PathTag, IfMatch),
    request_body = PromoteRequest,
    responses(
        (status = 200, description = "The tag as it is now.", body = TagView),
        (status = 403, description = "The role of this key does not allow it, the key is narrowed to something else, or \
            the image was shared with this workspace."),
        (status = 404, description = "There is no such image in this workspace, or it has no such manifest."),
        (status = 409, description = "The tag stays where it is: `details.reason` is `immutable`."),
        (status = 412, description = "The tag does not point to what `If-Match` says, or to what `If-None-Match` excludes."),
    )
)]
pub(super) async fn promote(
    State(http): State<Shared>,
    Manage(manager): Manage<ToChange>,
    PathImage(image): PathImage,
    PathTag(tag): PathTag,
    headers: HeaderMap,
    Json(request): Json<PromoteRequest>,
) -> Result<Response, ApiError> {
    let precondition =
        precondition(&headers).map_err(|error| ApiError::bad_request(error.to_string()))?;
    let promoted = http
        .images
        .promote(&manager, &image, &tag, &request, precondition)
        .await?;
    Ok(answer(StatusCode::OK, &promoted))
}
