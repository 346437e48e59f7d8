//! When signing keys come and go: what is to be done to a list of keys now. Pure but for the randomness of new keys.
//!
//! A new key is known to every replica, and published, before it signs; the old one stays until the last token that it
//! may have signed has ended. What is to be done follows from the list alone, so that whatever broke off in the middle
//! is taken up again by the next look at it.

use super::keys::{KeyError, MAX_KEYS_OF_A_PURPOSE, Purpose, SigningKey, signer};
use crate::clock::{Millis, milliseconds};

/// How long a key is published before it signs. Every replica has read it by then, and whoever keeps the JWKS for some
/// minutes has asked again.
pub(super) const OVERLAP_MS: i64 = 10 * 60 * 1000;
/// How far the clocks of replicas may be apart.
pub const CLOCK_LEEWAY_MS: i64 = 60 * 1000;

/// How often keys are replaced, and how long their tokens live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// How long a key signs; for good when none.
    pub(super) rotation_ms: Option<i64>,
    /// The longest life of a registry credential.
    pub(super) credential_ms: i64,
    /// The longest life of an access token.
    pub(super) access_token_ms: i64,
}

/// What somebody wants of the keys.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// What is due: a first key, the next one, the end of those that are done.
    Upkeep,
    /// A new key for each of these purposes, to sign after the overlap.
    Rotate(Vec<Purpose>),
    /// A new key for each of these purposes, to sign at once, and the end of all others.
    Replace(Vec<Purpose>),
}

/// What is to be done, in this order.
#[derive(Default)]
pub(super) struct Plan {
    /// New keys.
    pub(super) add: Vec<SigningKey>,
    /// Keys that get an end.
    pub(super) end: Vec<SigningKey>,
    /// Keys to be forgotten.
    pub(super) remove: Vec<SigningKey>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.end.is_empty() && self.remove.is_empty()
    }

    /// The keys as they are once it is done.
    pub(super) fn result(&self, keys: &[SigningKey]) -> Vec<SigningKey> {
        let changed = |key: &SigningKey| self.end.iter().find(|ending| ending.id() == key.id());
        let removed = |key: &&SigningKey| self.remove.iter().any(|gone| gone.id() == key.id());
        keys.iter()
            .filter(|key| !removed(key))
            .map(|key| changed(key).unwrap_or(key))
            .chain(&self.add)
            .cloned()
            .collect()
    }
}

impl Schedule {
    /// From the seconds of the configuration; a rotation of 0 seconds is none.
    pub(super) fn of_seconds(rotation: u64, credential: u64, access_token: u64) -> Self {
        Self {
            rotation_ms: (rotation > 0).then(|| milliseconds(rotation)),
            credential_ms: milliseconds(credential),
            access_token_ms: milliseconds(access_token),
        }
    }

    fn life_ms(&self, purpose: Purpose) -> i64 {
        match purpose {
            Purpose::RegistryCredential => self.credential_ms,
            Purpose::AccessToken => self.access_token_ms,
        }
    }

    /// When a key has signed its last token and that one has ended, if another one signs from `successor` on.
    fn end_ms(&self, purpose: Purpose, successor: Millis) -> Millis {
        successor.plus(self.life_ms(purpose).saturating_add(CLOCK_LEEWAY_MS))
    }

    /// What is to be done to `keys`.
    ///
    /// # Errors
    /// [`KeyError::NotNow`] for a rotation while another one is under way.
    pub(super) fn plan(
        &self,
        change: &Change,
        keys: &[SigningKey],
        now: Millis,
    ) -> Result<Plan, KeyError> {
        let mut plan = Plan::default();
        match change {
            Change::Upkeep => {
                for purpose in Purpose::ALL {
                    self.plan_upkeep(&mut plan, purpose, keys, now)?;
                }
            }
            Change::Rotate(purposes) => {
                for purpose in purposes {
                    check_rotation(*purpose, keys, now)?;
                    self.plan_rotation(&mut plan, *purpose, keys, now)?;
                }
            }
            Change::Replace(purposes) => {
                for purpose in purposes {
                    plan.add.push(SigningKey::generate(*purpose, now, now)?);
                    plan.remove.extend(of(*purpose, keys).cloned());
                }
            }
        }
        Ok(plan)
    }

    fn plan_upkeep(
        &self,
        plan: &mut Plan,
        purpose: Purpose,
        keys: &[SigningKey],
        now: Millis,
    ) -> Result<(), KeyError> {
        plan.remove
            .extend(of(purpose, keys).filter(|key| !key.lives(now)).cloned());
        self.end_the_replaced(plan, purpose, keys, now);
        if signer(keys, purpose, now).is_none() {
            plan.add.push(SigningKey::generate(purpose, now, now)?);
            return Ok(());
        }
        let newest = foreseeable(purpose, keys, now).max();
        let due = self
            .rotation_ms
            .zip(newest)
            .is_some_and(|(rotation, newest)| {
                now >= newest.plus(rotation.saturating_sub(OVERLAP_MS))
            });
        if due && living(purpose, keys, now).count() < MAX_KEYS_OF_A_PURPOSE {
            self.plan_rotation(plan, purpose, keys, now)?;
        }
        Ok(())
    }

    /// Every key that has a successor has an end. Where a change broke off it may not have got it, and may have signed
    /// until now; where tokens were given a longer life since, it ends too soon.
    fn end_the_replaced(
        &self,
        plan: &mut Plan,
        purpose: Purpose,
        keys: &[SigningKey],
        now: Millis,
    ) {
        let mut order: Vec<&SigningKey> = living(purpose, keys, now).collect();
        order.sort_by_key(|key| (key.times.signs_from, key.id()));
        for pair in order.windows(2) {
            let [key, successor] = pair else { continue };
            let signs_from = successor.times.signs_from;
            let wanted = self.end_ms(purpose, signs_from.max(now));
            let misses = |end: Millis| signs_from > now && end < wanted;
            if key.times.expires_at.is_none_or(misses) {
                plan.end.push(key.ending(wanted));
            }
        }
    }

    fn plan_rotation(
        &self,
        plan: &mut Plan,
        purpose: Purpose,
        keys: &[SigningKey],
        now: Millis,
    ) -> Result<(), KeyError> {
        let signs_from = now.plus(OVERLAP_MS);
        plan.add
            .push(SigningKey::generate(purpose, now, signs_from)?);
        let end = self.end_ms(purpose, signs_from);
        let open = living(purpose, keys, now).filter(|key| key.times.expires_at.is_none());
        let already: Vec<String> = plan.end.iter().map(|key| key.id().to_owned()).collect();
        plan.end.extend(
            open.filter(|key| !already.iter().any(|id| id == key.id()))
                .map(|key| key.ending(end)),
        );
        Ok(())
    }
}

fn of(purpose: Purpose, keys: &[SigningKey]) -> impl Iterator<Item = &SigningKey> {
    keys.iter().filter(move |key| key.purpose() == purpose)
}

fn living(purpose: Purpose, keys: &[SigningKey], now: Millis) -> impl Iterator<Item = &SigningKey> {
    of(purpose, keys).filter(move |key| key.lives(now))
}

/// When the living keys sign from, without those that no rotation of this time has made: they come from a clock that
/// was wrong, and must not keep the next rotation waiting.
fn foreseeable(purpose: Purpose, keys: &[SigningKey], now: Millis) -> impl Iterator<Item = Millis> {
    let horizon = now.plus(OVERLAP_MS + CLOCK_LEEWAY_MS);
    living(purpose, keys, now)
        .map(|key| key.times.signs_from)
        .filter(move |signs_from| *signs_from <= horizon)
}

fn check_rotation(purpose: Purpose, keys: &[SigningKey], now: Millis) -> Result<(), KeyError> {
    let word = purpose.as_str();
    if let Some(pending) = foreseeable(purpose, keys, now).find(|from| *from > now) {
        return Err(KeyError::NotNow(format!(
            "a new {word} key is published already and signs from {} on: wait until then, or, if the \
             keys are in wrong hands, end them at once with \"now\": true",
            pending.rfc3339()
        )));
    }
    if living(purpose, keys, now).count() >= MAX_KEYS_OF_A_PURPOSE {
        return Err(KeyError::NotNow(format!(
            "there are {MAX_KEYS_OF_A_PURPOSE} {word} keys whose tokens still count: wait until one has ended, or, if \
             they are in wrong hands, end them at once with \"now\": true"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_MS: i64 = 1_000;
    const HOUR_MS: i64 = 3_600 * SECOND_MS;
    const DAY_MS: i64 = 24 * HOUR_MS;
    const ROTATION_MS: i64 = 2 * DAY_MS;

    fn schedule() -> Schedule {
        Schedule::of_seconds(2 * 24 * 3_600, 12 * 3_600, 300)
    }

    fn done(schedule: &Schedule, change: &Change, keys: &mut Vec<SigningKey>, now: i64) -> Plan {
        let plan = schedule.plan(change, keys, Millis(now)).unwrap();
        *keys = plan.result(keys);
        plan
    }

    fn key(purpose: Purpose, signs_from: i64, expires_at: Option<i64>) -> SigningKey {
        let key = SigningKey::generate(purpose, Millis(0), Millis(signs_from)).unwrap();
        match expires_at {
            Some(end) => key.ending(Millis(end)),
            None => key,
        }
    }

    #[test]
    fn over_many_rotations_each_key_is_known_before_it_signs_and_until_its_last_token_has_ended() {
        let schedule = schedule();
        // Not a divisor of any of the times above.
        let step = 97 * SECOND_MS;
        for purpose in Purpose::ALL {
            let life = schedule.life_ms(purpose);
            let mut keys = Vec::new();
            let mut known_since = std::collections::HashMap::new();
            let mut last_token_ends = std::collections::HashMap::new();
            let mut signers = Vec::new();
            for now in (0..5 * ROTATION_MS).step_by(usize::try_from(step).unwrap()) {
                done(&schedule, &Change::Upkeep, &mut keys, now);
                let own: Vec<&SigningKey> = of(purpose, &keys).collect();
                assert!(own.len() <= 2, "{} keys at {now}", own.len());
                for key in &own {
                    known_since.entry(key.id().to_owned()).or_insert(now);
                }
                for (id, end) in &last_token_ends {
                    let verifies = own
                        .iter()
                        .any(|key| key.id() == id && key.lives(Millis(now)));
                    assert!(verifies || now >= *end, "a token of {id} is lost at {now}");
                }
                let signing = signer(&keys, purpose, Millis(now)).unwrap().id().to_owned();
                if signers.last() != Some(&signing) {
                    let known_for = now - known_since[&signing];
                    assert!(signers.is_empty() || known_for >= OVERLAP_MS, "{known_for}");
                    signers.push(signing.clone());
                }
                last_token_ends.insert(signing, now + life);
            }
            assert_eq!(signers.len(), 5);
        }
    }

    #[test]
    fn without_a_rotation_one_key_signs_for_good() {
        let schedule = Schedule::of_seconds(0, 12 * 3_600, 300);
        let mut keys = Vec::new();
        assert_eq!(done(&schedule, &Change::Upkeep, &mut keys, 0).add.len(), 2);
        let plan = done(&schedule, &Change::Upkeep, &mut keys, 4_000 * DAY_MS);
        assert!(plan.is_empty());
    }

    #[test]
    fn a_replaced_key_leaves_nothing_behind_and_the_other_purpose_alone() {
        let schedule = schedule();
        let mut keys = Vec::new();
        done(&schedule, &Change::Upkeep, &mut keys, 0);
        let both = Change::Rotate(Purpose::ALL.to_vec());
        done(&schedule, &both, &mut keys, HOUR_MS);
        assert_eq!(keys.len(), 4);
        let old: Vec<String> = keys.iter().map(|key| key.id().to_owned()).collect();
        let replace = Change::Replace(vec![Purpose::AccessToken]);
        done(&schedule, &replace, &mut keys, HOUR_MS);
        let now = Millis(HOUR_MS);
        let signing = signer(&keys, Purpose::AccessToken, now).unwrap();
        assert!(!old.iter().any(|id| id == signing.id()));
        assert_eq!(of(Purpose::AccessToken, &keys).count(), 1);
        assert_eq!(of(Purpose::RegistryCredential, &keys).count(), 2);
    }

    #[test]
    fn a_second_rotation_waits_for_the_first() {
        let schedule = schedule();
        let mut keys = Vec::new();
        done(&schedule, &Change::Upkeep, &mut keys, 0);
        let rotate = Change::Rotate(vec![Purpose::AccessToken]);
        done(&schedule, &rotate, &mut keys, 0);
        let refused = schedule.plan(&rotate, &keys, Millis(OVERLAP_MS - 1));
        assert!(matches!(refused, Err(KeyError::NotNow(_))));
        done(&schedule, &rotate, &mut keys, OVERLAP_MS);
        assert_eq!(of(Purpose::AccessToken, &keys).count(), 3);
    }

    #[test]
    fn rotations_by_command_are_limited_and_their_keys_can_be_kept() {
        let schedule = schedule();
        let mut keys = Vec::new();
        done(&schedule, &Change::Upkeep, &mut keys, 0);
        let rotate = Change::Rotate(vec![Purpose::RegistryCredential]);
        let mut now = 0;
        while let Ok(plan) = schedule.plan(&rotate, &keys, Millis(now)) {
            keys = plan.result(&keys);
            now += OVERLAP_MS;
        }
        let own = of(Purpose::RegistryCredential, &keys).count();
        assert_eq!(own, MAX_KEYS_OF_A_PURPOSE);
        assert!(2 * own <= super::super::keys::MAX_KEYS as usize);
        let plan = done(&schedule, &Change::Upkeep, &mut keys, now + DAY_MS);
        assert_eq!(plan.remove.len(), own - 1);
    }

    #[test]
    fn a_rotation_that_broke_off_is_taken_up_again() {
        // The new key was written, and then the process ended.
        let schedule = schedule();
        let old = key(Purpose::AccessToken, 0, None);
        let new = key(Purpose::AccessToken, OVERLAP_MS, None);
        let mut keys = vec![old.clone(), new];
        let plan = done(&schedule, &Change::Upkeep, &mut keys, HOUR_MS);
        let ends = plan.end.iter().find(|key| key.id() == old.id()).unwrap();
        // Nobody knows until when it signed: until now, at worst.
        let last_token = HOUR_MS + schedule.access_token_ms;
        assert!(ends.times.expires_at.unwrap() >= Millis(last_token));
        assert_eq!(of(Purpose::AccessToken, &keys).count(), 2);
        assert!(done(&schedule, &Change::Upkeep, &mut keys, HOUR_MS).is_empty());
    }

    #[test]
    fn a_longer_life_of_tokens_reaches_a_key_that_still_signs() {
        let mut keys = Vec::new();
        let short = schedule();
        done(&short, &Change::Upkeep, &mut keys, 0);
        done(&short, &Change::Rotate(Purpose::ALL.to_vec()), &mut keys, 0);
        let long = Schedule {
            access_token_ms: HOUR_MS,
            ..short
        };
        let plan = done(&long, &Change::Upkeep, &mut keys, OVERLAP_MS - 1);
        assert_eq!(plan.end.len(), 1);
        assert!(plan.end[0].times.expires_at.unwrap() >= Millis(OVERLAP_MS + HOUR_MS));
        // And a shorter one cuts nothing off.
        assert!(done(&short, &Change::Upkeep, &mut keys, OVERLAP_MS - 1).is_empty());
    }

    #[test]
    fn a_key_from_a_clock_that_was_ahead_keeps_no_rotation_waiting() {
        let schedule = schedule();
        let mut keys = vec![
            key(Purpose::AccessToken, 0, None),
            key(Purpose::AccessToken, 1_000 * DAY_MS, None),
            key(Purpose::RegistryCredential, 0, None),
        ];
        done(&schedule, &Change::Upkeep, &mut keys, HOUR_MS);
        assert_eq!(of(Purpose::AccessToken, &keys).count(), 2);
        let plan = done(&schedule, &Change::Upkeep, &mut keys, ROTATION_MS);
        assert_eq!(plan.add.len(), 2);
    }

    #[test]
    fn without_a_key_that_may_sign_there_is_one_at_once() {
        let schedule = schedule();
        let mut keys = vec![
            key(Purpose::AccessToken, 0, Some(HOUR_MS)),
            key(Purpose::RegistryCredential, DAY_MS, None),
        ];
        done(&schedule, &Change::Upkeep, &mut keys, HOUR_MS);
        for purpose in Purpose::ALL {
            let signing = signer(&keys, purpose, Millis(HOUR_MS)).unwrap();
            assert_eq!(signing.times.signs_from, Millis(HOUR_MS));
        }
    }
}
