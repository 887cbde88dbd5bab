//! How busy the process keeps its processors, and how long a sync therefore waits for company.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(10);
/// How long after a sync the next one waits for company where processors idle …
const AT_REST: Duration = Duration::from_micros(100);
/// … and where they do not.
const BUSY: Duration = Duration::from_millis(1);
/// Up to this share of the processors' time they count as idle …
const IDLE_UP_TO: f64 = 0.70;
/// … and from this one on as busy; between the two, in proportion.
const BUSY_FROM: f64 = 0.85;

/// The processor time that the process used lately.
#[derive(Debug)]
pub(super) struct Load {
    processors: f64,
    looked: Instant,
    used: Duration,
    /// The share of all processors' time, smoothed.
    share: f64,
}

impl Load {
    pub fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
        Self { processors, looked: Instant::now(), used: used(), share: 0.0 }
    }

    /// Takes in what was used since it last looked, if that is long enough ago.
    pub fn look(&mut self, now: Instant) {
        let wall = now.saturating_duration_since(self.looked);
        if wall < EVERY {
            return;
        }
        let used = used();
        self.take_in(used.saturating_sub(self.used), wall);
        (self.looked, self.used) = (now, used);
    }

    fn take_in(&mut self, used: Duration, wall: Duration) {
        let share = (used.as_secs_f64() / wall.as_secs_f64() / self.processors).min(1.0);
        // What was before a pause says nothing of now.
        let weight = (wall.as_secs_f64() / EVERY.as_secs_f64() / 8.0).min(1.0);
        self.share += (share - self.share) * weight;
    }

    /// How long after a sync the next one waits for company.
    pub fn pace(&self) -> Duration {
        let busy = ((self.share - IDLE_UP_TO) / (BUSY_FROM - IDLE_UP_TO)).clamp(0.0, 1.0);
        AT_REST + (BUSY - AT_REST).mul_f64(busy)
    }
}

/// The processor time of all threads so far.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(shares: &[f64]) -> Load {
        let mut load = Load { processors: 2.0, looked: Instant::now(), used: Duration::ZERO, share: 0.0 };
        for share in shares {
            load.take_in(EVERY.mul_f64(share * 2.0), EVERY);
        }
        load
    }

    #[test]
    fn the_busier_the_longer() {
        assert_eq!(after(&[0.0; 50]).pace(), AT_REST);
        assert_eq!(after(&[0.6; 100]).pace(), AT_REST);
        let between = after(&[0.775; 100]).pace();
        assert!(between > AT_REST * 3 && between < BUSY * 2 / 3, "{between:?}");
        assert_eq!(after(&[0.9; 100]).pace(), BUSY);
        assert_eq!(after(&[1.0; 100]).pace(), BUSY);
    }

    #[test]
    fn a_pause_forgets_and_one_look_does_not() {
        let mut load = after(&[1.0; 100]);
        load.take_in(Duration::ZERO, EVERY);
        assert_eq!(load.pace(), BUSY);
        load.take_in(Duration::ZERO, EVERY * 100);
        assert_eq!(load.pace(), AT_REST);
        load.take_in(EVERY * 2, EVERY);
        assert_eq!(load.pace(), AT_REST);
    }

    #[test]
    fn looks_at_this_process() {
        let mut load = Load::new();
        let (began, before) = (load.looked, load.used);
        let mut hash = 0_u64;
        while load.used == before {
            hash = hash.wrapping_mul(31).wrapping_add(7);
            std::hint::black_box(hash);
            load.look(Instant::now());
        }
        assert!(load.looked >= began + EVERY && load.share > 0.0, "{load:?}");
    }
}
