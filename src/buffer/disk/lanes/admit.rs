//! How an event comes in, and how it comes in again.

use tokio::sync::oneshot;

use super::*;
use crate::buffer::keys::Entry;
use crate::event::Outcome;

impl Lanes {
    /// Whether an event of `weight` bytes may be kept for `lanes` (each named once).
    pub fn check(&self, weight: u64, lanes: &[u32]) -> Result<(), Full> {
        self.quota.check(&Holding::new(weight), lanes.iter().copied())
    }

    /// `seq` was appended, for whatever lanes: from here on its segment is one in which somebody waits. Between its commit
    /// and [`Lanes::admit`] a segment that was just left could else be taken for settled, and go.
    pub fn announce(&mut self, seq: u64) {
        self.events.insert(seq);
    }

    /// The announced event was not kept.
    pub fn withdraw(&mut self, seq: u64) {
        self.events.remove(seq);
    }

    /// Charges an event that was checked. Nobody sees it yet.
    pub fn reserve(&mut self, weight: u32, lanes: &[u32]) -> Reserved {
        let mut holding = Holding::new(u64::from(weight));
        let charges = lanes.iter().map(|lane| (*lane, self.quota.charge(&mut holding, *lane))).collect();
        Reserved { weight, holding, charges }
    }

    /// Gives back what was reserved for an event that is not kept.
    pub fn unreserve(&mut self, reserved: Reserved) {
        let Reserved { mut holding, charges, .. } = reserved;
        for (lane, charge) in charges {
            self.quota.release(&mut holding, lane, charge);
        }
    }

    /// The event is one that was replayed at this moment, at every destination that room is reserved for.
    pub fn renew_all(&mut self, reserved: &Reserved, seq: u64, at: Millis) {
        reserved.charges.iter().for_each(|(lane, _)| self.renew(seq, *lane, at));
    }

    /// Lets a committed event in, in the order of commits: into each lane's window where nothing is before it and it
    /// fits, else into the backlog. Wakes the lanes.
    pub fn admit(&mut self, reserved: Reserved, ready: Ready) {
        let Reserved { weight, charges, .. } = reserved;
        debug_assert_eq!(weight, ready.weight, "what is given back must be what was charged");
        if charges.is_empty() {
            self.events.remove(ready.seq); // nobody waits for it
        }
        for (number, charge) in charges {
            let (windows, limits) = (self.windows, self.limits);
            let Some(lane) = self.lanes.get_mut(number as usize).filter(|_| charge != Charge::None) else {
                continue;
            };
            self.events.insert(ready.seq);
            if charge == Charge::Shared {
                lane.shared.insert(ready.seq);
            }
            lane.pending_bytes += u64::from(weight);
            self.windows += lane.admit(&ready, windows, limits);
            lane.wake();
        }
    }

    /// Hands `event` to `lanes` ahead of their backlog, to all or to none. Wakes the lanes.
    pub fn pass(
        &mut self,
        event: &Arc<Event>,
        lanes: &[u32],
    ) -> Result<Vec<oneshot::Receiver<Outcome>>, Full> {
        let (weight, max_bytes) = (event.weight(), self.express_bytes);
        for number in lanes {
            let lane = self.lanes.get_mut(*number as usize);
            if !lane.is_some_and(|lane| lane.express.has_room(weight, max_bytes)) {
                return Err(Full::Destination(*number));
            }
        }
        let mut outcomes = Vec::with_capacity(lanes.len());
        for number in lanes {
            if let Some(lane) = self.lanes.get_mut(*number as usize) {
                outcomes.push(lane.express.push(Arc::clone(event), weight));
                lane.wake();
            }
        }
        Ok(outcomes)
    }

    /// Whether `seq` may be put back into those of `lanes` where it is not pending.
    pub fn check_requeue(&self, seq: u64, lanes: &[u32], weight: u32, lanes_of: &[u32]) -> Result<(), Full> {
        let holding = self.holding(seq, weight, lanes_of, None);
        let again = lanes.iter().copied().filter(|lane| !self.pends(seq, *lane));
        self.quota.check(&holding, again)
    }

    /// Lets `seq` pend again at `lane`, where it was settled or dead and was checked: it is charged anew, and as young as
    /// `now`. `false` where it is pending there. Wakes the lane.
    pub fn requeue(
        &mut self,
        seq: u64,
        lane: u32,
        (weight, turn): (u32, Turn),
        lanes_of: &[u32],
        now: Millis,
    ) -> bool {
        if self.pends(seq, lane) {
            return false;
        }
        let mut holding = self.holding(seq, weight, lanes_of, None);
        let charge = self.quota.charge(&mut holding, lane);
        let Some(at) = self.lanes.get_mut(lane as usize) else { return false };
        if charge == Charge::Shared {
            at.shared.insert(seq);
        }
        at.dead.remove(seq);
        at.renewed.insert(seq, now);
        self.pend(seq, lane, weight, turn);
        true
    }

    /// Charged already: into the backlog.
    pub(super) fn pend(&mut self, seq: u64, lane: u32, weight: u32, turn: Turn) {
        let Some(at) = self.lanes.get_mut(lane as usize) else { return };
        at.shelve(turn, seq);
        at.pending_bytes += u64::from(weight);
        self.events.insert(seq);
        at.wake();
    }

    pub(super) fn pends(&self, seq: u64, lane: u32) -> bool {
        self.lanes.get(lane as usize).is_some_and(|lane| lane.is_pending(seq))
    }
}

impl Lane {
    /// Lets a committed event in; how many bytes more all windows hold, which hold `windows`.
    fn admit(&mut self, ready: &Ready, windows: u64, limits: Limits) -> u64 {
        let Ready { seq, .. } = *ready;
        let Turn { priority: class, order_key } = ready.event.turn;
        let track = self.tracks.get_mut(class);
        track.keyed |= order_key.is_some();
        let stand = if track.is_unread() {
            (self.recovering
                && order_key.is_none()
                && track.has_room_ahead(windows, ready.in_memory(), limits))
            .then_some(Stand::Ahead)
        } else if !track.has_room(windows, ready.in_memory(), limits) {
            None
        } else {
            match order_key.map_or(Entry::Next, |key| self.keys.enter(key, class, seq)) {
                Entry::Next => Some(Stand::Window),
                Entry::Aside => return 0,
                Entry::Full => None,
            }
        };
        match stand {
            Some(stand) => {
                self.queue(stand, ready.clone());
                ready.in_memory()
            }
            None => {
                self.shelve(ready.event.turn, seq);
                0
            }
        }
    }

    /// A fresh event in memory, in its place there; its first attempt is still to come.
    pub(super) fn queue(&mut self, stand: Stand, ready: Ready) {
        let (seq, class) = (ready.seq, ready.event.turn.priority);
        let track = self.tracks.get_mut(class);
        track.fresh_bytes += ready.in_memory();
        match stand {
            Stand::Ahead => track.ahead.push_back(seq),
            Stand::Returned => drop(track.returned.insert(seq)),
            _ => track.window.push_back(seq),
        }
        self.near.insert(seq, Near { ready: Some(ready), ..Near::fresh(stand, class) });
    }
}

impl Track {
    /// Whether a fresh event of `bytes` fits into the window, where all windows hold `windows` bytes.
    fn has_room(&self, windows: u64, bytes: u64, limits: Limits) -> bool {
        self.fresh() == 0
            || (self.fresh() < limits.window_events
                && self.fresh_bytes + bytes <= limits.window_bytes
                && windows + bytes <= limits.windows_bytes)
    }

    /// Whether it may go ahead of the backlog while the lane recovers.
    fn has_room_ahead(&self, windows: u64, bytes: u64, limits: Limits) -> bool {
        self.ahead.len() < limits.window_events / 4 && windows + bytes <= limits.windows_bytes
    }

    /// Whether events that came before are not in the window yet, and were not looked at.
    pub(super) fn is_unread(&self) -> bool {
        !self.backlog.is_empty() || self.reading > 0 || self.sifting
    }
}
