//! Words to systemd (`Type=notify`); without systemd they go nowhere.

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

/// The gateway stops, and how long that may take at most.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell systemd the state of the service");
    }
}
