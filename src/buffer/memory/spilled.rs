//! Between two processes: what is left at a stop, and its return.

use std::path::Path;
use std::sync::Arc;

use super::super::disk::progress::What;
use super::super::quota::{Charge, Holding};
use super::super::spill::{self, SpillReport, Spilled, SpilledPlace, TakenSpill};
use super::super::view::Status;
use super::MemoryBuffer;
use super::dead::Told;
use super::listing::PER_LOCK;
use super::state::State;
use super::stored::{Place, State as At, Stored};
use crate::clock::Millis;
use crate::event::{ClaimKeeper, EventId};

/// A number that is far beyond what counting reaches was not counted.
const LAST_SEQ: u64 = 1 << 62;

impl MemoryBuffer {
    pub(in crate::buffer) fn spill(&self, state: &Path) -> Result<SpillReport, String> {
        let now = self.clock.now();
        let (mut writer, mut after) = (None, None);
        loop {
            let (found, last) = self.state.lock().unfinished(now, after, PER_LOCK);
            if !found.is_empty() {
                let writer = match &mut writer {
                    Some(writer) => writer,
                    none => none.insert(spill::Writer::create(state, now)?),
                };
                writer.push(&found)?;
            }
            if last.is_none() {
                break;
            }
            after = last;
        }
        writer.map_or_else(|| Ok(SpillReport::default()), spill::Writer::finish)
    }

    pub(in crate::buffer) fn take_spill(
        &self,
        state: &Path,
        ids: &dyn ClaimKeeper,
    ) -> Result<TakenSpill, String> {
        let read = spill::read(state, |spilled| {
            let key = spilled.key;
            let (id, told) = self.state.lock().restore(spilled);
            told.iter().for_each(|signal| signal.added());
            if let Some(key) = key {
                ids.restore(key, id, id.at());
            }
        })?;
        Ok(read.remove())
    }
}

impl State {
    /// Of the next `most` events after `after`, those that are pending or dead somewhere; with them where to go on.
    fn unfinished(&self, now: Millis, after: Option<u64>, most: usize) -> (Vec<Spilled>, Option<u64>) {
        let from = after.map_or(0, |seq| seq.saturating_add(1));
        let mut last = None;
        let mut found = Vec::new();
        for (seq, stored) in self.events.range(from..).take(most) {
            last = Some(*seq);
            if !stored.holding.is_free() {
                let places =
                    stored.places.iter().filter_map(|place| self.spilled_place(now, place)).collect();
                found.push(Spilled { event: Arc::clone(&stored.event), key: stored.key, places });
            }
        }
        (found, last)
    }

    fn spilled_place(&self, now: Millis, place: &Place) -> Option<SpilledPlace> {
        let what = match place.state {
            At::Delivered => What::Delivered,
            At::Dead(reason) => What::Dead(reason),
            At::Deferred { due } => What::Deferred { due, dying: None },
            At::Fresh | At::InFlight if place.made == 0 => What::Requeued,
            // Its attempts so far count.
            At::Fresh | At::InFlight => What::Deferred { due: now, dying: None },
        };
        let destination = Arc::clone(&self.lanes.get(place.lane as usize)?.signal.name);
        let since = place.since.filter(|_| place.status() == Status::Pending);
        Some(SpilledPlace { destination, what, attempts: place.attempts.clone(), since })
    }

    /// Takes an event in that was accepted before: there is room for it even where there is none, and then for nothing
    /// else until there is. The id as which it stands: its own, unless another event has its number.
    fn restore(&mut self, spilled: Spilled) -> (EventId, Told) {
        let Spilled { mut event, key, places } = spilled;
        let mut id = event.id;
        match self.events.get(&id.seq()) {
            Some(stored) if stored.event.id == id => return (id, Told::new()),
            None if id.seq() < LAST_SEQ => {}
            _ => {
                id = EventId::new(id.at(), self.next_seq);
                Arc::make_mut(&mut event).id = id;
            }
        }
        self.next_seq = self.next_seq.max(id.seq() + 1);
        let mut stored = Stored {
            holding: Holding::new(event.weight()),
            event,
            key,
            places: Vec::with_capacity(places.len()),
        };
        let mut told = Told::new();
        for place in places {
            self.restore_place(&mut stored, place, &mut told);
        }
        let (size, free) = (stored.holding.size, stored.holding.is_free());
        if stored.is_dead_somewhere() {
            self.dead += size;
        }
        self.events.insert(id.seq(), stored);
        if free {
            self.retire(id.seq(), size);
        }
        (id, told)
    }

    fn restore_place(&mut self, stored: &mut Stored, from: SpilledPlace, told: &mut Told) {
        let (number, signal) = self.lane(&from.destination);
        let Some(lane) = self.lanes.get_mut(number as usize) else { return };
        if stored.places.iter().any(|place| place.lane == number) {
            return;
        }
        let mut place = Place::fresh(number, Charge::None);
        (place.attempts, place.since) = (from.attempts, from.since);
        let (turn, seq, size) = (stored.event.turn, stored.event.id.seq(), stored.holding.size);
        if from.what == What::Delivered {
            place.state = At::Delivered;
            stored.places.push(place);
            return;
        }
        place.charge = self.quota.charge(&mut stored.holding, number);
        if from.what != What::Requeued {
            place.made = place.attempts.last().map_or(0, |attempt| attempt.number);
        }
        match from.what {
            What::Dead(reason) | What::Deferred { dying: Some(reason), .. } => {
                place.state = At::Dead(reason);
                lane.dead += 1;
            }
            What::Deferred { due, dying: None } => {
                place.state = At::Deferred { due };
                lane.push_waiting(turn, due, seq, size);
            }
            What::Requeued | What::Lost | What::Delivered => lane.push_fresh(turn, seq, size),
        }
        stored.places.push(place);
        told.push(signal);
    }
}
