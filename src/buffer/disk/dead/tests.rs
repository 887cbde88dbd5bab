use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::event::{Answer, OrderKey, Priority, Proto, Region, Turn};
use crate::headers::Headers;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOMY: DeadOptions =
    DeadOptions { max_bytes: 1 << 30, retention: Duration::from_secs(30 * 24 * 60 * 60) };
const T0: u64 = 1_768_473_000_000;

fn store() -> (TempDir, DeadLetters) {
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(&dir, ROOMY);
    (dir, store)
}

fn file_in(dir: &TempDir) -> PathBuf {
    dir.path().join("dead.sqlite")
}

fn open_in(dir: &TempDir, options: DeadOptions) -> DeadLetters {
    DeadLetters::open(&file_in(dir), options).unwrap()
}

fn sqlite(dir: &TempDir, sql: &str) {
    Connection::open(file_in(dir)).unwrap().execute_batch(sql).unwrap();
}

/// Letter number `n`: received `n` seconds after `T0`, of one of four types and three routes.
fn letter(n: u64, destination: &str) -> DeadLetter {
    let at = Millis(T0 + n * 1000);
    let event = Event {
        id: EventId::new(at, n),
        route: format!("route-{}", n % 3).into(),
        provider: Some("github".into()),
        event_id: Some(format!("evt_{n}").into()),
        event_type: Some(["push", "pull.opened", "pull.closed", "pull_review"][n as usize % 4].into()),
        event_time: Some(Millis(T0 - 5)),
        received_at: at,
        method: "POST".into(),
        target: "/hooks/a?b=c%20d".into(),
        headers: Headers::from_pairs([
            ("Host", &b"a.example"[..]),
            ("X-Raw", b"\xff\xfe \x80"),
            ("x-raw", b"2"),
        ]),
        forwarded_for: "2001:db8::1".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::from(format!("{{\"n\":{n}}}\0\u{fffd}").into_bytes()),
        turn: turn(n),
    };
    DeadLetter {
        event: Arc::new(event),
        destination: destination.into(),
        reason: DeadReason::AttemptsExhausted,
        attempts: vec![
            attempt(1, Answer::Status(503)),
            attempt(2, Answer::Timeout),
            attempt(3, Answer::Connect),
            attempt(4, Answer::Internal),
            attempt(5, Answer::Unsettled),
        ],
        excerpt: Bytes::from_static(b"\x00not \xff text"),
        died_at: at.plus(DAY),
    }
}

fn turn(n: u64) -> Turn {
    let order_key = if n % 2 == 1 { None } else { OrderKey::from_bits(u64::MAX - n) };
    Turn { priority: Priority::ALL[n as usize % 3], order_key }
}

fn sized(n: u64, body: usize) -> DeadLetter {
    let mut letter = letter(n, "app");
    Arc::get_mut(&mut letter.event).unwrap().body = Bytes::from(vec![n as u8; body]);
    letter
}

fn attempt(number: u16, answer: Answer) -> Attempt {
    let region = Region::new("eu").filter(|_| number > 1);
    Attempt { number, at: Millis(T0 + u64::from(number)), took: Duration::from_millis(12), answer, region }
}

/// All that a letter says: `Event` is not comparable, and its headers' own bytes matter here.
fn said(letter: &DeadLetter) -> String {
    format!("{letter:?}")
}

fn all_said(letters: &[DeadLetter]) -> Vec<String> {
    letters.iter().map(said).collect()
}

fn numbers(letters: &[DeadLetter]) -> Vec<u64> {
    letters.iter().map(|letter| letter.event.id.seq()).collect()
}

fn places(store: &DeadLetters) -> BTreeSet<(EventId, String)> {
    let mut places = BTreeSet::new();
    store.all_places(&mut |id, destination, _| assert!(places.insert((id, destination.to_owned())))).unwrap();
    places
}

fn counts(store: &DeadLetters) -> BTreeMap<String, u64> {
    store.per_destination().into_iter().map(|(name, count)| (name.to_string(), count)).collect()
}

mod bounds;
mod damage;
mod life;
mod listing;
