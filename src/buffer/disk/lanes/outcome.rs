//! How an event is taken, and what becomes of it.

use super::*;
use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::turns::{Ask, Line};
use crate::event::ByClass;

impl Lanes {
    /// The next deliveries of a lane, at most `max`: passed events, then what is kept (see `turns`).
    #[cfg(test)]
    pub fn take(&mut self, lane: u32, max: usize, now: Millis) -> Vec<Delivery> {
        self.take_of(lane, Ask::Next, max, now)
    }

    /// The next deliveries of a lane, at most `max`: passed events, then what is kept (see `turns`), as far as they are
    /// asked for.
    pub fn take_of(&mut self, lane: u32, ask: Ask, max: usize, now: Millis) -> Vec<Delivery> {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return Vec::new() };
        let mut taken = Vec::with_capacity(max.min(lane.express.len() + lane.near.len()));
        while ask == Ask::Next && taken.len() < max {
            let Some(delivery) = lane.express.pop() else { break };
            taken.push(delivery);
        }
        let mut clashing = Vec::new();
        while taken.len() < max {
            let Some((delivery, bytes)) = lane.take(now, ask, &mut clashing) else { break };
            self.windows -= bytes;
            taken.extend(delivery);
        }
        for seq in clashing {
            if let Some(near) = lane.near.get_mut(&seq) {
                near.stand = Stand::Returned;
                lane.tracks.get_mut(near.class).returned.insert(seq);
            }
        }
        taken
    }

    /// The next passed event of a lane.
    pub fn take_express(&mut self, lane: u32) -> Option<Delivery> {
        self.lanes.get_mut(lane as usize)?.express.pop()
    }

    /// While a lane recovers, a part of what arrives goes ahead of its backlog.
    pub fn recovering(&mut self, lane: u32, recovering: bool) {
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.recovering = recovering;
        }
    }

    /// All that wait for their next attempt are due by `now`.
    pub fn hasten(&mut self, lane: u32, now: Millis) {
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.hastened = Some(now);
            for class in Priority::ALL {
                lane.tracks.get_mut(class).retries.hasten(now);
            }
        }
    }

    /// When what waits at `lane` by `step` is due.
    pub fn due(&self, lane: u32, step: &Progress) -> Option<Millis> {
        let What::Deferred { due, .. } = step.what else { return None };
        self.lanes.get(lane as usize).map(|lane| lane.due(due, step))
    }

    /// What is pending at `lane` was replayed `at` that moment.
    pub fn renew(&mut self, seq: u64, lane: u32, at: Millis) {
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.renewed.insert(seq, at);
        }
    }

    /// When what is pending at `lane` was replayed, if it was.
    pub fn renewed(&self, seq: u64, lane: u32) -> Option<Millis> {
        self.lanes.get(lane as usize)?.renewed.get(&seq).copied()
    }

    /// The highest class of which something in memory may be taken by `now`.
    pub fn next_class(&self, lane: u32, now: Millis) -> Option<Priority> {
        let lane = self.lanes.get(lane as usize)?;
        Priority::ALL.into_iter().find(|class| lane.tracks.get(*class).waits(now))
    }

    /// Whether an event of this key may be pending in a lane.
    pub fn may_hold(&self, lane: u32, key: OrderKey) -> bool {
        self.lanes.get(lane as usize).is_some_and(|lane| {
            lane.keys.knows(key) || lane.tracks.iter().any(|(_, track)| track.keyed && track.is_unread())
        })
    }

    /// When the earliest retry is due, of those that were brought and those that wait.
    pub fn next_due(&self, lane: u32) -> Option<Millis> {
        let tracks = self.lanes.get(lane as usize)?.tracks.iter();
        let due = tracks.flat_map(|(_, track)| {
            [track.due.first().map(|(due, _)| *due), track.retries.next_due()].into_iter().flatten()
        });
        due.min()
    }

    /// Whether `seq` is on its way.
    pub fn is_in_flight(&self, seq: u64, lane: u32) -> bool {
        let near = self.lanes.get(lane as usize).and_then(|lane| lane.near.get(&seq));
        near.is_some_and(|near| near.stand == Stand::InFlight)
    }

    /// The event in flight that has this id. The caller reads from it what it needs before it says what became of it.
    pub fn in_flight(&self, lane: u32, id: EventId) -> Option<&Ready> {
        let lane = self.lanes.get(lane as usize)?;
        lane.near.get(lane.in_flight.get(&id)?)?.ready.as_ref()
    }

    /// A 2xx: it is over here. `None` where it is not in flight.
    pub fn settle(&mut self, lane: u32, id: EventId, lanes_of: &[u32]) -> Option<Ready> {
        let at = self.lanes.get_mut(lane as usize)?;
        let (seq, near) = at.land(id, Stand::Ending)?;
        let ready = near.ready.take()?;
        self.release(seq, lane, ready.weight, lanes_of);
        Some(ready)
    }

    /// Out of flight and on its way to the dead letters: still pending until [`Lanes::died`] or [`Lanes::wait`], and in
    /// nobody's way.
    pub fn dying(&mut self, lane: u32, id: EventId) -> Option<Ready> {
        let lane = self.lanes.get_mut(lane as usize)?;
        let (seq, near) = lane.land(id, Stand::Ending)?;
        let ready = near.ready.take();
        lane.free_key(seq);
        ready
    }

    /// It stands in the dead letters, durably; which letter that is says [`Lanes::letter`]. `false` where it was not on
    /// its way there.
    pub fn died(&mut self, seq: u64, lane: u32, weight: u32, lanes_of: &[u32]) -> bool {
        if !self.is_ending(seq, lane) {
            return false;
        }
        self.release(seq, lane, weight, lanes_of);
        true
    }

    /// A dead letter of `lane`, by the number in its id: where it was appended anew, its event has another one here.
    pub fn letter(&mut self, seq: u64, lane: u32) {
        self.make(lane);
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.dead.insert(seq);
        }
    }

    /// It left the dead letters.
    pub fn undead(&mut self, seq: u64, lane: u32) -> bool {
        self.lanes.get_mut(lane as usize).is_some_and(|lane| lane.dead.remove(seq))
    }

    /// Whether it is in the dead letters.
    #[cfg(test)]
    pub fn is_dead(&self, seq: u64, lane: u32) -> bool {
        self.lanes.get(lane as usize).is_some_and(|lane| lane.dead.contains(seq))
    }

    /// Whether it is in the dead letters of any lane.
    pub fn is_dead_anywhere(&self, seq: u64) -> bool {
        self.lanes.iter().any(|lane| lane.dead.contains(seq))
    }

    /// Tells the task of a lane to look again.
    pub fn wake(&self, lane: u32) {
        if let Some(lane) = self.lanes.get(lane as usize) {
            lane.wake();
        }
    }

    /// Out of flight, after `attempt` if one was made: still pending, and nobody's until its `Deferred` stands: [`Lanes::wait`].
    pub fn defer(&mut self, lane: u32, id: EventId, attempt: Option<Attempt>) -> Option<Ready> {
        let (_, near) = self.lanes.get_mut(lane as usize)?.land(id, Stand::Ending)?;
        let mut ready = near.ready.take()?;
        if let Some(attempt) = attempt {
            ready.record(attempt);
        }
        Some(ready)
    }

    /// Its `Deferred` stands at `at`: it waits until `due`. `false` where it was not expected to. Where a disk without
    /// room has filled the memory for retries, it goes to the backlog instead: it is sent early rather than never.
    pub fn wait(&mut self, seq: u64, lane: u32, due: Millis, attempt: u16, dying: bool, at: Loc) -> bool {
        if !self.is_ending(seq, lane) {
            return false;
        }
        if let Some(lane) = self.lanes.get_mut(lane as usize)
            && let Some(near) = lane.near.remove(&seq)
        {
            if dying {
                lane.free_key(seq);
            }
            lane.wait(near.class, &Retry { due, seq, attempt, dying, at });
        }
        self.spill();
        true
    }

    /// It was read, and not taken to the dead letters: it waits as before, wherever its last step stands by now.
    pub fn wait_again(&mut self, seq: u64, lane: u32, due: Millis) -> bool {
        let near = self.lanes.get(lane as usize).and_then(|lane| lane.near.get(&seq));
        let Some(&Near { made, step: Some(at), .. }) = near else { return false };
        self.wait(seq, lane, due, made, true, at)
    }

    /// An event in flight was not attempted: to the front of its lane. `false` where it is not in flight.
    pub fn put_back(&mut self, lane: u32, id: EventId) -> bool {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return false };
        let Some((seq, near)) = lane.land(id, Stand::Returned) else { return false };
        let (class, bytes) = (near.class, near.ready.as_ref().map_or(0, Ready::in_memory));
        let track = lane.tracks.get_mut(class);
        track.returned.insert(seq);
        track.fresh_bytes += bytes;
        self.windows += bytes;
        true
    }

    fn is_ending(&self, seq: u64, lane: u32) -> bool {
        let near = self.lanes.get(lane as usize).and_then(|lane| lane.near.get(&seq));
        near.is_some_and(|near| near.stand == Stand::Ending)
    }

    /// Where too many retries are in memory, the lane and class with the most of them moves its later ones out.
    pub(super) fn spill(&mut self) {
        if self.room.is_over() {
            let tracks = self.lanes.iter_mut().flat_map(|lane| lane.tracks.iter_mut());
            let most = tracks.max_by_key(|(_, track)| track.retries.in_memory());
            if let Some((_, track)) = most {
                track.retries.spill();
            }
        }
    }
}

impl Lane {
    /// What is next, with how many bytes leave memory's windows by that; no delivery where it stepped aside. Another event
    /// of the same id may be in flight in this lane (a dead letter that was sent again): not both at once, so that one is
    /// among the `clashing` then.
    fn take(&mut self, now: Millis, ask: Ask, clashing: &mut Vec<u64>) -> Option<(Option<Delivery>, u64)> {
        let waiting = ByClass::new(|class| self.tracks.get(class).waits(now));
        let mut classes = std::mem::take(&mut self.classes);
        let found =
            classes.next(|class| *waiting.get(class), |class| self.take_in(class, now, ask, clashing));
        self.classes = classes;
        found
    }

    fn take_in(
        &mut self,
        class: Priority,
        now: Millis,
        ask: Ask,
        clashing: &mut Vec<u64>,
    ) -> Option<(Option<Delivery>, u64)> {
        let mut lines = std::mem::take(&mut self.tracks.get_mut(class).lines);
        let found = lines.next(|line| match line {
            Line::Due if ask == Ask::Fresh => None,
            Line::Due => self.take_due(class, now),
            Line::Fresh => self.take_fresh(clashing, |lane| {
                let track = lane.tracks.get_mut(class);
                track.returned.pop_first().or_else(|| track.window.pop_front())
            }),
            Line::Ahead => self.take_fresh(clashing, |lane| lane.tracks.get_mut(class).ahead.pop_front()),
        });
        self.tracks.get_mut(class).lines = lines;
        found
    }

    fn take_fresh(
        &mut self,
        clashing: &mut Vec<u64>,
        mut pop: impl FnMut(&mut Self) -> Option<u64>,
    ) -> Option<(Option<Delivery>, u64)> {
        loop {
            let seq = pop(self)?;
            if self.clashes(seq) {
                clashing.push(seq);
                continue;
            }
            let class = self.near.get(&seq)?.class;
            let delivery = if self.keys.begin(seq) { self.start(seq) } else { None };
            let bytes = match &delivery {
                Some(_) => self.near.get(&seq)?.ready.as_ref().map_or(0, Ready::in_memory),
                // Its key is busy: on the disk it waits until it is not.
                None => self.near.remove(&seq)?.ready.as_ref().map_or(0, Ready::in_memory),
            };
            self.tracks.get_mut(class).fresh_bytes -= bytes;
            return Some((delivery, bytes));
        }
    }

    fn take_due(&mut self, class: Priority, now: Millis) -> Option<(Option<Delivery>, u64)> {
        let due = self.tracks.get(class).due.iter().take_while(|(due, _)| *due <= now);
        let (due, seq) = due.copied().find(|(_, seq)| !self.clashes(*seq))?;
        let delivery = self.start(seq)?;
        let bytes = self.near.get(&seq)?.ready.as_ref().map_or(0, Ready::in_memory);
        let track = self.tracks.get_mut(class);
        track.due.remove(&(due, seq));
        track.due_bytes -= bytes;
        Some((Some(delivery), bytes))
    }

    /// Whether an event of the same id is in flight.
    fn clashes(&self, seq: u64) -> bool {
        let ready = self.near.get(&seq).and_then(|near| near.ready.as_ref());
        ready.is_none_or(|ready| self.in_flight.contains_key(&ready.id))
    }

    /// Marks what came out of a line as in flight.
    fn start(&mut self, seq: u64) -> Option<Delivery> {
        let near = self.near.get_mut(&seq)?;
        let ready = near.ready.as_ref()?;
        near.stand = Stand::InFlight;
        self.in_flight.insert(ready.id, seq);
        let event = Arc::clone(&ready.event);
        let since = self.renewed.get(&seq).copied().unwrap_or(event.received_at);
        Some(Delivery { event, attempt: near.made.saturating_add(1), since, express: None })
    }

    /// Nowhere in this lane: it waits now.
    pub(super) fn wait(&mut self, class: Priority, retry: &Retry) {
        let track = self.tracks.get_mut(class);
        match track.retries.push(retry) {
            Ok(()) => drop(track.waiting.insert(retry.seq)),
            Err(_) if self.keys.holds(retry.seq) => drop(track.next.insert(retry.seq)),
            Err(_) => drop(track.backlog.insert(retry.seq)),
        }
    }
}
