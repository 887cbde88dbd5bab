//! What checking a signature costs, beside the same check written by hand for one provider.
//!
//! Both sides are given the same stored header lines and the same 1 KB body, and hold a MAC keyed beforehand.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench: criterion's macros, and fixed inputs")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hmac::{Hmac, KeyInit, Mac};
use hooklatch::clock::Millis;
use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::Message;
use hooklatch::verify::{NamedSecret, Scheme, SchemeSpec, SignatureSpec, TimestampSpec, Verifier};
use sha2::Sha256;

const SECRET: &str = "It's a Secret to Everybody";
const NOW: Millis = Millis(1_700_000_000_000);

/// `sha256=HEX` over the body, as GitHub signs.
fn body_only() -> SchemeSpec {
    SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        signature: SignatureSpec {
            headers: vec!["X-Hub-Signature-256".to_owned()],
            prefixes: vec!["sha256=".to_owned()],
            ..SignatureSpec::default()
        },
        ..SchemeSpec::default()
    }
}

/// `t=SECONDS,v1=HEX` over time and body, as Stripe signs.
fn time_and_body() -> SchemeSpec {
    SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        signature: SignatureSpec {
            headers: vec!["Stripe-Signature".to_owned()],
            format: Some("list".to_owned()),
            keys: vec!["v1".to_owned()],
            ..SignatureSpec::default()
        },
        timestamp: Some(TimestampSpec { key: Some("t".to_owned()), ..TimestampSpec::default() }),
        signed: vec!["{timestamp}.{body}".to_owned()],
        ..SchemeSpec::default()
    }
}

/// `v1,BASE64` over id, time and body, as Standard Webhooks sign.
fn id_time_and_body() -> SchemeSpec {
    SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        signature: SignatureSpec {
            headers: vec!["webhook-signature".to_owned()],
            format: Some("versioned".to_owned()),
            version: Some("v1".to_owned()),
            encoding: Some("base64".to_owned()),
            ..SignatureSpec::default()
        },
        timestamp: Some(TimestampSpec {
            header: Some("webhook-timestamp".to_owned()),
            ..TimestampSpec::default()
        }),
        id: Some("header:webhook-id".to_owned()),
        signed: vec!["{id}.{timestamp}.{body}".to_owned()],
        ..SchemeSpec::default()
    }
}

struct Case {
    verifier: Verifier,
    headers: Headers,
    body: Vec<u8>,
}

impl Case {
    fn new(spec: &SchemeSpec, body_bytes: usize) -> Self {
        let secret = NamedSecret { name: "1".into(), secret: Secret::new(SECRET) };
        let verifier = Verifier::new(Arc::new(Scheme::compile(spec).unwrap()), &[secret]).unwrap();
        let body = vec![b'x'; body_bytes];
        let usual = Headers::from_pairs([
            ("Host", "hooks.example.com"),
            ("Content-Type", "application/json"),
            ("User-Agent", "GitHub-Hookshot/044aadd"),
            ("X-GitHub-Event", "push"),
            ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ]);
        let added = verifier.sign(&message(&usual, &body), "msg_1", NOW).unwrap();
        let headers = Headers::from_pairs(usual.iter().chain(added.headers.iter()));
        Self { verifier, headers, body }
    }

    fn check(&self) -> bool {
        let message = message(black_box(&self.headers), black_box(&self.body));
        self.verifier.verify(&message, NOW).is_ok()
    }
}

fn message<'a>(headers: &'a Headers, body: &'a [u8]) -> Message<'a> {
    Message {
        method: "POST",
        path: "/hook",
        query: None,
        url: "https://hooks.example.com/hook",
        headers,
        body,
    }
}

/// What one would write for GitHub alone.
fn body_only_by_hand(keyed: &Hmac<Sha256>, headers: &Headers, body: &[u8]) -> bool {
    let Ok(Some(value)) = headers.get_unambiguous("X-Hub-Signature-256") else { return false };
    let Some(digits) = value.strip_prefix(b"sha256=") else { return false };
    let mut signature = [0; 32];
    if hex::decode_to_slice(digits, &mut signature).is_err() {
        return false;
    }
    let mut mac = keyed.clone();
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

/// What one would write for Stripe alone: its list, its template, its tolerance.
fn time_and_body_by_hand(keyed: &Hmac<Sha256>, headers: &Headers, body: &[u8], now: Millis) -> bool {
    let Ok(Some(value)) = headers.get_unambiguous("Stripe-Signature") else { return false };
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let mut time = None;
    let mut signature = [0; 32];
    let mut found = false;
    for item in value.split(',') {
        match item.split_once('=') {
            Some(("t", text)) => time = Some(text),
            Some(("v1", digits)) => found |= hex::decode_to_slice(digits, &mut signature).is_ok(),
            _ => {}
        }
    }
    let Some(time) = time.filter(|_| found) else { return false };
    let mut mac = keyed.clone();
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    if mac.verify_slice(&signature).is_err() {
        return false;
    }
    time.parse::<u64>().is_ok_and(|seconds| seconds.abs_diff(now.seconds()) <= 300)
}

fn verify(criterion: &mut Criterion) {
    let keyed = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    let mut group = criterion.benchmark_group("verify");
    for bytes in [1024, 16 * 1024] {
        group.throughput(Throughput::Bytes(bytes as u64));
        let case = Case::new(&body_only(), bytes);
        assert!(case.check() && body_only_by_hand(&keyed, &case.headers, &case.body));
        group.bench_function(BenchmarkId::new("github", bytes), |b| b.iter(|| case.check()));
        group.bench_function(BenchmarkId::new("github_by_hand", bytes), |b| {
            b.iter(|| body_only_by_hand(&keyed, black_box(&case.headers), black_box(&case.body)));
        });

        let case = Case::new(&time_and_body(), bytes);
        assert!(case.check() && time_and_body_by_hand(&keyed, &case.headers, &case.body, NOW));
        group.bench_function(BenchmarkId::new("stripe", bytes), |b| b.iter(|| case.check()));
        group.bench_function(BenchmarkId::new("stripe_by_hand", bytes), |b| {
            b.iter(|| time_and_body_by_hand(&keyed, black_box(&case.headers), black_box(&case.body), NOW));
        });
    }
    group.throughput(Throughput::Bytes(1024));
    let case = Case::new(&id_time_and_body(), 1024);
    assert!(case.check());
    group.bench_function(BenchmarkId::new("standard_webhooks", 1024), |b| b.iter(|| case.check()));
    group.finish();
}

/// How many times as long `ours` takes as `theirs`: short turns of each, one after the other, and the shortest turn of
/// each counts. What else the machine does disturbs many turns, never all of them.
#[allow(clippy::disallowed_methods, reason = "a bench measures elapsed time")]
fn ratio(name: &str, mut ours: impl FnMut() -> bool, mut theirs: impl FnMut() -> bool) {
    const TURNS: usize = 20_000;
    const CHECKS: u32 = 32;
    let turn = |check: &mut dyn FnMut() -> bool| {
        let start = Instant::now();
        for _ in 0..CHECKS {
            assert!(black_box(check()));
        }
        start.elapsed() / CHECKS
    };
    let (mut shortest, mut reference) = (Duration::MAX, Duration::MAX);
    for _ in 0..TURNS {
        shortest = shortest.min(turn(&mut ours));
        reference = reference.min(turn(&mut theirs));
    }
    let ratio = shortest.as_secs_f64() / reference.as_secs_f64();
    println!("{name}: {shortest:?}, by hand {reference:?}, ratio {ratio:.3}");
}

fn ratios(_: &mut Criterion) {
    let keyed = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    let case = Case::new(&body_only(), 1024);
    ratio(
        "github 1 KB",
        || case.check(),
        || body_only_by_hand(&keyed, black_box(&case.headers), black_box(&case.body)),
    );
    let case = Case::new(&time_and_body(), 1024);
    ratio(
        "stripe 1 KB",
        || case.check(),
        || time_and_body_by_hand(&keyed, black_box(&case.headers), black_box(&case.body), NOW),
    );
}

criterion_group!(benches, ratios, verify);
criterion_main!(benches);
