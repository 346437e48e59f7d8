//! Mounting blobs from other repositories.

use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case};
use crate::client::Answer;
use crate::content::{Content, image};
use crate::repository::{Repository, Upload};

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Optional, Should};
    const MOUNTS: Level = Optional("mount");
    vec![
        case!(
            MOUNTS,
            "a mount answers 201 with a pullable Location",
            a_blob_is_mounted
        ),
        case!(
            MOUNTS,
            "a mounted blob is in the repository",
            a_mounted_blob_can_be_used_by_a_manifest
        ),
        case!(
            MOUNTS,
            "a mount of what is there already is 201",
            a_blob_is_mounted_twice
        ),
        case!(
            MOUNTS,
            "a mounted blob is in the repository, whatever happens to the source",
            a_mounted_blob_outlives_its_source
        ),
        case!(
            MOUNTS,
            "a sha512 blob is mounted like any other",
            a_sha512_blob_is_mounted
        ),
        case!(
            MOUNTS,
            "an empty blob is mounted like any other",
            an_empty_blob_is_mounted
        ),
        case!(
            Should,
            "a mount that is not possible opens an upload: 202",
            a_mount_of_an_unknown_blob_opens_an_upload
        ),
        case!(
            Should,
            "a mount that is not possible opens an upload: 202",
            a_mount_from_an_unknown_repository_opens_an_upload
        ),
        case!(
            Should,
            "a mount that is not possible opens an upload: 202",
            a_mount_from_a_repository_without_the_blob_opens_an_upload
        ),
        case!(
            Must,
            "a 202 to a mount is an upload like any other",
            an_upload_opened_by_a_mount_takes_the_blob
        ),
        case!(
            Should,
            "`from` may be optional: 201 if the blob is found, else 202",
            a_mount_without_a_source_is_answered
        ),
        case!(
            Berth,
            "a mount finds the blob in any readable repository of the workspace",
            a_mount_without_a_source_finds_the_blob
        ),
        case!(
            Berth,
            "a mount without a source that finds nothing opens an upload",
            a_mount_without_a_source_of_an_unknown_blob_opens_an_upload
        ),
        case!(
            Berth,
            "an invalid digest is 400",
            a_mount_of_a_malformed_digest_is_refused
        ),
        case!(
            Berth,
            "a mount without a right on the source opens an upload",
            a_mount_from_a_foreign_prefix_opens_an_upload
        ),
        case!(
            Berth,
            "the answer to a mount names the digest",
            the_answer_to_a_mount_names_the_digest
        ),
    ]
}

async fn mount(target: &Repository, digest: &str, source: Option<&str>) -> Result<Answer, Failure> {
    let mut call = target.start()?.query("mount", digest);
    if let Some(source) = source {
        let access = format!("mount from {source} into {}", target.name);
        call = call.query("from", source).access(access);
    }
    call.send().await
}

/// Pushes the blob to another repository and mounts it from there.
async fn mounted(target: &Repository, blob: &Content) -> Result<(Repository, Answer), Failure> {
    let source = target.sibling();
    source.push_blob(blob).await?;
    let answer = mount(target, &blob.digest, Some(&source.name)).await?;
    let answer = answer.unless_declined(&[202], "mount")?.expect(201)?;
    Ok((source, answer))
}

async fn a_blob_is_mounted(repository: Repository) -> Outcome {
    let blob = Content::random(1000);
    let (_, answer) = mounted(&repository, &blob).await?;
    let pulled = repository
        .call_url(Method::GET, &answer.location()?)?
        .send()
        .await?;
    pulled.expect(200)?.expect_body(&blob.bytes)?;
    repository.expect_blob(&blob).await
}

async fn a_mounted_blob_can_be_used_by_a_manifest(repository: Repository) -> Outcome {
    let layer = Content::random(64);
    mounted(&repository, &layer).await?;
    let mut manifest = image().layer(&layer).build();
    manifest.blobs.retain(|blob| blob.digest != layer.digest);
    repository.push(&manifest, "v1").await?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn a_blob_is_mounted_twice(repository: Repository) -> Outcome {
    let blob = Content::random(64);
    let (source, _) = mounted(&repository, &blob).await?;
    mount(&repository, &blob.digest, Some(&source.name))
        .await?
        .expect(201)
        .map(drop)
}

async fn a_mounted_blob_outlives_its_source(repository: Repository) -> Outcome {
    let blob = Content::random(64);
    let (source, _) = mounted(&repository, &blob).await?;
    let deleted = source.blob(Method::DELETE, &blob.digest)?.send().await?;
    deleted
        .unless_declined(&[400, 405], "blob deletion")?
        .expect(202)?;
    source.expect_no_blob(&blob.digest).await?;
    repository.expect_blob(&blob).await
}

async fn a_sha512_blob_is_mounted(repository: Repository) -> Outcome {
    let blob = Content::random(64).by_sha512();
    mounted(&repository, &blob).await?;
    repository.expect_blob(&blob).await
}

async fn an_empty_blob_is_mounted(repository: Repository) -> Outcome {
    let blob = Content::of("");
    mounted(&repository, &blob).await?;
    repository.expect_blob(&blob).await
}

async fn expect_upload(
    target: &Repository,
    digest: &str,
    source: Option<&str>,
) -> Result<Upload, Failure> {
    Upload::of(target, &mount(target, digest, source).await?)
}

async fn a_mount_of_an_unknown_blob_opens_an_upload(repository: Repository) -> Outcome {
    let source = repository.sibling();
    source.push_image("v1").await?;
    expect_upload(&repository, &Content::random(8).digest, Some(&source.name))
        .await
        .map(drop)
}

async fn a_mount_from_an_unknown_repository_opens_an_upload(repository: Repository) -> Outcome {
    let source = repository.sibling().name;
    expect_upload(&repository, &Content::random(8).digest, Some(&source))
        .await
        .map(drop)
}

async fn a_mount_from_a_repository_without_the_blob_opens_an_upload(
    repository: Repository,
) -> Outcome {
    let blob = repository.sibling().push_random_blob(64).await?;
    let source = repository.sibling();
    source.push_image("v1").await?;
    expect_upload(&repository, &blob.digest, Some(&source.name)).await?;
    repository.expect_no_blob(&blob.digest).await
}

async fn an_upload_opened_by_a_mount_takes_the_blob(repository: Repository) -> Outcome {
    let blob = Content::random(1000);
    let source = repository.sibling().name;
    let upload = expect_upload(&repository, &blob.digest, Some(&source)).await?;
    upload.put(&blob)?.send().await?.expect(201)?;
    repository.expect_blob(&blob).await
}

async fn a_mount_without_a_source_is_answered(repository: Repository) -> Outcome {
    let blob = repository.sibling().push_random_blob(64).await?;
    let answer = mount(&repository, &blob.digest, None)
        .await?
        .expect_one_of(&[201, 202])?;
    answer.location()?;
    if answer.status.as_u16() == 201 {
        return repository.expect_blob(&blob).await;
    }
    repository.expect_no_blob(&blob.digest).await
}

async fn a_mount_without_a_source_finds_the_blob(repository: Repository) -> Outcome {
    let blob = repository.sibling().push_random_blob(64).await?;
    // A token was given for names, so it cannot be for a source that nobody named; a password can.
    let call = repository.start()?.query("mount", &blob.digest);
    let basic = repository.registry.basic();
    call.authorization(&basic).send().await?.expect(201)?;
    repository.expect_blob(&blob).await
}

async fn a_mount_without_a_source_of_an_unknown_blob_opens_an_upload(
    repository: Repository,
) -> Outcome {
    let blob = Content::random(64);
    let upload = expect_upload(&repository, &blob.digest, None).await?;
    upload.put(&blob)?.send().await?.expect(201)?;
    repository.expect_blob(&blob).await
}

async fn a_mount_of_a_malformed_digest_is_refused(repository: Repository) -> Outcome {
    let source = repository.sibling();
    source.push_image("v1").await?;
    let answer = mount(&repository, "sha256:nonsense", Some(&source.name)).await?;
    answer.expect_error(&[400], &["DIGEST_INVALID"]).map(drop)
}

async fn a_mount_from_a_foreign_prefix_opens_an_upload(repository: Repository) -> Outcome {
    let blob = Content::random(64);
    let upload = expect_upload(
        &repository,
        &blob.digest,
        Some("t-ffffffffffffffff/nothing"),
    )
    .await?;
    upload.put(&blob)?.send().await?.expect(201).map(drop)
}

async fn the_answer_to_a_mount_names_the_digest(repository: Repository) -> Outcome {
    let blob = Content::random(64);
    let (_, answer) = mounted(&repository, &blob).await?;
    answer
        .expect_header("docker-content-digest", &blob.digest)
        .map(drop)
}
