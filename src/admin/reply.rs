//! Answers of the admin API: JSON, and refusals in the shape that senders get theirs in.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::clock::Millis;
use crate::event::EventId;

pub(super) type Reply = Response<Full<Bytes>>;

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub error: &'static str,
    pub message: String,
    pub field: Option<String>,
    /// Of a 405: the method that there is.
    pub allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: &'static str, message: impl Into<String>) -> Self {
        Self { status, error, message: message.into(), field: None, allow: None }
    }

    /// Something in the request that makes no sense, and where it stands.
    pub(super) fn invalid(field: &str, message: impl Into<String>) -> Self {
        let refusal = Self::new(StatusCode::BAD_REQUEST, "validation_failed", message);
        Self { field: Some(field.to_owned()), ..refusal }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn not_yet(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "not_yet_supported", message)
    }

    pub(super) fn reply(self, now: Millis, request_id: EventId) -> Reply {
        let mut reply = json(
            self.status,
            &json!({
                "error": self.error,
                "message": self.message,
                "field": self.field,
                "timestamp": now.rfc3339(),
                "request_id": request_id.to_string(),
            }),
        );
        if let Some(allow) = self.allow {
            reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1: a 401 says how to do better.
            reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        reply
    }
}

pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
    let mut text = body.to_string();
    text.push('\n');
    with_type(status, "application/json", text)
}

/// Prometheus' text format, version 0.0.4.
pub(super) fn metrics(text: String) -> Reply {
    with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}

fn with_type(status: StatusCode, content_type: &'static str, text: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(text)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}
