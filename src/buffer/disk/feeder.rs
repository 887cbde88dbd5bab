//! The thread that reads events for the lanes: what waits on disk into their windows, due retries into their hands.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::time::Instant;

use super::lanes::{Ready, Wanted, WantedRetry};
use super::mortician::{Burial, Job};
use super::ports::Read;
use super::progress::{Progress, What};
use super::shared::{DYING_AGAIN, MAX_DYING, Shared, State};
use crate::buffer::handoff::DeadReason;
use crate::event::Attempt;

/// How much is read for one lane before the next one has its turn, in bytes.
const PER_TURN: usize = 1 << 20;

/// How long a disk that refused a read is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Runs until told to stop. Each message names a lane that may want something.
pub(super) fn run(shared: &Arc<Shared>, lanes: &Receiver<Option<u32>>) {
    // The lanes for which a read was refused, and when they are looked at again.
    let (mut refused, mut again): (Vec<u32>, _) = (Vec::new(), Instant::now());
    loop {
        let first = if refused.is_empty() {
            lanes.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            lanes.recv_timeout(again.saturating_duration_since(Instant::now()))
        };
        // Many tell of the same lane: each is looked at once.
        let mut told = match first {
            Ok(Some(lane)) => vec![lane],
            Err(RecvTimeoutError::Timeout) => Vec::new(),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
        };
        let mut stop = false;
        for next in lanes.try_iter() {
            match next {
                Some(lane) => told.push(lane),
                None => stop = true,
            }
        }
        if again <= Instant::now() {
            told.append(&mut refused);
        }
        told.sort_unstable();
        told.dedup();
        for lane in told {
            if !feed(shared, lane) {
                refused.push(lane);
                again = Instant::now() + AFTER_FAILURE;
            }
        }
        if stop {
            return;
        }
    }
}

/// Whether the disk gave what was asked of it.
fn feed(shared: &Arc<Shared>, lane: u32) -> bool {
    let now = shared.clock.now();
    let wanted = {
        let mut state = shared.state.lock();
        if !state.lanes.wants_refill(lane, now) {
            return true;
        }
        state.lanes.wanted(lane, now)
    };
    let mut found = Found::default();
    let sifted = sift(shared, lane, &wanted, &mut found);
    let Wanted { class, fresh, followers, max_bytes, retries, max_retry_bytes, .. } = wanted;
    let fresh = sifted.unwrap_or(fresh);
    let most = usize::try_from(max_bytes).unwrap_or(usize::MAX).min(PER_TURN);
    for (seq, read) in shared.spool.read_many(&fresh, most) {
        found.sort(seq, read, Vec::new());
    }
    let mut prefetched = Found::default();
    for (seq, read) in shared.spool.read_many(&followers, PER_TURN / 4) {
        prefetched.sort(seq, read, Vec::new());
    }
    let mut waited = Vec::new();
    let mut bytes = 0;
    for WantedRetry { seq, at, attempt, dying } in retries {
        if !dying && bytes > max_retry_bytes {
            continue; // it goes back to where it was
        }
        // Of those on their way to the dead letters no more than so many are in memory.
        if dying && shared.state.lock().dying >= MAX_DYING {
            die_later(shared, lane, seq);
            continue;
        }
        let step = shared.spool.step_at(at, seq, lane);
        let (what, attempts) = step.map(|step| (step.what, step.attempts)).unzip();
        let attempts = attempts.unwrap_or_default();
        let (before, read) = (found.ready.len(), shared.spool.read(seq));
        if dying && matches!(read, Read::Failed) {
            // Nobody else gives back one whose next step is expected.
            die_later(shared, lane, seq);
        }
        found.sort(seq, read, attempts);
        if found.ready.len() == before {
            continue;
        }
        let Some(ready) = found.ready.pop() else { continue };
        if dying {
            bury(shared, lane, ready, what);
        } else {
            bytes += u64::from(ready.weight);
            waited.push((ready, attempt));
        }
    }
    let Found { ready, lost, failed } = found;
    let more = {
        let mut state = shared.state.lock();
        for lost in lost {
            lose(shared, &mut state, &lost, lane);
        }
        // What could not be read of these is met again in its turn.
        state.lanes.prefetched(lane, class, prefetched.ready);
        state.lanes.bring(lane, class, ready, waited);
        state.lanes.wants_refill(lane, now)
    };
    if more && !failed {
        shared.look(lane);
    }
    !failed
}

/// Of the start of a backlog, what is to be read: whose order key is busy steps aside unread. `None` where nothing is to be
/// sifted.
fn sift(shared: &Shared, lane: u32, wanted: &Wanted, found: &mut Found) -> Option<Vec<u64>> {
    if wanted.sift.is_empty() {
        return None;
    }
    let keys = shared.spool.order_keys(&wanted.sift);
    found.failed |= keys.is_err();
    let (fresh, full) = shared.state.lock().lanes.sift(lane, wanted, keys.unwrap_or_default());
    if full {
        shared.metrics.limit_hit("order_keys");
    }
    Some(fresh)
}

/// What came of the reading.
#[derive(Default)]
struct Found {
    ready: Vec<Ready>,
    lost: Vec<Lost>,
    /// The disk refused some of it. That is not brought, and so goes back to where it was.
    failed: bool,
}

struct Lost {
    seq: u64,
    key: Option<crate::event::DedupeKey>,
}

impl Found {
    fn sort(&mut self, seq: u64, read: Read, attempts: Vec<Attempt>) {
        match read {
            Read::Event { event, source, weight, .. } => {
                self.ready.push(Ready { seq, id: event.id, event, source, weight, attempts });
            }
            Read::Failed => self.failed = true,
            Read::Gone => self.lost.push(Lost { seq, key: None }),
            Read::Damaged { key } => self.lost.push(Lost { seq, key }),
        }
    }
}

/// An event whose record cannot be read is over at every destination; its sender's retry is welcome.
fn lose(shared: &Shared, state: &mut State, lost: &Lost, lane: u32) {
    let (lanes, weight) = match shared.spool.known_of(lost.seq) {
        Some((source, weight)) => (shared.lanes_of(source).lanes.to_vec(), weight),
        None => (vec![lane], 0),
    };
    let pending: Vec<u32> =
        lanes.iter().copied().filter(|lane| state.lanes.is_pending(lost.seq, *lane)).collect();
    state.lanes.lost(lost.seq, weight, &lanes);
    for lane in pending {
        if state.lanes.has_freed(lane) {
            shared.look(lane);
        }
        shared.note(
            state,
            Progress { seq: lost.seq, lane, what: What::Lost, attempts: Vec::new(), since: None },
        );
    }
    tracing::error!(
        event = lost.seq,
        "an event of the spool cannot be read and is lost; what is left of it is in quarantine"
    );
    if let Some(key) = lost.key {
        shared.ids.forget(key);
    }
}

/// One whose attempts are used up and that found no room among the dead letters, as `what` says: it is taken there, not
/// sent.
fn bury(shared: &Shared, lane: u32, ready: Ready, what: Option<What>) {
    let reason = match what {
        Some(What::Deferred { dying: Some(reason), .. }) => reason,
        _ => DeadReason::AttemptsExhausted,
    };
    shared.state.lock().dying += 1;
    shared.bury(Job::Bury(Box::new(Burial { ready, lane, reason, excerpt: bytes::Bytes::new() })));
}

/// It waits where it did, for another try to take it to the dead letters.
fn die_later(shared: &Shared, lane: u32, seq: u64) {
    let due = shared.clock.now().plus(DYING_AGAIN);
    shared.state.lock().lanes.wait_again(seq, lane, due);
}
