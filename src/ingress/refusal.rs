//! What a sender reads whose request is not taken: one JSON shape, one status a kind.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use super::front::{Fault, Reply};
use crate::buffer::KeepError;
use crate::clock::Millis;
use crate::event::EventId;
use crate::headers::HeadersBuilder;
use crate::observe::RequestOutcome;
use crate::units::format_size;
use crate::verify;

/// When a refused sender is welcome again, in seconds: longer than a hiccup, shorter than any provider's first retry.
const RETRY_AFTER: u64 = 5;

/// A refusal before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind; its word is the `error` of the body and the outcome in metrics and log.
    pub outcome: RequestOutcome,
    /// A sentence for the sender.
    pub message: Cow<'static, str>,
    /// The header or field at fault.
    pub field: Option<Cow<'static, str>>,
    /// The value of `Allow`.
    pub allow: Option<String>,
    /// The value of `Retry-After`, in seconds; said with 429 and 503.
    pub retry_after: u64,
    /// Whether the rest of the connection cannot be made sense of or is not worth reading.
    pub close: bool,
}

impl Refusal {
    /// A refusal of that kind.
    pub fn new(outcome: RequestOutcome, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            outcome,
            message: message.into(),
            field: None,
            allow: None,
            retry_after: RETRY_AFTER,
            close: false,
        }
    }

    fn closing(outcome: RequestOutcome, message: impl Into<Cow<'static, str>>) -> Self {
        Self { close: true, ..Self::new(outcome, message) }
    }

    /// 404.
    #[must_use]
    pub fn unknown_route() -> Self {
        Self::new(RequestOutcome::UnknownRoute, "No route answers this path on this host.")
    }

    /// 405; `allow` is the list of methods that are allowed.
    #[must_use]
    pub fn method_not_allowed(allow: String) -> Self {
        let message = format!("This path takes {allow}.");
        Self { allow: Some(allow), ..Self::new(RequestOutcome::MethodNotAllowed, message) }
    }

    /// 403.
    #[must_use]
    pub fn ip_not_allowed() -> Self {
        Self::new(RequestOutcome::IpNotAllowed, "Requests from this address are not allowed here.")
    }

    /// 429: more come `whence` than the route takes; after `wait` there is room for one.
    #[must_use]
    pub fn rate_limited(whence: &str, wait: Duration) -> Self {
        // Rounded up: who comes at the second it was told is not refused once more.
        let retry_after = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        let message =
            format!("More requests come {whence} than this route takes. Send it again in {retry_after} s.");
        Self { retry_after, ..Self::new(RequestOutcome::RateLimited, message) }
    }

    /// 400: a header name that an app may take for another one.
    #[must_use]
    pub fn underscored_name(name: Option<String>) -> Self {
        let refusal = Self::new(
            RequestOutcome::MalformedRequest,
            "A header's name holds an underscore, which many apps cannot tell from a hyphen.",
        );
        Self { field: name.map(Cow::Owned), ..refusal }
    }

    /// 400.
    #[must_use]
    pub fn missing_event_id(field: Option<String>) -> Self {
        let refusal = Self::new(
            RequestOutcome::MissingEventId,
            "This route takes events with an id only, and this one has none that can be read.",
        );
        Self { field: field.map(Cow::Owned), ..refusal }
    }

    /// 401: the signature is right and proves nothing.
    #[must_use]
    pub fn signed_by_us() -> Self {
        Self::new(
            RequestOutcome::InvalidSignature,
            "What is signed here could be a challenge, which this route signs for anybody: it is as short and plain.",
        )
    }

    /// 401: the provider signed it for another customer of its.
    #[must_use]
    pub fn not_ours(place: &str) -> Self {
        let message = "The signature is right, but the request is not meant for this route.";
        let refusal = Self::new(RequestOutcome::InvalidSignature, message);
        Self { field: Some(Cow::Owned(place.to_owned())), ..refusal }
    }

    /// 503: not kept in time.
    #[must_use]
    pub fn ack_timeout() -> Self {
        Self::new(RequestOutcome::AckTimeout, "The event could not be kept in time. Send it again.")
    }

    /// 503: the request that brought the same event in at the same moment did not get it kept.
    #[must_use]
    pub fn first_one_failed() -> Self {
        let message =
            "The same event came in by another request at this moment and was not kept. Send it again.";
        Self::new(RequestOutcome::AckTimeout, message)
    }

    /// 502: the app did not take the event.
    #[must_use]
    pub fn upstream_error(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RequestOutcome::UpstreamError, message)
    }

    /// 504: the app took too long.
    #[must_use]
    pub fn upstream_timeout() -> Self {
        Self::new(RequestOutcome::UpstreamTimeout, "The application did not answer in time.")
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        status(self.outcome)
    }

    /// Writes it out, at the time `now`, for the request `request_id`.
    #[must_use]
    pub fn reply(&self, now: Millis, request_id: EventId) -> Reply {
        let mut headers = HeadersBuilder::with_capacity(128);
        headers.push(b"content-type", b"application/json");
        if let Some(allow) = &self.allow {
            headers.push(b"allow", allow.as_bytes());
        }
        if matches!(self.status(), 429 | 503) {
            headers.push(b"retry-after", self.retry_after.to_string().as_bytes());
        }
        Reply {
            status: self.status(),
            headers: headers.build(),
            body: self.body(now, request_id).into(),
            close: self.close,
        }
    }

    fn body(&self, now: Millis, request_id: EventId) -> String {
        let mut body = String::with_capacity(256 + self.message.len());
        body.push_str("{\"error\":\"");
        body.push_str(self.outcome.as_str());
        body.push_str("\",\"message\":");
        push_json_string(&mut body, &self.message);
        body.push_str(",\"field\":");
        match &self.field {
            Some(field) => push_json_string(&mut body, field),
            None => body.push_str("null"),
        }
        // Writing to a String cannot fail.
        let _ = write!(body, ",\"timestamp\":\"{}\",\"request_id\":\"{request_id}\"}}", to_the_second(now));
        body
    }
}

/// The status of a refusal of that kind; 200 for what is none.
#[must_use]
pub fn status(outcome: RequestOutcome) -> u16 {
    use RequestOutcome as O;
    match outcome {
        O::Accepted | O::Duplicate | O::Requeued | O::Handshake | O::Passed => 200,
        O::MalformedRequest | O::MissingEventId => 400,
        O::MissingSignature | O::InvalidSignature | O::TimestampOutOfTolerance => 401,
        O::IpNotAllowed => 403,
        O::UnknownRoute => 404,
        O::MethodNotAllowed => 405,
        O::RequestTimeout => 408,
        O::PayloadTooLarge => 413,
        O::UriTooLong => 414,
        O::RateLimited => 429,
        O::HeadersTooLarge => 431,
        O::UpstreamError => 502,
        O::BufferFull | O::StorageFailed | O::AckTimeout | O::ShuttingDown => 503,
        O::UpstreamTimeout => 504,
    }
}

fn to_the_second(now: Millis) -> String {
    Millis(now.seconds() * 1000).rfc3339().replace(".000Z", "Z")
}

fn push_json_string(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("\"\""), // a string always has a JSON form
    }
}

impl From<verify::Refusal> for Refusal {
    fn from(refusal: verify::Refusal) -> Self {
        let outcome = match refusal.kind {
            verify::RefusalKind::MissingSignature => RequestOutcome::MissingSignature,
            verify::RefusalKind::InvalidSignature => RequestOutcome::InvalidSignature,
            verify::RefusalKind::TimestampOutOfTolerance => RequestOutcome::TimestampOutOfTolerance,
        };
        Self { field: refusal.field.map(Cow::Owned), ..Self::new(outcome, refusal.message) }
    }
}

impl From<KeepError> for Refusal {
    fn from(error: KeepError) -> Self {
        match error {
            // Which destination has no room is the operator's business, not the sender's.
            KeepError::Full { .. } => Self::new(
                RequestOutcome::BufferFull,
                "There is no room for this event at the moment. Send it again.",
            ),
            KeepError::Storage => Self::new(
                RequestOutcome::StorageFailed,
                "The event could not be put to stable storage. Send it again.",
            ),
            KeepError::ShuttingDown => {
                Self::new(RequestOutcome::ShuttingDown, "The gateway is stopping. Send it again.")
            }
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        use RequestOutcome as O;
        match fault {
            Fault::Malformed(message) => Self::closing(O::MalformedRequest, message),
            Fault::SlowHead => Self::closing(O::RequestTimeout, "The head of the request took too long."),
            Fault::SlowBody => Self::closing(O::RequestTimeout, "The body of the request took too long."),
            Fault::BodyTooLarge(max) => {
                let message = format!("The body is larger than {}.", format_size(max));
                Self::closing(O::PayloadTooLarge, message)
            }
            Fault::UriTooLong(max) => {
                let message = format!("The request's target is longer than {}.", format_size(max as u64));
                Self::closing(O::UriTooLong, message)
            }
            Fault::HeadTooLarge(max) => {
                let message = format!("The head of the request is larger than {}.", format_size(max as u64));
                Self::closing(O::HeadersTooLarge, message)
            }
            Fault::TooManyHeaders(max) => {
                Self::closing(O::HeadersTooLarge, format!("The request has more than {max} header lines."))
            }
            Fault::NoMemory => Self::new(
                O::BufferFull,
                "Too many requests are being read at the moment. Send this one again.",
            ),
            Fault::Upstream(message) => Self::upstream_error(message),
            Fault::UpstreamTimeout => Self::upstream_timeout(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::RefusalKind;
    use serde_json::{Value, json};

    const NOW: Millis = Millis(1_768_473_000_123);

    fn written(refusal: &Refusal) -> (u16, Value, Reply) {
        let reply = refusal.reply(NOW, EventId::new(NOW, 7));
        (reply.status, serde_json::from_slice(&reply.body).unwrap(), reply)
    }

    fn verify_refusal(kind: RefusalKind) -> Refusal {
        verify::Refusal { kind, message: "m".to_owned(), field: Some("X-Sig".to_owned()) }.into()
    }

    #[test]
    fn every_row_of_the_contract() {
        let full = KeepError::Full { destination: Some("app".into()) };
        let new = |outcome| Refusal::new(outcome, "m");
        // status, word, Retry-After, close
        let rows: Vec<(Refusal, u16, &str, bool, bool)> = vec![
            (Fault::Malformed("m").into(), 400, "malformed_request", false, true),
            (Refusal::underscored_name(None), 400, "malformed_request", false, false),
            (Refusal::missing_event_id(None), 400, "missing_event_id", false, false),
            (verify_refusal(RefusalKind::MissingSignature), 401, "missing_signature", false, false),
            (verify_refusal(RefusalKind::InvalidSignature), 401, "invalid_signature", false, false),
            (
                verify_refusal(RefusalKind::TimestampOutOfTolerance),
                401,
                "timestamp_out_of_tolerance",
                false,
                false,
            ),
            (Refusal::ip_not_allowed(), 403, "ip_not_allowed", false, false),
            (Refusal::unknown_route(), 404, "unknown_route", false, false),
            (Refusal::method_not_allowed("POST".to_owned()), 405, "method_not_allowed", false, false),
            (Fault::SlowHead.into(), 408, "request_timeout", false, true),
            (Fault::SlowBody.into(), 408, "request_timeout", false, true),
            (Fault::BodyTooLarge(1 << 20).into(), 413, "payload_too_large", false, true),
            (Fault::UriTooLong(8192).into(), 414, "uri_too_long", false, true),
            (Fault::HeadTooLarge(16_384).into(), 431, "headers_too_large", false, true),
            (Fault::TooManyHeaders(100).into(), 431, "headers_too_large", false, true),
            (new(RequestOutcome::RateLimited), 429, "rate_limited", true, false),
            (Fault::Upstream("m").into(), 502, "upstream_error", false, false),
            (Fault::UpstreamTimeout.into(), 504, "upstream_timeout", false, false),
            (Fault::NoMemory.into(), 503, "buffer_full", true, false),
            (full.into(), 503, "buffer_full", true, false),
            (new(RequestOutcome::StorageFailed), 503, "storage_failed", true, false),
            (Refusal::ack_timeout(), 503, "ack_timeout", true, false),
            (Refusal::first_one_failed(), 503, "ack_timeout", true, false),
            (KeepError::ShuttingDown.into(), 503, "shutting_down", true, false),
        ];
        for (refusal, status, word, retry_after, close) in rows {
            let (got, body, reply) = written(&refusal);
            assert_eq!(got, status, "{word}");
            assert_eq!(body["error"], word);
            assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()), "{word}");
            assert_eq!(reply.headers.get("content-type"), Some(&b"application/json"[..]));
            assert_eq!(reply.headers.get("retry-after").is_some(), retry_after, "{word}");
            assert_eq!(reply.headers.get("allow").is_some(), status == 405, "{word}");
            assert_eq!(reply.close, close, "{word}");
        }
    }

    #[test]
    fn the_body_is_the_one_of_the_contract() {
        let refusal = Refusal::new(
            RequestOutcome::InvalidSignature,
            "No secret of this route reproduces the signature in X-Hub-Signature-256.",
        );
        let refusal = Refusal { field: Some("X-Hub-Signature-256".into()), ..refusal };
        let (_, body, reply) = written(&refusal);
        assert_eq!(
            body,
            json!({
                "error": "invalid_signature",
                "message": "No secret of this route reproduces the signature in X-Hub-Signature-256.",
                "field": "X-Hub-Signature-256",
                "timestamp": "2026-01-15T10:30:00Z",
                "request_id": EventId::new(NOW, 7).to_string(),
            })
        );
        assert!(reply.body.starts_with(b"{\"error\":\"invalid_signature\",\"message\":"));
        let (_, body, reply) = written(&Refusal::method_not_allowed("GET, POST".to_owned()));
        assert_eq!(body["field"], Value::Null);
        assert_eq!(reply.headers.get("allow"), Some(&b"GET, POST"[..]));
        assert_eq!(
            written(&Fault::BodyTooLarge(1 << 20).into()).1["message"],
            "The body is larger than 1MiB."
        );
    }

    #[test]
    fn bytes_from_outside_cannot_leave_their_string() {
        let hostile = "a\"},\r\n\0\u{1b}[31m\u{7f}é\\";
        let (_, body, reply) = written(&Refusal::underscored_name(Some(hostile.to_owned())));
        assert_eq!(body["field"], hostile);
        assert!(!reply.body.iter().any(|byte| *byte < b' '));
    }
}
