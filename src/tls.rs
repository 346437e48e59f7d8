//! The certificate of the doors: read from files, checked, served, and read again when the files change.
//!
//! Owns what TLS needs to know. Knows nothing of HTTP and of connections: the listeners take an acceptor and hand
//! it their sockets.

mod distrust;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode as _;

use crate::clock::{Clock, Millis};
use crate::config;
use crate::telemetry::Metrics;
pub use distrust::Distrust;

/// What ALPN calls HTTP/2.
pub const HTTP2: &[u8] = b"h2";
/// What ALPN calls HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";

/// The largest file that is read, in bytes; a chain with its key has some thousand.
const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

const DAY_MS: i64 = 24 * 3600 * 1000;
/// How long before its end a certificate is warned of, in milliseconds.
const EXPIRY_NOTICE_MS: i64 = 14 * DAY_MS;

/// A certificate that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("{key} names {}: {source}", path.display())]
    Read {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{key} names {}, which {problem}", path.display())]
    Content {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Each file is well formed, but they are not of one pair.
    #[error(
        "the key in {} does not belong to the first certificate in {}; write the server's own certificate first, and \
         give the key it was made with", key.display(), certificate.display()
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    const CERTIFICATE_KEY: &str = "tls.certificate_file";
    const KEY_KEY: &str = "tls.key_file";

    fn of(config: &config::Tls) -> Option<Self> {
        Some(Self {
            certificate: config.certificate_file.clone()?,
            key: config.key_file.clone()?,
        })
    }

    /// Reads both. Every look reads them whole: an exchanged symbolic link, a restored time or a file written in place
    /// look alike to it, and both are small.
    fn read(&self) -> Result<Content, TlsError> {
        Ok(Content {
            certificate: read_file(Self::CERTIFICATE_KEY, &self.certificate)?,
            key: read_file(Self::KEY_KEY, &self.key)?,
        })
    }

    fn pair(&self, content: &Content) -> Result<Pair, TlsError> {
        let problem = |key, path: &Path, problem: String| TlsError::Content {
            key,
            path: path.to_owned(),
            problem,
        };
        let chain = CertificateDer::pem_slice_iter(&content.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| {
                let text =
                    "is not whole: each line of BEGIN needs one of END, and base64 between them";
                problem(Self::CERTIFICATE_KEY, &self.certificate, text.to_owned())
            })?;
        let Some(own) = chain.first() else {
            let text = "holds no certificate; it needs the lines from BEGIN CERTIFICATE to END CERTIFICATE";
            return Err(problem(
                Self::CERTIFICATE_KEY,
                &self.certificate,
                text.to_owned(),
            ));
        };
        let expires = expiry(own);
        // What the parser says is not repeated: it may show a line of the key.
        let key = PrivateKeyDer::from_pem_slice(&content.key).map_err(|_| {
            let text = if is_encrypted(&content.key) {
                "holds a key with a password; write it without one, with: openssl pkey"
            } else {
                "holds no private key in PEM; it needs the lines from BEGIN PRIVATE KEY to END PRIVATE KEY"
            };
            problem(Self::KEY_KEY, &self.key, text.to_owned())
        })?;
        let provider = aws_lc_rs::default_provider();
        match CertifiedKey::from_der(chain, key, &provider) {
            Ok(certified) => Ok(Pair {
                certified: Arc::new(certified),
                expires,
            }),
            Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
                certificate: self.certificate.clone(),
                key: self.key.clone(),
            }),
            Err(rustls::Error::InvalidCertificate(error)) => Err(problem(
                Self::CERTIFICATE_KEY,
                &self.certificate,
                format!("holds a certificate that cannot be used: {error}"),
            )),
            Err(_) => Err(problem(
                Self::KEY_KEY,
                &self.key,
                String::from("holds a key that cannot be used; RSA, ECDSA and Ed25519 can"),
            )),
        }
    }
}

fn read_file(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| {
        file.take(FILE_LIMIT_BYTES + 1)
            .read_to_end(&mut content)
            .map(drop)
    });
    let read = read.and_then(|()| {
        if content.len() as u64 > FILE_LIMIT_BYTES {
            let text = format!("it is larger than {FILE_LIMIT_BYTES} bytes");
            return Err(io::Error::other(text));
        }
        Ok(())
    });
    read.map_err(|source| TlsError::Read {
        key,
        path: path.to_owned(),
        source,
    })?;
    Ok(content)
}

fn is_encrypted(pem: &[u8]) -> bool {
    pem.windows(9).any(|word| word == b"ENCRYPTED")
}

/// When a certificate expires; nothing where that cannot be read, which does not keep anybody from using it.
fn expiry(certificate: &CertificateDer<'_>) -> Option<Millis> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after;
    let milliseconds = end.to_unix_duration().as_millis();
    Some(Millis(i64::try_from(milliseconds).unwrap_or(i64::MAX)))
}

/// What the files hold. Without `Debug`: one of them is a secret.
#[derive(PartialEq, Eq)]
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate with its key, fit to be served.
struct Pair {
    certified: Arc<CertifiedKey>,
    expires: Option<Millis>,
}

/// Checks the files that a configuration names, without serving anything.
///
/// # Errors
///
/// [`TlsError`] for what is wrong with them.
pub fn check(config: &config::Tls) -> Result<(), TlsError> {
    match Files::of(config) {
        Some(files) => files.pair(&files.read()?).map(drop),
        None => Ok(()),
    }
}

/// The certificate that new connections get.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&served))
    }
}

/// The served certificate, and what its files held when they were last looked at.
pub struct Certificates {
    files: Files,
    watch_interval: Duration,
    served: Arc<Served>,
    acceptor: TlsAcceptor,
    looked: Mutex<Looked>,
    clock: Clock,
    metrics: Metrics,
}

/// What the last look found, so that each change is told of once.
struct Looked {
    content: Result<Content, String>,
    expires: Option<Millis>,
    warned_at: Option<Millis>,
}

impl Certificates {
    /// Reads the certificate that a configuration names; nothing if it names none.
    ///
    /// # Errors
    ///
    /// [`TlsError`] for a pair that cannot be served.
    pub fn open(
        config: &config::Tls,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Option<Arc<Self>>, TlsError> {
        let Some(files) = Files::of(config) else {
            return Ok(None);
        };
        let content = files.read()?;
        let pair = files.pair(&content)?;
        let served = Arc::new(Served(RwLock::new(pair.certified)));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let resolver = Arc::clone(&served);
        let mut setup = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        setup.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        // Sessions live with the clients, so that many nodes can resume theirs.
        setup.ticketer = aws_lc_rs::Ticketer::new()?;
        let certificates = Arc::new(Self {
            files,
            watch_interval: Duration::from_secs(config.watch_interval_seconds),
            served,
            acceptor: TlsAcceptor::from(Arc::new(setup)),
            looked: Mutex::new(Looked {
                content: Ok(content),
                expires: None,
                warned_at: None,
            }),
            clock,
            metrics,
        });
        let mut looked = certificates.lock();
        certificates.note_expiry(&mut looked, pair.expires);
        drop(looked);
        Ok(Some(certificates))
    }

    /// What a door needs to speak TLS. It serves whatever certificate there is at the time.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Looks at the files now. What changed and can be served is served from now on; what cannot is told of once, and
    /// the old certificate stays.
    pub async fn reload(self: &Arc<Self>) {
        let this = Arc::clone(self);
        if let Err(error) = tokio::task::spawn_blocking(move || this.look()).await {
            tracing::error!(error = %error, "the look at the certificate did not end in order");
        }
    }

    /// Looks at the files again and again until `stop` says so.
    pub async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut interval = tokio::time::interval(self.watch_interval);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopped = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                _ = interval.tick() => false,
            };
            if stopped {
                return;
            }
            self.reload().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) {
        let content = self.files.read();
        let mut looked = self.lock();
        let unchanged = match (&content, &looked.content) {
            (Ok(now), Ok(before)) => now == before,
            (Err(now), Err(before)) => now.to_string() == *before,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        if unchanged {
            let expires = looked.expires;
            self.note_expiry(&mut looked, expires);
            return;
        }
        let pair = match content {
            Ok(content) => {
                let pair = self.files.pair(&content);
                looked.content = Ok(content);
                pair
            }
            Err(error) => {
                looked.content = Err(error.to_string());
                Err(error)
            }
        };
        match pair {
            Ok(pair) => {
                *self
                    .served
                    .0
                    .write()
                    .unwrap_or_else(PoisonError::into_inner) = pair.certified;
                let expires = pair.expires.map(Millis::rfc3339);
                tracing::info!(expires, "a new certificate is served");
                looked.warned_at = None;
                self.note_expiry(&mut looked, pair.expires);
            }
            Err(error) => {
                tracing::warn!(error = %error, "the new certificate cannot be served: the old one stays");
            }
        }
    }

    /// Publishes when the certificate ends, and warns once a day when that is soon.
    fn note_expiry(&self, looked: &mut Looked, expires: Option<Millis>) {
        looked.expires = expires;
        let Some(expires) = expires else {
            return;
        };
        self.metrics.set_certificate_expiry(expires.seconds());
        let now = self.clock.now();
        if is_notice_due(expires, now, looked.warned_at) {
            looked.warned_at = Some(now);
            tracing::warn!(
                expires = expires.rfc3339(),
                "the certificate expires soon, or has expired: replace it in its files"
            );
        }
    }
}

fn is_notice_due(expires: Millis, now: Millis, warned_at: Option<Millis>) -> bool {
    expires < now.plus(EXPIRY_NOTICE_MS) && warned_at.is_none_or(|at| at.plus(DAY_MS) <= now)
}

#[cfg(test)]
mod tests;
