//! Rings on files and on a database, through rotations, crashes and what other replicas do.

use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::auth::key_schedule::OVERLAP_MS;
use crate::auth::testing;

const ROTATION_S: u64 = 24 * 3_600;
const ROTATION_MS: i64 = 24 * 3_600 * 1_000;
const ACCESS_S: u64 = 300;
/// The last token of an old key, and the leeway for clocks that are apart.
const LAST_ACCESS_TOKEN_MS: i64 = 300_000 + CLOCK_LEEWAY_MS;

fn schedule() -> Schedule {
    Schedule::of_seconds(ROTATION_S, 3_600, ACCESS_S)
}

fn secret(byte: &str) -> SecretText {
    SecretText::new(byte.repeat(32))
}

/// An installation whose keys are files or rows, and any number of rings on them.
struct Place {
    metadata: Metadata,
    clock: Clock,
    location: KeyLocation,
    folder: TempDir,
}

impl Place {
    async fn files() -> Self {
        let (metadata, clock, folder) = testing::metadata().await;
        let location = KeyLocation::Files(folder.path().to_owned());
        Self {
            metadata,
            clock,
            location,
            folder,
        }
    }

    async fn database() -> Self {
        let location = KeyLocation::Database(Some(secret("a")));
        Self {
            location,
            ..Self::files().await
        }
    }

    async fn both() -> [Self; 2] {
        [Self::files().await, Self::database().await]
    }

    async fn open(&self) -> KeyRing {
        self.try_open(&self.location).await.unwrap()
    }

    async fn try_open(&self, location: &KeyLocation) -> Result<KeyRing, KeyError> {
        KeyRing::open(location, &self.metadata, schedule(), self.clock.clone()).await
    }

    fn report(&self) -> Report {
        let now = self.clock.now();
        Report {
            metadata: self.metadata.clone(),
            event: NewAuditEvent::new(now, None, "a test", "signing_key.reset", "all"),
        }
    }

    fn key_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.path().join("keys")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }
}

fn signs(ring: &KeyRing) -> String {
    let key = ring.signer(Purpose::AccessToken).unwrap();
    key.id().to_owned()
}

fn verifies(ring: &KeyRing, id: &str) -> bool {
    ring.verifier(Purpose::AccessToken, id).is_some()
}

fn published(ring: &KeyRing) -> Vec<String> {
    ring.jwks().keys.into_iter().map(|key| key.kid).collect()
}

#[tokio::test]
async fn keys_are_made_once_and_read_again() {
    for place in Place::both().await {
        let (first, second) = (place.open().await, place.open().await);
        assert_eq!(first.keys().len(), 2);
        for purpose in Purpose::ALL {
            let key = first.signer(purpose).unwrap();
            assert_eq!(key.id(), second.signer(purpose).unwrap().id());
            assert!(second.verifier(purpose, key.id()).is_some());
        }
    }
}

#[tokio::test]
async fn a_key_of_one_purpose_verifies_nothing_of_the_other_and_is_not_published() {
    let place = Place::files().await;
    let ring = place.open().await;
    let credential_key = ring.signer(Purpose::RegistryCredential).unwrap();
    assert!(!verifies(&ring, credential_key.id()));
    assert_eq!(published(&ring), [signs(&ring)]);
    let json = serde_json::to_value(&ring.jwks().keys[0]).unwrap();
    assert_eq!(json["use"], "sig");
    assert!(json.get("d").is_none());
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_verifies_until_its_last_token_ends()
{
    for place in Place::both().await {
        let ring = place.open().await;
        let mut old = signs(&ring);
        for _ in 0..3 {
            place.clock.advance(ROTATION_MS - OVERLAP_MS - 1);
            ring.keep().await.unwrap();
            assert_eq!(published(&ring), [old.clone()], "it is not time yet");
            place.clock.advance(1);
            ring.keep().await.unwrap();
            let both = published(&ring);
            assert_eq!(both.len(), 2);
            let new = both.into_iter().find(|id| *id != old).unwrap();
            place.clock.advance(OVERLAP_MS - 1);
            assert_eq!(signs(&ring), old);
            place.clock.advance(1);
            assert_eq!(signs(&ring), new);
            place.clock.advance(LAST_ACCESS_TOKEN_MS - 1);
            ring.keep().await.unwrap();
            assert!(verifies(&ring, &old));
            place.clock.advance(1);
            assert!(!verifies(&ring, &old), "also before it is removed");
            assert_eq!(published(&ring), std::slice::from_ref(&new));
            ring.keep().await.unwrap();
            let still_there = ring.keys().iter().any(|key| key.id() == old);
            assert!(!still_there);
            // A start in between finds the same.
            assert_eq!(signs(&place.open().await), new);
            place.clock.advance(-LAST_ACCESS_TOKEN_MS);
            old = new;
        }
    }
}

#[tokio::test]
async fn of_many_replicas_one_makes_the_next_key() {
    let place = Place::database().await;
    let mut rings = Vec::new();
    for _ in 0..5 {
        rings.push(place.open().await);
    }
    place.clock.advance(ROTATION_MS);
    let turns: Vec<_> = rings
        .iter()
        .map(|ring| {
            let ring = ring.clone();
            tokio::spawn(async move { ring.keep().await })
        })
        .collect();
    for turn in turns {
        turn.await.unwrap().unwrap();
    }
    for ring in &rings {
        ring.keep().await.unwrap();
        assert_eq!(ring.keys().len(), 4, "an old and a new one of each purpose");
        assert_eq!(published(ring), published(&rings[0]));
    }
}

#[tokio::test]
async fn replicas_that_start_at_once_on_an_empty_database_agree() {
    let place = Arc::new(Place::database().await);
    let starts: Vec<_> = (0..5)
        .map(|_| {
            let place = Arc::clone(&place);
            tokio::spawn(async move { place.open().await })
        })
        .collect();
    for start in starts {
        assert_eq!(start.await.unwrap().keys().len(), 2);
    }
}

#[tokio::test]
async fn a_replaced_key_is_dead_at_once_and_what_it_signed_is_taken_back() {
    for place in Place::both().await {
        let ring = place.open().await;
        ring.change(Change::Rotate(Purpose::ALL.to_vec()))
            .await
            .unwrap();
        let old = ring.keys();
        ring.change(Change::Replace(vec![Purpose::AccessToken]))
            .await
            .unwrap();
        for key in old.iter() {
            let dead = key.purpose() == Purpose::AccessToken;
            assert_eq!(key.standing().is_taken_back(), dead);
            assert_eq!(ring.verifier(key.purpose(), key.id()).is_none(), dead);
        }
        assert_eq!(published(&ring), [signs(&ring)]);
        let restarted = place.open().await;
        assert_eq!(published(&restarted), published(&ring));
    }
}

#[tokio::test]
async fn a_key_that_came_to_its_end_is_not_taken_back() {
    for place in Place::both().await {
        let ring = place.open().await;
        let old = ring.signer(Purpose::AccessToken).unwrap();
        ring.change(Change::Rotate(vec![Purpose::AccessToken]))
            .await
            .unwrap();
        place.clock.advance(OVERLAP_MS + LAST_ACCESS_TOKEN_MS);
        ring.keep().await.unwrap();
        assert!(!verifies(&ring, old.id()));
        assert!(!old.standing().is_taken_back());
    }
}

#[tokio::test]
async fn what_another_replica_did_is_learnt_by_the_next_look() {
    let place = Place::database().await;
    let (here, there) = (place.open().await, place.open().await);
    here.change(Change::Rotate(vec![Purpose::AccessToken]))
        .await
        .unwrap();
    there.keep().await.unwrap();
    assert_eq!(published(&there), published(&here));
    let old = there.signer(Purpose::AccessToken).unwrap();
    here.change(Change::Replace(vec![Purpose::AccessToken]))
        .await
        .unwrap();
    assert!(verifies(&there, old.id()));
    there.keep().await.unwrap();
    assert!(!verifies(&there, old.id()));
    assert!(old.standing().is_taken_back());
    assert_eq!(signs(&there), signs(&here));
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_at_most_once_a_second() {
    let place = Place::database().await;
    let begun = Instant::now();
    let (here, there) = (place.open().await, place.open().await);
    here.change(Change::Replace(vec![Purpose::AccessToken]))
        .await
        .unwrap();
    assert!(*there.0.turn.lock().await >= begun, "the start has looked");
    // A second may have passed since, on a slow machine.
    *there.0.turn.lock().await = Instant::now();
    assert!(!there.refresh().await.unwrap());
    *there.0.turn.lock().await -= LOOK_AGAIN_AFTER;
    let begun = Instant::now();
    assert!(there.refresh().await.unwrap());
    assert!(verifies(&there, &signs(&here)));
    assert!(*there.0.turn.lock().await >= begun, "and so has this");
    *there.0.turn.lock().await = Instant::now();
    assert!(!there.refresh().await.unwrap());
}

#[tokio::test]
async fn whoever_waited_for_a_look_that_began_after_asking_has_its_answer() {
    let place = Place::database().await;
    let ring = place.open().await;
    let mut turn = ring.0.turn.lock().await;
    let asking = ring.clone();
    let asked = tokio::spawn(async move { asking.refresh().await });
    // There is one thread: the other task now runs until it has to wait for its turn.
    tokio::task::yield_now().await;
    *turn = Instant::now();
    drop(turn);
    assert!(asked.await.unwrap().unwrap());
}

#[tokio::test]
async fn another_secret_stops_the_start_and_says_what_to_do() {
    let place = Place::database().await;
    place.open().await;
    let other = KeyLocation::Database(Some(secret("b")));
    let error = place.try_open(&other).await.err().unwrap();
    assert!(matches!(error, KeyError::WrongWrappingSecret(_)), "{error}");
    assert!(error.to_string().contains("berth keys rewrap"), "{error}");
}

#[tokio::test]
async fn no_secret_or_a_short_one_stops_the_start() {
    let place = Place::database().await;
    for bad in [None, Some(SecretText::new("short".to_owned()))] {
        let location = KeyLocation::Database(bad);
        let error = place.try_open(&location).await.err().unwrap();
        let says = error.to_string();
        assert!(says.contains("auth.key_wrapping_secret"), "{says}");
    }
}

#[tokio::test]
async fn keys_that_were_reset_under_another_secret_are_dead_where_the_old_one_still_counts() {
    let place = Place::database().await;
    let ring = place.open().await;
    let old = ring.signer(Purpose::AccessToken).unwrap();
    let other = KeyLocation::Database(Some(secret("b")));
    reset(&other, &place.report(), schedule(), place.clock.now())
        .await
        .unwrap();
    let error = ring.keep().await.unwrap_err();
    assert!(matches!(error, KeyError::WrongWrappingSecret(_)), "{error}");
    assert!(!verifies(&ring, old.id()));
    assert!(old.standing().is_taken_back());
    let error = ring.signer(Purpose::AccessToken).err().unwrap();
    assert!(matches!(error, KeyError::NoSigner(_)), "{error}");
    let started = place.try_open(&other).await.unwrap();
    assert_ne!(signs(&started), old.id());
}

#[tokio::test]
async fn a_reset_leaves_new_keys_and_nothing_of_the_old_ones() {
    let place = Place::files().await;
    let old = signs(&place.open().await);
    let broken = place.folder.path().join("keys/access-broken.json");
    std::fs::write(&broken, b"{}").unwrap();
    assert!(place.try_open(&place.location).await.is_err());
    reset(
        &place.location,
        &place.report(),
        schedule(),
        place.clock.now(),
    )
    .await
    .unwrap();
    assert_eq!(place.key_files().len(), 2);
    assert_ne!(signs(&place.open().await), old);
}

#[tokio::test]
async fn a_rotation_of_files_goes_on_wherever_it_broke_off() {
    let place = Place::files().await;
    let ring = place.open().await;
    let old = ring.signer(Purpose::AccessToken).unwrap();
    let folder = folder(place.folder.path());
    // After the new file, before the end of the old one.
    let now = place.clock.now();
    let new = SigningKey::generate(Purpose::AccessToken, now, now.plus(OVERLAP_MS)).unwrap();
    key_files::write(&folder, &new).unwrap();
    drop(ring);
    let ring = place.open().await;
    let ends = |ring: &KeyRing| {
        let key = ring.verifier(Purpose::AccessToken, old.id());
        key.and_then(|key| key.times.expires_at)
    };
    assert_eq!(
        ends(&ring),
        Some(now.plus(OVERLAP_MS + LAST_ACCESS_TOKEN_MS))
    );
    assert_eq!(signs(&ring), old.id());
    // After the old one has ended, before its file was removed.
    place.clock.advance(OVERLAP_MS + LAST_ACCESS_TOKEN_MS);
    drop(ring);
    let ring = place.open().await;
    assert_eq!(signs(&ring), new.id());
    assert_eq!(place.key_files().len(), 2);
}

#[tokio::test]
async fn a_copy_of_a_replaced_key_file_goes_with_it() {
    let place = Place::files().await;
    let ring = place.open().await;
    let old = signs(&ring);
    let file = place.folder.path().join(format!("keys/access-{old}.json"));
    std::fs::copy(&file, file.with_file_name("access-copy.json")).unwrap();
    ring.change(Change::Replace(vec![Purpose::AccessToken]))
        .await
        .unwrap();
    assert_eq!(place.key_files().len(), 2);
    assert!(!verifies(&place.open().await, &old));
}

#[tokio::test]
async fn a_change_that_fails_half_way_leaves_memory_as_the_files_are() {
    let place = Place::files().await;
    let ring = place.open().await;
    let old = signs(&ring);
    // The folder is gone behind its back: nothing can be read, and what is known stays.
    let keys = place.folder.path().join("keys");
    std::fs::remove_dir_all(&keys).unwrap();
    std::fs::write(&keys, b"no folder").unwrap();
    let failed = ring
        .change(Change::Replace(vec![Purpose::AccessToken]))
        .await;
    assert!(matches!(failed, Err(KeyError::File { .. })));
    assert_eq!(signs(&ring), old);
}
