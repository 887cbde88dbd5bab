//! The scheduler alone, over a buffer in memory, on time that only this test moves: for random scripts of arrivals and
//! answers no event is lost, none goes out after it settled or twice at once, events of one key go out one after the other
//! in order of arrival, a higher class goes first, the rate and the concurrency are never exceeded, every wait is within
//! its jitter, and a destination that is down gets one probe at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::time::Instant;

use super::request::event;
use super::rig::{NOW, buffer};
use crate::buffer::{Buffer, Lane, Status};
use crate::clock::{Clock, Millis};
use crate::delivery::breaker::Sign;
use crate::delivery::retry::{Dice, Verdict};
use crate::delivery::scheduler::{Done, Flight, Next, Now, Scheduler, Start};
use crate::delivery::settings::{DestinationOptions, Endpoint};
use crate::delivery::standing::Standing;
use crate::event::{Ack, Answer, Attempt, Event, EventId, OrderKey, Priority, Turn};

/// Steps are of a millisecond.
const STEP: Duration = Duration::from_millis(1);

/// What the app does with one request.
#[derive(Clone, Copy, Debug)]
struct Reply {
    answer: Answer,
    takes: u64,
    retry_after: Option<u64>,
}

#[derive(Clone, Debug)]
struct Script {
    /// When each event comes, in milliseconds after the one before; its class and its key.
    arrivals: Vec<(u64, Turn)>,
    /// What the app answers, in turn; then it is well.
    replies: Vec<Reply>,
    concurrency: u32,
    rate: Option<u32>,
    burst: u32,
    failures: u32,
    jitter: f64,
    seed: u64,
}

fn reply() -> impl Strategy<Value = Reply> {
    let answer = prop_oneof![
        6 => Just(Answer::Status(200)),
        3 => Just(Answer::Status(503)),
        1 => Just(Answer::Status(429)),
        1 => Just(Answer::Status(404)),
        1 => Just(Answer::Status(410)),
        2 => Just(Answer::Connect),
        1 => Just(Answer::Timeout),
        1 => Just(Answer::Internal),
    ];
    (answer, 1u64..80, proptest::option::weighted(0.2, 0u64..3))
        .prop_map(|(answer, takes, retry_after)| Reply { answer, takes, retry_after })
}

fn turn() -> impl Strategy<Value = Turn> {
    let priority = proptest::sample::select(Priority::ALL.to_vec());
    // One class a key: order holds within a class.
    let key = proptest::option::of(0u8..4);
    (priority, key).prop_map(|(priority, key)| Turn {
        priority,
        order_key: key.map(|key| OrderKey::new("in", &format!("{}{key}", priority.as_str()))),
    })
}

fn script() -> impl Strategy<Value = Script> {
    (
        proptest::collection::vec((prop_oneof![3 => Just(0u64), 1 => 0u64..400], turn()), 1..60),
        proptest::collection::vec(reply(), 0..150),
        1u32..9,
        proptest::option::of(5u32..200),
        1u32..6,
        1u32..6,
        0.0f64..=0.5,
        any::<u64>(),
    )
        .prop_map(|(arrivals, replies, concurrency, rate, burst, failures, jitter, seed)| Script {
            arrivals,
            replies,
            concurrency,
            rate,
            burst,
            failures,
            jitter,
            seed,
        })
}

/// What is known of one event.
#[derive(Clone, Copy, Debug, Default)]
struct Story {
    attempts: u16,
    in_flight: bool,
    settled: bool,
    /// A probe with it failed, and the scheduler has it in hand.
    held: bool,
    not_before: Millis,
    turn: Turn,
}

impl Story {
    /// It could go out, if its turn were now.
    fn is_ready(&self, now: Millis) -> bool {
        !self.settled && !self.in_flight && !self.held && self.not_before <= now
    }
}

/// The world around the scheduler.
struct World {
    script: Script,
    options: DestinationOptions,
    clock: Clock,
    buffer: Buffer,
    lane: Lane,
    scheduler: Scheduler,
    stories: HashMap<EventId, Story>,
    in_flight: Vec<(Instant, Flight, u16, EventId, Reply)>,
    left: Vec<Instant>,
    began_while_tripped: usize,
    /// Starts of a lower class though a higher one was ready; and all starts.
    passed_over: usize,
    starts: usize,
}

impl World {
    fn new(script: Script) -> Self {
        let endpoint = Endpoint::Http { host: "app".to_owned(), port: 80 };
        let mut options = DestinationOptions::new(Arc::from("app"), endpoint);
        options.concurrency = script.concurrency;
        options.rate = script.rate.map(|rate| format!("{rate}/s").parse().unwrap());
        options.burst = script.burst;
        options.breaker_failures = script.failures;
        options.probe_after = Duration::from_millis(700);
        options.retry_jitter = script.jitter;
        options.retry_delays = [100, 300, 1000, 2000, 4000].map(Duration::from_millis).to_vec();
        let clock = Clock::manual(NOW);
        let buffer = buffer(&clock);
        buffer.set_destinations(&[("app".into(), Default::default())]);
        let lane = buffer.lane("app");
        let standing = Standing::unwritten();
        let mut scheduler = Scheduler::new(standing, Dice::seeded(script.seed), Instant::now());
        scheduler.set_lanes(std::slice::from_ref(&lane));
        Self {
            script,
            options,
            clock,
            buffer,
            lane,
            scheduler,
            stories: HashMap::new(),
            in_flight: Vec::new(),
            left: Vec::new(),
            began_while_tripped: 0,
            passed_over: 0,
            starts: 0,
        }
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), wall: self.clock.now() }
    }

    async fn arrive(&mut self, turn: Turn) {
        let event = Event { received_at: self.clock.now(), turn, ..event("x") };
        let id = self.buffer.keep(event, std::slice::from_ref(&self.lane), None, Ack::Memory).await.unwrap();
        self.stories.insert(id, Story { turn, ..Story::default() });
    }

    fn start_what_may(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..10_000 {
            let now = self.now();
            let tripped = self.scheduler.gate().is_tripped();
            match self.scheduler.next(&self.options, now) {
                Next::Start(start) => self.start(start, tripped)?,
                Next::Again => {}
                Next::Full | Next::Wait(_) => return Ok(()),
            }
        }
        Err(TestCaseError::fail("the scheduler never has enough"))
    }

    fn start(&mut self, start: Start, tripped: bool) -> Result<(), TestCaseError> {
        let Start { delivery, departure, flight } = start;
        let (id, now) = (delivery.event.id, self.now());
        self.check_turn(id, now.wall)?;
        let story = self.stories.get_mut(&id).unwrap();
        prop_assert!(!story.in_flight, "{id} is in flight twice");
        prop_assert!(!story.settled, "{id} goes out after it settled");
        prop_assert_eq!(delivery.attempt, story.attempts + 1);
        prop_assert!(now.wall >= story.not_before, "{} leaves before its time", id);
        (story.in_flight, story.held) = (true, false);
        if tripped {
            self.began_while_tripped += 1;
            prop_assert!(self.began_while_tripped <= 1, "two probes at once");
        }
        prop_assert!(departure.leave().now_or_never().is_some(), "an attempt that began may leave");
        self.left.push(now.at);
        prop_assert!(self.in_flight.len() < self.script.concurrency as usize);
        let reply = if self.script.replies.is_empty() {
            Reply { answer: Answer::Status(200), takes: 5, retry_after: None }
        } else {
            self.script.replies.remove(0)
        };
        let ends = now.at + STEP * u32::try_from(reply.takes).unwrap();
        self.in_flight.push((ends, flight, delivery.attempt, id, reply));
        Ok(())
    }

    /// Whether it is the turn of `id`: nothing of its key is unsettled that came before it, and nothing of a higher class
    /// is ready, but for one slot in 20.
    fn check_turn(&mut self, id: EventId, now: Millis) -> Result<(), TestCaseError> {
        let turn = self.stories[&id].turn;
        if turn.order_key.is_some() {
            let before = self.stories.iter().find(|(other, story)| {
                story.turn.order_key == turn.order_key && **other < id && !story.settled
            });
            prop_assert!(before.is_none(), "{id} overtakes {before:?}");
        }
        let higher = self.stories.iter().any(|(other, story)| {
            let first_of_its_key = story.turn.order_key.is_none()
                || !self.stories.iter().any(|(earlier, before)| {
                    before.turn.order_key == story.turn.order_key && earlier < other && !before.settled
                });
            story.turn.priority < turn.priority && story.is_ready(now) && first_of_its_key
        });
        self.starts += 1;
        self.passed_over += usize::from(higher);
        prop_assert!(
            self.passed_over <= self.starts / 20 + 2,
            "{} of {} starts passed over a higher class",
            self.passed_over,
            self.starts
        );
        Ok(())
    }

    fn end_what_is_over(&mut self) -> Result<(), TestCaseError> {
        let now = self.now();
        let (over, on): (Vec<_>, _) = self.in_flight.drain(..).partition(|(ends, ..)| *ends <= now.at);
        self.in_flight = on;
        for (_, flight, number, id, reply) in over {
            let was_tripped = self.scheduler.gate().is_tripped();
            let record = Attempt {
                number,
                at: now.wall,
                took: STEP * reply.takes as u32,
                answer: reply.answer,
                region: None,
            };
            let retry_after = reply.retry_after.map(Duration::from_secs);
            let done = Done { record, hopeless: false, retry_after, excerpt: Bytes::new() };
            let judged = self.scheduler.ended(&self.options, flight, done, now);
            let story = self.stories.get_mut(&id).unwrap();
            story.in_flight = false;
            match judged.verdict {
                None => {
                    prop_assert!(was_tripped && Sign::of(reply.answer) != Sign::Life);
                    self.began_while_tripped = 0;
                    story.held = true;
                    continue;
                }
                Some(verdict) => {
                    story.attempts = number;
                    judge(&self.options, number, reply, verdict, now.wall)?;
                    match verdict {
                        Verdict::RetryAt(due) => story.not_before = due,
                        Verdict::Delivered | Verdict::Dead(_) => story.settled = true,
                    }
                }
            }
            if !self.scheduler.gate().is_tripped() {
                self.began_while_tripped = 0;
                // What was held is given back when the destination works again.
                self.stories.values_mut().for_each(|story| story.held = false);
            }
        }
        Ok(())
    }
}

/// Every wait is within its jitter; a `Retry-After` only lengthens it.
fn judge(
    options: &DestinationOptions,
    number: u16,
    reply: Reply,
    verdict: Verdict,
    now: Millis,
) -> Result<(), TestCaseError> {
    let delay = options.retry_delays.get(usize::from(number) - 1).copied();
    match (reply.answer, verdict, delay) {
        (Answer::Status(200), Verdict::Delivered, _) | (Answer::Status(410), Verdict::Dead(_), _) => {}
        (Answer::Status(200 | 410), other, _) => prop_assert!(false, "{other:?}"),
        (_, Verdict::Dead(_), None) => {}
        (_, Verdict::RetryAt(due), Some(delay)) => {
            let wait = due.since(now) + STEP;
            let asked = Duration::from_secs(reply.retry_after.unwrap_or(0));
            prop_assert!(wait >= delay.mul_f64(1.0 - options.retry_jitter).max(asked), "{wait:?} {delay:?}");
            prop_assert!(
                wait <= delay.mul_f64(1.0 + options.retry_jitter).max(asked) + 2 * STEP,
                "{wait:?} {delay:?}"
            );
        }
        (_, verdict, delay) => prop_assert!(false, "{verdict:?} after {number} with {delay:?}"),
    }
    Ok(())
}

async fn play(script: Script) -> Result<(), TestCaseError> {
    let arrivals = script.arrivals.clone();
    let (rate, burst) = (script.rate, script.burst);
    let mut world = World::new(script);
    let mut arrivals = arrivals.into_iter().peekable();
    let wait = |next: Option<&(u64, Turn)>| next.map_or(0, |(wait, _)| *wait);
    let mut until_next = wait(arrivals.peek());
    // Long after the last scripted answer: 5 probes a second's worth of outage, and the longest schedule.
    for _ in 0..600_000u32 {
        while until_next == 0
            && let Some((_, turn)) = arrivals.next()
        {
            until_next = wait(arrivals.peek());
            world.arrive(turn).await;
        }
        until_next = until_next.saturating_sub(1);
        world.end_what_is_over()?;
        world.start_what_may()?;
        let over = arrivals.peek().is_none() && world.stories.values().all(|story| story.settled);
        if over {
            break;
        }
        tokio::time::advance(STEP).await;
        world.clock.advance(STEP);
    }
    for (id, story) in &world.stories {
        prop_assert!(story.settled, "{id} is lost: {story:?}");
        let status = world.buffer.find(*id).map(|view| view.destinations[0].status);
        prop_assert!(matches!(status, Some(Status::Delivered | Status::Dead(_))), "{id}: {status:?}");
    }
    prop_assert_eq!(world.lane.depth().0, 0);
    if let Some(rate) = rate {
        let most = rate as usize + burst as usize - 1;
        for (nth, first) in world.left.iter().enumerate() {
            let within = world.left[nth..].iter().take_while(|at| **at < *first + Duration::from_secs(1));
            prop_assert!(within.count() <= most, "more than {most} in a second");
        }
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_and_whatever_the_app_answers(script in script()) {
        runtime().block_on(play(script))?;
    }
}
