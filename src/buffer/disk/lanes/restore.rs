//! What recovery finds: all events, then all progress in the order of the log, then [`Lanes::restored`].

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::buffer::disk::progress::{Progress, What};

/// The steps of waiting retries as they were found, by lane and class; of those of one event the last one holds.
#[derive(Debug, Default)]
pub(super) struct Restoring {
    lanes: BTreeMap<(u32, Priority), Steps>,
    /// The order keys of those that wait for an attempt.
    keys: HashMap<(u32, u64), OrderKey>,
}

#[derive(Debug, Default)]
struct Steps {
    found: Vec<Step>,
    /// How many there were after the last tidying.
    tidy: usize,
}

/// 32 bytes: sorted by event, in the order of the log.
#[derive(Debug)]
struct Step {
    seq: u64,
    due: Millis,
    at: Loc,
    attempt: u16,
    dying: bool,
}

impl Steps {
    fn add(&mut self, step: Step, waiting: &Seqs) {
        const AT_LEAST: usize = 4096;
        self.found.push(step);
        if self.found.len() > (2 * self.tidy).max(AT_LEAST) {
            self.tidy(waiting);
        }
    }

    /// Leaves the last step of each event that still waits.
    fn tidy(&mut self, waiting: &Seqs) {
        self.found.sort_by_key(|step| step.seq); // stable: the order of the log stays
        self.found.reverse();
        self.found.dedup_by_key(|step| step.seq);
        self.found.retain(|step| waiting.contains(step.seq));
        self.tidy = self.found.len();
    }
}

impl Lanes {
    /// An event that was found: pending in all of `lanes`, unread. The buffer may be over its bound with it.
    pub fn restore(&mut self, seq: u64, weight: u32, turn: Turn, lanes: &[u32]) {
        let mut holding = Holding::new(u64::from(weight));
        for lane in lanes {
            self.make(*lane);
            self.quota.restore(&mut holding, *lane);
            self.pend(seq, *lane, weight, turn);
        }
    }

    /// What happened to an event that was restored, in the order of the log; it stands at `at`.
    pub fn restore_progress(
        &mut self,
        lanes_of: &[u32],
        (weight, turn): (u32, Turn),
        at: Loc,
        progress: &Progress,
    ) {
        let Progress { seq, lane, what, attempts, since } = progress;
        let (seq, lane) = (*seq, *lane);
        if !lanes_of.contains(&lane) {
            return;
        }
        match what {
            What::Delivered | What::Lost => {
                self.release(seq, lane, weight, lanes_of);
                self.undead(seq, lane);
            }
            What::Dead(_) => {
                self.release(seq, lane, weight, lanes_of);
                if let Some(lane) = self.lanes.get_mut(lane as usize) {
                    lane.dead.insert(seq);
                }
            }
            What::Deferred { due, dying } => {
                let Some(at_lane) = self.lanes.get_mut(lane as usize) else { return };
                let track = at_lane.tracks.get_mut(turn.priority);
                // Not pending: what was carried on behind the end of it.
                if track.backlog.remove(seq) || track.waiting.contains(seq) {
                    track.waiting.insert(seq);
                    at_lane.renewed.extend(since.map(|since| (seq, since)));
                    let due = at_lane.due(*due, progress);
                    let attempt = attempts.last().map_or(0, |attempt| attempt.number);
                    let step = Step { seq, due, at, attempt, dying: dying.is_some() };
                    let steps = self.restoring.lanes.entry((lane, turn.priority)).or_default();
                    steps.add(step, &at_lane.tracks.get(turn.priority).waiting);
                    self.restoring.keys.extend(turn.order_key.map(|key| ((lane, seq), key)));
                }
            }
            What::Requeued => {
                let Some(at_lane) = self.lanes.get_mut(lane as usize) else { return };
                if at_lane.tracks.get_mut(turn.priority).waiting.remove(seq) {
                    at_lane.shelve(turn, seq);
                } else if !at_lane.is_pending(seq) {
                    let mut holding = self.holding(seq, weight, lanes_of, None);
                    self.quota.restore(&mut holding, lane);
                    self.pend(seq, lane, weight, turn);
                }
                since.iter().for_each(|since| self.renew(seq, lane, *since));
            }
        }
    }

    /// When somebody last made due what waited at `lane`: said before the steps.
    pub fn restore_hastened(&mut self, lane: u32, at: Millis) {
        self.make(lane);
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.hastened = Some(at);
        }
    }

    /// An event that stands in the dead letters, though a crash came before the spool said so.
    pub fn restored_dead(&mut self, seq: u64, lane: u32, weight: u32, lanes_of: &[u32]) {
        self.release(seq, lane, weight, lanes_of);
    }

    /// A dead letter of `lane`.
    pub fn restored_letter(&mut self, seq: u64, lane: u32) {
        self.make(lane);
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.dead.insert(seq);
        }
    }

    /// All was found: the retries queue up, and hold their keys. Where two of one key wait (one was on its way to the dead
    /// letters when the process ended), the later one begins anew behind the other.
    pub fn restored(&mut self) {
        let Restoring { lanes, keys } = std::mem::take(&mut self.restoring);
        for ((number, class), mut steps) in lanes {
            if let Some(lane) = self.lanes.get(number as usize) {
                steps.tidy(&lane.tracks.get(class).waiting);
            }
            for Step { seq, due, at, attempt, dying } in steps.found.into_iter().rev() {
                let Some(lane) = self.lanes.get_mut(number as usize) else { break };
                let track = lane.tracks.get_mut(class);
                track.waiting.remove(seq);
                let key = keys.get(&(number, seq)).filter(|_| !dying);
                if key.is_none_or(|key| lane.keys.resume(*key, class, seq)) {
                    lane.wait(class, &Retry { due, seq, attempt, dying, at });
                } else {
                    track.backlog.insert(seq);
                }
                self.spill();
            }
        }
    }
}
