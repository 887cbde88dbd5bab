//! The open batch: what was appended and noted since the last commit began.
//!
//! Events are encoded here once; a commit gives their records a place and a CRC and writes them as they lie here.

use std::collections::HashSet;
use std::ops::Range;

use super::index::{IdRow, Row};
use super::ports::Batched;
use super::progress::Progress;
use super::record::{self, Kind};
use crate::clock::Millis;
use crate::event::{DedupeKey, Event, EventId};

/// A block of progress ends when it is about so large: small enough for every segment, and for a damaged one to hurt few.
const BLOCK: usize = 8 * 1024;

/// So many bytes of a written batch are kept for the next one at most.
const REUSED: usize = 1 << 20;

/// What one commit writes.
#[derive(Debug, Default)]
pub(in crate::buffer) struct Batch {
    /// Encoded records, one behind the other.
    pub(super) records: Vec<u8>,
    /// What they are.
    pub(super) marks: Vec<Mark>,
    pub(super) notes: Vec<Progress>,
    pub(super) ids: Vec<IdRow>,
    /// How many of `marks` are events; they come first.
    pub(super) events: usize,
    /// The sequence number behind the last event's.
    pub(super) next_seq: u64,
    /// The latest moment that an event brought.
    pub(super) now: Millis,
}

/// One record of a batch.
#[derive(Debug)]
pub(super) struct Mark {
    pub at: Range<usize>,
    pub content: Content,
}

/// What a record of a batch is.
#[derive(Debug)]
pub(super) enum Content {
    /// An event; its place in the segment is not known yet.
    Event(Row),
    /// Some of the batch's notes.
    Notes(Range<usize>),
    /// One of the batch's ids.
    Id(usize),
}

impl Batch {
    /// Encodes an event behind the others, whose numbers are smaller; the length of its record.
    pub(super) fn push(
        &mut self,
        seq: u64,
        event: &Event,
        source: u32,
        key: Option<DedupeKey>,
        alias: bool,
    ) -> u32 {
        self.next_seq = seq + 1;
        self.now = self.now.max(event.received_at);
        let start = record::begin(&mut self.records);
        record::encode_event(&mut self.records, event, source, key, alias);
        let len = (self.records.len() - start) as u32;
        let row = Row {
            seq,
            offset: 0,
            len,
            received: event.received_at,
            source,
            key,
            id_hash: event.event_id.as_deref().map(record::id_hash),
            alias: alias.then_some(event.id),
            turn: event.turn,
        };
        self.mark(start, Kind::Event, Content::Event(row));
        self.events += 1;
        len
    }

    /// Encodes notes and ids behind the events.
    pub(super) fn close(&mut self) {
        let mut from = 0;
        while from < self.notes.len() {
            let to = self.block_from(from);
            let start = record::begin(&mut self.records);
            record::encode_progress(&mut self.records, self.notes.get(from..to).unwrap_or_default());
            self.mark(start, Kind::Progress, Content::Notes(from..to));
            from = to;
        }
        for at in 0..self.ids.len() {
            let start = record::begin(&mut self.records);
            if let Some(row) = self.ids.get(at) {
                record::encode_id(&mut self.records, row.key, row.id, row.kept_at);
            }
            self.mark(start, Kind::Id, Content::Id(at));
        }
    }

    /// Where the block of notes that begins at `from` ends.
    fn block_from(&self, from: usize) -> usize {
        let (mut to, mut bytes) = (from, 0);
        for note in self.notes.iter().skip(from) {
            bytes += 24 + 16 * note.attempts.len();
            if to > from && bytes > BLOCK {
                break;
            }
            to += 1;
        }
        to
    }

    /// Leaves nothing but memory.
    fn clear(&mut self) {
        self.records.clear();
        self.marks.clear();
        self.notes.clear();
        self.ids.clear();
        self.events = 0;
    }

    fn mark(&mut self, start: usize, kind: Kind, content: Content) {
        record::finish(&mut self.records, start, kind);
        self.marks.push(Mark { at: start..self.records.len(), content });
    }
}

/// The batch that is open, and who watches it.
#[derive(Debug)]
pub(super) struct Open {
    batch: Batch,
    /// While steps are carried: the places that were noted since that began.
    watched: Option<HashSet<(u64, u32)>>,
    /// An empty one with the memory of a batch that was written: at tens of megabytes a second, new memory for each costs
    /// more than the events' bytes.
    next: Batch,
}

impl Open {
    pub fn new(next_seq: u64, now: Millis) -> Self {
        Self { batch: Batch { next_seq, now, ..Batch::default() }, watched: None, next: Batch::default() }
    }

    pub fn append(&mut self, event: &Event, source: u32, key: Option<DedupeKey>, alias: bool) -> (u64, u32) {
        let seq = self.batch.next_seq;
        (seq, self.batch.push(seq, event, source, key, alias))
    }

    pub fn note(&mut self, progress: Progress) {
        if let Some(watched) = &mut self.watched {
            watched.insert((progress.seq, progress.lane));
        }
        self.batch.notes.push(progress);
    }

    pub fn remember(&mut self, key: DedupeKey, id: EventId, kept_at: Millis) {
        self.batch.ids.push(IdRow { key, id, kept_at });
    }

    pub fn batched(&self) -> Batched {
        Batched {
            events: self.batch.events,
            notes: self.batch.notes.len() + self.batch.ids.len(),
            bytes: self.batch.records.len(),
        }
    }

    pub fn take(&mut self) -> Batch {
        let (next_seq, now) = (self.batch.next_seq, self.batch.now);
        let next = Batch { next_seq, now, ..std::mem::take(&mut self.next) };
        std::mem::replace(&mut self.batch, next)
    }

    /// Takes the memory of a batch that stands written, unless it is much.
    pub fn reuse(&mut self, mut written: Batch) {
        written.clear();
        if written.records.capacity() <= REUSED {
            self.next = written;
        }
    }

    /// Puts what could not be written to the front, in its order.
    pub fn give_back(&mut self, mut notes: Vec<Progress>, mut ids: Vec<IdRow>) {
        notes.append(&mut self.batch.notes);
        ids.append(&mut self.batch.ids);
        (self.batch.notes, self.batch.ids) = (notes, ids);
    }

    /// No event gets a number below `seq` from now on.
    pub fn number_from(&mut self, seq: u64) {
        self.batch.next_seq = self.batch.next_seq.max(seq);
    }

    /// The number of the next event.
    pub fn next_seq(&self) -> u64 {
        self.batch.next_seq
    }

    /// The time has come to `now`.
    pub fn at(&mut self, now: Millis) {
        self.batch.now = self.batch.now.max(now);
    }

    /// From now on the places that are noted are kept in mind, until [`Open::carry`].
    pub fn watch(&mut self) {
        self.watched = Some(HashSet::new());
    }

    /// Notes `steps` again, but those overtaken by a newer one since [`Open::watch`]; how many.
    pub fn carry(&mut self, steps: Vec<Progress>) -> u64 {
        let watched = self.watched.take().unwrap_or_default();
        let before = self.batch.notes.len();
        self.batch.notes.extend(steps.into_iter().filter(|step| !watched.contains(&(step.seq, step.lane))));
        (self.batch.notes.len() - before) as u64
    }
}
