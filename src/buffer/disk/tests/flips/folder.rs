//! A folder in which everything is met that a folder may hold, and what each of its bytes belongs to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::oracle::{self, LANES, Oracle, Waiting};
use super::standing::Standing;
use super::{Chance, START, options};
use crate::buffer::disk::device::{Device, FakeDevice};
use crate::buffer::disk::ports::{Maintained, SharedNames};
use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::disk::record::{self, Kind, SegmentHeader};
use crate::buffer::disk::source::Source;
use crate::buffer::disk::spool::Spool;
use crate::buffer::handoff::DeadReason;
use crate::clock::Millis;

/// A record as it was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub from: usize,
    pub to: usize,
    pub kind: Kind,
    pub commit: u32,
    /// Of an event.
    pub seq: u64,
    /// Of an id.
    pub key: u128,
}

/// A segment as it was written.
#[derive(Debug)]
pub(super) struct Log {
    pub number: u32,
    pub has_index: bool,
    pub records: Vec<Written>,
}

impl Log {
    fn of(bytes: &[u8], has_index: bool) -> Self {
        let header = SegmentHeader::decode(bytes).unwrap();
        let (mut records, mut at) = (Vec::new(), record::HEADER);
        while let Ok(found) = record::parse(&bytes[at..], header.nonce) {
            let key = match found.kind {
                Kind::Event => record::decode_event_head(found.payload).unwrap().key.map_or(0, |key| key.0),
                Kind::Id => record::decode_id(found.payload).unwrap().0.0,
                _ => 0,
            };
            records.push(Written {
                from: at,
                to: at + found.len_total,
                kind: found.kind,
                commit: found.commit,
                seq: header.first_seq + u64::from(found.seq),
                key,
            });
            at += found.len_total;
        }
        Self { number: header.number, has_index, records }
    }

    pub fn last_commit(&self) -> u32 {
        self.records.last().map_or(0, |record| record.commit)
    }

    pub fn end(&self) -> usize {
        self.records.last().map_or(record::HEADER, |record| record.to)
    }
}

/// The folder, undamaged: its files, what they hold, and what a start finds in them.
pub(super) struct Folder {
    pub files: Vec<(String, Vec<u8>)>,
    pub logs: BTreeMap<String, Log>,
    pub standing: Standing,
}

impl Folder {
    pub fn new(seed: u64) -> Self {
        let device = FakeDevice::default();
        Builder::new(&device, seed).build();
        device.kill();
        let names = device.list().unwrap().into_iter().map(|(name, _)| name);
        let files: Vec<_> = names.map(|name| (name.clone(), device.contents(&name).unwrap())).collect();
        let has = |name: &str| files.iter().any(|(other, _)| other == name);
        let logs: BTreeMap<_, _> = files
            .iter()
            .filter(|(name, _)| name.ends_with(".log") && !name.starts_with("spare"))
            .map(|(name, bytes)| (name.clone(), Log::of(bytes, has(&name.replace(".log", ".idx")))))
            .collect();
        let (_, standing) = Standing::open(&Self::device_of(&files));
        Self { files, logs, standing }
    }

    /// What the flips are to hit is there.
    pub fn has_all(&self) {
        for start in ["spare", "0"] {
            assert!(self.files.iter().any(|(name, _)| name.starts_with(start)), "no file {start}…");
        }
        assert!(self.files.iter().any(|(name, _)| name.ends_with(".ids")), "no .ids");
        let has = |has_index, kind| {
            let mut logs = self.logs.values().filter(|log| log.has_index == has_index);
            logs.any(|log| log.records.iter().any(|record| record.kind == kind))
        };
        for kind in [Kind::Event, Kind::Progress, Kind::Id, Kind::Source, Kind::Lane] {
            assert!(has(true, kind) && has(false, kind), "no {kind:?}");
        }
        assert!(has(true, Kind::Replaces) || has(false, Kind::Replaces), "nothing was merged");
        assert!(self.logs.values().any(|log| !log.has_index && log.last_commit() > 3), "no long segment");
        let last = self.logs.values().next_back().unwrap();
        let named = |record: &Written| record.kind == Kind::Source && record.commit == last.last_commit();
        assert!(!last.has_index && last.records.iter().any(named), "no new name at the very end");
    }

    /// The keys that this file alone remembers.
    pub fn only_in(&self, name: &str) -> BTreeSet<u128> {
        let without: Vec<_> = self.files.iter().filter(|(other, _)| other != name).cloned().collect();
        let (_, left) = Standing::open(&Self::device_of(&without));
        self.standing.ids.keys().filter(|key| !left.ids.contains_key(key)).copied().collect()
    }

    pub fn device_of(files: &[(String, Vec<u8>)]) -> FakeDevice {
        let device = FakeDevice::default();
        for (name, bytes) in files {
            device.set_contents(name, bytes);
        }
        device
    }
}

/// Fills a folder.
struct Builder {
    spool: Spool<FakeDevice>,
    names: SharedNames,
    lanes: [u32; 3],
    oracle: RefCell<Oracle>,
    chance: Chance,
    stamp: u64,
    stuck: bool,
    now: Millis,
}

impl Builder {
    fn new(device: &FakeDevice, seed: u64) -> Self {
        let names = SharedNames::default();
        let lanes = LANES.map(|name| names.write().lane(name));
        let told = &mut oracle::Found::default();
        let spool = Spool::open(device.clone(), options(), names.clone(), START, told).unwrap();
        let (oracle, chance) = (RefCell::default(), Chance(seed));
        Self { spool, names, lanes, oracle, chance, stamp: 0, stuck: false, now: START }
    }

    fn build(mut self) {
        let mut done = Maintained::default();
        while done.dropped < 3 || done.merged == 0 {
            // At first all go, later one in a dozen is stuck: its segments are merged.
            self.stuck = done.dropped >= 3;
            self.now = self.now.plus(Duration::from_secs(1));
            self.some_commits(9);
            let round = self.maintain();
            done.sealed += round.sealed;
            done.dropped += round.dropped;
            done.merged += round.merged;
            assert!(self.stamp < 3000, "{done:?}");
        }
        if self.chance.below(2) == 0 {
            self.maintain(); // the merged one gets its index
        }
        // The last segments have no index yet; the last of all has one commit, with names of its own.
        let before = self.spool.stats().segments;
        while self.spool.stats().segments < before + 3 {
            self.some_commits(1);
        }
        self.append(7, "other");
        self.commit();
    }

    fn some_commits(&mut self, commits: u32) {
        for _ in 0..commits {
            for _ in 0..self.chance.below(4) {
                let to = 1 + self.chance.below(7) as usize;
                self.append(to, "github");
            }
            for _ in 0..self.chance.below(14) {
                self.step();
            }
            if self.chance.below(6) == 0 {
                let mut oracle = self.oracle.borrow_mut();
                let key = oracle.next_key();
                let id = crate::event::EventId::new(self.now, key.0 as u64);
                self.spool.remember(key, id, self.now);
                oracle.remembered(key, id);
            }
            self.commit();
        }
    }

    fn append(&mut self, to: usize, route: &str) {
        self.stamp += 1;
        let alias = self.chance.below(10) == 0;
        let size = self.chance.below(900) as usize;
        let mut event = oracle::event(self.stamp, size, self.now, alias);
        event.route = route.into();
        let lanes: Vec<usize> = (0..LANES.len()).filter(|lane| to >> lane & 1 == 1).collect();
        let source = Source {
            route: event.route.clone(),
            provider: event.provider.clone(),
            lanes: lanes.iter().map(|lane| self.lanes[*lane]).collect(),
        };
        let source = self.names.write().source(source);
        let key = (self.chance.below(4) > 0).then(|| self.oracle.borrow_mut().next_key());
        let (seq, _) = self.spool.append(&event, source, key, alias);
        self.oracle.borrow_mut().appended(seq, event, &lanes, key, alias).unwrap();
    }

    fn step(&mut self) {
        let waiting = self.oracle.borrow().waiting();
        let Some((seq, lane)) = waiting.get(self.chance.below(waiting.len() as u64) as usize).copied() else {
            return;
        };
        let stuck = self.stuck && seq % 12 == 0;
        let mut attempts = self.oracle.borrow().attempts(seq, lane);
        attempts.push(oracle::attempt(attempts.len() as u16 + 1, self.now));
        attempts.truncate(20);
        let due = self.now.plus(Duration::from_secs(9));
        let what = match (stuck, self.chance.below(8)) {
            (true, _) | (_, 0 | 1) => What::Deferred { due, dying: None },
            (_, 2) => What::Dead(DeadReason::Gone),
            (_, 3) => What::Requeued,
            _ => What::Delivered,
        };
        let attempts = if what == What::Requeued { Vec::new() } else { attempts };
        self.oracle.borrow_mut().noted(seq, lane, what, attempts.clone());
        self.spool.note(Progress { seq, lane: self.lanes[lane], what, attempts, since: None });
    }

    fn commit(&self) {
        let (batch, pledge) = (self.spool.take(), self.oracle.borrow_mut().take());
        let committed = self.spool.commit(batch, true).unwrap();
        let deferred = committed.deferred.into_iter().filter_map(|(seq, lane, at)| {
            Some((seq, self.lanes.iter().position(|number| *number == lane)?, at))
        });
        self.oracle.borrow_mut().written(pledge, deferred);
        self.oracle.borrow_mut().synced();
    }

    fn maintain(&self) -> Maintained {
        let live = Waiting { oracle: &self.oracle, lanes: self.lanes };
        let flush = || {
            self.commit();
            true
        };
        self.spool.maintain(&live, self.now, &flush)
    }
}
