//! Which event ids were seen: one truth, two phases.
//!
//! A request claims its id ([`Dedupe::claim`]) before its event is kept; whoever keeps the event confirms the claim,
//! and only then is the id remembered. A claim that is dropped is released, and the sender's next try is welcome.
//! Requests with the same id that come in between share the first one's result and never keep by themselves.
//!
//! The table is cut into shards by the key, each under a lock that is held for a look-up and an insertion, never
//! across an await. A shard is a ring of ids in the order in which they were kept, an index into it, and the claims
//! in flight. Over `max_ids` the oldest id of the shard that just grew is forgotten: keys are a keyed hash, so shards
//! grow evenly, nobody outside can steer ids into one of them, and what goes is the oldest of all within a few
//! percent of the table (exactly the oldest where there is one shard, below 30,000 ids).
//!
//! With 1,000,000 ids and the table full, a claim takes 0.6 µs of a core whose caches are cold, its confirmation
//! included, and the table is 80 MB resident (`cargo bench --bench dedupe`).

mod settings;
mod shard;
#[cfg(test)]
mod tests;

pub use settings::{DedupeOptions, DedupeSettings};

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use siphasher::sip128::{Hasher128, SipHasher24};
use tokio::sync::watch;

use crate::clock::{Clock, Millis};
use crate::event::{Claim, ClaimKeeper, DedupeKey, EventId};
use shard::{Found, Shard};

/// A shard is worth its while from this many ids on. Smaller ones would fill unevenly, and a full table would forget
/// ids that are far from the oldest.
const IDS_PER_SHARD: usize = 15_000;
const MAX_SHARDS: usize = 64;

/// The table of remembered ids and of the claims in flight.
pub struct Dedupe {
    clock: Clock,
    hash_key: [u8; 16],
    shards: Box<[Mutex<Shard>]>,
    max_ids: AtomicUsize,
    remembered: AtomicUsize,
    forgotten: AtomicU64,
}

impl fmt::Debug for Dedupe {
    /// Without the hash's key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ids, forgotten) = self.size();
        f.debug_struct("Dedupe").field("ids", &ids).field("forgotten", &forgotten).finish_non_exhaustive()
    }
}

/// What [`Dedupe::claim`] found.
#[derive(Debug)]
pub enum Claimed {
    /// Nobody holds the id: bring the event in with this claim.
    New(Claim),
    /// The event stands already, as this one.
    Duplicate {
        /// The first one's own id.
        id: EventId,
        /// When it was kept.
        kept_at: Millis,
    },
    /// Another request is bringing the same event in at this moment.
    InFlight(Waiter),
}

/// Waits for the result of somebody else's claim and shares it. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Waiter(watch::Receiver<Option<EventId>>);

impl Waiter {
    /// The id as which the event was kept; `None` if it was not.
    pub async fn result(mut self) -> Option<EventId> {
        // The channel's sender goes with the claim: sent on confirm, dropped on release.
        self.0.wait_for(Option::is_some).await.ok().and_then(|id| *id)
    }
}

impl Dedupe {
    /// A table of at most `settings.max_ids` ids whose hash is keyed with `key`.
    #[must_use]
    pub fn new(settings: &DedupeSettings, clock: Clock, key: [u8; 16]) -> Arc<Self> {
        let max_ids = settings.max_ids as usize;
        let shards = (max_ids / IDS_PER_SHARD).next_power_of_two().min(MAX_SHARDS);
        Arc::new(Self {
            clock,
            hash_key: key,
            shards: (0..shards).map(|_| Mutex::new(Shard::new(settings.ttl))).collect(),
            max_ids: AtomicUsize::new(max_ids),
            remembered: AtomicUsize::new(0),
            forgotten: AtomicU64::new(0),
        })
    }

    /// Takes over changed settings (a reload). What is remembered stays, but for the oldest ids where `max_ids`
    /// shrank; those count as forgotten.
    pub fn apply(&self, settings: &DedupeSettings) {
        let max = settings.max_ids as usize;
        self.max_ids.store(max, Ordering::Relaxed);
        let (before, _) = self.size();
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.reset_longest_ttl(settings.ttl);
            if before > max {
                // Each shard gives up the same share; what is left over by rounding goes with the next new id.
                let share = shard.len() as u128 * max as u128 / before as u128;
                let share = usize::try_from(share).unwrap_or(usize::MAX);
                while shard.len() > share && self.evict_from(&mut shard) {
                    self.remembered.fetch_sub(1, Ordering::Relaxed);
                }
                shard.shrink();
            }
        }
    }

    /// The name of `event_id` of `route` in the table: SipHash-2-4 with 128 bits over route, NUL and event id.
    #[must_use]
    pub fn key(&self, route: &str, event_id: &[u8]) -> DedupeKey {
        let mut hasher = SipHasher24::new_with_key(&self.hash_key);
        hasher.write(route.as_bytes());
        hasher.write(&[0]);
        hasher.write(event_id);
        DedupeKey(hasher.finish128().as_u128())
    }

    /// Looks `key` up and claims it where it is free. An id older than `ttl` is free.
    ///
    /// An id kept "in the future" (the wall clock was set back since) has no age, so it is remembered until the
    /// clock has caught up and `ttl` has passed.
    #[must_use]
    pub fn claim(self: &Arc<Self>, key: DedupeKey, ttl: Duration) -> Claimed {
        let now = self.clock.now();
        let Some(shard) = self.shard(key) else {
            return Claimed::New(self.claim_on(key, Vec::new())); // there is always a shard
        };
        let found = shard.lock().claim(key, ttl, now);
        match found {
            Found::Free { served } => Claimed::New(self.claim_on(key, served)),
            Found::Kept { id, kept_at } => Claimed::Duplicate { id, kept_at },
            Found::InFlight(result) => Claimed::InFlight(Waiter(result)),
        }
    }

    fn claim_on(self: &Arc<Self>, key: DedupeKey, served: Vec<Arc<str>>) -> Claim {
        let keeper: Arc<dyn ClaimKeeper> = Arc::<Self>::clone(self);
        Claim::new(keeper, key, served)
    }

    /// How many ids are remembered, and how many were forgotten for room since the start before their time was up
    /// (by the longest time to live asked for).
    #[must_use]
    pub fn size(&self) -> (usize, u64) {
        (self.remembered.load(Ordering::Relaxed), self.forgotten.load(Ordering::Relaxed))
    }

    /// Claims in flight at this moment.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().in_flight()).sum()
    }

    fn shard(&self, key: DedupeKey) -> Option<&Mutex<Shard>> {
        self.shards.get(self.place(key))
    }

    /// The table inside a shard hashes with the key's lower half; the shard is chosen by the upper one.
    fn place(&self, key: DedupeKey) -> usize {
        (key.0 >> 64) as usize % self.shards.len().max(1)
    }

    /// Remembers an id in its shard, and lets the oldest of the shard go where the whole table is full.
    fn remember(&self, shard: &mut Shard, key: DedupeKey, id: EventId, kept_at: Millis) {
        if !shard.remember(key, id, kept_at) {
            return; // it took its own former place
        }
        self.remembered.fetch_add(1, Ordering::Relaxed);
        if shard.len() > 1 && self.one_too_many() && !self.evict_from(shard) {
            self.remembered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Where the shard that grew (with `newest`) had nothing else to give, another one gives its oldest.
    fn make_room(&self, newest: DedupeKey) {
        while self.one_too_many() {
            let mut others = self.shards.iter().cycle().skip(self.place(newest) + 1).take(self.shards.len());
            if !others.any(|shard| self.evict_from(&mut shard.lock())) {
                self.remembered.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Takes one off the count if it is over the bound; whoever gets `true` must let one id go.
    fn one_too_many(&self) -> bool {
        let max = self.max_ids.load(Ordering::Relaxed);
        if self.remembered.load(Ordering::Relaxed) <= max {
            return false;
        }
        self.remembered
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| if n > max { Some(n - 1) } else { None })
            .is_ok()
    }

    /// Lets the oldest id of `shard` go; `false` where it has none. Does not touch the count of remembered ids.
    fn evict_from(&self, shard: &mut Shard) -> bool {
        let Some((kept_at, longest_ttl)) = shard.evict() else { return false };
        if self.clock.now().since(kept_at) < longest_ttl {
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
        true
    }
}

impl ClaimKeeper for Dedupe {
    fn confirm(&self, key: DedupeKey, id: EventId, kept_at: Millis) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock();
        let waiting = shard.land(key);
        self.remember(&mut shard, key, id, kept_at);
        drop(shard);
        self.make_room(key);
        if let Some(waiting) = waiting {
            waiting.send_replace(Some(id));
        }
    }

    fn release(&self, key: DedupeKey, served: Vec<Arc<str>>) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock();
        let waiting = shard.land(key);
        if !served.is_empty() {
            shard.remember_served(key, served, self.clock.now());
        }
        drop(shard);
        drop(waiting); // a closed channel is the failure
    }

    fn restore(&self, key: DedupeKey, id: EventId, kept_at: Millis) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock();
        if shard.find(key).is_none_or(|(_, standing)| standing < kept_at) {
            self.remember(&mut shard, key, id, kept_at);
            drop(shard);
            self.make_room(key);
        }
    }

    fn forget(&self, key: DedupeKey) {
        let Some(shard) = self.shard(key) else { return };
        if shard.lock().forget(key) {
            self.remembered.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
