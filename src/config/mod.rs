//! The configuration: one struct, its defaults, and what is allowed in it.
//!
//! Owns every key an operator can set. Knows nothing of what the values are used for; `config/berth.toml` documents
//! each key and a test holds the two together.

mod check;
mod external_images;
mod issuers;
mod keys;
mod layers;
mod load;
mod s3;
#[cfg(test)]
mod tests;
mod values;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use external_images::ExternalImages;
pub use issuers::{
    ClaimValues, IssuedAction, IssuedRole, Issuer, IssuerRule, LONGEST_TOKEN_AGE_SECONDS,
    SigningAlgorithm,
};
pub use load::{ConfigError, Problem};
pub use s3::S3;
pub use values::{AddressRange, BaseUrl, DatabaseUrl, InvalidValue, Scheme, Secret};

/// Everything that can be configured, complete with defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Listeners, addresses and connection limits.
    pub server: Server,
    /// TLS at the doors.
    pub tls: Tls,
    /// Where metadata lives.
    pub database: Database,
    /// Where bytes live.
    pub storage: Storage,
    /// What one request, list or upload may use.
    pub limits: Limits,
    /// Credentials and tokens.
    pub auth: Auth,
    /// What is removed, and when.
    pub collection: Collection,
    /// Images, shares and leases.
    pub images: Images,
    /// The audit log.
    pub audit: Audit,
    /// What the server writes about itself.
    pub log: Log,
}

/// Listeners, addresses and connection limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The folder of an embedded installation: database, blobs, keys. One process owns it.
    pub data_dir: PathBuf,
    /// The public door: `/v2/`, `/token`, `/api/v1`.
    #[serde(deserialize_with = "values::listen_address")]
    pub public_listen: SocketAddr,
    /// The pull door: `/token` and reads of `/v2/`. Off when absent.
    #[serde(deserialize_with = "values::optional_listen_address")]
    pub pull_listen: Option<SocketAddr>,
    /// The door of `/api/v1` alone. Off when absent.
    #[serde(deserialize_with = "values::optional_listen_address")]
    pub api_listen: Option<SocketAddr>,
    /// The operators' door: metrics and health.
    #[serde(deserialize_with = "values::listen_address")]
    pub ops_listen: SocketAddr,
    /// How clients reach the public door; the connection's own address when absent.
    pub public_url: Option<BaseUrl>,
    /// How nodes reach the pull door; the public URL when absent.
    pub pull_url: Option<BaseUrl>,
    /// Proxies whose `X-Forwarded-For`, `-Proto` and `-Host` count.
    pub trusted_proxies: Vec<AddressRange>,
    /// How long requests may finish after a stop signal, in seconds.
    pub drain_seconds: u64,
    /// The largest head of a request, in bytes.
    pub header_limit_bytes: usize,
    /// How long a connection may wait for the whole head of its next request, in seconds.
    pub header_read_timeout_seconds: u64,
    /// How long the body of a request may be silent, in seconds.
    pub body_idle_timeout_seconds: u64,
    /// How long a client may leave an answer unread, in seconds.
    pub response_idle_timeout_seconds: u64,
    /// Connections each door holds open at once.
    pub max_connections: usize,
    /// Connections of one address that each door holds open at once.
    pub max_connections_per_address: usize,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            public_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)),
            pull_listen: None,
            api_listen: None,
            ops_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 5009)),
            public_url: None,
            pull_url: None,
            trusted_proxies: Vec::new(),
            drain_seconds: 30,
            header_limit_bytes: 64 * 1024,
            header_read_timeout_seconds: 75,
            body_idle_timeout_seconds: 60,
            response_idle_timeout_seconds: 60,
            max_connections: 10_000,
            max_connections_per_address: 4000,
        }
    }
}

/// TLS at the doors. Off when no certificate is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The certificate and what chains it to an authority, in PEM, the server's own first.
    pub certificate_file: Option<PathBuf>,
    /// Its private key, in PEM.
    pub key_file: Option<PathBuf>,
    /// The doors that speak TLS.
    pub doors: Vec<DoorName>,
    /// How often the files are looked at, in seconds.
    pub watch_interval_seconds: u64,
    /// How long a client may take to agree on a connection, in seconds.
    pub handshake_timeout_seconds: u64,
}

impl Tls {
    /// Whether a door speaks TLS.
    #[must_use]
    pub fn is_on(&self, door: DoorName) -> bool {
        self.certificate_file.is_some() && self.doors.contains(&door)
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate_file: None,
            key_file: None,
            doors: vec![DoorName::Public, DoorName::Pull, DoorName::Api],
            watch_interval_seconds: 5,
            handshake_timeout_seconds: 10,
        }
    }
}

/// A door, as the configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DoorName {
    /// What clients push to and pull from.
    Public,
    /// What the nodes of a cluster pull from.
    Pull,
    /// The management API alone.
    Api,
    /// Metrics and health.
    Ops,
}

/// Where metadata lives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// A PostgreSQL URL; the embedded SQLite file when absent.
    pub url: Option<DatabaseUrl>,
    /// A file that holds `url`. Read by [`Config::load`], which moves its content into `url`.
    pub url_file: Option<PathBuf>,
    /// Whether a start brings the schema up to date.
    pub migrate: bool,
    /// Connections to PostgreSQL that are kept even if nobody uses them.
    pub min_connections: u32,
    /// Connections in the pool: of PostgreSQL, or readers of SQLite.
    pub max_connections: u32,
    /// How long a request waits for a connection, in seconds.
    pub acquire_timeout_seconds: u64,
    /// How long a connection to PostgreSQL may be without use, in seconds.
    pub idle_timeout_seconds: u64,
    /// How old a connection to PostgreSQL may become, in seconds.
    pub max_lifetime_seconds: u64,
    /// How long one statement may run on PostgreSQL, in seconds.
    pub statement_timeout_seconds: u64,
    /// How long one statement may wait for a lock on PostgreSQL, in seconds.
    pub lock_timeout_seconds: u64,
    /// How long PostgreSQL keeps the locks of a change whose server says nothing more, in seconds.
    pub idle_transaction_timeout_seconds: u64,
    /// Whether PostgreSQL keeps prepared statements: not behind a pooler that lends servers by transaction.
    pub statement_cache: bool,
    /// Tags, links and rights held in memory, each counted once.
    pub cache_entries: u64,
    /// Manifests held in memory, in bytes.
    pub cache_bytes: u64,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            url_file: None,
            migrate: true,
            min_connections: 0,
            max_connections: 16,
            acquire_timeout_seconds: 5,
            idle_timeout_seconds: 600,
            max_lifetime_seconds: 1800,
            statement_timeout_seconds: 30,
            lock_timeout_seconds: 10,
            idle_transaction_timeout_seconds: 30,
            statement_cache: true,
            cache_entries: 100_000,
            cache_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Where bytes live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The folder of the blobs; `blobs` in the data folder when absent.
    pub path: Option<PathBuf>,
    /// A bucket in place of the folder.
    pub s3: S3,
}

/// What one request, list or upload may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest manifest, in bytes.
    pub manifest_bytes: usize,
    /// `tag` parameters in one manifest PUT.
    pub tag_parameters: usize,
    /// Tags or repositories in one answer at most; a longer list has a link to the rest.
    pub page: u32,
    /// How long an upload session may rest, in seconds.
    pub upload_idle_seconds: u64,
    /// Upload sessions a workspace may have open at once.
    pub open_uploads_per_workspace: u64,
    /// The largest upload that is read again when its PUT names an algorithm other than the one it was hashed with,
    /// in bytes.
    pub rehash_bytes: u64,
    /// The largest JSON body of the management API, in bytes.
    pub json_body_bytes: usize,
    /// Bodies held in memory at one time, in bytes: of manifests, as much again of JSON, and of forms at `/token`.
    pub buffered_bytes: usize,
    /// Blobs that are sent or received at one time.
    pub open_transfers: usize,
    /// Wrong passwords and keys that one address may send in a minute.
    pub auth_failures_per_minute: u32,
    /// Registry credentials that one API key may ask for in a minute.
    pub credentials_per_minute: u32,
    /// Access tokens that one API key may ask for in a minute, unless it can only pull.
    pub tokens_per_minute: u32,
    /// Registry credentials that one identity of an issuer may exchange its tokens for in a minute.
    pub exchanges_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: 4 * 1024 * 1024,
            tag_parameters: 100,
            page: 1000,
            upload_idle_seconds: 24 * 3600,
            open_uploads_per_workspace: 1000,
            rehash_bytes: 1024 * 1024 * 1024,
            json_body_bytes: 64 * 1024,
            buffered_bytes: 64 * 1024 * 1024,
            open_transfers: 8192,
            auth_failures_per_minute: 60,
            credentials_per_minute: 120,
            tokens_per_minute: 1200,
            exchanges_per_minute: 6000,
        }
    }
}

/// Credentials and tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The service's name in challenges and tokens.
    pub service_name: String,
    /// How long a registry credential lives when the caller names no time, in seconds.
    pub credential_default_seconds: u64,
    /// The longest life of a registry credential, in seconds.
    pub credential_max_seconds: u64,
    /// How long an access token lives, in seconds.
    pub access_token_seconds: u64,
    /// Whether an API key is accepted as a registry password.
    pub api_keys_as_passwords: bool,
    /// Wraps the signing keys that a PostgreSQL database holds.
    pub key_wrapping_secret: Option<Secret>,
    /// A file that holds `key_wrapping_secret`. Read by [`Config::load`], which moves its content there.
    pub key_wrapping_secret_file: Option<PathBuf>,
    /// How long a signing key signs before the next one does, in seconds; 0 is for good.
    pub signing_key_rotation_seconds: u64,
    /// Verified tokens remembered in memory.
    pub token_cache_entries: u64,
    /// Whose tokens are exchanged for registry credentials.
    pub issuers: Vec<Issuer>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            service_name: String::from("berth"),
            credential_default_seconds: 3600,
            credential_max_seconds: 12 * 3600,
            access_token_seconds: 300,
            api_keys_as_passwords: true,
            key_wrapping_secret: None,
            key_wrapping_secret_file: None,
            signing_key_rotation_seconds: 90 * 24 * 3600,
            token_cache_entries: 10_000,
            issuers: Vec::new(),
        }
    }
}

/// What is removed, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collection {
    /// How long a deletion can be undone, in seconds.
    pub undo_window_seconds: u64,
    /// How long a blob may be a member of a repository without a manifest that needs it, and how long it can be brought
    /// back after that, in seconds.
    pub link_grace_seconds: u64,
    /// How long the bytes of a blob stay that nobody has any more, in seconds: at least the time between two backups.
    pub object_delay_seconds: u64,
    /// How long a referrer without a subject and without a tag stays, in seconds.
    pub dangling_referrer_seconds: u64,
    /// How many workers collect at one time; none, where another server does it.
    pub workers: u32,
    /// Objects that all workers of one server delete in a second.
    pub objects_per_second: u32,
}

impl Default for Collection {
    fn default() -> Self {
        Self {
            undo_window_seconds: 7 * 24 * 3600,
            link_grace_seconds: 24 * 3600,
            object_delay_seconds: 24 * 3600,
            dangling_referrer_seconds: 7 * 24 * 3600,
            workers: 2,
            objects_per_second: 100,
        }
    }
}

/// Images, shares and leases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Images {
    /// How long a share waits for the other account, in seconds.
    pub pending_share_seconds: u64,
    /// How long a digest that a push untagged stays while its image is shared, in seconds.
    pub shared_untagged_seconds: u64,
    /// How long a lease may last, and lasts unless it says so, in seconds.
    pub lease_max_seconds: u64,
    /// Leases of one workspace.
    pub leases_per_workspace: u64,
    /// Images that one workspace shares, and shares of one image, at most.
    pub shares_per_workspace: u64,
    /// Whether admins may let every workspace pull an image of theirs.
    pub admins_may_publish: bool,
    /// Which images of other registries a check of a reference finds usable.
    pub external_images: ExternalImages,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            pending_share_seconds: 7 * 24 * 3600,
            shared_untagged_seconds: 30 * 24 * 3600,
            lease_max_seconds: 90 * 24 * 3600,
            leases_per_workspace: 10_000,
            shares_per_workspace: 10_000,
            admins_may_publish: false,
            external_images: ExternalImages::default(),
        }
    }
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// How long an event is kept, in days.
    pub retention_days: u32,
}

impl Default for Audit {
    fn default() -> Self {
        Self { retention_days: 90 }
    }
}

/// What the server writes about itself, always to standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is written: a level, or `tracing` directives such as `info,berth=debug`.
    pub filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            filter: String::from("info"),
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which database holds the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum DatabaseLocation {
    /// The embedded file.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(DatabaseUrl),
}

impl Config {
    /// Which database holds the metadata.
    #[must_use]
    pub fn database_location(&self) -> DatabaseLocation {
        match &self.database.url {
            Some(url) => DatabaseLocation::Postgres(url.clone()),
            None => DatabaseLocation::Sqlite(self.server.data_dir.join("berth.db")),
        }
    }

    /// The folder of the blobs.
    #[must_use]
    pub fn blobs_path(&self) -> PathBuf {
        self.storage
            .path
            .clone()
            .unwrap_or_else(|| self.server.data_dir.join("blobs"))
    }

    /// The folder of the parts that are on their way to a bucket.
    #[must_use]
    pub fn spool_path(&self) -> PathBuf {
        let spool = self.storage.s3.spool.clone();
        spool.unwrap_or_else(|| self.server.data_dir.join("spool"))
    }

    /// The configuration as a TOML document: secrets masked, keys without a value as comments.
    #[must_use]
    pub fn to_masked_toml(&self) -> String {
        let mut document = String::new();
        for (section, keys) in keys::sections(self) {
            if !document.is_empty() {
                document.push('\n');
            }
            document.push_str(&format!("[{section}]\n"));
            for (key, value) in keys {
                match toml::Value::try_from(&value) {
                    Ok(value) => document.push_str(&format!("{key} = {value}\n")),
                    // TOML has no null.
                    Err(_) => document.push_str(&format!("# {key} is not set\n")),
                }
            }
        }
        document
    }
}
