//! `ack = "delivered"`: the sender waits for the destinations.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::Parts;
use super::ack::from_app;
use super::answer::{Answered, Became, accepted, note_full};
use super::route::Corridor;
use crate::buffer::{Lane, To};
use crate::event::{Answer, AppReply, Claim, Event, EventId, Outcome};
use crate::ingress::refusal::Refusal;
use crate::observe::RequestOutcome;

/// Hands `event` to every destination of `to` that does not have it yet and waits for all of them until `deadline`.
///
/// # Errors
/// One that did not take it, named in `became`; with `answer = "app"` its own answer is an answer, not an error.
pub(super) async fn deliver(
    parts: &Parts,
    corridor: &Corridor,
    event: Event,
    claim: Option<Claim>,
    to: impl Iterator<Item = To<'_>>,
    deadline: Instant,
    became: &mut Became,
) -> Result<Answered, Refusal> {
    let mut flight = Flight::new(claim);
    let lanes = to.map(|to| to.lane).filter(|lane| !flight.has_it(lane.destination()));
    let to: Vec<Lane> = lanes.cloned().collect();
    let (id, receivers) = parts.buffer.pass(event, &to).map_err(|error| {
        note_full(&parts.metrics, &error);
        Refusal::from(error)
    })?;
    became.id = Some(id);
    flight.waiting =
        to.iter().map(|lane| Arc::clone(lane.destination())).zip(receivers.into_iter().map(Some)).collect();
    let landed = flight.land(deadline).await;
    conclude(parts, corridor, flight, landed, became, id)
}

fn conclude(
    parts: &Parts,
    corridor: &Corridor,
    mut flight: Flight,
    landed: Landed,
    became: &mut Became,
    id: EventId,
) -> Result<Answered, Refusal> {
    let from_app_wanted = corridor.settings.answer_from_app;
    match landed {
        Landed::Everywhere { first } => {
            if let Some(claim) = flight.claim.take() {
                let (key, kept_at) = (claim.key(), parts.clock.now());
                claim.confirm(id, kept_at);
                parts.buffer.remember(key, id, kept_at);
            }
            let outcome = RequestOutcome::Accepted;
            Ok(match first.filter(|_| from_app_wanted) {
                Some(app) => Answered { outcome, reply: from_app(app, id, Some(outcome)), reason: None },
                None => accepted(corridor, id, outcome),
            })
        }
        Landed::NotAt { destination, answer, reply } => {
            became.failed_at = Some(destination);
            let timed_out = answer == Some(Answer::Timeout);
            let refusal = if timed_out { Refusal::upstream_timeout() } else { refusal_of(answer) };
            match reply.filter(|_| from_app_wanted) {
                Some(app) => Ok(Answered {
                    outcome: refusal.outcome,
                    reply: from_app(app, id, None),
                    reason: Some("the application refused the event"),
                }),
                None => Err(refusal),
            }
        }
    }
}

fn refusal_of(answer: Option<Answer>) -> Refusal {
    Refusal::upstream_error(match answer {
        Some(Answer::Status(_) | Answer::Unsettled) => "The application did not accept the event.",
        Some(Answer::Connect) => "The application could not be reached.",
        Some(Answer::Timeout | Answer::Internal) | None => "The event could not be delivered now.",
    })
}

/// How it ended with all destinations taken together.
enum Landed {
    /// Each has it; the first one's answer.
    Everywhere { first: Option<AppReply> },
    /// The first that does not have it.
    NotAt { destination: Arc<str>, answer: Option<Answer>, reply: Option<AppReply> },
}

fn not_at(destination: &Arc<str>, answer: Option<Answer>, reply: Option<AppReply>) -> Landed {
    Landed::NotAt { destination: Arc::clone(destination), answer, reply }
}

/// An event on its way while the sender waits. Dropped before the claim was confirmed (a destination failed, or the
/// sender hung up), it releases the claim and says who has the event: they are not sent it again.
struct Flight {
    claim: Option<Claim>,
    served: Vec<Arc<str>>,
    waiting: Vec<(Arc<str>, Option<oneshot::Receiver<Outcome>>)>,
}

impl Flight {
    fn new(claim: Option<Claim>) -> Self {
        let served = claim.as_ref().map(|claim| claim.already_served().to_vec()).unwrap_or_default();
        Self { claim, served, waiting: Vec::new() }
    }

    fn has_it(&self, destination: &Arc<str>) -> bool {
        self.served.contains(destination)
    }

    /// Waits for every destination, each until the same `deadline`.
    async fn land(&mut self, deadline: Instant) -> Landed {
        let (mut first, mut failed) = (None, None);
        for (position, (destination, receiver)) in self.waiting.iter_mut().enumerate() {
            let Some(waiting) = receiver else { continue };
            let outcome = match timeout_at(deadline, waiting).await {
                Ok(Ok(outcome)) => outcome,
                // Whoever had the event let it fall: it stopped.
                Ok(Err(_)) => Outcome::Failed { answer: Some(Answer::Internal), reply: None },
                // It may still arrive; the receiver stays, for the moment of dropping.
                Err(_) => {
                    failed.get_or_insert_with(|| not_at(destination, Some(Answer::Timeout), None));
                    continue;
                }
            };
            *receiver = None;
            match outcome {
                Outcome::Delivered { reply } => {
                    self.served.push(Arc::clone(destination));
                    if position == 0 {
                        first = Some(reply);
                    }
                }
                Outcome::Failed { answer, reply } => {
                    failed.get_or_insert_with(|| not_at(destination, answer, reply));
                }
            }
        }
        failed.unwrap_or(Landed::Everywhere { first })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        for (destination, receiver) in &mut self.waiting {
            if let Some(Ok(Outcome::Delivered { .. })) = receiver.as_mut().map(oneshot::Receiver::try_recv) {
                self.served.push(Arc::clone(destination));
            }
        }
        claim.release_served(std::mem::take(&mut self.served));
    }
}
