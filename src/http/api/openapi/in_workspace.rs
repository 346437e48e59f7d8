//! The header by which an operator names a workspace, as a parameter of the calls that act in one.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::{IntoParams, PartialSchema as _};

use crate::tenancy::Name;

/// The header, as it is written for people.
pub(super) const WORKSPACE_HEADER: &str = "X-Workspace";

/// For `params(InWorkspace)`.
pub(in crate::http::api) enum InWorkspace {}

impl IntoParams for InWorkspace {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let header = ParameterBuilder::new()
            .name(WORKSPACE_HEADER)
            .parameter_in(ParameterIn::Header)
            .description(Some(
                "The workspace to act in. An operator key must name one; the key of a workspace may name its own.",
            ))
            .schema(Some(Name::schema()));
        vec![header.build()]
    }
}
