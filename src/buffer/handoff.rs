//! What passes between the buffer and those who fill and empty it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, oneshot};

use crate::clock::Millis;
use crate::event::{Event, Outcome};

/// Why an event was not kept. The sender is told to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepError {
    /// No room, for this destination or at all.
    Full {
        /// The destination without room; `None` where the whole buffer is full.
        destination: Option<Arc<str>>,
    },
    /// The disk refused it: a write or a sync failed, or no segment can be had.
    Storage,
    /// The gateway is stopping.
    ShuttingDown,
}

/// Bounds of one destination's share, besides the buffer's own. What is pending and what is dead counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaxPending {
    /// At most so many events.
    pub events: Option<u64>,
    /// At most so many bytes.
    pub bytes: Option<u64>,
}

/// One event on its way to one destination.
#[derive(Debug)]
pub struct Delivery {
    /// The event.
    pub event: Arc<Event>,
    /// The number of the attempt to make: 1, 2, …
    pub attempt: u16,
    /// When its present budget of attempts began: when it came, or was replayed.
    pub since: Millis,
    /// Set for `ack = "delivered"`: one attempt, and its outcome goes here instead of to `Lane::settle`.
    pub express: Option<Express>,
}

/// How a delivery ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// 2xx.
    Delivered,
    /// Into the dead letters.
    Dead(DeadReason),
}

/// Why an event is in the dead letters: what the destination did not want, what could not be reached, what hooklatch
/// could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// The last attempt of the schedule was answered, and not with a 2xx.
    AttemptsExhausted,
    /// The destination answered 410.
    Gone,
    /// The last attempt of the schedule found no connection, or no answer in time.
    Unreachable,
    /// The destination gave an answer that is not worth another attempt (`retry.on`).
    Refused,
    /// It became older than the destination's `max_age`.
    TooOld,
    /// hooklatch itself could not make a request of it.
    Internal,
    /// Its destination went from the configuration, and did not come back in time.
    Orphaned,
}

impl DeadReason {
    /// Every reason, in the order of the number by which it is written to disk.
    pub const ALL: [Self; 7] = [
        Self::AttemptsExhausted,
        Self::Gone,
        Self::Unreachable,
        Self::Refused,
        Self::TooOld,
        Self::Internal,
        Self::Orphaned,
    ];

    /// The word of the admin API and of the dead letters' file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttemptsExhausted => "attempts_exhausted",
            Self::Gone => "gone",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::TooOld => "too_old",
            Self::Internal => "internal",
            Self::Orphaned => "orphaned",
        }
    }

    /// The reason of [`Self::as_str`].
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// Where the outcome of a passed event (`ack = "delivered"`) goes. It counts as work in flight until it is sent or
/// dropped; dropped, the waiting sender learns that no outcome will come.
#[derive(Debug)]
pub struct Express {
    reply: Option<oneshot::Sender<Outcome>>,
    open: Arc<OpenExpress>,
}

impl Express {
    pub(super) fn new(open: &Arc<OpenExpress>) -> (Self, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        open.count.fetch_add(1, Ordering::AcqRel);
        (Self { reply: Some(reply), open: Arc::clone(open) }, outcome)
    }

    /// Tells the waiting sender.
    ///
    /// # Errors
    /// It has gone; the outcome comes back.
    pub fn send(mut self, outcome: Outcome) -> Result<(), Outcome> {
        match self.reply.take() {
            Some(reply) => reply.send(outcome),
            None => Err(outcome),
        }
    }

    /// Whether the sender hung up: nobody waits for the outcome.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    /// Returns when the sender has hung up.
    pub async fn closed(&mut self) {
        if let Some(reply) = &mut self.reply {
            reply.closed().await;
        }
    }
}

impl Drop for Express {
    fn drop(&mut self) {
        if self.open.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.open.ended.notify_waiters();
        }
    }
}

/// How many passed events have no outcome yet.
#[derive(Debug, Default)]
pub(super) struct OpenExpress {
    count: AtomicUsize,
    /// Told whenever the last piece of work of some kind ended.
    pub(super) ended: Notify,
}

impl OpenExpress {
    pub(super) fn is_none(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }
}
