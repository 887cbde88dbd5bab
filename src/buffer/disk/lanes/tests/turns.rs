//! Classes, order keys and their limits.

use std::collections::BTreeMap;

use futures_util::FutureExt;

use super::super::refill::FOLLOWERS;
use super::*;
use crate::buffer::keys::MAX_KEYS;
use crate::buffer::turns::Ask;

const MUCH: Amount = Amount { events: 1_000_000, bytes: 1 << 40 };
const NOW: Millis = Millis(0);

fn of(priority: Priority) -> Turn {
    Turn { priority, order_key: None }
}

fn keyed(key: u64) -> Turn {
    Turn { order_key: OrderKey::from_bits(key), ..Turn::default() }
}

/// Lanes, and the turns of the events in them, as the disk knows them.
struct Rig {
    lanes: Lanes,
    turns: BTreeMap<u64, Turn>,
    sifted: usize,
    told_full: usize,
    /// How often something was read.
    goes: usize,
}

impl Rig {
    fn new() -> Self {
        Self { lanes: lanes(MUCH, 1), turns: BTreeMap::new(), sifted: 0, told_full: 0, goes: 0 }
    }

    fn keep(&mut self, seqs: impl IntoIterator<Item = u64>, turn: impl Fn(u64) -> Turn) {
        for seq in seqs {
            let reserved = self.lanes.reserve(100, &[0]);
            self.lanes.admit(reserved, ready_of(seq, 100, turn(seq)));
            self.turns.insert(seq, turn(seq));
        }
    }

    /// As after a start.
    fn found(&mut self, seqs: impl IntoIterator<Item = u64>, turn: impl Fn(u64) -> Turn) {
        for seq in seqs {
            self.lanes.restore(seq, 100, turn(seq), &[0]);
            self.turns.insert(seq, turn(seq));
        }
    }

    /// As the feeder does, until nothing more is wanted; how many events were read.
    fn feed(&mut self) -> usize {
        let mut read = 0;
        while self.lanes.wants_refill(0, NOW) {
            let mut wanted = self.lanes.wanted(0, NOW);
            if !wanted.sift.is_empty() {
                self.sifted += wanted.sift.len();
                let keys = wanted.sift.iter().map(|seq| (*seq, self.turns[seq].order_key)).collect();
                let (fresh, full) = self.lanes.sift(0, &wanted, keys);
                wanted.fresh = fresh;
                self.told_full += usize::from(full);
            }
            let fresh: Vec<Ready> =
                wanted.fresh.iter().map(|seq| ready_of(*seq, 100, self.turns[seq])).collect();
            read += fresh.len();
            self.goes += 1;
            let followers = wanted.followers.iter().map(|seq| ready_of(*seq, 100, self.turns[seq])).collect();
            self.lanes.prefetched(0, wanted.class, followers);
            self.lanes.bring(0, wanted.class, fresh, Vec::new());
        }
        read
    }

    /// Takes and delivers one at a time, reading whenever there is something to read; the order.
    fn deliver(&mut self, most: usize) -> Vec<u64> {
        let mut order = Vec::new();
        while order.len() < most {
            self.feed();
            let [seq] = take(&mut self.lanes, 0, 1)[..] else { break };
            self.lanes.settle(0, id(seq), &[0]).unwrap();
            order.push(seq);
        }
        order
    }

    /// One in flight waits for its retry.
    fn fail(&mut self, seq: u64, due: u64) {
        self.lanes.defer(0, id(seq), Some(attempt(1))).unwrap();
        assert!(self.lanes.wait(seq, 0, Millis(due), 1, false, at(1)));
    }
}

#[test]
fn a_critical_event_is_next_whatever_waits_before_it() {
    let mut rig = Rig::new();
    rig.keep(1..=100_000, |_| of(Priority::Bulk));
    assert_eq!(rig.deliver(3), [1, 2, 3]);
    rig.keep([100_001], |_| of(Priority::Normal));
    rig.keep([100_002, 100_003], |_| of(Priority::Critical));
    check(&rig.lanes);
    assert_eq!(rig.deliver(5), [100_002, 100_003, 100_001, 4, 5]);
    // Also out of a backlog of its own.
    rig.keep(200_000..201_000, |_| of(Priority::Critical));
    assert_eq!(rig.deliver(19), (200_000..200_019).collect::<Vec<_>>());
    assert_eq!(rig.deliver(1), [6], "and bulk never starves for good: one slot in twenty");
    assert_eq!(rig.deliver(19), (200_019..200_038).collect::<Vec<_>>());
    check(&rig.lanes);
}

#[test]
fn a_failing_key_holds_back_only_itself_however_many_of_it_lie_before_the_others() {
    for after_a_start in [true, false] {
        failing_key(after_a_start);
    }
}

fn failing_key(after_a_start: bool) {
    let mut rig = Rig::new();
    let turn = |seq| match seq {
        1..=100_000 => keyed(1),
        100_001..=100_300 => keyed(seq % 100 + 2),
        _ => Turn::default(),
    };
    if after_a_start {
        rig.found(1..=100_301, turn);
    } else {
        rig.keep(1..=100_301, turn);
    }
    rig.feed();
    assert_eq!(take(&mut rig.lanes, 0, 1), [1]);
    rig.fail(1, 900);
    let order = rig.deliver(usize::MAX);
    assert_eq!(order.len(), 301, "all but the 100,000 of the failing key");
    for key in 0..100 {
        let of_key: Vec<u64> =
            order.iter().copied().filter(|seq| *seq <= 100_300 && seq % 100 == key).collect();
        assert!(of_key.len() == 3 && of_key.is_sorted(), "{of_key:?}");
    }
    let in_pieces = 100_301_usize.div_ceil(4096) * 4096;
    assert!(
        rig.sifted <= if after_a_start { in_pieces } else { 0 },
        "each was looked at once: {}",
        rig.sifted
    );
    assert_eq!(rig.lanes.figures(0).events, 100_000);
    assert!(rig.lanes.window_bytes() == 0, "and takes no room in memory");
    check(&rig.lanes);
    // A dead event unblocks its key.
    let wanted = rig.lanes.wanted(0, Millis(900));
    rig.lanes.bring(0, wanted.class, Vec::new(), vec![(ready_of(1, 100, keyed(1)), 1)]);
    assert_eq!(take_at(&mut rig.lanes, 0, 9, Millis(900)), [1]);
    rig.lanes.dying(0, id(1)).unwrap();
    assert!(rig.lanes.has_freed(0));
    assert_eq!(rig.deliver(1000), (2..=1001).collect::<Vec<_>>(), "while it is still on its way there");
    check(&rig.lanes);
}

#[test]
fn a_key_with_many_events_is_read_in_few_goes() {
    for after_a_start in [true, false] {
        let mut rig = Rig::new();
        if after_a_start {
            rig.found(1..=1000, |_| keyed(1));
        } else {
            rig.keep(1..=1000, |_| keyed(1));
        }
        assert_eq!(rig.deliver(100), (1..=100).collect::<Vec<_>>());
        check(&rig.lanes);
        // What was read before its turn waits as all others do: it may be lost, and goes back to the disk.
        rig.lanes.lost(102, 100, &[0]);
        check(&rig.lanes);
        assert_eq!(rig.deliver(100), (101..=201).filter(|seq| *seq != 102).collect::<Vec<_>>());
        rig.lanes.set_destinations(&[]);
        check(&rig.lanes);
        assert_eq!(rig.lanes.window_bytes(), 0);
        configure(&mut rig.lanes, [0]);
        assert_eq!(rig.deliver(1000), (202..=1000).collect::<Vec<_>>());
        assert!(rig.goes <= 1000 / FOLLOWERS + 6, "{}", rig.goes);
        assert_eq!(rig.lanes.window_bytes(), 0);
        check(&rig.lanes);
    }
}

#[test]
fn what_is_read_before_its_turn_takes_a_part_of_the_windows() {
    let mut rig = Rig::new();
    rig.lanes.limits.window_bytes = 8 * (100 + BESIDE);
    rig.found(1..=1000, |_| keyed(1));
    assert_eq!(rig.deliver(10), (1..=10).collect::<Vec<_>>());
    assert!(rig.lanes.window_bytes() <= 2 * (100 + BESIDE));
    rig.lanes.limits.windows_bytes = 0;
    assert_eq!(
        rig.deliver(990),
        (11..=1000).collect::<Vec<_>>(),
        "without room for it each is read in its turn"
    );
    check(&rig.lanes);
}

#[test]
fn those_of_a_key_go_one_at_a_time_and_the_others_beside_them() {
    let mut rig = Rig::new();
    rig.keep(1..=40, |seq| keyed(seq % 4 + 1));
    assert_eq!(take(&mut rig.lanes, 0, 99), [1, 2, 3, 4]);
    rig.lanes.settle(0, id(2), &[0]).unwrap();
    rig.feed();
    assert_eq!(take(&mut rig.lanes, 0, 99), [6]);
    assert!(rig.lanes.put_back(0, id(6)));
    rig.keep([41], |_| keyed(3));
    assert_eq!(take(&mut rig.lanes, 0, 99), [6], "it still holds its key");
    rig.fail(6, 900);
    assert!(take(&mut rig.lanes, 0, 99).is_empty());
    check(&rig.lanes);
}

#[test]
fn a_key_is_one_over_all_classes_and_in_order_within_each() {
    let mut rig = Rig::new();
    let bulk = Turn { priority: Priority::Bulk, ..keyed(1) };
    let critical = Turn { priority: Priority::Critical, ..keyed(1) };
    rig.keep(1..=3, |_| bulk);
    assert_eq!(take(&mut rig.lanes, 0, 9), [1]);
    rig.keep(4..=5, |_| critical);
    assert!(take(&mut rig.lanes, 0, 9).is_empty(), "one at a time");
    rig.lanes.settle(0, id(1), &[0]).unwrap();
    check(&rig.lanes);
    assert_eq!(rig.deliver(9), [4, 5, 2, 3]);
}

#[test]
fn at_most_ten_thousand_keys_are_held_then_the_lane_waits_and_says_so_once() {
    let mut rig = Rig::new();
    let most = MAX_KEYS as u64;
    for seq in 1..=most {
        rig.keep([seq], keyed);
        assert_eq!(take(&mut rig.lanes, 0, 1), [seq]);
        rig.fail(seq, 900);
    }
    rig.keep([most + 1], keyed);
    rig.keep([most + 2], |_| Turn::default());
    assert_eq!((rig.feed(), take(&mut rig.lanes, 0, 9)), (0, vec![]), "also what has no key waits behind it");
    check(&rig.lanes);
    let wanted = rig.lanes.wanted(0, Millis(900));
    let due = vec![(ready_of(1, 100, keyed(1)), 1)];
    rig.lanes.bring(0, wanted.class, Vec::new(), due);
    assert_eq!(take_at(&mut rig.lanes, 0, 9, Millis(900)), [1]);
    rig.lanes.settle(0, id(1), &[0]).unwrap();
    assert!(rig.lanes.wants_refill(0, NOW));
    assert_eq!(rig.deliver(9), [most + 1, most + 2]);
    check(&rig.lanes);
}

#[test]
fn a_backlog_that_meets_the_bound_is_told_of() {
    let mut rig = Rig::new();
    rig.lanes.lanes[0].keys.set_most(5);
    rig.lanes.limits.window_events = 4;
    rig.keep(1..=100, |seq| keyed(seq % 50 + 1));
    let mut held = Vec::new();
    while let [seq] = take(&mut rig.lanes, 0, 1)[..] {
        held.push(seq);
        rig.feed();
    }
    assert_eq!((held, rig.told_full), (vec![1, 2, 3, 4, 5], 1));
    check(&rig.lanes);
    rig.lanes.settle(0, id(1), &[0]).unwrap();
    rig.feed();
    assert_eq!(take(&mut rig.lanes, 0, 9), [6]);
}

#[test]
fn an_event_that_waited_before_the_start_still_holds_its_key() {
    let mut rig = Rig::new();
    let turn = |seq: u64| if seq == 9 { keyed(2) } else { keyed(1) };
    for seq in [3, 5, 7, 9] {
        rig.lanes.restore(seq, 100, turn(seq), &[0]);
        rig.turns.insert(seq, turn(seq));
    }
    let waiting = |seq| Retry { due: Millis(500), seq, attempt: 2, dying: false, at: at(4) };
    rig.lanes.restore_waiting(0, turn(5), &waiting(5));
    rig.lanes.restore_waiting(0, turn(7), &waiting(7));
    assert_eq!(rig.lanes.figures(0).waiting, 1, "another one of its key waits: 7 begins anew");
    check(&rig.lanes);
    assert_eq!(rig.deliver(9), [9], "3, which has not begun, goes after it rather than beside it");
    rig.keep([11], turn);
    let wanted = rig.lanes.wanted(0, Millis(500));
    rig.lanes.bring(0, wanted.class, Vec::new(), vec![(ready_of(5, 100, turn(5)), 2)]);
    let taken = rig.lanes.take(0, 9, Millis(500));
    assert_eq!((taken.len(), taken[0].event.id, taken[0].attempt), (1, id(5), 3));
    rig.lanes.settle(0, id(5), &[0]).unwrap();
    assert_eq!(rig.deliver(9), [3, 7, 11]);
    check(&rig.lanes);
}

#[test]
fn a_lane_hears_of_the_next_one_of_a_key_that_was_read_before_its_turn() {
    let mut rig = Rig::new();
    let signal = rig.lanes.lane(0, &"lane-0".into());
    let woken = || signal.changed().now_or_never().is_some();
    rig.keep(1..=10, |_| keyed(1));
    assert_eq!(rig.deliver(1), [1]);
    rig.feed(); // 2, and with it those behind
    assert_eq!(rig.lanes.take(0, 9, NOW).len(), 1);
    while woken() {}
    signal.looking();
    assert!(!woken(), "nothing came since it looked");
    rig.lanes.settle(0, id(2), &[0]).unwrap();
    assert!(!rig.lanes.has_freed(0), "3 is in memory, so that nobody reads, and nobody else would say");
    assert!(woken());
    assert_eq!(take(&mut rig.lanes, 0, 9), [3]);
}

/// Of one key, so many are read before their turn, however many there are; and no more bytes than a part of what the windows
/// may hold.
#[test]
fn what_is_read_before_its_turn_is_bounded_in_number_and_bytes() {
    let mut rig = Rig::new();
    rig.keep(1..=1000, |_| keyed(1));
    let prefetched = |rig: &Rig| rig.lanes.lanes[0].tracks.get(Priority::Normal).prefetched.len();
    assert_eq!(rig.deliver(1), [1]);
    rig.feed();
    assert_eq!(prefetched(&rig), FOLLOWERS);
    // A quarter of a window, and half of all windows.
    for (window_bytes, windows_bytes, most) in [(40, 1000, 10), (1000, 40, 20)] {
        let mut rig = Rig::new();
        rig.keep(1..=1000, |_| keyed(1));
        assert_eq!(rig.deliver(1), [1]);
        let each = 100 + BESIDE;
        rig.lanes.limits.window_bytes = window_bytes * each;
        rig.lanes.limits.windows_bytes = windows_bytes * each;
        rig.feed();
        assert_eq!(prefetched(&rig), most, "{window_bytes} {windows_bytes}");
        check(&rig.lanes);
        assert_eq!(rig.deliver(5), [2, 3, 4, 5, 6], "and all go in their order");
    }
}

#[test]
fn what_was_on_its_way_to_the_dead_letters_before_the_start_holds_no_key() {
    let mut rig = Rig::new();
    rig.found([5, 7], |_| keyed(1));
    let dying = Retry { due: Millis(500), seq: 5, attempt: 2, dying: true, at: at(4) };
    rig.lanes.restore_waiting(0, keyed(1), &dying);
    assert_eq!(rig.deliver(9), [7], "it will not be sent again");
    let wanted = rig.lanes.wanted(0, Millis(500));
    assert_eq!(wanted.retries.iter().map(|retry| (retry.seq, retry.dying)).collect::<Vec<_>>(), [(5, true)]);
    check(&rig.lanes);
}

#[test]
fn what_ended_while_it_was_read_before_its_turn_is_not_kept() {
    let mut rig = Rig::new();
    rig.keep(1..=5, |_| keyed(1));
    assert_eq!(rig.deliver(1), [1]);
    let wanted = rig.lanes.wanted(0, NOW);
    assert_eq!((&wanted.fresh, &wanted.followers), (&vec![2], &vec![3, 4, 5]));
    rig.lanes.lost(4, 100, &[0]);
    let read = |seqs: &[u64]| seqs.iter().map(|seq| ready_of(*seq, 100, keyed(1))).collect::<Vec<_>>();
    rig.lanes.prefetched(0, wanted.class, read(&wanted.followers));
    rig.lanes.bring(0, wanted.class, read(&wanted.fresh), Vec::new());
    check(&rig.lanes);
    assert_eq!(rig.deliver(9), [2, 3, 5]);
    assert_eq!(rig.lanes.window_bytes(), 0);
}

#[test]
fn what_fills_a_batch_is_fresh_and_of_different_keys() {
    let mut rig = Rig::new();
    rig.keep([1], |_| Turn::default());
    assert_eq!(rig.lanes.take(0, 1, NOW).len(), 1);
    rig.lanes.defer(0, id(1), Some(attempt(1))).unwrap();
    assert!(rig.lanes.wait(1, 0, NOW, 1, false, at(1)));
    let wanted = rig.lanes.wanted(0, NOW);
    rig.lanes.bring(0, wanted.class, Vec::new(), vec![(ready_of(1, 100, Turn::default()), 1)]);
    rig.keep([2], |_| of(Priority::Bulk));
    rig.keep([3, 4], |_| keyed(1));
    rig.keep([5], |_| keyed(2));
    let fresh = |rig: &mut Rig| -> Vec<u64> {
        rig.lanes.take_of(0, Ask::Fresh, 9, NOW).iter().map(|taken| taken.event.id.seq()).collect()
    };
    assert_eq!(fresh(&mut rig), [3, 5, 2], "class first, one a key, and not the retry");
    assert!(fresh(&mut rig).is_empty());
    check(&rig.lanes);
    rig.lanes.settle(0, id(3), &[0]).unwrap();
    assert!(rig.lanes.put_back(0, id(2)));
    rig.feed();
    assert_eq!(fresh(&mut rig), [4, 2]);
    assert_eq!(rig.lanes.take(0, 9, NOW).len(), 1, "the retry");
    check(&rig.lanes);
}

#[test]
fn what_is_lost_or_leaves_memory_frees_its_key_or_keeps_its_turn() {
    let mut rig = Rig::new();
    rig.keep(1..=4, |_| keyed(1));
    rig.keep([5], |_| keyed(2));
    configure(&mut rig.lanes, []); // the window goes back to the disk
    check(&rig.lanes);
    assert_eq!(rig.lanes.window_bytes(), 0);
    configure(&mut rig.lanes, [0]);
    rig.lanes.lost(1, 100, &[0]);
    rig.lanes.lost(3, 100, &[0]);
    check(&rig.lanes);
    assert_eq!(rig.deliver(9), [2, 4, 5]);
    assert_eq!(rig.lanes.depth(0), (0, 0));
}

#[test]
fn while_a_lane_recovers_what_arrives_gets_a_quarter_ahead_of_the_backlog() {
    let mut rig = Rig::new();
    rig.keep(1..=1000, |_| Turn::default());
    rig.lanes.recovering(0, true);
    rig.keep(1001..=1100, |seq| if seq == 1002 { keyed(1) } else { Turn::default() });
    check(&rig.lanes);
    assert_eq!(rig.deliver(8), [1, 2, 3, 1001, 4, 5, 6, 1003], "one with a key waits for its turn");
    rig.lanes.recovering(0, false);
    rig.keep([2000], |_| Turn::default());
    let order = rig.deliver(usize::MAX);
    assert_eq!(order.len(), 1101 - 8);
    assert_eq!(order.last(), Some(&2000));
    check(&rig.lanes);
}
