//! Who is still waiting: asked before a segment goes.

use super::*;

impl Lanes {
    /// The events from `from` to `to` that are pending in any lane, ascending.
    pub fn pending(&self, from: u64, to: u64) -> Vec<u64> {
        self.events.within(from..=to).collect()
    }

    /// How many of them there are.
    pub fn pending_count(&self, from: u64, to: u64) -> u64 {
        self.events.count(from..=to)
    }

    /// Whether `seq` is pending at `lane`.
    pub fn is_pending(&self, seq: u64, lane: u32) -> bool {
        self.pends(seq, lane)
    }

    /// The pending places whose last progress is a `Deferred` in `segment`: sequence number, lane, offset. Those on their
    /// way to the dead letters are among them: until they stand there, nothing else tells what became of them.
    pub fn waiting_in(&self, segment: u32) -> Vec<(u64, u32, u32)> {
        let mut found = Vec::new();
        for (number, lane) in self.lanes.iter().enumerate() {
            for (_, track) in lane.tracks.iter() {
                let waiting = track.retries.in_segment(segment).into_iter();
                let waiting = waiting.filter(|retry| track.waiting.contains(retry.seq));
                found.extend(waiting.map(|retry| (retry.seq, number as u32, retry.at.offset)));
            }
            let near = lane.near.iter().filter_map(|(seq, near)| Some((*seq, near.step?)));
            let near = near.filter(|(_, at)| at.segment == segment);
            found.extend(near.map(|(seq, at)| (seq, number as u32, at.offset)));
        }
        found
    }

    /// The last `Deferred` of `seq` at `lane` stands at `at` now. `false` where it does not wait there.
    pub fn moved(&mut self, seq: u64, lane: u32, at: Loc) -> bool {
        let Some(lane) = self.lanes.get_mut(lane as usize) else { return false };
        let waiting = lane.tracks.iter_mut().find(|(_, track)| track.waiting.contains(seq));
        if let Some((_, track)) = waiting {
            track.retries.moved(seq, at);
            return true;
        }
        match lane.near.get_mut(&seq) {
            Some(Near { step: Some(step), .. }) => {
                *step = at;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
impl Lanes {
    /// How much memory what waits takes, but for what is in the windows: the sets of all lanes as they are written out, with
    /// what each block of 65,536 numbers costs besides (a container and the slack of its vector), an upper bound of what is
    /// on the heap after the sets gave back theirs; and the queues of retries, with their empty places.
    pub fn heap(&self) -> usize {
        let set = |set: &Seqs| set.serialized_size() + set.blocks() * 64;
        let track = |track: &Track| set(&track.backlog) + set(&track.waiting) + track.retries.heap();
        let tracks = |lane: &Lane| lane.tracks.iter().map(|(_, one)| track(one)).sum::<usize>();
        let lane = |lane: &Lane| tracks(lane) + set(&lane.shared) + size_of::<Lane>();
        self.lanes.iter().map(lane).sum::<usize>() + set(&self.events)
    }

    /// Whether nothing is being read, and no step is being written.
    pub fn is_quiet(&self) -> bool {
        let near = self.lanes.iter().flat_map(|lane| lane.near.values());
        let sifting = self.lanes.iter().flat_map(|lane| lane.tracks.iter()).any(|(_, track)| track.sifting);
        let moving = |stand: Stand| {
            use Stand::{Ending, Reading, ReadingNext, ReadingRetry};
            matches!(stand, Reading | ReadingNext | ReadingRetry(_) | Ending)
        };
        !sifting && !near.into_iter().any(|near| moving(near.stand))
    }

    /// The lanes for which something is to be read.
    pub fn wanting(&self, now: Millis) -> Vec<u32> {
        (0..self.lanes.len() as u32).filter(|lane| self.wants_refill(*lane, now)).collect()
    }

    /// How many retries of all lanes are in memory.
    pub fn retries_in_memory(&self) -> usize {
        self.room.in_memory()
    }
}
