//! A door in front of doubles: a front that writes down what it is asked, an app that does what the path says, and
//! clients that speak raw bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::headers::Headers;
use crate::ingress::{
    At, Bound, Door, Fault, Front, Head, ListenAddress, Listener, Passage, Passed, Peer, Plan, ProxySettings,
    Reply, ServerOptions, ServerSettings, Upstream, UpstreamTls,
};
use crate::net::{Failover, Resolver};

pub(super) const MAX_BODY: u64 = 100_000;

/// No wait of a test is longer.
pub(super) async fn soon<W: Future>(work: W) -> W::Output {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("it should have happened by now")
}

/// Waits until `condition` holds.
pub(super) async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) answered: Vec<(String, Bytes)>,
    pub(super) faults: Vec<Fault>,
    pub(super) passed: Vec<Passed>,
    pub(super) limits: Vec<&'static str>,
}

/// The upper half: `/hook…` is a webhook, `/app…` streams through, `/unix…` too, the rest is refused.
pub(super) struct Double {
    pub(super) seen: Mutex<Seen>,
    pub(super) open: AtomicI64,
    /// Requests for `/hook/wait` that are in the corridor.
    pub(super) waiting: AtomicI64,
    pub(super) go: Notify,
    proxy: Arc<ProxySettings>,
    pub(super) failover: Arc<Failover>,
}

impl Double {
    fn reply(status: u16, word: &str) -> Reply {
        Reply {
            status,
            headers: Headers::from_pairs([("content-type", "application/json")]),
            body: format!("{{\"error\":\"{word}\"}}").into(),
            close: false,
        }
    }
}

impl Front for Double {
    type Ticket = String;

    fn plan(&self, head: &Head, _: Peer) -> Plan<String> {
        let ticket = head.path().to_owned();
        if ticket.starts_with("/hook") {
            Plan::Webhook { max_body: MAX_BODY, ticket }
        } else if ticket.starts_with("/app") {
            Plan::Proxy(Passage {
                settings: Arc::clone(&self.proxy),
                failover: Arc::clone(&self.failover),
                forwarded_for: Some("192.0.2.7".to_owned()),
                forwarded_proto: "http",
                ticket,
            })
        } else {
            Plan::Refuse(Self::reply(404, "unknown_route"))
        }
    }

    async fn answer(&self, ticket: String, head: Box<Head>, body: Bytes) -> Reply {
        if ticket == "/hook/wait" {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.go.notified().await;
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        let text = format!("{} {}", head.method(), body.len());
        self.seen.lock().answered.push((head.target().to_owned(), body));
        Reply { status: 200, body: text.into(), ..Reply::default() }
    }

    fn refuse(&self, fault: Fault, _: At<'_, String>) -> Reply {
        self.seen.lock().faults.push(fault);
        let (status, word) = match fault {
            Fault::Malformed(_) => (400, "malformed_request"),
            Fault::SlowHead | Fault::SlowBody => (408, "request_timeout"),
            Fault::BodyTooLarge(_) => (413, "payload_too_large"),
            Fault::UriTooLong(_) => (414, "uri_too_long"),
            Fault::HeadTooLarge(_) | Fault::TooManyHeaders(_) => (431, "headers_too_large"),
            Fault::NoMemory => (503, "buffer_full"),
            Fault::Upstream(_) => (502, "upstream_error"),
            Fault::UpstreamTimeout => (504, "upstream_timeout"),
        };
        Self::reply(status, word)
    }

    fn passed(&self, _: &String, _: &Head, passed: Passed) {
        self.seen.lock().passed.push(passed);
    }

    fn connections(&self, change: i64) {
        self.open.fetch_add(change, Ordering::SeqCst);
    }

    fn limit_hit(&self, limit: &'static str) {
        self.seen.lock().limits.push(limit);
    }
}

/// A door, what is behind it, and how to stop it.
pub(super) struct Bed {
    pub(super) front: Arc<Double>,
    pub(super) door: Door<Double>,
    pub(super) address: SocketAddr,
    pub(super) stop: watch::Sender<bool>,
    pub(super) running: JoinHandle<std::io::Result<usize>>,
}

pub(super) fn upstream(address: SocketAddr) -> Upstream {
    Upstream::Tcp { host: address.ip().to_string(), port: address.port(), tls: false }
}

pub(super) fn proxy_to(upstream: Upstream) -> ProxySettings {
    ProxySettings {
        upstreams: vec![upstream],
        destination: None,
        tls: UpstreamTls::default(),
        keep_host: true,
        connect_timeout: Duration::from_secs(2),
        idle_timeout: Duration::from_secs(5),
        keepalive: Duration::from_secs(4),
        max_body: None,
    }
}

/// A door for webhooks only.
pub(super) fn door() -> Bed {
    door_with(|_| {}, proxy_to(upstream(SocketAddr::from(([127, 0, 0, 1], 9)))))
}

pub(super) fn door_with(change: impl FnOnce(&mut ServerOptions), proxy: ProxySettings) -> Bed {
    let mut options = ServerOptions::default();
    change(&mut options);
    let settings = ServerSettings::new(options).expect("valid");
    let front = Arc::new(Double {
        seen: Mutex::default(),
        open: AtomicI64::new(0),
        waiting: AtomicI64::new(0),
        go: Notify::new(),
        failover: Arc::new(Failover::new(proxy.upstreams.len())),
        proxy: Arc::new(proxy),
    });
    let door = Door::new(settings, Arc::clone(&front), Resolver::system(), Clock::system());
    let listener = Listener { address: ListenAddress::Tcp("127.0.0.1:0".to_owned()), mode: None };
    let bound = Bound::bind(&listener).expect("bound");
    let address = bound.local_addr().expect("an address");
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn({
        let door = door.clone();
        async move { door.run(vec![bound], stopped).await }
    });
    Bed { front, door, address, stop, running }
}

/// A door with the app double behind `/app`.
pub(super) async fn with_app() -> (Bed, Arc<App>) {
    with_app_and(|_| {}).await
}

pub(super) async fn with_app_and(change: impl FnOnce(&mut ProxySettings)) -> (Bed, Arc<App>) {
    let app = App::start().await;
    let mut proxy = proxy_to(upstream(app.address));
    change(&mut proxy);
    (door_with(|_| {}, proxy), app)
}

impl Bed {
    pub(super) async fn client(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).await.expect("connected");
        stream.set_nodelay(true).expect("no delay");
        Client { stream, buffer: Vec::new() }
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        self.front.seen.lock().faults.clone()
    }

    pub(super) fn limits(&self) -> Vec<&'static str> {
        self.front.seen.lock().limits.clone()
    }

    pub(super) fn answered(&self) -> Vec<(String, Bytes)> {
        self.front.seen.lock().answered.clone()
    }
}

/// A client that speaks raw bytes.
pub(super) struct Client<S> {
    pub(super) stream: S,
    pub(super) buffer: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(super) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.expect("sent");
    }

    /// Sends and reads the answer.
    pub(super) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await;
        self.answer().await
    }

    async fn more(&mut self) -> bool {
        soon(self.stream.read_buf(&mut self.buffer)).await.is_ok_and(|read| read > 0)
    }

    pub(super) async fn head(&mut self) -> (u16, String) {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let head = String::from_utf8(head).expect("text");
                let status = head.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status");
                return (status, head);
            }
            assert!(self.more().await, "closed within a head: {:?}", self.buffer.escape_ascii().to_string());
        }
    }

    /// Exactly `count` bytes.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await, "closed after {} of {count} bytes", self.buffer.len());
        }
        self.buffer.drain(..count).collect()
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8(line).expect("text").trim_end().to_owned();
            }
            assert!(self.more().await, "closed within a line");
        }
    }

    /// The answer to a request that was not HEAD, 1xx answers skipped.
    pub(super) async fn answer(&mut self) -> Answer {
        let (mut status, mut head) = self.head().await;
        while status < 200 {
            (status, head) = self.head().await;
        }
        let mut answer = Answer { status, head, body: Vec::new() };
        if matches!(status, 204 | 304) {
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().expect("a number");
            answer.body = self.bytes(length).await;
        } else if answer.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line().await, 16).expect("a size");
                answer.body.extend(self.bytes(size).await);
                assert_eq!(self.line().await, "");
                if size == 0 {
                    break;
                }
            }
        } else {
            answer.body = self.rest().await;
        }
        answer
    }

    /// Everything until the other side closes.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Asserts that the other side closes without another byte.
    pub(super) async fn closed(&mut self) {
        assert_eq!(String::from_utf8_lossy(&self.rest().await), "");
    }
}

/// The app behind `/app`: does what the rest of the path says.
pub(super) struct App {
    pub(super) address: SocketAddr,
    pub(super) heads: Mutex<Vec<String>>,
    pub(super) connections: AtomicI64,
    /// Bytes of bodies read.
    pub(super) received: AtomicI64,
    pub(super) go: Notify,
}

impl App {
    pub(super) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let app = Arc::new(Self {
            address: listener.local_addr().expect("an address"),
            heads: Mutex::default(),
            connections: AtomicI64::new(0),
            received: AtomicI64::new(0),
            go: Notify::new(),
        });
        let serving = Arc::clone(&app);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let app = Arc::clone(&serving);
                tokio::spawn(async move { app.serve(stream).await });
            }
        });
        app
    }

    pub(super) fn last_head(&self) -> String {
        self.heads.lock().last().cloned().unwrap_or_default()
    }

    pub(super) async fn serve<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(&self, stream: S) {
        let mut conn = Client { stream, buffer: Vec::new() };
        let mut served = 0;
        loop {
            let Some(head) = next_head(&mut conn).await else { return };
            self.heads.lock().push(head.clone());
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let what = path.trim_start_matches("/app").trim_start_matches('/').to_owned();
            if what == "flaky" && served > 0 {
                return;
            }
            served += 1;
            if !self.act(&what, &head, &mut conn).await {
                return;
            }
        }
    }

    async fn act<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        what: &str,
        head: &str,
        conn: &mut Client<S>,
    ) -> bool {
        let ok = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        match what {
            "close" => return false,
            "hang" => {
                self.go.notified().await;
                return false;
            }
            "garbage" => {
                conn.send("SSH-2.0-OpenSSH\r\n\r\n").await;
                return false;
            }
            "early" => {
                conn.send("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").await;
                let _ = tokio::time::timeout(Duration::from_millis(300), conn.rest()).await;
                return false;
            }
            "ws" => {
                conn.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                )
                .await;
                loop {
                    if conn.buffer.is_empty() && !conn.more().await {
                        return false;
                    }
                    let bytes = std::mem::take(&mut conn.buffer);
                    conn.send(bytes.to_ascii_uppercase()).await;
                }
            }
            "sse" => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                    .await;
                conn.send("9\r\ndata: 1\n\n\r\n").await;
                self.go.notified().await;
                conn.send("9\r\ndata: 2\n\n\r\n0\r\n\r\n").await;
            }
            "until-close" => {
                conn.send("HTTP/1.0 200 OK\r\n\r\nall of it").await;
                return false;
            }
            "dated" => {
                conn.send(
                    "HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: old/1\r\nVia: 1.0 x\r\n\
                     X-oDD: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n\r\n",
                )
                .await;
            }
            "204" => conn.send("HTTP/1.1 204 No Content\r\n\r\n").await,
            "304" => {
                conn.send("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 50\r\n\r\n").await
            }
            "big" => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n").await;
                for _ in 0..50 {
                    conn.send(vec![b'x'; 100_000]).await;
                }
            }
            "big-chunked" => {
                conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                for _ in 0..50 {
                    conn.send("186a0\r\n").await;
                    conn.send(vec![b'x'; 100_000]).await;
                    conn.send("\r\n").await;
                }
                conn.send("0\r\n\r\n").await;
            }
            "continue" => {
                assert!(head.to_ascii_lowercase().contains("expect: 100-continue"));
                conn.send("HTTP/1.1 100 Continue\r\n\r\n").await;
                let body = body_of(head, conn).await;
                conn.send(ok(&format!("got {}", body.len()))).await;
            }
            _ if head.starts_with("HEAD ") => {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").await;
            }
            _ => {
                let body = body_of(head, conn).await;
                self.received.fetch_add(i64::try_from(body.len()).expect("small"), Ordering::SeqCst);
                let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
                conn.send(ok(&format!("{} {sum}", body.len()))).await;
            }
        }
        true
    }
}

async fn next_head<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    conn: &mut Client<S>,
) -> Option<String> {
    loop {
        if let Some(end) = conn.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            return String::from_utf8(conn.buffer.drain(..end + 4).collect()).ok();
        }
        if !conn.stream.read_buf(&mut conn.buffer).await.is_ok_and(|read| read > 0) {
            return None;
        }
    }
}

async fn body_of<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    head: &str,
    conn: &mut Client<S>,
) -> Vec<u8> {
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
    };
    if let Some(length) = header("content-length") {
        return conn.bytes(length.parse().expect("a number")).await;
    }
    let mut body = Vec::new();
    if header("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(&conn.line().await, 16).expect("a size");
            body.extend(conn.bytes(size).await);
            conn.line().await;
            if size == 0 {
                break;
            }
        }
    }
    body
}
