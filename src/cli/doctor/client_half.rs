//! The checks from a client's side, in their order: the API, then the addresses that it names.

use anyhow::Context as _;
use berth::auth::CLOCK_LEEWAY_MS;
use berth::clock::{Clock, Millis};
use reqwest::{StatusCode, Url};

use super::super::client::{Client, connecting_to};
use super::super::connection::{DEFAULT_URL, Target};
use super::super::image::push::registry::base_of;
use super::super::whoami;
use super::artifact::Artifact;
use super::challenge::{self, Visit};
use super::credential::{Credential, trouble};
use super::pull::{Source, Subject};
use super::push;
use super::reach::{Prober, Reply, Silence};
use super::report::{Finding, Report, Trouble};
use super::server_half::Found;

const LOGIN: &str = "API: key";
const CREDENTIAL: &str = "API: credential";
const REGISTRY: &str = "registry";
const PULL_ADDRESS: &str = "pull address";

/// What every later check needs.
struct Login {
    client: Client,
    credential: Credential,
    /// What goes to the pull address, if that is less: the address may be another installation's by mistake.
    credential_to_pull: Option<Credential>,
    artifact: Artifact,
    prober: Prober,
    api: Url,
}

/// Checks as the login's client, and deletes again what that pushed.
pub(super) fn run(
    target: anyhow::Result<Target>,
    server: &Found,
    clock: &Clock,
    report: &mut Report<'_, '_>,
) -> anyhow::Result<()> {
    let target = match target {
        Ok(target) => target,
        Err(error) => {
            let remedy = "correct it, or run `berth login` again";
            let trouble = Trouble::new(format!("{error:#}"), remedy);
            report.tell(LOGIN, Finding::Failed(trouble))?;
            return Ok(());
        }
    };
    let is_named =
        target.api_key.is_some() || target.url.as_str() != Url::parse(DEFAULT_URL)?.as_str();
    if !is_named && !matches!(server, Found::Nothing) {
        let why = "nobody is logged in here: run `berth login`, or name the server by --url and BERTH_API_KEY";
        return Ok(report.skip(&["API", REGISTRY, PULL_ADDRESS], why)?);
    }
    let Some(login) = log_in(target, clock, report)? else {
        return Ok(());
    };
    let pushed_and_pulled = login.registries(report);
    match pushed_and_pulled {
        Ok(true) => push::clean_up(&login.client, &login.artifact, report),
        Ok(false) => Ok(()),
        Err(error) => {
            // What is told of it may not be heard any more; it is deleted all the same.
            let _ = push::clean_up(&login.client, &login.artifact, report);
            Err(error)
        }
    }
}

/// Reaches the API, and gets a credential from it.
fn log_in(
    target: Target,
    clock: &Clock,
    report: &mut Report<'_, '_>,
) -> anyhow::Result<Option<Login>> {
    let prober = Prober::new()?;
    let mut asked = target.url.clone();
    asked
        .path_segments_mut()
        .map_err(|()| anyhow::anyhow!("{} cannot have a path", target.url))?
        .pop_if_empty()
        .extend(["api", "v1", "whoami"]);
    let Some(reply) = prober.reach("API", &asked, report)? else {
        let rest = ["clock", LOGIN, CREDENTIAL, REGISTRY, PULL_ADDRESS];
        report.skip(&rest, "the API is not reached")?;
        return Ok(None);
    };
    report.tell("clock", judge_clock(&reply, clock.now()))?;
    let rest = [CREDENTIAL, REGISTRY, PULL_ADDRESS];
    let Some(api_key) = &target.api_key else {
        if !asks_for_a_key(&reply) {
            let trouble = Trouble::new(
                format!(
                    "{} answers {} and not as Berth does to whoever has no key",
                    target.url, reply.status
                ),
                "see that the URL is that of Berth, and that the proxy passes /api/v1 on",
            );
            report.tell(LOGIN, Finding::Failed(trouble))?;
            report.skip(&rest, "Berth is not reached")?;
            return Ok(None);
        }
        let why = "there is no API key: run `berth login`, or set BERTH_API_KEY";
        report.skip(&[LOGIN], why)?;
        report.skip(&rest, why)?;
        return Ok(None);
    };
    report.begin(LOGIN)?;
    let client = Client::new(&target.url, api_key, target.workspace.clone());
    let known = client.and_then(|client| Ok((client.get(&["whoami"])?, client)));
    let (principal, client) = match known {
        Ok((answer, client)) => (
            serde_json::from_value::<whoami::Principal>(answer).context("whoami")?,
            client,
        ),
        Err(error) => {
            report.tell(LOGIN, Finding::Failed(trouble(&error)))?;
            report.skip(&rest, "the key does not count")?;
            return Ok(None);
        }
    };
    let role = principal.role.unwrap_or_else(|| String::from("unknown"));
    let Some(workspace) = principal.workspace else {
        report.tell(LOGIN, Finding::Ok(format!("{role}, of no workspace")))?;
        let why = "an operator's key neither pulls nor pushes: use a key of a workspace";
        report.skip(&rest, why)?;
        return Ok(None);
    };
    let detail = format!("{role} in workspace {workspace}");
    report.tell(LOGIN, Finding::Ok(detail))?;
    report.begin(CREDENTIAL)?;
    let artifact = Artifact::make()?;
    let asked = Credential::ask(&client, &artifact).and_then(|credential| {
        let is_less = credential.no_push.is_none() && credential.has_pull_address();
        let to_pull = is_less.then(|| Credential::ask_to_pull(&client, &artifact));
        Ok((credential, to_pull.transpose()?))
    });
    match asked {
        Ok((credential, credential_to_pull)) => {
            report.tell(CREDENTIAL, credential.finding())?;
            Ok(Some(Login {
                client,
                credential,
                credential_to_pull,
                artifact,
                prober,
                api: target.url,
            }))
        }
        Err(error) => {
            report.tell(CREDENTIAL, Finding::Failed(trouble(&error)))?;
            report.skip(&rest[1..], "there is no credential to go in with")?;
            Ok(None)
        }
    }
}

impl Login {
    /// Checks the registry and the pull address; whether something may have been pushed.
    fn registries(&self, report: &mut Report<'_, '_>) -> anyhow::Result<bool> {
        let credential = &self.credential;
        let base = base_of(credential.push_host(), &self.api)?;
        let service = self.enter(REGISTRY, &base, None, report)?;
        let (mut may_be_there, mut subject, mut no_subject) = (false, None, None);
        if service.is_none() {
            let why = "the registry cannot be entered";
            report.skip(&[push::PUSH], why)?;
            no_subject = Some(why.to_owned());
        } else if let Some(why) = &credential.no_push {
            let not_made = [push::UPLOAD_ADDRESS, push::PUSH, push::CLEAN_UP];
            report.skip(&not_made, why)?;
            match Subject::existing(&self.client) {
                Ok(Some(found)) => subject = Some(found),
                Ok(None) => no_subject = Some(String::from("the workspace has no image to pull")),
                Err(error) => no_subject = Some(format!("no image is found: {error}")),
            }
        } else {
            let pushed = push::push(&self.artifact, credential, &self.api, &self.prober, report)?;
            may_be_there = pushed.may_be_there;
            if pushed.is_whole {
                subject = Some(Subject::of(&self.artifact));
            } else {
                no_subject = Some(String::from("the push has failed"));
            }
        }
        let pulls = Pulls {
            subject: subject.as_ref(),
            why_not: no_subject.as_deref().unwrap_or_default(),
        };
        self.pulls(&pulls, &base, service.as_deref(), report)?;
        Ok(may_be_there)
    }

    fn pulls(
        &self,
        pulls: &Pulls<'_>,
        base: &Url,
        service: Option<&str>,
        report: &mut Report<'_, '_>,
    ) -> anyhow::Result<()> {
        pulls.at(&self.source(REGISTRY, base), report)?;
        let credential = &self.credential;
        if !credential.has_pull_address() {
            let why = "it is the registry's address: server.pull_url is not set";
            return Ok(report.skip(&[PULL_ADDRESS], why)?);
        }
        let base = base_of(credential.pull_host(), &self.api)?;
        if self.enter(PULL_ADDRESS, &base, service, report)?.is_none() {
            let not_made = ["pull", "read-only"].map(|check| format!("{PULL_ADDRESS}: {check}"));
            let not_made = not_made.each_ref().map(String::as_str);
            return Ok(report.skip(&not_made, "the pull address cannot be entered")?);
        }
        let source = self.source(PULL_ADDRESS, &base);
        pulls.at(&source, report)?;
        let check = format!("{PULL_ADDRESS}: read-only");
        report.begin(&check)?;
        report.tell(&check, source.refuses_writes())?;
        Ok(())
    }

    fn source<'a>(&'a self, who: &'a str, base: &'a Url) -> Source<'a> {
        Source {
            who,
            base,
            credential: self.credential_at(who),
            prober: &self.prober,
        }
    }

    fn credential_at(&self, who: &str) -> &Credential {
        let to_pull = self.credential_to_pull.as_ref();
        to_pull
            .filter(|_| who == PULL_ADDRESS)
            .unwrap_or(&self.credential)
    }

    /// Reaches an address and checks how it lets clients in; the name of its service if it does.
    fn enter(
        &self,
        who: &str,
        base: &Url,
        service: Option<&str>,
        report: &mut Report<'_, '_>,
    ) -> anyhow::Result<Option<String>> {
        let [challenge, realm, token] =
            ["challenge", "realm", "token"].map(|check| format!("{who}: {check}"));
        let mut url = base.clone();
        url.set_path("/v2/");
        let reply = if base.origin() == self.api.origin() {
            // All that lies between has been checked.
            let client = connecting_to(base).build()?;
            self.prober.ask(client.get(url))
        } else {
            match self.prober.reach(who, &url, report)? {
                Some(reply) => Ok(reply),
                None => {
                    let rest = [challenge.as_str(), &realm, &token];
                    report.skip(&rest, "the address is not reached")?;
                    return Ok(None);
                }
            }
        };
        let judged = reply
            .map_err(|silence: Silence| {
                let remedy = "see the logs of the server and of the proxy before it";
                Trouble::new(silence.to_string(), remedy)
            })
            .and_then(|reply| challenge::judge(base, &reply))
            .and_then(|found| of_one_installation(found, service));
        let found = match judged {
            Ok(found) => found,
            Err(trouble) => {
                report.tell(&challenge, Finding::Failed(trouble))?;
                report.skip(&[&realm, &token], "the challenge is not as it should be")?;
                return Ok(None);
            }
        };
        let detail = format!("401 with Bearer, for the service {}", found.service);
        report.tell(&challenge, Finding::Ok(detail))?;
        let is_pull_door = who == PULL_ADDRESS;
        let credential = self.credential_at(who);
        let visit = Visit {
            who,
            base,
            repository: &credential.repository(&credential.image),
            actions: if is_pull_door {
                "pull"
            } else {
                credential.actions()
            },
            credential,
        };
        visit.tokens(&found, &self.prober, report)?;
        Ok(Some(found.service))
    }
}

/// The pulls, or why there are none.
struct Pulls<'a> {
    subject: Option<&'a Subject>,
    why_not: &'a str,
}

impl Pulls<'_> {
    fn at(&self, source: &Source<'_>, report: &mut Report<'_, '_>) -> anyhow::Result<()> {
        match self.subject {
            Some(subject) => source.pull(subject, report),
            None => Ok(report.skip(&[&format!("{}: pull", source.who)], self.why_not)?),
        }
    }
}

fn of_one_installation(
    found: challenge::Challenge,
    service: Option<&str>,
) -> Result<challenge::Challenge, Trouble> {
    match service {
        Some(service) if service != found.service => Err(Trouble::new(
            format!(
                "it is of the service {}, and the registry of {service}",
                found.service
            ),
            "let server.public_url and server.pull_url lead to one installation",
        )),
        Some(_) | None => Ok(found),
    }
}

/// Whether an answer to a request without a key is that of Berth.
fn asks_for_a_key(reply: &Reply) -> bool {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    reply.status == StatusCode::UNAUTHORIZED && body["error"]["code"] == "unauthorized"
}

/// Compares the clocks of both sides. A token that is new to one side must not be over, or not begun, for the other.
fn judge_clock(reply: &Reply, now: Millis) -> Finding {
    let Some(theirs) = Millis::from_http_date(reply.header("date")) else {
        return Finding::Skipped(String::from("the answer has no date"));
    };
    let ahead_ms = now.0 - theirs.0;
    let seconds = ahead_ms.unsigned_abs() / 1000;
    if ahead_ms.abs() <= CLOCK_LEEWAY_MS {
        return Finding::Ok(format!("{seconds} s from the server's"));
    }
    let word = if ahead_ms > 0 { "ahead of" } else { "behind" };
    Finding::Failed(Trouble::new(
        format!("this machine's clock is {seconds} s {word} the server's"),
        "set both clocks, for example by NTP: tokens last minutes, and certificates are judged by the clock",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_be_a_minute_apart() {
        let date = "Thu, 01 Jan 2026 00:00:00 GMT";
        let theirs = Millis::from_http_date(date).unwrap();
        assert_eq!(theirs, Millis(1_767_225_600_000));
        let reply = |date: &str| Reply {
            status: StatusCode::OK,
            headers: [(reqwest::header::DATE, date.parse().unwrap())]
                .into_iter()
                .collect(),
            body: bytes::Bytes::new(),
        };
        let judged = |by_ms| match judge_clock(&reply(date), theirs.plus(by_ms)) {
            Finding::Ok(detail) => detail,
            Finding::Failed(trouble) => trouble.what,
            Finding::Warning(_) | Finding::Skipped(_) => unreachable!(),
        };
        assert_eq!(judged(-60_000), "60 s from the server's");
        assert!(judged(-61_000).contains("61 s behind"));
        assert!(judged(3_600_000).contains("3600 s ahead of"));
        let silent = judge_clock(&reply("yesterday"), theirs);
        assert!(matches!(silent, Finding::Skipped(_)));
    }
}
