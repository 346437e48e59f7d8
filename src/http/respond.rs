//! The headers and bodies that several resources answer with. Each header and path is built here and nowhere else.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use berth_storage::Digest;
use bytes::Bytes;

use crate::oci::Reference;
use crate::oci::RepositoryName;
use crate::oci::UploadId;

pub(super) const DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");
pub(super) const OCI_CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
pub(super) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(super) const API_VERSION: HeaderName =
    HeaderName::from_static("docker-distribution-api-version");
pub(super) const API_VERSION_VALUE: HeaderValue = HeaderValue::from_static("registry/2.0");
pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// By which an operator names a workspace.
pub(super) const WORKSPACE: HeaderName = HeaderName::from_static("x-workspace");

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// What is named by its digest never changes; it is still private to those who may read it.
pub(super) const FOREVER: HeaderValue =
    HeaderValue::from_static("private, max-age=31536000, immutable");
/// What is named by a tag may change at any time.
pub(super) const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Room for a SHA-256 digest in quotes, which is what most content has.
const QUOTED_DIGEST_BYTES: usize = 73;

/// Headers that an answer with content may have in the end: room for them is made once.
const CONTENT_HEADERS: usize = 12;

/// When a client may try again after 503, in seconds.
pub(super) const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// A value that is known to be made of visible ASCII.
pub(super) fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// A digest as an entity tag.
pub(super) fn etag(digest: &Digest) -> HeaderValue {
    header_value(&format!("\"{digest}\""))
}

/// The headers of an answer about content: its digest, and that as its entity tag, written once for both.
pub(super) fn digest_headers(digest: &Digest) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(CONTENT_HEADERS);
    let mut quoted = String::with_capacity(QUOTED_DIGEST_BYTES);
    quoted.push('"');
    // Writing into a text cannot fail.
    let _ = digest.write_to(&mut quoted);
    quoted.push('"');
    let quoted = Bytes::from(quoted);
    let bare = quoted.slice(1..quoted.len() - 1);
    for (name, text) in [(ETAG, quoted), (DOCKER_CONTENT_DIGEST, bare)] {
        if let Ok(value) = HeaderValue::from_maybe_shared(text) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The headers of content that a registry hands out.
pub(super) fn content_headers(
    digest: &Digest,
    content_type: HeaderValue,
    cache_control: HeaderValue,
    length_bytes: u64,
) -> HeaderMap {
    let mut headers = digest_headers(digest);
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, cache_control);
    headers.insert(CONTENT_LENGTH, length_bytes.into());
    headers
}

/// The client has the content already.
pub(super) fn not_modified(digest: &Digest) -> Response {
    response(
        StatusCode::NOT_MODIFIED,
        digest_headers(digest),
        Body::empty(),
    )
}

/// An answer with these headers.
pub(super) fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

pub(super) fn blob_path(repository: &RepositoryName, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

pub(super) fn manifest_path(repository: &RepositoryName, reference: &Reference) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

pub(super) fn upload_path(repository: &RepositoryName, id: UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// The bytes that an upload has. The specification has no way to say "none": `0-0` is what clients expect then.
pub(super) fn upload_range(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}
