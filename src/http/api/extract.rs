//! What handlers of the management API take out of a request, with errors in its envelope.

mod in_path;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::sync::Arc;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::super::Shared;
use super::super::query::{Pairs, PairsError};
use super::super::respond::{JSON, WORKSPACE};
use super::super::track::Notes;
use super::error::ApiError;
use super::openapi::optional;
use crate::auth::{Manager, Principal, Wish, single_header};
use crate::listed::Listed;
use crate::tenancy::check_named;
pub(super) use in_path::{
    PathDigest, PathHolder, PathId, PathImage, PathName, PathTag, PathTarget,
};

/// Items on a page that names no limit.
const DEFAULT_LIMIT: u32 = 100;
/// Items on a page at most.
const MAX_LIMIT: u32 = 1000;
/// The longest cursor that is read, in bytes.
const CURSOR_LIMIT_BYTES: usize = 1024;

/// Whoever calls, by an API key or an operator key, and the workspace that the call names.
pub(super) struct Key {
    pub(super) principal: Arc<Principal>,
    pub(super) named_workspace: Option<String>,
}

impl FromRequestParts<Shared> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, http: &Shared) -> Result<Self, ApiError> {
        let header = single_header(
            parts
                .headers
                .get_all(AUTHORIZATION)
                .iter()
                .map(HeaderValue::as_bytes),
        );
        let authenticated = match header {
            Ok(header) => {
                let from = http.origin(parts);
                http.auth.authenticate_api(header, &from).await
            }
            Err(error) => Err(error),
        };
        let notes = parts.extensions.get::<Notes>();
        let principal = authenticated.inspect_err(|error| {
            http.metrics.auth_failure("api");
            if let (Some(notes), Some(owner)) = (notes, error.owner()) {
                notes.owner(owner);
            }
        })?;
        if let Some(notes) = notes {
            notes.principal(&principal);
        }
        let named_workspace = parts.headers.get(WORKSPACE).map(|value| {
            value.to_str().map(str::to_owned).map_err(|_| {
                ApiError::bad_request(
                    "X-Workspace names a workspace, and has characters that no name has",
                )
            })
        });
        let named_workspace = named_workspace.transpose()?;
        check_named(&principal, named_workspace.as_deref())?;
        let workspace = principal.workspace();
        let sender = workspace.map_or_else(String::new, |workspace| workspace.id.clone());
        parts.extensions.insert(Sender(sender));
        Ok(Self {
            principal,
            named_workspace,
        })
    }
}

/// The workspace of whoever sends a body, which counts against what it may hold in memory; empty for the operator.
#[derive(Clone)]
struct Sender(String);

/// What the repositories of the workspace begin with that a call is about.
#[derive(Clone)]
struct Prefix(String);

/// Somebody who may do what `W` says in the workspace that the call is about.
pub(super) struct Manage<W>(pub(super) Manager<W>);

impl<W: Wish> FromRequestParts<Shared> for Manage<W> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, http: &Shared) -> Result<Self, ApiError> {
        let key = Key::from_request_parts(parts, http).await?;
        let named = key.named_workspace.as_deref();
        let workspace = http.tenancy.acting_workspace(&key.principal, named).await?;
        parts.extensions.insert(Prefix(workspace.prefix.clone()));
        Ok(Self(http.auth.manage(&key.principal, workspace)?))
    }
}

/// `?force=true`: whether the leases of others are overridden.
pub(super) struct Force(pub(super) bool);

impl FromRequestParts<Shared> for Force {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        flag(parts, "force").map(Self)
    }
}

impl IntoParams for Force {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![optional_flag(
            "force",
            "Whether leases of other workspaces are overridden, which takes an admin and is told to the audit log.",
        )]
    }
}

/// A parameter that [`flag`] reads, in the API's document.
pub(super) fn optional_flag(name: &str, description: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::Boolean);
    optional(ParameterIn::Query, name, description, schema)
}

/// A parameter of the query that may be given once.
pub(super) fn parameter(parts: &Parts, name: &'static str) -> Result<Option<String>, ApiError> {
    let bad = |error: PairsError| ApiError::bad_request(error.to_string());
    let query = Pairs::of_query(parts).map_err(bad)?;
    Ok(query.one(name).map_err(bad)?.map(str::to_owned))
}

/// A parameter that is true or false, and false unless it is given.
pub(super) fn flag(parts: &Parts, name: &'static str) -> Result<bool, ApiError> {
    match parameter(parts, name)?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(ApiError::bad_request(format!("{name} is true or false"))),
    }
}

/// A JSON body. An empty one reads as `{}`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Shared> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, http: &Shared) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let sender = parts.extensions.get::<Sender>();
        let sender = sender.map_or("", |Sender(workspace_id)| workspace_id);
        let collected = http.collect_json(body, sender).await?;
        let bytes = &collected.bytes;
        let text: &[u8] = if bytes.iter().all(u8::is_ascii_whitespace) {
            b"{}"
        } else {
            bytes
        };
        if text.len() > 2 {
            check_type(&parts)?;
        }
        // serde would take an array as the fields of an object in the order of our code.
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        if first != Some(&b'{') {
            return Err(ApiError::bad_request(
                "the body is a JSON object in UTF-8, without a byte order mark",
            ));
        }
        read(text).map(Self)
    }
}

/// Reads JSON; an error says in which field it is.
fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, ApiError> {
    let bad = |place: &str, error: &serde_json::Error| {
        ApiError::bad_request(format!(
            "the body is not what this call takes: {place}{error}"
        ))
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // Where the text itself is broken there is no field, or none that is known.
        let place = match error.path().to_string().as_str() {
            "." | "?" => String::new(),
            path => format!("{path}: "),
        };
        bad(&place, error.inner())
    })?;
    json.end().map_err(|error| bad("", &error))?;
    Ok(read)
}

fn check_type(parts: &Parts) -> Result<(), ApiError> {
    let Some(value) = parts.headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let name = value
        .to_str()
        .unwrap_or("")
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    if name == "application/json" {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "the body must be JSON: Content-Type: application/json",
    ))
}

/// The page of a list: how many, and after what.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Items on the page at most.
    #[param(required = false, minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// Where to go on: `nextCursor` of the page before, as it was given.
    #[param(max_length = 1024)]
    cursor: Option<String>,
}

impl FromRequestParts<Shared> for ListQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let bad = |error: &dyn std::fmt::Display| ApiError::bad_request(error.to_string());
        let query = Pairs::of_query(parts).map_err(|error| bad(&error))?;
        let limit = match query.one("limit").map_err(|error| bad(&error))? {
            None => DEFAULT_LIMIT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| {
                    ApiError::bad_request(format!("limit is a number from 1 to {MAX_LIMIT}"))
                })?,
        };
        let cursor = query
            .one("cursor")
            .map_err(|error| bad(&error))?
            .map(str::to_owned);
        Ok(Self { limit, cursor })
    }
}

impl ListQuery {
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// The same for a list whose rows have numbers.
    pub(super) fn after_number(&self, list: &str) -> Result<Option<i64>, ApiError> {
        let number = self.after(list)?.map(|text| text.parse());
        number.transpose().map_err(|_| foreign_cursor())
    }

    /// What the list goes on after; a cursor of another list is refused.
    pub(super) fn after(&self, list: &str) -> Result<Option<String>, ApiError> {
        let Some(cursor) = &self.cursor else {
            return Ok(None);
        };
        let decoded = (cursor.len() <= CURSOR_LIMIT_BYTES)
            .then(|| URL_SAFE_NO_PAD.decode(cursor).ok())
            .flatten();
        decoded
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .filter(|text| !text.contains('\0'))
            .and_then(|text| text.strip_prefix(&format!("{list}\n")).map(str::to_owned))
            .map(Some)
            .ok_or_else(foreign_cursor)
    }
}

fn foreign_cursor() -> ApiError {
    ApiError::bad_request("the cursor is not one of this list: use nextCursor as it was given")
}

/// One page of a list in its envelope.
pub(super) fn listed<T: Serialize>(list: &str, page: &Listed<T>) -> Response {
    let next = page
        .next
        .as_ref()
        .map(|last| URL_SAFE_NO_PAD.encode(format!("{list}\n{last}")));
    answer(
        StatusCode::OK,
        &json!({"items": page.items, "nextCursor": next}),
    )
}

/// A success in its envelope.
pub(super) fn answer(status: StatusCode, data: &impl Serialize) -> Response {
    let body = json!({"success": true, "data": data}).to_string();
    (status, [(CONTENT_TYPE, JSON)], body).into_response()
}
