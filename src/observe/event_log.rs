//! The log of events: one line a request and one an attempt.
//!
//! A line through `tracing` costs 1.5 to 2.4 µs, half of what an ack may cost in all; so these are put together by
//! hand. Everything else that is logged goes through `tracing` (see `logging`), to the same stream.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use super::line::{self, Style};
use super::log_writer::LogWriter;
use super::{AttemptResult, Metrics, RequestOutcome};
use crate::clock::Millis;
use crate::event::{Answer, EventId};

/// The log of events: one JSON line a request and one an attempt, formatted by hand into a buffer of the calling
/// thread, written by one thread of its own from a bounded queue. Lines lost for room are counted.
#[derive(Clone, Debug)]
pub struct EventLog(Sink);

#[derive(Clone, Debug)]
enum Sink {
    Off,
    Writer(LogWriter, Style),
    /// The system had no thread to give: every line is counted as lost.
    Lost(Arc<Metrics>),
}

impl EventLog {
    /// A log whose lines go to `out`. `json = false` writes them for people.
    #[must_use]
    pub fn to(out: Box<dyn Write + Send>, json: bool, metrics: Arc<Metrics>) -> Self {
        match LogWriter::start(out, Arc::clone(&metrics)) {
            Ok(writer) => Self::through(writer, json),
            Err(_) => Self(Sink::Lost(metrics)),
        }
    }

    /// A log whose lines go the way of all others.
    #[must_use]
    pub fn through(writer: LogWriter, json: bool) -> Self {
        Self(Sink::Writer(writer, if json { Style::Json } else { Style::Text }))
    }

    /// A log that keeps nothing, for tests and `log.level` above info.
    #[must_use]
    pub fn off() -> Self {
        Self(Sink::Off)
    }

    /// A request ended.
    pub fn request(&self, line: &RequestLine<'_>) {
        self.write(|out, style| line::request(out, style, line));
    }

    /// An attempt to deliver ended.
    pub fn attempt(&self, line: &AttemptLine<'_>) {
        self.write(|out, style| line::attempt(out, style, line));
    }

    /// Waits until everything logged so far is written, `patience` at most; whether it is.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        match &self.0 {
            Sink::Off => true,
            Sink::Writer(writer, _) => writer.flush(patience),
            Sink::Lost(_) => false,
        }
    }

    #[inline]
    fn write(&self, format: impl FnOnce(&mut Vec<u8>, Style)) {
        match &self.0 {
            Sink::Off => {}
            Sink::Writer(writer, style) => writer.line(|out| format(out, *style)),
            Sink::Lost(metrics) => metrics.log_lines_lost(1),
        }
    }
}

/// What is logged of a request. Bytes from outside are escaped by the log.
#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    /// When it ended.
    pub at: Millis,
    /// The id that is also in a refusal's body.
    pub request_id: EventId,
    /// The route's name; empty where none matched.
    pub route: &'a str,
    /// How it ended.
    pub outcome: RequestOutcome,
    /// The status answered.
    pub status: u16,
    /// The client's address.
    pub client: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path without query (a query may hold tokens).
    pub path: &'a str,
    /// The body's length.
    pub bytes: u64,
    /// hooklatch's id of the event it became or repeats.
    pub id: Option<EventId>,
    /// The provider's id of the event.
    pub event_id: Option<&'a str>,
    /// The event's type.
    pub event_type: Option<&'a str>,
    /// A refusal's sentence.
    pub reason: Option<&'a str>,
    /// From the first byte of the head to the answer.
    pub took: Duration,
}

/// What is logged of an attempt to deliver.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLine<'a> {
    /// When it ended.
    pub at: Millis,
    /// The event.
    pub id: EventId,
    /// Its route.
    pub route: &'a str,
    /// Where to.
    pub destination: &'a str,
    /// 1, 2, …
    pub attempt: u16,
    /// How it ended.
    pub answer: Answer,
    /// What follows.
    pub result: AttemptResult,
    /// How long it took.
    pub took: Duration,
    /// When the next attempt is due.
    pub next: Option<Millis>,
    /// Where it went, of a destination with `regions`.
    pub region: Option<&'a str>,
    /// The id of the batch that it went in.
    pub batch: Option<&'a str>,
    /// A transport error's sentence.
    pub reason: Option<&'a str>,
}
