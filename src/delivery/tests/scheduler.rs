//! The scheduler alone, over a buffer in memory or on disk, on time that only this test moves: for random scripts of arrivals and
//! answers no event is lost, none goes out after it settled or twice at once, events of one key go out one after the other
//! in order of arrival, a higher class goes first, the rate and the concurrency are never exceeded, every wait is within
//! its jitter, and a destination that is down gets one probe at a time. At one with batches a request has no more events and
//! bytes than it may, leaves no earlier than it should, is one for the rate, and a retry goes by itself; pauses, panics and
//! reloads in between change nothing of it.

mod script;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::time::Instant;

use super::request::event;
use super::rig::{NOW, buffer, disk_buffer};
use crate::buffer::{Buffer, Delivery, Lane, Status};
use crate::clock::{Clock, Millis};
use crate::delivery::BatchOptions;
use crate::delivery::batch::{Batch, Said};
use crate::delivery::breaker::Sign;
use crate::delivery::flights::{Cargo, Done, Ended, Flight};
use crate::delivery::retry::{Dice, Verdict};
use crate::delivery::scheduler::{Next, Now, Scheduler, Start};
use crate::delivery::settings::{DestinationOptions, Endpoint};
use crate::delivery::standing::{Pause, PausedBy, Standing};
use crate::event::{Ack, Answer, Event, EventId, Priority, Turn};
use script::{Arrival, Reply, Script, Shock, script};

/// Steps are of a millisecond.
const STEP: Duration = Duration::from_millis(1);

/// What is known of one event.
#[derive(Clone, Copy, Debug, Default)]
struct Story {
    attempts: u16,
    in_flight: bool,
    settled: bool,
    /// A probe with it failed, and the scheduler has it in hand.
    held: bool,
    not_before: Millis,
    came: Millis,
    turn: Turn,
}

impl Story {
    /// It could go out, if its turn were now.
    fn is_ready(&self, now: Millis) -> bool {
        !self.settled && !self.in_flight && !self.held && self.not_before <= now
    }
}

/// A request on its way.
struct OnItsWay {
    start: usize,
    ends: Instant,
    flight: Flight,
    /// Each event with the number of its attempt.
    aboard: Vec<(EventId, u16)>,
    is_batch: bool,
    reply: Reply,
}

/// Where the events are kept.
#[derive(Clone, Copy, Debug)]
enum Store {
    Memory,
    Disk,
}

/// The world around the scheduler.
struct World {
    script: Script,
    options: DestinationOptions,
    clock: Clock,
    buffer: Buffer,
    /// Where it is, on disk.
    _folder: Option<tempfile::TempDir>,
    lane: Lane,
    standing: Arc<Standing>,
    scheduler: Scheduler,
    stories: HashMap<EventId, Story>,
    in_flight: Vec<OnItsWay>,
    left: Vec<Instant>,
    /// The start that is the probe on its way.
    probe: Option<usize>,
    /// Starts of a lower class though a higher one was ready; and all starts.
    passed_over: usize,
    starts: usize,
    /// Whether there ever are batches, and whether somebody was in a hurry.
    batched: bool,
    hastened: bool,
}

impl World {
    fn new(script: Script, store: Store) -> Self {
        let shocks = || script.shocks.iter().map(|(_, shock)| shock);
        let batched = script.batch.is_some() || shocks().any(|shock| matches!(shock, Shock::Reload(Some(_))));
        let hastened = shocks().any(|shock| matches!(shock, Shock::Hasten));
        let endpoint = Endpoint::Http { host: "app".to_owned(), port: 80 };
        let mut options = DestinationOptions::new(Arc::from("app"), endpoint);
        options.concurrency = script.concurrency;
        options.rate = script.rate.map(|rate| format!("{rate}/s").parse().unwrap());
        options.burst = script.burst;
        options.batch = script.batch;
        options.breaker_failures = script.failures;
        options.probe_after = Duration::from_millis(700);
        options.retry_jitter = script.jitter;
        options.retry_delays = [100, 300, 1000, 2000, 4000].map(Duration::from_millis).to_vec();
        let clock = Clock::manual(NOW);
        let (buffer, folder) = match store {
            Store::Memory => (buffer(&clock), None),
            Store::Disk => {
                let (buffer, folder) = disk_buffer(&clock);
                (buffer, Some(folder))
            }
        };
        buffer.set_destinations(&[("app".into(), Default::default())]);
        let lane = buffer.lane("app");
        let standing = Standing::unwritten();
        let mut scheduler = Scheduler::new(Arc::clone(&standing), Dice::seeded(script.seed), Instant::now());
        scheduler.set_lanes(std::slice::from_ref(&lane));
        Self {
            script,
            options,
            clock,
            buffer,
            _folder: folder,
            lane,
            standing,
            scheduler,
            stories: HashMap::new(),
            in_flight: Vec::new(),
            left: Vec::new(),
            probe: None,
            passed_over: 0,
            starts: 0,
            batched,
            hastened,
        }
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), wall: self.clock.now() }
    }

    async fn arrive(&mut self, Arrival { turn, size, .. }: Arrival) {
        let came = self.clock.now();
        let event = Event { received_at: came, turn, ..event("x".repeat(size)) };
        let id = self.buffer.keep(event, std::slice::from_ref(&self.lane), None, Ack::Memory).await.unwrap();
        self.stories.insert(id, Story { turn, came, ..Story::default() });
    }

    fn shock(&mut self, shock: Shock) {
        let now = self.now();
        match shock {
            Shock::Pause(ms) => {
                let until = Some(now.wall.plus(Duration::from_millis(ms)));
                self.standing.pause(Pause { by: PausedBy::Operator, since: now.wall, until });
            }
            Shock::Panic => {
                self.scheduler.give_back(now.at);
                self.in_flight.clear();
                self.probe = None;
                for story in self.stories.values_mut() {
                    (story.in_flight, story.held) = (false, false);
                }
            }
            Shock::Reload(batch) => self.options.batch = batch,
            Shock::Hasten => {
                self.scheduler.hasten(now);
                for story in self.stories.values_mut() {
                    story.not_before = story.not_before.min(now.wall);
                }
            }
        }
    }

    fn start_what_may(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..10_000 {
            // A disk takes time that is not this test's.
            self.buffer.quiet();
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
        let Start { cargo, departure, flight } = start;
        let now = self.now();
        prop_assert_eq!(matches!(cargo, Cargo::Batch(_)), self.options.batch.is_some());
        if let (Cargo::Batch(batch), Some(options)) = (&cargo, self.options.batch) {
            self.check_batch(batch, options, tripped)?;
        }
        let aboard: Vec<_> = cargo.deliveries().iter().map(|of| (of.event.id, of.attempt)).collect();
        for delivery in cargo.deliveries() {
            self.board(delivery)?;
        }
        let start = self.left.len();
        if tripped {
            prop_assert!(self.probe.replace(start).is_none(), "two probes at once");
        }
        prop_assert!(departure.leave().now_or_never().is_some(), "an attempt that began may leave");
        self.left.push(now.at);
        prop_assert!(self.in_flight.len() < self.script.concurrency as usize);
        let replies = &mut self.script.replies;
        let reply = if replies.is_empty() { Reply::WELL } else { replies.remove(0) };
        let ends = now.at + STEP * u32::try_from(reply.takes).unwrap();
        let is_batch = matches!(cargo, Cargo::Batch(_));
        self.in_flight.push(OnItsWay { start, ends, flight, aboard, is_batch, reply });
        Ok(())
    }

    /// One event of a request that starts.
    fn board(&mut self, delivery: &Delivery) -> Result<(), TestCaseError> {
        let (id, now) = (delivery.event.id, self.now().wall);
        self.check_turn(id, now)?;
        let story = self.stories.get_mut(&id).unwrap();
        prop_assert!(!story.in_flight, "{id} is in flight twice");
        prop_assert!(!story.settled, "{id} goes out after it settled");
        prop_assert_eq!(delivery.attempt, story.attempts + 1);
        prop_assert!(now >= story.not_before, "{} leaves before its time", id);
        (story.in_flight, story.held) = (true, false);
        Ok(())
    }

    /// No more events and bytes than there may be, and it leaves for a reason.
    fn check_batch(&self, batch: &Batch, options: BatchOptions, tripped: bool) -> Result<(), TestCaseError> {
        let (aboard, bytes) = (&batch.deliveries, batch.body.len());
        prop_assert!((1..=options.max_events).contains(&aboard.len()));
        prop_assert!(bytes <= options.max_bytes || aboard.len() == 1, "{bytes} of {options:?}");
        if aboard.iter().any(|of| of.attempt > 1) || tripped {
            prop_assert_eq!(aboard.len(), 1, "retries and probes go by themselves");
            return Ok(());
        }
        let story = |of: &Delivery| self.stories[&of.event.id];
        let waited = aboard.iter().map(|of| self.clock.now().since(story(of).came)).max().unwrap();
        let is_critical = |of: &Delivery| of.event.turn.priority == Priority::Critical;
        // An event has 1,200 bytes at most, base64 and all.
        let for_a_reason = aboard.len() == options.max_events
            || bytes + 1200 > options.max_bytes
            || waited >= options.max_wait
            || aboard.iter().any(is_critical)
            || self.hastened;
        prop_assert!(for_a_reason, "{} events, {bytes} bytes, {waited:?} of {options:?}", aboard.len());
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
        if self.batched {
            return Ok(()); // who was in hand before the other one came leaves beside it
        }
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
        let (over, on): (Vec<_>, _) = self.in_flight.drain(..).partition(|request| request.ends <= now.at);
        self.in_flight = on;
        for OnItsWay { flight, start, aboard, is_batch, reply, .. } in over {
            let was_tripped = self.scheduler.gate().is_tripped();
            let in_parts = is_batch && reply.parts.is_some();
            let part = |nth| if in_parts { reply.part(nth) } else { reply.answer };
            let said = |nth| Said { answer: reply.part(nth), excerpt: Bytes::new() };
            let answer = if in_parts { Answer::Status(207) } else { reply.answer };
            let ended = Ended {
                retry_after: reply.retry_after.map(Duration::from_secs),
                each: if in_parts { (0..aboard.len()).map(said).collect() } else { Vec::new() },
                ..Ended::with(answer)
            };
            let done = Done { at: now.wall, took: STEP * reply.takes as u32, ended };
            let judged = self.scheduler.ended(&self.options, flight, &done, now);
            self.probe = self.probe.filter(|probe| *probe != start);
            if judged.verdicts.is_empty() {
                prop_assert!(was_tripped && Sign::of(part(0)) != Sign::Life && aboard.len() == 1);
                let story = self.stories.get_mut(&aboard[0].0).unwrap();
                (story.in_flight, story.held) = (false, true);
                continue;
            }
            prop_assert_eq!(judged.verdicts.len(), aboard.len());
            for (nth, ((id, number), verdict)) in aboard.into_iter().zip(judged.verdicts).enumerate() {
                let story = self.stories.get_mut(&id).unwrap();
                (story.in_flight, story.attempts) = (false, number);
                judge(&self.options, number, Reply { answer: part(nth), ..reply }, verdict, now.wall)?;
                match verdict {
                    Verdict::RetryAt(due) => story.not_before = due,
                    Verdict::Delivered | Verdict::Dead(_) => story.settled = true,
                }
            }
            if !self.scheduler.gate().is_tripped() {
                self.probe = None;
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

async fn play(script: Script, store: Store) -> Result<(), TestCaseError> {
    let (arrivals, shocks) = (script.arrivals.clone(), script.shocks.clone());
    let (rate, burst) = (script.rate, script.burst);
    let mut world = World::new(script, store);
    let mut arrivals = arrivals.into_iter().peekable();
    let mut shocks = shocks.into_iter().peekable();
    let wait = |next: Option<&Arrival>| next.map_or(0, |arrival| arrival.after);
    let shock_in = |next: Option<&(u64, Shock)>| next.map_or(u64::MAX, |(after, _)| *after);
    let mut until_next = wait(arrivals.peek());
    let mut until_shock = shock_in(shocks.peek());
    // Long after the last scripted answer: 5 probes a second's worth of outage, and the longest schedule.
    for _ in 0..600_000u32 {
        while until_next == 0
            && let Some(arrival) = arrivals.next()
        {
            until_next = wait(arrivals.peek());
            world.arrive(arrival).await;
        }
        until_next = until_next.saturating_sub(1);
        until_shock = until_shock.saturating_sub(1);
        if until_shock == 0
            && let Some((_, shock)) = shocks.next()
        {
            until_shock = shock_in(shocks.peek());
            world.shock(shock);
        }
        world.end_what_is_over()?;
        world.start_what_may()?;
        let over = arrivals.peek().is_none() && world.stories.values().all(|story| story.settled);
        if over {
            break;
        }
        tokio::time::advance(STEP).await;
        world.clock.advance(STEP);
    }
    world.buffer.quiet();
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
        runtime().block_on(play(script, Store::Memory))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_to_a_buffer_on_disk_and_whatever_the_app_answers(script in script()) {
        runtime().block_on(play(script, Store::Disk))?;
    }
}
