//! What becomes of events whose destination went from the configuration: they wait for its name to return, and are
//! dead letters in the end.

use std::sync::Arc;
use std::time::Duration;

use super::standing::Record;
use crate::buffer::{Buffer, DeadReason, Lane};
use crate::clock::{Clock, Millis};

/// How long they wait for the name to return.
pub const ORPHANS_KEPT_FOR: Duration = Duration::from_secs(72 * 3600);
/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How many are buried before others have their turn.
const AT_ONCE: usize = 64;
/// How long a buffer may take to bring the next ones from the disk.
const BROUGHT_WITHIN: Duration = Duration::from_secs(1);

/// Looks after them, for ever.
pub(super) async fn look_after(buffer: Buffer, record: Arc<Record>, clock: Clock) {
    loop {
        tokio::time::sleep(EVERY).await;
        for name in overdue(&buffer, &record, clock.now()) {
            let buried = bury(&buffer.lane(&name), &clock).await;
            tracing::warn!(
                destination = &*name,
                events = buried,
                "events of a destination that is no longer configured are dead letters now; name it again and replay them"
            );
        }
    }
}

/// The names that went so long ago, and under which events are pending.
pub(super) fn overdue(buffer: &Buffer, record: &Record, now: Millis) -> Vec<Arc<str>> {
    let lanes = buffer.stats().destinations.into_iter();
    lanes
        .filter(|lane| !lane.configured && lane.events > 0)
        .map(|lane| lane.destination)
        .filter(|name| {
            let since = record.lane(name).set_configured(false, now);
            since.is_some_and(|since| now.since(since) >= ORPHANS_KEPT_FOR)
        })
        .collect()
}

/// How many were buried: also what waited for its next attempt, which nobody will make.
pub(super) async fn bury(lane: &Lane, clock: &Clock) -> usize {
    lane.hasten(clock.now());
    let mut buried = 0;
    loop {
        let taken = lane.take(AT_ONCE);
        buried += taken.len();
        let none = taken.is_empty();
        for delivery in taken {
            // Who waits for an answer learns that none comes: what it waits with is dropped.
            if delivery.express.is_none() {
                lane.bury(delivery.event.id, DeadReason::Orphaned);
            }
        }
        let more = tokio::time::timeout(BROUGHT_WITHIN, lane.changed()).await.is_ok();
        if none && !more {
            return buried;
        }
    }
}
