//! What stands in the path of a request, each with its place in the API's document.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use berth_storage::{Digest, DigestError};
use utoipa::IntoParams;

use super::super::super::Shared;
use super::super::super::access::segment;
use super::super::super::track::Notes;
use super::super::error::ApiError;
use super::Prefix;
use crate::grammar::Id;
use crate::images::{HolderInPath, LeaseHolderName, names};
use crate::oci::{ImageName, RepositoryName, Tag, TagError};
use crate::tenancy::Name;

/// The name of the image of the path, without the workspace's prefix.
#[derive(IntoParams)]
#[into_params(names("name"), parameter_in = Path)]
pub(in crate::http::api) struct PathImage(
    /// The name of the image, without the workspace's prefix. Its slashes stand raw.
    #[param(value_type = names::ImageInPath, inline)]
    pub(in crate::http::api) ImageName,
);

impl FromRequestParts<Shared> for PathImage {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let text = segment(parts, "name").await?;
        let name: ImageName = text.parse().map_err(|error| {
            let hint = if text.contains([':', '@']) {
                ": this call is about a whole image, so leave tag and digest out"
            } else {
                ""
            };
            ApiError::bad_request(format!("{error}{hint}"))
        })?;
        if let (Some(notes), Some(Prefix(prefix))) = (
            parts.extensions.get::<Notes>(),
            parts.extensions.get::<Prefix>(),
        ) && let Ok(repository) = RepositoryName::new(prefix, &name)
        {
            notes.repository(&repository);
        }
        Ok(Self(name))
    }
}

/// The workspace of the path that an image is shared with.
#[derive(IntoParams)]
#[into_params(names("target"), parameter_in = Path)]
pub(in crate::http::api) struct PathTarget(
    /// The name of the workspace that the image is shared with.
    #[param(value_type = Name, inline)]
    pub(in crate::http::api) String,
);

impl FromRequestParts<Shared> for PathTarget {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        printable(segment(parts, "target").await?).map(Self)
    }
}

/// The holder of the lease of the path.
#[derive(IntoParams)]
#[into_params(names("holder"), parameter_in = Path)]
pub(in crate::http::api) struct PathHolder(
    /// The caller's own name for whatever uses the image. Its slashes stand raw.
    #[param(value_type = HolderInPath, inline)]
    pub(in crate::http::api) LeaseHolderName,
);

impl FromRequestParts<Shared> for PathHolder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        Ok(Self(segment(parts, "holder").await?.parse()?))
    }
}

/// The tag of the path.
#[derive(IntoParams)]
#[into_params(names("tag"), parameter_in = Path)]
pub(in crate::http::api) struct PathTag(
    /// The tag.
    #[param(value_type = names::Tag, inline)]
    pub(in crate::http::api) Tag,
);

impl FromRequestParts<Shared> for PathTag {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let tag = segment(parts, "tag").await?.parse();
        tag.map(Self)
            .map_err(|error: TagError| ApiError::bad_request(error.to_string()))
    }
}

/// The digest of the path.
#[derive(IntoParams)]
#[into_params(names("digest"), parameter_in = Path)]
pub(in crate::http::api) struct PathDigest(
    /// The digest.
    #[param(value_type = names::Digest, inline)]
    pub(in crate::http::api) Digest,
);

impl FromRequestParts<Shared> for PathDigest {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let digest = segment(parts, "digest").await?.parse();
        digest
            .map(Self)
            .map_err(|error: DigestError| ApiError::bad_request(error.to_string()))
    }
}

/// A text that a database can be asked for.
fn printable(text: String) -> Result<String, ApiError> {
    if text.chars().any(char::is_control) {
        return Err(ApiError::bad_request("the path has control characters"));
    }
    Ok(text)
}

/// The name of the account or workspace of the path.
#[derive(IntoParams)]
#[into_params(names("name"), parameter_in = Path)]
pub(in crate::http::api) struct PathName(
    /// The name of the account or workspace.
    #[param(value_type = Name, inline)]
    pub(in crate::http::api) String,
);

impl FromRequestParts<Shared> for PathName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        printable(segment(parts, "name").await?).map(Self)
    }
}

/// The id in the path.
#[derive(IntoParams)]
#[into_params(names("id"), parameter_in = Path)]
pub(in crate::http::api) struct PathId(
    /// The id.
    #[param(value_type = Id, inline)]
    pub(in crate::http::api) String,
);

impl FromRequestParts<Shared> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        printable(segment(parts, "id").await?).map(Self)
    }
}
