//! One destination's queues. Everything here runs under the buffer's lock, but for [`LaneSignal`].

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, oneshot};

use super::super::handoff::{Delivery, Express, OpenExpress};
use super::super::quota::Amount;
use crate::clock::Millis;
use crate::event::{Event, Outcome};

/// How many passed events (`ack = "delivered"`) may wait at one destination for a free connection.
pub(super) const MAX_EXPRESS: usize = 1024;

/// The part of a lane that is used without the lock: its name, and the wake-up of its task.
#[derive(Debug)]
pub(super) struct LaneSignal {
    pub(super) name: Arc<str>,
    /// Passed events without an outcome, and whoever waits for the end of all work.
    pub(super) open: Arc<OpenExpress>,
    /// Something was added since the task last looked, and the task was told.
    told: AtomicBool,
    wake: Notify,
}

impl LaneSignal {
    pub(super) fn new(name: Arc<str>, open: Arc<OpenExpress>) -> Self {
        Self { name, open, told: AtomicBool::new(false), wake: Notify::new() }
    }

    /// After something was added: wakes the task, once between two looks.
    pub(super) fn added(&self) {
        if !self.told.swap(true, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    /// Before the task looks: what is added from here on wakes it anew.
    pub(super) fn looking(&self) {
        self.told.store(false, Ordering::Release);
    }

    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }
}

/// A passed event that waits for its one attempt.
#[derive(Debug)]
struct Waiting {
    event: Arc<Event>,
    weight: u64,
    express: Express,
}

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) signal: Arc<LaneSignal>,
    /// Taken but not attempted: before all fresh ones, in order of arrival.
    returned: BTreeSet<u64>,
    /// In order of arrival.
    fresh: VecDeque<u64>,
    /// By due time, then arrival.
    deferred: BinaryHeap<Reverse<(Millis, u64)>>,
    express: VecDeque<Waiting>,
    express_bytes: u64,
    /// Fresh, deferred and in flight.
    pub(super) pending: Amount,
    pub(super) dead: u64,
    /// In flight or deferred: all that is pending and in neither of the first two queues.
    started: BTreeSet<u64>,
}

impl LaneState {
    pub(super) fn new(signal: Arc<LaneSignal>) -> Self {
        Self {
            signal,
            returned: BTreeSet::new(),
            fresh: VecDeque::new(),
            deferred: BinaryHeap::new(),
            express: VecDeque::new(),
            express_bytes: 0,
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

    /// How many entries `take` could find, at most.
    pub(super) fn waiting(&self) -> usize {
        self.returned.len() + self.fresh.len() + self.express.len()
    }

    /// Whether a passed event of `weight` bytes may wait here, where `max_bytes` may. One always may.
    pub(super) fn has_express_room(&mut self, weight: u64, max_bytes: u64) -> bool {
        if !self.express_fits(weight, max_bytes) {
            // Those whose sender hung up hold their place only until somebody needs it.
            self.express.retain(|waiting| !waiting.express.is_closed());
            self.express_bytes = self.express.iter().map(|waiting| waiting.weight).sum();
        }
        self.express_fits(weight, max_bytes)
    }

    fn express_fits(&self, weight: u64, max_bytes: u64) -> bool {
        self.express.is_empty()
            || (self.express.len() < MAX_EXPRESS && self.express_bytes.saturating_add(weight) <= max_bytes)
    }

    pub(super) fn push_express(&mut self, event: Arc<Event>, weight: u64) -> oneshot::Receiver<Outcome> {
        let (express, outcome) = Express::new(&self.signal.open);
        self.express.push_back(Waiting { event, weight, express });
        self.express_bytes += weight;
        outcome
    }

    /// The next passed event whose sender still waits.
    pub(super) fn pop_express(&mut self) -> Option<Delivery> {
        while let Some(Waiting { event, weight, express }) = self.express.pop_front() {
            self.express_bytes -= weight;
            if !express.is_closed() {
                return Some(Delivery { event, attempt: 1, express: Some(express) });
            }
        }
        None
    }
}
