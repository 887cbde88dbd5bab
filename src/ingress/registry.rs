//! Who is connected: so that at `max_connections` the one idle for longest makes room, and so that a stop reaches
//! every connection that waits for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use futures_util::task::AtomicWaker;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::Instant;

const BUSY: u64 = 0;
const LEAVE: u64 = u64::MAX;

/// All connections of a Door.
#[derive(Debug)]
pub(super) struct Registry {
    slots: Mutex<Slots>,
    stopping: AtomicBool,
    start: Instant,
}

#[derive(Debug, Default)]
struct Slots {
    next: u64,
    open: HashMap<u64, Arc<Slot>>,
}

#[derive(Debug)]
struct Slot {
    /// Busy, told to leave, or since when idle.
    state: AtomicU64,
    waker: AtomicWaker,
}

/// A connection's place; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Seat {
    registry: Arc<Registry>,
    key: u64,
    slot: Arc<Slot>,
}

/// Whether there is a place for one more.
#[derive(Debug)]
pub(super) enum Admission {
    /// Yes.
    Free(Seat),
    /// Yes: the connection idle for longest was told to leave.
    MadeRoom(Seat),
    /// No: all are busy.
    Full,
}

impl Registry {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            slots: Mutex::new(Slots::default()),
            stopping: AtomicBool::new(false),
            start: Instant::now(),
        })
    }

    /// A place for a new connection, which counts as idle until its first byte.
    pub(super) fn admit(self: &Arc<Self>, max: usize) -> Admission {
        let mut slots = self.slots.lock();
        let full = slots.open.len() >= max;
        if full && !slots.evict_longest_idle() {
            return Admission::Full;
        }
        slots.next += 1;
        let key = slots.next;
        let slot = Arc::new(Slot { state: AtomicU64::new(self.tick()), waker: AtomicWaker::new() });
        slots.open.insert(key, Arc::clone(&slot));
        let seat = Seat { registry: Arc::clone(self), key, slot };
        if full { Admission::MadeRoom(seat) } else { Admission::Free(seat) }
    }

    /// Tells every connection that is idle, or will be, to end.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        for slot in self.slots.lock().open.values() {
            slot.waker.wake();
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Milliseconds since the start, never [`BUSY`] nor [`LEAVE`].
    fn tick(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(LEAVE).clamp(BUSY, LEAVE - 2) + 1
    }
}

impl Slots {
    fn evict_longest_idle(&mut self) -> bool {
        loop {
            let idle = self.open.iter().filter_map(|(key, slot)| {
                let since = slot.state.load(Ordering::SeqCst);
                (since != BUSY && since != LEAVE).then_some((since, *key))
            });
            let Some((since, key)) = idle.min() else { return false };
            let Some(slot) = self.open.get(&key).map(Arc::clone) else { return false };
            // It may just have become busy: then look again.
            if slot.state.compare_exchange(since, LEAVE, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                self.open.remove(&key);
                slot.waker.wake();
                return true;
            }
        }
    }
}

impl Seat {
    /// Waits for a first byte from now on.
    pub(super) fn idle(&self) {
        self.slot.state.store(self.registry.tick(), Ordering::SeqCst);
    }

    /// A first byte is there; `false` where this connection has just been told to leave.
    pub(super) fn busy(&self) -> bool {
        self.slot.state.swap(BUSY, Ordering::SeqCst) != LEAVE
    }

    /// Whether an idle connection has to end; wakes `cx` when that changes.
    pub(super) fn must_leave(&self, cx: &Context<'_>) -> bool {
        self.slot.waker.register(cx.waker());
        self.slot.state.load(Ordering::SeqCst) == LEAVE || self.registry.is_stopping()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.registry.is_stopping()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.registry.slots.lock().open.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seat(registry: &Arc<Registry>, max: usize) -> Option<Seat> {
        match registry.admit(max) {
            Admission::Free(seat) | Admission::MadeRoom(seat) => Some(seat),
            Admission::Full => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_idle_for_longest_makes_room() {
        let registry = Registry::new();
        let first = seat(&registry, 2).expect("room");
        tokio::time::advance(Duration::from_millis(5)).await;
        let second = seat(&registry, 2).expect("room");
        tokio::time::advance(Duration::from_millis(5)).await;
        assert!(first.busy());
        first.idle();
        assert!(matches!(registry.admit(2), Admission::MadeRoom(_)));
        assert!(!second.busy(), "the second was idle for longer");
        assert!(first.busy());
    }

    #[tokio::test]
    async fn with_none_idle_there_is_no_room() {
        let registry = Registry::new();
        let seats = [seat(&registry, 2).expect("room"), seat(&registry, 2).expect("room")];
        assert!(seats.iter().all(Seat::busy));
        assert!(matches!(registry.admit(2), Admission::Full));
        drop(seats);
        assert!(matches!(registry.admit(2), Admission::Free(_)));
    }
}
