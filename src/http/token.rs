//! `/token` and the keys that its tokens are signed with.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};

use super::Shared;
use super::error::{DistributionError, log_cause};
use super::query::Pairs;
use super::respond::JSON;
use super::track::Notes;
use crate::auth::{
    BasicCredentials, JwkSet, SecretText, TokenAnswer, TokenCredentials, TokenEndpointError,
    TokenRequest, basic_credentials, single_header,
};
use crate::grammar::{Time, documented, word};
use crate::oci::ErrorCode;

/// What a form must say it is.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// Tokens are not for caches.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// An access token.
#[derive(Serialize, ToSchema)]
struct Token<'a> {
    /// The token: `Authorization: Bearer` in the registry.
    #[schema(examples("eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJiZXJ0aCJ9.c2lnbmF0dXJl"))]
    token: &'a str,
    /// The same, as OAuth 2.0 calls it.
    #[schema(examples("eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJiZXJ0aCJ9.c2lnbmF0dXJl"))]
    access_token: &'a str,
    /// How long it lives, in seconds.
    #[schema(examples(300))]
    expires_in: i64,
    /// When it was issued.
    #[schema(value_type = Time)]
    issued_at: String,
    /// What it was given for: of what was asked for, what may be done. For a POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, examples("repository:t-shop/app:pull"))]
    scope: Option<&'a str>,
}

impl<'a> Token<'a> {
    fn of(answer: &'a TokenAnswer, scope: Option<&'a str>) -> Self {
        Self {
            token: answer.token.reveal(),
            access_token: answer.token.reveal(),
            expires_in: answer.expires_in,
            issued_at: answer.issued_at.rfc3339(),
            scope,
        }
    }
}

/// How a form shows who asks.
const BY_PASSWORD: &str = "password";
const BY_REFRESH_TOKEN: &str = "refresh_token";

enum TokenForm {}
documented!(TokenForm, {
    let text = |description| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(description))
    };
    let scopes = ArrayBuilder::new()
        .description(Some(
            "What the token is for, such as `repository:t-shop/app:pull`.",
        ))
        .items(ObjectBuilder::new().schema_type(Type::String));
    ObjectBuilder::new()
        .description(Some("A request for an access token."))
        .property(
            "grant_type",
            word("How it shows who asks.", [BY_PASSWORD, BY_REFRESH_TOKEN]),
        )
        .property(
            "username",
            text("With `password`: the user name; any with an API key."),
        )
        .property(
            "password",
            text("With `password`: an API key or a registry credential."),
        )
        .property(
            "refresh_token",
            text("With `refresh_token`: a registry credential."),
        )
        .property("scope", scopes)
        .property("service", text("The service of the challenge."))
        .property("client_id", text("What client it is."))
        .required("grant_type")
        .examples([json!({
            "grant_type": BY_PASSWORD,
            "username": "t-shop",
            "password": "berth_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg000000",
            "scope": ["repository:t-shop/app:pull"]
        })])
});

/// Gives an access token for a password.
///
/// The token is for what was asked for, cut down to what may be done: asking for more is no error.
#[utoipa::path(
    get, path = "/token", tag = "tokens", operation_id = "get",
    params(
        ("scope" = Option<Vec<String>>, Query, explode, example = json!(["repository:t-shop/app:pull"]),
            description = "What the token is for; may be repeated."),
        ("service" = Option<String>, Query, description = "The service of the challenge."),
        ("client_id" = Option<String>, Query, description = "What client it is."),
        ("account" = Option<String>, Query, description = "The user name again."),
        ("offline_token" = Option<String>, Query, description = "Whether a refresh token is wanted; none is given."),
    ),
    responses((status = 200, description = "The token.", body = Token)),
    security(("basic" = [])),
)]
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
    Ok(answered(&Token::of(&answer, None)))
}

/// Gives an access token for a password, or a registry credential, in a form.
///
/// The token is for what was asked for, cut down to what may be done: asking for more is no error.
#[utoipa::path(
    post, path = "/token", tag = "tokens", operation_id = "post",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The token.", body = Token),
        (status = 401, description = "The password or the credential does not count."),
        (status = 429, description = "Too many wrong ones came from this address, or too many tokens were asked for."),
        (status = 503, description = "Rights cannot be read now."),
    ),
    security(()),
)]
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
    Ok(answered(&Token::of(&answer, Some(&answer.scope))))
}

/// Shows the public keys of access tokens.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", tag = "tokens",
    responses((status = 200, description = "The keys as a JWK set (RFC 7517).", body = JwkSet)),
    security(()),
)]
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
        Some(BY_PASSWORD) => Ok(Some(TokenCredentials::Password(BasicCredentials {
            username: wanted("username")?,
            password: wanted("password")?,
        }))),
        Some(BY_REFRESH_TOKEN) => Ok(Some(TokenCredentials::RefreshToken(SecretText::new(
            wanted("refresh_token")?,
        )))),
        Some(_) | None => Err(DistributionError::bad_request(
            ErrorCode::Unsupported,
            "grant_type is password (with username and password) or refresh_token (with a registry credential)",
        )),
    }
}

/// Whether a request says that its body is a form.
pub(super) fn is_form(parts: &Parts) -> bool {
    let content_type = parts.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let kind = content_type.and_then(|text| text.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
}

async fn form(http: &Shared, parts: &Parts, body: Body) -> Result<Pairs, DistributionError> {
    if !is_form(parts) {
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

fn answered(token: &Token<'_>) -> Response {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON), (CACHE_CONTROL, NO_STORE)]);
    // Serialising plain texts cannot fail.
    let body = serde_json::to_string(token).unwrap_or_default();
    (StatusCode::OK, headers, body).into_response()
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
