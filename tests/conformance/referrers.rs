//! The list of manifests that have a given subject.

use futures_util::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::case::{Case, Failure, Level, Outcome, case, ensure, same};
use crate::client::{Answer, Call};
use crate::content::{Content, Manifest, OCI_CONFIG, OCI_INDEX, artifact, image, index};
use crate::repository::Repository;

const SBOM: &str = "application/vnd.example.sbom.v1+json";
const SIGNATURE: &str = "application/vnd.example.signature.v1";
/// More than one page of Berth's.
const MANY_REFERRERS: usize = 1001;
/// How many of those are pushed at a time.
const PUSHED_AT_ONCE: usize = 16;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Should};
    vec![
        case!(
            Should,
            "registries support content discovery, and so the referrers API",
            the_referrers_api_is_there
        ),
        case!(
            Must,
            "no referrers are an empty index, not 404",
            a_manifest_without_referrers_has_an_empty_list
        ),
        case!(
            Must,
            "no referrers are an empty index, not 404",
            an_unknown_digest_has_an_empty_list
        ),
        case!(
            Must,
            "the referrers API never answers 404",
            an_unknown_repository_has_an_empty_list
        ),
        case!(
            Must,
            "the answer is an image index and says so in Content-Type",
            the_list_is_an_image_index
        ),
        case!(
            Must,
            "an invalid digest is 400",
            an_invalid_digest_is_refused
        ),
        case!(
            Must,
            "OCI-Subject tells that the subject was processed",
            a_push_with_a_subject_names_it
        ),
        case!(
            Must,
            "a manifest is accepted before its subject",
            a_referrer_is_accepted_before_its_subject
        ),
        case!(
            Must,
            "a referrer is listed once it is pushed",
            a_referrer_pushed_after_its_subject_is_listed
        ),
        case!(
            Must,
            "a referrer is listed in either order",
            a_referrer_pushed_before_its_subject_is_listed
        ),
        case!(
            Must,
            "a referrer by tag is listed like one by digest",
            a_tagged_referrer_is_listed
        ),
        case!(
            Must,
            "a descriptor has media type, digest and size",
            a_descriptor_describes_the_referrer
        ),
        case!(
            Must,
            "artifactType is that of the manifest",
            the_artifact_type_is_that_of_the_manifest
        ),
        case!(
            Must,
            "without artifactType it is the configuration's media type",
            without_an_artifact_type_the_configuration_counts
        ),
        case!(
            Must,
            "with an empty artifactType it is the configuration's media type",
            with_an_empty_artifact_type_the_configuration_counts
        ),
        case!(Must, "annotations come along", annotations_are_listed),
        case!(
            Must,
            "an index with a subject is a referrer",
            an_index_is_listed
        ),
        case!(
            Must,
            "without artifactType an index has none in the list",
            an_index_without_artifact_type_has_none
        ),
        case!(
            Must,
            "a referrer is listed once however often it is pushed",
            a_referrer_pushed_twice_is_listed_once
        ),
        case!(
            Must,
            "only referrers of this digest are listed",
            other_subjects_are_not_listed
        ),
        case!(
            Must,
            "only referrers of this repository are listed",
            other_repositories_are_not_listed
        ),
        case!(
            Must,
            "a referrer may have referrers",
            a_referrer_has_referrers
        ),
        case!(
            Should,
            "the list can be filtered by artifactType, and OCI-Filters-Applied says so",
            the_list_is_filtered
        ),
        case!(
            Should,
            "the filter knows the type that comes from the configuration",
            the_filter_knows_the_type_of_the_configuration
        ),
        case!(
            Must,
            "a filter that nothing matches gives an empty index",
            a_filter_without_a_match_gives_nothing
        ),
        case!(
            Must,
            "a deleted referrer is not listed",
            a_deleted_referrer_is_not_listed
        ),
        case!(
            Must,
            "referrers pushed at once are all listed",
            referrers_pushed_at_once_are_all_listed
        ),
        case!(
            Must,
            "a sha512 subject has its referrers",
            a_sha512_subject_has_referrers
        ),
        case!(
            Must,
            "a sha512 referrer is listed by that digest",
            a_sha512_referrer_is_listed
        ),
        case!(
            Must,
            "clients without the API push an index under the digest's tag",
            the_fallback_tag_is_a_tag_like_any_other
        ),
        case!(
            Berth,
            "without a subject there is no OCI-Subject",
            without_a_subject_none_is_named
        ),
        case!(
            Berth,
            "without a filter there is no OCI-Filters-Applied",
            without_a_filter_none_is_named
        ),
        case!(
            Berth,
            "the same bytes by another digest are another subject",
            each_digest_is_its_own_subject
        ),
        case!(
            Berth,
            "what does not fit into one answer comes in pages by Link",
            a_long_list_comes_in_pages
        ),
    ]
}

fn list<'a>(repository: &'a Repository, digest: &str) -> Result<Call<'a>, Failure> {
    repository.call(Method::GET, &format!("referrers/{digest}"))
}

/// The first page; a registry without the API declines by 404.
async fn first_page(call: Call<'_>) -> Result<Answer, Failure> {
    call.send()
        .await?
        .unless_declined(&[404], "referrers API")?
        .expect(200)
}

/// The descriptors on all pages, and how many pages there were.
async fn all_pages(
    repository: &Repository,
    call: Call<'_>,
) -> Result<(Vec<Value>, usize), Failure> {
    let mut page = first_page(call).await?;
    let (mut descriptors, mut pages) = (Vec::new(), 1);
    loop {
        let body = page.json()?;
        let manifests = body["manifests"].as_array();
        let manifests = manifests.ok_or_else(|| page.wrong("`manifests` should be a list"))?;
        descriptors.extend(manifests.iter().cloned());
        let Some(url) = page.next_page()? else {
            return Ok((descriptors, pages));
        };
        page = repository
            .call_url(Method::GET, &url)?
            .send()
            .await?
            .expect(200)?;
        pages += 1;
    }
}

async fn referrers(repository: &Repository, digest: &str) -> Result<Vec<Value>, Failure> {
    let (descriptors, _) = all_pages(repository, list(repository, digest)?).await?;
    Ok(descriptors)
}

fn expect_digests(descriptors: &[Value], expected: &[&Manifest]) -> Outcome {
    let mut found: Vec<&str> = descriptors
        .iter()
        .filter_map(|descriptor| descriptor["digest"].as_str())
        .collect();
    let mut expected: Vec<&str> = expected.iter().map(|manifest| manifest.digest()).collect();
    found.sort_unstable();
    expected.sort_unstable();
    same("referrers", &found, &expected)
}

async fn expect_referrers(
    repository: &Repository,
    subject: &Manifest,
    expected: &[&Manifest],
) -> Outcome {
    expect_digests(&referrers(repository, subject.digest()).await?, expected)
}

/// The only descriptor of a subject's only referrer.
async fn the_descriptor(
    repository: &Repository,
    subject: &Manifest,
    referrer: &Manifest,
) -> Result<Value, Failure> {
    repository.push_by_digest(referrer).await?;
    let descriptors = referrers(repository, subject.digest()).await?;
    expect_digests(&descriptors, &[referrer])?;
    Ok(descriptors[0].clone())
}

async fn the_referrers_api_is_there(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    list(&repository, manifest.digest())?
        .send()
        .await?
        .expect(200)
        .map(drop)
}

async fn a_manifest_without_referrers_has_an_empty_list(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    expect_referrers(&repository, &manifest, &[]).await
}

async fn an_unknown_digest_has_an_empty_list(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    expect_referrers(&repository, &image().build(), &[]).await
}

async fn an_unknown_repository_has_an_empty_list(repository: Repository) -> Outcome {
    expect_referrers(&repository, &image().build(), &[]).await
}

async fn the_list_is_an_image_index(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    repository
        .push_by_digest(&artifact(SBOM).subject(&subject).build())
        .await?;
    let answer = first_page(list(&repository, subject.digest())?)
        .await?
        .expect_header("content-type", OCI_INDEX)?;
    let body = answer.json()?;
    same("schemaVersion", &body["schemaVersion"], &json!(2))?;
    same("mediaType", &body["mediaType"], &json!(OCI_INDEX))
}

async fn an_invalid_digest_is_refused(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    for invalid in [
        "sha256:nonsense",
        "nonsense",
        "v1",
        &manifest.digest()[..70],
    ] {
        let answer = list(&repository, invalid)?
            .send()
            .await?
            .unless_declined(&[404], "referrers API")?;
        answer.expect_error(&[400], &["DIGEST_INVALID"])?;
    }
    Ok(())
}

/// Pushes a manifest with a subject; a registry without the API does not name it.
async fn push_naming_subject(
    repository: &Repository,
    referrer: &Manifest,
    subject: &Manifest,
) -> Outcome {
    let answer = repository.push_by_digest(referrer).await?;
    if answer.header("oci-subject").is_none() {
        first_page(list(repository, subject.digest())?).await?;
    }
    answer
        .expect_header("oci-subject", subject.digest())
        .map(drop)
}

async fn a_push_with_a_subject_names_it(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    push_naming_subject(
        &repository,
        &artifact(SBOM).subject(&subject).build(),
        &subject,
    )
    .await?;
    push_naming_subject(&repository, &image().subject(&subject).build(), &subject).await
}

async fn a_referrer_is_accepted_before_its_subject(repository: Repository) -> Outcome {
    let referrer = artifact(SBOM).subject(&image().build()).build();
    repository.push_by_digest(&referrer).await?;
    repository
        .expect_manifest(&referrer, referrer.digest())
        .await
}

async fn a_referrer_pushed_after_its_subject_is_listed(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    let (sbom, signature) = (
        artifact(SBOM).subject(&subject).build(),
        artifact(SIGNATURE).subject(&subject).build(),
    );
    repository.push_by_digest(&sbom).await?;
    repository.push_by_digest(&signature).await?;
    expect_referrers(&repository, &subject, &[&sbom, &signature]).await
}

async fn a_referrer_pushed_before_its_subject_is_listed(repository: Repository) -> Outcome {
    let subject = image().build();
    let referrer = artifact(SBOM).subject(&subject).build();
    repository.push_by_digest(&referrer).await?;
    expect_referrers(&repository, &subject, &[&referrer]).await?;
    repository.push(&subject, "v1").await?;
    expect_referrers(&repository, &subject, &[&referrer]).await
}

async fn a_tagged_referrer_is_listed(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    let referrer = artifact(SBOM).subject(&subject).build();
    repository.push(&referrer, "sbom").await?;
    expect_referrers(&repository, &subject, &[&referrer]).await
}

async fn a_descriptor_describes_the_referrer(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    let referrer = artifact(SBOM).subject(&subject).build();
    let found = the_descriptor(&repository, &subject, &referrer).await?;
    let expected = referrer.descriptor();
    for field in ["mediaType", "digest", "size"] {
        same(field, &found[field], &expected[field])?;
    }
    Ok(())
}

async fn expect_artifact_type(
    repository: &Repository,
    referrer: &Manifest,
    subject: &Manifest,
    expected: Value,
) -> Outcome {
    let descriptor = the_descriptor(repository, subject, referrer).await?;
    same("artifactType", &descriptor["artifactType"], &expected)
}

async fn the_artifact_type_is_that_of_the_manifest(repository: Repository) -> Outcome {
    let subject = image().build();
    let referrer = artifact(SBOM).subject(&subject).build();
    expect_artifact_type(&repository, &referrer, &subject, json!(SBOM)).await
}

async fn without_an_artifact_type_the_configuration_counts(repository: Repository) -> Outcome {
    let subject = image().build();
    let referrer = image()
        .config(&Content::of("{ }"), SIGNATURE)
        .subject(&subject)
        .build();
    expect_artifact_type(&repository, &referrer, &subject, json!(SIGNATURE)).await
}

async fn with_an_empty_artifact_type_the_configuration_counts(repository: Repository) -> Outcome {
    let subject = image().build();
    let referrer = image()
        .field("artifactType", json!(""))
        .subject(&subject)
        .build();
    expect_artifact_type(&repository, &referrer, &subject, json!(OCI_CONFIG)).await
}

async fn annotations_are_listed(repository: Repository) -> Outcome {
    let subject = image().build();
    let referrer = image()
        .annotation("org.example.a", "1")
        .annotation("org.example.b", "\u{fc} \"2\"")
        .subject(&subject);
    let descriptor = the_descriptor(&repository, &subject, &referrer.build()).await?;
    let expected = json!({ "org.example.a": "1", "org.example.b": "\u{fc} \"2\"" });
    same("annotations", &descriptor["annotations"], &expected)
}

async fn an_index_is_listed(repository: Repository) -> Outcome {
    let subject = image().build();
    let referrer = index()
        .field("artifactType", json!(SBOM))
        .subject(&subject)
        .build();
    let descriptor = the_descriptor(&repository, &subject, &referrer).await?;
    same("mediaType", &descriptor["mediaType"], &json!(OCI_INDEX))?;
    same("artifactType", &descriptor["artifactType"], &json!(SBOM))?;
    push_naming_subject(&repository, &referrer, &subject).await
}

async fn an_index_without_artifact_type_has_none(repository: Repository) -> Outcome {
    let subject = image().build();
    let referrer = index().subject(&subject).build();
    let descriptor = the_descriptor(&repository, &subject, &referrer).await?;
    ensure(descriptor.get("artifactType").is_none(), || {
        format!("there should be no artifactType: {descriptor}")
    })
}

async fn a_referrer_pushed_twice_is_listed_once(repository: Repository) -> Outcome {
    let subject = image().build();
    let referrer = artifact(SBOM).subject(&subject).build();
    repository.push(&referrer, "one").await?;
    repository.push(&referrer, "two").await?;
    repository.push_by_digest(&referrer).await?;
    expect_referrers(&repository, &subject, &[&referrer]).await
}

async fn other_subjects_are_not_listed(repository: Repository) -> Outcome {
    let (subject, other) = (image().build(), image().build());
    repository
        .push_by_digest(&artifact(SBOM).subject(&other).build())
        .await?;
    repository.push_by_digest(&artifact(SBOM).build()).await?;
    expect_referrers(&repository, &subject, &[]).await
}

async fn other_repositories_are_not_listed(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    repository
        .sibling()
        .push_by_digest(&artifact(SBOM).subject(&subject).build())
        .await?;
    expect_referrers(&repository, &subject, &[]).await
}

async fn a_referrer_has_referrers(repository: Repository) -> Outcome {
    let subject = image().build();
    let sbom = artifact(SBOM).subject(&subject).build();
    let signature = artifact(SIGNATURE).subject(&sbom).build();
    repository.push_by_digest(&sbom).await?;
    repository.push_by_digest(&signature).await?;
    expect_referrers(&repository, &subject, &[&sbom]).await?;
    expect_referrers(&repository, &sbom, &[&signature]).await
}

/// Two signatures and an SBOM of one subject, listed with a filter.
async fn filtered(
    repository: &Repository,
    artifact_type: &str,
) -> Result<(Answer, [Manifest; 3]), Failure> {
    let subject = image().build();
    let one = artifact(SIGNATURE).subject(&subject).build();
    let two = image()
        .config(&Content::of("{ }"), SIGNATURE)
        .subject(&subject)
        .build();
    let sbom = artifact(SBOM).subject(&subject).build();
    for manifest in [&one, &two, &sbom] {
        repository.push_by_digest(manifest).await?;
    }
    let call = list(repository, subject.digest())?.query("artifactType", artifact_type);
    let answer = first_page(call).await?;
    if answer.list_header("oci-filters-applied").is_empty() {
        return Err(Failure::NotOffered(String::from(
            "filter: no OCI-Filters-Applied",
        )));
    }
    Ok((
        answer.expect_header("oci-filters-applied", "artifactType")?,
        [one, two, sbom],
    ))
}

fn descriptors_of(answer: &Answer) -> Result<Vec<Value>, Failure> {
    Ok(answer.json()?["manifests"]
        .as_array()
        .cloned()
        .unwrap_or_default())
}

async fn the_list_is_filtered(repository: Repository) -> Outcome {
    let (answer, [_, _, sbom]) = filtered(&repository, SBOM).await?;
    expect_digests(&descriptors_of(&answer)?, &[&sbom])
}

async fn the_filter_knows_the_type_of_the_configuration(repository: Repository) -> Outcome {
    let (answer, [one, two, _]) = filtered(&repository, SIGNATURE).await?;
    expect_digests(&descriptors_of(&answer)?, &[&one, &two])
}

async fn a_filter_without_a_match_gives_nothing(repository: Repository) -> Outcome {
    let (answer, _) = filtered(&repository, "application/vnd.example.nothing").await?;
    same("manifests", &answer.json()?["manifests"], &json!([]))
}

async fn a_deleted_referrer_is_not_listed(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    let (stays, goes) = (
        artifact(SBOM).subject(&subject).build(),
        artifact(SBOM).subject(&subject).build(),
    );
    repository.push_by_digest(&stays).await?;
    repository.push_by_digest(&goes).await?;
    expect_referrers(&repository, &subject, &[&stays, &goes]).await?;
    let answer = repository
        .manifest(Method::DELETE, goes.digest())?
        .send()
        .await?;
    answer
        .unless_declined(&[400, 405], "manifest deletion")?
        .expect(202)?;
    expect_referrers(&repository, &subject, &[&stays]).await
}

/// Pushes this many referrers, some at a time; every tenth is a signature.
async fn push_many(
    repository: &Repository,
    subject: &Manifest,
    count: usize,
) -> Result<Vec<Manifest>, Failure> {
    let artifact_type = |number: usize| {
        if number.is_multiple_of(10) {
            SIGNATURE
        } else {
            SBOM
        }
    };
    let referrers =
        (0..count).map(|number| artifact(artifact_type(number)).subject(subject).build());
    let referrers: Vec<Manifest> = referrers.collect();
    repository.push_blobs(&referrers[0]).await?;
    for group in referrers.chunks(PUSHED_AT_ONCE) {
        try_join_all(group.iter().map(async |referrer| {
            repository
                .put(referrer, referrer.digest())?
                .send()
                .await?
                .expect(201)
        }))
        .await?;
    }
    Ok(referrers)
}

async fn referrers_pushed_at_once_are_all_listed(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    let pushed = push_many(&repository, &subject, PUSHED_AT_ONCE).await?;
    expect_referrers(&repository, &subject, &pushed.iter().collect::<Vec<_>>()).await
}

async fn a_long_list_comes_in_pages(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    let pushed = push_many(&repository, &subject, MANY_REFERRERS).await?;
    let (descriptors, pages) = all_pages(&repository, list(&repository, subject.digest())?).await?;
    expect_digests(&descriptors, &pushed.iter().collect::<Vec<_>>())?;
    ensure(pages > 1, || {
        String::from("there should be more than one page")
    })?;
    let call = list(&repository, subject.digest())?.query("artifactType", SIGNATURE);
    let (signatures, _) = all_pages(&repository, call).await?;
    expect_digests(&signatures, &pushed.iter().step_by(10).collect::<Vec<_>>())
}

async fn a_sha512_subject_has_referrers(repository: Repository) -> Outcome {
    let subject = image().build().by_sha512();
    let referrer = artifact(SBOM).subject(&subject).build();
    push_naming_subject(&repository, &referrer, &subject).await?;
    expect_referrers(&repository, &subject, &[&referrer]).await
}

async fn a_sha512_referrer_is_listed(repository: Repository) -> Outcome {
    let subject = image().build();
    first_page(list(&repository, subject.digest())?).await?;
    let referrer = artifact(SBOM).subject(&subject).build().by_sha512();
    let descriptor = the_descriptor(&repository, &subject, &referrer).await?;
    same("digest", &descriptor["digest"], &json!(referrer.digest()))
}

async fn the_fallback_tag_is_a_tag_like_any_other(repository: Repository) -> Outcome {
    let subject = repository.push_image("v1").await?;
    let referrer = artifact(SBOM).subject(&subject).build();
    repository.push_by_digest(&referrer).await?;
    let fallback = index().child(&referrer).build();
    let tag = subject.digest().replace(':', "-");
    repository.push(&fallback, &tag).await?;
    repository.expect_manifest(&fallback, &tag).await
}

async fn without_a_subject_none_is_named(repository: Repository) -> Outcome {
    let answer = repository.push(&image().build(), "v1").await?;
    answer.expect_no_header("oci-subject").map(drop)
}

async fn without_a_filter_none_is_named(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let answer = first_page(list(&repository, manifest.digest())?).await?;
    answer.expect_no_header("oci-filters-applied").map(drop)
}

async fn each_digest_is_its_own_subject(repository: Repository) -> Outcome {
    let subject = image().build();
    repository
        .push_by_digest(&artifact(SBOM).subject(&subject).build())
        .await?;
    expect_referrers(&repository, &subject.by_sha512(), &[]).await
}
