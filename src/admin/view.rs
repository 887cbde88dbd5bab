//! What the admin room looks at: the other rooms, as the gateway hands them over.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::buffer::{Buffer, EventFilter};
use crate::clock::{Clock, Millis};
use crate::dedupe::Dedupe;
use crate::delivery::{DestinationHealth, LaneState, Pause};
use crate::event::{Ack, EventId};
use crate::ingress::{AllowIpsView, DeliverTo, Explained, NotReleased, Proof, Rejected, Released, Waived};
use crate::observe::{DestinationGauges, Gauges, Metrics};
use crate::secret::Secret;
use crate::verify::Redaction;

/// Asks for something as it stands now.
pub type Ask<T> = Box<dyn Fn() -> T + Send + Sync>;

/// What is not shown of a request that came by a route of this name, from the provider of this name.
pub type AskRedaction = Box<dyn Fn(&str, Option<&str>) -> Redaction + Send + Sync>;

/// The secrets of the routes, and those that the destination of this name is sent.
pub type AskSecrets = Box<dyn Fn(&str) -> Vec<Secret> + Send + Sync>;

/// Does something with the destination of a name.
pub type Operate = Box<dyn Fn(&str, Operation) -> Option<Operated> + Send + Sync>;

/// Everything that the admin API shows or changes.
///
/// The closures return at once, some are called on the admin thread. The future of `reload` may take its time, but
/// does its work on another thread, or `/healthz` would wait for it.
pub struct AdminView {
    /// The events.
    pub buffer: Buffer,
    /// The remembered ids.
    pub dedupe: Arc<Dedupe>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time of day.
    pub clock: Clock,
    /// When the process started.
    pub started_at: Millis,
    /// Whether senders are welcome.
    pub readiness: Arc<Readiness>,
    /// The routes of the present configuration.
    pub routes: Ask<Vec<RouteView>>,
    /// The destinations of the present configuration.
    pub destinations: Ask<Vec<DestinationHealth>>,
    /// Does something with the destination of this name; `None` where none is configured.
    pub operate: Operate,
    /// What only the gateway knows.
    pub gateway: Ask<GatewayView>,
    /// What is not shown of requests.
    pub redaction: AskRedaction,
    /// What an app's answer may repeat of ours.
    pub secrets: AskSecrets,
    /// What the front door refused.
    pub rejected: RejectedDesk,
    /// Reads the configuration again: what changed, or why the old one stays.
    pub reload: Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>,
}

/// Asks for something about one event.
pub type AskAbout<T> = Box<dyn Fn(EventId) -> T + Send + Sync>;

/// Refused requests, as the front door keeps them.
pub struct RejectedDesk {
    /// All that are kept, the newest first.
    pub list: Ask<Vec<Arc<Rejected>>>,
    /// The one with this id.
    pub find: AskAbout<Option<Arc<Rejected>>>,
    /// Why it was refused. Takes up to a second: called on a thread that may.
    pub explain: AskAbout<Option<Explained>>,
    /// Lets it in.
    pub release: Release,
}

/// Lets a refused request in.
pub type Release =
    Box<dyn Fn(EventId, Waived) -> BoxFuture<'static, Result<Released, NotReleased>> + Send + Sync>;

impl fmt::Debug for AdminView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminView")
    }
}

impl AdminView {
    /// The destinations under whose names events are pending and which are no longer configured.
    pub(super) fn orphans(&self) -> Vec<Arc<str>> {
        let lanes = self.buffer.stats().destinations.into_iter();
        lanes.filter(|lane| !lane.configured && lane.events > 0).map(|lane| lane.destination).collect()
    }

    /// Lets `filter` find what stands under the names that its destination had.
    pub(super) fn know_former_names(&self, filter: &mut EventFilter) {
        let Some(name) = &filter.destination else { return };
        let known = (self.destinations)().into_iter();
        let mut named = known.filter(|health| health.configured && *health.name == **name);
        filter.formerly = named.next().map(|health| health.formerly).unwrap_or_default();
    }

    /// `/metrics`, with the gauges as they stand now.
    pub(super) fn encode_metrics(&self) -> String {
        let now = self.clock.now();
        let stats = self.buffer.stats();
        let health = (self.destinations)();
        let is = |name: &str, what: fn(&DestinationHealth) -> bool| {
            health.iter().any(|health| *health.name == *name && what(health))
        };
        let (dedupe_ids, dedupe_evicted) = self.dedupe.size();
        let regions = (self.destinations)().into_iter().flat_map(|destination| {
            let name = destination.name;
            destination.regions.into_iter().map(move |of| (Arc::clone(&name), of.region, of.up))
        });
        self.metrics.set_retries_waiting(stats.destinations.iter().map(|lane| lane.waiting).sum());
        self.metrics.encode_with(&Gauges {
            dedupe_ids: dedupe_ids as u64,
            dedupe_evicted,
            dead_bytes: stats.dead_bytes,
            dead_nearly_full: stats.dead_nearly_full,
            destinations: stats
                .destinations
                .into_iter()
                .map(|lane| DestinationGauges {
                    oldest_seconds: lane.oldest.map_or(0, |oldest| now.since(oldest).as_secs()),
                    orphaned: if lane.configured { 0 } else { lane.events },
                    breaker_open: is(&lane.destination, |health| {
                        matches!(health.state, LaneState::Tripped { .. })
                    }),
                    paused: is(&lane.destination, |health| health.paused.is_some()),
                    name: lane.destination,
                    events: lane.events,
                    bytes: lane.bytes,
                    dead: lane.dead,
                })
                .collect(),
            regions: regions.collect(),
        })
    }
}

/// What is to be done with a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Pause it, for so long or until it is resumed.
    Pause(Option<Duration>),
    /// End its pause.
    Resume,
    /// Try now what waits.
    Retry,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operated {
    /// It is paused.
    Paused(Pause),
    /// It is not paused; whether it was.
    Resumed(bool),
    /// So many events are pending, and what waits is tried now.
    Retried(u64),
    /// It is paused, so nothing is tried.
    IsPaused,
}

/// Whether senders are welcome, as `/readyz` tells a balancer. A destination that is down has no part in it.
#[derive(Debug, Default)]
pub struct Readiness {
    loaded: AtomicBool,
    bound: AtomicBool,
    draining: AtomicBool,
}

impl Readiness {
    /// Not ready: nothing is loaded, nothing bound.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The configuration is loaded and what the buffer held is recovered.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// The listeners are bound.
    pub fn set_bound(&self) {
        self.bound.store(true, Ordering::Release);
    }

    /// The process is stopping; there is no way back.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Why senders are not welcome; empty where they are.
    #[must_use]
    pub fn reasons(&self) -> Vec<&'static str> {
        [
            (!self.loaded.load(Ordering::Acquire), "the configuration is not loaded yet"),
            (!self.bound.load(Ordering::Acquire), "the listeners are not bound yet"),
            (self.draining.load(Ordering::Acquire), "the gateway is stopping"),
        ]
        .into_iter()
        .filter_map(|(holds, reason)| holds.then_some(reason))
        .collect()
    }
}

/// What only the gateway knows.
#[derive(Clone, Debug, Default)]
pub struct GatewayView {
    /// Where senders are listened to, as bound: `127.0.0.1:8080`, `unix:/run/hooklatch.sock`.
    pub listeners: Vec<String>,
    /// The configuration's file.
    pub config_path: String,
    /// The last reload, if there was one.
    pub last_reload: Option<ReloadView>,
}

/// How a reload ended.
#[derive(Clone, Debug)]
pub struct ReloadView {
    /// When.
    pub at: Millis,
    /// What changed, or why the old configuration stays.
    pub result: Result<String, String>,
}

/// A route, for people.
#[derive(Clone, Debug)]
pub struct RouteView {
    /// Its name.
    pub name: Arc<str>,
    /// Its path as the user wrote it.
    pub path: String,
    /// Its host; `None` = any.
    pub host: Option<String>,
    /// Its methods; `None` = all.
    pub methods: Option<Vec<String>>,
    /// Which clients; `None` = any.
    pub allow_ips: Option<AllowIpsView>,
    /// What it does.
    pub action: RouteAction,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum RouteAction {
    /// Checks, keeps, delivers.
    Deliver {
        /// The provider's name.
        provider: Option<Arc<str>>,
        /// What is known of its requests.
        proof: Proof,
        /// When the sender gets its 2xx.
        ack: Ack,
        /// Whether event ids are remembered.
        dedupe: bool,
        /// Where its events go.
        deliver_to: Vec<DeliverTo>,
        /// Its secrets, without their values.
        secrets: Vec<SecretView>,
        /// Until when its provider may hand over the secret it has not got yet.
        awaits_secret_until: Option<Millis>,
    },
    /// Streams through to this address; its userinfo is not shown.
    Proxy(String),
}

/// A secret without its value.
#[derive(Clone, Debug)]
pub struct SecretView {
    /// Its name, or its position from 1.
    pub name: Arc<str>,
    /// When it was read.
    pub loaded_at: Millis,
    /// When a request last verified with it.
    pub last_match_at: Option<Millis>,
    /// How many did since the process started.
    pub hits: u64,
    /// The longest time between two of them.
    pub longest_gap: Duration,
    /// It is on trial: verified and counted, not accepted.
    pub shadow: bool,
}
