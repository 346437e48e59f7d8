//! Which values are allowed, alone and together.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::{Config, ConfigError, Problem};

const DAY_SECONDS: u64 = 24 * 3600;
const GIB: u64 = 1024 * 1024 * 1024;

/// How long a signing key may sign: longer than its tokens live, and not for ever.
const SIGNING_KEY_ROTATION_SECONDS: RangeInclusive<u64> = DAY_SECONDS..=365 * DAY_SECONDS;

/// How long an audit event may be kept, in days: ten years.
const MAX_AUDIT_DAYS: u32 = 3650;

/// The shortest secret that may wrap signing keys, in bytes.
const KEY_WRAPPING_SECRET_MIN_BYTES: usize = 32;

impl Config {
    /// Checks every value, alone and together with the others.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] with everything that is wrong, each with its key and what would be right.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut findings = Findings(Vec::new());
        self.check_server(&mut findings);
        self.check_tls(&mut findings);
        self.check_database(&mut findings);
        self.check_s3(&mut findings);
        self.check_limits(&mut findings);
        self.check_auth(&mut findings);
        self.check_issuers(&mut findings);
        self.check_collection(&mut findings);
        self.check_images(&mut findings);
        findings.range(
            "audit.retention_days",
            self.audit.retention_days,
            1..=MAX_AUDIT_DAYS,
        );
        if self.log.filter.trim().is_empty() {
            findings.add("log.filter", "is empty; write a level such as \"info\"");
        }
        if findings.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid(findings.0))
        }
    }

    fn check_server(&self, findings: &mut Findings) {
        let server = &self.server;
        if server.data_dir.as_os_str().is_empty() {
            findings.add("server.data_dir", "is empty; write the path of a folder");
        }
        let doors = [
            ("server.public_listen", Some(server.public_listen)),
            ("server.pull_listen", server.pull_listen),
            ("server.api_listen", server.api_listen),
            ("server.ops_listen", Some(server.ops_listen)),
        ];
        let open: Vec<(&str, SocketAddr)> = doors
            .into_iter()
            .filter_map(|(key, address)| Some((key, address?)))
            .collect();
        for (index, (key, address)) in open.iter().enumerate() {
            let taken = open[..index]
                .iter()
                .find(|(_, other)| collide(*other, *address));
            if let Some((other_key, _)) = taken {
                findings.add(
                    key,
                    &format!(
                        "is {address}, which {other_key} uses; give each door a port of its own"
                    ),
                );
            }
        }
        findings.range("server.drain_seconds", server.drain_seconds, 0..=3600);
        findings.range(
            "server.header_limit_bytes",
            server.header_limit_bytes,
            8192..=1024 * 1024,
        );
        findings.range(
            "server.header_read_timeout_seconds",
            server.header_read_timeout_seconds,
            1..=300,
        );
        findings.range(
            "server.body_idle_timeout_seconds",
            server.body_idle_timeout_seconds,
            1..=3600,
        );
        findings.range(
            "server.response_idle_timeout_seconds",
            server.response_idle_timeout_seconds,
            1..=3600,
        );
        findings.range(
            "server.max_connections",
            server.max_connections,
            1..=1_000_000,
        );
        findings.range(
            "server.max_connections_per_address",
            server.max_connections_per_address,
            1..=1_000_000,
        );
    }

    fn check_tls(&self, findings: &mut Findings) {
        let tls = &self.tls;
        match (&tls.certificate_file, &tls.key_file) {
            (Some(_), None) => findings.add(
                "tls.key_file",
                "is not set, but tls.certificate_file is; TLS needs both",
            ),
            (None, Some(_)) => findings.add(
                "tls.certificate_file",
                "is not set, but tls.key_file is; TLS needs both",
            ),
            (Some(_), Some(_)) if tls.doors.is_empty() => findings.add(
                "tls.doors",
                "is empty, so that the certificate would serve nothing; name a door, or unset both files",
            ),
            (Some(_), Some(_)) | (None, None) => {}
        }
        findings.range(
            "tls.watch_interval_seconds",
            tls.watch_interval_seconds,
            1..=3600,
        );
        findings.range(
            "tls.handshake_timeout_seconds",
            tls.handshake_timeout_seconds,
            1..=60,
        );
    }

    fn check_database(&self, findings: &mut Findings) {
        let database = &self.database;
        findings.range(
            "database.max_connections",
            database.max_connections,
            1..=1000,
        );
        if database.min_connections > database.max_connections {
            findings.add(
                "database.min_connections",
                &format!(
                    "is {}, more than database.max_connections; write 0 to {}",
                    database.min_connections, database.max_connections
                ),
            );
        }
        for (key, seconds, most) in [
            (
                "database.acquire_timeout_seconds",
                database.acquire_timeout_seconds,
                60,
            ),
            (
                "database.idle_timeout_seconds",
                database.idle_timeout_seconds,
                DAY_SECONDS,
            ),
            (
                "database.max_lifetime_seconds",
                database.max_lifetime_seconds,
                DAY_SECONDS,
            ),
            (
                "database.statement_timeout_seconds",
                database.statement_timeout_seconds,
                3600,
            ),
            (
                "database.lock_timeout_seconds",
                database.lock_timeout_seconds,
                3600,
            ),
            (
                "database.idle_transaction_timeout_seconds",
                database.idle_transaction_timeout_seconds,
                3600,
            ),
        ] {
            findings.range(key, seconds, 1..=most);
        }
        findings.range(
            "database.cache_entries",
            database.cache_entries,
            0..=100_000_000,
        );
        findings.range("database.cache_bytes", database.cache_bytes, 0..=64 * GIB);
    }

    fn check_limits(&self, findings: &mut Findings) {
        let limits = &self.limits;
        findings.range(
            "limits.manifest_bytes",
            limits.manifest_bytes,
            1024..=64 * 1024 * 1024,
        );
        findings.range("limits.tag_parameters", limits.tag_parameters, 0..=1000);
        findings.range("limits.page", limits.page, 1..=10_000);
        findings.range(
            "limits.upload_idle_seconds",
            limits.upload_idle_seconds,
            60..=30 * DAY_SECONDS,
        );
        findings.range(
            "limits.open_uploads_per_workspace",
            limits.open_uploads_per_workspace,
            1..=1_000_000,
        );
        findings.range("limits.rehash_bytes", limits.rehash_bytes, 0..=1024 * GIB);
        findings.range(
            "limits.json_body_bytes",
            limits.json_body_bytes,
            1024..=16 * 1024 * 1024,
        );
        let largest_body = limits.manifest_bytes.max(limits.json_body_bytes);
        if limits.buffered_bytes < largest_body {
            findings.add(
                "limits.buffered_bytes",
                &format!(
                    "is {}, less than one body may have; write {largest_body} or more",
                    limits.buffered_bytes
                ),
            );
        }
        findings.range(
            "limits.buffered_bytes",
            limits.buffered_bytes,
            1024..=usize::try_from(u32::MAX).unwrap_or(usize::MAX),
        );
        findings.range(
            "limits.open_transfers",
            limits.open_transfers,
            4..=1_000_000,
        );
        for (key, per_minute) in [
            (
                "limits.auth_failures_per_minute",
                limits.auth_failures_per_minute,
            ),
            (
                "limits.credentials_per_minute",
                limits.credentials_per_minute,
            ),
            ("limits.tokens_per_minute", limits.tokens_per_minute),
            ("limits.exchanges_per_minute", limits.exchanges_per_minute),
        ] {
            findings.range(key, per_minute, 1..=60_000);
        }
    }

    fn check_auth(&self, findings: &mut Findings) {
        let auth = &self.auth;
        let name_is_plain = (1..=64).contains(&auth.service_name.len())
            && auth
                .service_name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
        if !name_is_plain {
            findings.add(
                "auth.service_name",
                &format!(
                    "is {:?}, but must be 1 to 64 letters, digits, dots, colons, dashes or underscores",
                    auth.service_name
                ),
            );
        }
        findings.range(
            "auth.credential_max_seconds",
            auth.credential_max_seconds,
            60..=43_200,
        );
        findings.range(
            "auth.credential_default_seconds",
            auth.credential_default_seconds,
            60..=43_200,
        );
        if auth.credential_default_seconds > auth.credential_max_seconds {
            findings.add(
                "auth.credential_default_seconds",
                &format!(
                    "is {}, but must not exceed auth.credential_max_seconds, which is {}",
                    auth.credential_default_seconds, auth.credential_max_seconds
                ),
            );
        }
        findings.range(
            "auth.access_token_seconds",
            auth.access_token_seconds,
            60..=3600,
        );
        findings.range(
            "auth.token_cache_entries",
            auth.token_cache_entries,
            0..=10_000_000,
        );
        let rotation = auth.signing_key_rotation_seconds;
        if rotation != 0 && !SIGNING_KEY_ROTATION_SECONDS.contains(&rotation) {
            findings.add(
                "auth.signing_key_rotation_seconds",
                &format!(
                    "is {rotation}, but must be 0 (never), or from {} to {}",
                    SIGNING_KEY_ROTATION_SECONDS.start(),
                    SIGNING_KEY_ROTATION_SECONDS.end()
                ),
            );
        }
        match &auth.key_wrapping_secret {
            Some(secret) if secret.expose().len() < KEY_WRAPPING_SECRET_MIN_BYTES => findings.add(
                "auth.key_wrapping_secret",
                &format!(
                    "is shorter than {KEY_WRAPPING_SECRET_MIN_BYTES} bytes; make one with: openssl rand -hex 32"
                ),
            ),
            None if self.database.url.is_some() => findings.add(
                "auth.key_wrapping_secret",
                "is needed with PostgreSQL, where it protects the signing keys; make one with: openssl rand -hex 32",
            ),
            Some(_) | None => {}
        }
    }

    fn check_collection(&self, findings: &mut Findings) {
        let collection = &self.collection;
        findings.range(
            "collection.undo_window_seconds",
            collection.undo_window_seconds,
            0..=365 * DAY_SECONDS,
        );
        findings.range(
            "collection.link_grace_seconds",
            collection.link_grace_seconds,
            60..=365 * DAY_SECONDS,
        );
        if collection.link_grace_seconds < self.limits.upload_idle_seconds {
            findings.add(
                "collection.link_grace_seconds",
                &format!(
                    "is shorter than limits.upload_idle_seconds, which is {}: the first layers of a push would go while its \
                     last one is still under way",
                    self.limits.upload_idle_seconds
                ),
            );
        }
        for (key, seconds) in [
            (
                "collection.object_delay_seconds",
                collection.object_delay_seconds,
            ),
            (
                "collection.dangling_referrer_seconds",
                collection.dangling_referrer_seconds,
            ),
        ] {
            findings.range(key, seconds, 0..=365 * DAY_SECONDS);
        }
        findings.range("collection.workers", u64::from(collection.workers), 0..=32);
        findings.range(
            "collection.objects_per_second",
            u64::from(collection.objects_per_second),
            1..=100_000,
        );
    }

    fn check_images(&self, findings: &mut Findings) {
        let images = &self.images;
        for (key, seconds) in [
            ("images.pending_share_seconds", images.pending_share_seconds),
            ("images.lease_max_seconds", images.lease_max_seconds),
        ] {
            findings.range(key, seconds, 60..=365 * DAY_SECONDS);
        }
        findings.range(
            "images.shared_untagged_seconds",
            images.shared_untagged_seconds,
            0..=365 * DAY_SECONDS,
        );
        for (key, count) in [
            ("images.leases_per_workspace", images.leases_per_workspace),
            ("images.shares_per_workspace", images.shares_per_workspace),
        ] {
            findings.range(key, count, 1..=1_000_000);
        }
    }
}

/// Whether two listeners cannot both be bound. Port 0 is a new port each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip()
            || (one.is_ipv4() == other.is_ipv4()
                && (one.ip().is_unspecified() || other.ip().is_unspecified())))
}

/// What is wrong, in the order of the file.
pub(super) struct Findings(Vec<Problem>);

impl Findings {
    pub(super) fn add(&mut self, key: &str, message: &str) {
        self.0.push(Problem {
            key: key.to_owned(),
            message: message.to_owned(),
        });
    }

    pub(super) fn range<T: PartialOrd + Display + Copy>(
        &mut self,
        key: &str,
        value: T,
        allowed: RangeInclusive<T>,
    ) {
        if !allowed.contains(&value) {
            let (least, most) = (allowed.start(), allowed.end());
            self.add(
                key,
                &format!("is {value}, but must be from {least} to {most}"),
            );
        }
    }
}
