//! When which namespace is looked at: all of them now and then, new ones at once, those with trouble again soon. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// The first pause after something went wrong; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A pause that grows while things go wrong.
struct Pause {
    until: Instant,
    length: Duration,
}

/// What is to be done when.
pub(super) struct Agenda {
    /// Between two looks at everything, and the longest pause.
    interval: Duration,
    /// The next look at everything.
    all_at: Instant,
    /// While nothing is tried.
    outage: Option<Pause>,
    /// Since when nothing has worked anywhere.
    failing_since: Option<Instant>,
    /// The namespaces that were selected last, with the pause of those that have trouble. One that was not looked at
    /// when it should have been has a pause that is over.
    known: BTreeMap<String, Option<Pause>>,
}

/// What is to be looked at now.
pub(super) struct Due {
    pub(super) names: Vec<String>,
    /// Namespaces that are not selected any more.
    pub(super) left: Vec<String>,
}

fn longer(pause: Option<&Pause>, interval: Duration, now: Instant) -> Pause {
    let length = pause.map_or(FIRST_PAUSE, |pause| (pause.length * 2).min(interval));
    Pause {
        until: now + length,
        length,
    }
}

impl Agenda {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            all_at: now,
            outage: None,
            failing_since: None,
            known: BTreeMap::new(),
        }
    }

    /// Which of the selected namespaces are to be looked at. Those with trouble are the last ones: they may be all that
    /// is looked at before it is broken off.
    pub(super) fn due(&mut self, selected: &[String], now: Instant) -> Due {
        let is_all = now >= self.all_at;
        if is_all {
            self.all_at = now + self.interval;
        }
        let mut before = std::mem::take(&mut self.known);
        let (mut names, mut troubled) = (Vec::new(), Vec::new());
        for name in selected {
            let (is_new, pause) = match before.remove(name) {
                None => (true, None),
                Some(pause) => (false, pause),
            };
            // It stays due until it was looked at.
            let due_at_once = || Pause {
                until: now,
                length: Duration::ZERO,
            };
            let pause = pause.or_else(|| (is_all || is_new).then(due_at_once));
            if let Some(pause) = &pause
                && (is_all || now >= pause.until)
            {
                let list = if pause.length > Duration::ZERO {
                    &mut troubled
                } else {
                    &mut names
                };
                list.push(name.clone());
            }
            self.known.insert(name.clone(), pause);
        }
        names.append(&mut troubled);
        Due {
            names,
            left: before.into_keys().collect(),
        }
    }

    /// A namespace is in order, or is not.
    pub(super) fn looked_at(&mut self, name: &str, is_in_order: bool, now: Instant) {
        let interval = self.interval;
        if let Some(pause) = self.known.get_mut(name) {
            let before = pause.take().filter(|pause| pause.length > Duration::ZERO);
            *pause = (!is_in_order).then(|| longer(before.as_ref(), interval, now));
        }
    }

    /// Everything that was due was looked at.
    pub(super) fn passed(&mut self) {
        self.outage = None;
        self.failing_since = None;
    }

    /// Some are in order, and so many are not that the rest was not looked at.
    pub(super) fn broken_off(&mut self, now: Instant) {
        self.outage = Some(longer(self.outage.as_ref(), self.interval, now));
        self.failing_since = None;
    }

    /// Nothing works now; the answer is for how long.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        self.outage = Some(longer(self.outage.as_ref(), self.interval, now));
        now - *self.failing_since.get_or_insert(now)
    }

    /// When there is something to do again.
    pub(super) fn next(&self) -> Instant {
        if let Some(outage) = &self.outage {
            return outage.until;
        }
        let pauses = self.known.values().flatten();
        let soonest = pauses.map(|pause| pause.until).min();
        soonest.map_or(self.all_at, |at| at.min(self.all_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Looks at what is due, and finds some of it not in order.
    fn pass(agenda: &mut Agenda, selected: &[&str], at: Instant, troubled: &[&str]) -> Vec<String> {
        let due = agenda.due(&names(selected), at);
        for name in &due.names {
            agenda.looked_at(name, !troubled.contains(&name.as_str()), at);
        }
        agenda.passed();
        due.names
    }

    #[test]
    fn everything_comes_up_again_after_the_interval_and_new_ones_at_once() {
        let start = Instant::now();
        let mut agenda = Agenda::new(INTERVAL, start);
        assert_eq!(pass(&mut agenda, &["a", "b"], start, &[]), ["a", "b"]);
        assert_eq!(agenda.next(), after(start, 5));
        let at = after(start, 2);
        assert_eq!(pass(&mut agenda, &["a", "b", "c"], at, &[]), ["c"]);
        assert_eq!(agenda.next(), after(start, 5));
        let due = agenda.due(&names(&["b"]), after(start, 5));
        assert_eq!((due.names, due.left), (names(&["b"]), names(&["a", "c"])));
    }

    #[test]
    fn pauses_grow_up_to_the_interval_and_start_anew_after_a_success() {
        let start = Instant::now();
        let mut agenda = Agenda::new(INTERVAL, start);
        pass(&mut agenda, &["a", "b"], start, &["a"]);
        assert_eq!(agenda.next(), after(start, 1));
        assert_eq!(
            pass(&mut agenda, &["a", "b"], after(start, 1), &["a"]),
            ["a"]
        );
        assert_eq!(agenda.next(), after(start, 3));
        assert_eq!(
            pass(&mut agenda, &["a", "b"], after(start, 3), &["a"]),
            ["a"]
        );
        // Not seven, since all are looked at before.
        assert_eq!(agenda.next(), after(start, 5));
        assert_eq!(
            pass(&mut agenda, &["a", "b"], after(start, 5), &["a"]),
            ["b", "a"]
        );
        // Eight would be more than the interval.
        assert_eq!(agenda.next(), after(start, 10));
        pass(&mut agenda, &["a", "b"], after(start, 10), &[]);
        assert_eq!(agenda.next(), after(start, 15));
        pass(&mut agenda, &["a", "b"], after(start, 15), &["b"]);
        assert_eq!(agenda.next(), after(start, 16));
    }

    #[test]
    fn what_was_not_looked_at_in_an_outage_stays_due() {
        let start = Instant::now();
        let mut agenda = Agenda::new(INTERVAL, start);
        pass(&mut agenda, &["a"], start, &[]);
        let at = after(start, 1);
        assert_eq!(agenda.due(&names(&["a", "b"]), at).names, ["b"]);
        agenda.failed(at);
        assert_eq!(agenda.next(), after(start, 2));
        let at = after(start, 2);
        assert_eq!(agenda.due(&names(&["a", "b"]), at).names, ["b"]);
        agenda.failed(at);
        assert_eq!(agenda.next(), after(start, 4));
        assert_eq!(pass(&mut agenda, &["a", "b"], after(start, 4), &[]), ["b"]);
        assert_eq!(agenda.next(), after(start, 5));
    }

    #[test]
    fn those_with_trouble_come_last_and_keep_no_other_from_its_turn() {
        let start = Instant::now();
        let mut agenda = Agenda::new(INTERVAL, start);
        let all = names(&["a", "b", "c"]);
        assert_eq!(agenda.due(&all, start).names, all);
        agenda.looked_at("a", false, start);
        agenda.broken_off(start);
        let at = after(start, 1);
        assert_eq!(agenda.next(), at);
        let due = agenda.due(&all, at).names;
        assert_eq!(due, names(&["b", "c", "a"]));
        for name in due {
            agenda.looked_at(&name, name != "a", at);
        }
        agenda.passed();
        assert_eq!(agenda.next(), after(start, 3));
        let at = after(start, 5);
        assert_eq!(agenda.due(&all, at).names, names(&["b", "c", "a"]));
    }

    #[test]
    fn an_outage_lasts_until_something_works() {
        let start = Instant::now();
        let mut agenda = Agenda::new(INTERVAL, start);
        assert_eq!(agenda.failed(start), Duration::ZERO);
        assert_eq!(agenda.failed(after(start, 60)), Duration::from_secs(60));
        agenda.broken_off(after(start, 90));
        assert_eq!(agenda.failed(after(start, 100)), Duration::ZERO);
        agenda.passed();
        assert_eq!(agenda.failed(after(start, 200)), Duration::ZERO);
    }
}
