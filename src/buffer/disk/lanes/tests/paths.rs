//! One way after the other.

use super::*;

const MUCH: Amount = Amount { events: 1_000_000, bytes: 1 << 40 };

#[test]
fn an_event_goes_straight_into_the_window_only_where_nothing_is_before_it() {
    let mut lanes = lanes(MUCH, 2);
    for seq in 1..=300 {
        admit(&mut lanes, seq, 100, &[0]);
    }
    let backlog = |lanes: &Lanes| lanes.figures(0).backlog;
    assert_eq!(backlog(&lanes), 44, "256 are in the window");
    assert_eq!(take(&mut lanes, 0, 200), (1..=200).collect::<Vec<_>>());
    admit(&mut lanes, 301, 100, &[0, 1]);
    assert_eq!((backlog(&lanes), lanes.figures(1).backlog), (45, 0), "44 are before it here, none there");
    let wanted = lanes.wanted(0, Millis(0));
    assert_eq!(wanted.fresh, (257..=301).collect::<Vec<_>>());
    admit(&mut lanes, 302, 100, &[0]);
    assert_eq!(backlog(&lanes), 1, "those being read are before it");
    assert!(lanes.wanted(0, Millis(0)).fresh.is_empty(), "one reading at a time");
    lanes.bring(0, Priority::Normal, (257..=290).map(|seq| ready(seq, 100)).collect(), Vec::new());
    check(&lanes);
    assert_eq!(backlog(&lanes), 12, "what did not come goes back");
    assert_eq!(refill(&mut lanes, 0, Millis(0), 100).fresh, (291..=302).collect::<Vec<_>>());
    assert_eq!(take(&mut lanes, 0, 999), (201..=302).collect::<Vec<_>>(), "in the order in which they came");
    admit(&mut lanes, 303, 100, &[0]);
    assert_eq!(take(&mut lanes, 0, 9), [303]);
    check(&lanes);
}

#[test]
fn a_window_is_bounded_in_bytes_and_so_are_all_together_but_one_event_always_fits() {
    let mut lanes = lanes(MUCH, 40);
    admit(&mut lanes, 1, 3 << 20, &[0]);
    assert_eq!((lanes.figures(0).backlog, lanes.window_bytes()), (0, (3 << 20) + BESIDE));
    admit(&mut lanes, 2, 100, &[0]);
    assert_eq!(lanes.figures(0).backlog, 1);
    let mut seq = 3;
    for lane in 1..40 {
        for _ in 0..8 {
            admit(&mut lanes, seq, 200 << 10, &[lane]);
            seq += 1;
        }
    }
    let held: Vec<u64> = (1..40).map(|lane| 8 - lanes.figures(lane).backlog).collect();
    assert_eq!(held[..29], [5; 29], "a MiB each");
    assert!(held[29..].iter().all(|held| *held >= 1), "{held:?}");
    assert!(lanes.window_bytes() <= (32 << 20) + 11 * ((200 << 10) + BESIDE), "{}", lanes.window_bytes());
    check(&lanes);
    assert_eq!(take(&mut lanes, 39, 9).len(), 1);
    let wanted = refill(&mut lanes, 39, Millis(0), 200 << 10);
    assert_eq!(wanted.max_bytes, 0, "but always one, whatever the others hold");
    assert_eq!(wanted.fresh.len(), 1);
    configure(&mut lanes, 20..40);
    check(&lanes);
    assert_eq!(lanes.figures(1).backlog, 8, "who left the configuration holds nothing in memory");
    assert_eq!(lanes.depth(1), (8, 8 * (200 << 10)));
}

#[test]
fn a_retry_waits_on_the_disk_and_comes_back_with_its_attempts() {
    let mut lanes = lanes(MUCH, 1);
    admit(&mut lanes, 7, 100, &[0]);
    assert_eq!(lanes.take(0, 1, Millis(0))[0].attempt, 1);
    assert!(!lanes.wait(7, 0, Millis(50), 1, false, at(1)), "it is in flight");
    let written = lanes.defer(0, id(7), Some(attempt(1))).unwrap();
    assert_eq!(written.attempts, [attempt(1)]);
    assert!(lanes.defer(0, id(7), Some(attempt(1))).is_none() && lanes.settle(0, id(7), &[0]).is_none());
    assert_eq!((lanes.depth(0), lanes.next_due(0)), ((1, 100), None), "pending, and nobody's");
    assert!(lanes.wait(7, 0, Millis(50), 1, false, at(1)));
    assert!(!lanes.wait(7, 0, Millis(50), 1, false, at(1)), "once");
    assert_eq!(lanes.next_due(0), Some(Millis(50)));
    assert_eq!(lanes.waiting_in(1), [(7, 0, 1)]);
    assert!(lanes.moved(7, 0, Loc { segment: 2, offset: 9 }));
    assert_eq!((lanes.waiting_in(1).len(), lanes.waiting_in(2)), (0, vec![(7, 0, 9)]));
    assert!(!lanes.wants_refill(0, Millis(49)) && lanes.wants_refill(0, Millis(50)));
    let wanted = lanes.wanted(0, Millis(50));
    let expected = WantedRetry { seq: 7, at: Loc { segment: 2, offset: 9 }, attempt: 1, dying: false };
    assert_eq!((wanted.retries, lanes.next_due(0)), (vec![expected], None));
    assert_eq!(lanes.waiting_in(2), [(7, 0, 9)], "it is still its last step");
    lanes.bring(
        0,
        Priority::Normal,
        Vec::new(),
        vec![(Ready { attempts: vec![attempt(1)], ..ready(7, 100) }, 1)],
    );
    assert_eq!(lanes.next_due(0), Some(Millis(50)));
    assert!(take_at(&mut lanes, 0, 9, Millis(49)).is_empty());
    assert_eq!(lanes.take(0, 9, Millis(50))[0].attempt, 2);
    assert!(lanes.moved(7, 0, at(3)), "in flight it may move, too");
    assert_eq!(lanes.waiting_in(1), [(7, 0, 3)]);
    assert!(lanes.put_back(0, id(7)));
    assert_eq!(lanes.take(0, 1, Millis(0))[0].attempt, 2, "a retry that was put back counts on");
    let written = lanes.defer(0, id(7), Some(attempt(2))).unwrap();
    assert_eq!(written.attempts, [attempt(1), attempt(2)]);
    assert_eq!(lanes.waiting_in(1), [(7, 0, 3)], "until its next step stands, this is its last");
    assert!(lanes.moved(7, 0, at(4)));
    assert_eq!(lanes.waiting_in(1), [(7, 0, 4)]);
    check(&lanes);
}

#[test]
fn a_dying_event_is_pending_until_it_stands_in_the_dead_letters() {
    let mut lanes = lanes(MUCH, 2);
    admit(&mut lanes, 7, 100, &[0, 1]);
    assert_eq!(take(&mut lanes, 0, 1), [7]);
    assert_eq!(lanes.dying(0, id(7)).unwrap().seq, 7);
    assert!(lanes.wait(7, 0, Millis(50), 3, true, at(1)), "no room there");
    let wanted = lanes.wanted(0, Millis(50));
    assert!(wanted.retries[0].dying);
    lanes.bring(0, Priority::Normal, Vec::new(), Vec::new());
    // Its step is said elsewhere while it is read, and it cannot go there now.
    assert!(lanes.moved(7, 0, at(2)) && lanes.wait_again(7, 0, Millis(60)));
    assert_eq!((lanes.waiting_in(1), lanes.next_due(0)), (vec![(7, 0, 2)], Some(Millis(60))));
    let wanted = lanes.wanted(0, Millis(60));
    assert!(wanted.retries[0].dying);
    lanes.bring(0, Priority::Normal, Vec::new(), Vec::new());
    assert_eq!((lanes.depth(0), lanes.quota.total()), ((1, 100), Amount::one(100)));
    assert!(take_at(&mut lanes, 0, 9, Millis(99)).is_empty(), "no attempt is left");
    assert!(lanes.died(7, 0, 100, &[0, 1]) && !lanes.died(7, 0, 100, &[0, 1]));
    lanes.letter(7, 0);
    assert_eq!((lanes.depth(0), lanes.depth(1), lanes.figures(0).dead), ((0, 0), (1, 100), 1));
    assert!(lanes.is_dead(7, 0) && !lanes.is_dead(7, 1));
    assert!(
        lanes.requeue(7, 0, (100, Turn::default()), &[0, 1], Millis(40))
            && !lanes.requeue(7, 1, (100, Turn::default()), &[0, 1], Millis(40))
    );
    assert!(!lanes.is_dead(7, 0));
    assert_eq!(refill(&mut lanes, 0, Millis(0), 100).fresh, [7]);
    assert_eq!(lanes.take(0, 1, Millis(0))[0].attempt, 1, "a fresh budget");
    lanes.settle(0, id(7), &[0, 1]).unwrap();
    assert_eq!(lanes.pending(0, 9), [7]);
    assert_eq!(take(&mut lanes, 1, 1), [7]);
    lanes.settle(1, id(7), &[0, 1]).unwrap();
    assert!(lanes.is_drained() && lanes.pending(0, 9).is_empty());
    assert_eq!(lanes.quota.total(), Amount::default());
    check(&lanes);
}

#[test]
fn two_copies_of_one_event_are_never_in_flight_in_one_lane() {
    let mut lanes = lanes(MUCH, 1);
    for seq in [1, 2] {
        let reserved = lanes.reserve(100, &[0]);
        lanes.admit(reserved, Ready { seq, ..ready(77, 100) });
    }
    assert_eq!(lanes.take(0, 9, Millis(0)).len(), 1);
    check(&lanes);
    assert_eq!(lanes.settle(0, id(77), &[0]).unwrap().seq, 1);
    assert_eq!(lanes.take(0, 9, Millis(0)).len(), 1);
    assert_eq!(lanes.settle(0, id(77), &[0]).unwrap().seq, 2);
    check(&lanes);
}

#[test]
fn what_no_memory_is_left_for_is_sent_early_rather_than_never() {
    let room = RetryRoom::new(2, "/nowhere/at/all".into());
    let mut lanes = Lanes::new(MUCH, Arc::default(), room);
    lanes.lane(0, &"app".into());
    for seq in 1..=5 {
        admit(&mut lanes, seq, 100, &[0]);
        take(&mut lanes, 0, 1);
        lanes.defer(0, id(seq), Some(attempt(1))).unwrap();
        assert!(lanes.wait(seq, 0, Millis(1000), 1, false, at(1)));
    }
    let figures = lanes.figures(0);
    assert_eq!((figures.waiting, figures.backlog, figures.events), (4, 1, 5));
    check(&lanes);
}
