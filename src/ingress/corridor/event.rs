//! From a request to an event.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::Ticket;
use super::route::Corridor;
use crate::clock::Millis;
use crate::event::{Event, EventId, Proto, Turn};
use crate::headers::{HOP_BY_HOP, Headers};
use crate::ingress::client_ip::Client;
use crate::ingress::head::Head;
use crate::select::Message;

/// The URL that the provider signed, as far as hooklatch can know it: the route's own, the server's public one and the
/// target, or what the request (or a trusted proxy) says.
pub(super) fn public_url<'a>(corridor: &'a Corridor, client: &Client, head: &Head) -> Cow<'a, str> {
    if let Some(url) = &corridor.settings.public_url {
        return Cow::Borrowed(url);
    }
    let target = head.path_and_query();
    if let Some(base) = &corridor.public_base {
        return Cow::Owned([base, target].concat());
    }
    let scheme = match client.proto {
        Proto::Http => "http://",
        Proto::Https => "https://",
    };
    let host = client.host.as_deref().or(head.host()).unwrap_or_default();
    Cow::Owned([scheme, host, target].concat())
}

/// The request as selectors and schemes see it.
pub(super) fn message<'a>(head: &'a Head, url: &'a str, body: &'a [u8]) -> Message<'a> {
    Message {
        method: head.method(),
        path: head.path(),
        query: head.query(),
        url,
        headers: head.headers(),
        body,
    }
}

/// What selectors found in a request.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) event_id: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) event_time: Option<Millis>,
    pub(super) turn: Turn,
}

/// The event that a verified request brings.
pub(super) fn build(
    ticket: &Ticket,
    corridor: &Corridor,
    head: &Head,
    facts: &Facts,
    body: Bytes,
    received_at: Millis,
) -> Event {
    Event {
        id: EventId::default(),
        route: Arc::clone(&ticket.route.name),
        provider: corridor.settings.provider.clone(),
        event_id: facts.event_id.as_deref().map(Into::into),
        event_type: facts.event_type.as_deref().map(Into::into),
        event_time: facts.event_time,
        received_at,
        method: head.method().into(),
        target: head.path_and_query().into(),
        headers: kept_headers(head.headers()),
        forwarded_for: ticket.client.forwarded_for.as_str().into(),
        forwarded_proto: ticket.client.proto,
        body,
        turn: facts.turn,
    }
}

/// The sender's headers that go on to the app, as they came: without those of its connection, those that frame the
/// body (delivery frames it anew), and those by which it could speak for hooklatch or for a proxy.
pub(super) fn kept_headers(headers: &Headers) -> Headers {
    let lines = headers.as_bytes();
    let mut kept = BytesMut::with_capacity(lines.len());
    let mut named_by_connection: Vec<&[u8]> = Vec::new();
    for value in headers.get_all("connection") {
        let names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        named_by_connection.extend(names.filter(|name| !is_usual_option(name)));
    }
    let mut rest: &[u8] = lines;
    while let Some((line, after)) = memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end + 1))
    {
        rest = after;
        let name = memchr::memchr(b':', line).and_then(|colon| line.get(..colon)).unwrap_or_default();
        let named = named_by_connection.iter().any(|named| named.eq_ignore_ascii_case(name));
        if !named && !is_dropped(name) {
            put_line(&mut kept, name, line);
        }
    }
    Headers::from_checked(kept.freeze())
}

/// Appends `line` as [`Headers`] writes lines, so that they read back from a store: `name: value`, no other blanks.
fn put_line(kept: &mut BytesMut, name: &[u8], line: &[u8]) {
    match line.get(name.len()..) {
        // Nearly every line already looks like this.
        Some([b':', b' ', b'!'..=b'~', .., b'!'..=b'~', b'\r', b'\n']) => kept.put_slice(line),
        rest => {
            let value = rest.and_then(|rest| rest.get(1..)).unwrap_or_default().trim_ascii();
            kept.reserve(name.len() + value.len() + 4);
            kept.put_slice(name);
            kept.put_slice(b": ");
            kept.put_slice(value);
            kept.put_slice(b"\r\n");
        }
    }
}

fn is_usual_option(name: &[u8]) -> bool {
    name.is_empty() || name.eq_ignore_ascii_case(b"keep-alive") || name.eq_ignore_ascii_case(b"close")
}

/// Told by the first letter and then by the whole name: nearly every header is neither of these.
///
/// `Forwarded` says the same as the `x-forwarded-*` that hooklatch writes; a stranger's would contradict them.
fn is_dropped(name: &[u8]) -> bool {
    const FRAMING_AND_PROXIES: [&str; 3] = ["content-length", "expect", "forwarded"];
    let starts = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    match name.first().map(u8::to_ascii_lowercase) {
        Some(b'h') => starts("hooklatch-"),
        Some(b'x') => starts("x-forwarded-"),
        Some(b'c' | b'e' | b'f' | b'k' | b'p' | b't' | b'u') => {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            FRAMING_AND_PROXIES.into_iter().chain(HOP_BY_HOP).any(is)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_connection_or_could_be_forged_stays_outside() {
        let headers = Headers::from_pairs([
            ("Host", "a.example"),
            ("Connection", "close, X-Hop"),
            ("connection", "X-Other"),
            ("X-Hop", "1"),
            ("x-OTHER", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Content-Length", "3"),
            ("Transfer-Encoding", "chunked"),
            ("Expect", "100-continue"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Hooklatch-Id", "hl_forged"),
            ("HOOKLATCH-Attempt", "9"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("x-forwarded-prefix", "/admin"),
            ("Forwarded", "for=6.6.6.6"),
            ("X-Hub-Signature-256", "sha256=00"),
            ("Cookie", "a=1"),
            ("cookie", "b=2"),
            ("Content-Type", "application/json"),
            ("X-Forward", "stays"),
            ("Hooklatch", "stays"),
        ]);
        let kept = kept_headers(&headers);
        assert_eq!(
            String::from_utf8_lossy(kept.as_bytes()),
            "Host: a.example\r\nX-Hub-Signature-256: sha256=00\r\nCookie: a=1\r\ncookie: b=2\r\n\
             Content-Type: application/json\r\nX-Forward: stays\r\nHooklatch: stays\r\n"
        );
    }

    #[test]
    fn every_hop_by_hop_header_is_dropped_in_any_case() {
        for name in HOP_BY_HOP.into_iter().chain([
            "content-length",
            "expect",
            "forwarded",
            "x-forwarded-",
            "hooklatch-",
        ]) {
            assert!(is_dropped(name.as_bytes()) && is_dropped(name.to_uppercase().as_bytes()), "{name}");
            assert!(!is_dropped(format!("a{name}").as_bytes()));
        }
        assert!(!is_dropped(b"") && !is_dropped(b"x-forwarded") && !is_dropped(b"content-lengthy"));
    }

    #[test]
    fn lines_are_kept_as_a_store_will_read_them_back() {
        let raw = Bytes::from_static(b"A:1\r\nB:  two \t\r\nC:\r\nD: x\r\nE: a b\r\nF: \xff\r\n");
        let kept = kept_headers(&Headers::from_checked(raw));
        assert_eq!(&kept.as_bytes()[..], b"A: 1\r\nB: two\r\nC: \r\nD: x\r\nE: a b\r\nF: \xff\r\n");
        assert_eq!(Headers::from_stored(kept.as_bytes().clone()), Ok(kept));
    }

    #[test]
    fn a_connection_header_cannot_drop_what_is_needed_by_naming_nothing() {
        let headers = Headers::from_pairs([("Connection", "keep-alive, ,"), ("X-A", "1")]);
        assert_eq!(kept_headers(&headers).as_bytes(), "X-A: 1\r\n");
    }
}
