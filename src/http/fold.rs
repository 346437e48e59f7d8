//! Folds the repository name in a path into one segment, so that the route table can read like the
//! specification's: `/v2/{name}/blobs/{digest}`.
//!
//! axum matches no wildcard in mid-path, and a repository name may contain `/`. So [`fold_names`] wraps the router
//! from outside (a router's own layers run after routing) and rewrites `/v2/team/app/tags/list` to
//! `/v2/team%2Fapp/tags/list`. It owns the shape of such paths and nothing else: it must not know who is calling,
//! which names exist, or even what a valid name is.
//!
//! # Where the name ends
//!
//! The name is found from the right. Everything behind it has a fixed number of segments, none of which contains
//! a slash, and the segment before the last one says which ending it is: `manifests`, `blobs`, `referrers`, `tags`
//! (before `list`), or `uploads` (after `blobs`). These differ, so at most one ending fits a path, whatever
//! components the name has: `/v2/a/blobs/uploads/manifests/latest` is the manifest `latest` of `a/blobs/uploads`,
//! and `/v2/a/manifests/blobs/uploads/` begins an upload to `a/manifests`.
//!
//! # How a handler gets the name
//!
//! axum decodes every path parameter once when it routes. What it hands out is therefore the name as it stood in
//! the request, or, where code sees the folded segment itself (`request.uri()`), [`unfold_name`] decodes it. Either
//! way `RepositoryName` must then be parsed from it; nothing may be decoded again.
//!
//! A percent sign in the name as it was sent never decodes into anything: `a%2Fb` must not become the repository
//! `a/b` after something else, such as a proxy, took it for one segment. No valid name contains a percent sign, so
//! folding replaces it by [`PERCENT_STAND_IN`], which looks the same in an error message, is in no name either, and
//! which no decoder takes for an escape. So such a request ends as `NAME_INVALID`, and even a second decoding by
//! mistake changes nothing.
//!
//! # Only once
//!
//! For the same reason a folded path cannot be told from one that a client sent, and folding it again would spoil
//! it. A mark on the request makes a second [`fold_request`] do nothing.

use std::borrow::Cow;

use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, Uri};
use tower::util::MapRequest;

use crate::oci::RepositoryName;

/// What a percent sign in a name turns into: U+FF05, the full-width percent sign.
pub const PERCENT_STAND_IN: &str = "\u{FF05}";

/// [`PERCENT_STAND_IN`] as it stands in a path.
const ENCODED_PERCENT_STAND_IN: &str = "%EF%BC%85";

const ENCODED_SLASH: &str = "%2F";

/// Where a request goes whose path does not fit into a URI once it is folded: to no route, so to a 404.
const NOWHERE: &str = "/v2/-/-";

/// The folded path has been set; kept in the request's extensions.
#[derive(Clone, Copy, Debug)]
struct Folded;

/// One segment behind a name.
#[derive(Clone, Copy, Debug)]
enum Segment {
    /// This text and no other.
    Literal(&'static str),
    /// Whatever is there, even nothing: whether it is valid is for the handler to say.
    Parameter,
}

use Segment::{Literal, Parameter};

/// Paths that hold a name between a prefix and one of several endings.
struct Table {
    /// What comes before the name, with its last slash.
    prefix: &'static str,
    /// What comes after it, from left to right; the first ending that fits counts.
    endings: &'static [&'static [Segment]],
}

/// The endpoints of the distribution specification that name a repository ("Endpoints").
const DISTRIBUTION: Table = Table {
    prefix: "/v2/",
    endings: &[
        &[Literal("manifests"), Parameter],
        &[Literal("blobs"), Parameter],
        // Without an id, and so with a slash at the end, this begins an upload.
        &[Literal("blobs"), Literal("uploads"), Parameter],
        &[Literal("tags"), Literal("list")],
        &[Literal("referrers"), Parameter],
    ],
};

/// Paths of the management API with the name of an image; a sub-resource comes after `/-/`, which is in no name.
const IMAGES: Table = Table {
    prefix: "/api/v1/images/",
    endings: &[
        &[Literal("-"), Literal("tags"), Parameter, Literal("history")],
        &[Literal("-"), Literal("tags"), Parameter],
        &[Literal("-"), Literal("tags")],
        &[Literal("-"), Literal("manifests"), Parameter],
        &[Literal("-"), Literal("share"), Parameter],
        &[Literal("-"), Literal("share")],
        &[Literal("-"), Literal("retention"), Literal("preview")],
        &[Literal("-"), Literal("retention")],
        &[],
    ],
};

/// The holder of a lease is all of the rest.
const LEASES: Table = Table {
    prefix: "/api/v1/leases/",
    endings: &[&[]],
};

/// Every kind of path that is folded.
const TABLES: &[Table] = &[DISTRIBUTION, IMAGES, LEASES];

/// What is asked for by POST here; by a method that images have it is an image with this name.
const RESOLVE: &str = "/api/v1/images/resolve";
/// Another method is refused as one of [`RESOLVE`], since that is what the API's document has at this path.
const METHODS_OF_IMAGES: [Method; 4] = [Method::GET, Method::HEAD, Method::PATCH, Method::DELETE];
/// The same path in a form that the route of [`RESOLVE`] does not fit.
const IMAGE_NAMED_RESOLVE: &str = "/api/v1/images/%72esolve";

/// What [`fold_names`] puts in front of a router.
pub type Fold<B> = fn(Request<B>) -> Request<B>;

/// A service that folds the path of every request before `router` sees it.
pub fn fold_names<S, B>(router: S) -> MapRequest<S, Fold<B>> {
    MapRequest::new(router, fold_request::<B>)
}

/// The request with its path folded; the query stays as it is.
pub fn fold_request<B>(mut request: Request<B>) -> Request<B> {
    if request.extensions().get::<Folded>().is_some() {
        return request;
    }
    let folded = match fold_path(request.uri().path()) {
        Cow::Borrowed(RESOLVE) if METHODS_OF_IMAGES.contains(request.method()) => {
            with_path(request.uri(), IMAGE_NAMED_RESOLVE.to_owned())
        }
        Cow::Borrowed(_) => return request,
        Cow::Owned(path) => with_path(request.uri(), path),
    };
    *request.uri_mut() = folded;
    request.extensions_mut().insert(Folded);
    request
}

fn with_path(uri: &Uri, mut path: String) -> Uri {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    // Folding can push a path that just fitted beyond the limit of `Uri`. Leaving such a path unfolded would hand
    // percent signs in its name to axum's decoder, so it goes where no route is.
    let path = PathAndQuery::try_from(path).unwrap_or_else(|_| PathAndQuery::from_static(NOWHERE));
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from_static(NOWHERE))
}

/// The path with its name, if it has one, as a single percent-encoded segment.
///
/// Works on the path as it was sent, before any decoding. Borrowed, without an allocation, if there is no name or
/// the name is one segment already.
#[must_use]
pub fn fold_path(path: &str) -> Cow<'_, str> {
    let Some((before, name, after)) = TABLES.iter().find_map(|table| split(table, path)) else {
        return Cow::Borrowed(path);
    };
    if !name.contains(['/', '%']) {
        return Cow::Borrowed(path);
    }
    let mut folded = String::with_capacity(path.len() + ENCODED_PERCENT_STAND_IN.len());
    folded.push_str(before);
    push_encoded(&mut folded, name);
    folded.push_str(after);
    Cow::Owned(folded)
}

/// Splits a path into what is before the name, the name, and what is behind it, beginning with a slash.
fn split<'a>(table: &Table, path: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
    let rest = path.strip_prefix(table.prefix)?;
    let name_length = table
        .endings
        .iter()
        .find_map(|ending| length_without(ending, rest))?;
    let (name, after) = rest.split_at(name_length);
    Some((table.prefix, name, after))
}

/// How long `rest` is without an ending that fits, if there is anything before it.
fn length_without(ending: &[Segment], rest: &str) -> Option<usize> {
    let mut name = rest;
    for segment in ending.iter().rev() {
        let (before, last) = name.rsplit_once('/')?;
        match segment {
            Literal(text) if *text != last => return None,
            Literal(_) | Parameter => name = before,
        }
    }
    (!name.is_empty()).then_some(name.len())
}

/// Encodes what a valid name may contain, and replaces what none may.
///
/// A name beyond the limit is cut just after it: it stays invalid, and the path stays short.
fn push_encoded(path: &mut String, name: &str) {
    for (at, character) in name.char_indices() {
        if at > RepositoryName::MAX_LENGTH {
            return;
        }
        match character {
            '/' => path.push_str(ENCODED_SLASH),
            '%' => path.push_str(ENCODED_PERCENT_STAND_IN),
            other => path.push(other),
        }
    }
}

/// The name in a segment that [`fold_path`] made: the one decoding that there is.
///
/// A name that axum has decoded already comes back unchanged.
#[must_use]
pub fn unfold_name(segment: &str) -> String {
    segment
        .replace(ENCODED_SLASH, "/")
        .replace(ENCODED_PERCENT_STAND_IN, PERCENT_STAND_IN)
}

#[cfg(test)]
mod tests;
