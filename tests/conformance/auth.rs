//! The token dance as every client does it; registries without credentials are not asked.

use reqwest::Method;

use crate::case::{Case, Failure, Level, Outcome, case, ensure, same};
use crate::client::{Answer, Call, basic};
use crate::content::{Content, image};
use crate::repository::Repository;
use crate::tokens::{self, Challenge, token_of};

/// A token that lives shorter breaks clients.
const SHORTEST_LIFE_SECONDS: u64 = 60;

pub(crate) fn cases() -> Vec<Case> {
    use Level::{Berth, Optional};
    const TOKENS: Level = Optional("token authentication");
    vec![
        case!(
            TOKENS,
            "without credentials /v2/ is 401 with a challenge",
            the_base_asks_for_credentials
        ),
        case!(
            TOKENS,
            "a 401 has the code UNAUTHORIZED",
            a_request_without_credentials_has_a_well_formed_error
        ),
        case!(
            TOKENS,
            "a pull asks for the scope of a pull",
            a_pull_asks_for_its_scope
        ),
        case!(
            TOKENS,
            "a push asks for the scope of a push",
            a_push_asks_for_its_scope
        ),
        case!(
            TOKENS,
            "a wrong password is 401 at the realm",
            a_wrong_password_gets_no_token
        ),
        case!(
            TOKENS,
            "a wrong password is 401 at /v2/",
            a_wrong_password_is_refused_by_the_base
        ),
        case!(
            TOKENS,
            "a bad token is 401, never anonymous",
            a_bad_token_is_refused
        ),
        case!(
            TOKENS,
            "the right password gets a token that works",
            the_right_password_gets_a_token
        ),
        case!(
            TOKENS,
            "docker login asks without a scope",
            a_token_without_a_scope_opens_the_base
        ),
        case!(
            TOKENS,
            "without credentials nothing is stored",
            a_push_without_credentials_stores_nothing
        ),
        case!(
            Berth,
            "a token's answer has both names, its life and its birth",
            a_token_comes_with_its_life
        ),
        case!(
            Berth,
            "POST with grant_type=password gives a token",
            a_token_is_posted_for
        ),
        case!(
            Berth,
            "POST with a wrong password is 401",
            a_wrong_password_posted_gets_no_token
        ),
        case!(
            Berth,
            "a delete asks for the scope of a delete",
            a_delete_asks_for_its_scope
        ),
        case!(
            Berth,
            "a mount asks for the scope of its source too",
            a_mount_asks_for_both_scopes
        ),
        case!(
            Berth,
            "a token opens only what it names",
            a_token_of_one_repository_does_not_open_another
        ),
        case!(
            Berth,
            "a token to pull does not push",
            a_token_to_pull_does_not_push
        ),
        case!(
            Berth,
            "a bad token is told so",
            a_bad_token_is_called_invalid
        ),
        case!(
            Berth,
            "Basic works without a token",
            the_password_works_as_it_is
        ),
        case!(
            Berth,
            "without credentials a repository answers the same whether it exists or not",
            an_anonymous_pull_is_refused_whether_the_repository_exists_or_not
        ),
    ]
}

/// The challenge to a call without credentials, if the registry has tokens at all.
async fn challenge(call: Call<'_>) -> Result<(Answer, Challenge), Failure> {
    let answer = call
        .anonymous()
        .send()
        .await?
        .unless_declined(&[200, 201, 202, 404], "credentials")?
        .expect(401)?;
    let challenge =
        Challenge::of(&answer).ok_or_else(|| answer.wrong("there should be a challenge"))?;
    if challenge.scheme != "bearer" {
        return Err(Failure::NotOffered(format!(
            "tokens: the challenge is {}",
            challenge.scheme
        )));
    }
    Ok((answer, challenge))
}

fn base(repository: &Repository) -> Result<Call<'_>, Failure> {
    repository.registry.call(Method::GET, "/v2/")
}

/// The challenge of `/v2/`, which has no scope.
async fn base_challenge(repository: &Repository) -> Result<Challenge, Failure> {
    Ok(challenge(base(repository)?).await?.1)
}

/// A token for what a call needs, or less.
async fn token_for(repository: &Repository, call: Call<'_>) -> Result<String, Failure> {
    let (_, challenge) = challenge(call).await?;
    let answer = tokens::ask(
        &repository.registry,
        &challenge,
        &repository.registry.basic(),
    )
    .await?
    .expect(200)?;
    let token = token_of(&answer.json()?).ok_or_else(|| answer.wrong("there should be a token"))?;
    Ok(format!("Bearer {token}"))
}

fn wrong_password(repository: &Repository) -> String {
    basic(&repository.registry.target.username, "a wrong password")
}

async fn the_base_asks_for_credentials(repository: Repository) -> Outcome {
    let challenge = base_challenge(&repository).await?;
    ensure(challenge.parameter("realm").starts_with("http"), || {
        format!("{challenge:?}")
    })?;
    ensure(!challenge.parameter("service").is_empty(), || {
        format!("{challenge:?}")
    })
}

async fn a_request_without_credentials_has_a_well_formed_error(repository: Repository) -> Outcome {
    let (answer, _) = challenge(repository.manifest(Method::GET, "v1")?).await?;
    answer.expect_error(&[401], &["UNAUTHORIZED"]).map(drop)
}

/// Checks that a call's challenge names its repository with all of these actions.
async fn expect_scope(repository: &Repository, call: Call<'_>, actions: &[&str]) -> Outcome {
    let (_, challenge) = challenge(call).await?;
    let scope = challenge.parameter("scope");
    let found = scope.strip_prefix(&format!("repository:{}:", repository.name));
    let found: Vec<&str> = found.unwrap_or_default().split(',').collect();
    ensure(actions.iter().all(|action| found.contains(action)), || {
        format!("found the scope `{scope}`")
    })
}

async fn a_pull_asks_for_its_scope(repository: Repository) -> Outcome {
    expect_scope(
        &repository,
        repository.manifest(Method::GET, "v1")?,
        &["pull"],
    )
    .await?;
    expect_scope(
        &repository,
        repository.blob(Method::GET, &Content::random(8).digest)?,
        &["pull"],
    )
    .await?;
    expect_scope(&repository, repository.tags()?, &["pull"]).await
}

async fn a_push_asks_for_its_scope(repository: Repository) -> Outcome {
    expect_scope(&repository, repository.start()?, &["pull", "push"]).await?;
    expect_scope(
        &repository,
        repository.manifest(Method::PUT, "v1")?,
        &["pull", "push"],
    )
    .await
}

async fn a_delete_asks_for_its_scope(repository: Repository) -> Outcome {
    expect_scope(
        &repository,
        repository.manifest(Method::DELETE, "v1")?,
        &["delete"],
    )
    .await
}

async fn a_mount_asks_for_both_scopes(repository: Repository) -> Outcome {
    let source = repository.sibling().name;
    let call = repository
        .start()?
        .query("mount", &Content::random(8).digest)
        .query("from", &source);
    let (_, challenge) = challenge(call).await?;
    let scopes: Vec<&str> = challenge.parameter("scope").split(' ').collect();
    let wanted = format!("repository:{source}:pull");
    ensure(
        scopes.len() == 2 && scopes.contains(&wanted.as_str()),
        || format!("found the scopes {scopes:?}"),
    )
}

async fn a_wrong_password_gets_no_token(repository: Repository) -> Outcome {
    let challenge = base_challenge(&repository).await?;
    let answer = tokens::ask(
        &repository.registry,
        &challenge,
        &wrong_password(&repository),
    )
    .await?;
    answer.expect(401).map(drop)
}

async fn a_wrong_password_is_refused_by_the_base(repository: Repository) -> Outcome {
    base_challenge(&repository).await?;
    let call = base(&repository)?.authorization(&wrong_password(&repository));
    call.send().await?.expect(401).map(drop)
}

async fn a_bad_token_is_refused(repository: Repository) -> Outcome {
    base_challenge(&repository).await?;
    for token in ["Bearer nonsense", "Bearer ", "Bearer a.b.c", "Nonsense x"] {
        base(&repository)?
            .authorization(token)
            .send()
            .await?
            .expect(401)?;
        repository
            .start()?
            .authorization(token)
            .send()
            .await?
            .expect(401)?;
    }
    Ok(())
}

async fn a_bad_token_is_called_invalid(repository: Repository) -> Outcome {
    let answer = base(&repository)?
        .authorization("Bearer nonsense")
        .send()
        .await?
        .expect(401)?;
    let challenge =
        Challenge::of(&answer).ok_or_else(|| answer.wrong("there should be a challenge"))?;
    same("error", &challenge.parameter("error"), &"invalid_token")
}

async fn the_right_password_gets_a_token(repository: Repository) -> Outcome {
    let token = token_for(&repository, repository.start()?).await?;
    repository
        .start()?
        .authorization(&token)
        .send()
        .await?
        .expect(202)
        .map(drop)
}

async fn a_token_without_a_scope_opens_the_base(repository: Repository) -> Outcome {
    let token = token_for(&repository, base(&repository)?).await?;
    base(&repository)?
        .authorization(&token)
        .send()
        .await?
        .expect(200)
        .map(drop)
}

async fn a_push_without_credentials_stores_nothing(repository: Repository) -> Outcome {
    base_challenge(&repository).await?;
    let manifest = image().build();
    repository.push_blobs(&manifest).await?;
    repository
        .put(&manifest, "v1")?
        .anonymous()
        .send()
        .await?
        .expect(401)?;
    repository.expect_no_manifest("v1").await
}

async fn a_token_comes_with_its_life(repository: Repository) -> Outcome {
    let challenge = base_challenge(&repository).await?;
    let answer = tokens::ask(
        &repository.registry,
        &challenge,
        &repository.registry.basic(),
    )
    .await?
    .expect(200)?;
    let body = answer.json()?;
    same("access_token", &body["access_token"], &body["token"])?;
    let seconds = body["expires_in"].as_u64().unwrap_or_default();
    ensure(seconds >= SHORTEST_LIFE_SECONDS, || {
        format!("expires_in is {seconds}")
    })?;
    let issued_at = body["issued_at"].as_str().unwrap_or_default();
    ensure(issued_at.parse::<jiff::Timestamp>().is_ok(), || {
        format!("issued_at is `{issued_at}`")
    })
}

/// `POST` to the realm of `/v2/` as containerd does it.
async fn post_for_token(repository: &Repository, password: &str) -> Result<Answer, Failure> {
    let challenge = base_challenge(repository).await?;
    let scope = format!("repository:{}:pull,push", repository.name);
    let fields = [
        ("grant_type", "password"),
        ("service", challenge.parameter("service")),
        ("client_id", "conformance"),
        ("scope", &scope),
        ("username", &repository.registry.target.username),
        ("password", password),
    ];
    let form =
        serde_urlencoded::to_string(fields).map_err(|error| Failure::Wrong(error.to_string()))?;
    let call = repository
        .registry
        .call_url(Method::POST, challenge.parameter("realm"))?
        .anonymous();
    call.header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
}

async fn a_token_is_posted_for(repository: Repository) -> Outcome {
    let password = repository.registry.target.password.clone();
    let answer = post_for_token(&repository, &password).await?.expect(200)?;
    let token = answer.json()?["access_token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let call = repository
        .start()?
        .authorization(&format!("Bearer {token}"));
    call.send().await?.expect(202).map(drop)
}

async fn a_wrong_password_posted_gets_no_token(repository: Repository) -> Outcome {
    post_for_token(&repository, "a wrong password")
        .await?
        .expect(401)
        .map(drop)
}

async fn a_token_of_one_repository_does_not_open_another(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    let elsewhere = repository.sibling();
    let token = token_for(&repository, elsewhere.start()?).await?;
    let answer = repository
        .manifest(Method::GET, "v1")?
        .authorization(&token)
        .send()
        .await?
        .expect(401)?;
    let challenge = Challenge::of(&answer).unwrap_or_default();
    same(
        "error",
        &challenge.parameter("error"),
        &"insufficient_scope",
    )
}

async fn a_token_to_pull_does_not_push(repository: Repository) -> Outcome {
    repository.push_image("v1").await?;
    let token = token_for(&repository, repository.tags()?).await?;
    repository
        .tags()?
        .authorization(&token)
        .send()
        .await?
        .expect(200)?;
    repository
        .start()?
        .authorization(&token)
        .send()
        .await?
        .expect(401)
        .map(drop)
}

async fn the_password_works_as_it_is(repository: Repository) -> Outcome {
    let password = repository.registry.basic();
    base(&repository)?
        .authorization(&password)
        .send()
        .await?
        .expect(200)?;
    repository
        .start()?
        .authorization(&password)
        .send()
        .await?
        .expect(202)
        .map(drop)
}

async fn an_anonymous_pull_is_refused_whether_the_repository_exists_or_not(
    repository: Repository,
) -> Outcome {
    let unknown = repository.sibling();
    repository.push_image("v1").await?;
    for repository in [&repository, &unknown] {
        repository
            .manifest(Method::GET, "v1")?
            .anonymous()
            .send()
            .await?
            .expect(401)?;
    }
    Ok(())
}
