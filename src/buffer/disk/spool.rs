//! The spool: the synchronous core. No threads, no waits but those of the disk below.
//!
//! [`Spool::commit`] has one caller at a time, [`Spool::maintain`] too; all others may be called from anywhere. Locks are
//! taken in this order, each for the moment only: writer, open batch; and below them segments, spares, one segment's
//! state. No caller of the spool's is called under one of those. Above them stands maintenance, which is held for a
//! round: the caller's `flush` and its [`Live`] are called under it, and must not maintain, finish or wait for who does.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use super::batch::{Batch, Open};
use super::commit::Writer;
use super::compact::Upkeep;
use super::device::{Device, DeviceFile};
use super::lookup::OffsetsCache;
use super::ports::{
    Batched, CommitFailed, Committed, Live, Maintained, OpenError, Rebuild, Room, SharedNames, SpoolOptions,
    SpoolStats,
};
use super::progress::Progress;
use super::recover;
use super::segment::Segment;
use super::spares::Spares;
use crate::clock::Millis;
use crate::event::{DedupeKey, Event, EventId};

/// A folder of segments: one writer, any readers.
#[derive(Debug)]
pub(in crate::buffer) struct Spool<D: Device> {
    pub(super) device: D,
    pub(super) options: SpoolOptions,
    pub(super) names: SharedNames,
    pub(super) open: Mutex<Open>,
    pub(super) writer: Mutex<Writer<D>>,
    /// By number.
    pub(super) segments: RwLock<BTreeMap<u32, Arc<Segment<D>>>>,
    pub(super) next_number: AtomicU32,
    pub(super) spares: Spares<D::File>,
    pub(super) ids: Mutex<Vec<IdsFile>>,
    pub(super) offsets: OffsetsCache,
    /// Spares that were segments, until the folder is synced: before that a power loss gives them their old names back.
    pub(super) freed: Mutex<Vec<String>>,
    /// Held for a whole round of maintenance.
    pub(super) maintaining: Mutex<Upkeep>,
    pub(super) health: Health,
}

/// An index that outlived its segment, for the ids in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdsFile {
    pub number: u32,
    pub last_kept: Millis,
    /// How many ids.
    pub count: u64,
    /// The highest number that an event of it had.
    pub last_seq: u64,
}

/// What went wrong so far.
#[derive(Debug, Default)]
pub(super) struct Health {
    corrupt: AtomicU64,
    failures: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// Why the disk refused the last spare that was asked of it, in words; that commits go on does not end it.
    no_spare: Mutex<Option<String>>,
    /// When the log was told what: what failed, and how.
    logged: Mutex<HashMap<(&'static str, io::ErrorKind), Instant>>,
    room: AtomicU8,
}

/// What fails where the disk is full.
const NO_SPARE: &str = "making a spare segment of the spool";

fn failure(what: &str, error: &io::Error) -> String {
    format!("{what} failed: {error}")
}

/// What goes wrong again and again is told the log so often.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

impl Health {
    pub fn recovered(&self) {
        let mut last = self.last_error.lock();
        if last.is_some() {
            *last = None;
        }
    }

    pub fn damaged(&self, records: u64) {
        self.corrupt.fetch_add(records, Ordering::Relaxed);
    }

    /// What is wrong now, in words.
    fn error(&self) -> Option<String> {
        let last = self.last_error.lock().clone();
        last.or_else(|| self.no_spare.lock().clone())
    }

    /// Counts a failure, and tells the log: not of the same over and over, since a full disk is asked again every second.
    fn count(&self, what: &'static str, error: &io::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let (now, mut logged) = (Instant::now(), self.logged.lock());
        logged.retain(|_, at| now.duration_since(*at) < LOGGED_EVERY);
        if let Entry::Vacant(news) = logged.entry((what, error.kind())) {
            news.insert(now);
            tracing::error!("{}", failure(what, error));
        }
    }
}

/// The name of a segment's file.
pub(super) fn log_name(number: u32) -> String {
    format!("{number:010}.log")
}

/// The name of its index.
pub(super) fn index_name(number: u32) -> String {
    format!("{number:010}.idx")
}

/// The name of its index when it has gone.
pub(super) fn ids_name(number: u32) -> String {
    format!("{number:010}.ids")
}

impl<D: Device> Spool<D> {
    /// Takes up what is in the folder, tells it, and begins a new segment behind it.
    ///
    /// # Errors
    /// The folder cannot be read, or was written by a newer hooklatch. Damage is no error.
    pub fn open(
        device: D,
        options: SpoolOptions,
        names: SharedNames,
        now: Millis,
        rebuild: &mut dyn Rebuild,
    ) -> Result<Self, OpenError> {
        recover::open(device, options, names, now, rebuild)
    }

    pub(super) fn assemble(
        device: D,
        options: SpoolOptions,
        names: SharedNames,
        found: recover::Found<D>,
    ) -> Self {
        let spool = Self {
            device,
            options,
            names,
            open: Mutex::new(Open::new(found.next_seq, found.now)),
            writer: Mutex::new(Writer::new()),
            segments: RwLock::new(found.segments),
            next_number: AtomicU32::new(found.next_number),
            spares: Spares::new(found.spares, found.next_spare),
            ids: Mutex::new(found.ids),
            offsets: OffsetsCache::default(),
            freed: Mutex::new(found.freed),
            maintaining: Mutex::default(),
            health: Health::default(),
        };
        spool.health.damaged(found.corrupt);
        for error in &found.failures {
            spool.failed("taking up a segment of the spool", error);
        }
        spool.tell_room(&spool.writer.lock());
        spool
    }

    /// Appends `event` to the open batch: its sequence number, and the length of its record. Its id is made of its time
    /// and that number, or, as an `alias`, the one that it has.
    pub fn append(&self, event: &Event, source: u32, key: Option<DedupeKey>, alias: bool) -> (u64, u32) {
        self.open.lock().append(event, source, key, alias)
    }

    /// No event gets a number below `seq` from now on.
    pub fn number_from(&self, seq: u64) {
        self.open.lock().number_from(seq);
    }

    /// Notes a step in the open batch.
    pub fn note(&self, progress: Progress) {
        self.open.lock().note(progress);
    }

    /// Notes the id of an event that is not stored.
    pub fn remember(&self, key: DedupeKey, id: EventId, kept_at: Millis) {
        self.open.lock().remember(key, id, kept_at);
    }

    /// What the open batch holds.
    pub fn batched(&self) -> Batched {
        self.open.lock().batched()
    }

    /// The open batch; an empty one is open from now on.
    pub fn take(&self) -> Batch {
        self.open.lock().take()
    }

    /// Writes `batch` behind all that was committed, and syncs it where it is to be `durable`; whatever was written
    /// before without a sync stands then, too. Batches are committed in the order in which they were taken.
    ///
    /// # Errors
    /// The disk refused it, or there is no room: see [`CommitFailed`].
    pub fn commit(&self, batch: Batch, durable: bool) -> Result<Committed, CommitFailed> {
        self.commit_with(&mut self.writer.lock(), batch, durable)
    }

    /// Writes indexes, drops and merges segments, keeps spares ready. `flush` commits the open batch durably and says
    /// whether it did.
    pub fn maintain(&self, live: &dyn Live, now: Millis, flush: &dyn Fn() -> bool) -> Maintained {
        let mut upkeep = self.maintaining.lock();
        self.open.lock().at(now);
        let done = self.round(&mut upkeep, live, now, flush);
        self.spares.started();
        self.tell_room(&self.writer.lock());
        done
    }

    /// How many spares there are: where they get fewer, maintenance is due.
    pub fn spares(&self) -> usize {
        self.spares.count()
    }

    /// Whether an event may still be taken.
    pub fn room(&self) -> Room {
        match self.health.room.load(Ordering::Relaxed) {
            0 => Room::Yes,
            1 => Room::Full,
            _ => Room::Failed,
        }
    }

    /// Says so of the room, until the next round of maintenance or commit.
    #[cfg(test)]
    pub fn say_room(&self, room: Room) {
        self.health.room.store(room as u8, Ordering::Relaxed);
    }

    /// How it stands.
    pub fn stats(&self) -> SpoolStats {
        let segments = self.segments.read().len() as u32;
        let spares = self.spares.count() as u32;
        SpoolStats {
            segments,
            spares,
            disk_bytes: u64::from(segments + spares) * u64::from(self.options.segment_bytes),
            corrupt_records: self.health.corrupt.load(Ordering::Relaxed),
            storage_failures: self.health.failures.load(Ordering::Relaxed),
            last_error: self.health.error(),
        }
    }

    /// A stop is near: maintenance takes no more time than it must.
    pub fn ending(&self) {
        self.spares.ending();
    }

    /// On a clean stop, when all is committed: the next start reads indexes only.
    pub fn finish(&self) {
        let _one = self.maintaining.lock();
        self.leave_active(&mut self.writer.lock());
        self.seal_all();
    }

    /// The first commit finds its segment, and the reserve is there. A disk that refuses is told by the first commit.
    pub(super) fn prepare(&self) {
        self.reclaim();
        while self.spares.count() < 2 && matches!(self.make_spare(), Ok(true)) {}
        self.tell_room(&self.writer.lock());
    }

    /// Whether the folder is smaller than it may be.
    pub(super) fn may_grow(&self) -> bool {
        self.spares.count() + self.segments.read().len() < self.options.max_segments as usize
    }

    pub(super) fn make_spare(&self) -> io::Result<bool> {
        let others = || self.segments.read().len() + self.freed.lock().len();
        let (bytes, most) = (self.options.segment_bytes, self.options.max_segments);
        let made = self.spares.make(&self.device, bytes, most, others);
        if let Err(error) = &made {
            self.health.count(NO_SPARE, error);
        }
        *self.health.no_spare.lock() = made.as_ref().err().map(|error| failure(NO_SPARE, error));
        made
    }

    /// An event that fits half a segment finds room behind the open batch, or in a spare that is not the reserve.
    pub(super) fn tell_room(&self, writer: &Writer<D>) {
        let spares = self.spares.count();
        let files = spares + self.segments.read().len();
        let rest = writer.room(self.options.segment_bytes);
        let failed = self.health.error().is_some();
        let room = if spares > 1 || rest.is_some_and(|rest| rest >= self.options.segment_bytes / 2) {
            0
        } else if failed {
            2
        } else if files + 2 - spares <= self.options.max_segments as usize {
            // A commit makes its own where maintenance is late.
            0
        } else {
            1
        };
        self.health.room.store(room, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, what: &'static str, error: &io::Error) {
        self.health.count(what, error);
        *self.health.last_error.lock() = Some(failure(what, error));
    }

    /// Copies what is damaged away, for a human; counts and names it, once.
    pub(super) fn damaged(&self, segment: &Segment<D>, offset: u32, len: u32) {
        if !segment.is_news(offset) {
            return;
        }
        self.health.damaged(1);
        let mut bytes = vec![0; len.min(self.options.segment_bytes) as usize];
        let read = segment.file.read_at(&mut bytes, u64::from(offset)).unwrap_or(0);
        bytes.truncate(read);
        quarantine(&self.device, segment.number(), offset, &bytes);
    }
}

/// Copies `bytes`, which stand in a segment and are damaged, into the quarantine.
pub(super) fn quarantine<D: Device>(device: &D, segment: u32, offset: u32, bytes: &[u8]) {
    let name = format!("quarantine/{segment:010}-{offset}");
    let copied = device.create(&name).and_then(|file| file.write_at(bytes, 0));
    let file = log_name(segment);
    match copied {
        Ok(()) => {
            tracing::error!(
                file,
                offset,
                bytes = bytes.len(),
                "a record of the spool is damaged; copied to {name}"
            );
        }
        Err(error) => {
            tracing::error!(
                file,
                offset,
                bytes = bytes.len(),
                "a record of the spool is damaged, and not copied: {error}"
            );
        }
    }
}

#[cfg(test)]
mod tests;
