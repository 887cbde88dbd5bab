//! Words to systemd (`Type=notify`); without systemd they go nowhere.

use std::time::Duration;

use sd_notify::NotifyState;

/// The gateway serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload began; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The gateway stops, and how long that may take at most: more than the unit allows, if the configuration says so.
pub fn stopping(at_most: Duration) {
    let at_most = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(at_most)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell systemd the state of the service");
    }
}
