//! Fifty thousand events that are due at once: the scheduler alone, on time that only this test moves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::request::event;
use super::rig::{NOW, buffer};
use crate::buffer::{Buffer, Lane};
use crate::clock::Clock;
use crate::delivery::flights::{Done, Ended, Flight, Judged};
use crate::delivery::retry::Dice;
use crate::delivery::scheduler::{Next, Now, Scheduler, Start};
use crate::delivery::settings::{DestinationOptions, Endpoint};
use crate::delivery::standing::Standing;
use crate::event::{Ack, Answer, Attempt, Event};

const HERD: usize = 50_000;
const HOUR: Duration = Duration::from_secs(3600);

struct Herd {
    clock: Clock,
    buffer: Buffer,
    lane: Lane,
    scheduler: Scheduler,
    options: DestinationOptions,
}

impl Herd {
    /// All of them failed once, and are due in the same moment.
    async fn new(change: impl FnOnce(&mut DestinationOptions)) -> Self {
        let clock = Clock::manual(NOW);
        let buffer = buffer(&clock);
        buffer.set_destinations(&[("app".into(), Default::default())]);
        let lane = buffer.lane("app");
        for _ in 0..HERD {
            let event = Event { received_at: NOW, ..event("x") };
            buffer.keep(event, std::slice::from_ref(&lane), None, Ack::Memory).await.unwrap();
        }
        for delivery in lane.take(HERD) {
            lane.defer(delivery.event.id, attempt(&clock, 503), NOW.plus(HOUR), Bytes::new());
        }
        let endpoint = Endpoint::Http { host: "app".to_owned(), port: 80 };
        let mut options = DestinationOptions::new(Arc::from("app"), endpoint);
        change(&mut options);
        let mut scheduler = Scheduler::new(Standing::unwritten(), Dice::seeded(1), Instant::now());
        scheduler.set_lanes(std::slice::from_ref(&lane));
        Self { clock, buffer, lane, scheduler, options }
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), wall: self.clock.now() }
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
        self.clock.advance(time);
    }

    /// Starts all that may start now; from when on more may.
    fn start(&mut self, flying: &mut Vec<Flight>) -> Option<Instant> {
        loop {
            match self.scheduler.next(&self.options, self.now()) {
                Next::Start(Start { flight, .. }) => flying.push(flight),
                Next::Again => {}
                Next::Full => return None,
                Next::Wait(at) => return at,
            }
        }
    }

    fn end(&mut self, flying: &mut Vec<Flight>, status: u16) {
        for flight in flying.drain(..) {
            self.end_one(flight, Answer::Status(status));
        }
    }

    fn end_one(&mut self, flight: Flight, answer: Answer) -> Judged {
        let (took, ended) = (Duration::from_millis(1), Ended::with(answer));
        let done = Done { at: self.clock.now(), took, ended };
        self.scheduler.ended(&self.options, flight, &done, self.now())
    }

    /// The destination answers nothing but 503 until its breaker trips.
    async fn trip(&mut self) {
        let mut flying = Vec::new();
        while !self.scheduler.gate().is_tripped() {
            self.start(&mut flying);
            assert!(flying.len() <= 100, "{}", flying.len());
            self.pass(Duration::from_millis(1001)).await;
            self.end(&mut flying, 503);
        }
    }
}

fn attempt(clock: &Clock, status: u16) -> Attempt {
    let (took, answer) = (Duration::from_millis(1), Answer::Status(status));
    Attempt { number: 1, at: clock.now(), took, answer, region: None }
}

#[tokio::test(start_paused = true)]
async fn fifty_thousand_retries_that_are_due_at_once_leave_at_the_lane_s_rate() {
    let mut herd = Herd::new(|options| {
        options.rate = Some("5000/s".parse().unwrap());
        options.burst = 10;
        options.concurrency = 100;
    })
    .await;
    let mut flying = Vec::new();
    herd.start(&mut flying);
    assert!(flying.is_empty(), "none is due");
    herd.pass(HOUR).await;
    let (began, mut left) = (Instant::now(), Vec::with_capacity(HERD));
    while left.len() < HERD {
        let again = herd.start(&mut flying);
        let now = Instant::now();
        left.extend(flying.iter().map(|_| now));
        herd.end(&mut flying, 200);
        if let Some(at) = again {
            herd.pass(at.saturating_duration_since(now).max(Duration::from_micros(1))).await;
        }
    }
    let took = began.elapsed().as_secs_f64();
    assert!((9.9..10.1).contains(&took), "{took} s for 10 s' worth");
    let mut first = 0;
    for (nth, at) in left.iter().enumerate() {
        while left[first] + Duration::from_secs(1) <= *at {
            first += 1;
        }
        assert!(nth - first < 5009, "{} in the second before {at:?}", nth - first + 1);
    }
    assert_eq!(herd.lane.depth().0, 0);
    assert_eq!(herd.buffer.stats().dead_events, 0);
}

#[tokio::test(start_paused = true)]
async fn fifty_thousand_that_waited_for_an_app_that_was_down_leave_a_few_at_a_time() {
    let mut herd = Herd::new(|options| options.concurrency = 100).await;
    herd.pass(HOUR).await;
    herd.trip().await;
    let mut flying = Vec::new();
    herd.pass(herd.options.probe_after).await;
    herd.start(&mut flying);
    assert_eq!(flying.len(), 1, "a probe");
    herd.end(&mut flying, 200);
    let mut before = 1;
    while before < 100 {
        herd.start(&mut flying);
        assert!(flying.len() == before || flying.len() == before + 1, "{} after {before}", flying.len());
        before = flying.len();
        herd.pass(Duration::from_millis(10)).await;
        herd.end(&mut flying, 200);
    }
    assert!(herd.lane.depth().0 > 40_000, "the herd is still there");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_left_hooklatch_waits_as_its_schedule_says() {
    let mut herd = Herd::new(|_| {}).await;
    herd.pass(HOUR).await;
    herd.trip().await;
    herd.pass(herd.options.probe_after).await;
    let mut flying = Vec::new();
    herd.start(&mut flying);
    let judged = herd.end_one(flying.pop().unwrap(), Answer::Internal);
    assert_eq!(judged.verdicts.len(), 1, "it was an attempt, and is not the next probe again");
    herd.start(&mut flying);
    assert_eq!(flying.len(), 1, "another one is, at once");
    let judged = herd.end_one(flying.pop().unwrap(), Answer::Status(503));
    assert_eq!(judged.verdicts.len(), 0, "a probe that failed is no attempt");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_ends_when_the_destination_works_again_is_an_attempt_like_any_other() {
    let mut herd = Herd::new(|options| options.concurrency = 20).await;
    herd.pass(HOUR).await;
    let mut flying = Vec::new();
    herd.start(&mut flying);
    let late = flying.pop().unwrap();
    herd.pass(Duration::from_millis(1001)).await;
    herd.end(&mut flying, 503);
    herd.trip().await;
    herd.pass(herd.options.probe_after).await;
    herd.start(&mut flying);
    let probe = flying.pop().unwrap();
    assert!(flying.is_empty());
    herd.end_one(late, Answer::Status(200));
    assert!(!herd.scheduler.gate().is_tripped());
    let judged = herd.end_one(probe, Answer::Timeout);
    assert_eq!(judged.verdicts.len(), 1);
    assert!(!herd.scheduler.gate().is_tripped(), "one failure is no row of them");
}
