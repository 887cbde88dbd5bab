//! One attempt: the request goes out, the answer comes in or does not.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, Request};
use http_body_util::Full;
use tokio::time::{Instant, timeout_at};

use super::batch::{self, Batch};
use super::client::{BodyEnd, HttpClient, NoAnswer, ReplyBody};
use super::departures::Departure;
use super::flights::{Cargo, Done, Ended};
use super::request::{RequestTemplate, Unsendable};
use super::resign::RouteSigners;
use super::retry::parse_retry_after;
use super::settings::{DestinationSettings, Place};
use crate::buffer::Delivery;
use crate::clock::Clock;
use crate::event::{Answer, AppReply};
use crate::headers::{HOP_BY_HOP, Headers, HeadersBuilder};
use crate::net::{Change, Failover};

/// How much of an answer is kept, with the event.
pub(super) const EXCERPT_BYTES: usize = 4 << 10;
/// How much of an answer is read to keep the connection; a longer one costs it.
const DRAIN_BYTES: usize = 64 << 10;
/// How much of an answer is kept where a sender waits for it (`answer = "app"`); a longer one is cut off.
pub(super) const APP_REPLY_BYTES: usize = 1 << 20;

/// What an attempt is made with. A reload makes a new one; attempts in flight keep theirs.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) settings: DestinationSettings,
    /// The places of the destination, the preferred one first.
    pub(super) targets: Box<[Target]>,
    /// Which of the places are up.
    pub(super) failover: Arc<Failover>,
    /// For `sign = "provider"`.
    pub(super) signers: RouteSigners,
}

/// A finished attempt.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) cargo: Cargo,
    pub(super) done: Done,
    /// The whole answer, where a sender waits for it.
    pub(super) reply: Option<AppReply>,
    /// Whether the answer was longer than what is read of one.
    pub(super) cut: bool,
    /// What went wrong, in a sentence.
    pub(super) reason: Option<String>,
}

/// One place of a destination, and the way there.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) client: HttpClient,
}

/// How an exchange ended, and what of it is not the lane's to judge: see [`Finished`].
#[derive(Debug)]
struct Exchanged {
    ended: Ended,
    reply: Option<AppReply>,
    cut: bool,
    reason: Option<String>,
}

impl Exchanged {
    fn without_answer(answer: Answer, reason: impl Into<String>) -> Self {
        Self { ended: Ended::with(answer), reply: None, cut: false, reason: Some(reason.into()) }
    }
}

/// Makes one attempt. A panic in it ends it and nothing else.
pub(super) async fn attempt(work: Arc<Work>, cargo: Cargo, departure: Departure, clock: Clock) -> Finished {
    let at = clock.now();
    let began = Instant::now();
    let guarded = AssertUnwindSafe(exchange(&work, &cargo, &departure, &clock));
    let exchanged = guarded.catch_unwind().await.unwrap_or_else(|_panic| {
        Exchanged::without_answer(Answer::Internal, "hooklatch itself failed in this attempt (a panic)")
    });
    let Exchanged { ended, reply, cut, reason } = exchanged;
    Finished { cargo, done: Done { at, took: began.elapsed(), ended }, reply, cut, reason }
}

/// One exchange about what is aboard.
async fn exchange(work: &Work, cargo: &Cargo, departure: &Departure, clock: &Clock) -> Exchanged {
    match cargo {
        Cargo::One(delivery) => about_one(work, delivery, departure, clock).await,
        Cargo::Batch(batch) => {
            let build = |template: &RequestTemplate| template.build_batch(batch, clock.now());
            carry(work, &build, Reads::Results(batch), departure, clock).await
        }
    }
}

async fn about_one(work: &Work, delivery: &Delivery, departure: &Departure, clock: &Clock) -> Exchanged {
    let event = &delivery.event;
    let signature = match work.settings.sign_as_provider.then(|| work.signers.sign(event, clock.now())) {
        // Its route may come back: no reason to give it up.
        Some(Err(reason)) => return Exchanged::without_answer(Answer::Internal, reason),
        signature => signature.and_then(Result::ok),
    };
    let build =
        |template: &RequestTemplate| template.build(event, delivery.attempt, clock.now(), signature.as_ref());
    let reads = if delivery.express.is_some() { Reads::Reply } else { Reads::Excerpt };
    carry(work, &build, reads, departure, clock).await
}

/// Sends what `build` builds, to the first place that is up. A place that cannot be connected to was told nothing: the
/// next one is gone to at once, in the same attempt.
async fn carry(
    work: &Work,
    build: &Build<'_>,
    reads: Reads<'_>,
    departure: &Departure,
    clock: &Clock,
) -> Exchanged {
    let deadline = Instant::now() + work.settings.timeout;
    let mut tried = Vec::new();
    let mut unreached = None;
    while let Some((position, target, template)) = work.target(&tried) {
        let sent = send(&target.client, &|| build(template), reads, departure, clock, deadline).await;
        let (mut exchanged, reached) = match sent {
            Ok(exchanged) => (exchanged, true),
            Err(NoAnswer { reason, connected }) => {
                (Exchanged::without_answer(Answer::Connect, reason), connected)
            }
        };
        exchanged.ended.region = target.place.region;
        work.note(position, target, exchanged.ended.answer);
        if reached || Instant::now() >= deadline {
            return exchanged;
        }
        tried.push(position);
        unreached = Some(exchanged);
    }
    unreached.unwrap_or_else(|| Exchanged::without_answer(Answer::Internal, "the destination is nowhere"))
}

impl Work {
    /// Everything goes over `client`, wherever it should.
    #[cfg(test)]
    pub(super) fn over(settings: DestinationSettings, client: &HttpClient) -> Self {
        let places = settings.places().into_iter();
        let targets: Box<[Target]> = places.map(|place| Target { place, client: client.clone() }).collect();
        let failover = Arc::new(Failover::new(targets.len()));
        Self { settings, targets, failover, signers: RouteSigners::default() }
    }

    /// Where to go now, leaving out the positions in `tried`, and what requests there have in common.
    fn target(&self, tried: &[usize]) -> Option<(usize, &Target, &RequestTemplate)> {
        let position = match self.targets.len() {
            1 if tried.is_empty() => 0,
            _ => self.failover.choose(Instant::now(), tried)?,
        };
        Some((position, self.targets.get(position)?, self.settings.template(position)?))
    }

    /// Reports how it went at one place of several, and says in the log what that changed.
    fn note(&self, position: usize, target: &Target, answer: Answer) {
        let Some(region) = &target.place.region else { return };
        let (destination, region) = (&*self.settings.name, region.as_str());
        let change = match answer {
            Answer::Status(_) | Answer::Unsettled => self.failover.answered(position),
            Answer::Timeout | Answer::Connect => self.failover.failed(position, Instant::now()),
            Answer::Internal => return,
        };
        match change {
            Change::None => {}
            Change::WentDown => tracing::warn!(
                destination,
                region,
                "a region cannot be reached; what is delivered goes to the next one in `regions`"
            ),
            Change::CameBack => tracing::info!(destination, region, "a region can be reached again"),
        }
    }
}

/// Builds a request out of what all requests to one place have in common.
type Build<'a> = dyn Fn(&RequestTemplate) -> Result<Request<Full<Bytes>>, Unsendable> + Sync + 'a;

/// What is read of an answer.
#[derive(Clone, Copy, Debug)]
enum Reads<'a> {
    /// Its start.
    Excerpt,
    /// All of it, for the sender that waits for it.
    Reply,
    /// Of a 207 what it says of each event, else the start.
    Results(&'a Batch),
}

impl Reads<'_> {
    /// How many bytes are kept of an answer of this status, and how many are read at most.
    fn bounds(self, status: u16) -> (usize, usize) {
        match self {
            Self::Reply => (APP_REPLY_BYTES, APP_REPLY_BYTES),
            Self::Results(batch) if status == MULTI_STATUS => (batch.results_bytes(), batch.results_bytes()),
            Self::Excerpt | Self::Results(_) => (EXCERPT_BYTES, DRAIN_BYTES),
        }
    }

    /// Whether `Retry-After` means something beside this status.
    fn may_ask_to_wait(self, status: u16) -> bool {
        !(200..300).contains(&status) || (status == MULTI_STATUS && matches!(self, Self::Results(_)))
    }
}

/// RFC 4918 §11.1: the body has the statuses.
const MULTI_STATUS: u16 = 207;

/// Sends a request and reads the answer.
///
/// # Errors
/// No connection, or it broke before an answer.
async fn send(
    client: &HttpClient,
    build: &(dyn Fn() -> Result<Request<Full<Bytes>>, Unsendable> + Sync),
    reads: Reads<'_>,
    departure: &Departure,
    clock: &Clock,
    deadline: Instant,
) -> Result<Exchanged, NoAnswer> {
    let request = match build() {
        Ok(request) => request,
        Err(Unsendable(reason)) => {
            let ended = Ended { hopeless: true, ..Ended::with(Answer::Internal) };
            return Ok(Exchanged { ended, ..Exchanged::without_answer(Answer::Internal, reason) });
        }
    };
    let Ok(reply) = timeout_at(deadline, client.depart(request, || build().ok(), departure)).await else {
        return Ok(Exchanged::without_answer(Answer::Timeout, "no answer within the destination's timeout"));
    };
    let reply = reply?;
    let status = reply.status.as_u16();
    let retry_after = reply
        .headers
        .get(RETRY_AFTER)
        .filter(|_| reads.may_ask_to_wait(status))
        .and_then(|value| parse_retry_after(value.as_bytes(), clock.now()));
    let headers = matches!(reads, Reads::Reply).then(|| end_to_end(&reply.headers));
    let (keep, most) = reads.bounds(status);
    let body = reply.body(keep, most, deadline).await;
    let excerpt = body.bytes.slice(..body.bytes.len().min(EXCERPT_BYTES));
    let ended = Ended { retry_after, excerpt, ..Ended::with(Answer::Status(status)) };
    let exchanged = Exchanged { ended, reply: None, cut: body.end == BodyEnd::TooLong, reason: None };
    Ok(match (reads, headers) {
        (Reads::Results(batch), _) if status == MULTI_STATUS => settled(exchanged, batch, &body),
        (_, Some(headers)) => whole(exchanged, status, headers, &body),
        // For a delivery the status is the answer, however its body ends.
        (_, None) => exchanged,
    })
}

/// A sender that waits for the answer itself must not get half of one.
fn whole(exchanged: Exchanged, status: u16, headers: Headers, body: &ReplyBody) -> Exchanged {
    match body.end {
        BodyEnd::Complete | BodyEnd::TooLong => {
            Exchanged { reply: Some(AppReply { status, headers, body: body.bytes.clone() }), ..exchanged }
        }
        BodyEnd::Broken => broken_off(exchanged, Answer::Connect),
        BodyEnd::TimedOut => broken_off(exchanged, Answer::Timeout),
    }
}

/// A 207 is read to its end: half of one may end before what it says of the last events.
fn settled(exchanged: Exchanged, batch: &Batch, body: &ReplyBody) -> Exchanged {
    let (each, reason) = match body.end {
        BodyEnd::Complete => batch.settled_by(&body.bytes),
        BodyEnd::TooLong => (batch.unsettled(&body.bytes), Some(batch::TOO_LONG.to_owned())),
        BodyEnd::Broken => return broken_off(exchanged, Answer::Connect),
        BodyEnd::TimedOut => return broken_off(exchanged, Answer::Timeout),
    };
    // The body may be long, and an excerpt is kept for days.
    let excerpt = Bytes::copy_from_slice(&exchanged.ended.excerpt);
    Exchanged { ended: Ended { excerpt, each, ..exchanged.ended }, reason, ..exchanged }
}

fn broken_off(exchanged: Exchanged, answer: Answer) -> Exchanged {
    let reason = match answer {
        Answer::Timeout => "the answer did not end in time",
        _ => "the answer broke off",
    };
    let ended = Ended { answer, ..exchanged.ended };
    Exchanged { ended, reason: Some(reason.to_owned()), ..exchanged }
}

/// The headers of an answer that are meant for the sender, without those that frame it.
fn end_to_end(headers: &HeaderMap) -> Headers {
    let named: Vec<&str> = headers
        .get_all(http::header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim_ascii)
        .collect();
    let mut builder = HeadersBuilder::with_capacity(256);
    for (name, value) in headers {
        let of_connection = HOP_BY_HOP.contains(&name.as_str())
            || named.iter().any(|other| other.eq_ignore_ascii_case(name.as_str()));
        if !of_connection && name != CONTENT_LENGTH {
            builder.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    builder.build()
}
