//! A deadline that moves with every request and costs nothing while it does: the timer underneath is touched only
//! when it has to ring earlier, or rang too early.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for all waits of a connection.
#[derive(Debug)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// Ready once `deadline` has passed.
    pub(super) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }

    /// `work`'s result, or `None` once `deadline` has passed.
    pub(super) async fn limit<W: Future>(&mut self, deadline: Instant, work: W) -> Option<W::Output> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll(deadline, cx).map(|()| None),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rings_at_the_deadline_it_was_last_asked_for() {
        let start = Instant::now();
        let mut alarm = Alarm::new();
        for seconds in [10, 75, 3, 200] {
            let before = Instant::now();
            let deadline = before + Duration::from_secs(seconds);
            assert!(alarm.limit(deadline, std::future::pending::<()>()).await.is_none());
            assert_eq!(before.elapsed().as_secs(), seconds);
        }
        assert_eq!(start.elapsed().as_secs(), 288);
        let late = alarm.limit(Instant::now(), tokio::time::sleep(Duration::from_secs(1))).await;
        assert!(late.is_none());
        assert_eq!(alarm.limit(Instant::now(), async { 5 }).await, Some(5));
    }
}
