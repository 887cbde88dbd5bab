//! What the app behind gets: the sender's request, what hooklatch adds, and nothing else.

use std::time::Duration;

use crate::harness::{App, Gateway, Reply, Seen, Setup, Signed, request};

const SECRET: &str = "canary-secret-of-a-route";
const QUIET: Duration = Duration::from_millis(150);

fn gateway(app: &App, destination: &str) -> Gateway {
    Setup::new(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app"]
        [routes.open]
        path = "/open/*"
        verify = "none"
        dedupe = false
        deliver_to = ["app"]
        methods = ["POST", "PUT"]
        [destinations.app]
        url = "$APP"
        retry = { delays = ["50ms", "50ms", "50ms"], jitter = 0.0 }
        $MORE
        "#,
    )
    .set("APP", app.url())
    .set("MORE", destination)
    .start()
}

#[test]
fn headers_are_forwarded_in_order_with_their_values_and_the_contract_s_are_added() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let signed = Signed::github("/github?x=1&y=%20", SECRET, "d-1", br#"{"a": 1 }"#)
        .with("X-Twice", "one")
        .with("Cookie", "session=1")
        .with("X-Twice", "two")
        .with("Authorization", "Basic dTpw");
    let id = signed.send(&gateway).assert_accepted();
    let seen = app.wait_for(1).remove(0);
    assert_eq!(seen.target, "/github?x=1&y=%20");
    assert_eq!(seen.body, signed.body);
    let twice: Vec<_> = seen
        .headers
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case("x-twice"))
        .map(|(_, v)| v.as_str())
        .collect();
    assert_eq!(twice, ["one", "two"]);
    for (name, value) in &signed.headers {
        assert!(
            seen.headers.iter().any(|(n, v)| n.eq_ignore_ascii_case(name) && v == value),
            "{name} is gone"
        );
    }
    for (name, value) in [
        ("host", "hooks.example.com"),
        ("hooklatch-id", id.as_str()),
        ("hooklatch-route", "github"),
        ("hooklatch-provider", "github"),
        ("hooklatch-event-id", "d-1"),
        ("hooklatch-event-type", "push"),
        ("hooklatch-attempt", "1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "hooks.example.com"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    let received_at = seen.header("hooklatch-received-at").unwrap();
    assert!(received_at.ends_with('Z') && received_at.contains('T'), "{received_at}");
}

#[test]
fn nothing_hop_by_hop_and_nothing_forged_goes_through() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let signed = Signed::github("/github", SECRET, "d-2", b"{}")
        .with("Connection", "keep-alive, X-Private")
        .with("X-Private", "of this connection")
        .with("Keep-Alive", "timeout=5")
        .with("TE", "trailers")
        .with("Proxy-Authorization", "Basic eA==")
        .with("Proxy-Connection", "keep-alive")
        .with("Hooklatch-Id", "forged")
        .with("hooklatch-route", "forged")
        .with("HOOKLATCH-Anything", "forged")
        .with("X-Forwarded-For", "6.6.6.6")
        .with("X-Forwarded-Proto", "https")
        .with("X-Forwarded-Host", "forged.example.com");
    signed.send(&gateway).assert_accepted();
    let seen = app.wait_for(1).remove(0);
    for name in
        ["x-private", "keep-alive", "te", "proxy-authorization", "proxy-connection", "hooklatch-anything"]
    {
        assert_eq!(seen.header(name), None, "{name} went through");
    }
    assert!(!seen.header("connection").unwrap_or("").contains("X-Private"));
    for (name, value) in &seen.headers {
        assert!(!value.contains("forged") && value != "6.6.6.6", "{name}: {value}");
    }
    let count = |name: &str| seen.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
    for name in
        ["hooklatch-id", "hooklatch-route", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"]
    {
        assert_eq!(count(name), 1, "{name}");
    }
}

#[test]
fn every_body_is_re_framed_with_one_content_length() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let chunked = b"POST /open/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n";
    gateway.connect().send(chunked).assert_accepted();
    // A whole second request inside a body stays a body.
    let inner = request("POST", "/open/smuggled", &[], b"x");
    gateway.send("POST", "/open/b", &[], &inner).assert_accepted();
    gateway.send("POST", "/open/empty", &[], b"").assert_accepted();
    // They go to the app side by side, so they may be there in any order.
    let mut seen = app.wait_for_exactly(3, QUIET);
    seen.sort_by(|a, b| a.target.cmp(&b.target));
    assert_eq!(seen[0].text(), "hello world");
    assert_eq!(seen[1].body, inner);
    assert_eq!(seen[2].body, b"");
    for one in &seen {
        assert_eq!(one.header("content-length"), Some(one.body.len().to_string().as_str()));
        assert_eq!(one.header("transfer-encoding"), None);
    }
}

#[test]
fn bytes_of_every_kind_survive() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let body: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    Signed::github("/github", SECRET, "bytes", &body).send(&gateway).assert_accepted();
    assert_eq!(app.wait_for(1)[0].body, body);
}

#[test]
fn requests_of_one_connection_are_told_apart_when_pipelined() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let mut bytes = request("POST", "/open/1", &[], b"one");
    bytes.extend(request("POST", "/open/2", &[], b"two"));
    let mut connection = gateway.connect();
    connection.write(&bytes);
    connection.read().assert_accepted();
    connection.read().assert_accepted();
    // They go to the app side by side, so either may be there first.
    let requests = app.wait_for(2);
    let mut bodies: Vec<String> = requests.iter().map(|request| request.text().to_string()).collect();
    bodies.sort();
    assert_eq!(bodies, ["one", "two"]);
}

#[test]
fn a_url_with_a_path_replaces_the_request_s_own_and_keeps_the_query() {
    let app = App::start();
    let url = format!("{}/internal/hook", app.url());
    let gateway = Setup::new(
        r#"
        [routes.open]
        path = "/open"
        verify = "none"
        dedupe = false
        deliver_to = ["app"]
        [destinations.app]
        url = "$URL"
        host = "destination"
        headers = { x-team = "payments", authorization = { env = "HOOKLATCH_IT_AUTH" } }
        "#,
    )
    .set("URL", url)
    .env("HOOKLATCH_IT_AUTH", "Bearer canary-app-auth")
    .start();
    let headers = [("Authorization", "Bearer of the sender"), ("X-Team", "forged")];
    gateway.send("POST", "/open?a=b", &headers, b"x").assert_accepted();
    let seen = app.wait_for(1).remove(0);
    assert_eq!(seen.target, "/internal/hook?a=b");
    assert_eq!(seen.header("host"), Some(app.address().to_string().as_str()));
    assert_eq!(seen.header("x-forwarded-host"), Some("hooks.example.com"));
    assert_eq!(seen.header("x-team"), Some("payments"));
    assert_eq!(seen.header("authorization"), Some("Bearer canary-app-auth"));
    assert!(!gateway.log_lines().join("").contains("canary-app-auth"));
}

#[test]
fn an_event_signed_for_the_app_passes_the_standard_webhooks_check() {
    let app = App::start();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    let gateway = gateway(&app, &format!("sign = [{{ value = \"{secret}\" }}]"));
    let id = gateway.send("POST", "/open/s", &[("webhook-id", "forged")], b"payload").assert_accepted();
    let seen = app.wait_for(1).remove(0);
    assert_eq!(seen.header("webhook-id"), Some(id.as_str()));
    let at = seen.header("webhook-timestamp").unwrap().parse().unwrap();
    let expected = Signed::standard("", secret, &id, at, b"payload");
    assert_eq!(seen.header("webhook-signature"), Some(expected.headers[3].1.as_str()));
}

#[test]
fn a_failing_app_gets_the_event_again_with_the_same_id() {
    let app = App::start();
    // A redirect is not followed: it is a failure like any other.
    let elsewhere = Reply::status(302).with_header("Location", "/elsewhere");
    app.script([Reply::Reset, Reply::status(500), elsewhere]);
    let gateway = gateway(&app, "");
    let id = Signed::github("/github", SECRET, "again", b"{}").send(&gateway).assert_accepted();
    let seen = app.wait_for_exactly(4, QUIET);
    let attempts: Vec<_> = seen.iter().map(|s| s.header("hooklatch-attempt").unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    assert!(seen.iter().all(|s| s.header("hooklatch-id") == Some(&id) && s.body == b"{}"));
    assert!(seen.iter().all(|s| s.target == "/github"));
}

#[test]
fn a_kept_connection_that_closes_without_a_word_costs_no_attempt() {
    let app = App::start();
    app.script([Reply::ok(), Reply::Reset]);
    let gateway = gateway(&app, "concurrency = 1");
    for id in ["first", "second"] {
        Signed::github("/github", SECRET, id, b"{}").send(&gateway).assert_accepted();
        app.wait_for(1);
    }
    let seen = app.wait_for_exactly(3, QUIET);
    assert!(seen.iter().all(|s| s.header("hooklatch-attempt") == Some("1")), "{seen:#?}");
    assert_eq!(seen[1].header("hooklatch-event-id"), seen[2].header("hooklatch-event-id"));
}

#[test]
fn retry_after_lengthens_the_wait() {
    let app = App::start();
    app.script([Reply::status(503).with_header("Retry-After", "1")]);
    let gateway = gateway(&app, "");
    Signed::github("/github", SECRET, "later", b"{}").send(&gateway).assert_accepted();
    let seen = app.wait_for(2);
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_millis(990), "came again after {waited:?}");
}

#[test]
fn events_reach_an_app_that_starts_late() {
    let address = App::reserve();
    let gateway = Setup::new(
        r#"
        [routes.open]
        path = "/open"
        verify = "none"
        dedupe = false
        deliver_to = ["app"]
        [destinations.app]
        url = "http://$ADDRESS"
        retry = { delays = ["100ms", "100ms", "100ms", "200ms", "200ms", "200ms", "500ms", "1s", "1s"], jitter = 0.0 }
        "#,
    )
    .set("ADDRESS", address.to_string())
    .start();
    gateway.send("POST", "/open", &[], b"early").assert_accepted();
    std::thread::sleep(Duration::from_millis(250));
    let app = App::start_at(address);
    assert_eq!(app.wait_for(1)[0].text(), "early");
}

#[test]
fn connections_to_the_app_are_kept_and_used_again() {
    let app = App::start();
    let gateway = gateway(&app, "concurrency = 1");
    let mut connection = gateway.connect();
    for n in 0..20 {
        connection.send(&request("POST", "/open/n", &[], format!("{n}").as_bytes())).assert_accepted();
    }
    let seen = app.wait_for(20);
    let bodies: Vec<_> = seen.iter().map(Seen::text).collect();
    assert_eq!(bodies, (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "one at a time keeps the order");
    assert!(app.connections() <= 2, "{} connections for 20 events", app.connections());
}

#[test]
fn one_event_goes_to_every_destination_of_its_route() {
    let (first, second) = (App::start(), App::start());
    second.script([Reply::status(500)]);
    let gateway = Setup::new(
        r#"
        [routes.open]
        path = "/open"
        verify = "none"
        dedupe = false
        deliver_to = ["first", "second"]
        [destinations.first]
        url = "$FIRST"
        [destinations.second]
        url = "$SECOND"
        retry = { delays = ["50ms"], jitter = 0.0 }
        "#,
    )
    .set("FIRST", first.url())
    .set("SECOND", second.url())
    .start();
    let id = gateway.send("POST", "/open", &[], b"x").assert_accepted();
    let at_second = second.wait_for_exactly(2, QUIET);
    let at_first = first.wait_for_exactly(1, Duration::ZERO);
    assert!(at_first.iter().chain(&at_second).all(|seen| seen.header("hooklatch-id") == Some(&id)));
}
