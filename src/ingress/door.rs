//! The front door's lower half as a whole: accepts connections, bounds their number, serves and stops them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::budget::Budget;
use super::conn::Socket;
use super::front::Front;
use super::listen::{Accepting, Bound};
use super::passthrough::{self, Passthrough};
use super::registry::{Admission, Registry};
use super::session::Session;
use super::settings::{Peer, ServerSettings};
use crate::clock::Clock;
use crate::net::Resolver;

/// How long accepting pauses where it failed: the process or the system is out of files or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// Such a failure is logged at most so often.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// What all connections share.
pub(super) struct Shared<F: Front> {
    pub(super) front: Arc<F>,
    pub(super) settings: ArcSwap<ServerSettings>,
    pub(super) budget: Budget,
    pub(super) clock: Clock,
    pub(super) proxy: Arc<HttpProxy<Passthrough<F>>>,
    pub(super) registry: Arc<Registry>,
    pub(super) stop: watch::Sender<bool>,
}

/// The front door. Cheap to clone: with several runtimes, each runs a clone on its own listeners, and they share one
/// connection limit and one pool of connections to the apps.
pub struct Door<F: Front> {
    shared: Arc<Shared<F>>,
}

impl<F: Front> Clone for Door<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<F: Front> std::fmt::Debug for Door<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

impl<F: Front> Door<F> {
    /// A door in front of `front`. `resolver` finds the apps of `proxy_to` routes.
    #[must_use]
    pub fn new(settings: ServerSettings, front: Arc<F>, resolver: Resolver, clock: Clock) -> Self {
        let proxy = passthrough::proxy(Arc::clone(&front), resolver);
        let shared = Shared {
            front,
            settings: ArcSwap::from_pointee(settings),
            budget: Budget::default(),
            clock,
            proxy,
            registry: Registry::new(),
            stop: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes over reloaded limits and deadlines; each connection sees them from its next request on.
    pub fn set_settings(&self, settings: ServerSettings) {
        self.shared.settings.store(Arc::new(settings));
    }

    /// Bytes reserved for bodies being read or answered, of `max_inflight_bytes`.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.shared.budget.used()
    }

    /// Accepts on `listeners` and serves until `stop` becomes `true`. Then no more is accepted, idle connections are
    /// closed, requests in flight are answered with `connection: close`; returns when all connections are gone, or
    /// after `drain_timeout` as it is then, with the number of those that were cut.
    ///
    /// Runs on the current runtime; dropped, it cuts its connections.
    ///
    /// # Errors
    /// A listener that cannot be handed to the runtime.
    pub async fn run(&self, listeners: Vec<Bound>, mut stop: watch::Receiver<bool>) -> io::Result<usize> {
        let accepting = listeners.into_iter().map(Bound::into_accepting).collect::<io::Result<Vec<_>>>()?;
        let mut connections = JoinSet::new();
        let mut failed = Failures::default();
        loop {
            tokio::select! {
                biased;
                // A sender that is gone without a word is a stop, too.
                () = async { let _ = stop.wait_for(|stop| *stop).await; } => break,
                (socket, peer) = accept(&accepting, &mut failed) => self.admit(socket, peer, &mut connections),
                Some(_) = connections.join_next() => {}
            }
        }
        drop(accepting);
        self.shared.stop.send_replace(true);
        self.shared.registry.stop();
        let drain = self.shared.settings.load().drain_timeout;
        let all_gone = async { while connections.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(drain, all_gone).await.is_ok();
        let cut = if in_time { 0 } else { connections.len() };
        connections.shutdown().await;
        Ok(cut)
    }

    fn admit(&self, socket: Socket, peer: Peer, connections: &mut JoinSet<()>) {
        // A flood never lets the loop come to the branch that does this.
        while connections.try_join_next().is_some() {}
        let front = &self.shared.front;
        let seat = match self.shared.registry.admit(self.shared.settings.load().max_connections) {
            Admission::Free(seat) => seat,
            Admission::MadeRoom(seat) => {
                front.limit_hit("max_connections");
                seat
            }
            Admission::Full => return front.limit_hit("max_connections"),
        };
        front.connections(1);
        let counted = Counted(Arc::clone(front));
        let session = Session::new(Arc::clone(&self.shared), socket, peer, seat);
        connections.spawn(async move {
            session.run().await;
            drop(counted);
        });
    }
}

/// A counted connection, however it ends.
struct Counted<F: Front>(Arc<F>);

impl<F: Front> Drop for Counted<F> {
    fn drop(&mut self) {
        self.0.connections(-1);
    }
}

/// The next connection on any of the listeners.
async fn accept(listeners: &[Accepting], failed: &mut Failures) -> (Socket, Peer) {
    loop {
        let accepted = poll_fn(|cx| {
            let mut accepted = listeners.iter().map(|listener| listener.poll_accept(cx));
            accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        match accepted.await {
            Ok(accepted) => return accepted,
            Err(error) => failed.pause(&error).await,
        }
    }
}

/// Accept errors: logged now and then, never in a hot loop.
#[derive(Default)]
struct Failures {
    logged: Option<Instant>,
}

impl Failures {
    async fn pause(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        // The sender had gone before it was accepted: nothing to wait for.
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return;
        }
        if self.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
            self.logged = Some(Instant::now());
            tracing::error!(%error, "connections cannot be accepted at the moment");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn accepting_pauses_where_it_failed_and_not_where_a_sender_went_away() {
        let start = Instant::now();
        let mut failures = Failures::default();
        failures.pause(&io::ErrorKind::ConnectionAborted.into()).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        // EMFILE
        failures.pause(&io::Error::from_raw_os_error(24)).await;
        assert!(start.elapsed() >= PAUSE);
        assert_eq!(failures.logged, Some(start));
        failures.pause(&io::Error::from_raw_os_error(24)).await;
        assert_eq!(failures.logged, Some(start), "logged now and then only");
    }
}
