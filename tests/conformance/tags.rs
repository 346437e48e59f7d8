//! Listing tags: order, pages, and repositories without any.

use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, ensure, same};
use crate::client::Answer;
use crate::content::{Content, image};
use crate::repository::{Repository, tags_of};

/// How many tags Berth lists at most in one answer.
const BERTH_MAX_PAGE: usize = 1000;
/// How many tags Berth takes with one push.
const BERTH_MAX_TAGS_PER_PUSH: usize = 100;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Must, Should};
    vec![
        case!(
            Must,
            "the list is 200 with `name` and `tags`",
            tags_are_listed
        ),
        case!(Should, "the list is JSON", the_list_is_json),
        case!(
            Must,
            "tags are in lexical or ASCIIbetical order",
            tags_are_in_order
        ),
        case!(
            Must,
            "a tag that was pushed twice is one tag",
            a_moved_tag_is_listed_once
        ),
        case!(
            Must,
            "an unknown repository is 404",
            an_unknown_repository_has_no_list
        ),
        case!(
            Must,
            "the list may be empty",
            a_repository_without_tags_has_an_empty_list
        ),
        case!(Must, "`n` limits the list", the_list_is_limited),
        case!(
            Must,
            "with `n` larger than the list all of it comes",
            a_large_limit_gives_everything
        ),
        case!(
            Must,
            "`n=0` is an empty list without Link",
            a_limit_of_zero_gives_nothing
        ),
        case!(
            Must,
            "`last` begins after that tag",
            the_list_begins_after_a_tag
        ),
        case!(
            Must,
            "`last` without `n` begins after that tag",
            the_list_begins_after_a_tag_without_a_limit
        ),
        case!(
            Must,
            "`last` may be a tag that is not there",
            the_list_begins_after_a_tag_that_is_not_there
        ),
        case!(
            Must,
            "after the last tag there is nothing",
            nothing_comes_after_the_last_tag
        ),
        case!(
            Must,
            "pages by `last` give every tag once, in order",
            pages_by_last_give_every_tag_once
        ),
        case!(
            Must,
            "pages by Link give every tag once, in order",
            pages_by_link_give_every_tag_once
        ),
        case!(
            Must,
            "tags of one repository are not those of another",
            a_list_has_only_its_own_tags
        ),
        case!(
            Berth,
            "ASCIIbetical means by bytes",
            tags_are_ordered_by_bytes
        ),
        case!(
            Berth,
            "a page that is not the last has a Link, the last one has none",
            only_the_last_page_has_no_link
        ),
        case!(
            Berth,
            "a repository that never had a manifest is NAME_UNKNOWN",
            blobs_alone_make_no_list
        ),
        case!(
            Berth,
            "`n` is a number",
            a_limit_that_is_no_number_is_refused
        ),
        case!(
            Berth,
            "`n` above 1000 gives at most 1000 and a Link",
            a_huge_limit_gives_a_page_of_a_thousand
        ),
    ]
}

/// The tags of `fill`, in ASCIIbetical and in lexical order.
const FILLED: [&str; 7] = ["0", "a", "a-1", "a.1", "b", "c", "d"];

async fn fill(repository: &Repository) -> Outcome {
    let manifest = image().build();
    for tag in FILLED.iter().rev() {
        repository.push(&manifest, tag).await?;
    }
    Ok(())
}

async fn list(repository: &Repository, parameters: &[(&str, &str)]) -> Result<Answer, Failure> {
    let mut call = repository.tags()?;
    for (name, value) in parameters {
        call = call.query(name, value);
    }
    call.send().await?.expect(200)
}

fn expect_tags(answer: &Answer, expected: &[&str]) -> Outcome {
    same(
        &answer.request,
        &tags_of(answer)?,
        &expected.iter().map(|tag| (*tag).to_owned()).collect(),
    )
}

/// Checks which tags are there, in whatever order.
fn expect_all_of(answer: &Answer) -> Outcome {
    let mut tags = tags_of(answer)?;
    tags.sort_unstable();
    same(&answer.request, &tags, &FILLED.map(str::to_owned).to_vec())
}

async fn tags_are_listed(repository: Repository) -> Outcome {
    fill(&repository).await?;
    let answer = list(&repository, &[]).await?;
    same(
        "`name`",
        &answer.json()?["name"].as_str(),
        &Some(repository.name.as_str()),
    )?;
    expect_all_of(&answer)
}

async fn the_list_is_json(repository: Repository) -> Outcome {
    fill(&repository).await?;
    let answer = list(&repository, &[]).await?;
    let media_type = answer.header("content-type").unwrap_or_default();
    ensure(media_type.starts_with("application/json"), || {
        format!("found `{media_type}`")
    })
}

/// Tags of mixed case, whose two orders differ.
async fn mixed(repository: &Repository) -> Result<Vec<String>, Failure> {
    let manifest = image().build();
    for tag in ["b", "B", "_x", "a", "A-1", "10", "9", "Z.z", "a.B"] {
        repository.push(&manifest, tag).await?;
    }
    tags_of(&list(repository, &[]).await?)
}

async fn tags_are_in_order(repository: Repository) -> Outcome {
    let tags = mixed(&repository).await?;
    let mut lexical = tags.clone();
    lexical.sort_by_key(|tag| tag.to_lowercase());
    let is_lexical = tags
        .iter()
        .map(|tag| tag.to_lowercase())
        .eq(lexical.iter().map(|tag| tag.to_lowercase()));
    ensure(tags.is_sorted() || is_lexical, || {
        format!("in no order: {tags:?}")
    })?;
    same("number of tags", &tags.len(), &9)
}

async fn tags_are_ordered_by_bytes(repository: Repository) -> Outcome {
    let tags = mixed(&repository).await?;
    ensure(tags.is_sorted(), || format!("not by bytes: {tags:?}"))
}

async fn a_moved_tag_is_listed_once(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    repository.push_image("v1").await?;
    expect_tags(&list(&repository, &[]).await?, &["v1"])
}

async fn an_unknown_repository_has_no_list(repository: Repository) -> Outcome {
    let answer = repository.tags()?.send().await?;
    answer.expect_error(&[404], &["NAME_UNKNOWN"]).map(drop)
}

async fn a_repository_without_tags_has_an_empty_list(repository: Repository) -> Outcome {
    repository.push_by_digest(&image().build()).await?;
    expect_tags(&list(&repository, &[]).await?, &[])
}

async fn the_list_is_limited(repository: Repository) -> Outcome {
    fill(&repository).await?;
    let answer = list(&repository, &[("n", "3")]).await?;
    let tags = tags_of(&answer)?;
    let may_be_short = answer.next_page()?.is_some();
    ensure(tags.len() == 3 || (tags.len() < 3 && may_be_short), || {
        format!("{tags:?}")
    })?;
    expect_tags(&answer, &FILLED[..tags.len()])
}

async fn a_large_limit_gives_everything(repository: Repository) -> Outcome {
    fill(&repository).await?;
    for limit in ["7", "8", "100"] {
        expect_all_of(&list(&repository, &[("n", limit)]).await?)?;
    }
    Ok(())
}

async fn a_limit_of_zero_gives_nothing(repository: Repository) -> Outcome {
    fill(&repository).await?;
    let answer = list(&repository, &[("n", "0")]).await?;
    expect_tags(&answer, &[])?;
    answer.expect_no_header("link").map(drop)
}

async fn the_list_begins_after_a_tag(repository: Repository) -> Outcome {
    fill(&repository).await?;
    expect_tags(
        &list(&repository, &[("n", "2"), ("last", "a")]).await?,
        &["a-1", "a.1"],
    )
}

async fn the_list_begins_after_a_tag_without_a_limit(repository: Repository) -> Outcome {
    fill(&repository).await?;
    expect_tags(&list(&repository, &[("last", "b")]).await?, &["c", "d"])
}

async fn the_list_begins_after_a_tag_that_is_not_there(repository: Repository) -> Outcome {
    fill(&repository).await?;
    expect_tags(&list(&repository, &[("last", "bb")]).await?, &["c", "d"])
}

async fn nothing_comes_after_the_last_tag(repository: Repository) -> Outcome {
    fill(&repository).await?;
    for last in ["d", "zzz"] {
        let answer = list(&repository, &[("n", "5"), ("last", last)]).await?;
        expect_tags(&answer, &[])?;
        answer.expect_no_header("link")?;
    }
    Ok(())
}

async fn pages_by_last_give_every_tag_once(repository: Repository) -> Outcome {
    fill(&repository).await?;
    let mut found: Vec<String> = Vec::new();
    while found.len() < FILLED.len() {
        let last = found.last().cloned().unwrap_or_default();
        let parameters = [("n", "2"), ("last", last.as_str())];
        let known = if found.is_empty() {
            &parameters[..1]
        } else {
            &parameters[..]
        };
        let page = tags_of(&list(&repository, known).await?)?;
        ensure(!page.is_empty() && page.len() <= 2, || {
            format!("after {last}: {page:?}")
        })?;
        found.extend(page);
    }
    same("all pages", &found, &FILLED.map(str::to_owned).to_vec())
}

/// The pages of two tags that Links lead to.
async fn pages_of_two(repository: &Repository) -> Result<Vec<Answer>, Failure> {
    fill(repository).await?;
    let mut pages = vec![list(repository, &[("n", "2")]).await?];
    while pages.len() <= FILLED.len()
        && let Some(url) = pages.last().map(Answer::next_page).transpose()?.flatten()
    {
        pages.push(
            repository
                .call_url(Method::GET, &url)?
                .send()
                .await?
                .expect(200)?,
        );
    }
    Ok(pages)
}

async fn pages_by_link_give_every_tag_once(repository: Repository) -> Outcome {
    let pages = pages_of_two(&repository).await?;
    if pages.len() == 1 {
        return Err(Failure::NotOffered(String::from("no Link")));
    }
    let tags: Result<Vec<_>, _> = pages.iter().map(tags_of).collect();
    same(
        "all pages",
        &tags?.concat(),
        &FILLED.map(str::to_owned).to_vec(),
    )
}

async fn only_the_last_page_has_no_link(repository: Repository) -> Outcome {
    let pages = pages_of_two(&repository).await?;
    let sizes: Result<Vec<_>, _> = pages
        .iter()
        .map(|page| tags_of(page).map(|tags| tags.len()))
        .collect();
    same("sizes of the pages", &sizes?, &vec![2, 2, 2, 1])?;
    list(&repository, &[("n", "7")])
        .await?
        .expect_no_header("link")
        .map(drop)
}

async fn a_list_has_only_its_own_tags(repository: Repository) -> Outcome {
    repository
        .named(&format!("{}/below", repository.name))
        .push_image("v1")
        .await?;
    repository.sibling().push_image("v2").await?;
    repository.push_image("v3").await?;
    expect_tags(&list(&repository, &[]).await?, &["v3"])
}

async fn blobs_alone_make_no_list(repository: Repository) -> Outcome {
    repository.push_blob(&Content::random(64)).await?;
    let answer = repository.tags()?.send().await?;
    answer.expect_error(&[404], &["NAME_UNKNOWN"]).map(drop)
}

async fn a_limit_that_is_no_number_is_refused(repository: Repository) -> Outcome {
    fill(&repository).await?;
    for limit in ["-1", "ten", "1.5", ""] {
        let answer = repository
            .tags()?
            .query("n", limit)
            .send()
            .await?
            .expect(400)?;
        answer.error_codes()?;
    }
    Ok(())
}

async fn a_huge_limit_gives_a_page_of_a_thousand(repository: Repository) -> Outcome {
    let manifest = image().build();
    repository.push_blobs(&manifest).await?;
    let tags: Vec<String> = (0..=BERTH_MAX_PAGE)
        .map(|number| format!("v{number:04}"))
        .collect();
    for tags in tags.chunks(BERTH_MAX_TAGS_PER_PUSH) {
        let mut call = repository.put(&manifest, manifest.digest())?;
        for tag in tags {
            call = call.query("tag", tag);
        }
        call.send().await?.expect(201)?;
    }
    let page = list(&repository, &[("n", "5000")]).await?;
    same(
        "tags in the first page",
        &tags_of(&page)?.len(),
        &BERTH_MAX_PAGE,
    )?;
    ensure(page.next_page()?.is_some(), || {
        String::from("the first page should have a Link")
    })?;
    same("all pages", &repository.all_tags().await?, &tags)
}
