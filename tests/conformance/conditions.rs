//! Conditional requests (RFC 9110, section 13): pulls that save the body, pushes that do not overwrite.

use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, ensure};
use crate::client::{Answer, Call};
use crate::content::{Content, Manifest, image};
use crate::repository::Repository;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Optional};
    const CONDITIONS: Level = Optional("conditional requests");
    vec![
        case!(
            CONDITIONS,
            "a manifest that the client has already is 304",
            a_known_manifest_is_not_sent_again
        ),
        case!(
            CONDITIONS,
            "a blob that the client has already is 304",
            a_known_blob_is_not_sent_again
        ),
        case!(
            CONDITIONS,
            "what the client does not have is 200",
            other_entity_tags_do_not_match
        ),
        case!(
            CONDITIONS,
            "a tag that has moved is 200",
            a_tag_that_has_moved_is_sent
        ),
        case!(
            Berth,
            "If-None-Match takes lists, weak tags and the star",
            all_forms_of_if_none_match_are_understood
        ),
        case!(
            Berth,
            "If-Match with the present digest lets a push through",
            a_push_over_the_expected_manifest_succeeds
        ),
        case!(
            Berth,
            "If-Match with another digest is 412",
            a_push_over_another_manifest_fails
        ),
        case!(
            Berth,
            "If-Match on a tag that is not there is 412",
            a_push_over_a_missing_manifest_fails
        ),
        case!(
            Berth,
            "If-None-Match: * creates a tag",
            a_push_to_a_free_tag_succeeds
        ),
        case!(
            Berth,
            "If-None-Match: * on an existing tag is 412",
            a_push_to_a_taken_tag_fails
        ),
        case!(
            Berth,
            "of several pushes to a free tag one succeeds",
            one_of_many_creates_the_tag
        ),
        case!(
            Berth,
            "of several pushes over the same manifest one succeeds",
            one_of_many_moves_the_tag
        ),
    ]
}

fn entity_tag(digest: &str) -> String {
    format!("\"{digest}\"")
}

/// Asks again with the entity tag of the first answer.
async fn ask_again(call: Call<'_>) -> Result<Answer, Failure> {
    let first = call.clone().send().await?.expect(200)?;
    let Some(entity_tag) = first.header("etag") else {
        return Err(Failure::NotOffered(String::from("no ETag")));
    };
    call.header("if-none-match", entity_tag).send().await
}

async fn expect_not_sent(answer: Answer) -> Outcome {
    let answer = answer.expect(304)?;
    ensure(answer.body.is_empty(), || answer.request.clone())
}

async fn a_known_manifest_is_not_sent_again(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    for reference in ["v1", manifest.digest()] {
        for method in [Method::GET, Method::HEAD] {
            expect_not_sent(ask_again(repository.manifest(method, reference)?).await?).await?;
        }
    }
    Ok(())
}

async fn a_known_blob_is_not_sent_again(repository: Repository) -> Outcome {
    let blob = repository.push_random_blob(64).await?;
    for method in [Method::GET, Method::HEAD] {
        expect_not_sent(ask_again(repository.blob(method, &blob.digest)?).await?).await?;
    }
    Ok(())
}

async fn other_entity_tags_do_not_match(repository: Repository) -> Outcome {
    let layer = Content::random(64);
    repository
        .push(&image().layer(&layer).build(), "v1")
        .await?;
    let other = entity_tag(&Content::random(8).digest);
    for call in [
        repository.manifest(Method::GET, "v1")?,
        repository.blob(Method::GET, &layer.digest)?,
    ] {
        call.header("if-none-match", &other)
            .send()
            .await?
            .expect(200)?;
    }
    Ok(())
}

async fn a_tag_that_has_moved_is_sent(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    let first = repository
        .manifest(Method::GET, "v1")?
        .send()
        .await?
        .expect(200)?;
    let Some(old) = first.header("etag") else {
        return Err(Failure::NotOffered(String::from("no ETag")));
    };
    let new = repository.push_image("v1").await?;
    let answer = repository
        .manifest(Method::GET, "v1")?
        .header("if-none-match", old)
        .send()
        .await?;
    answer.expect(200)?.expect_body(&new.body.bytes).map(drop)
}

async fn all_forms_of_if_none_match_are_understood(repository: Repository) -> Outcome {
    let manifest = repository.push_image("v1").await?;
    let (mine, other) = (
        entity_tag(manifest.digest()),
        entity_tag(&Content::random(8).digest),
    );
    for condition in [
        format!("{other}, {mine}"),
        format!("W/{mine}"),
        String::from("*"),
    ] {
        let call = repository
            .manifest(Method::GET, "v1")?
            .header("if-none-match", &condition);
        call.send()
            .await?
            .expect(304)?
            .expect_header("etag", &mine)?;
    }
    Ok(())
}

/// Pushes a new image to `v1` under a condition.
async fn push_if(
    repository: &Repository,
    name: &'static str,
    condition: &str,
) -> Result<(Manifest, Answer), Failure> {
    let manifest = image().build();
    repository.push_blobs(&manifest).await?;
    let answer = repository
        .put(&manifest, "v1")?
        .header(name, condition)
        .send()
        .await?;
    Ok((manifest, answer))
}

async fn a_push_over_the_expected_manifest_succeeds(repository: Repository) -> Outcome {
    let old = repository.push_image("v1").await?;
    let (new, answer) = push_if(&repository, "if-match", &entity_tag(old.digest())).await?;
    answer.expect(201)?;
    repository.expect_manifest(&new, "v1").await
}

async fn a_push_over_another_manifest_fails(repository: Repository) -> Outcome {
    let old = repository.push_image("v1").await?;
    let (new, answer) = push_if(
        &repository,
        "if-match",
        &entity_tag(&Content::random(8).digest),
    )
    .await?;
    answer.expect(412)?;
    repository.expect_manifest(&old, "v1").await?;
    repository.expect_no_manifest(new.digest()).await
}

async fn a_push_over_a_missing_manifest_fails(repository: Repository) -> Outcome {
    for condition in [entity_tag(&Content::random(8).digest), String::from("*")] {
        let (_, answer) = push_if(&repository, "if-match", &condition).await?;
        answer.expect(412)?;
    }
    repository.expect_no_manifest("v1").await
}

async fn a_push_to_a_free_tag_succeeds(repository: Repository) -> Outcome {
    let (new, answer) = push_if(&repository, "if-none-match", "*").await?;
    answer.expect(201)?;
    repository.expect_manifest(&new, "v1").await
}

async fn a_push_to_a_taken_tag_fails(repository: Repository) -> Outcome {
    let old = repository.push_image("v1").await?;
    let (_, answer) = push_if(&repository, "if-none-match", "*").await?;
    answer.expect(412)?;
    repository.expect_manifest(&old, "v1").await
}

async fn expect_one_winner(
    repository: &Repository,
    name: &'static str,
    condition: &str,
) -> Outcome {
    let pushes = (0..8).map(|_| push_if(repository, name, condition));
    let mut winners = Vec::new();
    for (manifest, answer) in futures_util::future::try_join_all(pushes).await? {
        if answer.expect_one_of(&[201, 412])?.status.as_u16() == 201 {
            winners.push(manifest);
        }
    }
    match winners.as_slice() {
        [winner] => repository.expect_manifest(winner, "v1").await,
        others => Err(Failure::Wrong(format!(
            "{} pushes were answered 201",
            others.len()
        ))),
    }
}

async fn one_of_many_creates_the_tag(repository: Repository) -> Outcome {
    expect_one_winner(&repository, "if-none-match", "*").await
}

async fn one_of_many_moves_the_tag(repository: Repository) -> Outcome {
    let old = repository.push_image("v1").await?;
    expect_one_winner(&repository, "if-match", &entity_tag(old.digest())).await
}
