//! The upper half of the front door: which route, who, is it real, was it seen, is it kept.
//!
//! Order of the checks: route, method, address, rate, (size and memory: the lower half), signature, timestamp, event id,
//! duplicate, buffer. Nothing of an unverified request is remembered (but that one came, where there is a rate).

mod ack;
mod answer;
mod event;
mod express;
mod handshake;
mod rates;
mod release;
mod route;
mod strangers;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::client_ip::Client;
use super::front::{At, Fault, Front, Passage, Passed, Plan, Reply};
use super::head::Head;
use super::refusal::Refusal;
use super::rejected::RejectedList;
use super::router::{Match, RouteConflict, RouteKey, Router};
use super::settings::{Peer, RouteSettings, ServerSettings};
use crate::buffer::Buffer;
use crate::clock::Clock;
use crate::dedupe::Dedupe;
use crate::event::{EventId, EventIds};
use crate::net::Failovers;
use crate::observe::{EventLog, Metrics, RequestLine, RequestOutcome, RouteMetrics};
use rates::Limiter;
use route::{Kind, Route};
use strangers::Listed;

pub use handshake::{CONFIRMATIONS, Confirmation};
pub use release::{Explained, NotReleased, Released, Waived};
pub use route::{ActionView, AllowIpsView, CorridorView, RouteView};

/// Ids of requests are told from ids of events by it: no buffer counts so far.
const FIRST_REQUEST: u64 = 1 << 63;

/// The rooms and tools that the front door works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The wall clock.
    pub clock: Clock,
    /// Which ids were seen.
    pub dedupe: Arc<Dedupe>,
    /// Where events are kept.
    pub buffer: Buffer,
    /// Takes the addresses that providers want to be asked for a confirmation.
    pub confirmations: mpsc::Sender<Confirmation>,
    /// Which places of destinations are up.
    pub failovers: Failovers,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The log of events.
    pub log: EventLog,
}

/// The upper half of the front door.
#[derive(Debug)]
pub struct Ingress {
    parts: Parts,
    request_ids: EventIds,
    rejected: RejectedList,
    /// For requests that no route took.
    unmatched: RouteMetrics,
    limiter: Limiter,
    state: ArcSwap<State>,
}

/// What a reload replaces as a whole.
#[derive(Debug)]
struct State {
    server: ServerSettings,
    router: Router,
    routes: Box<[Arc<Route>]>,
}

/// What is known of a request between its head and its answer.
#[derive(Debug)]
pub struct Ticket {
    route: Arc<Route>,
    client: Client,
    request_id: EventId,
    listed: Listed,
}

impl Ingress {
    /// The front door with these settings.
    ///
    /// # Errors
    /// Routes that cannot stand beside each other.
    pub fn new(
        parts: Parts,
        server: ServerSettings,
        routes: Vec<RouteSettings>,
    ) -> Result<Self, Vec<RouteConflict>> {
        let limiter = Limiter::new(Arc::clone(&parts.metrics));
        let state = State::build(&parts, &limiter, server, routes, &[])?;
        Ok(Self {
            request_ids: EventIds::starting_at(FIRST_REQUEST),
            rejected: RejectedList::default(),
            unmatched: parts.metrics.route(""),
            limiter,
            state: ArcSwap::from_pointee(state),
            parts,
        })
    }

    /// Takes over new settings: at once for every request whose head is read from now on, or not at all. Requests
    /// under way end as they began, and what was used of a route's rates counts on.
    ///
    /// # Errors
    /// Routes that cannot stand beside each other; the old ones go on.
    pub fn apply(
        &self,
        server: ServerSettings,
        routes: Vec<RouteSettings>,
    ) -> Result<(), Vec<RouteConflict>> {
        let old = self.state.load();
        self.state.store(Arc::new(State::build(&self.parts, &self.limiter, server, routes, &old.routes)?));
        Ok(())
    }

    /// The present settings of the server.
    #[must_use]
    pub fn server(&self) -> ServerSettings {
        self.state.load().server.clone()
    }

    /// The present routes, in the order of the configuration.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteView> {
        self.state.load().routes.iter().map(|route| route.view()).collect()
    }

    fn refuse_at_head(
        &self,
        head: &Head,
        client: Client,
        route: Option<&Arc<Route>>,
        refusal: &Refusal,
    ) -> Reply {
        let request_id = self.request_ids.next(self.parts.clock.now());
        let ended = Ended { outcome: refusal.outcome, reason: Some(&refusal.message), ..Ended::default() };
        let reply = refusal.reply(self.parts.clock.now(), request_id);
        let request = Request {
            route: route.map(|route| &**route),
            client: client.address(),
            request_id,
            head: Some(head),
            took: took(head),
        };
        self.note(&request, &ended, &reply);
        if let Some(route) = route {
            let ticket = Ticket { route: Arc::clone(route), client, request_id, listed: Listed::No };
            self.note_rejected(&ticket, refusal, head.clone(), None);
        }
        reply
    }

    /// Counts and logs the end of a request, whatever it was.
    fn note(&self, request: &Request<'_>, ended: &Ended<'_>, reply: &Reply) {
        let metrics = request.route.map_or(&self.unmatched, |route| &route.metrics);
        metrics.request(ended.outcome);
        if matches!(
            ended.outcome,
            RequestOutcome::Accepted | RequestOutcome::Duplicate | RequestOutcome::Requeued
        ) {
            metrics.ack(request.took);
        }
        self.parts.log.request(&RequestLine {
            at: self.parts.clock.now(),
            request_id: request.request_id,
            route: request.route.map_or("", |route| &route.name),
            outcome: ended.outcome,
            status: reply.status,
            client: request.client,
            method: request.head.map_or("", Head::method),
            path: request.head.map_or("", Head::path),
            bytes: ended.bytes,
            id: ended.id,
            event_id: ended.event_id,
            event_type: ended.event_type,
            reason: ended.reason,
            took: request.took,
        });
    }
}

/// Which request it was that ended.
struct Request<'a> {
    route: Option<&'a Route>,
    client: &'a str,
    request_id: EventId,
    head: Option<&'a Head>,
    took: Duration,
}

/// How a request ended.
struct Ended<'a> {
    outcome: RequestOutcome,
    bytes: u64,
    id: Option<EventId>,
    event_id: Option<&'a str>,
    event_type: Option<&'a str>,
    reason: Option<&'a str>,
}

impl Default for Ended<'_> {
    fn default() -> Self {
        Self {
            outcome: RequestOutcome::MalformedRequest,
            bytes: 0,
            id: None,
            event_id: None,
            event_type: None,
            reason: None,
        }
    }
}

fn took(head: &Head) -> Duration {
    head.started().elapsed()
}

impl State {
    fn build(
        parts: &Parts,
        limiter: &Limiter,
        server: ServerSettings,
        routes: Vec<RouteSettings>,
        old: &[Arc<Route>],
    ) -> Result<Self, Vec<RouteConflict>> {
        let router = Router::new(routes.iter().map(RouteKey::from))?;
        let old: HashMap<&str, &Route> = old.iter().map(|route| (&*route.name, &**route)).collect();
        let build = |route: RouteSettings| {
            let old = old.get(&*route.name).copied();
            Arc::new(Route::build(route, &server, parts, limiter, old))
        };
        let routes: Box<[_]> = routes.into_iter().map(build).collect();
        parts
            .metrics
            .set_route_info(routes.iter().filter_map(|route| Some((&*route.name, route.ack_word()?))));
        Ok(Self { server, router, routes })
    }
}

impl Front for Ingress {
    type Ticket = Ticket;

    fn plan(&self, head: &Head, peer: Peer) -> Plan<Ticket> {
        let state = self.state.load();
        let client = Client::find(peer, head.headers(), &state.server);
        let found = state.router.route(head.path(), head.host(), head.method());
        let (position, refusal) = match found {
            Match::Route(position) => (Some(position), None),
            Match::MethodNotAllowed { route, allow } => {
                (Some(route), Some(Refusal::method_not_allowed(allow)))
            }
            Match::Unknown => (None, Some(Refusal::unknown_route())),
        };
        let route = position.and_then(|position| state.routes.get(position));
        let listed = route.filter(|_| refusal.is_none()).map_or(Listed::Yes, |route| route.listed(&client));
        let refusal = refusal.or_else(|| route?.refusal_of(listed, &client, head, &self.limiter));
        match (route, refusal) {
            (Some(route), None) => {
                let request_id = self.request_ids.next(self.parts.clock.now());
                plan_for(Ticket { route: Arc::clone(route), client, request_id, listed })
            }
            (route, refusal) => {
                let refusal = refusal.unwrap_or_else(Refusal::unknown_route);
                Plan::Refuse(self.refuse_at_head(head, client, route, &refusal))
            }
        }
    }

    fn answer(&self, ticket: Ticket, head: Box<Head>, body: Bytes) -> impl Future<Output = Reply> + Send {
        self.answer_event(ticket, head, body)
    }

    fn refuse(&self, fault: Fault, at: At<'_, Ticket>) -> Reply {
        let refusal = Refusal::from(fault);
        let now = self.parts.clock.now();
        let known = match at.ticket {
            Some(_) => None,
            None => {
                let state = self.state.load();
                let headers = at.head.map(|head| head.headers().clone()).unwrap_or_default();
                Some(Client::find(at.peer, &headers, &state.server))
            }
        };
        let client = at.ticket.map(|ticket| &ticket.client).or(known.as_ref());
        let request_id = at.ticket.map_or_else(|| self.request_ids.next(now), |ticket| ticket.request_id);
        let request = Request {
            route: at.ticket.map(|ticket| &*ticket.route),
            client: client.map_or("", Client::address),
            request_id,
            head: at.head,
            took: at.started.elapsed(),
        };
        let ended = Ended { outcome: refusal.outcome, reason: Some(&refusal.message), ..Ended::default() };
        let reply = refusal.reply(now, request_id);
        self.note(&request, &ended, &reply);
        reply
    }

    fn passed(&self, ticket: &Ticket, head: &Head, passed: Passed) {
        let ended = Ended {
            outcome: RequestOutcome::Passed,
            bytes: passed.received,
            reason: passed.broken.then_some("the stream broke after the answer had begun"),
            ..Ended::default()
        };
        let reply = Reply { status: passed.status, ..Reply::default() };
        let request = Request {
            route: Some(&ticket.route),
            client: ticket.client.address(),
            request_id: ticket.request_id,
            head: Some(head),
            took: took(head),
        };
        self.note(&request, &ended, &reply);
    }

    fn connections(&self, change: i64) {
        self.parts.metrics.connections(change);
    }

    fn limit_hit(&self, limit: &'static str) {
        self.parts.metrics.limit_hit(limit);
    }
}

fn plan_for(ticket: Ticket) -> Plan<Ticket> {
    match &ticket.route.kind {
        Kind::Deliver(corridor) => Plan::Webhook { max_body: corridor.settings.max_body, ticket },
        Kind::Proxy(settings, failover) => {
            let sent_on = &ticket.client.forwarded_for;
            Plan::Proxy(Passage {
                settings: Arc::clone(settings),
                failover: Arc::clone(failover),
                forwarded_for: (!sent_on.is_empty()).then(|| sent_on.clone()),
                forwarded_proto: ticket.client.proto.as_str(),
                ticket,
            })
        }
    }
}
