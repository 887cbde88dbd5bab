//! A lane: the one task that delivers to one destination.
//!
//! It owns its attempts and polls them itself, so that nothing is spawned, locked or shared per attempt, and so that
//! an event cannot be in flight twice. What starts when is the [`Scheduler`]'s to say; the task makes the attempts,
//! waits, and tells what happened.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::alarm::Alarm;
use super::attempt::{Finished, Work, attempt};
use super::flights::{Cargo, Done, Flight, Judged};
use super::gate::Change;
use super::health::{Health, LaneState};
use super::retry::{Dice, Verdict};
use super::scheduler::{Next, Now, Scheduler, Start};
use super::standing::Standing;
use crate::buffer::{Delivery, Lane};
use crate::clock::Clock;
use crate::event::{Answer, AppReply, Attempt, Outcome, Region};
use crate::observe::{Alert, AttemptLine, AttemptResult, DestinationMetrics, EventLog, Metrics};

/// Due times are wall time and the wait for them is not: it is worked out again at least this often, so that a
/// clock that was set does not hold a lane up.
const RECHECK: Duration = Duration::from_secs(30);
/// What could not be taken though its time has come is a matter for the next wake-up, not for a busy loop.
const AT_LEAST: Duration = Duration::from_millis(1);
/// How long a lane waits after a panic of its own, so that one that comes back each time does not spin.
const RESTART: Duration = Duration::from_secs(1);

/// What a lane is told from outside.
#[derive(Clone, Debug)]
pub(super) struct Control {
    pub(super) work: Arc<Work>,
    /// Where its events wait: under the names it had, then under its own.
    pub(super) lanes: Arc<[Lane]>,
    /// Whether the configuration names the destination: without it, its backlog waits.
    pub(super) taking: bool,
    /// Set when the gateway stops: deliver what there is until then.
    pub(super) until: Option<Instant>,
    /// Counts how often somebody asked for an attempt now.
    pub(super) hastened: u64,
}

/// What a lane reports with.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) clock: Clock,
    pub(super) log: EventLog,
    pub(super) metrics: Arc<Metrics>,
    pub(super) destination: DestinationMetrics,
    pub(super) health: Arc<Health>,
    pub(super) standing: Arc<Standing>,
    /// Whether time is the system's, not a test's.
    pub(super) exact: bool,
}

type InFlight = FuturesUnordered<Pin<Box<dyn Future<Output = (Flight, Finished)> + Send>>>;

/// The state of the task.
pub(super) struct LaneTask {
    name: Arc<str>,
    control: watch::Receiver<Control>,
    tools: Tools,
    scheduler: Scheduler,
    in_flight: InFlight,
    alarm: Alarm,
    /// Of [`Control::hastened`], what was heard.
    hastened: u64,
    /// The lanes that the scheduler knows of.
    lanes: Option<Arc<[Lane]>>,
    /// What was noted last of the lane being open.
    open: Option<bool>,
}

impl LaneTask {
    pub(super) fn new(name: Arc<str>, control: watch::Receiver<Control>, tools: Tools) -> Self {
        let scheduler = Scheduler::new(Arc::clone(&tools.standing), Dice::random(), Instant::now());
        Self {
            name,
            control,
            scheduler,
            in_flight: FuturesUnordered::new(),
            alarm: Alarm::new(tools.exact),
            tools,
            hastened: 0,
            lanes: None,
            open: None,
        }
    }

    /// Runs until the gateway stops (or drops the sender of `control`). A panic in an attempt ends that attempt; one
    /// in the lane itself, which is a mistake of ours, costs the lane a second and not its life.
    pub(super) async fn run(mut self) {
        while AssertUnwindSafe(self.deliver()).catch_unwind().await.is_err() {
            tracing::error!(destination = %self.name, "a delivery lane panicked; it starts again");
            self.give_back();
            tokio::time::sleep(RESTART).await;
        }
        self.give_back();
    }

    async fn deliver(&mut self) {
        loop {
            let control = self.control.borrow_and_update().clone();
            self.hear(&control);
            let next = if control.taking { self.fill(&control) } else { self.rest() };
            self.note(&control);
            if control.until.is_some_and(|until| self.nothing_left_before(until, &next)) {
                return;
            }
            let waits = self.set_alarm(&next);
            let again = matches!(next, Next::Again);
            tokio::select! {
                Some((flight, finished)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.finish(flight, finished);
                }
                () = changed(&control.lanes), if waits => {}
                () = self.alarm.rang(), if waits => {}
                changed = self.control.changed() => if changed.is_err() { return },
                () = at(control.until), if control.until.is_some() => return,
                () = tokio::task::yield_now(), if again => {}
            }
        }
    }

    /// Ends every attempt and puts its event back: it goes out again, with the same id. The app may see it twice,
    /// never not at all.
    fn give_back(&mut self) {
        self.in_flight.clear();
        self.scheduler.give_back(Instant::now());
        self.tools.health.set_in_flight(0);
    }

    fn now(&self) -> Now {
        Now { at: Instant::now(), wall: self.tools.clock.now() }
    }

    fn hear(&mut self, control: &Control) {
        let same = self.lanes.as_ref().is_some_and(|lanes| Arc::ptr_eq(lanes, &control.lanes));
        if !same {
            self.scheduler.set_lanes(&control.lanes);
            self.lanes = Some(Arc::clone(&control.lanes));
        }
        if std::mem::replace(&mut self.hastened, control.hastened) != control.hastened {
            let now = self.now();
            self.scheduler.hasten(now);
        }
        if control.until.is_some() {
            self.scheduler.close();
        }
    }

    /// The configuration does not name the destination any more: whoever takes over is to find what is in hand.
    fn rest(&mut self) -> Next {
        self.scheduler.hand_over();
        Next::Full
    }

    /// Starts as many attempts as may begin; why no more.
    fn fill(&mut self, control: &Control) -> Next {
        let settings = &control.work.settings;
        loop {
            let now = self.now();
            while let Some(refused) = self.scheduler.next_refused(now.wall) {
                refuse(refused);
            }
            match self.scheduler.next(settings, now) {
                Next::Start(start) => self.start(&control.work, start),
                other => {
                    if self.scheduler.tell_first_dead() {
                        self.alert_first_dead(&"none: it became older than max_age before its first attempt");
                    }
                    if self.scheduler.tell_later_names_wait() {
                        self.tools.metrics.limit_hit("formerly");
                        tracing::warn!(
                            destination = &*settings.name,
                            "events of many order keys wait under a former name: until some of them end, nothing that \
                             came under the new name is sent"
                        );
                    }
                    return other;
                }
            }
        }
    }

    fn start(&mut self, work: &Arc<Work>, start: Start) {
        let Start { cargo, departure, flight } = start;
        let attempt = attempt(Arc::clone(work), cargo, departure, self.tools.clock.clone());
        self.in_flight.push(Box::pin(async move { (flight, attempt.await) }));
        self.tools.health.set_in_flight(self.scheduler.in_flight());
    }

    /// Notes how the lane stands, where that changed.
    fn note(&mut self, control: &Control) {
        let now = self.now();
        let gate = self.scheduler.gate();
        let settings = &control.work.settings;
        self.tools.health.set_gathering(self.scheduler.gathering());
        let paused = self.tools.standing.paused(now.wall).is_some();
        let open = control.taking && !paused && !gate.is_tripped();
        if self.open != Some(open) {
            self.open = Some(open);
            self.tools.standing.set_open(open, now.wall);
        }
        self.tools.health.set_state(if gate.is_tripped() {
            let wait = gate.probe_at().map(|at| at.saturating_duration_since(now.at));
            LaneState::Tripped { probe_at: wait.map(|wait| now.wall.plus(wait)) }
        } else if gate.is_recovering() {
            LaneState::Recovering { allows: gate.allows(settings.concurrency) }
        } else {
            LaneState::Flowing
        });
    }

    /// Sets the alarm; whether there is anything to wait for but attempts in flight.
    fn set_alarm(&mut self, next: &Next) -> bool {
        let Next::Wait(at) = next else {
            self.alarm.set(None);
            return false;
        };
        let now = Instant::now();
        let at = at.map(|at| if at <= now { now + AT_LEAST } else { at.min(now + RECHECK) });
        self.alarm.set(at);
        true
    }

    /// While draining: nothing is in flight, and nothing can be before `until`.
    fn nothing_left_before(&self, until: Instant, next: &Next) -> bool {
        let later = match next {
            Next::Wait(at) => at.is_none_or(|at| at > until),
            Next::Full => true,
            Next::Start(_) | Next::Again => false,
        };
        later && self.in_flight.is_empty()
    }

    fn finish(&mut self, flight: Flight, finished: Finished) {
        let Finished { cargo, done, reply, cut, reason } = finished;
        if cut {
            self.tools.metrics.limit_hit("answer_bytes");
        }
        let now = self.now();
        let work = Arc::clone(&self.control.borrow().work);
        let judged = self.scheduler.ended(&work.settings, flight, &done, now);
        self.tools.health.set_in_flight(self.scheduler.in_flight());
        self.report(&cargo, &done, reason.as_deref(), &judged, now);
        self.alert(&work, &done, &judged);
        if let Cargo::One(Delivery { express: Some(waiting), .. }) = cargo {
            // An error means that the sender hung up meanwhile; it will come again.
            let _ = waiting.send(outcome(done.ended.answer, reply));
        }
    }

    /// A line and a count for each event, and what the request says of the destination's health.
    fn report(&self, cargo: &Cargo, done: &Done, reason: Option<&str>, judged: &Judged, now: Now) {
        let batch = match cargo {
            Cargo::One(_) => None,
            Cargo::Batch(batch) => Some(&*batch.id),
        };
        let deliveries = cargo.deliveries();
        if batch.is_some() {
            self.tools.destination.batch(deliveries.len());
        }
        let is_delivered = |nth| judged.verdicts.get(nth) == Some(&Verdict::Delivered);
        let delivered = (0..deliveries.len()).filter(|nth| is_delivered(*nth)).count();
        // Of a batch that was taken in part both are true, and that the destination works comes last.
        if delivered < deliveries.len() {
            self.tools.health.record(false, now.wall);
        }
        if delivered > 0 {
            self.tools.health.record(true, now.wall);
        }
        for (nth, delivery) in deliveries.iter().enumerate() {
            let attempt = done.attempt(nth, delivery.attempt);
            let told = done.ended.each.is_empty() || attempt.answer == Answer::Unsettled;
            let reason = reason.filter(|_| told);
            self.report_one(delivery, &attempt, batch, reason, judged.verdicts.get(nth).copied(), now);
        }
    }

    fn report_one(
        &self,
        delivery: &Delivery,
        record: &Attempt,
        batch: Option<&str>,
        reason: Option<&str>,
        verdict: Option<Verdict>,
        now: Now,
    ) {
        let now = now.wall;
        let (result, next) = match verdict {
            Some(Verdict::Delivered) => (AttemptResult::Delivered, None),
            Some(Verdict::RetryAt(due)) => (AttemptResult::Retry, Some(due)),
            Some(Verdict::Dead(_)) => (AttemptResult::Dead, None),
            None => (AttemptResult::Probe, None),
        };
        let event = &delivery.event;
        let delivered = result == AttemptResult::Delivered;
        self.tools.destination.attempt(result, record.answer, record.number == 1 && verdict.is_some());
        if delivered {
            let age = event.event_time.map(|happened| now.since(happened));
            self.tools.destination.delivered(now.since(event.received_at), age);
        }
        self.tools.log.attempt(&AttemptLine {
            at: now,
            id: event.id,
            route: &event.route,
            destination: &self.name,
            attempt: record.number,
            answer: record.answer,
            result,
            took: record.took,
            next,
            region: record.region.as_ref().map(Region::as_str),
            batch,
            reason,
        });
    }

    /// What somebody should know of: a line that stands out, and a metric.
    fn alert(&self, work: &Work, done: &Done, judged: &Judged) {
        let destination = &*self.name;
        let settings = &work.settings;
        match judged.change {
            Change::Tripped => {
                self.tools.destination.alert(Alert::BreakerOpen);
                tracing::warn!(
                    destination,
                    failures = settings.breaker_failures,
                    last = %done.ended.answer,
                    probe_after = ?settings.probe_after,
                    "the destination is down: its events wait and lose no attempt; a probe finds out when it is back"
                );
            }
            Change::Recovered => {
                tracing::info!(
                    destination,
                    "the destination is back: what waited goes out, a little more at a time"
                );
            }
            Change::Nothing => {}
        }
        if judged.paused {
            self.tools.destination.alert(Alert::PausedAsGone);
            tracing::warn!(
                destination,
                "the destination answered 410 and is paused (on_gone); once it is right again: \
                 hooklatch destinations resume {destination}"
            );
        }
        if judged.first_dead {
            self.alert_first_dead(&killed_by(done, judged));
        }
    }

    /// `last` is how its last attempt ended.
    fn alert_first_dead(&self, last: &dyn std::fmt::Display) {
        let destination = &*self.name;
        self.tools.destination.alert(Alert::FirstDead);
        tracing::warn!(
            destination,
            %last,
            "the first event of this destination is a dead letter; hooklatch dead list --destination {destination}"
        );
    }
}

/// The answer that ended the first event that died.
fn killed_by(done: &Done, judged: &Judged) -> Answer {
    let nth = judged.verdicts.iter().position(|verdict| matches!(verdict, Verdict::Dead(_)));
    nth.map_or(done.ended.answer, |nth| done.attempt(nth, 0).answer)
}

/// The sender learns at once that no attempt is made.
fn refuse(delivery: Delivery) {
    if let Some(waiting) = delivery.express {
        let _ = waiting.send(Outcome::Failed { answer: None, reply: None });
    }
}

fn outcome(answer: Answer, reply: Option<AppReply>) -> Outcome {
    match reply {
        Some(reply) if (200..300).contains(&reply.status) => Outcome::Delivered { reply },
        reply => Outcome::Failed { answer: Some(answer), reply },
    }
}

/// Returns when there may be something to take in one of `lanes`.
async fn changed(lanes: &[Lane]) {
    match lanes {
        [lane] => lane.changed().await,
        [] => std::future::pending().await,
        lanes => drop(select_all(lanes.iter().map(|lane| Box::pin(lane.changed()))).await),
    }
}

/// The moment `until`; never, if there is none.
async fn at(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
