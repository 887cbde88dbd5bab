//! Dead letters, replays, drops.

use super::*;

fn dead(rig: &Rig, to: &[&str]) -> EventId {
    let id = rig.keep(event("x"), to).unwrap();
    for name in to {
        let lane = rig.lane(name);
        assert_eq!(take_one(&lane).event.id, id);
        lane.settle(id, DEAD, attempt(10), Bytes::from_static(b"no"));
    }
    id
}

fn delivered(rig: &Rig, to: &[&str]) -> EventId {
    let id = rig.keep(event("x"), to).unwrap();
    for name in to {
        take_one(&rig.lane(name));
        settle(&rig.lane(name), id, Settled::Delivered);
    }
    id
}

#[test]
fn a_dead_event_is_requeued_with_a_fresh_budget_and_its_past_remembered() {
    let rig = Rig::new(100, &["app", "audit"]);
    let app = rig.lane("app");
    let id = dead(&rig, &["app"]);
    assert_eq!(rig.status(id, "app"), Some(Status::Dead(DeadReason::AttemptsExhausted)));
    assert!(app.take(1).is_empty() && app.depth().0 == 0);
    assert!(rig.buffer.requeue_dead(id));
    assert!(!rig.buffer.requeue_dead(id), "it is dead no more");
    let stats = rig.buffer.stats();
    assert_eq!((stats.events, stats.dead_events, stats.destinations[0].dead), (1, 0, 0));
    let again = take_one(&app);
    assert_eq!((again.event.id, again.attempt), (id, 1));
    let view = rig.buffer.find(id).unwrap().destinations.remove(0);
    assert_eq!((view.attempts.len(), &*view.excerpt), (1, &b"no"[..]));
    settle(&app, id, Settled::Delivered);
    assert!(!rig.buffer.requeue_dead(id), "delivered is not dead");
    assert!(!rig.buffer.requeue_dead(EventId::new(START, 77)));
}

#[test]
fn only_the_dead_destination_sees_a_requeued_event_again() {
    let rig = Rig::new(100, &["app", "audit"]);
    let (app, audit) = (rig.lane("app"), rig.lane("audit"));
    let id = rig.keep(event("x"), &["app", "audit"]).unwrap();
    start(&app, 1);
    settle(&app, id, Settled::Delivered);
    start(&audit, 1);
    settle(&audit, id, Settled::Dead(DeadReason::Gone));
    assert_eq!(rig.status(id, "audit"), Some(Status::Dead(DeadReason::Gone)));
    assert!(rig.buffer.requeue_dead(id));
    assert!(app.take(1).is_empty());
    assert_eq!(take_one(&audit).event.id, id);
}

#[test]
fn a_replay_goes_wherever_the_event_is_dead_or_delivered() {
    let rig = Rig::new(100, &["a", "b", "c"]);
    let id = rig.keep(event("x"), &["a", "b", "c"]).unwrap();
    let lanes = ["a", "b", "c"].map(|name| rig.lane(name));
    assert_eq!(rig.buffer.replay(id), Ok(Some(0)), "it is on its way everywhere");
    lanes.iter().for_each(|lane| drop(lane.take(1)));
    settle(&lanes[0], id, Settled::Delivered);
    settle(&lanes[1], id, DEAD);
    assert_eq!(rig.buffer.replay(id), Ok(Some(2)));
    assert_eq!((take_one(&lanes[0]).attempt, take_one(&lanes[1]).attempt), (1, 1));
    assert!(lanes[2].take(1).is_empty(), "still in flight there");
    let stats = rig.buffer.stats();
    assert_eq!((stats.events, stats.dead_events), (1, 0));
    assert_eq!(rig.buffer.replay(EventId::new(START, 77)), Ok(None));
}

#[test]
fn a_delivered_event_leaves_the_history_when_it_is_replayed_and_needs_room() {
    let rig = Rig::new(100, &["app"]);
    let app = rig.lane("app");
    let id = delivered(&rig, &["app"]);
    assert_eq!(rig.buffer.replay(id), Ok(Some(1)));
    let stats = rig.buffer.stats();
    assert_eq!((stats.events, stats.history_events, stats.history_bytes), (1, 0, 0));
    assert_eq!(take_one(&app).event.id, id);
    settle(&app, id, Settled::Delivered);
    rig.fill(1000, &["app"]);
    let before = rig.buffer.stats();
    assert!(matches!(rig.buffer.replay(id), Err(KeepError::Full { .. })));
    assert_eq!(rig.buffer.stats(), before);
    assert_eq!(rig.status(id, "app"), Some(Status::Delivered));
}

#[test]
fn a_replay_keeps_to_the_destinations_own_bound() {
    let rig = Rig::new(100, &["app"]);
    let bound = MaxPending { events: Some(1), bytes: None };
    rig.buffer.set_destinations(&[("app".into(), bound)]);
    let id = delivered(&rig, &["app"]);
    let other = rig.keep(event("x"), &["app"]).unwrap();
    assert_eq!(rig.buffer.replay(id), Err(KeepError::Full { destination: Some("app".into()) }));
    take_one(&rig.lane("app"));
    settle(&rig.lane("app"), other, Settled::Delivered);
    assert_eq!(rig.buffer.replay(id), Ok(Some(1)));
}

#[test]
fn dropping_takes_the_dead_letters_of_the_filter_and_nothing_else() {
    let rig = Rig::new(200, &["app", "audit"]);
    let both = dead(&rig, &["app", "audit"]);
    let app_only = dead(&rig, &["app"]);
    let alive = rig.keep(event("x"), &["app"]).unwrap();
    let done = delivered(&rig, &["audit"]);
    let mixed = rig.keep(event("x"), &["app", "audit"]).unwrap();
    take_one(&rig.lane("audit"));
    settle(&rig.lane("audit"), mixed, Settled::Delivered);
    start(&rig.lane("app"), 2);
    settle(&rig.lane("app"), mixed, DEAD);

    let of_app = EventFilter { destination: Some("app".into()), ..EventFilter::default() };
    assert_eq!(rig.buffer.drop_dead(&of_app), 3);
    assert_eq!(rig.buffer.drop_dead(&of_app), 0);
    assert_eq!((rig.status(both, "app"), rig.status(app_only, "app")), (None, None));
    assert!(rig.buffer.find(app_only).is_none(), "gone for good");
    assert!(rig.status(both, "audit").is_some_and(|s| matches!(s, Status::Dead(_))));
    assert_eq!(rig.status(alive, "app"), Some(Status::Pending));
    assert_eq!(rig.status(done, "audit"), Some(Status::Delivered));
    assert_eq!(rig.status(mixed, "audit"), Some(Status::Delivered), "history now");
    let stats = rig.buffer.stats();
    assert_eq!((stats.events, stats.dead_events, stats.history_events), (2, 1, 2));
    assert_eq!(rig.buffer.drop_dead(&EventFilter::default()), 1);
    assert_eq!((rig.buffer.stats().events, rig.buffer.stats().dead_bytes), (1, 0));
}

#[test]
fn dropping_reaches_all_of_a_long_buffer() {
    let rig = Rig::new(5000, &["app"]);
    let app = rig.lane("app");
    assert_eq!(rig.fill(3000, &["app"]), 3000);
    for delivery in app.take(3000) {
        settle(&app, delivery.event.id, DEAD);
    }
    assert_eq!(rig.buffer.drop_dead(&EventFilter::default()), 3000);
    assert_eq!(rig.buffer.stats().events, 0);
}

#[test]
fn nothing_is_replayed_into_a_buffer_that_is_closed() {
    let rig = Rig::new(100, &["app"]);
    let (done, gone) = (delivered(&rig, &["app"]), dead(&rig, &["app"]));
    rig.buffer.close();
    assert_eq!(rig.buffer.replay(done), Err(KeepError::ShuttingDown));
    assert_eq!(rig.buffer.replay(gone), Err(KeepError::ShuttingDown));
    assert!(!rig.buffer.requeue_dead(gone), "its lane may have ended");
    assert_eq!(rig.buffer.stats().dead_events, 1);
}
