//! What the operator asks of the buffer on disk: one event, a page of them, figures. Everything here may read the disk.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::buffer::DiskBuffer;
use super::dead::DeadLetter;
use super::mortician::Job;
use super::ports::{Read, Room};
use super::progress::What;
use super::shared::Shared;
use super::source::Source;
use crate::buffer::handoff::KeepError;
use crate::buffer::view::{
    BufferStats, DestinationView, DiskState, DiskStats, EventFilter, EventView, LaneStats, Status,
};
use crate::event::{Event, EventId};

/// Rows looked at by one call of `list`; a row costs about 50 ns.
const ROWS_PER_CALL: usize = 16_384;
/// Events read by one call of `list`; one costs some ten µs, most of it for what happened to it.
const READS_PER_CALL: usize = 512;
/// Events given by one call of `list`.
const PER_PAGE: usize = 1000;

impl DiskBuffer {
    pub(in crate::buffer) fn find(&self, id: EventId) -> Option<EventView> {
        let shared = &*self.shared;
        let letters = shared.letters(id);
        if let Some(seq) = shared.spool.seq_of(id)
            && let Read::Event { event, source, .. } = shared.spool.read(seq)
        {
            return Some(shared.view(seq, event, &shared.lanes_of(source), &letters));
        }
        of_letters(letters)
    }

    pub(in crate::buffer) fn list(
        &self,
        filter: &EventFilter,
        cursor: Option<EventId>,
        limit: usize,
    ) -> (Vec<EventView>, Option<EventId>) {
        let limit = limit.clamp(1, PER_PAGE);
        if filter.status == Some("dead") {
            return self.shared.list_dead(filter, cursor, limit);
        }
        if let Some(id) = &filter.id {
            return (self.list_named(filter, id, cursor, limit), None);
        }
        self.shared.list_all(filter, cursor, limit)
    }

    /// Those with one id, the provider's or ours. Few: a provider's id is met again when dedupe forgot it.
    fn list_named(
        &self,
        filter: &EventFilter,
        id: &str,
        cursor: Option<EventId>,
        limit: usize,
    ) -> Vec<EventView> {
        let shared = &*self.shared;
        let mut found: Vec<EventView> = Vec::new();
        if let Some(own) = filter.own_id() {
            found.extend(self.find(own));
        }
        for seq in shared.spool.seqs_of_id(id) {
            found.extend(shared.view_at(seq));
        }
        let (dead, _) = shared.list_dead(filter, None, PER_PAGE);
        found.extend(dead);
        found.sort_by_key(|view| std::cmp::Reverse(view.event.id));
        found.dedup_by_key(|view| view.event.id);
        found.retain(|view| wants(filter, view) && cursor.is_none_or(|cursor| view.event.id < cursor));
        found.truncate(limit);
        found
    }

    pub(in crate::buffer) fn requeue_dead(&self, id: EventId, only: Option<&str>) -> bool {
        let shared = &*self.shared;
        {
            let state = shared.state.lock();
            if state.closed || !state.lanes.is_dead_anywhere(id.seq()) {
                return false;
            }
        }
        // It stands in the dead letters until it stands in the spool: what is promised here cannot be lost.
        shared.bury(Job::Requeue(id, only.map(Arc::from), None));
        true
    }

    pub(in crate::buffer) fn replay(
        &self,
        id: EventId,
        only: Option<&str>,
    ) -> Result<Option<usize>, KeepError> {
        let shared = &*self.shared;
        let Some(mut view) = self.find(id) else { return Ok(None) };
        view.destinations.retain(|place| only.is_none_or(|only| *place.name == *only));
        let mut again = 0;
        for place in view.destinations.iter().filter(|place| place.status == Status::Delivered) {
            let lane = shared.names.write().lane(&place.name);
            again += usize::from(shared.pend_again(id, lane)?);
        }
        if view.destinations.iter().any(|place| matches!(place.status, Status::Dead(_))) {
            let (done, wait) = sync_channel(1);
            shared.bury(Job::Requeue(id, only.map(Arc::from), Some(done)));
            again += wait.recv().unwrap_or(Err(KeepError::ShuttingDown))?;
        }
        Ok(Some(again))
    }

    pub(in crate::buffer) fn drop_dead(&self, filter: &EventFilter) -> usize {
        let shared = &*self.shared;
        let dropped = shared.dead.drop_matching(filter).unwrap_or_else(|error| {
            tracing::error!(%error, "the dead letters cannot be dropped");
            Vec::new()
        });
        for (id, destination) in &dropped {
            let lane = shared.names.write().lane(destination);
            shared.state.lock().lanes.undead(id.seq(), lane);
        }
        dropped.len()
    }

    pub(in crate::buffer) fn stats(&self) -> BufferStats {
        let shared = &*self.shared;
        let (dead, held) = (shared.dead.usage(), shared.spool.held());
        let dead_of: HashMap<Arc<str>, u64> = shared.dead.per_destination().into_iter().collect();
        let names: Vec<Arc<str>> = {
            let names = shared.names.read();
            (0..names.lane_count()).filter_map(|lane| names.lane_name(lane).cloned()).collect()
        };
        let (total, bound, lanes) = {
            let state = shared.state.lock();
            let lanes: Vec<_> = (0u32..)
                .zip(names)
                .map(|(lane, name)| (name, state.lanes.quota.configured(lane), state.lanes.figures(lane)))
                .collect();
            (state.lanes.quota.total(), state.lanes.quota.bound(), lanes)
        };
        let destinations = lanes
            .into_iter()
            .map(|(destination, configured, figures)| LaneStats {
                dead: dead_of.get(&destination).copied().unwrap_or_default(),
                destination,
                configured,
                events: figures.events,
                bytes: figures.bytes,
                waiting: figures.waiting,
                oldest: figures.oldest.and_then(|seq| shared.spool.received_at(seq)),
            })
            .collect();
        BufferStats {
            events: total.events,
            bytes: total.bytes,
            dead_events: dead.events,
            dead_bytes: dead.bytes,
            max_events: bound.events,
            max_bytes: bound.bytes,
            history_events: held.0.saturating_sub(total.events),
            history_bytes: held.1.saturating_sub(total.bytes),
            dead_nearly_full: dead.over_80_percent,
            disk: Some(shared.disk_stats()),
            destinations,
        }
    }
}

impl Shared {
    fn disk_stats(&self) -> DiskStats {
        let (spool, room) = (self.spool.stats(), self.spool.room());
        let state = match room {
            _ if spool.last_error.is_some() => DiskState::Failing,
            Room::Failed => DiskState::Failing,
            Room::Full => DiskState::Full,
            Room::Yes => DiskState::Ok,
        };
        DiskStats {
            state,
            error: spool.last_error,
            failures: spool.storage_failures,
            damaged: spool.corrupt_records + u64::from(self.dead.was_set_aside()),
            bytes: spool.disk_bytes,
        }
    }

    fn letters(&self, id: EventId) -> Vec<DeadLetter> {
        self.dead.find(id).unwrap_or_else(|error| {
            tracing::error!(%error, "the dead letters cannot be read");
            Vec::new()
        })
    }

    fn view_at(&self, seq: u64) -> Option<EventView> {
        let Read::Event { event, source, .. } = self.spool.read(seq) else { return None };
        let letters = if self.state.lock().lanes.is_dead_anywhere(event.id.seq()) {
            self.letters(event.id)
        } else {
            Vec::new()
        };
        Some(self.view(seq, event, &self.lanes_of(source), &letters))
    }

    /// What stands where: pending by the lanes' word, dead by the dead letters', delivered by the log's.
    fn view(&self, seq: u64, event: Arc<Event>, source: &Source, letters: &[DeadLetter]) -> EventView {
        let steps = self.spool.history_of(seq);
        let mut destinations = Vec::with_capacity(source.lanes.len());
        for lane in &source.lanes {
            let Some(name) = self.names.read().lane_name(*lane).cloned() else { continue };
            let of_lane = || steps.iter().rev().filter(|step| step.lane == *lane);
            let last = of_lane().next();
            let attempts = last.map(|step| step.attempts.clone()).unwrap_or_default();
            let state = self.state.lock();
            if state.lanes.is_pending(seq, *lane) {
                let waits = last.filter(|_| !state.lanes.is_in_flight(seq, *lane));
                let due = waits.and_then(|step| state.lanes.due(*lane, step));
                let excerpt = state.excerpts.get(seq, *lane);
                destinations.push(DestinationView { name, status: Status::Pending, attempts, due, excerpt });
                continue;
            }
            drop(state);
            if let Some(letter) = letters.iter().find(|letter| letter.destination == name) {
                destinations.push(of_letter(letter));
            } else if let Some(step) = of_lane().find(|step| step.what == What::Delivered) {
                // Not necessarily the last step: what a segment says of events elsewhere is said again when it goes, and
                // may so come behind what a replay came to.
                let (status, due, excerpt) = (Status::Delivered, None, bytes::Bytes::new());
                let attempts = step.attempts.clone();
                destinations.push(DestinationView { name, status, attempts, due, excerpt });
            }
        }
        // Put back by an operator when this record had gone: the dead letter of another destination is its own.
        for letter in letters {
            if destinations.iter().all(|place| place.name != letter.destination) {
                destinations.push(of_letter(letter));
            }
        }
        EventView { event, destinations }
    }

    fn list_dead(
        &self,
        filter: &EventFilter,
        cursor: Option<EventId>,
        limit: usize,
    ) -> (Vec<EventView>, Option<EventId>) {
        let (letters, more) = self.dead.list(filter, cursor, limit).unwrap_or_else(|error| {
            tracing::error!(%error, "the dead letters cannot be read");
            (Vec::new(), false)
        });
        let mut views: Vec<EventView> = Vec::new();
        for letter in letters {
            match views.last_mut() {
                Some(view) if view.event.id == letter.event.id => view.destinations.push(of_letter(&letter)),
                _ => views.extend(of_letters(vec![letter])),
            }
        }
        let next = if more { views.last().map(|view| view.event.id) } else { None };
        (views, next)
    }

    /// The spool's events, and the dead letters whose events have left it, newest first.
    fn list_all(
        &self,
        filter: &EventFilter,
        cursor: Option<EventId>,
        limit: usize,
    ) -> (Vec<EventView>, Option<EventId>) {
        let mut before = cursor.map_or(u64::MAX, EventId::seq);
        if let Some(until) = filter.until {
            before = before.min(self.spool.first_at(until));
        }
        let least = filter.since.map_or(0, |since| self.spool.first_at(since));
        let (mut found, mut reads, mut end) = (Vec::new(), 0, false);
        let rows = self.spool.rows_before(before, ROWS_PER_CALL);
        let last_page = rows.len() < ROWS_PER_CALL;
        let mut last = None;
        for row in rows {
            if row.seq < least {
                end = true;
                break;
            }
            if found.len() == limit || reads == READS_PER_CALL {
                break;
            }
            last = Some(EventId::new(row.received, row.seq));
            let source = self.lanes_of(row.source);
            if !self.may_be_wanted(filter, row.seq, &source) {
                continue;
            }
            reads += 1;
            found.extend(self.view_at(row.seq).filter(|view| wants(filter, view)));
        }
        let done = end || (last_page && found.len() < limit && reads < READS_PER_CALL);
        let next = if done { None } else { last };
        if filter.status.is_none() {
            self.add_letters_without_a_record(filter, cursor, next, limit, &mut found);
        }
        (found, next)
    }

    /// By the row alone, without reading the event.
    fn may_be_wanted(&self, filter: &EventFilter, seq: u64, source: &Source) -> bool {
        if filter.route.as_deref().is_some_and(|route| route != &*source.route) {
            return false;
        }
        let lanes: Cow<'_, [u32]> = if filter.destination.is_none() {
            Cow::Borrowed(&source.lanes)
        } else {
            let names = self.names.read();
            let named = |lane: u32| names.lane_name(lane).is_some_and(|name| filter.wants_destination(name));
            source.lanes.iter().copied().filter(|lane| named(*lane)).collect()
        };
        match filter.status {
            Some(status) => {
                let state = self.state.lock();
                lanes.iter().any(|lane| state.lanes.is_pending(seq, *lane) == (status == "pending"))
            }
            None => !lanes.is_empty(),
        }
    }

    fn add_letters_without_a_record(
        &self,
        filter: &EventFilter,
        cursor: Option<EventId>,
        next: Option<EventId>,
        limit: usize,
        found: &mut Vec<EventView>,
    ) {
        let known: HashSet<EventId> = found.iter().map(|view| view.event.id).collect();
        let (dead, _) = self.list_dead(filter, cursor, limit);
        let gone = dead.into_iter().filter(|view| {
            next.is_none_or(|next| view.event.id > next)
                && !known.contains(&view.event.id)
                && self.spool.seq_of(view.event.id).is_none()
        });
        found.extend(gone);
        found.sort_by_key(|view| std::cmp::Reverse(view.event.id));
    }
}

fn wants(filter: &EventFilter, view: &EventView) -> bool {
    filter.wants_event(&view.event)
        && ((filter.destination.is_none() && filter.status.is_none())
            || view.destinations.iter().any(|place| filter.wants_place(&place.name, place.status)))
}

fn of_letter(letter: &DeadLetter) -> DestinationView {
    DestinationView {
        name: Arc::clone(&letter.destination),
        status: Status::Dead(letter.reason),
        attempts: letter.attempts.clone(),
        due: None,
        excerpt: letter.excerpt.clone(),
    }
}

fn of_letters(letters: Vec<DeadLetter>) -> Option<EventView> {
    let event = Arc::clone(&letters.first()?.event);
    Some(EventView { event, destinations: letters.iter().map(of_letter).collect() })
}
