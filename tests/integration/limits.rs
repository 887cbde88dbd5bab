//! Limits of the whole process, over all its connections, and the listeners they hold for.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::harness::{App, Reply, SOON, Setup, get, request, send};

const OPEN: &str = r#"
[routes.open]
path = "/open"
verify = "none"
event_id = "header:x-id"
deliver_to = ["app"]
[routes.waits]
path = "/waits"
verify = "none"
event_id = "header:x-id"
ack = "delivered"
deliver_to = ["app"]
[destinations.app]
url = "$APP"
"#;

#[test]
fn bodies_beyond_max_inflight_bytes_are_503_before_they_are_read() {
    let app = App::start();
    let server = "max_inflight_bytes = \"100KiB\"\nmax_body = \"80KiB\"";
    let gateway = Setup::new(OPEN).server(server).set("APP", app.url()).start();
    let head = |bytes: usize, more: &str| {
        format!("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n{more}\r\n").into_bytes()
    };
    let mut first = gateway.connect();
    // Who is told to go on has its memory.
    first.write(&head(80 << 10, "Expect: 100-continue\r\n"));
    assert_eq!(first.read().status, 100);
    // Not a byte of the second one's body is sent.
    let refused = gateway.connect().send(&head(60 << 10, ""));
    refused.assert_refused(503, "buffer_full");
    assert!(refused.header("retry-after").is_some_and(|v| v.parse::<u64>().is_ok()));
    assert_eq!(gateway.metric("hooklatch_limit_hits_total{limit=\"max_inflight_bytes\"}"), 1.0);
    // A small one still fits, and the first goes on.
    gateway.send("POST", "/open", &[], b"small").assert_accepted();
    first.write(&vec![b'x'; 80 << 10]);
    first.read().assert_accepted();
    // What was reserved is free again.
    gateway.send("POST", "/open", &[], &vec![b'y'; 60 << 10]).assert_accepted();
    app.wait_for(3);
}

#[test]
fn the_copy_of_an_event_that_could_not_be_kept_is_503_ack_timeout() {
    let app = App::start();
    app.script([Reply::status(500).after(Duration::from_millis(700)), Reply::ok()]);
    let gateway = Setup::new(OPEN).set("APP", app.url()).start();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| gateway.send("POST", "/waits", &[("X-Id", "1")], b"x"));
        app.wait_for(1);
        let copy = gateway.send("POST", "/waits", &[("X-Id", "1")], b"x");
        copy.assert_refused(503, "ack_timeout");
        assert!(copy.header("retry-after").is_some_and(|v| v.parse::<u64>().is_ok()));
        first.join().unwrap().assert_refused(502, "upstream_error");
    });
    // Neither is remembered.
    gateway.send("POST", "/waits", &[("X-Id", "1")], b"x").assert_accepted();
    let refused = "hooklatch_requests_total{outcome=\"ack_timeout\",route=\"waits\"}";
    assert_eq!(gateway.metric(refused), 1.0);
}

#[test]
fn a_destination_that_hangs_is_504_where_the_sender_waits_for_it() {
    let app = App::start();
    app.script([Reply::Hang, Reply::ok()]);
    let toml = OPEN.replace("url = \"$APP\"", "url = \"$APP\"\ntimeout = \"300ms\"");
    let gateway = Setup::new(&toml).set("APP", app.url()).start();
    gateway.send("POST", "/waits", &[("X-Id", "1")], b"x").assert_refused(504, "upstream_timeout");
    gateway.send("POST", "/waits", &[("X-Id", "1")], b"x").assert_accepted();
}

#[test]
fn at_max_connections_the_one_idle_for_longest_makes_room_and_busy_ones_do_not() {
    let app = App::start();
    let gateway = Setup::new(OPEN).server("max_connections = 2").set("APP", app.url()).start();
    let limit = "hooklatch_limit_hits_total{limit=\"max_connections\"}";
    let post = |id: &str| request("POST", "/open", &[("X-Id", id)], b"x");
    let (mut first, mut second) = (gateway.connect(), gateway.connect());
    first.send(&post("1")).assert_accepted();
    second.send(&post("2")).assert_accepted();
    let mut third = gateway.connect();
    third.send(&post("3")).assert_accepted();
    assert!(first.closes_within(SOON), "the one idle for longest was not closed");
    assert_eq!(gateway.metric(limit), 1.0);

    // Both busy, and known to be: each was told to go on with its body.
    let head = b"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    for connection in [&mut second, &mut third] {
        connection.write(head);
        assert_eq!(connection.read().status, 100);
    }
    let mut fourth = gateway.connect();
    assert!(fourth.closes_within(SOON), "a connection too many was not closed");
    assert_eq!(gateway.metric(limit), 2.0);
    assert_eq!(gateway.metric("hooklatch_connections"), 2.0);
    for connection in [&mut second, &mut third] {
        connection.send(b"x").assert_accepted();
    }
    // The admin listener does not share the limit.
    assert_eq!(gateway.admin_get("/api/v1/status")["ready"], true);
}

#[test]
fn unix_listeners_have_their_mode_serve_and_are_gone_afterwards() {
    let app = App::start();
    let dir = tempfile::tempdir().unwrap();
    let (long, short) = (dir.path().join("long.sock"), dir.path().join("short.sock"));
    let toml = format!(
        "[listeners.long]\naddress = \"unix:{}\"\nmode = \"0620\"\n{OPEN}\
         [routes.inside]\npath = \"/inside\"\nverify = \"none\"\nallow_ips = [\"127.0.0.1\"]\ndeliver_to = [\"app\"]\n",
        long.display()
    );
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", short.display());
    let mut gateway = Setup::new(&toml).server(&listen).set("APP", app.url()).start();
    assert_eq!(std::fs::metadata(&long).unwrap().permissions().mode() & 0o777, 0o620);
    for path in [&long, &short] {
        let ask = |target: &str| {
            let mut stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(&request("POST", target, &[("Connection", "close")], b"x")).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let answer = ask("/open");
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("hooklatch-outcome: accepted"),
            "{answer}"
        );
        // A peer without an address is on no list.
        let answer = ask("/inside");
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("\"ip_not_allowed\""), "{answer}");
    }
    app.wait_for(2);
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.wait_for_exit(SOON).success());
    assert!(!long.exists() && !short.exists());
}

#[test]
fn the_second_listener_has_metrics_and_health_alone_and_asks_for_no_token() {
    let app = App::start();
    let toml = format!("[metrics]\nlisten = \"127.0.0.1:0\"\n{OPEN}");
    let gateway = Setup::new(&toml).set("APP", app.url()).start();
    let said = gateway.wait_for_log("where the metrics are", |json| json["listener"] == "metrics");
    let address = said["address"].as_str().unwrap().parse().unwrap();
    for target in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(address, target).status, 200, "{target}");
    }
    assert!(get(address, "/metrics").text().contains("hooklatch_build_info"));
    let token = format!("Bearer {}", crate::harness::ADMIN_TOKEN);
    for target in ["/api/v1/status", "/api/v1/events", "/"] {
        assert_eq!(send(address, "GET", target, &[("Authorization", &token)], b"").status, 404, "{target}");
    }
}

#[test]
fn a_route_takes_as_many_as_its_rate_says_and_a_reload_does_not_start_anew() {
    let app = App::start();
    let toml = OPEN.replace("path = \"/open\"", "path = \"/open\"\nrate = \"5/h\"\nrate_per_ip = \"3/h\"");
    let toml = toml.replace("$APP", &app.url());
    let mut gateway = Setup::new(&toml).server("trusted_proxies = [\"127.0.0.1\"]").start();
    let send = |gateway: &crate::harness::Gateway, client: &str| {
        gateway.send("POST", "/open", &[("X-Forwarded-For", client)], b"x")
    };
    for _ in 0..3 {
        send(&gateway, "192.0.2.1").assert_accepted();
    }
    let refused = send(&gateway, "192.0.2.1");
    refused.assert_refused(429, "rate_limited");
    // A third of an hour, less what passed meanwhile.
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1100..=1200).contains(&wait), "{wait}");
    gateway.rewrite(&toml.replace("verify", "methods = [\"POST\", \"PUT\"]\nverify"));
    gateway.cli(&["reload"]).ok();
    send(&gateway, "192.0.2.1").assert_refused(429, "rate_limited");
    for client in ["192.0.2.2", "2001:db8::1"] {
        send(&gateway, client).assert_accepted();
    }
    send(&gateway, "192.0.2.3").assert_refused(429, "rate_limited");
    // The other route is another matter.
    gateway.send("POST", "/waits", &[], b"x").assert_accepted();
    let refused = "hooklatch_requests_total{outcome=\"rate_limited\",route=\"open\"}";
    assert_eq!(gateway.metric(refused), 3.0);
    for (limit, hits) in [("rate_per_ip", 2.0), ("rate", 1.0)] {
        assert_eq!(
            gateway.metric(&format!("hooklatch_limit_hits_total{{limit=\"{limit}\"}}")),
            hits,
            "{limit}"
        );
    }
    app.wait_for(6);
}
