//! `/api/v1/registry/token-exchange`: a token of another issuer for a registry credential, as RFC 8693 has it.
//!
//! Its clients are made for OAuth: it takes a form, and answers in the shapes of RFC 8693 section 2.2 and RFC 6749 section
//! 5.2, not in the envelope of the rest of the API.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::super::Shared;
use super::super::body::CollectError;
use super::super::error::{LimitReached, Refused, log_cause};
use super::super::query::{Pairs, PairsError};
use super::super::respond::{JSON, RETRY_SECONDS};
use super::super::token::{FORM, NO_STORE, is_form};
use super::super::track::Notes;
use super::credentials::{Hosts, NO_HOST};
use crate::auth::{ExchangeError, ExchangeRequest, Exchanged, SecretText};
use crate::grammar::{Time, documented, word};
use crate::metadata::MetadataError;

/// Where it is.
pub(super) const PATH: &str = "/api/v1/registry/token-exchange";

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// RFC 8693 section 2.2.1: it is no access token, but a password with which clients get some.
const TOKEN_TYPE: &str = "N_A";

enum ExchangeForm {}
documented!(ExchangeForm, {
    let text = |description| {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(description))
    };
    ObjectBuilder::new()
        .description(Some("A request for a token exchange (RFC 8693)."))
        .property("grant_type", word("What it is.", [GRANT_TYPE]))
        .property(
            "subject_token",
            text("The token of the issuer: a signed JWT."),
        )
        .property("subject_token_type", word("What kind of token it is.", [JWT, ID_TOKEN]))
        .property("requested_token_type", word("What is asked for.", [JWT]))
        .property(
            "scope",
            text("One repository and what to do there, such as `repository:t-shop/app:pull`; all that the rule gives when it is left out."),
        )
        .property("audience", text("The name of this service, if anything."))
        .required("grant_type")
        .required("subject_token")
        .required("subject_token_type")
        .examples([json!({
            "grant_type": GRANT_TYPE,
            "subject_token": "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJpc3N1ZXIifQ.c2lnbmF0dXJl",
            "subject_token_type": JWT,
            "scope": "repository:t-shop/app:pull"
        })])
});

enum TokenTypeName {}
documented!(
    TokenTypeName,
    word(
        "It is no access token: a password of the registry.",
        [TOKEN_TYPE]
    )
);

enum IssuedTokenType {}
documented!(
    IssuedTokenType,
    word("What kind of token the credential is.", [JWT])
);

// No `Debug`: it holds the password.
/// A registry credential that a token was exchanged for.
#[derive(Serialize, ToSchema)]
pub(super) struct ExchangedCredential<'a> {
    /// The credential: the password that goes with `username`.
    #[schema(examples("eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJiZXJ0aCJ9.c2lnbmF0dXJl"))]
    access_token: &'a str,
    #[schema(value_type = IssuedTokenType)]
    issued_token_type: &'static str,
    #[schema(value_type = TokenTypeName)]
    token_type: &'static str,
    /// How long it lives, in seconds.
    #[schema(examples(900))]
    expires_in: i64,
    /// What it is for; `**` and `*` are globs where it is for more than one repository.
    #[schema(examples("repository:t-shop/app:pull"))]
    scope: &'a str,
    /// The user name.
    #[schema(examples("t-shop"))]
    username: &'a str,
    /// Host and prefix to push to.
    #[serde(rename = "pushRegistry")]
    #[schema(examples("127.0.0.1:5000/t-shop"))]
    push_registry: &'a str,
    /// Host and prefix to pull from.
    #[serde(rename = "pullRegistry")]
    #[schema(examples("127.0.0.1:5001/t-shop"))]
    pull_registry: &'a str,
    /// What it is revoked by.
    #[serde(rename = "credentialId")]
    #[schema(examples("9f2c1e5a7b3d4c6e8f0a1b2c3d4e5f60"))]
    credential_id: &'a str,
    /// When it ends.
    #[serde(rename = "expiresAt")]
    #[schema(value_type = Time)]
    expires_at: String,
}

impl<'a> ExchangedCredential<'a> {
    fn of(exchanged: &'a Exchanged) -> Self {
        Self {
            access_token: exchanged.password.reveal(),
            issued_token_type: JWT,
            token_type: TOKEN_TYPE,
            expires_in: exchanged.expires_in,
            scope: &exchanged.scope,
            username: &exchanged.username,
            push_registry: &exchanged.push_registry,
            pull_registry: &exchanged.pull_registry,
            credential_id: &exchanged.credential_id,
            expires_at: exchanged.expires_at.rfc3339(),
        }
    }
}

/// The words for programs: those of RFC 6749 section 5.2 and RFC 8693 section 2.2.2, and three more of OAuth for what can
/// be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    InvalidRequest,
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    UnsupportedGrantType,
    SlowDown,
    TemporarilyUnavailable,
    ServerError,
}

impl Code {
    const ALL: [Self; 8] = [
        Self::InvalidRequest,
        Self::InvalidGrant,
        Self::InvalidScope,
        Self::InvalidTarget,
        Self::UnsupportedGrantType,
        Self::SlowDown,
        Self::TemporarilyUnavailable,
        Self::ServerError,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::SlowDown => "slow_down",
            Self::TemporarilyUnavailable => "temporarily_unavailable",
            Self::ServerError => "server_error",
        }
    }
}

enum CodeName {}
documented!(
    CodeName,
    word("The word for programs.", Code::ALL.map(Code::as_str))
);

/// An error of the token exchange, as OAuth has it.
#[derive(Serialize, ToSchema)]
pub(super) struct OAuthFailure {
    #[schema(value_type = CodeName)]
    error: &'static str,
    /// What was wrong, and what would be right.
    error_description: String,
}

impl OAuthFailure {
    fn new(code: Code, message: &str) -> Self {
        Self {
            error: code.as_str(),
            error_description: described(message),
        }
    }

    /// What the API's document shows of a status.
    pub(super) fn of_status(status: StatusCode, message: &str) -> Self {
        let code = match status {
            StatusCode::TOO_MANY_REQUESTS => Code::SlowDown,
            StatusCode::SERVICE_UNAVAILABLE => Code::TemporarilyUnavailable,
            StatusCode::INTERNAL_SERVER_ERROR => Code::ServerError,
            _ => Code::InvalidRequest,
        };
        Self::new(code, message)
    }
}

/// RFC 6749 section 5.2: printable ASCII without the double quote and the backslash.
fn described(message: &str) -> String {
    message
        .chars()
        .map(|letter| match letter {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => letter,
            _ => '?',
        })
        .collect()
}

/// An answer that says what went wrong.
pub(super) struct OAuthError {
    status: StatusCode,
    code: Code,
    message: String,
    retry_after: Option<HeaderValue>,
    limit: Option<&'static str>,
    is_refusal: bool,
}

impl OAuthError {
    fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            retry_after: None,
            limit: None,
            is_refusal: false,
        }
    }

    fn bad(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    fn later(message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(RETRY_SECONDS),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                Code::TemporarilyUnavailable,
                message,
            )
        }
    }

    fn internal(cause: &dyn std::error::Error) -> Self {
        log_cause("a token could not be exchanged", cause);
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::ServerError,
            "something went wrong inside; the log has the cause under the id of this request",
        )
    }
}

impl From<PairsError> for OAuthError {
    fn from(error: PairsError) -> Self {
        Self::bad(Code::InvalidRequest, error.to_string())
    }
}

impl From<CollectError> for OAuthError {
    fn from(error: CollectError) -> Self {
        let message = error.to_string();
        Self {
            limit: error.limit(),
            ..match error {
                CollectError::Busy => Self::later(message),
                CollectError::TooLarge(_) | CollectError::Broken(_) | CollectError::Idle => {
                    Self::new(error.status(), Code::InvalidRequest, message)
                }
            }
        }
    }
}

impl From<ExchangeError> for OAuthError {
    fn from(error: ExchangeError) -> Self {
        let message = error.to_string();
        match error {
            ExchangeError::Off => Self::bad(Code::UnsupportedGrantType, message),
            ExchangeError::InvalidGrant(_) => Self {
                is_refusal: true,
                ..Self::bad(Code::InvalidGrant, message)
            },
            ExchangeError::InvalidScope(_) => Self::bad(Code::InvalidScope, message),
            ExchangeError::Throttled(throttled) => Self {
                retry_after: Some(throttled.retry_after_s.into()),
                limit: Some(throttled.limit),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, Code::SlowDown, message)
            },
            ExchangeError::Later(_) => Self::later(message),
            ExchangeError::Unavailable(
                error @ (MetadataError::Unavailable(_) | MetadataError::Conflict(_)),
            ) => {
                log_cause("the service is unavailable", &error);
                Self::later("the service cannot do this now; try again in a few seconds")
            }
            ExchangeError::Unavailable(_) | ExchangeError::Internal(_) => Self::internal(&error),
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let mut response = answered(self.status, &OAuthFailure::new(self.code, &self.message));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if let Some(key) = self.limit {
            response.extensions_mut().insert(LimitReached(key));
        }
        if self.is_refusal {
            response.extensions_mut().insert(Refused(self.message));
        }
        response
    }
}

fn answered(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [(CONTENT_TYPE, JSON), (CACHE_CONTROL, NO_STORE)];
    // Serialising plain texts cannot fail.
    let body = serde_json::to_string(body).unwrap_or_default();
    (status, headers, body).into_response()
}

/// Exchanges a token of another issuer for a registry credential (RFC 8693).
///
/// The issuers and what their tokens are good for are in the configuration. Bad tokens count against the address, as wrong
/// passwords do.
#[utoipa::path(
    post, path = "/api/v1/registry/token-exchange", tag = "credentials", operation_id = "exchange",
    request_body(content = ExchangeForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The credential.", body = ExchangedCredential),
        (status = 429, description = "Too many bad tokens came from this address, or this identity asked too often."),
        (status = 503, description = "The issuer cannot be asked now, or rights cannot be read."),
    ),
    security(()),
)]
pub(super) async fn exchange(
    State(http): State<Shared>,
    request: Request,
) -> Result<Response, OAuthError> {
    let (parts, body) = request.into_parts();
    let Hosts(hosts) =
        Hosts::of(&parts, &http).ok_or_else(|| OAuthError::bad(Code::InvalidRequest, NO_HOST))?;
    let request = read(&http, &parts, body).await?;
    let exchanged = http.auth.exchange(&request, &hosts).await;
    let notes = parts.extensions.get::<Notes>();
    let exchanged = exchanged.inspect_err(|error| {
        if let ExchangeError::InvalidGrant(rejection) = error {
            http.metrics.auth_failure("exchange");
            if let (Some(notes), Some(owner)) = (notes, &rejection.owner) {
                notes.owner(owner);
            }
        }
    })?;
    let principal = &exchanged.principal;
    if let Some(notes) = notes {
        notes.principal(principal);
    }
    let workspace = principal.workspace().map(|own| &**own);
    let id = &exchanged.credential_id;
    http.audit
        .issued(principal, workspace, id, &exchanged.scope);
    Ok(answered(
        StatusCode::OK,
        &ExchangedCredential::of(&exchanged),
    ))
}

/// What is asked for.
async fn read(http: &Shared, parts: &Parts, body: Body) -> Result<ExchangeRequest, OAuthError> {
    let bad = |message: &str| OAuthError::bad(Code::InvalidRequest, message);
    if parts.headers.contains_key(AUTHORIZATION) {
        return Err(bad(
            "send no Authorization header: the subject_token says who asks",
        ));
    }
    if !is_form(parts) {
        return Err(OAuthError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::InvalidRequest,
            format!("this takes a form of the type {FORM}"),
        ));
    }
    let form = http.collect_form(body, http.client_address(parts)).await?;
    let form = Pairs::parse(&form.bytes)?;
    // RFC 6749 section 3.2: what has no value counts as left out.
    let one = |name| -> Result<Option<&str>, OAuthError> {
        Ok(form.one(name)?.filter(|value| !value.is_empty()))
    };
    if one("grant_type")? != Some(GRANT_TYPE) {
        let message = format!("grant_type is {GRANT_TYPE}");
        return Err(OAuthError::bad(Code::UnsupportedGrantType, message));
    }
    let subject_token = one("subject_token")?
        .ok_or_else(|| bad("subject_token, the token of the issuer, is missing"))?;
    if !matches!(one("subject_token_type")?, Some(JWT | ID_TOKEN)) {
        return Err(bad(&format!("subject_token_type is {JWT} or {ID_TOKEN}")));
    }
    if !matches!(one("requested_token_type")?, None | Some(JWT)) {
        return Err(bad(&format!("requested_token_type is {JWT}, or left out")));
    }
    if one("actor_token")?.is_some() {
        return Err(bad("actor_token: nobody acts for another here"));
    }
    let service = http.auth.service_name();
    let mut audiences = form.all("audience").filter(|audience| !audience.is_empty());
    if form.all("resource").any(|resource| !resource.is_empty())
        || audiences.any(|audience| audience != service)
    {
        return Err(OAuthError::bad(
            Code::InvalidTarget,
            format!(
                "credentials are for this registry alone: leave resource out, and audience too, or write {service}"
            ),
        ));
    }
    Ok(ExchangeRequest {
        subject_token: SecretText::new(subject_token.to_owned()),
        scope: one("scope")?.map(str::to_owned),
        from: http.origin(parts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_the_letters_of_the_rfc() {
        assert_eq!(described("a \"b\\c\" ü\n~"), "a 'b/c' ??~");
    }
}
