//! What the format adds to an event.

use std::time::Duration;

use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::disk::record::*;
use crate::event::{Answer, Attempt, DedupeKey, Event, EventId, Proto, Turn};
use crate::headers::Headers;

const NOW: u64 = 1_768_473_000_123;

fn event(number: u64, client: &str, body_len: usize) -> Event {
    let event_id = format!("f1c9a3b0-4e1d-11ef-9f4c-{number:012}");
    let headers = Headers::from_pairs([
        ("Host", "hooks.example.com"),
        ("User-Agent", "GitHub-Hookshot/044aadd"),
        ("Content-Type", "application/json"),
        ("X-GitHub-Event", "pull_request"),
        ("X-GitHub-Delivery", &event_id),
        ("X-Hub-Signature-256", &format!("sha256={}", "0f".repeat(32))),
    ]);
    let mut body = format!("{{\"action\":\"opened\",\"number\":{number},\"text\":\"").into_bytes();
    body.resize(body_len.max(body.len()), b'x');
    Event {
        id: EventId::default(),
        route: "orders".into(),
        provider: Some("github".into()),
        event_id: Some(event_id.into()),
        event_type: Some("pull_request".into()),
        event_time: Some(Millis(NOW - 2_345)),
        received_at: Millis(NOW + number),
        method: "POST".into(),
        target: "/github/orders".into(),
        headers,
        forwarded_for: client.into(),
        forwarded_proto: Proto::Https,
        body: body.into(),
        turn: Turn::default(),
    }
}

fn delivered(number: u64) -> Progress {
    let at = Millis(NOW + 400 + number * 3);
    let attempt = Attempt {
        number: 1,
        at,
        took: Duration::from_millis(180),
        answer: Answer::Status(200),
        region: None,
    };
    Progress {
        seq: 40_000_000 + number * 5 % 64,
        lane: 3,
        what: What::Delivered,
        attempts: vec![attempt],
        since: None,
    }
}

/// The bytes that a commit of `events` writes beyond what the events are, for each of them.
fn cost(events: &[Event]) -> f64 {
    let mut batch = Vec::new();
    for event in events {
        let start = begin(&mut batch);
        encode_event(&mut batch, event, 12, Some(DedupeKey(u128::MAX / 3)), false);
        finish(&mut batch, start, Kind::Event);
    }
    let start = begin(&mut batch);
    let steps: Vec<_> = (0..events.len() as u64).map(delivered).collect();
    encode_progress(&mut batch, &steps);
    finish(&mut batch, start, Kind::Progress);
    let own = |event: &Event| {
        event.method.len() + event.target.len() + event.headers.as_bytes().len() + event.body.len()
    };
    let own: usize = events.iter().map(own).sum();
    (batch.len() - own) as f64 / events.len() as f64
}

#[test]
fn an_event_and_its_delivery_cost_75_bytes_at_most() {
    for body_len in [0, 64, 1_024, 16_384] {
        for client in ["203.0.113.207", "2001:db8:1234:5678:9abc:def0:1234:5678"] {
            let events: Vec<_> = (0..64).map(|number| event(number, client, body_len)).collect();
            let cost = cost(&events);
            println!("{body_len} bytes from {client}: {cost}");
            assert!(cost <= 75.0, "{cost} bytes for each of 64 events of {body_len} bytes from {client}");
        }
    }
}

#[test]
fn an_event_alone_in_its_commit_costs_under_128_bytes() {
    let cost = cost(&[event(1, "2001:db8:1234:5678:9abc:def0:1234:5678", 64)]);
    println!("alone: {cost}");
    assert!(cost < 110.0, "{cost}");
}

#[test]
fn a_first_delivery_takes_12_bytes_in_a_block_at_most() {
    let mut steps: Vec<_> = (0..64).map(delivered).collect();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    encode_progress(&mut without, &steps);
    // The worst that one commit brings: far from the others in the log and in time, slow, a destination of many.
    let mut last = delivered(0);
    last.seq += 8_000;
    last.lane = 900;
    last.attempts[0].at = Millis(NOW + 8_000);
    last.attempts[0].took = Duration::from_secs(10);
    steps.push(last);
    encode_progress(&mut with, &steps);
    assert!(with.len() - without.len() <= 12, "{}", with.len() - without.len());
    assert!(without.len() <= 64 * 9 + 16, "{}", without.len());
}
