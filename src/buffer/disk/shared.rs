//! What the threads of the buffer share, and what they do with it: an event goes into the open batch, what a commit made of
//! it becomes visible.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::dead::DeadLetters;
use super::device::RealDevice;
use super::excerpts::Excerpts;
use super::housekeeper::Call;
use super::lanes::{Lanes, Ready};
use super::mortician::Job;
use super::ports::{CommitFailed, Committed, Room, SharedNames};
use super::progress::{Loc, Progress, What};
use super::source::Source;
use super::spool::Spool;
use super::writer::{Desk, Kept};
use crate::buffer::handoff::{KeepError, OpenExpress};
use crate::buffer::quota::Full;
use crate::clock::{Clock, Millis};
use crate::event::{Claim, ClaimKeeper, Event, EventId};
use crate::observe::Metrics;

/// How many events may be on their way into the dead letters at once; further ones wait as retries do.
pub(super) const MAX_DYING: usize = 4096;
/// When an event that found no way into the dead letters tries again.
pub(super) const DYING_AGAIN: Duration = Duration::from_secs(30);

/// Passed events (`ack = "delivered"`) are numbered from here on: they take no place in the spool.
pub(super) const EXPRESS_SEQS: u64 = 1 << 63;

/// What all threads share.
pub(super) struct Shared {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ids: Arc<dyn ClaimKeeper>,
    pub(super) names: SharedNames,
    pub(super) state: Mutex<State>,
    /// Wakes the writer.
    pub(super) to_write: Condvar,
    pub(super) spool: Spool<RealDevice>,
    pub(super) dead: DeadLetters,
    pub(super) open: Arc<OpenExpress>,
    pub(super) feed: Sender<Option<u32>>,
    pub(super) bury: Sender<Job>,
    pub(super) keeper: Sender<Call>,
    /// Something was written since the keeper last looked.
    pub(super) wrote: AtomicBool,
}

/// What stands under the lock.
pub(super) struct State {
    pub(super) lanes: Lanes,
    pub(super) desk: Desk,
    pub(super) excerpts: Excerpts,
    /// Retries whose `Deferred` is not written yet: due, attempts made, whether they are dying.
    pub(super) deferring: HashMap<(u64, u32), (Millis, u16, bool)>,
    pub(super) dying: usize,
    /// While a spill is taken up: where each `Deferred` of it stands.
    pub(super) taking_up: Option<Vec<(u64, u32, Loc)>>,
    pub(super) next_express: u64,
    pub(super) closed: bool,
}

impl State {
    /// The last `Deferred` of an event stands at `at` now.
    fn moved(&mut self, seq: u64, lane: u32, at: Loc) {
        if !self.lanes.moved(seq, lane, at)
            && let Some(taking_up) = &mut self.taking_up
        {
            taking_up.push((seq, lane, at));
        }
    }
}

impl Shared {
    /// Puts `event` into the open batch for the lanes `to`, but for those that are optional and have no room. One that is
    /// `replayed` has an id of its own already, and is as young as its replay.
    pub(super) fn append(
        &self,
        mut event: Event,
        to: impl Iterator<Item = (u32, bool)> + Clone,
        claim: Option<Claim>,
        waiter: Option<oneshot::Sender<Result<EventId, KeepError>>>,
        replayed: Option<EventId>,
    ) -> Result<EventId, KeepError> {
        let mut source = self.source(&event, to.clone().map(|(lane, _)| lane));
        let key = claim.as_ref().map(Claim::key);
        let mut state = self.state.lock();
        if state.closed {
            return Err(KeepError::ShuttingDown);
        }
        match self.spool.room() {
            Room::Yes => {}
            Room::Full => return Err(KeepError::Full { destination: None }),
            Room::Failed => return Err(KeepError::Storage),
        }
        let has_room = |lane: u32| state.lanes.check(event.weight(), &[lane]).is_ok();
        if to.clone().any(|(lane, optional)| optional && !has_room(lane)) {
            self.metrics.limit_hit("destination.max_pending");
            let rest = to.filter(|(lane, optional)| !optional || has_room(*lane));
            source = self.source(&event, rest.map(|(lane, _)| lane));
        }
        let lanes = Arc::clone(&source.1);
        state.lanes.check(event.weight(), &lanes.lanes).map_err(|full| self.full(full))?;
        if let Some(id) = replayed {
            event.id = id;
        }
        let (seq, weight) = self.spool.append(&event, source.0, key, replayed.is_some());
        let id = replayed.unwrap_or_else(|| EventId::new(event.received_at, seq));
        event.id = id;
        let reserved = state.lanes.reserve(weight, &lanes.lanes);
        state.lanes.announce(seq);
        let replayed_at = replayed.map(|_| self.clock.now());
        for lane in replayed_at.iter().flat_map(|_| lanes.lanes.iter()) {
            let (what, attempts) = (What::Requeued, Vec::new());
            self.spool.note(Progress { seq, lane: *lane, what, attempts, since: replayed_at });
        }
        let ready = Ready { seq, id, event: Arc::new(event), source: source.0, weight, attempts: Vec::new() };
        state.desk.kept.push(Kept { ready, reserved, claim, key, waiter, replayed_at });
        let wake = state.desk.kept.len() == state.desk.wake_at;
        drop(state);
        if wake {
            self.to_write.notify_one();
        }
        Ok(id)
    }

    /// The number and the meaning of where `event` comes by and goes to.
    pub(super) fn source(&self, event: &Event, to: impl Iterator<Item = u32>) -> (u32, Arc<Source>) {
        let mut lanes: Vec<u32> = to.collect();
        lanes.sort_unstable();
        lanes.dedup();
        let source = Source {
            route: Arc::clone(&event.route),
            provider: event.provider.clone(),
            lanes: lanes.into_boxed_slice(),
        };
        if let Some(known) = self.names.read().find_source(&source) {
            return known;
        }
        let mut names = self.names.write();
        let number = names.source(source.clone());
        (number, names.source_of(number).cloned().unwrap_or_else(|| Arc::new(source)))
    }

    /// The lanes of a source.
    pub(super) fn lanes_of(&self, source: u32) -> Arc<Source> {
        let nowhere = || Arc::new(Source { route: "".into(), provider: None, lanes: Box::default() });
        self.names.read().source_of(source).cloned().unwrap_or_else(nowhere)
    }

    pub(super) fn full(&self, full: Full) -> KeepError {
        let destination = match full {
            Full::Buffer => None,
            Full::Destination(number) => self.names.read().lane_name(number).cloned(),
        };
        KeepError::Full { destination }
    }

    /// Progress was noted: the writer is woken, if it sleeps for nothing else.
    pub(super) fn noted(&self, state: &State) {
        if state.desk.wake_on_note {
            self.to_write.notify_one();
        }
    }

    pub(super) fn note(&self, state: &State, progress: Progress) {
        self.spool.note(progress);
        self.noted(state);
    }

    /// Everything noted up to now is on stable storage when this returns `true`. Blocks.
    pub(super) fn flush(&self) -> bool {
        let (done, wait) = sync_channel(1);
        self.ask_flush(done);
        wait.recv().unwrap_or(false)
    }

    fn ask_flush(&self, done: SyncSender<bool>) {
        self.state.lock().desk.flushes.push(done);
        self.to_write.notify_one();
    }

    /// Hands a job to the thread of the dead letters.
    pub(super) fn bury(&self, job: Job) {
        // Without that thread the process is stopping, and what is not done is done after the next start.
        let _ = self.bury.send(job);
    }

    /// Counts what was written to the disk since it was last counted.
    pub(super) fn count_written(&self) {
        let bytes = self.spool.device.take_written();
        if bytes > 0 {
            self.wrote.store(true, Ordering::Relaxed);
        }
        self.metrics.spool_written(bytes);
    }

    /// Whether anything was, since this was last asked.
    pub(super) fn has_written(&self) -> bool {
        self.wrote.swap(false, Ordering::Relaxed)
    }

    /// Has the spool looked after before its time.
    pub(super) fn look_after_the_spool(&self) {
        // Without that thread the process is stopping.
        let _ = self.keeper.send(Call::Look);
    }

    /// Asks the feeder to look after a lane.
    pub(super) fn look(&self, lane: u32) {
        // Without a feeder the process is stopping.
        let _ = self.feed.send(Some(lane));
    }

    /// What a commit made durable becomes visible: claims are confirmed, senders answered, lanes told.
    pub(super) fn committed(&self, kept: Vec<Kept>, committed: &Committed) {
        let now = self.clock.now();
        let mut answers = Vec::with_capacity(kept.len());
        let mut freed = Vec::new();
        {
            let mut state = self.state.lock();
            let state = &mut *state;
            for Kept { ready, reserved, claim, waiter, replayed_at, .. } in kept {
                let id = ready.id;
                if let Some(at) = replayed_at {
                    state.lanes.renew_all(&reserved, ready.seq, at);
                }
                state.lanes.admit(reserved, ready);
                answers.push((id, claim, waiter));
            }
            for (seq, lane, at) in &committed.moved {
                state.moved(*seq, *lane, *at);
            }
            for (seq, lane, at) in &committed.deferred {
                if let Some((due, attempt, dying)) = state.deferring.remove(&(*seq, *lane)) {
                    state.lanes.wait(*seq, *lane, due, attempt, dying, *at);
                    state.lanes.wake(*lane);
                    freed.extend((dying && state.lanes.has_freed(*lane)).then_some(*lane));
                } else {
                    state.moved(*seq, *lane, *at);
                }
            }
        }
        freed.into_iter().for_each(|lane| self.look(lane));
        for (id, claim, waiter) in answers {
            if let Some(claim) = claim {
                claim.confirm(id, now);
            }
            if let Some(waiter) = waiter {
                // A sender that hung up comes again and reads "duplicate".
                let _ = waiter.send(Ok(id));
            }
        }
    }

    /// A commit that failed: who waits is told; what was promised already is appended anew.
    pub(super) fn given_up(&self, kept: Vec<Kept>, _failed: &CommitFailed) {
        let mut refused = Vec::new();
        {
            let mut state = self.state.lock();
            for mut kept in kept {
                state.lanes.withdraw(kept.ready.seq);
                if kept.waiter.is_some() {
                    state.lanes.unreserve(kept.reserved);
                    refused.push((kept.claim, kept.waiter));
                    continue;
                }
                let Ready { event, source, .. } = &kept.ready;
                let (seq, _) = self.spool.append(event, *source, kept.key, true);
                kept.ready.seq = seq;
                state.lanes.announce(seq);
                state.desk.kept.push(kept);
            }
        }
        for (claim, waiter) in refused {
            drop(claim); // released: the sender's retry is welcome
            let _ = waiter.map(|waiter| waiter.send(Err(KeepError::Storage)));
        }
    }
}
