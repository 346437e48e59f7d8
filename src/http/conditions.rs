//! What a client says it has already, and which part it wants: RFC 9110 sections 13 and 14. Content that is named by a
//! digest has the digest as its entity tag.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use berth_storage::{Digest, DigestError};

use super::Shared;
use super::respond;
use crate::oci::{Precondition, RequestRange};

/// The entity tags of `If-None-Match`: what the client has.
pub(super) struct Known(Vec<HeaderValue>);

impl FromRequestParts<Shared> for Known {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Infallible> {
        let tags = parts.headers.get_all(IF_NONE_MATCH);
        Ok(Self(tags.iter().cloned().collect()))
    }
}

impl Known {
    /// Whether the client has this content.
    pub(super) fn includes(&self, digest: &Digest) -> bool {
        self.0.iter().any(|header| names(header, digest))
    }
}

/// Whether a header of entity tags names this digest, or everything.
fn names(header: &HeaderValue, digest: &Digest) -> bool {
    let Ok(text) = header.to_str() else {
        return false;
    };
    let digest = digest.to_string();
    text.split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == digest)
}

/// The part of a body that is asked for.
pub(super) struct AskedRange {
    range: Option<HeaderValue>,
    /// The entity tag of what the client has a part of.
    part_of: Option<HeaderValue>,
}

impl FromRequestParts<Shared> for AskedRange {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Infallible> {
        Ok(Self {
            range: parts.headers.get(RANGE).cloned(),
            part_of: parts.headers.get(IF_RANGE).cloned(),
        })
    }
}

impl AskedRange {
    /// What is asked for of this content: all of it when the client has a part of something else (RFC 9110 section
    /// 13.1.5).
    pub(super) fn of(&self, digest: &Digest) -> RequestRange {
        let of_another = |tag: &HeaderValue| *tag != respond::etag(digest);
        let range = self.range.as_ref().and_then(|range| range.to_str().ok());
        match range {
            Some(range) if !self.part_of.as_ref().is_some_and(of_another) => {
                RequestRange::parse(range)
            }
            Some(_) | None => RequestRange::parse(""),
        }
    }
}

/// Headers that are no precondition.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPrecondition {
    #[error("If-Match and If-None-Match cannot both be given")]
    Both,
    #[error("the entity tag of a manifest is its digest in quotes: {0}")]
    EntityTag(#[from] DigestError),
}

/// What `If-Match` and `If-None-Match` ask of a change.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, NoPrecondition> {
    let tags = |name: HeaderName| {
        let mut tags = Vec::new();
        for value in headers.get_all(&name) {
            let text = value.to_str().unwrap_or("?");
            tags.extend(
                text.split(',')
                    .map(|tag| tag.trim().to_owned())
                    .filter(|tag| !tag.is_empty()),
            );
        }
        (!tags.is_empty()).then_some(tags)
    };
    match (tags(IF_MATCH), tags(IF_NONE_MATCH)) {
        (None, None) => Ok(Precondition::None),
        (Some(tags), None) if tags == ["*"] => Ok(Precondition::Exists),
        (None, Some(tags)) if tags == ["*"] => Ok(Precondition::Absent),
        (Some(tags), None) => entity_digests(&tags).map(Precondition::Is),
        (None, Some(tags)) => entity_digests(&tags).map(Precondition::IsNot),
        (Some(_), Some(_)) => Err(NoPrecondition::Both),
    }
}

fn entity_digests(tags: &[String]) -> Result<Vec<Digest>, NoPrecondition> {
    tags.iter()
        .map(|tag| Ok(tag.trim_matches('"').parse()?))
        .collect()
}
