//! When a delivery is tried again, and when it is given up.
//!
//! Everything here is a function of its arguments: the clock and the dice come from outside.

use std::time::{Duration, UNIX_EPOCH};

use crate::buffer::DeadReason;
use crate::clock::Millis;
use crate::event::Answer;

/// A destination cannot ask for a longer wait than this: it is also how long an event may become.
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

/// The waits between the attempts of one destination.
#[derive(Clone, Copy, Debug)]
pub struct Schedule<'a> {
    /// The waits; there is one attempt more than there are waits.
    pub delays: &'a [Duration],
    /// Each wait is lengthened or shortened by up to this share of itself, 0 to 1.
    pub jitter: f64,
}

impl Schedule<'_> {
    /// What follows attempt number `attempt` (from 1) that ended `now` with `answer`. `retry_after` is what the
    /// destination asked for: it lengthens a wait and never shortens one.
    #[must_use]
    pub fn verdict(
        &self,
        attempt: u16,
        answer: Answer,
        retry_after: Option<Duration>,
        now: Millis,
        dice: &mut Dice,
    ) -> Verdict {
        match answer {
            Answer::Status(200..=299) => return Verdict::Delivered,
            Answer::Status(410) => return Verdict::Dead(DeadReason::Gone),
            _ => {}
        }
        let wait = usize::from(attempt).checked_sub(1).and_then(|past| self.delays.get(past));
        let Some(wait) = wait else { return Verdict::Dead(DeadReason::AttemptsExhausted) };
        let jittered = wait.mul_f64((1.0 + self.jitter * dice.plus_minus_one()).max(0.0));
        let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        Verdict::RetryAt(now.plus(jittered.max(asked)))
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
    fn seeded(seed: u64) -> Self {
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

    fn schedule(delays: &[Duration], jitter: f64) -> Schedule<'_> {
        Schedule { delays, jitter }
    }

    #[test]
    fn every_2xx_delivers_and_410_kills_at_once() {
        let delays = [Duration::from_secs(1)];
        let mut dice = Dice::seeded(1);
        let mut verdict =
            |status| schedule(&delays, 0.0).verdict(1, Answer::Status(status), None, NOW, &mut dice);
        for status in [200, 202, 204, 299] {
            assert_eq!(verdict(status), Verdict::Delivered);
        }
        assert_eq!(verdict(410), Verdict::Dead(DeadReason::Gone));
        for status in [101, 199, 300, 301, 307, 304, 400, 401, 404, 408, 429, 500, 503, 599] {
            assert_eq!(verdict(status), Verdict::RetryAt(Millis(NOW.0 + 1000)), "{status}");
        }
    }

    #[test]
    fn there_is_one_attempt_more_than_there_are_waits() {
        let delays = [1, 5, 12].map(Duration::from_secs);
        let mut dice = Dice::seeded(1);
        for answer in [Answer::Timeout, Answer::Connect, Answer::Internal, Answer::Status(500)] {
            let mut verdict = |n| schedule(&delays, 0.0).verdict(n, answer, None, NOW, &mut dice);
            assert_eq!(verdict(1), Verdict::RetryAt(Millis(NOW.0 + 1000)));
            assert_eq!(verdict(2), Verdict::RetryAt(Millis(NOW.0 + 5000)));
            assert_eq!(verdict(3), Verdict::RetryAt(Millis(NOW.0 + 12_000)));
            assert_eq!(verdict(4), Verdict::Dead(DeadReason::AttemptsExhausted));
            assert_eq!(verdict(u16::MAX), Verdict::Dead(DeadReason::AttemptsExhausted));
        }
        let none = schedule(&[], 0.2).verdict(1, Answer::Timeout, None, NOW, &mut dice);
        assert_eq!(none, Verdict::Dead(DeadReason::AttemptsExhausted));
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
            let verdict = schedule(&delays, jitter).verdict(attempt, Answer::Timeout, asked, NOW, &mut dice);
            match delays.get(usize::from(attempt) - 1) {
                None => prop_assert_eq!(verdict, Verdict::Dead(DeadReason::AttemptsExhausted)),
                Some(delay) => {
                    let Verdict::RetryAt(due) = verdict else { panic!("{verdict:?}") };
                    let wait = due.since(NOW).as_secs_f64();
                    let asked = asked.unwrap_or_default().min(MAX_RETRY_AFTER).as_secs_f64();
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
