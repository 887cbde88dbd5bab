use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::bed::*;
use crate::ingress::parse::tests::MALFORMED;
use crate::ingress::{Fault, ServerOptions};

const GET: &str = "GET /hook HTTP/1.1\r\nHost: a\r\n\r\n";

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn server(change: impl FnOnce(&mut ServerOptions)) -> Bed {
    let nowhere = upstream(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
    door_with(change, proxy_to(nowhere))
}

#[tokio::test]
async fn requests_follow_each_other_on_one_connection() {
    let bed = door();
    let mut client = bed.client().await;
    for n in 0..3 {
        let answer = client.ask(post("/hook", &"x".repeat(n * 3000))).await;
        assert_eq!((answer.status, answer.text()), (200, format!("POST {}", n * 3000).as_str()));
        assert!(!answer.closes());
        assert!(answer.header("date").is_some_and(|date| date.ends_with(" GMT")), "{}", answer.head);
    }
    assert_eq!(bed.front.open.load(Ordering::SeqCst), 1);
    drop(client);
    until(|| bed.front.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let bed = door();
    let mut client = bed.client().await;
    let chunked =
        "POST /hook/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    client.send(format!("{}{chunked}\r\n{}{}", post("/hook/1", "one"), post("/none", "x"), GET)).await;
    for expected in ["POST 3", "POST 3", "{\"error\":\"unknown_route\"}", "GET 0"] {
        assert_eq!(client.answer().await.text(), expected);
    }
    let targets: Vec<_> = bed.answered().into_iter().map(|(target, _)| target).collect();
    assert_eq!(targets, ["/hook/1", "/hook/2", "/hook"]);
}

#[tokio::test]
async fn a_request_cut_anywhere_arrives_whole() {
    let bed = door();
    let wire = post("/hook", "body");
    let mut client = bed.client().await;
    for end in 1..wire.len() {
        client.send(&wire[..end]).await;
        tokio::task::yield_now().await;
        let answer = client.ask(&wire[end..]).await;
        assert_eq!(answer.text(), "POST 4", "cut at {end}");
    }
}

#[tokio::test]
async fn broken_framing_is_refused_in_our_words_and_the_connection_ends() {
    let bed = door();
    for (what, head) in MALFORMED {
        // On the first request of a connection, and on a later one.
        for earlier in [false, true] {
            let mut client = bed.client().await;
            if earlier {
                assert_eq!(client.ask(GET).await.status, 200);
            }
            let answer = client.ask(head).await;
            assert_eq!(answer.status, 400, "{what}");
            assert_eq!(answer.text(), "{\"error\":\"malformed_request\"}", "{what}");
            assert!(answer.closes(), "{what}");
            client.closed().await;
        }
    }
    assert!(bed.answered().iter().all(|(target, _)| target == "/hook"));
    assert_eq!(bed.faults().len(), 2 * MALFORMED.len());
}

#[tokio::test]
async fn a_refused_request_smuggles_nothing_behind_it() {
    let bed = door();
    let mut client = bed.client().await;
    let hidden = post("/hook/hidden", "");
    client
        .send(format!(
            "POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
            hidden.len() + 5
        ))
        .await;
    assert_eq!(client.answer().await.status, 400);
    client.closed().await;
    assert!(bed.answered().is_empty());
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_by_their_limit() {
    let bed = door();
    let long = "x".repeat(20_000);
    for (head, status, limit) in [
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..9000]), 414, "max_uri"),
        (format!("GET /{long}"), 414, "max_uri"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {long}\r\n\r\n"), 431, "max_head"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}", &long[..17_000]), 431, "max_head"),
        (format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(100)), 431, "max_headers"),
    ] {
        for earlier in [false, true] {
            let mut client = bed.client().await;
            if earlier {
                client.ask(GET).await;
            }
            let answer = client.ask(&head).await;
            assert_eq!(answer.status, status, "{limit}");
            assert!(answer.closes());
            client.closed().await;
            assert_eq!(bed.limits().last(), Some(&limit));
        }
    }
}

#[tokio::test]
async fn a_slow_head_is_refused_on_the_first_and_on_later_requests() {
    let bed = server(|options| options.header_timeout = Duration::from_millis(300));
    for earlier in [false, true] {
        let mut client = bed.client().await;
        if earlier {
            client.ask(GET).await;
        }
        let start = Instant::now();
        // A byte every 20 ms would take a second: the deadline holds for the head as a whole.
        let mut gone = false;
        for byte in "GET /hook HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaa".bytes() {
            gone |= client.stream.write_all(&[byte]).await.is_err();
            tokio::time::sleep(Duration::from_millis(20)).await;
            if start.elapsed() > Duration::from_millis(500) {
                break;
            }
        }
        assert!(!gone || start.elapsed() > Duration::from_millis(250));
        let answer = client.answer().await;
        assert_eq!(answer.status, 408);
        assert!(answer.closes());
        client.closed().await;
        assert!(start.elapsed() < Duration::from_secs(3));
    }
    assert_eq!(bed.limits(), ["header_timeout", "header_timeout"]);
}

#[tokio::test]
async fn an_idle_connection_is_closed_silently() {
    let bed = server(|options| options.keepalive_timeout = Duration::from_millis(200));
    let mut silent = bed.client().await;
    let mut once = bed.client().await;
    once.ask(GET).await;
    let start = Instant::now();
    silent.closed().await;
    once.closed().await;
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(bed.faults().is_empty());
    until(|| bed.front.open.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_slow_body_is_refused_on_the_first_and_on_later_requests() {
    let bed = server(|options| options.body_timeout = Duration::from_millis(300));
    for earlier in [false, true] {
        for head in [
            "POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nx",
            "POST /hook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx",
        ] {
            let mut client = bed.client().await;
            if earlier {
                client.ask(GET).await;
            }
            client.send(head).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 408);
            assert!(answer.closes());
            client.closed().await;
        }
    }
    assert_eq!(bed.limits(), ["body_timeout"; 4]);
    assert_eq!(bed.door.in_flight(), 0);
}

#[tokio::test]
async fn a_declared_body_over_the_limit_is_refused_before_it_is_read() {
    let bed = door();
    let mut client = bed.client().await;
    let answer = client
        .ask(format!("POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", MAX_BODY + 1))
        .await;
    assert_eq!(answer.status, 413);
    client.closed().await;
    let mut client = bed.client().await;
    let max = usize::try_from(MAX_BODY).expect("small");
    assert_eq!(client.ask(post("/hook", &"x".repeat(max))).await.text(), format!("POST {max}"));
    assert_eq!(bed.faults(), [Fault::BodyTooLarge(MAX_BODY)]);
}

#[tokio::test]
async fn an_undeclared_body_is_counted() {
    let bed = door();
    let head = "POST /hook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
    let mut client = bed.client().await;
    let answer = client.ask(format!("{head}{}0\r\nX-Sum: 1\r\n\r\n", chunk.repeat(10))).await;
    assert_eq!(answer.text(), "POST 100000");
    assert_eq!(client.ask(format!("{head}{}1\r\nx\r\n0\r\n\r\n", chunk.repeat(10))).await.status, 413);
    client.closed().await;
    assert_eq!(bed.limits(), ["max_body"]);
}

#[tokio::test]
async fn broken_chunks_are_refused() {
    let bed = door();
    let head = "POST /hook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "\r\n",
        "g\r\n",
        "1\r\nxx0\r\n\r\n",
        "1\nx\n0\n\n",
        "1;\x01\r\nx\r\n0\r\n\r\n",
        "0\r\nbad trailer\r\n\r\n",
    ] {
        let mut client = bed.client().await;
        let answer = client.ask(format!("{head}{body}")).await;
        assert_eq!(answer.status, 400, "{body:?}");
        client.closed().await;
    }
    assert!(bed.answered().is_empty());
}

#[tokio::test]
async fn a_sender_that_waits_for_100_gets_it_only_where_its_head_is_accepted() {
    let bed = door();
    let mut client = bed.client().await;
    for _ in 0..2 {
        client
            .send("POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            .await;
        assert_eq!(client.head().await.0, 100);
        assert_eq!(client.ask("abc").await.text(), "POST 3");
    }
    let head = "HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\nExpect: 100-continue\r\n\r\n";
    client.send(format!("POST /hook {head}")).await;
    assert_eq!(client.head().await.0, 413);
    let mut client = bed.client().await;
    client.send(format!("POST /none {head}")).await;
    let (status, text) = client.head().await;
    assert_eq!(status, 404);
    assert!(text.contains("connection: close"));
}

#[tokio::test]
async fn a_refused_sender_reads_its_answer_while_it_still_writes() {
    let bed = door();
    for path in ["/hook", "/none"] {
        for _ in 0..5 {
            let mut client = bed.client().await;
            client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")).await;
            // Many clients give up at the first failed write, so none of these may fail although the answer has
            // long been there.
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(3)).await;
                client.send(vec![b'x'; 10_000]).await;
            }
            let answer = client.answer().await;
            assert_eq!(answer.status, if path == "/hook" { 413 } else { 404 });
            assert!(answer.closes());
        }
        // A sender that never stops is not listened to for ever.
        let mut client = bed.client().await;
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")).await;
        let start = Instant::now();
        while client.stream.write_all(&[b'x'; 1000]).await.is_ok() {
            assert!(start.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test]
async fn memory_for_bodies_is_bounded_over_all_connections() {
    let bed = server(|options| {
        options.max_inflight_bytes = 150_000;
        options.max_body = 100_000;
    });
    let mut first = bed.client().await;
    first.send("POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx").await;
    until(|| bed.door.in_flight() == 100_000).await;
    let mut second = bed.client().await;
    let answer = second.ask("POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n").await;
    assert_eq!(answer.status, 503);
    assert!(answer.closes());
    // Chunked bodies are reserved for as they grow.
    let mut third = bed.client().await;
    let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
    let answer = third
        .ask(format!(
            "POST /hook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}",
            chunk.repeat(6)
        ))
        .await;
    assert_eq!(answer.status, 503);
    assert_eq!(bed.limits(), ["max_inflight_bytes"; 2]);
    assert_eq!(first.ask(vec![b'x'; 99_999]).await.status, 200);
    until(|| bed.door.in_flight() == 0).await;
    let mut fourth = bed.client().await;
    assert_eq!(fourth.ask(post("/hook", &"x".repeat(60_000))).await.status, 200);
}

#[tokio::test]
async fn a_sender_that_hangs_up_at_any_byte_leaves_nothing_behind() {
    let bed = door();
    let chunked = "POST /hook HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for wire in [post("/hook", "body"), chunked.to_owned()] {
        for end in 0..wire.len() {
            let mut client = bed.client().await;
            client.send(&wire[..end]).await;
        }
    }
    until(|| bed.front.open.load(Ordering::SeqCst) == 0).await;
    assert!(bed.answered().is_empty());
    assert_eq!(bed.door.in_flight(), 0);
    // Resets, too.
    let client = bed.client().await;
    client.stream.set_zero_linger().expect("set");
    drop(client);
    assert_eq!(bed.client().await.ask(GET).await.status, 200);
}

#[tokio::test]
async fn old_clients_get_the_connection_they_ask_for() {
    let bed = door();
    let mut client = bed.client().await;
    let answer =
        client.ask("POST /hook HTTP/1.0\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx").await;
    assert_eq!(answer.header("connection"), Some("keep-alive"));
    let answer = client.ask("GET /hook HTTP/1.0\r\n\r\n").await;
    assert!(answer.closes());
    client.closed().await;
    let mut client = bed.client().await;
    assert!(client.ask("GET /hook HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.closes());
    client.closed().await;
}

#[tokio::test]
async fn the_connection_idle_for_longest_makes_room() {
    let bed = server(|options| options.max_connections = 3);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = bed.client().await;
        client.ask(GET).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        clients.push(client);
    }
    // The first is used again, so the second is now idle for longest.
    clients[0].ask(GET).await;
    let mut fourth = bed.client().await;
    assert_eq!(fourth.ask(GET).await.status, 200);
    clients[1].closed().await;
    for n in [0, 2] {
        assert_eq!(clients[n].ask(GET).await.status, 200);
    }
    assert_eq!(bed.limits(), ["max_connections"]);
}

#[tokio::test]
async fn with_no_connection_idle_a_new_one_is_closed_at_once() {
    let bed = server(|options| options.max_connections = 2);
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut client = bed.client().await;
        client.send(post("/hook/wait", "x")).await;
        busy.push(client);
    }
    until(|| bed.front.waiting.load(Ordering::SeqCst) == 2).await;
    let mut third = bed.client().await;
    third.closed().await;
    assert_eq!(bed.limits(), ["max_connections"]);
    bed.front.go.notify_waiters();
    for client in &mut busy {
        assert_eq!(client.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_stop_answers_what_is_in_flight_and_closes_the_rest() {
    let bed = door();
    let mut idle = bed.client().await;
    idle.ask(GET).await;
    let mut silent = bed.client().await;
    let mut busy = bed.client().await;
    busy.send(post("/hook/wait", "x")).await;
    until(|| bed.front.waiting.load(Ordering::SeqCst) == 1).await;
    let mut half = bed.client().await;
    half.send("POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx").await;
    until(|| bed.door.in_flight() == 3).await;
    bed.stop.send(true).expect("running");
    idle.closed().await;
    silent.closed().await;
    assert!(tokio::net::TcpStream::connect(bed.address).await.is_err(), "nothing is accepted any more");
    let answer = half.ask("x").await;
    assert!(answer.status == 200 && answer.closes());
    half.closed().await;
    assert!(!bed.running.is_finished());
    bed.front.go.notify_one();
    let answer = busy.answer().await;
    assert!(answer.status == 200 && answer.closes());
    busy.closed().await;
    assert_eq!(soon(bed.running).await.expect("no panic").expect("ran"), 0);
    assert_eq!(bed.front.open.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_stop_cuts_at_its_deadline() {
    let bed = door();
    let mut busy = bed.client().await;
    busy.send(post("/hook/wait", "x")).await;
    until(|| bed.front.waiting.load(Ordering::SeqCst) == 1).await;
    let listener = crate::ingress::Listener {
        address: crate::ingress::ListenAddress::Tcp("127.0.0.1:0".to_owned()),
        mode: None,
    };
    let bound = crate::ingress::Bound::bind(&listener).expect("bound");
    let address = bound.local_addr().expect("an address");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let door = bed.door.clone();
    let running = tokio::spawn(async move { door.run(vec![bound], stopped).await });
    let mut other =
        Client { stream: tokio::net::TcpStream::connect(address).await.expect("connected"), buffer: vec![] };
    other.send(post("/hook/wait", "x")).await;
    until(|| bed.front.waiting.load(Ordering::SeqCst) == 2).await;
    // The bound that counts is the one in force when the stop comes.
    let options = ServerOptions { drain_timeout: Duration::from_millis(100), ..ServerOptions::default() };
    bed.door.set_settings(crate::ingress::ServerSettings::new(options).expect("valid"));
    stop.send(true).expect("running");
    assert_eq!(soon(running).await.expect("no panic").expect("ran"), 1);
    other.closed().await;
}

#[tokio::test]
async fn reloaded_limits_hold_from_the_next_request_on() {
    let bed = door();
    let mut client = bed.client().await;
    let long = format!("GET /hook?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(500));
    assert_eq!(client.ask(&long).await.status, 200);
    let options = ServerOptions { max_uri: 100, ..ServerOptions::default() };
    bed.door.set_settings(crate::ingress::ServerSettings::new(options).expect("valid"));
    // The head that is being waited for still has the old ones.
    client.ask(GET).await;
    assert_eq!(client.ask(&long).await.status, 414);
}

#[tokio::test]
async fn a_unix_socket_is_a_door_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("in.sock");
    let listener = crate::ingress::Listener {
        address: crate::ingress::ListenAddress::Unix(path.clone()),
        mode: Some(0o600),
    };
    let bound = crate::ingress::Bound::bind(&listener).expect("bound");
    let bed = door();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let door = bed.door.clone();
    let running = tokio::spawn(async move { door.run(vec![bound], stopped).await });
    let stream = tokio::net::UnixStream::connect(&path).await.expect("connected");
    let mut client = Client { stream, buffer: Vec::new() };
    assert_eq!(client.ask(post("/hook", "abc")).await.text(), "POST 3");
    stop.send(true).expect("running");
    soon(running).await.expect("no panic").expect("ran");
    assert!(!path.exists());
}
