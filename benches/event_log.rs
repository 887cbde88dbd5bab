//! What observing costs on the hot path: a line of the event log, a counter, a histogram, an event's type.
#![allow(missing_docs, reason = "criterion makes functions without docs")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use hooklatch::clock::Millis;
use hooklatch::event::EventId;
use hooklatch::observe::{EventLog, Metrics, RequestLine, RequestOutcome};

fn a_line(number: u64) -> RequestLine<'static> {
    RequestLine {
        at: Millis(1_768_473_000_000 + number / 50),
        request_id: EventId::new(Millis(1_768_473_000_000), number),
        route: "github",
        outcome: RequestOutcome::Accepted,
        status: 200,
        client: "192.30.252.17",
        method: "POST",
        path: "/webhooks/github",
        bytes: 1024,
        id: Some(EventId::new(Millis(1_768_473_000_000), number)),
        event_id: Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        event_type: Some("pull_request"),
        reason: None,
        took: Duration::from_micros(84),
    }
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("event_log");
    for (name, json) in [("json", true), ("text", false)] {
        // A sink that takes everything: what is measured is the caller's part; the writing thread runs beside it.
        let log = EventLog::to(Box::new(std::io::sink()), json, Metrics::new());
        let mut number = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                number += 1;
                log.request(black_box(&a_line(number)));
            });
        });
        // At four million lines a second some are lost where the writing thread gets no core; that is not the matter.
        assert!(log.flush(Duration::from_secs(5)));
    }
    group.finish();
}

fn metrics(c: &mut Criterion) {
    let metrics = Metrics::new();
    let route = metrics.route("github");
    for number in 0..100 {
        route.event(Some(&format!("type.number_{number}")), RequestOutcome::Accepted);
    }
    let mut group = c.benchmark_group("metrics");
    group.bench_function("request", |b| b.iter(|| route.request(black_box(RequestOutcome::Accepted))));
    group.bench_function("ack", |b| b.iter(|| route.ack(black_box(Duration::from_micros(84)))));
    group.bench_function("event_type", |b| {
        b.iter(|| route.event(black_box(Some("type.number_57")), RequestOutcome::Accepted));
    });
    group.bench_function("limit_hit", |b| b.iter(|| metrics.limit_hit(black_box("server.max_body"))));
    group.bench_function("connections", |b| b.iter(|| metrics.connections(black_box(1))));
    group.finish();
}

criterion_group!(benches, lines, metrics);
criterion_main!(benches);
