//! How soon what was taken away has ended everywhere.

use std::time::{Duration, Instant};

/// What the contract promises.
pub(crate) const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks.
const POLL: Duration = Duration::from_millis(50);

/// Looks until what happened at `since` is seen. A look that begins after the limit must see it. One that began before
/// may still see what was, whenever its answer comes: so a slow machine fails nothing.
pub(crate) async fn seen_within(
    limit: Duration,
    since: Instant,
    what: &str,
    mut look: impl AsyncFnMut() -> bool,
) {
    loop {
        let begun = since.elapsed();
        if look().await {
            return;
        }
        assert!(begun < limit, "{what}: not seen after {begun:?}");
        tokio::time::sleep(POLL).await;
    }
}
