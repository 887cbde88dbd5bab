//! What a crash leaves half done between the spool and the dead letters.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::dead::{DeadLetter, DeadLetters, DeadOptions, Inserted};
use super::super::progress::What;
use super::super::{DiskBuffer, DiskLane, buffer::dead_file};
use super::rig::{NOW, attempt, event, keep, open, open_at, open_with, until};
use crate::buffer::{DeadReason, EventFilter, KeepError, MaxPending, Settled};
use crate::clock::{Clock, Millis};
use crate::event::{Ack, Claim, ClaimKeeper, DedupeKey, Event, EventId};

#[tokio::test]
async fn a_letter_that_a_crash_parted_from_the_spool_keeps_its_reason() {
    for reason in [DeadReason::Gone, DeadReason::AttemptsExhausted] {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path());
        let lane = buffer.lane("app");
        let id = keep(&buffer, &lane).await;
        buffer.finish();
        drop((lane, buffer));
        // The process ended when the letter stood, and before the spool was told.
        let options = DeadOptions { max_bytes: 1 << 20, retention: Duration::from_secs(3600) };
        let dead = DeadLetters::open(&dead_file(folder.path()), options).unwrap();
        assert_eq!(dead.insert(&[letter(id, reason)]).unwrap(), [Inserted::Stands]);
        drop(dead);

        let buffer = open(folder.path());
        assert!(buffer.shared.flush());
        let steps: Vec<What> =
            buffer.shared.spool.history_of(id.seq()).iter().map(|step| step.what).collect();
        assert_eq!(steps, [What::Dead(reason)]);
        let dead = EventFilter { status: Some("dead"), ..EventFilter::default() };
        assert_eq!(buffer.list(&dead, None, 10).0.len(), 1);
        assert!(buffer.lane("app").take(1).is_empty(), "it does not go out once more");
        buffer.finish();
    }
}

/// A dead letter of another run of the process.
fn foreign(seq: u64) -> DeadLetter {
    letter(EventId::new(Millis(NOW.0 - 1000), seq), DeadReason::Gone)
}

fn letter(id: EventId, reason: DeadReason) -> DeadLetter {
    DeadLetter {
        event: Arc::new(Event { id, ..event() }),
        destination: "app".into(),
        reason,
        attempts: Vec::new(),
        excerpt: Bytes::new(),
        died_at: NOW,
    }
}

#[tokio::test]
async fn a_letter_of_another_spool_means_no_event_of_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    let kept = [keep(&buffer, &lane).await, keep(&buffer, &lane).await];
    // One with the number of an event that pends, and one with that of an event that was put on its way again.
    let again = die(&buffer, &lane).await;
    assert_eq!(buffer.replay(again, None), Ok(Some(1)));
    let letters = [foreign(kept[0].seq()), foreign(kept[1].seq()), foreign(40)];
    assert_eq!(buffer.shared.dead.insert(&letters).unwrap().len(), 3);
    buffer.finish();
    drop((lane, buffer));

    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    assert_eq!((buffer.stats().events, buffer.stats().dead_events), (2, 3));
    let mut out = Vec::new();
    until("both go out", || {
        out.extend(lane.take(9).into_iter().map(|one| one.event.id));
        (out.len() == 2).then_some(())
    })
    .await;
    out.sort_unstable();
    assert_eq!(out, kept);
    assert!(keep(&buffer, &lane).await.seq() > 40, "no number of a letter is given again");
    buffer.finish();
}

#[tokio::test]
async fn a_letter_that_was_appended_anew_and_died_again_is_one_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    let letter = foreign(1 << 40);
    let id = letter.event.id;
    buffer.shared.dead.insert(&[letter]).unwrap();
    assert_eq!(buffer.replay(id, None), Ok(Some(1)));
    let taken = until("it goes out", || lane.take(1).pop()).await;
    assert_eq!(taken.event.id, id);
    lane.bury(id, DeadReason::TooOld);
    until("it is dead", || (buffer.stats().dead_events == 1).then_some(())).await;
    assert!(buffer.requeue_dead(id, None), "a provider's resend finds it");
    let taken = until("it goes out again", || lane.take(1).pop()).await;
    assert_eq!((taken.event.id, lane.dead()), (id, 0));
    buffer.finish();
}

/// Buries the next event; its id, when it is a dead letter.
async fn die(buffer: &DiskBuffer, lane: &DiskLane) -> EventId {
    let id = lane.take(1).pop().unwrap().event.id;
    lane.bury(id, DeadReason::TooOld);
    let began = tokio::time::Instant::now();
    while buffer.stats().dead_events == 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "it never died");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    id
}

#[tokio::test]
async fn a_letter_that_cannot_be_put_back_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    keep(&buffer, &lane).await;
    let id = die(&buffer, &lane).await;
    buffer.close();
    assert!(matches!(buffer.replay(id, None), Err(KeepError::ShuttingDown)));
    assert_eq!(buffer.stats().dead_events, 1);
    buffer.finish();
}

/// Remembers what a start tells.
#[derive(Debug, Default)]
struct Told(parking_lot::Mutex<Vec<DedupeKey>>);

impl ClaimKeeper for Told {
    fn confirm(&self, _: DedupeKey, _: EventId, _: Millis) {}
    fn release(&self, _: DedupeKey, _: Vec<Arc<str>>) {}
    fn restore(&self, key: DedupeKey, _: EventId, _: Millis) {
        self.0.lock().push(key);
    }
    fn forget(&self, _: DedupeKey) {}
}

#[tokio::test]
async fn what_was_lost_with_damaged_dead_letters_is_welcome_again() {
    let folder = tempfile::tempdir().unwrap();
    let start = |ids: &Arc<Told>| open_with(folder.path(), Clock::manual(NOW), Arc::clone(ids) as _);
    let ids = Arc::new(Told::default());
    let buffer = start(&ids);
    let lane = buffer.lane("app");
    let keeper: Arc<dyn ClaimKeeper> = Arc::clone(&ids) as _;
    for key in [1, 2] {
        let claim = Some(Claim::new(Arc::clone(&keeper), DedupeKey(key), Vec::new()));
        buffer.keep(event(), std::iter::once((lane.number(), false)), claim, Ack::Durable).await.unwrap();
    }
    die(&buffer, &lane).await;
    assert!(buffer.shared.flush());
    buffer.finish();
    drop((lane, buffer));
    std::fs::write(dead_file(folder.path()), [0x5a; 8192]).unwrap();

    let ids = Arc::new(Told::default());
    let buffer = start(&ids);
    assert_eq!(*ids.0.lock(), [DedupeKey(2)], "of the one that waits still");
    let stats = buffer.stats();
    assert_eq!((stats.events, stats.dead_events), (1, 0));
    assert_eq!(stats.disk.unwrap().damaged, 1);
    assert!(buffer.shared.metrics.encode().contains("hooklatch_spool_corrupt_records_total 1"));
    buffer.finish();
}

#[tokio::test]
async fn an_optional_lane_without_room_is_left_out_and_what_is_for_nobody_holds_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let one = MaxPending { events: Some(1), bytes: None };
    buffer.set_destinations(&[("app".into(), Default::default()), ("audit".into(), one)]);
    let (app, audit) = (buffer.lane("app"), buffer.lane("audit"));
    let keep = |to: Vec<(u32, bool)>| buffer.keep(event(), to.into_iter(), None, Ack::Durable);
    let both = || vec![(app.number(), false), (audit.number(), true)];
    keep(both()).await.unwrap();
    let second = keep(both()).await.unwrap();
    assert_eq!((app.depth().0, audit.depth().0), (2, 1));
    let names: Vec<_> = buffer.find(second).unwrap().destinations.into_iter().map(|at| at.name).collect();
    assert_eq!(names, ["app".into()] as [Arc<str>; 1]);
    let nowhere = keep(vec![(audit.number(), true)]).await.unwrap();
    assert!(buffer.find(nowhere).unwrap().destinations.is_empty());
    assert_eq!(buffer.stats().events, 2);
    assert_eq!(buffer.shared.state.lock().lanes.pending_count(0, u64::MAX), 2, "its segment may go");
    assert_eq!(buffer.shared.metrics.encode().matches("limit=\"destination.max_pending\"} 2").count(), 1);
}

#[tokio::test]
async fn what_is_replayed_is_as_young_as_its_replay() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let id = keep(&buffer, &lane).await;
    let taken = lane.take(1).pop().unwrap();
    assert_eq!((taken.event.id, taken.since), (id, NOW));
    lane.bury(id, DeadReason::TooOld);
    assert!(buffer.shared.flush());
    clock.advance(Duration::from_secs(7 * 86_400));
    let replayed_at = clock.now();
    until("it is dead", || buffer.requeue_dead(id, None).then_some(())).await;
    let again = until("it is back", || lane.take(1).pop()).await;
    assert_eq!((again.event.id, again.attempt, again.since), (id, 1, replayed_at));
    // As young after a restart before its first attempt …
    clock.advance(Duration::from_secs(60));
    buffer.finish();
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let again = until("it goes on", || lane.take(1).pop()).await;
    assert_eq!((again.event.id, again.attempt, again.since), (id, 1, replayed_at));
    // … and while it waits for its second one.
    lane.defer(id, attempt(1, clock.now()), clock.now(), &Bytes::new());
    buffer.finish();
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let again = until("it goes on", || lane.take(1).pop()).await;
    assert_eq!((again.event.id, again.attempt, again.since), (id, 2, replayed_at));
    buffer.finish();
}

#[tokio::test]
async fn a_letter_that_was_put_back_and_cannot_be_removed_holds_up_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    let id = keep(&buffer, &lane).await;
    until("it goes", || lane.take(1).pop()).await;
    lane.bury(id, DeadReason::TooOld);
    assert!(buffer.shared.flush());
    until("it is dead", || (lane.dead() == 1).then_some(())).await;
    // As on a disk that has no room for the removal.
    let stays =
        "CREATE TRIGGER stays BEFORE DELETE ON dead_letters BEGIN SELECT RAISE(ABORT, 'no room'); END";
    rusqlite::Connection::open(dead_file(folder.path())).unwrap().execute_batch(stays).unwrap();
    assert!(buffer.requeue_dead(id, None));
    until("it is back", || lane.take(1).pop()).await;
    buffer.finish();
    drop((lane, buffer));
    let buffer = open(folder.path());
    let again = until("it goes on", || buffer.lane("app").take(1).pop()).await;
    assert_eq!(again.event.id, id);
    buffer.finish();
}

#[tokio::test]
async fn each_replay_of_an_event_makes_it_young_again() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let id = keep(&buffer, &lane).await;
    for round in 0..3 {
        let taken = until("it goes", || lane.take(1).pop()).await;
        assert_eq!((taken.attempt, taken.since), (1, clock.now()), "{round}");
        lane.settle(id, Settled::Delivered, attempt(1, clock.now()), &Bytes::new());
        assert!(buffer.shared.flush());
        clock.advance(Duration::from_secs(60));
        assert_eq!(buffer.replay(id, None), Ok(Some(1)));
    }
    buffer.finish();
}

#[tokio::test]
async fn a_letter_whose_event_left_the_spool_is_as_young_as_its_replay_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let id = EventId::new(NOW, 77);
    let options = DeadOptions { max_bytes: 1 << 20, retention: Duration::from_secs(30 * 86_400) };
    let dead = DeadLetters::open(&dead_file(folder.path()), options).unwrap();
    let letter = DeadLetter {
        event: Arc::new(Event { id, ..event() }),
        destination: "app".into(),
        reason: DeadReason::TooOld,
        attempts: Vec::new(),
        excerpt: Bytes::new(),
        died_at: NOW,
    };
    assert_eq!(dead.insert(&[letter]).unwrap(), [Inserted::Stands]);
    drop(dead);
    clock.advance(Duration::from_secs(7 * 86_400));
    let replayed_at = clock.now();
    let buffer = open_at(folder.path(), clock.clone());
    assert_eq!(buffer.replay(id, None), Ok(Some(1)));
    let lane = buffer.lane("app");
    let again = until("it is back", || lane.take(1).pop()).await;
    assert_eq!((again.event.id, again.since), (id, replayed_at));
    clock.advance(Duration::from_secs(60));
    buffer.finish();
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let again = until("it goes on", || lane.take(1).pop()).await;
    assert_eq!((again.event.id, again.since), (id, replayed_at));
    assert_eq!(lane.dead(), 0, "it stands in one place");
    buffer.finish();
}

#[tokio::test]
async fn what_somebody_made_due_is_due_after_a_restart_and_what_waits_since_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(keep(&buffer, &lane).await);
    }
    assert_eq!(lane.take(3).len(), 3);
    let later = |clock: &Clock| clock.now().plus(Duration::from_secs(3600));
    for id in ids.iter().take(2) {
        lane.defer(*id, attempt(1, clock.now()), later(&clock), &Bytes::new());
    }
    assert!(buffer.shared.flush());
    clock.advance(Duration::from_secs(10));
    lane.hasten(clock.now());
    clock.advance(Duration::from_secs(10));
    let last = later(&clock);
    lane.defer(ids[2], attempt(1, clock.now()), last, &Bytes::new());
    buffer.finish();
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let due = |id: EventId| buffer.find(id).unwrap().destinations[0].due;
    let asked = NOW.plus(Duration::from_secs(10));
    assert_eq!(ids.iter().map(|id| due(*id)).collect::<Vec<_>>(), [Some(asked), Some(asked), Some(last)]);
    let mut taken = Vec::new();
    until("two are due", || {
        taken.extend(lane.take(3).into_iter().map(|delivery| delivery.event.id));
        (taken.len() == 2).then_some(())
    })
    .await;
    assert_eq!(taken, ids[..2]);
    assert_eq!(lane.next_due(), Some(last));
    assert!(lane.take(3).is_empty());
    buffer.finish();
}
