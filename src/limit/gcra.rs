//! The generic cell rate algorithm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::units::Rate;

/// A rate, and how many may come at once.
///
/// In no stretch of a second, wherever it begins, are more than `rate` + `burst` − 1 let through (a rate of n/s; for
/// n/m and n/h: in no minute, no hour).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From one to the next when they are evenly spaced, nanoseconds.
    interval: u64,
    /// How far ahead of an even spacing one may come, nanoseconds.
    tolerance: u64,
}

impl Pace {
    /// `rate`, of which at most `burst` come at once; a burst of 0 is one of 1.
    #[must_use]
    pub fn new(rate: Rate, burst: u32) -> Self {
        let interval = rate.interval_nanos();
        Self { interval, tolerance: interval.saturating_mul(u64::from(burst.max(1) - 1)) }
    }

    /// A whole period's worth may come at once: 100 for `"100/s"`, 10 for `"10/h"`. For who is asked and cannot choose
    /// the moment.
    #[must_use]
    pub fn of_period(rate: Rate) -> Self {
        Self::new(rate, rate.count())
    }
}

/// What was used of a [`Pace`] so far. Shared by threads without a lock; one that has not been drawn from for
/// `burst` times the interval is as good as new.
#[derive(Debug)]
pub struct Meter {
    /// What the nanoseconds of `next` count from.
    start: Instant,
    /// The theoretical arrival time: when the next one would come if all were evenly spaced.
    next: AtomicU64,
}

impl Meter {
    /// A meter that nothing was drawn from, made `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { start: now, next: AtomicU64::new(0) }
    }

    /// Takes one, if one may come `now`.
    ///
    /// # Errors
    /// None may: the moment from which on one may.
    pub fn take(&self, pace: Pace, now: Instant) -> Result<(), Instant> {
        let at = self.nanos(now);
        let drawn = self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, |next| {
            (ready(next, pace) <= at).then(|| next.max(at).saturating_add(pace.interval))
        });
        drawn.map(drop).map_err(|_| self.ready_at(pace, now))
    }

    /// The moment from which on one may come; `now` or earlier where one may at once. Takes nothing.
    ///
    /// What is owed under another pace, which a reload changed, is forgotten as far as `pace` itself could not have left
    /// it behind: after a change from one an hour to 100 a second nobody waits for the hour to end.
    #[must_use]
    pub fn ready_at(&self, pace: Pace, now: Instant) -> Instant {
        let most = self.nanos(now).saturating_add(pace.tolerance).saturating_add(pace.interval);
        let next = self.next.fetch_min(most, Ordering::AcqRel).min(most);
        self.moment(ready(next, pace))
    }

    fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }

    fn moment(&self, nanos: u64) -> Instant {
        // A rate is at least one an hour and a burst a u32: the sum may be some 500,000 years, which a clock may not hold.
        self.start.checked_add(Duration::from_nanos(nanos)).unwrap_or(self.start)
    }
}

/// From when on one may come.
fn ready(next: u64, pace: Pace) -> u64 {
    next.saturating_sub(pace.tolerance)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn pace(rate: &str, burst: u32) -> Pace {
        Pace::new(rate.parse().expect("a rate"), burst)
    }

    fn ns(nanos: u64) -> Duration {
        Duration::from_nanos(nanos)
    }

    #[test]
    fn evenly_spaced_ones_all_come_and_a_nanosecond_early_is_too_early() {
        let (start, pace) = (Instant::now(), pace("1000/s", 1));
        let meter = Meter::new(start);
        for n in 0..100 {
            let due = start + ns(1_000_000 * n);
            if n > 0 {
                assert_eq!(meter.take(pace, due - ns(1)), Err(due), "{n}");
            }
            assert_eq!(meter.take(pace, due), Ok(()), "{n}");
        }
    }

    #[test]
    fn a_burst_comes_at_once_and_the_next_one_after_an_interval() {
        let (start, pace) = (Instant::now(), pace("10/s", 5));
        let meter = Meter::new(start);
        for n in 0..5 {
            assert!(meter.ready_at(pace, start) <= start, "{n}");
            assert_eq!(meter.take(pace, start), Ok(()), "{n}");
        }
        let next = start + Duration::from_millis(100);
        assert_eq!((meter.take(pace, start), meter.ready_at(pace, start)), (Err(next), next));
        assert_eq!(meter.take(pace, next), Ok(()));
        // What was not used is there again, and no more than that.
        let later = start + Duration::from_secs(60);
        assert_eq!((0..9).filter(|_| meter.take(pace, later).is_ok()).count(), 5);
    }

    #[test]
    fn a_new_pace_is_not_held_up_by_what_is_owed_under_the_old_one() {
        let start = Instant::now();
        let meter = Meter::new(start);
        assert_eq!(meter.take(pace("1/h", 1), start), Ok(()));
        let next = start + Duration::from_millis(10);
        assert_eq!(meter.take(pace("100/s", 1), start), Err(next), "never more than the new rate either");
        assert_eq!(meter.take(pace("100/s", 1), next), Ok(()));
    }

    #[test]
    fn the_most_that_can_be_typed_does_not_overflow() {
        let (start, slow) = (Instant::now(), Pace::new("1/h".parse().expect("a rate"), u32::MAX));
        let meter = Meter::new(start);
        assert!((0..1000).all(|_| meter.take(slow, start).is_ok()));
        let fast = Pace::new("4294967295/s".parse().expect("a rate"), 0);
        assert_eq!(
            (meter.take(fast, start + ns(1)), meter.take(fast, start + ns(1))),
            (Err(start + ns(2)), Err(start + ns(2)))
        );
    }

    #[test]
    fn threads_together_get_no_more_than_one_alone() {
        let (start, pace) = (Instant::now(), pace("1/h", 1000));
        let meter = Meter::new(start);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| meter.take(pace, start).is_ok()).count()))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 1000);
    }

    proptest! {
        /// The bound that users are promised, for rates that divide a second and those that do not.
        #[test]
        fn no_second_sees_more_than_rate_and_burst_less_one(
            rate in 1u32..5000,
            burst in 1u32..50,
            gaps in prop::collection::vec(0u64..2_000_000, 1..2000),
            greedy in any::<bool>(),
        ) {
            let (start, pace) = (Instant::now(), Pace::new(Rate::new(rate, Duration::from_secs(1)).expect("a rate"), burst));
            let meter = Meter::new(start);
            let (mut now, mut second) = (start, VecDeque::new());
            for gap in gaps {
                now += ns(gap);
                // A greedy one comes at the very moment that it is told.
                let took = match meter.take(pace, now) {
                    Err(at) if greedy => {
                        prop_assert!(at > now);
                        now = at;
                        meter.take(pace, now)
                    }
                    took => took,
                };
                if took.is_ok() {
                    second.push_back(now);
                    while second.front().is_some_and(|first| now - *first >= Duration::from_secs(1)) {
                        second.pop_front();
                    }
                    prop_assert!(second.len() <= (rate + burst - 1) as usize, "{} of {rate} + {burst} - 1", second.len());
                } else {
                    prop_assert!(!greedy);
                }
            }
        }

        /// The other side: who keeps asking gets the whole rate (within the nanosecond that an interval is rounded by).
        #[test]
        fn who_keeps_asking_gets_the_whole_rate(rate in 1u32..20_000) {
            let (start, pace) = (Instant::now(), Pace::new(Rate::new(rate, Duration::from_secs(1)).expect("a rate"), 1));
            let meter = Meter::new(start);
            let (mut now, mut taken) = (start, 0u32);
            while now < start + Duration::from_secs(1) {
                match meter.take(pace, now) {
                    Ok(()) => taken += 1,
                    Err(at) => now = at,
                }
            }
            prop_assert_eq!(taken, rate);
        }
    }
}
