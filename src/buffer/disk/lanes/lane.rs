//! One destination: where each of its pending events stands.
//!
//! A place of an event is in exactly one of three: the *backlog* (on disk, not read), the *waiting* (on disk, until its
//! retry is due) or *near* (in memory, or with somebody who said so). Whoever moves it takes it out of the one before
//! it goes into the other, so it is never in two.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::super::progress::Loc;
use super::super::retries::Retries;
use super::Ready;
use super::seqs::Seqs;
use crate::buffer::express::{ExpressQueue, LaneSignal};
use crate::clock::Millis;
use crate::event::EventId;

/// Where an event that left the disk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Fresh, in its turn.
    Window,
    /// Taken but not attempted: before the window.
    Returned,
    /// A retry whose time has come.
    Ready(Millis),
    /// Fresh; being read.
    Reading,
    /// A retry whose time has come; being read.
    ReadingRetry(Millis),
    /// With the lane's task.
    InFlight,
    /// Out of flight; what becomes of it is being written.
    Ending,
}

/// An event that left the disk.
#[derive(Debug)]
pub(super) struct Near {
    pub stand: Stand,
    /// Attempts made out of the present budget.
    pub made: u16,
    /// Where its last `Deferred` stands, if that is the last that happened to it.
    pub step: Option<Loc>,
    /// None while it is read, and once it has left again.
    pub ready: Option<Ready>,
}

#[derive(Debug)]
pub(super) struct Lane {
    /// None until the lane is asked for by its name.
    pub signal: Option<Arc<LaneSignal>>,
    pub backlog: Seqs,
    pub waiting: Seqs,
    pub near: BTreeMap<u64, Near>,
    /// Places charged to the quota's first-come part; all others are charged to the lane's reservation.
    pub shared: Seqs,
    /// What is in the dead letters, and still in the spool.
    pub dead: Seqs,
    pub window: VecDeque<u64>,
    pub returned: BTreeSet<u64>,
    pub due: BTreeSet<(Millis, u64)>,
    pub in_flight: HashMap<EventId, u64>,
    /// How many of `near` are being read: fresh ones, and retries.
    pub reading: usize,
    pub reading_retries: usize,
    pub retries: Retries,
    pub express: ExpressQueue,
    /// Bytes of what is in memory and not in flight: fresh (window and returned), and retries.
    pub fresh_bytes: u64,
    pub due_bytes: u64,
    /// Bytes of all that is pending.
    pub pending_bytes: u64,
}

impl Lane {
    pub fn new(retries: Retries, express: ExpressQueue) -> Self {
        Self {
            signal: None,
            backlog: Seqs::default(),
            waiting: Seqs::default(),
            near: BTreeMap::new(),
            shared: Seqs::default(),
            dead: Seqs::default(),
            window: VecDeque::new(),
            returned: BTreeSet::new(),
            due: BTreeSet::new(),
            in_flight: HashMap::new(),
            reading: 0,
            reading_retries: 0,
            retries,
            express,
            fresh_bytes: 0,
            due_bytes: 0,
            pending_bytes: 0,
        }
    }

    pub fn is_pending(&self, seq: u64) -> bool {
        self.near.contains_key(&seq) || self.backlog.contains(seq) || self.waiting.contains(seq)
    }

    pub fn pending(&self) -> u64 {
        self.backlog.len() + self.waiting.len() + self.near.len() as u64
    }

    pub fn oldest(&self) -> Option<u64> {
        let near = self.near.first_key_value().map(|(seq, _)| *seq);
        [self.backlog.first(), self.waiting.first(), near].into_iter().flatten().min()
    }

    /// How many events wait in memory in their turn.
    pub fn fresh(&self) -> usize {
        self.window.len() + self.returned.len()
    }

    pub fn wake(&self) {
        if let Some(signal) = &self.signal {
            signal.added();
        }
    }

    /// The event `id`, in flight, stands elsewhere now.
    pub fn land(&mut self, id: EventId, stand: Stand) -> Option<(u64, &mut Near)> {
        let seq = self.in_flight.remove(&id)?;
        let near = self.near.get_mut(&seq)?;
        near.stand = stand;
        Some((seq, near))
    }

    /// Takes `seq` out of wherever it is pending; whether it was. How many bytes of it were in memory comes back.
    pub fn forget(&mut self, seq: u64) -> Option<u64> {
        if self.backlog.remove(seq) {
            return Some(0);
        }
        if self.waiting.remove(seq) {
            // Its entry among the retries stays until its time comes, and is skipped then: it does not wait.
            return Some(0);
        }
        let near = self.near.remove(&seq)?;
        let bytes = near.ready.as_ref().map_or(0, Ready::in_memory);
        match near.stand {
            Stand::Window => self.window.retain(|other| *other != seq),
            Stand::Returned => drop(self.returned.remove(&seq)),
            Stand::Ready(due) => drop(self.due.remove(&(due, seq))),
            Stand::Reading => self.reading -= 1,
            Stand::ReadingRetry(_) => self.reading_retries -= 1,
            Stand::InFlight => self.in_flight.retain(|_, other| *other != seq),
            Stand::Ending => {}
        }
        match near.stand {
            Stand::Window | Stand::Returned => {
                self.fresh_bytes -= bytes;
                Some(bytes)
            }
            Stand::Ready(_) => {
                self.due_bytes -= bytes;
                Some(bytes)
            }
            _ => Some(0),
        }
    }
}
