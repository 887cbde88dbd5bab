//! One connection's worth of sending, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::Instant;

use super::super::human::printable;
use super::super::latency::Histogram;
use super::super::out::Failure;
use super::super::simulator::{SignedEvent, Simulator, Wish};
use super::super::target::Target;
use crate::delivery::{Connector, HttpClient, NoAnswer, Tls};
use crate::net::Resolver;
use crate::units::Rate;

/// An answer that takes longer counts as none.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How much of an answer's body is read for its message, bytes.
const KEEP: usize = 4 << 10;
/// After so many failures without a single answer nobody is there.
const GIVE_UP: u64 = 16;
/// So many different refusals are shown.
const SHOWN: usize = 5;

/// What all workers share.
pub struct Job {
    simulator: Simulator,
    wish: Wish,
    target: Target,
    signed_url: String,
    /// How many events to send.
    pub count: u64,
    /// Nanoseconds from one event to the next; 0 = as fast as they are answered.
    interval_nanos: u64,
    next: AtomicU64,
    stopped: AtomicBool,
    /// Answered or given up so far.
    pub done: AtomicU64,
    /// Of these, not 2xx.
    pub refused: AtomicU64,
}

impl Job {
    pub fn new(
        simulator: Simulator,
        wish: Wish,
        target: Target,
        signed_url: String,
        count: u64,
        rate: Option<Rate>,
    ) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            simulator,
            wish,
            target,
            signed_url,
            count,
            interval_nanos: rate.map_or(0, Rate::interval_nanos),
            next: zero(),
            stopped: AtomicBool::new(false),
            done: zero(),
            refused: zero(),
        }
    }

    /// No further event is sent.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// The next event's turn: when it is due.
    fn turn(&self, begun: Instant) -> Option<Instant> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count || self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let due = begun + Duration::from_nanos(self.interval_nanos.saturating_mul(number));
        Some(if self.interval_nanos == 0 { Instant::now() } else { due })
    }
}

/// What came of the events of one worker, or of all.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// From when an event was due to its answer.
    pub latency: Histogram,
    /// Answers by status and `hooklatch-outcome` or `error` word.
    pub answers: BTreeMap<(u16, String), u64>,
    /// A refusal's message, of the first few kinds.
    pub messages: BTreeMap<(u16, String), String>,
    /// Events without an answer.
    pub no_answer: NoAnswers,
}

/// Events without an answer.
#[derive(Clone, Debug, Default)]
pub struct NoAnswers {
    pub count: u64,
    reason: Option<String>,
}

impl NoAnswers {
    /// Why the first one had none.
    pub fn first_reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl Tally {
    /// How many were answered, whatever the answer.
    pub fn answered(&self) -> u64 {
        self.latency.count()
    }

    /// Whether every event was answered 2xx.
    pub fn all_accepted(&self) -> bool {
        self.no_answer.count == 0 && self.answers.keys().all(|(status, _)| (200..300).contains(status))
    }

    /// Adds another worker's.
    pub fn add(&mut self, other: Self) {
        self.latency.add(&other.latency);
        for (kind, count) in other.answers {
            *self.answers.entry(kind).or_default() += count;
        }
        for (kind, message) in other.messages {
            self.note(kind, message);
        }
        self.no_answer.count += other.no_answer.count;
        self.no_answer.reason = self.no_answer.reason.take().or(other.no_answer.reason);
    }

    fn note(&mut self, kind: (u16, String), message: String) {
        if self.messages.len() < SHOWN {
            self.messages.entry(kind).or_insert(message);
        }
    }
}

/// Sends events until there are no more turns.
pub async fn run(job: Arc<Job>, begun: Instant) -> Result<Tally, Failure> {
    let connector =
        Connector::new(&job.target.endpoint, Duration::from_secs(10), Resolver::system(), Tls::system());
    let client = HttpClient::new(connector, Duration::from_secs(60), 1);
    let mut tally = Tally::default();
    while let Some(due) = job.turn(begun) {
        tokio::time::sleep_until(due).await;
        let id = job.simulator.fresh_id();
        let event = job.simulator.event(&job.signed_url, &job.wish, &id, job.simulator.now())?;
        let request = request(&job.target, &event)?;
        let answer = tokio::time::timeout(TIMEOUT, exchange(&client, request)).await;
        let accepted = match answer {
            Ok(Ok(answer)) => tally.answer(answer, due.elapsed()),
            Ok(Err(NoAnswer { reason, .. })) => tally.none(reason),
            Err(_) => tally.none(format!("no answer in {} s", TIMEOUT.as_secs())),
        };
        job.done.fetch_add(1, Ordering::Relaxed);
        if !accepted {
            job.refused.fetch_add(1, Ordering::Relaxed);
        }
        if tally.answered() == 0 && tally.no_answer.count >= GIVE_UP {
            job.stop();
        }
    }
    Ok(tally)
}

struct Answer {
    status: u16,
    outcome: String,
    body: Bytes,
}

/// Sent again on a fresh connection where a kept one turns out to be closed: hooklatch knows the id.
async fn exchange(client: &HttpClient, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer> {
    let again = request.clone();
    let reply = client.request(request, || Some(again)).await?;
    let status = reply.status.as_u16();
    let outcome = reply.headers.get("hooklatch-outcome").and_then(|value| value.to_str().ok());
    let outcome = printable(outcome.unwrap_or_default(), false);
    let body = reply.body(KEEP, 64 << 20, Instant::now() + TIMEOUT).await.bytes;
    Ok(Answer { status, outcome, body })
}

impl Tally {
    /// Counts an answer; whether it was a 2xx.
    fn answer(&mut self, answer: Answer, took: Duration) -> bool {
        self.latency.record(took);
        let accepted = (200..300).contains(&answer.status);
        let mut kind = (answer.status, answer.outcome);
        if !accepted {
            let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let word = |key: &str| json.get(key).and_then(|v| v.as_str()).map(|text| printable(text, false));
            kind.1 = word("error").unwrap_or_default();
            if let Some(message) = word("message") {
                self.note(kind.clone(), message);
            }
        }
        // A server that is no hooklatch could answer with ever new words: they are not all kept.
        if self.answers.len() >= 64 {
            kind.1.clear();
        }
        *self.answers.entry(kind).or_default() += 1;
        accepted
    }

    fn none(&mut self, reason: String) -> bool {
        self.no_answer.count += 1;
        self.no_answer.reason.get_or_insert(reason);
        false
    }
}

/// The request that carries `event`.
pub fn request(target: &Target, event: &SignedEvent) -> Result<Request<Full<Bytes>>, Failure> {
    let mut builder = Request::builder().method("POST").header("host", &target.host);
    builder = match &event.query {
        Some(query) => builder.uri(format!("{}?{query}", target.path_and_query().0)),
        None => builder.uri(target.path_and_query.as_str()),
    };
    for (name, value) in event.headers.iter() {
        builder = builder.header(name, value);
    }
    builder
        .body(Full::new(event.body.clone()))
        .map_err(|error| Failure::failed(format!("the event cannot be sent: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, outcome: &str, body: &'static str) -> Answer {
        Answer { status, outcome: outcome.to_owned(), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn answers_are_told_apart_by_status_and_word() {
        let mut tally = Tally::default();
        assert!(tally.answer(answer(200, "accepted", ""), Duration::from_millis(1)));
        assert!(tally.answer(answer(200, "duplicate", ""), Duration::from_millis(1)));
        assert!(tally.all_accepted());
        assert!(
            !tally
                .answer(answer(401, "", r#"{"error":"invalid_signature","message":"No."}"#), Duration::ZERO)
        );
        assert!(!tally.all_accepted());
        let mut sum = Tally::default();
        sum.add(tally.clone());
        sum.add(tally);
        assert_eq!(sum.answered(), 6);
        assert_eq!(sum.answers.get(&(401, "invalid_signature".to_owned())), Some(&2));
        assert_eq!(sum.messages.get(&(401, "invalid_signature".to_owned())).map(String::as_str), Some("No."));
        assert!(!sum.none("refused".to_owned()));
        assert_eq!(sum.no_answer.first_reason(), Some("refused"));
    }
}
