//! Senders as providers are: each event has an id of its own, is signed, and is sent again until somebody says 2xx.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::ledger::{Print, print_of};
use super::{Chance, SECRET};
use crate::harness::{Connection, Response, Signed};

/// Between two attempts of one event. A provider waits for longer; a test has no time for it.
const PATIENCE: Duration = Duration::from_millis(20);

/// An event as its sender knows it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub target: &'static str,
    pub print: Print,
    /// Of the body.
    pub bytes: u64,
    /// Somebody said 2xx.
    pub acked: bool,
}

/// What the senders wrote down.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// By the provider's id; an event stands here before its first byte is sent.
    pub sent: HashMap<String, Sent>,
    /// hooklatch's id of each acknowledged event, and the provider's.
    pub ids: HashMap<String, String>,
    /// How often each answer was given: status and `hooklatch-outcome`, or the `error` word.
    pub answers: BTreeMap<(u16, String), u64>,
    /// Requests that broke off without an answer.
    pub broken: u64,
}

impl Book {
    pub fn acked(&self) -> usize {
        self.sent.values().filter(|sent| sent.acked).count()
    }

    pub fn answered(&self, status: u16, word: &str) -> u64 {
        self.answers.get(&(status, word.to_owned())).copied().unwrap_or_default()
    }

    /// Answers that are neither 2xx nor 503: none is right in a test of the disk.
    pub fn strange(&self) -> Vec<&(u16, String)> {
        self.answers.keys().filter(|(status, _)| !matches!(status, 200..=299 | 503)).collect()
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub senders: u64,
    /// Events a second, over all senders.
    pub rate: u64,
    pub body: RangeInclusive<u64>,
    /// Each such event goes to `/both`, all others to `/app`.
    pub both_each: u64,
    /// The number of the first event.
    pub first: u64,
    /// After how many events the senders stop by themselves.
    pub events: u64,
}

impl Plan {
    /// 16 senders, all to `/app`, until they are stopped.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            senders: 16,
            rate: 1000,
            body: 100..=4096,
            both_each: u64::MAX,
            first: 0,
            events: u64::MAX,
        }
    }
}

struct Shared {
    plan: Plan,
    rate: AtomicU64,
    next: AtomicU64,
    stop: AtomicBool,
    to: Mutex<SocketAddr>,
    book: Mutex<Book>,
}

/// The senders at work.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(plan: Plan, to: SocketAddr) -> Self {
        let (senders, first, rate) = (plan.senders, plan.first, AtomicU64::new(plan.rate));
        let shared = Arc::new(Shared {
            plan,
            rate,
            next: AtomicU64::new(first),
            stop: AtomicBool::new(false),
            to: Mutex::new(to),
            book: Mutex::default(),
        });
        let threads = (0..senders).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || send(&shared))
        });
        Self { threads: threads.collect(), shared }
    }

    /// The gateway listens elsewhere now.
    pub fn point_at(&self, to: SocketAddr) {
        *self.shared.to.lock().unwrap() = to;
    }

    /// So many events a second from now on.
    pub fn set_rate(&self, rate: u64) {
        self.shared.rate.store(rate, Ordering::Relaxed);
    }

    /// Looks at what is written down so far.
    pub fn look<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.shared.book.lock().unwrap())
    }

    /// Waits until all events of the plan are sent.
    pub fn finish(self) -> Book {
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.shared.book.lock().unwrap().clone()
    }

    /// Begins no further event, and gives up those that are not acknowledged with their next answer.
    pub fn stop(self) -> Book {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

/// One sender.
fn send(shared: &Shared) {
    let mut connection = None;
    let mut slot = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number - shared.plan.first >= shared.plan.events {
            return;
        }
        let (id, target, event) = event(&shared.plan, number);
        let signature = event.headers.iter().find(|(name, _)| name == "X-Hub-Signature-256");
        let print = print_of(&event.body, &signature.unwrap().1);
        let sent = Sent { target, print, bytes: event.body.len() as u64, acked: false };
        shared.book.lock().unwrap().sent.insert(id.clone(), sent);
        let bytes = event.bytes();
        while !attempt(shared, &mut connection, &id, &bytes) {
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            std::thread::sleep(PATIENCE);
        }
        // A sender that fell behind does not make up for it with a burst.
        let pace = shared.plan.senders as f64 / shared.rate.load(Ordering::Relaxed) as f64;
        slot = (slot + Duration::from_secs_f64(pace)).max(Instant::now() - PATIENCE);
        std::thread::sleep(slot.saturating_duration_since(Instant::now()));
    }
}

/// The `number`th event: the provider's id, where it goes, and what is sent.
pub fn event(plan: &Plan, number: u64) -> (String, &'static str, Signed) {
    let mut chance = Chance::from(plan.seed ^ number.rotate_left(32));
    let length = chance.between(*plan.body.start(), *plan.body.end());
    let body: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| chance.next().to_le_bytes()).collect();
    let id = format!("event-{number:08}");
    let target = if (number + 1).is_multiple_of(plan.both_each) { "/both" } else { "/app" };
    let signed = Signed::github(target, SECRET, &id, &body[..length as usize]);
    (id, target, signed)
}

/// Sends an event once; whether it was acknowledged.
fn attempt(shared: &Shared, connection: &mut Option<Connection>, id: &str, bytes: &[u8]) -> bool {
    if connection.is_none() {
        let to = *shared.to.lock().unwrap();
        *connection = Connection::try_open(to).ok();
    }
    let Some(open) = connection else { return false };
    open.write(bytes);
    let answer = open.try_read();
    let mut book = shared.book.lock().unwrap();
    let Ok(Some(answer)) = answer else {
        book.broken += 1;
        *connection = None;
        return false;
    };
    *book.answers.entry((answer.status, word(&answer))).or_default() += 1;
    let acked = (200..300).contains(&answer.status);
    if acked {
        book.sent.get_mut(id).unwrap().acked = true;
        book.ids.insert(answer.id(), id.to_owned());
    }
    if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
        *connection = None;
    }
    acked
}

/// What an answer says in one word.
fn word(answer: &Response) -> String {
    if answer.status < 300 {
        return answer.outcome().to_owned();
    }
    let json = serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap_or_default();
    json["error"].as_str().unwrap_or_default().to_owned()
}
