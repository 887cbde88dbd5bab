//! Deadlines, on a clock that the test moves.

use http_body_util::StreamBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::api::Desk;
use super::super::beside::Beside;
use super::super::guard::Entrance;
use super::super::server::connection;
use super::*;
use crate::event::EventIds;

fn desk() -> Arc<Desk> {
    let (view, _) = rooms(BufferOptions::memory());
    let tokens = Tokens { full: Secret::new(TOKEN), read: None };
    Arc::new(Desk {
        view: Arc::new(view),
        tokens: Some(Arc::new(arc_swap::ArcSwap::from_pointee(tokens))),
        listen_host: String::new(),
        request_ids: EventIds::starting_at(0),
        beside: Beside::new(),
        replays: Default::default(),
    })
}

/// A connection to a server, whose pipe holds `room` bytes, and what to stop it with.
fn open(room: usize) -> (DuplexStream, watch::Sender<bool>) {
    let (ours, theirs) = tokio::io::duplex(room);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(connection(Box::new(theirs), Entrance::Unix, desk(), stopped));
    (ours, stop)
}

async fn seconds_until_closed(stream: &mut DuplexStream) -> u64 {
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    let (mut silent, _stop) = open(4096);
    assert_eq!(seconds_until_closed(&mut silent).await, 10);
    let (mut half, _stop) = open(4096);
    half.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(seconds_until_closed(&mut half).await, 10);
}

#[tokio::test(start_paused = true)]
async fn the_second_head_has_the_same_deadline() {
    let (mut stream, _stop) = open(4096);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(seconds_until_closed(&mut stream).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off_in_the_end() {
    let (mut stream, _stop) = open(64);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let began = Instant::now();
    // The pipe takes no byte more until somebody reads, so the server's end goes only when it gives up.
    while stream.write_all(b"x").await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(600), "still open");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((239..=242).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_an_idle_connection_at_once() {
    let (mut stream, stop) = open(4096);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 15]).await.unwrap();
    stop.send(true).unwrap();
    assert_eq!(seconds_until_closed(&mut stream).await, 0);
}

type NoBody = StreamBody<futures_util::stream::Pending<Result<hyper::body::Frame<Bytes>, hyper::Error>>>;

/// One whose bytes do not come.
fn no_body() -> NoBody {
    StreamBody::new(futures_util::stream::pending())
}

#[tokio::test]
async fn who_waits_for_a_disk_is_few_and_holds_nobody_else_up() {
    let desk = desk();
    let ask = async |path: &str| {
        let request = hyper::Request::get(path).body(no_body()).unwrap();
        desk.answer(&Entrance::Unix, request).await.status().as_u16()
    };
    let (one, page) = (format!("/api/v1/events/{}", EventId::new(NOW, 1)), "/api/v1/events");
    let pages = [
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/status",
        "/api/v1/destinations",
        page,
        "/api/v1/dead",
        &one,
    ];
    let answers = async || {
        let mut answers = Vec::new();
        for path in pages {
            answers.push(ask(path).await);
        }
        answers
    };
    let free = answers().await;
    assert_eq!(free[..7], [200, 503, 200, 200, 200, 200, 200]); // not ready yet
    assert_eq!(free[7], 404);
    let events = desk.beside.events.busy();
    assert_eq!(answers().await, [200, 503, 200, 200, 200, 503, 503, 503]);
    drop(events);
    let figures = desk.beside.figures.busy();
    let busy = answers().await;
    assert_eq!(busy[..7], [200, 503, 503, 503, 503, 200, 200]);
    drop(figures);
    assert_eq!(answers().await, free);
}

#[tokio::test]
async fn a_hand_is_free_again_when_its_work_is_done_and_not_when_nobody_waits_for_it() {
    let hands = &desk().beside.many;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (begin, mut begun) = tokio::sync::mpsc::unbounded_channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let work = || {
        let (wait, begin) = (Arc::clone(&wait), begin.clone());
        move || {
            begin.send(()).unwrap();
            wait.lock().recv().unwrap();
        }
    };
    // Two that ask and go away.
    for _ in 0..2 {
        let mut asked = std::pin::pin!(hands.run(work()));
        assert!(futures_util::poll!(asked.as_mut()).is_pending());
        begun.recv().await.unwrap();
    }
    let refused = hands.run(|| ()).await.unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.error), (503, "busy"));
    go.send(()).unwrap();
    go.send(()).unwrap();
    while hands.run(|| ()).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_refused() {
    let request = hyper::Request::post("/api/v1/dead/drop").body(no_body()).unwrap();
    let began = Instant::now();
    let reply = desk().answer(&Entrance::Unix, request).await;
    assert_eq!((reply.status().as_u16(), began.elapsed().as_secs()), (408, 10));
}
