//! Deleting tags, manifests and blobs.

use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, same};
use crate::client::Call;
use crate::content::{Content, image, index};
use crate::repository::Repository;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Optional};
    const TAGS: Level = Optional("tag deletion");
    const MANIFESTS: Level = Optional("manifest deletion");
    const BLOBS: Level = Optional("blob deletion");
    vec![
        case!(
            TAGS,
            "DELETE of a tag is 202, then GET is 404",
            a_tag_is_deleted
        ),
        case!(
            TAGS,
            "a deleted tag leaves its manifest",
            a_deleted_tag_leaves_its_manifest
        ),
        case!(
            TAGS,
            "a deleted tag leaves other tags",
            a_deleted_tag_leaves_other_tags
        ),
        case!(
            TAGS,
            "a deleted tag can be pushed again",
            a_deleted_tag_is_pushed_again
        ),
        case!(
            TAGS,
            "deleting an unknown tag is 404",
            an_unknown_tag_is_not_deleted
        ),
        case!(
            MANIFESTS,
            "DELETE of a manifest is 202, then GET is 404",
            a_manifest_is_deleted
        ),
        case!(
            MANIFESTS,
            "tags of a deleted manifest are 404",
            tags_of_a_deleted_manifest_are_gone
        ),
        case!(
            MANIFESTS,
            "tags of a deleted manifest are not listed",
            tags_of_a_deleted_manifest_are_not_listed
        ),
        case!(
            MANIFESTS,
            "a deleted manifest leaves others",
            a_deleted_manifest_leaves_others
        ),
        case!(
            MANIFESTS,
            "a deleted manifest can be pushed again",
            a_deleted_manifest_is_pushed_again
        ),
        case!(
            MANIFESTS,
            "a manifest deleted here stays elsewhere",
            a_manifest_deleted_here_stays_elsewhere
        ),
        case!(
            MANIFESTS,
            "an index is deleted like any manifest and leaves its children",
            an_index_is_deleted
        ),
        case!(
            MANIFESTS,
            "deleting an unknown manifest is 404",
            an_unknown_manifest_is_not_deleted
        ),
        case!(
            MANIFESTS,
            "deleting twice is 404",
            a_deleted_manifest_is_not_deleted_again
        ),
        case!(
            MANIFESTS,
            "deleting in an unknown repository is 404",
            nothing_is_deleted_in_an_unknown_repository
        ),
        case!(
            BLOBS,
            "DELETE of a blob is 202, then GET and HEAD are 404",
            a_blob_is_deleted
        ),
        case!(
            BLOBS,
            "deleting an unknown blob is 404",
            an_unknown_blob_is_not_deleted
        ),
        case!(
            BLOBS,
            "deleting twice is 404",
            a_deleted_blob_is_not_deleted_again
        ),
        case!(
            BLOBS,
            "a deleted blob can be pushed again",
            a_deleted_blob_is_pushed_again
        ),
        case!(
            BLOBS,
            "a blob deleted here stays elsewhere",
            a_blob_deleted_here_stays_elsewhere
        ),
        case!(
            BLOBS,
            "blobs of a deleted manifest can be deleted",
            a_blob_is_deleted_after_its_manifest
        ),
        case!(
            Berth,
            "a blob that a manifest needs is DENIED",
            a_blob_that_a_manifest_needs_is_not_deleted
        ),
        case!(
            Berth,
            "a child of an index is DENIED",
            a_child_of_an_index_is_not_deleted
        ),
        case!(
            Berth,
            "a child is deleted after its index",
            a_child_is_deleted_after_its_index
        ),
        case!(
            Berth,
            "an invalid digest is 400",
            an_invalid_digest_is_not_deleted
        ),
    ]
}

/// Deletes what must be there; a registry that has it switched off says 400 or 405.
async fn delete(call: Call<'_>) -> Outcome {
    call.send()
        .await?
        .unless_declined(&[400, 405], "deletion")?
        .expect(202)
        .map(drop)
}

async fn delete_manifest(repository: &Repository, reference: &str) -> Outcome {
    delete(repository.manifest(Method::DELETE, reference)?).await
}

async fn delete_blob(repository: &Repository, digest: &str) -> Outcome {
    delete(repository.blob(Method::DELETE, digest)?).await
}

async fn expect_nothing_to_delete(call: Call<'_>) -> Outcome {
    let codes = ["MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NAME_UNKNOWN"];
    call.send()
        .await?
        .unless_declined(&[400, 405], "deletion")?
        .expect_error(&[404], &codes)
        .map(drop)
}

async fn a_tag_is_deleted(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    delete_manifest(&repository, "v1").await?;
    repository.expect_no_manifest("v1").await?;
    repository
        .manifest(Method::HEAD, "v1")?
        .send()
        .await?
        .expect(404)
        .map(drop)
}

async fn a_deleted_tag_leaves_its_manifest(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    delete_manifest(&repository, "v1").await?;
    repository
        .expect_manifest(&manifest, manifest.digest())
        .await
}

async fn a_deleted_tag_leaves_other_tags(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    repository.push(&manifest, "v2").await?;
    delete_manifest(&repository, "v1").await?;
    repository.expect_manifest(&manifest, "v2").await?;
    same(
        "tags",
        &repository.all_tags().await?,
        &vec![String::from("v2")],
    )
}

async fn a_deleted_tag_is_pushed_again(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    delete_manifest(&repository, "v1").await?;
    let manifest = repository.push_image("v1").await?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn an_unknown_tag_is_not_deleted(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    expect_nothing_to_delete(repository.manifest(Method::DELETE, "v2")?).await
}

async fn a_manifest_is_deleted(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    delete_manifest(&repository, manifest.digest()).await?;
    repository.expect_no_manifest(manifest.digest()).await?;
    repository
        .manifest(Method::HEAD, manifest.digest())?
        .send()
        .await?
        .expect(404)
        .map(drop)
}

async fn tags_of_a_deleted_manifest_are_gone(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    repository.push(&manifest, "v2").await?;
    delete_manifest(&repository, manifest.digest()).await?;
    repository.expect_no_manifest("v1").await?;
    repository.expect_no_manifest("v2").await
}

async fn tags_of_a_deleted_manifest_are_not_listed(repository: Repository) -> Outcome {
    repository.push_image("stays").await?;
    let manifest = repository.push_image("v1").await?;
    repository.push(&manifest, "v2").await?;
    delete_manifest(&repository, manifest.digest()).await?;
    same(
        "tags",
        &repository.all_tags().await?,
        &vec![String::from("stays")],
    )
}

async fn a_deleted_manifest_leaves_others(repository: Repository) -> Outcome {
    let layer = Content::random(64);
    let (goes, stays) = (image().layer(&layer).build(), image().layer(&layer).build());
    repository.push(&goes, "goes").await?;
    repository.push(&stays, "stays").await?;
    delete_manifest(&repository, goes.digest()).await?;
    repository.expect_manifest(&stays, "stays").await?;
    repository.expect_blob(&layer).await
}

async fn a_deleted_manifest_is_pushed_again(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    delete_manifest(&repository, manifest.digest()).await?;
    repository.push(&manifest, "v1").await?;
    repository.expect_manifest(&manifest, "v1").await?;
    for blob in &manifest.blobs {
        repository.expect_blob(blob).await?;
    }
    Ok(())
}

async fn a_manifest_deleted_here_stays_elsewhere(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let elsewhere = repository.sibling();
    elsewhere.push(&manifest, "v1").await?;
    delete_manifest(&repository, manifest.digest()).await?;
    elsewhere.expect_manifest(&manifest, "v1").await
}

async fn an_index_is_deleted(repository: Repository) -> Outcome {
    let child = repository.push_image("child").await?;
    let index = index().child(&child).build();
    repository.push(&index, "index").await?;
    delete_manifest(&repository, index.digest()).await?;
    repository.expect_no_manifest("index").await?;
    repository.expect_manifest(&child, "child").await
}

async fn an_unknown_manifest_is_not_deleted(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    expect_nothing_to_delete(repository.manifest(Method::DELETE, image().build().digest())?).await
}

async fn a_deleted_manifest_is_not_deleted_again(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    delete_manifest(&repository, manifest.digest()).await?;
    expect_nothing_to_delete(repository.manifest(Method::DELETE, manifest.digest())?).await
}

async fn nothing_is_deleted_in_an_unknown_repository(repository: Repository) -> Outcome {
    let digest = Content::random(8).digest;
    expect_nothing_to_delete(repository.manifest(Method::DELETE, &digest)?).await?;
    expect_nothing_to_delete(repository.blob(Method::DELETE, &digest)?).await
}

async fn a_blob_is_deleted(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    delete_blob(&repository, &blob.digest).await?;
    repository.expect_no_blob(&blob.digest).await?;
    repository
        .blob(Method::HEAD, &blob.digest)?
        .send()
        .await?
        .expect(404)
        .map(drop)
}

async fn an_unknown_blob_is_not_deleted(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    expect_nothing_to_delete(repository.blob(Method::DELETE, &Content::random(8).digest)?).await
}

async fn a_deleted_blob_is_not_deleted_again(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    delete_blob(&repository, &blob.digest).await?;
    expect_nothing_to_delete(repository.blob(Method::DELETE, &blob.digest)?).await
}

async fn a_deleted_blob_is_pushed_again(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    delete_blob(&repository, &blob.digest).await?;
    repository.push_blob(&blob).await?;
    repository.expect_blob(&blob).await
}

async fn a_blob_deleted_here_stays_elsewhere(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    let elsewhere = repository.sibling();
    elsewhere.push_blob(&blob).await?;
    delete_blob(&repository, &blob.digest).await?;
    elsewhere.expect_blob(&blob).await
}

async fn a_blob_is_deleted_after_its_manifest(repository: Repository) -> Outcome {
    let layer = Content::random(64);
    let manifest = image().layer(&layer).build();
    repository.push(&manifest, "v1").await?;
    delete_manifest(&repository, manifest.digest()).await?;
    delete_blob(&repository, &layer.digest).await?;
    repository.expect_no_blob(&layer.digest).await
}

async fn expect_denied(call: Call<'_>) -> Outcome {
    call.send()
        .await?
        .expect_error(&[403], &["DENIED"])
        .map(drop)
}

async fn a_blob_that_a_manifest_needs_is_not_deleted(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    for blob in &manifest.blobs {
        expect_denied(repository.blob(Method::DELETE, &blob.digest)?).await?;
        repository.expect_blob(blob).await?;
    }
    Ok(())
}

async fn a_child_of_an_index_is_not_deleted(repository: Repository) -> Outcome {
    let child = repository.push_image("child").await?;
    repository
        .push(&index().child(&child).build(), "index")
        .await?;
    expect_denied(repository.manifest(Method::DELETE, child.digest())?).await?;
    repository.expect_manifest(&child, "child").await
}

async fn a_child_is_deleted_after_its_index(repository: Repository) -> Outcome {
    let child = repository.push_image("child").await?;
    let index = index().child(&child).build();
    repository.push(&index, "index").await?;
    delete_manifest(&repository, index.digest()).await?;
    delete_manifest(&repository, child.digest()).await?;
    repository.expect_no_manifest("child").await
}

async fn an_invalid_digest_is_not_deleted(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    for call in [
        repository.manifest(Method::DELETE, "sha256:abc")?,
        repository.blob(Method::DELETE, "sha256:abc")?,
    ] {
        call.send()
            .await?
            .expect_error(&[400], &["DIGEST_INVALID"])?;
    }
    Ok::<(), Failure>(())
}
