//! The corridor itself: from a whole request to its answer.
//!
//! **A sender that hangs up** makes the connection's task drop this future at whatever await it stands. There are
//! three. (1) A duplicate waits for the first one's result: it holds nothing. (2) [`Buffer::keep`] took the event and
//! its claim: if it finished, the claim is confirmed, for that happens inside it; if not, event and claim are dropped
//! together, and a dropped claim is released. (3) `ack = "delivered"` waits for the destinations: its guard releases
//! the claim, naming who has the event already. Between two awaits nothing can be dropped. So the event is kept and
//! remembered, or neither.
//!
//! [`Buffer::keep`]: crate::buffer::Buffer::keep

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::event::{self, Facts};
use super::express;
use super::release::Terms;
use super::route::{Corridor, Kind};
use super::{Ended, Ingress, Request, Ticket, took};
use crate::buffer::KeepError;
use crate::dedupe::Claimed;
use crate::event::{Ack, Claim, Event, EventId, OrderKey, Turn};
use crate::ingress::front::Reply;
use crate::ingress::head::Head;
use crate::ingress::refusal::Refusal;
use crate::observe::RequestOutcome;
use crate::select::Message;
use crate::verify::{Errands, HandshakeReply, RefusalKind, Stage, event_time};

/// What was learned of a request on its way, for log and metrics.
#[derive(Default)]
pub(super) struct Seen {
    facts: Facts,
    became: Became,
    /// A signature vouches for the rest.
    verified: bool,
    /// It is an event (no challenge, no forgery).
    is_event: bool,
}

impl Seen {
    /// The event that the request is, or repeats.
    pub(super) fn id(&self) -> Option<EventId> {
        self.became.id
    }
}

/// What became of an event.
#[derive(Default)]
pub(super) struct Became {
    pub(super) id: Option<EventId>,
    /// The destination that did not take it (`ack = "delivered"`): the operator's business, not the sender's.
    pub(super) failed_at: Option<Arc<str>>,
}

/// An answer and how it counts.
pub(super) struct Answered {
    pub(super) outcome: RequestOutcome,
    pub(super) reply: Reply,
    pub(super) reason: Option<&'static str>,
}

/// What is left to do with an event once its id is known to be new, old, or in somebody else's hands.
enum Step {
    Keep(Box<Event>, Option<Claim>),
    Stands(EventId),
    Wait(crate::dedupe::Waiter),
}

impl Ingress {
    pub(super) async fn answer_event(&self, ticket: Ticket, head: Box<Head>, body: Bytes) -> Reply {
        let Kind::Deliver(corridor) = &ticket.route.kind else {
            // The lower half was told to stream such requests through.
            return Refusal::unknown_route().reply(self.parts.clock.now(), ticket.request_id);
        };
        let bytes = body.len() as u64;
        let mut seen = Seen::default();
        let mut body = Some(body);
        let terms = Terms { at: self.parts.clock.now(), any_time: false };
        let result = self.walk(&ticket, corridor, &head, &mut body, terms, &mut seen).await;
        let (answered, refusal) = match result {
            Ok(answered) => (answered, None),
            Err(refusal) => {
                let reply = refusal.reply(self.parts.clock.now(), ticket.request_id);
                (Answered { outcome: refusal.outcome, reply, reason: None }, Some(refusal))
            }
        };
        if seen.is_event {
            let event_type = seen.facts.event_type.as_deref().filter(|_| seen.verified);
            ticket.route.metrics.event(event_type, answered.outcome);
        }
        let request = Request {
            route: Some(&ticket.route),
            client: ticket.client.address(),
            request_id: ticket.request_id,
            head: Some(&head),
            took: took(&head),
        };
        let message = refusal.as_ref().map(|refusal| &*refusal.message).or(answered.reason);
        let reason = match (message, &seen.became.failed_at) {
            (Some(message), Some(destination)) => Some(Cow::Owned(format!("{destination}: {message}"))),
            (message, _) => message.map(Cow::Borrowed),
        };
        let ended = Ended {
            outcome: answered.outcome,
            bytes,
            id: seen.became.id,
            event_id: seen.facts.event_id.as_deref(),
            event_type: seen.facts.event_type.as_deref(),
            reason: reason.as_deref(),
        };
        self.note(&request, &ended, &answered.reply);
        if let Some(refusal) = &refusal {
            self.note_rejected(&ticket, refusal, *head, body);
        }
        answered.reply
    }

    /// From a whole request to its answer. `body` is taken out only by an event that comes into being.
    pub(super) async fn walk(
        &self,
        ticket: &Ticket,
        corridor: &Corridor,
        head: &Head,
        body: &mut Option<Bytes>,
        terms: Terms,
        seen: &mut Seen,
    ) -> Result<Answered, Refusal> {
        let deadline = Instant::now() + corridor.patience;
        match self.examine(ticket, corridor, head, body, terms, seen)? {
            Examined::Challenge(reply, errands) => {
                self.run_errands(ticket, corridor, errands).await?;
                Ok(handshake(reply))
            }
            Examined::Event(Step::Stands(id)) => Ok(self.repeat(corridor, id, seen)),
            Examined::Event(Step::Wait(first)) => match timeout_at(deadline, first.result()).await {
                Ok(Some(id)) => Ok(self.repeat(corridor, id, seen)),
                Ok(None) => Err(Refusal::first_one_failed()),
                Err(_) => Err(self.late()),
            },
            Examined::Event(Step::Keep(event, claim)) => {
                self.keep(ticket, corridor, *event, claim, deadline, seen).await
            }
        }
    }

    async fn keep(
        &self,
        ticket: &Ticket,
        corridor: &Corridor,
        event: Event,
        claim: Option<Claim>,
        deadline: Instant,
        seen: &mut Seen,
    ) -> Result<Answered, Refusal> {
        let Seen { facts, became, .. } = seen;
        let to = corridor.destinations(facts.event_type.as_deref());
        let nowhere = to.clone().next().is_none();
        if nowhere || corridor.settings.ack == Ack::Delivered {
            // To none of them is to all of them: such an event is accepted, its id remembered, and nothing kept.
            let mut answered =
                express::deliver(&self.parts, corridor, event, claim, to, deadline, became).await?;
            if nowhere {
                ticket.route.metrics.nowhere();
                answered.reason = Some("no destination of the route takes this type");
            }
            return Ok(answered);
        }
        let keeping = self.parts.buffer.keep(event, to, claim, corridor.settings.ack);
        let id = timeout_at(deadline, keeping).await.map_err(|_| self.late())?;
        let id = id.map_err(|error| self.not_kept(error))?;
        became.id = Some(id);
        Ok(accepted(corridor, id, RequestOutcome::Accepted))
    }

    /// Everything up to the point where something may have to be waited for.
    fn examine(
        &self,
        ticket: &Ticket,
        corridor: &Corridor,
        head: &Head,
        body: &mut Option<Bytes>,
        terms: Terms,
        seen: &mut Seen,
    ) -> Result<Examined, Refusal> {
        let settings = &corridor.settings;
        let now = terms.at;
        let url = event::public_url(corridor, &ticket.client, head);
        let bytes = body.as_deref().unwrap_or_default();
        let message = event::message(head, &url, bytes);
        self.look_at_stranger(ticket, corridor, &message, now)?;
        if let Some((reply, errands)) = self.challenge(ticket, corridor, &message, Stage::Unchecked, now)? {
            return Ok(Examined::Challenge(reply, errands));
        }
        if settings.challenge_methods.iter().any(|method| *method == *message.method) {
            return Err(Refusal::method_not_allowed(ticket.route.event_methods()));
        }
        corridor.try_shadow(&message, now);
        if let Some(verifier) = &settings.verifier {
            let verified = match verifier.verify(&message, now) {
                Err(refusal) if terms.any_time && refusal.kind == RefusalKind::TimestampOutOfTolerance => {
                    None
                }
                verified => Some(verified?),
            };
            let challenges = &settings.challenges;
            let for_anybody = |text: &[u8]| challenges.could_have_signed(text);
            if challenges.sign()
                && (challenges.could_hold(bytes) || verifier.any_signed(&message, &for_anybody))
            {
                return Err(Refusal::signed_by_us());
            }
            if let Some(pin) = corridor.foreign(&message) {
                return Err(Refusal::not_ours(&pin.shown));
            }
            seen.verified = true;
            if let Some(secret) = verified.and_then(|verified| corridor.secrets.get(verified.secret)) {
                secret.hit(now);
            }
        }
        if let Some((reply, errands)) = self.challenge(ticket, corridor, &message, Stage::Checked, now)? {
            return Ok(Examined::Challenge(reply, errands));
        }
        seen.is_event = true;
        seen.facts = facts(corridor, &message);
        seen.facts.turn = self.turn(ticket, corridor, &message, &seen.facts);
        let claimed = self.claim(ticket, corridor, &message, &seen.facts)?;
        let claim = match claimed {
            Some(Claimed::Duplicate { id, .. }) => return Ok(Examined::Event(Step::Stands(id))),
            Some(Claimed::InFlight(first)) => return Ok(Examined::Event(Step::Wait(first))),
            Some(Claimed::New(claim)) => Some(claim),
            None => None,
        };
        let event = event::build(ticket, corridor, head, &seen.facts, body.take().unwrap_or_default(), now);
        Ok(Examined::Event(Step::Keep(Box::new(event), claim)))
    }

    /// The event's place among others. One without an order key waits for nobody: better than not at all.
    fn turn(&self, ticket: &Ticket, corridor: &Corridor, message: &Message<'_>, facts: &Facts) -> Turn {
        let settings = &corridor.settings;
        let key = settings.order_key.as_ref().map(|key| key.extract(message));
        if key == Some(None) {
            self.parts.metrics.limit_hit("order_key");
            tracing::debug!(route = %ticket.route.name, "an event without an order key is delivered in any order");
        }
        Turn {
            priority: settings.priorities.of(facts.event_type.as_deref()),
            order_key: key.flatten().map(|key| OrderKey::new(&ticket.route.name, &key)),
        }
    }

    /// Claims the event's id; `None` where the route does not dedupe this event.
    fn claim(
        &self,
        ticket: &Ticket,
        corridor: &Corridor,
        message: &Message<'_>,
        facts: &Facts,
    ) -> Result<Option<Claimed>, Refusal> {
        let Some(rule) = &corridor.settings.dedupe else { return Ok(None) };
        let own = if corridor.key_is_event_id { None } else { rule.key.extract(message) };
        let key = if corridor.key_is_event_id { facts.event_id.as_deref() } else { own.as_deref() };
        match key {
            Some(key) => {
                let key = self.parts.dedupe.key(&ticket.route.name, key.as_bytes());
                Ok(Some(self.parts.dedupe.claim(key, rule.ttl)))
            }
            None if rule.required => Err(Refusal::missing_event_id(Some(rule.key.missing_part(message)))),
            None => {
                self.parts.metrics.limit_hit("dedupe.required");
                tracing::debug!(route = %ticket.route.name, "an event without an id is not deduped");
                Ok(None)
            }
        }
    }

    /// The answer to an event that stands already as `id`: a provider's "Resend" of a dead one puts it back.
    fn repeat(&self, corridor: &Corridor, id: EventId, seen: &mut Seen) -> Answered {
        seen.became.id = Some(id);
        let requeued = self.parts.buffer.requeue_dead(id);
        let outcome = if requeued { RequestOutcome::Requeued } else { RequestOutcome::Duplicate };
        accepted(corridor, id, outcome)
    }

    fn late(&self) -> Refusal {
        self.parts.metrics.limit_hit("ack_timeout");
        Refusal::ack_timeout()
    }

    fn not_kept(&self, error: KeepError) -> Refusal {
        note_full(&self.parts.metrics, &error);
        error.into()
    }
}

/// What a request turned out to be.
enum Examined {
    Challenge(HandshakeReply, Errands),
    Event(Step),
}

fn facts(corridor: &Corridor, message: &Message<'_>) -> Facts {
    let settings = &corridor.settings;
    Facts {
        event_id: settings.event_id.as_ref().and_then(|id| id.extract(message)),
        event_type: settings.event_type.as_ref().and_then(|word| word.extract(message)),
        event_time: settings
            .event_time
            .as_ref()
            .and_then(|time| time.extract(message))
            .and_then(|t| event_time(&t)),
        turn: Turn::default(),
    }
}

pub(super) fn accepted(corridor: &Corridor, id: EventId, outcome: RequestOutcome) -> Answered {
    let reply = corridor.ack_body.reply(corridor.settings.ack_status, id, outcome);
    Answered { outcome, reply, reason: None }
}

fn handshake(reply: HandshakeReply) -> Answered {
    let HandshakeReply { status, headers, body } = reply;
    let reply = Reply { status, headers, body: body.into(), close: false };
    Answered { outcome: RequestOutcome::Handshake, reply, reason: None }
}

/// Which bound it was that had no room.
pub(super) fn note_full(metrics: &crate::observe::Metrics, error: &KeepError) {
    match error {
        KeepError::Full { destination: Some(_) } => metrics.limit_hit("destination.max_pending"),
        KeepError::Full { destination: None } => metrics.limit_hit("buffer.max_bytes"),
        KeepError::Storage | KeepError::ShuttingDown => {}
    }
}
