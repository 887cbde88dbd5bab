mod memory;
mod model;
mod paths;

use std::time::Duration;

use super::*;
use crate::event::{Answer, Proto};
use crate::headers::Headers;

fn event(id: EventId) -> Arc<Event> {
    Arc::new(Event {
        id,
        route: "stripe".into(),
        provider: None,
        event_id: None,
        event_type: None,
        event_time: None,
        received_at: Millis(1),
        method: "POST".into(),
        target: "/stripe".into(),
        headers: Headers::default(),
        forwarded_for: "1.2.3.4".into(),
        forwarded_proto: Proto::Http,
        body: "x".into(),
    })
}

fn id(seq: u64) -> EventId {
    EventId::new(Millis(1), seq)
}

fn ready(seq: u64, weight: u32) -> Ready {
    Ready { seq, id: id(seq), event: event(id(seq)), source: 0, weight, attempts: Vec::new() }
}

fn attempt(number: u16) -> Attempt {
    Attempt { number, at: Millis(1), took: Duration::from_millis(5), answer: Answer::Status(500) }
}

fn at(offset: u32) -> Loc {
    Loc { segment: 1, offset }
}

/// Lanes with a number each; all are configured.
fn lanes(bound: Amount, count: u32) -> Lanes {
    let room = RetryRoom::new(1000, std::env::temp_dir());
    let mut lanes = Lanes::new(bound, Arc::default(), room);
    for number in 0..count {
        lanes.lane(number, &format!("lane-{number}").into());
    }
    configure(&mut lanes, 0..count);
    lanes
}

fn configure(lanes: &mut Lanes, numbers: impl IntoIterator<Item = u32>) {
    let all: Vec<_> = numbers.into_iter().map(|number| (number, MaxPending::default())).collect();
    lanes.set_destinations(&all);
}

fn admit(lanes: &mut Lanes, seq: u64, weight: u32, to: &[u32]) {
    let reserved = lanes.reserve(weight, to);
    lanes.admit(reserved, ready(seq, weight));
}

fn take(lanes: &mut Lanes, lane: u32, max: usize) -> Vec<u64> {
    lanes.take(lane, max).iter().map(|delivery| delivery.event.id.seq()).collect()
}

/// Brings all that is wanted, each event as heavy as `weight`.
fn refill(lanes: &mut Lanes, lane: u32, now: Millis, weight: u32) -> Wanted {
    let wanted = lanes.wanted(lane, now);
    let fresh = wanted.fresh.iter().map(|seq| ready(*seq, weight)).collect();
    let due = wanted.retries.iter().filter(|retry| !retry.dying);
    let due = due.map(|retry| (ready(retry.seq, weight), retry.attempt)).collect();
    lanes.bring(lane, fresh, due);
    wanted
}

/// What must hold of them whatever happened.
fn check(lanes: &Lanes) {
    let mut windows = 0;
    let mut events = std::collections::BTreeSet::new();
    for lane in &lanes.lanes {
        let backlog: Vec<u64> = lane.backlog.within(0..=u64::MAX).collect();
        let waiting: Vec<u64> = lane.waiting.within(0..=u64::MAX).collect();
        let mut all: Vec<u64> = backlog.iter().chain(&waiting).chain(lane.near.keys()).copied().collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "in two places: {all:?}");
        assert_eq!(lane.pending(), all.len() as u64);
        assert_eq!(lane.oldest(), all.first().copied());
        assert!(all.iter().all(|seq| lane.is_pending(*seq) && !lane.dead.contains(*seq)));
        assert!(lane.shared.within(0..=u64::MAX).all(|seq| lane.is_pending(seq)));
        let standing = |wanted: fn(Stand) -> bool| {
            let these = lane.near.iter().filter(move |(_, near)| wanted(near.stand));
            these.map(|(seq, _)| *seq).collect::<std::collections::BTreeSet<u64>>()
        };
        assert_eq!(standing(|s| s == Stand::Window), lane.window.iter().copied().collect());
        assert_eq!(lane.window.len(), standing(|s| s == Stand::Window).len());
        assert_eq!(standing(|s| s == Stand::Returned), lane.returned);
        assert_eq!(
            standing(|s| matches!(s, Stand::Ready(_))),
            lane.due.iter().map(|(_, seq)| *seq).collect()
        );
        assert_eq!(standing(|s| s == Stand::InFlight), lane.in_flight.values().copied().collect());
        assert_eq!(standing(|s| s == Stand::Reading).len(), lane.reading);
        assert_eq!(standing(|s| matches!(s, Stand::ReadingRetry(_))).len(), lane.reading_retries);
        let bytes = |wanted: fn(Stand) -> bool| {
            let these = lane.near.values().filter(move |near| wanted(near.stand));
            these.map(|near| near.ready.as_ref().unwrap().in_memory()).sum::<u64>()
        };
        assert_eq!(bytes(|s| matches!(s, Stand::Window | Stand::Returned)), lane.fresh_bytes);
        assert_eq!(bytes(|s| matches!(s, Stand::Ready(_))), lane.due_bytes);
        windows += lane.fresh_bytes + lane.due_bytes;
        events.extend(all);
    }
    assert_eq!(lanes.windows, windows);
    assert!(lanes.events.within(0..=u64::MAX).eq(events.iter().copied()));
    assert_eq!(lanes.events.len(), events.len() as u64);
}
