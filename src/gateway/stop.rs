//! The stop: nobody is turned away before a balancer knows, nothing in flight is cut before its time, and what could
//! not be delivered is kept for the next start, and said.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::rooms::Rooms;
use crate::buffer::SpillReport;

/// For what ends at the deadline and has to put things in order then.
const ENDING: Duration = Duration::from_secs(3);
/// What a slow disk writes in a second.
const SPILLED_A_SECOND: u64 = 16 << 20;

/// How long [`stop`] and [`leave`] take at most.
pub(super) fn at_most(rooms: &Rooms) -> Duration {
    let server = rooms.ingress.server();
    let spilled = if rooms.buffer.lasts() { 0 } else { rooms.buffer.stats().bytes };
    let spill = Duration::from_secs(spilled / SPILLED_A_SECOND);
    server.shutdown_delay + server.drain_timeout + ENDING + spill
}

/// Stops the gateway: not ready at once, still accepting for `server.shutdown_delay`, then up to
/// `server.drain_timeout` for what is in flight and, where it would be lost or is only in memory, for the buffer.
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
    if rooms.buffer.lasts() {
        let _ = rooms.destinations.finish(deadline).await;
    } else {
        let _ = rooms.destinations.drain(deadline).await;
    }
}

/// What is left goes to where the next start finds it, and is said. After a stop that was cut short, too.
pub(super) async fn leave(rooms: &Rooms) {
    rooms.buffer.close();
    let (buffer, folder) = (rooms.buffer.clone(), rooms.state_dir.path().to_owned());
    let written = tokio::task::spawn_blocking(move || buffer.spill(&folder));
    let written = written.await.unwrap_or_else(|error| Err(format!("the spill itself failed: {error}")));
    let fate = match &written {
        Ok(SpillReport { path: Some(path), .. }) => {
            format!("in the spill file {} and go on at the next start", path.display())
        }
        Ok(SpillReport { path: None, .. }) => "kept and go on at the next start".to_owned(),
        Err(error) => format!("lost with this memory buffer: {error}"),
    };
    let (stats, lost) = (rooms.buffer.stats(), written.is_err());
    let (mut undelivered, mut bytes) = (0, 0);
    for lane in stats.destinations.iter().filter(|lane| lane.events > 0) {
        undelivered += lane.events;
        bytes += lane.bytes;
        let (destination, events) = (&*lane.destination, lane.events);
        if lost {
            tracing::error!(destination, events, "could not be delivered before the stop and are {fate}");
        } else if rooms.buffer.lasts() {
            tracing::info!(destination, events, "wait on disk and go on at the next start");
        } else {
            tracing::warn!(destination, events, "could not be delivered before the stop and are {fate}");
        }
    }
    let dead = stats.dead_events;
    if dead > 0 && lost {
        tracing::error!(events = dead, "dead letters are {fate}");
    }
    tracing::info!(undelivered, bytes, dead, "stopped");
}
