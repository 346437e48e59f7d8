//! The engine behind TCP, with TLS that asks for a certificate of the client or without.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpListener, UnixStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::docker;

/// It takes connections until it is dropped.
pub(crate) struct TcpEngine {
    /// `host:port`.
    pub(crate) address: String,
    _runtime: Runtime,
}

impl TcpEngine {
    /// The shared engine behind plain TCP.
    pub(crate) fn plain() -> Self {
        Self::start(None)
    }

    /// The same behind TLS for whoever has the files in `folder`, which are put there as docker names them.
    pub(crate) fn with_tls(folder: &Path) -> Self {
        let key = KeyPair::generate().expect("a key is made");
        let params = CertificateParams::new([String::from("127.0.0.1")]).expect("a name is right");
        // One certificate that both sides believe: its own authority, and each side's proof.
        let certificate = params.self_signed(&key).expect("it is signed");
        std::fs::create_dir_all(folder).expect("a folder is made");
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        for (name, text) in [("ca", &certificate), ("cert", &certificate), ("key", &key)] {
            let path = folder.join(name).with_extension("pem");
            std::fs::write(path, text).expect("a small file is written");
        }
        Self::start(Some(acceptor(&certificate, &key)))
    }

    fn start(tls: Option<TlsAcceptor>) -> Self {
        let address = docker::engine_address();
        let socket = PathBuf::from(address.trim_start_matches("unix://"));
        let runtime = Runtime::new().expect("a runtime starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, socket) = (tls.clone(), socket.clone());
                tokio::spawn(async move {
                    match tls {
                        None => forward(stream, &socket).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                forward(stream, &socket).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address: address.to_string(),
            _runtime: runtime,
        }
    }
}

/// Carries bytes both ways until one side ends.
async fn forward(mut stream: impl AsyncRead + AsyncWrite + Unpin, socket: &Path) {
    if let Ok(mut engine) = UnixStream::connect(socket).await {
        // Either side may hang up at any time.
        let _ = copy_bidirectional(&mut stream, &mut engine).await;
    }
}

fn acceptor(certificate: &str, key: &str) -> TlsAcceptor {
    let own = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("it is PEM");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("it is PEM");
    let mut believed = RootCertStore::empty();
    believed.add(own.clone()).expect("it is a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(believed), Arc::clone(&provider));
    let clients = clients.build().expect("there is an authority");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_client_cert_verifier(clients)
        .with_single_cert(vec![own], key)
        .expect("they belong together");
    TlsAcceptor::from(Arc::new(config))
}
