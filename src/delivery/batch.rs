//! Several events of one destination in one request (`batch`), and the answer that may settle each of them.
//!
//! A batch is a JSON array or lines of JSON (NDJSON), an object an event (`body`). Events on their first attempt gather
//! (`gathering`) until there are as many as one request may have, or until the first of them has waited as long as it may.
//! What failed goes out by itself from then on, a batch of one: so an event that its destination cannot bear takes no other
//! with it. Each event has its attempts, its waits, its end; a request is one for the rate, the ramp and the breaker.
//!
//! A 207 says of each event what became of it (`results`); any other answer is the answer to all.

mod body;
mod gathering;
mod results;
#[cfg(test)]
mod tests;

pub(super) use gathering::Gathering;
pub(super) use results::TOO_LONG;

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::attempt::EXCERPT_BYTES;
use super::settings::{DestinationOptions, HostRule};
use crate::buffer::Delivery;
use crate::event::{Answer, EventId};
use crate::units::{Invalid, format_duration};
use body::BatchBody;

/// How a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFormat {
    /// A JSON array.
    Json,
    /// A JSON object a line.
    NdJson,
}

impl BatchFormat {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::NdJson => "ndjson",
        }
    }

    /// Its media type.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
        }
    }
}

/// `batch` of a destination as typed; the default is what `batch = {}` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Most events of one request, 1 to [`Self::MOST_EVENTS`].
    pub max_events: usize,
    /// How long the first one waits for others, up to [`Self::LONGEST_WAIT`]; zero: what waits goes together.
    pub max_wait: Duration,
    /// Most bytes of one request's body, [`Self::LEAST_BYTES`] to [`Self::MOST_BYTES`]; a single event may have more.
    pub max_bytes: usize,
    /// How it is written.
    pub format: BatchFormat,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            max_events: 100,
            max_wait: Duration::from_secs(1),
            max_bytes: 1 << 20,
            format: BatchFormat::Json,
        }
    }
}

impl BatchOptions {
    /// The largest `max_events`.
    pub const MOST_EVENTS: usize = 10_000;
    /// The smallest `max_bytes`: less holds no event.
    pub const LEAST_BYTES: usize = 1 << 10;
    /// The largest `max_bytes`: so much may be in memory for each request in flight.
    pub const MOST_BYTES: usize = 64 << 20;
    /// The longest `max_wait`.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);
}

/// What of a destination's `batch` cannot be worked with, by itself or together with the rest.
pub(super) fn complaints(options: &DestinationOptions) -> Vec<Invalid> {
    let Some(batch) = &options.batch else { return Vec::new() };
    let mut invalid = Vec::new();
    if !(1..=BatchOptions::MOST_EVENTS).contains(&batch.max_events) {
        let hint = format!("write a whole number from 1 to {}", BatchOptions::MOST_EVENTS);
        invalid.push(Invalid::new("batch.max_events", "no batch has so many events", hint));
    }
    if !(BatchOptions::LEAST_BYTES..=BatchOptions::MOST_BYTES).contains(&batch.max_bytes) {
        let hint = "write a size from \"1KiB\" to \"64MiB\"";
        invalid.push(Invalid::new("batch.max_bytes", "no batch is of this size", hint));
    }
    if batch.max_wait > BatchOptions::LONGEST_WAIT {
        let hint = format!("write at most \"{}\"", format_duration(BatchOptions::LONGEST_WAIT));
        invalid.push(Invalid::new("batch.max_wait", "no event waits so long for others", hint));
    } else if batch.max_wait >= options.max_age {
        let message = "an event that waits so long for others is older than `max_age` when it leaves";
        invalid.push(Invalid::new("batch.max_wait", message, "write less than `max_age`"));
    }
    if options.places().iter().any(|place| place.path.as_deref().is_none_or(|path| path == "/")) {
        let key = if options.regions.is_empty() { "url" } else { "regions" };
        let message = "a batch has no path of its own, as a single request has: `batch` needs one in the URL";
        invalid.push(Invalid::new(key, message, "write it like \"http://127.0.0.1:3000/events\""));
    }
    if options.sign_as_provider {
        let message = "a provider signs one event, and `batch` sends several in one request";
        let hint = "write sign = [{ env = \"NAME\" }], which signs the whole request, or leave `batch` out";
        invalid.push(Invalid::new("sign", message, hint));
    }
    if options.host == Some(HostRule::Keep) {
        let message = "a batch has events of several senders, so there is no `Host` of one to keep";
        invalid.push(Invalid::new("host", message, "leave it out: the app sees its own"));
    }
    invalid
}

/// Several events that go out together.
#[derive(Debug)]
pub(super) struct Batch {
    /// At least one, in the order in which they stand in the body.
    pub(super) deliveries: Vec<Delivery>,
    /// Its name toward the app: the same for the same attempts at the same events, another for any other.
    pub(super) id: String,
    pub(super) format: BatchFormat,
    pub(super) body: Bytes,
}

impl Batch {
    /// A batch of this one.
    pub(super) fn of_one(delivery: Delivery, format: BatchFormat) -> Self {
        let mut body = BatchBody::new(format);
        body.push(&delivery.event, delivery.attempt, usize::MAX);
        Self::new(vec![delivery], format, body)
    }

    fn new(deliveries: Vec<Delivery>, format: BatchFormat, body: BatchBody) -> Self {
        Self { id: id_of(&deliveries), deliveries, format, body: body.finish() }
    }

    /// How much is read of a 207 to it, in bytes.
    pub(super) fn results_bytes(&self) -> usize {
        results::BYTES + self.deliveries.len() * results::BYTES_EACH
    }

    /// What `body`, the whole body of a 207, says of each event, in order; with a sentence on those of which it says nothing.
    pub(super) fn settled_by(&self, body: &Bytes) -> (Vec<Said>, Option<String>) {
        let read = results::read(body);
        let said = |id: EventId| match &read {
            Ok(results) => results.get(&id).cloned().unwrap_or_else(Said::nothing),
            Err(_) => Said { answer: Answer::Unsettled, excerpt: excerpt_of(body) },
        };
        let all: Vec<Said> = self.deliveries.iter().map(|delivery| said(delivery.event.id)).collect();
        let left_out = all.iter().any(|said| said.answer == Answer::Unsettled);
        let why = match read {
            Err(why) => Some(why),
            Ok(_) => left_out.then(|| results::UNSAID.to_owned()),
        };
        (all, why)
    }

    /// None of them was settled.
    pub(super) fn unsettled(&self, body: &Bytes) -> Vec<Said> {
        self.deliveries
            .iter()
            .map(|_| Said { answer: Answer::Unsettled, excerpt: excerpt_of(body) })
            .collect()
    }
}

/// What a 207 says of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) answer: Answer,
    /// The words in which it says so, where it is no 2xx.
    pub(super) excerpt: Bytes,
}

impl Said {
    fn nothing() -> Self {
        Self { answer: Answer::Unsettled, excerpt: Bytes::new() }
    }
}

/// The start of `bytes`, without holding on to the rest.
fn excerpt_of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes.get(..EXCERPT_BYTES).unwrap_or(bytes))
}

/// An app that drops what it has seen by the id of a request must drop nothing else by that: the id is a hash of which
/// events it carries, and which attempt at each.
fn id_of(deliveries: &[Delivery]) -> String {
    let mut hash = Sha256::new();
    for Delivery { event, attempt, .. } in deliveries {
        hash.update(event.id.at().0.to_be_bytes());
        hash.update(event.id.seq().to_be_bytes());
        hash.update(attempt.to_be_bytes());
    }
    let mut id = String::with_capacity(4 + 32);
    id.push_str("hlb_");
    for byte in hash.finalize().iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}
