//! Pushing manifests: kinds, bytes, tags, limits, and what is no manifest.

use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::json;

use crate::case::{Case, Level, Outcome, case, ensure};
use crate::content::{
    Content, DOCKER_LIST, DOCKER_MANIFEST, Manifest, OCI_INDEX, artifact, image, index,
};
use crate::repository::Repository;

/// What clients and registries should expect to be able to push.
const FOUR_MEGABYTES: usize = 4_000_000;
/// Berth's limit as it is configured by default.
const BERTH_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// Past any limit that makes sense for a JSON document.
const ABSURD_BYTES: usize = 64 * 1024 * 1024;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Optional, Should};
    vec![
        case!(
            Must,
            "PUT by tag answers 201 with a pullable Location",
            a_manifest_is_pushed_by_tag
        ),
        case!(
            Must,
            "PUT by digest answers 201 with a pullable Location",
            a_manifest_is_pushed_by_digest
        ),
        case!(
            Must,
            "Docker-Content-Digest of the answer equals the client's digest",
            the_answer_to_a_push_by_digest_does_not_contradict_it
        ),
        case!(
            Must,
            "the exact bytes are stored",
            a_manifest_is_kept_byte_by_byte
        ),
        case!(
            Must,
            "pushing a manifest again succeeds",
            a_manifest_is_pushed_twice
        ),
        case!(Must, "a tag points to what was pushed last", a_tag_moves),
        case!(
            Must,
            "a digest may have many tags",
            a_manifest_has_several_tags
        ),
        case!(
            Must,
            "a digest may have no tag",
            a_manifest_without_a_tag_is_not_listed
        ),
        case!(
            Must,
            "the list of blobs may be empty",
            an_image_without_layers_is_pushed
        ),
        case!(
            Must,
            "content of any type can be pushed",
            an_artifact_is_pushed
        ),
        case!(
            Must,
            "content of any type can be pushed",
            layers_and_configurations_may_be_of_any_type
        ),
        case!(Must, "an image index is a manifest", an_index_is_pushed),
        case!(Must, "an index may hold an index", a_nested_index_is_pushed),
        case!(
            Must,
            "an index without children is a manifest",
            an_empty_index_is_pushed
        ),
        case!(Must, "one layer may come twice", a_layer_may_be_named_twice),
        case!(
            Must,
            "fields unknown to the registry do not matter",
            unknown_fields_are_kept
        ),
        case!(
            Optional("Docker schema 2"),
            "Docker manifests are accepted as they are",
            a_docker_manifest_is_pushed
        ),
        case!(
            Optional("Docker schema 2"),
            "Docker manifest lists are accepted as they are",
            a_docker_manifest_list_is_pushed
        ),
        case!(
            Should,
            "parameters of Content-Type are ignored",
            parameters_of_the_type_are_ignored
        ),
        case!(
            Should,
            "the media type is declared in the document, or else by Content-Type alone",
            a_manifest_without_media_type_is_pushed
        ),
        case!(
            Should,
            "manifests of 4 megabytes are accepted",
            a_manifest_of_four_megabytes_is_pushed
        ),
        case!(
            Should,
            "a manifest over the limit is 413",
            an_absurd_manifest_is_too_large
        ),
        case!(
            Should,
            "a digest that does not match the manifest is refused",
            a_manifest_under_a_wrong_digest_is_refused
        ),
        case!(
            Should,
            "what is no manifest is refused",
            what_is_no_json_is_refused
        ),
        case!(
            Should,
            "what is no manifest is refused",
            json_that_is_no_manifest_is_refused
        ),
        case!(
            Must,
            "concurrent pushes do not lose tags",
            many_tags_are_pushed_at_once
        ),
        case!(
            Must,
            "of concurrent pushes to a tag one wins",
            one_tag_is_pushed_at_once
        ),
        case!(
            Berth,
            "every answer about content names its digest",
            the_answer_to_a_push_by_tag_names_the_digest
        ),
        case!(
            Berth,
            "exactly 4 MiB are accepted",
            a_manifest_of_exactly_the_limit_is_pushed
        ),
        case!(
            Berth,
            "one byte over 4 MiB is 413",
            a_manifest_one_byte_over_the_limit_is_too_large
        ),
        case!(
            Berth,
            "the limit holds without Content-Length too",
            a_streamed_manifest_over_the_limit_is_too_large
        ),
        case!(
            Berth,
            "a document's mediaType must be that of the header",
            a_media_type_that_contradicts_the_header_is_refused
        ),
        case!(
            Berth,
            "a document with both manifests and layers is neither",
            a_document_that_is_both_kinds_is_refused
        ),
        case!(
            Berth,
            "Docker schema 1 is not supported",
            docker_schema_1_is_refused
        ),
    ]
}

async fn pushed_and_pullable(
    repository: &Repository,
    manifest: &Manifest,
    reference: &str,
) -> Outcome {
    let answer = repository.push(manifest, reference).await?;
    let pulled = repository
        .call_url(Method::GET, &answer.location()?)?
        .send()
        .await?;
    pulled.expect(200)?.expect_body(&manifest.body.bytes)?;
    repository.expect_manifest(manifest, reference).await
}

async fn a_manifest_is_pushed_by_tag(repository: Repository) -> Outcome {
    pushed_and_pullable(&repository, &image().build(), "v1").await
}

async fn a_manifest_is_pushed_by_digest(repository: Repository) -> Outcome {
    let manifest = image().build();
    pushed_and_pullable(&repository, &manifest, manifest.digest()).await
}

async fn the_answer_to_a_push_by_digest_does_not_contradict_it(repository: Repository) -> Outcome {
    let manifest = image().build();
    let answer = repository.push_by_digest(&manifest).await?;
    if answer.header("docker-content-digest").is_some() {
        answer.expect_header("docker-content-digest", manifest.digest())?;
    }
    Ok(())
}

async fn a_manifest_is_kept_byte_by_byte(repository: Repository) -> Outcome {
    let manifest = image().annotation("org.example.text", "a / b").build();
    let compact = String::from_utf8_lossy(&manifest.body.bytes).into_owned();
    let spaced = format!(
        "\n {} \r\n\t",
        compact
            .replace(",\"", " ,\n\t \"")
            .replace("a / b", "\\u0061 \\/ b \u{fc}")
    );
    let manifest = manifest.with_bytes(spaced);
    repository.push(&manifest, "v1").await?;
    repository.expect_manifest(&manifest, "v1").await?;
    repository
        .expect_manifest(&manifest, manifest.digest())
        .await
}

async fn a_manifest_is_pushed_twice(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    repository.push(&manifest, "v1").await?;
    repository.push_by_digest(&manifest).await?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn a_tag_moves(repository: Repository) -> Outcome {
    let old = repository.push_image("v1").await?;
    repository.expect_manifest(&old, "v1").await?;
    let new = repository.push_image("v1").await?;
    repository.expect_manifest(&new, "v1").await?;
    repository.expect_manifest(&old, old.digest()).await
}

async fn a_manifest_has_several_tags(repository: Repository) -> Outcome {
    let manifest = image().build();
    for tag in ["v1", "v1.0", "latest"] {
        repository.push(&manifest, tag).await?;
    }
    for tag in ["v1", "v1.0", "latest", manifest.digest()] {
        repository.expect_manifest(&manifest, tag).await?;
    }
    Ok(())
}

async fn a_manifest_without_a_tag_is_not_listed(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    let manifest = image().build();
    repository.push_by_digest(&manifest).await?;
    repository
        .expect_manifest(&manifest, manifest.digest())
        .await?;
    crate::case::same(
        "tags",
        &repository.all_tags().await?,
        &vec![String::from("v1")],
    )
}

async fn an_image_without_layers_is_pushed(repository: Repository) -> Outcome {
    pushed_and_pullable(&repository, &image().build(), "v1").await
}

async fn an_artifact_is_pushed(repository: Repository) -> Outcome {
    let manifest = artifact("application/vnd.example.sbom.v1")
        .layer(&Content::of("{}"))
        .build();
    pushed_and_pullable(&repository, &manifest, "v1").await
}

async fn layers_and_configurations_may_be_of_any_type(repository: Repository) -> Outcome {
    let (config, chart) = (Content::of("name: example"), Content::random(64));
    let mut manifest = image()
        .config(&config, "application/vnd.cncf.helm.config.v1+json")
        .layer_descriptor(chart.descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip"))
        .build();
    manifest.blobs.push(chart);
    pushed_and_pullable(&repository, &manifest, "v1").await
}

async fn an_index_is_pushed(repository: Repository) -> Outcome {
    let (one, two) = (image().build(), image().build());
    repository.push_by_digest(&one).await?;
    repository.push_by_digest(&two).await?;
    pushed_and_pullable(&repository, &index().child(&one).child(&two).build(), "v1").await
}

async fn a_nested_index_is_pushed(repository: Repository) -> Outcome {
    let child = repository.push_image("child").await?;
    let inner = index().child(&child).build();
    repository.push_by_digest(&inner).await?;
    pushed_and_pullable(
        &repository,
        &index().child(&inner).child(&child).build(),
        "v1",
    )
    .await
}

async fn an_empty_index_is_pushed(repository: Repository) -> Outcome {
    pushed_and_pullable(&repository, &index().build(), "v1").await
}

async fn a_layer_may_be_named_twice(repository: Repository) -> Outcome {
    let layer = Content::random(64);
    pushed_and_pullable(
        &repository,
        &image().layer(&layer).layer(&layer).build(),
        "v1",
    )
    .await
}

async fn unknown_fields_are_kept(repository: Repository) -> Outcome {
    let manifest = image()
        .field("org.example.unknown", json!({ "a": [1.5e300, null] }))
        .build();
    pushed_and_pullable(&repository, &manifest, "v1").await
}

/// An image in Docker's media types.
fn docker_image() -> Manifest {
    let config =
        Content::of(json!({ "os": "linux", "id": crate::content::unique_word() }).to_string());
    let layer = Content::random(64);
    let mut manifest = image()
        .media_type(DOCKER_MANIFEST)
        .config(&config, "application/vnd.docker.container.image.v1+json")
        .layer_descriptor(layer.descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip"))
        .build();
    manifest.blobs.push(layer);
    manifest
}

async fn a_docker_manifest_is_pushed(repository: Repository) -> Outcome {
    pushed_and_pullable(&repository, &docker_image(), "v1").await?;
    let answer = repository
        .manifest(Method::HEAD, "v1")?
        .header("accept", DOCKER_MANIFEST)
        .send()
        .await?;
    answer
        .expect(200)?
        .expect_header("content-type", DOCKER_MANIFEST)
        .map(drop)
}

async fn a_docker_manifest_list_is_pushed(repository: Repository) -> Outcome {
    let child = docker_image();
    repository.push_by_digest(&child).await?;
    let mut platform = child.descriptor();
    platform["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    let list = index()
        .without("annotations")
        .media_type(DOCKER_LIST)
        .field("manifests", json!([platform]))
        .build();
    repository.push(&list, "v1").await?;
    let answer = repository
        .manifest(Method::GET, "v1")?
        .header("accept", DOCKER_LIST)
        .send()
        .await?;
    answer
        .expect(200)?
        .expect_header("content-type", DOCKER_LIST)?
        .expect_body(&list.body.bytes)
        .map(drop)
}

async fn parameters_of_the_type_are_ignored(repository: Repository) -> Outcome {
    let manifest = image().build();
    let bare = manifest.media_type.clone();
    let with_parameters = Manifest {
        media_type: format!("{bare}; charset=utf-8"),
        ..manifest
    };
    repository.push(&with_parameters, "v1").await?;
    let answer = repository
        .manifest(Method::GET, "v1")?
        .send()
        .await?
        .expect(200)?;
    answer
        .expect_header("content-type", &bare)?
        .expect_body(&with_parameters.body.bytes)
        .map(drop)
}

async fn a_manifest_without_media_type_is_pushed(repository: Repository) -> Outcome {
    let manifest = image().without("mediaType").build();
    pushed_and_pullable(&repository, &manifest, "v1").await?;
    let answer = repository
        .manifest(Method::GET, "v1")?
        .send()
        .await?
        .expect(200)?;
    answer
        .expect_header("content-type", &manifest.media_type)
        .map(drop)
}

async fn a_manifest_of_four_megabytes_is_pushed(repository: Repository) -> Outcome {
    let manifest = image().build_with_size(FOUR_MEGABYTES);
    repository.push(&manifest, "v1").await?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn expect_too_large(
    repository: &Repository,
    size_bytes: usize,
    is_streamed: bool,
) -> Outcome {
    let manifest = image().build_with_size(size_bytes);
    repository.push_blobs(&manifest).await?;
    let mut call = repository.put(&manifest, "v1")?;
    if is_streamed {
        call = call.streamed(&manifest.body.bytes, 64 * 1024);
    }
    call.send()
        .await?
        .expect_error(&[413], &["MANIFEST_INVALID", "SIZE_INVALID"])?;
    repository.expect_no_manifest("v1").await
}

async fn an_absurd_manifest_is_too_large(repository: Repository) -> Outcome {
    expect_too_large(&repository, ABSURD_BYTES, false).await
}

async fn a_manifest_of_exactly_the_limit_is_pushed(repository: Repository) -> Outcome {
    let manifest = image().build_with_size(BERTH_LIMIT_BYTES);
    repository.push(&manifest, "v1").await?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn a_manifest_one_byte_over_the_limit_is_too_large(repository: Repository) -> Outcome {
    expect_too_large(&repository, BERTH_LIMIT_BYTES + 1, false).await
}

async fn a_streamed_manifest_over_the_limit_is_too_large(repository: Repository) -> Outcome {
    expect_too_large(&repository, BERTH_LIMIT_BYTES + 1, true).await
}

async fn a_manifest_under_a_wrong_digest_is_refused(repository: Repository) -> Outcome {
    let (manifest, other) = (image().build(), image().build());
    repository.push_blobs(&manifest).await?;
    let answer = repository.put(&manifest, other.digest())?.send().await?;
    answer.expect_error(&[400], &["DIGEST_INVALID", "MANIFEST_INVALID"])?;
    repository.expect_no_manifest(manifest.digest()).await?;
    repository.expect_no_manifest(other.digest()).await
}

async fn expect_invalid(repository: &Repository, manifest: &Manifest) -> Outcome {
    repository.push_blobs(manifest).await?;
    let answer = repository.put(manifest, "v1")?.send().await?;
    answer.expect_error(&[400, 415], &["MANIFEST_INVALID", "UNSUPPORTED"])?;
    repository.expect_no_manifest("v1").await
}

async fn what_is_no_json_is_refused(repository: Repository) -> Outcome {
    let manifest = image().build();
    let half = manifest.body.bytes.slice(..manifest.body.size_bytes() / 2);
    let twice = [manifest.body.bytes.as_ref(), b"{}"].concat();
    for bytes in [
        half.to_vec(),
        twice,
        Vec::new(),
        b"not json".to_vec(),
        vec![0xff, 0xfe, 0x00],
    ] {
        expect_invalid(&repository, &manifest.with_bytes(bytes)).await?;
    }
    Ok(())
}

async fn json_that_is_no_manifest_is_refused(repository: Repository) -> Outcome {
    let manifest = image().build();
    let wrong_descriptor = image().field(
        "layers",
        json!([{ "digest": "nonsense", "size": 1, "mediaType": "a/b" }]),
    );
    let wrong_list = image().field("layers", json!("none"));
    for document in [wrong_descriptor.build(), wrong_list.build()] {
        expect_invalid(&repository, &document).await?;
    }
    for text in ["[]", "null", "\"text\"", "7", "{}"] {
        expect_invalid(&repository, &manifest.with_bytes(text)).await?;
    }
    Ok(())
}

async fn many_tags_are_pushed_at_once(repository: Repository) -> Outcome {
    let manifest = image().build();
    repository.push_blobs(&manifest).await?;
    let tags: Vec<String> = (10..40).map(|number| format!("v{number}")).collect();
    try_join_all(
        tags.iter()
            .map(async |tag| repository.put(&manifest, tag)?.send().await?.expect(201)),
    )
    .await?;
    let mut found = repository.all_tags().await?;
    found.sort_unstable();
    crate::case::same("tags", &found, &tags)
}

async fn one_tag_is_pushed_at_once(repository: Repository) -> Outcome {
    let manifests: Vec<Manifest> = (0..10).map(|_| image().build()).collect();
    for manifest in &manifests {
        repository.push_blobs(manifest).await?;
    }
    try_join_all(
        manifests
            .iter()
            .map(async |manifest| repository.put(manifest, "v1")?.send().await?.expect(201)),
    )
    .await?;
    let answer = repository
        .manifest(Method::GET, "v1")?
        .send()
        .await?
        .expect(200)?;
    ensure(
        manifests
            .iter()
            .any(|manifest| manifest.body.bytes == answer.body),
        || String::from("the tag points to none of the manifests pushed"),
    )?;
    try_join_all(
        manifests
            .iter()
            .map(|manifest| repository.expect_manifest(manifest, manifest.digest())),
    )
    .await
    .map(drop)
}

async fn the_answer_to_a_push_by_tag_names_the_digest(repository: Repository) -> Outcome {
    let manifest = image().build();
    let answer = repository.push(&manifest, "v1").await?;
    answer
        .expect_header("docker-content-digest", manifest.digest())
        .map(drop)
}

async fn a_media_type_that_contradicts_the_header_is_refused(repository: Repository) -> Outcome {
    let manifest = image().build();
    let contradicted = Manifest {
        media_type: OCI_INDEX.to_owned(),
        ..manifest
    };
    expect_invalid(&repository, &contradicted).await?;
    let docker = Manifest {
        media_type: DOCKER_MANIFEST.to_owned(),
        ..contradicted
    };
    expect_invalid(&repository, &docker).await
}

async fn a_document_that_is_both_kinds_is_refused(repository: Repository) -> Outcome {
    let child = image().build();
    repository.push_by_digest(&child).await?;
    expect_invalid(&repository, &image().child(&child).build()).await?;
    let index = index().child(&child).field("layers", json!([])).build();
    expect_invalid(&repository, &index).await
}

async fn docker_schema_1_is_refused(repository: Repository) -> Outcome {
    let document = json!({ "schemaVersion": 1, "name": repository.name, "tag": "v1", "architecture": "amd64", "fsLayers": [], "history": [] });
    for suffix in ["json", "prettyjws"] {
        let manifest = Manifest {
            media_type: format!("application/vnd.docker.distribution.manifest.v1+{suffix}"),
            body: Content::of(document.to_string()),
            blobs: Vec::new(),
        };
        expect_invalid(&repository, &manifest).await?;
    }
    Ok(())
}
