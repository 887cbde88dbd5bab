//! A request's head once its framing is known to be sound: one piece of bytes and where in it everything stands.

use std::ops::Range;

use bytes::Bytes;
use tokio::time::Instant;

use crate::headers::{HOP_BY_HOP, Headers};

/// How long the body is (RFC 9112 §6), already known to be said in one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// `Content-Length`, in bytes; may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// A request's head, checked and owned by one buffer.
#[derive(Clone, Debug)]
pub struct Head {
    pub(super) raw: Bytes,
    pub(super) method: Range<usize>,
    pub(super) target: Range<usize>,
    /// Inside `raw`: the target without scheme and authority; empty stands for `/`.
    pub(super) origin: Range<usize>,
    pub(super) host: Option<Range<usize>>,
    pub(super) headers: Headers,
    pub(super) framing: Framing,
    pub(super) http_10: bool,
    pub(super) keep_alive: bool,
    pub(super) expect_continue: bool,
    pub(super) upgrade: bool,
    pub(super) underscores: bool,
    pub(super) started: Instant,
}

impl Head {
    fn text(&self, range: &Range<usize>) -> &str {
        // Both were checked to be ASCII or UTF-8 when the head was read.
        self.raw.get(range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The bytes as they came, request line, header lines and the blank line.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The method, in the sender's own case (methods are case-sensitive).
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(&self.method)
    }

    /// The request's target exactly as sent: origin form, absolute form or `*`.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(&self.target)
    }

    /// Path and query as sent, without scheme and authority where the target was in absolute form.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        let origin = self.text(&self.origin);
        if origin.is_empty() { "/" } else { origin }
    }

    /// The path as sent, still escaped, without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.path_and_query().split_once('?') {
            Some(("", _)) => "/",
            Some((path, _)) => path,
            None => self.path_and_query(),
        }
    }

    /// What follows the first `?`, as sent; `None` without one.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.path_and_query().split_once('?').map(|(_, query)| query)
    }

    /// `Host` as sent, port included; from the target where that is in absolute form (RFC 9112 §3.2.2).
    /// `None` only on HTTP/1.0.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_ref().map(|range| self.text(range))
    }

    /// Every header line in order, hop-by-hop ones too.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// How long the body is.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the request came as HTTP/1.0.
    #[must_use]
    pub fn is_http_10(&self) -> bool {
        self.http_10
    }

    /// Whether the sender wants to go on with this connection.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the sender waits for `100 Continue` before it sends its body.
    #[must_use]
    pub fn expect_continue(&self) -> bool {
        self.expect_continue
    }

    /// Whether the sender asks for another protocol (`Connection: upgrade` and `Upgrade: …`).
    #[must_use]
    pub fn upgrade(&self) -> bool {
        self.upgrade
    }

    /// Whether a header's name holds a `_` (refused on webhook routes, dropped on the others: many apps cannot tell
    /// it from `-`).
    #[must_use]
    pub fn has_underscored_names(&self) -> bool {
        self.underscores
    }

    /// When the first byte of this head was there.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Whether the header `name` belongs to this connection and not to the message: a standing hop-by-hop header, or
    /// one that a `Connection` line names (RFC 9110 §7.6.1).
    #[must_use]
    pub fn is_hop_by_hop(&self, name: &[u8]) -> bool {
        HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop.as_bytes()))
            || self
                .headers
                .get_all("connection")
                .flat_map(|value| value.split(|byte| *byte == b','))
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
    }
}
