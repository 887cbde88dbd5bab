//! A lane: the one task that delivers to one destination.
//!
//! It owns its attempts and polls them itself, so that nothing is spawned, locked or shared per attempt, and so that
//! an event cannot be in flight twice. It takes from the buffer what there is room for: what a sender waits for
//! first, then due retries and fresh events in turn.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::attempt::{Ended, Finished, Work, attempt};
use super::retry::{Dice, Schedule, Verdict};
use crate::buffer::{DeadReason, Delivery, Lane, Settled};
use crate::clock::{Clock, Millis};
use crate::event::{Attempt, EventId, Outcome};
use crate::observe::{AttemptLine, AttemptResult, DestinationMetrics, EventLog, Metrics};

/// Due times are wall time and the wait for them is not: it is worked out again at least this often, so that a
/// clock that was set does not hold a lane up.
const RECHECK: Duration = Duration::from_secs(30);
/// How long a lane waits after a panic of its own, so that one that comes back each time does not spin.
const RESTART: Duration = Duration::from_secs(1);

/// What a lane is told from outside.
#[derive(Clone, Debug)]
pub(super) struct Control {
    pub(super) work: Arc<Work>,
    /// Whether the configuration names the destination: without it, its backlog waits.
    pub(super) taking: bool,
    /// Set when the gateway stops: deliver what there is until then.
    pub(super) until: Option<Instant>,
}

/// What a lane reports with.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) clock: Clock,
    pub(super) log: EventLog,
    pub(super) metrics: Arc<Metrics>,
    pub(super) destination: DestinationMetrics,
    pub(super) health: Arc<Health>,
}

/// How a destination does, for the admin API. Times are milliseconds since the epoch, 0 for never.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) in_flight: AtomicU32,
    pub(super) last_success: AtomicU64,
    pub(super) last_failure: AtomicU64,
    pub(super) failures_in_a_row: AtomicU64,
}

impl Health {
    fn record(&self, delivered: bool, now: Millis) {
        if delivered {
            self.last_success.store(now.0, Ordering::Relaxed);
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        } else {
            self.last_failure.store(now.0, Ordering::Relaxed);
            self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }
}

type InFlight = FuturesUnordered<Pin<Box<dyn Future<Output = Finished> + Send>>>;

/// The state of the task.
pub(super) struct LaneTask {
    lane: Lane,
    control: watch::Receiver<Control>,
    tools: Tools,
    dice: Dice,
    in_flight: InFlight,
    /// The events behind `in_flight`, those that the buffer counts as taken.
    taken: Vec<EventId>,
    /// Whether the next slot belongs to a due retry, if there is one.
    retrys_turn: bool,
    timer: Pin<Box<Sleep>>,
    /// What `timer` is set for.
    armed: Option<Millis>,
}

impl LaneTask {
    pub(super) fn new(lane: Lane, control: watch::Receiver<Control>, tools: Tools) -> Self {
        Self {
            lane,
            control,
            tools,
            dice: Dice::random(),
            in_flight: FuturesUnordered::new(),
            taken: Vec::new(),
            retrys_turn: false,
            timer: Box::pin(sleep_until(Instant::now())),
            armed: None,
        }
    }

    /// Runs until the gateway stops (or drops the sender of `control`). A panic in an attempt ends that attempt; one
    /// in the lane itself, which is a mistake of ours, costs the lane a second and not its life.
    pub(super) async fn run(mut self) {
        while AssertUnwindSafe(self.deliver()).catch_unwind().await.is_err() {
            tracing::error!(destination = %self.lane.destination(), "a delivery lane panicked; it starts again");
            self.give_back();
            tokio::time::sleep(RESTART).await;
        }
        self.give_back();
    }

    async fn deliver(&mut self) {
        loop {
            let control = self.control.borrow_and_update().clone();
            let room = control.taking && self.fill(&control.work);
            if control.until.is_some_and(|until| self.nothing_left_before(until, control.taking)) {
                return;
            }
            let due = room && self.arm();
            tokio::select! {
                Some(finished) = self.in_flight.next(), if !self.in_flight.is_empty() => self.finish(finished),
                () = self.lane.changed(), if room => {}
                () = &mut self.timer, if due => self.armed = None,
                changed = self.control.changed() => if changed.is_err() { return },
                () = at(control.until), if control.until.is_some() => return,
            }
        }
    }

    /// Ends every attempt and puts its event back: it goes out again, with the same id. The app may see it twice,
    /// never not at all.
    fn give_back(&mut self) {
        self.in_flight.clear();
        self.tools.health.in_flight.store(0, Ordering::Relaxed);
        for id in std::mem::take(&mut self.taken) {
            self.lane.put_back(id);
        }
    }

    /// Starts as many attempts as there is room for; whether there is still room.
    fn fill(&mut self, work: &Arc<Work>) -> bool {
        let most = usize::try_from(work.settings.concurrency).unwrap_or(usize::MAX);
        loop {
            let free = most.saturating_sub(self.in_flight.len());
            if free == 0 {
                return false;
            }
            let now = self.tools.clock.now();
            let is_due = self.lane.next_due().is_some_and(|due| due <= now);
            if is_due && self.retrys_turn {
                self.retrys_turn = false;
                if let Some(retry) = self.lane.take_due(now) {
                    self.start(work, retry);
                    continue;
                }
            }
            // Where retries are due, fresh events get every other slot only.
            let fresh = self.lane.take(if is_due { 1 } else { free });
            if fresh.is_empty() {
                let Some(retry) = self.lane.take_due(now) else { return true };
                self.start(work, retry);
                continue;
            }
            self.retrys_turn = true;
            for delivery in fresh {
                self.start(work, delivery);
            }
        }
    }

    fn start(&mut self, work: &Arc<Work>, delivery: Delivery) {
        if delivery.express.is_none() {
            self.taken.push(delivery.event.id);
        }
        self.tools.health.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_flight.push(Box::pin(attempt(work.clone(), delivery, self.tools.clock.clone())));
    }

    /// Sets the timer for the earliest retry; whether there is one.
    fn arm(&mut self) -> bool {
        let Some(due) = self.lane.next_due() else { return false };
        if self.armed != Some(due) {
            self.armed = Some(due);
            // A due time in the past that could not be taken is a matter for the next wake-up, not for a busy loop.
            let wait = due.since(self.tools.clock.now()).clamp(Duration::from_millis(1), RECHECK);
            self.timer.as_mut().reset(Instant::now() + wait);
        }
        true
    }

    /// While draining: nothing is in flight, and nothing can be before `until`.
    fn nothing_left_before(&self, until: Instant, taking: bool) -> bool {
        if !self.in_flight.is_empty() {
            return false;
        }
        let end = self.tools.clock.now().plus(until.saturating_duration_since(Instant::now()));
        !taking || self.lane.next_due().is_none_or(|due| due > end)
    }

    fn finish(&mut self, finished: Finished) {
        let Finished { delivery, at, took, ended } = finished;
        let now = self.tools.clock.now();
        self.tools.health.in_flight.fetch_sub(1, Ordering::Relaxed);
        if ended.cut {
            self.tools.metrics.limit_hit("answer_bytes");
        }
        let record = Attempt { number: delivery.attempt, at, took, answer: ended.answer };
        let verdict = if delivery.express.is_some() {
            express_verdict(&ended)
        } else {
            self.judge(&record, &ended, now)
        };
        self.report(&delivery, &record, &ended, verdict, now);

        let id = delivery.event.id;
        if let Some(waiting) = delivery.express {
            // An error means that the sender hung up meanwhile; it will come again.
            let _ = waiting.send(outcome(ended));
            return;
        }
        if let Some(place) = self.taken.iter().position(|taken| *taken == id) {
            self.taken.swap_remove(place);
        }
        match verdict {
            Verdict::Delivered => self.lane.settle(id, Settled::Delivered, record, ended.excerpt),
            Verdict::Dead(reason) => self.lane.settle(id, Settled::Dead(reason), record, ended.excerpt),
            Verdict::RetryAt(due) => self.lane.defer(id, record, due, ended.excerpt),
        }
    }

    fn judge(&mut self, record: &Attempt, ended: &Ended, now: Millis) -> Verdict {
        if ended.hopeless {
            return Verdict::Dead(DeadReason::AttemptsExhausted);
        }
        let control = self.control.borrow();
        let settings = &control.work.settings;
        let schedule = Schedule { delays: &settings.retry_delays, jitter: settings.retry_jitter };
        schedule.verdict(record.number, record.answer, ended.retry_after, now, &mut self.dice)
    }

    fn report(&self, delivery: &Delivery, record: &Attempt, ended: &Ended, verdict: Verdict, now: Millis) {
        let (result, next) = match verdict {
            Verdict::Delivered => (AttemptResult::Delivered, None),
            Verdict::RetryAt(due) => (AttemptResult::Retry, Some(due)),
            Verdict::Dead(_) => (AttemptResult::Dead, None),
        };
        let event = &delivery.event;
        self.tools.health.record(verdict == Verdict::Delivered, now);
        self.tools.destination.attempt(result, record.answer, record.number == 1);
        if verdict == Verdict::Delivered {
            let age = event.event_time.map(|happened| now.since(happened));
            self.tools.destination.delivered(now.since(event.received_at), age);
        }
        self.tools.log.attempt(&AttemptLine {
            at: now,
            id: event.id,
            route: &event.route,
            destination: self.lane.destination(),
            attempt: record.number,
            answer: record.answer,
            result,
            took: record.took,
            next,
            reason: ended.reason.as_deref(),
        });
    }
}

/// What a sender waits for has one attempt: whatever is no 2xx, the sender is told and comes again.
fn express_verdict(ended: &Ended) -> Verdict {
    if matches!(ended.reply, Some(ref reply) if (200..300).contains(&reply.status)) {
        Verdict::Delivered
    } else {
        Verdict::Dead(DeadReason::AttemptsExhausted)
    }
}

fn outcome(ended: Ended) -> Outcome {
    match ended.reply {
        Some(reply) if (200..300).contains(&reply.status) => Outcome::Delivered { reply },
        reply => Outcome::Failed { answer: Some(ended.answer), reply },
    }
}

/// The moment `until`; never, if there is none.
async fn at(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
