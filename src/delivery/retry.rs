//! When a delivery is tried again, and when it is given up.
//!
//! Everything here is a function of its arguments: the clock and the dice come from outside.

use std::ops::RangeInclusive;
use std::time::{Duration, UNIX_EPOCH};

use crate::buffer::DeadReason;
use crate::clock::Millis;
use crate::event::Answer;

/// A longer wait than this is not believed, whatever a destination's `max_age`.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(72 * 3600);

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was delivered.
    Delivered,
    /// It is tried again at this moment.
    RetryAt(Millis),
    /// It is given up.
    Dead(DeadReason),
}

/// Which answers are worth another attempt. A 2xx needs none, a 410 allows none, and where no answer came there is
/// always another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// All of them.
    Any,
    /// Those whose status lies in one of these ranges.
    Of(Vec<RangeInclusive<u16>>),
}

impl RetryOn {
    fn wants(&self, status: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Of(ranges) => ranges.iter().any(|range| range.contains(&status)),
        }
    }
}

/// When a destination's events are tried again.
#[derive(Clone, Copy, Debug)]
pub struct Schedule<'a> {
    /// The waits; there is one attempt more than there are waits.
    pub delays: &'a [Duration],
    /// Each wait is lengthened or shortened by up to this share of itself, 0 to 1.
    pub jitter: f64,
    /// Which answers are worth another attempt.
    pub on: &'a RetryOn,
    /// No event is tried again after this age.
    pub max_age: Duration,
}

/// An attempt without a 2xx.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// Its number, from 1.
    pub attempt: u16,
    /// How it ended.
    pub answer: Answer,
    /// What the destination asked for: it lengthens a wait and never shortens one.
    pub retry_after: Option<Duration>,
    /// How old the event is.
    pub age: Duration,
}

impl Schedule<'_> {
    /// What follows `tried`, which ended `now`. No wait goes beyond the maximum age, neither for its jitter nor because
    /// the destination asks for it: at that age the last attempt is made.
    #[must_use]
    pub fn verdict(&self, tried: Tried, now: Millis, dice: &mut Dice) -> Verdict {
        match tried.answer {
            Answer::Status(200..=299) => return Verdict::Delivered,
            Answer::Status(410) => return Verdict::Dead(DeadReason::Gone),
            Answer::Status(status) if !self.on.wants(status) => return Verdict::Dead(DeadReason::Refused),
            _ => {}
        }
        let left = self.max_age.saturating_sub(tried.age);
        if left.is_zero() {
            return Verdict::Dead(DeadReason::TooOld);
        }
        let wait = usize::from(tried.attempt).checked_sub(1).and_then(|past| self.delays.get(past));
        let Some(wait) = wait else { return Verdict::Dead(exhausted(tried.answer)) };
        let jittered = wait.mul_f64((1.0 + self.jitter * dice.plus_minus_one()).max(0.0));
        let asked = tried.retry_after.unwrap_or_default();
        Verdict::RetryAt(now.plus(jittered.max(asked).min(left)))
    }
}

/// Why an event is dead whose last attempt ended so.
fn exhausted(last: Answer) -> DeadReason {
    match last {
        Answer::Status(_) | Answer::Unsettled => DeadReason::AttemptsExhausted,
        Answer::Timeout | Answer::Connect => DeadReason::Unreachable,
        Answer::Internal => DeadReason::Internal,
    }
}

/// How long `value`, a `Retry-After` header (RFC 9110 §10.2.3: seconds or an HTTP date), asks to wait from `now`.
/// `None` for anything else; zero for a date that is past.
#[must_use]
pub fn parse_retry_after(value: &[u8], now: Millis) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_ascii();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds is still a number of seconds; the cap is far below.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)).min(MAX_RETRY_AFTER));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let at = Millis(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
    Some(at.since(now).min(MAX_RETRY_AFTER))
}

/// Random numbers for the jitter: SplitMix64. They need to differ between lanes and processes, not to be secret.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall the same way for the same `seed`.
    #[cfg(test)]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice that fall differently each time.
    #[must_use]
    pub fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(0u8))
    }

    /// Uniform from -1 to 1.
    fn plus_minus_one(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 53 bits, as many as a double holds, over their largest value: both ends can come up.
        (z >> 11) as f64 / ((1u64 << 53) - 1) as f64 * 2.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Millis = Millis(1_768_473_000_000);

    const AGES: Duration = Duration::from_secs(1 << 40);

    fn schedule(delays: &[Duration], jitter: f64) -> Schedule<'_> {
        Schedule { delays, jitter, on: &RetryOn::Any, max_age: AGES }
    }

    fn tried(attempt: u16, answer: Answer) -> Tried {
        Tried { attempt, answer, retry_after: None, age: Duration::ZERO }
    }

    #[test]
    fn every_2xx_delivers_and_410_kills_at_once() {
        let delays = [Duration::from_secs(1)];
        let mut dice = Dice::seeded(1);
        let mut verdict =
            |status| schedule(&delays, 0.0).verdict(tried(1, Answer::Status(status)), NOW, &mut dice);
        for status in [200, 202, 204, 299] {
            assert_eq!(verdict(status), Verdict::Delivered);
        }
        assert_eq!(verdict(410), Verdict::Dead(DeadReason::Gone));
        for status in [101, 199, 300, 301, 307, 304, 400, 401, 404, 408, 429, 500, 503, 599] {
            assert_eq!(verdict(status), Verdict::RetryAt(Millis(NOW.0 + 1000)), "{status}");
        }
    }

    #[test]
    fn only_chosen_answers_are_worth_another_attempt_and_no_answer_always_is() {
        let (delays, on) = ([Duration::from_secs(1)], RetryOn::Of(vec![429..=429, 500..=599]));
        let schedule = Schedule { on: &on, ..schedule(&delays, 0.0) };
        let mut dice = Dice::seeded(1);
        let mut verdict = |answer| schedule.verdict(tried(1, answer), NOW, &mut dice);
        let again = Verdict::RetryAt(Millis(NOW.0 + 1000));
        for status in [429, 500, 599] {
            assert_eq!(verdict(Answer::Status(status)), again, "{status}");
        }
        for status in [300, 400, 428, 430, 499, 600] {
            assert_eq!(verdict(Answer::Status(status)), Verdict::Dead(DeadReason::Refused), "{status}");
        }
        assert_eq!(verdict(Answer::Status(200)), Verdict::Delivered);
        assert_eq!(verdict(Answer::Status(410)), Verdict::Dead(DeadReason::Gone));
        for answer in [Answer::Timeout, Answer::Connect, Answer::Internal, Answer::Unsettled] {
            assert_eq!(verdict(answer), again, "{answer:?}");
        }
    }

    #[test]
    fn there_is_one_attempt_more_than_there_are_waits() {
        let delays = [1, 5, 12].map(Duration::from_secs);
        let mut dice = Dice::seeded(1);
        for (answer, dead) in [
            (Answer::Timeout, DeadReason::Unreachable),
            (Answer::Connect, DeadReason::Unreachable),
            (Answer::Internal, DeadReason::Internal),
            (Answer::Status(500), DeadReason::AttemptsExhausted),
            (Answer::Unsettled, DeadReason::AttemptsExhausted),
        ] {
            let mut verdict = |n| schedule(&delays, 0.0).verdict(tried(n, answer), NOW, &mut dice);
            assert_eq!(verdict(1), Verdict::RetryAt(Millis(NOW.0 + 1000)));
            assert_eq!(verdict(2), Verdict::RetryAt(Millis(NOW.0 + 5000)));
            assert_eq!(verdict(3), Verdict::RetryAt(Millis(NOW.0 + 12_000)));
            assert_eq!(verdict(4), Verdict::Dead(dead));
            assert_eq!(verdict(u16::MAX), Verdict::Dead(dead));
        }
        let none = schedule(&[], 0.2).verdict(tried(1, Answer::Timeout), NOW, &mut dice);
        assert_eq!(none, Verdict::Dead(DeadReason::Unreachable));
    }

    #[test]
    fn the_last_attempt_is_made_at_the_maximum_age_and_none_after_it() {
        let delays = [Duration::from_secs(100)];
        let schedule = Schedule { max_age: Duration::from_secs(110), ..schedule(&delays, 0.2) };
        let mut dice = Dice::seeded(3);
        let mut verdict = |age, retry_after: Option<u64>| {
            let retry_after = retry_after.map(Duration::from_secs);
            let tried = Tried { retry_after, age: Duration::from_secs(age), ..tried(1, Answer::Status(503)) };
            schedule.verdict(tried, NOW, &mut dice)
        };
        for _ in 0..100 {
            // 100 s and up to a fifth more would be too late; without the jitter it is not.
            let Verdict::RetryAt(due) = verdict(5, None) else { panic!("it is young") };
            assert!(due <= NOW.plus(Duration::from_secs(105)), "{due:?}");
        }
        assert_eq!(verdict(50, Some(3600)), Verdict::RetryAt(NOW.plus(Duration::from_secs(60))));
        assert_eq!(verdict(110, None), Verdict::Dead(DeadReason::TooOld));
        assert_eq!(verdict(111, Some(1)), Verdict::Dead(DeadReason::TooOld));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = "Thu, 15 Jan 2026 10:31:00 GMT";
        for (value, asked) in [
            ("120", Some(Duration::from_secs(120))),
            (" 7 ", Some(Duration::from_secs(7))),
            ("0", Some(Duration::ZERO)),
            (date, Some(Duration::from_secs(60))),
            ("Thu, 15 Jan 2026 10:29:00 GMT", Some(Duration::ZERO)),
            ("99999999999999999999999", Some(MAX_RETRY_AFTER)),
            ("Thu, 15 Jan 2099 10:29:00 GMT", Some(MAX_RETRY_AFTER)),
            ("-5", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Thu, 01 Jan 1960 00:00:00 GMT", None),
        ] {
            assert_eq!(parse_retry_after(value.as_bytes(), NOW), asked, "{value}");
        }
    }

    proptest! {
        #[test]
        fn every_wait_stays_within_its_jitter(
            delays in proptest::collection::vec(0u64..200_000_000, 1..20),
            attempt in 1u16..30,
            jitter in 0.0f64..=1.0,
            asked in proptest::option::of(0u64..400_000),
            seed: u64,
        ) {
            let delays: Vec<_> = delays.into_iter().map(Duration::from_millis).collect();
            let asked = asked.map(Duration::from_secs);
            let mut dice = Dice::seeded(seed);
            let tried = Tried { retry_after: asked, ..tried(attempt, Answer::Timeout) };
            let verdict = schedule(&delays, jitter).verdict(tried, NOW, &mut dice);
            match delays.get(usize::from(attempt) - 1) {
                None => prop_assert_eq!(verdict, Verdict::Dead(DeadReason::Unreachable)),
                Some(delay) => {
                    let Verdict::RetryAt(due) = verdict else { panic!("{verdict:?}") };
                    let wait = due.since(NOW).as_secs_f64();
                    let asked = asked.unwrap_or_default().as_secs_f64();
                    let delay = delay.as_secs_f64();
                    prop_assert!(wait + 0.001 >= (delay * (1.0 - jitter)).max(asked));
                    prop_assert!(wait <= (delay * (1.0 + jitter)).max(asked) + 0.001);
                }
            }
        }

        #[test]
        fn no_retry_after_panics(value in proptest::collection::vec(any::<u8>(), 0..64), now: u64) {
            if let Some(asked) = parse_retry_after(&value, Millis(now)) {
                prop_assert!(asked <= MAX_RETRY_AFTER);
            }
        }
    }

    #[test]
    fn the_jitter_uses_its_whole_range() {
        let mut dice = Dice::seeded(7);
        let throws: Vec<f64> = (0..10_000).map(|_| dice.plus_minus_one()).collect();
        assert!(throws.iter().all(|x| (-1.0..=1.0).contains(x)));
        assert!(throws.iter().any(|x| *x < -0.99) && throws.iter().any(|x| *x > 0.99));
        let mean = throws.iter().sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05, "{mean}");
        assert_ne!(Dice::random().0, Dice::random().0);
    }
}
