//! What became of events: all progress of the log, in its order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use super::super::index::IndexError;
use super::super::progress::{Progress, What};
use super::super::record::{self, Kind};
use super::super::segment::Rows;
use super::super::spool::ids_name;
use super::folder::{Folder, NoSegment, Whole, newer};
use super::{DestinationView, Status};
use crate::clock::Millis;

#[derive(Default)]
pub(super) struct State {
    /// Those that hold: without those that another one stands for.
    pub segments: BTreeSet<u32>,
    /// Of each segment: number, arrival and source of its events.
    pub events: BTreeMap<u32, Vec<(u64, Millis, u32)>>,
    pub ids: u64,
    pub damaged: u64,
    /// Files that are named as segments and hold none.
    pub former: u64,
    names: BTreeMap<u32, BTreeMap<u32, Vec<Arc<str>>>>,
    lanes: HashMap<Arc<str>, u32>,
    last: HashMap<(u64, u32), Progress>,
}

impl State {
    pub fn read(folder: &Folder) -> Result<Self, String> {
        let mut state = Self::default();
        let mut replaced = BTreeSet::new();
        for number in &folder.logs {
            match folder.read(*number)? {
                Ok(segment) => replaced.extend(state.take_in(*number, &segment)),
                Err(NoSegment::Spare) => state.former += 1,
                Err(NoSegment::Headless(_) | NoSegment::Unreadable(_)) => state.damaged += 1,
            }
        }
        for number in replaced {
            state.segments.remove(&number);
            state.events.remove(&number);
        }
        for number in &folder.ids {
            let name = ids_name(*number);
            match folder.index(&name).and_then(|index| Ok((index.rows()?, index.ids()?))) {
                Ok((rows, ids)) => {
                    state.ids += (rows.iter().filter(|row| row.key.is_some()).count() + ids.len()) as u64;
                }
                Err(IndexError::Newer { version }) => return Err(newer(&name, version)),
                Err(_) => state.damaged += 1,
            }
        }
        Ok(state)
    }

    /// The segments that it stands for.
    fn take_in(&mut self, number: u32, segment: &Whole) -> Vec<u32> {
        let scanned = segment.scan();
        self.damaged += scanned.damaged.len() as u64;
        self.segments.insert(number);
        let rows = &scanned.rows;
        self.ids += rows.ids.len() as u64;
        self.events.insert(number, rows.rows.iter().map(|row| (row.seq, row.received, row.source)).collect());
        let names = rows.sources.iter().filter_map(|(source, _)| {
            let (_, lanes) = segment.names_of(rows, *source)?;
            Some((*source, lanes.into_iter().map(Arc::clone).collect()))
        });
        self.names.insert(number, names.collect());
        self.take_in_progress(segment, rows);
        scanned.rows.replaces
    }

    fn take_in_progress(&mut self, segment: &Whole, rows: &Rows) {
        let mut own = HashMap::new();
        for (number, name) in &rows.lanes {
            let next = self.lanes.len() as u32;
            own.insert(*number, *self.lanes.entry(Arc::clone(name)).or_insert(next));
        }
        for (offset, _) in &rows.progress {
            let payload = segment.payload(*offset, Kind::Progress).unwrap_or_default();
            for step in record::decode_progress(&payload).unwrap_or_default() {
                match own.get(&step.lane) {
                    Some(lane) => {
                        self.last.insert((step.seq, *lane), Progress { lane: *lane, ..step });
                    }
                    None => self.damaged += 1,
                }
            }
        }
    }

    pub fn lanes_of(&self, segment: u32, source: u32) -> &[Arc<str>] {
        self.names.get(&segment).and_then(|names| names.get(&source)).map_or(&[], Vec::as_slice)
    }

    /// Where an event stands at a destination. The excerpt of its last answer is in no segment.
    pub fn place(&self, seq: u64, name: &Arc<str>) -> DestinationView {
        let last = self.lanes.get(name).and_then(|lane| self.last.get(&(seq, *lane)));
        let (status, due) = match last.map(|last| last.what) {
            Some(What::Delivered) => (Status::Delivered, None),
            Some(What::Dead(reason)) => (Status::Dead(reason), None),
            Some(What::Deferred { due, .. }) => (Status::Pending, Some(due)),
            Some(What::Requeued | What::Lost) | None => (Status::Pending, None),
        };
        let attempts = last.map(|last| last.attempts.clone()).unwrap_or_default();
        DestinationView { name: Arc::clone(name), status, attempts, due, excerpt: Bytes::new() }
    }
}
