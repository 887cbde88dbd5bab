//! What is next where a destination had another name.

use std::time::Duration;

use bytes::Bytes;

use super::double::{Act, Double, answer};
use super::request::event;
use super::rig::{MS, NOW, Rig, SECONDS, buffer, disk_buffer};
use crate::buffer::{Buffer, DeadReason, Lane, Settled};
use crate::clock::{Clock, Millis};
use crate::delivery::succession::Succession;
use crate::event::{Ack, Answer, Attempt, Event, EventId, OrderKey, Priority, Turn};

/// Two names of one destination.
struct Names {
    buffer: Buffer,
    old: Lane,
    new: Lane,
    succession: Succession,
    _folder: Option<tempfile::TempDir>,
}

impl Names {
    fn over(buffer: Buffer, folder: Option<tempfile::TempDir>) -> Self {
        buffer.set_destinations(&[("old".into(), Default::default()), ("new".into(), Default::default())]);
        let (old, new) = (buffer.lane("old"), buffer.lane("new"));
        Self { buffer, old, new, succession: Succession::default(), _folder: folder }
    }

    fn in_memory() -> Self {
        Self::over(buffer(&Clock::manual(NOW)), None)
    }

    fn on_disk() -> Self {
        let (buffer, folder) = disk_buffer(&Clock::manual(NOW));
        Self::over(buffer, Some(folder))
    }

    async fn keep(&self, lane: &Lane, body: &str, priority: Priority, key: u64) -> EventId {
        let turn = Turn { priority, order_key: OrderKey::from_bits(key) };
        let event = Event { turn, ..event(body.to_owned()) };
        self.buffer.keep(event, std::slice::from_ref(lane), None, Ack::Memory).await.unwrap()
    }

    /// The body of what is next, and where it came from.
    fn take(&mut self) -> Option<(usize, String)> {
        let (lane, delivery) = self.succession.take(&[(0, &self.old), (1, &self.new)])?;
        Some((lane, String::from_utf8(delivery.event.body.to_vec()).unwrap()))
    }

    /// As [`Self::take`]; what is on a disk takes its time.
    async fn soon(&mut self) -> Option<(usize, String)> {
        for _ in 0..200 {
            if let Some(taken) = self.take() {
                return Some(taken);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        None
    }
}

fn attempt(number: u16) -> Attempt {
    Attempt { number, at: NOW, took: Duration::ZERO, answer: Answer::Status(500), region: None }
}

fn later() -> Millis {
    NOW.plus(Duration::from_secs(3600))
}

#[tokio::test]
async fn an_event_waits_for_those_of_its_key_under_the_earlier_name_and_others_do_not() {
    for mut names in [Names::in_memory(), Names::on_disk()] {
        let first = names.keep(&names.old, "k1", Priority::Normal, 1).await;
        assert_eq!(names.soon().await, Some((0, "k1".to_owned())));
        names.old.defer(first, attempt(1), later(), Bytes::new());
        let second = names.keep(&names.old, "k2", Priority::Normal, 1).await;
        for (body, key) in [("k3", 1), ("l1", 2), ("none", 0), ("k4", 1)] {
            names.keep(&names.new, body, Priority::Normal, key).await;
        }
        assert_eq!(names.soon().await, Some((1, "l1".to_owned())));
        assert_eq!(names.soon().await, Some((1, "none".to_owned())));
        assert_eq!(names.take(), None);
        // The first one is over: the second of the earlier name follows, and only then the later name's.
        names.old.hasten(NOW);
        assert_eq!(names.soon().await, Some((0, "k1".to_owned())));
        names.old.settle(first, Settled::Delivered, attempt(2), Bytes::new());
        assert_eq!(names.soon().await, Some((0, "k2".to_owned())));
        assert_eq!(names.take(), None, "it is on its way");
        names.old.bury(second, DeadReason::Refused);
        assert_eq!(names.soon().await, Some((1, "k3".to_owned())));
        assert_eq!(names.take(), None, "k4 is behind it");
    }
}

#[tokio::test]
async fn the_higher_class_goes_first_whatever_the_name_and_no_backlog_starves() {
    let mut names = Names::in_memory();
    for n in 0..10 {
        names.keep(&names.old, &format!("bulk{n}"), Priority::Bulk, 0).await;
    }
    for n in 0..100 {
        names.keep(&names.new, &format!("critical{n}"), Priority::Critical, 0).await;
    }
    names.keep(&names.old, "critical", Priority::Critical, 0).await;
    assert_eq!(names.take(), Some((0, "critical".to_owned())), "of one class the earlier name's");
    let taken: Vec<_> = (0..40).map(|_| names.take().unwrap()).collect();
    assert_eq!(taken[0].1, "critical0");
    assert_eq!(taken.iter().filter(|(lane, _)| *lane == 0).count(), 2, "one in 20: {taken:?}");
}

#[tokio::test]
async fn a_sender_that_waits_goes_before_all_that_is_kept() {
    let mut names = Names::in_memory();
    names.keep(&names.old, "kept", Priority::Critical, 0).await;
    let _answer = names.buffer.pass(event("passed".to_owned()), std::slice::from_ref(&names.new)).unwrap();
    assert_eq!(names.take(), Some((1, "passed".to_owned())));
    assert_eq!(names.take(), Some((0, "kept".to_owned())));
}

#[tokio::test]
async fn so_many_may_wait_for_the_earlier_name_and_then_the_later_one_waits() {
    let mut names = Names::in_memory();
    let mut waiting = Vec::new();
    for key in 1..=70 {
        let id = names.keep(&names.old, "old", Priority::Normal, key).await;
        assert_eq!(names.take(), Some((0, "old".to_owned())));
        names.old.defer(id, attempt(1), later(), Bytes::new());
        waiting.push(id);
    }
    for key in 1..=70 {
        names.keep(&names.new, &format!("{key}"), Priority::Normal, key).await;
    }
    names.keep(&names.new, "free", Priority::Normal, 0).await;
    assert_eq!(names.take(), None, "64 are parked");
    assert!(names.succession.tell_full() && !names.succession.tell_full(), "it is told once");
    names.keep(&names.old, "also old", Priority::Normal, 0).await;
    assert_eq!(names.take(), Some((0, "also old".to_owned())));
    // Seven are freed, so there is room to look at those behind.
    names.old.hasten(NOW);
    for _ in 0..7 {
        assert_eq!(names.take(), Some((0, "old".to_owned())));
    }
    for id in waiting.drain(..7) {
        names.old.settle(id, Settled::Delivered, attempt(2), Bytes::new());
    }
    let freed: Vec<_> = (0..7).map(|_| names.take().unwrap().1).collect();
    assert_eq!(freed, (1..=7).map(|key| key.to_string()).collect::<Vec<_>>());
    // The others of the earlier name are due, too, and go first; then the one that waits for nobody is found.
    let rest: Vec<_> = std::iter::from_fn(|| names.take()).collect();
    assert_eq!(rest.iter().filter(|(lane, _)| *lane == 0).count(), 63);
    assert_eq!(rest.last(), Some(&(1, "free".to_owned())));
    assert_eq!(rest.len(), 64);
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_told_that_the_later_name_waits() {
    let unavailable = Double::always(Act::Answer(answer(503, "", "")));
    let rig = Rig::new(unavailable, |options| {
        options.retry_delays = vec![SECONDS(3600); 3];
        options.breaker_failures = 1000;
    });
    let (old, new) = (rig.buffer.lane("old"), rig.lane.clone());
    let names = ["old", "app"].map(|name| (name.into(), Default::default()));
    rig.buffer.set_destinations(&names);
    rig.change(|control| control.lanes = [old.clone(), new.clone()].into());
    let hits = || rig.metrics.encode().contains("hooklatch_limit_hits_total{limit=\"formerly\"} 1\n");
    for lane in [&old, &new] {
        for key in 1..=70 {
            let turn = Turn { order_key: OrderKey::from_bits(key), ..Turn::default() };
            let event = Event { turn, received_at: NOW, ..event("{}") };
            rig.buffer.keep(event, std::slice::from_ref(lane), None, Ack::Memory).await.unwrap();
        }
        tokio::time::sleep(MS(100)).await;
        assert_eq!((rig.app.count(), hits()), (70, lane.destination() == new.destination()));
    }
}

#[tokio::test]
async fn what_is_parked_is_put_back_and_goes_under_its_own_name_alone() {
    let mut names = Names::in_memory();
    let id = names.keep(&names.old, "old", Priority::Normal, 1).await;
    names.take().unwrap();
    names.old.defer(id, attempt(1), later(), Bytes::new());
    let parked = names.keep(&names.new, "new", Priority::Normal, 1).await;
    assert_eq!(names.take(), None);
    assert!(!names.succession.is_plain(1), "there is something to give");
    let back: Vec<_> = names.succession.give_back().collect();
    assert_eq!(back, [(1, parked)]);
    names.new.put_back(parked);
    assert_eq!(names.take(), None, "the same again");
    // The former name went from the configuration.
    let (lane, delivery) = names.succession.take(&[(1, &names.new)]).unwrap();
    assert_eq!((lane, delivery.event.id), (1, parked));
    assert!(names.succession.is_plain(1));
}
