//! One destination's queue, as its delivery task holds it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::lanes::Ready;
use super::mortician::{Burial, Job};
use super::progress::{Progress, What};
use super::shared::{MAX_DYING, Shared, State};
use crate::buffer::express::LaneSignal;
use crate::buffer::handoff::{DeadReason, Delivery, Settled};
use crate::buffer::turns::Ask;
use crate::clock::Millis;
use crate::event::{Attempt, EventId, OrderKey, Priority};

/// One destination's queue on disk.
#[derive(Clone)]
pub struct DiskLane {
    pub(super) shared: Arc<Shared>,
    pub(super) number: u32,
    pub(super) signal: Arc<LaneSignal>,
}

impl fmt::Debug for DiskLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLane").field("destination", &self.signal.name).finish_non_exhaustive()
    }
}

impl DiskLane {
    pub(in crate::buffer) fn number(&self) -> u32 {
        self.number
    }

    pub(in crate::buffer) fn destination(&self) -> &Arc<str> {
        &self.signal.name
    }

    pub(in crate::buffer) fn take(&self, max: usize) -> Vec<Delivery> {
        self.take_of(Ask::Next, max)
    }

    pub(in crate::buffer) fn take_fresh(&self, max: usize) -> Vec<Delivery> {
        self.take_of(Ask::Fresh, max)
    }

    fn take_of(&self, ask: Ask, max: usize) -> Vec<Delivery> {
        self.signal.looking();
        let now = self.shared.clock.now();
        let (taken, look) = {
            let mut state = self.shared.state.lock();
            let taken = state.lanes.take_of(self.number, ask, max, now);
            (taken, state.lanes.wants_refill(self.number, now))
        };
        if look {
            self.shared.look(self.number);
        }
        taken
    }

    pub(in crate::buffer) fn take_express(&self) -> Option<Delivery> {
        self.signal.looking();
        self.shared.state.lock().lanes.take_express(self.number)
    }

    pub(in crate::buffer) fn recovering(&self, recovering: bool) {
        self.shared.state.lock().lanes.recovering(self.number, recovering);
    }

    pub(in crate::buffer) fn hasten(&self, now: Millis) {
        {
            let mut state = self.shared.state.lock();
            state.lanes.hasten(self.number, now);
            let being_written = state.deferring.iter_mut().filter(|((_, lane), _)| *lane == self.number);
            being_written.for_each(|(_, (due, ..))| *due = now.min(*due));
        }
        self.shared.bury(Job::Hastened(Arc::clone(&self.signal.name), now));
        self.shared.look(self.number);
    }

    pub(in crate::buffer) fn next_class(&self) -> Option<Priority> {
        let now = self.shared.clock.now();
        let (class, look) = {
            let state = self.shared.state.lock();
            (state.lanes.next_class(self.number, now), state.lanes.wants_refill(self.number, now))
        };
        // What is due and on the disk is seen here once it was brought.
        if look {
            self.shared.look(self.number);
        }
        class
    }

    pub(in crate::buffer) fn may_hold(&self, key: OrderKey) -> bool {
        self.shared.state.lock().lanes.may_hold(self.number, key)
    }

    pub(in crate::buffer) fn next_due(&self) -> Option<Millis> {
        self.shared.state.lock().lanes.next_due(self.number)
    }

    pub(in crate::buffer) fn settle(&self, id: EventId, settled: Settled, attempt: Attempt, excerpt: &Bytes) {
        match settled {
            Settled::Delivered => self.delivered(id, attempt),
            Settled::Dead(reason) => self.died(id, reason, Some(attempt), excerpt),
        }
    }

    fn delivered(&self, id: EventId, attempt: Attempt) {
        let mut state = self.shared.state.lock();
        let Some(source) = state.lanes.in_flight(self.number, id).map(|ready| ready.source) else {
            return self.complain("settled", id);
        };
        let lanes = self.shared.lanes_of(source);
        let Some(mut ready) = state.lanes.settle(self.number, id, &lanes.lanes) else {
            return self.complain("settled", id);
        };
        ready.record(attempt);
        state.excerpts.remove(ready.seq, self.number);
        let emptied = state.lanes.depth(self.number).0 == 0;
        let freed = state.lanes.has_freed(self.number);
        self.shared.note(&state, self.progress(ready, What::Delivered, None));
        drop(state);
        if freed {
            self.shared.look(self.number);
        }
        if emptied {
            self.shared.open.ended.notify_waiters();
        }
    }

    pub(in crate::buffer) fn bury(&self, id: EventId, reason: DeadReason) {
        self.died(id, reason, None, &Bytes::new());
    }

    pub(in crate::buffer) fn dead(&self) -> u64 {
        self.shared.state.lock().lanes.figures(self.number).dead
    }

    fn died(&self, id: EventId, reason: DeadReason, attempt: Option<Attempt>, excerpt: &Bytes) {
        let mut state = self.shared.state.lock();
        if state.dying >= MAX_DYING {
            let due = self.shared.clock.now().plus(Duration::from_secs(1));
            return self.wait_until(state, id, attempt, due, Some(reason), excerpt);
        }
        let Some(mut ready) = state.lanes.dying(self.number, id) else { return self.complain("settled", id) };
        state.dying += 1;
        state.excerpts.remove(ready.seq, self.number);
        let freed = state.lanes.has_freed(self.number);
        drop(state);
        if freed {
            self.shared.look(self.number);
        }
        if let Some(attempt) = attempt {
            ready.record(attempt);
        }
        self.shared.bury(Job::Bury(Box::new(Burial {
            ready,
            lane: self.number,
            reason,
            excerpt: excerpt.clone(),
        })));
    }

    pub(in crate::buffer) fn defer(&self, id: EventId, attempt: Attempt, due: Millis, excerpt: &Bytes) {
        let state = self.shared.state.lock();
        self.wait_until(state, id, Some(attempt), due, None, excerpt);
    }

    fn wait_until(
        &self,
        mut state: parking_lot::MutexGuard<'_, State>,
        id: EventId,
        attempt: Option<Attempt>,
        due: Millis,
        dying: Option<DeadReason>,
        excerpt: &Bytes,
    ) {
        let Some(ready) = state.lanes.defer(self.number, id, attempt) else {
            return self.complain("deferred", id);
        };
        state.excerpts.put(ready.seq, self.number, excerpt);
        let made = ready.attempts.last().map_or(0, |attempt| attempt.number);
        state.deferring.insert((ready.seq, self.number), (due, made, dying.is_some()));
        let since = state.lanes.renewed(ready.seq, self.number);
        self.shared.note(&state, self.progress(ready, What::Deferred { due, dying }, since));
    }

    fn progress(&self, ready: Ready, what: What, since: Option<Millis>) -> Progress {
        Progress { seq: ready.seq, lane: self.number, what, attempts: ready.attempts, since }
    }

    pub(in crate::buffer) fn put_back(&self, id: EventId) {
        if !self.shared.state.lock().lanes.put_back(self.number, id) {
            self.complain("put back", id);
        }
    }

    /// A lane that speaks of an event it does not have is a mistake in the code, but none to stop delivering for.
    fn complain(&self, what: &str, id: EventId) {
        let destination = &*self.signal.name;
        tracing::error!(%id, destination, "an event was {what} that is not in flight; ignored");
    }

    pub(in crate::buffer) fn wake(&self) {
        self.signal.added();
    }

    pub(in crate::buffer) async fn changed(&self) {
        self.signal.changed().await;
    }

    pub(in crate::buffer) fn depth(&self) -> (u64, u64) {
        self.shared.state.lock().lanes.depth(self.number)
    }
}
