//! Where the Docker daemon listens: DOCKER_HOST, else the context that is in use, else the usual socket. The order and
//! the files are the docker command's own.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use berth_storage::{Digest, DigestAlgorithm};
use reqwest::Url;
use serde::Deserialize;

use super::super::Context;
use super::config_folder;

/// Where a daemon listens unless something else is said.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// The context that stands for no context.
const DEFAULT_CONTEXT: &str = "default";

/// The ports of a daemon behind TCP, without and with TLS.
const PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// The largest file that is read, in bytes.
const FILE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// One way to a daemon.
pub(in crate::cli) struct Endpoint {
    /// As the docker command writes it.
    pub(in crate::cli) address: String,
    pub(super) transport: Transport,
}

/// How bytes get there.
pub(super) enum Transport {
    Unix(PathBuf),
    Tcp(Url),
    Tls(Url, TlsFiles),
}

/// What both sides of a TLS connection show.
pub(super) struct TlsFiles {
    pub(super) authority: Vec<u8>,
    /// The client's certificate and its key.
    pub(super) identity: Vec<u8>,
}

/// What of docker's config.json matters here.
#[derive(Default, Deserialize)]
struct Config {
    #[serde(rename = "currentContext")]
    current_context: Option<String>,
}

/// The file of a context.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    endpoints: Endpoints,
}

#[derive(Deserialize)]
struct Endpoints {
    docker: DockerEndpoint,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEndpoint {
    host: String,
}

impl Endpoint {
    /// The daemon that the docker command would speak to.
    pub(in crate::cli) fn find(context: &Context<'_>) -> anyhow::Result<Self> {
        if let Some(host) = context.variable("DOCKER_HOST") {
            return Self::of_environment(context, host);
        }
        let folder = config_folder(context);
        let name = match (context.variable("DOCKER_CONTEXT"), &folder) {
            (Some(name), _) => Some(name.to_owned()),
            (None, Some(folder)) => current_context(folder)?,
            (None, None) => None,
        };
        match (
            name.filter(|name| !name.is_empty() && name != DEFAULT_CONTEXT),
            folder,
        ) {
            (None, _) => Self::of_environment(context, DEFAULT_HOST),
            (Some(name), Some(folder)) => of_context(&folder, &name)
                .with_context(|| format!("cannot use the docker context {name:?}")),
            (Some(name), None) => anyhow::bail!(
                "cannot find the docker context {name:?}: neither DOCKER_CONFIG nor HOME is set"
            ),
        }
    }

    fn of_environment(context: &Context<'_>, host: &str) -> anyhow::Result<Self> {
        let tls = || {
            let folder = context
                .variable("DOCKER_CERT_PATH")
                .map(PathBuf::from)
                .or_else(|| config_folder(context))
                .context("DOCKER_TLS_VERIFY needs the certificates that DOCKER_CERT_PATH names")?;
            TlsFiles::load(&folder).map(Some)
        };
        let verify = context.variable("DOCKER_TLS_VERIFY").is_some();
        Self::new(host, || if verify { tls() } else { Ok(None) })
    }

    /// Parses an address; `tls` is asked for an address to which TLS may be spoken.
    fn new(
        address: &str,
        tls: impl FnOnce() -> anyhow::Result<Option<TlsFiles>>,
    ) -> anyhow::Result<Self> {
        let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
        let transport = match scheme {
            "unix" if rest.starts_with('/') => Transport::Unix(PathBuf::from(rest)),
            "tcp" | "http" | "https" => {
                let tls = tls()?;
                let (scheme, port) = match tls {
                    Some(_) => ("https", TLS_PORT),
                    None => ("http", PORT),
                };
                let parse = |scheme: &str| {
                    Url::parse(&format!("{scheme}://{rest}"))
                        .ok()
                        .filter(Url::has_host)
                        .with_context(|| format!("{address:?} is not the address of a daemon"))
                };
                // A scheme of the web would hide whether its own port was named.
                let port = parse("tcp")?.port().unwrap_or(port);
                let mut url = parse(scheme)?;
                // Whatever has a host can have a port.
                let _ = url.set_port(Some(port));
                match tls {
                    Some(files) => Transport::Tls(url, files),
                    None => Transport::Tcp(url),
                }
            }
            "ssh" => anyhow::bail!(
                "{address} is behind ssh, which is not spoken here: run `berth configure-docker` once and push with \
                 `docker push`"
            ),
            _ => anyhow::bail!(
                "{address:?} is not the address of a daemon; write one such as {DEFAULT_HOST} or tcp://127.0.0.1:{PORT}"
            ),
        };
        Ok(Self {
            address: address.to_owned(),
            transport,
        })
    }
}

impl TlsFiles {
    fn load(folder: &Path) -> anyhow::Result<Self> {
        let file = |name: &str| {
            let path = folder.join(name);
            read(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let mut identity = file("cert.pem")?;
        identity.push(b'\n');
        identity.extend(file("key.pem")?);
        Ok(Self {
            authority: file("ca.pem")?,
            identity,
        })
    }
}

/// The context that docker's config.json names.
fn current_context(folder: &Path) -> anyhow::Result<Option<String>> {
    let path = folder.join("config.json");
    let text = match read(&path) {
        Ok(text) if !text.trim_ascii().is_empty() => text,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    // The parser's own words could repeat a password.
    let config: Config = serde_json::from_slice(&text)
        .map_err(|_| anyhow::anyhow!("{} is not what docker writes", path.display()))?;
    Ok(config.current_context)
}

/// The daemon of a context, which docker keeps in folders that are named by the digest of its name.
fn of_context(folder: &Path, name: &str) -> anyhow::Result<Endpoint> {
    let id = Digest::of(DigestAlgorithm::Sha256, name.as_bytes()).hex();
    let contexts = folder.join("contexts");
    let path = contexts.join("meta").join(&id).join("meta.json");
    let text = read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let meta: Meta = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not what docker writes", path.display()))?;
    let certificates = contexts.join("tls").join(&id).join("docker");
    Endpoint::new(&meta.endpoints.docker.host, || {
        let tls = certificates.is_dir();
        tls.then(|| TlsFiles::load(&certificates)).transpose()
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?
        .take(FILE_LIMIT_BYTES)
        .read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> Result<String, String> {
        match Endpoint::new(address, || Ok(None)) {
            Ok(endpoint) => Ok(match endpoint.transport {
                Transport::Unix(path) => format!("socket {}", path.display()),
                Transport::Tcp(url) | Transport::Tls(url, _) => url.to_string(),
            }),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn addresses_are_those_of_the_docker_command() {
        for (address, meant) in [
            ("unix:///run/docker.sock", "socket /run/docker.sock"),
            ("tcp://127.0.0.1", "http://127.0.0.1:2375/"),
            ("tcp://127.0.0.1:80", "http://127.0.0.1/"),
            ("tcp://[::1]:9000", "http://[::1]:9000/"),
            ("http://box:1234/docker", "http://box:1234/docker"),
        ] {
            assert_eq!(shown(address).as_deref(), Ok(meant), "{address}");
        }
        for (address, word) in [
            ("ssh://me@box", "docker push"),
            ("unix://docker.sock", "is not the address of a daemon"),
            ("/run/docker.sock", "is not the address of a daemon"),
            ("npipe:////./pipe/docker", "is not the address of a daemon"),
            ("tcp://", "is not the address of a daemon"),
            ("", "is not the address of a daemon"),
        ] {
            let error = shown(address).unwrap_err();
            assert!(error.contains(word), "{address}: {error}");
        }
    }

    #[test]
    fn a_context_is_found_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let id = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let meta = folder.path().join("contexts/meta").join(id);
        fs::create_dir_all(&meta).unwrap();
        fs::write(
            meta.join("meta.json"),
            r#"{"Name":"secret","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///x.sock","SkipTLSVerify":false}}}"#,
        )
        .unwrap();
        let found = of_context(folder.path(), "secret").unwrap();
        assert_eq!(found.address, "unix:///x.sock");
        fs::write(
            folder.path().join("config.json"),
            r#"{"auths":{},"currentContext":"secret"}"#,
        )
        .unwrap();
        assert_eq!(
            current_context(folder.path()).unwrap().as_deref(),
            Some("secret")
        );
        assert!(of_context(folder.path(), "other").is_err());
    }
}
