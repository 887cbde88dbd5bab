//! What a claim costs with a full table of 1,000,000 ids, and what the table weighs.
//!
//! `cargo bench --bench dedupe`. To reach: a claim ≤ 1 µs, the table ≤ 100 MB.
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

use criterion::{Criterion, criterion_group, criterion_main};
use hooklatch::clock::Clock;
use hooklatch::dedupe::{Claimed, Dedupe, DedupeOptions, DedupeSettings};
use hooklatch::event::EventId;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IDS: u32 = 1_000_000;
const TTL: Duration = Duration::from_secs(72 * 3600);

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// A GitHub delivery id, different for each `n`.
fn event_id(n: u64) -> [u8; 36] {
    let mut id = *b"72d3162e-cc78-11e3-81ab-4c9367dc0958";
    for (byte, digit) in id.iter_mut().zip(format!("{n:012}").bytes()) {
        *byte = digit;
    }
    id
}

fn keep(dedupe: &Arc<Dedupe>, clock: &Clock, n: u64) {
    match dedupe.claim(dedupe.key("github", &event_id(n)), TTL) {
        Claimed::New(claim) => {
            let now = clock.now();
            claim.confirm(EventId::new(now, n), now);
        }
        other => panic!("{other:?}"),
    }
}

#[allow(clippy::disallowed_methods, reason = "measures real time")]
fn bench(c: &mut Criterion) {
    let clock = Clock::system();
    let settings = DedupeSettings::new(DedupeOptions { ttl: TTL, max_ids: IDS }).unwrap();
    let before = resident();
    let dedupe = Dedupe::new(&settings, clock.clone(), [7; 16]);
    let mut slowest = Duration::ZERO;
    let start = Instant::now();
    for n in 0..u64::from(IDS) {
        let start = Instant::now();
        keep(&dedupe, &clock, n);
        slowest = slowest.max(start.elapsed());
    }
    let took = start.elapsed();
    println!("filling: {} ns an id, the slowest {slowest:?}", took.as_nanos() / u128::from(IDS));
    println!("resident for {} ids: {:.1} MB", dedupe.size().0, (resident() - before) as f64 / 1e6);

    let mut next = u64::from(IDS);
    let claims: Vec<_> = (0..u64::from(IDS)).map(|n| dedupe.key("github", &event_id(n))).collect();
    let mut group = c.benchmark_group("dedupe at 1M ids");
    group.bench_function("key", |b| b.iter(|| dedupe.key(black_box("github"), black_box(&event_id(5)))));
    group.bench_function("claim of a duplicate", |b| {
        let mut n = 0;
        b.iter(|| {
            n = (n + 7919) % claims.len();
            black_box(dedupe.claim(claims[n], TTL))
        });
    });
    group.bench_function("claim and release", |b| {
        let key = dedupe.key("github", b"never kept");
        b.iter(|| black_box(dedupe.claim(key, TTL)));
    });
    // Keys made beforehand, so that only the table is measured.
    group.bench_function("claim and confirm of a new id, the oldest forgotten", |b| {
        b.iter_custom(|rounds| {
            let keys: Vec<_> = (next..next + rounds).map(|n| dedupe.key("github", &event_id(n))).collect();
            next += rounds;
            let now = clock.now();
            let start = Instant::now();
            for (n, key) in keys.iter().enumerate() {
                if let Claimed::New(claim) = dedupe.claim(*key, TTL) {
                    claim.confirm(EventId::new(now, n as u64), now);
                }
            }
            start.elapsed()
        });
    });
    group.finish();
    assert_eq!(dedupe.size().0, IDS as usize);
    println!("resident in the end: {:.1} MB", (resident() - before) as f64 / 1e6);
}

criterion_group!(benches, bench);
criterion_main!(benches);
