//! `/api/v1/images/{name}/-/tags`: where tags point, pointed, and shall point.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::super::Shared;
use super::super::conditions::precondition;
use super::error::ApiError;
use super::extract::{
    Json, ListQuery, Manage, PathImage, PathTag, answer, flag, listed, parameter,
};
use crate::auth::{ToChange, ToRead};
use crate::images::{PromoteRequest, TagOrder};

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

pub(super) async fn show(
    State(http): State<Shared>,
    Manage(manager): Manage<ToRead>,
    PathImage(image): PathImage,
    PathTag(tag): PathTag,
) -> Result<Response, ApiError> {
    let found = http.images.tag(&manager, &image, &tag).await?;
    Ok(answer(StatusCode::OK, &found))
}

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
