use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::observe::{AttemptResult, RequestOutcome};

fn a_request() -> RequestLine<'static> {
    RequestLine {
        at: Millis(1_768_473_000_123),
        request_id: EventId::new(Millis(5), 6),
        route: "github",
        outcome: RequestOutcome::Accepted,
        status: 200,
        client: "192.0.2.7",
        method: "POST",
        path: "/webhooks/github",
        bytes: 1024,
        id: Some(EventId::new(Millis(7), 8)),
        event_id: Some("72d3162e"),
        event_type: Some("push"),
        reason: None,
        took: Duration::from_micros(84),
    }
}

fn an_attempt() -> AttemptLine<'static> {
    AttemptLine {
        at: Millis(1_768_473_000_123),
        id: EventId::new(Millis(7), 8),
        route: "github",
        destination: "app",
        attempt: 2,
        answer: Answer::Timeout,
        result: AttemptResult::Retry,
        took: Duration::from_secs(30),
        next: Some(Millis(1_768_473_005_123)),
        region: Some("eu-west"),
        batch: Some("hlb_1"),
        reason: Some("no answer within 30s"),
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_request_as_json() {
    let text = written(|out| request(out, Style::Json, &a_request()));
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        json!({
            "ts": "2026-01-15T10:30:00.123Z", "level": "info", "msg": "request",
            "request_id": EventId::new(Millis(5), 6).to_string(), "route": "github",
            "outcome": "accepted", "status": 200, "client": "192.0.2.7", "method": "POST",
            "path": "/webhooks/github", "bytes": 1024, "id": EventId::new(Millis(7), 8).to_string(),
            "event_id": "72d3162e", "event_type": "push", "took_us": 84,
        })
    );
}

#[test]
fn an_attempt_as_json() {
    let text = written(|out| attempt(out, Style::Json, &an_attempt()));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        json!({
            "ts": "2026-01-15T10:30:00.123Z", "level": "info", "msg": "attempt",
            "id": EventId::new(Millis(7), 8).to_string(), "route": "github", "destination": "app",
            "attempt": 2, "result": "retry", "status": "timeout", "region": "eu-west", "batch": "hlb_1", "reason": "no answer within 30s",
            "next": "2026-01-15T10:30:05.123Z", "took_us": 30_000_000,
        })
    );
    let delivered = AttemptLine {
        answer: Answer::Status(204),
        result: AttemptResult::Delivered,
        next: None,
        region: None,
        batch: None,
        reason: None,
        ..an_attempt()
    };
    let text = written(|out| attempt(out, Style::Json, &delivered));
    assert!(text.contains(r#""result":"delivered","status":204,"took_us""#), "{text}");
}

#[test]
fn lines_for_people() {
    let line = RequestLine { event_type: Some("a b"), route: "", ..a_request() };
    let text = written(|out| request(out, Style::Text, &line));
    let id = EventId::new(Millis(5), 6);
    assert!(
        text.starts_with(&format!(
            "2026-01-15T10:30:00.123Z info request request_id={id} route=\"\" outcome=accepted status=200"
        )),
        "{text}"
    );
    assert!(text.contains(" path=/webhooks/github bytes=1024 "), "{text}");
    assert!(text.ends_with(" event_id=72d3162e event_type=\"a b\" took_us=84\n"), "{text}");
    let odd = RequestLine { path: "/\n2026 info \u{1b}[2J forged=1", ..a_request() };
    let text = written(|out| request(out, Style::Text, &odd));
    assert!(text.contains(r#" path="/\n2026 info \u001b[2J forged=1" "#), "{text}");
    assert_eq!(text.lines().count(), 1);
}

#[test]
fn a_long_path_is_cut() {
    let path = "/".repeat(8 << 10);
    let text = written(|out| request(out, Style::Json, &RequestLine { path: &path, ..a_request() }));
    assert!(text.len() < 1600, "{}", text.len());
    assert!(text.contains("//…\""));
}

#[test]
fn the_last_year_that_has_four_digits_and_the_one_after() {
    for ms in [0, 999, 1000, 253_402_300_799_999, 253_402_300_800_000, 253_402_300_800_001] {
        assert_eq!(written(|out| push_time(out, Millis(ms))), Millis(ms).rfc3339());
    }
}

proptest! {
    #[test]
    fn any_words_from_outside_make_one_line_of_json(
        client: String, method: String, path: String, event_id: String, reason: String,
    ) {
        let line = RequestLine {
            client: &client, method: &method, path: &path, event_id: Some(&event_id),
            reason: Some(&reason), ..a_request()
        };
        let text = written(|out| request(out, Style::Json, &line));
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (key, value) in
            [("client", &client), ("method", &method), ("path", &path), ("event_id", &event_id), ("reason", &reason)]
        {
            prop_assert_eq!(parsed.get(key).and_then(serde_json::Value::as_str), Some(&**value));
        }
        let people = written(|out| request(out, Style::Text, &line));
        for text in [text, people] {
            prop_assert_eq!(text.chars().filter(|c| c.is_control()).count(), 1);
        }
    }

    #[test]
    fn times_ids_and_numbers_read_as_their_displays_do(ms in 0u64..1 << 48, seq: u64) {
        let id = EventId::new(Millis(ms), seq);
        prop_assert_eq!(written(|out| push_id(out, id)), id.to_string());
        prop_assert_eq!(written(|out| push_number(out, seq)), seq.to_string());
        prop_assert_eq!(written(|out| push_time(out, Millis(ms))), Millis(ms).rfc3339());
    }
}
