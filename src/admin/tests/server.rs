use std::io::ErrorKind;

use super::*;

#[test]
fn health_and_readiness() {
    let house = house();
    let ask = |path: &str| house.get(path);
    assert_eq!(ask("/healthz").json(), serde_json::json!({"status": "ok"}));
    assert_eq!(ask("/readyz").status, 503);
    house.readiness.set_loaded();
    let not_bound = ask("/readyz");
    assert_eq!(
        not_bound.json(),
        serde_json::json!({"ready": false, "reasons": ["the listeners are not bound yet"]})
    );
    house.readiness.set_bound();
    assert_eq!((ask("/readyz").status, ask("/readyz").json()["ready"].as_bool()), (200, Some(true)));
    house.readiness.set_draining();
    assert_eq!(ask("/readyz").status, 503);
    assert_eq!(ask("/healthz").status, 200);
    assert_eq!(ask("/nothing").is_refused(404, "not_found")["field"], Value::Null);
    assert!(house.post("/healthz", "").head.contains("allow: GET"));
    let head = house.ask("HEAD", "/healthz", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn metrics_show_how_things_stand_at_that_moment() {
    let house = house();
    house.keep(event(1), &["app"]);
    house.keep(event(2), &["app"]);
    house.settle("app", Settled::Dead(crate::buffer::DeadReason::Gone), 410);
    house.clock.advance(Duration::from_secs(7));
    let reply = house.get("/metrics");
    assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
    for line in [
        "hooklatch_buffer_events{destination=\"app\"} 1",
        "hooklatch_dead_events{destination=\"app\"} 1",
        "hooklatch_oldest_pending_seconds{destination=\"app\"} 7",
        "hooklatch_oldest_pending_seconds{destination=\"billing\"} 0",
        "hooklatch_dedupe_ids 0",
    ] {
        assert!(reply.body.lines().any(|l| l == line), "{line} is not in {}", reply.body);
    }
}

#[test]
fn the_metrics_listener_has_no_api_and_looks_at_no_host() {
    let options = AdminOptions {
        listen: AdminListen::Off,
        metrics_listen: Some("127.0.0.1:0".to_owned()),
        ..AdminOptions::default()
    };
    let house = house_at(options);
    assert_eq!(house.server.address(), None);
    let ask = |path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: prometheus.internal\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        talk(connect(house.server.metrics_address().unwrap()), &request)
    };
    assert_eq!(ask("/metrics").status, 200);
    assert_eq!(ask("/healthz").status, 200);
    assert_eq!(ask("/readyz").status, 503);
    ask("/api/v1/status").is_refused(404, "not_found");
}

#[test]
fn a_body_over_64_kib_is_refused() {
    let house = house();
    let at_most = format!("{{\"all\":true{}}}", " ".repeat((64 << 10) - 12));
    assert_eq!(at_most.len(), 64 << 10);
    assert_eq!(house.post("/api/v1/dead/drop", &at_most).status, 200);
    // Announced: refused before a byte of it is read.
    let announced = format!(
        "POST /api/v1/dead/drop HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
    );
    let reply = talk(house.connect(), &format!("{announced}Content-Length: 65537\r\n\r\n"));
    reply.is_refused(413, "payload_too_large");
    // Not announced: counted.
    let chunk = format!("10001\r\n{}\r\n", "a".repeat(0x10001));
    let reply = talk(house.connect(), &format!("{announced}Transfer-Encoding: chunked\r\n\r\n{chunk}"));
    reply.is_refused(413, "payload_too_large");
}

#[test]
fn it_answers_while_64_connections_hang_and_closes_the_next_one() {
    let house = house();
    let idle: Vec<_> = (0..63).map(|_| house.connect()).collect();
    // The last seat is free.
    assert_eq!(house.get("/healthz").status, 200);
    let mut hanging = house.connect();
    hanging.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut next = house.connect();
        let _ = next.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = Vec::new();
        match next.read_to_end(&mut answer) {
            Ok(0) => break,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            // The seat of the request before is not free again until its task has ended.
            _ => assert!(tokio::time::Instant::now() < deadline, "the 65th connection was served"),
        }
    }
    let hits = house.metrics.encode();
    assert!(hits.contains("hooklatch_limit_hits_total{limit=\"admin.max_connections\"}"), "{hits}");
    drop(idle);
    drop(hanging);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while tokio::time::Instant::now() < deadline {
        let mut stream = house.connect();
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        if stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200") {
            return;
        }
    }
    panic!("no seat became free again");
}

#[test]
fn it_answers_while_a_reload_hangs() {
    let house = house();
    house.stuck.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut hanging = house.connect();
    let request = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
    );
    hanging.write_all(request.as_bytes()).unwrap();
    assert_eq!(house.get("/healthz").status, 200);
    hanging.set_nonblocking(true).unwrap();
    assert_eq!(hanging.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn broken_requests_end_their_connection_and_nothing_else() {
    let house = house();
    let huge = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nx: {}\r\n\r\n", "a".repeat(20 << 10));
    let many = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "x: 1\r\n".repeat(80));
    for request in ["\0\0\0\0\r\n\r\n", "GET /\x7f HTTP/1.1\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", &huge, &many]
    {
        let mut stream = house.connect();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    }
    assert_eq!(house.get("/healthz").status, 200);
}

#[test]
fn an_address_that_is_taken_is_said_by_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = super::super::listener::Bound::tcp(&address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
}

#[test]
fn dropped_it_listens_no_more() {
    let house = house();
    let address = house.server.address().unwrap().to_owned();
    let mut idle = house.connect();
    assert_eq!(house.get("/healthz").status, 200);
    drop(house);
    assert!(TcpStream::connect(&address).is_err());
    assert!(matches!(idle.read(&mut [0; 8]), Ok(0) | Err(_)), "an idle connection is closed");
}
