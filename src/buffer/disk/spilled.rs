//! What a memory buffer left behind at its stop is taken up by a disk one, where the user changed `buffer.store`.

use std::path::Path;
use std::sync::Arc;

use super::buffer::DiskBuffer;
use super::dead::{DeadLetter, Inserted};
use super::progress::{Loc, Progress, What};
use super::shared::Shared;
use crate::buffer::handoff::DeadReason;
use crate::buffer::spill::{self, Spilled, SpilledPlace, TakenSpill};
use crate::event::{ClaimKeeper, Turn};

/// Events in one commit.
const AT_ONCE: usize = 256;

/// An event that is appended and not yet visible.
struct Appended {
    seq: u64,
    weight: u32,
    turn: Turn,
    lanes: Box<[u32]>,
    waiting: Vec<Progress>,
}

impl DiskBuffer {
    pub(in crate::buffer) fn take_spill(
        &self,
        state: &Path,
        ids: &dyn ClaimKeeper,
    ) -> Result<TakenSpill, String> {
        let shared = &*self.shared;
        let mut chunk = Vec::with_capacity(AT_ONCE);
        let mut failed = None;
        let read = spill::read(state, |spilled| {
            if let Some(key) = spilled.key {
                ids.restore(key, spilled.event.id, spilled.event.id.at());
            }
            chunk.push(spilled);
            if chunk.len() == AT_ONCE && failed.is_none() {
                failed = shared.take_up(std::mem::take(&mut chunk)).err();
            }
        })?;
        if failed.is_none() {
            failed = shared.take_up(chunk).err();
        }
        match failed {
            // What was taken up already comes once more: twice is better than not at all.
            Some(error) => Err(error),
            None => Ok(read.remove()),
        }
    }
}

impl Shared {
    /// Durable when it returns.
    fn take_up(&self, chunk: Vec<Spilled>) -> Result<(), String> {
        self.bury_spilled(&chunk)?;
        let appended: Vec<Appended> = {
            let mut state = self.state.lock();
            state.taking_up = Some(Vec::new());
            let appended: Vec<Appended> =
                chunk.into_iter().filter_map(|spilled| self.append_spilled(spilled)).collect();
            appended.iter().for_each(|appended| state.lanes.announce(appended.seq));
            appended
        };
        let stands = self.flush();
        let mut state = self.state.lock();
        let places = state.taking_up.take().unwrap_or_default();
        if !stands {
            return Err(
                "the disk refused what the last stop left to be delivered; its file is kept".to_owned()
            );
        }
        for Appended { seq, weight, turn, lanes, waiting } in appended {
            state.lanes.restore(seq, weight, turn, &lanes);
            for step in waiting {
                if let Some(since) = step.since {
                    state.lanes.renew(seq, step.lane, since);
                }
                let at = places.iter().find(|(of, lane, _)| (*of, *lane) == (seq, step.lane));
                let at = at.map_or(Loc { segment: 0, offset: 0 }, |(_, _, at)| *at);
                if let Some(retry) = state.lanes.retry(at, &step) {
                    state.lanes.restore_waiting(step.lane, turn, &retry);
                }
            }
        }
        Ok(())
    }

    fn append_spilled(&self, spilled: Spilled) -> Option<Appended> {
        let pending = |place: &SpilledPlace| matches!(place.what, What::Requeued | What::Deferred { .. });
        let places: Vec<SpilledPlace> = spilled.places.into_iter().filter(pending).collect();
        if places.is_empty() {
            return None;
        }
        let numbers: Vec<u32> =
            places.iter().map(|place| self.names.write().lane(&place.destination)).collect();
        let (number, source) = self.source(&spilled.event, numbers.iter().copied());
        let (seq, weight) = self.spool.append(&spilled.event, number, spilled.key, true);
        let mut waiting = Vec::new();
        for (place, lane) in places.into_iter().zip(numbers) {
            let SpilledPlace { what, attempts, since, .. } = place;
            if matches!(what, What::Deferred { .. }) || since.is_some() {
                let progress = Progress { seq, lane, what, attempts, since };
                self.spool.note(progress.clone());
                waiting.push(progress);
            }
        }
        Some(Appended { seq, weight, turn: spilled.event.turn, lanes: source.lanes.clone(), waiting })
    }

    fn bury_spilled(&self, chunk: &[Spilled]) -> Result<(), String> {
        let mut letters = Vec::new();
        for spilled in chunk {
            for place in &spilled.places {
                if let What::Dead(reason) = place.what {
                    letters.push(self.letter(spilled, place, reason));
                }
            }
        }
        let inserted = self.dead.insert(&letters).map_err(|error| error.to_string())?;
        if inserted.contains(&Inserted::NoRoom) {
            return Err(
                "the dead letters of the last run do not fit into dead.max_bytes; raise it".to_owned()
            );
        }
        let mut state = self.state.lock();
        for letter in letters {
            let lane = self.names.write().lane(&letter.destination);
            state.lanes.letter(letter.event.id.seq(), lane);
        }
        Ok(())
    }

    fn letter(&self, spilled: &Spilled, place: &SpilledPlace, reason: DeadReason) -> DeadLetter {
        DeadLetter {
            event: Arc::clone(&spilled.event),
            destination: Arc::clone(&place.destination),
            reason,
            attempts: place.attempts.clone(),
            excerpt: bytes::Bytes::new(),
            died_at: self.clock.now(),
        }
    }
}
