//! What of a lane may start now, and what follows an attempt: without a task, a timer or a clock of its own.
//!
//! How the rules compose: *class first; inside a class due retries and fresh events in turn; an event whose key is busy
//! steps aside; the rate and the ramp bound the sum.* The first three are the buffer's, which knows what waits; here it
//! is decided when it is asked, and for how much: at a destination with `batch`, what is on its first attempt gathers, and a
//! batch, or a retry by itself, takes a slot.

mod batches;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::batch::Gathering;
use super::breaker::{Limits, Sign};
use super::departures::Departure;
use super::flights::{Aboard, Cargo, Done, Flight, Flights, Judged, Seat};
use super::gate::{Change, Gate, GateLimits, Way};
use super::retry::{Dice, Schedule, Tried, Verdict};
use super::settings::{DestinationOptions, OnGone};
use super::standing::{Pause, PausedBy, Standing};
use super::succession::Succession;
use crate::buffer::{DeadReason, Delivery, Lane, Settled};
use crate::clock::Millis;
use crate::event::{Answer, Attempt, EventId};
use crate::limit::Pace;
use batches::{board, may_gather};

/// Events that may be held because a probe with them failed, and the bytes of their bodies. Were there only one, an event
/// that breaks its destination would be every probe; and as many as break it would be, were there room for fewer.
const MAX_HELD: usize = 1024;
const MAX_HELD_BYTES: usize = 4 << 20;
/// How long a dead letter may be on its way to the others.
const SAME_TROUBLE: Duration = Duration::from_secs(60);
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

/// A request to make.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) cargo: Cargo,
    pub(super) departure: Departure,
    /// What to say when it has ended.
    pub(super) flight: Flight,
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
    flights: Flights,
    /// Taken, and in hand: those with which a probe failed, the last one at the end.
    held: VecDeque<Seat>,
    /// The bytes of their bodies.
    held_bytes: usize,
    /// Taken, and in hand: what gathers for a batch …
    gathering: Option<Gathering>,
    /// … and what was found on the way and goes by itself.
    alone: VecDeque<(usize, Delivery)>,
    /// Nothing more will come: no batch waits for it.
    closing: bool,
    /// When the destination's first dead letter was told of last.
    first_dead_at: Option<Instant>,
    /// It died without an attempt, and nobody was told yet.
    first_dead_untold: bool,
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
            flights: Flights::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            gathering: None,
            alone: VecDeque::new(),
            closing: false,
            first_dead_at: None,
            first_dead_untold: false,
            recovering: false,
        }
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Requests on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Events that gather for a batch.
    pub(super) fn gathering(&self) -> usize {
        self.gathering.as_ref().map_or(0, Gathering::len)
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

    /// The next request, if one may begin.
    pub(super) fn next(&mut self, options: &DestinationOptions, now: Now) -> Next {
        if let Some(pause) = self.standing.paused(now.wall) {
            self.disband();
            return Next::Wait(pause.until.map(|until| now.at + until.since(now.wall)));
        }
        let limits = limits(options);
        let probe = match self.gate.way(&limits, self.flights.len(), now.at) {
            Way::Free => false,
            Way::Probe => true,
            Way::Full => return Next::Full,
            Way::Probing => return Next::Wait(None),
            Way::From(at) => return Next::Wait(Some(at)),
        };
        self.tell_recovering();
        for _ in 0..BURIED_AT_ONCE {
            if let Some((cargo, aboard)) = self.in_hand(options, now) {
                return self.start(&limits, cargo, aboard, now);
            }
            let Some((lane, delivery)) = self.take(probe) else {
                self.look_whether_recovered();
                return Next::Wait(self.next_moment(now));
            };
            if self.is_too_old(&delivery, options.max_age, now) {
                self.bury(lane, delivery.event.id, DeadReason::TooOld, now);
                continue;
            }
            if let Some(batch) = options.batch.filter(|_| !probe && may_gather(&delivery)) {
                self.gather(batch, lane, delivery, now);
                continue;
            }
            let (cargo, aboard) = board(options, lane, delivery, probe);
            return self.start(&limits, cargo, aboard, now);
        }
        Next::Again
    }

    fn start(&mut self, limits: &GateLimits, cargo: Cargo, aboard: Aboard, now: Now) -> Next {
        let departure = self.gate.begin(limits, aboard.probe, now.at);
        let flight = self.flights.begin(aboard);
        Next::Start(Start { cargo, departure, flight })
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
        found
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
            && self.flights.len() == 0
            && self.sources().all(|(_, lane)| lane.depth().0 == 0)
        {
            self.gate.end_ramp();
        }
    }

    /// When the next retry is due, or a batch leaves.
    fn next_moment(&self, now: Now) -> Option<Instant> {
        let due = self.sources().filter_map(|(_, lane)| lane.next_due()).min();
        let due = due.map(|due| now.at + due.since(now.wall));
        due.into_iter().chain(self.gathering.as_ref().map(Gathering::leaves_at)).min()
    }

    /// A request ended. Of one that a sender waits for, the caller tells it.
    pub(super) fn ended(
        &mut self,
        options: &DestinationOptions,
        flight: Flight,
        done: &Done,
        now: Now,
    ) -> Judged {
        let Some(Aboard { seats, express, probe }) = self.flights.end(flight) else {
            return Judged::nothing();
        };
        let Some(first) = seats.first() else { return Judged::nothing() };
        let ((answer, slow), limits) = (done.of_destination(), limits(options));
        if probe && Sign::of(answer) != Sign::Life {
            self.gate.probe_failed(&limits, answer, done.ended.retry_after, now.at);
            // One that never left hooklatch would be the next probe again, at once: it waits as its schedule says.
            if Sign::of(answer) == Sign::Trouble && !done.ended.hopeless && !express {
                seats.into_iter().for_each(|seat| self.hold(seat));
                return Judged::nothing();
            }
        }
        let change = self.gate.ended(&limits, first.event, answer, done.ended.retry_after, now.at);
        if slow {
            self.gate.slow_down(&limits, done.ended.retry_after, now.at);
        }
        match change {
            Change::Tripped => self.disband(),
            Change::Recovered => {
                self.flights.forget_probes();
                self.put_back_held();
            }
            Change::Nothing => {}
        }
        let mut judged = Judged { change, ..Judged::nothing() };
        for (nth, seat) in seats.iter().enumerate() {
            let attempt = done.attempt(nth, seat.attempt);
            judged.paused |= attempt.answer == Answer::Status(410) && options.on_gone == OnGone::Pause;
            let verdict = self.verdict(options, seat.since, express, &attempt, done, now);
            if !express {
                judged.first_dead |= self.settle(seat, verdict, attempt, done.excerpt(nth).clone(), now);
            }
            judged.verdicts.push(verdict);
        }
        if judged.paused {
            self.standing.pause(Pause { by: PausedBy::Gone, since: now.wall, until: None });
        }
        judged
    }

    fn verdict(
        &mut self,
        options: &DestinationOptions,
        since: Millis,
        express: bool,
        attempt: &Attempt,
        done: &Done,
        now: Now,
    ) -> Verdict {
        let Attempt { number, answer, .. } = *attempt;
        if done.ended.hopeless {
            return Verdict::Dead(DeadReason::Internal);
        }
        if express {
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
        let age = self.standing.age(since, now.wall);
        let tried = Tried { attempt: number, answer, retry_after: done.ended.retry_after, age };
        schedule.verdict(tried, now.wall, &mut self.dice)
    }

    /// Tells the buffer; whether it was the first dead letter there.
    fn settle(&mut self, seat: &Seat, verdict: Verdict, attempt: Attempt, excerpt: Bytes, now: Now) -> bool {
        let first = matches!(verdict, Verdict::Dead(_)) && self.is_first_dead(seat.lane, now);
        let Some(lane) = self.lanes.get(seat.lane) else { return false };
        match verdict {
            Verdict::Delivered => lane.settle(seat.event, Settled::Delivered, attempt, excerpt),
            Verdict::RetryAt(due) => lane.defer(seat.event, attempt, due, excerpt),
            Verdict::Dead(reason) => lane.settle(seat.event, Settled::Dead(reason), attempt, excerpt),
        }
        first
    }

    fn bury(&mut self, lane: usize, id: EventId, reason: DeadReason, now: Now) {
        self.first_dead_untold |= self.is_first_dead(lane, now);
        if let Some(lane) = self.lanes.get(lane) {
            lane.bury(id, reason);
        }
    }

    /// Whether what dies now is the only dead letter of its lane. One that is on its way there does not count there yet, so
    /// those that die together with it are not told apart from it by that.
    fn is_first_dead(&mut self, lane: usize, now: Now) -> bool {
        let none = self.lanes.get(lane).is_some_and(|lane| lane.dead() == 0);
        let told = |at: Instant| now.at.saturating_duration_since(at) < SAME_TROUBLE;
        if !none || self.first_dead_at.is_some_and(told) {
            return false;
        }
        self.first_dead_at = Some(now.at);
        true
    }

    /// Whether the destination's first dead letter is one that died without an attempt, which is told once.
    pub(super) fn tell_first_dead(&mut self) -> bool {
        std::mem::take(&mut self.first_dead_untold)
    }

    /// Whether what came under a later name waits for an earlier one's, whatever its key, which is news: see
    /// [`Succession`].
    pub(super) fn tell_later_names_wait(&mut self) -> bool {
        self.succession.tell_full()
    }

    /// The event of a probe that failed stays in our hands, so that the next probe is another one.
    fn hold(&mut self, seat: Seat) {
        self.held_bytes += seat.body;
        self.held.push_back(seat);
        while (self.held.len() > MAX_HELD || self.held_bytes > MAX_HELD_BYTES)
            && self.held.len() > 1
            && let Some(oldest) = self.held.pop_front()
        {
            self.held_bytes -= oldest.body;
            self.put_back(oldest.lane, oldest.event);
        }
    }

    fn put_back_held(&mut self) {
        self.held_bytes = 0;
        for seat in std::mem::take(&mut self.held) {
            self.put_back(seat.lane, seat.event);
        }
    }

    fn put_back(&self, lane: usize, id: EventId) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.put_back(id);
        }
    }

    /// Somebody asks for an attempt now, whatever the breaker and a 429 say: what waits is due.
    pub(super) fn hasten(&mut self, now: Now) {
        self.gate.hasten(now.at);
        self.gathering.iter_mut().for_each(Gathering::close);
        self.sources().for_each(|(_, lane)| lane.hasten(now.wall));
    }

    /// What is in hand and not in flight goes back, for another one's task; which also is to look at what the end of an
    /// attempt freed here.
    pub(super) fn hand_over(&mut self) {
        self.put_back_in_hand();
        self.lanes.iter().for_each(Lane::wake);
    }

    /// Every attempt was ended: what was taken goes back.
    pub(super) fn give_back(&mut self, now: Instant) {
        self.gate.give_back(now);
        for Aboard { seats, .. } in self.flights.end_all().filter(|aboard| !aboard.express) {
            seats.iter().for_each(|seat| self.put_back(seat.lane, seat.event));
        }
        self.put_back_in_hand();
    }

    fn put_back_in_hand(&mut self) {
        self.disband();
        self.put_back_held();
        for (lane, id) in self.succession.give_back() {
            self.put_back(lane, id);
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
