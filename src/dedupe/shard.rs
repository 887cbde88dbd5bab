//! One shard of the table: ids in the order in which they were kept, the claims in flight, and what partial
//! deliveries left behind. Everything here runs under the shard's lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use tokio::sync::watch;

use crate::clock::Millis;
use crate::event::{DedupeKey, EventId};

/// How long it is remembered who took an event of which another destination failed.
const SERVED_TTL: Duration = Duration::from_secs(600);
/// How many such events a shard remembers; the oldest goes first.
const MAX_SERVED: usize = 160;
/// Places of the ring that may stand empty, besides a quarter of those in use, before it is packed.
const SLACK: usize = 64;

/// A remembered id: 40 bytes, in words of 8 so that nothing is lost to alignment.
#[derive(Clone, Copy, Debug)]
struct Kept {
    key: [u64; 2],
    at: Millis,
    seq: u64,
    kept_at: Millis,
}

impl Kept {
    fn new(key: DedupeKey, id: EventId, kept_at: Millis) -> Self {
        Self { key: halves(key), at: id.at(), seq: id.seq(), kept_at }
    }

    fn id(&self) -> EventId {
        EventId::new(self.at, self.seq)
    }
}

/// A claim that is neither confirmed nor released yet. The channel is made when the first one waits.
#[derive(Debug)]
struct Flight {
    key: DedupeKey,
    result: Option<watch::Sender<Option<EventId>>>,
}

#[derive(Debug)]
struct Served {
    key: DedupeKey,
    at: Millis,
    by: Vec<Arc<str>>,
}

/// What a look-up found.
#[derive(Debug)]
pub(super) enum Found {
    /// Free, and now claimed by who asked.
    Free {
        served: Vec<Arc<str>>,
    },
    Kept {
        id: EventId,
        kept_at: Millis,
    },
    InFlight(watch::Receiver<Option<EventId>>),
}

#[derive(Debug)]
pub(super) struct Shard {
    flights: HashTable<Flight>,
    /// Positions of the ids in the ring, counted from the start of the process, modulo 2³².
    index: HashTable<u32>,
    /// In the order of keeping. A place that the index does not name is empty (forgotten, or kept anew later).
    ring: VecDeque<Kept>,
    /// The position of the ring's first place.
    first: u32,
    served: VecDeque<Served>,
    longest_ttl: Duration,
}

fn halves(key: DedupeKey) -> [u64; 2] {
    [(key.0 >> 64) as u64, key.0 as u64]
}

/// The key is a keyed hash already: its lower half serves as it is.
fn hash(key: DedupeKey) -> u64 {
    key.0 as u64
}

/// The key at `position` of the ring, for comparing and for rehashing.
fn key_at(ring: &VecDeque<Kept>, first: u32, position: u32) -> Option<[u64; 2]> {
    ring.get(position.wrapping_sub(first) as usize).map(|kept| kept.key)
}

fn rehash(ring: &VecDeque<Kept>, first: u32, position: u32) -> u64 {
    key_at(ring, first, position).map_or(0, |[_, low]| low)
}

impl Shard {
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            flights: HashTable::new(),
            index: HashTable::new(),
            ring: VecDeque::new(),
            first: 0,
            served: VecDeque::new(),
            longest_ttl: ttl,
        }
    }

    /// Remembered ids.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Forgets how long routes wanted ids remembered; those that still do will ask again.
    pub(super) fn reset_longest_ttl(&mut self, ttl: Duration) {
        self.longest_ttl = ttl;
    }

    pub(super) fn claim(&mut self, key: DedupeKey, ttl: Duration, now: Millis) -> Found {
        self.longest_ttl = self.longest_ttl.max(ttl);
        if let Some(flight) = self.flights.find_mut(hash(key), |flight| flight.key == key) {
            let result = flight.result.get_or_insert_with(|| watch::Sender::new(None));
            return Found::InFlight(result.subscribe());
        }
        if let Some((id, kept_at)) = self.find(key).filter(|(_, kept_at)| now.since(*kept_at) < ttl) {
            return Found::Kept { id, kept_at };
        }
        self.flights.insert_unique(hash(key), Flight { key, result: None }, |flight| hash(flight.key));
        Found::Free { served: self.take_served(key, now) }
    }

    /// Ends the claim on `key`; whoever waits for it hears through what is returned.
    pub(super) fn land(&mut self, key: DedupeKey) -> Option<watch::Sender<Option<EventId>>> {
        let flight = self.flights.find_entry(hash(key), |flight| flight.key == key).ok()?;
        flight.remove().0.result
    }

    /// The id remembered under `key`, whatever its age, and when it was kept.
    pub(super) fn find(&self, key: DedupeKey) -> Option<(EventId, Millis)> {
        let halves = halves(key);
        let (ring, first) = (&self.ring, self.first);
        let position = self.index.find(hash(key), |p| key_at(ring, first, *p) == Some(halves))?;
        let kept = ring.get(position.wrapping_sub(first) as usize)?;
        Some((kept.id(), kept.kept_at))
    }

    /// Remembers `key` as the newest; `true` where it was not remembered before.
    pub(super) fn remember(&mut self, key: DedupeKey, id: EventId, kept_at: Millis) -> bool {
        let known = self.forget(key);
        if self.ring.len() == self.ring.capacity() {
            self.grow();
        }
        let position = self.first.wrapping_add(self.ring.len() as u32);
        self.ring.push_back(Kept::new(key, id, kept_at));
        let (ring, first) = (&self.ring, self.first);
        self.index.insert_unique(hash(key), position, |p| rehash(ring, first, *p));
        !known
    }

    /// Makes room at the back: by an eighth, where doubling would leave up to half of the table unused.
    fn grow(&mut self) {
        if self.ring.len() > self.index.len() + self.index.len() / 4 + SLACK {
            self.pack();
        }
        if self.ring.len() == self.ring.capacity() {
            self.ring.reserve_exact(self.ring.len() / 8 + SLACK);
        }
    }

    /// Closes the gaps in the ring.
    fn pack(&mut self) {
        let mut position = self.first;
        let (index, first) = (&self.index, self.first);
        self.ring.retain(|kept| {
            let here = position;
            position = position.wrapping_add(1);
            index.find(kept.key[1], |p| *p == here).is_some()
        });
        self.index.clear();
        for (place, kept) in self.ring.iter().enumerate() {
            let ring = &self.ring;
            let position = first.wrapping_add(place as u32);
            self.index.insert_unique(kept.key[1], position, |p| rehash(ring, first, *p));
        }
    }

    /// `true` where `key` was remembered.
    pub(super) fn forget(&mut self, key: DedupeKey) -> bool {
        let halves = halves(key);
        let (ring, first) = (&self.ring, self.first);
        match self.index.find_entry(hash(key), |p| key_at(ring, first, *p) == Some(halves)) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Forgets the oldest id: when it was kept, and the longest time anybody wanted an id remembered.
    pub(super) fn evict(&mut self) -> Option<(Millis, Duration)> {
        while let Some(oldest) = self.ring.pop_front() {
            let position = self.first;
            self.first = self.first.wrapping_add(1);
            if let Ok(entry) = self.index.find_entry(oldest.key[1], |p| *p == position) {
                entry.remove();
                return Some((oldest.kept_at, self.longest_ttl));
            }
        }
        None
    }

    /// Gives memory back after the bound shrank.
    pub(super) fn shrink(&mut self) {
        self.ring.shrink_to_fit();
        let (ring, first) = (&self.ring, self.first);
        self.index.shrink_to_fit(|p| rehash(ring, first, *p));
    }

    pub(super) fn remember_served(&mut self, key: DedupeKey, by: Vec<Arc<str>>, now: Millis) {
        self.served.retain(|served| served.key != key && now.since(served.at) < SERVED_TTL);
        if self.served.len() >= MAX_SERVED {
            self.served.pop_front();
        }
        self.served.push_back(Served { key, at: now, by });
    }

    fn take_served(&mut self, key: DedupeKey, now: Millis) -> Vec<Arc<str>> {
        let Some(place) = self.served.iter().position(|served| served.key == key) else { return Vec::new() };
        match self.served.remove(place) {
            Some(served) if now.since(served.at) < SERVED_TTL => served.by,
            _ => Vec::new(),
        }
    }

    /// Bytes held for remembered ids.
    #[cfg(test)]
    pub(super) fn bytes_of_ids(&self) -> usize {
        self.ring.capacity() * size_of::<Kept>() + self.index.allocation_size()
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> (usize, usize) {
        (self.ring.len(), self.served.len())
    }
}
