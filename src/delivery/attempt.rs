//! One attempt: the request goes out, the answer comes in or does not.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use tokio::time::{Instant, timeout_at};

use super::client::{BodyEnd, HttpClient, NoAnswer};
use super::departures::Departure;
use super::request::Unsendable;
use super::retry::parse_retry_after;
use super::settings::DestinationSettings;
use crate::buffer::Delivery;
use crate::clock::{Clock, Millis};
use crate::event::{Answer, AppReply};
use crate::headers::{HOP_BY_HOP, Headers, HeadersBuilder};

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
    pub(super) client: HttpClient,
}

/// A finished attempt.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) delivery: Delivery,
    /// When it began.
    pub(super) at: Millis,
    pub(super) took: Duration,
    pub(super) ended: Ended,
}

/// How an attempt ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) answer: Answer,
    /// No further attempt would end otherwise.
    pub(super) hopeless: bool,
    /// How long the destination asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The start of the answer's body.
    pub(super) excerpt: Bytes,
    /// The whole answer, where a sender waits for it.
    pub(super) reply: Option<AppReply>,
    /// Whether the answer was longer than what is read of one.
    pub(super) cut: bool,
    /// What went wrong, in a sentence.
    pub(super) reason: Option<String>,
}

impl Ended {
    fn without_answer(answer: Answer, reason: impl Into<String>) -> Self {
        Self {
            answer,
            hopeless: false,
            retry_after: None,
            excerpt: Bytes::new(),
            reply: None,
            cut: false,
            reason: Some(reason.into()),
        }
    }
}

/// Makes one attempt. A panic in it ends it and nothing else.
pub(super) async fn attempt(
    work: Arc<Work>,
    delivery: Delivery,
    departure: Departure,
    clock: Clock,
) -> Finished {
    let at = clock.now();
    let began = Instant::now();
    let guarded = AssertUnwindSafe(exchange(&work, &delivery, &departure, &clock));
    let ended = guarded.catch_unwind().await.unwrap_or_else(|_panic| {
        Ended::without_answer(Answer::Internal, "hooklatch itself failed in this attempt (a panic)")
    });
    Finished { delivery, at, took: began.elapsed(), ended }
}

async fn exchange(work: &Work, delivery: &Delivery, departure: &Departure, clock: &Clock) -> Ended {
    let express = delivery.express.is_some();
    let build = || work.settings.template().build(&delivery.event, delivery.attempt, clock.now());
    let request = match build() {
        Ok(request) => request,
        Err(Unsendable(reason)) => {
            return Ended { hopeless: true, ..Ended::without_answer(Answer::Internal, reason) };
        }
    };
    let deadline = Instant::now() + work.settings.timeout;
    let reply = match timeout_at(deadline, work.client.depart(request, || build().ok(), departure)).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(NoAnswer(reason))) => return Ended::without_answer(Answer::Connect, reason),
        Err(_) => {
            return Ended::without_answer(Answer::Timeout, "no answer within the destination's timeout");
        }
    };
    let status = reply.status.as_u16();
    let retry_after = reply
        .headers
        .get(RETRY_AFTER)
        .filter(|_| !reply.status.is_success())
        .and_then(|value| parse_retry_after(value.as_bytes(), clock.now()));
    let headers = express.then(|| end_to_end(&reply.headers));
    let (keep, most) =
        if express { (APP_REPLY_BYTES, APP_REPLY_BYTES) } else { (EXCERPT_BYTES, DRAIN_BYTES) };
    let body = reply.body(keep, most, deadline).await;
    let cut = body.end == BodyEnd::TooLong;
    let ended = |answer, reply, reason| Ended {
        answer,
        hopeless: false,
        retry_after,
        excerpt: body.bytes.slice(..body.bytes.len().min(EXCERPT_BYTES)),
        reply,
        cut,
        reason,
    };
    // For a delivery the status is the answer, however its body ends. A sender that waits for the answer itself
    // must not get half of one.
    match (headers, body.end) {
        (None, _) => ended(Answer::Status(status), None, None),
        (Some(headers), BodyEnd::Complete | BodyEnd::TooLong) => {
            let reply = AppReply { status, headers, body: body.bytes.clone() };
            ended(Answer::Status(status), Some(reply), None)
        }
        (Some(_), BodyEnd::Broken) => ended(Answer::Connect, None, Some("the answer broke off".to_owned())),
        (Some(_), BodyEnd::TimedOut) => {
            ended(Answer::Timeout, None, Some("the answer did not end in time".to_owned()))
        }
    }
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
