use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::bed::*;
use crate::ingress::{Fault, ProxySettings, Upstream};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_app_sees_the_request_and_three_lines_more() {
    let (bed, app) = with_app().await;
    let mut client = bed.client().await;
    let answer = client
        .ask(
            "POST /app/x?a=%20b HTTP/1.1\r\nX-ZeBra: 1\r\nHost: shop.example\r\nAccept: a\r\naccept: b\r\n\
             x_under: 1\r\nHooklatch-Id: forged\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 3\r\n\
             Cookie: c\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nForwarded: for=1.1.1.1\r\n\r\nabc",
        )
        .await;
    assert_eq!((answer.status, answer.text()), (200, "3 294"));
    let head = app.last_head();
    let lines: Vec<_> = head.trim_end().lines().collect();
    assert_eq!(lines[0], "POST /app/x?a=%20b HTTP/1.1");
    for line in [
        "X-ZeBra: 1",
        "Host: shop.example",
        "Accept: a",
        "accept: b",
        "Content-Length: 3",
        "Cookie: c",
        "Forwarded: for=1.1.1.1",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: shop.example",
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{head}");
    }
    assert_eq!(lines.len(), 11, "{head}");
    let seen = bed.front.seen.lock();
    assert_eq!(seen.passed.len(), 1);
    assert_eq!((seen.passed[0].status, seen.passed[0].received, seen.passed[0].sent), (200, 3, 5));
    assert!(!seen.passed[0].broken);
}

#[tokio::test]
async fn targets_and_values_reach_the_app_as_they_were_sent() {
    let (bed, app) = with_app().await;
    let mut client = bed.client().await;
    for target in [
        "/app//a/./b/../c",
        "/app/%zz%2F%2f%",
        "/app/a|b^cd{e}f\"ghi\\j",
        "/app/ünï?q=ö",
        "/app/;x=1,2!$&'()*+:@~",
        "/app?a=b?c=d&e[]=/",
        "/app/?",
    ] {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Text: ä \"q\", \t x\r\nX-Empty:\r\n\r\n");
        assert_eq!(client.ask(request).await.status, 200, "{target}");
        let head = app.last_head();
        assert!(head.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{target}: {head}");
        assert!(head.contains("\r\nX-Text: ä \"q\", \t x\r\n"), "{head}");
        assert!(head.contains("\r\nX-Empty: \r\n") || head.contains("\r\nX-Empty:\r\n"), "{head}");
    }
    assert_eq!(client.ask(get("/app/a<b>`")).await.status, 200);
    assert!(app.last_head().starts_with("GET /app/a%3Cb%3E%60 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn webhooks_and_the_rest_take_turns_on_one_connection() {
    let (bed, app) = with_app().await;
    let mut client = bed.client().await;
    for n in 0..5 {
        assert_eq!(client.ask(post("/hook", "abc")).await.text(), "POST 3");
        assert_eq!(client.ask(post("/app/x", &"a".repeat(n))).await.text(), format!("{n} {}", n * 97));
        assert_eq!(client.ask(get("/app/x")).await.text(), "0 0");
        assert_eq!(client.ask(get("/none")).await.status, 404);
    }
    assert_eq!(bed.front.open.load(Ordering::SeqCst), 1);
    assert_eq!(app.connections.load(Ordering::SeqCst), 1, "the connection to the app is kept");
}

#[tokio::test]
async fn pipelined_requests_stay_apart() {
    let (bed, app) = with_app().await;
    let mut client = bed.client().await;
    client.send([get("/app/1"), post("/app/2", "ab"), post("/hook", "abc"), get("/app/3")].concat()).await;
    for expected in ["0 0", "2 195", "POST 3", "0 0"] {
        assert_eq!(client.answer().await.text(), expected);
    }
    assert_eq!(app.heads.lock().len(), 3);
}

#[tokio::test]
async fn chunks_that_readers_end_in_different_places_are_refused() {
    let (bed, app) = with_app().await;
    for body in ["2;\nxx\r\nab\r\n0\r\n\r\n", "2 \r\nab\r\n0\r\n\r\n", "\r\n\r\n"] {
        for late in [false, true] {
            let mut client = bed.client().await;
            let head = "POST /app/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            if late {
                client.send(head).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
                client.send(body).await;
            } else {
                client.send(format!("{head}{body}")).await;
            }
            let answer = client.answer().await;
            assert_eq!(answer.status, 400, "{body:?}, late: {late}");
        }
    }
    let mut client = bed.client().await;
    client
        .send("POST /app/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\nA: b\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.text(), "2 195", "extensions and trailers are sound");
    assert!(!app.heads.lock().is_empty());
}

#[tokio::test]
async fn a_body_that_comes_late_and_the_next_request_stay_apart() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    client.send("POST /app/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    client.send(format!("bcd{}", post("/hook", "abc"))).await;
    assert_eq!(client.answer().await.text(), "4 394");
    assert_eq!(client.answer().await.text(), "POST 3");
}

#[tokio::test]
async fn five_megabytes_go_either_way() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    let body = "y".repeat(5_000_000);
    let sum = 5_000_000 * u64::from(b'y');
    assert_eq!(client.ask(post("/app/x", &body)).await.text(), format!("5000000 {sum}"));
    let mut chunked = b"POST /app/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in body.as_bytes().chunks(70_000) {
        chunked.extend(format!("{:x}\r\n", piece.len()).bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    assert_eq!(client.ask(chunked).await.text(), format!("5000000 {sum}"));
    for path in ["/app/big", "/app/big-chunked"] {
        let answer = client.ask(get(path)).await;
        assert_eq!(answer.body.len(), 5_000_000);
        assert!(answer.body.iter().all(|byte| *byte == b'x'));
    }
    assert_eq!(bed.front.open.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_answer_is_not_changed() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    for _ in 0..2 {
        let answer = client.ask(get("/app/dated")).await;
        let lines: Vec<_> = answer.head.lines().collect();
        for line in ["Server: old/1", "Via: 1.0 x", "X-oDD: 1", "Set-Cookie: a", "Set-Cookie: b"] {
            assert!(lines.contains(&line), "{line} is missing in\n{}", answer.head);
        }
        assert_eq!(answer.header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"), "{}", answer.head);
        assert_eq!(answer.head.to_ascii_lowercase().matches("date:").count(), 1);
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_usable() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    for _ in 0..2 {
        assert_eq!(client.ask(get("/app/204")).await.status, 204);
        assert_eq!(client.ask(get("/app/304")).await.header("etag"), Some("\"x\""));
        client.send("HEAD /app/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (status, head) = client.head().await;
        assert!(status == 200 && head.contains("Content-Length: 1234"), "{head}");
    }
    assert_eq!(client.ask(get("/hook")).await.status, 200);
    client.send("HEAD /hook HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let (status, head) = client.head().await;
    assert!(status == 200 && head.contains("content-length: 6"), "{head}");
    client.closed().await;
}

#[tokio::test]
async fn websockets_go_through() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    assert_eq!(client.ask(get("/hook")).await.status, 200);
    client
        .send(
            "GET /app/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .await;
    let (status, head) = client.head().await;
    assert_eq!(status, 101, "{head}");
    for word in ["hello", "from", "the", "other", "side"] {
        client.send(word).await;
        assert_eq!(client.bytes(word.len()).await, word.to_ascii_uppercase().as_bytes());
    }
    client.stream.shutdown().await.expect("shut");
    client.closed().await;
    until(|| bed.front.open.load(Ordering::SeqCst) == 0).await;
    let seen = bed.front.seen.lock();
    assert_eq!(seen.passed.last().map(|passed| passed.status), Some(101));
}

#[tokio::test]
async fn events_come_one_by_one() {
    let (bed, app) = with_app().await;
    let mut client = bed.client().await;
    client.send("GET /app/sse HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let (_, head) = client.head().await;
    assert!(head.contains("text/event-stream") && !head.to_ascii_lowercase().contains("content-encoding"));
    assert_eq!(client.bytes(14).await, b"9\r\ndata: 1\n\n\r\n");
    app.go.notify_one();
    assert_eq!(client.bytes(19).await, b"9\r\ndata: 2\n\n\r\n0\r\n\r\n");
    assert_eq!(client.ask(get("/hook")).await.status, 200);
}

#[tokio::test]
async fn the_app_itself_answers_100() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    for _ in 0..2 {
        client
            .send(
                "POST /app/continue HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
            )
            .await;
        assert_eq!(client.head().await.0, 100);
        let answer = client.ask("abc").await;
        assert_eq!(answer.text(), "got 3");
        assert!(!answer.closes(), "{}", answer.head);
    }
}

#[tokio::test]
async fn an_app_that_answers_before_it_read_the_body_is_heard() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    client.send("POST /app/early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await;
    for _ in 0..6 {
        let _ = client.stream.write_all(&[b'x'; 10_000]).await;
    }
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.text()), (413, "no"));
    assert!(answer.closes());
}

#[tokio::test]
async fn old_clients_get_no_chunks() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    client.send("GET /app/big-chunked HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").await;
    let (status, head) = client.head().await;
    assert!(status == 200 && !head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(client.rest().await.len(), 5_000_000);
    let mut client = bed.client().await;
    let answer = client.ask("GET /app/x HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.text(), "0 0");
    client.closed().await;
}

#[tokio::test]
async fn old_apps_end_their_answer_with_the_connection() {
    let (bed, _app) = with_app().await;
    let mut client = bed.client().await;
    assert_eq!(client.ask(get("/app/until-close")).await.text(), "all of it");
}

#[tokio::test]
async fn what_the_app_does_wrong_is_a_502_of_ours() {
    let (bed, _app) = with_app().await;
    for path in ["/app/close", "/app/garbage"] {
        let mut client = bed.client().await;
        let answer = client.ask(get(path)).await;
        assert_eq!((answer.status, answer.text()), (502, "{\"error\":\"upstream_error\"}"), "{path}");
        assert!(answer.closes());
        client.closed().await;
    }
    assert!(bed.front.seen.lock().passed.is_empty());
}

#[tokio::test]
async fn an_app_that_is_away_is_a_502_of_ours() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    for target in [
        upstream(free),
        Upstream::Tcp { host: "no-such-host.invalid".to_owned(), port: 1, tls: false },
        Upstream::Unix("/nonexistent/app.sock".into()),
        // Speaks no TLS.
        Upstream::Tcp { host: "127.0.0.1".to_owned(), port: App::start().await.address.port(), tls: true },
    ] {
        let bed = door_with(|_| {}, proxy_to(target.clone()));
        let mut client = bed.client().await;
        let answer = client.ask(post("/app/x", "abc")).await;
        assert_eq!(answer.status, 502, "{target:?}");
        assert!(matches!(bed.faults()[..], [Fault::Upstream(_)]), "{:?}", bed.faults());
    }
}

#[tokio::test]
async fn an_app_that_says_nothing_is_a_504_of_ours() {
    let (bed, _app) = with_app_and(|proxy| proxy.idle_timeout = Duration::from_millis(300)).await;
    for request in [get("/app/hang"), post("/app/hang", "abc")] {
        let mut client = bed.client().await;
        let start = Instant::now();
        let answer = client.ask(request).await;
        assert_eq!(answer.status, 504);
        assert!(start.elapsed() >= Duration::from_millis(290) && start.elapsed() < Duration::from_secs(3));
        client.closed().await;
    }
}

#[tokio::test]
async fn a_sender_that_stops_within_its_body_is_a_408_of_ours() {
    let (bed, _app) = with_app_and(|proxy| proxy.idle_timeout = Duration::from_millis(300)).await;
    let mut client = bed.client().await;
    let answer = client.ask("POST /app/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc").await;
    assert_eq!(answer.status, 408);
}

#[tokio::test]
async fn only_idleness_ends_a_stream() {
    let (bed, _app) = with_app_and(|proxy| proxy.idle_timeout = Duration::from_millis(800)).await;
    let mut client = bed.client().await;
    // Twice the idle time in all, never idle for long.
    client.send("POST /app/x HTTP/1.1\r\nHost: a\r\nContent-Length: 24\r\n\r\n").await;
    for _ in 0..24 {
        tokio::time::sleep(Duration::from_millis(70)).await;
        client.send("a").await;
    }
    assert_eq!(client.answer().await.text(), format!("24 {}", 24 * 97));
    client.send("GET /app/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n").await;
    client.head().await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(70)).await;
        client.send("a").await;
        assert_eq!(client.bytes(1).await, b"A");
    }
    let start = Instant::now();
    client.closed().await;
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_route_may_bound_its_bodies() {
    let (bed, app) = with_app_and(|proxy| proxy.max_body = Some(10)).await;
    let mut client = bed.client().await;
    assert_eq!(client.ask(post("/app/x", "0123456789")).await.status, 200);
    assert_eq!(client.ask(post("/app/x", "0123456789a")).await.status, 413);
    client.closed().await;
    let mut client = bed.client().await;
    let chunked = "POST /app/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n8\r\n01234567\r\n0\r\n\r\n";
    assert_eq!(client.ask(chunked).await.status, 413);
    assert_eq!(bed.faults(), [Fault::BodyTooLarge(10), Fault::BodyTooLarge(10)]);
    assert_eq!(app.received.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn more_lines_than_pingora_takes_are_refused_in_our_words() {
    let app = App::start().await;
    let bed = door_with(|options| options.max_headers = 400, proxy_to(upstream(app.address)));
    for (lines, status) in [(249, 200), (250, 431)] {
        let mut client = bed.client().await;
        let head = format!("GET /app/x HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(lines));
        assert_eq!(client.ask(head).await.status, status);
    }
}

#[tokio::test]
async fn a_reused_connection_that_dies_is_replaced_once_where_that_is_safe() {
    let (bed, app) = with_app().await;
    let mut client = bed.client().await;
    assert_eq!(client.ask(get("/app/x")).await.status, 200);
    // The app takes the second request of a connection and closes without a word.
    assert_eq!(client.ask(get("/app/flaky")).await.status, 200);
    assert_eq!(app.heads.lock().len(), 3);
    assert_eq!(app.connections.load(Ordering::SeqCst), 2);
    // A POST might have been acted upon: it is never sent twice.
    assert_eq!(client.ask(post("/app/flaky", "abc")).await.status, 502);
    assert_eq!(app.heads.lock().len(), 4);
}

#[tokio::test]
async fn an_app_on_a_unix_socket_is_served_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bound");
    let app = App::start().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            app.serve(stream).await;
        }
    });
    let bed = door_with(|_| {}, proxy_to(Upstream::Unix(path)));
    let mut client = bed.client().await;
    for _ in 0..3 {
        assert_eq!(client.ask(post("/app/x", "abc")).await.text(), "3 294");
    }
}

#[tokio::test]
async fn a_name_is_resolved() {
    let app = App::start().await;
    let target = Upstream::Tcp { host: "localhost".to_owned(), port: app.address.port(), tls: false };
    let bed = door_with(|_| {}, proxy_to(target));
    let mut client = bed.client().await;
    assert_eq!(client.ask(post("/app/x", "abc")).await.text(), "3 294");
}

#[tokio::test]
async fn a_stop_waits_for_what_streams() {
    let (bed, app) = with_app().await;
    let mut idle = bed.client().await;
    idle.ask(get("/app/x")).await;
    let mut client = bed.client().await;
    client.send(get("/app/sse")).await;
    client.head().await;
    client.bytes(14).await;
    bed.stop.send(true).expect("running");
    idle.closed().await;
    assert!(!bed.running.is_finished());
    app.go.notify_one();
    assert_eq!(client.bytes(19).await, b"9\r\ndata: 2\n\n\r\n0\r\n\r\n");
    client.closed().await;
    assert_eq!(soon(bed.running).await.expect("no panic").expect("ran"), 0);
}

#[tokio::test]
async fn a_sender_that_hangs_up_ends_the_request_to_the_app() {
    let (bed, app) = with_app().await;
    let mut client = bed.client().await;
    client.send(get("/app/hang")).await;
    until(|| !app.heads.lock().is_empty()).await;
    drop(client);
    until(|| bed.front.open.load(Ordering::SeqCst) == 0).await;
    let seen = bed.front.seen.lock();
    assert!(seen.faults.is_empty());
    assert_eq!(
        seen.passed.iter().map(|passed| (passed.status, passed.broken)).collect::<Vec<_>>(),
        [(0, true)]
    );
}

#[tokio::test]
async fn an_app_in_several_places_is_reached_at_the_first_that_is_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let (bed, far) = with_app_and(|proxy| {
        proxy.keep_host = false;
        let nowhere = Upstream::Tcp { host: "no-such-host.invalid".to_owned(), port: 1, tls: false };
        proxy.upstreams.splice(..0, [upstream(free), nowhere]);
    })
    .await;
    let mut client = bed.client().await;
    for _ in 0..4 {
        assert_eq!(client.ask(post("/app/x", "abc")).await.status, 200);
        // The Host is that of the place where it went.
        assert!(far.last_head().contains(&format!("Host: {}\r\n", far.address)), "{}", far.last_head());
    }
    assert_eq!(bed.front.failover.up(), [false, false, true]);
    assert!(bed.faults().is_empty(), "no sender notices");
    // Where none is there, the sender is told.
    let bed =
        door_with(|_| {}, ProxySettings { upstreams: vec![upstream(free); 2], ..proxy_to(upstream(free)) });
    assert_eq!(bed.client().await.ask(post("/app/x", "abc")).await.status, 502);
}
