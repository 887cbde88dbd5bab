//! What becomes of events whose destination is gone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::request::event;
use super::rig::{NOW, buffer};
use crate::buffer::{DeadReason, Status};
use crate::clock::Clock;
use crate::delivery::ORPHANS_KEPT_FOR;
use crate::delivery::orphans::{bury, overdue};
use crate::delivery::standing::Record;
use crate::event::{Ack, Answer, Attempt, Event, OrderKey, Priority, Turn};

#[tokio::test(start_paused = true)]
async fn all_that_pends_dies_at_its_time_also_what_waits_for_a_retry_or_behind_one() {
    let clock = Clock::manual(NOW);
    let buffer = buffer(&clock);
    let record = Record::open(None, clock.clone()).unwrap();
    let name: Arc<str> = "app".into();
    buffer.set_destinations(&[(Arc::clone(&name), Default::default())]);
    let lane = buffer.lane("app");
    let turn = Turn { priority: Priority::Normal, order_key: OrderKey::from_bits(1) };
    let mut ids = Vec::new();
    for n in 0..100 {
        // One waits, half of the others behind it.
        let turn = if n % 2 == 0 { turn } else { Turn::default() };
        let event = Event { turn, received_at: NOW, ..event(format!("{n}")) };
        let to = std::slice::from_ref(&lane);
        ids.push(buffer.keep(event, to, None, Ack::Memory).await.unwrap());
    }
    let first = lane.take(1)[0].event.id;
    let answer = Answer::Status(500);
    let failed = Attempt { number: 1, at: NOW, took: Duration::ZERO, answer, region: None };
    lane.defer(first, failed, NOW.plus(Duration::from_secs(7 * 86_400)), Bytes::new());
    buffer.set_destinations(&[]);
    assert_eq!(overdue(&buffer, &record, NOW), [] as [Arc<str>; 0], "from now on they wait for the name");
    let before = NOW.plus(ORPHANS_KEPT_FOR - Duration::from_millis(1));
    assert_eq!(overdue(&buffer, &record, before), [] as [Arc<str>; 0]);
    clock.advance(ORPHANS_KEPT_FOR);
    assert_eq!(overdue(&buffer, &record, clock.now()), [name]);
    assert_eq!(bury(&lane, &clock).await, 100);
    for id in ids {
        let status = buffer.find(id).unwrap().destinations[0].status;
        assert_eq!(status, Status::Dead(DeadReason::Orphaned), "{id}");
    }
}
