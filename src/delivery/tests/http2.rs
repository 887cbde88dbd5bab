//! HTTP/2: many requests on one connection, and what becomes of them when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::double::{until, within};
use crate::delivery::client::{BodyEnd, HttpClient, NoAnswer, ReplyBody};
use crate::delivery::connector::Connector;
use crate::delivery::pool::MAX_CONNECTION_AGE;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Answer(u16),
    /// Answers when [`Server::release`] says so.
    Held,
    /// Breaks this one request off (RST_STREAM, INTERNAL_ERROR).
    BreakOff,
    /// Closes the connection, without a word.
    Vanish,
    /// Says that it will take no more on this connection, and answers.
    SayGoodbye,
}

type Script = Arc<dyn Fn(usize) -> Act + Send + Sync>;

/// A server that speaks HTTP/2, asked by its script what to do with the n-th request.
#[derive(Clone)]
pub(super) struct Server {
    script: Script,
    /// Of each request: its connection, and `METHOD scheme://authority/path BODY`.
    pub(super) seen: Arc<Mutex<Vec<(usize, String)>>>,
    connections: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    busiest: Arc<AtomicUsize>,
    release: Arc<Notify>,
    max_streams: u32,
}

impl Server {
    pub(super) fn new(script: impl Fn(usize) -> Act + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            seen: Arc::default(),
            connections: Arc::default(),
            ended: Arc::default(),
            busiest: Arc::default(),
            release: Arc::default(),
            max_streams: 200,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn count(&self) -> usize {
        self.seen.lock().len()
    }

    fn release(&self) {
        self.release.notify_waiters();
    }

    /// A client whose connections end here.
    fn client(&self) -> HttpClient {
        let (pipes, mut ends): (_, UnboundedReceiver<DuplexStream>) = tokio::sync::mpsc::unbounded_channel();
        let server = self.clone();
        tokio::spawn(async move {
            while let Some(stream) = ends.recv().await {
                tokio::spawn(server.clone().connection(stream));
            }
        });
        HttpClient::new(Connector::memory_http2(pipes), Duration::from_secs(4), 8)
    }

    pub(super) async fn connection(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let (vanish, goodbye) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let busy = Arc::new(AtomicUsize::new(0));
        let service = service_fn(|request: Request<Incoming>| {
            let (server, busy) = (self.clone(), busy.clone());
            let (vanish, goodbye) = (vanish.clone(), goodbye.clone());
            async move {
                server.busiest.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let line = format!("{} {}", request.method(), request.uri());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let nth = {
                    let mut seen = server.seen.lock();
                    seen.push((number, format!("{line} {}", String::from_utf8_lossy(&body))));
                    seen.len() - 1
                };
                let released = server.release.notified();
                let status = match (server.script)(nth) {
                    Act::Answer(status) => Ok(status),
                    Act::Held => {
                        released.await;
                        Ok(200)
                    }
                    Act::BreakOff => Err("broken off"),
                    Act::Vanish => {
                        vanish.notify_one();
                        std::future::pending().await
                    }
                    Act::SayGoodbye => {
                        goodbye.notify_one();
                        Ok(200)
                    }
                };
                busy.fetch_sub(1, Ordering::SeqCst);
                let answer = |status| {
                    let body = Full::new(Bytes::from_static(b"fine"));
                    Response::builder().status(status).body(body).unwrap()
                };
                status.map(answer)
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(self.max_streams)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        loop {
            tokio::select! {
                _ = connection.as_mut() => break,
                () = vanish.notified() => break,
                () = goodbye.notified() => connection.as_mut().graceful_shutdown(),
            }
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn post(body: &str) -> Request<Full<Bytes>> {
    Request::post("/hook?a=1")
        .header("host", "app:8443")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}

async fn exchange(client: &HttpClient, body: &str) -> Result<(u16, ReplyBody), NoAnswer> {
    let reply = within("an answer", client.request(post(body), || Some(post(body)))).await?;
    let status = reply.status.as_u16();
    Ok((status, reply.body(4096, 65_536, Instant::now() + Duration::from_secs(5)).await))
}

/// `count` requests at once.
async fn crowd(client: &HttpClient, count: usize) -> Vec<Result<(u16, ReplyBody), NoAnswer>> {
    futures_util::future::join_all((0..count).map(|_| exchange(client, "x"))).await
}

#[tokio::test]
async fn requests_share_a_connection_and_say_the_host_where_http2_wants_it() {
    let server = Server::new(|_| Act::Answer(207));
    let client = server.client();
    let (status, body) = exchange(&client, "{}").await.unwrap();
    assert_eq!((status, body.bytes.as_ref(), body.end), (207, &b"fine"[..], BodyEnd::Complete));
    assert_eq!(server.seen.lock()[0].1, "POST https://app:8443/hook?a=1 {}");
    assert!(crowd(&client, 50).await.iter().all(Result::is_ok));
    assert_eq!((server.connections(), server.count(), client.idle_connections()), (1, 51, 1));
}

#[tokio::test]
async fn those_who_come_first_wait_for_one_connection_and_no_more_than_it_carries() {
    let server = Server::new(|_| Act::Held);
    let client = server.client();
    let all = async {
        let crowd = crowd(&client, 150);
        let released = async {
            until("all are there", || server.count() == 150).await;
            server.release();
        };
        futures_util::future::join(crowd, released).await.0
    };
    assert!(within("all answers", all).await.iter().all(Result::is_ok));
    assert_eq!((server.connections(), server.busiest.load(Ordering::SeqCst)), (2, 100));
}

#[tokio::test]
async fn a_server_that_allows_few_at_once_gets_few_a_connection() {
    let server =
        Server { max_streams: 3, ..Server::new(|nth| if nth == 0 { Act::Answer(200) } else { Act::Held }) };
    let client = server.client();
    // What it allows is known from its first answer on.
    exchange(&client, "").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let all = async {
        let crowd = crowd(&client, 6);
        let released = async {
            until("all are there", || server.count() == 7).await;
            server.release();
        };
        futures_util::future::join(crowd, released).await.0
    };
    assert!(within("all answers", all).await.iter().all(Result::is_ok));
    assert_eq!((server.connections(), server.busiest.load(Ordering::SeqCst)), (2, 3));
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_followed_by_one_fresh_send() {
    let server = Server::new(|nth| if nth == 1 { Act::Vanish } else { Act::Answer(200) });
    let client = server.client();
    exchange(&client, "first").await.unwrap();
    exchange(&client, "second").await.unwrap();
    let places: Vec<_> = server.seen.lock().iter().map(|(connection, _)| *connection).collect();
    assert_eq!(places, [0, 0, 1]);

    // Not when the fresh one ends too, and not when the first of all does.
    let server = Server::new(|nth| if nth == 0 { Act::Answer(200) } else { Act::Vanish });
    let client = server.client();
    exchange(&client, "").await.unwrap();
    let error = exchange(&client, "").await.unwrap_err();
    assert!(error.connected, "{error:?}");
    assert_eq!((server.count(), server.connections()), (3, 2));
    exchange(&client, "").await.unwrap_err();
    assert_eq!((server.count(), server.connections()), (4, 3));
}

#[tokio::test]
async fn a_request_that_the_server_breaks_off_is_not_sent_again_and_costs_no_other() {
    let server = Server::new(|nth| if nth == 1 { Act::BreakOff } else { Act::Answer(200) });
    let client = server.client();
    exchange(&client, "").await.unwrap();
    let error = exchange(&client, "").await.unwrap_err();
    assert!(error.connected && !error.reason.is_empty(), "{error:?}");
    exchange(&client, "").await.unwrap();
    assert_eq!((server.count(), server.connections()), (3, 1));
}

#[tokio::test]
async fn a_server_that_says_goodbye_loses_no_request() {
    let server = Server::new(|nth| if nth % 10 == 9 { Act::SayGoodbye } else { Act::Answer(200) });
    let client = server.client();
    for n in 0..50 {
        assert_eq!(exchange(&client, &n.to_string()).await.unwrap().0, 200, "{n}");
    }
    assert!((5..=6).contains(&server.connections()), "{}", server.connections());
    assert_eq!(server.count(), 50, "none twice");
}

#[tokio::test]
async fn a_connection_on_which_nobody_answered_in_time_takes_no_more() {
    let server = Server::new(|nth| if nth == 1 { Act::Held } else { Act::Answer(200) });
    let client = server.client();
    exchange(&client, "").await.unwrap();
    let late = tokio::time::timeout(Duration::from_millis(50), exchange(&client, "")).await;
    assert!(late.is_err());
    exchange(&client, "").await.unwrap();
    assert_eq!((server.count(), server.connections()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_after_keepalive_and_old_ones_are_not_used() {
    let server = Server::new(|_| Act::Answer(200));
    let client = server.client();
    exchange(&client, "").await.unwrap();
    tokio::time::sleep(Duration::from_millis(3900)).await;
    assert_eq!((client.idle_connections(), server.ended.load(Ordering::SeqCst)), (1, 0));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((client.idle_connections(), server.ended.load(Ordering::SeqCst)), (0, 1));

    let opened = Instant::now();
    while opened.elapsed() < MAX_CONNECTION_AGE {
        exchange(&client, "").await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(server.connections(), 2);
    exchange(&client, "").await.unwrap();
    assert_eq!(server.connections(), 3, "a connection of five minutes takes no more");
}
