//! One event in memory, and where it stands at each of its destinations.

use std::sync::Arc;

use bytes::Bytes;

use super::super::handoff::DeadReason;
use super::super::quota::{Charge, Holding};
use super::super::view::{MAX_ATTEMPTS_KEPT, MAX_EXCERPT, Status};
use crate::clock::Millis;
use crate::event::{Attempt, DedupeKey, Event};

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) event: Arc<Event>,
    pub(super) holding: Holding,
    /// Under which its id is remembered.
    pub(super) key: Option<DedupeKey>,
    /// One a destination; never two of the same.
    pub(super) places: Vec<Place>,
}

impl Stored {
    pub(super) fn is_dead_somewhere(&self) -> bool {
        self.places.iter().any(|place| matches!(place.state, State::Dead(_)))
    }
}

/// An event at one destination.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) lane: u32,
    pub(super) charge: Charge,
    pub(super) state: State,
    /// Attempts made out of the present budget.
    pub(super) made: u16,
    /// When it was last replayed.
    pub(super) since: Option<Millis>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) excerpt: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In the lane's queue.
    Fresh,
    /// With the lane's task.
    InFlight,
    /// In the lane's heap.
    Deferred {
        due: Millis,
    },
    Delivered,
    Dead(DeadReason),
}

impl Place {
    pub(super) fn fresh(lane: u32, charge: Charge) -> Self {
        let (attempts, excerpt) = (Vec::new(), Bytes::new());
        Self { lane, charge, state: State::Fresh, made: 0, since: None, attempts, excerpt }
    }

    pub(super) fn status(&self) -> Status {
        match self.state {
            State::Fresh | State::InFlight | State::Deferred { .. } => Status::Pending,
            State::Delivered => Status::Delivered,
            State::Dead(reason) => Status::Dead(reason),
        }
    }

    pub(super) fn due(&self) -> Option<Millis> {
        match self.state {
            State::Deferred { due } => Some(due),
            _ => None,
        }
    }

    /// The number of the next attempt.
    pub(super) fn next_attempt(&self) -> u16 {
        self.made.saturating_add(1)
    }

    /// Remembers an attempt that ended, and its answer in place of the last one's.
    pub(super) fn record(&mut self, attempt: Attempt, excerpt: &Bytes, budget: &mut ExcerptBudget) {
        self.made = attempt.number;
        if self.attempts.len() >= MAX_ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
        self.attempts.reserve_exact(1);
        self.attempts.push(attempt);
        budget.replace(&mut self.excerpt, excerpt);
    }
}

/// All excerpts together. A destination that answers each of 100,000 events with a page of its own must not cost
/// more memory than the events themselves.
#[derive(Debug)]
pub(super) struct ExcerptBudget {
    used: u64,
    bound: u64,
}

impl ExcerptBudget {
    pub(super) fn new(bound: u64) -> Self {
        Self { used: 0, bound }
    }

    fn replace(&mut self, old: &mut Bytes, new: &Bytes) {
        self.free(old);
        let new = new.get(..new.len().min(MAX_EXCERPT)).unwrap_or_default();
        if new.is_empty() || self.used + new.len() as u64 > self.bound {
            return;
        }
        // Copied: the excerpt may be a corner of a large answer that it would keep alive.
        *old = Bytes::copy_from_slice(new);
        self.used += new.len() as u64;
    }

    /// Lets an excerpt go.
    pub(super) fn free(&mut self, excerpt: &mut Bytes) {
        self.used = self.used.saturating_sub(excerpt.len() as u64);
        *excerpt = Bytes::new();
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used
    }
}
