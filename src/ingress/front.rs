//! What the lower half of the front door (bytes) and its upper half (decisions) say to each other.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::head::Head;
use super::settings::{Peer, ProxySettings};
use crate::headers::Headers;
use crate::net::Failover;

/// An answer of ours. Date, length and `connection` are added when it is written.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Header lines, `content-type` among them.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    /// Whether the connection must end with it.
    pub close: bool,
}

/// What becomes of a request, decided once its head is read.
#[derive(Debug)]
pub enum Plan<T> {
    /// Read its body and [`Front::answer`] it.
    Webhook {
        /// Largest body, bytes.
        max_body: u64,
        /// The upper half's own.
        ticket: T,
    },
    /// Stream it through.
    Proxy(Passage<T>),
    /// Answer at once, the body is not wanted.
    Refuse(Reply),
}

/// A request on its way through to an app.
#[derive(Debug)]
pub struct Passage<T> {
    /// Where to and how.
    pub settings: Arc<ProxySettings>,
    /// Which of the upstreams are up.
    pub failover: Arc<Failover>,
    /// The value of `x-forwarded-for`: what a trusted proxy said before, then the client; `None` = the header is
    /// only removed (a peer without an address).
    pub forwarded_for: Option<String>,
    /// The value of `x-forwarded-proto`.
    pub forwarded_proto: &'static str,
    /// The upper half's own.
    pub ticket: T,
}

/// Why the lower half cannot go on with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 400: the framing is broken; a sentence that says how.
    Malformed(&'static str),
    /// 408: the head took longer than `header_timeout`.
    SlowHead,
    /// 408: the body took longer than `body_timeout`.
    SlowBody,
    /// 413: the body is longer than this, in bytes.
    BodyTooLarge(u64),
    /// 414: the target is longer than this, in bytes.
    UriTooLong(usize),
    /// 431: the head is longer than this, in bytes.
    HeadTooLarge(usize),
    /// 431: more header lines than this.
    TooManyHeaders(usize),
    /// 503: `max_inflight_bytes` are being read.
    NoMemory,
    /// 502: no connection to the app, or it broke; a sentence.
    Upstream(&'static str),
    /// 504: the app said nothing in time.
    UpstreamTimeout,
}

/// What is known of a request that met a [`Fault`].
#[derive(Debug)]
pub struct At<'a, T> {
    /// Who sent it.
    pub peer: Peer,
    /// When its first byte was there.
    pub started: Instant,
    /// Its head, once that was sound.
    pub head: Option<&'a Head>,
    /// What [`Front::plan`] gave.
    pub ticket: Option<&'a T>,
}

/// How a request ended that was streamed through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The app's status; 0 where the sender hung up before one came.
    pub status: u16,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// Whether the stream broke after the answer had begun.
    pub broken: bool,
}

/// The upper half: routes, addresses, checks, answers. Called on the accept workers, so nothing here may block.
pub trait Front: Send + Sync + 'static {
    /// What [`Self::plan`] finds out and the later calls need: the route, the client's address, ids.
    type Ticket: Send + Sync + 'static;

    /// Everything that is decided before the body: route, method, address, rate, the names of headers.
    fn plan(&self, head: &Head, peer: Peer) -> Plan<Self::Ticket>;

    /// The corridor: called with the whole body. Dropped half-way only where the process stops.
    fn answer(
        &self,
        ticket: Self::Ticket,
        head: Box<Head>,
        body: Bytes,
    ) -> impl Future<Output = Reply> + Send;

    /// The answer to a request that the lower half cannot go on with; counts and logs it too.
    fn refuse(&self, fault: Fault, at: At<'_, Self::Ticket>) -> Reply;

    /// A request was streamed through.
    fn passed(&self, ticket: &Self::Ticket, head: &Head, passed: Passed);

    /// A connection was accepted (+1) or ended (-1).
    fn connections(&self, change: i64);

    /// A limit was hit; `limit` is the configuration's key.
    fn limit_hit(&self, limit: &'static str);
}
