//! Digests of other algorithms than the usual one, and what is no digest.

use bytes::Bytes;
use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, ensure, same};
use crate::client::Answer;
use crate::content::{Content, OCI_CONFIG, image, index, sha256, sha512};
use crate::repository::{Repository, Upload};

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Optional, Should};
    const SHA512: Level = Optional("sha512");
    vec![
        case!(
            SHA512,
            "a blob has the digest that the PUT names",
            a_sha512_blob_is_pushed_by_post_and_put
        ),
        case!(
            SHA512,
            "digest-algorithm tells the algorithm before the digest is known",
            a_sha512_blob_is_pushed_with_its_algorithm
        ),
        case!(
            SHA512,
            "digest-algorithm tells the algorithm of a chunked upload",
            a_sha512_blob_is_pushed_in_chunks
        ),
        case!(
            SHA512,
            "digest-algorithm should, not must, come before the chunks",
            a_sha512_blob_is_pushed_in_chunks_without_its_algorithm
        ),
        case!(
            SHA512,
            "a single POST names any digest",
            a_sha512_blob_is_pushed_by_one_post
        ),
        case!(
            SHA512,
            "a wrong digest is 400 whatever its algorithm",
            a_wrong_sha512_digest_is_refused
        ),
        case!(
            SHA512,
            "answers name a digest of the body",
            answers_about_a_sha512_blob_name_a_digest_of_it
        ),
        case!(
            SHA512,
            "ranges work whatever the algorithm",
            a_sha512_blob_is_read_in_part
        ),
        case!(
            SHA512,
            "a manifest has the digest it is pushed by",
            a_manifest_is_pushed_by_its_sha512_digest
        ),
        case!(
            SHA512,
            "a manifest under a wrong digest is refused whatever its algorithm",
            a_manifest_under_a_wrong_sha512_digest_is_refused
        ),
        case!(
            SHA512,
            "a manifest may refer to blobs of any algorithm",
            a_manifest_refers_to_sha512_blobs
        ),
        case!(
            SHA512,
            "an index may refer to manifests of any algorithm",
            an_index_refers_to_a_sha512_manifest
        ),
        case!(
            SHA512,
            "deletion works whatever the algorithm",
            sha512_content_is_deleted
        ),
        case!(
            Should,
            "digest-algorithm may name the usual algorithm too",
            a_sha256_blob_is_pushed_with_its_algorithm
        ),
        case!(
            Berth,
            "an unknown digest-algorithm is 400",
            an_unknown_algorithm_is_refused
        ),
        case!(
            Must,
            "what is no digest finds nothing",
            malformed_digests_find_no_blob
        ),
        case!(
            Must,
            "what is no digest finds nothing",
            malformed_digests_find_no_manifest
        ),
        case!(
            Berth,
            "each digest is its own identity",
            the_same_bytes_by_another_digest_are_not_there
        ),
        case!(
            Berth,
            "each digest is its own identity",
            the_same_manifest_by_another_digest_is_not_there
        ),
    ]
}

async fn start_with(repository: &Repository, algorithm: &str) -> Result<Answer, Failure> {
    repository
        .start()?
        .query("digest-algorithm", algorithm)
        .send()
        .await
}

/// A registry that knows the algorithm answers 201; one that does not, 400.
fn taken(answer: Answer) -> Result<Answer, Failure> {
    answer.unless_declined(&[400], "sha512")?.expect(201)
}

async fn push(repository: &Repository, blob: &Content) -> Result<Answer, Failure> {
    let upload = repository.start_upload().await?;
    taken(upload.put(blob)?.send().await?)
}

async fn a_sha512_blob_is_pushed_by_post_and_put(repository: Repository) -> Outcome {
    for size_bytes in [0, 1000, 100_000] {
        let blob = Content::random(size_bytes).by_sha512();
        push(&repository, &blob).await?;
        repository.expect_blob(&blob).await?;
    }
    Ok(())
}

async fn a_sha512_blob_is_pushed_with_its_algorithm(repository: Repository) -> Outcome {
    let blob = Content::random(1000).by_sha512();
    let upload = Upload::of(&repository, &start_with(&repository, "sha512").await?)?;
    taken(upload.put(&blob)?.send().await?)?;
    repository.expect_blob(&blob).await
}

async fn in_chunks(repository: &Repository, mut upload: Upload) -> Outcome {
    let blob = upload.content(2).by_sha512();
    let sent = upload.send_chunks(&blob, 2).await?;
    upload.send_chunk(sent, blob.bytes.slice(sent..)).await?;
    taken(upload.put_last(&blob.digest, Bytes::new())?.send().await?)?;
    repository.expect_blob(&blob).await
}

async fn a_sha512_blob_is_pushed_in_chunks(repository: Repository) -> Outcome {
    let upload = Upload::of(&repository, &start_with(&repository, "sha512").await?)?;
    in_chunks(&repository, upload).await
}

async fn a_sha512_blob_is_pushed_in_chunks_without_its_algorithm(
    repository: Repository,
) -> Outcome {
    in_chunks(&repository, repository.start_upload().await?).await
}

async fn a_sha512_blob_is_pushed_by_one_post(repository: Repository) -> Outcome {
    let blob = Content::random(1000).by_sha512();
    let call = repository
        .start()?
        .query("digest", &blob.digest)
        .body(blob.bytes.clone());
    taken(call.send().await?.unless_declined(&[202], "single POST")?)?;
    repository.expect_blob(&blob).await
}

async fn a_wrong_sha512_digest_is_refused(repository: Repository) -> Outcome {
    let (blob, other) = (Content::random(64), Content::random(64).by_sha512());
    let upload = repository.start_upload().await?;
    let answer = upload.put_last(&other.digest, blob.bytes)?.send().await?;
    answer.expect_error(&[400], &["DIGEST_INVALID"])?;
    repository.expect_no_blob(&other.digest).await
}

/// Whether the header holds a digest of these bytes, by whichever algorithm.
fn expect_digest_of(answer: &Answer, bytes: &[u8]) -> Outcome {
    let found = answer.header("docker-content-digest").unwrap_or_default();
    ensure(found == sha512(bytes) || found == sha256(bytes), || {
        format!("{}: `{found}` is no digest of the content", answer.request)
    })
}

async fn answers_about_a_sha512_blob_name_a_digest_of_it(repository: Repository) -> Outcome {
    let blob = Content::random(1000).by_sha512();
    push(&repository, &blob).await?;
    for method in [Method::GET, Method::HEAD] {
        let answer = repository
            .blob(method, &blob.digest)?
            .send()
            .await?
            .expect(200)?;
        expect_digest_of(&answer, &blob.bytes)?;
        answer.expect_header("content-length", "1000")?;
    }
    Ok(())
}

async fn a_sha512_blob_is_read_in_part(repository: Repository) -> Outcome {
    let blob = Content::random(1000).by_sha512();
    push(&repository, &blob).await?;
    let answer = repository
        .blob(Method::GET, &blob.digest)?
        .header("range", "bytes=10-19")
        .send()
        .await?;
    answer
        .expect(206)?
        .expect_body(&blob.bytes[10..20])
        .map(drop)
}

async fn a_manifest_is_pushed_by_its_sha512_digest(repository: Repository) -> Outcome {
    let manifest = image().build().by_sha512();
    repository.push_blobs(&manifest).await?;
    let answer = taken(repository.put(&manifest, manifest.digest())?.send().await?)?;
    let pulled = repository
        .call_url(Method::GET, &answer.location()?)?
        .send()
        .await?;
    pulled.expect(200)?.expect_body(&manifest.body.bytes)?;
    for method in [Method::GET, Method::HEAD] {
        let answer = repository
            .manifest(method, manifest.digest())?
            .send()
            .await?
            .expect(200)?;
        expect_digest_of(&answer, &manifest.body.bytes)?;
    }
    repository
        .expect_manifest(&manifest, manifest.digest())
        .await
}

async fn a_manifest_under_a_wrong_sha512_digest_is_refused(repository: Repository) -> Outcome {
    let (manifest, other) = (image().build(), Content::random(8).by_sha512());
    repository.push_blobs(&manifest).await?;
    let answer = repository.put(&manifest, &other.digest)?.send().await?;
    answer.expect_error(&[400], &["DIGEST_INVALID", "MANIFEST_INVALID"])?;
    repository.expect_no_manifest(&other.digest).await
}

async fn a_manifest_refers_to_sha512_blobs(repository: Repository) -> Outcome {
    let (config, layer) = (
        Content::of("{\"os\":\"linux\"}").by_sha512(),
        Content::random(64).by_sha512(),
    );
    push(&repository, &config).await?;
    push(&repository, &layer).await?;
    let manifest = image().config(&config, OCI_CONFIG).layer(&layer).build();
    repository.put(&manifest, "v1")?.send().await?.expect(201)?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn an_index_refers_to_a_sha512_manifest(repository: Repository) -> Outcome {
    let child = image().build().by_sha512();
    repository.push_blobs(&child).await?;
    taken(repository.put(&child, child.digest())?.send().await?)?;
    let index = index().child(&child).build();
    repository.push(&index, "v1").await?;
    repository.expect_manifest(&index, "v1").await
}

async fn sha512_content_is_deleted(repository: Repository) -> Outcome {
    let blob = Content::random(64).by_sha512();
    push(&repository, &blob).await?;
    let answer = repository
        .blob(Method::DELETE, &blob.digest)?
        .send()
        .await?;
    answer
        .unless_declined(&[405], "blob deletion")?
        .expect(202)?;
    repository.expect_no_blob(&blob.digest).await
}

async fn a_sha256_blob_is_pushed_with_its_algorithm(repository: Repository) -> Outcome {
    let blob = Content::random(1000);
    let upload = Upload::of(&repository, &start_with(&repository, "sha256").await?)?;
    upload.put(&blob)?.send().await?.expect(201)?;
    repository.expect_blob(&blob).await
}

async fn an_unknown_algorithm_is_refused(repository: Repository) -> Outcome {
    for algorithm in ["md5", "SHA512", ""] {
        let answer = start_with(&repository, algorithm).await?;
        answer.expect_error(&[400], &["DIGEST_INVALID", "UNSUPPORTED"])?;
    }
    Ok(())
}

const MALFORMED: [&str; 7] = [
    "sha256:",
    "sha256:abc",
    "sha256:XYZ4e2d3a1f0c9b8a7968574635241302f1e0d9c8b7a69584736251403f2e1d0",
    "sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855a",
];

async fn malformed_digests_find_no_blob(repository: Repository) -> Outcome {
    repository.push_blob(&Content::of("")).await?;
    for digest in MALFORMED {
        let answer = repository.blob(Method::GET, digest)?.send().await?;
        answer.expect_error(
            &[400, 404],
            &["DIGEST_INVALID", "BLOB_UNKNOWN", "UNSUPPORTED"],
        )?;
    }
    Ok(())
}

async fn malformed_digests_find_no_manifest(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    for digest in MALFORMED {
        let answer = repository.manifest(Method::GET, digest)?.send().await?;
        let codes = [
            "DIGEST_INVALID",
            "MANIFEST_UNKNOWN",
            "MANIFEST_INVALID",
            "UNSUPPORTED",
        ];
        answer.expect_error(&[400, 404], &codes)?;
    }
    Ok(())
}

async fn the_same_bytes_by_another_digest_are_not_there(repository: Repository) -> Outcome {
    let (usual, other) = (
        repository.push_random_blob(64).await?,
        Content::random(64).by_sha512(),
    );
    push(&repository, &other).await?;
    repository.expect_no_blob(&usual.by_sha512().digest).await?;
    repository.expect_no_blob(&sha256(&other.bytes)).await
}

async fn the_same_manifest_by_another_digest_is_not_there(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    repository
        .expect_no_manifest(manifest.by_sha512().digest())
        .await?;
    repository.push_by_digest(&manifest.by_sha512()).await?;
    repository
        .expect_manifest(&manifest, manifest.by_sha512().digest())
        .await?;
    let answer = repository
        .manifest(Method::HEAD, "v1")?
        .send()
        .await?
        .expect(200)?;
    same(
        "the tag's digest",
        &answer.header("docker-content-digest"),
        &Some(manifest.digest()),
    )
}
