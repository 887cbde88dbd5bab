//! What of a lane may start now, and what follows an attempt: without a task, a timer or a clock of its own.
//!
//! How the rules compose: *class first; inside a class due retries and fresh events in turn; an event whose key is busy
//! steps aside; the rate and the ramp bound the sum.* The first three are the buffer's, which knows what waits; here it
//! is decided when it is asked, and for how much.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::breaker::{Limits, Sign};
use super::departures::Departure;
use super::gate::{Change, Gate, GateLimits, Way};
use super::retry::{Dice, Schedule, Tried, Verdict};
use super::settings::{DestinationOptions, OnGone};
use super::standing::{Pause, PausedBy, Standing};
use super::succession::Succession;
use crate::buffer::{DeadReason, Delivery, Lane, Settled};
use crate::clock::Millis;
use crate::event::{Answer, Attempt, EventId};
use crate::limit::Pace;

/// Events that may be held because a probe with them failed. Were there only one, an event that breaks its destination
/// would be every probe.
const MAX_HELD: usize = 16;
/// Events that are found too old in one go, before others have their turn.
const BURIED_AT_ONCE: usize = 64;

/// A moment, on the clock of waits and on the wall.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) at: Instant,
    pub(super) wall: Millis,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Make this attempt, and ask again.
    Start(Start),
    /// Nothing until an attempt has ended.
    Full,
    /// Nothing before this moment, or until something comes.
    Wait(Option<Instant>),
    /// Ask again, after others had their turn.
    Again,
}

/// An attempt to make.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) delivery: Delivery,
    pub(super) departure: Departure,
    /// What to say when it has ended.
    pub(super) flight: Flight,
}

/// An attempt that is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// Which of the lanes it came from.
    lane: usize,
    event: EventId,
    /// When the event's budget of attempts began.
    since: Millis,
    express: bool,
    probe: bool,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) record: Attempt,
    /// No further attempt would end otherwise.
    pub(super) hopeless: bool,
    /// How long the destination asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The start of the answer's body.
    pub(super) excerpt: Bytes,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// `None` for a probe that failed: it was no attempt, and its event waits as before.
    pub(super) verdict: Option<Verdict>,
    pub(super) change: Change,
    /// It was the destination's first dead letter.
    pub(super) first_dead: bool,
    /// A 410 paused the lane.
    pub(super) paused: bool,
}

/// The state of a lane.
#[derive(Debug)]
pub(super) struct Scheduler {
    /// Where its events wait or waited: under its own name, and under those it had.
    lanes: Vec<Lane>,
    /// Which of them it takes from, in this order.
    order: Vec<usize>,
    succession: Succession,
    standing: Arc<Standing>,
    gate: Gate,
    dice: Dice,
    /// What the buffer counts as taken.
    taken: Vec<(usize, EventId)>,
    /// Of these, those with which a probe failed, the last one at the end.
    held: VecDeque<(usize, EventId)>,
    in_flight: usize,
    /// What the lanes were told: that they recover.
    recovering: bool,
}

impl Scheduler {
    pub(super) fn new(standing: Arc<Standing>, dice: Dice, now: Instant) -> Self {
        Self {
            lanes: Vec::new(),
            order: Vec::new(),
            succession: Succession::default(),
            standing,
            gate: Gate::new(now),
            dice,
            taken: Vec::new(),
            held: VecDeque::new(),
            in_flight: 0,
            recovering: false,
        }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes events from these from now on, in this order; what is in flight stays where it came from.
    pub(super) fn set_lanes(&mut self, lanes: &[Lane]) {
        self.order.clear();
        for lane in lanes {
            let known = self.lanes.iter().position(|known| known.destination() == lane.destination());
            self.order.push(known.unwrap_or(self.lanes.len()));
            if known.is_none() {
                self.lanes.push(lane.clone());
            }
        }
    }

    /// The next attempt, if one may begin.
    pub(super) fn next(&mut self, options: &DestinationOptions, now: Now) -> Next {
        if let Some(pause) = self.standing.paused(now.wall) {
            return Next::Wait(pause.until.map(|until| now.at + until.since(now.wall)));
        }
        let limits = limits(options);
        let probe = match self.gate.way(&limits, self.in_flight, now.at) {
            Way::Free => false,
            Way::Probe => true,
            Way::Full => return Next::Full,
            Way::Probing => return Next::Wait(None),
            Way::From(at) => return Next::Wait(Some(at)),
        };
        self.tell_recovering();
        for _ in 0..BURIED_AT_ONCE {
            let Some((lane, delivery)) = self.take(probe) else {
                self.look_whether_recovered();
                return Next::Wait(self.next_due(now));
            };
            if self.is_too_old(&delivery, options.max_age, now) {
                self.bury(lane, delivery.event.id, DeadReason::TooOld);
                continue;
            }
            let (event, since, express) = (delivery.event.id, delivery.since, delivery.express.is_some());
            self.in_flight += 1;
            let departure = self.gate.begin(&limits, probe, now.at);
            let flight = Flight { lane, event, since, express, probe };
            return Next::Start(Start { delivery, departure, flight });
        }
        Next::Again
    }

    /// While the ramp grows, what arrives has a part of it: the lanes know which.
    fn tell_recovering(&mut self) {
        let recovering = self.gate.is_recovering();
        if recovering != std::mem::replace(&mut self.recovering, recovering) {
            self.sources().for_each(|(_, lane)| lane.recovering(recovering));
        }
    }

    /// The next of the senders that wait for the destination's own answer, while it gets nothing: each is to be refused.
    pub(super) fn next_refused(&mut self, now: Millis) -> Option<Delivery> {
        let shut = self.gate.is_tripped() || self.standing.paused(now).is_some();
        if !shut {
            return None;
        }
        self.sources().find_map(|(_, lane)| lane.take_express())
    }

    /// The lanes it takes from.
    pub(super) fn sources(&self) -> impl Iterator<Item = (usize, &Lane)> {
        self.order.iter().filter_map(|number| Some((*number, self.lanes.get(*number)?)))
    }

    fn take(&mut self, probe: bool) -> Option<(usize, Delivery)> {
        let mut found = self.take_one();
        if found.is_none() && probe && !self.held.is_empty() {
            self.put_back_held();
            found = self.take_one();
        }
        let (lane, delivery) = found?;
        if delivery.express.is_none() {
            self.taken.push((lane, delivery.event.id));
        }
        Some((lane, delivery))
    }

    /// What is next in a lane, the buffer knows.
    fn take_one(&mut self) -> Option<(usize, Delivery)> {
        if self.succession.is_plain(self.order.len()) {
            return self.sources().find_map(|(number, lane)| Some((number, lane.take(1).pop()?)));
        }
        let sources = self.order.iter().filter_map(|number| Some((*number, self.lanes.get(*number)?)));
        self.succession.take(&sources.collect::<Vec<_>>())
    }

    /// Judged before the first attempt, and by the schedule after each: what is due may have been held up by others.
    fn is_too_old(&self, delivery: &Delivery, max_age: Duration, now: Now) -> bool {
        delivery.attempt == 1
            && delivery.express.is_none()
            && now.wall.since(delivery.since) >= max_age
            && self.standing.age(delivery.since, now.wall) >= max_age
    }

    /// A lane that recovers has recovered, too, when nothing is left of what waited.
    fn look_whether_recovered(&mut self) {
        if self.gate.is_recovering()
            && self.in_flight == 0
            && self.sources().all(|(_, lane)| lane.depth().0 == 0)
        {
            self.gate.end_ramp();
        }
    }

    fn next_due(&self, now: Now) -> Option<Instant> {
        let due = self.sources().filter_map(|(_, lane)| lane.next_due()).min()?;
        Some(now.at + due.since(now.wall))
    }

    /// An attempt ended. Of one that a sender waits for, the caller tells it.
    pub(super) fn ended(
        &mut self,
        options: &DestinationOptions,
        flight: Flight,
        done: Done,
        now: Now,
    ) -> Judged {
        self.in_flight = self.in_flight.saturating_sub(1);
        let (answer, limits) = (done.record.answer, limits(options));
        if flight.probe && Sign::of(answer) != Sign::Life {
            self.gate.probe_failed(&limits, answer, done.retry_after, now.at);
            if !done.hopeless && !flight.express {
                self.hold(flight);
                return Judged { verdict: None, change: Change::Nothing, first_dead: false, paused: false };
            }
        }
        let change = self.gate.ended(&limits, flight.event, answer, done.retry_after, now.at);
        if change == Change::Recovered {
            self.put_back_held();
        }
        let paused = answer == Answer::Status(410) && options.on_gone == OnGone::Pause;
        if paused {
            self.standing.pause(Pause { by: PausedBy::Gone, since: now.wall, until: None });
        }
        let verdict = self.verdict(options, flight, &done, now);
        let first_dead = self.settle(flight, verdict, done);
        Judged { verdict: Some(verdict), change, first_dead, paused }
    }

    fn verdict(&mut self, options: &DestinationOptions, flight: Flight, done: &Done, now: Now) -> Verdict {
        let Attempt { number, answer, .. } = done.record;
        if done.hopeless {
            return Verdict::Dead(DeadReason::Internal);
        }
        if flight.express {
            // It has one attempt: whatever is no 2xx, the sender is told and comes again.
            let delivered = matches!(answer, Answer::Status(200..=299));
            return if delivered { Verdict::Delivered } else { Verdict::Dead(DeadReason::AttemptsExhausted) };
        }
        let schedule = Schedule {
            delays: &options.retry_delays,
            jitter: options.retry_jitter,
            on: &options.retry_on,
            max_age: options.max_age,
        };
        let age = self.standing.age(flight.since, now.wall);
        let tried = Tried { attempt: number, answer, retry_after: done.retry_after, age };
        schedule.verdict(tried, now.wall, &mut self.dice)
    }

    /// Tells the buffer; whether it was the first dead letter there.
    fn settle(&mut self, flight: Flight, verdict: Verdict, done: Done) -> bool {
        if flight.express {
            return false;
        }
        self.let_go(flight.lane, flight.event);
        let Some(lane) = self.lanes.get(flight.lane) else { return false };
        let (id, Done { record, excerpt, .. }) = (flight.event, done);
        match verdict {
            Verdict::Delivered => lane.settle(id, Settled::Delivered, record, excerpt),
            Verdict::RetryAt(due) => lane.defer(id, record, due, excerpt),
            Verdict::Dead(reason) => {
                let first = lane.dead() == 0;
                lane.settle(id, Settled::Dead(reason), record, excerpt);
                return first;
            }
        }
        false
    }

    fn bury(&mut self, lane: usize, id: EventId, reason: DeadReason) {
        self.let_go(lane, id);
        if let Some(lane) = self.lanes.get(lane) {
            lane.bury(id, reason);
        }
    }

    fn let_go(&mut self, lane: usize, id: EventId) {
        if let Some(place) = self.taken.iter().position(|taken| *taken == (lane, id)) {
            self.taken.swap_remove(place);
        }
    }

    /// The event of a probe that failed stays in our hands, so that the next probe is another one.
    fn hold(&mut self, flight: Flight) {
        self.held.push_back((flight.lane, flight.event));
        if self.held.len() > MAX_HELD
            && let Some(oldest) = self.held.pop_front()
        {
            self.put_back(oldest);
        }
    }

    fn put_back_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            self.put_back(held);
        }
    }

    fn put_back(&mut self, (lane, id): (usize, EventId)) {
        self.let_go(lane, id);
        if let Some(lane) = self.lanes.get(lane) {
            lane.put_back(id);
        }
    }

    /// Somebody asks for an attempt now, whatever the breaker and a 429 say: what waits is due.
    pub(super) fn hasten(&mut self, now: Now) {
        self.gate.hasten(now.at);
        self.sources().for_each(|(_, lane)| lane.hasten(now.wall));
    }

    /// What is in hand and not in flight goes back, for another one's task; which also is to look at what the end of an
    /// attempt freed here.
    pub(super) fn hand_over(&mut self) {
        self.put_back_held();
        for parked in self.succession.give_back() {
            self.put_back(parked);
        }
        self.lanes.iter().for_each(Lane::wake);
    }

    /// Every attempt was ended: what was taken goes back.
    pub(super) fn give_back(&mut self, now: Instant) {
        self.in_flight = 0;
        self.gate.give_back(now);
        self.held.clear();
        for (lane, id) in std::mem::take(&mut self.taken).into_iter().chain(self.succession.give_back()) {
            if let Some(lane) = self.lanes.get(lane) {
                lane.put_back(id);
            }
        }
    }
}

fn limits(options: &DestinationOptions) -> GateLimits {
    GateLimits {
        concurrency: options.concurrency,
        pace: options.rate.map(|rate| Pace::new(rate, options.burst)),
        breaker: Limits { failures: options.breaker_failures, probe_after: options.probe_after },
    }
}
