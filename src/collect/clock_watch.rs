//! A wall clock that jumps is not believed at once: windows would end that have not been open.

use std::time::{Duration, Instant};

use crate::clock::Millis;

/// How far the wall clock may go another way than the time that really passes, in milliseconds: five minutes.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;

/// Since when the wall clock says something else than it should.
#[derive(Clone, Copy, Debug)]
struct Jump {
    seen: Instant,
    /// What the wall clock said then, when it should have said `expected`.
    wall: Millis,
    expected: Millis,
}

/// Compares the wall clock with one that only counts on.
#[derive(Debug)]
pub(super) struct ClockWatch {
    /// A moment of both that is believed.
    believed: Option<(Millis, Instant)>,
    jump: Option<Jump>,
    wait: Duration,
}

/// Why nothing is collected for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockJumped {
    /// How far the wall clock is ahead of what it should say, in milliseconds; negative where it is behind.
    pub(super) by_ms: i64,
    /// How much longer it is waited for somebody to set it right.
    pub(super) left: Duration,
}

impl ClockWatch {
    /// After a jump it is waited for so long, unless the clock comes back by itself.
    pub(super) fn new(wait: Duration) -> Self {
        Self {
            believed: None,
            jump: None,
            wait,
        }
    }

    /// Looks at both clocks. Whoever collects does not go on while there is an error.
    pub(super) fn look(&mut self, wall: Millis, now: Instant) -> Result<(), ClockJumped> {
        let Some((believed, at)) = self.believed else {
            self.believed = Some((wall, now));
            return Ok(());
        };
        let passed = i64::try_from(now.duration_since(at).as_millis()).unwrap_or(i64::MAX);
        let expected = believed.plus(passed);
        if (wall.0 - expected.0).abs() <= TOLERANCE_MS {
            // Small differences are taken over, so that they do not add up.
            self.believe(wall, now);
            return Ok(());
        }
        // A second jump begins a wait of its own.
        let jump = match self.jump {
            Some(jump) if !jump.has_moved(wall, now) => jump,
            Some(_) | None => Jump {
                seen: now,
                wall,
                expected,
            },
        };
        self.jump = Some(jump);
        let left = self.wait.saturating_sub(now.duration_since(jump.seen));
        if left.is_zero() {
            self.believe(wall, now);
            return Ok(());
        }
        Err(ClockJumped {
            by_ms: jump.wall.0 - jump.expected.0,
            left,
        })
    }

    /// Takes the wall clock at its word.
    pub(super) fn believe(&mut self, wall: Millis, now: Instant) {
        self.believed = Some((wall, now));
        self.jump = None;
    }
}

impl Jump {
    fn has_moved(&self, wall: Millis, now: Instant) -> bool {
        let passed = i64::try_from(now.duration_since(self.seen).as_millis()).unwrap_or(i64::MAX);
        (wall.0 - self.wall.plus(passed).0).abs() > TOLERANCE_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = Millis(1_767_225_600_000);
    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn a_clock_that_goes_on_is_believed_also_when_it_is_slewed() {
        let mut watch = ClockWatch::new(24 * HOUR);
        let start = Instant::now();
        for hour in 0..100_u32 {
            // Four minutes an hour are too fast, and still no jump.
            let wall = START.plus(i64::from(hour) * (HOUR_MS + 240_000));
            assert_eq!(watch.look(wall, start + hour * HOUR), Ok(()));
        }
    }

    #[test]
    fn a_jump_is_waited_out_unless_the_clock_comes_back() {
        for by_ms in [72 * HOUR_MS, -72 * HOUR_MS] {
            let mut watch = ClockWatch::new(24 * HOUR);
            let start = Instant::now();
            watch.look(START, start).unwrap();
            let wall = |hours: i64| START.plus(hours * HOUR_MS + by_ms);
            let jumped = watch.look(wall(1), start + HOUR).unwrap_err();
            assert_eq!((jumped.by_ms, jumped.left), (by_ms, 24 * HOUR));
            let still = watch.look(wall(2), start + 2 * HOUR).unwrap_err();
            assert_eq!((still.by_ms, still.left), (by_ms, 23 * HOUR));
            // Somebody sets it right.
            assert_eq!(
                watch.look(START.plus(3 * HOUR_MS), start + 3 * HOUR),
                Ok(())
            );
            // It jumps once more, and stays there: in the end that is the time.
            assert!(watch.look(wall(4), start + 4 * HOUR).is_err());
            assert!(watch.look(wall(27), start + 27 * HOUR).is_err());
            assert_eq!(watch.look(wall(28), start + 28 * HOUR), Ok(()));
            assert_eq!(watch.look(wall(29), start + 29 * HOUR), Ok(()));
        }
    }

    #[test]
    fn a_second_jump_is_waited_out_from_its_own_beginning() {
        let mut watch = ClockWatch::new(24 * HOUR);
        let start = Instant::now();
        watch.look(START, start).unwrap();
        watch.look(START.plus(10 * HOUR_MS), start).unwrap_err();
        let jumped = watch.look(START.plus(40 * HOUR_MS), start + 20 * HOUR);
        assert_eq!(jumped.unwrap_err().left, 24 * HOUR);
        watch.believe(START.plus(40 * HOUR_MS), start + 20 * HOUR);
        assert_eq!(
            watch.look(START.plus(41 * HOUR_MS), start + 21 * HOUR),
            Ok(())
        );
    }
}
