//! Names and tags: all that the grammar allows works, nothing else does.

use reqwest::Method;

use crate::case::{Case, Level, Outcome, case, same};
use crate::content::{Content, image};
use crate::repository::Repository;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must};
    vec![
        case!(
            Must,
            "a name may have any number of components",
            names_may_have_many_components
        ),
        case!(
            Must,
            "components may hold `.`, `_`, `__` and dashes between letters and digits",
            names_may_hold_separators
        ),
        case!(
            Must,
            "components may be any words, also those of the API",
            names_may_be_words_of_the_api
        ),
        case!(
            Must,
            "names below one another are different repositories",
            a_repository_below_another_is_its_own
        ),
        case!(
            Must,
            "a tag has up to 128 characters of letters, digits, `_`, `.` and `-`",
            all_forms_of_tags_are_taken
        ),
        case!(Must, "tags differ by case", tags_differ_by_case),
        case!(
            Must,
            "a name that the grammar forbids is not accepted",
            invalid_names_are_refused
        ),
        case!(
            Must,
            "a tag that the grammar forbids is not accepted",
            invalid_tags_are_refused
        ),
        case!(
            Berth,
            "a name longer than any client can handle is NAME_INVALID",
            an_endless_name_is_refused
        ),
    ]
}

async fn usable(repository: &Repository) -> Outcome {
    let layer = Content::random(16);
    let manifest = image().layer(&layer).build();
    repository.push(&manifest, "v1").await?;
    repository.expect_manifest(&manifest, "v1").await?;
    repository.expect_blob(&layer).await?;
    same(
        "tags",
        &repository.all_tags().await?,
        &vec![String::from("v1")],
    )
}

async fn names_may_have_many_components(repository: Repository) -> Outcome {
    usable(&repository.named(&format!("{}/a/b/0/c", repository.name))).await
}

async fn names_may_hold_separators(repository: Repository) -> Outcome {
    usable(&repository.named(&format!("{}/a.b_c__d--e---f/0", repository.name))).await
}

async fn names_may_be_words_of_the_api(repository: Repository) -> Outcome {
    let words = [
        "blobs",
        "manifests",
        "tags",
        "referrers",
        "uploads",
        "v2",
        "blobs/uploads",
        "tags/list/manifests",
    ];
    for word in words {
        usable(&repository.named(&format!("{}/{word}", repository.name))).await?;
    }
    Ok(())
}

async fn a_repository_below_another_is_its_own(repository: Repository) -> Outcome {
    let below = repository.named(&format!("{}/below", repository.name));
    let upper = repository.push_image("v1").await?;
    let lower = below.push_image("v1").await?;
    repository.expect_manifest(&upper, "v1").await?;
    below.expect_manifest(&lower, "v1").await?;
    below.expect_no_manifest(upper.digest()).await?;
    repository.expect_no_manifest(lower.digest()).await
}

async fn all_forms_of_tags_are_taken(repository: Repository) -> Outcome {
    let manifest = image().build();
    let longest = "x".repeat(128);
    for tag in [
        "0",
        "_",
        "_-.",
        "V1.0-RC_1..x",
        "list",
        "sha256-abc",
        &longest,
    ] {
        repository.push(&manifest, tag).await?;
        repository.expect_manifest(&manifest, tag).await?;
    }
    Ok(())
}

async fn tags_differ_by_case(repository: Repository) -> Outcome {
    let lower = repository.push_image("latest").await?;
    let upper = repository.push_image("LATEST").await?;
    repository.expect_manifest(&lower, "latest").await?;
    repository.expect_manifest(&upper, "LATEST").await
}

async fn invalid_names_are_refused(repository: Repository) -> Outcome {
    let first = repository.push_image("v1").await?;
    for last in [
        "Upper", "a..b", "-a", "a-", "a_", ".a", "a___b", "a._b", "a b", "a:b", "\u{e4}", "a$b",
        "~a",
    ] {
        let invalid = repository.named(&format!("{}/{last}", repository.name));
        let calls = [
            invalid.put(&first, "v1")?,
            invalid.start()?,
            invalid.tags()?,
            invalid.manifest(Method::GET, "v1")?,
        ];
        for call in calls {
            call.send().await?.expect_refused(&["NAME_INVALID"])?;
        }
    }
    Ok(())
}

async fn invalid_tags_are_refused(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let too_long = "x".repeat(129);
    for tag in ["-a", ".a", "a:b", "a@b", "a+b", "a b", "\u{e4}", &too_long] {
        let answer = repository.put(&manifest, tag)?.send().await?;
        answer.expect_refused(&[
            "MANIFEST_INVALID",
            "TAG_INVALID",
            "DIGEST_INVALID",
            "NAME_INVALID",
        ])?;
    }
    same(
        "tags",
        &repository.all_tags().await?,
        &vec![String::from("v1")],
    )
}

async fn an_endless_name_is_refused(repository: Repository) -> Outcome {
    let endless = repository.named(&format!("{}/{}", repository.name, "x/".repeat(1500) + "x"));
    for call in [endless.start()?, endless.tags()?] {
        call.send().await?.expect_refused(&["NAME_INVALID"])?;
    }
    Ok(())
}
