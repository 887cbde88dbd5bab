//! The HTTP client: keep-alive connections to one destination, each with one request at a time.
//!
//! hyper speaks HTTP, the pool is ours, because only who holds the connection knows the two facts that the rule of
//! [`HttpClient::request`] rests on: that it was used before, and that not one byte of an answer came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::connector::Connector;
use super::departures::Departure;

/// Connections older than this are not used again, so that a change in DNS is followed.
pub const MAX_CONNECTION_AGE: Duration = Duration::from_secs(300);
/// Largest head of an answer.
const MAX_ANSWER_HEAD: usize = 64 << 10;
/// Most header lines of an answer.
const MAX_ANSWER_HEADERS: usize = 256;
/// A connection whose answer was just read to its end is ready for the next request within microseconds; one that
/// is not by then is still writing the last request, and another is opened.
const READY_WITHIN: Duration = Duration::from_millis(10);

/// A client of one destination. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connector: Connector,
    keepalive: Duration,
    max_idle: usize,
    pool: Mutex<Pool>,
}

/// Idle connections, the one used last at the end; the first to expire is the first.
#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Idle>,
    /// Whether a task closes those that expire.
    reaping: bool,
}

#[derive(Debug)]
struct Idle {
    lease: Lease,
    since: Instant,
}

/// A connection in somebody's hands; dropped, it is closed.
#[derive(Debug)]
struct Lease {
    sender: http1::SendRequest<Full<Bytes>>,
    bytes_read: Arc<AtomicU64>,
    opened: Instant,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer(pub String);

/// The head of an answer, with the body still to be read.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    lease: Lease,
    home: Arc<Shared>,
}

/// The body of an answer, or its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyBody {
    /// At most as many bytes as were asked for.
    pub bytes: Bytes,
    /// How the reading ended.
    pub end: BodyEnd,
}

/// How the reading of a body ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyEnd {
    /// At its end.
    #[default]
    Complete,
    /// At the bound on what is read; the connection was closed.
    TooLong,
    /// With the connection, before the end.
    Broken,
    /// At the deadline; the connection was closed.
    TimedOut,
}

impl HttpClient {
    /// A client that keeps at most `max_idle` unused connections, each for at most `keepalive` (zero: none).
    #[must_use]
    pub fn new(connector: Connector, keepalive: Duration, max_idle: usize) -> Self {
        let max_idle = if keepalive.is_zero() { 0 } else { max_idle };
        Self(Arc::new(Shared { connector, keepalive, max_idle, pool: Mutex::default() }))
    }

    /// Sends `request` and waits for the head of the answer; redirects are not followed.
    ///
    /// A server may close an idle connection at the moment it is used again. So: *a reused connection that closes
    /// before the first byte of an answer means one immediate re-send on a fresh one*, of the request that `again`
    /// builds (`None`: none). Nothing is sent again after a byte of an answer, or when the fresh connection fails.
    ///
    /// # Errors
    /// No connection, or it broke before an answer.
    pub async fn request(
        &self,
        request: Request<Full<Bytes>>,
        again: impl FnOnce() -> Option<Request<Full<Bytes>>>,
    ) -> Result<Reply, NoAnswer> {
        self.depart(request, again, &Departure::free()).await
    }

    /// As [`HttpClient::request`]; each write of the request waits for its `departure`.
    pub(super) async fn depart(
        &self,
        request: Request<Full<Bytes>>,
        again: impl FnOnce() -> Option<Request<Full<Bytes>>>,
        departure: &Departure,
    ) -> Result<Reply, NoAnswer> {
        let Some(reused) = self.reuse().await else {
            return self.on(self.open().await?, request, departure).await.map_err(|(error, _)| error);
        };
        let request = match self.on(reused, request, departure).await {
            Ok(reply) => return Ok(reply),
            Err((error, 0)) => again().ok_or(error)?,
            Err((error, _)) => return Err(error),
        };
        self.on(self.open().await?, request, departure).await.map_err(|(error, _)| error)
    }

    /// Sends `request` on `lease`; a failure tells how many bytes came all the same.
    async fn on(
        &self,
        mut lease: Lease,
        request: Request<Full<Bytes>>,
        departure: &Departure,
    ) -> Result<Reply, (NoAnswer, u64)> {
        departure.leave().await;
        let before = lease.bytes_read.load(Ordering::Acquire);
        match lease.sender.try_send_request(request).await {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let home = self.0.clone();
                Ok(Reply { status: head.status, headers: head.headers, body, lease, home })
            }
            Err(error) => {
                let came = lease.bytes_read.load(Ordering::Acquire).saturating_sub(before);
                Err((NoAnswer(sentence(&error.into_error())), came))
            }
        }
    }

    /// The connection used last that can be used again.
    async fn reuse(&self) -> Option<Lease> {
        loop {
            let mut idle = self.0.pool.lock().idle.pop()?;
            let now = Instant::now();
            let usable = now.duration_since(idle.since) < self.0.keepalive
                && now.duration_since(idle.lease.opened) < MAX_CONNECTION_AGE
                && !idle.lease.sender.is_closed();
            if !usable {
                continue;
            }
            if idle.lease.sender.is_ready() {
                return Some(idle.lease);
            }
            if let Ok(Ok(())) = tokio::time::timeout(READY_WITHIN, idle.lease.sender.ready()).await {
                return Some(idle.lease);
            }
        }
    }

    async fn open(&self) -> Result<Lease, NoAnswer> {
        let connection = self.0.connector.connect().await.map_err(NoAnswer)?;
        let bytes_read = connection.bytes_read();
        let (sender, driver) = http1::Builder::new()
            .title_case_headers(false)
            .preserve_header_case(false)
            .max_headers(MAX_ANSWER_HEADERS)
            .max_buf_size(MAX_ANSWER_HEAD)
            .handshake(TokioIo::new(connection))
            .await
            .map_err(|error| NoAnswer(sentence(&error)))?;
        // One task a connection, not one a request. Its error is also the error of the request on it.
        tokio::spawn(async move { drop(driver.await) });
        Ok(Lease { sender, bytes_read, opened: Instant::now() })
    }

    /// How many connections are idle.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.0.pool.lock().idle.len()
    }
}

impl Reply {
    /// Reads the body until `deadline`: keeps its first `keep` bytes and throws the rest away, so that the
    /// connection can be used again. A body of more than `most` bytes is cut off and the connection closed.
    pub async fn body(mut self, keep: usize, most: usize, deadline: Instant) -> ReplyBody {
        if self.body.is_end_stream() {
            self.give_back();
            return ReplyBody::default();
        }
        let mut kept = Vec::new();
        let reading = read_body(&mut self.body, &mut kept, keep, most);
        let end = tokio::time::timeout_at(deadline, reading).await.unwrap_or(BodyEnd::TimedOut);
        if end == BodyEnd::Complete {
            self.give_back();
        }
        // Copied and cut to size: what is kept for days must not hold on to hyper's whole read buffer.
        ReplyBody { bytes: kept.into_boxed_slice().into(), end }
    }

    /// Puts the connection back. A `101` ends HTTP on it, whatever comes then.
    fn give_back(self) {
        let Self { status, lease, home, .. } = self;
        let now = Instant::now();
        let young = now.duration_since(lease.opened) < MAX_CONNECTION_AGE;
        if status == StatusCode::SWITCHING_PROTOCOLS || lease.sender.is_closed() || !young {
            return;
        }
        let mut pool = home.pool.lock();
        if pool.idle.len() >= home.max_idle {
            return;
        }
        pool.idle.push(Idle { lease, since: now });
        if !pool.reaping {
            pool.reaping = true;
            let home = Arc::downgrade(&home);
            drop(pool);
            tokio::spawn(reap(home));
        }
    }
}

async fn read_body(body: &mut Incoming, kept: &mut Vec<u8>, keep: usize, most: usize) -> BodyEnd {
    let mut read = 0usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return BodyEnd::Broken };
        // Trailers say nothing that is needed.
        let Ok(data) = frame.into_data() else { continue };
        let room = keep.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(data.get(..room).unwrap_or_default());
        read = read.saturating_add(data.len());
        if read > most {
            return BodyEnd::TooLong;
        }
    }
    BodyEnd::Complete
}

/// Closes connections that nobody used for `keepalive`; ends when none is left.
async fn reap(home: std::sync::Weak<Shared>) {
    loop {
        let next = {
            let Some(home) = home.upgrade() else { return };
            let mut pool = home.pool.lock();
            let now = Instant::now();
            let keepalive = home.keepalive;
            pool.idle.retain(|idle| now.duration_since(idle.since) < keepalive);
            match pool.idle.first() {
                Some(oldest) => oldest.since + keepalive,
                None => {
                    pool.reaping = false;
                    return;
                }
            }
        };
        tokio::time::sleep_until(next).await;
    }
}

/// An error and what it came from, in one line.
fn sentence(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
