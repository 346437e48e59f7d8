//! What the doctor says of certificates, and of ports that speak otherwise than was expected.

use std::path::PathBuf;

use berth::http::Door;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

use super::{Diagnosis, Patient, start};
use crate::support::TestRegistry;
use crate::support::database::TestDatabase;

/// An authority, and a server with a certificate of it.
struct Town {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Town {
    fn new() -> Self {
        Self::under("an authority")
    }

    fn under(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.crt"), authority.as_ref().pem()).unwrap();
        Self { folder, authority }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A registry with a certificate for `name`.
    async fn registry(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> TestRegistry {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        std::fs::write(self.file("tls.crt"), certificate.pem()).unwrap();
        std::fs::write(self.file("tls.key"), key.serialize_pem()).unwrap();
        TestRegistry::start_with(TestDatabase::Sqlite, |config| {
            config.tls.certificate_file = Some(self.file("tls.crt"));
            config.tls.key_file = Some(self.file("tls.key"));
            config.tls.watch_interval_seconds = 3600;
        })
        .await
    }

    /// What the doctor says of it, by one who knows the authority.
    async fn asks(&self, registry: &TestRegistry) -> Diagnosis {
        let patient = Patient::at(&registry.url(Door::Public), &registry.main_key());
        let authority = self.file("ca.crt").to_str().unwrap().to_owned();
        patient.with("SSL_CERT_FILE", authority).asks().await
    }
}

const HERE: &str = "127.0.0.1";

#[tokio::test]
async fn a_certificate_that_is_believed_is_well() {
    let town = Town::new();
    let registry = town.registry(HERE, |_| {}).await;
    let diagnosis = town.asks(&registry).await;
    diagnosis
        .is_well()
        .is("ok", "API: TLS", "is believed")
        .is("ok", "registry: realm", "https://127.0.0.1:")
        .ok("registry: push")
        .ok("clean-up");
}

#[tokio::test]
async fn each_reason_for_distrust_has_its_own_words() {
    let town = Town::new();
    let registry = town.registry(HERE, |_| {}).await;
    // Another one of the same name signs otherwise, and is as little known.
    for other in [Town::new(), Town::under("another authority")] {
        let unknown = other.asks(&registry).await;
        unknown
            .fails(
                "API: TLS",
                "authority that is not known here",
                "/etc/docker/certs.d/127.0.0.1:",
            )
            .skips("API: key", "the API is not reached");
    }

    let registry = town.registry("registry.example.com", |_| {}).await;
    let elsewhere = town.asks(&registry).await;
    elsewhere.fails("API: TLS", "and not for 127.0.0.1", "alternative names");
    elsewhere.fails("API: TLS", "registry.example.com", "");

    let registry = town.registry(HERE, |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let registry = registry.await;
    let expired = town.asks(&registry).await;
    expired.fails("API: TLS", "has expired", "renew it");

    let registry = town.registry(HERE, |params| {
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
    });
    let registry = registry.await;
    let early = town.asks(&registry).await;
    early.fails("API: TLS", "is not valid yet", "clock");

    let registry = town.registry(HERE, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let registry = registry.await;
    let authority = town.asks(&registry).await;
    authority.fails("API: TLS", "that of an authority", "CA:FALSE");
}

#[tokio::test]
async fn a_port_that_speaks_otherwise_is_told_from_one_that_is_silent() {
    let registry = start().await;
    let url = registry.url(Door::Public).replacen("http:", "https:", 1);
    let diagnosis = Patient::at(&url, &registry.main_key()).asks().await;
    diagnosis
        .ok("API: connection")
        .fails("API: TLS", "speaks plain HTTP", "insecure-registries");

    let town = Town::new();
    let registry = town.registry(HERE, |_| {}).await;
    let url = registry.url(Door::Public).replacen("https:", "http:", 1);
    let diagnosis = Patient::at(&url, &registry.main_key()).asks().await;
    diagnosis.fails("API: HTTP", "speaks TLS", "https://127.0.0.1:");
}
