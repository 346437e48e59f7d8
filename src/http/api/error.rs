//! Errors of the management API: the envelope, and one table from what went wrong to status and code.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::access::NoText;
use super::super::body::CollectError;
use super::super::error::{LimitReached, log_cause};
use super::super::respond::{JSON, RETRY_SECONDS};
use crate::auth::{AuthenticationError, RequestError, Throttled};
use crate::metadata::MetadataError;

/// An error of the management API.
#[derive(Debug)]
pub(in crate::http) struct ApiError {
    status: StatusCode,
    message: String,
    retry_after: Option<HeaderValue>,
    limit: Option<&'static str>,
    details: Option<serde_json::Value>,
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

    /// The word for programs.
    fn code(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "unauthorized",
            403 => "forbidden",
            404 => "not_found",
            409 => "conflict",
            410 => "gone",
            412 => "precondition_failed",
            413 => "payload_too_large",
            429 => "too_many_requests",
            503 => "unavailable",
            507 => "insufficient_storage",
            400..=499 => "bad_request",
            _ => "internal_error",
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code(), "message": self.message});
        if let Some(details) = self.details {
            error["details"] = details;
        }
        let body = json!({"success": false, "error": error}).to_string();
        let mut response = (self.status, [(CONTENT_TYPE, JSON)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if let Some(key) = self.limit {
            response.extensions_mut().insert(LimitReached(key));
        }
        response
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
            RequestError::InUse(in_use) => Self {
                details: Some(json!({"reason": in_use.reason, "holders": in_use.holders})),
                ..Self::new(StatusCode::CONFLICT, message)
            },
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
            AuthenticationError::Refused(message) | AuthenticationError::InvalidToken(message) => {
                Self::new(StatusCode::UNAUTHORIZED, message)
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
            | MetadataError::Migrate(_)
            | MetadataError::Database(_) => Self::internal(&error),
        }
    }
}
