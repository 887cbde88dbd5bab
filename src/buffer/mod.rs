//! Where an event stands between its 2xx and the app's.
//!
//! The front door [keeps](Buffer::keep) an event for its destinations, or [passes](Buffer::pass) it on without
//! keeping it; each destination's delivery task takes from its [`Lane`] and says what became of it. Between them
//! nothing but ids: which form the buffer has (on disk or in memory) is nobody's business outside this room.

mod disk;
mod express;
mod handoff;
pub mod inspect;
mod keys;
mod memory;
mod queue;
mod quota;
mod seqs;
mod settings;
mod spill;
mod turns;
mod view;

#[doc(hidden)]
pub use disk::fuzz_record;
pub use disk::{DiskBuffer, DiskLane, make_folder};
pub use handoff::{DeadReason, Delivery, Express, KeepError, MaxPending, Settled};
pub use memory::{MemoryBuffer, MemoryLane};
pub use settings::{BufferOptions, BufferSettings, Store};
pub use spill::{SpillReport, TakenSpill};
pub use view::{
    BufferStats, DestinationView, DiskState, DiskStats, EventFilter, EventView, LaneStats, MAX_ATTEMPTS_KEPT,
    MAX_EXCERPT, Status,
};

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::clock::{Clock, Millis};
use crate::event::{
    Ack, Attempt, Claim, ClaimKeeper, DedupeKey, Event, EventId, OrderKey, Outcome, Priority,
};
use crate::observe::Metrics;

/// The buffer, in the form the user chose.
#[derive(Clone, Debug)]
pub enum Buffer {
    /// On disk.
    Disk(Arc<DiskBuffer>),
    /// In memory.
    Memory(Arc<MemoryBuffer>),
}

impl Buffer {
    /// The memory form. Reports to `metrics`.
    #[must_use]
    pub fn memory(settings: &BufferSettings, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self::Memory(MemoryBuffer::new(settings, clock, metrics))
    }

    /// The disk form, in `settings.path`. Recovers what the folder holds, hands the ids of events in it to `ids`, reports
    /// to `metrics`. Blocks for as long as that takes.
    ///
    /// # Errors
    /// A sentence: a folder that cannot be read or written, or one of a newer version.
    pub fn disk(
        settings: &BufferSettings,
        clock: Clock,
        ids: Arc<dyn ClaimKeeper>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        DiskBuffer::open(settings, clock, ids, metrics).map(Self::Disk)
    }

    /// The lane of `destination`, made where there is none. Lanes live as long as the buffer.
    #[must_use]
    pub fn lane(&self, destination: &str) -> Lane {
        match self {
            Self::Disk(buffer) => Lane::Disk(buffer.lane(destination)),
            Self::Memory(buffer) => Lane::Memory(buffer.lane(destination)),
        }
    }

    /// Which destinations exist now: what is reserved is shared among them. Others keep what they hold.
    pub fn set_destinations(&self, destinations: &[(Arc<str>, MaxPending)]) {
        match self {
            Self::Disk(buffer) => buffer.set_destinations(destinations),
            Self::Memory(buffer) => buffer.set_destinations(destinations),
        }
    }

    /// Keeps `event` for every lane of `to`, or for none, but for the optional ones without room; gives it its id;
    /// confirms `claim` before it returns.
    ///
    /// With [`Ack::Durable`] it returns when the event is on stable storage, with [`Ack::Memory`] when it is in
    /// memory. Dropping the future leaves "kept and confirmed" or "neither".
    ///
    /// # Errors
    /// No room, a disk that fails, or stopping: nothing was kept and the claim is released.
    pub async fn keep<'a, T: Into<To<'a>>>(
        &self,
        event: Event,
        to: impl IntoIterator<Item = T, IntoIter: Clone>,
        claim: Option<Claim>,
        ack: Ack,
    ) -> Result<EventId, KeepError> {
        let to = to.into_iter().map(Into::into);
        match self {
            Self::Disk(buffer) => {
                let to = to.filter_map(|To { lane, optional }| Some((lane.on_disk()?.number(), optional)));
                buffer.keep(event, to, claim, ack).await
            }
            Self::Memory(buffer) => {
                let to = to.filter_map(|To { lane, optional }| Some((lane.in_memory()?, optional)));
                buffer.keep(event, to, claim)
            }
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
            Self::Disk(buffer) => buffer.pass(event, to.iter().filter_map(Lane::on_disk)),
            Self::Memory(buffer) => buffer.pass(event, to.iter().filter_map(Lane::in_memory)),
        }
    }

    /// Remembers the id of an event that was [passed](Buffer::pass) and delivered, so that it is known as a duplicate
    /// after a restart, too. Waits for nothing. In memory, where no id outlives the process, nothing.
    pub fn remember(&self, key: DedupeKey, id: EventId, kept_at: Millis) {
        match self {
            Self::Disk(buffer) => buffer.remember(key, id, kept_at),
            Self::Memory(_) => {}
        }
    }

    /// Puts the event back into the lanes where it is dead, with a fresh budget of attempts; `false` where it is
    /// dead nowhere, or the buffer is closed. This is a provider's "Resend" and the operator's replay of a dead letter.
    pub fn requeue_dead(&self, id: EventId) -> bool {
        match self {
            Self::Disk(buffer) => buffer.requeue_dead(id, None),
            Self::Memory(buffer) => buffer.requeue_dead(id, None),
        }
    }

    /// As [`Buffer::requeue_dead`], in the lane of `destination` alone.
    pub fn requeue_dead_at(&self, id: EventId, destination: &str) -> bool {
        match self {
            Self::Disk(buffer) => buffer.requeue_dead(id, Some(destination)),
            Self::Memory(buffer) => buffer.requeue_dead(id, Some(destination)),
        }
    }

    /// One event, pending, dead or lately delivered.
    #[must_use]
    pub fn find(&self, id: EventId) -> Option<EventView> {
        match self {
            Self::Disk(buffer) => buffer.find(id),
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
            Self::Disk(buffer) => buffer.list(filter, cursor, limit),
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
            Self::Disk(buffer) => buffer.replay(id, None),
            Self::Memory(buffer) => buffer.replay(id, None),
        }
    }

    /// As [`Buffer::replay`], to `destination` alone.
    ///
    /// # Errors
    /// As there.
    pub fn replay_at(&self, id: EventId, destination: &str) -> Result<Option<usize>, KeepError> {
        match self {
            Self::Disk(buffer) => buffer.replay(id, Some(destination)),
            Self::Memory(buffer) => buffer.replay(id, Some(destination)),
        }
    }

    /// Forgets the dead letters that pass `filter`; how many.
    pub fn drop_dead(&self, filter: &EventFilter) -> usize {
        match self {
            Self::Disk(buffer) => buffer.drop_dead(filter),
            Self::Memory(buffer) => buffer.drop_dead(filter),
        }
    }

    /// How full it is.
    #[must_use]
    pub fn stats(&self) -> BufferStats {
        match self {
            Self::Disk(buffer) => buffer.stats(),
            Self::Memory(buffer) => buffer.stats(),
        }
    }

    /// Whether what is kept outlives the process by itself: then a stop need not wait for it to be delivered.
    #[must_use]
    pub fn lasts(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    /// Refuses new events from now on ([`KeepError::ShuttingDown`]); what is kept goes on being delivered.
    pub fn close(&self) {
        match self {
            Self::Disk(buffer) => buffer.close(),
            Self::Memory(buffer) => buffer.close(),
        }
    }

    /// The end: call it when nothing is taken in any more. On disk, what is noted is synced and the threads end. In
    /// memory, what is pending or dead is written to a file below `folder`, for [`Buffer::take_spill`] of the next
    /// process. Blocks.
    ///
    /// # Errors
    /// A sentence: the disk refused it, and no file is there.
    pub fn spill(&self, folder: &Path) -> Result<SpillReport, String> {
        match self {
            Self::Disk(buffer) => {
                buffer.finish();
                Ok(SpillReport::default())
            }
            Self::Memory(buffer) => buffer.spill(folder),
        }
    }

    /// Takes up what a former process spilled below `folder`, with ids, attempts and due times, and has the events' own
    /// ids remembered by `ids`; then the files go. Blocks. Call it before anything is taken in.
    ///
    /// # Errors
    /// A sentence: a file cannot be read, or is of a newer format. All files are as they were.
    pub fn take_spill(&self, folder: &Path, ids: &dyn ClaimKeeper) -> Result<TakenSpill, String> {
        match self {
            Self::Disk(buffer) => buffer.take_spill(folder, ids),
            Self::Memory(buffer) => buffer.take_spill(folder, ids),
        }
    }

    /// Returns when nothing is left that could be delivered: nothing pending for a configured destination, and no
    /// passed event without an outcome. What is pending for a destination that is not configured any more is not
    /// waited for. Waits as long as the last retry does; the caller brings the deadline.
    pub async fn drained(&self) {
        match self {
            Self::Disk(buffer) => buffer.drained().await,
            Self::Memory(buffer) => buffer.drained().await,
        }
    }
}

#[cfg(test)]
impl Buffer {
    /// Returns when all that was said to it is done: on disk, written and visible, and what lanes want is read. Blocks.
    pub(crate) fn quiet(&self) {
        if let Self::Disk(buffer) = self {
            buffer.quiet();
        }
    }
}

/// Where an event is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct To<'a> {
    /// The destination's lane.
    pub lane: &'a Lane,
    /// The event is kept for the others even if there is no room for it here.
    pub optional: bool,
}

impl<'a> From<&'a Lane> for To<'a> {
    fn from(lane: &'a Lane) -> Self {
        Self { lane, optional: false }
    }
}

/// One destination's queue, as its delivery task sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Lane {
    /// On disk.
    Disk(DiskLane),
    /// In memory.
    Memory(MemoryLane),
}

impl Lane {
    // A lane belongs to the buffer that made it, and a process has one: the other kind is never met.
    fn in_memory(&self) -> Option<&MemoryLane> {
        match self {
            Self::Memory(lane) => Some(lane),
            Self::Disk(_) => None,
        }
    }

    fn on_disk(&self) -> Option<&DiskLane> {
        match self {
            Self::Disk(lane) => Some(lane),
            Self::Memory(_) => None,
        }
    }

    /// The destination's name.
    #[must_use]
    pub fn destination(&self) -> &Arc<str> {
        match self {
            Self::Disk(lane) => lane.destination(),
            Self::Memory(lane) => lane.destination(),
        }
    }

    /// The next deliveries, at most `max`. Passed ones first; then class first, inside a class due retries and fresh ones in
    /// turn, an event whose key is busy steps aside. They are in flight, and their keys busy, until [`Lane::settle`] or
    /// [`Lane::defer`]; one that is dropped instead is given again after [`Lane::put_back`].
    #[must_use]
    pub fn take(&self, max: usize) -> Vec<Delivery> {
        match self {
            Self::Disk(lane) => lane.take(max),
            Self::Memory(lane) => lane.take(max),
        }
    }

    /// As [`Lane::take`], but neither passed deliveries nor retries that waited for their time: what fills a batch.
    #[must_use]
    pub fn take_fresh(&self, max: usize) -> Vec<Delivery> {
        match self {
            Self::Disk(lane) => lane.take_fresh(max),
            Self::Memory(lane) => lane.take_fresh(max),
        }
    }

    /// The next passed delivery, and nothing else: where nothing may be sent, its sender need not wait for that.
    #[must_use]
    pub fn take_express(&self) -> Option<Delivery> {
        match self {
            Self::Disk(lane) => lane.take_express(),
            Self::Memory(lane) => lane.take_express(),
        }
    }

    /// While the destination recovers, events that arrive get a quarter of the slots ahead of the backlog, but for those
    /// with an order key.
    pub fn recovering(&self, recovering: bool) {
        match self {
            Self::Disk(lane) => lane.recovering(recovering),
            Self::Memory(lane) => lane.recovering(recovering),
        }
    }

    /// The highest class of which something may be taken now, passed deliveries aside.
    #[must_use]
    pub fn next_class(&self) -> Option<Priority> {
        match self {
            Self::Disk(lane) => lane.next_class(),
            Self::Memory(lane) => lane.next_class(),
        }
    }

    /// Whether an event of this order key may be pending here: one is, or there is one with a key that was not looked at yet.
    #[must_use]
    pub fn may_hold(&self, key: OrderKey) -> bool {
        match self {
            Self::Disk(lane) => lane.may_hold(key),
            Self::Memory(lane) => lane.may_hold(key),
        }
    }

    /// When the earliest deferred delivery is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Millis> {
        match self {
            Self::Disk(lane) => lane.next_due(),
            Self::Memory(lane) => lane.next_due(),
        }
    }

    /// All that wait here for their next attempt are due by `now`, also after a restart.
    pub fn hasten(&self, now: Millis) {
        match self {
            Self::Disk(lane) => lane.hasten(now),
            Self::Memory(lane) => lane.hasten(now),
        }
    }

    /// The delivery of `id` is over; `attempt` was its last, `excerpt` the start of the destination's answer.
    pub fn settle(&self, id: EventId, settled: Settled, attempt: Attempt, excerpt: Bytes) {
        match self {
            Self::Disk(lane) => lane.settle(id, settled, attempt, &excerpt),
            Self::Memory(lane) => lane.settle(id, settled, attempt, &excerpt),
        }
    }

    /// The delivery of `id` is over without a further attempt: to the dead letters.
    pub fn bury(&self, id: EventId, reason: DeadReason) {
        match self {
            Self::Disk(lane) => lane.bury(id, reason),
            Self::Memory(lane) => lane.bury(id, reason),
        }
    }

    /// How many dead letters there are of this destination.
    #[must_use]
    pub fn dead(&self) -> u64 {
        match self {
            Self::Disk(lane) => lane.dead(),
            Self::Memory(lane) => lane.dead(),
        }
    }

    /// The delivery of `id` waits until `due`.
    pub fn defer(&self, id: EventId, attempt: Attempt, due: Millis, excerpt: Bytes) {
        match self {
            Self::Disk(lane) => lane.defer(id, attempt, due, &excerpt),
            Self::Memory(lane) => lane.defer(id, attempt, due, &excerpt),
        }
    }

    /// The delivery of `id` was taken but not attempted: it goes back to the front. That wakes nobody: the lane's
    /// own task knows.
    pub fn put_back(&self, id: EventId) {
        match self {
            Self::Disk(lane) => lane.put_back(id),
            Self::Memory(lane) => lane.put_back(id),
        }
    }

    /// Tells whoever waits here that there may be something to take.
    pub fn wake(&self) {
        match self {
            Self::Disk(lane) => lane.wake(),
            Self::Memory(lane) => lane.wake(),
        }
    }

    /// Returns when there may be something to take that was not there before. Never misses a wake-up that came
    /// since the last [`Lane::take`]; between two takes it returns once, however much comes.
    pub async fn changed(&self) {
        match self {
            Self::Disk(lane) => lane.changed().await,
            Self::Memory(lane) => lane.changed().await,
        }
    }

    /// Events pending here (fresh, deferred and in flight), and their bytes.
    #[must_use]
    pub fn depth(&self) -> (u64, u64) {
        match self {
            Self::Disk(lane) => lane.depth(),
            Self::Memory(lane) => lane.depth(),
        }
    }
}
