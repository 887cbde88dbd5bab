use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use tokio::time::Instant;

use super::double::{Act, Double, Seen, answer};
use crate::clock::Millis;
use crate::delivery::client::HttpClient;
use crate::delivery::connector::Connector;
use crate::delivery::request::Unsendable;
use crate::delivery::settings::{
    DestinationOptions, DestinationSettings, Endpoint, HeaderValueSetting, HostRule,
};
use crate::delivery::tls::Tls;
use crate::event::{Event, EventId, Proto, Turn};
use crate::headers::Headers;
use crate::net::Resolver;
use crate::secret::Secret;

const AT: Millis = Millis(1_768_473_000_123);

pub fn event(body: impl Into<Bytes>) -> Event {
    Event {
        id: EventId::new(AT, 7),
        route: Arc::from("github"),
        provider: Some(Arc::from("github")),
        event_id: Some("evt-1".into()),
        event_type: Some("push".into()),
        event_time: None,
        received_at: AT,
        method: "POST".into(),
        target: "/webhooks/github?a=1&b=%20".into(),
        headers: Headers::from_pairs([
            ("Host", "hooks.example.com"),
            ("Content-Type", "application/json"),
            ("X-Hub-Signature-256", "sha256=00"),
        ]),
        forwarded_for: "203.0.113.9".into(),
        forwarded_proto: Proto::Https,
        body: body.into(),
        turn: Turn::default(),
    }
}

pub fn http(host: &str, port: u16) -> Endpoint {
    Endpoint::Http { host: host.to_owned(), port }
}

fn options(endpoint: Endpoint) -> DestinationOptions {
    DestinationOptions::new(Arc::from("app"), endpoint)
}

/// What the app reads off the wire when `event` is sent under `change`d options.
async fn seen(event: &Event, change: impl FnOnce(&mut DestinationOptions)) -> Seen {
    let app = Double::always(Act::Answer(answer(200, "", "")));
    let mut options = options(app.tcp().await);
    let connector =
        Connector::new(&options.endpoint, Duration::from_secs(5), Resolver::system(), Tls::system());
    // The rules under test may be those of another endpoint than the one that is connected to.
    change(&mut options);
    let settings = DestinationSettings::new(options).unwrap();
    let client = HttpClient::new(connector, Duration::ZERO, 1);
    let request = settings.template(0).unwrap().build(event, 3, Millis(AT.0 + 2000), None).unwrap();
    let reply = client.request(request, || None).await.unwrap();
    reply.body(0, 0, Instant::now() + Duration::from_secs(5)).await;
    app.request(0)
}

#[tokio::test]
async fn the_app_gets_the_senders_request_and_what_hooklatch_knows() {
    let seen = seen(&event("{}"), |_| {}).await;
    assert_eq!(seen.line, "POST /webhooks/github?a=1&b=%20 HTTP/1.1");
    let mut headers: Vec<_> =
        seen.headers.iter().map(|(n, v)| format!("{n}: {}", String::from_utf8_lossy(v))).collect();
    headers.sort();
    assert_eq!(
        headers,
        [
            "content-length: 2",
            "content-type: application/json",
            "hooklatch-attempt: 3",
            "hooklatch-event-id: evt-1",
            "hooklatch-event-type: push",
            &format!("hooklatch-id: {}", EventId::new(AT, 7)),
            "hooklatch-provider: github",
            "hooklatch-received-at: 2026-01-15T10:30:00.123Z",
            "hooklatch-route: github",
            "host: hooks.example.com",
            "x-forwarded-for: 203.0.113.9",
            "x-forwarded-host: hooks.example.com",
            "x-forwarded-proto: https",
            "x-hub-signature-256: sha256=00",
        ]
    );
}

#[tokio::test]
async fn bodies_arrive_byte_for_byte() {
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let large: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    for body in [Vec::new(), b"\r\n\r\n0\r\n\r\n".to_vec(), binary, large] {
        let seen = seen(&event(body.clone()), |_| {}).await;
        assert!(seen.body == body, "{} bytes came as {}", body.len(), seen.body.len());
        assert_eq!(seen.one("content-length"), body.len().to_string());
    }
}

#[tokio::test]
async fn other_methods_carry_what_they_carried() {
    for (method, body, length) in
        [("PUT", "x", Some("1")), ("PUT", "", Some("0")), ("GET", "x", Some("1")), ("GET", "", None)]
    {
        let event = Event { method: method.into(), ..event(body) };
        let seen = seen(&event, |_| {}).await;
        assert!(seen.line.starts_with(method) && seen.body == body.as_bytes());
        assert_eq!(seen.all("content-length"), Vec::from_iter(length));
    }
}

#[tokio::test]
async fn values_keep_their_bytes_and_all_of_one_name_their_order() {
    let mut event = event("");
    event.headers = Headers::from_pairs([
        ("X-Many", &b"1"[..]),
        ("X-Other", b"caf\xe9 \xff\ttab"),
        ("x-many", b"2, 3"),
        ("X-Many", b""),
    ]);
    let seen = seen(&event, |_| {}).await;
    assert_eq!(seen.all("x-many"), ["1", "2, 3", ""]);
    let other = seen.headers.iter().find(|(n, _)| n == "x-other").unwrap();
    assert_eq!(other.1, b"caf\xe9 \xff\ttab");
}

#[tokio::test]
async fn nothing_forged_and_nothing_of_the_connection_goes_through() {
    let mut event = event("x");
    event.provider = None;
    event.event_id = None;
    event.event_type = None;
    event.headers = Headers::from_pairs([
        ("Host", "one.example"),
        ("Host", "two.example"),
        ("Content-Length", "99"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Keep-Alive", "timeout=1"),
        ("Upgrade", "websocket"),
        ("Expect", "100-continue"),
        ("Hooklatch-Id", "forged"),
        ("Hooklatch-Provider", "forged"),
        ("hooklatch-event-id", "forged"),
        ("hooklatch-event-type", "forged"),
        ("Hooklatch-Attempt", "9"),
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-Host", "forged"),
        ("X-Forwarded-Proto", "gopher"),
    ]);
    let seen = seen(&event, |_| {}).await;
    for name in [
        "transfer-encoding",
        "connection",
        "keep-alive",
        "upgrade",
        "expect",
        "hooklatch-provider",
        "hooklatch-event-id",
        "hooklatch-event-type",
    ] {
        assert_eq!(seen.all(name), Vec::<String>::new(), "{name}");
    }
    for (name, value) in [
        ("content-length", "1"),
        ("host", "one.example"),
        ("hooklatch-attempt", "3"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "one.example"),
        ("x-forwarded-proto", "https"),
    ] {
        assert_eq!(seen.one(name), value);
    }
    assert_ne!(seen.one("hooklatch-id"), "forged");
}

#[tokio::test]
async fn the_path_of_the_url_replaces_and_the_query_stays() {
    for (path, target, line) in [
        (None, "/a/b?q=1", "/a/b?q=1"),
        (Some("/"), "/a/b?q=1", "/a/b?q=1"),
        (Some("/hook"), "/a/b?q=1", "/hook?q=1"),
        (Some("/hook"), "/a/b", "/hook"),
        (Some("/hook?token=t"), "/a/b", "/hook?token=t"),
        (Some("/hook?token=t"), "/a/b?q=1", "/hook?token=t&q=1"),
        (None, "/a%2Fb/../{x}|^\\?q={\"j\":1}'", "/a%2Fb/../{x}|^\\?q={%22j%22:1}'"),
        (None, "/a b#frag\u{e9}<>?", "/a%20b%23frag%C3%A9%3C%3E?"),
        (None, "http", "/http"),
        (None, "", "/"),
    ] {
        let event = Event { target: target.into(), ..event("") };
        let seen = seen(&event, |options| options.path = path.map(str::to_owned)).await;
        assert_eq!(seen.line, format!("POST {line} HTTP/1.1"), "{path:?} {target}");
    }
}

#[tokio::test]
async fn the_host_rule() {
    let https = |host: &str, port| Endpoint::Https { host: host.to_owned(), port };
    let unix = Endpoint::Unix { path: "/run/app.sock".into() };
    for (endpoint, rule, host) in [
        (http("app", 80), None, "hooks.example.com"),
        (http("app", 80), Some(HostRule::Destination), "app"),
        (http("app", 3000), Some(HostRule::Destination), "app:3000"),
        (http("::1", 3000), Some(HostRule::Destination), "[::1]:3000"),
        (https("app.example", 443), None, "app.example"),
        (https("app.example", 8443), None, "app.example:8443"),
        (https("app.example", 443), Some(HostRule::Keep), "hooks.example.com"),
        (unix.clone(), None, "hooks.example.com"),
        (unix, Some(HostRule::Destination), "localhost"),
    ] {
        let seen = seen(&event(""), |options| {
            options.endpoint = endpoint.clone();
            options.host = rule;
        })
        .await;
        assert_eq!(seen.one("host"), host, "{endpoint:?} {rule:?}");
        assert_eq!(seen.one("x-forwarded-host"), "hooks.example.com");
    }
    let mut without = event("");
    without.headers = Headers::default();
    let seen = seen(&without, |options| options.endpoint = http("app", 3000)).await;
    assert_eq!((seen.one("host"), seen.all("x-forwarded-host").len()), ("app:3000".to_owned(), 0));
}

#[tokio::test]
async fn added_headers_replace_those_of_the_same_name() {
    let mut event = event("");
    event.headers = Headers::from_pairs([("Authorization", "of the sender"), ("authorization", "twice")]);
    let seen = seen(&event, |options| {
        options.headers = vec![
            ("Authorization".to_owned(), HeaderValueSetting::Secret(Secret::new("Bearer app"))),
            ("x-env".to_owned(), HeaderValueSetting::Plain("prod".to_owned())),
        ];
    })
    .await;
    assert_eq!((seen.one("authorization").as_str(), seen.one("x-env").as_str()), ("Bearer app", "prod"));
}

#[tokio::test]
async fn each_secret_signs_in_standard_webhooks() {
    let mut event = event(&b"{\"a\":\xff}"[..]);
    event.headers = Headers::from_pairs([
        ("webhook-id", "forged"),
        ("webhook-timestamp", "1"),
        ("webhook-signature", "v1,forged"),
        ("webhook-signature", "v1,forged-again"),
    ]);
    let key = [7u8; 24];
    let seen = seen(&event, |options| {
        options.sign =
            vec![Secret::new(format!("whsec_{}", STANDARD.encode(key))), Secret::new("a text of my own")];
    })
    .await;
    let id = EventId::new(AT, 7).to_string();
    assert_eq!(seen.one("webhook-id"), id);
    assert_eq!(seen.one("webhook-id"), seen.one("hooklatch-id"));
    // The time of the attempt, not of the receipt: an app that checks it takes a late delivery.
    assert_eq!(seen.one("webhook-timestamp"), "1768473002");
    let signed = [format!("{id}.1768473002.").as_bytes(), &event.body].concat();
    let expected: Vec<_> = [&key[..], b"a text of my own"]
        .map(|key| {
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
            mac.update(&signed);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
        .to_vec();
    assert_eq!(seen.one("webhook-signature"), expected.join(" "));
}

/// From `libraries/javascript/src/webhook.test.ts` of github.com/standard-webhooks/standard-webhooks: the signature
/// that the reference library makes of this id, time and payload.
#[test]
fn the_reference_vector_of_standard_webhooks() {
    let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    assert_eq!(*crate::delivery::request::signing_key(&secret).unwrap(), key);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
    mac.update(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
    assert_eq!(STANDARD.encode(mac.finalize().into_bytes()), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn ids_of_the_provider_cannot_break_a_header() {
    let mut event = event("");
    event.event_id = Some("a\r\nx-evil: 1\0é".into());
    event.event_type = Some("%0A".into());
    event.forwarded_for = "".into();
    let seen = seen(&event, |_| {}).await;
    assert_eq!(seen.one("hooklatch-event-id"), "a%0D%0Ax-evil: 1%00é");
    assert_eq!(seen.one("hooklatch-event-type"), "%0A");
    assert_eq!(seen.all("x-evil").len() + seen.all("x-forwarded-for").len(), 0);
}

#[test]
fn what_http_has_no_words_for_is_unsendable_and_not_altered() {
    let settings = DestinationSettings::new(options(http("app", 80))).unwrap();
    let build = |event: &Event| settings.template(0).unwrap().build(event, 1, AT, None);
    let mut control = event("");
    control.headers = Headers::from_pairs([("x-a", "\u{1}")]);
    assert_eq!(
        build(&control).unwrap_err(),
        Unsendable("the value of x-a has a control character".to_owned())
    );
    assert!(build(&Event { method: "NOT A METHOD".into(), ..event("") }).is_err());
    assert!(build(&event("")).is_ok());
}

#[test]
fn settings_that_cannot_be_sent_are_refused_and_no_secret_is_told() {
    let refused = |change: &dyn Fn(&mut DestinationOptions)| {
        let mut options = options(http("app", 80));
        change(&mut options);
        let invalid = DestinationSettings::new(options).unwrap_err();
        assert_eq!(invalid.len(), 1, "{invalid:?}");
        assert!(!format!("{invalid:?}").contains("hunter2"), "{invalid:?}");
        invalid[0].key
    };
    let header = |name: &'static str, value: &'static str| {
        move |options: &mut DestinationOptions| {
            let value = HeaderValueSetting::Secret(Secret::new(value));
            options.headers = vec![(name.to_owned(), value)];
        }
    };
    for (name, value) in [
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Hooklatch-Id", "x"),
        ("a b", "x"),
        ("", "x"),
        ("x-a", "hunter2\r\nx-b: 1"),
    ] {
        assert_eq!(refused(&header(name, value)), "headers", "{name}");
    }
    assert_eq!(refused(&|o| o.sign = vec![Secret::new("whsec_hunter2!")]), "sign");
    assert_eq!(refused(&|o| o.path = Some("/a b".to_owned())), "url");
    assert_eq!(refused(&|o| o.path = Some("a".to_owned())), "url");
    assert_eq!(refused(&|o| o.timeout = Duration::ZERO), "timeout");
    assert_eq!(refused(&|o| o.connect_timeout = Duration::ZERO), "connect_timeout");
    assert_eq!(refused(&|o| o.concurrency = 0), "concurrency");
    assert_eq!(refused(&|o| o.retry_jitter = f64::NAN), "retry.jitter");
    assert_eq!(refused(&|o| o.retry_delays = vec![Duration::ZERO; 101]), "retry.delays");
}
