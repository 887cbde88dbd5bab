//! Fills a folder with events that wait.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hooklatch::buffer::{Buffer, BufferOptions, BufferSettings, Lane, MaxPending};
use hooklatch::clock::Clock;
use hooklatch::dedupe::{Claimed, Dedupe, DedupeOptions, DedupeSettings};
use hooklatch::event::{Ack, Event, EventId, OrderKey, Proto, Turn};
use hooklatch::headers::Headers;
use hooklatch::observe::Metrics;

pub const TTL: Duration = Duration::from_secs(72 * 3600);
/// So many events are kept before one of them is waited for.
const UNWAITED: u64 = 20_000;

/// What events have besides a body.
#[derive(Clone, Copy)]
pub enum With {
    Nothing,
    /// An id of the provider's, which is remembered.
    Ids,
    /// An order key, one of so many.
    Keys(u64),
}

impl With {
    /// `keyed`, `plain` or `ordered-N`.
    fn named(word: &str) -> Self {
        match word.strip_prefix("ordered-") {
            Some(keys) => Self::Keys(keys.parse().unwrap()),
            None if word == "keyed" => Self::Ids,
            None => Self::Nothing,
        }
    }

    fn turn(self, n: u64) -> Turn {
        let order_key = if let Self::Keys(keys) = self { OrderKey::from_bits(n % keys + 1) } else { None };
        Turn { order_key, ..Turn::default() }
    }
}

/// Open rooms, as the gateway has them.
pub struct Rooms {
    pub buffer: Buffer,
    pub dedupe: Arc<Dedupe>,
    pub clock: Clock,
    pub runtime: tokio::runtime::Runtime,
}

pub fn rooms(folder: &Path, max_bytes: u64) -> Rooms {
    std::fs::create_dir_all(folder.join("spool")).unwrap();
    let clock = Clock::system();
    let settings = DedupeSettings::new(DedupeOptions { ttl: TTL, ..DedupeOptions::default() }).unwrap();
    let dedupe = Dedupe::new(&settings, clock.clone(), [7; 16]);
    let options = BufferOptions { path: folder.to_owned(), max_bytes, ..BufferOptions::default() };
    let settings = BufferSettings::new(options).unwrap();
    let metrics = Metrics::new();
    let ids = Arc::clone(&dedupe) as Arc<_>;
    let buffer = Buffer::disk(&settings, clock.clone(), ids, metrics).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Rooms { buffer, dedupe, clock, runtime }
}

impl Rooms {
    pub fn lanes(&self, count: u64) -> Vec<Lane> {
        let names: Vec<_> = (0..count).map(|n| (Arc::from(format!("d{n}")), MaxPending::default())).collect();
        self.buffer.set_destinations(&names);
        names.iter().map(|(name, _)| self.buffer.lane(name)).collect()
    }

    /// Keeps the `n`th event for `lane`.
    pub fn keep(&self, n: u64, body: &Bytes, lane: &Lane, with: With, ack: Ack) {
        let keyed = matches!(with, With::Ids);
        let id = format!("72d3162e-cc78-11e3-81ab-{n:012}");
        let claim = keyed.then(|| match self.dedupe.claim(self.dedupe.key("github", id.as_bytes()), TTL) {
            Claimed::New(claim) => claim,
            other => panic!("{other:?}"),
        });
        let event = Event {
            id: EventId::default(),
            route: "github".into(),
            provider: Some("github".into()),
            event_id: keyed.then(|| id.as_str().into()),
            event_type: Some("push".into()),
            event_time: None,
            received_at: self.clock.now(),
            method: "POST".into(),
            target: "/webhooks/github".into(),
            headers: Headers::from_pairs([("content-type", "application/json")]),
            forwarded_for: "192.30.252.1".into(),
            forwarded_proto: Proto::Https,
            body: body.clone(),
            turn: with.turn(n),
        };
        let to = std::slice::from_ref(lane);
        self.runtime.block_on(self.buffer.keep(event, to, claim, ack)).unwrap();
    }

    /// Keeps events `from..to` for `lanes` in turn.
    pub fn keep_all(&self, from: u64, to: u64, body: &Bytes, lanes: &[Lane], with: With) {
        for n in from..to {
            let ack = if n % UNWAITED == 0 { Ack::Durable } else { Ack::Memory };
            self.keep(n, body, &lanes[n as usize % lanes.len()], with, ack);
        }
    }
}

/// `FROM TO BODY LANES MAX_BYTES keyed|plain|ordered-KEYS stop|kill|more`: the last lane gets only the last hundred events, and nothing
/// where more come.
pub fn run(folder: &Path, args: &[&str]) {
    let [from, to, body, lanes, max_bytes, with, end] = args else { panic!("{args:?}") };
    let [from, to, lanes] = [from, to, lanes].map(|figure| figure.parse::<u64>().unwrap());
    let body = Bytes::from(vec![b'x'; body.parse().unwrap()]);
    let rooms = rooms(folder, max_bytes.parse().unwrap());
    let lanes = rooms.lanes(lanes);
    let with = With::named(with);
    let (last, others) = lanes.split_last().unwrap();
    let others = if others.is_empty() { std::slice::from_ref(last) } else { others };
    let others_to = if *end == "more" { to } else { to - 100 };
    rooms.keep_all(from, others_to, &body, others, with);
    rooms.keep_all(others_to, to, &body, std::slice::from_ref(last), with);
    if *end == "kill" {
        // What is noted is synced within 50 ms; an event of its own is waited for.
        rooms.keep(to, &body, last, with, Ack::Durable);
        std::process::abort();
    }
    rooms.buffer.close();
    rooms.buffer.spill(folder).unwrap();
}
