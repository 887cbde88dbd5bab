//! Tables of paths: what a look-up for every prefix of every request's path can afford.

use std::hash::{BuildHasherDefault, Hasher};

/// A map by path.
pub(super) type PathMap<V> = std::collections::HashMap<Box<str>, V, BuildHasherDefault<PathHasher>>;
/// A set of paths.
pub(super) type PathSet = std::collections::HashSet<Box<str>, BuildHasherDefault<PathHasher>>;

/// Eight bytes a step: xor, multiply to 128 bits, fold the halves (as wyhash and foldhash do). Without a key: what is
/// stored comes from the configuration alone, so nobody outside can fill one place of the table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PathHasher(u64);

/// The fraction of the golden ratio, and that of √2 made odd: bits without a pattern.
const START: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0x6a09_e667_f3bc_c909;

impl PathHasher {
    fn step(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ START) * u128::from(FACTOR);
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

impl Hasher for PathHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.step(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.step(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, _: u8) {} // what `str` adds behind its bytes; the length is in already

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Which lengths paths of a table have: a path of any other length needs no look-up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths {
    seen: [u64; 4],
    longest: usize,
}

impl Lengths {
    const COUNTED: usize = 256;

    pub(super) fn add(&mut self, length: usize) {
        self.longest = self.longest.max(length);
        if let Some(word) = self.seen.get_mut(length / 64) {
            *word |= 1 << (length % 64);
        }
    }

    pub(super) fn has(&self, length: usize) -> bool {
        match self.seen.get(length / 64) {
            Some(word) => word & (1 << (length % 64)) != 0,
            None => (Self::COUNTED..=self.longest).contains(&length),
        }
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, BuildHasherDefault};

    #[test]
    fn lengths_are_remembered_exactly_and_long_ones_up_to_the_longest() {
        let mut lengths = Lengths::default();
        assert!(!lengths.has(0) && !lengths.has(300));
        for length in [0, 63, 64, 255, 300] {
            lengths.add(length);
        }
        let found: Vec<_> = (0..400).filter(|length| lengths.has(*length)).collect();
        assert_eq!(found, [0, 63, 64].into_iter().chain(255..=300).collect::<Vec<_>>());
    }

    #[test]
    fn paths_that_look_alike_hash_apart() {
        let build = BuildHasherDefault::<PathHasher>::default();
        let mut hashes = std::collections::HashSet::new();
        let mut low_bits = std::collections::HashSet::new();
        let mut high_bits = std::collections::HashSet::new();
        let mut count = 0;
        for n in 0..5000 {
            for path in [
                format!("/hooks/{n}"),
                format!("/{n}/hooks"),
                format!("/hooks/tenant-{n}/github"),
                "/a".repeat(n),
            ] {
                if n < 1000 || !path.starts_with("/a") {
                    count += 1;
                    let hash = build.hash_one(path.as_str());
                    hashes.insert(hash);
                    low_bits.insert(hash & 0xffff);
                    high_bits.insert(hash >> 57);
                }
            }
        }
        assert_eq!(hashes.len(), count);
        // 16,000 balls into 65,536 bins fill some 14,200 of them.
        assert!(low_bits.len() > 13_500, "{}", low_bits.len());
        assert_eq!(high_bits.len(), 128);
    }
}
