//! Tags that come as `tag` parameters with a push by digest.

use crate::case::{Case, Failure, Level, Outcome, case, same};
use crate::client::Answer;
use crate::content::{Manifest, image, index};
use crate::repository::Repository;

/// How many tags Berth takes with one push.
const BERTH_MAX_TAGS: usize = 100;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Optional};
    const TAGS: Level = Optional("tag parameters");
    vec![
        case!(
            TAGS,
            "each accepted tag is named in OCI-Tag",
            one_tag_comes_with_a_digest
        ),
        case!(
            TAGS,
            "at least 10 tags come with one push",
            ten_tags_come_with_a_digest
        ),
        case!(
            TAGS,
            "a tag that is there already moves",
            a_tag_parameter_moves_a_tag
        ),
        case!(
            TAGS,
            "an index is tagged like any manifest",
            an_index_is_tagged_by_parameters
        ),
        case!(
            TAGS,
            "a push by digest without parameters sets no tag",
            without_parameters_no_tag_is_named
        ),
        case!(
            TAGS,
            "an invalid tag is not accepted",
            an_invalid_tag_parameter_is_not_accepted
        ),
        case!(
            Berth,
            "a sha512 push is tagged like any other",
            a_sha512_manifest_is_tagged_by_parameters
        ),
        case!(
            Berth,
            "100 tags come with one push",
            a_hundred_tags_come_with_a_digest
        ),
        case!(
            Berth,
            "more than 100 tags are 414",
            too_many_tags_are_refused
        ),
    ]
}

async fn put_with(
    repository: &Repository,
    manifest: &Manifest,
    tags: &[String],
) -> Result<Answer, Failure> {
    repository.push_blobs(manifest).await?;
    let mut call = repository.put(manifest, manifest.digest())?;
    for tag in tags {
        call = call.query("tag", tag);
    }
    call.send().await
}

fn words(count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("1.{number:03}_X-y"))
        .collect()
}

async fn pushed_with_tags(
    repository: &Repository,
    manifest: &Manifest,
    tags: &[String],
) -> Outcome {
    let answer = put_with(repository, manifest, tags).await?.expect(201)?;
    if answer.header("oci-tag").is_none() {
        return Err(Failure::NotOffered(String::from(
            "tag parameters: no OCI-Tag in the answer",
        )));
    }
    let mut accepted = answer.list_header("oci-tag");
    accepted.sort_unstable();
    same(
        "OCI-Tag",
        &accepted,
        &tags.iter().map(String::as_str).collect(),
    )?;
    for tag in tags {
        repository.expect_manifest(manifest, tag).await?;
    }
    same("tags", &repository.all_tags().await?, &tags.to_vec())
}

async fn one_tag_comes_with_a_digest(repository: Repository) -> Outcome {
    pushed_with_tags(&repository, &image().build(), &words(1)).await
}

async fn ten_tags_come_with_a_digest(repository: Repository) -> Outcome {
    pushed_with_tags(&repository, &image().build(), &words(10)).await
}

async fn a_tag_parameter_moves_a_tag(repository: Repository) -> Outcome {
    let tags = words(1);
    let old = repository.push_image(&tags[0]).await?;
    pushed_with_tags(&repository, &image().build(), &tags).await?;
    repository.expect_manifest(&old, old.digest()).await
}

async fn an_index_is_tagged_by_parameters(repository: Repository) -> Outcome {
    let child = image().build();
    repository.push_by_digest(&child).await?;
    pushed_with_tags(&repository, &index().child(&child).build(), &words(2)).await
}

async fn without_parameters_no_tag_is_named(repository: Repository) -> Outcome {
    let answer = put_with(&repository, &image().build(), &[])
        .await?
        .expect(201)?;
    answer.expect_no_header("oci-tag").map(drop)
}

async fn an_invalid_tag_parameter_is_not_accepted(repository: Repository) -> Outcome {
    let invalid = String::from("-no tag");
    let answer = put_with(
        &repository,
        &image().build(),
        std::slice::from_ref(&invalid),
    )
    .await?;
    let answer = answer.expect_one_of(&[201, 400])?;
    same(
        "OCI-Tag names it",
        &answer.list_header("oci-tag").contains(&invalid.as_str()),
        &false,
    )
}

async fn a_sha512_manifest_is_tagged_by_parameters(repository: Repository) -> Outcome {
    pushed_with_tags(&repository, &image().build().by_sha512(), &words(2)).await
}

async fn a_hundred_tags_come_with_a_digest(repository: Repository) -> Outcome {
    pushed_with_tags(&repository, &image().build(), &words(BERTH_MAX_TAGS)).await
}

async fn too_many_tags_are_refused(repository: Repository) -> Outcome {
    let manifest = image().build();
    put_with(&repository, &manifest, &words(BERTH_MAX_TAGS + 1))
        .await?
        .expect(414)?;
    repository.expect_no_manifest(manifest.digest()).await
}
