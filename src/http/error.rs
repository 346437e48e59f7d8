//! Errors as clients see them: the specification's shape under `/v2/`, the envelope under `/api/v1`.
//!
//! The client learns what was wrong and what would be right; causes inside stay in the log, where they are written
//! once, here.

use axum::http::header::{CONTENT_TYPE, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use berth_storage::StoreError;
use serde_json::{Value, json};

use super::access::NoText;
use super::body::CollectError;
use super::respond::{self, JSON, RETRY_SECONDS};
use crate::auth::{Refusal, Throttled};
use crate::images::{DeleteError, RequestError};
use crate::metadata::MetadataError;
use crate::oci::ErrorCode;
use crate::registry::RegistryError;

/// An error of the distribution API.
#[derive(Debug)]
pub(super) struct DistributionError(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    detail: Option<Value>,
    headers: HeaderMap,
    limit: Option<&'static str>,
    denied: Option<String>,
}

/// Why a request was refused, in the words of its answer: left in it for `track` to tell the audit log.
#[derive(Clone, Debug)]
pub(super) struct Refused(pub(super) String);

/// A limit that a request ran into, by the name of its setting: left in the answer for `track` to count.
#[derive(Clone, Copy, Debug)]
pub(super) struct LimitReached(pub(super) &'static str);

impl DistributionError {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            status,
            code,
            message: message.into(),
            detail: None,
            headers: HeaderMap::new(),
            limit: None,
            denied: None,
        }))
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers are done with the errors they hand in"
    )]
    pub(super) fn bad_request(code: ErrorCode, message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message.to_string())
    }

    /// For a body that could not be collected.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers are done with the errors they hand in"
    )]
    pub(super) fn body(error: CollectError, code: ErrorCode) -> Self {
        let mut answer = Self::new(error.status(), code, error.to_string());
        if matches!(error, CollectError::Busy) {
            answer.0.code = ErrorCode::TooManyRequests;
            answer.0.headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        answer.0.limit = error.limit();
        answer
    }

    pub(super) fn detail(mut self, detail: Value) -> Self {
        self.0.detail = Some(detail);
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers.append(name, value);
        }
        self
    }

    /// Says why what this answer hides was refused; for the audit log alone.
    pub(super) fn denied(mut self, reason: String) -> Self {
        self.0.denied = Some(reason);
        self
    }

    /// Names the limit that was reached, as the configuration does.
    pub(super) fn limit(mut self, key: &'static str) -> Self {
        self.0.limit = Some(key);
        self
    }

    /// 401, 403 or 429 for a refusal; `realm` is where this door's tokens come from.
    pub(super) fn refusal(refusal: Refusal, realm: Option<&str>, service: &str) -> Self {
        match refusal {
            Refusal::Challenge {
                error,
                scope,
                message,
            } => {
                let Some(realm) = realm else {
                    return Self::bad_request(
                        ErrorCode::Unauthorized,
                        "authentication needs a Host header with a host name and an optional port",
                    );
                };
                let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
                if !scope.is_empty() {
                    challenge.push_str(&format!(",scope=\"{scope}\""));
                }
                if let Some(error) = error {
                    challenge.push_str(&format!(",error=\"{}\"", error.as_str()));
                }
                Self::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message)
                    .header(WWW_AUTHENTICATE, &challenge)
            }
            Refusal::Denied { message } => {
                Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
            }
            Refusal::Unknown { message } => {
                Self::new(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, message)
            }
            Refusal::Throttled(throttled) => throttled.into(),
            Refusal::Unavailable(error) => error.into(),
        }
    }

    fn unavailable(cause: &dyn std::error::Error) -> Self {
        log_cause("the service is unavailable", cause);
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::TooManyRequests,
            "the registry cannot do this now; try again in a few seconds",
        );
        error.0.headers.insert(RETRY_AFTER, RETRY_SECONDS);
        error
    }

    pub(super) fn internal(cause: &dyn std::error::Error) -> Self {
        log_cause("a request failed", cause);
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::Unsupported,
            "something went wrong inside the registry; its log has the cause under the id of this request",
        )
    }
}

impl IntoResponse for DistributionError {
    fn into_response(self) -> Response {
        let parts = *self.0;
        let mut error = json!({"code": parts.code.as_str(), "message": &parts.message});
        if let Some(detail) = parts.detail {
            error["detail"] = detail;
        }
        let body = json!({"errors": [error]}).to_string();
        let mut response = (parts.status, [(CONTENT_TYPE, JSON)], body).into_response();
        response.headers_mut().extend(parts.headers);
        if let Some(key) = parts.limit {
            response.extensions_mut().insert(LimitReached(key));
        }
        let refused = is_refusal(parts.status).then_some(parts.message);
        if let Some(reason) = parts.denied.or(refused) {
            response.extensions_mut().insert(Refused(reason));
        }
        response
    }
}

impl From<NoText> for DistributionError {
    fn from(error: NoText) -> Self {
        Self::bad_request(ErrorCode::Unsupported, error)
    }
}

impl From<Throttled> for DistributionError {
    fn from(throttled: Throttled) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::TooManyRequests,
            throttled.to_string(),
        )
        .header(RETRY_AFTER, &throttled.retry_after_s.to_string())
        .limit(throttled.limit)
    }
}

impl From<MetadataError> for DistributionError {
    fn from(error: MetadataError) -> Self {
        match &error {
            MetadataError::Unavailable(_) | MetadataError::Conflict(_) => Self::unavailable(&error),
            MetadataError::NoSuchText => Self::bad_request(ErrorCode::Unsupported, &error),
            MetadataError::Corrupt { .. }
            | MetadataError::Refused(_)
            | MetadataError::Migrate { .. }
            | MetadataError::Database(_) => Self::internal(&error),
        }
    }
}

impl From<StoreError> for DistributionError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NoSpace { .. } => {
                log_cause("the storage is full", &error);
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    ErrorCode::Denied,
                    "the registry's storage is full: nothing was stored",
                )
            }
            StoreError::Unavailable { .. } => Self::unavailable(&error),
            StoreError::TooLarge { limit_bytes, .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                ErrorCode::SizeInvalid,
                format!("a blob may have at most {limit_bytes} bytes here"),
            )
            .limit("storage.s3.part_bytes"),
            StoreError::Io { .. }
            | StoreError::Backend { .. }
            | StoreError::Unusable { .. }
            | StoreError::Superseded { .. }
            | StoreError::WriterClosed { .. }
            | StoreError::StagingLost { .. }
            | StoreError::BadProgress { .. }
            | StoreError::AlreadyPublished { .. }
            | StoreError::Missing { .. }
            | StoreError::OutOfRange { .. }
            | StoreError::NotWritable { .. }
            | StoreError::OtherInstallation { .. }
            | StoreError::Interrupted { .. } => Self::internal(&error),
        }
    }
}

impl From<RegistryError> for DistributionError {
    fn from(error: RegistryError) -> Self {
        use RegistryError as E;
        let message = error.to_string();
        let plain = |status, code| Self::new(status, code, message.clone());
        match error {
            E::NameUnknown(_) => plain(StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
            E::BlobUnknown(digest) => plain(StatusCode::NOT_FOUND, ErrorCode::BlobUnknown)
                .detail(json!({"digest": digest})),
            E::ManifestUnknown(_) => plain(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
            E::ManifestInvalid(_) | E::TooManyAbsent(_) | E::TagsWithoutDigest => {
                plain(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid)
            }
            E::ManifestBlobUnknown(missing) => {
                plain(StatusCode::BAD_REQUEST, ErrorCode::ManifestBlobUnknown)
                    .detail(json!({"missing": missing}))
            }
            E::DigestMismatch { .. } | E::AlgorithmUnannounced { .. } => {
                plain(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid)
            }
            E::UploadUnknown(_) => plain(StatusCode::NOT_FOUND, ErrorCode::BlobUploadUnknown),
            E::UploadSuperseded => plain(StatusCode::CONFLICT, ErrorCode::BlobUploadInvalid),
            E::OutOfOrder { offset, .. } => plain(
                StatusCode::RANGE_NOT_SATISFIABLE,
                ErrorCode::BlobUploadInvalid,
            )
            .header(RANGE, &respond::upload_range(offset)),
            E::SizeMismatch { .. } => plain(StatusCode::BAD_REQUEST, ErrorCode::SizeInvalid),
            E::BodyBroken(_) => plain(StatusCode::BAD_REQUEST, ErrorCode::BlobUploadInvalid),
            E::BodyIdle(_) => plain(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid)
                .limit("server.body_idle_timeout_seconds"),
            E::TooManyUploads(_) => {
                plain(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests)
                    .header(RETRY_AFTER, "60")
                    .limit("limits.open_uploads_per_workspace")
            }
            E::TooManyTags { .. } => plain(StatusCode::URI_TOO_LONG, ErrorCode::ManifestInvalid)
                .limit("limits.tag_parameters"),
            E::PreconditionFailed(_) => plain(StatusCode::PRECONDITION_FAILED, ErrorCode::Denied),
            E::SharedAlias { .. } | E::ImmutableTag { .. } => {
                plain(StatusCode::FORBIDDEN, ErrorCode::Denied)
            }
            // The rights went while the request ran: a new token would not bring them back.
            E::Refused(Refusal::Challenge { message, .. } | Refusal::Denied { message }) => {
                Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, message)
            }
            E::Refused(Refusal::Unknown { .. }) => {
                plain(StatusCode::NOT_FOUND, ErrorCode::NameUnknown)
            }
            E::Refused(Refusal::Throttled(throttled)) => throttled.into(),
            E::Refused(Refusal::Unavailable(error)) | E::Metadata(error) => error.into(),
            E::Storage(error) => error.into(),
            E::Broken(error) => Self::internal(&error),
        }
    }
}

impl From<DeleteError> for DistributionError {
    fn from(error: DeleteError) -> Self {
        let message = error.to_string();
        let plain = |status, code| Self::new(status, code, message);
        match error {
            DeleteError::NoRepository(_) => plain(StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
            DeleteError::NoManifest(_) => plain(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown),
            DeleteError::NoBlob(_) => plain(StatusCode::NOT_FOUND, ErrorCode::BlobUnknown),
            DeleteError::BlobNeeded { .. } => plain(StatusCode::FORBIDDEN, ErrorCode::Denied),
            DeleteError::Refused(refused) => match refused {
                RequestError::Metadata(error) => error.into(),
                RequestError::Throttled(throttled) => throttled.into(),
                RequestError::Busy(error) => error.into(),
                RequestError::Broken(_) | RequestError::Internal(_) => Self::internal(&refused),
                RequestError::BadRequest(_) => {
                    plain(StatusCode::BAD_REQUEST, ErrorCode::Unsupported)
                }
                RequestError::Unauthorized(_)
                | RequestError::Forbidden(_)
                | RequestError::NotFound(_)
                | RequestError::Conflict(_)
                | RequestError::InUse(_)
                | RequestError::Gone(_)
                | RequestError::PreconditionFailed(_) => {
                    plain(StatusCode::FORBIDDEN, ErrorCode::Denied)
                }
            },
        }
    }
}

impl DistributionError {
    /// The upload's address, where a client that lost its place goes on.
    pub(super) fn at(self, location: &str) -> Self {
        self.header(LOCATION, location)
    }
}

/// Whether a status says that the caller may not do what it asked for.
pub(super) fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// Writes the cause of an error into the log, with everything behind it.
pub(super) fn log_cause(message: &'static str, cause: &dyn std::error::Error) {
    let mut chain = cause.to_string();
    let mut source = cause.source();
    while let Some(next) = source {
        chain.push_str(": ");
        chain.push_str(&next.to_string());
        source = next.source();
    }
    tracing::error!(cause = chain, "{message}");
}
