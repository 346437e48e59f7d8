//! `berth-credential-provider`: the program as the kubelet's image credential provider.
//!
//! The kubelet asks it for a password before a pull, with the token of the pod's service account. It exchanges that token at
//! the registry for a credential of exactly the image that is about to be pulled. Where it asks is configured, and never
//! follows from the image. The protocol is that of `credentialprovider.kubelet.k8s.io/v1`: JSON on standard input and
//! output; what goes wrong is said on standard error, which the kubelet writes into its log.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use berth::config::Secret;
use berth::oci::{RepositoryName, WrittenReference};
use clap::Args;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Certificate, Response, StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::client::{connecting_to, root_cause, whole_body};
use super::connection::{is_loopback, parse_url};
use super::registries::authority;

/// The name that the kubelet's configuration gives it.
const PROGRAM: &str = "berth-credential-provider";
/// The command that this name stands for.
const COMMAND: &str = "kubelet-credential-provider";

const API_VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";
const REQUEST: &str = "CredentialProviderRequest";
const RESPONSE: &str = "CredentialProviderResponse";

const PATH: [&str; 4] = ["api", "v1", "registry", "token-exchange"];
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The most that is read of a request, in bytes: a token, the image, and the annotations of a service account.
const REQUEST_LIMIT_BYTES: u64 = 512 * 1024;
/// The largest answer that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024;
/// The largest file of certificates that is read, in bytes.
const CA_LIMIT_BYTES: u64 = 1024 * 1024;
/// The kubelet waits a minute for its providers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Answer the kubelet's request for the password of an image
#[derive(Args)]
#[command(after_help = "\
Examples:
  berth-credential-provider --url https://registry.example.com
  berth-credential-provider --url https://registry.example.com --registry 127.0.0.1:30501

The kubelet runs it under the name berth-credential-provider, with these flags as
`args` of its configuration; docs/kubernetes.md has all of it.")]
pub(super) struct KubeletCredentialProvider {
    /// The URL that tokens are exchanged at [env: BERTH_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// A host, with its port, that images of this registry begin with, beside the one of the URL; may be repeated
    #[arg(long = "registry", value_name = "HOST")]
    registries: Vec<String>,
    /// The only authorities that the server's certificate may come from, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Send the service account's token without encryption if the URL says so
    #[arg(long)]
    allow_http: bool,
}

/// What of a request matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    image: String,
    service_account_token: Option<Secret>,
}

/// What of a credential matters here.
#[derive(Deserialize)]
struct Credential {
    access_token: Secret,
    username: String,
    expires_in: u64,
}

/// An error of OAuth.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The command that the program's name stands for, where it is the provider's.
pub(super) fn meant(arguments: Vec<OsString>) -> Vec<OsString> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name != Some(OsStr::new(PROGRAM)) {
        return arguments;
    }
    let mut rest = arguments.into_iter();
    let program = rest.next();
    let command = program.into_iter().chain([OsString::from(COMMAND)]);
    command.chain(rest).collect()
}

impl KubeletCredentialProvider {
    pub(super) fn run(self, context: &mut Context<'_>) -> anyhow::Result<()> {
        let request = read(context)?;
        let url = self
            .url
            .as_deref()
            .or_else(|| context.variable("BERTH_URL"));
        let url = url.context(
            "no URL: add --url https://registry.example.com to the args of this provider in the kubelet's configuration",
        )?;
        let url = parse_url(url)?;
        let is_open = url.scheme() == "http" && !is_loopback(&url);
        anyhow::ensure!(
            !is_open || self.allow_http,
            "the service account's token would travel to {} where everybody on the way can read it: write an https URL, or \
             add --allow-http to the args if the network is to be trusted",
            url.host_str().unwrap_or_default()
        );
        if let Some(registry) = self.registries.iter().find(|host| host.contains('/')) {
            anyhow::bail!(
                "--registry is {registry:?}, and no image's host is that: write it with its port alone, such as 127.0.0.1:30501"
            );
        }
        let (host, repository) = self.image(&request.image, &url)?;
        let token = request
            .service_account_token
            .filter(|token| !token.expose().is_empty())
            .context(
                "the kubelet sent no token of a service account: give this provider tokenAttributes in its configuration; a \
                 static pod has no service account",
            )?;
        let scope = format!("repository:{repository}:pull");
        let credential = self.exchange(&url, &token, &scope)?;
        let answer = json!({
            "apiVersion": API_VERSION,
            "kind": RESPONSE,
            // It is for this image alone: another one of the same registry needs another.
            "cacheKeyType": "Image",
            // Whoever begins a pull with it has as much time again to end it.
            "cacheDuration": format!("{}s", credential.expires_in / 2),
            "auth": {
                format!("{host}/{repository}"): {
                    "username": credential.username, "password": credential.access_token.expose(),
                },
            },
        });
        context.output.line(&answer.to_string())?;
        Ok(())
    }

    /// Host and repository of an image, if it is one of this registry.
    fn image(&self, image: &str, url: &Url) -> anyhow::Result<(String, RepositoryName)> {
        let name = image.split('@').next().unwrap_or_default();
        let WrittenReference { host, name, .. } = WrittenReference::split(name);
        let own = authority(url);
        let hosts: Vec<&str> = std::iter::once(own.as_str())
            .chain(self.registries.iter().map(String::as_str))
            .collect();
        let is_own = |host: &&str| hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
        let host = host.filter(is_own).with_context(|| {
            format!(
                "{image:?} is not an image of {}: take it out of matchImages, or name its host by --registry",
                hosts.join(" or ")
            )
        })?;
        let repository = name
            .parse()
            .with_context(|| format!("{image:?} is not an image of this registry"))?;
        Ok((host.to_owned(), repository))
    }

    fn exchange(&self, base: &Url, token: &Secret, scope: &str) -> anyhow::Result<Credential> {
        let mut builder = connecting_to(base)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT);
        if let Some(path) = &self.ca_file {
            builder = builder.tls_certs_only(certificates(path)?);
        }
        if base.scheme() == "http" {
            // A proxy would read the token too.
            builder = builder.no_proxy();
        }
        let client = builder.build().context("cannot set up the connection")?;
        let mut url = base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{base} cannot have a path"))?
            .pop_if_empty()
            .extend(PATH);
        let form = serde_urlencoded::to_string([
            ("grant_type", GRANT_TYPE),
            ("subject_token_type", JWT),
            ("subject_token", token.expose()),
            ("scope", scope),
        ])?;
        let request = client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let unreachable = |error: reqwest::Error| {
            let reason = if error.is_timeout() {
                String::from("no answer in time")
            } else {
                root_cause(&error)
            };
            anyhow::anyhow!("cannot reach {url}: {reason}")
        };
        runtime.block_on(async {
            let mut response = request.send().await.map_err(unreachable)?;
            let body = whole_body(&mut response, ANSWER_LIMIT_BYTES).await;
            let body = body.map_err(unreachable)?;
            answer(&url, &response, body.as_deref())
        })
    }
}

fn answer(url: &Url, response: &Response, body: Option<&[u8]>) -> anyhow::Result<Credential> {
    let status = response.status();
    let location = response.headers().get(LOCATION);
    if let Some(location) = location.filter(|_| status.is_redirection()) {
        let location = location.to_str().unwrap_or_default();
        anyhow::bail!("{url} redirects to {location:?}; give this provider the URL itself");
    }
    let body = body.unwrap_or_default();
    if status == StatusCode::OK
        && let Ok(credential) = serde_json::from_slice(body)
    {
        return Ok(credential);
    }
    if let Ok(Refusal {
        error,
        error_description,
    }) = serde_json::from_slice(body)
    {
        anyhow::bail!(
            "the registry gives no credential: {} ({})",
            one_line(&error_description),
            one_line(&error)
        );
    }
    anyhow::bail!("{url} answered {status} with something that is not Berth's; check the URL")
}

/// What a server says, as it may stand in one line of the kubelet's log.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// What the kubelet asks, if it is of the version that is spoken here.
fn read(context: &mut Context<'_>) -> anyhow::Result<Request> {
    let mut text = Vec::new();
    let mut input = Read::take(&mut *context.input, REQUEST_LIMIT_BYTES + 1);
    input.read_to_end(&mut text)?;
    anyhow::ensure!(
        text.len() as u64 <= REQUEST_LIMIT_BYTES,
        "the request has more than {REQUEST_LIMIT_BYTES} bytes"
    );
    // The parser's message is not shown: it could repeat a part of the token.
    let request: Request = serde_json::from_slice(&text).map_err(|_| {
        anyhow::anyhow!("standard input has no {REQUEST} in JSON: the kubelet runs this program")
    })?;
    anyhow::ensure!(
        request.kind == REQUEST && request.api_version == API_VERSION,
        "this answers a {REQUEST} of {API_VERSION}, and not a {:?} of {:?}: set apiVersion of the provider in the kubelet's \
         configuration",
        request.kind,
        request.api_version
    );
    Ok(request)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let read = || -> anyhow::Result<Vec<Certificate>> {
        let mut pem = Vec::new();
        let mut file = std::fs::File::open(path)?.take(CA_LIMIT_BYTES);
        file.read_to_end(&mut pem)?;
        let certificates = Certificate::from_pem_bundle(&pem)?;
        anyhow::ensure!(!certificates.is_empty(), "it has no certificate in PEM");
        Ok(certificates)
    };
    read().with_context(|| format!("cannot use {}", path.display()))
}
