//! The retries of one lane, as the log tells them before any event is known: 24 bytes each, of which there may be millions.

use roaring::RoaringTreemap;

use super::super::retries::{Entry, Retry};

/// Of each event whose last step says that it waits, that step.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// In the order of the log, and some that do not hold any more; once they are tidy, by event, the last one first.
    found: Vec<Entry>,
    /// The events that wait.
    waiting: RoaringTreemap,
    /// How many steps there were after the last tidying.
    tidied: usize,
    /// Nothing came since the last tidying.
    is_tidy: bool,
}

impl Steps {
    /// The last step of an event, so far.
    pub fn add(&mut self, retry: &Retry) {
        const AT_LEAST: usize = 4096;
        self.waiting.insert(retry.seq);
        self.found.push(Entry::new(retry));
        self.is_tidy = false;
        if self.found.len() > (2 * self.tidied).max(AT_LEAST) {
            self.tidy();
        }
    }

    /// What was told of an event does not hold any more.
    pub fn remove(&mut self, seq: u64) {
        self.waiting.remove(seq);
    }

    /// What `seq` waits for. Asked for in ascending order; what was passed over is let go.
    pub fn take(&mut self, seq: u64) -> Option<Retry> {
        if !self.is_tidy {
            self.tidy();
        }
        while self.found.pop_if(|entry| entry.seq() < seq).is_some() {}
        let entry = self.found.pop_if(|entry| entry.seq() == seq);
        // What they wait in now takes as much again.
        if self.found.len() < self.found.capacity() / 2 {
            self.found.shrink_to_fit();
        }
        entry.map(|entry| entry.retry())
    }

    /// Leaves the last step of each event that waits.
    fn tidy(&mut self) {
        self.found.sort_by_key(Entry::seq); // stable: the order of the log stays
        self.found.reverse();
        self.found.dedup_by_key(|entry| entry.seq());
        self.found.retain(|entry| self.waiting.contains(entry.seq()));
        (self.tidied, self.is_tidy) = (self.found.len(), true);
    }

    /// How many bytes it takes on the heap, about.
    #[cfg(test)]
    pub fn heap(&self) -> usize {
        self.found.capacity() * size_of::<Entry>() + self.waiting.serialized_size()
    }
}
