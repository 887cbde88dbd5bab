//! Open connections to one endpoint: HTTP/1.1 ones with one request at a time, HTTP/2 ones with many.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Connections older than this take no further request, so that a change in DNS is followed.
pub const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);
/// Most requests at once on an HTTP/2 connection, where the server does not say fewer: what RFC 9113 §6.5.2 advises
/// servers to allow at least.
pub(super) const MAX_STREAMS: usize = 100;
/// A connection whose answer was just read to its end is ready for the next request within microseconds; one that
/// is not by then is still writing the last request, and another is opened.
const READY_WITHIN: Duration = Duration::from_millis(10);

/// What is kept of connections between requests.
#[derive(Debug)]
pub(super) struct Pool {
    /// How long one may be idle.
    keepalive: Duration,
    /// How many may be; of HTTP/2 ones as many as are needed, or none where this is 0.
    max_idle: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// HTTP/1.1 connections without a request, the one used last at the end; the first to expire is the first.
    idle: Vec<Idle>,
    /// HTTP/2 connections, idle or not.
    shared: Vec<Arc<Shared>>,
    /// Whether a task closes those that expire.
    reaping: bool,
}

#[derive(Debug)]
struct Idle {
    connection: Whole,
    since: Instant,
}

/// A connection, or a place on one, in somebody's hands. Dropped, the connection is closed, or the place is free.
#[derive(Debug)]
pub(super) enum Lease {
    Whole(Whole),
    Stream(Stream),
}

/// An HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) sender: http1::SendRequest<Full<Bytes>>,
    pub(super) bytes_read: Arc<AtomicU64>,
    pub(super) opened: Instant,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Shared {
    sender: http2::SendRequest<Full<Bytes>>,
    opened: Instant,
    streams: AtomicUsize,
    allowance: Arc<Allowance>,
    /// When the last request ended.
    idle_since: Mutex<Instant>,
    /// A request on it was left without an answer: it takes no more, in case nobody is there any longer.
    spent: AtomicBool,
}

/// How many requests at once a server allows, as far as it has said.
#[derive(Debug)]
pub(super) struct Allowance {
    streams: AtomicUsize,
    heard: Notify,
}

impl Allowance {
    /// Waits until the server has said something.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }

    pub(super) fn set(&self, streams: usize) {
        self.streams.store(streams, Ordering::Relaxed);
    }
}

/// A place for one request on an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Arc<Shared>,
    /// Whether the server said something about this request.
    answered: bool,
}

impl Shared {
    pub(super) fn new(sender: http2::SendRequest<Full<Bytes>>) -> Arc<Self> {
        let now = Instant::now();
        let allowance = Allowance { streams: AtomicUsize::new(MAX_STREAMS), heard: Notify::new() };
        Arc::new(Self {
            sender,
            opened: now,
            streams: AtomicUsize::new(0),
            allowance: Arc::new(allowance),
            idle_since: Mutex::new(now),
            spent: AtomicBool::new(false),
        })
    }

    pub(super) fn allowance(&self) -> Arc<Allowance> {
        Arc::clone(&self.allowance)
    }

    /// Takes a place on it, if there is one. Under the pool's lock, so that two do not take the last one.
    fn place(self: &Arc<Self>) -> Option<Stream> {
        let most = self.allowance.streams.load(Ordering::Relaxed).clamp(1, MAX_STREAMS);
        if self.streams.load(Ordering::Acquire) >= most {
            return None;
        }
        self.streams.fetch_add(1, Ordering::AcqRel);
        Some(Stream { connection: Arc::clone(self), answered: false })
    }

    /// Whether it takes further requests.
    fn is_usable(&self, now: Instant) -> bool {
        !self.spent.load(Ordering::Acquire)
            && !self.sender.is_closed()
            && now.duration_since(self.opened) < MAX_CONNECTION_AGE
    }

    fn is_idle(&self) -> bool {
        self.streams.load(Ordering::Acquire) == 0
    }
}

impl Stream {
    /// Sends `request`.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let mut sender = self.connection.sender.clone();
        let sent = sender.send_request(request).await;
        self.answered = sent.is_ok();
        self.connection.allowance.heard.notify_one();
        sent
    }

    /// The server did answer, if only to break this one request off: the connection is not to blame.
    pub(super) fn was_answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.answered {
            self.connection.spent.store(true, Ordering::Release);
        }
        *self.connection.idle_since.lock() = Instant::now();
        self.connection.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pool {
    pub(super) fn new(keepalive: Duration, max_idle: usize) -> Arc<Self> {
        let max_idle = if keepalive.is_zero() { 0 } else { max_idle };
        Arc::new(Self { keepalive, max_idle, kept: Mutex::default() })
    }

    /// Whether anything is kept.
    pub(super) fn keeps(&self) -> bool {
        self.max_idle > 0
    }

    /// A place on an HTTP/2 connection, or the HTTP/1.1 connection used last that can be used again.
    pub(super) async fn take(&self) -> Option<Lease> {
        if let Some(stream) = self.place() {
            return Some(Lease::Stream(stream));
        }
        loop {
            let Idle { mut connection, since } = self.kept.lock().idle.pop()?;
            let now = Instant::now();
            let usable = now.duration_since(since) < self.keepalive
                && now.duration_since(connection.opened) < MAX_CONNECTION_AGE
                && !connection.sender.is_closed();
            if !usable {
                continue;
            }
            if connection.sender.is_ready() {
                return Some(Lease::Whole(connection));
            }
            if let Ok(Ok(())) = tokio::time::timeout(READY_WITHIN, connection.sender.ready()).await {
                return Some(Lease::Whole(connection));
            }
        }
    }

    /// A place on an HTTP/2 connection that takes another request. One that takes none any more is let go: it closes
    /// when its last request has ended.
    pub(super) fn place(&self) -> Option<Stream> {
        let mut kept = self.kept.lock();
        if kept.shared.is_empty() {
            return None;
        }
        let now = Instant::now();
        kept.shared.retain(|connection| connection.is_usable(now));
        kept.shared.iter().find_map(Shared::place)
    }

    /// Keeps a new HTTP/2 connection, where any are kept, and takes the first place on it.
    pub(super) fn share(self: &Arc<Self>, connection: Arc<Shared>) -> Option<Stream> {
        let mut kept = self.kept.lock();
        let stream = connection.place();
        if self.keeps() {
            kept.shared.push(connection);
            self.see_to_reaping(&mut kept);
        }
        stream
    }

    /// Puts an HTTP/1.1 connection back whose answer was read to its end.
    pub(super) fn give_back(self: &Arc<Self>, connection: Whole) {
        let now = Instant::now();
        let young = now.duration_since(connection.opened) < MAX_CONNECTION_AGE;
        if connection.sender.is_closed() || !young {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.idle.len() < self.max_idle {
            kept.idle.push(Idle { connection, since: now });
            self.see_to_reaping(&mut kept);
        }
    }

    fn see_to_reaping(self: &Arc<Self>, kept: &mut Kept) {
        if !std::mem::replace(&mut kept.reaping, true) {
            tokio::spawn(reap(Arc::downgrade(self)));
        }
    }

    /// How many connections are idle.
    pub(super) fn idle(&self) -> usize {
        let kept = self.kept.lock();
        kept.idle.len() + kept.shared.iter().filter(|connection| connection.is_idle()).count()
    }

    /// Lets go of what was idle for too long; when to look again, `None` where nothing is left.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut kept = self.kept.lock();
        let keepalive = self.keepalive;
        kept.idle.retain(|idle| now.duration_since(idle.since) < keepalive);
        let expires = |connection: &Arc<Shared>| {
            let since = if connection.is_idle() { *connection.idle_since.lock() } else { now };
            since + keepalive
        };
        kept.shared.retain(|connection| connection.is_usable(now) && expires(connection) > now);
        let first = kept.idle.first().map(|idle| idle.since + keepalive);
        let next = kept.shared.iter().map(expires).chain(first).min();
        kept.reaping = next.is_some();
        next
    }
}

/// Closes connections that nobody used for `keepalive`; ends when none is left.
async fn reap(pool: Weak<Pool>) {
    loop {
        let Some(next) = pool.upgrade().and_then(|pool| pool.expire(Instant::now())) else { return };
        tokio::time::sleep_until(next).await;
    }
}
