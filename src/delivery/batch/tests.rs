use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::body::is_one_line_of_json;
use super::*;
use crate::clock::Millis;
use crate::delivery::settings::Endpoint;
use crate::event::{Event, Priority, Proto, Turn};
use crate::headers::Headers;

const AT: Millis = Millis(1_768_473_000_123);

fn event(number: u64, body: impl Into<Bytes>) -> Event {
    Event {
        id: EventId::new(AT, number),
        route: Arc::from("github"),
        provider: Some(Arc::from("github")),
        event_id: Some("evt \"1\"".into()),
        event_type: None,
        event_time: None,
        received_at: AT,
        method: "POST".into(),
        target: "/webhooks/github?a=1&b=%20".into(),
        headers: Headers::from_pairs([
            ("Host", &b"hooks.example.com"[..]),
            ("Content-Type", b"application/json"),
            ("Content-Length", b"7"),
            ("X-Odd", b"caf\xe9"),
            ("X-Odd", "caf\u{e9}".as_bytes()),
            ("Connection", b"close"),
        ]),
        forwarded_for: "203.0.113.9".into(),
        forwarded_proto: Proto::Https,
        body: body.into(),
        turn: Turn::default(),
    }
}

fn delivery(event: Event, attempt: u16) -> Delivery {
    Delivery { since: event.received_at, event: Arc::new(event), attempt, express: None }
}

fn of_class(number: u64, priority: Priority) -> Delivery {
    delivery(Event { turn: Turn { priority, ..Turn::default() }, ..event(number, "1") }, 1)
}

fn batch(format: BatchFormat, events: &[Event]) -> String {
    let mut body = BatchBody::new(format);
    for event in events {
        assert!(body.push(event, 1, usize::MAX));
    }
    let length = body.len();
    let bytes = body.finish();
    assert_eq!(bytes.len(), length);
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn an_event_says_all_that_a_request_of_its_own_would() {
    let mut body = BatchBody::new(BatchFormat::Json);
    assert!(body.push(&event(7, r#"{"a": 1}"#), 3, 0), "the first one always fits");
    let read: Value = serde_json::from_slice(&body.finish()).unwrap();
    let expected = json!([{
        "id": event(7, "").id.to_string(),
        "route": "github",
        "provider": "github",
        "event_id": "evt \"1\"",
        "event_type": null,
        "attempt": 3,
        "received_at": "2026-01-15T10:30:00.123Z",
        "method": "POST",
        "path": "/webhooks/github?a=1&b=%20",
        "headers": [
            ["Host", "hooks.example.com"],
            ["Content-Type", "application/json"],
            ["X-Odd", "caf\u{e9}"],
            ["X-Odd", "caf\u{e9}"],
            ["x-forwarded-for", "203.0.113.9"],
            ["x-forwarded-proto", "https"],
            ["x-forwarded-host", "hooks.example.com"],
        ],
        "body": {"a": 1},
    }]);
    assert_eq!(read, expected);
}

#[test]
fn bodies_stand_byte_for_byte_or_as_base64() {
    for exact in ["{\"b\" :1,\t\"a\":1.0e2, \"a\": 2}", "  [1] ", "null", "\"\\u0041\u{e9}\"", "-0"] {
        let text = batch(BatchFormat::NdJson, &[event(1, exact)]);
        assert!(text.ends_with(&format!(",\"body\":{exact}}}\n")), "{text}");
    }
    let odd = [
        &b"{\n}"[..],
        b"{\r\n}",
        b"{\r}",
        b"{\"a\":\"\r\"}",
        b"",
        b"a=b&c=d",
        b"\xff",
        b"\"\xff\"",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b"{\"a\":1",
        b"NaN",
    ];
    for odd in odd {
        let text = batch(BatchFormat::Json, &[event(1, odd)]);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(STANDARD.decode(read[0]["body_base64"].as_str().unwrap()).unwrap(), odd);
        assert_eq!(read[0].get("body"), None);
    }
    // However deep it is nested, it is only looked through.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(is_one_line_of_json(deep.as_bytes()));
}

#[test]
fn a_batch_is_an_array_or_lines() {
    let events = [event(1, "1"), event(2, "x"), event(3, "[]")];
    let array: Vec<Value> = serde_json::from_str(&batch(BatchFormat::Json, &events)).unwrap();
    let text = batch(BatchFormat::NdJson, &events);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((array.len(), &array), (3, &lines));
}

#[test]
fn what_would_make_it_too_large_is_left_for_the_next() {
    let one = event(1, "\"0123456789\"");
    for format in [BatchFormat::Json, BatchFormat::NdJson] {
        let two = batch(format, &[one.clone(), one.clone()]);
        for (max, fits) in [(two.len(), true), (two.len() - 1, false)] {
            let mut body = BatchBody::new(format);
            assert!(body.push(&one, 1, max));
            assert_eq!(body.push(&one, 1, max), fits, "{format:?}");
            let expected = if fits { two.clone() } else { batch(format, std::slice::from_ref(&one)) };
            assert_eq!(body.finish(), expected, "what was not taken leaves no trace");
        }
    }
}

#[test]
fn the_same_attempts_at_the_same_events_have_one_id_and_others_have_others() {
    let of = |attempts: &[(u64, u16)]| {
        let deliveries: Vec<_> =
            attempts.iter().map(|(n, attempt)| delivery(event(*n, ""), *attempt)).collect();
        id_of(&deliveries)
    };
    let id = of(&[(1, 1), (2, 1)]);
    assert_eq!(id, of(&[(1, 1), (2, 1)]), "after a crash the app sees that it is the same");
    for other in
        [&[(1, 1)][..], &[(1, 2), (2, 1)], &[(2, 1), (1, 1)], &[(1, 1), (3, 1)], &[(1, 1), (2, 1), (3, 1)]]
    {
        assert_ne!(of(other), id, "{other:?}");
    }
    assert!(id.starts_with("hlb_") && id.len() == 36, "{id}");
}

fn options(max_events: usize, max_bytes: usize, max_wait_ms: u64) -> BatchOptions {
    BatchOptions {
        max_events,
        max_bytes,
        max_wait: Duration::from_millis(max_wait_ms),
        ..BatchOptions::default()
    }
}

#[test]
fn it_leaves_when_it_is_full_or_has_waited() {
    let now = Instant::now();
    let wait = Duration::from_millis(500);
    let options = options(3, 1 << 20, 500);
    let mut gathering = Gathering::begin(options, 0, of_class(1, Priority::Normal), now);
    assert_eq!((gathering.room(), gathering.is_ready(now)), (2, false));
    assert!(!gathering.is_ready(now + wait - Duration::from_nanos(1)) && gathering.is_ready(now + wait));
    gathering.add(1, of_class(2, Priority::Bulk)).unwrap();
    assert!(!gathering.is_ready(now), "the first one's wait is the batch's");
    gathering.add(0, of_class(3, Priority::Normal)).unwrap();
    assert!(gathering.is_ready(now) && gathering.room() == 0);
    assert!(gathering.add(0, of_class(4, Priority::Normal)).is_err());
    let (batch, lanes) = gathering.leave();
    assert_eq!((batch.deliveries.len(), lanes), (3, vec![0, 1, 0]));
    let read: Vec<Value> = serde_json::from_slice(&batch.body).unwrap();
    let ids: Vec<_> = batch.deliveries.iter().map(|delivery| delivery.event.id.to_string()).collect();
    assert_eq!(read.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
}

#[test]
fn it_leaves_when_the_next_event_would_be_too_much_or_nothing_more_can_fit() {
    let now = Instant::now();
    let one = batch(BatchFormat::Json, &[event(1, "1")]).len();
    let mut gathering = Gathering::begin(options(9, 2 * one, 500), 0, of_class(1, Priority::Normal), now);
    assert!(!gathering.is_ready(now));
    let large = delivery(event(2, format!("\"{}\"", "x".repeat(one))), 1);
    assert_eq!(gathering.add(0, large).unwrap_err().event.id.seq(), 2);
    assert!(gathering.is_ready(now));
    let (batch, _) = gathering.leave();
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&batch.body).unwrap().len(), 1);
    let exact = Gathering::begin(options(9, one, 500), 0, of_class(1, Priority::Normal), now);
    assert!(exact.is_ready(now), "there is no byte left");
    let over = Gathering::begin(options(9, 1024, 500), 0, delivery(event(1, vec![b'x'; 5000]), 1), now);
    assert!(over.is_ready(now), "a single event may be larger");
}

#[test]
fn a_critical_event_is_not_held_up() {
    let now = Instant::now();
    let first = Gathering::begin(options(9, 1 << 20, 500), 0, of_class(1, Priority::Critical), now);
    assert!(first.is_ready(now));
    let mut gathering = Gathering::begin(options(9, 1 << 20, 500), 0, of_class(1, Priority::Bulk), now);
    gathering.add(0, of_class(2, Priority::Critical)).unwrap();
    assert!(gathering.is_ready(now));
    assert_eq!(gathering.leave().0.deliveries.len(), 2, "it takes along who is there");
}

fn sent(numbers: &[u64]) -> Batch {
    let mut gathering =
        Gathering::begin(BatchOptions::default(), 0, delivery(event(numbers[0], "1"), 1), Instant::now());
    for number in &numbers[1..] {
        gathering.add(0, delivery(event(*number, "1"), 1)).unwrap();
    }
    gathering.leave().0
}

fn settled(batch: &Batch, body: impl Into<Bytes>) -> (Vec<Answer>, Option<String>) {
    let (all, why) = batch.settled_by(&body.into());
    (all.into_iter().map(|said| said.answer).collect(), why)
}

#[test]
fn a_207_settles_whom_it_names() {
    use Answer::{Status, Unsettled};
    let batch = sent(&[1, 2, 3, 4, 5, 6]);
    let id = |number| event(number, "").id.to_string();
    let body = json!({"results": [
        {"id": id(2), "status": 200},
        {"id": id(1), "status": 200, "note": "x"},
        {"id": id(2), "status": 503, "why": "busy"},
        {"id": id(2), "status": 422},
        {"id": "hl_nonsense", "status": 200},
        {"id": id(99), "status": 200},
        {"id": id(3), "status": 7},
        {"id": id(4), "status": "200"},
        {"id": id(4)},
        null,
        [],
        {"id": id(5), "status": 102},
        {"id": id(6), "status": 70_000},
    ], "more": true});
    let (said, why) = batch.settled_by(&body.to_string().into());
    let answers: Vec<_> = said.iter().map(|said| said.answer).collect();
    assert_eq!(answers, [Status(200), Status(503), Unsettled, Unsettled, Unsettled, Unsettled]);
    assert_eq!(why.as_deref(), Some("the 207 does not say what became of it"));
    let words: Value = serde_json::from_slice(&said[1].excerpt).unwrap();
    assert_eq!((&words["why"], said[0].excerpt.len()), (&json!("busy"), 0));
    let all: Vec<_> = (1..=6).map(|number| json!({"id": id(number), "status": 204})).collect();
    assert_eq!(settled(&batch, json!({ "results": all }).to_string()), (vec![Status(204); 6], None));
}

#[test]
fn a_207_that_cannot_be_read_settles_nobody() {
    let batch = sent(&[1, 2]);
    for wrong in ["", "ok", "[]", "{}", "{\"results\":{}}", "{\"results\":[]} x", "{\"results\":[{\"id\":1}"]
    {
        let (answers, why) = settled(&batch, wrong);
        assert_eq!(answers, [Answer::Unsettled; 2], "{wrong}");
        assert!(why.as_ref().is_some_and(|why| why.starts_with("the 207 is not {\"results\"")), "{why:?}");
    }
    assert_eq!(settled(&batch, "{\"results\":[]}").0, [Answer::Unsettled; 2]);
    let (said, _) = batch.settled_by(&"x".repeat(9000).into());
    assert_eq!(said[1].excerpt.len(), 4096, "what it said instead is kept, a part of it");
}

#[test]
fn what_makes_no_sense_together_is_told_with_what_to_do() {
    let endpoint = Endpoint::Http { host: "app".to_owned(), port: 80 };
    let right = DestinationOptions {
        path: Some("/events".to_owned()),
        batch: Some(BatchOptions::default()),
        ..DestinationOptions::new("app".into(), endpoint)
    };
    assert_eq!(complaints(&right), []);
    let with = |batch: BatchOptions| DestinationOptions { batch: Some(batch), ..right.clone() };
    let default = BatchOptions::default();
    for (options, key) in [
        (DestinationOptions { path: None, ..right.clone() }, "url"),
        (DestinationOptions { path: Some("/".to_owned()), ..right.clone() }, "url"),
        (DestinationOptions { sign_as_provider: true, ..right.clone() }, "sign"),
        (DestinationOptions { host: Some(HostRule::Keep), ..right.clone() }, "host"),
        (DestinationOptions { max_age: default.max_wait, ..right.clone() }, "batch.max_wait"),
        (with(BatchOptions { max_wait: Duration::from_secs(3601), ..default }), "batch.max_wait"),
        (with(BatchOptions { max_events: 0, ..default }), "batch.max_events"),
        (with(BatchOptions { max_events: 10_001, ..default }), "batch.max_events"),
        (with(BatchOptions { max_bytes: 1023, ..default }), "batch.max_bytes"),
        (with(BatchOptions { max_bytes: (64 << 20) + 1, ..default }), "batch.max_bytes"),
    ] {
        let found: Vec<_> = complaints(&options).into_iter().map(|invalid| invalid.key).collect();
        assert_eq!(found, [key]);
        let without = DestinationOptions { batch: None, ..options };
        assert_eq!(complaints(&without), [], "without batches it is all right");
    }
}

proptest! {
    #[test]
    fn whatever_the_body_it_comes_out_as_it_went_in(
        bodies in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "[\\[\\]{}\":,a-z0-9 \n]{0,40}".prop_map(String::into_bytes),
            ],
            1..5,
        ),
    ) {
        let events: Vec<Event> = bodies.iter().zip(0..).map(|(body, n)| event(n, body.clone())).collect();
        let text = batch(BatchFormat::NdJson, &events);
        prop_assert_eq!(text.lines().count(), bodies.len());
        for (line, body) in text.lines().zip(&bodies) {
            let read: Value = serde_json::from_str(line).unwrap();
            match read["body_base64"].as_str() {
                Some(encoded) => prop_assert_eq!(&STANDARD.decode(encoded).unwrap(), body),
                None => {
                    let exact = format!("\"body\":{}}}", std::str::from_utf8(body).unwrap());
                    prop_assert!(line.ends_with(&exact), "{line}");
                }
            }
        }
    }

    #[test]
    fn no_answer_makes_the_reader_panic(
        body in prop::collection::vec(any::<u8>(), 0..200),
        text in "[\\[\\]{}\":,a-z0-9]{0,80}",
    ) {
        let batch = sent(&[1, 2, 3]);
        prop_assert_eq!(settled(&batch, body).0.len(), 3);
        prop_assert_eq!(settled(&batch, text).0.len(), 3);
    }
}
