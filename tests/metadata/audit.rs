//! The audit log: added to inside the changes that it tells of, read from the newest on, emptied from the oldest on.

use berth::clock::Millis;
use berth::metadata::{AuditEvent, AuditOutcome, DeletionKind, NewAuditEvent, NewDeletion};
use berth::telemetry::RequestId;

use crate::contracts;
use crate::fixture::{ACTOR, Fixture, OTHER_WORKSPACE, START, WORKSPACE, together};

contracts![
    an_event_is_read_as_it_was_written,
    an_event_is_kept_with_its_change_or_not_at_all,
    events_come_from_the_newest_on_and_of_one_workspace_alone,
    old_events_go_in_batches_and_the_others_stay,
    texts_that_no_row_can_hold_are_made_to_fit,
];

fn event(workspace_id: Option<&str>, target: &str, at: Millis) -> NewAuditEvent {
    NewAuditEvent::new(at, workspace_id, ACTOR, "thing.change", target)
}

async fn write(fixture: &Fixture, event: &NewAuditEvent) {
    let written = fixture.change(async |change| change.audit(event).await);
    written.await.unwrap();
}

fn targets(events: &[AuditEvent]) -> Vec<&str> {
    events.iter().map(|event| event.target.as_str()).collect()
}

async fn an_event_is_read_as_it_was_written(fixture: Fixture) {
    let id = RequestId::accept(Some(b"request-1"));
    let mut refused = event(Some(WORKSPACE), "t-1111/app", START)
        .refused("the role viewer may not push")
        .from("2001:db8::1".parse().unwrap(), &id);
    refused.add(u64::MAX);
    write(&fixture, &refused).await;
    write(&fixture, &event(None, "main", START.plus(1))).await;
    let events = fixture.metadata.audit_events(None, None, 10).await.unwrap();
    let expected = AuditEvent {
        id: events[1].id,
        at: START,
        actor: ACTOR.to_owned(),
        action: String::from("thing.change"),
        target: String::from("t-1111/app"),
        outcome: AuditOutcome::Refused,
        reason: Some(String::from("the role viewer may not push")),
        address: Some(String::from("2001:db8::1")),
        request_id: Some(String::from("request-1")),
        count: i64::MAX.unsigned_abs(),
    };
    assert_eq!(events[1], expected);
    let plain = AuditEvent {
        id: events[0].id,
        at: START.plus(1),
        target: String::from("main"),
        outcome: AuditOutcome::Allowed,
        reason: None,
        address: None,
        request_id: None,
        count: 1,
        ..expected
    };
    assert_eq!(events[0], plain);
}

async fn an_event_is_kept_with_its_change_or_not_at_all(fixture: Fixture) {
    const CHANGES: usize = 30;
    let metadata = fixture.metadata.clone();
    together(CHANGES, move |number| {
        let metadata = metadata.clone();
        async move {
            let name = format!("t-1111/app-{number}");
            let mut change = metadata.begin().await.unwrap();
            let event = event(Some(WORKSPACE), &name, START);
            change.audit(&event).await.unwrap();
            let name = name.parse().unwrap();
            let made = change.ensure_repository(WORKSPACE, &name, START).await;
            let repository = made.unwrap().id;
            match number % 3 {
                0 => change.commit().await.unwrap(),
                1 => drop(change),
                _ => {
                    // A statement that fails takes the event along with the rest.
                    let deletion = NewDeletion {
                        workspace_id: "nobody",
                        repository,
                        name: &name,
                        kind: DeletionKind::Tag,
                        subject: "v1",
                        tags: &[],
                        digests: &[],
                        bytes: 0,
                        actor: ACTOR,
                        now: START,
                        restorable_until: START,
                    };
                    let refused = change.open_deletion(&deletion).await;
                    assert!(refused.unwrap_err().is_conflict());
                }
            }
        }
    })
    .await;
    let mut made = fixture.texts("SELECT name FROM repositories").await;
    let mut told = fixture.texts("SELECT target FROM audit_events").await;
    made.sort();
    told.sort();
    assert_eq!(made, told);
    assert_eq!(told.len(), CHANGES / 3);
}

async fn events_come_from_the_newest_on_and_of_one_workspace_alone(fixture: Fixture) {
    for number in 0..6 {
        let workspace = match number % 3 {
            0 => Some(WORKSPACE),
            1 => Some(OTHER_WORKSPACE),
            _ => None,
        };
        // Their times say nothing about their order: sums are written later than they began.
        let at = START.plus(-number);
        write(&fixture, &event(workspace, &number.to_string(), at)).await;
    }
    let page = async |workspace, before, limit| {
        let page = fixture.metadata.audit_events(workspace, before, limit);
        page.await.unwrap()
    };
    let all = page(None, None, 10).await;
    assert_eq!(targets(&all), ["5", "4", "3", "2", "1", "0"]);
    let first = page(None, None, 4).await;
    assert_eq!(targets(&first), ["5", "4", "3", "2"]);
    let rest = page(None, Some(first[3].id), 4).await;
    assert_eq!(targets(&rest), ["1", "0"]);
    assert_eq!(targets(&page(Some(WORKSPACE), None, 10).await), ["3", "0"]);
    let own = page(Some(WORKSPACE), None, 1).await;
    let rest = page(Some(WORKSPACE), Some(own[0].id), 10).await;
    assert_eq!(targets(&rest), ["0"]);
    let other = page(Some(OTHER_WORKSPACE), None, 10).await;
    assert_eq!(targets(&other), ["4", "1"]);
    assert!(page(Some("nobody"), None, 10).await.is_empty());
    assert!(page(None, Some(i64::MIN), 10).await.is_empty());
}

async fn old_events_go_in_batches_and_the_others_stay(fixture: Fixture) {
    for number in 0..7 {
        let workspace = Some(WORKSPACE).filter(|_| number % 2 == 0);
        let at = START.plus(number);
        write(&fixture, &event(workspace, &number.to_string(), at)).await;
    }
    let remove = async |end: i64| {
        let removed =
            fixture.change(async |change| change.remove_audit_events(START.plus(end), 2).await);
        removed.await.unwrap()
    };
    assert_eq!(remove(0).await, 0);
    assert_eq!(remove(5).await, 2);
    let left = fixture.metadata.audit_events(None, None, 10).await.unwrap();
    assert_eq!(targets(&left), ["6", "5", "4", "3", "2"]);
    assert_eq!(remove(5).await, 2);
    assert_eq!(remove(5).await, 1);
    assert_eq!(remove(5).await, 0);
    let left = fixture.metadata.audit_events(None, None, 10).await.unwrap();
    assert_eq!(targets(&left), ["6", "5"]);
    // Ids are not given again: cursors of before still mean what they meant.
    let last = left[0].id;
    assert_eq!(remove(100).await, 2);
    write(&fixture, &event(None, "next", START)).await;
    let left = fixture.metadata.audit_events(None, None, 10).await.unwrap();
    assert!(left[0].id > last);
}

async fn texts_that_no_row_can_hold_are_made_to_fit(fixture: Fixture) {
    let long = "ä".repeat(100_000);
    let cut = NewAuditEvent::new(START, None, &long, &long, &long).refused(&long);
    write(&fixture, &cut).await;
    let odd = event(None, "a\0b\nc\u{1b}[31m", START).refused("no\r\n");
    write(&fixture, &odd).await;
    let events = fixture.metadata.audit_events(None, None, 10).await.unwrap();
    assert_eq!(events[0].target, "a\u{fffd}b\u{fffd}c\u{fffd}[31m");
    assert_eq!(events[0].reason.as_deref(), Some("no\u{fffd}\u{fffd}"));
    let reason = events[1].reason.clone().unwrap();
    for (text, limit) in [
        (&events[1].actor, 160),
        (&events[1].action, 160),
        (&events[1].target, 512),
        (&reason, 512),
    ] {
        assert_eq!(text.chars().count(), limit);
        assert!(text.starts_with('ä') && text.ends_with('…'));
    }
    // One that just fits is whole.
    let fits = "x".repeat(512);
    write(&fixture, &event(None, &fits, START)).await;
    let events = fixture.metadata.audit_events(None, None, 1).await.unwrap();
    assert_eq!(events[0].target, fits);
}
