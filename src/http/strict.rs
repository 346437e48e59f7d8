//! What a request must be before anybody looks at what it asks for: something that every reader takes for the same.
//!
//! hyper refuses what is not HTTP. What it lets through and two readers could still take for two things, such as a
//! proxy before us and we ourselves, is refused here.

use axum::http::header::{CONTENT_RANGE, CONTENT_TYPE, HOST, IF_RANGE, RANGE, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse, Response};

use super::api;
use super::door::is_host;
use super::error::DistributionError;
use super::respond::WORKSPACE;
use crate::oci::ErrorCode;

/// Headers with one value (RFC 9110 section 5.3). `Authorization` is judged with the credentials.
const ONCE: [HeaderName; 6] = [
    HOST,
    CONTENT_TYPE,
    CONTENT_RANGE,
    RANGE,
    IF_RANGE,
    WORKSPACE,
];

/// 400 for a request that could mean more than one thing.
pub(super) fn refuse(request: &Parts) -> Option<Response> {
    let problem = repeated(&request.headers)
        .or_else(|| without_host(request))
        .or_else(|| encoded(&request.headers))?;
    if api::owns(request.uri.path()) {
        return Some(api::malformed(&problem));
    }
    let status = StatusCode::BAD_REQUEST;
    Some(DistributionError::new(status, ErrorCode::Unsupported, problem).into_response())
}

fn repeated(headers: &HeaderMap) -> Option<String> {
    // As a rule no header comes twice, and this is all there is to do.
    if headers.len() == headers.keys_len() {
        return None;
    }
    let twice = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
    let name = ONCE.into_iter().find(twice)?;
    Some(format!(
        "the header {name} is sent more than once, and may be sent once"
    ))
}

/// RFC 9112 section 3.2. HTTP/2 has its authority in the URI instead, and HTTP/1.0 may have none. One in the URI may
/// hold no password (RFC 9110 section 4.2.4).
fn without_host(request: &Parts) -> Option<String> {
    let authority = request.uri.authority().map(Authority::as_str);
    let header = request.headers.get(HOST).map(HeaderValue::to_str);
    let is_named = match header {
        Some(host) => host.is_ok_and(is_host),
        None => match request.version {
            Version::HTTP_10 => true,
            Version::HTTP_2 => authority.is_some(),
            _ => false,
        },
    };
    let is_good = is_named && authority.is_none_or(is_host);
    (!is_good).then(|| {
        String::from(
            "a request needs a Host header with a host name or address and an optional port",
        )
    })
}

/// RFC 9112 section 6.1: what is encoded in a way that we do not know must not be read as if it were not.
fn encoded(headers: &HeaderMap) -> Option<String> {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_known = encodings.all(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let is_once = headers.get_all(TRANSFER_ENCODING).iter().nth(1).is_none();
    (!is_known || !is_once)
        .then(|| String::from("Transfer-Encoding may be \"chunked\" and nothing else"))
}
