//! `/v2/<name>/tags/list` and `/v2/_catalog`: end-8 of the specification, and the list of images.

use axum::extract::{FromRequestParts, State};
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;
use super::access::{Access, CatalogAccess};
use super::error::DistributionError;
use super::query::Pairs;
use super::respond::{self, JSON};
use crate::auth::Pull;
use crate::oci::ErrorCode;
use crate::oci::Page;

/// The page that a list is asked for.
pub(super) struct PageQuery(Page);

impl FromRequestParts<Shared> for PageQuery {
    type Rejection = DistributionError;

    async fn from_request_parts(
        parts: &mut Parts,
        http: &Shared,
    ) -> Result<Self, DistributionError> {
        let query = Pairs::of_query(parts)?;
        let page = Page::parse(query.one("n")?, query.one("last")?, http.options.page_limit);
        page.map(Self)
            .map_err(|error| DistributionError::bad_request(ErrorCode::Unsupported, error))
    }
}

pub(super) async fn list_tags(
    State(http): State<Shared>,
    access: Access<Pull>,
    PageQuery(page): PageQuery,
) -> Result<Response, DistributionError> {
    let name = access.granted.repository();
    let tags = http
        .registry
        .tags(&access.granted, page.last(), page.limit())
        .await?;
    let next = tags
        .more
        .then(|| tags.items.last().map(|tag| tag.as_str().to_owned()))
        .flatten();
    let link = next.map(|last| link(&format!("/v2/{name}/tags/list"), page.limit(), &last));
    Ok(listed(
        link,
        &json!({"name": name.as_str(), "tags": tags.items}),
    ))
}

pub(super) async fn catalog(
    State(http): State<Shared>,
    CatalogAccess(granted): CatalogAccess,
    PageQuery(page): PageQuery,
) -> Result<Response, DistributionError> {
    let listing = http
        .registry
        .catalog(&granted, page.last(), page.limit())
        .await?;
    let link = listing
        .next
        .map(|last| link("/v2/_catalog", page.limit(), last.as_str()));
    Ok(listed(link, &json!({"repositories": listing.names})))
}

fn link(path: &str, limit: u32, last: &str) -> String {
    // Tags and names consist of characters that need no escape in a query; `/` is allowed there.
    format!("<{path}?n={limit}&last={last}>; rel=\"next\"")
}

fn listed(link: Option<String>, body: &serde_json::Value) -> Response {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON)]);
    if let Some(link) = link {
        headers.insert(LINK, respond::header_value(&link));
    }
    (StatusCode::OK, headers, body.to_string()).into_response()
}
