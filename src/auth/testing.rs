//! What tests of authorisation and tenancy share: an embedded database in a temporary folder, a clock that is moved by
//! hand, and callers.

use std::time::Duration;

use tempfile::TempDir;

use super::{Auth, AuthOptions, KeyLocation};
use crate::clock::{Clock, Millis};
use crate::config::DatabaseLocation;
use crate::metadata::{Metadata, MetadataOptions};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: Millis = Millis(1_767_225_600_000);

/// An empty database.
pub(crate) async fn metadata() -> (Metadata, Clock, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let options = MetadataOptions {
        location: DatabaseLocation::Sqlite(folder.path().join("berth.db")),
        max_connections: 2,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(5),
        memory_entries: 1_000,
        memory_bytes: 1_000_000,
    };
    let metadata = Metadata::open(&options, clock.clone()).await.unwrap();
    (metadata, clock, folder)
}

/// Options of an embedded installation in `folder`.
pub(crate) fn options(folder: &TempDir) -> AuthOptions {
    AuthOptions {
        service_name: String::from("berth"),
        credential_default_seconds: 3_600,
        credential_max_seconds: 12 * 3_600,
        access_token_seconds: 300,
        api_keys_as_passwords: true,
        token_cache_entries: 100,
        keys: KeyLocation::Files(folder.path().to_owned()),
    }
}

/// Authorisation over an empty database.
pub(crate) async fn auth() -> (Auth, Clock, TempDir) {
    let (metadata, clock, folder) = metadata().await;
    let auth = Auth::open(options(&folder), metadata, clock.clone()).await.unwrap();
    (auth, clock, folder)
}
