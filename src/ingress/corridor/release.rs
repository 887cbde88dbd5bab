//! What was refused, looked at again: why it was, and letting it in after all.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::answer::Seen;
use super::route::Kind;
use super::strangers::Listed;
use super::{Ended, Ingress, Request, Ticket};
use crate::event::EventId;
use crate::ingress::corridor::event;
use crate::ingress::head::Head;
use crate::ingress::refusal::Refusal;
use crate::ingress::rejected::{Rejected, RejectedSettings};
use crate::observe::RequestOutcome;
use crate::verify::explain::{Case, Cause, CauseKind, Explanation, Suspect, explain};
use crate::verify::{self, NamedSecret, Provider};

/// Secrets of other routes that are tried at most.
const MOST_SUSPECTS: usize = 256;

/// The circumstances under which a request is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Its time: now, or when it came.
    pub(super) at: crate::clock::Millis,
    /// A right signature of any time is right.
    pub(super) any_time: bool,
}

/// What is not looked at again where a refused request is let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waived {
    /// A right signature of any time is right.
    pub time: bool,
    /// Its sender may have any address.
    pub address: bool,
}

/// A refused request that was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// The event that it is, or that it repeats.
    pub event: EventId,
    /// Accepted, a duplicate, or requeued.
    pub outcome: RequestOutcome,
}

/// Why a refused request was not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotReleased {
    /// None of that id is kept.
    Unknown,
    /// Its body was never read, or was too large to be kept.
    NoBody,
    /// Its route is gone, or passes through.
    NoRoute,
    /// It is a challenge, no event: the provider has to send it again.
    Challenge,
    /// It is refused again.
    Refused(Refusal),
}

/// What is found out about a refused request.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The request.
    pub rejected: Arc<Rejected>,
    /// `None` where its route is gone, its body is not kept, or the signature was not what failed.
    pub explanation: Option<Explanation>,
    /// Whether its sender may come in by its address, now; `None` where its route is gone.
    pub listed: Option<bool>,
}

impl Ingress {
    /// Takes over the bounds of what is kept of refused requests.
    pub fn keep_rejected(&self, settings: RejectedSettings) {
        self.rejected.apply(settings, self.parts.clock.now());
    }

    /// The refused requests that are kept, the newest first.
    #[must_use]
    pub fn rejected(&self) -> Vec<Arc<Rejected>> {
        self.rejected.all(self.parts.clock.now())
    }

    /// The refused request with this id.
    #[must_use]
    pub fn find_rejected(&self, id: EventId) -> Option<Arc<Rejected>> {
        self.rejected.get(id, self.parts.clock.now())
    }

    /// Keeps a request that a route of ours refused for what it is.
    pub(super) fn note_rejected(&self, ticket: &Ticket, refusal: &Refusal, head: Head, body: Option<Bytes>) {
        let kept = matches!(
            refusal.outcome,
            RequestOutcome::MissingSignature
                | RequestOutcome::InvalidSignature
                | RequestOutcome::TimestampOutOfTolerance
                | RequestOutcome::MissingEventId
                | RequestOutcome::IpNotAllowed
        );
        if !kept || !matches!(ticket.route.kind, Kind::Deliver(_)) {
            return;
        }
        let crowded = self.rejected.keep(Rejected {
            id: ticket.request_id,
            at: self.parts.clock.now(),
            route: Arc::clone(&ticket.route.name),
            outcome: refusal.outcome,
            message: refusal.message.to_string(),
            field: refusal.field.as_ref().map(ToString::to_string),
            head,
            body,
            client: ticket.client.clone(),
        });
        if crowded {
            self.parts.metrics.limit_hit("rejected");
        }
    }

    /// Tries the usual causes on the refused request with this id, with the secrets of all routes and the schemes of
    /// `providers`. May take a second.
    #[must_use]
    pub fn explain(&self, id: EventId, providers: &[Arc<Provider>]) -> Option<Explained> {
        let rejected = self.find_rejected(id)?;
        let explanation = self.explanation(&rejected, providers);
        let state = self.state.load();
        let route = state.routes.iter().find(|route| route.name == rejected.route);
        let listed = route.map(|route| route.takes_address_of(&rejected.client));
        Some(Explained { rejected, explanation, listed })
    }

    fn explanation(&self, rejected: &Rejected, providers: &[Arc<Provider>]) -> Option<Explanation> {
        let state = self.state.load();
        let route = state.routes.iter().find(|route| route.name == rejected.route)?;
        let Kind::Deliver(corridor) = &route.kind else { return None };
        let (evidence, body) = (corridor.settings.evidence.as_ref()?, rejected.body.as_ref()?);
        let mut others = Vec::new();
        for other in state.routes.iter().filter(|other| other.name != route.name) {
            let Kind::Deliver(corridor) = &other.kind else { continue };
            let secrets = corridor.settings.evidence.iter().flat_map(|evidence| &evidence.secrets);
            let is_ours = |secret: &&NamedSecret| {
                evidence.secrets.iter().any(|own| own.secret.matches(secret.secret.expose()))
            };
            others.extend(
                secrets
                    .filter(|secret| !is_ours(secret))
                    .map(|secret| Suspect { of: format!("route `{}`", other.name), secret: secret.clone() }),
            );
        }
        let on_trial = |secret: &NamedSecret| Suspect {
            of: "this route, where it is on trial (`shadow = true`)".to_owned(),
            secret: secret.clone(),
        };
        others.extend(evidence.shadow.iter().map(on_trial));
        others.truncate(MOST_SUSPECTS);
        let url = event::public_url(corridor, &rejected.client, &rejected.head);
        let message = event::message(&rejected.head, &url, body);
        let mut explanation = explain(&Case {
            message,
            at: rejected.at,
            scheme: &evidence.scheme,
            secrets: &evidence.secrets,
            others: &others,
            providers,
        });
        if let (None, Some(pin)) = (&explanation.refusal, corridor.foreign(&message)) {
            let said = format!(
                "It is signed right, but {} is not what the route's handshake.{} says: it was sent for somebody else, or \
                 the setting is wrong.",
                pin.shown, pin.setting
            );
            explanation.causes.push(Cause { kind: CauseKind::OtherRecipient, message: said });
            explanation.refusal = Some(verify::Refusal {
                kind: verify::RefusalKind::InvalidSignature,
                message: rejected.message.clone(),
                field: Some(pin.shown.to_string()),
            });
        }
        Some(explanation)
    }

    /// Checks the refused request with this id again, as of the time it came and with the list of addresses as it is now,
    /// and lets it in as if it came now: once, through dedupe and buffer.
    ///
    /// # Errors
    /// Why it is not let in; it is then kept as it was.
    pub async fn release(&self, id: EventId, waived: Waived) -> Result<Released, NotReleased> {
        let rejected = self.rejected.take(id).ok_or(NotReleased::Unknown)?;
        let released = self.let_in(&rejected, waived).await;
        if released.is_err() {
            self.rejected.put_back(rejected);
        }
        released
    }

    async fn let_in(&self, rejected: &Rejected, waived: Waived) -> Result<Released, NotReleased> {
        let started = Instant::now();
        let body = rejected.body.clone().ok_or(NotReleased::NoBody)?;
        let state = self.state.load_full();
        let route = state.routes.iter().find(|route| route.name == rejected.route);
        let route = Arc::clone(route.ok_or(NotReleased::NoRoute)?);
        if !waived.address && !route.takes_address_of(&rejected.client) {
            return Err(NotReleased::Refused(Refusal::ip_not_allowed()));
        }
        let request_id = self.request_ids.next(self.parts.clock.now());
        let ticket = Ticket { route, client: rejected.client.clone(), request_id, listed: Listed::Yes };
        let Kind::Deliver(corridor) = &ticket.route.kind else { return Err(NotReleased::NoRoute) };
        let (bytes, mut seen) = (body.len() as u64, Seen::default());
        let terms = Terms { at: rejected.at, any_time: waived.time };
        let walked = self.walk(&ticket, corridor, &rejected.head, &mut Some(body), terms, &mut seen).await;
        let answered = walked.map_err(NotReleased::Refused)?;
        let stands = matches!(
            answered.outcome,
            RequestOutcome::Accepted | RequestOutcome::Duplicate | RequestOutcome::Requeued
        );
        let event = match (answered.outcome, seen.id()) {
            (RequestOutcome::Handshake, _) => return Err(NotReleased::Challenge),
            (outcome, Some(event)) if stands => Released { event, outcome },
            (outcome, _) => {
                let refusal = Refusal::new(outcome, "The application refused the event.");
                return Err(NotReleased::Refused(refusal));
            }
        };
        let request = Request {
            route: Some(&ticket.route),
            client: ticket.client.address(),
            request_id,
            head: Some(&rejected.head),
            took: started.elapsed(),
        };
        let ended = Ended {
            outcome: answered.outcome,
            bytes,
            id: Some(event.event),
            reason: Some("released: it had been refused before"),
            ..Ended::default()
        };
        self.note(&request, &ended, &answered.reply);
        Ok(event)
    }
}
