//! `/v2/<name>/blobs/<digest>`: end-2 and end-10 of the specification.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use berth_storage::Digest;
use futures_util::StreamExt as _;

use super::Peer;
use super::Shared;
use super::access::{Access, segment};
use super::conditions::{AskedRange, Known};
use super::error::DistributionError;
use super::respond::{self, DOCKER_CONTENT_DIGEST, FOREVER, OCTET_STREAM};
use crate::auth::{Delete, Pull};
use crate::oci::ErrorCode;
use crate::oci::Resolved;
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
    known: Known,
) -> Result<Response, DistributionError> {
    let blob = http.registry.blob(&access.granted, &digest).await?;
    if known.includes(&digest) {
        return Ok(respond::not_modified(&digest));
    }
    let headers = blob_headers(&blob, blob.size_bytes());
    Ok(respond::response(StatusCode::OK, headers, Body::empty()))
}

pub(super) async fn get_blob(
    State(http): State<Shared>,
    access: Access<Pull>,
    PathDigest(digest): PathDigest,
    known: Known,
    asked: AskedRange,
    SendsAway(sends_away): SendsAway,
) -> Result<Response, DistributionError> {
    let blob = http.registry.blob(&access.granted, &digest).await?;
    if known.includes(&digest) {
        return Ok(respond::not_modified(&digest));
    }
    let size = blob.size_bytes();
    let (status, range) = match asked.of(&digest).resolve(size) {
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
    let caller = access.granted.principal().workspace();
    let mut sending = caller.map(|caller| {
        let owner = blob.workspace_id.clone();
        http.images.pulls().sending(caller, owner)
    });
    if sends_away && let Some(url) = http.registry.redirect_url(&blob).await? {
        if let Some(sending) = &mut sending {
            sending.add(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
        }
        return redirected(&digest, &url);
    }
    let transfer = http.transfer(caller_workspace(&access))?;
    let reader = http.registry.read_blob(&blob, range.clone()).await?;
    // The place among the transfers is held until the body is dropped.
    let reader = reader.inspect(move |chunk| {
        _ = &transfer;
        if let (Some(sending), Ok(bytes)) = (&mut sending, chunk) {
            sending.add(bytes.len());
        }
    });
    let mut headers = blob_headers(&blob, range.end - range.start);
    if status == StatusCode::PARTIAL_CONTENT {
        let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        headers.insert(CONTENT_RANGE, respond::header_value(&content_range));
    }
    Ok(respond::response(
        status,
        headers,
        Body::from_stream(reader),
    ))
}

/// Whether the clients of this door are sent to the store for their blobs.
pub(super) struct SendsAway(bool);

impl axum::extract::FromRequestParts<Shared> for SendsAway {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, http: &Shared) -> Result<Self, Infallible> {
        let door = parts.extensions.get::<Peer>().map(|peer| peer.door);
        Ok(Self(door.is_some_and(|door| {
            http.options.redirect_doors.contains(&door)
        })))
    }
}

/// The answer that sends a client to the store. Its address is a secret for as long as it is good, so nobody may keep
/// it.
fn redirected(digest: &Digest, url: &str) -> Result<Response, DistributionError> {
    let location =
        HeaderValue::from_str(url).map_err(|error| DistributionError::internal(&error))?;
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, location);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        DOCKER_CONTENT_DIGEST,
        respond::header_value(&digest.to_string()),
    );
    Ok(respond::response(
        StatusCode::TEMPORARY_REDIRECT,
        headers,
        Body::empty(),
    ))
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
    http.images.delete_blob(&access.granted, &digest).await?;
    Ok((
        StatusCode::ACCEPTED,
        [(DOCKER_CONTENT_DIGEST, digest.to_string())],
    )
        .into_response())
}

fn blob_headers(blob: &Blob, length_bytes: u64) -> HeaderMap {
    let mut headers = respond::content_headers(&blob.digest, OCTET_STREAM, FOREVER, length_bytes);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers
}
