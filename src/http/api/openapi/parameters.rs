//! Parameters that handlers read themselves: those that may be left out, and the header by which an operator names a
//! workspace.

use utoipa::IntoParams;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{RefOr, Required, Schema};

use crate::tenancy::Name;

/// The header, as it is written for people.
pub(super) const WORKSPACE_HEADER: &str = "X-Workspace";

/// A parameter that may be left out.
pub(in crate::http::api) fn optional(
    place: ParameterIn,
    name: &str,
    description: &str,
    schema: impl Into<RefOr<Schema>>,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// For `params(InWorkspace)`: on calls that act in one workspace.
pub(in crate::http::api) enum InWorkspace {}

impl IntoParams for InWorkspace {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![optional(
            ParameterIn::Header,
            WORKSPACE_HEADER,
            "The workspace to act in. An operator key must name one; the key of a workspace may name its own.",
            Name::schema(),
        )]
    }
}

/// For `params(OfWorkspace)`: on calls that tell an operator of one workspace, or of all of them.
pub(in crate::http::api) enum OfWorkspace {}

impl IntoParams for OfWorkspace {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![optional(
            ParameterIn::Header,
            WORKSPACE_HEADER,
            "The workspace to look at. An operator key that names none sees all of them; the key of a workspace may name its own.",
            Name::schema(),
        )]
    }
}
