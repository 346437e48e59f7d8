//! Whether an address can be reached from here: its name, a connection, TLS, and an answer.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use berth::tls::Distrust;
use bytes::Bytes;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, StatusCode, Url};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::super::client::{connecting_to, root_cause, whole_body};
use super::super::connection::is_loopback;
use super::report::{Finding, Report, Trouble};

/// How long a name may take to resolve.
const NAME_LIMIT: Duration = Duration::from_secs(5);
/// How long one address may take to accept a connection, and how many of a name are tried.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const ADDRESSES_TRIED: usize = 4;
/// How long one answer may take, with its body.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The longest body that is read, in bytes.
pub(super) const BODY_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// An answer, read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    /// A header as text; empty if it is not there.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// Why there was no answer.
pub(super) enum Silence {
    Slow,
    TooLong,
    Broken(reqwest::Error),
}

impl fmt::Display for Silence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow => write!(
                formatter,
                "no answer within {} seconds",
                ANSWER_LIMIT.as_secs()
            ),
            Self::TooLong => write!(formatter, "an answer of more than {BODY_LIMIT_BYTES} bytes"),
            Self::Broken(error) => formatter.write_str(&root_cause(error)),
        }
    }
}

/// Asks, and waits for as long as it may take and no longer.
pub(super) struct Prober {
    runtime: Runtime,
}

impl Prober {
    pub(super) fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        Ok(Self { runtime })
    }

    /// Ends, and waits for nothing: what a disk does not answer may hang for as long as the disk does.
    pub(super) fn leave(self) {
        self.runtime.shutdown_background();
    }

    /// Runs what has limits of its own.
    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Runs what may take no longer than `limit`.
    pub(super) fn run_within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let late = || anyhow::anyhow!("no answer within {} seconds", limit.as_secs());
        let outcome = self.run(async { timeout(limit, work).await });
        outcome.unwrap_or_else(|_| Err(late()))
    }

    /// Sends a request and reads its answer.
    pub(super) fn ask(&self, request: RequestBuilder) -> Result<Reply, Silence> {
        self.run(async {
            timeout(ANSWER_LIMIT, read(request))
                .await
                .unwrap_or(Err(Silence::Slow))
        })
    }

    /// Checks all that lies between here and an answer to a GET of `url`. Nothing of the URL but its host is shown.
    pub(super) fn reach(
        &self,
        who: &str,
        url: &Url,
        report: &mut Report<'_, '_>,
    ) -> anyhow::Result<Option<Reply>> {
        let is_tls = url.scheme() == "https";
        let last = format!("{who}: {}", if is_tls { "TLS" } else { "HTTP" });
        let [name, connection] = ["name", "connection"].map(|check| format!("{who}: {check}"));
        let proxy = proxy_of(url);
        if let Some(proxy) = &proxy {
            let why = format!("the proxy {proxy} does this, by the environment's variables");
            report.skip(&[&name, &connection], &why)?;
        } else {
            report.begin(&name)?;
            let found = self.run(resolve(url));
            let addresses = found.as_deref().unwrap_or_default().to_vec();
            let told = found.map(|_| listed(&addresses));
            if !report.tell(&name, told)? {
                report.skip(&[&connection, &last], "the name does not resolve")?;
                return Ok(None);
            }
            report.begin(&connection)?;
            let connected = self.run(connect(&addresses));
            if !report.tell(&connection, connected)? {
                report.skip(&[&last], "there is no connection")?;
                return Ok(None);
            }
        }
        report.begin(&last)?;
        let client = connecting_to(url).build()?;
        let finding = match self.ask(client.get(url.clone())) {
            Ok(reply) if is_tls => {
                let detail = String::from("the certificate is believed");
                report.tell(&last, Finding::Ok(detail))?;
                return Ok(Some(reply));
            }
            Ok(reply) if reply.status != StatusCode::BAD_REQUEST || !self.speaks_tls(url) => {
                report.tell(&last, unencrypted(url))?;
                return Ok(Some(reply));
            }
            Err(silence) if is_tls => self.without_tls(url, &silence),
            outcome => self.without_http(url, outcome.err()),
        };
        report.tell(&last, Finding::Failed(finding))?;
        Ok(None)
    }

    /// Why a server gave no answer by TLS.
    fn without_tls(&self, url: &Url, silence: &Silence) -> Trouble {
        let distrust = match silence {
            Silence::Broken(error) => Distrust::of(error),
            Silence::Slow | Silence::TooLong => None,
        };
        if let Some(distrust) = distrust.as_ref().filter(|it| it.is_of_certificate()) {
            return distrusted(distrust, url);
        }
        let mut plain = url.clone();
        // A scheme of the same kind; it cannot be refused.
        let _ = plain.set_scheme("http");
        let _ = plain.set_port(url.port_or_known_default());
        plain.set_path("/v2/");
        plain.set_query(None);
        let client = connecting_to(&plain).build();
        let speaks_http = client.is_ok_and(|client| self.ask(client.get(plain)).is_ok());
        if speaks_http {
            return Trouble::new(
                "the port speaks plain HTTP, and TLS was expected",
                format!(
                    "turn TLS on (tls.certificate_file and tls.key_file), or have a proxy do it; to go on without it, \
                     write the URL with http:// and name {} in docker's insecure-registries",
                    authority(url)
                ),
            );
        }
        Trouble::new(
            silence.to_string(),
            "see the server's log, and that nothing on the way changes or cuts the connection",
        )
    }

    /// Why a server gave no answer that can be used by plain HTTP; nothing if it answered 400 to it.
    fn without_http(&self, url: &Url, silence: Option<Silence>) -> Trouble {
        match silence {
            Some(silence) if !self.speaks_tls(url) => Trouble::new(
                silence.to_string(),
                "see the server's log, and that nothing on the way changes or cuts the connection",
            ),
            Some(_) | None => Trouble::new(
                "the port speaks TLS, and plain HTTP was expected",
                format!("write the URL as https://{}", authority(url)),
            ),
        }
    }

    /// Whether a port speaks TLS, by whatever certificate.
    fn speaks_tls(&self, url: &Url) -> bool {
        let mut encrypted = url.clone();
        let _ = encrypted.set_scheme("https");
        let _ = encrypted.set_port(url.port_or_known_default());
        encrypted.set_path("/v2/");
        encrypted.set_query(None);
        // Nothing secret is sent, and nothing that is answered is believed.
        let client = connecting_to(&encrypted)
            .tls_certs_only([])
            .tls_danger_accept_invalid_certs(true)
            .build();
        client.is_ok_and(|client| self.ask(client.get(encrypted)).is_ok())
    }
}

async fn read(request: RequestBuilder) -> Result<Reply, Silence> {
    let mut response = request.send().await.map_err(Silence::Broken)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = whole_body(&mut response, BODY_LIMIT_BYTES).await;
    let body = body.map_err(Silence::Broken)?.ok_or(Silence::TooLong)?;
    Ok(Reply {
        status,
        headers,
        body: body.into(),
    })
}

/// The proxy that requests to this address go by.
fn proxy_of(url: &Url) -> Option<String> {
    if is_loopback(url) {
        return None;
    }
    let proxy = Matcher::from_env().intercept(&url.as_str().parse().ok()?)?;
    // Not all of it: it may hold a password.
    proxy.uri().host().map(str::to_owned)
}

async fn resolve(url: &Url) -> Result<Vec<std::net::SocketAddr>, Trouble> {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or_default();
    let remedy = format!(
        "see that the name is right and that this machine's DNS (or /etc/hosts) knows {host}; nodes and machines \
         outside of a cluster do not know the names of its services"
    );
    let why = match timeout(NAME_LIMIT, lookup_host((bare, port))).await {
        Ok(Ok(found)) => {
            let addresses: Vec<_> = found.take(ADDRESSES_TRIED).collect();
            if !addresses.is_empty() {
                return Ok(addresses);
            }
            String::from("it has no address")
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} seconds", NAME_LIMIT.as_secs()),
    };
    Err(Trouble::new(
        format!("{host} does not resolve: {why}"),
        remedy,
    ))
}

fn listed(addresses: &[std::net::SocketAddr]) -> String {
    let all: Vec<String> = addresses
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    all.join(", ")
}

async fn connect(addresses: &[std::net::SocketAddr]) -> Result<String, Trouble> {
    let mut why = Vec::new();
    for address in addresses {
        match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(address.to_string()),
            Ok(Err(error)) => why.push(format!("{address}: {error}")),
            Err(_) => why.push(format!(
                "{address}: no answer within {} seconds",
                CONNECT_LIMIT.as_secs()
            )),
        }
    }
    Err(Trouble::new(
        why.join("; "),
        "see that the server runs and listens on this port of an address that others reach (127.0.0.1 is this machine \
         alone), and that no firewall or network policy is between",
    ))
}

/// What is said of an answer without TLS.
fn unencrypted(url: &Url) -> Finding {
    if is_loopback(url) {
        return Finding::Ok(String::from(
            "it answers; on this machine, TLS is not needed",
        ));
    }
    Finding::Warning(Trouble::new(
        "it answers, without TLS: passwords and images travel where others can read them",
        format!(
            "turn TLS on; until then, docker and podman refuse {} unless it is among their insecure registries",
            authority(url)
        ),
    ))
}

/// What a certificate that is not believed means.
fn distrusted(distrust: &Distrust, url: &Url) -> Trouble {
    let host = url.host_str().unwrap_or_default();
    let at = authority(url);
    match distrust {
        Distrust::Expired => Trouble::new(
            "the certificate has expired",
            "renew it: the server reads the new files by itself; if it has not ended yet, this machine's clock is wrong",
        ),
        Distrust::NotYetValid => Trouble::new(
            "the certificate is not valid yet",
            "set this machine's clock, for example by NTP; if it is right, wait or get another certificate",
        ),
        Distrust::UnknownAuthority => Trouble::new(
            "the certificate is signed by an authority that is not known here",
            format!(
                "make the authority known: to this machine in its store of certificates (or by SSL_CERT_FILE), to docker \
                 in /etc/docker/certs.d/{at}/ca.crt, to podman in /etc/containers/certs.d/{at}/ca.crt; if the \
                 authority is a public one, the server's file lacks the certificates between"
            ),
        ),
        Distrust::OtherName(names) => Trouble::new(
            match names.as_slice() {
                [] => format!("the certificate is not for {host}"),
                names => format!(
                    "the certificate is for {}, and not for {host}",
                    names.join(", ")
                ),
            },
            "use the name that it is for, or get one that has this name (or address) among its alternative names",
        ),
        Distrust::NoServer => Trouble::new(
            "the certificate is that of an authority, and not of a server",
            "have the authority sign one for the server (with CA:FALSE), and serve that one",
        ),
        Distrust::Unusable(why) | Distrust::NoTls(why) => Trouble::new(
            format!("the certificate cannot be believed: {why}"),
            "get another certificate for the server",
        ),
    }
}

/// Host and port as clients write them.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
