//! The disk form as the rest of the house sees it: one lock over lanes and the writer's desk, four threads beside it.
//!
//! Locks are taken in this order: the state, then the names or the spool's batch. They are not held over a disk access,
//! but for the file of the retries beyond a million.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{channel, sync_channel};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::dead::{DeadLetters, DeadOptions};
use super::device::RealDevice;
use super::excerpts::Excerpts;
use super::housekeeper::Call;
use super::lane::DiskLane;
use super::lanes::Lanes;
use super::mortician::Job;
use super::ports::{SharedNames, SpoolOptions};
use super::retries::RetryRoom;
use super::shared::{EXPRESS_SEQS, Shared, State};
use super::spool::Spool;
use super::thread::start;
use super::writer::Desk;
use super::{feeder, housekeeper, mortician, recovered, writer};
use crate::buffer::handoff::{KeepError, MaxPending, OpenExpress};
use crate::buffer::quota::Amount;
use crate::buffer::settings::BufferSettings;
use crate::clock::{Clock, Millis};
use crate::event::{Ack, Claim, ClaimKeeper, DedupeKey, Event, EventId, Outcome};
use crate::observe::Metrics;

/// Waiting retries in memory, over all lanes, of 24 bytes each; more are in a file.
const MAX_RETRIES_IN_MEMORY: usize = 1_000_000;
/// Opening the dead letters takes less of the disk than this.
const BESIDE_THE_DEAD: u64 = 1 << 20;

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
        let dead = open_dead(settings, &device)?;
        let now = clock.now();
        let spool = {
            let hastened = dead.hastened().map_err(|error| error.to_string())?;
            let gone = dead.was_set_aside();
            let mut rebuild = recovered::Rebuilding::new(&mut lanes, &names, &*ids, hastened, gone);
            let spool = Spool::open(device, spool_options(settings), Arc::clone(&names), now, &mut rebuild)
                .map_err(|error| format!("{}/spool: {error}", settings.path.display()))?;
            rebuild.finish(&spool, &dead)?;
            spool
        };
        let damaged = spool.stats().corrupt_records;
        metrics.corrupt_records(damaged + u64::from(dead.was_set_aside()));
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
                deferring: HashMap::new(),
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
            wrote: AtomicBool::new(false),
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

/// SQLite writes some KiB beside its file before it reads a row. They are there after a kill and after a stop; where a tool
/// took them away and the disk is full since, only a human can say what may go.
fn open_dead(settings: &BufferSettings, device: &RealDevice) -> Result<DeadLetters, String> {
    let options = DeadOptions { max_bytes: settings.dead_max_bytes, retention: settings.dead_retention };
    DeadLetters::open(&dead_file(&settings.path), options).map_err(|error| match device.free() {
        Ok(free) if free < BESIDE_THE_DEAD => format!("{error}; the disk is full: free a MiB on it"),
        _ => error,
    })
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
