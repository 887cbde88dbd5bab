//! What is said and done while steps are on their way to the disk.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use super::super::ports::Room;
use super::super::shared::MAX_DYING;
use super::rig::{NOW, attempt, keep, open, open_at, try_keep, until};
use crate::buffer::{DeadReason, EventFilter, KeepError, MaxPending, Settled, Status};
use crate::clock::Clock;
use crate::event::Answer;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_retry_that_waits_is_shown_with_the_moment_at_which_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let id = keep(&buffer, &lane).await;
    let shown = || buffer.find(id).unwrap().destinations.remove(0);
    assert_eq!((shown().status, shown().due), (Status::Pending, None), "it waits for nothing but its turn");
    assert_eq!(lane.take(1).len(), 1);
    let due = NOW.plus(HOUR);
    lane.defer(id, attempt(1, NOW), due, &Bytes::from_static(b"sorry"));
    buffer.quiet();
    let waits = shown();
    assert_eq!((waits.status, waits.due, &*waits.excerpt), (Status::Pending, Some(due), &b"sorry"[..]));
    assert_eq!((waits.attempts.len(), waits.attempts[0].answer), (1, Answer::Status(503)));
    clock.advance(Duration::from_secs(10));
    lane.hasten(clock.now());
    assert_eq!(shown().due, Some(clock.now()), "an operator asked for it");
    until("it goes out again", || lane.take(1).pop()).await;
    assert_eq!((shown().status, shown().due), (Status::Pending, None), "it is on its way");
    lane.settle(id, Settled::Delivered, attempt(2, NOW), &Bytes::new());
    buffer.quiet();
    assert_eq!((shown().status, shown().due), (Status::Delivered, None));
}

/// Between the end of an attempt and the commit of what follows the event is in none of the lane's queues.
#[tokio::test]
async fn an_operators_retry_is_meant_for_what_is_being_written_too() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    let id = keep(&buffer, &lane).await;
    assert_eq!(lane.take(1).len(), 1);
    let writing = buffer.shared.spool.writer.lock(); // no commit ends before this does
    lane.defer(id, attempt(1, NOW), NOW.plus(HOUR), &Bytes::new());
    assert_eq!(lane.next_due(), None, "it stands nowhere yet");
    lane.hasten(NOW);
    drop(writing);
    let again = until("it goes out now", || lane.take(1).pop()).await;
    assert_eq!((again.event.id, again.attempt), (id, 2));
    // One that fails after it was asked waits as its schedule says.
    lane.defer(id, attempt(2, NOW), NOW.plus(HOUR), &Bytes::new());
    buffer.quiet();
    assert_eq!(lane.next_due(), Some(NOW.plus(HOUR)));
}

#[tokio::test]
async fn what_died_is_nowhere_else_and_holds_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    let (refused, buried) = (keep(&buffer, &lane).await, keep(&buffer, &lane).await);
    assert_eq!(lane.take(2).len(), 2);
    lane.settle(refused, Settled::Dead(DeadReason::Refused), attempt(1, NOW), &Bytes::new());
    lane.bury(buried, DeadReason::TooOld);
    until("both are dead", || (lane.dead() == 2).then_some(())).await;
    assert_eq!((lane.depth(), buffer.stats().events, buffer.stats().bytes), ((0, 0), 0, 0));
    assert_eq!(buffer.drained().now_or_never(), Some(()), "nothing is waited for");
    for (id, reason) in [(refused, DeadReason::Refused), (buried, DeadReason::TooOld)] {
        assert_eq!(buffer.find(id).unwrap().destinations[0].status, Status::Dead(reason));
    }
}

#[tokio::test]
async fn where_there_is_no_room_nothing_is_kept_and_nothing_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    let dead = keep(&buffer, &lane).await;
    assert_eq!(lane.take(1).len(), 1);
    lane.bury(dead, DeadReason::TooOld);
    until("it is dead", || (lane.dead() == 1).then_some(())).await;
    let one = MaxPending { events: Some(1), bytes: None };
    buffer.set_destinations(&[("app".into(), one)]);
    let pending = keep(&buffer, &lane).await;
    let full = KeepError::Full { destination: Some("app".into()) };
    assert_eq!(try_keep(&buffer, &lane).await, Err(full.clone()));
    assert_eq!(buffer.replay(dead, None), Err(full), "a dead letter takes the room of an event");
    assert_eq!((lane.depth().0, lane.dead()), (1, 1));
    assert_eq!(lane.take(9).len(), 1);
    lane.settle(pending, Settled::Delivered, attempt(1, NOW), &Bytes::new());
    assert_eq!(buffer.replay(dead, None), Ok(Some(1)));
    assert_eq!((lane.depth().0, lane.dead()), (1, 0));
}

#[tokio::test]
async fn a_disk_without_room_and_one_that_fails_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    let upkeep = buffer.shared.spool.maintaining.lock(); // or it would be said anew
    let mut refused = Vec::new();
    for room in [Room::Full, Room::Failed] {
        buffer.shared.spool.say_room(room);
        refused.push(try_keep(&buffer, &lane).now_or_never());
    }
    buffer.shared.spool.say_room(Room::Yes);
    drop(upkeep);
    let told = [KeepError::Full { destination: None }, KeepError::Storage];
    assert_eq!(refused, told.map(|error| Some(Err(error))));
    assert_eq!(buffer.stats().events, 0);
    keep(&buffer, &lane).await;
}

#[tokio::test]
async fn what_stands_under_a_former_name_is_listed_under_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let buffer = open(folder.path());
    let lane = buffer.lane("app");
    let id = keep(&buffer, &lane).await;
    let listed = |destination: &str, formerly: &[&str], status| {
        let (destination, formerly) =
            (Some(destination.to_owned()), formerly.iter().map(|name| (*name).into()).collect());
        let filter = EventFilter { destination, formerly, status, ..EventFilter::default() };
        let (views, _) = buffer.list(&filter, None, 10);
        views.iter().map(|view| view.event.id).collect::<Vec<_>>()
    };
    for status in [None, Some("pending")] {
        assert_eq!(listed("shop", &["store", "app"], status), [id], "{status:?}");
        assert_eq!(listed("app", &[], status), [id], "{status:?}");
        assert_eq!(listed("shop", &[], status), [], "{status:?}");
        assert_eq!(listed("shop", &["store"], status), [], "{status:?}");
    }
    assert_eq!(listed("shop", &["app"], Some("delivered")), []);
}

#[tokio::test]
async fn what_dies_while_too_many_do_waits_on_the_disk_and_keeps_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual(NOW);
    let buffer = open_at(folder.path(), clock.clone());
    let lane = buffer.lane("app");
    let id = keep(&buffer, &lane).await;
    assert_eq!(lane.take(1).len(), 1);
    buffer.shared.state.lock().dying = MAX_DYING;
    lane.bury(id, DeadReason::TooOld);
    assert!(buffer.shared.flush());
    let looked_at = || async {
        clock.advance(HOUR);
        buffer.shared.look(lane.number());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for _ in 0..3 {
        looked_at().await;
        assert_eq!((lane.dead(), lane.depth().0), (0, 1));
    }
    buffer.shared.state.lock().dying = 0;
    looked_at().await;
    until("it is dead", || (lane.dead() == 1).then_some(())).await;
    assert_eq!(buffer.find(id).unwrap().destinations[0].status, Status::Dead(DeadReason::TooOld));
}
