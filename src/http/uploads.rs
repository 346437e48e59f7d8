//! `/v2/<name>/blobs/uploads/…`: end-4, 5, 6, 11, 13 and 14 of the specification.

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use berth_storage::{Digest, DigestAlgorithm};

use super::Shared;
use super::access::{Access, Realm, segment};
use super::blobs::parse_digest;
use super::body;
use super::error::DistributionError;
use super::query::{Pairs, PairsError};
use super::respond::{self, DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID, OCI_CHUNK_MIN_LENGTH};
use crate::auth::{Push, Refusal};
use crate::oci::ContentRange;
use crate::oci::ErrorCode;
use crate::oci::RepositoryName;
use crate::oci::UploadId;
use crate::registry::{Body as UploadBody, Chunk, RegistryError};

/// The upload of the path, and the parameters of the request.
pub(super) struct PathUpload {
    id: UploadId,
    query: Pairs,
}

impl FromRequestParts<Shared> for PathUpload {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, DistributionError> {
        let text = segment(parts, "upload").await?;
        let id = text.parse().map_err(|error| {
            DistributionError::new(
                StatusCode::NOT_FOUND,
                ErrorCode::BlobUploadUnknown,
                format!("{error}"),
            )
        })?;
        Ok(Self {
            id,
            query: Pairs::of_query(parts)?,
        })
    }
}

/// What a POST asks for.
enum Opening {
    Mount {
        digest: Digest,
        from: Option<RepositoryName>,
    },
    Whole {
        digest: Digest,
    },
    Session {
        algorithm: DigestAlgorithm,
    },
}

/// The parameters of a POST.
pub(super) struct OpeningQuery(Opening);

impl FromRequestParts<Shared> for OpeningQuery {
    type Rejection = DistributionError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, DistributionError> {
        let query = Pairs::of_query(parts)?;
        let opening = if let Some(digest) = query.one("mount")? {
            let from = query.one("from")?.map(str::parse).transpose();
            let from = from.map_err(|error| {
                let message = format!("from: {error}");
                DistributionError::bad_request(ErrorCode::NameInvalid, message)
            })?;
            Opening::Mount {
                digest: parse_digest(digest)?,
                from,
            }
        } else if let Some(digest) = query.one("digest")? {
            Opening::Whole {
                digest: parse_digest(digest)?,
            }
        } else {
            let algorithm = match query.one("digest-algorithm")? {
                None => DigestAlgorithm::Sha256,
                Some(name) => name.parse().map_err(|error| {
                    DistributionError::bad_request(ErrorCode::DigestInvalid, error)
                })?,
            };
            Opening::Session { algorithm }
        };
        Ok(Self(opening))
    }
}

pub(super) async fn post_upload(
    State(http): State<Shared>,
    access: Access<Push>,
    realm: Realm,
    OpeningQuery(opening): OpeningQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, DistributionError> {
    let algorithm = match opening {
        Opening::Mount { digest, from } => {
            if mount(&http, &access, &realm, &digest, from.as_ref()).await? {
                return Ok(stored(access.granted.repository(), &digest));
            }
            digest.algorithm()
        }
        Opening::Whole { digest } => {
            let chunk = chunk(&http, access.granted.workspace_id(), &headers, body)?;
            http.registry
                .push_blob(&access.granted, &digest, chunk)
                .await?;
            return Ok(stored(access.granted.repository(), &digest));
        }
        Opening::Session { algorithm } => algorithm,
    };
    let id = http
        .registry
        .open_upload(&access.granted, algorithm)
        .await?;
    let mut answer = accepted(StatusCode::ACCEPTED, access.granted.repository(), id, 0);
    if let Some(bytes) = http.store.chunk_min_bytes() {
        let headers = answer.headers_mut();
        headers.insert(OCI_CHUNK_MIN_LENGTH, HeaderValue::from(bytes));
    }
    Ok(answer)
}

/// A blob that this caller may pull elsewhere becomes a member of the target. Anything else is an ordinary upload,
/// except that a token which was only not given for the source is asked to be.
async fn mount(
    http: &Shared,
    access: &Access<Push>,
    realm: &Realm,
    digest: &Digest,
    from: Option<&RepositoryName>,
) -> Result<bool, DistributionError> {
    if let Some(name) = from {
        return match access.also_pull(http, name).await {
            Ok(source) => Ok(http
                .registry
                .mount(&access.granted, &source, digest)
                .await?),
            Err(refusal @ Refusal::Challenge { .. }) => {
                Err(realm.refuse_mount(refusal, access.granted.repository(), http))
            }
            Err(Refusal::Denied { .. } | Refusal::Unknown { .. }) => Ok(false),
            Err(Refusal::Throttled(throttled)) => Err(throttled.into()),
            Err(Refusal::Unavailable(error)) => Err(error.into()),
        };
    }
    for name in http
        .registry
        .mount_candidates(&access.granted, digest)
        .await?
    {
        if let Ok(source) = access.also_pull(http, &name).await
            && http
                .registry
                .mount(&access.granted, &source, digest)
                .await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn get_upload(
    State(http): State<Shared>,
    access: Access<Push>,
    upload: PathUpload,
) -> Result<Response, DistributionError> {
    let offset = http
        .registry
        .upload_offset(&access.granted, upload.id)
        .await?;
    Ok(accepted(
        StatusCode::NO_CONTENT,
        access.granted.repository(),
        upload.id,
        offset,
    ))
}

pub(super) async fn patch_upload(
    State(http): State<Shared>,
    access: Access<Push>,
    upload: PathUpload,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, DistributionError> {
    let chunk = chunk(&http, access.granted.workspace_id(), &headers, body)?;
    match http
        .registry
        .append(&access.granted, upload.id, chunk)
        .await
    {
        Ok(offset) => Ok(accepted(
            StatusCode::ACCEPTED,
            access.granted.repository(),
            upload.id,
            offset,
        )),
        Err(error) => Err(located(error, &access, upload.id)),
    }
}

pub(super) async fn put_upload(
    State(http): State<Shared>,
    access: Access<Push>,
    upload: PathUpload,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, DistributionError> {
    let digest = upload.query.one("digest")?.ok_or_else(|| {
        DistributionError::bad_request(
            ErrorCode::DigestInvalid,
            "the closing PUT needs the digest of the whole blob: ?digest=sha256:<64 hex digits>",
        )
    })?;
    let digest = parse_digest(digest)?;
    let chunk = chunk(&http, access.granted.workspace_id(), &headers, body)?;
    match http
        .registry
        .complete(&access.granted, upload.id, &digest, chunk)
        .await
    {
        Ok(_) => Ok(stored(access.granted.repository(), &digest)),
        Err(error) => Err(located(error, &access, upload.id)),
    }
}

pub(super) async fn delete_upload(
    State(http): State<Shared>,
    access: Access<Push>,
    upload: PathUpload,
) -> Result<Response, DistributionError> {
    http.registry
        .cancel_upload(&access.granted, upload.id)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A client that lost its place is told where it is.
fn located(error: RegistryError, access: &Access<Push>, id: UploadId) -> DistributionError {
    let lost = matches!(
        error,
        RegistryError::OutOfOrder { .. } | RegistryError::UploadSuperseded
    );
    let answer = DistributionError::from(error);
    if lost {
        answer.at(&respond::upload_path(access.granted.repository(), id))
    } else {
        answer
    }
}

fn chunk(
    http: &Shared,
    workspace_id: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Chunk<impl UploadBody>, DistributionError> {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| value.to_str().unwrap_or("?"))
    };
    let range: Option<ContentRange> = text(CONTENT_RANGE)
        .map(str::parse)
        .transpose()
        .map_err(|error| DistributionError::bad_request(ErrorCode::BlobUploadInvalid, error))?;
    let length = text(CONTENT_LENGTH)
        .map(str::parse)
        .transpose()
        .map_err(|_| {
            DistributionError::bad_request(ErrorCode::SizeInvalid, "Content-Length is not a number")
        })?;
    Ok(Chunk {
        range,
        length,
        body: body::stream(
            body,
            http.options.body_idle_seconds,
            http.transfer(workspace_id)?,
        ),
    })
}

/// The answer to an upload that goes on.
fn accepted(
    status: StatusCode,
    repository: &RepositoryName,
    id: UploadId,
    offset: u64,
) -> Response {
    let headers = [
        (LOCATION, respond::upload_path(repository, id)),
        (RANGE, respond::upload_range(offset)),
        (DOCKER_UPLOAD_UUID, id.to_string()),
    ];
    (status, headers).into_response()
}

/// The answer to a blob that is stored.
fn stored(repository: &RepositoryName, digest: &Digest) -> Response {
    let headers = [
        (LOCATION, respond::blob_path(repository, digest)),
        (DOCKER_CONTENT_DIGEST, digest.to_string()),
    ];
    (StatusCode::CREATED, headers).into_response()
}

impl From<PairsError> for DistributionError {
    fn from(error: PairsError) -> Self {
        let code = match error {
            PairsError::Repeated("digest" | "mount" | "digest-algorithm") => {
                ErrorCode::DigestInvalid
            }
            PairsError::Repeated("from") => ErrorCode::NameInvalid,
            PairsError::Repeated(_) | PairsError::Malformed | PairsError::TooMany => {
                ErrorCode::Unsupported
            }
        };
        Self::bad_request(code, error)
    }
}
