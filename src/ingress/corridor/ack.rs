//! The answer to an event that stands.

use bytes::{BufMut, Bytes, BytesMut};

use crate::event::{AppReply, EventId};
use crate::headers::{HOP_BY_HOP, Headers, HeadersBuilder};
use crate::ingress::front::Reply;
use crate::observe::RequestOutcome;

const DEFAULT: &str = r#"{"status":"accepted","id":"{id}"}"#;

/// The body of a route's 2xx, cut where the event's id goes.
#[derive(Debug)]
pub(super) struct AckBody {
    pieces: Vec<Box<str>>,
    content_type: Option<&'static str>,
}

impl AckBody {
    /// From the route's `ack_body`.
    pub(super) fn new(body: Option<&str>) -> Self {
        let body = body.unwrap_or(DEFAULT);
        Self { pieces: body.split("{id}").map(Into::into).collect(), content_type: content_type(body) }
    }

    fn with_id(&self, id: &str) -> Bytes {
        let length: usize = self.pieces.iter().map(|piece| piece.len() + id.len()).sum();
        let mut body = BytesMut::with_capacity(length);
        for (position, piece) in self.pieces.iter().enumerate() {
            if position > 0 {
                body.put_slice(id.as_bytes());
            }
            body.put_slice(piece.as_bytes());
        }
        body.freeze()
    }

    /// The reply that says so: the event stands as `id`.
    pub(super) fn reply(&self, status: u16, id: EventId, outcome: RequestOutcome) -> Reply {
        let id = id_text(id);
        // These have no body (RFC 9110 §15.3.5, §15.3.6).
        let body = if matches!(status, 204 | 205) { Bytes::new() } else { self.with_id(&id) };
        let mut headers = HeadersBuilder::with_capacity(128);
        if let Some(content_type) = self.content_type.filter(|_| !body.is_empty()) {
            headers.push(b"content-type", content_type.as_bytes());
        }
        push_ours(&mut headers, &id, outcome);
        Reply { status, headers: headers.build(), body, close: false }
    }
}

/// Said of the whole body, as providers that read it at all expect: JSON, TwiML and its like, else text.
fn content_type(body: &str) -> Option<&'static str> {
    match body.trim_start().as_bytes().first() {
        None => None,
        Some(b'<') => Some("application/xml"),
        Some(_) if serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok() => Some("application/json"),
        Some(_) => Some("text/plain; charset=utf-8"),
    }
}

fn id_text(id: EventId) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(26);
    // Writing to a String cannot fail.
    let _ = write!(text, "{id}");
    text
}

fn push_ours(headers: &mut HeadersBuilder, id: &str, outcome: RequestOutcome) {
    headers.push(b"hooklatch-id", id.as_bytes());
    headers.push(b"hooklatch-outcome", outcome.as_str().as_bytes());
}

/// The app's own answer, for `answer = "app"`. `outcome` is none where the event was refused by it.
pub(super) fn from_app(app: AppReply, id: EventId, outcome: Option<RequestOutcome>) -> Reply {
    let mut headers = HeadersBuilder::with_capacity(app.headers.as_bytes().len() + 96);
    for (name, value) in app.headers.iter().filter(|(name, _)| !is_of_the_connection(&app.headers, name)) {
        headers.push(name, value);
    }
    match outcome {
        Some(outcome) => push_ours(&mut headers, &id_text(id), outcome),
        None => headers.push(b"hooklatch-id", id_text(id).as_bytes()),
    }
    Reply { status: app.status, headers: headers.build(), body: app.body, close: false }
}

/// Framing, what belongs to the app's connection, and what only hooklatch says.
fn is_of_the_connection(headers: &Headers, name: &[u8]) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    let named = |value: &[u8]| value.split(|b| *b == b',').any(|n| n.trim_ascii().eq_ignore_ascii_case(name));
    HOP_BY_HOP.into_iter().any(is)
        || is("content-length")
        || is("date")
        || name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"hooklatch-"))
        || headers.get_all("connection").any(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;

    fn body(ack_body: Option<&str>) -> (Option<String>, String) {
        let id = EventId::new(Millis(1), 2);
        let reply = AckBody::new(ack_body).reply(200, id, RequestOutcome::Accepted);
        assert_eq!(reply.headers.get("hooklatch-id"), Some(id.to_string().as_bytes()));
        assert_eq!(reply.headers.get("hooklatch-outcome"), Some(&b"accepted"[..]));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (reply.headers.get("content-type").map(text), text(&reply.body).replace(&id.to_string(), "ID"))
    }

    #[test]
    fn the_body_names_the_event_where_it_is_asked_to() {
        let json = Some("application/json".to_owned());
        assert_eq!(body(None), (json.clone(), r#"{"status":"accepted","id":"ID"}"#.to_owned()));
        assert_eq!(body(Some("[\"{id}\",\"{id}\"]")), (json, "[\"ID\",\"ID\"]".to_owned()));
        assert_eq!(body(Some("")), (None, String::new()));
        assert_eq!(body(Some("<Response/>")), (Some("application/xml".to_owned()), "<Response/>".to_owned()));
        assert_eq!(body(Some("ok")), (Some("text/plain; charset=utf-8".to_owned()), "ok".to_owned()));
    }

    #[test]
    fn a_204_has_no_body() {
        let reply = AckBody::new(None).reply(204, EventId::default(), RequestOutcome::Duplicate);
        assert!(reply.body.is_empty() && reply.headers.get("content-type").is_none());
    }

    #[test]
    fn the_apps_answer_goes_back_without_what_is_of_its_connection() {
        let headers = Headers::from_pairs([
            ("Content-Type", "text/xml"),
            ("Connection", "X-Hop"),
            ("X-Hop", "1"),
            ("Content-Length", "9"),
            ("Set-Cookie", "a=1"),
            ("Set-Cookie", "b=2"),
            ("Hooklatch-Id", "forged"),
            ("Date", "x"),
        ]);
        let app = AppReply { status: 201, headers, body: Bytes::from_static(b"<Reply/>") };
        let reply = from_app(app, EventId::default(), Some(RequestOutcome::Accepted));
        let names: Vec<_> =
            reply.headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        assert_eq!(names, ["Content-Type", "Set-Cookie", "Set-Cookie", "hooklatch-id", "hooklatch-outcome"]);
        assert_eq!((reply.status, &reply.body[..]), (201, &b"<Reply/>"[..]));
    }
}
