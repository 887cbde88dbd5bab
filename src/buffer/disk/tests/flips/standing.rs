//! What a start finds in a folder, in words that another start understands.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::super::oracle::Found;
use super::{START, options};
use crate::buffer::disk::device::FakeDevice;
use crate::buffer::disk::index::Row;
use crate::buffer::disk::ports::{Live, Read, SharedNames};
use crate::buffer::disk::progress::{Loc, What};
use crate::buffer::disk::spool::Spool;
use crate::clock::Millis;
use crate::event::{Attempt, DedupeKey, Event, EventId};

pub(super) type Fake = Spool<FakeDevice>;

/// An event, as its row says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub route: String,
    pub lanes: Vec<String>,
    pub received: Millis,
    pub alias: Option<EventId>,
}

/// A step of an event, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub at: Loc,
    pub seq: u64,
    pub lane: String,
    pub what: What,
    pub attempts: Vec<Attempt>,
}

/// All that a start tells, and all that can be read then.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub events: BTreeMap<u64, Known>,
    /// In the order of the log.
    pub steps: Vec<Step>,
    pub ids: BTreeMap<u128, EventId>,
    pub bodies: BTreeMap<u64, (Event, Option<DedupeKey>)>,
    /// Those whose record is damaged, and what the index knows of their keys.
    pub damaged: BTreeMap<u64, Option<DedupeKey>>,
}

impl Standing {
    /// Opens the folder and reads everything.
    pub fn open(device: &FakeDevice) -> (Open, Self) {
        let (names, mut found) = (SharedNames::default(), Found::default());
        let spool = Spool::open(device.clone(), options(), names.clone(), START, &mut found).unwrap();
        let counted = spool.stats().corrupt_records;
        let open = Open { spool, names, counted };
        let standing = open.standing(found);
        (open, standing)
    }

    /// Where events wait, and the step of the last word on each.
    pub fn pending(&self) -> BTreeMap<(u64, String), Option<&Step>> {
        let mut last: BTreeMap<(u64, &str), &Step> = BTreeMap::new();
        for step in &self.steps {
            last.insert((step.seq, &step.lane), step);
        }
        let places =
            self.events.iter().flat_map(|(seq, known)| known.lanes.iter().map(|lane| (*seq, lane.clone())));
        let places = places.map(|(seq, lane)| {
            let step = last.get(&(seq, lane.as_str())).copied();
            ((seq, lane), step)
        });
        places.filter(|(_, step)| step.is_none_or(|step| !settles(step.what))).collect()
    }
}

pub(super) fn settles(what: What) -> bool {
    matches!(what, What::Delivered | What::Dead(_) | What::Lost)
}

/// A spool that was opened.
pub(super) struct Open {
    pub spool: Fake,
    pub names: SharedNames,
    /// The damaged records that the start itself met.
    pub counted: u64,
}

impl Open {
    fn lane(&self, number: u32) -> String {
        self.names.read().lane_name(number).unwrap().to_string()
    }

    fn standing(&self, found: Found) -> Standing {
        assert!(found.events.is_sorted_by(|a, b| a.seq < b.seq), "events out of order, or twice");
        let mut standing = Standing::default();
        for Row { seq, source, received, alias, .. } in found.events {
            let source = self.names.read().source_of(source).cloned().unwrap();
            let mut lanes: Vec<_> = source.lanes.iter().map(|lane| self.lane(*lane)).collect();
            lanes.sort_unstable();
            let known = Known { route: source.route.to_string(), lanes, received, alias };
            standing.events.insert(seq, known);
            match self.spool.read(seq) {
                Read::Event { event, key, .. } => {
                    standing.bodies.insert(seq, (Event::clone(&event), key));
                }
                Read::Damaged { key } => {
                    standing.damaged.insert(seq, key);
                }
                other => panic!("{seq} was told and reads as {other:?}"),
            }
        }
        for (at, step) in found.progress {
            let lane = self.lane(step.lane);
            let (seq, what, attempts) = (step.seq, step.what, step.attempts);
            standing.steps.push(Step { at, seq, lane, what, attempts });
        }
        standing.ids = found.ids.into_iter().map(|(key, id)| (key.0, id)).collect();
        standing
    }
}

/// Who waits, as a start told it.
pub(super) struct Waiting<'a> {
    pub standing: &'a RefCell<Standing>,
    pub names: &'a SharedNames,
}

impl Waiting<'_> {
    fn number(&self, lane: &str) -> u32 {
        self.names.write().lane(lane)
    }
}

impl Live for Waiting<'_> {
    fn pending(&self, from: u64, to: u64) -> Vec<u64> {
        let standing = self.standing.borrow();
        let seqs: BTreeSet<u64> = standing.pending().keys().map(|(seq, _)| *seq).collect();
        seqs.into_iter().filter(|seq| (from..=to).contains(seq)).collect()
    }

    fn pending_count(&self, from: u64, to: u64) -> u64 {
        self.pending(from, to).len() as u64
    }

    fn is_pending(&self, seq: u64, lane: u32) -> bool {
        let lane = self.names.read().lane_name(lane).unwrap().to_string();
        self.standing.borrow().pending().contains_key(&(seq, lane))
    }

    fn waiting_in(&self, segment: u32) -> Vec<(u64, u32, u32)> {
        let standing = self.standing.borrow();
        let pending = standing.pending();
        let retries = pending
            .values()
            .flatten()
            .filter(|step| matches!(step.what, What::Deferred { .. }) && step.at.segment == segment);
        retries.map(|step| (step.seq, self.number(&step.lane), step.at.offset)).collect()
    }
}
