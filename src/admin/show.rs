//! Events as JSON, without the secrets that they carry.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::echo::Echo;
use super::filter::ORPHANED;
use crate::buffer::{DestinationView, EventView, Status};
use crate::event::{Answer, Attempt, Event, Region};
use crate::headers::Headers;
use crate::secret::Secret;
use crate::select::form;
use crate::verify::{REDACTED, Redaction};

/// Headers that carry credentials whatever the route.
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "set-cookie", "proxy-authorization"];

/// Parts of names, of headers and of a query's parameters, behind which credentials are found whatever the route.
const SECRET_WORDS: [&str; 7] = ["token", "secret", "password", "passwd", "api-key", "apikey", "api_key"];

/// An event in a list. `orphans` are the destinations that are no longer configured.
pub(super) fn summary(view: &EventView, orphans: &[Arc<str>]) -> Value {
    let places = view.destinations.iter().map(|place| {
        let last = place.attempts.last();
        let mut shown = place_head(place, orphans);
        shown.insert("attempts".to_owned(), json!(last.map_or(0, |last| last.number)));
        shown.insert("last_status".to_owned(), json!(last.map(|last| answer(last.answer))));
        Value::Object(shown)
    });
    let mut shown = head(&view.event);
    shown.insert("destinations".to_owned(), places.collect());
    Value::Object(shown)
}

/// An event with all that is known of it. `secrets` are those that a destination's app is sent beside the request.
pub(super) fn detail(
    view: &EventView,
    redaction: &Redaction,
    orphans: &[Arc<str>],
    secrets: impl Fn(&str) -> Vec<Secret>,
) -> Value {
    let event = &*view.event;
    let mut shown = head(event);
    let mut put = |key: &str, value: Value| shown.insert(key.to_owned(), value);
    put("event_time", json!(event.event_time.map(|at| at.rfc3339())));
    put("target", json!(target(&event.target, redaction)));
    put("priority", json!(event.turn.priority.as_str()));
    put("forwarded_for", json!(event.forwarded_for));
    put("forwarded_proto", json!(event.forwarded_proto.as_str()));
    put("headers", headers(&event.headers, redaction));
    let echo = Echo::of(event, redaction);
    let places = view.destinations.iter().map(|place| {
        let mut shown = place_head(place, orphans);
        shown.insert("attempts".to_owned(), place.attempts.iter().map(attempt).collect());
        put_bytes(&mut shown, "last_answer", &echo.hidden_in(&place.excerpt, &secrets(&place.name)));
        Value::Object(shown)
    });
    put("destinations", places.collect());
    put_bytes(&mut shown, "body", &redaction.body(&event.headers, &event.body));
    Value::Object(shown)
}

/// Header lines without the secrets that they carry.
pub(super) fn headers(headers: &Headers, redaction: &Redaction) -> Value {
    let line = |(name, value): (&[u8], &[u8])| {
        let shown =
            if is_secret_header(name, redaction) { REDACTED.into() } else { String::from_utf8_lossy(value) };
        json!([String::from_utf8_lossy(name), shown])
    };
    headers.iter().map(line).collect()
}

/// An event as the API shows it, to whoever reads the folder of a gateway that does not run.
#[must_use]
pub fn stored(view: &EventView, redaction: &Redaction) -> Value {
    detail(view, redaction, &[], |_| Vec::new())
}

fn head(event: &Event) -> Map<String, Value> {
    let path = event.target.split_once('?').map_or(&*event.target, |(path, _)| path);
    let fields = [
        ("id", json!(event.id.to_string())),
        ("route", json!(&*event.route)),
        ("provider", json!(event.provider.as_deref())),
        ("event_id", json!(event.event_id)),
        ("event_type", json!(event.event_type)),
        ("received_at", json!(event.received_at.rfc3339())),
        ("method", json!(event.method)),
        ("path", json!(path)),
        ("bytes", json!(event.body.len())),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn place_head(place: &DestinationView, orphans: &[Arc<str>]) -> Map<String, Value> {
    let (status, reason) = match place.status {
        Status::Pending if orphans.contains(&place.name) => (ORPHANED, None),
        Status::Pending => ("pending", None),
        Status::Delivered => ("delivered", None),
        Status::Dead(reason) => ("dead", Some(reason.as_str())),
    };
    let fields = [
        ("name", json!(&*place.name)),
        ("status", json!(status)),
        ("dead_reason", json!(reason)),
        ("due", json!(place.due.map(|due| due.rfc3339()))),
    ];
    fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn attempt(attempt: &Attempt) -> Value {
    json!({
        "number": attempt.number,
        "at": attempt.at.rfc3339(),
        "took_ms": u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
        "status": answer(attempt.answer),
        "region": attempt.region.as_ref().map(Region::as_str),
    })
}

fn answer(answer: Answer) -> Value {
    match answer {
        Answer::Status(status) => json!(status),
        Answer::Timeout => json!("timeout"),
        Answer::Connect => json!("connect"),
        Answer::Internal => json!("internal"),
        Answer::Unsettled => json!("unsettled"),
    }
}

/// As text where it is text, else as base64 under another key.
pub(super) fn put_bytes(shown: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => shown.insert(key.to_owned(), json!(text)),
        Err(_) => shown.insert(format!("{key}_base64"), json!(STANDARD.encode(bytes))),
    };
}

pub(super) fn is_secret_header(name: &[u8], redaction: &Redaction) -> bool {
    let name = String::from_utf8_lossy(name);
    SECRET_HEADERS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
        || redaction.hides_header(&name)
        || sounds_secret(&name)
}

/// Whether the value of this parameter of a query, its name decoded, is not shown.
pub(super) fn is_secret_parameter(name: &[u8], redaction: &Redaction) -> bool {
    redaction.hides_parameter(name) || sounds_secret(&String::from_utf8_lossy(name))
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// The target without the secrets in its query.
pub(super) fn target(target: &str, redaction: &Redaction) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let is_secret =
        |pair: &str| form::pairs(pair.as_bytes()).any(|(name, _)| is_secret_parameter(&name, redaction));
    let parameters: Vec<_> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_secret(pair) => format!("{name}={REDACTED}"),
            _ => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", parameters.join("&"))
}

/// A URL without its userinfo.
pub(super) fn redact_userinfo(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{REDACTED}@{host}{tail}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_is_not_shown() {
        assert_eq!(redact_userinfo("http://u:p@h:1/a@b?c"), "http://[redacted]@h:1/a@b?c");
        assert_eq!(redact_userinfo("https://u@p@h"), "https://[redacted]@h");
        assert_eq!(redact_userinfo("http://h/a@b"), "http://h/a@b");
        assert_eq!(redact_userinfo("unix:/run/a@b"), "unix:/run/a@b");
    }

    #[test]
    fn credentials_in_a_query_are_not_shown() {
        let none = Redaction::default();
        assert_eq!(
            target("/a?x=1&access_token=t&API-Key=k&access%5Ftoken=t", &none),
            "/a?x=1&access_token=[redacted]&API-Key=[redacted]&access%5Ftoken=[redacted]"
        );
        assert_eq!(target("/a", &none), "/a");
        let of_scheme = Redaction::of_words(["query:code"]);
        assert_eq!(target("/a?code=s&x=1&c%6Fde=s", &of_scheme), "/a?code=[redacted]&x=1&c%6Fde=[redacted]");
        assert_eq!(target("/a?x=1&y", &Redaction::anywhere()), "/a?x=[redacted]&y");
    }

    #[test]
    fn credentials_in_headers_are_known_by_name_and_by_the_scheme() {
        let none = Redaction::default();
        for name in ["Authorization", "COOKIE", "X-Gitlab-Token", "x-api-key", "X-Webhook-Secret"] {
            assert!(is_secret_header(name.as_bytes(), &none), "{name}");
        }
        for name in ["X-Hub-Signature-256", "content-type", "webhook-id"] {
            assert!(!is_secret_header(name.as_bytes(), &none), "{name}");
        }
        assert!(is_secret_header(b"verif-hash", &Redaction::of_words(["header:Verif-Hash"])));
    }
}
