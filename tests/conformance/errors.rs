//! The shape of errors, and requests that no endpoint takes.

use bytes::Bytes;
use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, ensure};
use crate::client::{Answer, Call};
use crate::content::{Content, image};
use crate::repository::Repository;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must};
    vec![
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            an_unknown_manifest_has_a_well_formed_error
        ),
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            an_unknown_blob_has_a_well_formed_error
        ),
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            an_unknown_upload_has_a_well_formed_error
        ),
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            an_unknown_repository_has_a_well_formed_error
        ),
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            an_invalid_name_has_a_well_formed_error
        ),
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            a_wrong_digest_has_a_well_formed_error
        ),
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            an_invalid_manifest_has_a_well_formed_error
        ),
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            a_missing_blob_has_a_well_formed_error
        ),
        case!(
            Must,
            "an error body in JSON has the list `errors` with codes of the table",
            a_chunk_out_of_order_has_a_well_formed_error
        ),
        case!(
            Must,
            "a method that an endpoint does not have is refused",
            unknown_methods_are_refused
        ),
        case!(
            Must,
            "a path that is no endpoint is refused",
            unknown_paths_are_refused
        ),
        case!(
            Berth,
            "an error has a message for people",
            every_error_has_a_message
        ),
        case!(
            Berth,
            "a HEAD has no body even if it fails",
            a_failed_head_tells_nothing_but_its_status
        ),
    ]
}

/// Sends a call that must fail, and looks at the body if it is JSON (Berth's always is).
async fn failed(call: Call<'_>, codes: &[&str]) -> Result<Answer, Failure> {
    let answer = call.send().await?;
    let status = answer.status.as_u16();
    ensure((400..500).contains(&status), || {
        format!("{}: answered {status}", answer.request)
    })?;
    answer.expect_error(&[status], codes)
}

async fn an_unknown_manifest_has_a_well_formed_error(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    failed(
        repository.manifest(Method::GET, "v2")?,
        &["MANIFEST_UNKNOWN"],
    )
    .await
    .map(drop)
}

async fn an_unknown_blob_has_a_well_formed_error(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    let call = repository.blob(Method::GET, &Content::random(8).digest)?;
    failed(call, &["BLOB_UNKNOWN"]).await.map(drop)
}

async fn an_unknown_upload_has_a_well_formed_error(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    upload.call(Method::DELETE)?.send().await?.expect(204)?;
    failed(upload.call(Method::GET)?, &["BLOB_UPLOAD_UNKNOWN"])
        .await
        .map(drop)
}

async fn an_unknown_repository_has_a_well_formed_error(repository: Repository) -> Outcome {
    failed(repository.tags()?, &["NAME_UNKNOWN"])
        .await
        .map(drop)
}

async fn an_invalid_name_has_a_well_formed_error(repository: Repository) -> Outcome {
    let invalid = repository.named(&format!("{}/UPPER", repository.name));
    failed(invalid.tags()?, &["NAME_INVALID"]).await.map(drop)
}

/// An upload's end under a digest that is not that of the bytes.
async fn wrong_put(repository: &Repository) -> Result<Answer, Failure> {
    let upload = repository.start_upload().await?;
    failed(
        upload.put_last(&Content::random(8).digest, Bytes::from_static(b"other"))?,
        &["DIGEST_INVALID"],
    )
    .await
}

async fn a_wrong_digest_has_a_well_formed_error(repository: Repository) -> Outcome {
    wrong_put(&repository).await.map(drop)
}

async fn an_invalid_manifest_has_a_well_formed_error(repository: Repository) -> Outcome {
    let manifest = image().build().with_bytes("{");
    failed(repository.put(&manifest, "v1")?, &["MANIFEST_INVALID"])
        .await
        .map(drop)
}

async fn a_missing_blob_has_a_well_formed_error(repository: Repository) -> Outcome {
    let manifest = image().layer(&Content::random(8)).build();
    let answer = repository.put(&manifest, "v1")?.send().await?;
    answer
        .unless_declined(&[201], "refusing missing blobs")?
        .expect_error(&[400, 404], &["MANIFEST_BLOB_UNKNOWN"])
        .map(drop)
}

async fn a_chunk_out_of_order_has_a_well_formed_error(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    let answer = upload.chunk(1000, upload.content(1).bytes)?.send().await?;
    let answer = answer.unless_declined(&[202], "refusing chunks out of order")?;
    answer
        .expect_error(&[416], &["BLOB_UPLOAD_INVALID", "SIZE_INVALID"])
        .map(drop)
}

async fn unknown_methods_are_refused(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    let calls = [
        repository.manifest(Method::POST, "v1")?,
        repository.manifest(Method::PATCH, "v1")?,
        repository.blob(Method::PUT, &blob.digest)?,
        repository.blob(Method::POST, &blob.digest)?,
        repository.call(Method::PUT, "tags/list")?,
        repository.call(Method::DELETE, "tags/list")?,
        repository.call(Method::PUT, "blobs/uploads/")?,
    ];
    for call in calls {
        let answer = call.send().await?;
        answer.expect_error(
            &[400, 404, 405],
            &[
                "UNSUPPORTED",
                "NAME_INVALID",
                "NAME_UNKNOWN",
                "MANIFEST_UNKNOWN",
            ],
        )?;
    }
    repository.expect_blob(&blob).await
}

async fn unknown_paths_are_refused(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    for rest in [
        "tags",
        "tags/other",
        "manifests",
        "manifests/",
        "blobs/",
        "other/v1",
        "",
    ] {
        let answer = repository.call(Method::GET, rest)?.send().await?;
        let status = answer.status.as_u16();
        ensure((300..500).contains(&status), || {
            format!("{}: answered {status}", answer.request)
        })?;
    }
    Ok(())
}

async fn every_error_has_a_message(repository: Repository) -> Outcome {
    let unknown = failed(
        repository.manifest(Method::GET, "v1")?,
        &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"],
    )
    .await?;
    for answer in [unknown, wrong_put(&repository).await?] {
        let answer = answer.expect_header("content-type", "application/json")?;
        let body = answer.json()?;
        let message = body["errors"][0]["message"].as_str().unwrap_or_default();
        ensure(message.contains(' '), || {
            format!("{}: `{message}` is no sentence", answer.request)
        })?;
    }
    Ok(())
}

async fn a_failed_head_tells_nothing_but_its_status(repository: Repository) -> Outcome {
    let answer = repository
        .manifest(Method::HEAD, "v1")?
        .send()
        .await?
        .expect(404)?;
    ensure(answer.body.is_empty(), || answer.request.clone())
}
