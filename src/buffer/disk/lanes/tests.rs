mod memory;
mod model;
mod paths;
mod turns;

use std::time::Duration;

use super::*;
use crate::event::{Answer, Proto, Turn};
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
        turn: Turn::default(),
    })
}

fn id(seq: u64) -> EventId {
    EventId::new(Millis(1), seq)
}

fn ready(seq: u64, weight: u32) -> Ready {
    ready_of(seq, weight, Turn::default())
}

fn ready_of(seq: u64, weight: u32, turn: Turn) -> Ready {
    let event = Arc::new(Event { turn, ..Event::clone(&event(id(seq))) });
    Ready { seq, id: id(seq), event, source: 0, weight, attempts: Vec::new() }
}

fn attempt(number: u16) -> Attempt {
    Attempt {
        number,
        at: Millis(1),
        took: Duration::from_millis(5),
        answer: Answer::Status(500),
        region: None,
    }
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

/// Nothing is due yet.
fn take(lanes: &mut Lanes, lane: u32, max: usize) -> Vec<u64> {
    take_at(lanes, lane, max, Millis(0))
}

fn take_at(lanes: &mut Lanes, lane: u32, max: usize, now: Millis) -> Vec<u64> {
    lanes.take(lane, max, now).iter().map(|delivery| delivery.event.id.seq()).collect()
}

/// Brings all that is wanted, each event as heavy as `weight`.
fn refill(lanes: &mut Lanes, lane: u32, now: Millis, weight: u32) -> Wanted {
    let wanted = lanes.wanted(lane, now);
    let fresh = wanted.fresh.iter().map(|seq| ready(*seq, weight)).collect();
    let due = wanted.retries.iter().filter(|retry| !retry.dying);
    let due = due.map(|retry| (ready(retry.seq, weight), retry.attempt)).collect();
    lanes.prefetched(lane, wanted.class, wanted.followers.iter().map(|seq| ready(*seq, weight)).collect());
    lanes.bring(lane, wanted.class, fresh, due);
    wanted
}

/// What must hold of them whatever happened.
fn check(lanes: &Lanes) {
    let mut windows = 0;
    let mut events = std::collections::BTreeSet::new();
    for lane in &lanes.lanes {
        lane.keys.check();
        let on_disk = lane.tracks.iter().flat_map(|(_, track)| {
            let sets = [&track.backlog, &track.waiting].map(|set| set.within(0..=u64::MAX).collect());
            sets.into_iter().chain([track.next.iter().copied().collect::<Vec<u64>>()]).flatten()
        });
        let mut all: Vec<u64> =
            on_disk.chain(lane.keys.all_aside()).chain(lane.near.keys().copied()).collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "in two places: {all:?}");
        assert_eq!(lane.pending(), all.len() as u64);
        assert_eq!(lane.oldest(), all.first().copied());
        assert!(all.iter().all(|seq| lane.is_pending(*seq) && !lane.dead.contains(*seq)));
        assert!(lane.shared.within(0..=u64::MAX).all(|seq| lane.is_pending(seq)));
        let in_flight = lane.near.iter().filter(|(_, near)| near.stand == Stand::InFlight);
        let in_flight: std::collections::BTreeSet<u64> = in_flight.map(|(seq, _)| *seq).collect();
        assert_eq!(in_flight, lane.in_flight.values().copied().collect());
        for (class, track) in lane.tracks.iter() {
            check_track(lane, class, track);
            windows += track.fresh_bytes + track.due_bytes + track.prefetched_bytes;
            let prefetched = track.prefetched.values().map(Ready::in_memory).sum::<u64>();
            assert_eq!(track.prefetched_bytes, prefetched);
            assert!(track.prefetched.keys().all(|seq| lane.keys.is_aside(*seq)));
        }
        events.extend(all);
    }
    assert_eq!(lanes.windows, windows);
    assert!(lanes.events.within(0..=u64::MAX).eq(events.iter().copied()));
    assert_eq!(lanes.events.len(), events.len() as u64);
}

fn check_track(lane: &Lane, class: Priority, track: &Track) {
    let standing = |wanted: fn(Stand) -> bool| {
        let these = lane.near.iter().filter(move |(_, near)| near.class == class && wanted(near.stand));
        these.map(|(seq, _)| *seq).collect::<std::collections::BTreeSet<u64>>()
    };
    assert_eq!(standing(|s| s == Stand::Window), track.window.iter().copied().collect());
    assert_eq!(track.window.len(), standing(|s| s == Stand::Window).len());
    assert_eq!(standing(|s| s == Stand::Ahead), track.ahead.iter().copied().collect());
    assert_eq!(standing(|s| s == Stand::Returned), track.returned);
    assert_eq!(standing(|s| matches!(s, Stand::Ready(_))), track.due.iter().map(|(_, seq)| *seq).collect());
    assert_eq!(standing(|s| matches!(s, Stand::Reading | Stand::ReadingNext)).len(), track.reading);
    assert_eq!(standing(|s| matches!(s, Stand::ReadingRetry(_))).len(), track.reading_retries);
    let bytes = |wanted: fn(Stand) -> bool| {
        let these = lane.near.values().filter(move |near| near.class == class && wanted(near.stand));
        these.map(|near| near.ready.as_ref().unwrap().in_memory()).sum::<u64>()
    };
    assert_eq!(bytes(|s| matches!(s, Stand::Window | Stand::Ahead | Stand::Returned)), track.fresh_bytes);
    assert_eq!(bytes(|s| matches!(s, Stand::Ready(_))), track.due_bytes);
    let fresh_near = |seq: &u64| !lane.near.contains_key(seq);
    assert!(track.next.iter().all(|seq| fresh_near(seq) && lane.keys.holds(*seq)));
}
