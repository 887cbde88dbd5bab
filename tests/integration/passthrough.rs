//! `proxy_to`: an app behind hooklatch notices three headers and nothing else.

use std::io::{Read, Write};
use std::time::Duration;

use crate::harness::{App, Gateway, Reply, Setup, request};

fn gateway(app: &App) -> Gateway {
    Setup::new("[routes.rest]\npath = \"/*\"\nproxy_to = \"$APP\"\n").set("APP", app.url()).start()
}

#[test]
fn requests_and_answers_pass_unchanged() {
    let app = App::start();
    let gateway = gateway(&app);
    app.always(
        Reply::status(418)
            .with_header("Set-Cookie", "a=1; Path=/")
            .with_header("Set-Cookie", "b=2")
            .with_header("X-Own", "yes")
            .with_header("Content-Type", "text/html; charset=utf-8")
            .with_body("<h1>ü</h1>"),
    );
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let headers = [("Cookie", "s=1"), ("Accept-Encoding", "gzip"), ("hooklatch-id", "the sender's own")];
        let body: &[u8] = if matches!(method, "POST" | "PUT" | "PATCH") { b"a=b&c=%20" } else { b"" };
        let response = gateway.send(method, "/path/%7Eu?q=%20&q=2", &headers, body);
        assert_eq!((response.status, response.text().as_str()), (418, "<h1>ü</h1>"), "{method}");
        let cookies: Vec<_> = response
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case("set-cookie"))
            .map(|(_, v)| v.as_str())
            .collect();
        assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
        assert_eq!(response.header("server"), None, "no header of a proxy is added");
        let seen = app.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, "/path/%7Eu?q=%20&q=2"));
        assert_eq!(seen.body, body);
        assert_eq!(seen.header("host"), Some("hooks.example.com"));
        assert_eq!(seen.header("cookie"), Some("s=1"));
        assert_eq!(seen.header("accept-encoding"), Some("gzip"));
        assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
        assert_eq!(seen.header("x-forwarded-host"), Some("hooks.example.com"));
        assert_eq!(seen.header("hooklatch-route"), None);
    }
}

#[test]
fn bodies_larger_than_any_buffer_pass_both_ways() {
    let app = App::start();
    let gateway = gateway(&app);
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    app.always(Reply::ok().with_body(large.clone()));
    let response = gateway.send("POST", "/large", &[], &large);
    assert_eq!(response.status, 200);
    assert!(response.body == large, "the answer's body differs");
    assert!(app.seen()[0].body == large, "the request's body differs");
}

#[test]
fn an_app_that_is_down_is_502_and_one_that_hangs_504() {
    let down = App::reserve();
    let hanging = App::start();
    hanging.always(Reply::Hang);
    let gateway = Setup::new(
        "[routes.down]\npath = \"/down\"\nproxy_to = \"http://$DOWN\"\n\
         [routes.hanging]\npath = \"/hanging\"\nidle_timeout = \"300ms\"\nproxy_to = \"$HANGING\"\n",
    )
    .set("DOWN", down.to_string())
    .set("HANGING", hanging.url())
    .start();
    gateway.send("GET", "/down", &[], b"").assert_refused(502, "upstream_error");
    gateway.send("GET", "/hanging", &[], b"").assert_refused(504, "upstream_timeout");
}

#[test]
fn webhooks_and_pass_through_take_turns_on_one_connection() {
    let app = App::start();
    let gateway = Setup::new(
        r#"
        [routes.hook]
        path = "/hook"
        verify = "none"
        dedupe = false
        deliver_to = ["app"]
        [routes.rest]
        path = "/*"
        proxy_to = "app"
        [destinations.app]
        url = "$APP"
        "#,
    )
    .set("APP", app.url())
    .start();
    let mut connection = gateway.connect();
    for _ in 0..3 {
        connection.send(&request("POST", "/hook", &[], b"kept")).assert_accepted();
        let passed = connection.send(&request("GET", "/page", &[], b""));
        assert_eq!((passed.status, passed.header("hooklatch-id")), (200, None));
    }
    app.wait_for(6);
}

#[test]
fn a_connection_is_upgraded_and_then_carries_bytes_both_ways() {
    // A server that upgrades whatever asks and echoes what follows.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"), "{head}");
        let accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(accept.as_bytes()).unwrap();
        let mut buffer = [0; 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) => stream.write_all(&buffer[..read]).unwrap(),
            }
        }
    });
    let gateway = Setup::new("[routes.rest]\npath = \"/*\"\nproxy_to = \"http://$APP\"\n")
        .set("APP", address.to_string())
        .start();
    let mut connection = gateway.connect();
    let headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    let response = connection.send(&request("GET", "/socket", &headers, b""));
    assert_eq!(response.status, 101);
    let (writer, reader) = connection.stream();
    for message in [&b"hello"[..], &[0, 1, 2, 255], b"bye"] {
        writer.write_all(message).unwrap();
        let mut echoed = vec![0; message.len()];
        reader.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, message);
    }
}

#[test]
fn an_event_stream_arrives_piece_by_piece() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (next, go_on) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer).unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        for n in 0..3 {
            stream.write_all(format!("9\r\ndata: {n}\n\n\r\n").as_bytes()).unwrap();
            // The next piece leaves only when the reader has the last one: no buffering in between.
            go_on.recv().unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let gateway = Setup::new("[routes.rest]\npath = \"/*\"\nproxy_to = \"http://$APP\"\n")
        .set("APP", address.to_string())
        .start();
    let mut connection = gateway.connect();
    connection.write(&request("GET", "/events", &[], b""));
    let (stream, reader) = connection.stream();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut got = String::new();
    for n in 0..3 {
        while !got.contains(&format!("data: {n}\n\n")) {
            let mut buffer = [0; 1024];
            let read = reader.read(&mut buffer).unwrap();
            assert!(read > 0, "ended early: {got}");
            got.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        next.send(()).unwrap();
    }
}
