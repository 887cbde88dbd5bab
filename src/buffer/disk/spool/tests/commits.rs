use std::io::{ErrorKind, Write};

use super::super::super::device::Op;
use super::super::super::ports::CommitError;
use super::*;

#[test]
fn what_is_appended_is_seen_when_it_is_committed() {
    let rig = Rig::new();
    let seq = rig.append(1, 100);
    assert!(matches!(rig.spool.read(seq), Read::Gone));
    assert_eq!(rig.spool.batched().events, 1);
    let done = rig.commit();
    assert_eq!(done.syncs, 1);
    assert_eq!(rig.spool.batched(), Batched::default());
    rig.reads(seq, 1, 100);
    assert!(matches!(rig.spool.read(seq + 1), Read::Gone));
}

#[test]
fn a_commit_ends_where_a_page_ends() {
    let rig = Rig::new();
    let first = rig.keep(1, 100);
    let log = log_name(rig.spool.all().last().unwrap().number());
    let mut before = rig.disk.contents(&log).unwrap();
    before[2000..].fill(0xee);
    rig.disk.set_contents(&log, &before);
    let second = rig.append(2, 100);
    let done = rig.commit();
    let after = rig.disk.contents(&log).unwrap();
    assert_eq!(after[..1024], before[..1024]);
    assert!(after[2000..4096].iter().all(|byte| *byte == 0), "what a former life left there");
    assert!(after[4096..].iter().all(|byte| *byte == 0xee), "no more than a page");
    assert!(done.bytes > 2096, "what is written is counted: {done:?}");
    let third = rig.keep(3, 100);
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), [first, second, third]);
    for (n, seq) in [(1, first), (2, second), (3, third)] {
        rig.reads(seq, n, 100);
    }
}

#[test]
fn a_batch_larger_than_a_segment_goes_to_several() {
    let rig = Rig::new();
    let seqs: Vec<u64> = (0..60).map(|n| rig.append(n, 900)).collect();
    let done = rig.commit();
    assert!(done.syncs > 3, "{done:?}");
    for (n, seq) in seqs.iter().enumerate() {
        rig.reads(*seq, n as u64, 900);
    }
    assert!(rig.spool.stats().segments > 3);
    let rig = rig.killed();
    assert_eq!(rig.told.seqs(), seqs);
    assert_eq!(rig.told.ids.len(), 60);
    for (n, seq) in seqs.iter().enumerate() {
        rig.reads(*seq, n as u64, 900);
    }
}

#[test]
fn neighbours_are_read_in_one_go() {
    let rig = Rig::new();
    let seqs: Vec<u64> = (0..20).map(|n| rig.append(n, 100)).collect();
    rig.commit();
    let before = rig.disk.calls(Op::Read);
    let found = rig.spool.read_many(&seqs, usize::MAX);
    assert_eq!(rig.disk.calls(Op::Read) - before, 1);
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|(_, read)| matches!(read, Read::Event { .. })));
    assert!(rig.spool.read_many(&seqs, 400).len() < 5);
    assert_eq!(rig.spool.read_many(&seqs, 1).len(), 1);
}

#[test]
fn progress_is_told_in_order_with_the_numbers_of_today() {
    let rig = Rig::new();
    let seq = rig.keep(1, 100);
    let a = rig.lane("a");
    rig.spool.note(deferred(seq, a, 77));
    rig.settle(seq, "b");
    let done = rig.commit();
    let (_, _, at) = done.deferred[0];
    assert_eq!(done.deferred, [(seq, a, at)]);
    assert_eq!(
        rig.spool.step_at(at, seq, a).map(|step| step.attempts).unwrap_or_default(),
        [attempt(1), attempt(2)]
    );
    assert_eq!(rig.spool.step_at(at, seq, 99).map(|step| step.attempts).unwrap_or_default(), []);
    assert_eq!(rig.spool.history_of(seq).len(), 2);
    let rig = rig.killed();
    let told: Vec<(Loc, u64, u32)> =
        rig.told.progress.iter().map(|(at, step)| (*at, step.seq, step.lane)).collect();
    assert_eq!(told, [(at, seq, rig.lane("a")), (at, seq, rig.lane("b"))]);
    assert_eq!(rig.told.progress[0].1.attempts, [attempt(1), attempt(2)]);
}

#[test]
fn a_failed_sync_gives_the_events_up_and_keeps_the_notes() {
    let rig = Rig::new();
    let old = rig.keep(1, 100);
    // Written, not synced: the segment that is poisoned next had it.
    rig.spool.note(deferred(old, rig.lane("a"), 5));
    rig.spool.commit(rig.spool.take(), false).unwrap();
    let lost = rig.append(2, 100);
    rig.settle(old, "b");
    rig.disk.fail_next(Op::Sync, 0, ErrorKind::Other);
    let failed = rig.spool.commit(rig.spool.take(), true).unwrap_err();
    assert!(matches!(failed.error, CommitError::Io(_)));
    assert!(matches!(rig.spool.read(lost), Read::Gone));
    assert_eq!(rig.spool.stats().storage_failures, 1);
    assert!(rig.spool.stats().last_error.is_some());
    assert_eq!(rig.spool.batched().notes, 1);
    let next = rig.keep(3, 100);
    assert_eq!(rig.spool.stats().last_error, None);
    rig.reads(old, 1, 100);
    rig.reads(next, 3, 100);
    // Power goes, and with it all that was never synced.
    let rig = rig.crashed(|_| 0);
    assert_eq!(rig.told.seqs(), [old, next]);
    let told: Vec<_> = rig.told.progress.iter().map(|(_, step)| (step.seq, step.what)).collect();
    assert_eq!(told, [(old, What::Deferred { due: Millis(5), dying: None }), (old, What::Delivered)]);
}

#[test]
fn what_a_given_up_segment_shows_unsynced_is_not_relied_on() {
    let rig = Rig::new();
    rig.keep(1, 100);
    // Its sender has a 2xx (`ack = "memory"`), and no sync will write it here any more.
    let unsynced = rig.append(2, 100);
    rig.spool.commit(rig.spool.take(), false).unwrap();
    rig.append(3, 100);
    rig.disk.fail_next(Op::Sync, 0, ErrorKind::Other);
    rig.spool.commit(rig.spool.take(), true).unwrap_err();
    for n in 4..7 {
        rig.keep(n, 100);
    }
    rig.spool.seal_all();
    let rows =
        |rig: &Rig| rig.spool.rows_before(u64::MAX, 10).iter().filter(|row| row.seq == unsynced).count();
    assert_eq!(rows(&rig), 1);
    assert_eq!(rig.spool.all()[0].rows().unwrap().len(), 1);
    let rig = rig.crashed(|_| 0);
    rig.reads(unsynced, 2, 100);
    assert_eq!((rows(&rig), rig.told.seqs().iter().filter(|seq| **seq == unsynced).count()), (1, 1));
    assert_eq!(rig.spool.stats().corrupt_records, 0);
    assert_eq!(rig.spool.all()[0].rows().unwrap().len(), 1);
}

#[test]
fn a_failed_write_is_not_tried_again_on_its_segment() {
    let rig = Rig::new();
    rig.keep(1, 100);
    rig.append(2, 100);
    rig.disk.fail_next(Op::Write, 0, ErrorKind::StorageFull);
    rig.spool.commit(rig.spool.take(), true).unwrap_err();
    let seq = rig.keep(3, 100);
    assert_eq!(rig.spool.stats().segments, 2);
    rig.reads(seq, 3, 100);
}

#[test]
fn without_room_events_are_refused_and_progress_is_not() {
    let rig = Rig::new();
    let mut kept = Vec::new();
    let refused = loop {
        let seq = rig.append(kept.len() as u64, 1000);
        match rig.spool.commit(rig.spool.take(), true) {
            Ok(_) => kept.push(seq),
            Err(failed) => break failed,
        }
        assert!(kept.len() < 1000);
    };
    assert!(matches!(refused.error, CommitError::NoRoom));
    assert_eq!(rig.spool.room(), Room::Full);
    assert_eq!(rig.spool.stats().storage_failures, 0);
    assert_eq!(rig.spool.stats().spares, 1);
    for seq in &kept {
        rig.settle(*seq, "a");
        rig.commit();
    }
    for round in 0..100 {
        rig.settle(kept[round % kept.len()], "b");
        rig.commit();
    }
    assert_eq!(rig.killed().told.seqs(), kept);
}

#[test]
fn a_full_disk_is_told_until_it_has_room_whatever_else_is_committed() {
    let rig = Rig::new();
    let kept = rig.keep(1, 100);
    let mut waiting = Waiting::default();
    waiting.pending.insert((kept, rig.lane("a")));
    let maintain = || rig.spool.maintain(&waiting, NOW, &|| true).created;
    rig.disk.set_capacity(Some(rig.disk.used()));
    // Its segment has room still, but too little for the largest event.
    rig.keep(2, 9_000);
    let mut asked = 0;
    for round in 0..120 {
        let before = rig.disk.calls(Op::Create);
        assert_eq!(maintain(), 0);
        asked += rig.disk.calls(Op::Create) - before;
        if round < 20 {
            rig.settle(kept, "b");
            rig.commit();
        }
        assert_eq!(rig.spool.room(), Room::Failed);
        let told = rig.spool.stats().last_error.unwrap_or_default();
        assert!(told.starts_with(NO_SPARE), "{told}");
    }
    assert!((2..=3).contains(&asked), "the disk was asked {asked} times in 120 rounds");
    rig.disk.set_capacity(None);
    assert!((0..51).map(|_| maintain()).sum::<u32>() > 0, "it was not asked again");
    assert_eq!((rig.spool.room(), rig.spool.stats().last_error), (Room::Yes, None));
}

/// What the log is told, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_hears_once_in_ten_seconds_of_what_fails_again_and_again() {
    let log = Log::default();
    let stream = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || stream.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let rig = Rig::new();
    let seq = rig.keep(1, 10);
    let fail = |times: u64, kind| {
        for _ in 0..times {
            // A part of what is read together is tried alone once more.
            rig.disk.fail_next(Op::Read, 0, kind);
            rig.disk.fail_next(Op::Read, 1, kind);
            assert!(matches!(rig.spool.read(seq), Read::Failed));
        }
    };
    let told = || {
        let text = String::from_utf8(log.0.lock().clone()).unwrap();
        text.matches("reading the spool failed").count()
    };
    fail(4, ErrorKind::Other);
    assert_eq!((told(), rig.spool.stats().storage_failures), (1, 4));
    tokio::time::advance(Duration::from_secs(9)).await;
    fail(1, ErrorKind::Other);
    assert_eq!(told(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    fail(2, ErrorKind::Other);
    assert_eq!((told(), rig.spool.stats().storage_failures), (2, 7));
    // Another kind is news.
    fail(1, ErrorKind::PermissionDenied);
    assert_eq!(told(), 3);
}

#[test]
fn an_event_larger_than_a_segment_poisons_nothing() {
    let rig = Rig::new();
    rig.keep(1, 100);
    rig.append(2, 20_000);
    rig.spool.commit(rig.spool.take(), true).unwrap_err();
    let seq = rig.keep(3, 100);
    rig.reads(seq, 3, 100);
}

#[test]
fn ids_and_aliases_are_found() {
    let rig = Rig::new();
    let seq = rig.keep(1, 100);
    let alias = EventId::new(Millis(1_600_000_000_000), 9_999);
    let (aliased, _) = rig.spool.append(&Event { id: alias, ..event(2, 10) }, rig.source, None, true);
    rig.spool.remember(key(9), EventId::new(Millis(5), 6), NOW);
    rig.commit();
    let own = EventId::new(event(1, 0).received_at, seq);
    let check = |rig: &Rig| {
        assert_eq!(rig.spool.seq_of(own), Some(seq));
        assert_eq!(rig.spool.seq_of(alias), Some(aliased));
        assert_eq!(rig.spool.seq_of(EventId::new(Millis(1), seq)), None);
        assert_eq!(rig.spool.seqs_of_id("evt_000002"), [aliased]);
        assert_eq!(rig.spool.seqs_of_id("evt_000003"), Vec::<u64>::new());
        let rows = rig.spool.rows_before(u64::MAX, 10);
        assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [aliased, seq]);
        assert_eq!(rig.spool.rows_before(aliased, 10).len(), 1);
        assert_eq!(rig.spool.first_at(Millis(0)), seq);
        assert_eq!(rig.spool.first_at(event(2, 0).received_at), aliased);
        assert_eq!(rig.spool.first_at(Millis(u64::MAX)), aliased + 1);
    };
    check(&rig);
    rig.spool.finish();
    check(&rig);
    let rig = rig.killed();
    assert_eq!(rig.told.aliases, [(aliased, alias)]);
    assert!(rig.told.ids.contains(&(key(9), EventId::new(Millis(5), 6), NOW)));
    check(&rig);
}
