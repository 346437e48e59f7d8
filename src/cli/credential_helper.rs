//! `docker-credential-berth`: the program under the name by which docker, podman and their kin ask for passwords.
//!
//! It stores nothing: each time it gets a short-lived credential with the key of `berth login`. The protocol is that of
//! github.com/docker/docker-credential-helpers: one word as argument, a host or JSON on standard input, and every
//! answer, errors too, on standard output. docker throws most of those errors away and goes on without a password, so
//! they are said on standard error as well, which it passes through.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;
use berth::config::Secret;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::client::{Client, ClientError};
use super::connection::{Server, Target};
use super::output::plain;
use super::registries::{self, Registries, authority, host_of};

/// The name that docker derives from the word `berth` in `credHelpers`.
pub(super) const PROGRAM: &str = "docker-credential-berth";

/// What stands for this program in `credHelpers`.
pub(super) const HELPER: &str = "berth";

/// The most that is read of what a client says, in bytes: a host, or a host, a user name and a password.
const INPUT_LIMIT_BYTES: u64 = 64 * 1024;

/// Sentences that clients compare, word for word.
const NOT_FOUND: &str = "credentials not found in native keychain";
const NO_SERVER_URL: &str = "no credentials server URL";
const NO_USERNAME: &str = "no credentials username";

const USAGE: &str = "Usage: docker-credential-berth <store|get|erase|list|version>";

/// How a request of a client ended.
enum Reply {
    /// It is answered.
    Answer(String),
    /// It is done.
    Done,
    /// It is refused in a way that only the client need know.
    Silent(&'static str),
}

/// What a client stores.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Stored {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
}

/// What of a credential matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    push_registry: String,
    pull_registry: String,
    username: String,
    password: Secret,
}

/// Whether the program was started under the helper's name.
pub(super) fn is_meant(arguments: &[OsString]) -> bool {
    arguments
        .first()
        .and_then(|path| Path::new(path).file_name())
        .is_some_and(|name| name == PROGRAM)
}

/// Answers one request; the exit code is 0, or 1 for a refusal.
pub(super) fn run(arguments: &[OsString], context: &mut Context<'_>) -> u8 {
    let action = match arguments {
        [action] => action.to_str().unwrap_or_default(),
        _ => "",
    };
    let reply = match action {
        "get" => get(context),
        "store" => store(context),
        "erase" => erase(context),
        "list" => list(context),
        "version" | "--version" | "-v" => Ok(Reply::Answer(format!(
            "{PROGRAM} (berth) {}",
            env!("CARGO_PKG_VERSION")
        ))),
        "--help" | "-h" => Ok(Reply::Answer(USAGE.to_owned())),
        _ => Ok(Reply::Silent(USAGE)),
    };
    // A client that went away needs no answer.
    match reply {
        Ok(Reply::Answer(text)) => {
            let _ = context.output.line(&text);
            0
        }
        Ok(Reply::Done) => 0,
        Ok(Reply::Silent(text)) => {
            let _ = context.output.line(text);
            1
        }
        Err(error) => {
            let text = plain(&format!("{error:#}"));
            let _ = context.output.line(&text);
            let _ = context.output.note(&format!("{PROGRAM}: {text}"));
            1
        }
    }
}

fn get(context: &mut Context<'_>) -> anyhow::Result<Reply> {
    let asked = input(context)?;
    let host = host(&asked);
    if host.is_empty() {
        return Ok(Reply::Silent(NO_SERVER_URL));
    }
    let (target, registries) = known(context)?;
    let of_login = registries.of(&target.url);
    let own = of_login.is_some_and(|registry| registry.has(host))
        || (target.api_key.is_some() && is_of(&target, host));
    if !own {
        return match registries.with_host(host) {
            None => Ok(Reply::Silent(NOT_FOUND)),
            Some(other) => anyhow::bail!(
                "{host} is the registry of {0}, where nobody is logged in now: run `berth login --url {0}`",
                other.url
            ),
        };
    }
    let url = target.url.as_str().trim_end_matches('/').to_owned();
    let key = target.api_key.as_ref().with_context(|| {
        format!("nobody is logged in to {url}: run `berth login`, or set BERTH_API_KEY")
    })?;
    let client = Client::new(&target.url, key, target.workspace.clone())?;
    let credential = credential(&client)?;
    let still_own = [&credential.push_registry, &credential.pull_registry]
        .into_iter()
        .any(|registry| host_of(registry).eq_ignore_ascii_case(host));
    anyhow::ensure!(
        still_own || is_of(&target, host),
        "{host} is no longer a registry of {url}: run `berth configure-docker` again"
    );
    let answer = json!({
        "ServerURL": asked, "Username": credential.username, "Secret": credential.password.expose(),
    });
    Ok(Reply::Answer(answer.to_string()))
}

/// Asks for a credential that reaches the whole workspace: docker does not say what it is for.
fn credential(client: &Client) -> anyhow::Result<Credential> {
    let answer = client.post(&["registry", "credentials"], &json!({}));
    let answer = match answer {
        Err(ClientError::Refused(refusal)) if refusal.code == "unauthorized" => {
            anyhow::bail!("{refusal}: run `berth login`, or set BERTH_API_KEY anew")
        }
        answer => answer?,
    };
    serde_json::from_value(answer).context("the server's answer is not a credential")
}

/// What `docker login` asks for once it has checked a password. Saying yes would let a person believe that docker uses
/// it from now on.
fn store(context: &mut Context<'_>) -> anyhow::Result<Reply> {
    let stored: Stored =
        serde_json::from_str(&input(context)?).context("what is to be stored is not JSON")?;
    if stored.server_url.is_empty() {
        return Ok(Reply::Silent(NO_SERVER_URL));
    }
    if stored.username.is_empty() {
        return Ok(Reply::Silent(NO_USERNAME));
    }
    anyhow::bail!(
        "nothing is stored for {0}: no login is needed here, since a short-lived credential is made with the key of \
         `berth login` each time; to use a password of your own, run `berth configure-docker --remove` first",
        host(&stored.server_url)
    )
}

/// What `docker logout` asks for. There is nothing to erase, and a helper that refuses makes podman 4.3 crash.
fn erase(context: &mut Context<'_>) -> anyhow::Result<Reply> {
    let asked = input(context)?;
    let host = host(&asked);
    if host.is_empty() {
        return Ok(Reply::Silent(NO_SERVER_URL));
    }
    context.output.note(&plain(&format!(
        "{PROGRAM}: nothing was stored for {host}, and the key of `berth login` still lets you in: `berth logout` or \
         `berth configure-docker --remove` ends that"
    )))?;
    Ok(Reply::Done)
}

/// The hosts that `get` has an answer for, and the user name that goes with each.
fn list(context: &mut Context<'_>) -> anyhow::Result<Reply> {
    let (target, registries) = known(context)?;
    let mut hosts = Map::new();
    if target.api_key.is_some() {
        // Its user name is known when somebody asks for the password.
        hosts.insert(authority(&target.url), Value::from(HELPER));
        if let Some(registry) = registries.of(&target.url) {
            let username = Value::from(registry.username.as_str());
            hosts.extend(
                registry
                    .hosts
                    .iter()
                    .map(|host| (host.clone(), username.clone())),
            );
        }
    }
    Ok(Reply::Answer(Value::Object(hosts).to_string()))
}

/// Who is logged in where, and what is known of registries.
fn known(context: &Context<'_>) -> anyhow::Result<(Target, Registries)> {
    let target = Server::from_environment().target(context)?;
    let registries = registries::path(context)
        .map(|path| Registries::load(&path))
        .transpose()?;
    Ok((target, registries.unwrap_or_default()))
}

/// Whether `host` is where the API key goes anyway.
fn is_of(target: &Target, host: &str) -> bool {
    authority(&target.url).eq_ignore_ascii_case(host)
}

/// What a client says on standard input.
fn input(context: &mut Context<'_>) -> io::Result<String> {
    let mut text = String::new();
    let input = &mut *context.input;
    input.take(INPUT_LIMIT_BYTES).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// The host of a registry as clients name it: most say the host alone, some a URL.
fn host(asked: &str) -> &str {
    let rest = asked
        .strip_prefix("https://")
        .or_else(|| asked.strip_prefix("http://"))
        .unwrap_or(asked);
    host_of(rest)
}
