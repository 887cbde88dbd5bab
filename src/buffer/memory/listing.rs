//! Reading what the buffer holds, without holding it up: a search looks at a bounded number of events under the
//! lock, lets go of it, and goes on.

use super::super::view::{BufferStats, DestinationView, EventFilter, EventView, LaneStats};
use super::state::State;
use super::stored::Stored;
use crate::event::EventId;

/// Events looked at under the lock in one go (about 50 µs).
pub(super) const PER_LOCK: usize = 512;
/// Events looked at by one call of `list`.
pub(super) const PER_CALL: usize = 32 * PER_LOCK;
/// Events given by one call of `list`.
pub(super) const PER_PAGE: usize = 1000;

impl State {
    pub(super) fn find(&self, id: EventId) -> Option<EventView> {
        let stored = self.events.get(&id.seq()).filter(|stored| stored.event.id == id)?;
        Some(self.view(stored))
    }

    /// Adds to `found` what passes `filter` among the next [`PER_LOCK`] events before `before`, newest first, until
    /// `found` holds `limit`. Where to go on; `None` at the end.
    pub(super) fn list(
        &self,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: usize,
        found: &mut Vec<EventView>,
    ) -> Option<EventId> {
        let end = before.map_or(u64::MAX, EventId::seq);
        let mut events = self.events.range(..end).rev();
        let mut last = None;
        for (_, stored) in events.by_ref().take(PER_LOCK) {
            if found.len() == limit {
                return last.or(before);
            }
            last = Some(stored.event.id);
            if self.wants(filter, stored) {
                found.push(self.view(stored));
            }
        }
        if events.next().is_some() { last } else { None }
    }

    pub(super) fn wants(&self, filter: &EventFilter, stored: &Stored) -> bool {
        if !filter.wants_event(&stored.event) {
            return false;
        }
        if filter.destination.is_none() && filter.status.is_none() {
            return true;
        }
        stored.places.iter().any(|place| {
            let lane = self.lanes.get(place.lane as usize);
            lane.is_some_and(|lane| filter.wants_place(&lane.signal.name, place.status()))
        })
    }

    fn view(&self, stored: &Stored) -> EventView {
        let destinations = stored.places.iter().filter_map(|place| {
            Some(DestinationView {
                name: self.lanes.get(place.lane as usize)?.signal.name.clone(),
                status: place.status(),
                attempts: place.attempts.clone(),
                due: place.due(),
                excerpt: place.excerpt.clone(),
            })
        });
        EventView { event: stored.event.clone(), destinations: destinations.collect() }
    }

    pub(super) fn stats(&self) -> BufferStats {
        let (total, bound, history) = (self.quota.total(), self.quota.bound(), self.history.used());
        let mut destinations = Vec::with_capacity(self.lanes.len());
        for (number, lane) in self.lanes.iter().enumerate() {
            let number = number as u32;
            destinations.push(LaneStats {
                destination: lane.signal.name.clone(),
                configured: self.quota.configured(number),
                events: lane.pending.events,
                bytes: lane.pending.bytes,
                dead: lane.dead,
                waiting: lane.deferred(),
                oldest: lane.oldest().and_then(|seq| self.events.get(&seq)).map(|s| s.event.received_at),
            });
        }
        BufferStats {
            events: total.events,
            bytes: total.bytes,
            dead_events: self.dead.events,
            dead_bytes: self.dead.bytes,
            max_events: bound.events,
            max_bytes: bound.bytes,
            history_events: history.events,
            history_bytes: history.bytes,
            // They are within the buffer's own bound.
            dead_nearly_full: false,
            disk: None,
            destinations,
        }
    }
}
