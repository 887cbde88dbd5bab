//! The body of a batch: each event with all that a request of its own would say.

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::BatchFormat;
use crate::event::Event;
use crate::headers::HOP_BY_HOP;

impl BatchFormat {
    /// What stands before the first object, between two, after each, and at the end.
    fn punctuation(self) -> [&'static [u8]; 4] {
        match self {
            Self::Json => [b"[", b",", b"", b"]"],
            Self::NdJson => [b"", b"", b"\n", b""],
        }
    }
}

/// The body of a batch as it grows.
#[derive(Debug)]
pub(super) struct BatchBody {
    format: BatchFormat,
    bytes: Vec<u8>,
    events: usize,
}

impl BatchBody {
    pub(super) fn new(format: BatchFormat) -> Self {
        let [before, ..] = format.punctuation();
        Self { format, bytes: before.to_vec(), events: 0 }
    }

    /// How long it would be if it ended here.
    pub(super) fn len(&self) -> usize {
        let [.., end] = self.format.punctuation();
        self.bytes.len() + end.len()
    }

    /// Adds an event that is tried for the `attempt`th time, unless the body would then have more than `max_bytes`; a
    /// first one is always taken. Whether it was.
    pub(super) fn push(&mut self, event: &Event, attempt: u16, max_bytes: usize) -> bool {
        let [_, between, after, _] = self.format.punctuation();
        let before = self.bytes.len();
        if self.events > 0 {
            self.bytes.extend_from_slice(between);
        }
        write_event(&mut self.bytes, event, attempt);
        self.bytes.extend_from_slice(after);
        if self.events > 0 && self.len() > max_bytes {
            self.bytes.truncate(before);
            return false;
        }
        self.events += 1;
        true
    }

    /// The whole body.
    pub(super) fn finish(mut self) -> Bytes {
        let [.., end] = self.format.punctuation();
        self.bytes.extend_from_slice(end);
        self.bytes.into()
    }
}

/// One event as an object.
fn write_event(out: &mut Vec<u8>, event: &Event, attempt: u16) {
    // Room for a usual one, base64 included: one growth, not ten.
    out.reserve(512 + event.headers.as_bytes().len() + event.body.len() * 4 / 3);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{{\"id\":\"{}\",\"route\":", event.id);
    write_json(out, &*event.route);
    for (key, value) in [
        ("provider", event.provider.as_deref()),
        ("event_id", event.event_id.as_deref()),
        ("event_type", event.event_type.as_deref()),
    ] {
        let _ = write!(out, ",\"{key}\":");
        write_json(out, &value);
    }
    let _ = write!(out, ",\"attempt\":{attempt},\"received_at\":\"{}\"", event.received_at.rfc3339());
    for (key, value) in [("method", &*event.method), ("path", &*event.target)] {
        let _ = write!(out, ",\"{key}\":");
        write_json(out, value);
    }
    out.extend_from_slice(b",\"headers\":[");
    write_headers(out, event);
    out.push(b']');
    if is_one_line_of_json(&event.body) {
        out.extend_from_slice(b",\"body\":");
        out.extend_from_slice(&event.body);
    } else {
        out.extend_from_slice(b",\"body_base64\":\"");
        write_base64(out, &event.body);
        out.push(b'"');
    }
    out.push(b'}');
}

/// The sender's headers in order, but for those of its connection, and whom it came from.
fn write_headers(out: &mut Vec<u8>, event: &Event) {
    let of_connection = |name: &[u8]| {
        let mut these = HOP_BY_HOP.iter().chain(&["content-length", "expect"]);
        these.any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
    };
    let senders = event.headers.iter().filter(|(name, _)| !of_connection(name));
    let host = event.headers.get("host").map(|host| (&b"x-forwarded-host"[..], host));
    let client =
        (!event.forwarded_for.is_empty()).then(|| (&b"x-forwarded-for"[..], event.forwarded_for.as_bytes()));
    let proto = (&b"x-forwarded-proto"[..], event.forwarded_proto.as_str().as_bytes());
    for (index, (name, value)) in senders.chain(client).chain([proto]).chain(host).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json(out, &(text(name), text(value)));
    }
}

fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Texts, and pairs of them, always have a JSON form.
    let _ = serde_json::to_writer(out, value);
}

fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, out.get_mut(start..).unwrap_or_default());
    // There is room for all of it.
    out.truncate(start + written.unwrap_or(0));
}

/// A header's value as text: UTF-8 where it is, else each byte the character of its number (ISO 8859-1, which RFC 9110
/// §5.5 calls it historically), so that nothing is lost.
fn text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().copied().map(char::from).collect()),
    }
}

/// Whether `body` can stand in a line of JSON as it is.
pub(super) fn is_one_line_of_json(body: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', body).is_none()
        && std::str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}
