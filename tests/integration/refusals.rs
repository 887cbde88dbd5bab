//! Each row of the contract's table of refusals that can be reached from outside.

use std::time::Duration;

use crate::harness::{App, Connection, Gateway, Reply, Setup, Signed, request, send_to};

const SECRET: &str = "canary-secret-of-a-route";

fn gateway(app: &App, server: &str) -> Gateway {
    Setup::new(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app"]

        [routes.elsewhere]
        path = "/elsewhere"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        allow_ips = ["192.30.252.0/22", "2001:db8::/32"]
        deliver_to = ["app"]

        [routes.small]
        path = "/small"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        max_body = "1KiB"
        deliver_to = ["app"]

        [destinations.app]
        url = "$APP"
        "#,
    )
    .server(server)
    .set("APP", app.url())
    .start()
}

fn event(id: &str) -> Signed {
    Signed::github("/github", SECRET, id, b"{}")
}

#[test]
fn an_unknown_path_is_404_and_another_method_405_with_allow() {
    let app = App::start();
    let gateway = gateway(&app, "");
    gateway.send("POST", "/nowhere", &[], b"{}").assert_refused(404, "unknown_route");
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let response = gateway.send(method, "/github", &[], b"");
        response.assert_refused(405, "method_not_allowed");
        assert_eq!(response.header("allow"), Some("POST"));
    }
    assert!(app.seen().is_empty());
}

#[test]
fn an_address_that_is_not_on_the_list_is_403_even_with_a_right_signature() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let signed = Signed::github("/elsewhere", SECRET, "1", b"{}");
    signed.send(&gateway).assert_refused(403, "ip_not_allowed");
    // Nobody is believed who is not a trusted proxy.
    let spoofed = signed.with("X-Forwarded-For", "192.30.252.7");
    spoofed.send(&gateway).assert_refused(403, "ip_not_allowed");
    assert!(app.seen().is_empty());
}

#[test]
fn a_trusted_proxy_s_word_about_the_client_counts() {
    let app = App::start();
    let gateway = gateway(&app, "trusted_proxies = [\"127.0.0.0/8\"]");
    let signed = |id: &str| Signed::github("/elsewhere", SECRET, id, b"{}");
    signed("1").with("X-Forwarded-For", "192.30.252.7").send(&gateway).assert_accepted();
    signed("2").with("X-Forwarded-For", "2001:db8::5").send(&gateway).assert_accepted();
    signed("3").with("X-Forwarded-For", "203.0.113.9").send(&gateway).assert_refused(403, "ip_not_allowed");
    // The left-most entry is what a stranger wrote himself.
    let chained = signed("4").with("X-Forwarded-For", "192.30.252.7, 203.0.113.9");
    chained.send(&gateway).assert_refused(403, "ip_not_allowed");
    // They go to the app side by side, so either may be there first.
    let mut seen: Vec<_> =
        app.wait_for(2).iter().map(|one| one.header("x-forwarded-for").unwrap().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, ["192.30.252.7", "2001:db8::5"]);
}

#[test]
fn a_body_over_the_limit_is_413_declared_or_counted() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let large = vec![b'x'; 1025];
    let signed = Signed::github("/small", SECRET, "1", &large);
    signed.send(&gateway).assert_refused(413, "payload_too_large");

    let mut chunked = b"POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..5 {
        chunked.extend(b"100\r\n");
        chunked.extend([b'x'; 256]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    send_to(gateway.address(), &chunked).assert_refused(413, "payload_too_large");

    let exact = Signed::github("/small", SECRET, "2", &large[..1024]);
    exact.send(&gateway).assert_accepted();
    assert!(
        gateway.metric("hooklatch_limit_hits_total{limit=\"server.max_body\"}") >= 1.0
            || gateway.metric("hooklatch_limit_hits_total{limit=\"max_body\"}") >= 1.0
    );
}

#[test]
fn a_refused_sender_that_is_still_writing_can_read_its_answer() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let mut connection = gateway.connect();
    connection.write(b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
    for _ in 0..60 {
        connection.write(&[b'x'; 1000]);
    }
    connection.read().assert_refused(413, "payload_too_large");
}

#[test]
fn heads_over_their_limits_are_431_and_414() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let long_value = "x".repeat(17 << 10);
    gateway.send("POST", "/github", &[("X-Long", &long_value)], b"").assert_refused(431, "headers_too_large");
    let many: Vec<String> = (0..120).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
    gateway.send("POST", "/github", &many, b"").assert_refused(431, "headers_too_large");
    let long_target = format!("/github?{}", "x".repeat(9 << 10));
    gateway.send("POST", &long_target, &[], b"").assert_refused(414, "uri_too_long");
    assert!(app.seen().is_empty());
}

#[test]
fn broken_framing_is_400_and_the_connection_is_closed() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let heads: &[(&str, &str)] = &[
        (
            "both framings",
            "POST /github HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        ),
        (
            "two lengths",
            "POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        ),
        (
            "the same length twice",
            "POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        ),
        ("obs-fold", "POST /github HTTP/1.1\r\nHost: a\r\nX-A: 1\r\n  2\r\nContent-Length: 0\r\n\r\n"),
        ("bare LF", "POST /github HTTP/1.1\nHost: a\nContent-Length: 0\n\n"),
        ("1.0 without a length", "POST /github HTTP/1.0\r\nHost: a\r\n\r\nabc"),
        ("a blank before the colon", "POST /github HTTP/1.1\r\nHost: a\r\nContent-Length : 0\r\n\r\n"),
        ("a negative length", "POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
        (
            "a length beyond u64",
            "POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ),
        ("no Host", "POST /github HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
        ("two Hosts", "POST /github HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n"),
        ("not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
    ];
    for (what, head) in heads {
        let mut connection = gateway.connect();
        connection.write(head.as_bytes());
        let response = connection.try_read().ok().flatten().unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(response.status, 400, "{what}: {}", response.text());
        response.assert_refused(400, "malformed_request");
        assert!(connection.closes_within(Duration::from_secs(5)), "{what}: the connection stays open");
    }
    event("still-well").send(&gateway).assert_accepted();
    assert_eq!(app.wait_for(1).len(), 1);
}

#[test]
fn a_header_whose_name_an_app_may_read_as_another_s_is_400() {
    let app = App::start();
    let gateway = gateway(&app, "");
    event("1").with("X_GitHub_Event", "1").send(&gateway).assert_refused(400, "malformed_request");
    assert!(app.seen().is_empty());
}

#[test]
fn a_missing_event_id_is_400_where_the_provider_always_sends_one() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let response = event("1").without("X-GitHub-Delivery").send(&gateway);
    response.assert_refused(400, "missing_event_id");
    assert!(app.seen().is_empty());
}

#[test]
fn a_slow_head_or_body_is_408_on_the_first_and_on_later_requests() {
    let app = App::start();
    let gateway = gateway(&app, "header_timeout = \"300ms\"\nbody_timeout = \"300ms\"");
    let bound = Duration::from_secs(3);
    let slow_head = b"POST /github HTTP/1.1\r\nHost: a\r\nX-Slow: ";
    let slow_body = b"POST /github HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{";
    for later in [false, true] {
        for (what, start) in [("head", &slow_head[..]), ("body", &slow_body[..])] {
            let mut connection = gateway.connect();
            if later {
                event(&format!("before-{what}")).send_on(&mut connection).assert_accepted();
            }
            dribble(&mut connection, start);
            connection.read().assert_refused(408, "request_timeout");
            assert!(connection.closes_within(bound), "{what}, later: {later}");
        }
    }
}

/// Sends `start` and then a byte now and then, for longer than any deadline here.
fn dribble(connection: &mut Connection, start: &[u8]) {
    connection.write(start);
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(60));
        connection.write(b"a");
    }
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let app = App::start();
    let gateway = gateway(&app, "keepalive_timeout = \"300ms\"");
    let mut connection = gateway.connect();
    event("1").send_on(&mut connection).assert_accepted();
    assert!(connection.closes_within(Duration::from_secs(5)));
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let app = App::start();
    let gateway = gateway(&app, "");
    let signed = event("expects").with("Expect", "100-continue");
    let bytes = signed.bytes();
    let split = bytes.len() - signed.body.len();
    let mut connection = gateway.connect();
    connection.write(&bytes[..split]);
    assert_eq!(connection.read().status, 100);
    connection.write(&bytes[split..]);
    connection.read().assert_accepted();
    // The connection is good for another request.
    event("after").send_on(&mut connection).assert_accepted();
    // Nobody is asked for a body that is refused anyway.
    let mut connection = gateway.connect();
    connection
        .write(b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n");
    connection.read().assert_refused(413, "payload_too_large");
}

#[test]
fn a_full_buffer_is_503_with_retry_after_and_the_id_is_not_remembered() {
    let app = App::start();
    app.always(Reply::Hang);
    let gateway = Setup::new(
        r#"
        [routes.github]
        path = "/github"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app"]
        [destinations.app]
        url = "$APP"
        max_pending = { events = 3 }
        "#,
    )
    .set("APP", app.url())
    .start();
    for n in 0..3 {
        event(&format!("fits-{n}")).send(&gateway).assert_accepted();
    }
    for _ in 0..2 {
        let refused = event("one-too-many").send(&gateway);
        refused.assert_refused(503, "buffer_full");
        assert!(refused.header("retry-after").is_some_and(|v| v.parse::<u64>().is_ok()));
    }
}

#[test]
fn one_destination_that_is_down_does_not_fill_the_buffer_for_the_others() {
    let (down, up) = (App::start(), App::start());
    down.always(Reply::Hang);
    let gateway = Setup::new(
        r#"
        [routes.down]
        path = "/down"
        verify = "none"
        dedupe = false
        deliver_to = ["down"]
        [routes.up]
        path = "/up"
        verify = "none"
        dedupe = false
        deliver_to = ["up"]
        [destinations.down]
        url = "$DOWN"
        [destinations.up]
        url = "$UP"
        "#,
    )
    .buffer("max_events = 40")
    .set("DOWN", down.url())
    .set("UP", up.url())
    .start();
    let mut connection = gateway.connect();
    let to_down = request("POST", "/down", &[], b"x");
    let refused = (0..60).map(|_| connection.send(&to_down)).find(|response| response.status != 200);
    refused.expect("60 events do not fit into 40 places").assert_refused(503, "buffer_full");
    // Its reserved share is 10 places: each is free again once the app has answered.
    for sent in 1..=20 {
        gateway.send("POST", "/up", &[], b"x").assert_accepted();
        up.wait_for(sent);
    }
}

#[test]
fn paths_cannot_be_walked_around() {
    let app = App::start();
    let gateway = Setup::new(
        r#"
        [routes.github]
        path = "/hooks/github"
        provider = "github"
        secrets = [{ value = "canary-secret-of-a-route" }]
        deliver_to = ["app"]
        [routes.rest]
        path = "/*"
        proxy_to = "$APP"
        [destinations.app]
        url = "$APP"
        "#,
    )
    .set("APP", app.url())
    .start();
    let spellings = [
        "/hooks/github",
        "//hooks/github",
        "/hooks//github",
        "/hooks/./github",
        "/hooks/x/../github",
        "/./hooks/github",
        "/hooks/%67ithub",
        "/hooks/github/",
        "/hooks/github//",
        "/HOOKS/github",
        "/hooks/GitHub",
        "/hooks%2fgithub",
        "/hooks%2Fgithub",
        "/hooks\\github",
        "/hooks%5cgithub",
        "/hooks/github;x",
        "/hooks;x/github",
        "/hooks/github;x=y/",
        "/x/../hooks/github",
        "/hooks/%2e/github",
        "/hooks/x/%2E%2e/github",
        "/hooks/github?x=1",
        "/hooks/github%3bx",
        "http://hooks.example.com/hooks/github",
        "http://other.example.com/hooks/github",
        "http://hooks.example.com//hooks/%67ithub/",
    ];
    for target in spellings {
        for method in ["POST", "GET", "PUT", "HEAD"] {
            for host in ["hooks.example.com", "other.example.com", "localhost:3000"] {
                let mut connection = gateway.connect();
                connection.write(&request(method, target, &[("Host", host), ("Connection", "close")], b""));
                let status = connection.read_status();
                assert!((400..500).contains(&status), "{method} {target} on {host}: {status}");
            }
        }
    }
    assert!(app.seen().is_empty(), "reached the app unverified: {:#?}", app.seen());
    // Its neighbours do go through.
    for target in ["/hooks/githubs", "/hooks", "/", "/hooks/github/below"] {
        assert_eq!(gateway.send("POST", target, &[], b"x").status, 200, "{target}");
    }
    assert_eq!(app.seen().len(), 4);
}
