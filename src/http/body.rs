//! Request bodies: streamed with a limit on silence, or collected with a limit on size and on what all of them hold.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use super::Http;

use crate::registry::ChunkError;
use crate::shares::{Neighbourhood, Share, Shares};

/// A body as it comes, which holds its place among the transfers until it ends. It is an error when nothing comes for `idle_seconds`.
pub(super) fn stream(
    body: Body,
    idle_seconds: u64,
    transfer: Share<String>,
) -> impl Stream<Item = Result<Bytes, ChunkError>> + Send + Unpin + 'static {
    let idle = Duration::from_secs(idle_seconds);
    Box::pin(futures_util::stream::unfold(
        (body.into_data_stream(), transfer),
        move |(mut body, transfer)| async move {
            let item = match tokio::time::timeout(idle, body.next()).await {
                Ok(None) => return None,
                Ok(Some(Ok(bytes))) => Ok(bytes),
                Ok(Some(Err(error))) => Err(ChunkError::Broken(error.to_string())),
                Err(_) => Err(ChunkError::Idle(idle_seconds)),
            };
            Some((item, (body, transfer)))
        },
    ))
}

/// Of what all may hold, what one workspace may: one part of so many.
const WORKSPACE_PART: usize = 4;
/// Of what all may hold, what one address may: one part of so many. It is not known yet whose it is.
const ADDRESS_PART: usize = 16;
/// How long a form may take as a whole, in seconds: it is small, and anybody may send one.
const FORM_SECONDS: u64 = 10;

/// Memory for the bodies of requests: of three kinds, so that none stands in the way of another.
#[derive(Clone, Debug)]
pub struct Budgets {
    manifests: Shares<String>,
    json: Shares<String>,
    forms: Shares<Neighbourhood>,
}

impl Budgets {
    /// So many bytes of each kind, and for one workspace or address a part of it, but at least the largest body.
    #[must_use]
    pub fn new(bytes: usize, largest_body_bytes: usize) -> Self {
        let each = (bytes / WORKSPACE_PART).max(largest_body_bytes);
        let of_address = (bytes / ADDRESS_PART).max(FORM_LIMIT.bytes);
        Self {
            manifests: Shares::new(bytes, each),
            json: Shares::new(bytes, each),
            forms: Shares::new(bytes, of_address),
        }
    }

    /// Bytes that are held now, of each kind.
    #[must_use]
    pub fn held_bytes(&self) -> [(&'static str, usize); 3] {
        [
            ("manifests", self.manifests.held()),
            ("json", self.json.held()),
            ("forms", self.forms.held()),
        ]
    }
}

/// A password of the greatest length, and a few names; anybody may send one.
const FORM_LIMIT: BodyLimit = BodyLimit {
    key: "token_form",
    bytes: 32 * 1024,
};

/// A limit on one body, by the name of its setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimit {
    pub(super) key: &'static str,
    pub(super) bytes: usize,
}

/// A whole body. Its bytes count against the budget until this is dropped.
pub(super) struct Collected<K: Hash + Eq + Clone> {
    pub(super) bytes: Bytes,
    pub(super) held: Share<K>,
}

/// Why a body could not be collected.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollectError {
    #[error("the body may have {} bytes", .0.bytes)]
    TooLarge(BodyLimit),
    #[error("as many bodies are held in memory as may be; try again in a few seconds")]
    Busy,
    #[error("the body ended before its time: {0}")]
    Broken(String),
    #[error("the body did not arrive in time")]
    Idle,
}

impl CollectError {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Idle => StatusCode::REQUEST_TIMEOUT,
        }
    }

    /// The setting behind it.
    pub(super) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::TooLarge(limit) => Some(limit.key),
            Self::Busy => Some("limits.buffered_bytes"),
            Self::Idle => Some("server.body_idle_timeout_seconds"),
            Self::Broken(_) => None,
        }
    }
}

impl Http {
    /// The whole manifest that somebody of a workspace pushes.
    pub(super) async fn collect_manifest(
        &self,
        body: Body,
        workspace_id: &str,
    ) -> Result<Collected<String>, CollectError> {
        let limit = BodyLimit {
            key: "limits.manifest_bytes",
            bytes: self.options.manifest_limit_bytes,
        };
        let budget = (&self.bodies.manifests, workspace_id.to_owned());
        collect(body, limit, budget, self.options.body_idle_seconds).await
    }

    /// The whole JSON of a request to the management API, by somebody of a workspace, or for the installation.
    pub(super) async fn collect_json(
        &self,
        body: Body,
        workspace_id: &str,
    ) -> Result<Collected<String>, CollectError> {
        let limit = BodyLimit {
            key: "limits.json_body_bytes",
            bytes: self.options.json_limit_bytes,
        };
        let budget = (&self.bodies.json, workspace_id.to_owned());
        collect(body, limit, budget, self.options.body_idle_seconds).await
    }

    /// The whole form at `/token`, of which nobody knows yet whose it is.
    pub(super) async fn collect_form(
        &self,
        body: Body,
        from: IpAddr,
    ) -> Result<Collected<Neighbourhood>, CollectError> {
        let seconds = self.options.body_idle_seconds.min(FORM_SECONDS);
        let budget = (&self.bodies.forms, Neighbourhood::from(from));
        collect(body, FORM_LIMIT, budget, seconds).await
    }
}

async fn collect<K: Hash + Eq + Clone>(
    mut body: Body,
    limit: BodyLimit,
    (budget, key): (&Shares<K>, K),
    seconds: u64,
) -> Result<Collected<K>, CollectError> {
    if body.size_hint().lower() > limit.bytes as u64 {
        return Err(CollectError::TooLarge(limit));
    }
    let held = budget.take(key, 0).ok_or(CollectError::Busy)?;
    // One time for all of it: what is collected is small. What is larger is refused as soon as that shows; the listener
    // sees to it that a client which is still writing hears the answer.
    tokio::time::timeout(Duration::from_secs(seconds), read(&mut body, limit, held))
        .await
        .unwrap_or(Err(CollectError::Idle))
}

async fn read<K: Hash + Eq + Clone>(
    body: &mut Body,
    limit: BodyLimit,
    mut held: Share<K>,
) -> Result<Collected<K>, CollectError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| CollectError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit.bytes {
            return Err(CollectError::TooLarge(limit));
        }
        if !held.grow(data.len()) {
            return Err(CollectError::Busy);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Collected {
        bytes: bytes.freeze(),
        held,
    })
}
