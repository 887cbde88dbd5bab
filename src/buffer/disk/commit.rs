//! The one writer: where a batch goes, how a segment follows another, what a failure leaves.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::batch::{Batch, Content};
use super::device::{Device, DeviceFile};
use super::index::Row;
use super::ports::{CommitError, CommitFailed, Committed};
use super::progress::{Loc, What};
use super::record::{self, Kind, SegmentHeader};
use super::segment::{Rows, Segment};
use super::source::{Names, Source};
use super::spool::{Spool, log_name};

/// What the writer knows, under its lock.
#[derive(Debug)]
pub(super) struct Writer<D: Device> {
    active: Option<Active<D>>,
    /// What was committed to the active segment and no sync confirmed yet.
    unsynced: Vec<Batch>,
    /// What no sync will confirm any more, since its segment was given up: the next commit writes it again.
    again: Vec<Batch>,
    /// Segments that were given up.
    given_up: Vec<GivenUp<D>>,
    /// Segments that were rolled away from within this commit, each with the first number behind it. They are left once
    /// what was written to them is shown: an index made before would lack their last events for good.
    left: Vec<(Arc<Segment<D>>, u64)>,
}

#[derive(Debug)]
pub(super) struct Active<D: Device> {
    pub segment: Arc<Segment<D>>,
    /// Where the next record goes.
    at: u32,
    commits: u32,
    events: u32,
    /// Up to here it was synced.
    synced: u32,
    /// Written to since its last sync.
    dirty: bool,
    /// A write or a sync failed: what became of either is not known.
    failed: bool,
    names: Defined,
}

/// A segment that nothing is written to any more, because a write or a sync of it failed. What it shows behind `synced`
/// is read from memory that the disk may never have seen. It is left, and loses that part, after it was written again
/// and whoever knows a place in it was told the new one: at the next commit but one.
#[derive(Debug)]
struct GivenUp<D: Device> {
    segment: Arc<Segment<D>>,
    synced: u32,
    seq_end: u64,
}

/// What a segment gave names to.
#[derive(Debug, Default)]
struct Defined {
    lanes: HashSet<u32>,
    sources: HashSet<u32>,
    /// What the last commit defined: the next one says it again.
    again: Vec<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Lane(u32),
    Source(u32),
}

/// The part of a batch that goes to one segment.
#[derive(Debug, Default)]
struct Piece {
    /// Which of the batch's marks.
    marks: Range<usize>,
    /// The records of names before them, and where each ends.
    names: Vec<u8>,
    name_ends: Vec<usize>,
    defined: Vec<Name>,
    events: u32,
}

/// What is shown to readers once the whole batch stands.
struct Written<D: Device> {
    segment: Arc<Segment<D>>,
    rows: Rows,
    end: u32,
}

impl<D: Device> Writer<D> {
    pub fn new() -> Self {
        Self { active: None, unsynced: Vec::new(), again: Vec::new(), given_up: Vec::new(), left: Vec::new() }
    }

    /// How many bytes the active segment still takes; nothing where there is none.
    pub fn room(&self, segment_bytes: u32) -> Option<u32> {
        self.active.as_ref().map(|active| segment_bytes.saturating_sub(active.at))
    }

    fn leave(&mut self) {
        for (segment, seq_end) in self.left.drain(..) {
            segment.leave(seq_end);
        }
    }

    /// What was written to the active segment stands.
    fn sync(&mut self, done: &mut Committed) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if !active.dirty {
            return Ok(());
        }
        let began = Instant::now();
        active.failed = true;
        active.segment.file.sync()?;
        done.sync_took += began.elapsed();
        done.syncs += 1;
        (active.failed, active.dirty, active.synced) = (false, false, active.at);
        self.unsynced.clear();
        Ok(())
    }

    /// Nothing refers any more to what only the given up segments show.
    fn leave_given_up(&mut self) {
        if self.again.is_empty() {
            for GivenUp { segment, synced, seq_end } in self.given_up.drain(..) {
                segment.cut(synced);
                segment.leave(seq_end);
            }
        }
    }
}

impl<D: Device> Spool<D> {
    /// Writes a batch, and syncs it where it is to be `durable`.
    pub(super) fn commit_with(
        &self,
        writer: &mut Writer<D>,
        mut batch: Batch,
        durable: bool,
    ) -> Result<Committed, CommitFailed> {
        writer.leave_given_up();
        batch.close();
        let (mut done, mut written) = (Committed::default(), Vec::new());
        let mut again = std::mem::take(&mut writer.again);
        let mut outcome =
            again.iter_mut().try_for_each(|batch| self.write_batch(writer, batch, &mut done, &mut written));
        done.moved = std::mem::take(&mut done.deferred);
        outcome = outcome.and_then(|()| self.write_batch(writer, &mut batch, &mut done, &mut written));
        if durable && outcome.is_ok() {
            outcome = writer.sync(&mut done).map_err(CommitError::Io);
        }
        if let Err(error) = outcome {
            writer.again = again;
            self.give_up(writer, batch, &error, !written.is_empty());
            writer.leave();
            self.tell_room(writer);
            return Err(CommitFailed { error });
        }
        for one in written {
            one.segment.publish(one.rows, one.end);
        }
        writer.leave();
        if writer.active.as_ref().is_some_and(|active| active.dirty) {
            writer.unsynced.append(&mut again);
            writer.unsynced.push(batch);
        } else {
            self.open.lock().reuse(batch);
        }
        if done.bytes > 0 {
            self.health.recovered();
        }
        self.tell_room(writer);
        Ok(done)
    }

    fn write_batch(
        &self,
        writer: &mut Writer<D>,
        batch: &mut Batch,
        done: &mut Committed,
        written: &mut Vec<Written<D>>,
    ) -> Result<(), CommitError> {
        let mut next = 0;
        while next < batch.marks.len() {
            let Some(active) = &mut writer.active else {
                self.begin_segment(writer, batch, next)?;
                continue;
            };
            let piece = self.plan(active, batch, next);
            if piece.marks.end < batch.marks.len() {
                if piece.marks.is_empty() && active.is_fresh() {
                    let error =
                        io::Error::new(io::ErrorKind::InvalidInput, "an event is larger than a segment");
                    return Err(CommitError::Io(error));
                }
                // The successor is sure before anything is written: a batch without room leaves no half behind.
                self.want_spare(piece.marks.end < batch.events)?;
            }
            next = piece.marks.end;
            if !piece.marks.is_empty() {
                written.push(self.write_piece(active, batch, piece, done).map_err(CommitError::Io)?);
            }
            if next < batch.marks.len() {
                writer.sync(done).map_err(CommitError::Io)?;
                self.begin_segment(writer, batch, next)?;
            }
        }
        Ok(())
    }

    /// Which marks from `next` on the active segment takes, with the names that they need.
    fn plan(&self, active: &Active<D>, batch: &Batch, next: usize) -> Piece {
        let names = self.names.read();
        let mut piece = Piece { marks: next..next, ..Piece::default() };
        if active.commits >= MAX_COMMITS {
            return piece;
        }
        for name in &active.names.again {
            piece.define(*name, &names);
        }
        let room = self.options.segment_bytes.saturating_sub(active.at) as usize;
        let mut bytes = 0;
        for mark in batch.marks.iter().skip(next) {
            let before = piece.position();
            let mut events = piece.events;
            match &mark.content {
                Content::Event(row) => {
                    events += 1;
                    piece.need_source(row.source, &active.names, &names);
                    let relative = u32::try_from(row.seq.saturating_sub(active.segment.header.first_seq));
                    if active.events + events > self.options.max_events_per_segment || relative.is_err() {
                        events = u32::MAX;
                    }
                }
                Content::Notes(range) => {
                    for note in batch.notes.get(range.clone()).unwrap_or_default() {
                        piece.need(Name::Lane(note.lane), &active.names, &names);
                    }
                }
                Content::Id(_) => {}
            }
            bytes += mark.at.len();
            if events == u32::MAX || piece.names.len() + bytes > room {
                piece.back_to(before);
                break;
            }
            piece.events = events;
            piece.marks.end += 1;
        }
        if piece.names.len() > room { Piece { marks: next..next, ..Piece::default() } } else { piece }
    }

    fn write_piece(
        &self,
        active: &mut Active<D>,
        batch: &mut Batch,
        mut piece: Piece,
        done: &mut Committed,
    ) -> io::Result<Written<D>> {
        let header = active.segment.header;
        let (number, commit) = (header.number, active.commits + 1);
        let mut rows = Rows::default();
        piece.seal_names(header.nonce, commit);
        let base = active.at as usize + piece.names.len();
        let first = batch.marks.get(piece.marks.start).map_or(0, |mark| mark.at.start);
        let mut last = first;
        for mark in batch.marks.get_mut(piece.marks.clone()).unwrap_or_default() {
            let offset = (base + mark.at.start - first) as u32;
            last = mark.at.end;
            let mut seq = 0;
            match &mut mark.content {
                Content::Event(row) => {
                    seq = (row.seq - header.first_seq) as u32;
                    rows.rows.push(Row { offset, ..row.clone() });
                }
                Content::Notes(range) => {
                    rows.progress.push((offset, mark.at.len() as u32));
                    let notes = batch.notes.get(range.clone()).unwrap_or_default();
                    if notes.iter().any(|note| note.what == What::Requeued) {
                        active.segment.requeues();
                    }
                    let deferred = notes.iter().filter(|note| matches!(note.what, What::Deferred { .. }));
                    let at = Loc { segment: number, offset };
                    done.deferred.extend(deferred.map(|note| (note.seq, note.lane, at)));
                }
                Content::Id(at) => rows.ids.extend(batch.ids.get(*at).cloned()),
            }
            if let Some(bytes) = batch.records.get_mut(mark.at.clone()) {
                record::seal(bytes, header.nonce, seq, commit);
            }
        }
        (active.dirty, active.failed) = (true, true);
        if !piece.names.is_empty() {
            active.segment.file.write_at(&piece.names, u64::from(active.at))?;
        }
        let end = base + last - first;
        if last == batch.records.len() {
            let whole = end.next_multiple_of(PAGE).min(self.options.segment_bytes as usize);
            batch.records.resize(last + whole.saturating_sub(end), 0);
            last = batch.records.len();
        }
        let records = batch.records.get(first..last).unwrap_or_default();
        active.segment.file.write_at(records, base as u64)?;
        active.failed = false;
        done.bytes += (piece.names.len() + records.len()) as u64;
        active.at = end as u32;
        active.commits = commit;
        active.events += piece.events;
        active.names.defined(piece.defined, &mut rows, &self.names.read());
        Ok(Written { segment: Arc::clone(&active.segment), rows, end: active.at })
    }

    /// Writes events into a segment beside the log, and shows them to whoever reads it; whether it took them all.
    pub(super) fn write_aside(&self, aside: &mut Active<D>, batch: &mut Batch) -> io::Result<bool> {
        let piece = self.plan(aside, batch, 0);
        if piece.marks.end < batch.marks.len() {
            return Ok(false);
        }
        let written = self.write_piece(aside, batch, piece, &mut Committed::default())?;
        written.segment.publish(written.rows, written.end);
        Ok(true)
    }

    /// A spare will be there for a roll: one more than the reserve where events are to be written.
    fn want_spare(&self, for_events: bool) -> Result<(), CommitError> {
        let reserve = usize::from(for_events);
        while self.spares.count() <= reserve {
            match self.make_spare() {
                Ok(true) => {}
                Ok(false) => return Err(CommitError::NoRoom),
                Err(error) => return Err(CommitError::Io(error)),
            }
        }
        Ok(())
    }

    /// Leaves the active segment, which is synced, for a new one: header, rename, sync of the folder. Its header is
    /// synced with its first commit.
    fn begin_segment(&self, writer: &mut Writer<D>, batch: &Batch, next: usize) -> Result<(), CommitError> {
        let for_events = next < batch.events;
        self.want_spare(for_events)?;
        let Some((name, file)) = self.spares.take(0) else { return Err(CommitError::NoRoom) };
        let first_seq = match batch.marks.get(next).map(|mark| &mark.content) {
            Some(Content::Event(row)) => row.seq,
            _ => batch.next_seq,
        };
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let header = SegmentHeader { number, nonce: fresh_nonce(), first_seq, opened: batch.now };
        let begun = file
            .write_at(&header.encode(), 0)
            .and_then(|()| self.device.rename(&name, &log_name(number)))
            .and_then(|()| self.device.sync_folder());
        if let Err(error) = begun {
            // Under either name it is no segment with a record in it: the next start takes it for a spare or an
            // empty segment.
            return Err(CommitError::Io(error));
        }
        let segment = Segment::fresh(header, file, false);
        if let Some(left) = writer.active.take() {
            segment.expect(left.events);
            writer.left.push((left.segment, first_seq));
        }
        let segment = Arc::new(segment);
        self.segments.write().insert(number, Arc::clone(&segment));
        writer.active = Some(Active::new(segment, record::HEADER as u32, 0));
        Ok(())
    }

    /// Nothing of the batch is shown; its notes go into the next one. What failed to be written or synced is never
    /// tried again on its file; nor does anything follow there what was `written` of this batch and is not shown.
    fn give_up(&self, writer: &mut Writer<D>, batch: Batch, error: &CommitError, written: bool) {
        if let CommitError::Io(error) = error {
            self.failed("writing the spool", error);
        }
        if let Some(active) = writer.active.take_if(|active| active.failed || written) {
            tracing::error!(segment = %log_name(active.segment.number()), "a segment is given up");
            writer.again.splice(..0, writer.unsynced.drain(..));
            let Active { segment, synced, .. } = active;
            writer.given_up.push(GivenUp { segment, synced, seq_end: batch.next_seq });
        }
        self.open.lock().give_back(batch.notes, batch.ids);
    }

    /// Nothing more is appended to the active segment. One that cannot be synced gets no index: the next start looks
    /// what stands in it.
    pub(super) fn leave_active(&self, writer: &mut Writer<D>) {
        if let Err(error) = writer.sync(&mut Committed::default()) {
            return self.failed("syncing the spool", &error);
        }
        writer.leave_given_up();
        if let Some(active) = writer.active.take() {
            let next_seq = self.open.lock().next_seq();
            active.segment.leave(next_seq);
        }
    }
}

/// A commit ends with zeros up to a page's end: of a page that is not in its cache, the kernel would first have to read
/// what is behind the commit: what a former life of the file left there.
const PAGE: usize = 4096;
/// A commit's number has 24 bits.
const MAX_COMMITS: u32 = 0x00ff_fffe;

/// A nonce that the file's former life did not have, but by a chance of one in four billion.
pub(super) fn fresh_nonce() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}

impl<D: Device> Active<D> {
    /// Writes go into `segment` from `at` on, behind `commits` commits.
    pub fn new(segment: Arc<Segment<D>>, at: u32, commits: u32) -> Self {
        let names = Defined::default();
        Self { segment, at, commits, events: 0, synced: at, dirty: true, failed: false, names }
    }

    fn is_fresh(&self) -> bool {
        self.at == record::HEADER as u32
    }
}

impl Defined {
    /// Takes in what a commit defined.
    fn defined(&mut self, names: Vec<Name>, rows: &mut Rows, known: &Names) {
        self.again.clear();
        for name in names {
            let new = match name {
                Name::Lane(number) => self.lanes.insert(number),
                Name::Source(number) => self.sources.insert(number),
            };
            if !new {
                continue;
            }
            self.again.push(name);
            match name {
                Name::Lane(number) => {
                    rows.lanes.extend(known.lane_name(number).map(|name| (number, Arc::clone(name))));
                }
                Name::Source(number) => {
                    rows.sources
                        .extend(known.source_of(number).map(|source| (number, Source::clone(source))));
                }
            }
        }
    }
}

impl Piece {
    fn position(&self) -> (usize, usize, usize) {
        (self.names.len(), self.name_ends.len(), self.defined.len())
    }

    fn back_to(&mut self, (bytes, ends, defined): (usize, usize, usize)) {
        self.names.truncate(bytes);
        self.name_ends.truncate(ends);
        self.defined.truncate(defined);
    }

    fn need_source(&mut self, number: u32, already: &Defined, names: &Names) {
        if already.sources.contains(&number) || self.defined.contains(&Name::Source(number)) {
            return;
        }
        if let Some(source) = names.source_of(number) {
            for lane in &source.lanes {
                self.need(Name::Lane(*lane), already, names);
            }
        }
        self.need(Name::Source(number), already, names);
    }

    fn need(&mut self, name: Name, already: &Defined, names: &Names) {
        let known = match name {
            Name::Lane(number) => already.lanes.contains(&number),
            Name::Source(number) => already.sources.contains(&number),
        };
        if !known && !self.defined.contains(&name) {
            self.define(name, names);
            // Twice: there may be no next commit, and a merged segment has one for all its events.
            self.encode(name, names);
        }
    }

    fn define(&mut self, name: Name, names: &Names) {
        self.encode(name, names);
        self.defined.push(name);
    }

    fn encode(&mut self, name: Name, names: &Names) {
        let start = record::begin(&mut self.names);
        encode_name(&mut self.names, start, name, names);
        self.name_ends.push(self.names.len());
    }

    fn seal_names(&mut self, nonce: u32, commit: u32) {
        let mut start = 0;
        for end in &self.name_ends {
            if let Some(bytes) = self.names.get_mut(start..*end) {
                record::seal(bytes, nonce, 0, commit);
            }
            start = *end;
        }
    }
}

fn encode_name(out: &mut Vec<u8>, start: usize, name: Name, names: &Names) {
    match name {
        Name::Lane(number) => {
            record::encode_lane(out, number, names.lane_name(number).map_or("", |name| name));
            record::finish(out, start, Kind::Lane);
        }
        Name::Source(number) => {
            if let Some(source) = names.source_of(number) {
                record::encode_source(out, number, &source.route, source.provider.as_deref(), &source.lanes);
            } else {
                record::encode_source(out, number, "", None, &[]);
            }
            record::finish(out, start, Kind::Source);
        }
    }
}
