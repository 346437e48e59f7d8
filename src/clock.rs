//! The clock: handed to everything that needs the time, so that tests can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use uuid::{NoContext, Timestamp, Uuid};

/// Milliseconds since the Unix epoch: the unit of every time in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// This time, later by `milliseconds` (earlier when negative).
    #[must_use]
    pub fn plus(self, milliseconds: i64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// An id that nobody else has, and that sorts by this time.
    #[must_use]
    pub fn new_id(self) -> String {
        let since = self.0.unsigned_abs();
        let nanos = u32::try_from(since % 1000).unwrap_or(0) * 1_000_000;
        let time = Timestamp::from_unix(NoContext, since / 1000, nanos);
        Uuid::new_v7(time).to_string()
    }

    /// Whole seconds since the epoch, as tokens carry them.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// A time as HTTP's `Date` header has it.
    #[must_use]
    pub fn from_http_date(text: &str) -> Option<Self> {
        let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text);
        parsed.ok().map(|time| Self(time.as_millisecond()))
    }

    /// The time as RFC 3339 in UTC, as the API writes it.
    #[must_use]
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(
            |_| String::from("9999-12-31T23:59:59Z"),
            |time| time.to_string(),
        )
    }
}

/// Seconds of the configuration as the milliseconds of the database.
#[must_use]
pub fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1000)
}

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's clock.
    System,
    /// A clock that tests move by hand.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands at `start` until a test moves it.
    #[must_use]
    pub fn manual(start: Millis) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.0)))
    }

    /// The time now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the system"
    )]
    pub fn now(&self) -> Millis {
        match self {
            Self::System => Millis(jiff::Timestamp::now().as_millisecond()),
            Self::Manual(time) => Millis(time.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock; the system's clock cannot be moved.
    pub fn advance(&self, milliseconds: i64) {
        if let Self::Manual(time) = self {
            time.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }
}
