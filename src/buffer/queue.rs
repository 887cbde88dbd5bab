//! A queue of sequence numbers in little memory: each is told by how much it is greater than the one before it.

use std::collections::{BTreeSet, VecDeque};

/// Numbers in ascending order, one to three bytes each where they are near one another. That order is the one in which they
/// come, but for few.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The differences, 7 bits a byte, the lowest first, 128 where more follow. The first one counts from `before`.
    bytes: VecDeque<u8>,
    before: u64,
    last: u64,
    /// What came behind a greater one.
    late: BTreeSet<u64>,
}

impl Queue {
    pub fn insert(&mut self, seq: u64) {
        if self.bytes.is_empty() {
            (self.before, self.last) = (0, 0);
        } else if seq <= self.last {
            self.late.insert(seq);
            return;
        }
        let mut rest = seq - self.last;
        while rest >= 128 {
            self.push(rest as u8 | 128);
            rest >>= 7;
        }
        self.push(rest as u8);
        self.last = seq;
    }

    /// There are thousands of queues: a quarter of spare room is enough, where a deque by itself doubles.
    fn push(&mut self, byte: u8) {
        if self.bytes.len() == self.bytes.capacity() {
            self.bytes.reserve_exact(self.bytes.len() / 4 + 16);
        }
        self.bytes.push_back(byte);
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.late.is_empty()
    }

    /// The smallest; it is taken out.
    pub fn pop_first(&mut self) -> Option<u64> {
        let told = told(self.bytes.iter(), self.before).next();
        let late = self.late.first().copied();
        match (told, late) {
            (Some((first, len)), late) if late.is_none_or(|late| first < late) => {
                self.bytes.drain(..len);
                self.before = first;
                if self.bytes.capacity() > 4 * self.bytes.len().max(64) {
                    self.bytes.shrink_to(2 * self.bytes.len());
                }
                Some(first)
            }
            _ => self.late.pop_first(),
        }
    }

    /// All of them: those that came late behind all others.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        told(self.bytes.iter(), self.before).map(|(seq, _)| seq).chain(self.late.iter().copied())
    }

    /// How many bytes it takes on the heap, about.
    #[cfg(test)]
    pub fn heap(&self) -> usize {
        self.bytes.capacity() + self.late.len() * 24
    }
}

/// The numbers in `bytes`, each with how many bytes it takes.
fn told<'a>(mut bytes: impl Iterator<Item = &'a u8>, mut before: u64) -> impl Iterator<Item = (u64, usize)> {
    std::iter::from_fn(move || {
        let (mut difference, mut len) = (0u64, 0);
        loop {
            let byte = *bytes.next()?;
            difference |= u64::from(byte & 127) << (7 * len);
            len += 1;
            if byte < 128 {
                break;
            }
        }
        before = before.wrapping_add(difference);
        Some((before, len))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_takes_a_byte_or_two_and_a_queue_gives_back_what_it_outgrew() {
        let mut queue = Queue::default();
        let first = 1 << 40;
        (0..100_000).for_each(|n| queue.insert(first + n * 10_000));
        assert!(queue.heap() <= 100_000 * 2 * 5 / 4 + 16, "{}", queue.heap());
        (0..99_900).for_each(|n| assert_eq!(queue.pop_first(), Some(first + n * 10_000)));
        assert!(queue.heap() < 1000, "{}", queue.heap());
        assert_eq!(queue.iter().count(), 100);
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_set(steps in prop::collection::vec((0u8..4, 0u64..2000, any::<u64>()), 1..200)) {
            let (mut queue, mut set, mut next) = (Queue::default(), BTreeSet::new(), 0u64);
            for (kind, near, far) in steps {
                match kind {
                    0 => prop_assert_eq!(queue.pop_first(), set.pop_first()),
                    1 if set.insert(near) => queue.insert(near),
                    2 if set.insert(far) => queue.insert(far),
                    _ => {
                        next = next.wrapping_add(near);
                        if set.insert(next) {
                            queue.insert(next);
                        }
                    }
                }
                prop_assert_eq!(queue.is_empty(), set.is_empty());
                let mut all: Vec<_> = queue.iter().collect();
                all.sort_unstable();
                prop_assert!(all.iter().eq(set.iter()));
            }
        }
    }
}
