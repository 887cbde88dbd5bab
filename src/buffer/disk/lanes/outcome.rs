//! How an event is taken, and what becomes of it.

use super::*;

impl Lanes {
    /// The next deliveries of a lane: passed events, then those put back, then fresh ones.
    pub fn take(&mut self, lane: u32, max: usize) -> Vec<Delivery> {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return Vec::new() };
        let mut taken = Vec::with_capacity(max.min(lane.express.len() + lane.fresh()));
        while taken.len() < max {
            let Some(delivery) = lane.express.pop() else { break };
            taken.push(delivery);
        }
        let mut again = Vec::new();
        while taken.len() < max {
            let Some(seq) = lane.returned.pop_first().or_else(|| lane.window.pop_front()) else { break };
            match lane.start(seq) {
                Ok((delivery, bytes)) => {
                    lane.fresh_bytes -= bytes;
                    self.windows -= bytes;
                    taken.push(delivery);
                }
                Err(Clash) => again.push(seq),
            }
        }
        for seq in again {
            if let Some(near) = lane.near.get_mut(&seq) {
                near.stand = Stand::Returned;
                lane.returned.insert(seq);
            }
        }
        taken
    }

    /// The next passed event alone.
    pub fn take_express(&mut self, lane: u32) -> Option<Delivery> {
        self.lanes.get_mut(lane as usize)?.express.pop()
    }

    /// The next retry that was brought, and whose time has come by `now`.
    pub fn take_due(&mut self, lane: u32, now: Millis) -> Option<Delivery> {
        let lane = self.lanes.get_mut(lane as usize)?;
        let due: Vec<_> = lane.due.iter().take_while(|(due, _)| *due <= now).copied().collect();
        for (due, seq) in due {
            if let Ok((delivery, bytes)) = lane.start(seq) {
                lane.due.remove(&(due, seq));
                lane.due_bytes -= bytes;
                self.windows -= bytes;
                return Some(delivery);
            }
        }
        None
    }

    /// When the earliest retry is due, of those that were brought and those that wait.
    pub fn next_due(&self, lane: u32) -> Option<Millis> {
        let lane = self.lanes.get(lane as usize)?;
        let brought = lane.due.first().map(|(due, _)| *due);
        [brought, lane.retries.next_due()].into_iter().flatten().min()
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

    /// Out of flight and on its way to the dead letters: still pending until [`Lanes::died`] or [`Lanes::wait`].
    pub fn dying(&mut self, lane: u32, id: EventId) -> Option<Ready> {
        let (_, near) = self.lanes.get_mut(lane as usize)?.land(id, Stand::Ending)?;
        near.ready.take()
    }

    /// It stands in the dead letters, durably. `false` where it was not on its way there.
    pub fn died(&mut self, seq: u64, lane: u32, weight: u32, lanes_of: &[u32]) -> bool {
        if !self.is_ending(seq, lane) {
            return false;
        }
        self.release(seq, lane, weight, lanes_of);
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.dead.insert(seq);
        }
        true
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
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.near.remove(&seq);
            lane.wait(&Retry { due, seq, attempt, dying, at });
        }
        self.spill();
        true
    }

    /// An event in flight was not attempted: to the front of its lane. `false` where it is not in flight.
    pub fn put_back(&mut self, lane: u32, id: EventId) -> bool {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return false };
        let Some((seq, near)) = lane.land(id, Stand::Returned) else { return false };
        let bytes = near.ready.as_ref().map_or(0, Ready::in_memory);
        lane.returned.insert(seq);
        lane.fresh_bytes += bytes;
        self.windows += bytes;
        true
    }

    fn is_ending(&self, seq: u64, lane: u32) -> bool {
        let near = self.lanes.get(lane as usize).and_then(|lane| lane.near.get(&seq));
        near.is_some_and(|near| near.stand == Stand::Ending)
    }

    /// Where too many retries are in memory, the lane with the most of them moves its later ones out.
    pub(super) fn spill(&mut self) {
        if self.room.is_over()
            && let Some(lane) = self.lanes.iter_mut().max_by_key(|lane| lane.retries.in_memory())
        {
            lane.retries.spill();
        }
    }
}

/// An event of the same id is in flight in this lane (a dead letter that was sent again): not both at once.
#[derive(Debug)]
pub(super) struct Clash;

impl Lane {
    /// Marks what came out of a queue as in flight. Its bytes come with it.
    fn start(&mut self, seq: u64) -> Result<(Delivery, u64), Clash> {
        let near = self.near.get_mut(&seq).ok_or(Clash)?;
        let ready = near.ready.as_ref().ok_or(Clash)?;
        if self.in_flight.contains_key(&ready.id) {
            return Err(Clash);
        }
        near.stand = Stand::InFlight;
        self.in_flight.insert(ready.id, seq);
        let (event, since) = (Arc::clone(&ready.event), ready.event.received_at);
        let delivery = Delivery { event, attempt: near.made.saturating_add(1), since, express: None };
        Ok((delivery, ready.in_memory()))
    }

    /// Nowhere in this lane: it waits now.
    pub(super) fn wait(&mut self, retry: &Retry) {
        match self.retries.push(retry) {
            Ok(()) => drop(self.waiting.insert(retry.seq)),
            Err(_) => drop(self.backlog.insert(retry.seq)),
        }
    }
}
