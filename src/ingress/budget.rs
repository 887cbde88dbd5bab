//! The memory of bodies being read, over all connections: reserved before a byte is read, given back with the guard.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// `server.max_inflight_bytes`.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicU64>);

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    budget: Budget,
    bytes: u64,
}

impl Budget {
    /// Reserves `bytes` of `limit`; `None` where too little is left.
    pub(super) fn reserve(&self, bytes: u64, limit: u64) -> Option<Reserved> {
        let mut reserved = Reserved { budget: self.clone(), bytes: 0 };
        reserved.grow(bytes, limit).then_some(reserved)
    }

    /// Bytes reserved now.
    pub(super) fn used(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Reserved {
    /// Reserves `bytes` more; `false` where too little is left.
    pub(super) fn grow(&mut self, bytes: u64, limit: u64) -> bool {
        let taken = self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|used| *used <= limit)
        });
        if taken.is_ok() {
            self.bytes += bytes;
        }
        taken.is_ok()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_comes_back() {
        let budget = Budget::default();
        let mut first = budget.reserve(60, 100).expect("room");
        assert!(budget.reserve(41, 100).is_none());
        assert!(first.grow(40, 100));
        assert!(!first.grow(1, 100));
        assert!(!first.grow(u64::MAX, u64::MAX));
        assert_eq!(budget.used(), 100);
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
