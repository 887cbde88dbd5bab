//! Every way in which an answer may repeat a secret, and what is left of the answer.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proptest::prelude::*;

use super::*;
use crate::clock::Millis;
use crate::event::{EventId, Proto, Turn};
use crate::headers::Headers;

const SECRET: &str = "hunter2/+ <&\"'é";

fn event(target: &str, headers: &[(&str, &str)], body: &str) -> Event {
    Event {
        id: EventId::default(),
        route: "erp".into(),
        provider: None,
        event_id: None,
        event_type: None,
        event_time: None,
        received_at: Millis(0),
        method: "POST".into(),
        target: target.into(),
        headers: Headers::from_pairs(headers.iter().copied()),
        forwarded_for: "192.0.2.7".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::copy_from_slice(body.as_bytes()),
        turn: Turn::default(),
    }
}

fn shown(event: &Event, redaction: &Redaction, answer: &[u8]) -> String {
    String::from_utf8(Echo::of(event, redaction).hidden_in(answer, &[])).unwrap()
}

/// What is left of `answer` to a request with [`SECRET`] in a header.
fn of_header(answer: &str) -> String {
    shown(&event("/in", &[("X-Token", SECRET)], ""), &Redaction::default(), answer.as_bytes())
}

#[test]
fn a_secret_is_found_however_it_is_written() {
    let json = serde_json::to_string(SECRET).unwrap();
    let in_json = serde_json::to_string(&format!("{{\"a\":{json}}}")).unwrap();
    let ascii =
        json.replace('é', "\\u00E9").replace('/', "\\/").replace('<', "\\u003c").replace('&', "\\u0026");
    let url = percent_encode(SECRET.as_bytes(), NON_ALPHANUMERIC).to_string();
    let html =
        SECRET.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&#39;");
    let numbers: String = SECRET.chars().map(|c| format!("&#x{:X};", u32::from(c))).collect();
    for written in [
        SECRET,
        &json,
        &in_json,
        &ascii,
        &url,
        &url.to_lowercase(),
        &url.replace("%20", "+"),
        &html,
        &numbers,
    ] {
        let left = of_header(&format!("no: {written}; bye"));
        assert!(
            left.starts_with("no: ") && left.ends_with("; bye") && left.contains(REDACTED),
            "{written}: {left}"
        );
        assert!(!left.contains("unter2") && !left.contains("C3") && left.len() < 48, "{written}: {left}");
    }
    assert_eq!(of_header("hunter2 is no secret by itself"), "hunter2 is no secret by itself");
    assert_eq!(of_header(""), "");
}

#[test]
fn what_the_request_hides_is_looked_for_wherever_it_stands() {
    let none = Redaction::default();
    let basic = format!("Basic {}", STANDARD.encode("admin:opensesame"));
    let headers =
        [("Authorization", basic.as_str()), ("Cookie", "a=1; session=abcdef0123"), ("X-Plain", "plainly")];
    let request = event("/in?api_key=key%2D0123&n=number1", &headers, "{\"n\":\"number2\"}");
    let answer =
        format!("{basic} admin:opensesame opensesame abcdef0123 key-0123 plainly number1 number2 a=1");
    assert_eq!(
        shown(&request, &none, answer.as_bytes()),
        "[redacted] [redacted] [redacted] [redacted] [redacted] plainly number1 number2 a=1"
    );
    let at = Redaction::of_words(["body:/hook/key", "query:code"]);
    let request = event("/in?code=0123456789", &[], "{\"hook\":{\"key\":{\"of\":\"n\\u0065sted-1\"}}}");
    assert_eq!(shown(&request, &at, b"0123456789 nested-1 /hook/key"), "[redacted] [redacted] /hook/key");
    let form = Redaction::of_words(["form:key"]);
    let request =
        event("/in", &[("Content-Type", "application/x-www-form-urlencoded")], "key=a+secret%21&n=1");
    assert_eq!(shown(&request, &form, b"a secret! n=1"), "[redacted] n=1");
    let token = Redaction::of_words(["body:whole"]);
    let request = event("/in", &[], "eyJh.eyJi.c2lnbmF0dXJl");
    assert_eq!(shown(&request, &token, b"eyJh.eyJi.c2lnbmF0dXJl"), "eyJh.eyJi.[redacted]");
}

#[test]
fn the_secrets_of_the_destination_are_hidden_too() {
    let echo = Echo::of(&event("/in", &[], ""), &Redaction::default());
    let secrets = [Secret::new("Bearer for-the-app"), Secret::new("short")];
    assert_eq!(echo.hidden_in(b"got for-the-app, short", &secrets), b"got [redacted], short");
}

#[test]
fn where_nobody_knows_what_is_hidden_nothing_is_shown() {
    let request = event("/in", &[], "{\"a\":");
    for redaction in [Redaction::anywhere(), Redaction::of_words(["body:/a"])] {
        assert_eq!(shown(&request, &redaction, b"an answer"), REDACTED);
        assert_eq!(shown(&request, &redaction, b""), "");
    }
    // Compressed: it may hold anything. Without anything to hide it is shown as it is.
    let compressed = b"\x1f\x8b\x08\0\0\0";
    assert_eq!(
        shown(&event("/in", &[("X-Token", "hunter2")], ""), &Redaction::default(), compressed),
        REDACTED
    );
    assert_eq!(Echo::of(&request, &Redaction::default()).hidden_in(compressed, &[]), compressed);
    // Text of another age is text.
    let echo = Echo::of(&event("/in", &[("X-Token", "hunter2")], ""), &Redaction::default());
    assert_eq!(
        echo.hidden_in(b"verst\xe4nde hunter2\tnicht\r\n", &[]),
        b"verst\xe4nde [redacted]\tnicht\r\n"
    );
    let many: String = (0..2000).map(|n| format!("a={n}-value&")).collect();
    let form = event("/in", &[("Content-Type", "application/x-www-form-urlencoded")], &many);
    assert_eq!(shown(&form, &Redaction::of_words(["form:a"]), b"7-value"), REDACTED);
}

#[test]
fn a_secret_that_the_end_of_what_is_kept_cuts_is_hidden_too() {
    let token = "tok_0123456789";
    let request = event("/in", &[("X-Token", token)], "");
    for length in SHORTEST..token.len() {
        let answer = format!("it was {}", &token[..length]);
        assert_eq!(
            shown(&request, &Redaction::default(), answer.as_bytes()),
            "it was [redacted]",
            "{answer}"
        );
    }
    let text = "it was tok_0";
    assert_eq!(shown(&request, &Redaction::default(), text.as_bytes()), text);
    for half in ["hunter2%2", "hunter2\\u00", "hunter2&#x", "hunter2/%"] {
        assert_eq!(of_header(&format!("it was {half}")), "it was [redacted]", "{half}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_and_none_that_holds_the_secret_shows_it(
        before in "[a-z\\\\%&;#xu0-9 ]{0,20}",
        after in "[a-z\\\\%&;#xu0-9 ]{0,20}",
        bytes in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let request = event("/in", &[("X-Token", "opensesame")], "");
        let _ = Echo::of(&request, &Redaction::default()).hidden_in(&bytes, &[]);
        let left = shown(&request, &Redaction::default(), format!("{before}opensesame{after}").as_bytes());
        prop_assert!(!left.contains("opensesame"), "{}", left);
    }
}
