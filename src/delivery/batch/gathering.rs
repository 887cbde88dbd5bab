//! Events that wait for others to go out with them.

use tokio::time::Instant;

use super::body::BatchBody;
use super::{Batch, BatchOptions};
use crate::buffer::Delivery;
use crate::event::Priority;

/// A batch that gathers: events in hand, taken from their lanes.
#[derive(Debug)]
pub(in crate::delivery) struct Gathering {
    options: BatchOptions,
    body: BatchBody,
    deliveries: Vec<Delivery>,
    /// Of each event, which of the lanes it came from.
    lanes: Vec<usize>,
    leaves_at: Instant,
    closed: bool,
}

impl Gathering {
    /// With a first event, which always fits. It leaves the longest wait after `now` at the latest.
    pub(in crate::delivery) fn begin(
        options: BatchOptions,
        lane: usize,
        delivery: Delivery,
        now: Instant,
    ) -> Self {
        let mut body = BatchBody::new(options.format);
        body.push(&delivery.event, delivery.attempt, options.max_bytes);
        Self {
            options,
            body,
            closed: waits_for_nobody(&delivery),
            deliveries: vec![delivery],
            lanes: vec![lane],
            leaves_at: now + options.max_wait,
        }
    }

    /// Whether it goes by these.
    pub(in crate::delivery) fn goes_by(&self, options: Option<&BatchOptions>) -> bool {
        options == Some(&self.options)
    }

    /// How many more events it takes.
    pub(in crate::delivery) fn room(&self) -> usize {
        let full = self.closed || self.body.len() >= self.options.max_bytes;
        if full { 0 } else { self.options.max_events.saturating_sub(self.len()) }
    }

    /// Takes one more in.
    ///
    /// # Errors
    /// There is no room for it: it comes back, and the batch leaves without it.
    pub(in crate::delivery) fn add(&mut self, lane: usize, delivery: Delivery) -> Result<(), Delivery> {
        let fits =
            self.room() > 0 && self.body.push(&delivery.event, delivery.attempt, self.options.max_bytes);
        if !fits {
            self.closed = true;
            return Err(delivery);
        }
        self.closed |= waits_for_nobody(&delivery);
        self.deliveries.push(delivery);
        self.lanes.push(lane);
        Ok(())
    }

    /// It leaves as soon as it may, with what there is.
    pub(in crate::delivery) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether it is time for it to leave.
    pub(in crate::delivery) fn is_ready(&self, now: Instant) -> bool {
        self.room() == 0 || now >= self.leaves_at
    }

    /// When it leaves at the latest.
    pub(in crate::delivery) fn leaves_at(&self) -> Instant {
        self.leaves_at
    }

    pub(in crate::delivery) fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// The batch, and of each event the lane it came from.
    pub(in crate::delivery) fn leave(self) -> (Batch, Vec<usize>) {
        (Batch::new(self.deliveries, self.options.format, self.body), self.lanes)
    }

    /// The events, each with the lane it came from: nothing is sent.
    pub(in crate::delivery) fn disband(self) -> impl Iterator<Item = (usize, Delivery)> {
        self.lanes.into_iter().zip(self.deliveries)
    }
}

/// A critical event is not held up for others that may come: with it, the batch leaves.
fn waits_for_nobody(delivery: &Delivery) -> bool {
    delivery.event.turn.priority == Priority::Critical
}
