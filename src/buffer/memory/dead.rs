//! Dead letters and replays. A dead letter stays where its event is: it goes on counting against the buffer's bounds
//! and its destination's share, so nothing is ever dropped to make room for it or because of it.

use std::sync::Arc;

use super::super::express::LaneSignal;
use super::super::handoff::KeepError;
use super::super::quota::Amount;
use super::super::view::EventFilter;
use super::state::State;
use super::stored::{Place, State as At, Stored};
use crate::clock::Millis;
use crate::event::EventId;

/// The lanes whose tasks are to be told, after the lock.
pub(super) type Told = Vec<Arc<LaneSignal>>;

impl State {
    /// Puts `id` back, with a fresh budget, where it is dead, or at `only` this destination. It is charged there
    /// already: there is always room. Once the buffer is closed, nowhere: the lanes may have ended.
    pub(super) fn requeue_dead(&mut self, now: Millis, id: EventId, only: Option<&str>) -> Told {
        if self.closed {
            return Told::new();
        }
        let Some(stored) = self.events.get_mut(&id.seq()).filter(|stored| stored.event.id == id) else {
            return Told::new();
        };
        let (size, turn) = (stored.holding.size, stored.event.turn);
        let mut told = Told::new();
        for place in stored.places.iter_mut().filter(|place| matches!(place.state, At::Dead(_))) {
            let Some(lane) = self.lanes.get_mut(place.lane as usize) else { continue };
            if only.is_some_and(|name| *name != *lane.signal.name) {
                continue;
            }
            lane.dead -= 1;
            renew(place, now);
            lane.push_fresh(turn, id.seq(), size);
            told.push(Arc::clone(&lane.signal));
        }
        if !told.is_empty() && !stored.is_dead_somewhere() {
            self.dead -= size;
        }
        told
    }

    /// Sends `id` again wherever it is dead or delivered, or at `only` this destination; `None` where it is unknown.
    pub(super) fn replay(
        &mut self,
        now: Millis,
        id: EventId,
        only: Option<&str>,
    ) -> Result<Option<Told>, KeepError> {
        if self.closed {
            return Err(KeepError::ShuttingDown);
        }
        let Some(stored) = self.events.get_mut(&id.seq()).filter(|stored| stored.event.id == id) else {
            return Ok(None);
        };
        let only_lane = only.map(|name| self.numbers.get(name).copied());
        let delivered = |place: &Place| {
            place.state == At::Delivered && only_lane.is_none_or(|only| only == Some(place.lane))
        };
        let again = stored.places.iter().filter(|place| delivered(place)).map(|place| place.lane);
        if let Err(full) = self.quota.check(&stored.holding, again) {
            return Err(self.full(full));
        }
        if stored.holding.is_free() && stored.places.iter().any(delivered) {
            self.history.remove(id.seq());
        }
        let Stored { event, holding, places, .. } = stored;
        let mut told = Told::new();
        for place in places.iter_mut().filter(|place| delivered(place)) {
            let Some(lane) = self.lanes.get_mut(place.lane as usize) else { continue };
            place.charge = self.quota.charge(holding, place.lane);
            renew(place, now);
            lane.push_fresh(event.turn, id.seq(), holding.size);
            told.push(Arc::clone(&lane.signal));
        }
        told.append(&mut self.requeue_dead(now, id, only));
        Ok(Some(told))
    }

    /// Forgets the dead letters among the events after `cursor` that pass `filter`, looking at `most` events: how
    /// many were forgotten, and where to go on. What is left of each event comes back in `gone`.
    pub(super) fn drop_dead(
        &mut self,
        filter: &EventFilter,
        cursor: Option<u64>,
        most: usize,
        gone: &mut Vec<Stored>,
    ) -> (usize, Option<u64>) {
        let after = cursor.map_or(0, |seq| seq.saturating_add(1));
        let mut last = None;
        let mut found = Vec::new();
        for (seq, stored) in self.events.range(after..).take(most) {
            last = Some(*seq);
            if stored.is_dead_somewhere() && filter.wants_event(&stored.event) {
                found.push(*seq);
            }
        }
        let dropped = found.into_iter().map(|seq| self.drop_dead_places(seq, filter, gone)).sum();
        (dropped, last)
    }

    fn drop_dead_places(&mut self, seq: u64, filter: &EventFilter, gone: &mut Vec<Stored>) -> usize {
        let Some(stored) = self.events.get_mut(&seq) else { return 0 };
        let Stored { holding, places, .. } = stored;
        let before = places.len();
        places.retain_mut(|place| {
            let Some(lane) = self.lanes.get_mut(place.lane as usize) else { return true };
            let is_dead = matches!(place.state, At::Dead(_));
            if !is_dead || !filter.wants_place(&lane.signal.name, place.status()) {
                return true;
            }
            lane.dead -= 1;
            self.quota.release(holding, place.lane, place.charge);
            self.excerpts.free(&mut place.excerpt);
            false
        });
        let dropped = before - places.len();
        if dropped > 0 {
            self.dropped(seq, gone);
        }
        dropped
    }

    /// Where an event goes that lost dead places: it stays pending, or it was delivered elsewhere, or it is gone.
    fn dropped(&mut self, seq: u64, gone: &mut Vec<Stored>) {
        let Some(stored) = self.events.get(&seq) else { return };
        let (size, free, nowhere): (Amount, _, _) =
            (stored.holding.size, stored.holding.is_free(), stored.places.is_empty());
        if !stored.is_dead_somewhere() {
            self.dead -= size;
        }
        if nowhere {
            gone.extend(self.remove(seq));
        } else if free {
            gone.extend(self.retire(seq, size));
        }
    }
}

/// A fresh budget of attempts; what is remembered of the former ones stays.
fn renew(place: &mut Place, now: Millis) {
    place.state = At::Fresh;
    place.made = 0;
    place.since = Some(now);
}
