//! Everything that is logged besides events: `tracing`, in the shape of the event log and on the same stream.
//!
//! One stream (the process's standard output), one shape (`ts`, `level`, `msg`, then fields), one way: whoever logs
//! hands a line to the [`LogWriter`] and never waits for the stream.
//!
//! What libraries tell the `log` crate (pingora does) is not taken up, on purpose: its error lines hold the request's
//! whole target, with tokens in the query, one line for each request that fails. What they report reaches us as error
//! values, which the doors log in their own words.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::line::{Fields, Style};
use super::log_writer::LogWriter;
use super::{EventLog, LogFormat, LogLevel, LogOptions, Metrics};
use crate::clock::Clock;

/// What of one field is logged, in bytes.
const MAX_FIELD: usize = 4096;

/// The log of a process.
#[derive(Clone, Debug)]
pub struct Logging {
    writer: LogWriter,
    events: EventLog,
}

impl Logging {
    /// Makes `out` the stream of the log and takes over all that `tracing` tells in this process.
    ///
    /// # Errors
    /// The system has no thread to give, or `tracing` was taken over before.
    pub fn start(
        options: LogOptions,
        out: Box<dyn Write + Send>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let (logging, subscriber) = Self::build(options, out, clock, metrics)?;
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|_| "the log was started twice".to_owned())?;
        Ok(logging)
    }

    fn build(
        options: LogOptions,
        out: Box<dyn Write + Send>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, impl Subscriber + Send + Sync), String> {
        let writer =
            LogWriter::start(out, metrics).map_err(|error| format!("no thread for the log: {error}"))?;
        let json = options.format == LogFormat::Json;
        let events = if options.level.writes_events() {
            EventLog::through(writer.clone(), json)
        } else {
            EventLog::off()
        };
        let layer = Lines {
            writer: writer.clone(),
            style: if json { Style::Json } else { Style::Text },
            level: options.level,
            clock,
        };
        Ok((Self { writer, events }, tracing_subscriber::registry().with(layer)))
    }

    /// The log of events, off where `log.level` says so.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// Waits until everything logged so far is written, `patience` at most; whether it is.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        self.writer.flush(patience)
    }
}

/// Counts every panic of the process in `hooklatch_panics_total` and logs it as an error with its place. What
/// catches it, and what becomes of the thread, is not changed.
pub fn count_panics(metrics: Arc<Metrics>) {
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panicked();
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(place, thread = thread.name().unwrap_or(""), "panic: {message}");
        // The main thread takes the process with it: there may be no log left to read, so say it plainly too.
        if thread.name() == Some("main") {
            let _ = writeln!(std::io::stderr(), "hooklatch: panic at {place}: {message}");
        }
    }));
}

/// Writes each event of `tracing` as a line.
struct Lines {
    writer: LogWriter,
    style: Style,
    level: LogLevel,
    clock: Clock,
}

impl Lines {
    /// Libraries tell at `info` what is news only to their authors: below `warn` they are heard where the user asks
    /// for `trace`.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target() == "hooklatch" || metadata.target().starts_with("hooklatch::");
        let level = match self.level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info | LogLevel::Debug if !ours => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        *metadata.level() <= level
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_event() && self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Displayed before the line is begun: whatever a field's `Debug` does, it does not hold this thread's buffer.
        let mut shown = Shown::default();
        event.record(&mut shown);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let now = self.clock.now();
        self.writer.line(|out| {
            let mut fields = Fields::begin(out, self.style, now, level, &shown.message);
            fields.named("target").text(event.metadata().target(), MAX_FIELD);
            for (key, value) in &shown.fields {
                match value {
                    Value::Token(token) => fields.named(key).token(token),
                    Value::Text(text) => fields.named(key).text(text, MAX_FIELD),
                }
            }
            fields.end();
        });
    }
}

#[derive(Default)]
struct Shown {
    message: String,
    fields: Vec<(&'static str, Value)>,
}

enum Value {
    /// As it is in JSON.
    Token(String),
    Text(String),
}

impl Shown {
    /// A field of a library may be named as one of ours: JSON's keys must differ.
    fn push(&mut self, field: &Field, value: Value) {
        let name = match field.name() {
            "ts" => "ts_",
            "level" => "level_",
            "msg" => "msg_",
            "target" => "target_",
            name => name,
        };
        self.fields.push((name, value));
    }
}

impl Visit for Shown {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.push(field, Value::Text(text)) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.push(field, Value::Text(value.to_owned()));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, Value::Token(value.to_string()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, Value::Token(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, Value::Token(value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::clock::Millis;

    #[derive(Clone, Default)]
    struct Stream(Arc<Mutex<Vec<u8>>>);

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: LogLevel, act: impl FnOnce(&Logging)) -> String {
        let stream = Stream::default();
        let clock = Clock::manual(Millis(1_768_473_000_123));
        let (logging, subscriber) =
            Logging::build(LogOptions { format, level }, Box::new(stream.clone()), clock, Metrics::new())
                .unwrap();
        tracing::subscriber::with_default(subscriber, || act(&logging));
        assert!(logging.flush(Duration::from_secs(10)));
        let bytes = stream.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_the_shape_of_the_event_log() {
        let text = logged(LogFormat::Json, LogLevel::Info, |_| {
            tracing::warn!(count = 3, ok = true, name = "a\u{1b}b\n", ts = "odd", error = ?Some("x"), "it {}", "is");
        });
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            serde_json::json!({
                "ts": "2026-01-15T10:30:00.123Z", "level": "warn", "msg": "it is",
                "target": "hooklatch::observe::logging::tests", "count": 3, "ok": true, "name": "a\u{1b}b\n",
                "ts_": "odd", "error": "Some(\"x\")",
            })
        );
        assert!(text.contains(r#"a\u001bb\n"#), "{text}");
    }

    #[test]
    fn a_line_for_people() {
        let text = logged(LogFormat::Text, LogLevel::Info, |_| tracing::info!(path = "/a b", "hello\nworld"));
        assert_eq!(
            text,
            "2026-01-15T10:30:00.123Z info hello\\nworld target=hooklatch::observe::logging::tests path=\"/a b\"\n"
        );
    }

    #[test]
    fn the_level_holds_for_ours_and_libraries_are_quieter() {
        let speak = |_: &Logging| {
            tracing::error!("e");
            tracing::warn!("w");
            tracing::info!("i");
            tracing::debug!("d");
            tracing::trace!("t");
            tracing::warn!(target: "hyper", "lw");
            tracing::info!(target: "hooklatches", "li");
        };
        let heard = |level| -> String {
            logged(LogFormat::Text, level, speak)
                .lines()
                .map(|line| line.split(' ').nth(2).unwrap().to_owned() + " ")
                .collect()
        };
        assert_eq!(heard(LogLevel::Error), "e ");
        assert_eq!(heard(LogLevel::Warn), "e w lw ");
        assert_eq!(heard(LogLevel::Info), "e w i lw ");
        assert_eq!(heard(LogLevel::Debug), "e w i d lw ");
        assert_eq!(heard(LogLevel::Trace), "e w i d t lw li ");
    }

    #[test]
    fn the_event_log_is_off_above_info() {
        let line = super::super::AttemptLine {
            at: Millis(0),
            id: crate::event::EventId::new(Millis(0), 1),
            route: "r",
            destination: "d",
            attempt: 1,
            answer: crate::event::Answer::Status(200),
            result: super::super::AttemptResult::Delivered,
            took: Duration::ZERO,
            next: None,
            region: None,
            batch: None,
            reason: None,
        };
        let act = |logging: &Logging| logging.events().attempt(&line);
        assert_eq!(logged(LogFormat::Json, LogLevel::Warn, act), "");
        assert_eq!(logged(LogFormat::Json, LogLevel::Info, act).lines().count(), 1);
    }

    #[test]
    fn a_panic_is_counted() {
        let metrics = Metrics::new();
        let before = std::panic::take_hook();
        count_panics(Arc::clone(&metrics));
        let caught = std::panic::catch_unwind(|| panic!("on purpose"));
        std::panic::set_hook(before);
        assert!(caught.is_err());
        let text = metrics.encode();
        // Another test may panic at the same time where tests share a process.
        assert!(!text.contains("hooklatch_panics_total 0"), "{text}");
    }
}
