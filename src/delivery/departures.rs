//! A lane's rate, counted where requests leave hooklatch.
//!
//! An attempt begins, finds or opens a connection, and only then writes its request. So there are two meters of the same
//! pace: attempts begin by the first, so that none has to wait with a connection in its hands; and just before each write,
//! that of a re-send included, the second one is drawn from, so that what waited for slow connections does not leave
//! together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{Instant, sleep_until};

use crate::limit::{Meter, Pace};

/// What left a lane so far. It outlives every change of its rate.
#[derive(Debug)]
pub(super) struct Departures {
    begun: Meter,
    left: Meter,
    /// Requests that left a second time and are not made up for by attempts that did not begin.
    again: AtomicU32,
}

impl Departures {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { begun: Meter::new(now), left: Meter::new(now), again: AtomicU32::new(0) })
    }

    /// From when on a further attempt may begin; `now` or earlier where it may at once.
    pub(super) fn next(&self, pace: Pace, now: Instant) -> Instant {
        while self.again.load(Ordering::Acquire) > 0 && self.begun.take(pace, now).is_ok() {
            self.again.fetch_sub(1, Ordering::AcqRel);
        }
        self.begun.ready_at(pace, now)
    }

    /// An attempt begins. One that finds no connection counts all the same: it was a load, too.
    pub(super) fn begin(self: &Arc<Self>, pace: Option<Pace>, now: Instant) -> Departure {
        let Some(pace) = pace else { return Departure::free() };
        // Where it may not yet, the gate was not asked, and the second meter holds the request up.
        let _ = self.begun.take(pace, now);
        Departure(Some(Way { of: Arc::clone(self), pace, left: AtomicU32::new(0) }))
    }
}

/// One attempt's way out.
#[derive(Debug)]
pub(super) struct Departure(Option<Way>);

#[derive(Debug)]
struct Way {
    of: Arc<Departures>,
    pace: Pace,
    /// Requests written.
    left: AtomicU32,
}

impl Departure {
    /// Without a rate.
    pub(super) fn free() -> Self {
        Self(None)
    }

    /// Waits until a request may be written.
    pub(super) async fn leave(&self) {
        let Some(way) = &self.0 else { return };
        while let Err(at) = way.of.left.take(way.pace, Instant::now()) {
            sleep_until(at).await;
        }
        if way.left.fetch_add(1, Ordering::AcqRel) > 0 {
            way.of.again.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pace(rate: &str, burst: u32) -> Pace {
        Pace::new(rate.parse().unwrap(), burst)
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_begin_as_far_apart_as_their_requests_leave() {
        let pace = pace("10/s", 1);
        let departures = Departures::new(Instant::now());
        let mut left = Vec::new();
        let start = Instant::now();
        for _ in 0..5 {
            sleep_until(departures.next(pace, Instant::now())).await;
            departures.begin(Some(pace), Instant::now()).leave().await;
            left.push(start.elapsed().as_millis());
        }
        assert_eq!(left, [0, 100, 200, 300, 400]);
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_wait_for_connections_still_leave_one_by_one() {
        let pace = pace("10/s", 1);
        let departures = Departures::new(Instant::now());
        let start = Instant::now();
        let mut attempts = Vec::new();
        for n in 0..4 {
            let next = departures.next(pace, Instant::now());
            assert_eq!(next.saturating_duration_since(start), ms(100 * n), "{n}");
            sleep_until(next).await;
            attempts.push(departures.begin(Some(pace), Instant::now()));
        }
        // All four connections stand at the same moment, 300 ms after the first attempt.
        let mut left = Vec::new();
        for attempt in &attempts {
            attempt.leave().await;
            left.push(start.elapsed().as_millis());
        }
        assert_eq!(left, [300, 400, 500, 600]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_sent_again_counts_twice() {
        let pace = pace("10/s", 1);
        let departures = Departures::new(Instant::now());
        let start = Instant::now();
        let attempt = departures.begin(Some(pace), Instant::now());
        attempt.leave().await;
        attempt.leave().await;
        assert_eq!(start.elapsed(), ms(100));
        let next = departures.next(pace, Instant::now());
        assert_eq!(next.saturating_duration_since(start), ms(200));
        sleep_until(next).await;
        departures.begin(Some(pace), Instant::now()).leave().await;
        assert_eq!(start.elapsed(), ms(200), "nobody waits with a connection in its hands");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_a_connection_counts_too() {
        let pace = pace("10/s", 2);
        let departures = Departures::new(Instant::now());
        let start = Instant::now();
        for _ in 0..2 {
            assert!(departures.next(pace, Instant::now()) <= Instant::now());
            drop(departures.begin(Some(pace), Instant::now()));
        }
        assert_eq!(departures.next(pace, Instant::now()).saturating_duration_since(start), ms(100));
    }
}
