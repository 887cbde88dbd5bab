//! Whether a lane may send now, and if not, when to look again. Three things bound it: the breaker, the ramp after it,
//! and the rate; what a 429 asks for comes on top.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{Breaker, Limits, Sign};
use super::departures::{Departure, Departures};
use super::ramp::Ramp;
use crate::event::{Answer, EventId};
use crate::limit::Pace;

/// How long a lane waits after a 429, where the destination does not say …
const AFTER_429: Duration = Duration::from_secs(1);
/// … and at most, where it does: the event itself waits as long as it asks for, the lane asks again.
const AFTER_429_AT_MOST: Duration = Duration::from_secs(300);

/// What the gate goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct GateLimits {
    pub(super) concurrency: u32,
    pub(super) pace: Option<Pace>,
    pub(super) breaker: Limits,
}

/// Whether an attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It may.
    Free,
    /// One may, to find out whether the destination works again.
    Probe,
    /// When one of those in flight has ended.
    Full,
    /// When the probe has ended.
    Probing,
    /// From that moment on.
    From(Instant),
}

/// What the end of an attempt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    /// The breaker tripped: the lane is paused.
    Tripped,
    /// The destination works again.
    Recovered,
}

/// The gate of one lane.
#[derive(Debug)]
pub(super) struct Gate {
    breaker: Breaker,
    ramp: Ramp,
    held_until: Option<Instant>,
    departures: Arc<Departures>,
}

impl Gate {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            breaker: Breaker::new(),
            ramp: Ramp::default(),
            held_until: None,
            departures: Departures::new(now),
        }
    }

    /// Whether one more may begin beside `in_flight` others.
    pub(super) fn way(&self, limits: &GateLimits, in_flight: usize, now: Instant) -> Way {
        let held = self.held_until.filter(|until| *until > now);
        let rated = limits.pace.map(|pace| self.departures.next(pace, now)).filter(|at| *at > now);
        let not_before = held.into_iter().chain(rated).max();
        if self.breaker.is_tripped() {
            let Some(probe_at) = self.breaker.probe_at() else { return Way::Probing };
            let from = not_before.map_or(probe_at, |at| at.max(probe_at));
            return if from <= now { Way::Probe } else { Way::From(from) };
        }
        if in_flight >= usize::try_from(self.ramp.allows(limits.concurrency)).unwrap_or(usize::MAX) {
            return Way::Full;
        }
        not_before.map_or(Way::Free, Way::From)
    }

    /// An attempt begins, by the way it was given.
    pub(super) fn begin(&mut self, limits: &GateLimits, probe: bool, now: Instant) -> Departure {
        if probe {
            self.breaker.probe();
        }
        self.departures.begin(limits.pace, now)
    }

    /// An attempt at `event` ended; `wait` is what the destination asks for.
    pub(super) fn ended(
        &mut self,
        limits: &GateLimits,
        event: EventId,
        answer: Answer,
        wait: Option<Duration>,
        now: Instant,
    ) -> Change {
        match Sign::of(answer) {
            Sign::Life => {
                if self.breaker.life() {
                    self.ramp.begin();
                    return Change::Recovered;
                }
                self.ramp.success(limits.concurrency);
            }
            Sign::Trouble => {
                if answer == Answer::Status(429) {
                    self.slow_down(limits, wait, now);
                } else {
                    self.ramp.failure();
                }
                if self.breaker.trouble(event, now, limits.breaker) {
                    return Change::Tripped;
                }
            }
            Sign::Nothing => {}
        }
        Change::Nothing
    }

    /// The destination is asked too much; `wait` is what it asks for.
    pub(super) fn slow_down(&mut self, limits: &GateLimits, wait: Option<Duration>, now: Instant) {
        self.ramp.slow_down(limits.concurrency);
        let until = now + wait.unwrap_or(AFTER_429).clamp(AFTER_429, AFTER_429_AT_MOST);
        self.held_until = Some(self.held_until.map_or(until, |held| held.max(until)));
    }

    /// The probe showed no life: it was no attempt.
    pub(super) fn probe_failed(
        &mut self,
        limits: &GateLimits,
        answer: Answer,
        wait: Option<Duration>,
        now: Instant,
    ) {
        let wait = match Sign::of(answer) {
            Sign::Nothing => Duration::ZERO, // it told nothing, so another one is asked
            _ => limits.breaker.probe_after.max(wait.unwrap_or_default().min(AFTER_429_AT_MOST)),
        };
        self.breaker.probe_again(now, wait);
    }

    /// Somebody asks for an attempt now, whatever the breaker and a 429 say.
    pub(super) fn hasten(&mut self, now: Instant) {
        self.held_until = None;
        if self.breaker.probe_at().is_some() {
            self.breaker.probe_again(now, Duration::ZERO);
        }
    }

    /// Every attempt was ended without a word about it.
    pub(super) fn give_back(&mut self, now: Instant) {
        self.breaker.forget_probe(now);
    }

    pub(super) fn is_tripped(&self) -> bool {
        self.breaker.is_tripped()
    }

    pub(super) fn probe_at(&self) -> Option<Instant> {
        self.breaker.probe_at()
    }

    pub(super) fn is_recovering(&self) -> bool {
        self.ramp.is_on()
    }

    /// Nothing is left of what waited while it was down.
    pub(super) fn end_ramp(&mut self) {
        self.ramp.end();
    }

    /// How many requests may be in flight.
    pub(super) fn allows(&self, concurrency: u32) -> u32 {
        if self.breaker.is_tripped() { 1 } else { self.ramp.allows(concurrency) }
    }
}
