//! Random operations, faults and power losses: what was promised is there, and nothing was invented.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::oracle::{self, Found, LANES, Oracle, Waiting, Wrong};
use crate::buffer::disk::device::{FakeDevice, Op, Site};
use crate::buffer::disk::ports::{Maintained, Read, SharedNames, SpoolOptions};
use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::disk::source::Source;
use crate::buffer::disk::spool::Spool;
use crate::buffer::handoff::DeadReason;
use crate::clock::Millis;
use crate::event::EventId;

const START: Millis = Millis(1_768_473_000_000);

#[derive(Clone, Debug)]
enum Act {
    Append {
        to: u8,
        size: usize,
        keyed: bool,
        alias: bool,
    },
    /// Written only, where it is not durable (`ack = "memory"`).
    Commit {
        durable: bool,
    },
    /// Of one that waits.
    Step {
        which: usize,
        how: How,
    },
    /// Of one that does not wait any more.
    Requeue {
        which: usize,
    },
    Remember,
    Maintain,
    Advance {
        ms: u64,
    },
    Check,
    /// The power fails.
    Crash {
        seed: u64,
    },
    /// The process is killed.
    Kill,
    /// The process ends as it should.
    Stop,
    Writeback {
        n: u32,
        seed: u64,
    },
    Fail {
        op: Op,
        after: u32,
    },
    Heal,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Delivered,
    Dead,
    Lost,
    Deferred { ms: u64, dying: bool },
}

fn act() -> impl Strategy<Value = Act> {
    let how = prop_oneof![
        4 => Just(How::Delivered),
        1 => Just(How::Dead),
        1 => Just(How::Lost),
        2 => (0_u64..100_000, any::<bool>()).prop_map(|(ms, dying)| How::Deferred { ms, dying }),
    ];
    let op =
        prop::sample::select(vec![Op::Write, Op::Sync, Op::Create, Op::Rename, Op::Remove, Op::SyncFolder]);
    prop_oneof![
        12 => (1_u8..8, 0_usize..3000, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(to, size, keyed, alias)| Act::Append { to, size, keyed, alias }),
        8 => prop::bool::weighted(0.9).prop_map(|durable| Act::Commit { durable }),
        14 => (any::<usize>(), how).prop_map(|(which, how)| Act::Step { which, how }),
        1 => any::<usize>().prop_map(|which| Act::Requeue { which }),
        1 => Just(Act::Remember),
        4 => Just(Act::Maintain),
        1 => (0_u64..50_000).prop_map(|ms| Act::Advance { ms }),
        1 => Just(Act::Check),
        2 => any::<u64>().prop_map(|seed| Act::Crash { seed }),
        1 => Just(Act::Kill),
        1 => Just(Act::Stop),
        2 => (1_u32..9, any::<u64>()).prop_map(|(n, seed)| Act::Writeback { n, seed }),
        1 => (op, 0_u32..6).prop_map(|(op, after)| Act::Fail { op, after }),
        1 => Just(Act::Heal),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    prop::collection::vec(act(), 1..250)
}

fn options() -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 16 << 10,
        max_segments: 6,
        max_events_per_segment: 24,
        spares: 2,
        retention: Duration::from_secs(20),
        remembered_ids: 1_000_000,
        remembered_for: Duration::from_secs(1_000_000),
    }
}

/// A repeatable choice, another one each time.
fn chooser(mut seed: u64) -> impl FnMut(u32) -> u32 {
    move |n| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) % u64::from(n.max(1))) as u32
    }
}

/// A spool over a disk that forgets, and who knows what must be in it.
struct Rig {
    device: FakeDevice,
    spool: Option<Spool<FakeDevice>>,
    names: SharedNames,
    lanes: [u32; 3],
    oracle: RefCell<Oracle>,
    now: Millis,
    stamp: u64,
    /// Commits were written and not synced: what a power loss leaves of several cannot be told from damage.
    untold: Cell<bool>,
    done: Cell<Maintained>,
}

impl Rig {
    fn new(device: FakeDevice) -> Result<Self, Wrong> {
        let mut rig = Self {
            device,
            spool: None,
            names: SharedNames::default(),
            lanes: [0; 3],
            oracle: RefCell::default(),
            now: START,
            stamp: 0,
            untold: Cell::default(),
            done: Cell::default(),
        };
        rig.open()?;
        Ok(rig)
    }

    fn spool(&self) -> Result<&Spool<FakeDevice>, Wrong> {
        self.spool.as_ref().ok_or_else(|| "no spool is open".to_owned())
    }

    /// A new process, with names of its own.
    fn open(&mut self) -> Result<(), Wrong> {
        self.names = SharedNames::default();
        let mut found = Found::default();
        let device = self.device.clone();
        let spool = Spool::open(device, options(), self.names.clone(), self.now, &mut found)
            .map_err(|error| format!("it does not open: {error}"))?;
        let names = self.names.read();
        let lane = |number| {
            let name = names.lane_name(number)?;
            LANES.iter().position(|lane| *lane == &**name)
        };
        self.oracle.get_mut().restarted(&found, lane, |number| names.source_of(number).cloned())?;
        drop(names);
        self.lanes = LANES.map(|name| self.names.write().lane(name));
        if spool.stats().corrupt_records > 0 && !self.untold.get() {
            return Err("a power loss is taken for damage".to_owned());
        }
        self.spool = Some(spool);
        self.check()
    }

    fn act(&mut self, act: &Act) -> Result<(), Wrong> {
        match *act {
            Act::Append { to, size, keyed, alias } => self.append(to, size, keyed, alias)?,
            Act::Commit { durable } => {
                self.commit(durable)?;
            }
            Act::Step { which, how } => self.step(which, how)?,
            Act::Requeue { which } => self.requeue(which)?,
            Act::Remember => {
                let mut oracle = self.oracle.borrow_mut();
                let key = oracle.next_key();
                let id = EventId::new(self.now, key.0 as u64);
                self.spool()?.remember(key, id, self.now);
                oracle.remembered(key, id);
            }
            Act::Maintain => self.maintain()?,
            Act::Advance { ms } => self.now = self.now.plus(Duration::from_millis(ms)),
            Act::Check => self.check()?,
            Act::Crash { seed } => {
                self.spool = None;
                self.device.crash(&mut chooser(seed));
                self.open()?;
            }
            Act::Kill => {
                self.spool = None;
                self.device.kill();
                self.open()?;
            }
            Act::Stop => {
                self.commit(true)?;
                self.spool()?.finish();
                self.spool = None;
                self.device.kill();
                self.open()?;
            }
            Act::Writeback { n, seed } => self.device.writeback(n, &mut chooser(seed)),
            Act::Fail { op, after } => self.device.fail_next(op, after, ErrorKind::Other),
            Act::Heal => self.device.heal(),
        }
        Ok(())
    }

    fn append(&mut self, to: u8, size: usize, keyed: bool, alias: bool) -> Result<(), Wrong> {
        self.stamp += 1;
        let event = oracle::event(self.stamp, size, self.now, alias);
        let lanes: Vec<usize> = (0..LANES.len()).filter(|lane| to >> lane & 1 == 1).collect();
        let mut numbers: Vec<u32> = lanes.iter().map(|lane| self.lanes[*lane]).collect();
        numbers.sort_unstable();
        let source = Source {
            route: event.route.clone(),
            provider: event.provider.clone(),
            lanes: numbers.into_boxed_slice(),
        };
        let source = self.names.write().source(source);
        let mut oracle = self.oracle.borrow_mut();
        let key = keyed.then(|| oracle.next_key());
        let (seq, _) = self.spool()?.append(&event, source, key, alias);
        oracle.appended(seq, event, &lanes, key, alias)
    }

    /// Commits all that is open; whether that succeeded.
    fn commit(&self, durable: bool) -> Result<bool, Wrong> {
        let spool = self.spool()?;
        let (batch, pledge) = (spool.take(), self.oracle.borrow_mut().take());
        match spool.commit(batch, durable) {
            Ok(committed) => {
                let places = committed.moved.into_iter().chain(committed.deferred);
                let deferred = places.filter_map(|(seq, lane, at)| {
                    Some((seq, self.lanes.iter().position(|number| *number == lane)?, at))
                });
                self.oracle.borrow_mut().written(pledge, deferred);
                if durable {
                    self.oracle.borrow_mut().synced();
                } else {
                    self.untold.set(true);
                }
                Ok(true)
            }
            Err(_) => {
                self.oracle.borrow_mut().failed(pledge);
                Ok(false)
            }
        }
    }

    fn note(
        &self,
        seq: u64,
        lane: usize,
        what: What,
        attempts: Vec<crate::event::Attempt>,
    ) -> Result<(), Wrong> {
        self.oracle.borrow_mut().noted(seq, lane, what, attempts.clone());
        self.spool()?.note(Progress { seq, lane: self.lanes[lane], what, attempts, since: None });
        Ok(())
    }

    fn step(&self, which: usize, how: How) -> Result<(), Wrong> {
        let waiting = self.oracle.borrow().waiting();
        let Some((seq, lane)) = waiting.get(which % waiting.len().max(1)).copied() else { return Ok(()) };
        let mut attempts = self.oracle.borrow().attempts(seq, lane);
        if attempts.len() < 20 {
            attempts.push(oracle::attempt(attempts.len() as u16 + 1, self.now));
        }
        let what = match how {
            How::Delivered => What::Delivered,
            How::Dead => What::Dead(DeadReason::Gone),
            How::Lost => What::Lost,
            How::Deferred { ms, dying } => What::Deferred {
                due: self.now.plus(Duration::from_millis(ms)),
                dying: dying.then_some(DeadReason::AttemptsExhausted),
            },
        };
        self.note(seq, lane, what, attempts)
    }

    fn requeue(&self, which: usize) -> Result<(), Wrong> {
        let over = self.oracle.borrow().over();
        let Some((seq, lane)) = over.get(which % over.len().max(1)).copied() else { return Ok(()) };
        // One that is gone cannot be replayed.
        match self.spool()?.read(seq) {
            Read::Event { .. } if self.spool()?.holders(seq).stay() => {
                self.note(seq, lane, What::Requeued, Vec::new())
            }
            _ => Ok(()),
        }
    }

    fn maintain(&self) -> Result<(), Wrong> {
        let live = Waiting { oracle: &self.oracle, lanes: self.lanes };
        let flush = || self.commit(true).unwrap_or(false);
        let now = self.spool()?.maintain(&live, self.now, &flush);
        let mut done = self.done.get();
        done.sealed += now.sealed;
        done.dropped += now.dropped;
        done.merged += now.merged;
        done.carried += now.carried;
        self.done.set(done);
        Ok(())
    }

    /// Everything that can be asked without changing anything.
    fn check(&self) -> Result<(), Wrong> {
        let (spool, oracle) = (self.spool()?, self.oracle.borrow());
        let waiting = oracle.promised_and_waiting();
        for (seq, read) in spool.read_many(&waiting, usize::MAX) {
            oracle.check_read(seq, &read)?;
        }
        for seq in oracle.all() {
            oracle.check_read(seq, &spool.read(seq))?;
        }
        let keys = spool.order_keys(&waiting).map_err(|_| "the order keys cannot be read".to_owned())?;
        if let Some((seq, key)) = keys
            .into_iter()
            .find(|(seq, key)| oracle.turn_of(*seq).is_some_and(|turn| turn.order_key != *key))
        {
            return Err(format!("{seq} has the order key {key:?}"));
        }
        let rows: Vec<u64> = spool.rows_before(u64::MAX, usize::MAX).iter().map(|row| row.seq).collect();
        if !rows.is_sorted_by(|a, b| a > b) {
            return Err("rows out of order".to_owned());
        }
        for seq in waiting {
            let Some((id, event_id)) = oracle.id_of(seq) else { continue };
            if !rows.contains(&seq) {
                return Err(format!("{seq} is not listed"));
            }
            if spool.seq_of(id) != Some(seq) {
                return Err(format!("{seq} is not found by {id}"));
            }
            if event_id.is_some_and(|event_id| !spool.seqs_of_id(event_id).contains(&seq)) {
                return Err(format!("{seq} is not found by {event_id:?}"));
            }
        }
        for (seq, lane, at, attempts) in oracle.retries() {
            let found =
                spool.step_at(at, seq, self.lanes[lane]).map(|step| step.attempts).unwrap_or_default();
            if found != attempts {
                return Err(format!("{seq} at {lane}: {at:?} tells {found:?}, not {attempts:?}"));
            }
        }
        Ok(())
    }
}

/// What maintenance did, or what went wrong, when all of this is done.
fn run(device: FakeDevice, acts: &[Act]) -> Result<Maintained, Wrong> {
    let mut rig = Rig::new(device)?;
    for (place, act) in acts.iter().enumerate() {
        rig.act(act).map_err(|wrong| format!("{wrong}, at {place}: {act:?}"))?;
    }
    rig.act(&Act::Crash { seed: 1 })?;
    Ok(rig.done.get())
}

/// How many runs: `make soak` asks for more.
fn cases() -> u32 {
    if std::env::var_os("HOOKLATCH_SOAK").is_some() { 20_000 } else { 200 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]

    fn what_was_promised_is_there_and_nothing_is_invented(acts in acts()) {
        if let Err(wrong) = run(FakeDevice::default(), &acts) {
            return Err(TestCaseError::fail(wrong));
        }
    }
}

/// The same runs each time.
fn runs(how_many: usize) -> impl Iterator<Item = Vec<Act>> {
    let mut runner = TestRunner::deterministic();
    (0..how_many).filter_map(move |_| Some(acts().new_tree(&mut runner).ok()?.current()))
}

#[test]
fn each_sync_that_is_left_out_is_noticed() {
    let mut sites = BTreeSet::new();
    for acts in runs(40) {
        let device = FakeDevice::default();
        run(device.clone(), &acts).unwrap();
        sites.extend(device.sync_sites());
    }
    let needless: Vec<_> = sites
        .into_iter()
        .filter(|site: &Site| {
            !runs(1000).any(|acts| {
                let device = FakeDevice::default();
                device.forget_syncs_at(site);
                run(device, &acts).is_err()
            })
        })
        .collect();
    assert!(needless.is_empty(), "nothing depends on the syncs at {needless:#?}");
}

#[test]
fn the_runs_reach_what_they_are_to_test() {
    let done: Vec<_> = runs(40).map(|acts| run(FakeDevice::default(), &acts).unwrap()).collect();
    assert!(done.iter().any(|done| done.sealed > 0), "nothing was sealed");
    assert!(done.iter().any(|done| done.dropped > 0), "nothing was dropped");
    assert!(done.iter().any(|done| done.carried > 0), "nothing was carried");
    assert!(done.iter().any(|done| done.merged > 0), "nothing was merged");
}
