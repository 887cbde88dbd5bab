//! What the buffer holds, and each step of an event's life in it. Everything here runs under the buffer's lock:
//! short steps, no I/O, no await.
//!
//! ```text
//! keep ──► Fresh ──take──► InFlight ──settle──► Delivered ──(all destinations)──► history ──► gone
//!            ▲  put_back │    │  ▲                                                   │
//!            ├───────────┘    │  └─── take ─ Deferred ◄─defer─┘                      │
//!            ├── requeue ── Dead ◄─settle─────┘                                      │
//!            └── replay ──── Delivered, Dead, history ◄──────────────────────────────┘
//! ```
//! An event is referred to by its sequence number alone; a place of it is in exactly one queue, or in none.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::express::LaneSignal;
use super::super::handoff::{Delivery, KeepError, MaxPending, OpenExpress, Settled};
use super::super::quota::{Amount, Charge, Full, Holding, Quota};
use super::super::turns::Ask;
use super::history::History;
use super::lane::LaneState;
use super::stored::{ExcerptBudget, Place, State as At, Stored};
use crate::clock::Millis;
use crate::event::{Attempt, DedupeKey, Event, EventId, Outcome};

#[derive(Debug)]
pub(super) struct State {
    pub(super) next_seq: u64,
    /// Pending, dead and lately delivered events, by sequence number.
    pub(super) events: BTreeMap<u64, Stored>,
    pub(super) lanes: Vec<LaneState>,
    pub(super) numbers: HashMap<Arc<str>, u32>,
    pub(super) quota: Quota,
    pub(super) history: History,
    /// Events that are dead somewhere, each once.
    pub(super) dead: Amount,
    pub(super) excerpts: ExcerptBudget,
    /// How many bytes of passed events may wait in one lane.
    express_bytes: u64,
    open: Arc<OpenExpress>,
    pub(super) closed: bool,
}

/// What is left of an event that the history let go; dropped outside the lock, where that is easy.
pub(super) type Gone = Option<Stored>;

/// An event that was kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) id: EventId,
    /// An optional lane had no room for it.
    pub(super) left_out: bool,
    pub(super) gone: Gone,
}

impl State {
    pub(super) fn new(bound: Amount, open: Arc<OpenExpress>) -> Self {
        Self {
            next_seq: 1,
            events: BTreeMap::new(),
            lanes: Vec::new(),
            numbers: HashMap::new(),
            quota: Quota::new(bound),
            history: History::new(bound),
            dead: Amount::default(),
            excerpts: ExcerptBudget::new(bound.bytes / 16),
            express_bytes: bound.bytes / 8,
            open,
            closed: false,
        }
    }

    /// The number of `destination`, given to it where it has none.
    pub(super) fn lane(&mut self, destination: &str) -> (u32, Arc<LaneSignal>) {
        if let Some(number) = self.numbers.get(destination)
            && let Some(lane) = self.lanes.get(*number as usize)
        {
            return (*number, Arc::clone(&lane.signal));
        }
        let number = self.lanes.len() as u32;
        let name: Arc<str> = destination.into();
        let signal = Arc::new(LaneSignal::new(Arc::clone(&name), Arc::clone(&self.open)));
        self.lanes.push(LaneState::new(Arc::clone(&signal)));
        self.quota.add_destination();
        self.numbers.insert(name, number);
        (number, signal)
    }

    pub(super) fn set_destinations(&mut self, destinations: &[(Arc<str>, MaxPending)]) {
        const AT_LEAST: u64 = 1 << 20;
        let numbered: Vec<_> = destinations.iter().map(|(name, max)| (self.lane(name).0, *max)).collect();
        self.quota.configure(&numbered);
        let parts = numbered.len().max(1) as u64;
        self.express_bytes = (self.quota.bound().bytes / 8 / parts).max(AT_LEAST);
    }

    /// Keeps `event` in the lanes of `places` (numbers only, not charged yet), or nowhere; those of `optional` that have no
    /// room are left out.
    pub(super) fn keep(
        &mut self,
        now: Millis,
        event: &mut Arc<Event>,
        mut places: Vec<Place>,
        optional: &[u32],
        key: Option<DedupeKey>,
    ) -> Result<Kept, KeepError> {
        if self.closed {
            return Err(KeepError::ShuttingDown);
        }
        let mut holding = Holding::new(event.weight());
        let wanted = places.len();
        if !optional.is_empty() {
            let has_room = |lane: u32| self.quota.check(&holding, [lane]).is_ok();
            places.retain(|place| !optional.contains(&place.lane) || has_room(place.lane));
        }
        let left_out = places.len() < wanted;
        self.quota.check(&holding, places.iter().map(|place| place.lane)).map_err(|full| self.full(full))?;
        let id = self.name(now, event);
        for place in &mut places {
            place.charge = self.quota.charge(&mut holding, place.lane);
            if let Some(lane) = self.lanes.get_mut(place.lane as usize) {
                lane.push_fresh(event.turn, id.seq(), holding.size);
            }
        }
        self.events.insert(id.seq(), Stored { event: Arc::clone(event), holding, key, places });
        let gone = if holding.is_free() { self.retire(id.seq(), holding.size) } else { None };
        Ok(Kept { id, left_out, gone })
    }

    /// Hands `event` to `lanes` ahead of their backlog, to all or to none.
    pub(super) fn pass(
        &mut self,
        now: Millis,
        event: &mut Arc<Event>,
        lanes: &[u32],
    ) -> Result<(EventId, Vec<oneshot::Receiver<Outcome>>), KeepError> {
        if self.closed {
            return Err(KeepError::ShuttingDown);
        }
        let (weight, max_bytes) = (event.weight(), self.express_bytes);
        for number in lanes {
            let room = self
                .lanes
                .get_mut(*number as usize)
                .is_some_and(|lane| lane.express.has_room(weight, max_bytes));
            if !room {
                return Err(self.full(Full::Destination(*number)));
            }
        }
        let id = self.name(now, event);
        let mut outcomes = Vec::with_capacity(lanes.len());
        for number in lanes {
            if let Some(lane) = self.lanes.get_mut(*number as usize) {
                outcomes.push(lane.express.push(Arc::clone(event), weight));
            }
        }
        Ok((id, outcomes))
    }

    /// Gives the event its id. It is not shared yet.
    fn name(&mut self, now: Millis, event: &mut Arc<Event>) -> EventId {
        let id = EventId::new(now, self.next_seq);
        self.next_seq += 1;
        Arc::make_mut(event).id = id;
        id
    }

    pub(super) fn full(&self, full: Full) -> KeepError {
        let destination = match full {
            Full::Buffer => None,
            Full::Destination(number) => {
                self.lanes.get(number as usize).map(|lane| Arc::clone(&lane.signal.name))
            }
        };
        KeepError::Full { destination }
    }

    /// The next deliveries of a lane, at most `max`: passed events, then what is kept (see `turns`).
    pub(super) fn take(&mut self, number: u32, ask: Ask, max: usize, now: Millis) -> Vec<Delivery> {
        let Self { lanes, events, .. } = self;
        let Some(lane) = lanes.get_mut(number as usize) else { return Vec::new() };
        let count = max.min(lane.waiting());
        let mut taken = Vec::with_capacity(count);
        while ask == Ask::Next && taken.len() < count {
            let Some(delivery) = lane.express.pop() else { break };
            taken.push(delivery);
        }
        while taken.len() < count {
            let key_of = |seq: u64| events.get(&seq)?.event.turn.order_key;
            let Some(seq) = lane.pop(now, ask, &key_of) else { break };
            taken.extend(start(events, number, seq));
        }
        taken
    }

    /// Ends a delivery for good. `Err` where it was not in flight.
    pub(super) fn settle(
        &mut self,
        number: u32,
        id: EventId,
        settled: Settled,
        attempt: Option<Attempt>,
        excerpt: &Bytes,
    ) -> Result<Gone, NotInFlight> {
        let (stored, at) = in_flight(&mut self.events, number, id)?;
        let was_dead = stored.is_dead_somewhere();
        let Stored { holding, places, .. } = stored;
        let place = places.get_mut(at).ok_or(NotInFlight)?;
        let lane = self.lanes.get_mut(number as usize).ok_or(NotInFlight)?;
        if let Some(attempt) = attempt {
            place.record(attempt, excerpt, &mut self.excerpts);
        }
        lane.end(id.seq(), holding.size);
        match settled {
            Settled::Dead(reason) => {
                place.state = At::Dead(reason);
                lane.dead += 1;
                if !was_dead {
                    self.dead += holding.size;
                }
            }
            Settled::Delivered => {
                place.state = At::Delivered;
                self.quota.release(holding, number, place.charge);
                place.charge = Charge::None;
            }
        }
        let (free, size) = (holding.is_free(), holding.size);
        Ok(if free { self.retire(id.seq(), size) } else { None })
    }

    /// Lets a delivery wait until `due`.
    pub(super) fn defer(
        &mut self,
        number: u32,
        id: EventId,
        attempt: Attempt,
        due: Millis,
        excerpt: &Bytes,
    ) -> Result<(), NotInFlight> {
        let (stored, at) = in_flight(&mut self.events, number, id)?;
        let place = stored.places.get_mut(at).ok_or(NotInFlight)?;
        let lane = self.lanes.get_mut(number as usize).ok_or(NotInFlight)?;
        place.record(attempt, excerpt, &mut self.excerpts);
        place.state = At::Deferred { due };
        lane.push_deferred(stored.event.turn.priority, due, id.seq());
        Ok(())
    }

    /// All that wait at a lane for their next attempt are due by `now`.
    pub(super) fn hasten(&mut self, number: u32, now: Millis) {
        let Some(lane) = self.lanes.get_mut(number as usize) else { return };
        for seq in lane.hasten(now) {
            let places = self.events.get_mut(&seq).into_iter().flat_map(|stored| &mut stored.places);
            for place in places.filter(|place| place.lane == number) {
                if let At::Deferred { due } = &mut place.state {
                    *due = now.min(*due);
                }
            }
        }
    }

    /// Puts a delivery that was not attempted back to the front of its lane.
    pub(super) fn put_back(&mut self, number: u32, id: EventId) -> Result<(), NotInFlight> {
        let (stored, at) = in_flight(&mut self.events, number, id)?;
        let place = stored.places.get_mut(at).ok_or(NotInFlight)?;
        let lane = self.lanes.get_mut(number as usize).ok_or(NotInFlight)?;
        place.state = At::Fresh;
        lane.put_back(stored.event.turn.priority, id.seq());
        Ok(())
    }

    /// An event that is neither pending nor dead anywhere: into the history, and the oldest of that out.
    pub(super) fn retire(&mut self, seq: u64, size: Amount) -> Gone {
        self.history.push(seq, size);
        let mut gone = None;
        while let Some(oldest) = self.history.pop_surplus() {
            gone = self.remove(oldest);
        }
        gone
    }

    pub(super) fn remove(&mut self, seq: u64) -> Gone {
        let mut stored = self.events.remove(&seq)?;
        for place in &mut stored.places {
            self.excerpts.free(&mut place.excerpt);
        }
        Some(stored)
    }

    /// Whether no lane has work that could still be done: nothing pending in those that are configured, nothing in
    /// flight in any. (`open` counts what is passed.)
    pub(super) fn is_drained(&self) -> bool {
        let idle = |(number, lane): (usize, &LaneState)| {
            lane.pending == Amount::default() || !self.quota.configured(number as u32)
        };
        self.lanes.iter().enumerate().all(idle)
    }
}

/// What was settled, deferred or put back is not in flight to this destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotInFlight;

/// The event `id` and which of its places is the one in flight to `lane`.
fn in_flight(
    events: &mut BTreeMap<u64, Stored>,
    lane: u32,
    id: EventId,
) -> Result<(&mut Stored, usize), NotInFlight> {
    let stored = events.get_mut(&id.seq()).filter(|stored| stored.event.id == id).ok_or(NotInFlight)?;
    let at = stored
        .places
        .iter()
        .position(|place| place.lane == lane && place.state == At::InFlight)
        .ok_or(NotInFlight)?;
    Ok((stored, at))
}

/// Marks what came out of a queue of `lane` as in flight.
fn start(events: &mut BTreeMap<u64, Stored>, lane: u32, seq: u64) -> Option<Delivery> {
    let stored = events.get_mut(&seq)?;
    let place = stored.places.iter_mut().find(|place| place.lane == lane)?;
    if !matches!(place.state, At::Fresh | At::Deferred { .. }) {
        return None;
    }
    place.state = At::InFlight;
    let since = place.since.unwrap_or(stored.event.received_at);
    Some(Delivery { event: Arc::clone(&stored.event), attempt: place.next_attempt(), since, express: None })
}
