//! The life of an upload: its status, its order, its end.

use bytes::Bytes;
use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case};
use crate::content::Content;
use crate::repository::{Repository, Upload};

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Should};
    vec![
        case!(
            Must,
            "GET of an active upload is 204 with Location",
            a_fresh_upload_has_a_status
        ),
        case!(
            Must,
            "GET of an active upload is 204 with Location and Range",
            the_status_tells_how_far_an_upload_is
        ),
        case!(
            Must,
            "the location of any earlier POST or PATCH answers the status",
            an_earlier_location_tells_the_status
        ),
        case!(
            Should,
            "the next chunk goes to the location of the status",
            the_location_of_the_status_takes_the_next_chunk
        ),
        case!(
            Must,
            "the first chunk begins at 0, else 416",
            a_first_chunk_that_is_not_at_zero_is_out_of_order
        ),
        case!(
            Must,
            "a chunk out of order is 416",
            a_chunk_that_leaves_a_gap_is_out_of_order
        ),
        case!(
            Must,
            "a chunk out of order is 416",
            a_chunk_that_overlaps_is_out_of_order
        ),
        case!(
            Must,
            "a chunk out of order is 416: the first byte is the last end plus one",
            a_repeated_chunk_is_out_of_order
        ),
        case!(
            Must,
            "a last chunk out of order is 416",
            a_last_chunk_out_of_order_is_refused
        ),
        case!(
            Must,
            "after a 416 the status tells the offset and the upload goes on",
            an_upload_goes_on_after_a_chunk_out_of_order
        ),
        case!(
            Should,
            "after a 416 the status tells the offset and the upload goes on",
            an_upload_goes_on_after_a_last_chunk_out_of_order
        ),
        case!(
            Should,
            "the length of a chunk is that of its range",
            a_chunk_shorter_than_its_range_is_refused
        ),
        case!(
            Should,
            "the length of a chunk is that of its range",
            a_chunk_longer_than_its_range_is_refused
        ),
        case!(
            Should,
            "a range is two numbers with a dash",
            a_malformed_range_is_refused
        ),
        case!(
            Should,
            "DELETE cancels an upload: 204",
            an_upload_is_cancelled
        ),
        case!(
            Should,
            "DELETE cancels an upload, even with chunks in it",
            an_upload_with_chunks_is_cancelled
        ),
        case!(
            Must,
            "a cancelled upload is unknown: 404",
            a_cancelled_upload_takes_nothing_more
        ),
        case!(
            Must,
            "an unknown upload is 404",
            an_unknown_upload_is_not_found
        ),
        case!(
            Should,
            "cancelling what is not there fails: 404 or 400",
            an_unknown_upload_is_not_cancelled
        ),
        case!(
            Must,
            "an upload ends with the PUT",
            a_closed_upload_takes_no_more_chunks
        ),
        case!(
            Berth,
            "a PUT with a wrong digest closes the upload",
            a_wrong_digest_closes_the_upload
        ),
        case!(
            Berth,
            "a closed upload answers the same PUT again with 201",
            the_same_put_succeeds_again
        ),
        case!(
            Berth,
            "an upload belongs to its repository",
            an_upload_is_unknown_in_another_repository
        ),
        case!(
            Berth,
            "an upload location is /v2/<name>/blobs/uploads/<id>",
            the_location_lies_in_the_repository
        ),
    ]
}

/// An upload that has its first chunk, and the blob that is being sent.
async fn begun(repository: &Repository) -> Result<(Upload, Content, usize), Failure> {
    let mut upload = repository.start_upload().await?;
    let blob = upload.content(2);
    let sent = upload.send_chunks(&blob, 1).await?;
    Ok((upload, blob, sent))
}

async fn a_fresh_upload_has_a_status(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    upload
        .call(Method::GET)?
        .send()
        .await?
        .expect(204)?
        .location()
        .map(drop)
}

async fn the_status_tells_how_far_an_upload_is(repository: Repository) -> Outcome {
    let (mut upload, blob, sent) = begun(&repository).await?;
    upload.expect_received(sent).await?;
    upload.send_chunk(sent, blob.bytes.slice(sent..)).await?;
    upload.expect_received(blob.size_bytes()).await
}

async fn an_earlier_location_tells_the_status(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let mut earlier = upload.clone();
    let blob = upload.content(1);
    let sent = upload.send_chunks(&blob, 1).await?;
    earlier.expect_received(sent).await
}

async fn the_location_of_the_status_takes_the_next_chunk(repository: Repository) -> Outcome {
    let (mut upload, blob, sent) = begun(&repository).await?;
    upload.received_bytes().await?;
    upload.send_chunk(sent, blob.bytes.slice(sent..)).await?;
    upload.finish(&blob).await
}

async fn expect_out_of_order(upload: &Upload, start: usize, bytes: Bytes) -> Outcome {
    let answer = upload.chunk(start, bytes)?.send().await?;
    answer
        .expect_error(&[416], &["BLOB_UPLOAD_INVALID", "SIZE_INVALID"])
        .map(drop)
}

async fn a_first_chunk_that_is_not_at_zero_is_out_of_order(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    expect_out_of_order(&upload, 10, upload.content(1).bytes).await
}

async fn a_chunk_that_leaves_a_gap_is_out_of_order(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    expect_out_of_order(&upload, sent + 1, blob.bytes.slice(sent + 1..)).await
}

async fn a_chunk_that_overlaps_is_out_of_order(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    expect_out_of_order(&upload, sent - 1, blob.bytes.slice(sent - 1..)).await
}

async fn a_repeated_chunk_is_out_of_order(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    expect_out_of_order(&upload, 0, blob.bytes.slice(..sent)).await
}

async fn a_last_chunk_out_of_order_is_refused(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    let answer = upload
        .put_chunk(&blob.digest, sent + 1, blob.bytes.slice(sent..))?
        .send()
        .await?;
    answer.expect_error(&[416], &["BLOB_UPLOAD_INVALID", "SIZE_INVALID"])?;
    repository.expect_no_blob(&blob.digest).await
}

async fn resumed(mut upload: Upload, blob: &Content, sent: usize) -> Outcome {
    upload.expect_received(sent).await?;
    upload.send_chunk(sent, blob.bytes.slice(sent..)).await?;
    upload.finish(blob).await
}

async fn an_upload_goes_on_after_a_chunk_out_of_order(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    let answer = upload
        .chunk(sent + 5, blob.bytes.slice(sent + 5..))?
        .send()
        .await?;
    answer
        .unless_declined(&[202], "refusing chunks out of order")?
        .expect(416)?;
    resumed(upload, &blob, sent).await
}

async fn an_upload_goes_on_after_a_last_chunk_out_of_order(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    let answer = upload
        .put_chunk(&blob.digest, sent + 1, blob.bytes.slice(sent..))?
        .send()
        .await?;
    answer
        .unless_declined(&[201], "refusing chunks out of order")?
        .expect(416)?;
    resumed(upload, &blob, sent).await
}

async fn expect_bad_range(upload: &Upload, range: &str, bytes: Bytes) -> Outcome {
    let answer = upload
        .patch(bytes)?
        .header("content-range", range)
        .send()
        .await?;
    answer
        .expect_error(&[400, 416], &["SIZE_INVALID", "BLOB_UPLOAD_INVALID"])
        .map(drop)
}

async fn a_chunk_shorter_than_its_range_is_refused(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    let range = format!("{sent}-{}", blob.size_bytes() - 1);
    expect_bad_range(&upload, &range, blob.bytes.slice(sent..sent + 5)).await
}

async fn a_chunk_longer_than_its_range_is_refused(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    expect_bad_range(
        &upload,
        &format!("{sent}-{}", sent + 2),
        blob.bytes.slice(sent..),
    )
    .await
}

async fn a_malformed_range_is_refused(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    let bytes = blob.bytes.slice(sent..);
    let end = blob.size_bytes() - 1;
    let reversed = format!("{end}-{sent}");
    let huge = format!("{sent}-99999999999999999999999999");
    for range in [
        "",
        "0",
        "-",
        "a-b",
        "-5",
        &format!("{sent}-"),
        &reversed,
        &huge,
        &format!("{sent}-{end}-{end}"),
    ] {
        expect_bad_range(&upload, range, bytes.clone()).await?;
    }
    Ok(())
}

async fn an_upload_is_cancelled(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    upload.call(Method::DELETE)?.send().await?.expect(204)?;
    upload.expect_gone().await
}

async fn an_upload_with_chunks_is_cancelled(repository: Repository) -> Outcome {
    let (upload, _, _) = begun(&repository).await?;
    upload.call(Method::DELETE)?.send().await?.expect(204)?;
    upload.expect_gone().await
}

async fn expect_dead(upload: &Upload, blob: &Content) -> Outcome {
    let calls = [
        upload.chunk(0, blob.bytes.clone())?,
        upload.put(blob)?,
        upload.call(Method::GET)?,
    ];
    for call in calls {
        call.send()
            .await?
            .expect_error(&[404], &["BLOB_UPLOAD_UNKNOWN"])?;
    }
    Ok(())
}

async fn a_cancelled_upload_takes_nothing_more(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    upload.call(Method::DELETE)?.send().await?.expect(204)?;
    let blob = Content::random(64);
    expect_dead(&upload, &blob).await?;
    repository.expect_no_blob(&blob.digest).await
}

/// An upload whose id nobody gave out.
async fn unknown(repository: &Repository) -> Result<Upload, Failure> {
    let mut upload = repository.start_upload().await?;
    let path = format!(
        "/v2/{}/blobs/uploads/{}",
        repository.name,
        uuid::Uuid::new_v4()
    );
    upload.location.set_path(&path);
    upload.location.set_query(None);
    Ok(upload)
}

async fn an_unknown_upload_is_not_found(repository: Repository) -> Outcome {
    expect_dead(&unknown(&repository).await?, &Content::random(64)).await
}

async fn an_unknown_upload_is_not_cancelled(repository: Repository) -> Outcome {
    let answer = unknown(&repository)
        .await?
        .call(Method::DELETE)?
        .send()
        .await?;
    answer
        .expect_error(&[404, 400], &["BLOB_UPLOAD_UNKNOWN"])
        .map(drop)
}

async fn a_closed_upload_takes_no_more_chunks(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    upload
        .put_chunk(&blob.digest, sent, blob.bytes.slice(sent..))?
        .send()
        .await?
        .expect(201)?;
    let answer = upload
        .chunk(blob.size_bytes(), Content::random(64).bytes)?
        .send()
        .await?;
    answer.expect_error(&[404, 416], &["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"])?;
    repository.expect_blob(&blob).await
}

async fn a_wrong_digest_closes_the_upload(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    let wrong = upload.put_last(&Content::random(64).digest, blob.bytes.slice(sent..))?;
    wrong
        .send()
        .await?
        .expect_error(&[400], &["DIGEST_INVALID"])?;
    expect_dead(&upload, &blob).await?;
    repository.push_blob(&blob).await?;
    repository.expect_blob(&blob).await
}

async fn the_same_put_succeeds_again(repository: Repository) -> Outcome {
    let (upload, blob, sent) = begun(&repository).await?;
    let put = upload.put_chunk(&blob.digest, sent, blob.bytes.slice(sent..))?;
    for _ in 0..3 {
        let answer = put.clone().send().await?.expect(201)?;
        answer.expect_header("docker-content-digest", &blob.digest)?;
    }
    repository.expect_blob(&blob).await
}

async fn an_upload_is_unknown_in_another_repository(repository: Repository) -> Outcome {
    let (mut upload, blob, sent) = begun(&repository).await?;
    let mut elsewhere = upload.clone();
    let path = upload
        .location
        .path()
        .replace(&repository.name, &repository.sibling().name);
    elsewhere.location.set_path(&path);
    expect_dead(&elsewhere, &blob).await?;
    let cancel = elsewhere.call(Method::DELETE)?.send().await?;
    cancel.expect_error(&[404], &["BLOB_UPLOAD_UNKNOWN"])?;
    upload.expect_received(sent).await
}

async fn the_location_lies_in_the_repository(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    let expected = format!("/v2/{}/blobs/uploads/", repository.name);
    let id = upload
        .location
        .path()
        .strip_prefix(&expected)
        .unwrap_or_default();
    crate::case::ensure(!id.is_empty() && !id.contains('/'), || {
        format!("found {}", upload.location)
    })
}
