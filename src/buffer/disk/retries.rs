//! The waiting retries of one lane: earliest due first, then in order of arrival; 24 bytes each.
//!
//! All lanes together hold about [`RetryRoom::max`] of them in memory. Beyond that the later-due half of a lane's goes
//! into a file without a name, as a sorted run, and comes back in blocks when its time comes. Nothing in that file is
//! needed after the process: recovery builds the queues anew from the log. Where the file fails, entries stay in memory,
//! up to twice that number; then [`Retries::push`] gives them back.

mod spill;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::mem::size_of;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::progress::Loc;
use crate::clock::Millis;
use spill::{Run, SpillFile};

/// One waiting retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct Retry {
    /// Not before this moment; a moment after the year 10000 is that year.
    pub due: Millis,
    /// The event's sequence number.
    pub seq: u64,
    /// Attempts made out of the present budget.
    pub attempt: u16,
    /// It waits for room in the dead letters, not for an attempt.
    pub dying: bool,
    /// Where its last `Deferred` stands.
    pub at: Loc,
}

/// How many go into the file in one go, at most: they are sorted under the buffer's lock (some milliseconds).
const AT_ONCE: usize = 1 << 16;
const LAST_DUE: u64 = (1 << 48) - 1;

/// A [`Retry`] in 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct Entry {
    /// 48 bits of `due`, 16 of `attempt`.
    due: u64,
    /// 63 bits of `seq`, 1 of `dying`.
    seq: u64,
    at: Loc,
}

const _: () = assert!(size_of::<Entry>() == 24);

impl Entry {
    pub fn new(retry: &Retry) -> Self {
        let due = retry.due.0.min(LAST_DUE) << 16 | u64::from(retry.attempt);
        Self { due, seq: retry.seq << 1 | u64::from(retry.dying), at: retry.at }
    }

    /// The event's sequence number.
    pub fn seq(&self) -> u64 {
        self.seq >> 1
    }

    /// Where its last `Deferred` stands.
    pub fn at(&self) -> Loc {
        self.at
    }

    fn key(&self) -> (u64, u64) {
        (self.due >> 16, self.seq())
    }

    /// Due by `now`, if it was not before.
    fn by(&self, now: Millis) -> Self {
        let due = (self.due >> 16).min(now.0.min(LAST_DUE)) << 16 | self.due & 0xffff;
        Self { due, ..*self }
    }

    pub fn retry(&self) -> Retry {
        Retry {
            due: Millis(self.due >> 16),
            seq: self.seq(),
            attempt: self.due as u16,
            dying: self.seq & 1 == 1,
            at: self.at,
        }
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What the retries of all lanes share: how many may be in memory, and the file for the others.
#[derive(Debug)]
pub(in crate::buffer) struct RetryRoom {
    max: usize,
    /// Entries read back in one go.
    block: usize,
    used: AtomicUsize,
    file: Mutex<SpillFile>,
    /// The file failed, and that was said.
    failing: AtomicBool,
}

impl RetryRoom {
    /// Room for `max` entries in memory; the file is made in `folder`, when it is needed.
    pub fn new(max: usize, folder: PathBuf) -> Arc<Self> {
        const BLOCK: usize = 4096;
        Self::with_block(max, folder, BLOCK)
    }

    fn with_block(max: usize, folder: PathBuf, block: usize) -> Arc<Self> {
        let file = Mutex::new(SpillFile::new(folder, block));
        Arc::new(Self { max, block, used: AtomicUsize::new(0), file, failing: AtomicBool::new(false) })
    }

    /// How many entries are in memory, of all lanes.
    pub fn in_memory(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether some of them should go into the file.
    pub fn is_over(&self) -> bool {
        self.in_memory() > self.max
    }

    fn is_full(&self) -> bool {
        self.in_memory() >= self.max.saturating_mul(2)
    }

    fn tell(&self, done: &io::Result<()>) {
        match done {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the file of waiting retries fails; they wait in memory");
                }
            }
        }
    }
}

/// The waiting retries of one lane.
#[derive(Debug)]
pub(in crate::buffer) struct Retries {
    heap: BinaryHeap<Reverse<Entry>>,
    /// Each sorted; in the file.
    runs: Vec<Run>,
    /// New places of entries that are still queued with their old ones.
    moved: HashMap<u64, Loc>,
    room: Arc<RetryRoom>,
}

impl Retries {
    pub fn new(room: &Arc<RetryRoom>) -> Self {
        Self { heap: BinaryHeap::new(), runs: Vec::new(), moved: HashMap::new(), room: Arc::clone(room) }
    }

    /// How many wait, in memory and in the file.
    pub fn len(&self) -> u64 {
        self.heap.len() as u64 + self.runs.iter().map(Run::len).sum::<u64>()
    }

    pub fn in_memory(&self) -> usize {
        self.heap.len()
    }

    /// How many bytes it takes on the heap, about.
    #[cfg(test)]
    pub fn heap(&self) -> usize {
        let moved = self.moved.capacity() * (size_of::<(u64, Loc)>() + 1);
        self.heap.capacity() * size_of::<Entry>() + moved
    }

    /// When the earliest is due.
    pub fn next_due(&self) -> Option<Millis> {
        let first = self.heap.peek().map(|Reverse(entry)| entry.key());
        let first = first.into_iter().chain(self.runs.iter().filter_map(Run::first)).min();
        first.map(|(due, _)| Millis(due))
    }

    /// So many will be added at most: a table that grows would be copied again and again.
    pub fn expect(&mut self, more: usize) {
        let most = self.room.max.saturating_add(1).saturating_sub(self.heap.len());
        if self.heap.len() == self.heap.capacity() {
            self.heap.reserve_exact(more.min(most));
        }
    }

    /// All that wait are due by `now`.
    pub fn hasten(&mut self, now: Millis) {
        let heap = std::mem::take(&mut self.heap).into_iter();
        self.heap = heap.map(|Reverse(entry)| Reverse(entry.by(now))).collect();
        self.runs.iter_mut().for_each(|run| run.hasten(now));
    }

    /// Adds a retry. Where nothing more fits in memory and the file fails, it comes back.
    pub fn push(&mut self, retry: &Retry) -> Result<(), Retry> {
        if self.room.is_full() {
            return Err(*retry);
        }
        self.moved.remove(&retry.seq);
        self.add(Entry::new(retry));
        Ok(())
    }

    fn add(&mut self, entry: Entry) {
        self.heap.push(Reverse(entry));
        self.room.used.fetch_add(1, Ordering::Relaxed);
    }

    /// The earliest, where it is due by `now`. What is in the file and cannot be read stays there, pending.
    pub fn pop_due(&mut self, now: Millis) -> Option<Retry> {
        self.bring_back(now);
        let due = self.heap.peek().is_some_and(|Reverse(entry)| entry.key().0 <= now.0);
        let Reverse(entry) = if due { self.heap.pop()? } else { return None };
        if self.heap.capacity() > 4 * self.heap.len().max(self.room.block) {
            self.heap.shrink_to(2 * self.heap.len());
        }
        self.room.used.fetch_sub(1, Ordering::Relaxed);
        let mut retry = entry.retry();
        if let Some(at) = self.moved.remove(&retry.seq) {
            retry.at = at;
        }
        Some(retry)
    }

    /// Reads blocks back until no run that is due begins before the heap does.
    fn bring_back(&mut self, now: Millis) {
        loop {
            let first = self.heap.peek().map(|Reverse(entry)| entry.key());
            let Some(run) = self.runs.iter_mut().min_by_key(|run| run.first()) else { return };
            let is_due = run.first().is_some_and(|(due, _)| due <= now.0);
            if !is_due || first.is_some_and(|first| run.first() > Some(first)) {
                return;
            }
            let read = self.room.file.lock().take_block(run);
            let read = read.map(|block| block.iter().map(|entry| run.told(entry)).collect::<Vec<_>>());
            if run.first().is_none() {
                self.runs.retain(|run| run.first().is_some());
            }
            let read = read.map(|block| block.into_iter().for_each(|entry| self.add(entry)));
            self.room.tell(&read);
            if read.is_err() {
                return;
            }
        }
    }

    /// Moves the later-due half of what is in memory, or the last due [`AT_ONCE`] of it, into the file.
    pub fn spill(&mut self) {
        let mut all = std::mem::take(&mut self.heap).into_vec();
        let kept = (all.len() / 2).max(all.len().saturating_sub(AT_ONCE));
        if kept < all.len() {
            all.select_nth_unstable_by_key(kept, |Reverse(entry)| entry.key());
        }
        let mut later: Vec<Entry> = all.iter().skip(kept).map(|Reverse(entry)| *entry).collect();
        later.sort_unstable();
        let written = self.room.file.lock().write_run(&later).map(|run| {
            all.truncate(kept);
            self.room.used.fetch_sub(later.len(), Ordering::Relaxed);
            self.runs.extend(run.first().is_some().then_some(run));
        });
        self.room.tell(&written);
        self.heap = all.into();
    }

    /// The retries whose last `Deferred` stands in `segment`. Reads what is in the file; what cannot be read is left
    /// out.
    pub fn in_segment(&self, segment: u32) -> Vec<Retry> {
        let mut found = Vec::new();
        let mut look = |entry: &Entry| {
            let mut retry = entry.retry();
            retry.at = self.moved.get(&retry.seq).copied().unwrap_or(retry.at);
            if retry.at.segment == segment {
                found.push(retry);
            }
        };
        self.heap.iter().for_each(|Reverse(entry)| look(entry));
        let file = self.room.file.lock();
        for run in &self.runs {
            let read = file.each(run, &mut look);
            self.room.tell(&read);
        }
        drop(file);
        found
    }

    /// The last `Deferred` of `seq`, which waits here, stands at `at` now. Noted beside, and written into the entries
    /// when an eighth of them has moved.
    pub fn moved(&mut self, seq: u64, at: Loc) {
        const AT_LEAST: u64 = 1024;
        self.moved.insert(seq, at);
        if self.moved.len() as u64 > (self.len() / 8).max(AT_LEAST) {
            self.apply_moves();
        }
    }

    fn apply_moves(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        let apply = |entry: &mut Entry| match moved.get(&entry.seq()) {
            Some(at) => std::mem::replace(&mut entry.at, *at) != *at,
            None => false,
        };
        let mut all = std::mem::take(&mut self.heap).into_vec();
        for Reverse(entry) in &mut all {
            apply(entry);
        }
        self.heap = all.into();
        let mut file = self.room.file.lock();
        let done = self.runs.iter_mut().try_for_each(|run| file.change(run, &mut |entry| apply(entry)));
        drop(file);
        self.room.tell(&done);
        if done.is_err() {
            self.moved = moved;
        }
    }
}

impl Drop for Retries {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.heap.len(), Ordering::Relaxed);
        let mut file = self.room.file.lock();
        self.runs.iter_mut().for_each(|run| file.free(run));
    }
}
