//! A set of sequence numbers: about a bit for each where they are dense, two bytes where they are not.

use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

/// A compressed set that gives back what it outgrew.
#[derive(Debug, Default)]
pub(super) struct Seqs {
    bits: RoaringTreemap,
    len: u64,
    /// Changes since the set was last copied.
    changes: u64,
}

impl Seqs {
    pub fn insert(&mut self, seq: u64) -> bool {
        let new = self.bits.insert(seq);
        if new {
            self.len += 1;
            self.changed();
        }
        new
    }

    pub fn remove(&mut self, seq: u64) -> bool {
        let was = self.bits.remove(seq);
        if was {
            self.len -= 1;
            self.changed();
        }
        was
    }

    pub fn contains(&self, seq: u64) -> bool {
        self.len > 0 && self.bits.contains(seq)
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn first(&self) -> Option<u64> {
        self.bits.min()
    }

    /// The `most` smallest of them, ascending.
    pub fn first_few(&self, most: usize) -> Vec<u64> {
        self.bits.iter().take(most).collect()
    }

    /// The `most` smallest of them, ascending; they are taken out.
    pub fn take_first(&mut self, most: usize) -> Vec<u64> {
        let first = self.first_few(most);
        for seq in &first {
            self.remove(*seq);
        }
        first
    }

    /// Those within `range`, ascending.
    pub fn within(&self, range: RangeInclusive<u64>) -> impl Iterator<Item = u64> + '_ {
        let mut all = self.bits.iter();
        all.advance_to(*range.start());
        let end = *range.end();
        all.take_while(move |seq| *seq <= end)
    }

    /// How many are within `range`: costs as much as there are blocks of 65,536 numbers before its end.
    pub fn count(&self, range: RangeInclusive<u64>) -> u64 {
        let (from, to) = range.into_inner();
        if from > to {
            return 0;
        }
        let before = from.checked_sub(1).map_or(0, |last| self.bits.rank(last));
        self.bits.rank(to) - before
    }

    /// Sparse blocks grow by doubling: half of what they hold may be air. A copy has none. It is made when a quarter
    /// of the set has changed, so it costs each change a few bytes of copying.
    fn changed(&mut self) {
        const AT_LEAST: u64 = 1024;
        self.changes += 1;
        if self.changes >= AT_LEAST && self.changes > self.len / 4 {
            self.changes = 0;
            let exact = self.bits.clone();
            self.bits = exact;
        }
    }

    #[cfg(test)]
    pub fn serialized_size(&self) -> usize {
        self.bits.serialized_size()
    }

    /// How many blocks of 65,536 numbers it has.
    #[cfg(test)]
    pub fn blocks(&self) -> usize {
        self.bits.bitmaps().map(|(_, bits)| bits.statistics().n_containers as usize).sum()
    }
}
