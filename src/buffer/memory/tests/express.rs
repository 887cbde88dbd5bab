//! Passed events: `ack = "delivered"`.

use super::super::super::express::MAX_EXPRESS;
use super::*;

const NO_ANSWER: Outcome = Outcome::Failed { answer: None, reply: None };

#[tokio::test]
async fn a_passed_event_overtakes_the_backlog_and_its_outcome_reaches_the_sender() {
    let rig = Rig::new(100, &["app", "audit"]);
    let lanes = ["app", "audit"].map(|name| rig.lane(name));
    let backlog = rig.keep(event("a"), &["app"]).unwrap();
    let (id, outcomes) = rig.buffer.pass(event("b"), &lanes).unwrap();
    assert!(id > backlog);
    let mut taken = lanes[0].take(9);
    assert_eq!(ids(&taken), [id, backlog]);
    assert_eq!((taken[0].attempt, taken[0].event.id), (1, id));
    let audit = take_one(&lanes[1]);
    audit.express.unwrap().send(NO_ANSWER).unwrap();
    drop(taken.remove(0)); // the attempt was dropped without an outcome
    let mut outcomes = outcomes.into_iter();
    assert!(outcomes.next().unwrap().await.is_err());
    assert!(matches!(outcomes.next().unwrap().await, Ok(Outcome::Failed { .. })));
    let stats = rig.buffer.stats();
    assert_eq!((stats.events, stats.history_events), (1, 0), "it is not stored");
    assert!(rig.buffer.find(id).is_none());
}

#[tokio::test]
async fn a_sender_that_hung_up_is_skipped() {
    let rig = Rig::new(100, &["app"]);
    let lanes = [rig.lane("app")];
    let (_, gone) = rig.buffer.pass(event("a"), &lanes).unwrap();
    let (stays, _waiting) = rig.buffer.pass(event("b"), &lanes).unwrap();
    drop(gone);
    let mut taken = lanes[0].take(9);
    assert_eq!(ids(&taken), [stays]);
    let mut express = taken.remove(0).express.unwrap();
    assert!(!express.is_closed());
    drop(_waiting);
    assert!(express.is_closed());
    express.closed().await;
    assert!(express.send(NO_ANSWER).is_err());
}

#[test]
fn passed_events_are_bounded_in_number_and_those_who_hung_up_give_way() {
    let rig = Rig::new(10, &["app", "audit"]);
    let lanes = ["app", "audit"].map(|name| rig.lane(name));
    let mut waiting: Vec<_> =
        (0..MAX_EXPRESS).map(|_| rig.buffer.pass(event("x"), &lanes[..1]).unwrap()).collect();
    let full = rig.buffer.pass(event("x"), &[lanes[1].clone(), lanes[0].clone()]);
    assert_eq!(full.err(), Some(KeepError::Full { destination: Some("app".into()) }));
    assert!(lanes[1].take(1).is_empty(), "all or none");
    assert!(rig.buffer.pass(event("x"), &lanes[1..]).is_ok(), "the other has room");
    waiting.truncate(MAX_EXPRESS - 1);
    assert!(rig.buffer.pass(event("x"), &lanes[..1]).is_ok(), "one hung up");
}

#[test]
fn passed_events_are_bounded_in_bytes_but_one_always_may_wait() {
    let rig = Rig::with_bytes(10, 16 << 20, &["app", "audit"]);
    let lanes = [rig.lane("app")];
    let large = |mib: usize| Event { body: Bytes::from(vec![0; mib << 20]), ..event("x") };
    let first = rig.buffer.pass(large(3), &lanes).unwrap();
    assert!(rig.buffer.pass(large(0), &lanes).is_err(), "a sixteenth of 16 MiB is less");
    take_one(&lanes[0]);
    let second = rig.buffer.pass(event("x"), &lanes).unwrap();
    let third = rig.buffer.pass(event("x"), &lanes).unwrap();
    drop((first, second, third));
}

#[test]
fn nothing_is_passed_after_the_close() {
    let rig = Rig::new(10, &["app"]);
    rig.buffer.close();
    let passed = rig.buffer.pass(event("x"), &[rig.lane("app")]);
    assert_eq!(passed.err(), Some(KeepError::ShuttingDown));
}
