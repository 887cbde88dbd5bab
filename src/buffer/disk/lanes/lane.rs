//! One destination: where each of its pending events stands.
//!
//! A place of an event is in exactly one of five: the *backlog* (on disk, not looked at), *aside* (on disk, behind another of
//! its order key: see `keys`), *next* (on disk, the next of its key), the *waiting* (on disk, until its retry is due) or
//! *near* (in memory, or with somebody who said so). Whoever moves it takes it out of the one before it goes into the other,
//! so it is never in two.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::super::progress::{Loc, Progress};
use super::super::retries::{Retries, RetryRoom};
use super::Ready;
use crate::buffer::express::{ExpressQueue, LaneSignal};
use crate::buffer::keys::Keys;
use crate::buffer::seqs::Seqs;
use crate::buffer::turns::{Classes, Lines};
use crate::clock::Millis;
use crate::event::{ByClass, EventId, Priority, Turn};

/// Where an event that left the disk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Fresh, in its turn.
    Window,
    /// Fresh, and come while the lane recovers.
    Ahead,
    /// Taken but not attempted, or the next of its key: before the window.
    Returned,
    /// A retry whose time has come.
    Ready(Millis),
    /// Fresh; being read.
    Reading,
    /// The next of its key; being read.
    ReadingNext,
    /// A retry whose time has come; being read.
    ReadingRetry(Millis),
    /// With the lane's task.
    InFlight,
    /// Out of flight; what becomes of it is being written.
    Ending,
}

/// An event that left the disk.
#[derive(Debug)]
pub(super) struct Near {
    pub stand: Stand,
    pub class: Priority,
    /// Attempts made out of the present budget.
    pub made: u16,
    /// Where its last `Deferred` stands, if that is the last that happened to it.
    pub step: Option<Loc>,
    /// None while it is read, and once it has left again.
    pub ready: Option<Ready>,
}

impl Near {
    /// One of which the first attempt is still to come, and nothing is in memory.
    pub fn fresh(stand: Stand, class: Priority) -> Self {
        Self { stand, class, made: 0, step: None, ready: None }
    }
}

/// What a lane has of one class.
#[derive(Debug)]
pub(super) struct Track {
    pub backlog: Seqs,
    /// The next of their keys, not read.
    pub next: BTreeSet<u64>,
    pub waiting: Seqs,
    pub retries: Retries,
    pub window: VecDeque<u64>,
    pub ahead: VecDeque<u64>,
    pub returned: BTreeSet<u64>,
    pub due: BTreeSet<(Millis, u64)>,
    /// How many of `near` are being read: fresh ones, and retries.
    pub reading: usize,
    pub reading_retries: usize,
    /// Of those aside, what was read with one before them.
    pub prefetched: BTreeMap<u64, Ready>,
    pub prefetched_bytes: u64,
    /// Bytes of what is in memory and not in flight: fresh (window, ahead and returned), and retries.
    pub fresh_bytes: u64,
    pub due_bytes: u64,
    /// Whether some event here ever had an order key: then the backlog is looked at before it is read.
    pub keyed: bool,
    /// The start of the backlog is being looked at.
    pub sifting: bool,
    pub lines: Lines,
}

impl Track {
    fn new(room: &Arc<RetryRoom>) -> Self {
        Self {
            backlog: Seqs::default(),
            next: BTreeSet::new(),
            waiting: Seqs::default(),
            retries: Retries::new(room),
            window: VecDeque::new(),
            ahead: VecDeque::new(),
            returned: BTreeSet::new(),
            due: BTreeSet::new(),
            reading: 0,
            reading_retries: 0,
            prefetched: BTreeMap::new(),
            prefetched_bytes: 0,
            fresh_bytes: 0,
            due_bytes: 0,
            keyed: false,
            sifting: false,
            lines: Lines::default(),
        }
    }

    /// Takes out what was read before its turn.
    pub fn take_prefetched(&mut self, seq: u64) -> Option<Ready> {
        let ready = self.prefetched.remove(&seq)?;
        self.prefetched_bytes -= ready.in_memory();
        Some(ready)
    }

    /// How many events wait in memory in their turn.
    pub fn fresh(&self) -> usize {
        self.window.len() + self.ahead.len() + self.returned.len()
    }

    /// Whether something in memory may be taken by `now`.
    pub fn waits(&self, now: Millis) -> bool {
        self.fresh() > 0 || self.due.first().is_some_and(|(due, _)| *due <= now)
    }

    /// Pending and not near.
    pub fn on_disk(&self) -> u64 {
        self.backlog.len() + self.next.len() as u64 + self.waiting.len()
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    /// None until the lane is asked for by its name.
    pub signal: Option<Arc<LaneSignal>>,
    pub tracks: ByClass<Track>,
    pub classes: Classes,
    pub keys: Keys,
    pub near: BTreeMap<u64, Near>,
    /// Places charged to the quota's first-come part; all others are charged to the lane's reservation.
    pub shared: Seqs,
    /// What is in the dead letters, and still in the spool.
    pub dead: Seqs,
    pub in_flight: HashMap<EventId, u64>,
    /// When those pending ones were replayed that were: their age counts from then.
    pub renewed: HashMap<u64, Millis>,
    /// When somebody last made due what waited.
    pub hastened: Option<Millis>,
    pub express: ExpressQueue,
    /// Bytes of all that is pending.
    pub pending_bytes: u64,
    pub recovering: bool,
}

impl Lane {
    pub fn new(room: &Arc<RetryRoom>, express: ExpressQueue) -> Self {
        Self {
            signal: None,
            tracks: ByClass::new(|_| Track::new(room)),
            classes: Classes::default(),
            keys: Keys::default(),
            near: BTreeMap::new(),
            shared: Seqs::default(),
            dead: Seqs::default(),
            in_flight: HashMap::new(),
            renewed: HashMap::new(),
            hastened: None,
            express,
            pending_bytes: 0,
            recovering: false,
        }
    }

    pub fn is_pending(&self, seq: u64) -> bool {
        self.near.contains_key(&seq)
            || self.keys.is_aside(seq)
            || self.tracks.iter().any(|(_, track)| {
                track.backlog.contains(seq) || track.waiting.contains(seq) || track.next.contains(&seq)
            })
    }

    pub fn pending(&self) -> u64 {
        let on_disk: u64 = self.tracks.iter().map(|(_, track)| track.on_disk()).sum();
        on_disk + self.keys.aside() + self.near.len() as u64
    }

    pub fn oldest(&self) -> Option<u64> {
        let near = self.near.first_key_value().map(|(seq, _)| *seq);
        let on_disk = self.tracks.iter().flat_map(|(_, track)| {
            [track.backlog.first(), track.waiting.first(), track.next.first().copied()].into_iter().flatten()
        });
        on_disk.chain(near).chain(self.keys.first_aside()).min()
    }

    pub fn wake(&self) {
        if let Some(signal) = &self.signal {
            signal.added();
        }
    }

    /// Not looked at: into the backlog.
    pub fn shelve(&mut self, turn: Turn, seq: u64) {
        let track = self.tracks.get_mut(turn.priority);
        track.keyed |= turn.order_key.is_some();
        track.backlog.insert(seq);
    }

    /// The event `id`, in flight, stands elsewhere now.
    pub fn land(&mut self, id: EventId, stand: Stand) -> Option<(u64, &mut Near)> {
        let seq = self.in_flight.remove(&id)?;
        let near = self.near.get_mut(&seq)?;
        near.stand = stand;
        Some((seq, near))
    }

    /// It lets go of its order key: who is the next one by that is to be read, if it was not already.
    pub fn free_key(&mut self, seq: u64) {
        for (class, next) in self.keys.end(seq) {
            let track = self.tracks.get_mut(class);
            match track.take_prefetched(next) {
                Some(ready) => {
                    self.queue(Stand::Returned, ready);
                    self.wake();
                }
                None => drop(track.next.insert(next)),
            }
        }
    }

    /// When what waits by `step` is due, in the log's words `due`: then, or since somebody made it due.
    pub fn due(&self, due: Millis, step: &Progress) -> Millis {
        let waited = |asked: &Millis| step.last_ended().is_some_and(|ended| ended <= *asked);
        self.hastened.filter(waited).map_or(due, |asked| due.min(asked))
    }

    /// Takes `seq` out of wherever it is pending; whether it was. How many bytes of it were in memory comes back.
    pub fn forget(&mut self, seq: u64) -> Option<u64> {
        let bytes = self.take_out(seq)?;
        self.renewed.remove(&seq);
        self.free_key(seq);
        Some(bytes)
    }

    fn take_out(&mut self, seq: u64) -> Option<u64> {
        if self.keys.leave(seq) {
            let prefetched = self.tracks.iter_mut().find_map(|(_, track)| track.take_prefetched(seq));
            return Some(prefetched.map_or(0, |ready| ready.in_memory()));
        }
        // Where it is among those waiting, its entry among the retries stays until its time comes, and is skipped then.
        let on_disk = self.tracks.iter_mut().any(|(_, track)| {
            track.backlog.remove(seq) || track.waiting.remove(seq) || track.next.remove(&seq)
        });
        if on_disk {
            return Some(0);
        }
        let near = self.near.remove(&seq)?;
        let bytes = near.ready.as_ref().map_or(0, Ready::in_memory);
        let track = self.tracks.get_mut(near.class);
        match near.stand {
            Stand::Window => track.window.retain(|other| *other != seq),
            Stand::Ahead => track.ahead.retain(|other| *other != seq),
            Stand::Returned => drop(track.returned.remove(&seq)),
            Stand::Ready(due) => drop(track.due.remove(&(due, seq))),
            Stand::Reading | Stand::ReadingNext => track.reading -= 1,
            Stand::ReadingRetry(_) => track.reading_retries -= 1,
            Stand::InFlight => self.in_flight.retain(|_, other| *other != seq),
            Stand::Ending => {}
        }
        match near.stand {
            Stand::Window | Stand::Ahead | Stand::Returned => {
                track.fresh_bytes -= bytes;
                Some(bytes)
            }
            Stand::Ready(_) => {
                track.due_bytes -= bytes;
                Some(bytes)
            }
            _ => Some(0),
        }
    }
}
