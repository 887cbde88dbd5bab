//! Whether the time of a refusal tells how much of a signature was right: `cargo run --release --example timing`.
//!
//! The test of dudect (Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?", 2017): a million refusals, half
//! of signatures whose first digit is wrong, half of such whose last one is, in random order; Welch's t of the two
//! classes, of all times and of those below ever lower bounds. Times that can be told apart give a |t| of 4.5 or more.
//! A comparison as one should not write it is measured the same way, and must be found out: otherwise the measurement
//! sees nothing, and the example ends with an error, as it does where the verifier is found out.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a measurement: fixed inputs, real time"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use hooklatch::clock::Millis;
use hooklatch::headers::Headers;
use hooklatch::secret::Secret;
use hooklatch::select::Message;
use hooklatch::verify::{NamedSecret, Scheme, SchemeSpec, SignatureSpec, Verifier};

const SAMPLES: usize = 1_000_000;
const BOUND: f64 = 4.5;
const NOW: Millis = Millis(1_700_000_000_000);
const BODY: &[u8] = b"Hello, World!";
/// HMAC-SHA256 of `BODY` with the key "secret".
const RIGHT: &str = "fcfaffa7fef86515c7beb6b62d779fa4ccf092f2e61c164376054271252821ff";

/// Chance that is the same in every run: splitmix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % n
    }
}

/// The right signature with an `e` for the `f` in its first or its last place: reading it takes the same way.
fn wrong(last: bool) -> Headers {
    let mut digits: [u8; 64] = RIGHT.as_bytes().try_into().unwrap();
    digits[if last { 63 } else { 0 }] = b'e';
    Headers::from_pairs([("X-Signature", str::from_utf8(&digits).unwrap())])
}

/// How long `refuse` took for signatures wrong in the first place, and for those wrong in the last.
fn measure(refuse: impl Fn(&Headers) -> bool) -> [Vec<u64>; 2] {
    let mut chance = Chance(1);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..SAMPLES {
        let last = chance.below(2) == 1;
        // Made anew each time, by the same steps: those that are kept lie at places of their own in memory, and a few
        // thousand places that happen to be faster or slower are a difference between the classes.
        let headers = wrong(last);
        let began = Instant::now();
        assert!(black_box(refuse(black_box(&headers))));
        times[usize::from(last)].push(began.elapsed().as_nanos() as u64);
    }
    times
}

/// Welch's t of two samples.
fn welch(a: &[u64], b: &[u64]) -> f64 {
    let moments = |times: &[u64]| {
        let n = times.len() as f64;
        let mean = times.iter().map(|time| *time as f64).sum::<f64>() / n;
        let variance = times.iter().map(|time| (*time as f64 - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance / n)
    };
    let ((mean_a, error_a), (mean_b, error_b)) = (moments(a), moments(b));
    (mean_a - mean_b) / (error_a + error_b).sqrt()
}

/// The largest |t|, of all times and of those below each of some percentiles: what interrupts add hides what is there.
fn worst([mut first, mut last]: [Vec<u64>; 2]) -> f64 {
    let mut all: Vec<u64> = first.iter().chain(&last).copied().collect();
    all.sort_unstable();
    let mut worst = welch(&first, &last).abs();
    for percent in [99, 95, 90, 75, 50] {
        let bound = all[all.len() * percent / 100];
        first.retain(|time| *time <= bound);
        last.retain(|time| *time <= bound);
        worst = worst.max(welch(&first, &last).abs());
    }
    worst
}

fn main() -> ExitCode {
    let spec = SchemeSpec {
        algorithm: "hmac-sha256".to_owned(),
        signature: SignatureSpec { headers: vec!["X-Signature".to_owned()], ..SignatureSpec::default() },
        ..SchemeSpec::default()
    };
    let scheme = Arc::new(Scheme::compile(&spec).unwrap());
    let secret = NamedSecret { name: Arc::from("1"), secret: Secret::new(b"secret".to_vec()) };
    let verifier = Verifier::new(scheme, &[secret]).unwrap();
    let verify = |headers: &Headers| {
        let url = "https://example.com/";
        let message = Message { method: "POST", path: "/", query: None, url, headers, body: BODY };
        verifier.verify(&message, NOW).is_err()
    };
    let right = Headers::from_pairs([("X-Signature", RIGHT)]);
    assert!(!verify(&right), "the right signature is refused");
    let naive = |headers: &Headers| {
        let sent = headers.get("X-Signature").unwrap_or_default();
        !RIGHT.bytes().zip(sent).all(|(right, it)| black_box(right) == black_box(*it))
    };
    let (verifier, naive) = (worst(measure(verify)), worst(measure(naive)));
    println!("{SAMPLES} refusals, first digit wrong beside last digit wrong, the largest |t|:");
    println!("  the verifier            {verifier:>8.2}  (told apart from {BOUND} on)");
    println!("  a naive comparison      {naive:>8.2}  (must be told apart)");
    if verifier < BOUND && naive >= BOUND { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
