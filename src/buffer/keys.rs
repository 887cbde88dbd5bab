//! The order keys of one lane: of the events of one key one is on its way at a time, in order of arrival within a class.
//!
//! An event with a key *enters* when it is its turn to be looked at, in order of arrival. The first of its key and class
//! goes on as the *next* one; the others step *aside*: here, as numbers alone, and come back one by one. So what a busy key
//! holds up takes no room that others need, and an event is looked at once, however many of its key lie before it. The
//! next one *begins* when it is taken; from then on the key is busy until it *ends* (delivered, dead, lost). Between its
//! attempts it goes on holding the key.
//!
//! At most [`MAX_KEYS`] keys are known at a time. Where one more would enter, it and all behind it wait.

use std::collections::HashMap;

use super::queue::Queue;
use super::seqs::Seqs;
use crate::event::{ByClass, OrderKey, Priority};

/// How many keys may be held in one lane.
pub(super) const MAX_KEYS: usize = 10_000;

/// Where an event goes that enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// On: it is the next of its key.
    Next,
    /// Aside, until it is freed.
    Aside,
    /// Nowhere: there are too many keys.
    Full,
}

/// One key of which an event is on its way or next.
#[derive(Debug, Default)]
struct Key {
    busy: Option<u64>,
    /// The event of each class that is next.
    next: ByClass<Option<u64>>,
    /// Those behind it. Some may have left since.
    behind: ByClass<Option<Box<Queue>>>,
}

/// The keys of one lane.
#[derive(Debug)]
pub(super) struct Keys {
    keys: HashMap<OrderKey, Key>,
    /// The events that are busy or next.
    holders: HashMap<u64, (OrderKey, Priority)>,
    /// Those that stepped aside.
    aside: ByClass<Seqs>,
    most: usize,
    /// One was refused since there was room for one: nobody was told yet, or was.
    refused: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    NotYet,
    Already,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            keys: HashMap::new(),
            holders: HashMap::new(),
            aside: ByClass::default(),
            most: MAX_KEYS,
            refused: None,
        }
    }
}

impl Keys {
    /// `seq` is looked at. The caller asks in order of arrival.
    pub fn enter(&mut self, key: OrderKey, class: Priority, seq: u64) -> Entry {
        if self.is_full() && !self.keys.contains_key(&key) {
            self.refused.get_or_insert(Told::NotYet);
            return Entry::Full;
        }
        let known = self.keys.entry(key).or_default();
        let next = known.next.get_mut(class);
        if known.busy.is_some() || next.is_some() {
            known.behind.get_mut(class).get_or_insert_default().insert(seq);
            self.aside.get_mut(class).insert(seq);
            return Entry::Aside;
        }
        *next = Some(seq);
        self.holders.insert(seq, (key, class));
        Entry::Next
    }

    /// `seq` is taken; `false` where another class's event of its key is on its way, and it stepped aside. One without a
    /// key may always be taken.
    pub fn begin(&mut self, seq: u64) -> bool {
        let Some((key, class)) = self.holders.get(&seq).copied() else { return true };
        let Some(known) = self.keys.get_mut(&key) else { return true };
        match known.busy {
            Some(busy) if busy == seq => return true,
            None => {
                known.busy = Some(seq);
                *known.next.get_mut(class) = None;
                return true;
            }
            Some(_) => {}
        }
        *known.next.get_mut(class) = None;
        known.behind.get_mut(class).get_or_insert_default().insert(seq);
        self.aside.get_mut(class).insert(seq);
        self.holders.remove(&seq);
        false
    }

    /// `seq` was on its way before the start and waits for its retry; `false` where another one of its key is, which
    /// never happened in one process.
    pub fn resume(&mut self, key: OrderKey, class: Priority, seq: u64) -> bool {
        let known = self.keys.entry(key).or_default();
        if known.busy.is_some() {
            return false;
        }
        known.busy = Some(seq);
        self.holders.insert(seq, (key, class));
        true
    }

    /// `seq` is over, or leaves for another reason: those that are next by that.
    pub fn end(&mut self, seq: u64) -> Vec<(Priority, u64)> {
        if self.holders.is_empty() {
            return Vec::new(); // where nobody has a key, no hash is made of a number
        }
        let Some((key, class)) = self.holders.remove(&seq) else { return Vec::new() };
        let Some(known) = self.keys.get_mut(&key) else { return Vec::new() };
        if known.busy == Some(seq) {
            known.busy = None;
        } else {
            *known.next.get_mut(class) = None;
        }
        if known.busy.is_some() {
            return Vec::new();
        }
        let mut freed = Vec::new();
        for (class, next) in known.next.iter_mut().filter(|(_, next)| next.is_none()) {
            let Some(behind) = known.behind.get_mut(class) else { continue };
            let aside = self.aside.get_mut(class);
            *next = std::iter::from_fn(|| behind.pop_first()).find(|seq| aside.remove(*seq));
            if behind.is_empty() {
                *known.behind.get_mut(class) = None;
            }
            freed.extend(next.map(|seq| (class, seq)));
        }
        self.holders.extend(freed.iter().map(|(class, seq)| (*seq, (key, *class))));
        if known.next.iter().all(|(_, next)| next.is_none()) {
            self.keys.remove(&key);
            self.refused = None;
        }
        freed
    }

    /// Takes one that stepped aside out; whether it was there.
    pub fn leave(&mut self, seq: u64) -> bool {
        self.aside.iter_mut().any(|(_, aside)| aside.remove(seq))
    }

    /// Of those behind `seq`, which is next of its key, about the `most` first of its class: some may have left since.
    pub fn behind(&self, seq: u64, most: usize) -> impl Iterator<Item = u64> + '_ {
        let holder = self.holders.get(&seq);
        let queue = holder.and_then(|(key, class)| self.keys.get(key)?.behind.get(*class).as_deref());
        queue.into_iter().flat_map(Queue::iter).take(most)
    }

    /// Whether it is on its way or next.
    pub fn holds(&self, seq: u64) -> bool {
        self.holders.contains_key(&seq)
    }

    /// Whether an event of this key is on its way, next, or behind one that is.
    pub fn knows(&self, key: OrderKey) -> bool {
        self.keys.contains_key(&key)
    }

    /// Whether it stepped aside.
    pub fn is_aside(&self, seq: u64) -> bool {
        self.aside.iter().any(|(_, aside)| aside.contains(seq))
    }

    /// How many stepped aside.
    pub fn aside(&self) -> u64 {
        self.aside.iter().map(|(_, aside)| aside.len()).sum()
    }

    /// The earliest of them.
    pub fn first_aside(&self) -> Option<u64> {
        self.aside.iter().filter_map(|(_, aside)| aside.first()).min()
    }

    /// Whether there is no room for a new key.
    pub fn is_full(&self) -> bool {
        self.keys.len() >= self.most
    }

    /// Whether a key was refused, since there was room for one, and nobody was told.
    pub fn tell_refused(&mut self) -> bool {
        let news = self.refused == Some(Told::NotYet);
        self.refused = self.refused.map(|_| Told::Already);
        news
    }
}

#[cfg(test)]
impl Keys {
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// All that stepped aside.
    pub fn all_aside(&self) -> Vec<u64> {
        self.aside.iter().flat_map(|(_, aside)| aside.within(0..=u64::MAX).collect::<Vec<_>>()).collect()
    }

    /// Of every key at most one event is on its way, and what stepped aside waits for somebody.
    pub fn check(&self) {
        assert!(
            self.keys
                .values()
                .all(|key| key.busy.is_some() || key.next.iter().any(|(_, next)| next.is_some()))
        );
        let mut holders = 0;
        for (key, known) in &self.keys {
            let next = known.next.iter().filter_map(|(_, next)| *next);
            for seq in next.chain(known.busy) {
                assert_eq!(self.holders.get(&seq).map(|(of, _)| of), Some(key));
                holders += 1;
            }
        }
        assert_eq!(holders, self.holders.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Bulk, Critical, Normal};

    fn key(bits: u64) -> OrderKey {
        OrderKey::from_bits(bits).unwrap()
    }

    #[test]
    fn one_of_a_key_goes_and_the_others_follow_in_order_of_arrival() {
        let mut keys = Keys::default();
        assert_eq!(keys.enter(key(1), Normal, 1), Entry::Next);
        assert_eq!(keys.enter(key(2), Normal, 2), Entry::Next, "another key");
        for seq in [3, 4, 5] {
            assert_eq!(keys.enter(key(1), Normal, seq), Entry::Aside);
        }
        assert!(keys.begin(1) && keys.begin(1), "put back and taken again");
        assert!(keys.leave(4) && !keys.leave(4), "lost meanwhile");
        assert_eq!((keys.aside(), keys.first_aside()), (2, Some(3)));
        keys.check();
        assert_eq!(keys.end(1), [(Normal, 3)]);
        assert_eq!(keys.enter(key(1), Normal, 6), Entry::Aside, "though nothing is busy: 3 is before it");
        assert!(keys.begin(3));
        assert_eq!(keys.end(3), [(Normal, 5)]);
        assert_eq!(keys.end(5), [(Normal, 6)], "one that never began");
        assert!(keys.begin(6) && keys.begin(2) && keys.begin(99));
        assert_eq!((keys.end(6), keys.end(2), keys.end(99)), (vec![], vec![], vec![]));
        assert!(keys.keys.is_empty() && keys.holders.is_empty());
    }

    #[test]
    fn a_higher_class_overtakes_but_never_goes_at_the_same_time() {
        let mut keys = Keys::default();
        assert_eq!(keys.enter(key(1), Bulk, 1), Entry::Next);
        assert_eq!(keys.enter(key(1), Critical, 2), Entry::Next, "it need not wait for what has not begun");
        assert_eq!(keys.enter(key(1), Critical, 3), Entry::Aside);
        assert!(keys.begin(2));
        assert!(!keys.begin(1), "its key is busy: it steps aside");
        keys.check();
        assert_eq!(keys.end(2), [(Critical, 3), (Bulk, 1)]);
        assert!(keys.begin(1), "whoever is taken first");
        assert!(!keys.begin(3));
        assert_eq!(keys.enter(key(1), Normal, 4), Entry::Aside);
        assert_eq!(keys.end(1), [(Critical, 3), (Normal, 4)]);
        keys.check();
    }

    #[test]
    fn above_the_bound_no_key_enters_and_known_ones_do() {
        let mut keys = Keys::default();
        for bits in 1..=MAX_KEYS as u64 {
            assert_eq!(keys.enter(key(bits), Normal, bits), Entry::Next);
        }
        assert!(keys.is_full());
        assert_eq!(keys.enter(key(1 << 40), Normal, 1 << 40), Entry::Full);
        assert!(keys.tell_refused() && !keys.tell_refused(), "it is told once");
        assert_eq!(keys.enter(key(7), Normal, 1 << 41), Entry::Aside);
        keys.end(9);
        assert!(!keys.is_full());
        assert_eq!(keys.enter(key(1 << 40), Normal, 1 << 40), Entry::Next);
        assert_eq!(keys.enter(key(1 << 42), Normal, 1 << 42), Entry::Full);
        assert!(keys.tell_refused(), "and again when it is so again");
    }

    #[test]
    fn what_steps_aside_takes_a_few_bytes_however_many_keys_are_busy() {
        const EVENTS: u64 = 500_000;
        for count in [1, 100, MAX_KEYS as u64 - 1] {
            let mut keys = Keys::default();
            // As after years: numbers are large.
            for n in 0..EVENTS {
                keys.enter(key(n % count + 1), Normal, (1 << 40) + n);
            }
            assert_eq!(keys.aside(), EVENTS - count);
            let queues = keys.keys.values().filter_map(|key| key.behind.get(Normal).as_ref());
            let queues: usize = queues.map(|queue| queue.heap()).sum();
            let aside = keys.aside.get(Normal).serialized_size();
            // Half of a queue's room may be empty.
            assert!((queues + aside) as u64 <= 5 * EVENTS, "{count} keys: {queues} and {aside} bytes");
        }
    }

    #[test]
    fn what_waited_for_its_retry_before_the_start_holds_its_key() {
        let mut keys = Keys::default();
        assert!(keys.resume(key(1), Normal, 5));
        assert!(!keys.resume(key(1), Normal, 6));
        assert_eq!(keys.enter(key(1), Critical, 7), Entry::Aside);
        assert!(keys.begin(5));
        assert_eq!(keys.end(5), [(Critical, 7)]);
    }
}
