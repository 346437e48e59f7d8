//! `/v2/<name>/blobs/<digest>`: end-2 and end-10 of the specification.

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use berth_storage::Digest;
use futures_util::StreamExt as _;

use super::Shared;
use super::access::{Access, segment};
use super::error::DistributionError;
use super::respond::{self, DOCKER_CONTENT_DIGEST, FOREVER, OCTET_STREAM};
use crate::auth::{Delete, Pull};
use crate::oci::ErrorCode;
use crate::oci::{RequestRange, Resolved};
use crate::registry::Blob;

/// The digest of the path.
pub(super) struct PathDigest(pub(super) Digest);

impl axum::extract::FromRequestParts<Shared> for PathDigest {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, DistributionError> {
        let text = segment(parts, "digest").await?;
        parse_digest(&text).map(Self)
    }
}

pub(super) fn parse_digest(text: &str) -> Result<Digest, DistributionError> {
    text.parse()
        .map_err(|error| DistributionError::bad_request(ErrorCode::DigestInvalid, error))
}

pub(super) async fn head_blob(
    State(http): State<Shared>,
    access: Access<Pull>,
    PathDigest(digest): PathDigest,
    headers: HeaderMap,
) -> Result<Response, DistributionError> {
    let blob = http.registry.blob(&access.granted, &digest).await?;
    if is_cached(&headers, &digest) {
        return Ok(not_modified(&digest));
    }
    let mut response = (StatusCode::OK, blob_headers(&blob)).into_response();
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, blob.size_bytes().into());
    Ok(response)
}

pub(super) async fn get_blob(
    State(http): State<Shared>,
    access: Access<Pull>,
    PathDigest(digest): PathDigest,
    headers: HeaderMap,
) -> Result<Response, DistributionError> {
    let blob = http.registry.blob(&access.granted, &digest).await?;
    if is_cached(&headers, &digest) {
        return Ok(not_modified(&digest));
    }
    let size = blob.size_bytes();
    let (status, range) = match asked_range(&headers, &digest).resolve(size) {
        Resolved::Full => (StatusCode::OK, 0..size),
        Resolved::Partial(range) => (StatusCode::PARTIAL_CONTENT, range),
        Resolved::Unsatisfiable => {
            return Err(DistributionError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                ErrorCode::SizeInvalid,
                format!("the blob has {size} bytes: ask for a range inside them"),
            )
            .header(CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let transfer = http.transfer(caller_workspace(&access))?;
    let reader = http.registry.read_blob(&blob, range.clone()).await?;
    // The place among the transfers is held until the body is dropped.
    let reader = reader.inspect(move |_| _ = &transfer);
    let mut response = (status, blob_headers(&blob), Body::from_stream(reader)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
    if status == StatusCode::PARTIAL_CONTENT {
        let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        headers.insert(CONTENT_RANGE, respond::header_value(&content_range));
    }
    Ok(response)
}

/// Whoever asks holds the place, whosever the blob is.
fn caller_workspace(access: &Access<Pull>) -> &str {
    let workspace = access.granted.principal().workspace();
    workspace.map_or("", |workspace| &workspace.id)
}

pub(super) async fn delete_blob(
    State(http): State<Shared>,
    access: Access<Delete>,
    PathDigest(digest): PathDigest,
) -> Result<Response, DistributionError> {
    http.registry.delete_blob(&access.granted, &digest).await?;
    Ok((
        StatusCode::ACCEPTED,
        [(DOCKER_CONTENT_DIGEST, digest.to_string())],
    )
        .into_response())
}

/// What is asked for, unless the client has a part of something else (RFC 9110 section 13.1.5).
fn asked_range(headers: &HeaderMap, digest: &Digest) -> RequestRange {
    if headers
        .get(IF_RANGE)
        .is_some_and(|tag| *tag != respond::etag(digest))
    {
        return RequestRange::parse("");
    }
    RequestRange::parse(
        headers
            .get(RANGE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or(""),
    )
}

pub(super) fn is_cached(headers: &HeaderMap, digest: &Digest) -> bool {
    headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .any(|value| respond::names_etag(value, digest))
}

pub(super) fn not_modified(digest: &Digest) -> Response {
    let headers = [
        (ETAG, respond::etag(digest)),
        (
            DOCKER_CONTENT_DIGEST,
            respond::header_value(&digest.to_string()),
        ),
    ];
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

fn blob_headers(blob: &Blob) -> HeaderMap {
    HeaderMap::from_iter([
        (CONTENT_TYPE, OCTET_STREAM),
        (ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (CACHE_CONTROL, FOREVER),
        (ETAG, respond::etag(&blob.digest)),
        (
            DOCKER_CONTENT_DIGEST,
            respond::header_value(&blob.digest.to_string()),
        ),
    ])
}
