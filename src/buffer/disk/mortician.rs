//! The thread between the spool and the dead letters: events go there, durably, before the spool forgets them, and come
//! back.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::dead::{DeadLetter, Inserted};
use super::lanes::Ready;
use super::ports::Read;
use super::progress::{Progress, What};
use super::shared::{DYING_AGAIN, Shared};
use crate::buffer::handoff::{DeadReason, KeepError};
use crate::clock::Millis;
use crate::event::EventId;

/// Letters in one transaction.
const AT_ONCE: usize = 500;

/// What the thread is asked to do.
pub(super) enum Job {
    /// Take this one to the dead letters.
    Bury(Box<Burial>),
    /// Bring this one back, at one destination or at all where it is dead; how many that were.
    Requeue(EventId, Option<Arc<str>>, Option<SyncSender<Result<usize, KeepError>>>),
    /// Remember that somebody made due what waited at this destination, at this moment.
    Hastened(Arc<str>, Millis),
    /// End.
    Stop,
}

/// An event whose delivery ended for good.
pub(super) struct Burial {
    pub(super) ready: Ready,
    pub(super) lane: u32,
    pub(super) reason: DeadReason,
    pub(super) excerpt: Bytes,
}

/// Runs until told to stop.
pub(super) fn run(shared: &Arc<Shared>, jobs: &Receiver<Job>) {
    let mut next = None;
    loop {
        let job = match next.take() {
            Some(job) => job,
            None => match jobs.recv() {
                Ok(job) => job,
                Err(_) => return,
            },
        };
        match job {
            Job::Stop => return,
            Job::Requeue(id, only, done) => {
                let result = requeue(shared, id, only.as_deref());
                if let Err(error) = &result {
                    tracing::warn!(%id, ?error, "a dead letter could not be put back; it stays where it is");
                }
                if let Some(done) = done {
                    let _ = done.send(result);
                }
            }
            Job::Hastened(destination, at) => {
                if let Err(error) = shared.dead.hasten(&destination, at) {
                    shared.metrics.storage_failed(1);
                    tracing::error!(%error, destination = &*destination, "what waits is due, but a restart will not know it");
                }
            }
            Job::Bury(first) => {
                let mut burials = vec![*first];
                while burials.len() < AT_ONCE {
                    match jobs.try_recv() {
                        Ok(Job::Bury(another)) => burials.push(*another),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                bury(shared, burials);
            }
        }
    }
}

fn bury(shared: &Shared, burials: Vec<Burial>) {
    let now = shared.clock.now();
    let letters: Vec<DeadLetter> = burials
        .iter()
        .map(|burial| DeadLetter {
            event: Arc::clone(&burial.ready.event),
            destination: shared.names.read().lane_name(burial.lane).cloned().unwrap_or_else(|| "".into()),
            reason: burial.reason,
            attempts: burial.ready.attempts.clone(),
            excerpt: burial.excerpt.clone(),
            died_at: now,
        })
        .collect();
    let inserted = shared.dead.insert(&letters).unwrap_or_else(|error| {
        shared.metrics.storage_failed(1);
        tracing::error!(%error, events = letters.len(), "the dead letters cannot be written; the events stay in the spool");
        vec![Inserted::NoRoom; letters.len()]
    });
    let mut state = shared.state.lock();
    let mut full = 0;
    for (burial, inserted) in burials.into_iter().zip(inserted) {
        let Burial { ready, lane, reason, .. } = burial;
        state.dying = state.dying.saturating_sub(1);
        let since = state.lanes.renewed(ready.seq, lane);
        let what = match inserted {
            Inserted::Stands => {
                let lanes = shared.lanes_of(ready.source);
                state.lanes.died(ready.seq, lane, ready.weight, &lanes.lanes);
                state.lanes.letter(ready.id.seq(), lane);
                What::Dead(reason)
            }
            Inserted::NoRoom => {
                full += 1;
                let due = now.plus(DYING_AGAIN);
                let made = ready.attempts.last().map_or(0, |attempt| attempt.number);
                state.deferring.insert((ready.seq, lane), (due, made, true));
                What::Deferred { due, dying: Some(reason) }
            }
        };
        shared.note(&state, Progress { seq: ready.seq, lane, what, attempts: ready.attempts, since });
    }
    drop(state);
    shared.open.ended.notify_waiters();
    if full > 0 {
        shared.metrics.limit_hit("dead.max_bytes");
        tracing::warn!(
            events = full,
            "the dead letters are full (dead.max_bytes): events that should go there stay in the spool; replay or drop some"
        );
    }
}

/// Puts the dead letters of `id` back: where its record still stands in the spool it pends again, else it is appended
/// anew under its own id. A letter goes once that is durable.
fn requeue(shared: &Arc<Shared>, id: EventId, only: Option<&str>) -> Result<usize, KeepError> {
    let letters = shared.dead.take(id, only).map_err(|error| {
        tracing::error!(%error, "the dead letters cannot be read");
        KeepError::Storage
    })?;
    let mut back = 0;
    for letter in letters {
        let lane = shared.names.write().lane(&letter.destination);
        let name = Arc::clone(&letter.destination);
        shared.state.lock().lanes.lane(lane, &name);
        if !shared.pend_again(id, lane)? {
            let (waiter, stands) = oneshot::channel();
            let event = (*letter.event).clone();
            shared.append(event, std::iter::once((lane, false)), None, Some(waiter), Some(id))?;
            stands.blocking_recv().unwrap_or(Err(KeepError::Storage))?;
        } else if !shared.flush() {
            return Err(KeepError::Storage);
        }
        shared.state.lock().lanes.undead(id.seq(), lane);
        shared.dead.put_back(id, &name);
        back += 1;
    }
    Ok(back)
}

impl Shared {
    /// Whether the event's record is in the spool still, and pends at `lane` now. Blocks.
    pub(super) fn pend_again(&self, id: EventId, lane: u32) -> Result<bool, KeepError> {
        let Some(seq) = self.spool.seq_of(id) else { return Ok(false) };
        let (source, weight, turn) = match self.spool.read(seq) {
            Read::Event { event, source, weight, .. } => (source, weight, event.turn),
            Read::Gone | Read::Damaged { .. } => return Ok(false),
            Read::Failed => return Err(KeepError::Storage),
        };
        let lanes = self.lanes_of(source);
        if !lanes.lanes.contains(&lane) {
            return Ok(false);
        }
        for _ in 0..2 {
            let holders = self.spool.holders(seq);
            let mut state = self.state.lock();
            if state.closed {
                return Err(KeepError::ShuttingDown);
            }
            if state.lanes.is_pending(seq, lane) {
                return Ok(true); // a crash came between the two steps
            }
            if holders.stay() {
                let room = state.lanes.check_requeue(seq, &[lane], weight, &lanes.lanes);
                room.map_err(|full| self.full(full))?;
                let now = self.clock.now();
                state.lanes.requeue(seq, lane, (weight, turn), &lanes.lanes, now);
                let (what, attempts) = (What::Requeued, Vec::new());
                self.note(&state, Progress { seq, lane, what, attempts, since: Some(now) });
                return Ok(true);
            }
            // Its segment is about to go; what still waits in it stands elsewhere then.
            drop((state, holders));
            self.spool.after_maintenance();
        }
        Ok(false)
    }
}
