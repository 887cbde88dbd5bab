//! The retries of one lane, as the log tells them before any event is known: 24 bytes each, of which there may be millions.
//!
//! They lie in pieces of equal size. A table that doubles leaves its halves behind, in memory that is free and that the
//! system does not get back for long.

use std::collections::BinaryHeap;

use roaring::RoaringTreemap;

use super::super::retries::{Entry, Retry};

/// Steps in a piece: 768 KiB.
const PIECE: usize = 1 << 15;

/// Of each event whose last step says that it waits, that step.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// In the order of the log, and some that do not hold any more; once they are tidy, the highest event first.
    pieces: Vec<Vec<Entry>>,
    len: usize,
    /// The events that wait.
    waiting: RoaringTreemap,
    /// How many steps there were after the last tidying.
    tidied: usize,
    /// Nothing was said since the last tidying.
    is_tidy: bool,
}

impl Steps {
    /// How many there are, at most: some may not hold any more.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The last step of an event, so far.
    pub fn add(&mut self, retry: &Retry) {
        const AT_LEAST: usize = 4096;
        self.waiting.insert(retry.seq);
        self.push(Entry::new(retry));
        self.is_tidy = false;
        if self.len > (2 * self.tidied).max(AT_LEAST) {
            self.tidy();
        }
    }

    /// What was told of an event does not hold any more.
    pub fn remove(&mut self, seq: u64) {
        if self.waiting.remove(seq) {
            self.is_tidy = false;
        }
    }

    /// What `seq` waits for. Asked for in ascending order; what was passed over is let go.
    pub fn take(&mut self, seq: u64) -> Option<Retry> {
        if !self.is_tidy {
            self.tidy();
        }
        while self.pop_if(|entry| entry.seq() < seq).is_some() {}
        self.pop_if(|entry| entry.seq() == seq).map(|entry| entry.retry())
    }

    fn push(&mut self, entry: Entry) {
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            // The first one grows to what it must be: many lanes have few.
            let room = if self.pieces.is_empty() { 0 } else { PIECE };
            self.pieces.push(Vec::with_capacity(room));
        }
        self.pieces.last_mut().into_iter().for_each(|piece| piece.push(entry));
        self.len += 1;
    }

    fn pop_if(&mut self, wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let piece = self.pieces.last_mut()?;
        let entry = piece.pop_if(|entry| wanted(entry))?;
        if piece.is_empty() {
            self.pieces.pop();
        }
        self.len -= 1;
        Some(entry)
    }

    /// Leaves the last step of each event that waits, the highest event first: each piece is sorted by itself, and all are
    /// merged into new ones. Where the log has them about in the order of their events, as it mostly has, one piece after the
    /// other is used up by that.
    fn tidy(&mut self) {
        let mut old = std::mem::take(&mut self.pieces);
        let key = |entry: &Entry| (entry.seq(), entry.at());
        old.iter_mut().for_each(|piece| piece.sort_by_key(key)); // stable: the order of the log stays within a block, too
        let mut next = |nth: usize| {
            let piece = old.get_mut(nth)?;
            let entry = piece.pop()?;
            if piece.is_empty() {
                *piece = Vec::new();
            }
            Some((key(&entry), nth, entry))
        };
        let mut heads: BinaryHeap<_> = (0..).map_while(&mut next).collect();
        let mut last = None;
        self.len = 0;
        while let Some(((seq, _), nth, entry)) = heads.pop() {
            heads.extend(next(nth));
            if last.replace(seq) != Some(seq) && self.waiting.contains(seq) {
                self.push(entry);
            }
        }
        (self.tidied, self.is_tidy) = (self.len, true);
    }

    /// How many bytes it takes on the heap, about.
    #[cfg(test)]
    pub fn heap(&self) -> usize {
        let entries: usize = self.pieces.iter().map(Vec::capacity).sum();
        entries * size_of::<Entry>() + self.waiting.serialized_size()
    }
}
