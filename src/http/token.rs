//! `/token` and the keys that its tokens are signed with.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;
use super::error::{DistributionError, log_cause};
use super::query::Pairs;
use super::respond::JSON;
use super::track::Notes;
use crate::auth::{
    BasicCredentials, SecretText, TokenAnswer, TokenCredentials, TokenEndpointError, TokenRequest,
    basic_credentials, single_header,
};
use crate::oci::ErrorCode;

/// What a form must say it is.
const FORM: &str = "application/x-www-form-urlencoded";
/// Tokens are not for caches.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// GET: the password comes as Basic.
pub(super) async fn get_token(
    State(http): State<Shared>,
    request: Request,
) -> Result<Response, DistributionError> {
    let (parts, _) = request.into_parts();
    let query = Pairs::of_query(&parts)?;
    let request = TokenRequest {
        credentials: header_credentials(&http, &parts)?,
        from: http.origin(&parts),
        scopes: query.all("scope").map(str::to_owned).collect(),
    };
    let answer = issue(&http, &parts, &request).await?;
    let body = json!({
        "token": answer.token.reveal(),
        "access_token": answer.token.reveal(),
        "expires_in": answer.expires_in,
        "issued_at": answer.issued_at.rfc3339(),
    });
    Ok(answered(&body))
}

/// POST: the password, or a credential in the place of a refresh token, comes in a form.
pub(super) async fn post_token(
    State(http): State<Shared>,
    request: Request,
) -> Result<Response, DistributionError> {
    let (parts, body) = request.into_parts();
    let form = form(&http, &parts, body).await?;
    let request = TokenRequest {
        credentials: form_credentials(&form)?,
        from: http.origin(&parts),
        scopes: form.all("scope").map(str::to_owned).collect(),
    };
    let answer = issue(&http, &parts, &request).await?;
    let body = json!({
        "token": answer.token.reveal(),
        "access_token": answer.token.reveal(),
        "expires_in": answer.expires_in,
        "issued_at": answer.issued_at.rfc3339(),
        "scope": answer.scope,
    });
    Ok(answered(&body))
}

/// The public keys of access tokens.
pub(super) async fn jwks(State(http): State<Shared>) -> Response {
    // Serialising plain texts cannot fail.
    let body = serde_json::to_string(&http.auth.jwks()).unwrap_or_default();
    (StatusCode::OK, [(CONTENT_TYPE, JSON)], body).into_response()
}

async fn issue(
    http: &Shared,
    parts: &Parts,
    request: &TokenRequest,
) -> Result<TokenAnswer, DistributionError> {
    let answer = http
        .auth
        .issue_access_token(request)
        .await
        .map_err(|error| refused(http, parts, error))?;
    if let Some(notes) = parts.extensions.get::<Notes>() {
        notes.principal(&answer.principal);
    }
    Ok(answer)
}

fn header_credentials(
    http: &Shared,
    parts: &Parts,
) -> Result<Option<TokenCredentials>, DistributionError> {
    let header = single_header(
        parts
            .headers
            .get_all(AUTHORIZATION)
            .iter()
            .map(HeaderValue::as_bytes),
    )
    .map_err(|error| refused(http, parts, error.into()))?;
    let basic = basic_credentials(header).map_err(|error| refused(http, parts, error.into()))?;
    Ok(basic.map(TokenCredentials::Password))
}

fn form_credentials(form: &Pairs) -> Result<Option<TokenCredentials>, DistributionError> {
    let wanted = |name: &'static str| -> Result<String, DistributionError> {
        let value = form.one(name)?;
        value.map(str::to_owned).ok_or_else(|| {
            DistributionError::bad_request(ErrorCode::Unsupported, format!("{name} is missing"))
        })
    };
    match form.one("grant_type")? {
        Some("password") => Ok(Some(TokenCredentials::Password(BasicCredentials {
            username: wanted("username")?,
            password: wanted("password")?,
        }))),
        Some("refresh_token") => Ok(Some(TokenCredentials::RefreshToken(SecretText::new(
            wanted("refresh_token")?,
        )))),
        Some(_) | None => Err(DistributionError::bad_request(
            ErrorCode::Unsupported,
            "grant_type is password (with username and password) or refresh_token (with a registry credential)",
        )),
    }
}

async fn form(http: &Shared, parts: &Parts, body: Body) -> Result<Pairs, DistributionError> {
    let content_type = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if !content_type
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .eq_ignore_ascii_case(FORM)
    {
        return Err(DistributionError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ErrorCode::Unsupported,
            format!("POST /token takes a form of the type {FORM}"),
        ));
    }
    let form = http.collect_form(body, http.client_address(parts)).await;
    let form = form.map_err(|error| DistributionError::body(error, ErrorCode::Unsupported))?;
    Ok(Pairs::parse(&form.bytes)?)
}

fn answered(body: &serde_json::Value) -> Response {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON), (CACHE_CONTROL, NO_STORE)]);
    (StatusCode::OK, headers, body.to_string()).into_response()
}

fn refused(http: &Shared, parts: &Parts, error: TokenEndpointError) -> DistributionError {
    match error {
        TokenEndpointError::Unauthorized(rejection) => {
            http.metrics.auth_failure("password");
            if let (Some(notes), Some(owner)) = (parts.extensions.get::<Notes>(), &rejection.owner)
            {
                notes.owner(owner);
            }
            let challenge = format!("Basic realm=\"{}\"", http.auth.service_name());
            DistributionError::new(
                StatusCode::UNAUTHORIZED,
                ErrorCode::Unauthorized,
                rejection.message,
            )
            .header(WWW_AUTHENTICATE, &challenge)
        }
        TokenEndpointError::BadRequest(error) => {
            DistributionError::bad_request(ErrorCode::Unsupported, error)
        }
        TokenEndpointError::Throttled(throttled) => throttled.into(),
        TokenEndpointError::Unavailable(error) => error.into(),
        TokenEndpointError::Internal(error) => {
            log_cause("a token could not be signed", &error);
            DistributionError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorCode::Unsupported,
                "the token could not be made; the log has the cause under the id of this request",
            )
        }
    }
}
