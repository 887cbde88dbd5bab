//! Kept, taken, settled, deferred, put back; the claim; waking up; stopping.

use std::sync::Mutex as StdMutex;

use super::*;
use crate::event::{Ack, ClaimKeeper, DedupeKey};

#[derive(Debug, Default)]
struct Keeper {
    confirmed: StdMutex<Vec<EventId>>,
    released: StdMutex<usize>,
}

impl ClaimKeeper for Keeper {
    fn confirm(&self, _: DedupeKey, id: EventId, _: Millis) {
        self.confirmed.lock().unwrap().push(id);
    }

    fn release(&self, _: DedupeKey, _: Vec<Arc<str>>) {
        *self.released.lock().unwrap() += 1;
    }

    fn restore(&self, _: DedupeKey, _: EventId, _: Millis) {}

    fn forget(&self, _: DedupeKey) {}
}

fn claim(keeper: &Arc<Keeper>) -> Option<Claim> {
    let keeper: Arc<dyn ClaimKeeper> = Arc::<Keeper>::clone(keeper);
    Some(Claim::new(keeper, DedupeKey(1), Vec::new()))
}

#[test]
fn an_event_is_kept_taken_in_order_and_settled() {
    let rig = Rig::new(100, &["app"]);
    let app = rig.lane("app");
    let kept: Vec<_> = ["a", "b", "c"].map(|body| rig.keep(event(body), &["app"]).unwrap()).into();
    assert!(kept.is_sorted() && kept[0].at() == START);
    assert_eq!(app.depth(), (3, 3 * event("a").weight()));
    let taken = app.take(2);
    assert_eq!(ids(&taken), kept[..2]);
    assert_eq!((taken[0].attempt, &*taken[0].event.body), (1, &b"a"[..]));
    assert!(taken[0].express.is_none());
    assert_eq!(ids(&app.take(9)), kept[2..], "what is in flight is not given again");
    assert!(app.take(9).is_empty());
    assert_eq!(app.depth().0, 3, "in flight is pending");
    settle(&app, kept[0], Settled::Delivered);
    assert_eq!(app.depth().0, 2);
    assert_eq!(rig.status(kept[0], "app"), Some(Status::Delivered));
    assert_eq!(rig.status(kept[1], "app"), Some(Status::Pending));
    assert_eq!(rig.buffer.stats().events, 2);
}

#[test]
fn what_fills_a_batch_is_fresh_and_in_the_same_order() {
    let rig = Rig::new(100, &["app"]);
    let app = rig.lane("app");
    let retried = rig.keep(event("r"), &["app"]).unwrap();
    start(&app, 1);
    app.defer(retried, attempt(1), START, Bytes::new());
    let bulk = Turn { priority: Priority::Bulk, ..Turn::default() };
    let bulk = rig.keep(Event { turn: bulk, ..event("b") }, &["app"]).unwrap();
    let fresh = ["1", "2"].map(|body| rig.keep(event(body), &["app"]).unwrap());
    let _waiting = rig.buffer.pass(event("now"), std::slice::from_ref(&app)).unwrap();
    assert_eq!(
        ids(&app.take_fresh(9)),
        [fresh[0], fresh[1], bulk],
        "class first, and neither retry nor passed one"
    );
    assert!(app.take_fresh(9).is_empty());
    app.put_back(fresh[1]);
    assert_eq!(ids(&app.take_fresh(9)), fresh[1..]);
    let rest = app.take(9);
    assert_eq!((rest.len(), rest[1].event.id, rest[1].attempt), (2, retried, 2));
}

#[test]
fn a_claim_is_confirmed_with_the_events_id_if_and_only_if_it_was_kept() {
    let rig = Rig::new(2, &["app"]);
    let keeper = Arc::<Keeper>::default();
    let id = rig.keep_claimed(event("a"), &["app"], claim(&keeper)).unwrap();
    assert_eq!(*keeper.confirmed.lock().unwrap(), [id]);
    rig.fill(9, &["app"]);
    let full = rig.keep_claimed(event("b"), &["app"], claim(&keeper));
    assert!(matches!(full, Err(KeepError::Full { .. })), "{full:?}");
    rig.buffer.close();
    let closed = rig.keep_claimed(event("c"), &["app"], claim(&keeper));
    assert_eq!(closed, Err(KeepError::ShuttingDown));
    assert_eq!((keeper.confirmed.lock().unwrap().len(), *keeper.released.lock().unwrap()), (1, 2));
}

#[test]
fn a_keep_that_is_never_polled_keeps_nothing_and_releases_the_claim() {
    let rig = Rig::new(10, &["app"]);
    let keeper = Arc::<Keeper>::default();
    let lanes = [rig.lane("app")];
    drop(rig.buffer.keep(event("a"), &lanes, claim(&keeper), Ack::Memory));
    assert_eq!((rig.buffer.stats().events, *keeper.released.lock().unwrap()), (0, 1));
}

#[test]
fn each_destination_settles_by_itself() {
    let rig = Rig::new(10, &["app", "audit"]);
    let (app, audit) = (rig.lane("app"), rig.lane("audit"));
    let id = rig.keep(event("a"), &["app", "audit", "app"]).unwrap();
    assert_eq!((app.depth().0, audit.depth().0), (1, 1), "a destination named twice gets it once");
    assert_eq!(rig.buffer.stats().events, 1, "and it counts once");
    assert_eq!(take_one(&app).event.id, id);
    settle(&app, id, Settled::Delivered);
    assert_eq!(rig.status(id, "app"), Some(Status::Delivered));
    assert_eq!(rig.status(id, "audit"), Some(Status::Pending));
    assert_eq!(rig.buffer.stats().events, 1);
    assert_eq!(take_one(&audit).event.id, id);
    settle(&audit, id, Settled::Delivered);
    let stats = rig.buffer.stats();
    assert_eq!((stats.events, stats.bytes, stats.history_events), (0, 0, 1));
}

#[test]
fn a_deferred_event_comes_back_when_it_is_due_and_counts_its_attempts() {
    let rig = Rig::new(10, &["app"]);
    let app = rig.lane("app");
    let [first, second, third] = ["a", "b", "c"].map(|body| rig.keep(event(body), &["app"]).unwrap());
    start(&app, 3);
    let second_past = |n| START.plus(Duration::from_secs(n));
    app.defer(third, attempt(1), second_past(5), Bytes::from_static(b"busy"));
    app.defer(second, attempt(1), second_past(1), Bytes::new());
    app.defer(first, attempt(1), second_past(5), Bytes::new());
    assert_eq!(app.next_due(), Some(second_past(1)));
    assert!(app.take(3).is_empty(), "not yet");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(ids(&app.take(3)), [second]);
    rig.clock.advance(Duration::from_secs(3));
    assert!(app.take(3).is_empty());
    rig.clock.advance(Duration::from_secs(5));
    let later = take_one(&app);
    assert_eq!((later.event.id, later.attempt), (first, 2), "of two due at once the one that came first");
    assert_eq!(app.depth().0, 3);
    let view = rig.buffer.find(third).unwrap().destinations.remove(0);
    assert_eq!(
        (view.due, view.attempts, &*view.excerpt),
        (Some(second_past(5)), vec![attempt(1)], &b"busy"[..])
    );
    assert_eq!(take_one(&app).event.id, third);
    assert_eq!((app.next_due(), app.depth().0), (None, 3));
}

#[test]
fn what_was_put_back_comes_first_in_order_of_arrival_with_the_same_attempt() {
    let rig = Rig::new(10, &["app"]);
    let app = rig.lane("app");
    let kept = ["a", "b", "c", "d"].map(|body| rig.keep(event(body), &["app"]).unwrap());
    start(&app, 3);
    app.defer(kept[0], attempt(1), START, Bytes::new());
    assert_eq!(ids(&app.take(9)), [kept[0], kept[3]]);
    app.put_back(kept[3]);
    app.put_back(kept[1]);
    app.put_back(kept[0]);
    let again = app.take(3);
    assert_eq!(ids(&again), [kept[0], kept[1], kept[3]]);
    assert_eq!((again[0].attempt, again[1].attempt), (2, 1));
    assert_eq!(app.depth().0, 4);
}

#[test]
fn what_is_not_in_flight_cannot_be_settled_deferred_or_put_back() {
    let rig = Rig::new(10, &["app", "audit"]);
    let (app, audit) = (rig.lane("app"), rig.lane("audit"));
    let id = rig.keep(event("a"), &["app", "audit"]).unwrap();
    let stats = rig.buffer.stats();
    let stranger = EventId::new(Millis(id.at().0 + 1), id.seq());
    for id in [id, stranger, EventId::new(START, 99)] {
        settle(&app, id, Settled::Delivered);
        settle(&app, id, DEAD);
        app.defer(id, attempt(1), START, Bytes::new());
        app.put_back(id);
    }
    assert_eq!(rig.buffer.stats(), stats);
    take_one(&app);
    settle(&audit, id, Settled::Delivered); // in flight, but not there
    settle(&app, stranger, Settled::Delivered);
    assert_eq!(rig.buffer.stats().destinations, stats.destinations);
    settle(&app, id, DEAD);
    let stats = rig.buffer.stats();
    settle(&app, id, Settled::Delivered);
    app.put_back(id);
    assert_eq!(rig.buffer.stats(), stats, "settled once is settled");
    assert!(app.take(1).is_empty());
}

#[test]
fn attempts_and_excerpts_are_remembered_within_bounds() {
    let rig = Rig::with_bytes(10, 1 << 20, &["app"]);
    let app = rig.lane("app");
    let id = rig.keep(event("a"), &["app"]).unwrap();
    take_one(&app);
    for number in 1..=40 {
        app.defer(id, attempt(number), START, Bytes::from(vec![b'x'; 10_000]));
        take_one(&app);
    }
    settle(&app, id, DEAD);
    let view = rig.buffer.find(id).unwrap().destinations.remove(0);
    assert_eq!(
        view.attempts.iter().map(|a| a.number).collect::<Vec<_>>(),
        [&(10..=40).collect::<Vec<_>>()[..], &[1]].concat()
    );
    assert!(view.excerpt.is_empty(), "the last answer had no body");
    assert_eq!(rig.memory().state.lock().excerpts.used(), 0);
}

#[test]
fn all_excerpts_together_are_bounded() {
    let rig = Rig::with_bytes(1000, 1 << 20, &["app"]);
    let app = rig.lane("app");
    rig.fill(100, &["app"]);
    for delivery in app.take(100) {
        app.settle(delivery.event.id, DEAD, attempt(1), Bytes::from(vec![b'x'; 10_000]));
    }
    assert_eq!(rig.memory().state.lock().excerpts.used(), 65_536, "sixteen of 4 KiB in a sixteenth of 1 MiB");
    assert_eq!(rig.buffer.drop_dead(&EventFilter::default()), 100);
    assert_eq!(rig.memory().state.lock().excerpts.used(), 0);
}

#[tokio::test]
async fn a_lane_is_woken_by_what_came_since_it_last_looked() {
    let rig = Rig::new(10, &["app"]);
    let app = rig.lane("app");
    let woken = || tokio::time::timeout(Duration::from_millis(20), app.changed());
    rig.keep(event("a"), &["app"]).unwrap();
    woken().await.expect("came before it waited");
    rig.keep(event("b"), &["app"]).unwrap();
    assert!(woken().await.is_err(), "told already: it has not looked since");
    assert_eq!(app.take(1).len(), 1);
    assert!(woken().await.is_err(), "what it left is no news");
    rig.keep(event("c"), &["app"]).unwrap();
    woken().await.expect("came after it looked");
    let taken = app.take(9);
    app.put_back(taken[0].event.id);
    assert!(woken().await.is_err(), "its own doing is no news");
    let waiting = tokio::spawn({
        let app = app.clone();
        async move { app.changed().await }
    });
    tokio::task::yield_now().await;
    settle(&app, taken[1].event.id, DEAD);
    assert!(rig.buffer.requeue_dead(taken[1].event.id));
    tokio::time::timeout(Duration::from_secs(5), waiting).await.expect("a replay wakes it").unwrap();
}

#[tokio::test]
async fn drained_waits_for_all_that_is_pending_and_passed() {
    let rig = Rig::new(10, &["app", "gone"]);
    let app = rig.lane("app");
    rig.buffer.drained().await; // empty at once
    let id = rig.keep(event("a"), &["app"]).unwrap();
    rig.keep(event("b"), &["gone"]).unwrap();
    let (_, outcomes) = rig.buffer.pass(event("c"), std::slice::from_ref(&app)).unwrap();
    rig.buffer.close();
    rig.configure(&["app"]);
    let mut drained = tokio::spawn({
        let buffer = rig.buffer.clone();
        async move { buffer.drained().await }
    });
    let mut still = async || tokio::time::timeout(Duration::from_millis(20), &mut drained).await.is_err();
    assert!(still().await);
    let taken = app.take(2);
    assert!(taken[0].express.is_some());
    settle(&app, id, Settled::Delivered);
    assert!(still().await, "an outcome is owed");
    drop((taken, outcomes));
    tokio::time::timeout(Duration::from_secs(5), drained).await.expect("drained").unwrap();
}

#[test]
fn a_failing_key_holds_back_only_itself_and_a_critical_event_is_next_whatever_lies_before_them() {
    const BEFORE: u64 = 100_000;
    let rig = Rig::new(BEFORE + 1000, &["app"]);
    let app = rig.lane("app");
    let keep = |priority, key| {
        let turn = Turn { priority, order_key: OrderKey::from_bits(key) };
        rig.keep(Event { turn, ..event("x") }, &["app"]).unwrap()
    };
    let first = keep(Priority::Bulk, 1);
    for _ in 1..BEFORE {
        keep(Priority::Bulk, 1);
    }
    assert_eq!(app.take(9).iter().map(|taken| taken.event.id).collect::<Vec<_>>(), [first]);
    app.defer(first, attempt(1), START.plus(Duration::from_secs(900)), Bytes::new());
    let others: Vec<_> = (2..302).map(|key| keep(Priority::Bulk, key % 100 + 2)).collect();
    let critical = keep(Priority::Critical, 0);
    assert_eq!(app.take(1)[0].event.id, critical);
    let mut delivered = Vec::new();
    // So many step aside in one go; then the task is told to look again.
    for _ in 0..BEFORE / 4096 + 400 {
        for taken in app.take(8) {
            delivered.push(taken.event.id);
            settle(&app, taken.event.id, Settled::Delivered);
        }
    }
    assert_eq!(delivered.len(), others.len(), "all but those of the failing key");
    assert_eq!(app.depth().0, BEFORE + 1);
    // The first one dies: the second of its key is next.
    app.hasten(START);
    assert_eq!(app.take(1)[0].event.id, first);
    app.bury(first, DeadReason::AttemptsExhausted);
    assert_eq!(app.take(2).len(), 1);
}

#[test]
fn of_many_threads_no_two_take_the_same_event_and_none_is_lost() {
    const EACH: usize = 2000;
    let rig = Rig::new(100_000, &["app", "audit"]);
    let seen: [StdMutex<Vec<EventId>>; 2] = Default::default();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(rig.fill(EACH, &["app", "audit"]), EACH));
        }
        for (lane, seen) in [("app", &seen[0]), ("audit", &seen[1])] {
            for _ in 0..2 {
                scope.spawn(|| {
                    let lane = rig.lane(lane);
                    let mut turn = 0;
                    while seen.lock().unwrap().len() < 3 * EACH {
                        assert!(tokio::time::Instant::now() < deadline, "events were lost");
                        for delivery in lane.take(7) {
                            turn += 1;
                            let id = delivery.event.id;
                            match (turn % 3, delivery.attempt) {
                                (0, _) => lane.put_back(id),
                                (1, 1) => lane.defer(id, attempt(1), START, Bytes::new()),
                                _ => {
                                    settle(&lane, id, Settled::Delivered);
                                    seen.lock().unwrap().push(id);
                                }
                            }
                        }
                    }
                });
            }
        }
    });
    for seen in seen {
        let mut seen = seen.into_inner().unwrap();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 3 * EACH);
    }
    assert_eq!((rig.buffer.stats().events, rig.lane("app").depth()), (0, (0, 0)));
}
