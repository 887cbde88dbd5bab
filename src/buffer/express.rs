//! What both forms of the buffer have of a lane: its name, the wake-up of its task, and its passed events
//! (`ack = "delivered"`), which are never kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, oneshot};

use super::handoff::{Delivery, Express, OpenExpress};
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

/// The passed events of one lane, in order of arrival. Runs under the buffer's lock.
#[derive(Debug)]
pub(super) struct ExpressQueue {
    queue: VecDeque<Waiting>,
    bytes: u64,
    open: Arc<OpenExpress>,
}

impl ExpressQueue {
    pub(super) fn new(open: Arc<OpenExpress>) -> Self {
        Self { queue: VecDeque::new(), bytes: 0, open }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether a passed event of `weight` bytes may wait here, where `max_bytes` may. One always may.
    pub(super) fn has_room(&mut self, weight: u64, max_bytes: u64) -> bool {
        if !self.fits(weight, max_bytes) {
            // Those whose sender hung up hold their place only until somebody needs it.
            self.queue.retain(|waiting| !waiting.express.is_closed());
            self.bytes = self.queue.iter().map(|waiting| waiting.weight).sum();
        }
        self.fits(weight, max_bytes)
    }

    fn fits(&self, weight: u64, max_bytes: u64) -> bool {
        self.queue.is_empty()
            || (self.queue.len() < MAX_EXPRESS && self.bytes.saturating_add(weight) <= max_bytes)
    }

    pub(super) fn push(&mut self, event: Arc<Event>, weight: u64) -> oneshot::Receiver<Outcome> {
        let (express, outcome) = Express::new(&self.open);
        self.queue.push_back(Waiting { event, weight, express });
        self.bytes += weight;
        outcome
    }

    /// The next passed event whose sender still waits.
    pub(super) fn pop(&mut self) -> Option<Delivery> {
        while let Some(Waiting { event, weight, express }) = self.queue.pop_front() {
            self.bytes -= weight;
            if !express.is_closed() {
                let since = event.received_at;
                return Some(Delivery { event, attempt: 1, since, express: Some(express) });
            }
        }
        None
    }
}
