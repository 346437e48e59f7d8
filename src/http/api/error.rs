//! Errors of the management API: the envelope, and one table from what went wrong to status and code.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::super::access::NoText;
use super::super::body::CollectError;
use super::super::error::{LimitReached, Refused, is_refusal, log_cause};
use super::super::respond::{JSON, RETRY_SECONDS};
use crate::auth::{AuthenticationError, Holder, InUse, InUseReason, RequestError, Throttled};
use crate::checks::CheckError;
use crate::grammar::{documented, word};
use crate::metadata::MetadataError;

/// How to authenticate, which a 401 must say (RFC 9110 section 15.5.2). Not by Basic: browsers would ask people for a
/// password.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"berth\"");

/// An error of the management API.
#[derive(Debug)]
pub(in crate::http) struct ApiError {
    status: StatusCode,
    message: String,
    retry_after: Option<HeaderValue>,
    limit: Option<&'static str>,
    details: Option<Details>,
}

impl ApiError {
    pub(in crate::http) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
            limit: None,
            details: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Names the limit that was reached, as the configuration does.
    pub(in crate::http) fn limit(mut self, key: &'static str) -> Self {
        self.limit = Some(key);
        self
    }

    /// Says when to try again.
    pub(in crate::http) fn retry_after(mut self, seconds: HeaderValue) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    fn unavailable(cause: &dyn std::error::Error) -> Self {
        log_cause("the service is unavailable", cause);
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the service cannot do this now; try again in a few seconds",
        )
        .retry_after(RETRY_SECONDS)
    }

    fn internal(cause: &dyn std::error::Error) -> Self {
        log_cause("a request failed", cause);
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "something went wrong inside; the log has the cause under the id of this request",
        )
    }
}

/// The words for programs, and the statuses that have one of their own.
const CODES: [(u16, &str); 12] = [
    (400, BAD_REQUEST),
    (401, "unauthorized"),
    (403, "forbidden"),
    (404, "not_found"),
    (409, "conflict"),
    (410, "gone"),
    (412, "precondition_failed"),
    (413, "payload_too_large"),
    (429, "too_many_requests"),
    (500, INTERNAL_ERROR),
    (503, "unavailable"),
    (507, "insufficient_storage"),
];
const BAD_REQUEST: &str = "bad_request";
const INTERNAL_ERROR: &str = "internal_error";

enum Code {}
documented!(
    Code,
    word("The word for programs.", CODES.map(|(_, code)| code))
);

/// The word for programs of a status.
fn code_of(status: StatusCode) -> &'static str {
    let own = CODES.iter().find(|(own, _)| *own == status.as_u16());
    match own {
        Some((_, code)) => code,
        None if status.is_client_error() => BAD_REQUEST,
        None => INTERNAL_ERROR,
    }
}

/// An error.
#[derive(Serialize, ToSchema)]
pub(super) struct Failure {
    /// Always false.
    success: bool,
    error: Problem,
}

/// What is wrong.
#[derive(Serialize, ToSchema)]
struct Problem {
    #[schema(value_type = Code)]
    code: &'static str,
    /// What was wrong, and what would be right.
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// What programs tell cases apart by.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Details {
    reason: InUseReason,
    /// Who or what needs it: not all of them, when there are many.
    holders: Vec<Holder>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: String, details: Option<Details>) -> Self {
        let code = code_of(status);
        Self {
            success: false,
            error: Problem {
                code,
                message,
                details,
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        // Serialising plain texts cannot fail.
        let is_in_use = self.details.is_some();
        let failure = Failure::new(self.status, self.message.clone(), self.details);
        let body = serde_json::to_string(&failure).unwrap_or_default();
        let mut response = (self.status, [(CONTENT_TYPE, JSON)], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if let Some(key) = self.limit {
            response.extensions_mut().insert(LimitReached(key));
        }
        // What is in use is refused to whoever may delete.
        if is_refusal(self.status) || is_in_use {
            response.extensions_mut().insert(Refused(self.message));
        }
        response
    }
}

impl From<CheckError> for ApiError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Request(error) => error.into(),
            CheckError::Storage(error) => Self::unavailable(&error),
            CheckError::Metadata(error) => RequestError::from(error).into(),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let message = error.to_string();
        match error {
            RequestError::BadRequest(_) => Self::new(StatusCode::BAD_REQUEST, message),
            RequestError::Unauthorized(_) => Self::new(StatusCode::UNAUTHORIZED, message),
            RequestError::Forbidden(_) => Self::new(StatusCode::FORBIDDEN, message),
            RequestError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, message),
            RequestError::Conflict(_) => Self::new(StatusCode::CONFLICT, message),
            RequestError::InUse(InUse {
                reason, holders, ..
            }) => Self {
                details: Some(Details { reason, holders }),
                ..Self::new(StatusCode::CONFLICT, message)
            },
            RequestError::Busy(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(RETRY_SECONDS)
            }
            RequestError::Gone(_) => Self::new(StatusCode::GONE, message),
            RequestError::PreconditionFailed(_) => {
                Self::new(StatusCode::PRECONDITION_FAILED, message)
            }
            RequestError::Throttled(throttled) => throttled.into(),
            RequestError::Metadata(error) => error.into(),
            RequestError::Broken(_) | RequestError::Internal(_) => Self::internal(&error),
        }
    }
}

impl From<AuthenticationError> for ApiError {
    fn from(error: AuthenticationError) -> Self {
        match error {
            AuthenticationError::Refused(rejection)
            | AuthenticationError::InvalidToken(rejection) => {
                Self::new(StatusCode::UNAUTHORIZED, rejection.message)
            }
            AuthenticationError::Throttled(throttled) => throttled.into(),
            AuthenticationError::Unavailable(error) => error.into(),
        }
    }
}

impl From<NoText> for ApiError {
    fn from(error: NoText) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<CollectError> for ApiError {
    fn from(error: CollectError) -> Self {
        let mut answer = Self::new(error.status(), error.to_string());
        if matches!(error, CollectError::Busy) {
            answer.retry_after = Some(RETRY_SECONDS);
        }
        answer.limit = error.limit();
        answer
    }
}

impl From<Throttled> for ApiError {
    fn from(throttled: Throttled) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, throttled.to_string())
            .retry_after(throttled.retry_after_s.into())
            .limit(throttled.limit)
    }
}

impl From<MetadataError> for ApiError {
    fn from(error: MetadataError) -> Self {
        match &error {
            MetadataError::Unavailable(_) | MetadataError::Conflict(_) => Self::unavailable(&error),
            MetadataError::NoSuchText => Self::bad_request(error.to_string()),
            MetadataError::Corrupt { .. }
            | MetadataError::Refused(_)
            | MetadataError::Migrate { .. }
            | MetadataError::Database(_) => Self::internal(&error),
        }
    }
}
