//! The whole buffer over a real disk, and one event.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::{DiskBuffer, DiskLane};
use crate::buffer::{BufferOptions, BufferSettings, KeepError};
use crate::clock::{Clock, Millis};
use crate::event::nobody::Nobody;
use crate::event::{Ack, Answer, Attempt, Claim, ClaimKeeper, Event, EventId, Proto, Turn};
use crate::headers::Headers;
use crate::observe::Metrics;

pub const NOW: Millis = Millis(1_768_473_000_000);

pub fn open(folder: &Path) -> Arc<DiskBuffer> {
    open_at(folder, Clock::manual(NOW))
}

pub fn open_at(folder: &Path, clock: Clock) -> Arc<DiskBuffer> {
    open_with(folder, clock, Arc::new(Nobody))
}

pub fn open_with(folder: &Path, clock: Clock, ids: Arc<dyn ClaimKeeper>) -> Arc<DiskBuffer> {
    let options = BufferOptions {
        path: folder.to_owned(),
        max_bytes: 8 << 20,
        max_event: 64 << 10,
        ..BufferOptions::default()
    };
    let settings = BufferSettings::new(options).unwrap();
    let buffer = DiskBuffer::open(&settings, clock, ids, Metrics::new()).unwrap();
    buffer.set_destinations(&[("app".into(), Default::default())]);
    buffer
}

pub fn event() -> Event {
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

/// Keeps an event for `lane` alone.
pub async fn keep(buffer: &DiskBuffer, lane: &DiskLane) -> EventId {
    try_keep(buffer, lane).await.unwrap()
}

pub async fn try_keep(buffer: &DiskBuffer, lane: &DiskLane) -> Result<EventId, KeepError> {
    let none: Option<Claim> = None;
    buffer.keep(event(), std::iter::once((lane.number(), false)), none, Ack::Durable).await
}

pub fn attempt(number: u16, at: Millis) -> Attempt {
    let took = Duration::from_millis(3);
    Attempt { number, at, took, answer: Answer::Status(503), region: None }
}

/// What comes of asking `what` again and again.
pub async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_secs(10), "in vain: {what}");
        match ask() {
            Some(answer) => return answer,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

impl DiskBuffer {
    /// Returns when all that was said to it is written and visible, and nothing is being read, or is to be. Blocks.
    pub(in crate::buffer) fn quiet(&self) {
        let shared = &self.shared;
        for _ in 0..100_000 {
            let now = shared.clock.now();
            let (written, read, wanting) = {
                let state = shared.state.lock();
                let batched = shared.spool.batched();
                // Where nobody is to wake it the writer is at work.
                let written = state.desk.wake_at > 0
                    && state.desk.kept.is_empty()
                    && batched.events + batched.notes == 0
                    && state.deferring.is_empty()
                    && state.dying == 0;
                (written, state.lanes.is_quiet(), state.lanes.wanting(now))
            };
            if written && read && wanting.is_empty() {
                return;
            }
            wanting.into_iter().for_each(|lane| shared.look(lane));
            if written {
                std::thread::sleep(Duration::from_micros(50));
            } else {
                shared.flush();
            }
        }
        panic!("it never comes to an end");
    }
}
