//! Bits flip anywhere in the folder. A start always works; what was not hit is there, byte for byte, and waits as it
//! did; what was hit is counted, kept for a human, and never handed out as if it were right.

mod folder;
mod standing;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::oracle;
use crate::buffer::disk::device::FakeDevice;
use crate::buffer::disk::ports::SpoolOptions;
use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::disk::record::Kind;
use crate::buffer::disk::source::Source;
use crate::clock::Millis;
use folder::{Folder, Written};
use standing::{Open, Standing, Waiting};

const START: Millis = Millis(1_768_473_000_000);

fn options() -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 16 << 10,
        max_segments: 18,
        max_events_per_segment: 24,
        spares: 5,
        retention: Duration::from_secs(1_000_000),
        remembered_ids: 1_000_000,
        remembered_for: Duration::from_secs(1_000_000),
    }
}

/// Chance that can be repeated: splitmix64.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % n.max(1)
    }
}

/// A bit of a file.
#[derive(Debug)]
struct Flip {
    file: usize,
    byte: usize,
    bit: u32,
}

impl Flip {
    /// Mostly where something stands, and everywhere sometimes; also where there is little of a kind.
    fn any(folder: &Folder, chance: &mut Chance) -> Self {
        let file = chance.below(folder.files.len() as u64) as usize;
        let (name, bytes) = &folder.files[file];
        let kinds = [Kind::Progress, Kind::Id, Kind::Source, Kind::Lane, Kind::Replaces];
        let kind = kinds[chance.below(5) as usize];
        let records = folder.logs.get(name).map_or(&[][..], |log| &log.records);
        let rare: Vec<_> = records.iter().filter(|record| record.kind == kind).collect();
        if !rare.is_empty() && chance.below(2) == 0 {
            let record = rare[chance.below(rare.len() as u64) as usize];
            let byte = record.from + chance.below((record.to - record.from) as u64) as usize;
            return Self { file, byte, bit: chance.below(8) as u32 };
        }
        let used = match folder.logs.get(name) {
            Some(log) if chance.below(10) > 0 => log.end(),
            _ => bytes.len(),
        };
        Self { file, byte: chance.below(used as u64) as usize, bit: chance.below(8) as u32 }
    }
}

/// What a flip may cost, and must not leave unsaid.
#[derive(Debug, Default)]
struct Damage {
    /// The event of this number is not told any more, or told and reads as damaged.
    event: Option<u64>,
    told: bool,
    /// The steps in the block there are not told any more.
    steps: Option<(u32, u32)>,
    ids: BTreeSet<u128>,
    /// These may be forgotten, any of them; and then one damaged record is counted.
    may_forget: BTreeSet<u128>,
    /// How many damaged records are counted, at least and at most.
    counted: (u64, u64),
    /// The bytes that are kept for a human, and by which name.
    copy: Option<(String, Vec<u8>)>,
}

/// What this flip costs.
fn damage(folder: &Folder, flip: &Flip, flipped: &[u8]) -> Damage {
    let name = &folder.files[flip.file].0;
    if name.ends_with(".ids") {
        return Damage { may_forget: folder.only_in(name), counted: (0, 1), ..Damage::default() };
    }
    let Some(log) = folder.logs.get(name) else { return Damage::default() };
    let hit = |record: &&Written| (record.from..record.to).contains(&flip.byte);
    let Some(hit) = log.records.iter().find(hit) else { return Damage::default() };
    let copy = (format!("quarantine/{:010}-{}", log.number, hit.from), flipped[hit.from..hit.to].to_vec());
    if log.has_index {
        // What the index knows costs nothing.
        return match hit.kind {
            Kind::Event => Damage {
                event: Some(hit.seq),
                told: true,
                counted: (1, 1),
                copy: Some(copy),
                ..Damage::default()
            },
            Kind::Progress => Damage { counted: (0, 1), ..Damage::default() },
            _ => Damage::default(),
        };
    }
    let mut ids: BTreeSet<u128> = [hit.key].into_iter().filter(|key| *key != 0).collect();
    let merged = log.records.iter().any(|record| record.kind == Kind::Replaces);
    // The indexes of those that it replaces have them, too.
    let may_forget = if merged { std::mem::take(&mut ids) } else { BTreeSet::new() };
    let event = (hit.kind == Kind::Event).then_some(hit.seq);
    let steps = (hit.kind == Kind::Progress).then_some((log.number, hit.from as u32));
    // A torn tail looks like this, and nobody was told 2xx for one. And what claims to be of another commit, or to be
    // nothing, may be one.
    let commit_field =
        (hit.from + 13..hit.from + 16).contains(&flip.byte) || flipped[hit.from..hit.from + 4] == [0; 4];
    let counted = match (hit.commit == log.last_commit(), commit_field) {
        (true, false) => (0, 0),
        (_, true) => (0, 1),
        (false, false) => (1, 1),
    };
    let copy = (counted.0 == 1).then_some(copy);
    Damage { event, told: false, steps, ids, may_forget, counted, copy }
}

/// What is left of the folder's standing.
fn expected(folder: &Folder, damage: &Damage) -> Standing {
    let mut left = folder.standing.clone();
    left.ids.retain(|key, _| !damage.ids.contains(key));
    if let Some(seq) = damage.event {
        let body = left.bodies.remove(&seq);
        if damage.told {
            left.damaged.insert(seq, body.and_then(|(_, key)| key));
        } else {
            left.events.remove(&seq);
        }
    }
    left.steps.retain(|step| Some((step.at.segment, step.at.offset)) != damage.steps);
    left
}

#[track_caller]
fn same(found: &Standing, expected: &Standing) {
    assert_eq!(found.events, expected.events, "events");
    assert_eq!(found.steps, expected.steps, "progress");
    assert_eq!(found.ids, expected.ids, "ids");
    assert_eq!(found.damaged, expected.damaged, "damaged");
    let bodies = |one: &Standing| format!("{:?}", one.bodies);
    assert_eq!(bodies(found), bodies(expected), "bodies");
}

fn flip_one(folder: &Folder, flip: &Flip) {
    let mut files = folder.files.clone();
    files[flip.file].1[flip.byte] ^= 1 << flip.bit;
    let mut damage = damage(folder, flip, &files[flip.file].1);
    let device = Folder::device_of(&files);
    let (open, found) = Standing::open(&device);
    let forgotten = std::mem::take(&mut damage.may_forget).into_iter();
    damage.ids.extend(forgotten.filter(|key| !found.ids.contains_key(key)));
    if files[flip.file].0.ends_with(".ids") && !damage.ids.is_empty() {
        damage.counted = (1, 1);
    }
    let expected = expected(folder, &damage);
    same(&found, &expected);
    attempts_stand(&open, &expected);
    let counted = open.spool.stats().corrupt_records;
    assert!((damage.counted.0..=damage.counted.1).contains(&counted), "{counted} counted, {damage:?}");
    if let Some((name, bytes)) = &damage.copy {
        assert_eq!(device.contents(name).as_ref(), Some(bytes), "{name}");
    }
    life_goes_on(&device, open, found, folder);
}

/// What a retry is told of the attempts before it.
fn attempts_stand(open: &Open, expected: &Standing) {
    for step in expected.pending().values().flatten() {
        let lane = open.names.write().lane(&step.lane);
        let attempts =
            open.spool.step_at(step.at, step.seq, lane).map(|step| step.attempts).unwrap_or_default();
        assert_eq!(attempts, step.attempts, "{step:?}");
    }
}

/// A new event, a round of maintenance and a kill later all is as it was.
fn life_goes_on(device: &FakeDevice, open: Open, found: Standing, folder: &Folder) {
    let Open { spool, names, .. } = open;
    let source = |name: &str| {
        let lanes = [names.write().lane(name)].into();
        names.write().source(Source { route: "new".into(), provider: None, lanes })
    };
    let new = oracle::event(1 << 30, 100, START, false);
    let (seq, _) = spool.append(&new, source("app"), None, false);
    let known = folder.standing.events.keys().max().unwrap();
    let lost_last = !found.events.contains_key(known);
    assert!(seq > *known || lost_last, "{seq} is given again");
    let mut pending: BTreeSet<(u64, String)> = found.pending().into_keys().collect();
    // What cannot be read is over, says who reads it.
    let lost: Vec<_> = pending.iter().filter(|(seq, _)| found.damaged.contains_key(seq)).cloned().collect();
    let standing = RefCell::new(found);
    for (seq, lane) in lost {
        let number = names.write().lane(&lane);
        spool.note(Progress { seq, lane: number, what: What::Lost, attempts: Vec::new(), since: None });
        let mut standing = standing.borrow_mut();
        let at = crate::buffer::disk::progress::Loc { segment: 0, offset: 0 };
        standing.steps.push(standing::Step {
            at,
            seq,
            lane: lane.clone(),
            what: What::Lost,
            attempts: Vec::new(),
        });
        pending.remove(&(seq, lane));
    }
    let flush = || spool.commit(spool.take(), true).is_ok();
    assert!(flush());
    pending.insert((seq, "app".to_owned()));
    let live = Waiting { standing: &standing, names: &names };
    spool.maintain(&live, START, &flush);
    drop(spool);
    device.kill();
    let (open, mut later) = Standing::open(device);
    assert_eq!(later.pending().into_keys().collect::<BTreeSet<_>>(), pending, "after maintenance");
    assert_eq!(open.counted, 0, "what was damaged is damaged again");
    later.bodies.retain(|known, _| *known != seq);
    for (seq, body) in &later.bodies {
        let was = standing.borrow();
        assert_eq!(Some(format!("{body:?}")), was.bodies.get(seq).map(|was| format!("{was:?}")), "{seq}");
    }
}

fn seed() -> u64 {
    let given = std::env::var("HOOKLATCH_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) << 20 | START.0 & 0xfffff)
}

fn flips() -> u32 {
    if std::env::var("HOOKLATCH_SOAK").is_ok_and(|soak| soak == "1") { 10_000 } else { 500 }
}

#[test]
fn a_flipped_bit_costs_what_it_hits() {
    let seed = seed();
    println!("HOOKLATCH_SEED={seed}");
    let mut chance = Chance(seed);
    let folder = Folder::new(chance.below(u64::MAX));
    folder.has_all();
    for _ in 0..flips() {
        let flip = Flip::any(&folder, &mut chance);
        println!("{flip:?} of {}", folder.files[flip.file].0);
        flip_one(&folder, &flip);
    }
}
