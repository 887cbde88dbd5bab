use std::io::ErrorKind;

use super::super::super::device::{Device, DeviceFile, Op};
use super::super::super::record::{HEADER, VERSION};
use super::*;
use crate::event::Priority;

/// A generator of choices that gives the same for the same seed.
fn chooser(mut seed: u64) -> impl FnMut(u32) -> u32 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32 % below.max(1)
    }
}

fn flip(disk: &FakeDevice, name: &str, at: usize) {
    let mut bytes = disk.contents(name).unwrap();
    bytes[at] ^= 0x10;
    disk.set_contents(name, &bytes);
}

/// Where `body` stands in a file.
fn find(disk: &FakeDevice, name: &str, body: &[u8]) -> usize {
    let bytes = disk.contents(name).unwrap();
    bytes.windows(body.len()).position(|window| window == body).unwrap()
}

fn refused(disk: &FakeDevice) -> String {
    let names = SharedNames::default();
    Spool::open(disk.clone(), options(), names, NOW, &mut Told::default()).unwrap_err().0
}

#[test]
fn what_was_committed_outlives_every_power_loss() {
    for seed in 0..60 {
        let rig = Rig::new();
        let mut kept = Vec::new();
        for n in 0..30 {
            kept.push((rig.keep(n, 700), n));
            rig.settle(kept[0].0, "a");
        }
        // Written, and no sync: any part of it may stay.
        let first = rig.append(100, 700);
        for n in 101..104 {
            rig.append(n, 700);
        }
        rig.spool.commit(rig.spool.take(), false).unwrap();
        let rig = rig.crashed(chooser(seed));
        let told = rig.told.seqs();
        for (seq, n) in kept {
            assert!(told.contains(&seq), "seed {seed}: event {seq} is lost");
            rig.reads(seq, n, 700);
        }
        for seq in told.iter().filter(|seq| **seq >= first) {
            rig.reads(*seq, 100 + seq - first, 700);
        }
        assert!(rig.told.progress.iter().any(|(_, step)| step.what == What::Delivered));
        assert_eq!(rig.spool.stats().corrupt_records, 0, "seed {seed}: a torn tail is no damage");
        // What comes now stands behind it all.
        let next = rig.keep(200, 100);
        assert!(told.iter().all(|seq| *seq < next));
        let rig = rig.crashed(chooser(seed + 1000));
        rig.reads(next, 200, 100);
    }
}

#[test]
fn without_syncs_all_is_lost() {
    let rig = Rig::new();
    rig.disk.forget_syncs(Op::Sync);
    rig.keep(1, 100);
    assert_eq!(rig.crashed(|_| 0).told.seqs(), Vec::<u64>::new());
}

#[test]
fn without_a_sync_of_the_folder_a_segment_has_no_name() {
    let rig = Rig::new();
    rig.disk.forget_syncs(Op::SyncFolder);
    rig.keep(1, 100);
    assert_eq!(rig.crashed(|_| 0).told.seqs(), Vec::<u64>::new());
}

#[test]
fn damage_before_a_later_commit_is_counted_and_costs_what_it_hit() {
    let rig = Rig::new();
    let seqs: Vec<u64> = (0..4).map(|n| rig.keep(n, 200)).collect();
    let at = find(&rig.disk, "0000000001.log", &event(1, 200).body);
    flip(&rig.disk, "0000000001.log", at + 5);
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), [seqs[0], seqs[2], seqs[3]]);
    assert_eq!(rig.spool.stats().corrupt_records, 1);
    rig.reads(seqs[2], 2, 200);
    // The index leaves it out: it is not counted again.
    rig.spool.finish();
    let rig = rig.killed();
    assert_eq!(rig.spool.stats().corrupt_records, 0);
    assert_eq!(rig.told.seqs(), [seqs[0], seqs[2], seqs[3]]);
}

#[test]
fn damage_in_a_sealed_segment_is_met_by_the_read_and_counted_once() {
    let rig = Rig::new();
    let seqs: Vec<u64> = (0..3).map(|n| rig.keep(n, 200)).collect();
    rig.spool.finish();
    let at = find(&rig.disk, "0000000001.log", &event(1, 200).body);
    flip(&rig.disk, "0000000001.log", at);
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), seqs);
    for _ in 0..2 {
        assert!(matches!(rig.spool.read(seqs[1]), Read::Damaged { key: Some(found) } if found == key(1)));
    }
    let all = rig.spool.read_many(&seqs, usize::MAX);
    assert!(matches!(all[0].1, Read::Event { .. }) && matches!(all[2].1, Read::Event { .. }));
    assert_eq!(rig.spool.stats().corrupt_records, 1);
    let (offset, len) = rig.spool.place_in(&rig.spool.all()[0], seqs[1]).unwrap().unwrap();
    let copy = rig.disk.contents(&format!("quarantine/0000000001-{offset}")).unwrap();
    let log = rig.disk.contents("0000000001.log").unwrap();
    assert_eq!(copy, &log[offset as usize..(offset + len) as usize]);
}

#[test]
fn a_damaged_index_is_made_anew() {
    let rig = Rig::new();
    let seqs: Vec<u64> = (0..3).map(|n| rig.keep(n, 200)).collect();
    rig.spool.finish();
    let half = rig.disk.contents("0000000001.idx").unwrap().len() / 2;
    flip(&rig.disk, "0000000001.idx", half);
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), seqs);
    rig.reads(seqs[1], 1, 200);
}

#[test]
fn a_roll_without_its_header_leaves_a_spare() {
    let rig = Rig::new();
    let seq = rig.keep(1, 100);
    rig.disk.create("0000000002.log").unwrap().fill(u64::from(options().segment_bytes), &|| true).unwrap();
    // And one whose header is of its former life.
    let first = rig.disk.contents("0000000001.log").unwrap();
    rig.disk.set_contents("0000000003.log", &first);
    rig.disk.sync_folder().unwrap();
    let before = rig.spool.stats().spares;
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), [seq]);
    assert_eq!(rig.spool.stats().spares, before + 2);
    assert_eq!(rig.spool.stats().corrupt_records, 0);
}

/// Has the first segment say that it is of this format.
fn set_version(rig: &Rig, version: u16) {
    let mut bytes = rig.disk.contents("0000000001.log").unwrap();
    for copy in [0, 512] {
        bytes[copy + 8..copy + 10].copy_from_slice(&version.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[copy..copy + 36]);
        bytes[copy + 36..copy + 40].copy_from_slice(&crc.to_le_bytes());
    }
    rig.disk.set_contents("0000000001.log", &bytes);
}

/// Format 1 differs in nothing but that no event has a turn.
#[test]
fn a_folder_of_format_1_is_read_and_its_events_are_normal_ones() {
    for sealed in [true, false] {
        let rig = Rig::new();
        let seqs: Vec<u64> = (0..3).map(|n| rig.keep(n, 200)).collect();
        if sealed {
            rig.spool.finish();
        }
        set_version(&rig, 1);
        let rig = rig.killed();
        assert_eq!((rig.told.seqs(), rig.spool.stats().corrupt_records), (seqs.clone(), 0));
        assert!(rig.told.turns.iter().all(|turn| *turn == Turn::default()));
        rig.reads(seqs[1], 1, 200);
        let turned = Event { turn: Turn { priority: Priority::Bulk, ..Turn::default() }, ..event(9, 100) };
        rig.spool.append(&turned, rig.source, None, false);
        rig.spool.commit(rig.spool.take(), true).unwrap();
        let rig = rig.killed();
        assert_eq!(rig.told.turns.last(), Some(&turned.turn), "what comes behind it is of the new one");
    }
}

#[test]
fn a_newer_format_is_refused_with_a_sentence() {
    let rig = Rig::new();
    rig.keep(1, 100);
    set_version(&rig, VERSION + 1);
    let sentence = refused(&rig.disk);
    assert!(sentence.contains("newer hooklatch") && sentence.contains("0000000001.log"), "{sentence}");
}

#[test]
fn a_segment_without_a_header_is_known_by_its_index_or_put_aside() {
    for sealed in [true, false] {
        let rig = Rig::new();
        let seq = rig.keep(1, 100);
        if sealed {
            rig.spool.finish();
        }
        let mut bytes = rig.disk.contents("0000000001.log").unwrap();
        bytes[4..HEADER].fill(0xee);
        rig.disk.set_contents("0000000001.log", &bytes);
        let rig = rig.killed();
        assert_eq!(rig.spool.stats().corrupt_records, 1);
        if sealed {
            rig.reads(seq, 1, 100);
        } else {
            assert_eq!(rig.told.seqs(), Vec::<u64>::new());
            assert_eq!(rig.disk.contents("quarantine/0000000001.log").unwrap(), bytes);
        }
    }
}

#[test]
fn an_empty_segment_without_its_header_is_no_damage() {
    let rig = Rig::new();
    rig.disk.fail_next(Op::Write, 1, ErrorKind::Other);
    rig.append(1, 100);
    assert!(rig.spool.commit(rig.spool.take(), true).is_err());
    rig.spool.finish();
    let mut bytes = rig.disk.contents("0000000001.log").unwrap();
    bytes.fill(0);
    rig.disk.set_contents("0000000001.log", &bytes);
    let rig = rig.killed();
    assert_eq!(rig.spool.stats().corrupt_records, 0);
}

#[test]
fn what_a_start_tells_is_synced_first() {
    let rig = Rig::new();
    let seq = rig.append(1, 100);
    rig.spool.commit(rig.spool.take(), false).unwrap();
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), [seq]);
    rig.crashed(|_| 0).reads(seq, 1, 100);
}

#[test]
fn a_start_that_cannot_sync_tells_what_it_found_and_says_so() {
    let rig = Rig::new();
    let seq = rig.keep(1, 100);
    let disk = rig.disk.clone();
    drop(rig);
    disk.kill();
    disk.fail_next(Op::Sync, 0, ErrorKind::Other);
    let rig = Rig::on(disk, options());
    assert_eq!(rig.told.seqs(), [seq]);
    rig.reads(seq, 1, 100);
    assert_eq!(rig.spool.stats().storage_failures, 1);
    assert!(rig.spool.stats().last_error.is_some());
    assert!(rig.disk.contents("0000000001.log").is_some());
}

#[test]
fn a_read_that_the_disk_refuses_is_no_damage() {
    let rig = Rig::new();
    let seqs: Vec<u64> = (0..2).map(|n| rig.keep(n, 100)).collect();
    // Together, then one by one: the second one's succeeds.
    rig.disk.fail_next(Op::Read, 0, ErrorKind::Other);
    rig.disk.fail_next(Op::Read, 0, ErrorKind::Other);
    let reads = rig.spool.read_many(&seqs, usize::MAX);
    assert!(matches!(reads[..], [(_, Read::Failed), (_, Read::Event { .. })]), "{reads:?}");
    let stats = rig.spool.stats();
    assert_eq!((stats.corrupt_records, stats.storage_failures), (0, 1));
    rig.reads(seqs[0], 0, 100);
    // So it is where the index must be asked first.
    rig.spool.finish();
    rig.disk.fail_next(Op::Read, 0, ErrorKind::Other);
    assert!(matches!(rig.spool.read(seqs[0]), Read::Failed));
    rig.reads(seqs[0], 0, 100);
}

#[test]
fn a_segment_that_cannot_be_read_at_a_start_waits_for_one_that_can() {
    let rig = Rig::new();
    let seq = rig.keep(1, 100);
    let disk = rig.disk.clone();
    drop(rig);
    disk.kill();
    disk.fail_next(Op::Read, 0, ErrorKind::Other);
    let rig = Rig::on(disk, options());
    assert!(rig.told.events.is_empty());
    assert_eq!((rig.spool.stats().corrupt_records, rig.spool.stats().storage_failures), (0, 1));
    let later = rig.keep(2, 100);
    assert_ne!(seq, later);
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), [seq, later]);
    rig.reads(seq, 1, 100);
}

#[test]
fn a_segment_with_an_index_needs_no_header() {
    let rig = Rig::new();
    let seq = rig.keep(1, 100);
    rig.spool.finish();
    let disk = rig.disk.clone();
    drop(rig);
    disk.kill();
    disk.fail_next(Op::Read, 0, ErrorKind::Other);
    let rig = Rig::on(disk, options());
    assert_eq!(rig.told.seqs(), [seq]);
    rig.reads(seq, 1, 100);
}

#[test]
fn a_page_that_cannot_be_read_costs_what_stands_in_it() {
    let rig = Rig::new();
    let seqs: Vec<u64> = (0..12).map(|n| rig.keep(n, 1000)).collect();
    let disk = rig.disk.clone();
    drop(rig);
    disk.kill();
    // The header, then all at once; then page by page: the third one.
    disk.fail_next(Op::Read, 1, ErrorKind::Other);
    disk.fail_next(Op::Read, 4, ErrorKind::Other);
    let rig = Rig::on(disk, options());
    let told = rig.told.seqs();
    assert!(
        told.len() >= 6 && told.len() < 12 && told.contains(&seqs[0]) && told.contains(&seqs[11]),
        "{told:?}"
    );
    assert_eq!(rig.spool.stats().storage_failures, 1);
    assert!(rig.spool.stats().corrupt_records > 0);
    // Another start can read it.
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), seqs);
}

#[test]
fn a_segment_that_somebody_removed_costs_what_waited_in_it() {
    let rig = Rig::new();
    let seqs: Vec<u64> = (0..3).map(|n| rig.keep(n, 100)).collect();
    for lane in ["a", "b"] {
        rig.settle(seqs[0], lane);
    }
    rig.settle(seqs[1], "a");
    rig.commit();
    rig.spool.finish();
    let rig = rig.killed();
    let later = rig.keep(9, 100);
    for lane in ["a", "b"] {
        rig.settle(seqs[2], lane);
    }
    rig.commit();
    rig.disk.remove("0000000001.log").unwrap();
    rig.disk.set_contents("notes.txt", b"mine");
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), [later]);
    assert_eq!(rig.spool.stats().corrupt_records, 1);
    assert_eq!(rig.told.ids.len(), 1, "no id is remembered longer than its event was safe");
    assert_eq!(rig.disk.contents("notes.txt").unwrap(), b"mine");
    // It is told once.
    assert_eq!(rig.killed().spool.stats().corrupt_records, 0);
}

#[test]
fn any_bit_of_an_unsealed_segment_may_flip() {
    let bits = options().segment_bytes as usize * 8;
    let mut choose = chooser(7);
    for _ in 0..150 {
        let rig = Rig::new();
        let seqs: Vec<u64> = (0..4).map(|n| rig.keep(n, 150)).collect();
        let (bit, mut bytes) =
            (choose(bits as u32 / 8) as usize, rig.disk.contents("0000000001.log").unwrap());
        bytes[bit / 8] ^= 1 << (bit % 8);
        rig.disk.set_contents("0000000001.log", &bytes);
        let rig = rig.killed();
        assert!(rig.told.events.len() + 1 >= seqs.len(), "bit {bit}");
        for seq in rig.told.seqs() {
            rig.reads(seq, seq - seqs[0], 150);
        }
    }
}

#[test]
fn a_disk_that_fails_at_every_turn_loses_nothing_that_was_acked() {
    for op in [Op::Write, Op::Sync, Op::Rename, Op::SyncFolder, Op::Create] {
        for after in 0..12 {
            let rig = Rig::new();
            rig.disk.fail_next(op, after, ErrorKind::Other);
            let mut kept = Vec::new();
            for n in 0..30 {
                let seq = rig.append(n, 900);
                if rig.spool.commit(rig.spool.take(), true).is_ok() {
                    kept.push((seq, n));
                }
            }
            assert!(kept.len() > 20, "{op:?} {after}: {}", kept.len());
            let rig = rig.crashed(|_| 0);
            for (seq, n) in kept {
                rig.reads(seq, n, 900);
            }
        }
    }
}

#[test]
fn events_of_a_torn_commit_that_lost_the_names_of_their_destinations_are_not_told() {
    let rig = Rig::new();
    let first = rig.keep(1, 100);
    let segment = Arc::clone(&rig.spool.all()[0]);
    let names_from = segment.summary().end as usize;
    let other = {
        let mut names = rig.names.write();
        let lanes = Box::new([names.lane("c")]);
        names.source(Source { route: Arc::from("other"), provider: None, lanes })
    };
    let (lost, _) = rig.spool.append(&event(2, 100), other, Some(key(2)), false);
    rig.spool.commit(rig.spool.take(), false).unwrap();
    let (event_from, _) = rig.spool.place_in(&segment, lost).unwrap().unwrap();
    let name = log_name(segment.number());
    let mut log = rig.disk.contents(&name).unwrap();
    // The disk wrote what came later, and not what came first.
    log[names_from..event_from as usize].fill(0);
    rig.disk.set_contents(&name, &log);
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), [first]);
    assert_eq!(rig.spool.stats().corrupt_records, 0);
}
