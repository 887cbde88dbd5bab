//! One destination's queues. Everything here runs under the buffer's lock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use super::super::express::{ExpressQueue, LaneSignal};
use super::super::quota::Amount;
use crate::clock::Millis;

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) signal: Arc<LaneSignal>,
    /// Taken but not attempted: before all fresh ones, in order of arrival.
    returned: BTreeSet<u64>,
    /// In order of arrival.
    fresh: VecDeque<u64>,
    /// By due time, then arrival.
    deferred: BinaryHeap<Reverse<(Millis, u64)>>,
    /// Passed events: before all others.
    pub(super) express: ExpressQueue,
    /// Fresh, deferred and in flight.
    pub(super) pending: Amount,
    pub(super) dead: u64,
    /// In flight or deferred: all that is pending and in neither of the first two queues.
    started: BTreeSet<u64>,
}

impl LaneState {
    pub(super) fn new(signal: Arc<LaneSignal>) -> Self {
        Self {
            express: ExpressQueue::new(Arc::clone(&signal.open)),
            signal,
            returned: BTreeSet::new(),
            fresh: VecDeque::new(),
            deferred: BinaryHeap::new(),
            pending: Amount::default(),
            dead: 0,
            started: BTreeSet::new(),
        }
    }

    /// A fresh event at the end of the queue.
    pub(super) fn push_fresh(&mut self, seq: u64, size: Amount) {
        self.fresh.push_back(seq);
        self.pending += size;
    }

    /// The next event of the queue; it is in flight now.
    pub(super) fn pop_fresh(&mut self) -> Option<u64> {
        let seq = self.returned.pop_first().or_else(|| self.fresh.pop_front())?;
        self.started.insert(seq);
        Some(seq)
    }

    /// An event in flight goes to the front of the queue.
    pub(super) fn put_back(&mut self, seq: u64) {
        self.started.remove(&seq);
        self.returned.insert(seq);
    }

    /// An event in flight waits.
    pub(super) fn push_deferred(&mut self, due: Millis, seq: u64) {
        self.deferred.push(Reverse((due, seq)));
    }

    /// An event from before the start waits.
    pub(super) fn push_waiting(&mut self, due: Millis, seq: u64, size: Amount) {
        self.started.insert(seq);
        self.pending += size;
        self.push_deferred(due, seq);
    }

    /// The next event that has waited long enough; it is in flight now.
    pub(super) fn pop_due(&mut self, now: Millis) -> Option<u64> {
        self.next_due().filter(|due| *due <= now)?;
        self.deferred.pop().map(|Reverse((_, seq))| seq)
    }

    /// An event in flight is settled.
    pub(super) fn end(&mut self, seq: u64, size: Amount) {
        self.started.remove(&seq);
        self.pending -= size;
    }

    /// The earliest of what is pending (of the queue: its head, which a replayed event may stand behind).
    pub(super) fn oldest(&self) -> Option<u64> {
        let heads = [self.started.first(), self.returned.first(), self.fresh.front()];
        heads.into_iter().flatten().min().copied()
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        self.deferred.peek().map(|Reverse((due, _))| *due)
    }

    /// How many wait for their next attempt.
    pub(super) fn deferred(&self) -> u64 {
        self.deferred.len() as u64
    }

    /// How many entries `take` could find, at most.
    pub(super) fn waiting(&self) -> usize {
        self.returned.len() + self.fresh.len() + self.express.len()
    }
}
