//! The disk form as the rest of the house sees it: one lock over lanes and the writer's desk, four threads beside it.
//!
//! Locks are taken in this order: the state, then the names or the spool's batch. They are not held over a disk access,
//! but for the file of the retries beyond a million.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::dead::{DeadLetters, DeadOptions};
use super::device::RealDevice;
use super::excerpts::Excerpts;
use super::housekeeper::Call;
use super::lane::DiskLane;
use super::lanes::{Lanes, Ready};
use super::mortician::Job;
use super::ports::{CommitFailed, Committed, Room, SharedNames, SpoolOptions};
use super::progress::{Loc, Progress, What};
use super::retries::RetryRoom;
use super::source::Source;
use super::spool::Spool;
use super::writer::{Desk, Kept};
use super::{feeder, housekeeper, mortician, recovered, writer};
use crate::buffer::handoff::{KeepError, MaxPending, OpenExpress};
use crate::buffer::quota::{Amount, Full};
use crate::buffer::settings::BufferSettings;
use crate::clock::{Clock, Millis};
use crate::event::{Ack, Claim, ClaimKeeper, DedupeKey, Event, EventId, Outcome};
use crate::observe::Metrics;

/// Passed events (`ack = "delivered"`) are numbered from here on: they take no place in the spool.
const EXPRESS_SEQS: u64 = 1 << 63;
/// How many events may be on their way into the dead letters at once; further ones wait as retries do.
pub(super) const MAX_DYING: usize = 4096;
/// Waiting retries in memory, over all lanes, of 24 bytes each; more are in a file.
const MAX_RETRIES_IN_MEMORY: usize = 1_000_000;
/// When an event that found no way into the dead letters tries again.
pub(super) const DYING_AGAIN: Duration = Duration::from_secs(30);

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
    feed: Sender<Option<u32>>,
    bury: Sender<Job>,
    keeper: Sender<Call>,
}

/// What stands under the lock.
pub(super) struct State {
    pub(super) lanes: Lanes,
    pub(super) desk: Desk,
    pub(super) excerpts: Excerpts,
    /// Retries whose `Deferred` is not written yet: due, attempts made, whether they are dying.
    pub(super) deferring: std::collections::HashMap<(u64, u32), (Millis, u16, bool)>,
    pub(super) dying: usize,
    /// While a spill is taken up: where each `Deferred` of it stands.
    pub(super) taking_up: Option<Vec<(u64, u32, Loc)>>,
    pub(super) next_express: u64,
    pub(super) closed: bool,
}

/// The buffer on disk.
pub struct DiskBuffer {
    pub(super) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for DiskBuffer {
    /// Without what it holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskBuffer").finish_non_exhaustive()
    }
}

impl DiskBuffer {
    /// Opens the folder, recovers what it holds, hands the event ids in it to `ids`, starts the threads. Blocks.
    pub(in crate::buffer) fn open(
        settings: &BufferSettings,
        clock: Clock,
        ids: Arc<dyn ClaimKeeper>,
        metrics: Arc<Metrics>,
    ) -> Result<Arc<Self>, String> {
        let names = SharedNames::default();
        let open = Arc::<OpenExpress>::default();
        let bound = Amount::new(settings.max_events, settings.max_bytes);
        let room = RetryRoom::new(MAX_RETRIES_IN_MEMORY, settings.path.join("spool"));
        let mut lanes = Lanes::new(bound, Arc::clone(&open), room);
        let device = RealDevice::new(settings.path.join("spool"))
            .map_err(|error| format!("cannot open {}/spool: {error}", settings.path.display()))?;
        let dead_options =
            DeadOptions { max_bytes: settings.dead_max_bytes, retention: settings.dead_retention };
        let dead = DeadLetters::open(&dead_file(&settings.path), dead_options)?;
        let now = clock.now();
        let spool = {
            let hastened = dead.hastened().map_err(|error| error.to_string())?;
            let mut rebuild = recovered::Rebuilding::new(&mut lanes, &names, &*ids, hastened);
            let spool = Spool::open(device, spool_options(settings), Arc::clone(&names), now, &mut rebuild)
                .map_err(|error| format!("{}/spool: {error}", settings.path.display()))?;
            rebuild.finish(&spool, &dead)?;
            spool
        };
        let damaged = spool.stats().corrupt_records;
        metrics.corrupt_records(damaged);
        let (feed, fed) = channel();
        let (bury, burials) = channel();
        let (keeper, calls) = channel();
        let shared = Arc::new(Shared {
            clock,
            metrics,
            ids,
            names,
            state: Mutex::new(State {
                lanes,
                desk: Desk::default(),
                excerpts: Excerpts::default(),
                deferring: std::collections::HashMap::new(),
                dying: 0,
                taking_up: None,
                next_express: EXPRESS_SEQS + now.0,
                closed: false,
            }),
            to_write: Condvar::new(),
            spool,
            dead,
            open,
            feed,
            bury,
            keeper,
        });
        let (ready, in_order) = sync_channel(1);
        let threads = vec![
            start("hl-writer", &shared, |shared| writer::run(&shared))?,
            start("hl-feeder", &shared, move |shared| feeder::run(&shared, &fed))?,
            start("hl-dead", &shared, move |shared| mortician::run(&shared, &burials))?,
            start("hl-keeper", &shared, move |shared| housekeeper::run(&shared, damaged, &calls, &ready))?,
        ];
        let buffer = Arc::new(Self { shared, threads: Mutex::new(threads) });
        in_order.recv().map_err(|_| "the spool could not be put in order".to_owned())?;
        Ok(buffer)
    }

    pub(in crate::buffer) fn lane(self: &Arc<Self>, destination: &str) -> DiskLane {
        let (number, name) = {
            let mut names = self.shared.names.write();
            let number = names.lane(destination);
            (number, names.lane_name(number).cloned().unwrap_or_else(|| destination.into()))
        };
        let signal = self.shared.state.lock().lanes.lane(number, &name);
        self.shared.look(number);
        DiskLane { shared: Arc::clone(&self.shared), number, signal }
    }

    pub(in crate::buffer) fn set_destinations(self: &Arc<Self>, destinations: &[(Arc<str>, MaxPending)]) {
        let numbered: Vec<_> =
            destinations.iter().map(|(name, max)| (self.lane(name).number, *max)).collect();
        self.shared.state.lock().lanes.set_destinations(&numbered);
        self.shared.open.ended.notify_waiters();
    }

    /// `to`: numbers of lanes, and whether they are optional.
    pub(in crate::buffer) async fn keep(
        &self,
        event: Event,
        to: impl Iterator<Item = (u32, bool)> + Clone,
        claim: Option<Claim>,
        ack: Ack,
    ) -> Result<EventId, KeepError> {
        let (waiter, kept) = if ack == Ack::Memory { (None, None) } else { split(oneshot::channel()) };
        let id = self.shared.append(event, to, claim, waiter, None)?;
        match kept {
            None => Ok(id),
            // A writer that went away without a word kept nothing.
            Some(kept) => kept.await.unwrap_or(Err(KeepError::Storage)),
        }
    }

    pub(in crate::buffer) fn pass<'a>(
        &self,
        mut event: Event,
        to: impl Iterator<Item = &'a DiskLane> + Clone,
    ) -> Result<(EventId, Vec<oneshot::Receiver<Outcome>>), KeepError> {
        let now = self.shared.clock.now();
        let passed = {
            let mut state = self.shared.state.lock();
            if state.closed {
                return Err(KeepError::ShuttingDown);
            }
            let id = EventId::new(now, state.next_express);
            state.next_express += 1;
            event.id = id;
            let numbers: Vec<u32> = to.clone().map(|lane| lane.number).collect();
            let outcomes =
                state.lanes.pass(&Arc::new(event), &numbers).map_err(|full| self.shared.full(full))?;
            (id, outcomes)
        };
        to.for_each(|lane| lane.signal.added());
        Ok(passed)
    }

    /// Remembers the id of an event that is not kept here, over a restart.
    pub(in crate::buffer) fn remember(&self, key: DedupeKey, id: EventId, kept_at: Millis) {
        let state = self.shared.state.lock();
        self.shared.spool.remember(key, id, kept_at);
        self.shared.noted(&state);
    }

    pub(in crate::buffer) fn close(&self) {
        self.shared.state.lock().closed = true;
    }

    pub(in crate::buffer) async fn drained(&self) {
        loop {
            let mut ended = std::pin::pin!(self.shared.open.ended.notified());
            ended.as_mut().enable(); // from here on no end is missed
            if self.shared.open.is_none() && self.shared.state.lock().lanes.is_drained() {
                return;
            }
            ended.await;
        }
    }

    /// Writes and syncs what is noted, ends the threads. Blocks. What is called later is not written.
    pub(in crate::buffer) fn finish(&self) {
        let mut threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return;
        }
        self.shared.spool.ending();
        // The writer last: what the others have to say still goes through it.
        let writer = threads.remove(0);
        let _ = self.shared.feed.send(None);
        self.shared.bury(Job::Stop);
        let _ = self.shared.keeper.send(Call::Stop);
        threads.into_iter().for_each(|thread| drop(thread.join()));
        self.shared.state.lock().desk.stop = true;
        self.shared.to_write.notify_one();
        let _ = writer.join();
        self.shared.spool.finish();
    }
}

impl Drop for DiskBuffer {
    fn drop(&mut self) {
        self.finish();
    }
}

pub(super) fn dead_file(folder: &Path) -> std::path::PathBuf {
    folder.join("dead.sqlite")
}

fn spool_options(settings: &BufferSettings) -> SpoolOptions {
    let segment = settings.segment_bytes();
    SpoolOptions {
        segment_bytes: u32::try_from(segment).unwrap_or(u32::MAX),
        max_segments: u32::try_from(settings.max_bytes.div_ceil(segment) + 4).unwrap_or(u32::MAX),
        max_events_per_segment: 1 << 17,
        spares: 4,
        retention: settings.retention,
        remembered_ids: settings.remembered_ids,
        remembered_for: settings.remembered_for,
    }
}

fn split<A, B>((a, b): (A, B)) -> (Option<A>, Option<B>) {
    (Some(a), Some(b))
}

fn start(
    name: &str,
    shared: &Arc<Shared>,
    run: impl FnOnce(Arc<Shared>) + Send + 'static,
) -> Result<JoinHandle<()>, String> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name(name.into())
        .spawn(move || {
            // A thread of the spool that panics leaves promises behind that nobody keeps: a restart is safe, going on
            // is not.
            let guard = AbortOnPanic(name_of_thread());
            run(shared);
            std::mem::forget(guard);
        })
        .map_err(|error| format!("cannot start the thread {name}: {error}"))
}

fn name_of_thread() -> String {
    std::thread::current().name().unwrap_or_default().to_owned()
}

struct AbortOnPanic(String);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        tracing::error!(
            thread = self.0,
            "a thread of the buffer panicked: the process ends, so that a restart can recover"
        );
        std::process::abort();
    }
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
