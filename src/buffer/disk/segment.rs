//! One segment: its file, and what is known of its records: in memory until its index is written, then by its index.

mod numbers;
mod window;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::device::Device;
use super::index::{self, IdRow, Index, IndexError, Offsets, Row};
use super::record::{self, Kind, SegmentHeader};
use super::source::Source;
use crate::clock::Millis;
use crate::event::OrderKey;
pub(super) use numbers::Numbers;
pub(super) use window::Window;

/// A segment, whoever holds it may read what is committed.
#[derive(Debug)]
pub(super) struct Segment<D: Device> {
    pub header: SegmentHeader,
    pub file: D::File,
    state: RwLock<State<D::File>>,
    /// Where damaged records that were counted begin.
    known_bad: Mutex<HashSet<u32>>,
    /// It says of some event that it was put on its way again.
    requeues: AtomicBool,
    /// It is about to go, and none of its events may be put on its way again.
    going: AtomicBool,
}

#[derive(Debug)]
struct State<F> {
    summary: Summary,
    numbers: Arc<Numbers>,
    form: Form<F>,
}

/// So few events of one segment are found by a page of its index each, where the whole table is not at hand: a lane's
/// events may lie far apart, and the table is a hundred pages.
const FEW: usize = 16;

/// What is asked often, without reading anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub count: u32,
    pub first_seq: u64,
    pub last_seq: u64,
    pub last_received: Millis,
    /// Events by whose keys duplicates are known.
    pub keyed: u32,
    /// Ids without an event.
    pub ids: u32,
    /// When the latest came of all that it remembers an id of.
    pub last_kept: Millis,
    /// How far its valid bytes go.
    pub end: u32,
    /// Whether some event's id is not made of its time and number.
    pub has_alias: bool,
    /// It was merged of others: it holds no progress, and not every number between its first and its last.
    pub merged: bool,
    /// Nothing is appended to it any more.
    pub left: bool,
    /// Progress in it is of events with smaller numbers only.
    pub seq_end: u64,
}

#[derive(Debug)]
enum Form<F> {
    Open(Rows),
    Indexed(Arc<Index<F>>),
}

/// What is known of a segment without an index.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub rows: Vec<Row>,
    pub ids: Vec<IdRow>,
    /// Where the records of progress are, and how long.
    pub progress: Vec<(u32, u32)>,
    pub lanes: Vec<(u32, Arc<str>)>,
    pub sources: Vec<(u32, Source)>,
    pub replaces: Vec<u32>,
}

impl<D: Device> Segment<D> {
    /// One that is written from now on.
    pub fn fresh(header: SegmentHeader, file: D::File, merged: bool) -> Self {
        let summary = Summary {
            count: 0,
            first_seq: header.first_seq,
            last_seq: header.first_seq,
            last_received: header.opened,
            keyed: 0,
            ids: 0,
            last_kept: Millis(0),
            end: record::HEADER as u32,
            has_alias: false,
            merged,
            left: false,
            seq_end: u64::MAX,
        };
        Self::new(header, file, State { summary, numbers: Arc::default(), form: Form::Open(Rows::default()) })
    }

    /// One that was scanned.
    pub fn scanned(header: SegmentHeader, file: D::File, rows: Rows, end: u32, numbers: Numbers) -> Self {
        let mut summary = Self::fresh_summary(&header, end, !rows.replaces.is_empty());
        summary.take_in(&rows.rows, &rows.ids);
        Self::new(header, file, State { summary, numbers: Arc::new(numbers), form: Form::Open(rows) })
    }

    /// One with an index, whose rows and ids are these.
    pub fn indexed(
        header: SegmentHeader,
        file: D::File,
        index: Index<D::File>,
        (rows, ids): (&[Row], &[IdRow]),
        merged: bool,
        numbers: Numbers,
    ) -> Self {
        let mut summary = Self::fresh_summary(&header, index.end(), merged);
        summary.take_in(rows, ids);
        Self::new(
            header,
            file,
            State { summary, numbers: Arc::new(numbers), form: Form::Indexed(Arc::new(index)) },
        )
    }

    fn fresh_summary(header: &SegmentHeader, end: u32, merged: bool) -> Summary {
        Summary {
            count: 0,
            first_seq: header.first_seq,
            last_seq: header.first_seq,
            last_received: header.opened,
            keyed: 0,
            ids: 0,
            last_kept: Millis(0),
            end,
            has_alias: false,
            merged,
            left: true,
            seq_end: u64::MAX,
        }
    }

    fn new(header: SegmentHeader, file: D::File, state: State<D::File>) -> Self {
        Self {
            header,
            file,
            state: RwLock::new(state),
            known_bad: Mutex::default(),
            requeues: AtomicBool::new(false),
            going: AtomicBool::new(false),
        }
    }

    pub fn number(&self) -> u32 {
        self.header.number
    }

    pub fn summary(&self) -> Summary {
        self.state.read().summary
    }

    pub fn numbers(&self) -> Arc<Numbers> {
        Arc::clone(&self.state.read().numbers)
    }

    /// Makes committed records visible.
    pub fn publish(&self, more: Rows, end: u32) {
        let mut state = self.state.write();
        state.summary.end = end;
        state.summary.take_in(&more.rows, &more.ids);
        if let Form::Open(rows) = &mut state.form {
            rows.rows.extend(more.rows);
            rows.ids.extend(more.ids);
            rows.progress.extend(more.progress);
            rows.lanes.extend(more.lanes);
            rows.sources.extend(more.sources);
            rows.replaces.extend(more.replaces);
        }
    }

    /// It will hold about as many `events` as the one before it: a table that grows is copied again and again.
    pub fn expect(&self, events: u32) {
        if let Form::Open(rows) = &mut self.state.write().form {
            rows.rows.reserve_exact(events as usize + events as usize / 16);
        }
    }

    /// What it shows from `end` on stands elsewhere, and is not shown here any more.
    pub fn cut(&self, end: u32) {
        let mut state = self.state.write();
        let State { summary, form: Form::Open(rows), .. } = &mut *state else { return };
        if summary.end <= end {
            return;
        }
        rows.rows.retain(|row| row.offset < end);
        rows.progress.retain(|(offset, _)| *offset < end);
        // The ids are written to its index all the same: known twice is known.
        *summary = Self::fresh_summary(&self.header, end, summary.merged);
        summary.take_in(&rows.rows, &rows.ids);
    }

    /// Nothing is appended to it from now on.
    pub fn leave(&self, seq_end: u64) {
        self.bound(seq_end);
        self.state.write().summary.left = true;
    }

    /// Progress in it is of events with numbers below `seq_end` only.
    pub fn bound(&self, seq_end: u64) {
        self.state.write().summary.seq_end = seq_end;
    }

    /// It is not to be relied on more than now: it gets no index, is not merged, and does not go.
    pub fn keep_open(&self) {
        self.state.write().summary.left = false;
    }

    /// Whether `seq` may be in it, without reading.
    pub fn spans(&self, seq: u64) -> bool {
        let summary = self.summary();
        summary.count > 0 && (summary.first_seq..=summary.last_seq).contains(&seq)
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state.read().form, Form::Open(_))
    }

    /// Where the record of `seq` is, where that is known in memory; `Err` where the index must be asked.
    pub fn place_in_memory(&self, seq: u64) -> Result<Option<(u32, u32)>, ()> {
        match &self.state.read().form {
            Form::Open(rows) => Ok(find_row(&rows.rows, seq).map(|row| (row.offset, row.len))),
            Form::Indexed(_) => Err(()),
        }
    }

    pub fn offsets(&self) -> Result<Offsets, IndexError> {
        match &self.state.read().form {
            Form::Open(_) => Err(IndexError::Damaged),
            Form::Indexed(index) => index.offsets(),
        }
    }

    /// The bits of the order key of `seq`, 0 for none, where that is known in memory; as [`Self::place_in_memory`].
    pub fn order_key_in_memory(&self, seq: u64) -> Result<Option<u64>, ()> {
        match &self.state.read().form {
            Form::Open(rows) => {
                Ok(find_row(&rows.rows, seq).map(|row| row.turn.order_key.map_or(0, OrderKey::to_bits)))
            }
            Form::Indexed(_) => Err(()),
        }
    }

    /// Whether it spans few of `seqs`, which ascend.
    pub fn few_of(&self, seqs: &[u64]) -> bool {
        let summary = self.summary();
        let until = |end: u64| seqs.partition_point(|seq| *seq < end);
        until(summary.last_seq.saturating_add(1)).saturating_sub(until(summary.first_seq)) <= FEW
    }

    /// See [`Index::order_key`].
    pub fn order_key_by_page(&self, seq: u64) -> Result<Option<Option<u64>>, IndexError> {
        match &self.state.read().form {
            Form::Open(_) => Ok(None),
            Form::Indexed(index) => index.order_key(seq),
        }
    }

    /// See [`Index::place`].
    pub fn place_by_page(&self, seq: u64) -> Result<Option<Option<(u32, u32)>>, IndexError> {
        match &self.state.read().form {
            Form::Open(_) => Ok(None),
            Form::Indexed(index) => index.place(seq),
        }
    }

    /// All rows, with their own numbers of sources.
    pub fn rows(&self) -> Result<Vec<Row>, IndexError> {
        match &self.state.read().form {
            Form::Open(rows) => Ok(rows.rows.clone()),
            Form::Indexed(index) => index.rows(),
        }
    }

    pub fn seqs_of_id(&self, hash: u32) -> Result<Vec<u64>, IndexError> {
        match &self.state.read().form {
            Form::Open(rows) => {
                Ok(rows.rows.iter().filter(|row| row.id_hash == Some(hash)).map(|row| row.seq).collect())
            }
            Form::Indexed(index) => index.seqs_of_id(hash),
        }
    }

    pub fn ids(&self) -> Result<Vec<IdRow>, IndexError> {
        match &self.state.read().form {
            Form::Open(rows) => Ok(rows.ids.clone()),
            Form::Indexed(index) => index.ids(),
        }
    }

    /// Tells the blocks of progress, in order: where each begins, and its payload. `bad` hears of those that cannot be
    /// read, where they are and how long.
    pub fn progress(
        &self,
        bad: &mut dyn FnMut(u32, u32),
        each: &mut dyn FnMut(u32, &[u8]),
    ) -> Result<(), IndexError> {
        // Not told under the lock: who hears of them may ask for more.
        let (places, index) = match &self.state.read().form {
            Form::Open(rows) => (rows.progress.clone(), None),
            Form::Indexed(index) => (Vec::new(), Some(Arc::clone(index))),
        };
        if let Some(index) = index {
            return index.progress(each);
        }
        let mut window = Window::new(&self.file);
        for (offset, len) in places {
            match window.get(offset, len)?.map(|bytes| record::parse(bytes, self.header.nonce)) {
                Some(Ok(found)) if found.kind == Kind::Progress => each(offset, found.payload),
                _ => bad(offset, len),
            }
        }
        Ok(())
    }

    /// The segments that it stands for.
    pub fn replaces(&self) -> Vec<u32> {
        match &self.state.read().form {
            Form::Open(rows) => rows.replaces.clone(),
            Form::Indexed(index) => index.replaces().unwrap_or_default(),
        }
    }

    /// All that its index will say, but for the progress; nothing where it has one.
    pub fn contents(&self) -> Option<index::Contents> {
        let state = self.state.read();
        let Form::Open(rows) = &state.form else { return None };
        let Rows { rows, ids, lanes, sources, replaces, .. } = rows.clone();
        Some(index::Contents {
            number: self.header.number,
            nonce: self.header.nonce,
            first_seq: self.header.first_seq,
            end: state.summary.end,
            rows,
            ids,
            lanes,
            sources,
            replaces,
        })
    }

    /// From now on its index answers.
    pub fn seal(&self, index: Index<D::File>) {
        self.state.write().form = Form::Indexed(Arc::new(index));
    }

    /// It says of some event that it was put on its way again.
    pub fn requeues(&self) {
        self.requeues.store(true, Ordering::Relaxed);
    }

    /// Whether it says so of any.
    pub fn has_requeues(&self) -> bool {
        self.requeues.load(Ordering::Relaxed)
    }

    /// It is about to go, or stays after all.
    pub fn set_going(&self, going: bool) {
        self.going.store(going, Ordering::SeqCst);
    }

    /// Whether it is about to go.
    pub fn is_going(&self) -> bool {
        self.going.load(Ordering::SeqCst)
    }

    /// Whether the damage at `offset` is news.
    pub fn is_news(&self, offset: u32) -> bool {
        self.known_bad.lock().insert(offset)
    }
}

impl Summary {
    /// How many ids are remembered because of it. Those of a merged one are counted where its events came from.
    pub fn remembered(&self) -> u64 {
        let keyed = if self.merged { 0 } else { self.keyed };
        u64::from(keyed) + u64::from(self.ids)
    }

    fn take_in(&mut self, rows: &[Row], ids: &[IdRow]) {
        for row in rows {
            if self.count == 0 {
                (self.first_seq, self.last_received) = (row.seq, row.received);
            }
            self.count += 1;
            self.keyed += u32::from(row.key.is_some());
            self.last_seq = self.last_seq.max(row.seq);
            self.last_received = self.last_received.max(row.received);
            self.has_alias |= row.alias.is_some();
        }
        self.ids += ids.len() as u32;
        let kept = rows.iter().map(|row| row.received).chain(ids.iter().map(|row| row.kept_at));
        self.last_kept = kept.fold(self.last_kept, Millis::max);
    }
}

/// The row of `seq` among rows in ascending order.
pub(super) fn find_row(rows: &[Row], seq: u64) -> Option<&Row> {
    let at = rows.binary_search_by_key(&seq, |row| row.seq).ok()?;
    rows.get(at)
}
