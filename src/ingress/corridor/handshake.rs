//! A provider's challenges: answered here, never an event.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::route::Corridor;
use super::{Ingress, Ticket};
use crate::clock::Millis;
use crate::ingress::refusal::Refusal;
use crate::ingress::settings::Capture;
use crate::limit::Pace;
use crate::observe::RequestOutcome;
use crate::secret::Secret;
use crate::select::Message;
use crate::verify::{Errands, HandshakeReply, Stage};

/// Challenges that a secret is used for, of one client on one route: thirty at once, and two a second for good. A provider
/// asks once an hour at most; who asks more often is guessing, or collecting what our key says. Each client has its own
/// pace, so that a stranger who uses his up does not hold up the provider.
const PACE: (&str, u32) = ("2/s", 30);
/// Confirmations that wait to be asked for, over all routes; one more is answered 503, and the provider asks again.
pub const CONFIRMATIONS: usize = 16;

/// An address to ask, so that a provider knows that its events are wanted here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// By which route it came.
    pub route: Arc<str>,
    /// The whole address, https; its host is one that the provider's file names.
    pub address: String,
}

/// The pace of [`PACE`].
fn pace() -> Option<Pace> {
    let (rate, burst) = PACE;
    rate.parse().ok().map(|rate| Pace::new(rate, burst))
}

impl Ingress {
    /// The answer to `message`, if it is a challenge of this `stage`.
    pub(super) fn challenge(
        &self,
        ticket: &Ticket,
        corridor: &Corridor,
        message: &Message<'_>,
        stage: Stage,
        now: Millis,
    ) -> Result<Option<(HandshakeReply, Errands)>, Refusal> {
        for challenge in corridor.settings.challenges.of(message, stage) {
            let waits = corridor.settings.capture.as_ref().is_some_and(|capture| now <= capture.until);
            if challenge.captures() && !waits {
                continue;
            }
            if challenge.uses_secret() && !self.may_use_secret(ticket) {
                self.parts.metrics.limit_hit("handshake");
                return Err(Refusal::new(
                    RequestOutcome::RateLimited,
                    "Too many challenges come from this address.",
                ));
            }
            if let Some(answer) = challenge.answer(message) {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    fn may_use_secret(&self, ticket: &Ticket) -> bool {
        pace().is_some_and(|pace| self.limiter.takes_challenge(&ticket.route.rates, ticket.client.ip, pace))
    }

    /// Does what is to be done before a challenge may be answered.
    pub(super) async fn run_errands(
        &self,
        ticket: &Ticket,
        corridor: &Corridor,
        errands: Errands,
    ) -> Result<(), Refusal> {
        if let (Some(secret), Some(capture)) = (errands.capture, &corridor.settings.capture) {
            self.capture(ticket, capture, secret).await?;
        }
        if let Some(address) = errands.confirm {
            let confirmation = Confirmation { route: Arc::clone(&ticket.route.name), address };
            if self.parts.confirmations.try_send(confirmation).is_err() {
                self.parts.metrics.limit_hit("handshake.confirm");
                return Err(Refusal::new(
                    RequestOutcome::BufferFull,
                    "Too many confirmations wait at the moment. Send this one again.",
                ));
            }
        }
        Ok(())
    }

    /// Keeps the secret that the provider hands over: the first one, for good. It is answered only once it is safe.
    async fn capture(&self, ticket: &Ticket, capture: &Capture, secret: Secret) -> Result<(), Refusal> {
        let file = capture.file.clone();
        let written = tokio::task::spawn_blocking(move || write_once(&file, secret.expose())).await;
        let (route, client) = (&*ticket.route.name, ticket.client.address());
        let file = capture.file.display();
        match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {
                tracing::warn!(
                    route,
                    client,
                    "the provider handed over its secret, and it is kept in {file}; if that was not the provider, remove \
                     the file, reload, and set the webhook up again"
                );
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                tracing::warn!(
                    route,
                    client,
                    "a second secret was offered and not taken: the first is in {file}"
                );
                Err(Refusal::new(RequestOutcome::InvalidSignature, "This route has its secret already."))
            }
            Err(error) => {
                tracing::error!(
                    route,
                    client,
                    "a secret was handed over, but {file} cannot be written: {error}"
                );
                Err(Refusal::new(
                    RequestOutcome::StorageFailed,
                    "The secret could not be put to stable storage. Send it again.",
                ))
            }
        }
    }
}

/// Writes a file of mode 0600 that is not there yet, whole or not at all.
fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // Fails where the name is taken, as a rename would not.
    let linked = std::fs::hard_link(&unfinished, path);
    std::fs::remove_file(&unfinished)?;
    linked?;
    std::fs::File::open(folder)?.sync_all()
}
