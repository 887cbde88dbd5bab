//! The thread that keeps the folder in order: indexes of sealed segments, spares for the next ones, what is past its
//! retention. A disk that is full is asked again every second, so that accepting goes on by itself.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use tokio::time::Instant;

use super::dead::Usage;
use super::ports::Live;
use super::shared::Shared;

/// How long it sleeps between two looks. The writer wakes it when it has taken a spare.
const EVERY: Duration = Duration::from_millis(20);
/// How much less of a busy processor it gets than the threads that answer.
const NICE: i32 = 5;
/// How often the dead letters are looked through for what is past `dead.retention`.
const DEAD_EVERY: Duration = Duration::from_secs(60);
/// How often it is announced what goes soon, and that they are nearly full.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(60 * 60);

/// How often the allocator is reminded of what it may give back, where nothing is written meanwhile.
const REMINDED_EVERY: Duration = Duration::from_secs(2);
/// Too large for a page of the allocator's that holds anything else.
const REMINDER: usize = 1 << 20;

/// What the thread is told.
pub(super) enum Call {
    /// There is less room than there was.
    Look,
    /// End.
    Stop,
}

/// Runs until a call says stop; `ready` hears of the first round, after which there is room. `told` damaged records were counted at the start.
pub(super) fn run(shared: &Arc<Shared>, told: u64, calls: &Receiver<Call>, ready: &SyncSender<()>) {
    // Senders wait for the others; where it may not, it is no worse than they are.
    let _ = rustix::process::nice(NICE);
    let (mut dead_at, mut at_rest_since) = (Instant::now(), Instant::now());
    let (mut corrupt, mut failures) = (told, 0);
    let mut announced = Announced::default();
    loop {
        let live = Waiting(shared);
        shared.spool.maintain(&live, shared.clock.now(), &|| shared.flush());
        let stats = shared.spool.stats();
        shared.metrics.set_spool_segments(u64::from(stats.segments));
        shared.metrics.corrupt_records(stats.corrupt_records - corrupt);
        shared.metrics.storage_failed(stats.storage_failures - failures);
        (corrupt, failures) = (stats.corrupt_records, stats.storage_failures);
        shared.count_written();
        if dead_at <= Instant::now() {
            dead_at = Instant::now() + DEAD_EVERY;
            look_at_the_dead(shared, &mut announced);
        }
        if shared.has_written() {
            at_rest_since = Instant::now();
        } else if at_rest_since.elapsed() >= REMINDED_EVERY {
            at_rest_since = Instant::now();
            remind_the_allocator();
        }
        // Nobody waits for the later ones.
        let _ = ready.try_send(());
        match calls.recv_timeout(EVERY) {
            Ok(Call::Look) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Call::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What was freed goes back to the system when the allocator next frees a page, a second later at the earliest. A gateway
/// to which nobody sends frees none, and would keep for good what its start took for a moment. One that is busy frees
/// enough, and soon takes again what it is made to give back.
fn remind_the_allocator() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(REMINDER)));
}

/// When it was last said …
#[derive(Default)]
struct Announced {
    /// … that some go soon,
    soon: Option<Instant>,
    /// … that they are nearly full.
    nearly_full: Option<Instant>,
}

/// Whether what was said `at` is to be said now; then it is from now on.
fn is_due(at: &mut Option<Instant>) -> bool {
    let due = at.is_none_or(|at| at.elapsed() >= ANNOUNCED_EVERY);
    if due {
        *at = Some(Instant::now());
    }
    due
}

fn look_at_the_dead(shared: &Shared, announced: &mut Announced) {
    match shared.dead.expire(shared.clock.now()) {
        Ok(expired) => {
            if !expired.gone.is_empty() {
                tracing::warn!(
                    events = expired.gone.len(),
                    "dead letters were removed: dead.retention is over"
                );
            }
            for (id, destination) in &expired.gone {
                let lane = shared.names.write().lane(destination);
                shared.state.lock().lanes.undead(id.seq(), lane);
            }
            announce(expired.soon, shared.dead.usage(), announced);
        }
        Err(error) => {
            shared.metrics.storage_failed(1);
            tracing::error!(%error, "the dead letters cannot be looked through");
        }
    }
}

fn announce(soon: u64, usage: Usage, announced: &mut Announced) {
    if soon > 0 && is_due(&mut announced.soon) {
        tracing::warn!(
            events = soon,
            "dead letters go within a day: dead.retention is nearly over; replay them now"
        );
    }
    if usage.over_80_percent && is_due(&mut announced.nearly_full) {
        tracing::warn!(
            bytes = usage.bytes,
            max_bytes = usage.max_bytes,
            "the dead letters are over 80 % of dead.max_bytes; at the bound nothing more moves there"
        );
    }
}

/// Who still waits, as the spool asks.
struct Waiting<'a>(&'a Shared);

impl Live for Waiting<'_> {
    fn pending(&self, from: u64, to: u64) -> Vec<u64> {
        self.0.state.lock().lanes.pending(from, to)
    }

    fn pending_count(&self, from: u64, to: u64) -> u64 {
        self.0.state.lock().lanes.pending_count(from, to)
    }

    fn is_pending(&self, seq: u64, lane: u32) -> bool {
        self.0.state.lock().lanes.is_pending(seq, lane)
    }

    fn waiting_in(&self, segment: u32) -> Vec<(u64, u32, u32)> {
        self.0.state.lock().lanes.waiting_in(segment)
    }
}
