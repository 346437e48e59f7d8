//! The token dance: a challenge, the request to its realm, and a cache of what came back.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use reqwest::header::WWW_AUTHENTICATE;
use serde_json::Value;

use crate::case::Failure;
use crate::client::{Answer, Registry};

/// What a 401 asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// `bearer` or `basic`, in lower case.
    pub(crate) scheme: String,
    parameters: HashMap<String, String>,
}

impl Challenge {
    /// The challenge of an answer, if it has one.
    pub(crate) fn of(answer: &Answer) -> Option<Self> {
        let value = answer.headers.get(WWW_AUTHENTICATE)?.to_str().ok()?;
        let (scheme, mut rest) = value.split_once(' ')?;
        let mut parameters = HashMap::new();
        while let Some((name, after)) = rest.split_once("=\"") {
            let (text, after) = after.split_once('"')?;
            parameters.insert(
                name.trim_matches([',', ' ']).to_ascii_lowercase(),
                text.to_owned(),
            );
            rest = after;
        }
        Some(Self {
            scheme: scheme.to_ascii_lowercase(),
            parameters,
        })
    }

    /// One of its parameters, or nothing.
    pub(crate) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// Authorizations by scope, and which scope each kind of access was last asked for.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<Known>);

#[derive(Default)]
struct Known {
    scope_by_access: HashMap<String, String>,
    authorization_by_scope: HashMap<String, String>,
}

impl Tokens {
    /// The header value that worked for this access before.
    pub(crate) fn known(&self, access: &str) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let scope = known.scope_by_access.get(access)?;
        known.authorization_by_scope.get(scope).cloned()
    }

    fn by_scope(&self, scope: &str) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.authorization_by_scope.get(scope).cloned()
    }

    fn remember(&self, access: &str, scope: &str, authorization: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .scope_by_access
            .insert(access.to_owned(), scope.to_owned());
        known
            .authorization_by_scope
            .insert(scope.to_owned(), authorization.to_owned());
    }
}

/// Answers a challenge as registry clients do: a cached token of its scope unless that was refused just now, else a new one.
pub(crate) async fn authorize(
    registry: &Registry,
    access: &str,
    challenge: &Challenge,
    refused: Option<&str>,
) -> Result<String, Failure> {
    let scope = challenge.parameter("scope");
    let cached = registry
        .tokens
        .by_scope(scope)
        .filter(|cached| Some(cached.as_str()) != refused);
    let authorization = match cached {
        Some(authorization) => authorization,
        None if challenge.scheme == "bearer" => {
            format!("Bearer {}", fetch(registry, challenge).await?)
        }
        None => registry.basic(),
    };
    registry.tokens.remember(access, scope, &authorization);
    Ok(authorization)
}

async fn fetch(registry: &Registry, challenge: &Challenge) -> Result<String, Failure> {
    let answer = ask(registry, challenge, &registry.basic())
        .await?
        .expect(200)?;
    let body = answer.json()?;
    token_of(&body).ok_or_else(|| Failure::Wrong(format!("{}: no token in {body}", answer.request)))
}

/// The token in an answer of a realm, under either of its two names.
pub(crate) fn token_of(body: &Value) -> Option<String> {
    let token = body.get("token").or_else(|| body.get("access_token"))?;
    token.as_str().map(str::to_owned)
}

/// The request to the realm that a challenge asks for, with these credentials.
pub(crate) async fn ask(
    registry: &Registry,
    challenge: &Challenge,
    credentials: &str,
) -> Result<Answer, Failure> {
    let mut call = registry.call_url(reqwest::Method::GET, challenge.parameter("realm"))?;
    call = call.query("service", challenge.parameter("service"));
    call = call.query("account", &registry.target.username);
    for scope in challenge.parameter("scope").split_whitespace() {
        call = call.query("scope", scope);
    }
    call.authorization(credentials).send().await
}
