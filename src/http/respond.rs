//! The headers and bodies that several resources answer with. Each header and path is built here and nowhere else.

use axum::http::{HeaderName, HeaderValue};
use berth_storage::Digest;

use crate::oci::Reference;
use crate::oci::RepositoryName;
use crate::oci::UploadId;

pub(super) const DOCKER_CONTENT_DIGEST: HeaderName =
    HeaderName::from_static("docker-content-digest");
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

/// Whether a header of entity tags (`If-None-Match`, `If-Match`) names this digest, or everything.
pub(super) fn names_etag(header: &HeaderValue, digest: &Digest) -> bool {
    let Ok(text) = header.to_str() else {
        return false;
    };
    let digest = digest.to_string();
    text.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == digest)
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
