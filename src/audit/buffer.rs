//! What waits to be written into the audit log: events, and sums of refusals by actor, action, reason and minute.
//!
//! All of it is bounded. What finds no room becomes part of a sum of its workspace that tells only how many there were,
//! and where there are too many of these, a number in the log of the server.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::auth::issuer_of;
use crate::clock::Millis;
use crate::metadata::{AuditOutcome, NewAuditEvent};

/// Events that wait at most.
const MAX_WAITING: usize = 5_000;
/// Sums that are kept apart at most, of all workspaces together.
const MAX_SUMS: usize = 4_000;
/// Sums that are kept apart at most for one workspace in one minute, so that one key cannot take the place of others; and
/// as many for each issuer of identities there, since anybody may have an identity of a public one, and many of them.
const MAX_SUMS_OF_WORKSPACE: usize = 50;
/// Sums at most with those that tell only a number: of workspaces, of which there may be many.
const MAX_ALL_SUMS: usize = 8_000;
/// Refusals are summed up for so long.
const MINUTE_MS: i64 = 60_000;

/// Who and what, in the sum of those that are not kept apart.
const SEVERAL: &str = "several";
/// Why they are not.
const NO_ROOM: &str = "more than are kept apart";

/// Which sums are to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Those of other minutes than this one.
    Before(Millis),
    /// All.
    Everything,
}

/// The workspace and minute of a sum, and the issuer of whoever is no user of ours.
#[derive(PartialEq, Eq, Hash)]
struct Window {
    workspace_id: Option<String>,
    issuer: Option<String>,
    minute: i64,
}

/// What the refusals of one sum have in common.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    actor: String,
    action: String,
    outcome: AuditOutcome,
    reason: Option<String>,
}

impl Window {
    fn of(event: &NewAuditEvent) -> Self {
        Self {
            workspace_id: event.workspace_id().map(str::to_owned),
            issuer: issuer_of(event.actor()).map(str::to_owned),
            minute: minute(event.at()),
        }
    }
}

impl Kind {
    fn of(event: &NewAuditEvent) -> Self {
        Self {
            actor: event.actor().to_owned(),
            action: event.action().to_owned(),
            outcome: event.outcome(),
            reason: event.reason().map(str::to_owned),
        }
    }
}

fn minute(at: Millis) -> i64 {
    at.0.div_euclid(MINUTE_MS)
}

#[derive(Default)]
pub(super) struct Buffer {
    waiting: Vec<NewAuditEvent>,
    windows: HashMap<Window, HashMap<Kind, NewAuditEvent>>,
    /// In all windows.
    sums: usize,
    /// Events that left no trace since they were last spoken of.
    lost: u64,
}

impl Buffer {
    /// Holds an event by itself, if there is room.
    pub(super) fn push(&mut self, event: NewAuditEvent) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push(event);
        } else {
            self.sum(event.unspecific(SEVERAL, NO_ROOM));
        }
    }

    /// Adds an event to the sum of its kind.
    pub(super) fn sum(&mut self, event: NewAuditEvent) {
        let (count, at_once) = (event.count(), self.sums);
        let window = Window::of(&event);
        if at_once >= MAX_ALL_SUMS && !self.windows.contains_key(&window) {
            self.lost = self.lost.saturating_add(count);
            return;
        }
        let window = self.windows.entry(window).or_default();
        let room = at_once < MAX_SUMS && window.len() < MAX_SUMS_OF_WORKSPACE;
        match window.entry(Kind::of(&event)) {
            Entry::Occupied(known) => return known.into_mut().add(count),
            Entry::Vacant(place) if room => {
                place.insert(event);
                self.sums += 1;
                return;
            }
            Entry::Vacant(_) => {}
        }
        let rest = event.unspecific(SEVERAL, NO_ROOM);
        match window.entry(Kind::of(&rest)) {
            Entry::Occupied(known) => known.into_mut().add(count),
            Entry::Vacant(place) if at_once < MAX_ALL_SUMS => {
                place.insert(rest);
                self.sums += 1;
            }
            Entry::Vacant(_) => self.lost = self.lost.saturating_add(count),
        }
    }

    /// Hands out what is due, and how many events left no trace.
    pub(super) fn take(&mut self, due: Due) -> (Vec<NewAuditEvent>, u64) {
        let mut events = std::mem::take(&mut self.waiting);
        let is_due = |window: &Window| match due {
            // A clock that was set back leaves windows of minutes to come, which nothing adds to for now.
            Due::Before(now) => window.minute != minute(now),
            Due::Everything => true,
        };
        let over = self.windows.extract_if(|window, _| is_due(window));
        let before = events.len();
        events.extend(over.flat_map(|(_, sums)| sums.into_values()));
        self.sums -= events.len() - before;
        (events, std::mem::take(&mut self.lost))
    }

    /// Takes back what could not be written, as far as there is room.
    pub(super) fn put_back(&mut self, events: Vec<NewAuditEvent>) {
        let since = std::mem::replace(&mut self.waiting, events);
        let beyond = self.waiting.split_off(MAX_WAITING.min(self.waiting.len()));
        for event in beyond.into_iter().chain(since) {
            self.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Millis = Millis(1_767_225_600_000);

    fn refusal(workspace: &str, actor: &str, reason: &str, at: Millis) -> NewAuditEvent {
        NewAuditEvent::new(at, Some(workspace), actor, "PUT /a", "b").refused(reason)
    }

    fn told(mut events: Vec<NewAuditEvent>) -> Vec<(String, String, u64)> {
        events.sort_by_key(|event| (event.workspace_id().map(str::to_owned), event.count()));
        let tell = |event: &NewAuditEvent| {
            let workspace = event.workspace_id().unwrap().to_owned();
            (workspace, event.actor().to_owned(), event.count())
        };
        events.iter().map(tell).collect()
    }

    #[test]
    fn refusals_of_one_kind_and_minute_are_one_event_with_their_number() {
        let mut buffer = Buffer::default();
        for at in [0, 1, 59_999] {
            buffer.sum(refusal("w", "key:a", "no", START.plus(at)));
        }
        buffer.sum(refusal("w", "key:b", "no", START));
        buffer.sum(refusal("w", "key:a", "no", START.plus(60_000)));
        let (events, lost) = buffer.take(Due::Before(START.plus(59_999)));
        assert_eq!(
            told(events),
            [(String::from("w"), String::from("key:a"), 1)],
            "only other minutes are due"
        );
        let (events, _) = buffer.take(Due::Everything);
        let of = |actor: &str, count| (String::from("w"), String::from(actor), count);
        assert_eq!(told(events), [of("key:b", 1), of("key:a", 3)]);
        assert_eq!((lost, buffer.sums), (0, 0));
        assert!(buffer.windows.is_empty());
    }

    #[test]
    fn beyond_its_share_a_workspace_has_one_sum_more_and_others_have_theirs() {
        let mut buffer = Buffer::default();
        for number in 0..MAX_SUMS_OF_WORKSPACE + 7 {
            buffer.sum(refusal("loud", "key:a", &format!("no {number}"), START));
        }
        buffer.sum(refusal("quiet", "key:b", "no", START));
        let (events, lost) = buffer.take(Due::Everything);
        let told = told(events);
        assert_eq!(told.len(), MAX_SUMS_OF_WORKSPACE + 2);
        assert!(told.contains(&(String::from("loud"), String::from(SEVERAL), 7)));
        assert!(told.contains(&(String::from("quiet"), String::from("key:b"), 1)));
        assert_eq!(lost, 0);
    }

    /// Whoever has an account at a public issuer can get tokens of as many subjects as it likes.
    #[test]
    fn the_identities_of_an_issuer_take_no_place_from_others() {
        let mut buffer = Buffer::default();
        let mut refuse = |actor: &str| {
            let event = NewAuditEvent::new(START, None, actor, "POST /a", "b");
            buffer.sum(event.refused("no"));
        };
        for number in 0..MAX_SUMS_OF_WORKSPACE + 7 {
            refuse(&format!("identity:forge/-:repo:{number}"));
        }
        refuse("identity:cluster/-:system:serviceaccount:shop:default");
        refuse("key:operator");
        let (events, _) = buffer.take(Due::Everything);
        let count = |actor: &str| {
            let event = events.iter().find(|event| event.actor() == actor);
            event.map(NewAuditEvent::count)
        };
        assert_eq!(count(SEVERAL), Some(7));
        assert_eq!(count("key:operator"), Some(1));
        let other = "identity:cluster/-:system:serviceaccount:shop:default";
        assert_eq!(count(other), Some(1));
    }

    #[test]
    fn beyond_all_bounds_only_the_number_is_left() {
        let mut buffer = Buffer::default();
        for number in 0..MAX_ALL_SUMS + 5 {
            buffer.sum(refusal(
                &format!("workspace {number}"),
                "key:a",
                "no",
                START,
            ));
        }
        assert_eq!(buffer.sums, MAX_ALL_SUMS);
        assert_eq!(buffer.windows.len(), MAX_ALL_SUMS);
        let (events, lost) = buffer.take(Due::Everything);
        assert_eq!((events.len(), lost), (MAX_ALL_SUMS, 5));
    }

    #[test]
    fn what_could_not_be_written_waits_in_its_order_within_the_bounds() {
        let mut buffer = Buffer::default();
        let event = |actor: &str| NewAuditEvent::new(START, Some("w"), actor, "a.b", "c");
        for number in 0..MAX_WAITING {
            buffer.push(event(&format!("key:{number}")));
        }
        let (events, _) = buffer.take(Due::Everything);
        buffer.push(event("key:late"));
        buffer.put_back(events);
        assert_eq!(buffer.waiting.len(), MAX_WAITING);
        assert_eq!(buffer.waiting[0].actor(), "key:0");
        let (events, lost) = buffer.take(Due::Everything);
        let last = events.last().unwrap();
        assert_eq!((last.actor(), last.count()), (SEVERAL, 1));
        assert_eq!(last.outcome(), AuditOutcome::Allowed);
        assert_eq!((events.len(), lost), (MAX_WAITING + 1, 0));
    }
}
