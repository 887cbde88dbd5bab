//! What is read from the disk for a lane, and when.

use super::*;

impl Lanes {
    /// Whether it is time to read for this lane: its window is below its half and there is more, or a retry is due.
    pub fn wants_refill(&self, lane: u32, now: Millis) -> bool {
        let Some(lane) = self.lanes.get(lane as usize) else { return false };
        let low =
            lane.fresh() < self.limits.window_events / 2 && lane.fresh_bytes < self.limits.window_bytes / 2;
        let room = lane.fresh() == 0 || self.windows < self.limits.windows_bytes;
        (low && room && lane.reading == 0 && !lane.backlog.is_empty()) || self.wants_retries(lane, now)
    }

    fn wants_retries(&self, lane: &Lane, now: Millis) -> bool {
        let room = lane.due.is_empty()
            || (lane.due.len() < self.limits.window_events / 2
                && lane.due_bytes < self.limits.window_bytes / 2
                && self.windows < self.limits.windows_bytes);
        room && lane.reading_retries == 0 && lane.retries.next_due().is_some_and(|due| due <= now)
    }

    /// What to read next for a lane. All of it is being read from here on, until [`Lanes::bring`]: that must come,
    /// whatever the reading brought.
    pub fn wanted(&mut self, lane: u32, now: Millis) -> Wanted {
        let limits = self.limits;
        let wants_retries = self.lanes.get(lane as usize).is_some_and(|lane| self.wants_retries(lane, now));
        let all = limits.windows_bytes.saturating_sub(self.windows);
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return Wanted::default() };
        let mut wanted = Wanted {
            max_bytes: limits.window_bytes.saturating_sub(lane.fresh_bytes).min(all),
            max_retry_bytes: limits.window_bytes.saturating_sub(lane.due_bytes).min(all),
            ..Wanted::default()
        };
        let room = lane.fresh() == 0 || wanted.max_bytes > 0;
        if lane.reading == 0 && room {
            let most = usize::try_from(wanted.max_bytes / BESIDE).unwrap_or(usize::MAX).max(1);
            wanted.fresh =
                lane.backlog.take_first(limits.window_events.saturating_sub(lane.fresh()).min(most));
            lane.reading = wanted.fresh.len();
            for seq in &wanted.fresh {
                lane.near.insert(*seq, Near { stand: Stand::Reading, made: 0, step: None, ready: None });
            }
        }
        while wants_retries && lane.due.len() + wanted.retries.len() < limits.window_events {
            let Some(Retry { due, seq, attempt, dying, at }) = lane.retries.pop_due(now) else { break };
            if !lane.waiting.remove(seq) {
                continue; // it was settled since
            }
            let stand = if dying { Stand::Ending } else { Stand::ReadingRetry(due) };
            lane.reading_retries += usize::from(!dying);
            lane.near.insert(seq, Near { stand, made: attempt, step: Some(at), ready: None });
            wanted.retries.push(WantedRetry { seq, at, attempt, dying });
        }
        wanted
    }

    /// What was read, in the order in which it was wanted; a retry with the attempts made. What was wanted and does not
    /// come (it was too much, or the disk failed) goes back to where it was; what is damaged or gone is
    /// [`Lanes::lost`]. Wakes the lane.
    pub fn bring(&mut self, lane: u32, fresh: Vec<Ready>, retries: Vec<(Ready, u16)>) {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return };
        let before = lane.fresh_bytes + lane.due_bytes;
        let any = !fresh.is_empty() || !retries.is_empty();
        for ready in fresh {
            let reading = lane.near.get(&ready.seq).is_some_and(|near| near.stand == Stand::Reading);
            if reading {
                lane.reading -= 1;
                lane.push_window(ready);
            }
        }
        for (ready, made) in retries {
            let Some(near) = lane.near.get_mut(&ready.seq) else { continue };
            let Stand::ReadingRetry(due) = near.stand else { continue };
            lane.reading_retries -= 1;
            lane.due_bytes += ready.in_memory();
            lane.due.insert((due, ready.seq));
            (near.stand, near.made, near.ready) = (Stand::Ready(due), made, Some(ready));
        }
        self.windows += lane.fresh_bytes + lane.due_bytes - before;
        lane.give_back(|stand| matches!(stand, Stand::Reading | Stand::ReadingRetry(_)));
        if any {
            lane.wake();
        }
        self.spill();
    }

    /// What this lane has in memory and not in flight goes back to the disk.
    pub(super) fn shed(&mut self, lane: u32) {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return };
        self.windows -= lane.fresh_bytes + lane.due_bytes;
        (lane.fresh_bytes, lane.due_bytes) = (0, 0);
        lane.window.clear();
        lane.returned.clear();
        lane.due.clear();
        lane.give_back(|stand| matches!(stand, Stand::Window | Stand::Returned | Stand::Ready(_)));
    }

    /// Damaged, or gone: nothing can be sent, so it is settled everywhere.
    pub fn lost(&mut self, seq: u64, weight: u32, lanes_of: &[u32]) {
        for lane in lanes_of {
            self.release(seq, *lane, weight, lanes_of);
        }
    }
}

impl Lane {
    /// Those near that stand so go back to the disk: to the backlog, or, where a `Deferred` of theirs stands, to the
    /// retries.
    fn give_back(&mut self, which: impl Fn(Stand) -> bool) {
        let back: Vec<u64> =
            self.near.iter().filter(|(_, near)| which(near.stand)).map(|(seq, _)| *seq).collect();
        for seq in back {
            let Some(near) = self.near.remove(&seq) else { continue };
            match near.stand {
                Stand::Reading => self.reading -= 1,
                Stand::ReadingRetry(_) => self.reading_retries -= 1,
                _ => {}
            }
            let due = match near.stand {
                Stand::ReadingRetry(due) | Stand::Ready(due) => due,
                _ => Millis(0),
            };
            match near.step {
                Some(at) => self.wait(&Retry { due, seq, attempt: near.made, dying: false, at }),
                None => drop(self.backlog.insert(seq)),
            }
        }
    }
}
