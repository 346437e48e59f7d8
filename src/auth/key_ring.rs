//! The signing keys of this installation as this process knows them: which one signs now, which ones verify, and how it
//! learns what became of them.
//!
//! Memory answers every request; files or rows are looked at when something changes, and rows every other second, since
//! another replica may have changed them.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use tokio::time::Instant;
use tracing::Instrument as _;
use utoipa::ToSchema;

use super::key_files;
use super::key_rows;
use super::key_schedule::{CLOCK_LEEWAY_MS, Change, Plan, Schedule};
use super::keys::{KeyError, KeyLocation, Purpose, SigningKey, signer};
use super::secrets::SecretText;
use crate::clock::{Clock, Millis};
use crate::metadata::{Metadata, NewAuditEvent, Transaction};

/// How often [`KeyRing::keep`] is to be called: a key that another replica took back must be dead here within five
/// seconds.
pub(super) const KEEP_INTERVAL: Duration = Duration::from_secs(2);
/// How long to wait before the database is asked again for a key that nobody knows: anybody can name one.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Clone)]
enum Source {
    /// One process owns the files: nothing appears behind its back.
    Files(PathBuf),
    /// Another replica may change the keys at any time.
    Database {
        metadata: Metadata,
        secret: SecretText,
    },
}

struct Ring {
    keys: RwLock<Arc<Vec<SigningKey>>>,
    source: Source,
    schedule: Schedule,
    clock: Clock,
    /// Whose turn it is to read or change the source, so that an older reading never replaces a newer one; and when the
    /// last reading began.
    turn: tokio::sync::Mutex<Instant>,
}

/// The keys of this installation. Cheap to clone.
#[derive(Clone)]
pub(super) struct KeyRing(Arc<Ring>);

impl KeyRing {
    /// Reads the keys, and makes those that are missing.
    pub(super) async fn open(
        location: &KeyLocation,
        metadata: &Metadata,
        schedule: Schedule,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        match location {
            KeyLocation::Files(data_dir) => Self::open_files(data_dir, schedule, clock).await,
            KeyLocation::Database(secret) => {
                Self::open_database(metadata, secret.as_ref(), schedule, clock).await
            }
        }
    }

    /// Reads the keys of an embedded installation from `<data_dir>/keys`, and makes those that are missing.
    pub(super) async fn open_files(
        data_dir: &Path,
        schedule: Schedule,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        let folder = folder(data_dir);
        let keys = blocking(move || key_files::read(&folder)).await?;
        let source = Source::Files(self::folder(data_dir));
        Self::start(keys, source, schedule, clock).await
    }

    /// Reads the keys that replicas share from the database, and makes those that are missing.
    ///
    /// # Errors
    /// [`KeyError::NoWrappingSecret`] without a secret, or with one that is too short.
    pub(super) async fn open_database(
        metadata: &Metadata,
        secret: Option<&SecretText>,
        schedule: Schedule,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        let secret = key_rows::long_enough(secret)?;
        let opened = key_rows::read(metadata, secret, &[]).await?;
        if let Some(error) = opened.unopened {
            return Err(error);
        }
        let source = Source::Database {
            metadata: metadata.clone(),
            secret: secret.clone(),
        };
        Self::start(opened.keys, source, schedule, clock).await
    }

    async fn start(
        keys: Vec<SigningKey>,
        source: Source,
        schedule: Schedule,
        clock: Clock,
    ) -> Result<Self, KeyError> {
        let ring = Self(Arc::new(Ring {
            keys: RwLock::new(Arc::new(ordered(keys))),
            source,
            schedule,
            clock,
            turn: tokio::sync::Mutex::new(Instant::now()),
        }));
        ring.do_what_is_due().await?;
        Ok(ring)
    }

    /// All keys that are known, ended ones too.
    pub(super) fn keys(&self) -> Arc<Vec<SigningKey>> {
        // A poisoned lock guards a pointer: its value is whole.
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that signs now.
    pub(super) fn signer(&self, purpose: Purpose) -> Result<SigningKey, KeyError> {
        signer(&self.keys(), purpose, self.0.clock.now())
            .cloned()
            .ok_or(KeyError::NoSigner(purpose))
    }

    /// The key of this id, if it is one of ours, has this purpose and has not ended.
    pub(super) fn verifier(&self, purpose: Purpose, id: &str) -> Option<SigningKey> {
        let now = self.0.clock.now();
        self.keys()
            .iter()
            .find(|key| key.purpose() == purpose && key.id() == id && key.lives(now))
            .cloned()
    }

    /// The public keys of access tokens, as a JWK set, also those that do not sign yet. Keys of credentials are nobody
    /// else's business.
    pub(super) fn jwks(&self) -> JwkSet {
        let now = self.0.clock.now();
        let keys = self.keys();
        let published = keys
            .iter()
            .filter(|key| key.purpose() == Purpose::AccessToken && key.lives(now));
        JwkSet {
            keys: published.map(Jwk::of).collect(),
        }
    }

    /// Looks for a key that another replica has made; false when the last look is so fresh that it was spared.
    pub(super) async fn refresh(&self) -> Result<bool, KeyError> {
        let Source::Database { metadata, secret } = &self.0.source else {
            return Ok(false);
        };
        let asked_at = Instant::now();
        let mut read_at = self.0.turn.lock().await;
        if *read_at >= asked_at {
            return Ok(true);
        }
        if read_at.elapsed() < LOOK_AGAIN_AFTER {
            return Ok(false);
        }
        *read_at = Instant::now();
        self.read_rows(metadata, secret).await?;
        Ok(true)
    }

    /// Learns what other replicas did, and does what is due.
    pub(super) async fn keep(&self) -> Result<(), KeyError> {
        if let Source::Database { metadata, secret } = &self.0.source {
            let mut read_at = self.0.turn.lock().await;
            *read_at = Instant::now();
            self.read_rows(metadata, secret).await?;
        }
        self.do_what_is_due().await
    }

    async fn do_what_is_due(&self) -> Result<(), KeyError> {
        let due = self
            .0
            .schedule
            .plan(&Change::Upkeep, &self.keys(), self.0.clock.now())?;
        if due.is_empty() {
            return Ok(());
        }
        self.change(Change::Upkeep).await
    }

    /// Changes the keys. It runs to its end even if whoever asked goes away, so that memory is never behind the files.
    ///
    /// # Errors
    /// [`KeyError::NotNow`] for a rotation while another one is under way.
    pub(super) async fn change(&self, change: Change) -> Result<(), KeyError> {
        self.run(change, None).await
    }

    /// The same for somebody, whom the audit log names.
    pub(super) async fn change_for(&self, change: Change, report: Report) -> Result<(), KeyError> {
        self.run(change, Some(report)).await
    }

    async fn run(&self, change: Change, report: Option<Report>) -> Result<(), KeyError> {
        let ring = self.clone();
        let task = async move { ring.do_change(change, report).await };
        tokio::spawn(task.in_current_span()).await?
    }

    async fn do_change(&self, change: Change, report: Option<Report>) -> Result<(), KeyError> {
        let ring = &self.0;
        let _turn = ring.turn.lock().await;
        let now = ring.clock.now();
        match &ring.source {
            Source::Files(folder) => {
                let (folder, schedule) = (folder.clone(), ring.schedule);
                let reporting = match &report {
                    Some(report) => Some(report.begin().await?),
                    None => None,
                };
                let (done, keys) =
                    blocking(move || change_files(&folder, schedule, &change, now)).await?;
                self.remember(keys);
                done?;
                match reporting {
                    Some(reporting) => Ok(reporting.commit().await?),
                    None => Ok(()),
                }
            }
            Source::Database { metadata, secret } => {
                let event = report.as_ref().map(|report| &report.event);
                let keys =
                    change_rows(metadata, secret, ring.schedule, &change, event, now).await?;
                self.remember(keys);
                Ok(())
            }
        }
    }

    async fn read_rows(&self, metadata: &Metadata, secret: &SecretText) -> Result<(), KeyError> {
        let opened = key_rows::read(metadata, secret, &self.keys()).await?;
        self.remember(opened.keys);
        opened.unopened.map_or(Ok(()), Err)
    }

    /// Takes over what was read. A key that is gone before its time was taken back: what it signed is void, also where
    /// a request with it is under way. In its last minute it has nothing left to take back, and the clock of the
    /// replica that removed it may be ahead.
    fn remember(&self, read: Vec<SigningKey>) {
        let known = self.keys();
        let soon = self.0.clock.now().plus(CLOCK_LEEWAY_MS);
        let same = |key: SigningKey| {
            let known = known.iter().find(|known| known.id() == key.id());
            known.map_or_else(|| key.clone(), |known| known.at(key.times))
        };
        let keys = ordered(read.into_iter().map(same).collect());
        for gone in known.iter().filter(|known| known.lives(soon)) {
            if !keys.iter().any(|key| key.id() == gone.id()) {
                gone.take_back();
            }
        }
        *self.0.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}

/// The oldest first, for the JWKS to be the same at every replica.
fn ordered(mut keys: Vec<SigningKey>) -> Vec<SigningKey> {
    let place = |key: &SigningKey| (key.times.signs_from, key.id().to_owned());
    keys.sort_by_cached_key(place);
    keys
}

/// What the audit log says of a change.
pub(super) struct Report {
    pub(super) metadata: Metadata,
    pub(super) event: NewAuditEvent,
}

impl Report {
    /// The event, to be kept once the files are changed and to be dropped if they are not.
    async fn begin(&self) -> Result<Transaction, KeyError> {
        let mut transaction = self.metadata.begin().await?;
        transaction.audit(&self.event).await?;
        Ok(transaction)
    }
}

/// Ends every signing key, also those that cannot be read any more, and makes new ones. For an installation that is
/// stopped, or a database: servers that run on it notice.
pub(super) async fn reset(
    location: &KeyLocation,
    report: &Report,
    schedule: Schedule,
    now: Millis,
) -> Result<(), KeyError> {
    let first = schedule.plan(&Change::Upkeep, &[], now)?;
    match location {
        KeyLocation::Files(data_dir) => {
            let folder = folder(data_dir);
            let work = move || {
                key_files::remove_all(&folder)?;
                key_files::apply(&folder, &first)
            };
            let reporting = report.begin().await?;
            blocking(work).await?;
            Ok(reporting.commit().await?)
        }
        KeyLocation::Database(secret) => {
            let secret = key_rows::long_enough(secret.as_ref())?;
            let mut transaction = report.begin().await?;
            key_rows::remove_all(&mut transaction).await?;
            key_rows::apply(&mut transaction, secret, &first).await?;
            Ok(transaction.commit().await?)
        }
    }
}

/// Where the files are in a data folder.
fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("keys")
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeyError> + Send + 'static,
) -> Result<T, KeyError> {
    tokio::task::spawn_blocking(work).await?
}

/// How a change of the files ended, and the keys as they are after it: also where it broke off in the middle.
fn change_files(
    folder: &Path,
    schedule: Schedule,
    change: &Change,
    now: Millis,
) -> Result<(Result<(), KeyError>, Vec<SigningKey>), KeyError> {
    let keys = key_files::read(folder)?;
    let plan = match schedule.plan(change, &keys, now) {
        Ok(plan) => plan,
        Err(error) => return Ok((Err(error), keys)),
    };
    match key_files::apply(folder, &plan) {
        Ok(()) => {
            log(&plan);
            Ok((Ok(()), plan.result(&keys)))
        }
        Err(error) => Ok((Err(error), key_files::read(folder)?)),
    }
}

/// Looks again at the rows, now that nobody else changes them, and does what is still to be done.
async fn change_rows(
    metadata: &Metadata,
    secret: &SecretText,
    schedule: Schedule,
    change: &Change,
    event: Option<&NewAuditEvent>,
    now: Millis,
) -> Result<Vec<SigningKey>, KeyError> {
    let mut transaction = metadata.begin().await?;
    let keys = key_rows::hold(&mut transaction, secret).await?;
    let plan = schedule.plan(change, &keys, now)?;
    key_rows::apply(&mut transaction, secret, &plan).await?;
    if let Some(event) = event {
        transaction.audit(event).await?;
    }
    transaction.commit().await?;
    log(&plan);
    Ok(plan.result(&keys))
}

fn log(plan: &Plan) {
    for key in &plan.add {
        let (key_id, purpose) = (key.id(), key.purpose().as_str());
        let signs_from = key.times.signs_from.rfc3339();
        tracing::info!(key_id, purpose, signs_from, "a signing key was made");
    }
    for key in &plan.remove {
        let (key_id, purpose) = (key.id(), key.purpose().as_str());
        tracing::info!(key_id, purpose, "a signing key was removed");
    }
}

/// A JWK set (RFC 7517).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JwkSet {
    /// Its keys.
    pub keys: Vec<Jwk>,
}

/// A public Ed25519 key (RFC 8037).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Jwk {
    #[schema(examples("OKP"))]
    kty: &'static str,
    #[schema(examples("Ed25519"))]
    crv: &'static str,
    #[schema(examples("EdDSA"))]
    alg: &'static str,
    #[schema(examples("sig"))]
    r#use: &'static str,
    #[schema(examples("3q2-7wXyZ0a1b2c3"))]
    kid: String,
    #[schema(examples("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))]
    x: String,
}

impl Jwk {
    fn of(key: &SigningKey) -> Self {
        Self {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            r#use: "sig",
            kid: key.id().to_owned(),
            x: URL_SAFE_NO_PAD.encode(key.public_key()),
        }
    }
}
