//! The event: what came in, was found real, and goes on to the app. And what travels with it: the [`Claim`] on its
//! id, the [`Attempt`]s to deliver it, their [`Outcome`].

#[cfg(test)]
pub(crate) mod nobody;
mod pattern;
mod turn;

pub use pattern::TypePattern;
pub use turn::{ByClass, OrderKey, Priority, Turn};

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Millis;
use crate::headers::Headers;

/// hooklatch's own id of an event: 48 bits of milliseconds, 64 bits of sequence; sorts by time.
///
/// Written as `hl_` and 23 digits of Crockford's base 32 in lower case, so that texts sort as the numbers do.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

const PREFIX: &str = "hl_";
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ID_DIGITS: usize = 23;

impl EventId {
    /// The id of the event numbered `seq` that came at `at`.
    #[must_use]
    pub fn new(at: Millis, seq: u64) -> Self {
        Self((u128::from(at.0 & 0xffff_ffff_ffff) << 64) | u128::from(seq))
    }

    /// When the event came, to the millisecond.
    #[must_use]
    pub fn at(self) -> Millis {
        Millis((self.0 >> 64) as u64)
    }

    /// The event's number.
    #[must_use]
    pub fn seq(self) -> u64 {
        self.0 as u64
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; ID_DIGITS];
        let mut rest = self.0;
        for digit in text.iter_mut().rev() {
            *digit = DIGITS.get((rest & 31) as usize).copied().unwrap_or(b'0');
            rest >>= 5;
        }
        f.write_str(PREFIX)?;
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an event id; hooklatch's ids look like hl_01j9z0w8k3r5t7v9x2y4b6")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for EventId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotAnId)?;
        if digits.len() != ID_DIGITS {
            return Err(NotAnId);
        }
        let mut id: u128 = 0;
        for byte in digits.bytes() {
            let value = DIGITS.iter().position(|d| *d == byte).ok_or(NotAnId)?;
            id = (id << 5) | value as u128;
        }
        if id >> 112 == 0 { Ok(Self(id)) } else { Err(NotAnId) }
    }
}

/// Gives out event ids: the sequence counts on over the life of the process.
#[derive(Debug)]
pub struct EventIds(AtomicU64);

impl EventIds {
    /// Counts on from `first`.
    #[must_use]
    pub fn starting_at(first: u64) -> Self {
        Self(AtomicU64::new(first))
    }

    /// The id of an event that comes `now`.
    pub fn next(&self, now: Millis) -> EventId {
        EventId::new(now, self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// A kept request: everything the app will need, immutable from here on.
#[derive(Clone, Debug)]
pub struct Event {
    /// hooklatch's own id; given by the buffer when it takes the event in, the default until then.
    pub id: EventId,
    /// The name of the route it came by.
    pub route: Arc<str>,
    /// The name of the provider whose scheme verified it.
    pub provider: Option<Arc<str>>,
    /// The provider's own id of it.
    pub event_id: Option<Box<str>>,
    /// The provider's word for what happened.
    pub event_type: Option<Box<str>>,
    /// When it happened, by the provider's word.
    pub event_time: Option<Millis>,
    /// When its last byte had come.
    pub received_at: Millis,
    /// The request's method, `POST`.
    pub method: Box<str>,
    /// The request's path and query, byte for byte as they came.
    pub target: Box<str>,
    /// The sender's headers, without hop-by-hop ones, `hooklatch-*` and `x-forwarded-*`; `Host` included.
    pub headers: Headers,
    /// The client's address as hooklatch sees it; the value of `x-forwarded-for` toward the app.
    pub forwarded_for: Box<str>,
    /// `http` or `https`, as the sender saw it.
    pub forwarded_proto: Proto,
    /// The body, byte for byte.
    pub body: Bytes,
    /// Its place among others on their way to a destination.
    pub turn: Turn,
}

impl Event {
    /// What the event takes of a bounded buffer, in bytes: its payload and a fixed share for bookkeeping.
    #[must_use]
    pub fn weight(&self) -> u64 {
        const BOOKKEEPING: usize = 512;
        let bytes = self.body.len() + self.headers.as_bytes().len() + self.target.len() + BOOKKEEPING;
        bytes as u64
    }
}

/// The scheme the sender used toward hooklatch or the proxy before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Proto {
    /// `"http"` or `"https"`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// When a sender gets its 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The event is on stable storage. A crash loses nothing.
    Durable,
    /// The event is in the bounded memory buffer. A crash loses what is still in it.
    Memory,
    /// Every destination answered 2xx. The event is not stored; on failure the sender is told.
    Delivered,
}

impl Ack {
    /// The word of the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Memory => "memory",
            Self::Delivered => "delivered",
        }
    }
}

/// How an attempt to deliver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The destination answered with this status.
    Status(u16),
    /// No answer within the destination's `timeout`.
    Timeout,
    /// No connection, or it broke before an answer.
    Connect,
    /// hooklatch itself could not make the attempt (a panic, a body that cannot be sent).
    Internal,
    /// The destination answered a batch with a 207 that does not say what became of this event of it.
    Unsettled,
}

impl fmt::Display for Answer {
    /// `503`, or a word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => fmt::Display::fmt(status, f),
            Self::Timeout => f.write_str("timeout"),
            Self::Connect => f.write_str("connect"),
            Self::Internal => f.write_str("internal"),
            Self::Unsettled => f.write_str("unsettled"),
        }
    }
}

/// One attempt to deliver an event, as it is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// 1, 2, … within the event's present budget; a replay counts from 1 again.
    pub number: u16,
    /// When it began.
    pub at: Millis,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub answer: Answer,
    /// Where it went, of a destination with `regions`.
    pub region: Option<Region>,
}

/// The name of one of a destination's `regions`: 1 to [`Region::MAX_BYTES`] letters of the alphabet, digits, `-` and `_`.
/// Held in place, so that what is remembered of an attempt is plain memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region([u8; Self::MAX_BYTES]);

impl Region {
    /// The longest name: the longest one that a large cloud gives its regions.
    pub const MAX_BYTES: usize = 23;

    /// The region called `name`; `None` for what is no region's name.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let right = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let mut bytes = [0; Self::MAX_BYTES];
        bytes.get_mut(..name.len()).filter(|_| right && !name.is_empty())?.copy_from_slice(name.as_bytes());
        Some(Self(bytes))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX_BYTES);
        self.0.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of an event at one destination.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A 2xx.
    Delivered {
        /// The destination's answer, for `answer = "app"`.
        reply: AppReply,
    },
    /// No 2xx, and none will come without a replay.
    Failed {
        /// The last attempt's end; `None` where none could be made (a paused destination).
        answer: Option<Answer>,
        /// The destination's answer, if it gave one, for `answer = "app"`.
        reply: Option<AppReply>,
    },
}

/// A destination's answer, kept only where somebody waits for it.
#[derive(Clone, Debug)]
pub struct AppReply {
    /// The HTTP status.
    pub status: u16,
    /// Its end-to-end headers.
    pub headers: Headers,
    /// Its body, at most the configured number of bytes.
    pub body: Bytes,
}

/// The 128-bit name under which an event id is remembered: a keyed hash of route and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DedupeKey(pub u128);

/// Whoever remembers ids: confirms or releases a claim. Implemented by the dedupe room.
pub trait ClaimKeeper: Send + Sync + fmt::Debug {
    /// The event is kept: remember `key`, and tell all who wait for it.
    fn confirm(&self, key: DedupeKey, id: EventId, kept_at: Millis);
    /// The event is not kept: forget `key`, and let those who wait know. `served` names destinations that took the
    /// event all the same (`ack = "delivered"` to several of which one failed): they need not see it again.
    fn release(&self, key: DedupeKey, served: Vec<Arc<str>>);
    /// An id read back from a store, unless a newer one stands. Oldest first: so a full table forgets.
    fn restore(&self, key: DedupeKey, id: EventId, kept_at: Millis);
    /// The event behind `key` was lost: its sender's retry is welcome.
    fn forget(&self, key: DedupeKey);
}

/// The right to bring in the event of one id, held from the look-up until the event is kept or is not.
///
/// It travels with the event, not with the request: whoever makes the event durable calls [`Claim::confirm`]
/// before it wakes the request. Dropped without that, the claim is released. So a sender that hangs up half-way
/// leaves "kept and remembered" or "neither".
#[derive(Debug)]
pub struct Claim {
    keeper: Arc<dyn ClaimKeeper>,
    key: DedupeKey,
    already_served: Vec<Arc<str>>,
    open: bool,
}

impl Claim {
    /// A claim on `key` at `keeper`; `already_served` are destinations that took the event on an earlier try.
    pub fn new(keeper: Arc<dyn ClaimKeeper>, key: DedupeKey, already_served: Vec<Arc<str>>) -> Self {
        Self { keeper, key, already_served, open: true }
    }

    /// What is claimed.
    #[must_use]
    pub fn key(&self) -> DedupeKey {
        self.key
    }

    /// Destinations that took this event on an earlier try of the sender and are not sent it again.
    #[must_use]
    pub fn already_served(&self) -> &[Arc<str>] {
        &self.already_served
    }

    /// The event stands, as `id`: remember it.
    pub fn confirm(mut self, id: EventId, kept_at: Millis) {
        self.open = false;
        self.keeper.confirm(self.key, id, kept_at);
    }

    /// The event does not stand, but `served` took it.
    pub fn release_served(mut self, served: Vec<Arc<str>>) {
        self.open = false;
        self.keeper.release(self.key, served);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.open {
            self.keeper.release(self.key, std::mem::take(&mut self.already_served));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_and_sort_by_time() {
        let ids = EventIds::starting_at(7);
        let first = ids.next(Millis(1_768_473_000_123));
        let second = ids.next(Millis(1_768_473_000_123));
        let later = EventId::new(Millis(1_768_473_000_124), 0);
        assert_eq!((first.at(), first.seq()), (Millis(1_768_473_000_123), 7));
        for id in
            [first, second, later, EventId::new(Millis(0), 0), EventId::new(Millis((1 << 48) - 1), u64::MAX)]
        {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!(first < second && second < later);
        assert!(first.to_string() < second.to_string() && second.to_string() < later.to_string());
    }

    #[test]
    fn a_region_is_its_name_and_nothing_else_is_one() {
        for name in ["eu", "us-east-1", "northamerica-northeast1", "A_0"] {
            assert_eq!(Region::new(name).map(|region| region.as_str().to_owned()).as_deref(), Some(name));
        }
        for name in ["", "eu west", "é", "a\0b", "northamerica-northeast12"] {
            assert_eq!(Region::new(name), None, "{name:?}");
        }
    }

    #[test]
    fn other_texts_are_no_ids() {
        let id = EventId::new(Millis(5), 6).to_string();
        for text in [
            "",
            "hl_",
            &id[1..],
            &id[..25],
            &format!("{id}0"),
            &id.to_uppercase(),
            "hl_zzzzzzzzzzzzzzzzzzzzzzz",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(NotAnId), "{text}");
        }
    }
}
