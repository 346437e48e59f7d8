//! Requests that end too early or too late, and two writers on one upload.

use std::time::Duration;

use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, ensure};
use crate::content::Content;
use crate::raw::RawRequest;
use crate::repository::{Repository, Upload};

/// How often a client asks and goes on, at most, before it gives up.
const MAX_RESUMPTIONS: usize = 50;
/// How often a client asks, at most, whether all that it sent is counted, and how long it waits in between.
const MAX_QUESTIONS: usize = 100;
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(100);

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Should};
    vec![
        case!(
            Must,
            "a body shorter than its Content-Length is no blob",
            a_put_cut_short_stores_nothing
        ),
        case!(
            Must,
            "a body shorter than its Content-Length is no blob",
            a_single_post_cut_short_stores_nothing
        ),
        case!(
            Must,
            "a body shorter than its Content-Length is no manifest",
            a_manifest_cut_short_is_not_stored
        ),
        case!(
            Must,
            "bytes after Content-Length are not part of the blob",
            bytes_after_the_length_do_not_count
        ),
        case!(
            Should,
            "an upload survives a broken connection and is resumed by its status",
            an_upload_is_resumed_after_a_hang_up
        ),
        case!(
            Berth,
            "bytes that came before a hang-up count",
            bytes_before_a_hang_up_count
        ),
        case!(
            Berth,
            "a PUT cut short leaves the upload as it was or further on",
            an_upload_is_resumed_after_a_put_cut_short
        ),
        case!(
            Berth,
            "of two writers at once, one wins and nothing is mixed",
            two_writers_never_mix_their_bytes
        ),
    ]
}

/// A raw `PUT` of an upload that claims `claimed_bytes`.
async fn raw_put(
    repository: &Repository,
    digest: &str,
    claimed_bytes: usize,
) -> Result<RawRequest, Failure> {
    let upload = repository.start_upload().await?;
    let mut url = upload.location;
    url.query_pairs_mut().append_pair("digest", digest);
    let request = RawRequest::begin(repository, &Method::PUT, &url).await?;
    Ok(octets(request, claimed_bytes))
}

fn octets(request: RawRequest, claimed_bytes: usize) -> RawRequest {
    request
        .header("Content-Type", "application/octet-stream")
        .header("Content-Length", &claimed_bytes.to_string())
}

fn expect_refused(status: Option<u16>) -> Outcome {
    ensure(status.is_none_or(|status| status >= 300), || {
        format!("the request was answered {status:?}")
    })
}

async fn a_put_cut_short_stores_nothing(repository: Repository) -> Outcome {
    // The digest is that of the bytes that arrive: only the length tells that something is missing.
    let blob = Content::random(500);
    let request = raw_put(&repository, &blob.digest, 1000).await?;
    expect_refused(request.exchange(&blob.bytes).await?)?;
    repository.expect_no_blob(&blob.digest).await
}

async fn a_single_post_cut_short_stores_nothing(repository: Repository) -> Outcome {
    let blob = Content::random(500);
    let upload = repository.start_upload().await?;
    let mut url = upload.location.clone();
    url.set_path(&format!("/v2/{}/blobs/uploads/", repository.name));
    url.set_query(None);
    url.query_pairs_mut().append_pair("digest", &blob.digest);
    let request = octets(
        RawRequest::begin(&repository, &Method::POST, &url).await?,
        1000,
    );
    let status = request.exchange(&blob.bytes).await?;
    ensure(status != Some(201), || String::from("the blob was taken"))?;
    repository.expect_no_blob(&blob.digest).await
}

async fn a_manifest_cut_short_is_not_stored(repository: Repository) -> Outcome {
    let manifest = crate::content::image().build();
    repository.push_blobs(&manifest).await?;
    let url = repository.start_upload().await?.location;
    let url = url.join(&format!("/v2/{}/manifests/v1", repository.name));
    let url = url.map_err(|error| Failure::Wrong(error.to_string()))?;
    let request = RawRequest::begin(&repository, &Method::PUT, &url).await?;
    let request = request
        .header("Content-Type", &manifest.media_type)
        .header("Content-Length", "5000");
    expect_refused(request.exchange(&manifest.body.bytes).await?)?;
    repository.expect_no_manifest("v1").await
}

async fn bytes_after_the_length_do_not_count(repository: Repository) -> Outcome {
    let whole = Content::random(1000);
    let request = raw_put(&repository, &whole.digest, 500).await?;
    expect_refused(request.exchange(&whole.bytes).await?)?;
    repository.expect_no_blob(&whole.digest).await
}

/// A raw `PATCH` that claims the rest of the blob.
async fn raw_patch(
    repository: &Repository,
    upload: &Upload,
    blob: &Content,
    sent: usize,
) -> Result<RawRequest, Failure> {
    let request = RawRequest::begin(repository, &Method::PATCH, &upload.location).await?;
    let request = request.header(
        "Content-Range",
        &format!("{sent}-{}", blob.size_bytes() - 1),
    );
    Ok(octets(request, blob.size_bytes() - sent))
}

/// Asks and sends the rest until all of it is there, as a client does whose line is bad.
async fn resume(mut upload: Upload, blob: &Content) -> Outcome {
    for _ in 0..MAX_RESUMPTIONS {
        let received = upload.received_bytes().await?;
        let rest = blob.bytes.slice(received.min(blob.size_bytes())..);
        if rest.is_empty() {
            return upload.finish(blob).await;
        }
        let answer = upload.chunk(received, rest)?.send().await?;
        if answer.status.as_u16() == 202 {
            upload.advance(answer, blob.size_bytes())?;
            return upload.finish(blob).await;
        }
        // Bytes of the broken request may still have been on their way, so that the offset has moved: ask again.
    }
    Err(Failure::Wrong(format!(
        "{}: still moving after {MAX_RESUMPTIONS} resumptions",
        upload.location.path()
    )))
}

async fn an_upload_is_resumed_after_a_hang_up(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let blob = upload.content(4);
    let sent = upload.send_chunks(&blob, 1).await?;
    let request = raw_patch(&repository, &upload, &blob, sent).await?;
    request.hang_up(&blob.bytes[sent..sent * 2]).await?;
    resume(upload, &blob).await
}

async fn bytes_before_a_hang_up_count(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let blob = upload.content(4);
    let sent = upload.send_chunks(&blob, 1).await?;
    let request = raw_patch(&repository, &upload, &blob, sent).await?;
    expect_refused(request.exchange(&blob.bytes[sent..sent * 2]).await?)?;
    // Who stands between may have answered before the registry knew.
    for _ in 0..MAX_QUESTIONS {
        if upload.received_bytes().await? >= sent * 2 {
            break;
        }
        tokio::time::sleep(BETWEEN_QUESTIONS).await;
    }
    upload.expect_received(sent * 2).await?;
    resume(upload, &blob).await
}

async fn an_upload_is_resumed_after_a_put_cut_short(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let blob = upload.content(4);
    let sent = upload.send_chunks(&blob, 1).await?;
    let mut url = upload.location.clone();
    url.query_pairs_mut().append_pair("digest", &blob.digest);
    let request = RawRequest::begin(&repository, &Method::PUT, &url).await?;
    let request = octets(request, blob.size_bytes() - sent);
    expect_refused(request.exchange(&blob.bytes[sent..sent * 2]).await?)?;
    repository.expect_no_blob(&blob.digest).await?;
    resume(upload, &blob).await
}

async fn two_writers_never_mix_their_bytes(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    let (one, two) = (Content::random(200_000), Content::random(200_000));
    let write = |blob: &Content| {
        Ok::<_, Failure>(
            upload
                .chunk(0, blob.bytes.clone())?
                .streamed(&blob.bytes, 5000),
        )
    };
    let (first, second) = tokio::join!(write(&one)?.send(), write(&two)?.send());
    let mut winners = Vec::new();
    for (answer, blob) in [(first?, &one), (second?, &two)] {
        if answer.status.as_u16() == 202 {
            winners.push((answer, blob));
        }
    }
    ensure(winners.len() <= 1, || {
        String::from("both writers were told that their bytes are in")
    })?;
    for (answer, blob) in winners {
        let mut upload = upload.clone();
        upload.advance(answer, blob.size_bytes())?;
        upload.finish(blob).await?;
    }
    Ok(())
}
