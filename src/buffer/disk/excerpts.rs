//! The start of the last answer to each event that waits for its next attempt. For the operator's eye, so in memory
//! alone and bounded: with an excerpt of 4 KiB in each of ten steps an event would take 27 times its own room. The one
//! of a dead letter stands with it, on disk.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use crate::buffer::view::MAX_EXCERPT;

/// All of them together, in bytes, with what it takes to find them.
const MAX_BYTES: usize = 4 << 20;
const BOOKKEEPING: usize = 128;

/// The excerpts, the newest.
#[derive(Debug, Default)]
pub(super) struct Excerpts {
    kept: HashMap<(u64, u32), (u64, Bytes)>,
    /// In the order in which they came, each with its number; an entry whose number is not the kept one is void.
    order: VecDeque<((u64, u32), u64)>,
    next: u64,
    bytes: usize,
}

impl Excerpts {
    /// Remembers the answer to the event `seq` at `lane`, in place of the former one.
    pub(super) fn put(&mut self, seq: u64, lane: u32, excerpt: &Bytes) {
        self.remove(seq, lane);
        let excerpt = excerpt.get(..excerpt.len().min(MAX_EXCERPT)).unwrap_or_default();
        if excerpt.is_empty() {
            return;
        }
        self.next += 1;
        self.bytes += excerpt.len() + BOOKKEEPING;
        // Copied: it may be a corner of a large answer that it would keep alive.
        self.kept.insert((seq, lane), (self.next, Bytes::copy_from_slice(excerpt)));
        self.order.push_back(((seq, lane), self.next));
        while self.bytes > MAX_BYTES || self.order.len() > 2 * self.kept.len() + 64 {
            let Some(((seq, lane), number)) = self.order.pop_front() else { return };
            if self.kept.get(&(seq, lane)).is_some_and(|(kept, _)| *kept == number) {
                if self.bytes <= MAX_BYTES {
                    self.order.push_back(((seq, lane), number)); // only what is void was to go
                } else {
                    self.remove(seq, lane);
                }
            }
        }
    }

    /// Lets it go.
    pub(super) fn remove(&mut self, seq: u64, lane: u32) {
        if let Some((_, gone)) = self.kept.remove(&(seq, lane)) {
            self.bytes -= gone.len() + BOOKKEEPING;
        }
    }

    /// What is remembered.
    pub(super) fn get(&self, seq: u64, lane: u32) -> Bytes {
        self.kept.get(&(seq, lane)).map(|(_, excerpt)| excerpt.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_within_their_bound() {
        let mut excerpts = Excerpts::default();
        for seq in 0..2000 {
            excerpts.put(seq, 1, &Bytes::from(vec![b'x'; 9000]));
        }
        assert!(excerpts.bytes <= MAX_BYTES);
        assert_eq!((excerpts.get(1999, 1).len(), excerpts.get(0, 1).len()), (MAX_EXCERPT, 0));
        for seq in 0..2000 {
            excerpts.remove(seq, 1);
        }
        assert_eq!(excerpts.bytes, 0);
    }

    #[test]
    fn one_that_comes_again_and_again_leaves_nothing_behind() {
        let mut excerpts = Excerpts::default();
        for _ in 0..10_000 {
            excerpts.put(7, 1, &Bytes::from_static(b"no"));
            excerpts.put(8, 1, &Bytes::from_static(b"nor this"));
        }
        assert!(excerpts.order.len() < 100, "{}", excerpts.order.len());
        assert_eq!(&*excerpts.get(7, 1), b"no");
    }
}
