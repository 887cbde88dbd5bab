//! Lately delivered events: still readable, still replayable, outside the quota of what is pending. A ring bounded
//! by a sixteenth of `buffer.max_bytes` and of `buffer.max_events` (at least one event); the oldest goes first.

use std::collections::VecDeque;

use super::super::quota::Amount;

#[derive(Debug)]
pub(super) struct History {
    bound: Amount,
    used: Amount,
    /// In the order in which they were delivered to the last of their destinations.
    ring: VecDeque<(u64, Amount)>,
}

impl History {
    pub(super) fn new(buffer: Amount) -> Self {
        let bound = Amount::new((buffer.events / 16).max(1), buffer.bytes / 16);
        Self { bound, used: Amount::default(), ring: VecDeque::new() }
    }

    pub(super) fn push(&mut self, seq: u64, size: Amount) {
        self.ring.push_back((seq, size));
        self.used += size;
    }

    /// The oldest, where all are more than the bound allows.
    pub(super) fn pop_surplus(&mut self) -> Option<u64> {
        if self.used.fits(self.bound) {
            return None;
        }
        let (seq, size) = self.ring.pop_front()?;
        self.used -= size;
        Some(seq)
    }

    /// Takes out an event that goes on its way again. A search, for an operator's replay.
    pub(super) fn remove(&mut self, seq: u64) {
        if let Some((_, size)) =
            self.ring.iter().position(|(s, _)| *s == seq).and_then(|at| self.ring.remove(at))
        {
            self.used -= size;
        }
    }

    pub(super) fn used(&self) -> Amount {
        self.used
    }

    #[cfg(test)]
    pub(super) fn bound(&self) -> Amount {
        self.bound
    }
}
