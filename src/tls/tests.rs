//! Tests of the files of a certificate: what is refused, what is served, and what a change does.

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// 2026-01-01T00:00:00Z.
const NOW: Millis = Millis(1_767_225_600_000);
const EXPIRY: &str = "berth_tls_certificate_expires_seconds";

/// A certificate of its own and its key, in PEM, which ends so many days after [`NOW`].
fn made(days: i64) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![String::from("localhost")]).unwrap();
    // The unit is checked with a whole number of seconds.
    let end = jiff::Timestamp::from_millisecond(NOW.plus(days * DAY_MS).0).unwrap();
    let date = end.to_zoned(jiff::tz::TimeZone::UTC).date();
    params.not_after = rcgen::date_time_ymd(
        i32::from(date.year()),
        u8::try_from(date.month()).unwrap(),
        u8::try_from(date.day()).unwrap(),
    );
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, (certificate, key): &(String, String)) {
        std::fs::write(self.0.path().join("tls.crt"), certificate).unwrap();
        std::fs::write(self.0.path().join("tls.key"), key).unwrap();
    }

    fn config(&self) -> config::Tls {
        config::Tls {
            certificate_file: Some(self.0.path().join("tls.crt")),
            key_file: Some(self.0.path().join("tls.key")),
            ..config::Tls::default()
        }
    }

    /// What is said of the files, without the folder's name.
    fn refusal(&self) -> String {
        let error = check(&self.config()).unwrap_err().to_string();
        error.replace(&self.0.path().display().to_string(), "/tls")
    }

    fn open(&self) -> (Arc<Certificates>, Clock, Metrics) {
        let (clock, metrics) = (Clock::manual(NOW), Metrics::new().unwrap());
        let opened = Certificates::open(&self.config(), clock.clone(), metrics.clone());
        (opened.unwrap().unwrap(), clock, metrics)
    }
}

fn served(certificates: &Certificates) -> String {
    let served = certificates.served.0.read().unwrap();
    hex::encode(&served.cert[0])
}

fn of(pair: &(String, String)) -> String {
    hex::encode(CertificateDer::from_pem_slice(pair.0.as_bytes()).unwrap())
}

#[test]
fn without_files_there_is_no_certificate() {
    let none = config::Tls::default();
    check(&none).unwrap();
    let metrics = Metrics::new().unwrap();
    let opened = Certificates::open(&none, Clock::manual(NOW), metrics.clone()).unwrap();
    assert!(opened.is_none());
    assert!(!metrics.render().contains(EXPIRY));
}

#[test]
fn what_cannot_be_served_is_refused_with_what_would_be_right() {
    let folder = Folder::new();
    let (one, other) = (made(90), made(90));
    let mut refusals = vec![folder.refusal()];
    for pair in [
        (String::new(), one.1.clone()),
        (String::from("no certificate\n"), one.1.clone()),
        (one.0[..100].to_owned(), one.1.clone()),
        (one.1.clone(), one.1.clone()),
        (
            String::from("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            one.1.clone(),
        ),
        (one.0.clone(), String::new()),
        (one.0.clone(), one.0.clone()),
        (
            one.0.clone(),
            String::from(
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            ),
        ),
        (
            one.0.clone(),
            String::from("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ),
        (one.0.clone(), other.1.clone()),
        // The authority first and the server's own behind it.
        (format!("{}{}", other.0, one.0), one.1.clone()),
    ] {
        folder.write(&pair);
        refusals.push(folder.refusal());
    }
    insta::assert_snapshot!(refusals.join("\n"));
}

#[test]
fn a_file_without_an_end_is_not_read() {
    let folder = Folder::new();
    let mut pair = made(90);
    pair.0.push_str(&"\n".repeat(FILE_LIMIT_BYTES as usize));
    folder.write(&pair);
    assert!(folder.refusal().contains("larger than 1048576 bytes"));
}

#[test]
fn a_chain_is_served_whole() {
    let folder = Folder::new();
    let (own, authority) = (made(90), made(900));
    folder.write(&(format!("{}{}", own.0, authority.0), own.1.clone()));
    let (certificates, _, metrics) = folder.open();
    assert_eq!(certificates.served.0.read().unwrap().cert.len(), 2);
    assert_eq!(served(&certificates), of(&own));
    let expires = NOW.plus(90 * DAY_MS).seconds();
    let line = format!("{EXPIRY} {expires}\n");
    assert!(metrics.render().contains(&line), "{}", metrics.render());
}

#[tokio::test]
async fn a_new_pair_is_served_and_a_bad_one_is_not() {
    let folder = Folder::new();
    let (first, second, third) = (made(90), made(91), made(92));
    folder.write(&first);
    let (certificates, _, metrics) = folder.open();
    folder.write(&second);
    certificates.reload().await;
    assert_eq!(served(&certificates), of(&second));
    let expires = NOW.plus(91 * DAY_MS).seconds();
    assert!(metrics.render().contains(&format!("{EXPIRY} {expires}\n")));
    for bad in [
        (third.0.clone(), second.1.clone()),
        (String::from("half"), third.1.clone()),
    ] {
        folder.write(&bad);
        certificates.reload().await;
        assert_eq!(served(&certificates), of(&second));
    }
    std::fs::remove_file(folder.0.path().join("tls.key")).unwrap();
    certificates.reload().await;
    assert_eq!(served(&certificates), of(&second));
    folder.write(&third);
    certificates.reload().await;
    assert_eq!(served(&certificates), of(&third));
}

/// A Secret of Kubernetes is a folder of symbolic links through one, `..data`, that is exchanged.
#[tokio::test]
async fn an_exchanged_link_is_a_change() {
    let folder = Folder::new();
    let path = |name: &str| folder.0.path().join(name);
    let (first, second) = (made(90), made(90));
    for (name, pair) in [("..first", &first), ("..second", &second)] {
        std::fs::create_dir(path(name)).unwrap();
        std::fs::write(path(name).join("tls.crt"), &pair.0).unwrap();
        std::fs::write(path(name).join("tls.key"), &pair.1).unwrap();
    }
    std::os::unix::fs::symlink("..first", path("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(Path::new("..data").join(file), path(file)).unwrap();
    }
    let (certificates, ..) = folder.open();
    assert_eq!(served(&certificates), of(&first));
    std::os::unix::fs::symlink("..second", path("..data_tmp")).unwrap();
    std::fs::rename(path("..data_tmp"), path("..data")).unwrap();
    certificates.reload().await;
    assert_eq!(served(&certificates), of(&second));
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_warned_of_once_a_day() {
    let folder = Folder::new();
    folder.write(&made(15));
    let (certificates, clock, _) = folder.open();
    let warned_at = || certificates.lock().warned_at;
    assert_eq!(warned_at(), None);
    clock.advance(DAY_MS + 1);
    certificates.reload().await;
    let first = clock.now();
    assert_eq!(warned_at(), Some(first));
    clock.advance(DAY_MS - 1);
    certificates.reload().await;
    assert_eq!(warned_at(), Some(first));
    clock.advance(1);
    certificates.reload().await;
    assert_eq!(warned_at(), Some(clock.now()));
    folder.write(&made(90));
    certificates.reload().await;
    assert_eq!(warned_at(), None);
}

#[test]
fn notice_is_due_from_fourteen_days_before_the_end_and_after_it() {
    let expires = NOW.plus(14 * DAY_MS);
    assert!(!is_notice_due(expires, NOW, None));
    assert!(is_notice_due(expires, NOW.plus(1), None));
    assert!(is_notice_due(expires, expires.plus(DAY_MS), None));
    assert!(!is_notice_due(expires, NOW.plus(2), Some(NOW.plus(1))));
}
