//! `/v2/<name>/referrers/<digest>`: end-12 of the specification.

use axum::extract::{FromRequestParts, State};
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use berth_storage::Digest;

use super::Shared;
use super::access::Access;
use super::blobs::{PathDigest, parse_digest};
use super::error::DistributionError;
use super::query::Pairs;
use super::respond::{self, OCI_FILTERS_APPLIED};
use crate::auth::Pull;
use crate::oci::ErrorCode;
use crate::oci::MediaType;

/// The filter, and where the page begins.
pub(super) struct ReferrersQuery {
    artifact_type: Option<MediaType>,
    last: Option<Digest>,
}

impl FromRequestParts<Shared> for ReferrersQuery {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, DistributionError> {
        let query = Pairs::of_query(parts)?;
        let artifact_type = query.one("artifactType")?.map(str::parse).transpose();
        let artifact_type = artifact_type.map_err(|error| {
            let message = format!("artifactType: {error}");
            DistributionError::bad_request(ErrorCode::Unsupported, message)
        })?;
        let last = query.one("last")?.map(parse_digest).transpose()?;
        Ok(Self {
            artifact_type,
            last,
        })
    }
}

pub(super) async fn list_referrers(
    State(http): State<Shared>,
    access: Access<Pull>,
    PathDigest(subject): PathDigest,
    query: ReferrersQuery,
) -> Result<Response, DistributionError> {
    let filter = query.artifact_type.as_ref().map(MediaType::as_str);
    let page = http
        .registry
        .referrers(&access.granted, &subject, filter, query.last.as_ref())
        .await?;
    let mut headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(MediaType::OCI_INDEX))]);
    if filter.is_some() {
        headers.insert(
            OCI_FILTERS_APPLIED,
            HeaderValue::from_static("artifactType"),
        );
    }
    if let Some(next) = page.next {
        // A type may carry parameters, and characters in them that would end the query, or the link.
        let filter =
            filter.and_then(|name| serde_urlencoded::to_string([("artifactType", name)]).ok());
        let filter = filter.map(|pair| format!("&{pair}")).unwrap_or_default();
        let path = format!("/v2/{}/referrers/{subject}", access.granted.repository());
        headers.insert(
            LINK,
            respond::header_value(&format!("<{path}?last={next}{filter}>; rel=\"next\"")),
        );
    }
    // The descriptors are JSON already; putting them together as text keeps them as they were stored.
    let body = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"manifests\":[{}]}}",
        MediaType::OCI_INDEX,
        page.descriptors.join(",")
    );
    Ok((StatusCode::OK, headers, body).into_response())
}
