//! What happened to an event at a destination: the part of its life that is written behind it.

use crate::buffer::handoff::DeadReason;
use crate::clock::Millis;
use crate::event::Attempt;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::buffer) struct Loc {
    /// The segment's number.
    pub segment: u32,
    /// Where the record begins in it, in bytes.
    pub offset: u32,
}

/// One step of one event at one destination. The last one in the log is the one that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct Progress {
    /// The event's sequence number.
    pub seq: u64,
    /// The destination's number.
    pub lane: u32,
    /// What happened.
    pub what: What,
    /// Every attempt of the present budget, oldest first, at most `MAX_ATTEMPTS_KEPT` of them, the newest: so the last
    /// step alone tells the whole story.
    pub attempts: Vec<Attempt>,
    /// Of a place that pends, when its present budget began, where that is not when the event came: it was replayed then.
    pub since: Option<Millis>,
}

impl Progress {
    /// When the last attempt had ended.
    pub fn last_ended(&self) -> Option<Millis> {
        self.attempts.last().map(|last| last.at.plus(last.took))
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) enum What {
    /// A 2xx.
    Delivered,
    /// It stands in the dead letters, durably.
    Dead(DeadReason),
    /// It waits until `due`.
    Deferred {
        /// Not before this moment.
        due: Millis,
        /// Its attempts are used up and the dead letters had no room: it waits for that, not for an attempt.
        dying: Option<DeadReason>,
    },
    /// It is on its way again, with a fresh budget of attempts.
    Requeued,
    /// Its record is damaged: nothing can be sent.
    Lost,
}
