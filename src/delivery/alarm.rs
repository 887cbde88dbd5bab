//! One moment to wait for, to the tenth of a millisecond.
//!
//! tokio's timers have ticks of a millisecond and are up to one late. A lane of 100 requests a second that begins each
//! of them a millisecond late sends 91: a rate that is never exceeded cannot be caught up with either. So the kernel's
//! timer wakes it, which costs nothing while it sleeps.

use std::pin::Pin;
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, Sleep, sleep_until};

/// Waits longer than this are tokio's: what they are late does not show.
const FINE_BELOW: Duration = Duration::from_millis(200);

/// An alarm, set for one moment at a time.
#[derive(Debug)]
pub(super) struct Alarm {
    coarse: Pin<Box<Sleep>>,
    /// `None` where the kernel gives none, and where time is a test's.
    fine: Option<Receiver>,
    set_for: Option<Instant>,
    is_fine: bool,
}

impl Alarm {
    /// One that is not set. `exact`: time is the kernel's, not a test's.
    pub(super) fn new(exact: bool) -> Self {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fine = exact
            .then(|| rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags).ok())
            .flatten()
            // No pipe, but like one it is read when it is ready; that is all that is asked of it.
            .and_then(|timer| Receiver::from_owned_fd_unchecked(timer).ok());
        Self { coarse: Box::pin(sleep_until(Instant::now())), fine, set_for: None, is_fine: false }
    }

    /// Sets it for `at`, in place of any other moment.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        if self.set_for == at {
            return;
        }
        self.set_for = at;
        let Some(at) = at else { return };
        let wait = at.saturating_duration_since(Instant::now());
        self.is_fine = wait < FINE_BELOW && self.set_fine(wait);
        if !self.is_fine {
            self.coarse.as_mut().reset(at);
        }
    }

    fn set_fine(&self, wait: Duration) -> bool {
        let Some(timer) = &self.fine else { return false };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A timer of zero is one that is not set.
        let nanos = i64::from(wait.subsec_nanos()).max(1);
        let value = Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(0), tv_nsec: nanos };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        rustix::time::timerfd_settime(timer, TimerfdTimerFlags::empty(), &spec).is_ok()
    }

    /// Returns when the moment has come, once; never where none is set.
    pub(super) async fn rang(&mut self) {
        if self.set_for.is_none() {
            std::future::pending::<()>().await;
        }
        match &self.fine {
            Some(timer) if self.is_fine => ring(timer).await,
            _ => self.coarse.as_mut().await,
        }
        self.set_for = None;
    }
}

/// Returns when the kernel's timer has run out.
async fn ring(timer: &Receiver) {
    let mut count = [0u8; 8];
    while timer.readable().await.is_ok() {
        // It may have been set anew since it was last readable: then there is nothing to read yet.
        if timer.try_read(&mut count).is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_its_moment_and_once() {
        let mut alarm = Alarm::new(false);
        let start = Instant::now();
        alarm.set(Some(start + Duration::from_secs(5)));
        alarm.set(Some(start + Duration::from_millis(1500)));
        alarm.rang().await;
        assert_eq!(start.elapsed(), Duration::from_millis(1500));
        let again = tokio::time::timeout(Duration::from_secs(60), alarm.rang()).await;
        assert!(again.is_err(), "it was not set again");
    }

    #[tokio::test]
    async fn the_kernel_s_timer_is_never_early_and_hardly_late() {
        let mut alarm = Alarm::new(true);
        let mut late = Vec::new();
        for n in 1..20u64 {
            let at = Instant::now() + Duration::from_micros(700 * n);
            alarm.set(Some(at));
            assert!(alarm.is_fine);
            alarm.rang().await;
            assert!(Instant::now() >= at, "{n}");
            late.push(Instant::now() - at);
        }
        late.sort_unstable();
        // Others compile on the same machine: the best of them tell.
        assert!(late[5] < Duration::from_micros(700), "{late:?}");
        alarm.set(Some(Instant::now()));
        alarm.rang().await; // a moment that is past
    }
}
