//! What the buffer's memory form costs on the hot path: keep, take, settle, each with 50,000 events of a stuck
//! destination beside it.
//!
//! `cargo bench --bench buffer`. To reach: ≤ 0.4 µs each.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench stops at the first surprise"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use hooklatch::buffer::{Buffer, BufferOptions, BufferSettings, EventFilter, Lane, MaxPending, Settled};
use hooklatch::clock::{Clock, Millis};
use hooklatch::event::{Ack, Answer, Attempt, Event, EventId, Proto, Turn};
use hooklatch::headers::Headers;
use hooklatch::observe::Metrics;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BACKLOG: usize = 50_000;
/// Events handled in one go, well below what history and quota hold.
const BATCH: u64 = 1000;

fn event() -> Event {
    Event {
        id: EventId::default(),
        route: "github".into(),
        provider: Some("github".into()),
        event_id: Some("72d3162e-cc78-11e3-81ab-4c9367dc0958".into()),
        event_type: Some("push".into()),
        event_time: None,
        received_at: Millis(1_768_473_000_000),
        method: "POST".into(),
        target: "/webhooks/github".into(),
        headers: Headers::from_pairs([("content-type", "application/json"), ("x-github-event", "push")]),
        forwarded_for: "192.30.252.1".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::from(vec![b'x'; 1024]),
        turn: Turn::default(),
    }
}

fn keep(buffer: &Buffer, event: Event, to: &[Lane]) -> EventId {
    buffer.keep(event, to, None, Ack::Memory).now_or_never().unwrap().unwrap()
}

fn attempt() -> Attempt {
    let took = Duration::from_millis(3);
    Attempt { number: 1, at: Millis(1_768_473_000_001), took, answer: Answer::Status(200), region: None }
}

/// Runs `rounds` events through the buffer in batches; how long the three steps took.
#[allow(clippy::disallowed_methods, reason = "measures real time")]
fn run(buffer: &Buffer, lane: &Lane, take: usize, rounds: u64) -> [Duration; 3] {
    let mut spent = [Duration::ZERO; 3];
    let mut rest = rounds;
    while rest > 0 {
        let count = rest.min(BATCH);
        rest -= count;
        let events: Vec<Event> = (0..count).map(|_| event()).collect();
        let to = std::slice::from_ref(lane);
        let start = Instant::now();
        for event in events {
            black_box(keep(buffer, event, to));
        }
        let kept = Instant::now();
        let mut taken = Vec::with_capacity(count as usize);
        while (taken.len() as u64) < count {
            taken.append(&mut lane.take(take));
        }
        let took = Instant::now();
        for delivery in &taken {
            lane.settle(delivery.event.id, Settled::Delivered, attempt(), Bytes::new());
        }
        let settled = Instant::now();
        for (sum, part) in spent.iter_mut().zip([kept - start, took - kept, settled - took]) {
            *sum += part;
        }
    }
    spent
}

#[allow(clippy::disallowed_methods, reason = "measures real time")]
fn bench(c: &mut Criterion) {
    let options = BufferOptions { max_events: 200_000, max_bytes: 1 << 30, ..BufferOptions::memory() };
    let buffer = Buffer::memory(&BufferSettings::new(options).unwrap(), Clock::system(), Metrics::new());
    let destinations = ["app", "stuck"].map(|name| (Arc::from(name), MaxPending::default()));
    buffer.set_destinations(&destinations);
    let [app, stuck] = ["app", "stuck"].map(|name| buffer.lane(name));
    for _ in 0..BACKLOG {
        keep(&buffer, event(), std::slice::from_ref(&stuck));
    }
    // In the steady state the history is full: each settled event lets an old one go.
    run(&buffer, &app, 8, 20_000);

    let mut group = c.benchmark_group("buffer with a backlog of 50,000");
    for (step, name) in ["keep", "take, 8 at a time", "settle"].into_iter().enumerate() {
        group.bench_function(name, |b| b.iter_custom(|rounds| run(&buffer, &app, 8, rounds)[step]));
    }
    group.bench_function("take, 1 at a time", |b| b.iter_custom(|rounds| run(&buffer, &app, 1, rounds)[1]));
    let nowhere = EventFilter { route: Some("nowhere".into()), ..EventFilter::default() };
    group.bench_function("list, a search in vain through one call's worth", |b| {
        b.iter(|| black_box(buffer.list(&nowhere, None, 100)))
    });
    group.bench_function("stats", |b| b.iter(|| black_box(buffer.stats())));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
