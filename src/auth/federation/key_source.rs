//! Where the keys of an issuer come from: a file, or its server, found by discovery or named outright.
//!
//! Nothing in a token says where to ask. A key that is not known is looked for once in a while, whoever asks for it; while
//! the server does not answer, the keys that it gave last count on, for a bounded time.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Certificate, Client, redirect};
use serde::Deserialize;
use tracing::Instrument as _;

use super::key_set::KeySet;
use crate::clock::{Clock, Millis};
use crate::config;

/// How long keys count before they are asked for again.
const FRESH_MS: i64 = 10 * 60 * 1000;
/// How long they count while nobody answers.
const STALE_MS: i64 = 6 * 60 * 60 * 1000;
/// How long it is until an issuer is asked again, whatever its last answer was.
const PAUSE_MS: i64 = 10 * 1000;
/// How long an issuer may take for a connection, and for each of its two answers; a file may take as long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer, or of a file, at most.
const MAX_BYTES: usize = 256 * 1024;

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The issuer has none of this id for this algorithm.
    Unknown,
    /// It cannot be asked now.
    Unavailable,
}

/// What the issuer said last.
struct Fetched {
    keys: KeySet,
    at: Millis,
}

#[derive(Default)]
struct State {
    fetched: Option<Arc<Fetched>>,
    /// When it was asked last, with whatever success.
    asked_at: Option<Millis>,
    /// Whether it answered then.
    answered: bool,
}

/// The keys of one issuer.
pub(super) struct KeySource {
    issuer: config::Issuer,
    client: Client,
    clock: Clock,
    state: Mutex<State>,
    /// Whose turn it is to ask.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// OpenID Connect Discovery 1.0 section 3, as far as it matters here.
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl KeySource {
    /// Puts it together. Files have to be there and to be good; what is asked over the network is asked later.
    pub(super) fn new(issuer: &config::Issuer, clock: Clock) -> Result<Self, String> {
        if let Some(path) = &issuer.jwks_file {
            let wrong = |error: &dyn std::fmt::Display| {
                format!("jwks_file names {}: {error}", path.display())
            };
            let json = read(path).map_err(|error| wrong(&error))?;
            if KeySet::parse(&json)
                .map_err(|error| wrong(&error))?
                .is_empty()
            {
                return Err(wrong(&"it has no key that signatures are verified with"));
            }
        }
        if let Some(path) = &issuer.token_file {
            let token = read(path).map_err(|error| error.to_string());
            token
                .and_then(|token| bearer(&token))
                .map_err(|error| format!("token_file names {}: {error}", path.display()))?;
        }
        let mut builder = Client::builder()
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            // An issuer that sends elsewhere would choose where we ask.
            .redirect(redirect::Policy::none());
        if let Some(path) = &issuer.ca_file {
            let wrong = |error: &dyn std::fmt::Display| {
                format!("ca_file names {}: {error}", path.display())
            };
            let pem = read(path).map_err(|error| wrong(&error))?;
            let authorities = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(&error))?;
            if authorities.is_empty() {
                return Err(wrong(&"it has no certificate in PEM"));
            }
            builder = builder.tls_certs_only(authorities);
        } else if !asks_with_tls(issuer) {
            // Without TLS no certificates are needed, and a small container has none to load.
            builder = builder.tls_certs_only([]);
        }
        if !asks_with_tls(issuer) {
            builder = builder.no_proxy();
        }
        Ok(Self {
            issuer: issuer.clone(),
            client: builder
                .build()
                .map_err(|error| format!("issuer: {error}"))?,
            clock,
            state: Mutex::default(),
            asking: Arc::default(),
        })
    }

    /// The key of this id, for this algorithm.
    pub(super) async fn key(
        self: &Arc<Self>,
        id: &str,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, NoKey> {
        let now = self.clock.now();
        let known = self.fetched(now);
        let key_of = |known: &Option<Arc<Fetched>>| {
            let known = known.as_ref()?;
            known.keys.key(id, algorithm).cloned()
        };
        let asking = Arc::clone(&self.asking);
        let turn = match (key_of(&known), Arc::clone(&asking).try_lock_owned()) {
            (Some(key), _) if known.as_ref().is_some_and(|known| is_fresh(known, now)) => {
                return Ok(key);
            }
            // Somebody asks already: nobody else need wait for it.
            (Some(key), Err(_)) => return Ok(key),
            (_, Ok(turn)) => turn,
            (None, Err(_)) => asking.lock_owned().await,
        };
        // It is asked to the end even if whoever began goes away: an answer that nobody waits for must not be lost, since
        // the issuer is left alone for a while after it was asked.
        let source = Arc::clone(self);
        let task = async move {
            let answered = source.ask_again().await;
            drop(turn);
            answered
        };
        let answered = tokio::spawn(task.in_current_span()).await.unwrap_or(false);
        let known = self.fetched(self.clock.now());
        // While it does not answer, it may have the key and not be able to say so.
        key_of(&known).ok_or(if answered {
            NoKey::Unknown
        } else {
            NoKey::Unavailable
        })
    }

    /// What is known, unless it is too old to count.
    fn fetched(&self, now: Millis) -> Option<Arc<Fetched>> {
        let fetched = self.state().fetched.clone();
        fetched.filter(|fetched| age(fetched, now) < STALE_MS)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // No change of it can panic half way through.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the issuer, if it was not asked a moment ago; whether it answered when it was asked last.
    async fn ask_again(&self) -> bool {
        let now = self.clock.now();
        {
            let mut state = self.state();
            // A clock that was set back says nothing of when that was.
            let is_pause = |asked: Millis| (0..PAUSE_MS).contains(&(now.0 - asked.0));
            if state.asked_at.is_some_and(is_pause) {
                return state.answered;
            }
            state.asked_at = Some(now);
        }
        let answer = self.ask().await;
        let mut state = self.state();
        // Whoever waited for this answer does not ask for another one, however long it took.
        state.asked_at = Some(self.clock.now());
        state.answered = answer.is_ok();
        let answered = state.answered;
        match answer {
            Ok(keys) => {
                let is_empty = keys.is_empty();
                state.fetched = Some(Arc::new(Fetched { keys, at: now }));
                drop(state);
                if is_empty {
                    tracing::warn!(
                        issuer = self.issuer.name,
                        "an issuer has taken all its keys back: none of its tokens is taken"
                    );
                }
            }
            Err(error) => {
                drop(state);
                tracing::warn!(
                    issuer = self.issuer.name,
                    error,
                    "the keys of an issuer cannot be had; those that it gave last count for some hours"
                );
            }
        }
        answered
    }

    async fn ask(&self) -> Result<KeySet, String> {
        let json = match (&self.issuer.jwks_file, &self.issuer.jwks_url) {
            (Some(path), _) => read_aside(path)
                .await
                .map_err(|error| format!("{}: {error}", path.display()))?,
            (None, Some(url)) => self.get(url).await?,
            (None, None) => self.get(&self.discovered().await?).await?,
        };
        KeySet::parse(&json)
    }

    /// Where the issuer says its keys are, if that may be.
    async fn discovered(&self) -> Result<String, String> {
        let url = self.issuer.discovery_url();
        let json = self.get(&url).await?;
        let found: Discovered = serde_json::from_slice(&json)
            .map_err(|error| format!("{url} is no discovery document: {error}"))?;
        if found.issuer != self.issuer.issuer {
            return Err(format!("{url} is of another issuer, {:?}", found.issuer));
        }
        if !self.issuer.may_keep_keys_at(&found.jwks_uri) {
            return Err(format!(
                "{url} names {:?} for its keys, which is at another origin: name that in jwks_origins, or set jwks_url",
                found.jwks_uri
            ));
        }
        Ok(found.jwks_uri)
    }

    async fn get(&self, url: &str) -> Result<Vec<u8>, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{url}: {error}");
        let mut request = self.client.get(url).header(ACCEPT, "application/json");
        if let Some(path) = &self.issuer.token_file {
            // Read each time: in a cluster it is renewed every hour.
            let token = read_aside(path).await.map_err(|error| error.to_string());
            let header = token
                .and_then(|token| bearer(&token))
                .map_err(|error| format!("{}: {error}", path.display()))?;
            request = request.header(AUTHORIZATION, header);
        }
        let mut answer = request
            .send()
            .await
            .map_err(|error| wrong(&root_cause(&error)))?;
        if !answer.status().is_success() {
            return Err(wrong(&format!("it answered {}", answer.status())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| wrong(&root_cause(&error)))?
        {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(wrong(&format!("it has more than {MAX_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn asks_with_tls(issuer: &config::Issuer) -> bool {
    let places = issuer.jwks_url.iter().chain(&issuer.jwks_origins);
    let mut places = places.chain([&issuer.issuer]);
    issuer.jwks_file.is_none() && places.any(|url| url.starts_with("https:"))
}

/// A clock that was set back makes nothing younger than it is known to be.
fn age(fetched: &Fetched, now: Millis) -> i64 {
    now.0.saturating_sub(fetched.at.0).max(0)
}

/// Whether keys need not be asked for again. Those from after now are of a clock that was set back since: how old they
/// are is not known.
fn is_fresh(fetched: &Fetched, now: Millis) -> bool {
    (0..FRESH_MS).contains(&now.0.saturating_sub(fetched.at.0))
}

/// The header that shows a token.
fn bearer(token: &[u8]) -> Result<HeaderValue, String> {
    let token = token.trim_ascii();
    if token.is_empty() {
        return Err(String::from("it is empty"));
    }
    let header = [b"Bearer ", token].concat();
    let mut header = HeaderValue::from_bytes(&header).map_err(|error| error.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}

/// Reads a file where a slow disk keeps no request waiting.
async fn read_aside(path: &Path) -> std::io::Result<Vec<u8>> {
    let path = PathBuf::from(path);
    let reading = tokio::task::spawn_blocking(move || read(&path));
    tokio::time::timeout(ANSWER_TIMEOUT, reading).await??
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    std::fs::File::open(path)?
        .take(limit)
        .read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(std::io::Error::other(format!(
            "it has more than {MAX_BYTES} bytes"
        )));
    }
    Ok(bytes)
}

/// The innermost error: the outer ones only say that sending failed.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
