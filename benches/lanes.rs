//! What lanes cost, and how little one is in another's way.
//!
//! `cargo bench --bench lanes`. To reach: ≤ 1.5 µs an event for the scheduler at 1,000 destinations (take and settle
//! included); of 100 destinations 10 hang and 10 refuse connections, and the other 80 deliver with a p99 within 1.2 times
//! that of a run in which all are well.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench stops at the first surprise and measures real time"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use hooklatch::buffer::{Buffer, BufferOptions, BufferSettings, MaxPending};
use hooklatch::clock::Clock;
use hooklatch::delivery::{DestinationOptions, DestinationSettings, Destinations, Endpoint, Schedulers};
use hooklatch::event::{Ack, Event, EventId, Proto, Turn};
use hooklatch::headers::Headers;
use hooklatch::net::Resolver;
use hooklatch::observe::{EventLog, Metrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn event(clock: &Clock, body: String) -> Event {
    Event {
        id: EventId::default(),
        route: "github".into(),
        provider: Some("github".into()),
        event_id: Some("72d3162e-cc78-11e3-81ab-4c9367dc0958".into()),
        event_type: Some("push".into()),
        event_time: None,
        received_at: clock.now(),
        method: "POST".into(),
        target: "/webhooks/github".into(),
        headers: Headers::from_pairs([("content-type", "application/json"), ("x-github-event", "push")]),
        forwarded_for: "192.30.252.1".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::from(body),
        turn: Turn::default(),
    }
}

fn buffer(clock: &Clock) -> Buffer {
    Buffer::memory(&BufferSettings::new(BufferOptions::memory()).unwrap(), clock.clone(), Metrics::new())
}

fn scheduler() {
    const DESTINATIONS: usize = 1000;
    const EACH: usize = 40;
    let clock = Clock::system();
    let buffer = buffer(&clock);
    let names: Vec<(Arc<str>, MaxPending)> =
        (0..DESTINATIONS).map(|n| (format!("d{n}").into(), MaxPending::default())).collect();
    buffer.set_destinations(&names);
    let mut schedulers = Schedulers::new(&buffer, DESTINATIONS, clock.clone()).unwrap();
    let lanes: Vec<_> = names.iter().map(|(name, _)| buffer.lane(name)).collect();
    let mut costs: Vec<f64> = (0..15)
        .map(|_| {
            for lane in &lanes {
                for _ in 0..EACH {
                    let to = std::slice::from_ref(lane);
                    buffer
                        .keep(event(&clock, "{}".to_owned()), to, None, Ack::Memory)
                        .now_or_never()
                        .unwrap()
                        .unwrap();
                }
            }
            let began = Instant::now();
            let ended = schedulers.run();
            assert_eq!(ended, DESTINATIONS * EACH);
            began.elapsed().as_secs_f64() * 1e6 / ended as f64
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    println!("scheduler, 1,000 destinations: {:.2} µs an event (asked: at most 1.5)", costs[costs.len() / 2]);
}

/// An app that answers at once, or never, and tells when each request came.
async fn app(hangs: bool, came: mpsc::UnboundedSender<(u64, Instant)>) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, hangs, came.clone()));
        }
    });
    Endpoint::Http { host: "127.0.0.1".to_owned(), port }
}

async fn serve(mut stream: TcpStream, hangs: bool, came: mpsc::UnboundedSender<(u64, Instant)>) {
    let mut read = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        let count = stream.read(&mut chunk).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        read.extend_from_slice(&chunk[..count]);
        let Some(head) = read.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        // Bodies are numbers of 8 digits.
        if read.len() < head + 12 {
            continue;
        }
        let number = std::str::from_utf8(&read[head + 4..head + 12]).unwrap().parse().unwrap();
        let _ = came.send((number, Instant::now()));
        if hangs {
            std::future::pending::<()>().await;
        }
        read.drain(..head + 12);
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
            return;
        }
    }
}

/// From being kept to the app, microseconds: p50 and p99 over the destinations that are well; and the slowest keep.
async fn lanes(disturbed: bool) -> (f64, f64, f64) {
    const ROUNDS: usize = 150;
    let clock = Clock::system();
    let buffer = buffer(&clock);
    let (metrics, log) = (Metrics::new(), EventLog::off());
    let destinations =
        Destinations::new(buffer.clone(), Resolver::system(), metrics, log, clock.clone(), None).unwrap();
    let (came, mut arrivals) = mpsc::unbounded_channel();
    let (elsewhere, _nobody) = mpsc::unbounded_channel();
    let mut settings = Vec::new();
    for n in 0..100 {
        let endpoint = match n {
            0..10 if disturbed => app(true, elsewhere.clone()).await,
            // Nobody listens there.
            10..20 if disturbed => Endpoint::Http { host: "127.0.0.1".to_owned(), port: 1 },
            0..20 => app(false, elsewhere.clone()).await,
            _ => app(false, came.clone()).await,
        };
        settings.push(
            DestinationSettings::new(DestinationOptions::new(format!("d{n}").into(), endpoint)).unwrap(),
        );
    }
    destinations.apply(&settings);
    let lanes: Vec<_> = (0..100).map(|n| buffer.lane(&format!("d{n}"))).collect();
    let mut kept = Vec::new();
    let mut slowest_keep = Duration::ZERO;
    for _ in 0..ROUNDS {
        for (n, lane) in lanes.iter().enumerate() {
            let number = if n < 20 { 0 } else { kept.len() };
            let body = format!("{number:08}");
            let began = Instant::now();
            let to = std::slice::from_ref(lane);
            buffer.keep(event(&clock, body), to, None, Ack::Memory).await.unwrap();
            slowest_keep = slowest_keep.max(began.elapsed());
            if n >= 20 {
                kept.push(began);
            }
            // 2,000 events a second: well below what the machine can do.
            tokio::time::sleep_until((began + Duration::from_micros(500)).into()).await;
        }
    }
    let mut took = Vec::new();
    while took.len() < kept.len() {
        let (number, at) = arrivals.recv().await.unwrap();
        took.push(at.saturating_duration_since(kept[number as usize]).as_secs_f64() * 1e6);
    }
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], took[took.len() * 99 / 100], slowest_keep.as_secs_f64() * 1e6)
}

fn isolation() {
    let run = |disturbed| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let figures = runtime.block_on(lanes(disturbed));
        runtime.shutdown_background();
        figures
    };
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let ((p50, p99, keep), (d50, d99, dkeep)) = (run(false), run(true));
        println!(
            "round {round}: undisturbed p50 {p50:.0} p99 {p99:.0} keep at most {keep:.0} µs; with 10 that hang and 10 \
             that refuse p50 {d50:.0} p99 {d99:.0} keep at most {dkeep:.0} µs"
        );
        ratios.push(d99 / p99);
    }
    ratios.sort_by(f64::total_cmp);
    println!("80 of 100 lanes beside 20 that are down: p99 × {:.2} (asked: at most 1.2)", ratios[1]);
}

fn main() {
    scheduler();
    isolation();
}
