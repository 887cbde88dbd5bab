//! What passes between the spool and those around it: what it is told, what it answers, whom it asks.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::index::Row;
use super::progress::{Loc, Progress};
use super::source::Names;
use crate::clock::Millis;
use crate::event::{DedupeKey, Event, EventId};

/// The names that the spool and all around it number in the same way.
pub(in crate::buffer) type SharedNames = Arc<RwLock<Names>>;

/// How large the spool is and how long it remembers.
#[derive(Clone, Debug)]
pub(in crate::buffer) struct SpoolOptions {
    /// How long each segment's file is.
    pub segment_bytes: u32,
    /// At most so many segments and spares together.
    pub max_segments: u32,
    /// A segment is left when it holds so many events, however small they are: what is kept in memory of the active
    /// one, and its index, stay small.
    pub max_events_per_segment: u32,
    /// So many spares are kept ready; the last one is a reserve for progress. Where nothing more may be made, room is
    /// made earlier: see [`SpoolOptions::early`].
    pub spares: u32,
    /// How long an event may be looked up and replayed after it came, where room allows.
    pub retention: Duration,
    /// At most so many ids of events are told to the dedupe table at start.
    pub remembered_ids: u64,
    /// How long the id of an event is remembered.
    pub remembered_for: Duration,
}

impl SpoolOptions {
    /// In a folder that is as large as it may be, segments are dropped and merged while there are still so many spares:
    /// a merge takes one itself and takes its time, and senders go on meanwhile.
    pub fn early(&self) -> u32 {
        (self.max_segments / 8).clamp(self.spares, self.spares.saturating_mul(2))
    }
}

/// Recovery tells what it finds: all progress in the order of the log, so that an event that is settled is known to be so
/// when it comes; then all events in ascending order; then the ids, oldest first.
pub(in crate::buffer) trait Rebuild {
    /// An event, as its index knows it; `source` is the number in [`SharedNames`] of where it came from and goes to, the row
    /// has its segment's own.
    fn event(&mut self, source: u32, row: &Row);
    /// A step of an event; its lane is a number in [`SharedNames`]. The event itself may be gone.
    fn progress(&mut self, at: Loc, progress: Progress);
    /// The id that the event of `key` was given.
    fn id(&mut self, key: DedupeKey, id: EventId, kept_at: Millis);
}

/// Who still waits, asked by `maintain`. It is asked outside of every lock of the spool.
///
/// Who notes a step for an event changes first what is answered here, then calls `note`, or both under one lock that
/// these answers need, too: else a step carried at that moment could overrule the new one.
pub(in crate::buffer) trait Live {
    /// The events in `from..=to` that wait at any destination, ascending.
    fn pending(&self, from: u64, to: u64) -> Vec<u64>;
    /// How many they are.
    fn pending_count(&self, from: u64, to: u64) -> u64;
    /// Whether the event waits at this destination.
    fn is_pending(&self, seq: u64, lane: u32) -> bool;
    /// The retries whose last `Deferred` stands in that segment: event, destination, where the block begins.
    fn waiting_in(&self, segment: u32) -> Vec<(u64, u32, u32)>;
}

/// Why the spool cannot be opened: a sentence for the operator.
#[derive(Debug)]
pub(in crate::buffer) struct OpenError(pub String);

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OpenError {}

/// How much the open batch holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::buffer) struct Batched {
    /// Events.
    pub events: usize,
    /// Steps of events, and ids.
    pub notes: usize,
    /// Bytes of the events' records.
    pub bytes: usize,
}

/// What a commit did.
#[derive(Debug, Default)]
pub(in crate::buffer) struct Committed {
    /// How many bytes were handed to writes.
    pub bytes: u64,
    /// How often a file was synced.
    pub syncs: u32,
    /// How long that took in all.
    pub sync_took: Duration,
    /// Where each `Deferred` of the batch stands now: event, destination, place.
    pub deferred: Vec<(u64, u32, Loc)>,
    /// Where each `Deferred` stands now that was committed before, to a segment that was given up since.
    pub moved: Vec<(u64, u32, Loc)>,
}

/// The events of the batch are given up: no read ever sees them. Its other steps are back in the open batch.
#[derive(Debug)]
pub(in crate::buffer) struct CommitFailed {
    /// What went wrong.
    pub error: CommitError,
}

/// What went wrong with a commit.
#[derive(Debug)]
pub(in crate::buffer) enum CommitError {
    /// A write or a sync failed; the segment is poisoned, the next commit goes to another one.
    Io(io::Error),
    /// No spare is left, or none but the reserve.
    NoRoom,
}

impl fmt::Display for CommitFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            CommitError::Io(error) => write!(f, "the spool could not be written: {error}"),
            CommitError::NoRoom => f.write_str("the spool has no segment left"),
        }
    }
}

impl std::error::Error for CommitFailed {}

/// An event, read.
#[derive(Clone, Debug)]
pub(in crate::buffer) enum Read {
    /// It stands.
    Event {
        /// Itself.
        event: Arc<Event>,
        /// Its source's number in [`SharedNames`].
        source: u32,
        /// The length of its record.
        weight: u32,
        /// Its key in the dedupe table.
        key: Option<DedupeKey>,
    },
    /// Its segment is gone, or it was never committed.
    Gone,
    /// The disk refused the read: whether it stands is not known, and a later read may say so.
    Failed,
    /// Its record is damaged.
    Damaged {
        /// Its key in the dedupe table, where the index knows it.
        key: Option<DedupeKey>,
    },
}

/// An event, as far as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct RowView {
    /// Its sequence number.
    pub seq: u64,
    /// When it came.
    pub received: Millis,
    /// Its source's number in [`SharedNames`].
    pub source: u32,
    /// Its id, where that is not made of the two.
    pub alias: Option<EventId>,
}

/// What a round of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::buffer) struct Maintained {
    /// Indexes written.
    pub sealed: u32,
    /// Spares made, each of blocks written for the first time.
    pub created: u32,
    /// Segments dropped.
    pub dropped: u32,
    /// Segments merged away.
    pub merged: u32,
    /// Steps carried from segments that went.
    pub carried: u64,
    /// A spare is missing and none could be had: nothing is settled, nothing can be merged.
    pub full: bool,
}

/// Whether an event may still be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) enum Room {
    /// Yes.
    Yes,
    /// No: only the reserve for progress is left.
    Full,
    /// No: the disk failed and there is no segment to write to.
    Failed,
}

/// How the spool stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::buffer) struct SpoolStats {
    /// Segments, the active one included.
    pub segments: u32,
    /// Spares.
    pub spares: u32,
    /// Bytes that their files take.
    pub disk_bytes: u64,
    /// Damaged records met since the start.
    pub corrupt_records: u64,
    /// Writes and syncs that failed since the start.
    pub storage_failures: u64,
    /// The latest of these, in words; nothing once a commit succeeded since, and a spare could be made if one was refused.
    pub last_error: Option<String>,
}
