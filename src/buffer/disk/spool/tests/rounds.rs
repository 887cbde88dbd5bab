use std::cell::{Cell, RefCell};
use std::io::ErrorKind;

use super::super::super::device::Op;
use super::super::super::ports::Maintained;
use super::*;

impl Rig {
    fn maintain(&self, live: &dyn Live, now: Millis) -> Maintained {
        self.spool.maintain(live, now, &|| self.spool.commit(self.spool.take(), true).is_ok())
    }

    fn waiting(&self) -> Waiting {
        Waiting::of(&self.told, &self.names)
    }

    /// The process ends, whole or by power loss, and begins again.
    fn again(self) -> Self {
        self.crashed(|_| 0)
    }
}

const LATER: Millis = Millis(NOW.0 + 7_200_000);

/// Fills the active segment, and begins the next one.
fn roll(rig: &Rig, waiting: &mut Waiting, n: &mut u64) {
    let before = rig.spool.stats().segments;
    while rig.spool.stats().segments == before {
        let seq = rig.keep(*n, 900);
        *n += 1;
        for lane in ["a", "b"] {
            rig.settle(seq, lane);
            waiting.pending.remove(&(seq, rig.lane(lane)));
        }
    }
    rig.commit();
}

#[test]
fn settled_segments_go_after_their_time_and_their_ids_later() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 1);
    roll(&rig, &mut waiting, &mut n);
    roll(&rig, &mut waiting, &mut n);
    let events = n - 1;
    let done = rig.maintain(&waiting, NOW);
    assert_eq!((done.sealed, done.dropped), (1, 0));
    let done = rig.maintain(&waiting, LATER);
    assert_eq!(done.dropped, 1);
    assert!(matches!(rig.spool.read(1), Read::Gone));
    let rig = rig.again();
    assert_eq!(rig.told.ids.len() as u64, events);
    assert!(rig.told.events.len() < events as usize);
    let next = rig.append(n, 1);
    assert_eq!(next, n, "no number is given twice");
    rig.commit();
    let days = Millis(NOW.0 + 10 * 86_400_000);
    rig.maintain(&waiting, days);
    assert!(rig.disk.contents("0000000001.ids").is_none());
}

#[test]
fn who_has_a_segment_in_hand_that_went_does_not_take_it_for_one_that_stays() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 1);
    roll(&rig, &mut waiting, &mut n);
    roll(&rig, &mut waiting, &mut n);
    rig.maintain(&waiting, NOW);
    let (goes, stays) = (rig.spool.holders(1), rig.spool.holders(n - 1));
    assert!(goes.stay() && stays.stay());
    assert_eq!(rig.maintain(&waiting, LATER).dropped, 1);
    assert!(!goes.stay() && stays.stay());
}

/// An event is put on its way again after it was asked for the first time whether any waits.
struct PutBack<'a>(&'a Waiting, Cell<bool>);

impl Live for PutBack<'_> {
    fn pending(&self, from: u64, to: u64) -> Vec<u64> {
        self.0.pending(from, to)
    }
    fn pending_count(&self, from: u64, to: u64) -> u64 {
        if self.1.replace(true) { self.0.pending_count(from, to) } else { 0 }
    }
    fn is_pending(&self, seq: u64, lane: u32) -> bool {
        self.0.is_pending(seq, lane)
    }
    fn waiting_in(&self, segment: u32) -> Vec<(u64, u32, u32)> {
        self.0.waiting_in(segment)
    }
}

#[test]
fn a_segment_stays_with_an_event_that_was_put_on_its_way_again_just_before() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 1);
    roll(&rig, &mut waiting, &mut n);
    roll(&rig, &mut waiting, &mut n);
    rig.spool.seal_all();
    waiting.pending.insert((1, rig.lane("b")));
    assert_eq!(rig.maintain(&PutBack(&waiting, Cell::new(false)), LATER).dropped, 0);
    rig.reads(1, 1, 900);
}

#[test]
fn what_was_freed_is_no_spare_before_its_new_name_stands() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 1);
    roll(&rig, &mut waiting, &mut n);
    roll(&rig, &mut waiting, &mut n);
    rig.spool.seal_all();
    rig.maintain(&waiting, NOW);
    let before = rig.spool.stats().spares;
    rig.disk.fail_next(Op::SyncFolder, 0, ErrorKind::Other);
    assert_eq!(rig.maintain(&waiting, LATER).dropped, 1);
    assert_eq!(rig.spool.stats().spares, before);
    assert_eq!(rig.spool.stats().storage_failures, 1);
    rig.maintain(&waiting, LATER);
    assert_eq!(rig.spool.stats().spares, before + 1);
}

#[test]
fn ids_without_an_event_outlive_their_segment() {
    let rig = Rig::new();
    let id = EventId::new(NOW, 77);
    rig.spool.remember(key(1), id, NOW);
    rig.commit();
    rig.spool.finish();
    assert_eq!(rig.maintain(&Waiting::default(), LATER).dropped, 1);
    assert!(rig.disk.contents("0000000001.ids").is_some());
    // The start counts them too: what it takes for empty goes with its first round.
    let rig = rig.again();
    assert_eq!(rig.told.ids, [(key(1), id, NOW)]);
    rig.maintain(&Waiting::default(), LATER);
    let rig = rig.again();
    assert_eq!(rig.told.ids, [(key(1), id, NOW)]);
    rig.maintain(&Waiting::default(), Millis(NOW.0 + 86_400_000));
    assert!(rig.disk.contents("0000000001.ids").is_some(), "the latest one tells which numbers were given");
}

#[test]
fn nothing_comes_back_when_the_progress_of_older_events_goes() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 2);
    let stuck = rig.keep(1, 100);
    let b = rig.lane("b");
    waiting.pending.insert((stuck, b));
    roll(&rig, &mut waiting, &mut n);
    // In the second segment: it is delivered at `a`, and waits at `b`.
    rig.settle(stuck, "a");
    rig.spool.note(deferred(stuck, b, 4242));
    let at = rig.commit().deferred[0].2;
    waiting.retries.insert((stuck, b), at);
    roll(&rig, &mut waiting, &mut n);
    let moved = RefCell::new(Vec::new());
    let done = rig.spool.maintain(&waiting, LATER, &|| {
        moved.borrow_mut().extend(rig.spool.commit(rig.spool.take(), true).unwrap().deferred);
        true
    });
    // The last event of the first segment was settled in the second one, too.
    assert_eq!((done.dropped, done.carried), (1, 4));
    assert!(rig.spool.segments.read().contains_key(&1) && !rig.spool.segments.read().contains_key(&2));
    let (seq, lane, to) = moved.borrow()[0];
    assert_eq!((seq, lane), (stuck, b));
    assert_ne!(to.segment, at.segment);
    assert_eq!(
        rig.spool.step_at(to, stuck, b).map(|step| step.attempts).unwrap_or_default(),
        [attempt(1), attempt(2)]
    );
    let rig = rig.again();
    let steps: Vec<_> = rig.told.progress.iter().filter(|(_, step)| step.seq == stuck).cloned().collect();
    assert_eq!(steps.len(), 2);
    let told = rig.waiting();
    assert!(
        !told.pending.contains(&(stuck, rig.lane("a"))) && told.pending.contains(&(stuck, rig.lane("b")))
    );
    assert_eq!(told.retries.get(&(stuck, rig.lane("b"))), Some(&to));
}

/// While it is asked, the event is delivered.
struct Racing<'a>(&'a Rig, Waiting, u64);

impl Live for Racing<'_> {
    fn pending(&self, from: u64, to: u64) -> Vec<u64> {
        self.1.pending(from, to)
    }
    fn pending_count(&self, from: u64, to: u64) -> u64 {
        self.1.pending_count(from, to)
    }
    fn is_pending(&self, seq: u64, lane: u32) -> bool {
        if seq == self.2 {
            self.0.settle(seq, "b");
        }
        self.1.is_pending(seq, lane)
    }
    fn waiting_in(&self, segment: u32) -> Vec<(u64, u32, u32)> {
        self.1.waiting_in(segment)
    }
}

#[test]
fn a_step_that_is_carried_never_overrules_a_newer_one() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 2);
    let stuck = rig.keep(1, 100);
    let b = rig.lane("b");
    waiting.pending.insert((stuck, b));
    roll(&rig, &mut waiting, &mut n);
    rig.spool.note(deferred(stuck, b, 4242));
    let at = rig.commit().deferred[0].2;
    waiting.retries.insert((stuck, b), at);
    roll(&rig, &mut waiting, &mut n);
    let done = rig.maintain(&Racing(&rig, waiting, stuck), LATER);
    assert_eq!(done.dropped, 1);
    let rig = rig.again();
    let last = rig.told.progress.iter().rfind(|(_, step)| step.seq == stuck).unwrap();
    assert_eq!(last.1.what, What::Delivered);
}

#[test]
fn an_event_on_its_way_again_stays_so() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 3);
    let again = rig.keep(1, 100);
    let stuck = rig.keep(2, 100);
    let b = rig.lane("b");
    waiting.pending.insert((stuck, b));
    rig.settle(again, "b");
    rig.commit();
    roll(&rig, &mut waiting, &mut n);
    rig.spool.note(Progress { seq: again, lane: b, what: What::Requeued, attempts: Vec::new(), since: None });
    // And once tried since, which is in flight now.
    rig.spool.note(deferred(again, b, 1));
    rig.commit();
    waiting.pending.insert((again, b));
    roll(&rig, &mut waiting, &mut n);
    assert_eq!(rig.maintain(&waiting, LATER).dropped, 1);
    let rig = rig.again();
    assert!(rig.waiting().pending.contains(&(again, rig.lane("b"))));
}

#[test]
fn a_retry_of_one_that_was_put_on_its_way_again_keeps_its_attempts() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 3);
    let again = rig.keep(1, 100);
    let stuck = rig.keep(2, 100);
    let b = rig.lane("b");
    waiting.pending.insert((stuck, b));
    rig.settle(again, "b");
    rig.commit();
    roll(&rig, &mut waiting, &mut n);
    rig.spool.note(Progress { seq: again, lane: b, what: What::Requeued, attempts: Vec::new(), since: None });
    rig.commit();
    waiting.pending.insert((again, b));
    roll(&rig, &mut waiting, &mut n);
    rig.spool.note(deferred(again, b, 4242));
    waiting.retries.insert((again, b), rig.commit().deferred[0].2);
    assert_eq!(rig.maintain(&waiting, LATER).dropped, 1);
    let rig = rig.again();
    let last = rig.told.progress.iter().rfind(|(_, step)| step.seq == again).unwrap();
    assert_eq!(last.1.what, deferred(again, b, 4242).what);
}

#[test]
fn an_old_end_is_not_carried_behind_a_newer_one() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 3);
    let again = rig.keep(1, 100);
    let stuck = rig.keep(2, 100);
    let b = rig.lane("b");
    waiting.pending.insert((stuck, b));
    roll(&rig, &mut waiting, &mut n);
    rig.spool.note(Progress { seq: again, lane: b, what: What::Lost, attempts: Vec::new(), since: None });
    rig.commit();
    roll(&rig, &mut waiting, &mut n);
    rig.spool.note(Progress { seq: again, lane: b, what: What::Requeued, attempts: Vec::new(), since: None });
    rig.settle(again, "b");
    assert_eq!(rig.maintain(&waiting, LATER).dropped, 1);
    let rig = rig.again();
    let last = rig.told.progress.iter().rfind(|(_, step)| step.seq == again).unwrap();
    assert_eq!(last.1.what, What::Delivered);
}

#[test]
fn one_stuck_destination_pins_its_own_events_and_nothing_else() {
    let rig = Rig::new();
    let (mut waiting, mut stuck) = (Waiting::default(), Vec::new());
    let mut merged = 0;
    for n in 0..400 {
        let seq = rig.append(n, 700);
        let done = rig.spool.commit(rig.spool.take(), true);
        done.unwrap_or_else(|failed| panic!("event {n}: {failed}"));
        rig.settle(seq, "a");
        if n % 25 == 0 {
            waiting.pending.insert((seq, rig.lane("b")));
            stuck.push((seq, n));
        } else {
            rig.settle(seq, "b");
        }
        merged += rig.maintain(&waiting, NOW).merged;
    }
    rig.commit();
    assert!(merged > 2, "{merged}");
    assert!(rig.spool.stats().segments + rig.spool.stats().spares <= options().max_segments);
    for (seq, n) in &stuck {
        rig.reads(*seq, *n, 700);
    }
    let rig = rig.again();
    let told: Vec<(u64, u32)> = rig.waiting().pending.into_iter().collect();
    let b = rig.lane("b");
    assert_eq!(told, stuck.iter().map(|(seq, _)| (*seq, b)).collect::<Vec<_>>());
    let mut seqs = rig.told.seqs();
    seqs.dedup();
    assert!(seqs.is_sorted() && seqs.len() == rig.told.events.len());
    for (seq, n) in &stuck {
        rig.reads(*seq, *n, 700);
    }
    assert_eq!(rig.spool.stats().corrupt_records, 0);
}

#[test]
fn what_a_merged_segment_stands_for_goes_at_the_next_start() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 1);
    let mut stuck = Vec::new();
    let b = rig.lane("b");
    for _ in 0..6 {
        stuck.push(rig.keep(n, 100));
        n += 1;
        waiting.pending.insert((*stuck.last().unwrap(), b));
        roll(&rig, &mut waiting, &mut n);
    }
    rig.spool.seal_all();
    let before: Vec<_> = ["0000000001.log", "0000000001.idx", "0000000002.log", "0000000002.idx"]
        .map(|name| (name, rig.disk.contents(name).unwrap()))
        .into();
    assert!(rig.maintain(&waiting, NOW).merged >= 2);
    // As if the power had failed before they were gone.
    for (name, bytes) in before {
        rig.disk.set_contents(name, &bytes);
    }
    let rig = rig.killed();
    let seqs = rig.told.seqs();
    assert!(stuck.iter().all(|seq| seqs.iter().filter(|told| *told == seq).count() == 1));
    assert!(rig.disk.contents("0000000001.log").is_none() && rig.disk.contents("0000000001.idx").is_none());
    assert_eq!(rig.spool.stats().corrupt_records, 0);
    assert_eq!(rig.waiting().pending.len(), 2 * stuck.len());
}

#[test]
fn nothing_settled_and_nothing_to_merge_is_full() {
    let rig = Rig::new();
    let (mut waiting, mut n) = (Waiting::default(), 0);
    while rig.spool.room() == Room::Yes {
        let seq = rig.append(n, 900);
        n += 1;
        if rig.spool.commit(rig.spool.take(), true).is_ok() {
            waiting.pending.insert((seq, rig.lane("a")));
        }
        rig.maintain(&waiting, NOW);
        assert!(n < 1000);
    }
    assert_eq!(rig.spool.room(), Room::Full);
    let done = rig.maintain(&waiting, NOW);
    assert!(done.full);
    // Once there is less that waits, there is room again, by itself.
    let half = waiting.pending.iter().nth(waiting.pending.len() / 2).copied().unwrap();
    waiting.pending = waiting.pending.split_off(&half);
    rig.maintain(&waiting, NOW);
    assert_eq!(rig.spool.room(), Room::Yes);
    for (seq, _) in &waiting.pending {
        rig.reads(*seq, seq - 1, 900);
    }
}

/// Segments of 16 KiB, 64 of them and four more, as the buffer asks for them.
fn sixty_four() -> SpoolOptions {
    SpoolOptions { max_segments: 68, spares: 4, ..options() }
}

#[test]
fn there_is_room_while_a_slow_merge_makes_more() {
    let rig = Rig::on(FakeDevice::default(), sixty_four());
    let newest = || rig.spool.next_number.load(std::sync::atomic::Ordering::Relaxed);
    let mut waiting = Waiting::default();
    let (mut merged, mut looked_at) = (0, 0);
    for n in 0..4000 {
        let seq = rig.keep(n, 900);
        rig.settle(seq, "a");
        if n % 16 == 0 {
            waiting.pending.insert((seq, rig.lane("b")));
        } else {
            rig.settle(seq, "b");
        }
        assert_eq!(rig.spool.room(), Room::Yes, "event {n}");
        // The senders fill four segments in the time of a round.
        if newest() >= looked_at + 4 {
            merged += rig.maintain(&waiting, NOW).merged;
            looked_at = newest();
        }
    }
    assert!(merged > 50, "{merged}");
}

/// Events that stand twice.
fn copies(rig: &Rig) -> usize {
    let mut seqs: Vec<u64> =
        rig.spool.all().iter().flat_map(|segment| segment.rows().unwrap()).map(|row| row.seq).collect();
    let all = seqs.len();
    seqs.sort_unstable();
    seqs.dedup();
    all - seqs.len()
}

#[test]
fn segments_of_which_no_two_fit_into_one_are_merged_all_the_same() {
    let options = SpoolOptions { max_segments: 24, ..options() };
    let bound = u64::from(options.max_segments * options.segment_bytes);
    let rig = Rig::on(FakeDevice::default(), options.clone());
    let (mut waiting, mut stuck, mut bytes, mut n) = (Waiting::default(), Vec::new(), 0, 0);
    // Of every ten events six stay: each segment is more than half full of them.
    while bytes < bound / 100 * 70 || copies(&rig) == 0 {
        let (seq, weight) = rig.spool.append(&event(n, 900), rig.source, Some(key(n)), false);
        rig.commit();
        rig.settle(seq, "a");
        if n % 10 < 6 {
            waiting.pending.insert((seq, rig.lane("b")));
            stuck.push((seq, n));
            bytes += u64::from(weight);
        } else {
            rig.settle(seq, "b");
        }
        n += 1;
        rig.maintain(&waiting, NOW);
        assert_eq!(rig.spool.room(), Room::Yes, "after {n} events, {bytes} bytes of {bound} wait");
    }
    for (seq, n) in &stuck {
        rig.reads(*seq, *n, 900);
    }
    let rows: Vec<u64> = rig.spool.rows_before(u64::MAX, 2000).iter().rev().map(|row| row.seq).collect();
    assert!(rows.is_sorted_by(|a, b| a < b), "an event is listed once, however many copies stand");
    rig.commit();
    let Rig { disk, spool, .. } = rig;
    drop(spool);
    disk.crash(&mut |_| 0);
    let rig = Rig::on(disk, options);
    assert!(rig.told.seqs().is_sorted_by(|a, b| a < b));
    let told: Vec<u64> = rig.waiting().pending.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(told, stuck.iter().map(|(seq, _)| *seq).collect::<Vec<_>>());
    for (seq, n) in &stuck {
        rig.reads(*seq, *n, 900);
    }
}

#[test]
fn a_segment_that_is_left_while_spares_are_made_gets_its_index_before_the_next_spare() {
    use std::sync::mpsc::channel;

    let rig = Rig::on(FakeDevice::default(), SpoolOptions { spares: 4, ..options() });
    let (mut waiting, mut n) = (Waiting::default(), 1);
    rig.maintain(&waiting, NOW);
    roll(&rig, &mut waiting, &mut n);
    roll(&rig, &mut waiting, &mut n);
    let (filling, begins) = channel();
    let (goes_on, go) = channel();
    rig.disk.before_fill(move || {
        let _ = filling.send(());
        let _ = go.recv(); // an error: the test is over, and nothing is waited for
    });
    let has_index = || rig.disk.contents("0000000002.idx").is_some();
    std::thread::scope(|threads| {
        threads.spawn(|| rig.maintain(&Waiting::default(), NOW));
        begins.recv().unwrap();
        assert!(!has_index(), "it is written to still");
        roll(&rig, &mut waiting, &mut n);
        goes_on.send(()).unwrap();
        begins.recv().unwrap();
        let in_time = has_index();
        drop(goes_on);
        assert!(in_time, "the next spare came first");
    });
}
