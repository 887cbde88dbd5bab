//! What each request of the admin listener is answered.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::Request;
use serde_json::{Value, json};

use super::beside::Beside;
use super::filter;
use super::guard::{self, Caller, Entrance, Tokens};
use super::operate::{self, Verb};
use super::rejected;
use super::replay::{self, Replays};
use super::reply::{self, Refusal, Reply};
use super::show;
use super::status;
use super::view::AdminView;
use crate::buffer::{DestinationView, EventFilter, KeepError};
use crate::clock::Millis;
use crate::event::{EventId, EventIds, NotAnId};

/// The largest body that is read: a filter.
pub(super) const MAX_BODY: usize = 64 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a listener answers with.
#[derive(Debug)]
pub(super) struct Desk {
    pub view: Arc<AdminView>,
    /// `None` on the metrics listener, which has no API.
    pub tokens: Option<Arc<ArcSwap<Tokens>>>,
    /// The host of `admin.listen`.
    pub listen_host: String,
    pub request_ids: EventIds,
    pub beside: Beside,
    pub replays: Replays,
}

/// A request whose head is read.
struct Asked<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl Desk {
    /// Answers one request, whatever it is.
    pub(super) async fn answer<B>(&self, entrance: &Entrance, request: Request<B>) -> Reply
    where
        B: hyper::body::Body<Data = Bytes, Error = hyper::Error>,
    {
        let now = self.view.clock.now();
        let request_id = self.request_ids.next(now);
        let (head, body) = request.into_parts();
        let asked = Asked { method: &head.method, uri: &head.uri, headers: &head.headers };
        match self.route(entrance, &asked, body, now, request_id).await {
            Ok(reply) => reply,
            Err(refusal) => refusal.reply(now, request_id),
        }
    }

    async fn route<B>(
        &self,
        entrance: &Entrance,
        asked: &Asked<'_>,
        body: B,
        now: Millis,
        request_id: EventId,
    ) -> Result<Reply, Refusal>
    where
        B: hyper::body::Body<Data = Bytes, Error = hyper::Error>,
    {
        let path = asked.uri.path();
        let Some(tokens) = &self.tokens else {
            return self.open_page(asked, path).await?.ok_or_else(|| no_such_page(path));
        };
        guard::check_site(entrance, &self.listen_host, asked.uri, asked.headers)?;
        if let Some(page) = self.open_page(asked, path).await? {
            return Ok(page);
        }
        if path != "/api" && !path.starts_with("/api/") {
            return Err(no_such_page(path));
        }
        let caller = guard::check_token(entrance, tokens, asked.method, asked.headers)?;
        let command = path.strip_prefix("/api/v1/").unwrap_or_default();
        let segments: Vec<&str> = command.split('/').collect();
        if let Some(shown) = self.show(asked, &segments, now).await? {
            return Ok(reply::json(StatusCode::OK, &shown));
        }
        let Some(change) = Change::named(&segments) else {
            return Err(not_there(&segments, path));
        };
        post(asked.method)?;
        let body = read(asked.headers, body).await?;
        let done = self.change(change, &body, (request_id, now)).await?;
        let Done { what, count, answer } = done;
        log_change(caller, what, count, request_id);
        Ok(reply::json(StatusCode::OK, &answer))
    }

    /// The pages without a token.
    async fn open_page(&self, asked: &Asked<'_>, path: &str) -> Result<Option<Reply>, Refusal> {
        if !matches!(path, "/healthz" | "/readyz" | "/metrics") {
            return Ok(None);
        }
        get(asked.method)?;
        let page = match path {
            "/metrics" => {
                let view = Arc::clone(&self.view);
                reply::metrics(self.beside.figures.run(move || view.encode_metrics()).await?)
            }
            "/readyz" => {
                let reasons = self.view.readiness.reasons();
                let status =
                    if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                reply::json(status, &json!({"ready": reasons.is_empty(), "reasons": reasons}))
            }
            _ => reply::json(StatusCode::OK, &json!({"status": "ok"})),
        };
        Ok(Some(page))
    }

    /// What only shows; `None` where `segments` name nothing of that kind.
    async fn show(
        &self,
        asked: &Asked<'_>,
        segments: &[&str],
        now: Millis,
    ) -> Result<Option<Value>, Refusal> {
        let view = Arc::clone(&self.view);
        let query = asked.uri.query().unwrap_or_default();
        let shown = match segments {
            ["status"] => {
                get(asked.method)?;
                let replays = self.replays.clone();
                self.beside.figures.run(move || status::gateway(&view, &replays, now)).await?
            }
            ["routes"] => {
                get(asked.method)?;
                status::routes(&view)
            }
            ["destinations"] => {
                get(asked.method)?;
                self.beside.figures.run(move || status::destinations(&view)).await?
            }
            [list @ ("events" | "dead")] => {
                get(asked.method)?;
                let mut page = page_of(list, query, now)?;
                view.know_former_names(&mut page.filter);
                if page.filter.status == Some("rejected") {
                    rejected::page(&view, &page)?
                } else {
                    self.beside.events.run(move || show_page(&view, &page)).await?
                }
            }
            ["events", id, "explain"] => {
                get(asked.method)?;
                let wanted = event_id(id)?;
                let found = self.beside.events.run(move || (view.rejected.explain)(wanted)).await?;
                rejected::explained(&found.ok_or_else(|| not_rejected(id))?)
            }
            ["events", id] if *id != "replay" => {
                get(asked.method)?;
                let wanted = event_id(id)?;
                let found = self.beside.events.run(move || show_event(&view, wanted)).await?;
                found.ok_or_else(|| unknown_event(id))?
            }
            _ => return Ok(None),
        };
        Ok(Some(shown))
    }

    async fn change(
        &self,
        change: Change<'_>,
        body: &[u8],
        (request_id, now): (EventId, Millis),
    ) -> Result<Done, Refusal> {
        match change {
            Change::Reload => {
                let message = (self.view.reload)()
                    .await
                    .map_err(|why| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "reload_failed", why))?;
                Ok(Done { what: "reload", count: 1, answer: json!({"result": "ok", "message": message}) })
            }
            Change::Replay(id) => {
                let (buffer, wanted) = (self.view.buffer.clone(), event_id(id)?);
                let found = self.beside.events.run(move || buffer.replay(wanted)).await?;
                let destinations = found.map_err(no_room)?.ok_or_else(|| unknown_event(id))?;
                let answer = json!({"id": id, "destinations": destinations});
                Ok(Done { what: "replay of an event", count: destinations, answer })
            }
            Change::Release(id) => {
                let waived = filter::waived(body)?;
                let answer =
                    rejected::released(id, (self.view.rejected.release)(event_id(id)?, waived).await)?;
                Ok(Done { what: "release of a refused request", count: 1, answer })
            }
            Change::ReplayDead => {
                let choice = self.named(filter::choice(body, now)?);
                self.replay("replay of dead letters", choice, (request_id, now)).await
            }
            Change::ReplayEvents => {
                let choice = self.named(filter::events(body, now)?);
                self.replay("replay of events", choice, (request_id, now)).await
            }
            Change::DropDead => {
                let choice = self.named(filter::choice(body, now)?);
                if !choice.filtered && !choice.all {
                    return Err(Refusal::invalid(
                        "all",
                        "Dead letters are dropped for good: name a filter, or say {\"all\":true}.",
                    ));
                }
                let dry_run = choice.dry_run;
                let buffer = self.view.buffer.clone();
                let count = self.beside.many.run(move || replay::drop_dead(&buffer, &choice)).await?;
                Ok(Done::of("drop of dead letters", "dropped", count, dry_run))
            }
            Change::Operate(name, verb) => {
                let answer = operate::operate(&self.view, name, verb, body, now)?;
                Ok(Done { what: verb.what(), count: 1, answer })
            }
        }
    }

    /// With the names that its destination had.
    fn named(&self, mut choice: filter::Choice) -> filter::Choice {
        self.view.know_former_names(&mut choice.filter);
        choice
    }

    /// At once, or at a rate from now on.
    async fn replay(
        &self,
        what: &'static str,
        choice: filter::Choice,
        named: (EventId, Millis),
    ) -> Result<Done, Refusal> {
        let (buffer, dry_run, rate) = (self.view.buffer.clone(), choice.dry_run, choice.rate);
        let only_count = dry_run || rate.is_some();
        let (count, choice) =
            self.beside.many.run(move || (replay::replay(&buffer, &choice, only_count), choice)).await?;
        let Some(rate) = rate.filter(|_| !dry_run) else {
            return Ok(Done::of(what, "replayed", count, dry_run));
        };
        self.replays.start(self.view.buffer.clone(), choice, rate, count, named)?;
        let answer = json!({"started": count, "rate": rate.to_string(), "dry_run": false});
        Ok(Done { what, count, answer })
    }
}

/// What changes something.
#[derive(Clone, Copy)]
enum Change<'a> {
    Reload,
    Replay(&'a str),
    Release(&'a str),
    ReplayEvents,
    ReplayDead,
    DropDead,
    Operate(&'a str, Verb),
}

impl<'a> Change<'a> {
    fn named(segments: &[&'a str]) -> Option<Self> {
        match segments {
            ["reload"] => Some(Self::Reload),
            ["events", id, "replay"] => Some(Self::Replay(id)),
            ["events", id, "release"] => Some(Self::Release(id)),
            ["events", "replay"] => Some(Self::ReplayEvents),
            ["dead", "replay"] => Some(Self::ReplayDead),
            ["dead", "drop"] => Some(Self::DropDead),
            ["destinations", name, verb] => Some(Self::Operate(name, Verb::named(verb)?)),
            _ => None,
        }
    }
}

/// A change that was made.
struct Done {
    what: &'static str,
    count: usize,
    answer: Value,
}

impl Done {
    fn of(what: &'static str, key: &str, count: usize, dry_run: bool) -> Self {
        Self {
            what: if dry_run { "dry run" } else { what },
            count,
            answer: json!({key: count, "dry_run": dry_run}),
        }
    }
}

fn log_change(caller: Caller, what: &'static str, count: usize, request_id: EventId) {
    tracing::info!(who = caller.as_str(), what, count, request_id = %request_id, "admin: a change was made");
}

/// The page that `query` asks for of `list`.
fn page_of(list: &str, query: &str, now: Millis) -> Result<filter::Page, Refusal> {
    let mut page = filter::page(query, now)?;
    if list == "dead" && page.filter.status.replace("dead").is_some_and(|given| given != "dead") {
        return Err(Refusal::invalid("status", "These are the dead letters; `events` has the rest."));
    }
    Ok(page)
}

fn show_page(view: &AdminView, page: &filter::Page) -> Value {
    let orphans = view.orphans();
    let only_orphans = page.filter.status == Some(filter::ORPHANED);
    let status = if only_orphans { Some("pending") } else { page.filter.status };
    let wanted = EventFilter { status, ..page.filter.clone() };
    let (mut events, next) = view.buffer.list(&wanted, page.cursor, page.limit);
    if only_orphans {
        let is_orphan = |place: &DestinationView| {
            orphans.contains(&place.name) && wanted.wants_place(&place.name, place.status)
        };
        events.retain(|event| event.destinations.iter().any(is_orphan));
    }
    json!({
        "events": events.iter().map(|event| show::summary(event, &orphans)).collect::<Vec<_>>(),
        "next_cursor": next.map(|id| id.to_string()),
    })
}

fn show_event(view: &AdminView, id: EventId) -> Option<Value> {
    let Some(event) = view.buffer.find(id) else { return rejected::find(view, id) };
    let redaction = (view.redaction)(&event.event.route, event.event.provider.as_deref());
    Some(show::detail(&event, &redaction, &view.orphans(), &view.secrets))
}

async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Refusal>
where
    B: hyper::body::Body<Data = Bytes, Error = hyper::Error>,
{
    let too_large = || {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "The largest body here is 64KiB.")
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|bytes| bytes > MAX_BODY) {
        return Err(too_large());
    }
    let body = std::pin::pin!(Limited::new(body, MAX_BODY));
    match tokio::time::timeout(BODY_TIMEOUT, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, "malformed_request", "The body's framing is broken."))
        }
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            "The body did not come within 10 s.",
        )),
    }
}

fn get(method: &Method) -> Result<(), Refusal> {
    // A `HEAD` is a `GET` whose body the server leaves out.
    if matches!(*method, Method::GET | Method::HEAD) { Ok(()) } else { Err(only("GET")) }
}

fn post(method: &Method) -> Result<(), Refusal> {
    if *method == Method::POST { Ok(()) } else { Err(only("POST")) }
}

fn only(method: &'static str) -> Refusal {
    let message = format!("This answers {method} alone.");
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    Refusal { allow: Some(method), ..refusal }
}

fn event_id(text: &str) -> Result<EventId, Refusal> {
    text.parse().map_err(|error: NotAnId| Refusal::invalid("id", format!("This is {error}.")))
}

fn unknown_event(id: &str) -> Refusal {
    Refusal::not_found(format!("There is no event {id} (any more)."))
}

fn not_rejected(id: &str) -> Refusal {
    Refusal::not_found(format!(
        "There is no refused request {id} (any more); `[rejected]` says how long they are kept."
    ))
}

fn no_room(error: KeepError) -> Refusal {
    let (word, message) = match error {
        KeepError::Full { destination: Some(name) } => {
            ("buffer_full", format!("There is no room for destination {name}; nothing was changed."))
        }
        KeepError::Full { destination: None } => {
            ("buffer_full", "The buffer is full; nothing was changed.".to_owned())
        }
        KeepError::Storage => (
            "storage_failed",
            "The disk refused it; the log and `hooklatch status` say more. Nothing was changed.".to_owned(),
        ),
        KeepError::ShuttingDown => {
            ("shutting_down", "The gateway is stopping; nothing was changed.".to_owned())
        }
    };
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, word, message)
}

fn no_such_page(path: &str) -> Refusal {
    Refusal::not_found(format!(
        "There is no {path} here; there are /healthz, /readyz, /metrics and /api/v1/."
    ))
}

/// Names of the contract that come later are told from names that there will never be.
fn not_there(segments: &[&str], path: &str) -> Refusal {
    match segments {
        ["routes" | "destinations", _, "test"] => Refusal::not_yet("Test events are not yet supported."),
        _ => Refusal::not_found(format!("There is no {path} in this API.")),
    }
}
