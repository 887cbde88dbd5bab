//! How the lines of the log look, as JSON and for people.

use super::event_log::{AttemptLine, RequestLine};
use super::json::{is_plain, push_escaped, push_string};
use crate::clock::Millis;
use crate::event::{Answer, EventId};

/// As `log.format` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Json,
    Text,
}

/// What of a path is logged, in bytes: whoever sends 8 KiB of it does not get to fill the log with it.
const MAX_PATH: usize = 1024;
/// What of any other word from outside is logged.
const MAX_WORD: usize = 256;

/// The name of a field with all that stands around it, put together by the compiler: half of a line is such names.
#[derive(Clone, Copy)]
struct Key {
    json: &'static str,
    text: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        Key { json: concat!(",\"", $name, "\":"), text: concat!(" ", $name, "=") }
    };
}

/// Appends the line of a request, newline included.
pub(super) fn request(out: &mut Vec<u8>, style: Style, line: &RequestLine<'_>) {
    let mut fields = Fields::begin(out, style, line.at, "info", "request");
    fields.id(key!("request_id"), line.request_id);
    fields.word(key!("route"), line.route);
    fields.plain(key!("outcome"), line.outcome.as_str());
    fields.number(key!("status"), u64::from(line.status));
    fields.word(key!("client"), line.client);
    fields.word(key!("method"), line.method);
    fields.text(key!("path"), line.path, MAX_PATH);
    fields.number(key!("bytes"), line.bytes);
    if let Some(id) = line.id {
        fields.id(key!("id"), id);
    }
    fields.optional(key!("event_id"), line.event_id);
    fields.optional(key!("event_type"), line.event_type);
    fields.optional(key!("reason"), line.reason);
    fields.number(key!("took_us"), micros(line.took));
    fields.end();
}

/// Appends the line of an attempt, newline included.
pub(super) fn attempt(out: &mut Vec<u8>, style: Style, line: &AttemptLine<'_>) {
    let mut fields = Fields::begin(out, style, line.at, "info", "attempt");
    fields.id(key!("id"), line.id);
    fields.word(key!("route"), line.route);
    fields.word(key!("destination"), line.destination);
    fields.number(key!("attempt"), u64::from(line.attempt));
    fields.plain(key!("result"), line.result.as_str());
    match line.answer {
        Answer::Status(status) => fields.number(key!("status"), u64::from(status)),
        Answer::Timeout => fields.plain(key!("status"), "timeout"),
        Answer::Connect => fields.plain(key!("status"), "connect"),
        Answer::Internal => fields.plain(key!("status"), "internal"),
        Answer::Unsettled => fields.plain(key!("status"), "unsettled"),
    }
    fields.optional(key!("region"), line.region);
    fields.optional(key!("batch"), line.batch);
    fields.optional(key!("reason"), line.reason);
    if let Some(next) = line.next {
        fields.key(key!("next"));
        fields.quoted(|out| push_time(out, next));
    }
    fields.number(key!("took_us"), micros(line.took));
    fields.end();
}

fn micros(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Appends the fields of one line.
pub(super) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    style: Style,
}

impl<'a> Fields<'a> {
    /// Begins with time, level and message, as every line does.
    pub(super) fn begin(out: &'a mut Vec<u8>, style: Style, at: Millis, level: &str, message: &str) -> Self {
        // Room for a usual line: one look at the capacity that grows it, not twenty.
        out.reserve(512);
        match style {
            Style::Json => {
                out.extend_from_slice(b"{\"ts\":\"");
                push_time(out, at);
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend_from_slice(level.as_bytes());
                out.extend_from_slice(b"\",\"msg\":");
                push_string(out, message.as_bytes(), MAX_MESSAGE);
            }
            Style::Text => {
                push_time(out, at);
                out.push(b' ');
                out.extend_from_slice(level.as_bytes());
                out.push(b' ');
                push_escaped(out, message.as_bytes(), MAX_MESSAGE);
            }
        }
        Self { out, style }
    }

    pub(super) fn end(self) {
        self.out.extend_from_slice(match self.style {
            Style::Json => b"}\n",
            Style::Text => b"\n",
        });
    }

    fn key(&mut self, key: Key) {
        let text = match self.style {
            Style::Json => key.json,
            Style::Text => key.text,
        };
        self.out.extend_from_slice(text.as_bytes());
    }

    /// A key that the compiler does not know: the name of a field in the code of ours or of a library.
    pub(super) fn named(&mut self, key: &str) -> Value<'_> {
        let (before, after) = match self.style {
            Style::Json => (",\"", "\":"),
            Style::Text => (" ", "="),
        };
        self.out.extend_from_slice(before.as_bytes());
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(after.as_bytes());
        Value { out: self.out, style: self.style }
    }

    /// What needs no escaping, in quotes where the style wants them.
    fn quoted(&mut self, value: impl FnOnce(&mut Vec<u8>)) {
        let quote = self.style == Style::Json;
        if quote {
            self.out.push(b'"');
        }
        value(self.out);
        if quote {
            self.out.push(b'"');
        }
    }

    /// A word of ours.
    fn plain(&mut self, key: Key, value: &str) {
        self.key(key);
        self.quoted(|out| out.extend_from_slice(value.as_bytes()));
    }

    fn id(&mut self, key: Key, id: EventId) {
        self.key(key);
        self.quoted(|out| push_id(out, id));
    }

    fn number(&mut self, key: Key, value: u64) {
        self.key(key);
        push_number(self.out, value);
    }

    fn word(&mut self, key: Key, value: &str) {
        self.text(key, value, MAX_WORD);
    }

    fn optional(&mut self, key: Key, value: Option<&str>) {
        if let Some(value) = value {
            self.word(key, value);
        }
    }

    fn text(&mut self, key: Key, value: &str, max_bytes: usize) {
        self.key(key);
        Value { out: self.out, style: self.style }.text(value, max_bytes);
    }
}

/// The place of a value, its key already written.
pub(super) struct Value<'a> {
    out: &'a mut Vec<u8>,
    style: Style,
}

impl Value<'_> {
    /// `true`, a number, or any other token of JSON that `value` is known to be.
    pub(super) fn token(self, value: &str) {
        self.out.extend_from_slice(value.as_bytes());
    }

    /// A word from outside, of which at most `max_bytes` are shown.
    pub(super) fn text(self, value: &str, max_bytes: usize) {
        let bytes = value.as_bytes();
        let bare = self.style == Style::Text
            && !bytes.is_empty()
            && bytes.len() <= max_bytes
            && bytes.iter().all(|b| is_plain(*b) && !matches!(b, b' ' | b'='));
        if bare {
            self.out.extend_from_slice(bytes);
        } else {
            push_string(self.out, bytes, max_bytes);
        }
    }
}

/// What of a message is logged.
const MAX_MESSAGE: usize = 4096;

fn push_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(20 - used..).unwrap_or_default());
}

/// [`Millis::rfc3339`], whose date is computed once a second and thread: the arithmetic costs more than a whole line.
pub(super) fn push_time(out: &mut Vec<u8>, at: Millis) {
    thread_local! {
        static SECOND: std::cell::Cell<(u64, [u8; 20])> = const { std::cell::Cell::new((u64::MAX, [0; 20])) };
    }
    let (mut second, mut text) = SECOND.get();
    if second != at.seconds() {
        second = at.seconds();
        let whole = at.rfc3339();
        let Some(start) = whole.as_bytes().first_chunk::<20>().filter(|_| whole.len() == 24) else {
            // A year of five digits.
            return out.extend_from_slice(whole.as_bytes());
        };
        text = *start;
        SECOND.set((second, text));
    }
    let ms = (at.0 % 1000) as u16;
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(&text);
    out.extend_from_slice(&[digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
}

/// The text of an [`EventId`], in 64-bit steps: its `Display` divides 128 bits 23 times, and a line has two of them.
fn push_id(out: &mut Vec<u8>, id: EventId) {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    const LOW_BITS: u32 = 60;
    let seq = id.seq();
    let mut low = seq & ((1 << LOW_BITS) - 1);
    let mut high = (id.at().0 << (64 - LOW_BITS)) | (seq >> LOW_BITS);
    let mut text = *b"hl_00000000000000000000000";
    let (head, tail) = text.split_at_mut(14);
    for (digits, rest) in [(tail, &mut low), (head.get_mut(3..).unwrap_or_default(), &mut high)] {
        for digit in digits.iter_mut().rev() {
            *digit = DIGITS.get((*rest & 31) as usize).copied().unwrap_or(b'0');
            *rest >>= 5;
        }
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests;
