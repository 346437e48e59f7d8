//! `/v2/<name>/manifests/<reference>`: end-3, 7 and 9 of the specification.

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tracing::Instrument as _;

use super::Shared;
use super::access::{Access, segment};
use super::body::Collected;
use super::conditions::{Known, precondition};
use super::error::DistributionError;
use super::query::Pairs;
use super::respond::{self, FOREVER, OCI_SUBJECT, OCI_TAG, REVALIDATE};
use crate::auth::{Delete, Pull, Push};
use crate::oci::ErrorCode;
use crate::oci::Manifest;
use crate::oci::MediaType;
use crate::oci::Reference;
use crate::oci::Tag;
use crate::registry::PulledManifest;

/// Manifests up to this size are parsed where they arrive: it takes less than a thread's change of hands.
const PARSED_IN_PLACE_BYTES: usize = 64 * 1024;

/// The tag or digest of the path.
pub(super) struct PathReference(Reference);

impl FromRequestParts<Shared> for PathReference {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, DistributionError> {
        let text = segment(parts, "reference").await?;
        let code = if text.contains(':') {
            ErrorCode::DigestInvalid
        } else {
            ErrorCode::ManifestInvalid
        };
        text.parse()
            .map(Self)
            .map_err(|error| DistributionError::bad_request(code, error))
    }
}

/// The tags that a push by digest names.
pub(super) struct TagParameters(Vec<Tag>);

impl FromRequestParts<Shared> for TagParameters {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, DistributionError> {
        let query = Pairs::of_query(parts)?;
        let tags: Result<Vec<Tag>, _> = query.all("tag").map(str::parse).collect();
        tags.map(Self)
            .map_err(|error| DistributionError::bad_request(ErrorCode::ManifestInvalid, error))
    }
}

pub(super) async fn head_manifest(
    State(http): State<Shared>,
    access: Access<Pull>,
    PathReference(reference): PathReference,
    known: Known,
) -> Result<Response, DistributionError> {
    let manifest = http.registry.manifest(&access.granted, &reference).await?;
    // Nodes resolve a tag by HEAD, and then have all of it already.
    if matches!(reference, Reference::Tag(_)) {
        note_pull(&http, &manifest, &reference);
    }
    if known.includes(&manifest.row.digest) {
        return Ok(respond::not_modified(&manifest.row.digest));
    }
    let headers = manifest_headers(&manifest, &reference);
    Ok(respond::response(StatusCode::OK, headers, Body::empty()))
}

pub(super) async fn get_manifest(
    State(http): State<Shared>,
    access: Access<Pull>,
    PathReference(reference): PathReference,
    known: Known,
) -> Result<Response, DistributionError> {
    let manifest = http.registry.manifest(&access.granted, &reference).await?;
    note_pull(&http, &manifest, &reference);
    if known.includes(&manifest.row.digest) {
        return Ok(respond::not_modified(&manifest.row.digest));
    }
    let bytes = http.registry.manifest_bytes(&manifest).await?;
    let headers = manifest_headers(&manifest, &reference);
    Ok(respond::response(
        StatusCode::OK,
        headers,
        Body::from(bytes),
    ))
}

fn note_pull(http: &Shared, manifest: &PulledManifest, reference: &Reference) {
    let pulls = http.images.pulls();
    let tag = match reference {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    };
    pulls.note(manifest.repository, tag, http.clock.now());
}

pub(super) async fn put_manifest(
    State(http): State<Shared>,
    access: Access<Push>,
    PathReference(reference): PathReference,
    TagParameters(tags): TagParameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, DistributionError> {
    let precondition = precondition(&headers)
        .map_err(|error| DistributionError::bad_request(ErrorCode::Unsupported, error))?;
    let content_type = content_type(&headers)?;
    let (granted, repository) = (access.granted.clone(), access.granted.repository());
    let collected = http.collect_manifest(body, granted.workspace_id()).await;
    let Collected { bytes, held } =
        collected.map_err(|error| DistributionError::body(error, ErrorCode::ManifestInvalid))?;
    let named = tags.clone();
    // A task of its own, which goes on when the client goes away: so its memory and its turn count until it has ended.
    let push = async move {
        let _held = held;
        let manifest = parse(&http, bytes, content_type).await?;
        let _turn = http.turns.wait(granted.workspace_id()).await?;
        let put = http
            .registry
            .put_manifest(&granted, &reference, named, manifest, precondition);
        Ok::<_, DistributionError>(put.await?)
    };
    let pushed = tokio::spawn(push.in_current_span())
        .await
        .map_err(|error| DistributionError::internal(&error))??;
    let mut answer = respond::digest_headers(&pushed.digest);
    let path = respond::manifest_path(repository, &Reference::Digest(pushed.digest));
    answer.insert(LOCATION, respond::header_value(&path));
    if let Some(subject) = pushed.subject {
        answer.insert(OCI_SUBJECT, respond::header_value(&subject.to_string()));
    }
    if !tags.is_empty() {
        // One header for all of them: clients limit the number of headers sooner than their length.
        let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        answer.insert(OCI_TAG, respond::header_value(&names.join(", ")));
    }
    Ok((StatusCode::CREATED, answer).into_response())
}

/// A large manifest is parsed in a thread of its own, a few of them at one time.
async fn parse(
    http: &Shared,
    bytes: Bytes,
    content_type: Option<MediaType>,
) -> Result<Manifest, DistributionError> {
    let parsed = if bytes.len() <= PARSED_IN_PLACE_BYTES {
        Manifest::parse(bytes, content_type.as_ref())
    } else {
        // The semaphore is never closed.
        let _place = http.parsing.acquire().await.ok();
        tokio::task::spawn_blocking(move || Manifest::parse(bytes, content_type.as_ref()))
            .await
            .map_err(|error| DistributionError::internal(&error))?
    };
    parsed.map_err(|error| DistributionError::bad_request(ErrorCode::ManifestInvalid, error))
}

pub(super) async fn delete_manifest(
    State(http): State<Shared>,
    access: Access<Delete>,
    PathReference(reference): PathReference,
) -> Result<Response, DistributionError> {
    http.images
        .delete_reference(&access.granted, &reference, false)
        .await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

fn manifest_headers(manifest: &PulledManifest, reference: &Reference) -> HeaderMap {
    let row = &manifest.row;
    let cache_control = match reference {
        Reference::Digest(_) => FOREVER,
        Reference::Tag(_) => REVALIDATE,
    };
    let media_type = respond::header_value(row.media_type.as_str());
    respond::content_headers(&row.digest, media_type, cache_control, row.size_bytes)
}

fn content_type(headers: &HeaderMap) -> Result<Option<MediaType>, DistributionError> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("?");
    MediaType::parse_header(text).map(Some).map_err(|error| {
        let message = format!("Content-Type: {error}");
        DistributionError::bad_request(ErrorCode::ManifestInvalid, message)
    })
}
