//! What a registry sends a client to before it lets it in: the challenge, the place of tokens, and a token.

use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::super::client::connecting_to;
use super::credential::Credential;
use super::reach::{Prober, Reply, Silence};
use super::report::{Finding, Report, Trouble};

/// What makes realms and addresses that do not lead back.
pub(super) const PROXY_REMEDY: &str = "set server.public_url (and server.pull_url) to how clients reach the registry; or have the proxy send Host or \
     X-Forwarded-Host, and X-Forwarded-Proto, as clients sent them, and name it in server.trusted_proxies";

/// Where tokens are to be had, and for what.
pub(super) struct Challenge {
    pub(super) realm: Url,
    pub(super) service: String,
}

/// Judges the answer to `/v2/` without a login.
pub(super) fn judge(base: &Url, reply: &Reply) -> Result<Challenge, Trouble> {
    match reply.status {
        StatusCode::UNAUTHORIZED => {}
        StatusCode::OK => {
            return Err(Trouble::new(
                "/v2/ answers 200 to anybody: this is another registry, or something on the way answers in its place",
                "see that the address leads to Berth, and that no proxy adds credentials or answers by itself",
            ));
        }
        StatusCode::NOT_FOUND => {
            return Err(Trouble::new(
                "/v2/ answers 404: there is no registry at this address",
                "see that the proxy passes the path /v2/ on as it is, and that the address is the public or the pull \
                 door and not the one of the API or of operators",
            ));
        }
        status => {
            return Err(Trouble::new(
                format!("/v2/ answers {status} to a client without a login, where 401 was due"),
                "see the logs of the server and of the proxy before it",
            ));
        }
    }
    let all = reply.headers.get_all(WWW_AUTHENTICATE);
    let mut texts = all.iter().filter_map(|value| value.to_str().ok());
    let bearer = texts.find_map(|text| {
        let (scheme, rest) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(rest)
    });
    let read = bearer.and_then(|text| {
        let realm = parameter(text, "realm").and_then(|realm| Url::parse(realm).ok())?;
        let service = parameter(text, "service")?.to_owned();
        Some(Challenge { realm, service })
    });
    let challenge = read.ok_or_else(|| {
        Trouble::new(
            "the 401 of /v2/ does not say where tokens are to be had",
            "see that no proxy asks for a login of its own, nor drops the header WWW-Authenticate",
        )
    })?;
    if base.scheme() == "https" && challenge.realm.scheme() != "https" {
        return Err(Trouble::new(
            format!(
                "clients are sent from https to {} for their tokens, which they refuse",
                origin(&challenge.realm)
            ),
            PROXY_REMEDY,
        ));
    }
    Ok(challenge)
}

/// A parameter of a challenge.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = challenge;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = after;
    }
}

/// Scheme, host and port.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The registry or the pull address, as one who is about to log in there.
pub(super) struct Visit<'a> {
    pub(super) who: &'a str,
    pub(super) base: &'a Url,
    pub(super) repository: &'a str,
    pub(super) actions: &'a str,
    pub(super) credential: &'a Credential,
}

impl Visit<'_> {
    /// Checks that the place of tokens is there, and that a token of it opens this address.
    pub(super) fn tokens(
        &self,
        challenge: &Challenge,
        prober: &Prober,
        report: &mut Report<'_, '_>,
    ) -> anyhow::Result<()> {
        let [realm, token] = ["realm", "token"].map(|check| format!("{}: {check}", self.who));
        if challenge.realm.origin() != self.base.origin() {
            report.begin(&realm)?;
            let found = elsewhere(self.base, &challenge.realm, prober);
            report.tell(&realm, found)?;
            // Whose place that is, nobody knows.
            let why = "the password is not sent to another address";
            return Ok(report.skip(&[&token], why)?);
        }
        report.tell(&realm, Finding::Ok(challenge.realm.to_string()))?;
        report.begin(&token)?;
        let found = self.round_trip(challenge, prober);
        report.tell(&token, found)?;
        Ok(())
    }

    fn round_trip(&self, challenge: &Challenge, prober: &Prober) -> Result<String, Trouble> {
        let client = connecting_to(self.base).build();
        let client = client.map_err(|error| unanswered(&Silence::Broken(error)))?;
        let scope = format!("repository:{}:{}", self.repository, self.actions);
        let mut url = challenge.realm.clone();
        url.query_pairs_mut()
            .append_pair("service", &challenge.service)
            .append_pair("scope", &scope);
        let reply = prober.ask(self.credential.login(client.get(url)));
        let reply = reply.map_err(|silence| unanswered(&silence))?;
        let token = match reply.status {
            StatusCode::OK => serde_json::from_slice::<Token>(&reply.body).map_err(|_| {
                Trouble::new(
                    "the place of tokens answers with something that is no token",
                    "see that the proxy passes /token on to Berth",
                )
            })?,
            status => {
                return Err(Trouble::new(
                    format!(
                        "the place of tokens answers {status} to the password that the API has just issued"
                    ),
                    "see that the proxy passes /token and the header Authorization on, and that both addresses are of \
                     one installation",
                ));
            }
        };
        let mut base = self.base.clone();
        base.set_path("/v2/");
        let with_token = client
            .get(base)
            .header(AUTHORIZATION, format!("Bearer {}", token.token));
        let reply = prober.ask(with_token);
        let reply = reply.map_err(|silence| unanswered(&silence))?;
        if reply.status != StatusCode::OK {
            return Err(Trouble::new(
                format!("/v2/ answers {} to a token that is new", reply.status),
                "see that the proxy passes the header Authorization on; with several servers, that their clocks agree \
                 and that they share a database",
            ));
        }
        Ok(format!("for {} of {}", self.actions, self.repository))
    }
}

/// What of the answer is needed.
#[derive(Deserialize)]
struct Token {
    token: String,
}

fn unanswered(silence: &Silence) -> Trouble {
    Trouble::new(
        silence.to_string(),
        "see the logs of the server and of the proxy before it",
    )
}

/// Whether a place of tokens at another address is at least there.
fn elsewhere(base: &Url, realm: &Url, prober: &Prober) -> Finding {
    let (here, there) = (origin(base), origin(realm));
    let asked = connecting_to(realm)
        .build()
        .map_err(Silence::Broken)
        .and_then(|client| prober.ask(client.get(realm.clone())));
    match asked {
        Ok(_) => Finding::Warning(Trouble::new(
            format!("{here} sends clients to {there} for their tokens"),
            PROXY_REMEDY,
        )),
        Err(silence) => Finding::Failed(Trouble::new(
            format!(
                "{here} sends clients to {there} for their tokens, which is not reached from here: {silence}"
            ),
            PROXY_REMEDY,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_without_tls_is_refused_where_there_is_tls() {
        let challenge = "Bearer realm=\"http://r.example.com/token\",service=\"berth\"";
        let reply = Reply {
            status: StatusCode::UNAUTHORIZED,
            headers: [(WWW_AUTHENTICATE, challenge.parse().unwrap())]
                .into_iter()
                .collect(),
            body: bytes::Bytes::new(),
        };
        let judged = |base: &str| judge(&base.parse().unwrap(), &reply);
        let found = judged("http://r.example.com/").ok().unwrap();
        assert_eq!(found.service, "berth");
        let trouble = judged("https://r.example.com/").err().unwrap();
        assert!(trouble.what.contains("from https to http://r.example.com"));
        assert!(trouble.remedy.contains("X-Forwarded-Proto"));
    }

    #[test]
    fn parameters_are_read_with_and_without_quotes() {
        let challenge = "realm=\"https://r/token?a=b,c\",service=\"berth\", scope=x";
        let read = |name| parameter(challenge, name);
        assert_eq!(read("realm"), Some("https://r/token?a=b,c"));
        assert_eq!(read("Service"), Some("berth"));
        assert_eq!(read("scope"), Some("x"));
        assert_eq!(read("error"), None);
        assert_eq!(parameter("realm=\"unended", "realm"), None);
    }
}
