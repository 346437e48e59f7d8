//! How often something may happen in a minute: wrong secrets from one address, tokens for one key.
//!
//! The generic cell rate algorithm (GCRA): one instant for each key says when its allowance would be whole again. So an
//! unused minute can be spent at once, and after that one more is allowed every `60 / n` seconds.

use std::hash::Hash;

use moka::ops::compute::Op;

use crate::clock::Millis;

/// Keys that are remembered at most. One that is forgotten begins anew.
const MAX_KEYS: u64 = 100_000;
const MINUTE_MS: i64 = 60_000;

/// Something happened more often than it may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; try again in {retry_after_s} s")]
pub struct Throttled {
    /// The setting that says how often, as `config/berth.toml` names it.
    pub limit: &'static str,
    /// When the next one is allowed, in whole seconds.
    pub retry_after_s: u64,
    message: &'static str,
}

/// What each key may still do.
pub(super) struct Allowance<K> {
    limit: &'static str,
    message: &'static str,
    interval_ms: i64,
    whole_at: moka::sync::Cache<K, i64>,
}

impl<K: Hash + Eq + Send + Sync + 'static> Allowance<K> {
    pub(super) fn new(limit: &'static str, message: &'static str, per_minute: u32) -> Self {
        Self {
            limit,
            message,
            interval_ms: (MINUTE_MS / i64::from(per_minute.max(1))).max(1),
            whole_at: moka::sync::Cache::builder()
                .max_capacity(MAX_KEYS)
                // After a minute of silence every allowance is whole again, as if nothing had been.
                .time_to_idle(std::time::Duration::from_secs(2 * 60))
                .build(),
        }
    }

    /// Whether one more is allowed; uses nothing up.
    pub(super) fn check(&self, key: &K, now: Millis) -> Result<(), Throttled> {
        self.judge(self.believed(self.whole_at.get(key), now), now)
    }

    /// Uses one up, allowed or not.
    pub(super) fn spend(&self, key: K, now: Millis) {
        self.whole_at.entry(key).and_upsert_with(|entry| {
            let whole_at = self.believed(entry.map(|entry| *entry.value()), now);
            // A key that goes on regardless owes no more than a minute.
            whole_at.clamp(now.0, now.0 + MINUTE_MS) + self.interval_ms
        });
    }

    /// Uses one up if it is allowed.
    pub(super) fn take(&self, key: K, now: Millis) -> Result<(), Throttled> {
        let mut judged = Ok(());
        self.whole_at.entry(key).and_compute_with(|entry| {
            let whole_at = self.believed(entry.map(|entry| *entry.value()), now);
            judged = self.judge(whole_at, now);
            match judged {
                Ok(()) => Op::Put(whole_at.max(now.0) + self.interval_ms),
                Err(_) => Op::Nop,
            }
        });
        judged
    }

    /// When the allowance is whole again by what is remembered. Nobody owes more than a minute and an interval: what
    /// says so was remembered by a clock that has been set back since, and would lock its key out until then.
    fn believed(&self, remembered: Option<i64>, now: Millis) -> i64 {
        remembered
            .filter(|whole_at| *whole_at <= now.0 + MINUTE_MS + self.interval_ms)
            .unwrap_or(now.0)
    }

    fn judge(&self, whole_at: i64, now: Millis) -> Result<(), Throttled> {
        let wait_ms = whole_at + self.interval_ms - MINUTE_MS - now.0;
        if wait_ms <= 0 {
            return Ok(());
        }
        Err(Throttled {
            limit: self.limit,
            retry_after_s: u64::try_from(wait_ms).unwrap_or(0).div_ceil(1_000),
            message: self.message,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(per_minute: u32) -> Allowance<&'static str> {
        Allowance::new("limits.test", "too often", per_minute)
    }

    #[test]
    fn a_minutes_worth_may_come_at_once_and_then_one_each_interval() {
        let allowance = allowance(6);
        let start = Millis(1_000_000);
        for _ in 0..6 {
            allowance.take("a", start).unwrap();
        }
        let refusal = allowance.take("a", start).unwrap_err();
        assert_eq!((refusal.limit, refusal.retry_after_s), ("limits.test", 10));
        assert_eq!(refusal.to_string(), "too often; try again in 10 s");
        allowance.take("a", start.plus(9_999)).unwrap_err();
        allowance.take("a", start.plus(10_000)).unwrap();
        allowance.take("a", start.plus(10_000)).unwrap_err();
        allowance.take("b", start).unwrap();
    }

    #[test]
    fn a_check_uses_nothing_up_and_whoever_goes_on_owes_a_minute_at_most() {
        let allowance = allowance(2);
        let start = Millis(0);
        for _ in 0..10 {
            allowance.check(&"a", start).unwrap();
        }
        for _ in 0..1_000 {
            allowance.spend("a", start);
        }
        assert_eq!(allowance.check(&"a", start).unwrap_err().retry_after_s, 60);
        allowance.check(&"a", start.plus(MINUTE_MS)).unwrap();
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let allowance = allowance(2);
        let start = Millis(10 * MINUTE_MS);
        for _ in 0..3 {
            allowance.spend("a", start);
        }
        let back = start.plus(-2 * MINUTE_MS);
        allowance.check(&"a", back).unwrap();
        allowance.take("a", back).unwrap();
        allowance.take("a", back).unwrap();
        allowance.take("a", back).unwrap_err();
    }
}
