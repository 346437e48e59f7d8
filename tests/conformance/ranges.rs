//! Parts of blobs (RFC 9110, section 14).

use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, ensure};
use crate::client::Answer;
use crate::content::Content;
use crate::repository::Repository;

/// The size of the blob that most cases read.
const SIZE_BYTES: usize = 1000;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Should};
    vec![
        case!(
            Should,
            "ranges are announced by Accept-Ranges",
            ranges_are_announced
        ),
        case!(
            Should,
            "a range is 206 with Content-Range",
            the_first_bytes_are_read
        ),
        case!(
            Should,
            "a range is 206 with Content-Range",
            bytes_in_the_middle_are_read
        ),
        case!(
            Should,
            "a range may be a single byte",
            a_single_byte_is_read
        ),
        case!(
            Should,
            "a range may be open at its end",
            all_bytes_after_some_are_read
        ),
        case!(
            Should,
            "a range may count from the end",
            the_last_bytes_are_read
        ),
        case!(
            Should,
            "a range that ends after the blob is cut",
            a_range_past_the_end_is_cut
        ),
        case!(
            Should,
            "a suffix longer than the blob is all of it",
            a_suffix_longer_than_the_blob_is_all_of_it
        ),
        case!(
            Should,
            "a range that covers everything is a range",
            the_whole_blob_is_read_as_a_range
        ),
        case!(
            Should,
            "a range after the end is 416 with the size",
            a_range_after_the_end_cannot_be_satisfied
        ),
        case!(
            Should,
            "a suffix of nothing is 416",
            a_suffix_of_nothing_cannot_be_satisfied
        ),
        case!(
            Should,
            "an empty blob has no ranges",
            an_empty_blob_has_no_ranges
        ),
        case!(
            Should,
            "a unit that the registry does not know is ignored",
            an_unknown_unit_is_ignored
        ),
        case!(
            Should,
            "an invalid range is ignored or refused",
            an_invalid_range_is_ignored_or_refused
        ),
        case!(
            Should,
            "several ranges are answered in parts or as a whole",
            several_ranges_are_answered
        ),
        case!(
            Should,
            "Range means nothing to HEAD",
            a_range_means_nothing_to_a_head
        ),
        case!(
            Should,
            "an interrupted pull is resumed by a range",
            an_interrupted_pull_is_resumed
        ),
        case!(
            Should,
            "If-Range with another ETag gives the whole blob",
            a_range_of_another_version_gives_the_whole_blob
        ),
        case!(
            Should,
            "If-Range with the blob's ETag gives the range",
            a_range_of_this_version_is_read
        ),
        case!(
            Berth,
            "a range's answer names the digest of the whole blob",
            a_range_names_the_digest_of_the_blob
        ),
        case!(
            Berth,
            "ranges far inside a large blob are right",
            ranges_of_a_large_blob_are_read
        ),
    ]
}

async fn get(repository: &Repository, blob: &Content, range: &str) -> Result<Answer, Failure> {
    repository
        .blob(Method::GET, &blob.digest)?
        .header("range", range)
        .send()
        .await
}

/// Reads a range of a new blob, and checks that it is the bytes from `start` to `end`, which does not belong to it.
async fn expect_part(repository: &Repository, range: &str, start: usize, end: usize) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    let answer = get(repository, &blob, range).await?;
    part_of(answer, &blob, start, end)
}

fn part_of(answer: Answer, blob: &Content, start: usize, end: usize) -> Outcome {
    let content_range = format!("bytes {start}-{}/{}", end - 1, blob.size_bytes());
    let answer = answer
        .expect(206)?
        .expect_header("content-range", &content_range)?;
    let answer = answer.expect_header("content-length", &(end - start).to_string())?;
    answer.expect_body(&blob.bytes[start..end]).map(drop)
}

async fn ranges_are_announced(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    for method in [Method::GET, Method::HEAD] {
        let answer = repository
            .blob(method, &blob.digest)?
            .send()
            .await?
            .expect(200)?;
        answer.expect_header("accept-ranges", "bytes")?;
    }
    Ok(())
}

async fn the_first_bytes_are_read(repository: Repository) -> Outcome {
    expect_part(&repository, "bytes=0-99", 0, 100).await
}

async fn bytes_in_the_middle_are_read(repository: Repository) -> Outcome {
    expect_part(&repository, "bytes=100-299", 100, 300).await
}

async fn a_single_byte_is_read(repository: Repository) -> Outcome {
    expect_part(&repository, "bytes=0-0", 0, 1).await?;
    expect_part(&repository, "bytes=999-999", 999, 1000).await
}

async fn all_bytes_after_some_are_read(repository: Repository) -> Outcome {
    expect_part(&repository, "bytes=900-", 900, 1000).await
}

async fn the_last_bytes_are_read(repository: Repository) -> Outcome {
    expect_part(&repository, "bytes=-10", 990, 1000).await
}

async fn a_range_past_the_end_is_cut(repository: Repository) -> Outcome {
    expect_part(&repository, "bytes=990-5000", 990, 1000).await
}

async fn a_suffix_longer_than_the_blob_is_all_of_it(repository: Repository) -> Outcome {
    expect_part(&repository, "bytes=-5000", 0, 1000).await
}

async fn the_whole_blob_is_read_as_a_range(repository: Repository) -> Outcome {
    expect_part(&repository, "bytes=0-", 0, 1000).await?;
    expect_part(&repository, "bytes=0-999", 0, 1000).await
}

async fn expect_unsatisfiable(repository: &Repository, size_bytes: usize, range: &str) -> Outcome {
    let blob = repository.push_random_blob(size_bytes).await?;
    let answer = get(repository, &blob, range).await?.expect(416)?;
    answer
        .expect_header("content-range", &format!("bytes */{size_bytes}"))
        .map(drop)
}

async fn a_range_after_the_end_cannot_be_satisfied(repository: Repository) -> Outcome {
    expect_unsatisfiable(&repository, SIZE_BYTES, "bytes=1000-").await?;
    expect_unsatisfiable(&repository, SIZE_BYTES, "bytes=5000-6000").await
}

async fn a_suffix_of_nothing_cannot_be_satisfied(repository: Repository) -> Outcome {
    expect_unsatisfiable(&repository, SIZE_BYTES, "bytes=-0").await
}

async fn an_empty_blob_has_no_ranges(repository: Repository) -> Outcome {
    expect_unsatisfiable(&repository, 0, "bytes=0-").await
}

async fn an_unknown_unit_is_ignored(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    get(&repository, &blob, "pages=1-2")
        .await?
        .expect(200)?
        .expect_body(&blob.bytes)
        .map(drop)
}

async fn an_invalid_range_is_ignored_or_refused(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    for range in [
        "bytes=",
        "bytes=a-b",
        "bytes=9-1",
        "bytes=-",
        "bytes",
        "bytes=1",
        "bytes=99999999999999999999-",
    ] {
        let answer = get(&repository, &blob, range)
            .await?
            .expect_one_of(&[200, 400, 416])?;
        if answer.status.as_u16() == 200 {
            answer.expect_body(&blob.bytes)?;
        }
    }
    Ok(())
}

async fn several_ranges_are_answered(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    let answer = get(&repository, &blob, "bytes=0-1,500-509")
        .await?
        .expect_one_of(&[200, 206])?;
    if answer.status.as_u16() == 200 {
        return answer.expect_body(&blob.bytes).map(drop);
    }
    let media_type = answer.header("content-type").unwrap_or_default();
    ensure(media_type.starts_with("multipart/byteranges"), || {
        format!("found `{media_type}`")
    })
}

async fn a_range_means_nothing_to_a_head(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    let answer = repository
        .blob(Method::HEAD, &blob.digest)?
        .header("range", "bytes=0-9")
        .send()
        .await?;
    answer
        .expect(200)?
        .expect_header("content-length", "1000")
        .map(drop)
}

async fn an_interrupted_pull_is_resumed(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(100_000).await?;
    let first = get(&repository, &blob, "bytes=0-39999")
        .await?
        .expect(206)?
        .body;
    let rest = get(&repository, &blob, "bytes=40000-")
        .await?
        .expect(206)?
        .body;
    ensure([first, rest].concat() == blob.bytes, || {
        String::from("the two parts are not the blob")
    })
}

async fn a_range_of_another_version_gives_the_whole_blob(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    let call = repository
        .blob(Method::GET, &blob.digest)?
        .header("range", "bytes=0-9");
    call.header("if-range", "\"another\"")
        .send()
        .await?
        .expect(200)?
        .expect_body(&blob.bytes)
        .map(drop)
}

async fn a_range_of_this_version_is_read(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    let head = repository
        .blob(Method::HEAD, &blob.digest)?
        .send()
        .await?
        .expect(200)?;
    let Some(entity_tag) = head.header("etag") else {
        return Err(Failure::NotOffered(String::from("no ETag")));
    };
    let call = repository
        .blob(Method::GET, &blob.digest)?
        .header("range", "bytes=0-9");
    part_of(
        call.header("if-range", entity_tag).send().await?,
        &blob,
        0,
        10,
    )
}

async fn a_range_names_the_digest_of_the_blob(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(SIZE_BYTES).await?;
    let answer = get(&repository, &blob, "bytes=0-9").await?.expect(206)?;
    answer
        .expect_header("docker-content-digest", &blob.digest)
        .map(drop)
}

async fn ranges_of_a_large_blob_are_read(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(3_000_000).await?;
    for (start, end) in [
        (0, 1),
        (65_535, 65_537),
        (1_048_575, 2_097_153),
        (2_999_999, 3_000_000),
    ] {
        let answer = get(&repository, &blob, &format!("bytes={start}-{}", end - 1)).await?;
        part_of(answer, &blob, start, end)?;
    }
    Ok(())
}
