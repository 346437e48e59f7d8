//! Pushing blobs: in one piece, in chunks, as a stream, and several at once.

use bytes::Bytes;
use futures_util::future::try_join_all;
use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, ensure};
use crate::client::Answer;
use crate::content::Content;
use crate::repository::{Repository, Upload};

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Optional, Should};
    vec![
        case!(
            Must,
            "POST opens an upload: 202 with Location",
            a_post_opens_an_upload
        ),
        case!(
            Should,
            "the upload location holds a UUID",
            the_location_of_an_upload_holds_a_uuid
        ),
        case!(
            Must,
            "concurrent uploads are supported, each with a location of its own",
            every_upload_has_its_own_location
        ),
        case!(
            Must,
            "POST then PUT answers 201 with Location",
            a_blob_is_pushed_by_post_and_put
        ),
        case!(
            Must,
            "the blob location is pullable",
            the_location_of_a_pushed_blob_is_pullable
        ),
        case!(Must, "an empty blob is a blob", an_empty_blob_is_pushed),
        case!(
            Must,
            "POST then PUT takes blobs of any size",
            blobs_of_odd_sizes_are_pushed
        ),
        case!(
            Must,
            "pushing a blob again succeeds",
            a_blob_is_pushed_twice
        ),
        case!(
            Optional("single POST"),
            "POST with a digest and the bytes answers 201 with Location",
            a_blob_is_pushed_by_one_post
        ),
        case!(
            Optional("single POST"),
            "an empty blob goes by one POST too",
            an_empty_blob_is_pushed_by_one_post
        ),
        case!(
            Should,
            "where one POST does not do, 202 and Location lead to a PUT",
            one_post_stores_the_blob_or_opens_an_upload
        ),
        case!(
            Optional("single POST"),
            "the digest of a single POST matches its bytes",
            one_post_with_a_wrong_digest_is_refused
        ),
        case!(
            Should,
            "the digest must match the bytes, else 400",
            a_put_with_a_wrong_digest_is_refused
        ),
        case!(
            Must,
            "no digest leads to bytes that do not match it",
            a_wrong_digest_stores_nothing
        ),
        case!(
            Must,
            "after a refused upload the next one succeeds",
            a_blob_is_pushed_after_a_refused_upload
        ),
        case!(
            Should,
            "the closing PUT names the digest, else 400",
            a_put_without_a_digest_is_refused
        ),
        case!(
            Should,
            "an invalid digest is 400",
            a_put_with_a_malformed_digest_is_refused
        ),
        case!(
            Should,
            "an unsupported algorithm is 400",
            a_put_with_an_unknown_algorithm_is_refused
        ),
        case!(
            Must,
            "each chunk is answered 202 with Location and Range, the closing PUT 201",
            a_blob_is_pushed_in_chunks
        ),
        case!(
            Must,
            "the last chunk may come with the PUT",
            the_last_chunk_comes_with_the_put
        ),
        case!(
            Should,
            "the last chunk may come with the PUT, its range is optional",
            the_last_chunk_comes_with_the_put_without_a_range
        ),
        case!(
            Must,
            "one chunk may be the whole blob",
            a_blob_is_pushed_in_one_chunk
        ),
        case!(Must, "chunks may be many", a_blob_is_pushed_in_many_chunks),
        case!(
            Must,
            "the closing PUT of a chunked upload checks the whole blob",
            chunks_that_do_not_match_the_digest_are_refused
        ),
        case!(
            Must,
            "a closed upload leads to a pullable blob URL",
            the_location_after_chunks_is_pullable
        ),
        case!(
            Optional("streamed upload"),
            "PATCH without Content-Range takes the bytes that follow",
            a_blob_is_pushed_in_one_stream
        ),
        case!(
            Optional("streamed upload"),
            "PATCH without Content-Range takes the bytes that follow",
            a_blob_is_pushed_in_several_streams
        ),
        case!(
            Optional("streamed upload"),
            "PUT takes a body without Content-Length",
            a_put_takes_a_stream
        ),
        case!(
            Must,
            "concurrent uploads are supported",
            different_blobs_are_pushed_at_once
        ),
        case!(
            Must,
            "uploads of the same blob at once all proceed",
            the_same_blob_is_pushed_at_once
        ),
        case!(
            Must,
            "concurrent uploads are supported",
            chunks_of_two_uploads_may_alternate
        ),
        case!(
            Berth,
            "the answer to a push names the digest",
            the_answer_to_a_push_names_the_digest
        ),
    ]
}

async fn post_whole(
    repository: &Repository,
    blob: &Content,
    digest: &str,
) -> Result<Answer, Failure> {
    let call = repository
        .start()?
        .query("digest", digest)
        .header("content-type", "application/octet-stream");
    call.body(blob.bytes.clone()).send().await
}

async fn expect_pullable(repository: &Repository, answer: &Answer, blob: &Content) -> Outcome {
    let answer = repository
        .call_url(Method::GET, &answer.location()?)?
        .send()
        .await?;
    answer.expect(200)?.expect_body(&blob.bytes).map(drop)
}

async fn a_post_opens_an_upload(repository: Repository) -> Outcome {
    repository
        .start()?
        .send()
        .await?
        .expect(202)?
        .location()
        .map(drop)
}

async fn the_location_of_an_upload_holds_a_uuid(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    let mut segments = upload.location.path().split('/');
    ensure(
        segments.any(|segment| uuid::Uuid::parse_str(segment).is_ok()),
        || format!("no UUID in {}", upload.location),
    )
}

async fn every_upload_has_its_own_location(repository: Repository) -> Outcome {
    let first = repository.start_upload().await?;
    let second = repository.start_upload().await?;
    ensure(first.location != second.location, || {
        format!("{} was given twice", first.location)
    })
}

async fn a_blob_is_pushed_by_post_and_put(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(1000).await?;
    repository.expect_blob(&blob).await
}

async fn the_location_of_a_pushed_blob_is_pullable(repository: Repository) -> Outcome {
    let blob = Content::random(64);
    let answer = repository.push_blob(&blob).await?;
    expect_pullable(&repository, &answer, &blob).await
}

async fn an_empty_blob_is_pushed(repository: Repository) -> Outcome {
    let blob = Content::of("");
    repository.push_blob(&blob).await?;
    repository.expect_blob(&blob).await?;
    let head = repository
        .blob(Method::HEAD, &blob.digest)?
        .send()
        .await?
        .expect(200)?;
    head.expect_header("content-length", "0").map(drop)
}

async fn blobs_of_odd_sizes_are_pushed(repository: Repository) -> Outcome {
    for size_bytes in [1, 511, 65_536, 65_537, 1_048_577] {
        let blob = repository.push_random_blob(size_bytes).await?;
        repository.expect_blob(&blob).await?;
    }
    Ok(())
}

async fn a_blob_is_pushed_twice(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    repository.push_blob(&blob).await?;
    repository.expect_blob(&blob).await
}

async fn a_blob_is_pushed_by_one_post(repository: Repository) -> Outcome {
    let blob = Content::random(1000);
    let answer = post_whole(&repository, &blob, &blob.digest).await?;
    let answer = answer.unless_declined(&[202], "single POST")?.expect(201)?;
    expect_pullable(&repository, &answer, &blob).await
}

async fn an_empty_blob_is_pushed_by_one_post(repository: Repository) -> Outcome {
    let blob = Content::of("");
    let answer = post_whole(&repository, &blob, &blob.digest).await?;
    answer.unless_declined(&[202], "single POST")?.expect(201)?;
    repository.expect_blob(&blob).await
}

async fn one_post_stores_the_blob_or_opens_an_upload(repository: Repository) -> Outcome {
    let blob = Content::random(1000);
    let answer = post_whole(&repository, &blob, &blob.digest)
        .await?
        .expect_one_of(&[201, 202])?;
    if answer.status.as_u16() == 202 {
        let upload = Upload::of(&repository, &answer)?;
        upload.put(&blob)?.send().await?.expect(201)?;
    }
    repository.expect_blob(&blob).await
}

async fn one_post_with_a_wrong_digest_is_refused(repository: Repository) -> Outcome {
    let (blob, other) = (Content::random(64), Content::random(64));
    let answer = post_whole(&repository, &blob, &other.digest).await?;
    answer
        .unless_declined(&[202], "single POST")?
        .expect_error(&[400], &["DIGEST_INVALID"])?;
    repository.expect_no_blob(&blob.digest).await?;
    repository.expect_no_blob(&other.digest).await
}

async fn put_as(repository: &Repository, bytes: &Bytes, digest: &str) -> Result<Answer, Failure> {
    let upload = repository.start_upload().await?;
    upload.put_last(digest, bytes.clone())?.send().await
}

async fn a_put_with_a_wrong_digest_is_refused(repository: Repository) -> Outcome {
    let answer = put_as(
        &repository,
        &Content::random(64).bytes,
        &Content::random(64).digest,
    )
    .await?;
    answer.expect_error(&[400], &["DIGEST_INVALID"]).map(drop)
}

async fn a_wrong_digest_stores_nothing(repository: Repository) -> Outcome {
    let (blob, other) = (Content::random(64), Content::random(64));
    put_as(&repository, &blob.bytes, &other.digest).await?;
    repository.expect_no_blob(&blob.digest).await?;
    repository.expect_no_blob(&other.digest).await
}

async fn a_blob_is_pushed_after_a_refused_upload(repository: Repository) -> Outcome {
    let blob = Content::random(64);
    put_as(
        &repository,
        &Bytes::from_static(b"something else"),
        &blob.digest,
    )
    .await?;
    repository.push_blob(&blob).await?;
    repository.expect_blob(&blob).await
}

async fn a_put_without_a_digest_is_refused(repository: Repository) -> Outcome {
    let upload = repository.start_upload().await?;
    let call = upload.call(Method::PUT)?.body(Content::random(64).bytes);
    call.send()
        .await?
        .expect_error(&[400], &["DIGEST_INVALID"])
        .map(drop)
}

async fn a_put_with_a_malformed_digest_is_refused(repository: Repository) -> Outcome {
    let blob = Content::random(64);
    let upper_case = blob.digest.to_uppercase().replace("SHA256", "sha256");
    let malformed = [
        "sha256",
        "sha256:",
        "sha256:abc",
        "nonsense",
        upper_case.as_str(),
        &blob.digest[..70],
        "",
    ];
    for digest in malformed {
        let answer = put_as(&repository, &blob.bytes, digest).await?;
        answer.expect_error(&[400], &["DIGEST_INVALID"])?;
    }
    Ok(())
}

async fn a_put_with_an_unknown_algorithm_is_refused(repository: Repository) -> Outcome {
    let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
    let unknown = format!("sha255:{}", &Content::random(8).digest["sha256:".len()..]);
    for digest in [md5, &unknown] {
        let answer = put_as(&repository, &Bytes::new(), digest).await?;
        answer.expect_error(&[400], &["DIGEST_INVALID", "UNSUPPORTED"])?;
    }
    Ok(())
}

async fn a_blob_is_pushed_in_chunks(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let blob = upload.content(2);
    let sent = upload.send_chunks(&blob, 2).await?;
    upload.send_chunk(sent, blob.bytes.slice(sent..)).await?;
    upload.finish(&blob).await
}

async fn last_with_put(repository: &Repository, with_range: bool) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let blob = upload.content(2);
    let sent = upload.send_chunks(&blob, 2).await?;
    let last = blob.bytes.slice(sent..);
    let call = if with_range {
        upload.put_chunk(&blob.digest, sent, last)?
    } else {
        upload.put_last(&blob.digest, last)?
    };
    let answer = call.send().await?.expect(201)?;
    expect_pullable(repository, &answer, &blob).await
}

async fn the_last_chunk_comes_with_the_put(repository: Repository) -> Outcome {
    last_with_put(&repository, true).await
}

async fn the_last_chunk_comes_with_the_put_without_a_range(repository: Repository) -> Outcome {
    last_with_put(&repository, false).await
}

async fn a_blob_is_pushed_in_one_chunk(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let blob = Content::random(777);
    upload.send_chunk(0, blob.bytes.clone()).await?;
    upload.finish(&blob).await
}

async fn a_blob_is_pushed_in_many_chunks(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let chunks = if upload.chunk_bytes > 1024 * 1024 {
        3
    } else {
        25
    };
    let blob = upload.content(chunks);
    let sent = upload.send_chunks(&blob, chunks).await?;
    upload.send_chunk(sent, blob.bytes.slice(sent..)).await?;
    upload.finish(&blob).await
}

async fn chunks_that_do_not_match_the_digest_are_refused(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let blob = upload.content(1);
    let other = Content::random(64);
    upload.send_chunk(0, blob.bytes.clone()).await?;
    let answer = upload.put_last(&other.digest, Bytes::new())?.send().await?;
    answer.expect_error(&[400], &["DIGEST_INVALID"])?;
    repository.expect_no_blob(&other.digest).await
}

async fn the_location_after_chunks_is_pullable(repository: Repository) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let blob = upload.content(1);
    upload.send_chunk(0, blob.bytes.clone()).await?;
    let answer = upload
        .put_last(&blob.digest, Bytes::new())?
        .send()
        .await?
        .expect(201)?;
    expect_pullable(&repository, &answer, &blob).await
}

async fn streams(repository: &Repository, blob: &Content, pieces: usize) -> Outcome {
    let mut upload = repository.start_upload().await?;
    let mut sent = 0;
    for piece in blob.bytes.chunks(blob.size_bytes().div_ceil(pieces)) {
        sent += piece.len();
        let call = upload
            .patch(Bytes::new())?
            .streamed(&blob.bytes.slice_ref(piece), 1000);
        upload.advance(call.send().await?, sent)?;
    }
    upload.finish(blob).await
}

async fn a_blob_is_pushed_in_one_stream(repository: Repository) -> Outcome {
    streams(&repository, &Content::random(300_000), 1).await
}

async fn a_blob_is_pushed_in_several_streams(repository: Repository) -> Outcome {
    streams(&repository, &Content::random(30_000), 3).await
}

async fn a_put_takes_a_stream(repository: Repository) -> Outcome {
    let blob = Content::random(30_000);
    let upload = repository.start_upload().await?;
    upload
        .put(&blob)?
        .streamed(&blob.bytes, 1000)
        .send()
        .await?
        .expect(201)?;
    repository.expect_blob(&blob).await
}

async fn different_blobs_are_pushed_at_once(repository: Repository) -> Outcome {
    let blobs: Vec<Content> = (0..10).map(|_| Content::random(10_000)).collect();
    try_join_all(blobs.iter().map(|blob| repository.push_blob(blob))).await?;
    try_join_all(blobs.iter().map(|blob| repository.expect_blob(blob)))
        .await
        .map(drop)
}

async fn the_same_blob_is_pushed_at_once(repository: Repository) -> Outcome {
    let blob = Content::random(50_000);
    try_join_all((0..10).map(|_| repository.push_blob(&blob))).await?;
    repository.expect_blob(&blob).await
}

async fn chunks_of_two_uploads_may_alternate(repository: Repository) -> Outcome {
    let mut first = repository.start_upload().await?;
    let mut second = repository.start_upload().await?;
    let (one, two) = (first.content(1), second.content(1));
    let size = first.chunk_bytes;
    for start in [0, size] {
        let end = if start == 0 { size } else { one.size_bytes() };
        first.send_chunk(start, one.bytes.slice(start..end)).await?;
        second
            .send_chunk(start, two.bytes.slice(start..end))
            .await?;
    }
    first.finish(&one).await?;
    second.finish(&two).await
}

async fn the_answer_to_a_push_names_the_digest(repository: Repository) -> Outcome {
    let (by_put, by_post) = (Content::random(64), Content::random(64));
    repository
        .push_blob(&by_put)
        .await?
        .expect_header("docker-content-digest", &by_put.digest)?;
    let answer = post_whole(&repository, &by_post, &by_post.digest)
        .await?
        .expect(201)?;
    answer
        .expect_header("docker-content-digest", &by_post.digest)
        .map(drop)
}
