//! The one thread that appends, and its pace.
//!
//! A commit costs one `fdatasync`, whatever it holds: so many senders share one, and no sender waits for others that do
//! not come. At once where nobody was answered within the last moment; else when as many wait as were answered
//! together lately, or when that moment after the last sync is over, whichever comes first. How long it is says
//! [`Load`]: a sync takes processor time, which is there for the asking while there is some left, and an event's own time
//! when there is none. Progress nobody waits for rides with the next commit; alone, it is written as soon as that costs
//! nobody a wait, and synced within [`SYNC_WITHIN`].

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::batch::Batch;
use super::lanes::{Ready, Reserved};
use super::load::Load;
use super::ports::CommitFailed;
use super::shared::Shared;
use crate::buffer::handoff::KeepError;
use crate::clock::Millis;
use crate::event::{Claim, DedupeKey, EventId};

/// How long what was written for nobody's sake may wait for its sync.
const SYNC_WITHIN: Duration = Duration::from_millis(50);
/// How long a disk that failed is left alone before what must be written is tried again.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// How long a stop waits for a disk that takes nothing.
const STOP_WITHIN: Duration = Duration::from_secs(2);

/// An event in the open batch.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) ready: Ready,
    pub(super) reserved: Reserved,
    pub(super) claim: Option<Claim>,
    pub(super) key: Option<DedupeKey>,
    /// Whoever waits for the sync; without one the sender has its 2xx already (`ack = "memory"`).
    pub(super) waiter: Option<oneshot::Sender<Result<EventId, KeepError>>>,
    /// When it was replayed, if it is a dead letter that left the spool long ago.
    pub(super) replayed_at: Option<Millis>,
}

/// What the writer is asked for; under the buffer's lock.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// In the order of the open batch.
    pub(super) kept: Vec<Kept>,
    /// Who waits for everything that was noted so far to be on stable storage.
    pub(super) flushes: Vec<SyncSender<bool>>,
    /// At how many waiting events the writer wants to be woken; 0: it is at work and will look by itself.
    pub(super) wake_at: usize,
    /// Whether a note wakes it.
    pub(super) wake_on_note: bool,
    pub(super) stop: bool,
}

/// The writer's memory from one commit to the next.
struct Pace {
    last_sync: Instant,
    load: Load,
    /// As many as were answered together lately, letting go of it slowly.
    company: usize,
    /// Since when something written waits for its sync.
    unsynced_since: Option<Instant>,
    not_before: Option<Instant>,
    /// When everything was to be written.
    stopping_since: Option<Instant>,
    /// How many spares there were after the last commit.
    spares: usize,
}

/// Runs until the desk says stop and everything is written, or the disk has taken nothing for [`STOP_WITHIN`] since.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut pace = Pace {
        last_sync: Instant::now(),
        load: Load::new(),
        company: 1,
        unsynced_since: None,
        not_before: None,
        stopping_since: None,
        spares: 0,
    };
    while let Some(work) = wait(shared, &mut pace) {
        commit(shared, &mut pace, work);
    }
}

/// What one commit writes, and for whom.
struct Work {
    batch: Batch,
    kept: Vec<Kept>,
    flushes: Vec<SyncSender<bool>>,
    /// Whether it has to be synced.
    durable: bool,
}

/// Waits until something is to be written, and takes it under the same lock under which it was decided that nobody waits
/// for its sync: an event that came in between would be answered without one. `None` at the end.
fn wait(shared: &Shared, pace: &mut Pace) -> Option<Work> {
    let mut state = shared.state.lock();
    loop {
        let now = Instant::now();
        let (waiting, notes) = (state.desk.kept.len(), shared.spool.batched().notes);
        let wanted = waiting > 0 || !state.desk.flushes.is_empty();
        let idle = !wanted && notes == 0;
        if state.desk.stop {
            let since = *pace.stopping_since.get_or_insert(now);
            if idle && pace.unsynced_since.is_none() {
                return None;
            }
            if pace.not_before.is_some() && since + STOP_WITHIN <= now {
                tracing::error!(
                    notes,
                    "the disk takes nothing: what is not noted there goes out again after the next start"
                );
                return None;
            }
        }
        let due = if wanted && (waiting >= pace.company || !state.desk.flushes.is_empty() || state.desk.stop)
        {
            Some(now)
        } else if wanted || notes > 0 {
            Some(pace.last_sync + pace.load.pace())
        } else {
            pace.unsynced_since.map(|since| since + SYNC_WITHIN)
        };
        let due = match (due, pace.not_before) {
            (Some(due), Some(not_before)) => Some(due.max(not_before)),
            (due, _) => due,
        };
        if due.is_some_and(|due| due <= now) {
            state.desk.wake_at = 0;
            state.desk.wake_on_note = false;
            let overdue = pace.unsynced_since.is_some_and(|since| since + SYNC_WITHIN <= now);
            let durable = wanted || overdue || state.desk.stop;
            let kept = std::mem::take(&mut state.desk.kept);
            let flushes = std::mem::take(&mut state.desk.flushes);
            return Some(Work { batch: shared.spool.take(), kept, flushes, durable });
        }
        state.desk.wake_at = if pace.not_before.is_some() { usize::MAX } else { pace.company.max(1) };
        // Alone, the first of what comes wakes the writer, which then may find that it must wait for company.
        if due.is_none() || pace.last_sync + pace.load.pace() <= now {
            state.desk.wake_at = 1;
        }
        state.desk.wake_on_note = due.is_none() || pace.unsynced_since.is_some();
        match due {
            Some(due) => {
                let _ = shared.to_write.wait_for(&mut state, due.saturating_duration_since(now));
            }
            None => shared.to_write.wait(&mut state),
        }
    }
}

fn commit(shared: &Arc<Shared>, pace: &mut Pace, work: Work) {
    let Work { batch, kept, flushes, durable } = work;
    let answered = kept.len();
    let result = shared.spool.commit(batch, durable);
    let now = Instant::now();
    pace.last_sync = now;
    pace.load.look(now);
    shared.count_written();
    let spares = shared.spool.spares();
    if spares < std::mem::replace(&mut pace.spares, spares) {
        shared.look_after_the_spool();
    }
    match result {
        Ok(committed) => {
            pace.not_before = None;
            pace.company = answered.max(pace.company - pace.company.div_ceil(8)).max(1);
            pace.unsynced_since = if durable { None } else { pace.unsynced_since.or(Some(now)) };
            if committed.syncs > 0 {
                shared.metrics.fsync(committed.sync_took);
            }
            shared.committed(kept, &committed);
            for flush in flushes {
                let _ = flush.send(true);
            }
        }
        Err(failed) => {
            pace.not_before = Some(now + AFTER_FAILURE);
            report(&failed);
            shared.given_up(kept, &failed);
            for flush in flushes {
                let _ = flush.send(false);
            }
        }
    }
}

fn report(failed: &CommitFailed) {
    tracing::error!(error = %failed, "the disk refused a commit: senders get a 503, and the next commit goes to a new segment");
}
