//! The breaker: failures in a row pause a lane, and one probe at a time finds out whether it is over.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::event::{Answer, EventId};

/// A row of failures that is shorter than this says nothing: ten requests in flight may fail at once.
const AT_LEAST: Duration = Duration::from_secs(1);

/// What the end of an attempt says about the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It works, whatever it thinks of the event.
    Life,
    /// It does not, or it is asked too much.
    Trouble,
    /// Nothing: the attempt never left hooklatch.
    Nothing,
}

impl Sign {
    pub(super) fn of(answer: Answer) -> Self {
        match answer {
            Answer::Status(429 | 500..=599) | Answer::Timeout | Answer::Connect => Self::Trouble,
            Answer::Status(_) | Answer::Unsettled => Self::Life,
            Answer::Internal => Self::Nothing,
        }
    }
}

/// When a breaker trips, and how long it waits before a probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Failures in a row, of different events.
    pub(super) failures: u32,
    pub(super) probe_after: Duration,
}

#[derive(Debug)]
enum State {
    /// Events flow.
    Flowing,
    /// They wait; the next probe goes out then.
    Tripped { probe_at: Instant },
    /// They wait for the end of a probe.
    Probing,
}

/// The breaker of one lane.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// The events of the present row of failures, not more than trip it; and when the first of them failed.
    row: HashSet<EventId>,
    row_since: Option<Instant>,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self { state: State::Flowing, row: HashSet::new(), row_since: None }
    }

    pub(super) fn is_tripped(&self) -> bool {
        !matches!(self.state, State::Flowing)
    }

    /// When the next probe may go out; `None` where events flow, or a probe is on its way.
    pub(super) fn probe_at(&self) -> Option<Instant> {
        match self.state {
            State::Tripped { probe_at } => Some(probe_at),
            State::Flowing | State::Probing => None,
        }
    }

    /// The probe goes out.
    pub(super) fn probe(&mut self) {
        self.state = State::Probing;
    }

    /// An attempt at `event` failed; whether that trips the breaker.
    pub(super) fn trouble(&mut self, event: EventId, now: Instant, limits: Limits) -> bool {
        if self.is_tripped() {
            return false; // it was on its way before
        }
        let since = *self.row_since.get_or_insert(now);
        let failures = usize::try_from(limits.failures).unwrap_or(usize::MAX);
        if self.row.len() < failures {
            self.row.insert(event);
        }
        if self.row.len() < failures || now.saturating_duration_since(since) < AT_LEAST {
            return false;
        }
        self.forget_row();
        self.state = State::Tripped { probe_at: now + limits.probe_after };
        true
    }

    /// The destination gave a sign of life; whether it was paused until now.
    pub(super) fn life(&mut self) -> bool {
        self.forget_row();
        std::mem::replace(&mut self.state, State::Flowing).is_tripped()
    }

    /// The probe failed, or told nothing: the next one goes out after `wait`.
    pub(super) fn probe_again(&mut self, now: Instant, wait: Duration) {
        self.state = State::Tripped { probe_at: now + wait };
    }

    /// Whatever was on its way has ended without a word: a probe, too.
    pub(super) fn forget_probe(&mut self, now: Instant) {
        if matches!(self.state, State::Probing) {
            self.state = State::Tripped { probe_at: now };
        }
    }

    fn forget_row(&mut self) {
        self.row_since = None;
        self.row.clear();
    }
}

impl State {
    fn is_tripped(&self) -> bool {
        !matches!(self, Self::Flowing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Millis;

    const LIMITS: Limits = Limits { failures: 3, probe_after: Duration::from_secs(30) };

    fn id(seq: u64) -> EventId {
        EventId::new(Millis(0), seq)
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn what_counts_as_trouble() {
        for answer in [429, 500, 502, 503, 504, 599].map(Answer::Status) {
            assert_eq!(Sign::of(answer), Sign::Trouble, "{answer:?}");
        }
        assert_eq!((Sign::of(Answer::Timeout), Sign::of(Answer::Connect)), (Sign::Trouble, Sign::Trouble));
        for answer in [200, 204, 301, 400, 401, 404, 410, 422, 428, 430, 499, 600].map(Answer::Status) {
            assert_eq!(Sign::of(answer), Sign::Life, "{answer:?}");
        }
        assert_eq!((Sign::of(Answer::Unsettled), Sign::of(Answer::Internal)), (Sign::Life, Sign::Nothing));
    }

    #[test]
    fn different_events_that_fail_in_a_row_over_a_second_trip_it() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        assert!(!breaker.trouble(id(1), now, LIMITS));
        assert!(!breaker.trouble(id(2), now + ms(10), LIMITS));
        assert!(!breaker.trouble(id(3), now + ms(999), LIMITS), "three, but not for a second yet");
        assert!(breaker.trouble(id(3), now + ms(1000), LIMITS));
        assert_eq!(breaker.probe_at(), Some(now + ms(31_000)));
        assert!(!breaker.trouble(id(4), now + ms(1001), LIMITS), "it tripped already");
    }

    #[test]
    fn one_event_that_fails_again_and_again_does_not_trip_it() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        for n in 0..1000 {
            assert!(!breaker.trouble(id(1), now + ms(n * 100), LIMITS));
            assert!(!breaker.trouble(id(2), now + ms(n * 100), LIMITS));
        }
        assert!(breaker.trouble(id(3), now + ms(100_000), LIMITS));
    }

    #[test]
    fn a_sign_of_life_ends_the_row_and_the_pause() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        breaker.trouble(id(1), now, LIMITS);
        breaker.trouble(id(2), now, LIMITS);
        assert!(!breaker.life());
        assert!(!breaker.trouble(id(3), now + ms(5000), LIMITS));
        assert!(!breaker.trouble(id(4), now + ms(5500), LIMITS));
        assert!(breaker.trouble(id(5), now + ms(6000), LIMITS));
        assert!(breaker.life() && !breaker.is_tripped());
    }

    #[test]
    fn one_probe_at_a_time() {
        let (mut breaker, now) = (Breaker::new(), Instant::now());
        for n in 0..3 {
            breaker.trouble(id(n), now + ms(n * 500), LIMITS);
        }
        assert!(breaker.probe_at().is_some());
        breaker.probe();
        assert!(breaker.is_tripped() && breaker.probe_at().is_none(), "until it has ended");
        breaker.probe_again(now + ms(40_000), LIMITS.probe_after);
        assert_eq!(breaker.probe_at(), Some(now + ms(70_000)));
        breaker.forget_probe(now);
        assert_eq!(breaker.probe_at(), Some(now + ms(70_000)), "none was on its way");
        breaker.probe();
        breaker.forget_probe(now + ms(70_000));
        assert_eq!(breaker.probe_at(), Some(now + ms(70_000)));
    }
}
