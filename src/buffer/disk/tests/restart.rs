//! What a crash leaves half done between the spool and the dead letters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::dead::{DeadLetter, DeadLetters, DeadOptions, Inserted};
use super::super::progress::What;
use super::super::{DiskBuffer, buffer::dead_file};
use crate::buffer::{BufferOptions, BufferSettings, DeadReason, EventFilter, MaxPending};
use crate::clock::{Clock, Millis};
use crate::event::{Ack, Claim, ClaimKeeper, DedupeKey, Event, EventId, Proto, Turn};
use crate::headers::Headers;
use crate::observe::Metrics;

const NOW: Millis = Millis(1_768_473_000_000);

/// Remembers nothing.
#[derive(Debug)]
struct Nobody;

impl ClaimKeeper for Nobody {
    fn confirm(&self, _: DedupeKey, _: EventId, _: Millis) {}
    fn release(&self, _: DedupeKey, _: Vec<Arc<str>>) {}
    fn restore(&self, _: DedupeKey, _: EventId, _: Millis) {}
    fn forget(&self, _: DedupeKey) {}
}

fn open(folder: &std::path::Path) -> Arc<DiskBuffer> {
    open_at(folder, Clock::manual(NOW))
}

fn open_at(folder: &std::path::Path, clock: Clock) -> Arc<DiskBuffer> {
    let options = BufferOptions {
        path: folder.to_owned(),
        max_bytes: 8 << 20,
        max_event: 64 << 10,
        ..BufferOptions::default()
    };
    let settings = BufferSettings::new(options).unwrap();
    let buffer = DiskBuffer::open(&settings, clock, Arc::new(Nobody), Metrics::new()).unwrap();
    buffer.set_destinations(&[("app".into(), Default::default())]);
    buffer
}

fn event() -> Event {
    Event {
        id: EventId::default(),
        route: "github".into(),
        provider: None,
        event_id: None,
        event_type: None,
        event_time: None,
        received_at: NOW,
        method: "POST".into(),
        target: "/".into(),
        headers: Headers::default(),
        forwarded_for: "192.0.2.1".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::from_static(b"{}"),
        turn: Turn::default(),
    }
}

#[tokio::test]
async fn a_letter_that_a_crash_parted_from_the_spool_keeps_its_reason() {
    for reason in [DeadReason::Gone, DeadReason::AttemptsExhausted] {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let lane = buffer.lane("app");
        let none: Option<Claim> = None;
        let id =
            buffer.keep(event(), std::iter::once((lane.number(), false)), none, Ack::Durable).await.unwrap();
        buffer.finish();
        drop((lane, buffer));
        // The process ended when the letter stood, and before the spool was told.
        let options = DeadOptions { max_bytes: 1 << 20, retention: Duration::from_secs(3600) };
        let dead = DeadLetters::open(&dead_file(folder.path()), options).unwrap();
        let letter = DeadLetter {
            event: Arc::new(Event { id, ..event() }),
            destination: "app".into(),
            reason,
            attempts: Vec::new(),
            excerpt: Bytes::new(),
            died_at: NOW,
        };
        assert_eq!(dead.insert(&[letter]).unwrap(), [Inserted::Stands]);
        drop(dead);

        let buffer = open(folder.path());
        assert!(buffer.shared.flush());
        let steps: Vec<What> =
            buffer.shared.spool.history_of(id.seq()).iter().map(|step| step.what).collect();
        assert_eq!(steps, [What::Dead(reason)]);
        let dead = EventFilter { status: Some("dead"), ..EventFilter::default() };
        assert_eq!(buffer.list(&dead, None, 10).0.len(), 1);
        assert!(buffer.lane("app").take(1).is_empty(), "it does not go out once more");
        buffer.finish();
    }
}

#[tokio::test]
async fn an_optional_lane_without_room_is_left_out_and_what_is_for_nobody_holds_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let one = MaxPending { events: Some(1), bytes: None };
    buffer.set_destinations(&[("app".into(), Default::default()), ("audit".into(), one)]);
    let (app, audit) = (buffer.lane("app"), buffer.lane("audit"));
    let keep = |to: Vec<(u32, bool)>| buffer.keep(event(), to.into_iter(), None, Ack::Durable);
    let both = || vec![(app.number(), false), (audit.number(), true)];
    keep(both()).await.unwrap();
    let second = keep(both()).await.unwrap();
    assert_eq!((app.depth().0, audit.depth().0), (2, 1));
    let names: Vec<_> = buffer.find(second).unwrap().destinations.into_iter().map(|at| at.name).collect();
    assert_eq!(names, ["app".into()] as [Arc<str>; 1]);
    let nowhere = keep(vec![(audit.number(), true)]).await.unwrap();
    assert!(buffer.find(nowhere).unwrap().destinations.is_empty());
    assert_eq!(buffer.stats().events, 2);
    assert_eq!(buffer.shared.state.lock().lanes.pending_count(0, u64::MAX), 2, "its segment may go");
    assert_eq!(buffer.shared.metrics.encode().matches("limit=\"destination.max_pending\"} 2").count(), 1);
}

#[tokio::test]
async fn what_is_replayed_is_as_young_as_its_replay() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let none: Option<Claim> = None;
    let id = buffer.keep(event(), std::iter::once((lane.number(), false)), none, Ack::Durable).await.unwrap();
    let taken = lane.take(1).pop().unwrap();
    assert_eq!((taken.event.id, taken.since), (id, NOW));
    lane.bury(id, DeadReason::TooOld);
    assert!(buffer.shared.flush());
    clock.advance(Duration::from_secs(7 * 86_400));
    let replayed_at = clock.now();
    let began = tokio::time::Instant::now();
    while !buffer.requeue_dead(id, None) {
        assert!(began.elapsed() < Duration::from_secs(10), "it never died");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    clock.advance(Duration::from_secs(60));
    let again = loop {
        assert!(began.elapsed() < Duration::from_secs(10), "it never came back");
        match lane.take(1).pop() {
            Some(delivery) => break delivery,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!(again.event.id, id);
    assert!(again.since >= replayed_at, "{:?}", again.since);
    buffer.finish();
}
