//! What is told in the order of the log, and what comes of it.

use std::time::Duration;

use super::*;
use crate::buffer::disk::lanes::WantedRetry;
use crate::buffer::disk::retries::RetryRoom;
use crate::buffer::handoff::DeadReason;
use crate::buffer::quota::Amount;
use crate::event::nobody::Nobody;
use crate::event::{Answer, Attempt, OrderKey, Turn};

const ENDED: Millis = Millis(1_768_473_000_000);

fn lanes(in_memory: usize) -> Lanes {
    let room = RetryRoom::new(in_memory, std::env::temp_dir());
    Lanes::new(Amount { events: u64::MAX, bytes: u64::MAX }, Arc::default(), room)
}

/// The names of `count` destinations, numbered from 0, and the source of events to all of them.
fn names(count: usize) -> (SharedNames, u32) {
    let names = SharedNames::default();
    let lanes = (0..count).map(|n| names.write().lane(&format!("lane-{n}"))).collect();
    let source = names.write().source(Source { route: "github".into(), provider: None, lanes });
    (names, source)
}

fn row(seq: u64, order_key: u64) -> Row {
    Row {
        seq,
        offset: 0,
        len: 100,
        received: ENDED,
        source: 0,
        key: None,
        id_hash: None,
        alias: None,
        turn: Turn { order_key: OrderKey::from_bits(order_key), ..Turn::default() },
    }
}

fn step(seq: u64, what: What, number: u16) -> Progress {
    let took = Duration::from_millis(5);
    let attempt = Attempt { number, at: ENDED, took, answer: Answer::Status(503), region: None };
    let attempts = (number > 0).then_some(attempt).into_iter().collect();
    Progress { seq, lane: 0, what, attempts, since: None }
}

fn until(due: u64) -> What {
    What::Deferred { due: Millis(due), dying: None }
}

fn at(offset: u32) -> Loc {
    Loc { segment: 1, offset }
}

#[test]
fn the_last_step_of_the_log_holds() {
    let (mut lanes, (names, source)) = (lanes(1000), names(2));
    let mut rebuilding = Rebuilding::new(&mut lanes, &names, &Nobody, Vec::new(), false);
    let dead = What::Dead(DeadReason::Gone);
    let log = [
        (1, until(900), 1),
        (1, until(50), 2),
        (2, until(10), 1),
        (2, What::Delivered, 2),
        (3, until(10), 1),
        (3, What::Requeued, 0),
        (4, dead, 3),
        (5, dead, 3),
        (5, What::Requeued, 0),
        (6, What::Lost, 0),
        (7, What::Delivered, 1),
        (7, until(20), 3),  // carried on behind what put it on its way again
        (99, until(10), 1), // its segment is gone
        (0, until(10), 1),  // and so is that of this one
    ];
    for (offset, (seq, what, number)) in (1..).zip(log) {
        rebuilding.progress(at(offset), step(seq, what, number));
    }
    (1..=8).for_each(|seq| rebuilding.event(source, &row(seq, 0)));
    drop(rebuilding);
    assert_eq!((lanes.depth(0), lanes.depth(1)), ((5, 500), (8, 800)));
    let mut waiting = lanes.waiting_in(1);
    waiting.sort_unstable();
    assert_eq!(waiting, [(1, 0, 2), (7, 0, 12)]);
    let wanted = lanes.wanted(0, Millis(1000));
    assert_eq!(wanted.fresh, [3, 5, 8]);
    let retry = |seq, offset, attempt| WantedRetry { seq, at: at(offset), attempt, dying: false };
    assert_eq!(wanted.retries, [retry(7, 12, 3), retry(1, 2, 2)]);
}

#[test]
fn what_was_hastened_is_due_then_and_what_failed_since_is_not() {
    let (mut lanes, (names, source)) = (lanes(1000), names(1));
    let asked = ENDED.plus(Duration::from_millis(5));
    let hastened = vec![("lane-0".into(), asked)];
    let mut rebuilding = Rebuilding::new(&mut lanes, &names, &Nobody, hastened, false);
    let (late, later) = (asked.0 + 60_000, asked.plus(Duration::from_millis(1)));
    rebuilding.progress(at(1), step(1, until(late), 1));
    let mut failed_since = step(2, until(late), 1);
    failed_since.attempts[0].at = later;
    rebuilding.progress(at(2), failed_since);
    (1..=2).for_each(|seq| rebuilding.event(source, &row(seq, 0)));
    drop(rebuilding);
    let due = |lanes: &mut Lanes, now| -> Vec<u64> {
        lanes.wanted(0, now).retries.iter().map(|retry| retry.seq).collect()
    };
    assert_eq!(lanes.next_due(0), Some(asked));
    assert_eq!(due(&mut lanes, asked), [1]);
    assert_eq!(lanes.next_due(0), Some(Millis(late)));
}

/// Steps are tidied while they come: whatever was said of an event behind that holds.
#[test]
fn what_is_said_last_holds_wherever_in_the_log_it_stands() {
    for (waiting, rounds) in [(1, 2), (4096, 2), (4097, 1), (8193, 2), (70_000, 2)] {
        let (mut lanes, (names, source)) = (lanes(1 << 20), names(1));
        let mut rebuilding = Rebuilding::new(&mut lanes, &names, &Nobody, Vec::new(), false);
        // The later events fail first, in each round.
        for round in 0..rounds {
            for n in 0..waiting {
                let place = at((round * waiting + n) as u32);
                rebuilding.progress(place, step(waiting - n, until(ENDED.0 + n), round as u16 + 1));
            }
        }
        let (requeued, last) = (waiting.div_ceil(2), waiting);
        rebuilding.progress(at(u32::MAX), step(requeued, What::Requeued, 0));
        (1..=last).for_each(|seq| rebuilding.event(source, &row(seq, 0)));
        drop(rebuilding);
        assert_eq!((lanes.figures(0).waiting, lanes.figures(0).backlog), (waiting - 1, 1), "{waiting}");
        let wanted = lanes.wanted(0, Millis(u64::MAX));
        assert_eq!(wanted.fresh, [requeued]);
        assert!(wanted.retries.iter().all(|retry| u64::from(retry.attempt) == rounds), "{waiting}");
    }
}

/// A retry that waits may take a hundred bytes, at any moment of a start: as a step before its event is told, as that or in
/// the queue while they are, in the queue that stands then. Counted here, where it is most (just above a power of two, at
/// which tables double), so that an allocator which gives back late has room for as much again.
#[test]
fn a_retry_that_waits_takes_less_than_a_hundred_bytes_all_through_a_start() {
    const WAITING: u64 = (1 << 18) + 1;
    const KEYS: u64 = 9_000;
    for keyed in [false, true] {
        let (mut lanes, (names, source)) = (lanes(1 << 20), names(1));
        let mut rebuilding = Rebuilding::new(&mut lanes, &names, &Nobody, Vec::new(), false);
        let mut most = 0;
        let mut look = |rebuilding: &Rebuilding<'_>, n: u64| {
            if n.is_multiple_of(1024) {
                most = most.max(rebuilding.heap());
            }
        };
        // Each failed three times; the first one of each key, where there are keys, and all others wait behind those.
        for number in 1..=3 {
            for n in 0..WAITING {
                rebuilding.progress(at(n as u32), step(n + 1, until(ENDED.0 + n % 777), number));
                look(&rebuilding, n);
            }
        }
        for n in 0..WAITING {
            let order_key = if keyed && n < KEYS { n + 1 } else { 0 };
            rebuilding.event(source, &row(n + 1, order_key));
            look(&rebuilding, n);
        }
        let stands = rebuilding.heap();
        drop(rebuilding);
        assert_eq!((lanes.figures(0).waiting, lanes.figures(0).backlog), (WAITING, 0));
        assert!(most as u64 <= 64 * WAITING, "{} bytes each at the most", most as u64 / WAITING);
        assert!(stands as u64 <= 30 * WAITING, "{} bytes each when it stands", stands as u64 / WAITING);
        let retry = lanes.wanted(0, Millis(u64::MAX)).retries.into_iter().next().unwrap();
        assert_eq!((retry.seq, retry.attempt), (1, 3), "the last step of each");
    }
}

#[test]
fn more_than_may_be_in_memory_go_into_the_file_as_they_are_found() {
    const WAITING: u64 = 5_000;
    let (mut lanes, (names, source)) = (lanes(1_000), names(1));
    let mut rebuilding = Rebuilding::new(&mut lanes, &names, &Nobody, Vec::new(), false);
    for n in 1..=WAITING {
        rebuilding.progress(at(n as u32), step(n, until(ENDED.0 + n), 1));
    }
    for n in 1..=WAITING {
        rebuilding.event(source, &row(n, 0));
    }
    drop(rebuilding);
    assert_eq!(lanes.figures(0).waiting, WAITING);
    assert!(lanes.retries_in_memory() <= 1_001, "{}", lanes.retries_in_memory());
    assert_eq!(lanes.next_due(0), Some(Millis(ENDED.0 + 1)));
}
