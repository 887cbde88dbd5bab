//! The stop: nobody is turned away before a balancer knows, nothing in flight is cut before its time, and what could
//! not be delivered is said.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::rooms::Rooms;

/// For what ends at the deadline and has to put things in order then.
const ENDING: Duration = Duration::from_secs(3);

/// How long [`stop`] takes at most.
pub(super) fn at_most(rooms: &Rooms) -> Duration {
    let server = rooms.ingress.server();
    server.shutdown_delay + server.drain_timeout + ENDING
}

/// Stops the gateway: not ready at once, still accepting for `server.shutdown_delay`, then up to
/// `server.drain_timeout` for what is in flight and for the buffer.
pub(super) async fn stop(rooms: &Rooms) {
    let server = rooms.ingress.server();
    rooms.readiness.set_draining();
    tracing::info!(delay = ?server.shutdown_delay, drain = ?server.drain_timeout, "stopping");
    sleep(server.shutdown_delay).await;
    let deadline = Instant::now() + server.drain_timeout;
    rooms.close_door();
    // Kept while the door closes are events whose requests are still being answered; the buffer stays open for them.
    let cut = rooms.door_closed().await;
    if !cut.is_empty() {
        tracing::warn!("{cut}");
    }
    rooms.buffer.close();
    let left = rooms.destinations.drain(deadline).await;
    let dead = rooms.buffer.stats().dead_events;
    for (destination, events) in &left.destinations {
        tracing::error!(
            destination = &**destination,
            events,
            "could not be delivered before the stop and are lost with this memory buffer"
        );
    }
    if dead > 0 {
        tracing::error!(events = dead, "dead letters are lost with this memory buffer");
    }
    tracing::info!(undelivered = left.events, bytes = left.bytes, dead, "stopped");
}
