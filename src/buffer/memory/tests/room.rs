//! Full and not full.

use super::*;

fn full_of(destination: &str) -> KeepError {
    KeepError::Full { destination: Some(destination.into()) }
}

#[test]
fn a_destination_that_is_down_does_not_close_the_others_route() {
    let rig = Rig::new(100, &["down", "up"]);
    assert_eq!(rig.fill(1000, &["down"]), 75);
    assert_eq!(rig.keep(event("x"), &["down"]), Err(full_of("down")));
    let up = rig.lane("up");
    for _ in 0..1000 {
        let id = rig.keep(event("x"), &["up"]).unwrap();
        take_one(&up);
        settle(&up, id, Settled::Delivered);
    }
    assert_eq!(rig.buffer.stats().events, 75);
}

#[test]
fn bytes_are_a_bound_too_and_dead_letters_count() {
    let weight = event("x").weight();
    let rig = Rig::with_bytes(1_000_000, 200 * weight, &["app"]);
    let app = rig.lane("app");
    assert_eq!(rig.fill(1000, &["app"]), 200);
    for delivery in app.take(1000) {
        settle(&app, delivery.event.id, DEAD);
    }
    assert!(rig.keep(event("x"), &["app"]).is_err(), "nothing is dropped for room");
    let stats = rig.buffer.stats();
    assert_eq!((stats.events, stats.bytes, stats.dead_events), (200, 200 * weight, 200));
    assert_eq!(stats.dead_bytes, 200 * weight);
    assert_eq!((stats.destinations[0].dead, stats.destinations[0].events), (200, 0));
    rig.buffer.drop_dead(&EventFilter::default());
    assert_eq!(rig.fill(1000, &["app"]), 200);
}

#[test]
fn all_destinations_have_room_or_none_keeps_it() {
    let rig = Rig::new(1000, &[]);
    let bound = MaxPending { events: Some(1), bytes: None };
    rig.buffer.set_destinations(&[("app".into(), MaxPending::default()), ("audit".into(), bound)]);
    rig.keep(event("x"), &["audit"]).unwrap();
    let before = rig.buffer.stats();
    assert_eq!(rig.keep(event("x"), &["app", "audit"]), Err(full_of("audit")));
    assert_eq!(rig.buffer.stats(), before);
    assert!(rig.lane("app").take(1).is_empty());
}

#[test]
fn an_optional_destination_without_room_is_left_out_even_where_it_is_the_only_one() {
    let rig = Rig::new(1000, &[]);
    let bound = MaxPending { events: Some(1), bytes: None };
    rig.buffer.set_destinations(&[("app".into(), MaxPending::default()), ("audit".into(), bound)]);
    let (app, audit) = (rig.lane("app"), rig.lane("audit"));
    let keep = |to: &[To<'_>]| ready(rig.buffer.keep(event("x"), to.iter().copied(), None, Ack::Memory));
    let optional = To { lane: &audit, optional: true };
    for _ in 0..2 {
        keep(&[To::from(&app), optional]).unwrap();
    }
    assert_eq!((app.depth().0, audit.depth().0), (2, 1));
    let nowhere = keep(&[optional]).unwrap();
    assert_eq!((audit.depth().0, rig.buffer.stats().history_events), (1, 1));
    assert!(rig.buffer.find(nowhere).unwrap().destinations.is_empty());
}

#[test]
fn a_destination_out_of_the_configuration_keeps_what_it_holds() {
    let rig = Rig::new(100, &["app", "old"]);
    let id = rig.keep(event("x"), &["old"]).unwrap();
    rig.configure(&["app"]);
    let stats = rig.buffer.stats();
    let old = stats.destinations.iter().find(|d| *d.destination == *"old").unwrap();
    assert_eq!((old.configured, old.events, old.oldest), (false, 1, Some(START)));
    rig.configure(&["old"]);
    assert_eq!(take_one(&rig.lane("old")).event.id, id);
}

#[test]
fn the_oldest_pending_event_is_known_wherever_it_stands() {
    let rig = Rig::new(100, &["app"]);
    let app = rig.lane("app");
    let oldest = || rig.buffer.stats().destinations[0].oldest;
    assert_eq!(oldest(), None);
    let kept: Vec<_> = (1..=3)
        .map(|n| rig.keep(Event { received_at: Millis(n), ..event("x") }, &["app"]).unwrap())
        .collect();
    assert_eq!(oldest(), Some(Millis(1)), "fresh");
    start(&app, 2);
    assert_eq!(oldest(), Some(Millis(1)), "in flight");
    app.defer(kept[0], attempt(1), START, Bytes::new());
    assert_eq!(oldest(), Some(Millis(1)), "deferred");
    assert_eq!(ids(&app.take(2)), [kept[0], kept[2]]);
    app.put_back(kept[2]);
    app.put_back(kept[0]);
    assert_eq!(oldest(), Some(Millis(1)), "put back");
    take_one(&app);
    settle(&app, kept[0], DEAD);
    assert_eq!(oldest(), Some(Millis(2)));
    settle(&app, kept[1], Settled::Delivered);
    assert_eq!(oldest(), Some(Millis(3)));
}

#[test]
fn the_history_of_delivered_events_is_bounded_and_the_oldest_goes_first() {
    let rig = Rig::new(160, &["app"]);
    let app = rig.lane("app");
    let mut kept = Vec::new();
    for _ in 0..25 {
        kept.push(rig.keep(event("x"), &["app"]).unwrap());
        take_one(&app);
        settle(&app, kept[kept.len() - 1], Settled::Delivered);
    }
    assert_eq!(rig.memory().state.lock().history.bound().events, 10);
    assert!(kept[..15].iter().all(|id| rig.buffer.find(*id).is_none()));
    assert!(kept[15..].iter().all(|id| rig.status(*id, "app") == Some(Status::Delivered)));
    assert_eq!(rig.buffer.stats().history_events, 10);
    let big = Rig::with_bytes(160, 64 << 10, &["app"]);
    let large = Box::leak("x".repeat(5000).into_boxed_str());
    let id = big.keep(event(large), &["app"]).unwrap();
    take_one(&big.lane("app"));
    settle(&big.lane("app"), id, Settled::Delivered);
    let stats = big.buffer.stats();
    assert_eq!((stats.history_events, stats.history_bytes), (0, 0), "larger than the whole history");
    assert!(big.buffer.find(id).is_none());
}

#[test]
fn an_event_without_destinations_is_history_at_once() {
    let rig = Rig::new(160, &["app"]);
    let id = rig.keep(event("x"), &[]).unwrap();
    assert_eq!((rig.buffer.stats().events, rig.buffer.stats().history_events), (0, 1));
    assert!(rig.buffer.find(id).unwrap().destinations.is_empty());
    assert_eq!(rig.buffer.replay(id), Ok(Some(0)));
    assert_eq!(rig.buffer.stats().history_events, 1, "it has nowhere to go");
}
