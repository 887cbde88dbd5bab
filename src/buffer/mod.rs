//! Where an event stands between its 2xx and the app's.
//!
//! The front door [keeps](Buffer::keep) an event for its destinations, or [passes](Buffer::pass) it on without
//! keeping it; each destination's delivery task takes from its [`Lane`] and says what became of it. Between them
//! nothing but ids: which form the buffer has (in memory now) is nobody's business outside this room.

mod disk;
mod handoff;
mod memory;
mod quota;
mod settings;
mod view;

pub use handoff::{DeadReason, Delivery, Express, KeepError, MaxPending, Settled};
pub use memory::{MemoryBuffer, MemoryLane};
pub use settings::{BufferOptions, BufferSettings, Store};
pub use view::{
    BufferStats, DestinationView, EventFilter, EventView, LaneStats, MAX_ATTEMPTS_KEPT, MAX_EXCERPT, Status,
};

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::clock::{Clock, Millis};
use crate::event::{Ack, Attempt, Claim, Event, EventId, Outcome};

/// The buffer, in the form the user chose.
#[derive(Clone, Debug)]
pub enum Buffer {
    /// In memory.
    Memory(Arc<MemoryBuffer>),
}

impl Buffer {
    /// The memory form.
    #[must_use]
    pub fn memory(settings: &BufferSettings, clock: Clock) -> Self {
        Self::Memory(MemoryBuffer::new(settings, clock))
    }

    /// The lane of `destination`, made where there is none. Lanes live as long as the buffer.
    #[must_use]
    pub fn lane(&self, destination: &str) -> Lane {
        match self {
            Self::Memory(buffer) => Lane::Memory(buffer.lane(destination)),
        }
    }

    /// Which destinations exist now: what is reserved is shared among them. Others keep what they hold.
    pub fn set_destinations(&self, destinations: &[(Arc<str>, MaxPending)]) {
        match self {
            Self::Memory(buffer) => buffer.set_destinations(destinations),
        }
    }

    /// Keeps `event` for every lane of `to`, or for none; gives it its id; confirms `claim` before it returns.
    ///
    /// With [`Ack::Durable`] it returns when the event is on stable storage, with [`Ack::Memory`] when it is in
    /// memory. Dropping the future leaves "kept and confirmed" or "neither".
    ///
    /// # Errors
    /// No room, a disk that fails, or stopping: nothing was kept and the claim is released.
    pub async fn keep(
        &self,
        event: Event,
        to: &[Lane],
        claim: Option<Claim>,
        _ack: Ack,
    ) -> Result<EventId, KeepError> {
        match self {
            Self::Memory(buffer) => buffer.keep(event, to.iter().map(Lane::in_memory), claim),
        }
    }

    /// Hands `event` to every lane of `to` ahead of its backlog, without keeping it (`ack = "delivered"`): a
    /// receiver for each lane, in order. The caller holds the claim. A receiver that is dropped (the sender hung
    /// up) takes the event out of the lane, if its attempt has not begun; a receiver that errs will hear nothing.
    ///
    /// # Errors
    /// Stopping, or too many such events wait already: nothing was handed on.
    pub fn pass(
        &self,
        event: Event,
        to: &[Lane],
    ) -> Result<(EventId, Vec<oneshot::Receiver<Outcome>>), KeepError> {
        match self {
            Self::Memory(buffer) => buffer.pass(event, to.iter().map(Lane::in_memory)),
        }
    }

    /// Puts the event back into the lanes where it is dead, with a fresh budget of attempts; `false` where it is
    /// dead nowhere, or the buffer is closed. This is a provider's "Resend" and the operator's replay of a dead letter.
    pub fn requeue_dead(&self, id: EventId) -> bool {
        match self {
            Self::Memory(buffer) => buffer.requeue_dead(id, None),
        }
    }

    /// As [`Buffer::requeue_dead`], in the lane of `destination` alone.
    pub fn requeue_dead_at(&self, id: EventId, destination: &str) -> bool {
        match self {
            Self::Memory(buffer) => buffer.requeue_dead(id, Some(destination)),
        }
    }

    /// One event, pending, dead or lately delivered.
    #[must_use]
    pub fn find(&self, id: EventId) -> Option<EventView> {
        match self {
            Self::Memory(buffer) => buffer.find(id),
        }
    }

    /// Events that pass `filter`, newest first, older than `cursor`; at most `limit`, and at most 1,000. With them
    /// the next cursor, if there may be more. One call looks at a bounded number of events: a page may hold fewer
    /// than `limit`, or none, and still have a cursor.
    #[must_use]
    pub fn list(
        &self,
        filter: &EventFilter,
        cursor: Option<EventId>,
        limit: usize,
    ) -> (Vec<EventView>, Option<EventId>) {
        match self {
            Self::Memory(buffer) => buffer.list(filter, cursor, limit),
        }
    }

    /// Sends the event again to every destination where it is dead or delivered (the operator's replay), with a
    /// fresh budget of attempts. How many destinations that are; `None` where the event is unknown.
    ///
    /// # Errors
    /// No room (a delivered event counts again), or stopping: nothing changed.
    pub fn replay(&self, id: EventId) -> Result<Option<usize>, KeepError> {
        match self {
            Self::Memory(buffer) => buffer.replay(id),
        }
    }

    /// Forgets the dead letters that pass `filter`; how many.
    pub fn drop_dead(&self, filter: &EventFilter) -> usize {
        match self {
            Self::Memory(buffer) => buffer.drop_dead(filter),
        }
    }

    /// How full it is.
    #[must_use]
    pub fn stats(&self) -> BufferStats {
        match self {
            Self::Memory(buffer) => buffer.stats(),
        }
    }

    /// Refuses new events from now on ([`KeepError::ShuttingDown`]); what is kept goes on being delivered.
    pub fn close(&self) {
        match self {
            Self::Memory(buffer) => buffer.close(),
        }
    }

    /// Returns when nothing is left that could be delivered: nothing pending for a configured destination, and no
    /// passed event without an outcome. What is pending for a destination that is not configured any more is not
    /// waited for. Waits as long as the last retry does; the caller brings the deadline.
    pub async fn drained(&self) {
        match self {
            Self::Memory(buffer) => buffer.drained().await,
        }
    }
}

/// One destination's queue, as its delivery task sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Lane {
    /// In memory.
    Memory(MemoryLane),
}

impl Lane {
    fn in_memory(&self) -> &MemoryLane {
        match self {
            Self::Memory(lane) => lane,
        }
    }

    /// The destination's name.
    #[must_use]
    pub fn destination(&self) -> &Arc<str> {
        match self {
            Self::Memory(lane) => lane.destination(),
        }
    }

    /// The next fresh deliveries in order of arrival, express ones first; at most `max`. They are in flight until
    /// [`Lane::settle`] or [`Lane::defer`]; one that is dropped instead is given again after [`Lane::put_back`].
    #[must_use]
    pub fn take(&self, max: usize) -> Vec<Delivery> {
        match self {
            Self::Memory(lane) => lane.take(max),
        }
    }

    /// The next deferred delivery whose time has come by `now`.
    #[must_use]
    pub fn take_due(&self, now: Millis) -> Option<Delivery> {
        match self {
            Self::Memory(lane) => lane.take_due(now),
        }
    }

    /// When the earliest deferred delivery is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        match self {
            Self::Memory(lane) => lane.next_due(),
        }
    }

    /// The delivery of `id` is over; `attempt` was its last, `excerpt` the start of the destination's answer.
    pub fn settle(&self, id: EventId, settled: Settled, attempt: Attempt, excerpt: Bytes) {
        match self {
            Self::Memory(lane) => lane.settle(id, settled, attempt, &excerpt),
        }
    }

    /// The delivery of `id` waits until `due`.
    pub fn defer(&self, id: EventId, attempt: Attempt, due: Millis, excerpt: Bytes) {
        match self {
            Self::Memory(lane) => lane.defer(id, attempt, due, &excerpt),
        }
    }

    /// The delivery of `id` was taken but not attempted: it goes back to the front. That wakes nobody: the lane's
    /// own task knows.
    pub fn put_back(&self, id: EventId) {
        match self {
            Self::Memory(lane) => lane.put_back(id),
        }
    }

    /// Returns when there may be something to take that was not there before. Never misses a wake-up that came
    /// since the last [`Lane::take`]; between two takes it returns once, however much comes.
    pub async fn changed(&self) {
        match self {
            Self::Memory(lane) => lane.changed().await,
        }
    }

    /// Events pending here (fresh, deferred and in flight), and their bytes.
    #[must_use]
    pub fn depth(&self) -> (u64, u64) {
        match self {
            Self::Memory(lane) => lane.depth(),
        }
    }
}
