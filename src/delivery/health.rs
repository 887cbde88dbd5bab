//! How a destination does, as its lane tells it and the admin API shows it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::clock::Millis;

/// Whether events flow, as far as the destination itself decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaneState {
    /// As fast as its settings allow.
    #[default]
    Flowing,
    /// It was down, or is asked too much: so many requests at a time.
    Recovering {
        /// Most requests in flight.
        allows: u32,
    },
    /// It is down.
    Tripped {
        /// When the next probe goes out; `None` while one is on its way.
        probe_at: Option<Millis>,
    },
}

/// How a destination does. Times are milliseconds since the epoch, 0 for never.
#[derive(Debug, Default)]
pub(super) struct Health {
    in_flight: AtomicU32,
    gathering: AtomicU32,
    last_success: AtomicU64,
    last_failure: AtomicU64,
    failures_in_a_row: AtomicU64,
    state: Mutex<LaneState>,
}

impl Health {
    pub(super) fn record(&self, delivered: bool, now: Millis) {
        if delivered {
            self.last_success.store(now.0, Ordering::Relaxed);
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        } else {
            self.last_failure.store(now.0, Ordering::Relaxed);
            self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn set_in_flight(&self, requests: usize) {
        self.in_flight.store(u32::try_from(requests).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(super) fn set_gathering(&self, events: usize) {
        self.gathering.store(u32::try_from(events).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub(super) fn set_state(&self, state: LaneState) {
        *self.state.lock() = state;
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn gathering(&self) -> u32 {
        self.gathering.load(Ordering::Relaxed)
    }

    pub(super) fn last_success(&self) -> Option<Millis> {
        moment(&self.last_success)
    }

    pub(super) fn last_failure(&self) -> Option<Millis> {
        moment(&self.last_failure)
    }

    pub(super) fn failures_in_a_row(&self) -> u64 {
        self.failures_in_a_row.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> LaneState {
        *self.state.lock()
    }
}

fn moment(at: &AtomicU64) -> Option<Millis> {
    let at = at.load(Ordering::Relaxed);
    (at != 0).then_some(Millis(at))
}
