//! What is read back: events and steps, by their numbers and places.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::device::Device;
use super::index::{IndexError, Offsets};
use super::ports::Read;
use super::progress::{Loc, Progress};
use super::record::{self, Kind};
use super::segment::{Segment, Window, find_row};
use super::spool::Spool;

/// Records with less than this between them are read in one go.
const GAP: u32 = 16 * 1024;
/// At most so much is read in one go, but always a whole record.
const RUN: u32 = 256 * 1024;
/// What the tables of places that were used last may take in memory.
const CACHED: usize = 8 * 1024 * 1024;

/// The tables of places that were used last.
#[derive(Debug, Default)]
pub(super) struct OffsetsCache(Mutex<VecDeque<(u32, Arc<Offsets>)>>);

impl OffsetsCache {
    /// The table of the segment `number`, where it is at hand.
    pub fn cached(&self, number: u32) -> Option<Arc<Offsets>> {
        let mut cached = self.0.lock();
        let at = cached.iter().position(|(cached, _)| *cached == number)?;
        let found = cached.remove(at)?;
        cached.push_front(found.clone());
        Some(found.1)
    }

    pub fn get<D: Device>(&self, segment: &Segment<D>) -> Result<Arc<Offsets>, IndexError> {
        let number = segment.number();
        if let Some(found) = self.cached(number) {
            return Ok(found);
        }
        let offsets = Arc::new(segment.offsets()?);
        let mut cached = self.0.lock();
        cached.push_front((number, Arc::clone(&offsets)));
        let mut bytes = 0;
        // The first one is in use, however large.
        let kept = cached.iter().position(|(_, offsets)| {
            bytes += offsets.bytes();
            bytes > CACHED
        });
        cached.truncate(kept.unwrap_or(usize::MAX).max(1));
        Ok(offsets)
    }

    pub fn forget(&self, number: u32) {
        self.0.lock().retain(|(cached, _)| *cached != number);
    }
}

/// What was asked cannot be known now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable;

/// Where an event's record is.
struct Place<D: Device> {
    segment: Arc<Segment<D>>,
    offset: u32,
    len: u32,
}

/// The segments that have the record of an event.
pub(in crate::buffer) struct Holders<D: Device>(Vec<Arc<Segment<D>>>);

impl<D: Device> Holders<D> {
    /// Whether one of them stays. Asked under the lock that the answers of [`Live`](super::ports::Live) need, before the
    /// event is put on its way again: either this says no, or maintenance sees that the event waits.
    pub fn stay(&self) -> bool {
        self.0.iter().any(|segment| !segment.is_going())
    }
}

impl<D: Device> Spool<D> {
    /// Where the record of `seq` is in `segment`, if it is there; an error where that cannot be known now.
    pub(super) fn place_in(&self, segment: &Segment<D>, seq: u64) -> Result<Option<(u32, u32)>, Unreadable> {
        self.place_of(segment, seq, false)
    }

    /// `few`: not many more of this segment will be asked for.
    fn place_of(&self, segment: &Segment<D>, seq: u64, few: bool) -> Result<Option<(u32, u32)>, Unreadable> {
        if !segment.spans(seq) {
            return Ok(None);
        }
        if let Ok(place) = segment.place_in_memory(seq) {
            return Ok(place);
        }
        if few && self.offsets.cached(segment.number()).is_none() {
            match segment.place_by_page(seq) {
                Ok(Some(place)) => return Ok(place),
                Ok(None) => {}
                Err(error) => return Err(self.unreadable(segment, error)),
            }
        }
        let offsets = self.offsets.get(segment).map_err(|error| self.unreadable(segment, error))?;
        Ok(offsets.get(seq))
    }

    /// Where `seq` is, one of `all`, which are asked for together.
    fn place(
        &self,
        seq: u64,
        all: &[u64],
        near: Option<&Arc<Segment<D>>>,
    ) -> Result<Option<Place<D>>, Unreadable> {
        let spanning = self.spanning(seq);
        let mut failed = None;
        for segment in near.into_iter().chain(&spanning) {
            match self.place_of(segment, seq, segment.few_of(all)) {
                Ok(Some((offset, len))) => {
                    return Ok(Some(Place { segment: Arc::clone(segment), offset, len }));
                }
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Notes that the index of a segment, or what stands for it, cannot be read. The next start makes a damaged one anew.
    pub(super) fn unreadable(&self, segment: &Segment<D>, error: IndexError) -> Unreadable {
        match error {
            IndexError::Io(error) => self.failed("reading the spool", &error),
            error => {
                tracing::error!(
                    segment = segment.number(),
                    "an index of the spool cannot be read: {error:?}"
                );
            }
        }
        Unreadable
    }

    /// Who has the record of `seq`.
    pub fn holders(&self, seq: u64) -> Holders<D> {
        let mut holders = self.spanning(seq);
        holders.retain(|segment| matches!(self.place_in(segment, seq), Ok(Some(_))));
        Holders(holders)
    }

    /// Returns when no round of maintenance is under way. Blocks.
    pub fn after_maintenance(&self) {
        drop(self.maintaining.lock());
    }

    pub(super) fn spanning(&self, seq: u64) -> Vec<Arc<Segment<D>>> {
        self.segments.read().values().filter(|segment| segment.spans(seq)).cloned().collect()
    }

    /// All segments, by number.
    pub(super) fn all(&self) -> Vec<Arc<Segment<D>>> {
        self.segments.read().values().cloned().collect()
    }

    /// The event `seq`.
    pub fn read(&self, seq: u64) -> Read {
        self.read_many(&[seq], usize::MAX).pop().map_or(Read::Gone, |(_, read)| read)
    }

    /// The events `seqs`, which ascend; neighbours in one go. It ends early when `max_bytes` of records were read,
    /// but never before the first.
    pub fn read_many(&self, seqs: &[u64], max_bytes: usize) -> Vec<(u64, Read)> {
        let mut reads: Vec<(u64, Read)> = Vec::with_capacity(seqs.len());
        let mut run: Vec<(u64, Place<D>)> = Vec::new();
        let mut bytes = 0usize;
        for seq in seqs {
            if bytes >= max_bytes.max(1) {
                break;
            }
            let near = run.last().map(|(_, place)| Arc::clone(&place.segment));
            let place = self.place(*seq, seqs, near.as_ref());
            if !place.as_ref().is_ok_and(|place| place.as_ref().is_some_and(|place| joins(&run, place))) {
                self.read_run(&mut run, &mut reads);
            }
            match place {
                Ok(Some(place)) => {
                    bytes += place.len as usize;
                    run.push((*seq, place));
                }
                Ok(None) => reads.push((*seq, Read::Gone)),
                Err(Unreadable) => reads.push((*seq, Read::Failed)),
            }
        }
        self.read_run(&mut run, &mut reads);
        reads
    }

    fn read_run(&self, run: &mut Vec<(u64, Place<D>)>, reads: &mut Vec<(u64, Read)>) {
        let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else { return };
        let segment = Arc::clone(&first.segment);
        let mut window = Window::new(&segment.file);
        let len = last.offset.saturating_add(last.len).saturating_sub(first.offset);
        let whole = window.read(first.offset, len as usize).is_ok();
        for (seq, place) in run.drain(..) {
            // One sector that cannot be read costs its own event only.
            let read = if whole { Ok(()) } else { window.read(place.offset, place.len as usize) };
            let bytes = match read.and_then(|()| window.get(place.offset, place.len)) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.failed("reading the spool", &error);
                    reads.push((seq, Read::Failed));
                    continue;
                }
            };
            let event = bytes.and_then(|bytes| self.decode(&segment, seq, bytes));
            let read = event.unwrap_or_else(|| {
                self.damaged(&segment, place.offset, place.len);
                let rows = segment.rows().unwrap_or_default();
                Read::Damaged { key: find_row(&rows, seq).and_then(|row| row.key) }
            });
            reads.push((seq, read));
        }
    }

    /// The event in the record `bytes`; nothing where that is not what the record is.
    fn decode(&self, segment: &Segment<D>, seq: u64, bytes: &[u8]) -> Option<Read> {
        let found = record::parse(bytes, segment.header.nonce).ok()?;
        if found.kind != Kind::Event || segment.header.first_seq + u64::from(found.seq) != seq {
            return None;
        }
        let own = record::decode_event_head(found.payload).ok()?.source;
        let number = segment.numbers().source(own)?;
        let source = self.names.read().source_of(number).cloned()?;
        // A copy of its own: the window it waits in for its turn would else hold on to all that was read with it.
        let payload = Bytes::copy_from_slice(found.payload);
        let (event, head) = record::decode_event(payload, seq, &source).ok()?;
        let weight = found.len_total as u32;
        Some(Read::Event { event: Arc::new(event), source: number, weight, key: head.key })
    }

    /// The steps in the block at `offset`, with shared numbers of destinations.
    fn steps_at(&self, segment: &Segment<D>, offset: u32) -> Vec<Progress> {
        let in_log = self.steps_in_log(segment, offset);
        let damaged = match in_log {
            Ok(Some(steps)) => return steps,
            Ok(None) => true,
            Err(error) => {
                self.failed("reading the spool", &error);
                false
            }
        };
        // The index has all progress, too.
        let mut block = None;
        let bad = &mut |offset, len| self.damaged(segment, offset, len);
        let _ = segment.progress(bad, &mut |at, payload| {
            if at == offset {
                block = Some(Bytes::copy_from_slice(payload));
            }
        });
        let Some(payload) = block else { return Vec::new() };
        if damaged {
            self.damaged(segment, offset, (record::RECORD_HEADER + payload.len()) as u32);
        }
        steps(segment, &payload)
    }

    fn steps_in_log(&self, segment: &Segment<D>, offset: u32) -> io::Result<Option<Vec<Progress>>> {
        let mut window = Window::new(&segment.file);
        window.read(offset, record::RECORD_HEADER)?;
        let Some([a, b, c, d, ..]) = window.get(offset, record::RECORD_HEADER as u32)? else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([*a, *b, *c, *d]).saturating_add(record::RECORD_HEADER as u32);
        if u64::from(offset) + u64::from(len) > u64::from(segment.summary().end) {
            return Ok(None);
        }
        window.read(offset, len as usize)?;
        let found =
            window.get(offset, len)?.and_then(|bytes| record::parse(bytes, segment.header.nonce).ok());
        let found = found.filter(|found| found.kind == Kind::Progress);
        Ok(found.map(|found| steps(segment, found.payload)))
    }

    /// The step of `seq` at `lane` that stands in the block at `at`; none where it has gone.
    pub fn step_at(&self, at: Loc, seq: u64, lane: u32) -> Option<Progress> {
        let segment = self.segments.read().get(&at.segment).cloned()?;
        let steps = self.steps_at(&segment, at.offset);
        steps.into_iter().rev().find(|step| (step.seq, step.lane) == (seq, lane))
    }

    /// Tells every step in a segment and where its block begins; whether all could be read.
    pub(super) fn each_step(&self, segment: &Segment<D>, each: &mut dyn FnMut(u32, Progress)) -> bool {
        let bad = &mut |offset, len| self.damaged(segment, offset, len);
        let told = segment.progress(bad, &mut |offset, payload| {
            for step in steps(segment, payload) {
                each(offset, step);
            }
        });
        told.map_err(|error| self.unreadable(segment, error)).is_ok()
    }
}

/// The steps in a block, with shared numbers of destinations. Those of destinations whose name is lost are left out.
pub(super) fn steps<D: Device>(segment: &Segment<D>, payload: &[u8]) -> Vec<Progress> {
    let numbers = segment.numbers();
    let steps = record::decode_progress(payload).unwrap_or_default();
    steps.into_iter().filter_map(|step| Some(Progress { lane: numbers.lane(step.lane)?, ..step })).collect()
}

fn joins<D: Device>(run: &[(u64, Place<D>)], place: &Place<D>) -> bool {
    let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else { return true };
    first.segment.number() == place.segment.number()
        && place.offset >= last.offset
        && place.offset - last.offset.saturating_add(last.len).min(place.offset) <= GAP
        && u64::from(place.offset) + u64::from(place.len) - u64::from(first.offset) <= u64::from(RUN)
}
