use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn retry(due: u64, seq: u64) -> Retry {
    Retry {
        due: Millis(due),
        seq,
        attempt: seq as u16,
        dying: seq.is_multiple_of(3),
        at: at(seq as u32 % 4, seq as u32),
    }
}

fn at(segment: u32, offset: u32) -> Loc {
    Loc { segment, offset }
}

fn all(retries: &mut Retries) -> Vec<Retry> {
    std::iter::from_fn(|| retries.pop_due(Millis(u64::MAX))).collect()
}

#[test]
fn every_field_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let room = RetryRoom::with_block(100, folder.path().into(), 4);
    let mut retries = Retries::new(&room);
    let one = Retry {
        due: Millis(LAST_DUE),
        seq: u64::MAX >> 1,
        attempt: u16::MAX,
        dying: true,
        at: at(u32::MAX, u32::MAX - 1),
    };
    let late = Retry { due: Millis(u64::MAX), seq: 7, dying: false, ..one };
    for spilled in [false, true] {
        retries.push(&one).unwrap();
        retries.push(&late).unwrap();
        if spilled {
            retries.spill();
            assert_eq!((retries.in_memory(), retries.len()), (1, 2));
        }
        assert_eq!(retries.pop_due(Millis(LAST_DUE - 1)), None);
        assert_eq!(all(&mut retries), [Retry { due: Millis(LAST_DUE), ..late }, one]);
    }
}

#[test]
fn what_is_hastened_is_due_in_memory_and_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let room = RetryRoom::with_block(100, folder.path().into(), 4);
    let mut retries = Retries::new(&room);
    for seq in 1..=40 {
        retries.push(&retry(1000 + seq, seq)).unwrap();
        if seq % 20 == 0 {
            retries.spill();
        }
    }
    assert!(retries.in_memory() < 40);
    assert_eq!(retries.pop_due(Millis(500)), None);
    retries.hasten(Millis(500));
    assert_eq!(retries.next_due(), Some(Millis(500)));
    retries.push(&retry(600, 41)).unwrap();
    let mut seqs: Vec<u64> =
        std::iter::from_fn(|| retries.pop_due(Millis(500))).map(|retry| retry.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
    assert_eq!(retries.next_due(), Some(Millis(600)), "what came later is not");
}

#[derive(Clone, Debug)]
enum Op {
    Push { due: u64, segment: u32 },
    Pop { now: u64 },
    Move { which: usize, segment: u32 },
    InSegment { segment: u32 },
    Spill,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0_u64..100, 0_u32..4).prop_map(|(due, segment)| Op::Push { due, segment }),
        3 => (0_u64..100).prop_map(|now| Op::Pop { now }),
        2 => (any::<usize>(), 0_u32..4).prop_map(|(which, segment)| Op::Move { which, segment }),
        1 => (0_u32..4).prop_map(|segment| Op::InSegment { segment }),
        1 => Just(Op::Spill),
    ]
}

proptest! {
    /// Twelve in memory, blocks of three: nearly all is in the file nearly always.
    #[test]
    fn they_come_out_in_the_order_in_which_they_are_due(ops in prop::collection::vec(op(), 1..300)) {
        let folder = tempfile::tempdir().unwrap();
        let room = RetryRoom::with_block(12, folder.path().into(), 3);
        let mut retries = Retries::new(&room);
        let mut model: BTreeMap<(u64, u64), Retry> = BTreeMap::new();
        for (seq, op) in ops.into_iter().enumerate() {
            let seq = seq as u64;
            match op {
                Op::Push { due, segment } => {
                    let one = Retry { at: at(segment, seq as u32), ..retry(due, seq) };
                    prop_assert_eq!(retries.push(&one), Ok(()));
                    model.insert((due, seq), one);
                    if room.is_over() {
                        retries.spill();
                    }
                }
                Op::Pop { now } => {
                    let first = model.first_key_value().map(|(key, _)| *key).filter(|(due, _)| *due <= now);
                    let expected = first.and_then(|key| model.remove(&key));
                    prop_assert_eq!(retries.pop_due(Millis(now)), expected);
                    prop_assert!(room.in_memory() <= 12 + 2, "one block at a time: {}", room.in_memory());
                    if room.is_over() {
                        retries.spill();
                    }
                }
                Op::Move { which, segment } => {
                    let Some(which) = which.checked_rem(model.len()) else { continue };
                    let one = model.values_mut().nth(which).unwrap();
                    one.at = at(segment, 1000 + seq as u32);
                    retries.moved(one.seq, one.at);
                    if seq.is_multiple_of(4) {
                        retries.apply_moves();
                        prop_assert!(retries.moved.is_empty());
                    }
                }
                Op::InSegment { segment } => {
                    let mut found = retries.in_segment(segment);
                    found.sort_by_key(|one| (one.due, one.seq));
                    let expected = model.values().filter(|one| one.at.segment == segment);
                    prop_assert_eq!(found, expected.copied().collect::<Vec<_>>());
                }
                Op::Spill => retries.spill(),
            }
            prop_assert_eq!(retries.len(), model.len() as u64);
            prop_assert_eq!(room.in_memory(), retries.in_memory());
            prop_assert!(room.in_memory() <= 12, "{}", room.in_memory());
            prop_assert_eq!(retries.next_due(), model.keys().next().map(|(due, _)| Millis(*due)));
        }
        prop_assert_eq!(all(&mut retries), model.into_values().collect::<Vec<_>>());
        prop_assert!(room.file.lock().is_empty(), "its room on the disk is free again");
    }
}

#[test]
fn blocks_of_the_file_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let room = RetryRoom::with_block(8, folder.path().into(), 4);
    let (mut a, mut b) = (Retries::new(&room), Retries::new(&room));
    a.push(&retry(u64::MAX, 1)).unwrap();
    a.push(&retry(u64::MAX, 2)).unwrap();
    a.spill(); // one block is never free
    for round in 0..1000 {
        for seq in 0..8 {
            b.push(&retry(round * 10 + seq, round * 8 + seq + 10)).unwrap();
        }
        b.spill();
        assert_eq!(all(&mut b).len(), 8);
    }
    assert!(room.file.lock().blocks() <= 3, "{} blocks", room.file.lock().blocks());
    drop(a);
    assert!(room.file.lock().is_empty());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
}

#[test]
fn where_the_file_fails_they_stay_in_memory_up_to_twice_as_many_and_then_come_back() {
    let room = RetryRoom::with_block(10, "/nowhere/at/all".into(), 4);
    let mut retries = Retries::new(&room);
    for seq in 0..20 {
        retries.push(&retry(1000 - seq, seq)).unwrap();
        if room.is_over() {
            retries.spill();
        }
    }
    assert_eq!((retries.in_memory(), retries.len()), (20, 20));
    assert_eq!(retries.push(&retry(5, 99)), Err(retry(5, 99)));
    let seqs: Vec<u64> = all(&mut retries).iter().map(|one| one.seq).collect();
    assert_eq!(seqs, (0..20).rev().collect::<Vec<_>>());
    assert_eq!(retries.push(&retry(5, 99)), Ok(()));
}

#[test]
fn a_block_that_cannot_be_read_or_is_not_what_was_written_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let room = RetryRoom::with_block(8, folder.path().into(), 2);
    let mut retries = Retries::new(&room);
    (0..8).for_each(|seq| retries.push(&retry(seq, seq)).unwrap());
    retries.spill(); // 4..8, in two blocks
    room.file.lock().damage(0, 17);
    let seqs: Vec<u64> = all(&mut retries).iter().map(|one| one.seq).collect();
    assert_eq!(seqs, [0, 1, 2, 3]);
    assert_eq!(retries.len(), 4, "they still wait");
    retries.push(&retry(9, 9)).unwrap();
    assert_eq!(retries.pop_due(Millis(9)), Some(retry(9, 9)), "and hold up nobody");
    room.file.lock().damage(0, 17); // the same bits again: it is whole
    let seqs: Vec<u64> = all(&mut retries).iter().map(|one| one.seq).collect();
    assert_eq!(seqs, [4, 5, 6, 7]);
}

#[test]
fn a_move_that_cannot_be_written_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let room = RetryRoom::with_block(8, folder.path().into(), 2);
    let mut retries = Retries::new(&room);
    (0..8).for_each(|seq| retries.push(&retry(seq, seq)).unwrap());
    retries.spill();
    room.file.lock().damage(1, 3);
    (0..8).for_each(|seq| retries.moved(seq, at(9, seq as u32)));
    retries.apply_moves();
    room.file.lock().damage(1, 3);
    let found = all(&mut retries);
    assert_eq!(found.len(), 8);
    assert!(found.iter().all(|one| one.at == at(9, one.seq as u32)), "{found:?}");
}
