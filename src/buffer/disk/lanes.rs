//! Who waits where, in little memory: every lane of the disk form, under one lock of the caller's.
//!
//! Nothing here reads an event from the disk. The caller does, and says what it brought:
//! ```text
//!            ┌─(no room, or others before it)─► backlog ──wanted──► being read ──bring──┐
//! reserve ► admit ──────────────────────────────────────────────► window ◄──────────────┘
//!            └─(behind one of its key)─► aside ─(freed)─► next ─wanted─┘│ ▲    (or at once, where it was read with the one
//!                                                                       │ │     before it)
//!                                                                   take  put_back
//!                                                                   ▼ │
//!   waiting ──wanted (due)──► being read ──bring──► ready ──take──► in flight ──settle──► gone
//!      ▲                                                                │
//!      └────────────── wait ◄─────────────── ending ◄──── defer, dying ─┘
//!                                               └──── died ────► dead
//! ```
//! All but what is in flight or ending stands so for each class of its own; the order keys are the lane's. Where a lane has
//! events with keys, the start of its backlog is *sifted* before it is read: whose key is busy steps aside unread.
//!
//! What happens to an event is written first (`wait` and `died` come after the commit), but for a 2xx: one that is
//! forgotten by a crash goes out again.

mod admit;
mod lane;
mod live;
mod outcome;
mod refill;
mod restore;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::progress::Loc;
use super::retries::{Retry, RetryRoom};
use crate::buffer::express::{ExpressQueue, LaneSignal};
use crate::buffer::handoff::{Delivery, MaxPending, OpenExpress};
use crate::buffer::quota::{Amount, Charge, Full, Holding, Quota};
use crate::buffer::seqs::Seqs;
use crate::buffer::view::MAX_ATTEMPTS_KEPT;
use crate::clock::Millis;
use crate::event::{Attempt, Event, EventId, OrderKey, Priority, Turn};
use lane::{Lane, Near, Stand, Track};

/// How much the windows hold. There is one for each class of a lane.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// A window holds at most so many fresh events …
    window_events: usize,
    /// … and so many bytes, but always one event; as much again may be retries whose time has come.
    window_bytes: u64,
    /// All windows hold at most so many bytes, but for the one event of each.
    windows_bytes: u64,
}

/// What an event in a window takes in memory beside its bytes, about: its place, its parts on the heap. Of small events
/// it is the larger part.
const BESIDE: u64 = 768;

const LIMITS: Limits = Limits { window_events: 256, window_bytes: 1 << 20, windows_bytes: 32 << 20 };

/// An event in memory, on its way to a destination.
#[derive(Clone, Debug)]
pub(in crate::buffer) struct Ready {
    /// Its sequence number.
    pub seq: u64,
    /// hooklatch's own id of it.
    pub id: EventId,
    /// The event.
    pub event: Arc<Event>,
    /// The number of its source.
    pub source: u32,
    /// What it is charged with, in bytes.
    pub weight: u32,
    /// Attempts of its present budget.
    pub attempts: Vec<Attempt>,
}

impl Ready {
    /// What it takes in memory.
    fn in_memory(&self) -> u64 {
        u64::from(self.weight) + BESIDE
    }

    /// Remembers an attempt that ended.
    pub fn record(&mut self, attempt: Attempt) {
        if self.attempts.len() >= MAX_ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
    }
}

/// Room that is taken for an event which is not committed yet.
#[derive(Debug)]
#[must_use = "room that is not given back is lost"]
pub(in crate::buffer) struct Reserved {
    weight: u32,
    holding: Holding,
    charges: Vec<(u32, Charge)>,
}

/// What is to be read for one class of a lane.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::buffer) struct Wanted {
    /// The class.
    pub class: Priority,
    /// Fresh events, ascending.
    pub fresh: Vec<u64>,
    /// Those that follow these in the order of their keys, ascending: to be read as well, for [`Lanes::prefetched`].
    pub followers: Vec<u64>,
    /// Instead of these: the start of the backlog, ascending, of which the order keys are to be told to [`Lanes::sift`].
    /// That must come, too.
    pub sift: Vec<u64>,
    /// So many bytes of them at most, but always one.
    pub max_bytes: u64,
    /// Retries whose time has come, earliest first. One that is dying is the caller's from here on, as after
    /// [`Lanes::dying`]; the others are to be brought.
    pub retries: Vec<WantedRetry>,
    /// So many bytes of them at most, but always one.
    pub max_retry_bytes: u64,
}

/// A retry whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct WantedRetry {
    /// The event's sequence number.
    pub seq: u64,
    /// Where its last `Deferred` stands.
    pub at: Loc,
    /// Attempts made out of the present budget.
    pub attempt: u16,
    /// It waits for room in the dead letters.
    pub dying: bool,
}

/// The figures of one lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::buffer) struct LaneFigures {
    /// Pending events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events in the dead letters that the spool still knows.
    pub dead: u64,
    /// The earliest pending one.
    pub oldest: Option<u64>,
    /// Pending and not read.
    pub backlog: u64,
    /// Waiting retries, on disk or in memory.
    pub waiting: u64,
    /// Taken.
    pub in_flight: u64,
}

/// All lanes.
#[derive(Debug)]
pub(in crate::buffer) struct Lanes {
    /// By number.
    lanes: Vec<Lane>,
    /// Events that are pending anywhere.
    events: Seqs,
    pub quota: Quota,
    open: Arc<OpenExpress>,
    /// How many bytes of passed events may wait in one lane.
    express_bytes: u64,
    room: Arc<RetryRoom>,
    /// Bytes in all windows, with what each event takes beside its own.
    windows: u64,
    limits: Limits,
}

impl Lanes {
    /// Without lanes. What is too much for `room` of waiting retries goes into its file.
    pub fn new(bound: Amount, open: Arc<OpenExpress>, room: Arc<RetryRoom>) -> Self {
        Self {
            lanes: Vec::new(),
            events: Seqs::default(),
            quota: Quota::new(bound),
            open,
            express_bytes: bound.bytes / 8,
            room,
            windows: 0,
            limits: LIMITS,
        }
    }

    /// The lane `number`, which has this name; made where there is none.
    pub fn lane(&mut self, number: u32, name: &Arc<str>) -> Arc<LaneSignal> {
        self.make(number);
        let new = || Arc::new(LaneSignal::new(Arc::clone(name), Arc::clone(&self.open)));
        match self.lanes.get_mut(number as usize) {
            Some(lane) => Arc::clone(lane.signal.get_or_insert_with(new)),
            None => new(),
        }
    }

    /// Lanes are numbered without gaps, but may be met in any order.
    fn make(&mut self, number: u32) {
        while self.lanes.len() <= number as usize {
            let express = ExpressQueue::new(Arc::clone(&self.open));
            self.lanes.push(Lane::new(&self.room, express));
            self.quota.add_destination();
        }
    }

    /// Reserves anew, for exactly these destinations. What a lane without a destination has in memory goes back to the
    /// disk: nobody will take it, and others need the room.
    pub fn set_destinations(&mut self, destinations: &[(u32, MaxPending)]) {
        const AT_LEAST: u64 = 1 << 20;
        for (number, _) in destinations {
            self.make(*number);
        }
        self.quota.configure(destinations);
        let parts = destinations.len().max(1) as u64;
        self.express_bytes = (self.quota.bound().bytes / 8 / parts).max(AT_LEAST);
        for number in 0..self.lanes.len() as u32 {
            if !self.quota.configured(number) {
                self.shed(number);
            }
        }
    }

    /// Pending events of a lane, and their bytes.
    pub fn depth(&self, lane: u32) -> (u64, u64) {
        self.lanes.get(lane as usize).map_or((0, 0), |lane| (lane.pending(), lane.pending_bytes))
    }

    /// The earliest event pending in a lane.
    #[cfg(test)]
    pub fn oldest_seq(&self, lane: u32) -> Option<u64> {
        self.lanes.get(lane as usize)?.oldest()
    }

    /// The figures of a lane.
    pub fn figures(&self, lane: u32) -> LaneFigures {
        self.lanes.get(lane as usize).map_or_else(LaneFigures::default, |lane| LaneFigures {
            events: lane.pending(),
            bytes: lane.pending_bytes,
            dead: lane.dead.len(),
            oldest: lane.oldest(),
            backlog: lane
                .tracks
                .iter()
                .map(|(_, track)| track.backlog.len() + track.next.len() as u64)
                .sum::<u64>()
                + lane.keys.aside(),
            waiting: lane.tracks.iter().map(|(_, track)| track.waiting.len()).sum(),
            in_flight: lane.in_flight.len() as u64,
        })
    }

    /// Bytes of events in the windows of all lanes.
    #[cfg(test)]
    pub fn window_bytes(&self) -> u64 {
        self.windows
    }

    /// Whether nothing is pending in any lane that is configured.
    pub fn is_drained(&self) -> bool {
        let idle =
            |(number, lane): (usize, &Lane)| lane.pending() == 0 || !self.quota.configured(number as u32);
        self.lanes.iter().enumerate().all(idle)
    }

    /// What the quota remembers of an event: nothing is kept for that, the lanes know. `also` is counted, too, where
    /// it is not among `lanes_of`.
    fn holding(&self, seq: u64, weight: u32, lanes_of: &[u32], also: Option<u32>) -> Holding {
        let (mut charged, mut shared) = (0, 0);
        let also = also.filter(|lane| !lanes_of.contains(lane));
        for lane in lanes_of.iter().copied().chain(also) {
            let Some(lane) = self.lanes.get(lane as usize) else { continue };
            if lane.is_pending(seq) {
                charged += 1;
                shared += u32::from(lane.shared.contains(seq));
            }
        }
        Holding::rebuilt(u64::from(weight), charged, shared)
    }

    /// Ends `seq` at `lane`, wherever it is; whether it was pending there.
    fn release(&mut self, seq: u64, lane: u32, weight: u32, lanes_of: &[u32]) -> bool {
        let mut holding = self.holding(seq, weight, lanes_of, Some(lane));
        let Some(at) = self.lanes.get_mut(lane as usize) else { return false };
        let Some(bytes) = at.forget(seq) else { return false };
        self.windows -= bytes;
        at.pending_bytes = at.pending_bytes.saturating_sub(u64::from(weight));
        let charge = if at.shared.remove(seq) { Charge::Shared } else { Charge::Reserved };
        self.quota.release(&mut holding, lane, charge);
        if holding.is_free() {
            self.events.remove(seq);
        }
        true
    }
}
