//! How fast objects are deleted: pushes and pulls keep the disk or the store.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// So much of what was not used may be caught up with at once.
const BURST: Duration = Duration::from_secs(1);

/// One pace that all workers keep together.
#[derive(Debug)]
pub(super) struct Pace {
    apart: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn per_second(objects: u32) -> Self {
        Self {
            apart: Duration::from_secs(1) / objects.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits until the next object may go.
    pub(super) async fn step(&self) {
        let start = self.start(Instant::now()).await;
        tokio::time::sleep_until(start).await;
    }

    /// When the next object may go, which nobody else is told.
    async fn start(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().await;
        let start = (*next).max(now.checked_sub(BURST).unwrap_or(now));
        *next = start + self.apart;
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_is_followed_by_the_pace() {
        let pace = Pace::per_second(10);
        // Nothing was deleted for long: a second's worth may go at once, and not more.
        let now = Instant::now() + 10 * BURST;
        for _ in 0..=10 {
            assert!(pace.start(now).await <= now);
        }
        for number in 1..=20 {
            assert_eq!(pace.start(now).await, now + number * BURST / 10);
        }
    }
}
