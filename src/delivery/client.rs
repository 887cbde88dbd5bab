//! The HTTP client of one endpoint: HTTP/1.1 with keep-alive, or HTTP/2 where a TLS server offers it.
//!
//! hyper speaks HTTP, the pool is ours, because only who holds the connection knows the two facts that the rule of
//! [`HttpClient::request`] rests on: that it was used before, and that nothing of an answer came.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::Instant;

use super::connector::{Connection, Connector};
use super::departures::Departure;
use super::pool::{Lease, Pool, Shared, Stream, Whole};

/// Largest head of an answer.
const MAX_ANSWER_HEAD: usize = 64 << 10;
/// Most header lines of an answer.
const MAX_ANSWER_HEADERS: usize = 256;
/// What a server may send ahead on HTTP/2, for one answer and for all of a connection: more than is read of one.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// An HTTP/2 connection with requests on it that is silent for so long is asked whether it is still there, and given up
/// where it does not answer for as long again: many requests hang on it.
const PING_AFTER: Duration = Duration::from_secs(10);

/// A client of one endpoint. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub struct HttpClient(Arc<Home>);

#[derive(Debug)]
struct Home {
    connector: Connector,
    pool: Arc<Pool>,
    /// The server chose HTTP/1.1 the last time: connections are then opened side by side.
    http1: AtomicBool,
    /// Held while a connection is opened that others may share; within, how the last one failed that did.
    opening: tokio::sync::Mutex<Option<(Instant, NoAnswer)>>,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    /// In a sentence.
    pub reason: String,
    /// Whether a connection was there, so that the request may have been read.
    pub connected: bool,
}

/// The head of an answer, with the body still to be read.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    lease: Lease,
    pool: Arc<Pool>,
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
    /// At the bound on what is read; an HTTP/1.1 connection was closed.
    TooLong,
    /// With the connection, before the end.
    Broken,
    /// At the deadline; an HTTP/1.1 connection was closed.
    TimedOut,
}

/// A request that got no answer, and whether it may go out once more.
struct Failed {
    error: NoAnswer,
    /// Nothing came that the server could have meant as an answer to it.
    unanswered: bool,
}

impl HttpClient {
    /// A client that keeps at most `max_idle` unused connections, each for at most `keepalive` (zero: none).
    #[must_use]
    pub fn new(connector: Connector, keepalive: Duration, max_idle: usize) -> Self {
        let pool = Pool::new(keepalive, max_idle);
        let opening = tokio::sync::Mutex::default();
        Self(Arc::new(Home { connector, pool, http1: AtomicBool::new(false), opening }))
    }

    /// Sends `request` and waits for the head of the answer; redirects are not followed.
    ///
    /// A server may close an idle connection at the moment it is used again. So: *a reused connection that closes
    /// before the first byte of an answer means one immediate re-send on a fresh one*, of the request that `again`
    /// builds (`None`: none). Nothing is sent again after a byte of an answer, or when the fresh connection fails. On
    /// HTTP/2 the bytes are those of this request's stream, and a server that refuses it unread (RFC 9113 §8.7) has
    /// said none.
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
        let Some(reused) = self.0.pool.take().await else {
            return self.on(self.open().await?, request, departure).await.map_err(|failed| failed.error);
        };
        let request = match self.on(reused, request, departure).await {
            Ok(reply) => return Ok(reply),
            Err(Failed { error, unanswered: true }) => again().ok_or(error)?,
            Err(Failed { error, unanswered: false }) => return Err(error),
        };
        self.on(self.open().await?, request, departure).await.map_err(|failed| failed.error)
    }

    async fn on(
        &self,
        mut lease: Lease,
        request: Request<Full<Bytes>>,
        departure: &Departure,
    ) -> Result<Reply, Failed> {
        departure.leave().await;
        let answer = match &mut lease {
            Lease::Whole(connection) => on_whole(connection, request).await?,
            Lease::Stream(stream) => on_stream(stream, request).await?,
        };
        let (head, body) = answer.into_parts();
        let pool = Arc::clone(&self.0.pool);
        Ok(Reply { status: head.status, headers: head.headers, body, lease, pool })
    }

    /// A fresh connection, or a place on one that somebody else opened meanwhile. As long as the server may speak
    /// HTTP/2, one connection is opened at a time, for all who wait: they share it, or the failure.
    async fn open(&self) -> Result<Lease, NoAnswer> {
        let home = &self.0;
        let alone = || home.http1.load(Ordering::Acquire);
        if alone() || !home.connector.may_speak_http2() || !home.pool.keeps() {
            return self.connect().await;
        }
        let asked = Instant::now();
        let mut last = home.opening.lock().await;
        if let Some(stream) = home.pool.place() {
            return Ok(Lease::Stream(stream));
        }
        if alone() {
            drop(last);
            return self.connect().await;
        }
        if let Some((at, error)) = &*last
            && *at > asked
        {
            return Err(error.clone());
        }
        let opened = self.connect().await;
        *last = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
        opened
    }

    async fn connect(&self) -> Result<Lease, NoAnswer> {
        let unconnected = |reason| NoAnswer { reason, connected: false };
        let connection = self.0.connector.connect().await.map_err(unconnected)?;
        let http2 = connection.speaks_http2();
        self.0.http1.store(!http2, Ordering::Release);
        let failed = |error: hyper::Error| unconnected(sentence(&error));
        if !http2 {
            return open_http1(connection).await.map(Lease::Whole).map_err(failed);
        }
        let shared = open_http2(connection).await.map_err(failed)?;
        let none = || unconnected("the server allows no request at a time".to_owned());
        self.0.pool.share(shared).map(Lease::Stream).ok_or_else(none)
    }

    /// How many connections are idle.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.0.pool.idle()
    }
}

async fn open_http1(connection: Connection) -> hyper::Result<Whole> {
    let bytes_read = connection.bytes_read();
    let (sender, driver) = http1::Builder::new()
        .title_case_headers(false)
        .preserve_header_case(false)
        .max_headers(MAX_ANSWER_HEADERS)
        .max_buf_size(MAX_ANSWER_HEAD)
        .handshake(TokioIo::new(connection))
        .await?;
    // One task a connection, not one a request. Its error is also the error of the request on it.
    tokio::spawn(async move { drop(driver.await) });
    Ok(Whole { sender, bytes_read, opened: Instant::now() })
}

async fn open_http2(connection: Connection) -> hyper::Result<Arc<Shared>> {
    let (sender, mut driver) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_ANSWER_HEAD as u32)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_AFTER)
        .handshake(TokioIo::new(connection))
        .await?;
    let shared = Shared::new(sender);
    let allowance = shared.allowance();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = &mut driver => return,
                // The driver alone knows what the server allows, and is asked when the server has said something.
                () = allowance.heard() => allowance.set(driver.current_max_send_streams()),
            }
        }
    });
    Ok(shared)
}

async fn on_whole(
    connection: &mut Whole,
    request: Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, Failed> {
    let before = connection.bytes_read.load(Ordering::Acquire);
    connection.sender.try_send_request(request).await.map_err(|error| {
        let came = connection.bytes_read.load(Ordering::Acquire).saturating_sub(before);
        Failed { error: broke(&error.into_error()), unanswered: came == 0 }
    })
}

async fn on_stream(
    stream: &mut Stream,
    request: Request<Full<Bytes>>,
) -> Result<http::Response<Incoming>, Failed> {
    let request = match for_http2(request) {
        Ok(request) => request,
        Err(error) => {
            stream.was_answered();
            return Err(Failed { error, unanswered: false });
        }
    };
    stream.send(request).await.map_err(|error| {
        let answered = is_broken_off(&error);
        if answered {
            stream.was_answered();
        }
        Failed { error: broke(&error), unanswered: !answered }
    })
}

/// On HTTP/2 scheme and host are said beside the path (RFC 9113 §8.3.1), and not in a header.
fn for_http2(mut request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>, NoAnswer> {
    let host = request.headers_mut().remove(HOST);
    let authority = host.as_ref().and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTPS);
    parts.authority = authority;
    let uri = Uri::from_parts(parts).map_err(|_| NoAnswer {
        reason: "the Host of the request cannot be said on HTTP/2; write host = \"destination\"".to_owned(),
        connected: false,
    })?;
    *request.uri_mut() = uri;
    Ok(request)
}

/// Whether the server broke this one request off itself, having read of it: that is an answer of a kind.
fn is_broken_off(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<h2::Error>() {
            return error.is_reset()
                && error.is_remote()
                && error.reason() != Some(h2::Reason::REFUSED_STREAM);
        }
        source = cause.source();
    }
    false
}

impl Reply {
    /// Reads the body until `deadline`: keeps its first `keep` bytes and throws the rest away, so that the
    /// connection can be used again. A body of more than `most` bytes is cut off; that costs an HTTP/1.1 connection.
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
        match self.lease {
            Lease::Whole(connection) if self.status != StatusCode::SWITCHING_PROTOCOLS => {
                self.pool.give_back(connection);
            }
            // A place on a shared connection is free as soon as it is dropped.
            Lease::Whole(_) | Lease::Stream(_) => {}
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

/// The connection was there and broke.
fn broke(error: &hyper::Error) -> NoAnswer {
    NoAnswer { reason: sentence(error), connected: true }
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
