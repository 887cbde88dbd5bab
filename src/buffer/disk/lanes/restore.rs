//! What recovery finds: all events in ascending order, each with what it waits for.

use super::*;
use crate::buffer::disk::progress::{Progress, What};

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

    /// What waits by `step`, which stands at `at`.
    pub fn retry(&self, at: Loc, step: &Progress) -> Option<Retry> {
        let What::Deferred { due, dying } = step.what else { return None };
        let due = self.due(step.lane, step).unwrap_or(due);
        let attempt = step.attempts.last().map_or(0, |last| last.number);
        Some(Retry { due, seq: step.seq, attempt, dying: dying.is_some(), at })
    }

    /// At most `more` of this class of `lane` will be said to wait.
    pub fn expect_waiting(&mut self, lane: u32, class: Priority, more: usize) {
        if let Some(lane) = self.lanes.get_mut(lane as usize) {
            lane.tracks.get_mut(class).retries.expect(more);
        }
    }

    /// An event that was restored waits at `lane` as `retry` says, and holds its key. Where another one of its key does so
    /// already (one was on its way to the dead letters when the process ended), it begins anew behind that.
    pub fn restore_waiting(&mut self, lane: u32, turn: Turn, retry: &Retry) {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return };
        let class = turn.priority;
        if !lane.tracks.get(class).backlog.contains(retry.seq) {
            return;
        }
        let key = turn.order_key.filter(|_| !retry.dying);
        if key.is_none_or(|key| lane.keys.resume(key, class, retry.seq)) {
            lane.tracks.get_mut(class).backlog.remove(retry.seq);
            lane.wait(class, retry);
        }
        self.spill();
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
}
