//! Manifests that name what is not there: blobs, children, layers that live elsewhere.

use serde_json::json;

use crate::case::{Case, Failure, Level, Outcome, case};
use crate::content::{Content, Manifest, OCI_CONFIG, OCI_LAYER, image, index};
use crate::repository::Repository;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Optional};
    vec![
        case!(
            Must,
            "a manifest refused for a missing blob says MANIFEST_BLOB_UNKNOWN",
            a_missing_layer_is_named_as_the_reason
        ),
        case!(
            Must,
            "a manifest refused for a missing blob says MANIFEST_BLOB_UNKNOWN",
            a_missing_configuration_is_named_as_the_reason
        ),
        case!(
            Must,
            "an index refused for a missing manifest says MANIFEST_BLOB_UNKNOWN",
            a_missing_child_is_named_as_the_reason
        ),
        case!(
            Must,
            "a blob of another repository is not in this one",
            a_layer_of_another_repository_is_missing
        ),
        case!(
            Must,
            "once the missing blob is there the manifest is accepted",
            a_manifest_is_accepted_once_its_blobs_are_there
        ),
        case!(
            Optional("sparse index"),
            "an index may be accepted before its children",
            an_index_is_accepted_before_its_children
        ),
        case!(
            Optional("nondistributable layers"),
            "layers that live elsewhere need not be pushed",
            layers_that_live_elsewhere_need_not_be_there
        ),
        case!(
            Berth,
            "a manifest with a missing blob is refused",
            a_manifest_with_a_missing_blob_is_refused
        ),
        case!(
            Berth,
            "nondistributable layers that were pushed are served",
            layers_that_live_elsewhere_may_be_there
        ),
    ]
}

/// The specification lets a registry take such a manifest; if it does not, the code is fixed.
async fn taken_or_blob_unknown(repository: &Repository, manifest: &Manifest) -> Outcome {
    let answer = repository.put(manifest, "v1")?.send().await?;
    if answer.status.as_u16() == 201 {
        return Ok(());
    }
    let answer = answer.expect_one_of(&[400, 404])?;
    if answer
        .error_codes()?
        .iter()
        .any(|code| code == "MANIFEST_BLOB_UNKNOWN")
    {
        return repository.expect_no_manifest("v1").await;
    }
    Err(answer.wrong("expected the code MANIFEST_BLOB_UNKNOWN"))
}

async fn a_missing_layer_is_named_as_the_reason(repository: Repository) -> Outcome {
    let missing = Content::random(64).descriptor(OCI_LAYER);
    let manifest = image()
        .layer(&Content::random(64))
        .layer_descriptor(missing)
        .build();
    repository.push_blobs(&manifest).await?;
    taken_or_blob_unknown(&repository, &manifest).await
}

/// An image whose layer is in the repository and whose configuration is not.
async fn without_configuration(repository: &Repository) -> Result<Manifest, Failure> {
    let layer = Content::random(64);
    repository.push_blob(&layer).await?;
    Ok(image()
        .layer(&layer)
        .config(&Content::of("{\"os\":\"linux\"}"), OCI_CONFIG)
        .build())
}

async fn a_missing_configuration_is_named_as_the_reason(repository: Repository) -> Outcome {
    let manifest = without_configuration(&repository).await?;
    taken_or_blob_unknown(&repository, &manifest).await
}

async fn a_missing_child_is_named_as_the_reason(repository: Repository) -> Outcome {
    let there = image().build();
    repository.push_by_digest(&there).await?;
    let index = index().child(&there).child(&image().build()).build();
    taken_or_blob_unknown(&repository, &index).await
}

async fn a_layer_of_another_repository_is_missing(repository: Repository) -> Outcome {
    let layer = repository.sibling().push_random_blob(64).await?;
    let mut manifest = image().layer(&layer).build();
    manifest.blobs.retain(|blob| blob.digest != layer.digest);
    repository.push_blobs(&manifest).await?;
    taken_or_blob_unknown(&repository, &manifest).await?;
    repository.expect_no_blob(&layer.digest).await
}

async fn a_manifest_is_accepted_once_its_blobs_are_there(repository: Repository) -> Outcome {
    let manifest = image().layer(&Content::random(64)).build();
    taken_or_blob_unknown(&repository, &manifest).await?;
    repository.push(&manifest, "v1").await?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn an_index_is_accepted_before_its_children(repository: Repository) -> Outcome {
    let child = image().build();
    let index = index().child(&child).build();
    let answer = repository.put(&index, "v1")?.send().await?;
    answer
        .unless_declined(&[400, 404], "sparse index")?
        .expect(201)?;
    repository.expect_manifest(&index, "v1").await?;
    repository.expect_no_manifest(child.digest()).await?;
    repository.push_by_digest(&child).await?;
    repository.expect_manifest(&child, child.digest()).await
}

/// An image with one layer of each type that says "fetch it elsewhere".
fn with_foreign_layers() -> (Manifest, Vec<Content>) {
    const TYPES: [&str; 3] = [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    ];
    let mut builder = image();
    let mut layers = Vec::new();
    for media_type in TYPES {
        let layer = Content::random(64);
        let mut descriptor = layer.descriptor(media_type);
        descriptor["urls"] = json!(["https://layers.example.org/layer"]);
        builder = builder.layer_descriptor(descriptor);
        layers.push(layer);
    }
    (builder.build(), layers)
}

async fn layers_that_live_elsewhere_need_not_be_there(repository: Repository) -> Outcome {
    let (manifest, _) = with_foreign_layers();
    repository.push_blobs(&manifest).await?;
    let answer = repository.put(&manifest, "v1")?.send().await?;
    answer
        .unless_declined(&[400, 404], "nondistributable layers")?
        .expect(201)?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn a_manifest_with_a_missing_blob_is_refused(repository: Repository) -> Outcome {
    let manifest = without_configuration(&repository).await?;
    let answer = repository.put(&manifest, "v1")?.send().await?;
    answer.expect_error(&[400, 404], &["MANIFEST_BLOB_UNKNOWN"])?;
    repository.expect_no_manifest("v1").await
}

async fn layers_that_live_elsewhere_may_be_there(repository: Repository) -> Outcome {
    let (mut manifest, layers) = with_foreign_layers();
    manifest.blobs.extend(layers.clone());
    repository.push(&manifest, "v1").await?;
    for layer in &layers {
        repository.expect_blob(layer).await?;
    }
    Ok(())
}
