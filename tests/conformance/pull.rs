//! Pulling manifests and blobs, and asking whether they exist.

use reqwest::Method;

use crate::case::{Case, Level, Outcome, case, ensure, same};
use crate::content::{Content, OCI_INDEX, OCI_MANIFEST, image, index, sha256};
use crate::repository::Repository;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Optional, Should};
    vec![
        case!(Must, "GET /v2/ answers 200", the_base_answers_200),
        case!(
            Must,
            "GET of an existing manifest is 200 with the manifest",
            a_manifest_is_pulled_by_tag
        ),
        case!(
            Must,
            "GET of an existing manifest is 200 with the manifest",
            a_manifest_is_pulled_by_digest
        ),
        case!(
            Must,
            "a manifest answer holds Docker-Content-Digest",
            a_manifest_answer_names_its_digest
        ),
        case!(
            Must,
            "HEAD of a manifest is 200 with digest and Content-Length",
            a_head_of_a_manifest_tells_digest_and_size
        ),
        case!(
            Should,
            "Content-Type is the one the manifest was pushed with, without parameters",
            the_type_of_a_manifest_is_the_one_pushed
        ),
        case!(
            Should,
            "an Accept header that names the type of the manifest gets it",
            a_manifest_is_pulled_with_a_list_of_accepted_types
        ),
        case!(
            Should,
            "Accept: */* takes any type",
            a_manifest_is_pulled_by_a_client_that_takes_anything
        ),
        case!(
            Must,
            "GET of an unknown manifest is 404",
            an_unknown_tag_is_not_found
        ),
        case!(
            Must,
            "GET of an unknown manifest is 404",
            an_unknown_manifest_digest_is_not_found
        ),
        case!(
            Must,
            "HEAD of an unknown manifest is 404",
            a_head_of_an_unknown_manifest_is_not_found
        ),
        case!(
            Must,
            "pulling from an unknown repository is 404",
            an_unknown_repository_is_not_found
        ),
        case!(
            Must,
            "a manifest that is not in the repository is 404",
            a_manifest_of_another_repository_is_not_found
        ),
        case!(
            Must,
            "a manifest that is not in the repository is 404",
            a_blob_is_no_manifest
        ),
        case!(
            Must,
            "GET of an existing blob is 200 with the blob",
            a_blob_is_pulled
        ),
        case!(
            Must,
            "a blob answer holds Docker-Content-Digest, which matches the body",
            a_blob_answer_names_its_digest
        ),
        case!(
            Must,
            "HEAD of a blob is 200 with digest and Content-Length",
            a_head_of_a_blob_tells_digest_and_size
        ),
        case!(
            Must,
            "GET of an unknown blob is 404",
            an_unknown_blob_is_not_found
        ),
        case!(
            Must,
            "HEAD of an unknown blob is 404",
            a_head_of_an_unknown_blob_is_not_found
        ),
        case!(
            Must,
            "a blob that is not in the repository is 404",
            a_blob_of_another_repository_is_not_found
        ),
        case!(
            Must,
            "content is pulled in any order",
            a_blob_is_pulled_before_any_manifest_is_there
        ),
        case!(
            Must,
            "GET of an existing blob is 200 with the blob",
            a_blob_of_some_megabytes_comes_whole
        ),
        case!(
            Must,
            "every pull of one manifest gives the same bytes",
            many_pulls_at_once_see_the_same_manifest
        ),
        case!(
            Optional("ns parameter"),
            "a registry may ignore `ns`; if it uses it, OCI-Namespace repeats it",
            the_ns_parameter_does_not_hinder_a_pull
        ),
        case!(
            Berth,
            "content by digest is immutable, and its ETag is the quoted digest",
            content_by_digest_may_be_cached_for_good
        ),
        case!(
            Berth,
            "a manifest by tag has its quoted digest as ETag and is never called immutable",
            a_manifest_by_tag_may_not_be_cached_for_good
        ),
    ]
}

async fn the_base_answers_200(repository: Repository) -> Outcome {
    let base = repository.registry.call(Method::GET, "/v2/")?;
    base.send().await?.expect(200).map(drop)
}

async fn a_manifest_is_pulled_by_tag(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    repository.expect_manifest(&manifest, "v1").await
}

async fn a_manifest_is_pulled_by_digest(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    repository
        .expect_manifest(&manifest, manifest.digest())
        .await
}

async fn a_manifest_answer_names_its_digest(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    for reference in ["v1", manifest.digest()] {
        let answer = repository
            .manifest(Method::GET, reference)?
            .send()
            .await?
            .expect(200)?;
        answer.expect_header("docker-content-digest", manifest.digest())?;
    }
    Ok(())
}

async fn a_head_of_a_manifest_tells_digest_and_size(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let size = manifest.body.size_bytes().to_string();
    for reference in ["v1", manifest.digest()] {
        let answer = repository
            .manifest(Method::HEAD, reference)?
            .send()
            .await?
            .expect(200)?;
        let answer = answer.expect_header("docker-content-digest", manifest.digest())?;
        answer.expect_header("content-length", &size)?;
    }
    Ok(())
}

async fn the_type_of_a_manifest_is_the_one_pushed(repository: Repository) -> Outcome {
    let child = repository.push_image("image").await?;
    repository
        .push(&index().child(&child).build(), "index")
        .await?;
    for (tag, media_type) in [("image", OCI_MANIFEST), ("index", OCI_INDEX)] {
        for method in [Method::GET, Method::HEAD] {
            let answer = repository
                .manifest(method, tag)?
                .send()
                .await?
                .expect(200)?;
            answer.expect_header("content-type", media_type)?;
        }
    }
    Ok(())
}

async fn a_manifest_is_pulled_with_a_list_of_accepted_types(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let accepted = format!("{OCI_INDEX}, {OCI_MANIFEST};q=0.5, */*;q=0.1");
    let call = repository
        .manifest(Method::GET, "v1")?
        .header("accept", &accepted);
    call.send()
        .await?
        .expect(200)?
        .expect_body(&manifest.body.bytes)
        .map(drop)
}

async fn a_manifest_is_pulled_by_a_client_that_takes_anything(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let call = repository
        .manifest(Method::GET, "v1")?
        .header("accept", "*/*");
    call.send()
        .await?
        .expect(200)?
        .expect_body(&manifest.body.bytes)
        .map(drop)
}

async fn an_unknown_tag_is_not_found(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    repository.expect_no_manifest("v2").await
}

async fn an_unknown_manifest_digest_is_not_found(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    repository
        .expect_no_manifest(image().build().digest())
        .await
}

async fn a_head_of_an_unknown_manifest_is_not_found(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    for reference in ["v2", image().build().digest()] {
        repository
            .manifest(Method::HEAD, reference)?
            .send()
            .await?
            .expect(404)?;
    }
    Ok(())
}

async fn an_unknown_repository_is_not_found(repository: Repository) -> Outcome {
    repository.expect_no_manifest("latest").await?;
    repository
        .expect_no_manifest(image().build().digest())
        .await?;
    repository.expect_no_blob(&Content::random(8).digest).await
}

async fn a_manifest_of_another_repository_is_not_found(repository: Repository) -> Outcome {
    let elsewhere = repository.sibling();
    let manifest = elsewhere.push_image("v1").await?;
    repository.push_image("v2").await?;
    repository.expect_no_manifest(manifest.digest()).await?;
    repository.expect_no_manifest("v1").await
}

async fn a_blob_is_no_manifest(repository: Repository) -> Outcome {
    let layer = Content::random(64);
    repository
        .push(&image().layer(&layer).build(), "v1")
        .await?;
    repository.expect_no_manifest(&layer.digest).await
}

async fn a_blob_is_pulled(repository: Repository) -> Outcome {
    let layer = Content::random(5000);
    repository
        .push(&image().layer(&layer).build(), "v1")
        .await?;
    repository.expect_blob(&layer).await
}

async fn a_blob_answer_names_its_digest(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    let answer = repository
        .blob(Method::GET, &blob.digest)?
        .send()
        .await?
        .expect(200)?;
    same(
        "the digest of the body",
        &sha256(&answer.body),
        &blob.digest,
    )?;
    answer
        .expect_header("docker-content-digest", &blob.digest)
        .map(drop)
}

async fn a_head_of_a_blob_tells_digest_and_size(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(12_345).await?;
    let answer = repository
        .blob(Method::HEAD, &blob.digest)?
        .send()
        .await?
        .expect(200)?;
    let answer = answer.expect_header("docker-content-digest", &blob.digest)?;
    answer.expect_header("content-length", "12345").map(drop)
}

async fn an_unknown_blob_is_not_found(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    repository.expect_no_blob(&Content::random(8).digest).await
}

async fn a_head_of_an_unknown_blob_is_not_found(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    let digest = Content::random(8).digest;
    repository
        .blob(Method::HEAD, &digest)?
        .send()
        .await?
        .expect(404)
        .map(drop)
}

async fn a_blob_of_another_repository_is_not_found(repository: Repository) -> Outcome {
    let blob = repository.sibling().push_random_blob(64).await?;
    repository.push_image("v1").await?;
    repository.expect_no_blob(&blob.digest).await?;
    repository
        .blob(Method::HEAD, &blob.digest)?
        .send()
        .await?
        .expect(404)
        .map(drop)
}

async fn a_blob_is_pulled_before_any_manifest_is_there(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    repository.expect_blob(&blob).await
}

async fn a_blob_of_some_megabytes_comes_whole(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(5 * 1024 * 1024 + 1).await?;
    repository.expect_blob(&blob).await
}

async fn many_pulls_at_once_see_the_same_manifest(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    repository.expect_manifest(&manifest, "v1").await?;
    let pulls = (0..20).map(|_| repository.expect_manifest(&manifest, "v1"));
    futures_util::future::try_join_all(pulls).await.map(drop)
}

async fn the_ns_parameter_does_not_hinder_a_pull(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let call = repository
        .manifest(Method::GET, "v1")?
        .query("ns", "registry.example.org");
    let answer = call
        .send()
        .await?
        .expect(200)?
        .expect_body(&manifest.body.bytes)?;
    let repeated = answer
        .header("oci-namespace")
        .unwrap_or("registry.example.org");
    same("OCI-Namespace", &repeated, &"registry.example.org")
}

async fn content_by_digest_may_be_cached_for_good(repository: Repository) -> Outcome {
    let layer = Content::random(64);
    let manifest = image().layer(&layer).build();
    repository.push(&manifest, "v1").await?;
    for method in [Method::GET, Method::HEAD] {
        let blob = repository.blob(method.clone(), &layer.digest)?;
        let by_digest = repository.manifest(method, manifest.digest())?;
        for (call, digest) in [
            (blob, layer.digest.as_str()),
            (by_digest, manifest.digest()),
        ] {
            let answer = call
                .send()
                .await?
                .expect(200)?
                .expect_header("etag", &format!("\"{digest}\""))?;
            let caching = answer.header("cache-control").unwrap_or_default();
            ensure(
                caching.contains("private") && caching.contains("immutable"),
                || {
                    format!(
                        "{}: `Cache-Control` should be private and immutable, found `{caching}`",
                        answer.request
                    )
                },
            )?;
        }
    }
    Ok(())
}

async fn a_manifest_by_tag_may_not_be_cached_for_good(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let answer = repository
        .manifest(Method::GET, "v1")?
        .send()
        .await?
        .expect(200)?;
    let answer = answer.expect_header("etag", &format!("\"{}\"", manifest.digest()))?;
    let caching = answer.header("cache-control").unwrap_or_default();
    ensure(!caching.contains("immutable"), || {
        format!("{}: a tag moves, found `{caching}`", answer.request)
    })
}
