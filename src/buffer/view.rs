//! What the operator sees of the buffer: events, filters over them, figures. The same for every form.

use std::sync::Arc;

use bytes::Bytes;

use super::handoff::DeadReason;
use crate::clock::Millis;
use crate::event::{Attempt, Event, EventId};

/// How many attempts are remembered of an event at one destination: the newest.
pub const MAX_ATTEMPTS_KEPT: usize = 32;
/// How much is remembered of the last answer's body, in bytes.
pub const MAX_EXCERPT: usize = 4096;

/// What became of an event, for the admin API.
#[derive(Clone, Debug)]
pub struct EventView {
    /// The event.
    pub event: Arc<Event>,
    /// Its state at each of its destinations.
    pub destinations: Vec<DestinationView>,
}

/// An event at one destination.
#[derive(Clone, Debug)]
pub struct DestinationView {
    /// The destination's name.
    pub name: Arc<str>,
    /// Where it stands.
    pub status: Status,
    /// Every attempt so far, oldest first (at most [`MAX_ATTEMPTS_KEPT`] are remembered, the newest).
    pub attempts: Vec<Attempt>,
    /// When the next one is due, if one waits.
    pub due: Option<Millis>,
    /// The start of the last answer's body, at most [`MAX_EXCERPT`] bytes. All excerpts together are bounded, by a
    /// sixteenth of `buffer.max_bytes` in the memory form; where that is used up, an excerpt is empty.
    pub excerpt: Bytes,
}

/// Where an event stands at one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not there yet.
    Pending,
    /// 2xx.
    Delivered,
    /// In the dead letters.
    Dead(DeadReason),
}

impl Status {
    /// The word of [`EventFilter::status`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead(_) => "dead",
        }
    }
}

/// Which events; an empty filter means all.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Of this route.
    pub route: Option<String>,
    /// For this destination.
    pub destination: Option<String>,
    /// The names that it had: what stands under one of them passes, too.
    pub formerly: Vec<Arc<str>>,
    /// `"pending"`, `"delivered"` or `"dead"` at some destination (the filtered one, if given).
    pub status: Option<&'static str>,
    /// Of this type; a `*` at the end stands for any rest.
    pub event_type: Option<String>,
    /// hooklatch's id or the provider's.
    pub id: Option<String>,
    /// Received at this moment or later.
    pub since: Option<Millis>,
    /// Received before this moment.
    pub until: Option<Millis>,
}

impl EventFilter {
    /// hooklatch's own id, where [`Self::id`] is one: the event is found without a search.
    #[must_use]
    pub fn own_id(&self) -> Option<EventId> {
        self.id.as_deref()?.parse().ok()
    }

    /// Whether the event itself passes, whatever became of it.
    #[must_use]
    pub fn wants_event(&self, event: &Event) -> bool {
        self.route.as_deref().is_none_or(|route| *event.route == *route)
            && self.since.is_none_or(|since| event.received_at >= since)
            && self.until.is_none_or(|until| event.received_at < until)
            && self.event_type.as_deref().is_none_or(|wanted| is_of_type(event, wanted))
            && self.id.as_deref().is_none_or(|id| self.is_named(event, id))
    }

    fn is_named(&self, event: &Event, id: &str) -> bool {
        event.event_id.as_deref() == Some(id) || self.own_id() == Some(event.id)
    }

    /// The destination that it names, and the names that it had; nothing where it means all destinations.
    pub fn destinations(&self) -> impl Iterator<Item = &str> {
        self.destination.iter().flat_map(|name| {
            std::iter::once(name.as_str()).chain(self.formerly.iter().map(|former| &**former))
        })
    }

    /// Whether what stands at this destination passes.
    #[must_use]
    pub fn wants_destination(&self, name: &str) -> bool {
        self.destination.is_none() || self.destinations().any(|wanted| wanted == name)
    }

    /// Whether this state at this destination passes.
    #[must_use]
    pub fn wants_place(&self, destination: &str, status: Status) -> bool {
        self.wants_destination(destination) && self.status.is_none_or(|wanted| wanted == status.as_str())
    }
}

fn is_of_type(event: &Event, wanted: &str) -> bool {
    let Some(is) = event.event_type.as_deref() else { return false };
    match wanted.strip_suffix('*') {
        Some(start) => is.starts_with(start),
        None => is == wanted,
    }
}

/// How full the buffer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BufferStats {
    /// Events that count against the bounds: pending or dead somewhere, each once.
    pub events: u64,
    /// Their bytes (`Event::weight`).
    pub bytes: u64,
    /// Of these, those that are dead somewhere.
    pub dead_events: u64,
    /// Their bytes.
    pub dead_bytes: u64,
    /// The bound of `events`.
    pub max_events: u64,
    /// The bound of `bytes`.
    pub max_bytes: u64,
    /// Lately delivered events that can still be read and replayed; they do not count against the bounds.
    pub history_events: u64,
    /// Their bytes.
    pub history_bytes: u64,
    /// The dead letters take 80 % of their own bound, where they have one, or more.
    pub dead_nearly_full: bool,
    /// How the disk is, where events are kept on one.
    pub disk: Option<DiskStats>,
    /// Each destination's share.
    pub destinations: Vec<LaneStats>,
}

/// How the disk below the buffer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskStats {
    /// In a word.
    pub state: DiskState,
    /// What went wrong last, in words; nothing once something was written since.
    pub error: Option<String>,
    /// What the disk refused since the start.
    pub failures: u64,
    /// Damaged records met since the start.
    pub damaged: u64,
    /// What segments and spares take of it.
    pub bytes: u64,
}

/// Whether the disk takes what it is to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskState {
    /// It does.
    Ok,
    /// The buffer is as large as it may be, and no event is taken before some are delivered.
    Full,
    /// It refused something since the last commit that it took.
    Failing,
}

impl DiskState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Full => "full",
            Self::Failing => "failing",
        }
    }
}

/// One destination's share of the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStats {
    /// Its name.
    pub destination: Arc<str>,
    /// Whether the configuration still names it.
    pub configured: bool,
    /// Pending events: fresh, deferred and in flight.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Dead letters.
    pub dead: u64,
    /// Of the pending events, those that wait for their next attempt.
    pub waiting: u64,
    /// When the event came that has been pending here for longest.
    pub oldest: Option<Millis>,
}
