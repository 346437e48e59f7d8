//! What can go wrong with a call, by the same rules for every operation: an annotation names what is particular to it,
//! as `(status = 409, description = "why")`, and the rest, with the bodies of all, is added here.

use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Components, ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{Modify, ToSchema};

use super::super::error::Failure;
use super::super::token_exchange::OAuthFailure;
use super::super::{owns, token_exchange};
use super::operations;
use super::parameters::WORKSPACE_HEADER;
use crate::grammar::{documented, word};
use crate::oci::ErrorCode;

/// What is documented of a status where the operation says no more, and what a message may say.
const REFUSALS: [(StatusCode, &str, &str); 13] = [
    (
        StatusCode::BAD_REQUEST,
        "The request is not what this call takes; the message says what would be right.",
        "the parameters are not UTF-8 in percent-encoding",
    ),
    (
        StatusCode::UNAUTHORIZED,
        "There are no credentials, or they do not count.",
        "the key is unknown, or it has ended",
    ),
    (
        StatusCode::FORBIDDEN,
        "The role of this key does not allow it, or the key is narrowed to something else.",
        "this takes a key with the role admin; this one is viewer",
    ),
    (
        StatusCode::NOT_FOUND,
        "There is no such thing, or it belongs to another workspace.",
        "there is no workspace \"shop\"",
    ),
    (
        StatusCode::REQUEST_TIMEOUT,
        "The body did not arrive in time.",
        "the body did not arrive in time",
    ),
    (
        StatusCode::CONFLICT,
        "It cannot be done as things are now.",
        "there is an account \"acme\" already",
    ),
    (
        StatusCode::GONE,
        "The time for it is over.",
        "the deletion could be undone until 2026-01-08T00:00:00Z: push the image again",
    ),
    (
        StatusCode::PRECONDITION_FAILED,
        "The precondition does not hold.",
        "the precondition does not hold: the reference does not exist",
    ),
    (
        StatusCode::PAYLOAD_TOO_LARGE,
        "The body is too large.",
        "the body may have 65536 bytes",
    ),
    (
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body is of another type than this call takes.",
        "the body must be JSON: Content-Type: application/json",
    ),
    (
        StatusCode::TOO_MANY_REQUESTS,
        "This was done too often in a minute.",
        "too many wrong passwords and keys came from this address; try again in 5 s",
    ),
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "Something went wrong inside.",
        "something went wrong inside; the log has the cause under the id of this request",
    ),
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "The service cannot do this now.",
        "the service cannot do this now; try again in a few seconds",
    ),
];

enum DistributionCode {}
documented!(
    DistributionCode,
    word(
        "The word for programs.",
        ErrorCode::ALL.map(ErrorCode::as_str)
    )
);

enum DistributionFailure {}
documented!(DistributionFailure, {
    let message = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What was wrong, and what would be right."));
    let error = ObjectBuilder::new()
        .property("code", DistributionCode::schema())
        .property("message", message)
        .required("code")
        .required("message");
    ObjectBuilder::new()
        .description(Some(
            "An error, as the OCI distribution specification has it.",
        ))
        .property("errors", ArrayBuilder::new().items(error))
        .required("errors")
});

/// The name of its header among those that answers share.
const REQUEST_ID: &str = "RequestId";

/// The shapes that errors have.
#[derive(Clone, Copy)]
enum Shape {
    /// The envelope of the management API.
    Envelope,
    /// That of the distribution specification.
    Distribution,
    /// That of OAuth.
    OAuth,
}

impl Shape {
    fn of(path: &str) -> Self {
        if path == token_exchange::PATH {
            Self::OAuth
        } else if owns(path) {
            Self::Envelope
        } else {
            Self::Distribution
        }
    }

    fn schema_name(self) -> String {
        match self {
            Self::Envelope => Failure::name(),
            Self::Distribution => DistributionFailure::name(),
            Self::OAuth => OAuthFailure::name(),
        }
        .into_owned()
    }

    /// The name of a status among the responses that operations share, such as `NotFound`.
    fn response_name(self, status: StatusCode) -> String {
        let reason = status.canonical_reason().unwrap_or_default();
        let name = reason.replace(' ', "");
        match self {
            Self::Envelope => name,
            Self::Distribution => format!("Distribution{name}"),
            Self::OAuth => format!("OAuth{name}"),
        }
    }

    fn example(self, status: StatusCode, message: &str) -> Value {
        match self {
            Self::Envelope => json!(Failure::new(status, message.to_owned(), None)),
            Self::OAuth => json!(OAuthFailure::of_status(status, message)),
            Self::Distribution => {
                let code = match status {
                    StatusCode::UNAUTHORIZED => ErrorCode::Unauthorized,
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                        ErrorCode::TooManyRequests
                    }
                    _ => ErrorCode::Unsupported,
                };
                json!({"errors": [{"code": code, "message": message}]})
            }
        }
    }

    fn response(self, status: StatusCode, description: &str, message: &str) -> Response {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name(self.schema_name())))
            .example(Some(self.example(status, message)));
        let mut response = ResponseBuilder::new()
            .description(description)
            .content("application/json", content.build())
            .build();
        let own = match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some((
                "Retry-After",
                header("When to try again, in seconds.", Type::Integer),
            )),
            StatusCode::UNAUTHORIZED => Some((
                "WWW-Authenticate",
                header("How to authenticate.", Type::String),
            )),
            _ => None,
        };
        let own = own.map(|(name, header)| (name.to_owned(), header.into()));
        response.headers.extend(own);
        with_request_id(&mut response);
        response
    }
}

fn header(description: &str, of_type: Type) -> Header {
    HeaderBuilder::new()
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(of_type)))
        .build()
}

/// Every answer has it.
fn with_request_id(response: &mut Response) {
    let reference = Ref::new(format!("#/components/headers/{REQUEST_ID}"));
    let name = String::from("X-Request-Id");
    response.headers.insert(name, RefOr::Ref(reference));
}

/// Adds a schema and those that it refers to.
fn add_schema<T: ToSchema>(components: &mut Components) {
    let mut schemas = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut schemas);
    components.schemas.extend(schemas);
}

/// Adds what can go wrong.
pub(super) struct Refusals;

impl Modify for Refusals {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        add_schema::<Failure>(components);
        add_schema::<DistributionFailure>(components);
        add_schema::<OAuthFailure>(components);
        let id = header("The id of the request in the log.", Type::String);
        components.headers.insert(REQUEST_ID.to_owned(), id.into());
        for (path, item) in &mut document.paths.paths {
            let shape = Shape::of(path);
            for operation in operations(item) {
                complete(operation, shape, components);
            }
        }
    }
}

fn complete(operation: &mut Operation, shape: Shape, components: &mut Components) {
    let expected = expected(operation, shape);
    let responses = &mut operation.responses.responses;
    for response in responses.values_mut() {
        if let RefOr::T(response) = response {
            with_request_id(response);
        }
    }
    for (status, description, message) in REFUSALS {
        let own = responses.get(status.as_str());
        let own = match own {
            Some(RefOr::T(response)) => Some(response.description.clone()),
            Some(RefOr::Ref(_)) | None => None,
        };
        if own.is_none() && !expected.contains(&status) {
            continue;
        }
        let name = shape.response_name(status);
        let reference = Ref::builder()
            .ref_location(Ref::from_response_name(&name).ref_location)
            .description(own);
        responses.insert(status.as_str().to_owned(), RefOr::Ref(reference.build()));
        let shared = shape.response(status, description, message);
        components.responses.insert(name, shared.into());
    }
}

/// The statuses that follow from what an operation takes.
fn expected(operation: &Operation, shape: Shape) -> Vec<StatusCode> {
    let mut statuses = vec![StatusCode::BAD_REQUEST, StatusCode::INTERNAL_SERVER_ERROR];
    let is_public = operation.security.as_deref() == Some(&[SecurityRequirement::default()]);
    if !is_public {
        statuses.extend([
            StatusCode::UNAUTHORIZED,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ]);
        if let Shape::Envelope = shape {
            statuses.push(StatusCode::FORBIDDEN);
        }
    }
    if operation.request_body.is_some() {
        statuses.extend([
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ]);
    }
    let mut parameters = operation.parameters.iter().flatten();
    if parameters.any(|parameter| matches!(parameter, RefOr::T(own) if names_something(own))) {
        statuses.push(StatusCode::NOT_FOUND);
    }
    statuses
}

/// Whether a parameter names what may not be there.
fn names_something(parameter: &Parameter) -> bool {
    parameter.parameter_in == ParameterIn::Path || parameter.name == WORKSPACE_HEADER
}
