//! What many may hold together, of which none may hold all: memory for bodies, transfers, connections.
//!
//! Nothing waits here. Whoever waits for a share holds others already, and many of them would wait for each other; who
//! gets none is told to come back.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An amount that is shared. Clones share it too.
#[derive(Clone, Debug)]
pub struct Shares<K: Hash + Eq>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K: Hash + Eq> {
    all: usize,
    each: usize,
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    all: usize,
    /// Those who hold something: as many at most as there are shares.
    by: HashMap<K, usize>,
}

/// A part that somebody holds until it is dropped.
#[derive(Debug)]
pub struct Share<K: Hash + Eq + Clone> {
    of: Shares<K>,
    key: K,
    amount: usize,
}

impl<K: Hash + Eq + Clone> Shares<K> {
    /// `all` for everybody together, of which one may hold `each`.
    #[must_use]
    pub fn new(all: usize, each: usize) -> Self {
        Self(Arc::new(Inner {
            all,
            each: each.min(all),
            held: Mutex::new(Held {
                all: 0,
                by: HashMap::new(),
            }),
        }))
    }

    /// What everybody holds now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lock().all
    }

    /// A part for `key`, unless it or everybody together would hold too much.
    #[must_use]
    pub fn take(&self, key: K, amount: usize) -> Option<Share<K>> {
        let mut share = Share {
            of: self.clone(),
            key,
            amount: 0,
        };
        share.grow(amount).then_some(share)
    }

    fn lock(&self) -> MutexGuard<'_, Held<K>> {
        // No change of the counts can panic half way through.
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Share<K> {
    /// Takes more of the same; false, and nothing, if that is too much.
    pub fn grow(&mut self, amount: usize) -> bool {
        let mut held = self.of.lock();
        let own = held.by.get(&self.key).copied().unwrap_or(0);
        let (own, all) = (own.saturating_add(amount), held.all.saturating_add(amount));
        if own > self.of.0.each || all > self.of.0.all {
            return false;
        }
        held.all = all;
        held.by.insert(self.key.clone(), own);
        self.amount += amount;
        true
    }
}

impl<K: Hash + Eq + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        if self.amount == 0 {
            return;
        }
        let mut held = self.of.lock();
        held.all -= self.amount;
        let left = held.by.get(&self.key).copied().unwrap_or(0) - self.amount;
        if left == 0 {
            held.by.remove(&self.key);
        } else {
            held.by.insert(self.key.clone(), left);
        }
    }
}

/// Whoever is behind an address: an IPv6 network of 64 bits belongs to one host or household.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neighbourhood(IpAddr);

impl From<IpAddr> for Neighbourhood {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_holds_more_than_their_part_and_all_no_more_than_there_is() {
        let shares = Shares::new(10, 6);
        let mut one = shares.take("a", 4).unwrap();
        assert!(one.grow(2));
        assert!(!one.grow(1));
        assert!(shares.take("a", 1).is_none());
        let other = shares.take("b", 4).unwrap();
        assert!(shares.take("c", 1).is_none());
        assert_eq!(shares.held(), 10);
        drop(one);
        assert_eq!(shares.held(), 4);
        drop(other);
        assert_eq!(shares.held(), 0);
        assert!(shares.lock().by.is_empty());
    }

    #[test]
    fn two_shares_of_one_holder_are_given_back_each_by_itself() {
        let shares = Shares::new(10, 10);
        let (one, other) = (shares.take("a", 3).unwrap(), shares.take("a", 4).unwrap());
        drop(one);
        assert_eq!(shares.held(), 4);
        assert!(shares.take("a", 7).is_none());
        drop(other);
        assert!(shares.take("a", 10).is_some());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_and_a_mapped_address_as_itself() {
        let of = |text: &str| Neighbourhood::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }
}
