//! The buffer as its users see it, through [`Buffer`] and [`Lane`].

mod dead;
mod express;
mod life;
mod listing;
mod model;
mod room;

use std::time::Duration;

use super::super::{Buffer, BufferOptions, DeadReason, Lane, Status, To};
use super::*;
use crate::event::{Ack, Answer, Priority, Proto, Turn};
use crate::headers::Headers;

const START: Millis = Millis(1_768_473_000_000);

/// A buffer with its clock. `destinations` are configured, without bounds of their own.
struct Rig {
    buffer: Buffer,
    clock: Clock,
}

impl Rig {
    fn new(max_events: u64, destinations: &[&str]) -> Self {
        Self::with_bytes(max_events, 256 << 20, destinations)
    }

    fn with_bytes(max_events: u64, max_bytes: u64, destinations: &[&str]) -> Self {
        let options = BufferOptions { max_events, max_bytes, ..BufferOptions::memory() };
        let clock = Clock::manual(START);
        let buffer = Buffer::memory(&BufferSettings::new(options).unwrap(), clock.clone(), Metrics::new());
        let rig = Self { buffer, clock };
        rig.configure(destinations);
        rig
    }

    fn configure(&self, destinations: &[&str]) {
        let all: Vec<_> = destinations.iter().map(|name| (Arc::from(*name), MaxPending::default())).collect();
        self.buffer.set_destinations(&all);
    }

    fn lane(&self, name: &str) -> Lane {
        self.buffer.lane(name)
    }

    fn keep(&self, event: Event, to: &[&str]) -> Result<EventId, KeepError> {
        self.keep_claimed(event, to, None)
    }

    fn keep_claimed(&self, event: Event, to: &[&str], claim: Option<Claim>) -> Result<EventId, KeepError> {
        let lanes: Vec<Lane> = to.iter().map(|name| self.lane(name)).collect();
        ready(self.buffer.keep(event, &lanes, claim, Ack::Memory))
    }

    /// Keeps as many plain events for `to` as there is room, at most `most`.
    fn fill(&self, most: usize, to: &[&str]) -> usize {
        (0..most).take_while(|_| self.keep(event("x"), to).is_ok()).count()
    }

    fn status(&self, id: EventId, destination: &str) -> Option<Status> {
        let view = self.buffer.find(id)?;
        view.destinations.iter().find(|d| *d.name == *destination).map(|d| d.status)
    }

    fn memory(&self) -> &MemoryBuffer {
        let Buffer::Memory(buffer) = &self.buffer else { panic!("it is in memory") };
        buffer
    }
}

/// The result of a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    use futures_util::FutureExt;
    future.now_or_never().expect("the memory form never waits")
}

fn event(body: &'static str) -> Event {
    Event {
        id: EventId::default(),
        route: "github".into(),
        provider: None,
        event_id: None,
        event_type: None,
        event_time: None,
        received_at: START,
        method: "POST".into(),
        target: "/".into(),
        headers: Headers::default(),
        forwarded_for: "".into(),
        forwarded_proto: Proto::Http,
        body: Bytes::from_static(body.as_bytes()),
        turn: Turn::default(),
    }
}

fn attempt(number: u16) -> Attempt {
    Attempt { number, at: START, took: Duration::from_millis(3), answer: Answer::Status(500), region: None }
}

const DEAD: Settled = Settled::Dead(DeadReason::AttemptsExhausted);

/// Takes one event, whose id is known to be next.
fn take_one(lane: &Lane) -> Delivery {
    let mut taken = lane.take(1);
    assert_eq!(taken.len(), 1, "something to take");
    taken.remove(0)
}

/// Takes `count` events: they are in flight now.
fn start(lane: &Lane, count: usize) {
    assert_eq!(lane.take(count).len(), count);
}

fn ids(deliveries: &[Delivery]) -> Vec<EventId> {
    deliveries.iter().map(|d| d.event.id).collect()
}

fn settle(lane: &Lane, id: EventId, settled: Settled) {
    lane.settle(id, settled, attempt(1), Bytes::new());
}
