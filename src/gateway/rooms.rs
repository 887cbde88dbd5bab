//! The rooms, built once and kept for the life of the process; a reload changes what stands in them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::confirm;
use super::ip_lists::{self, Refresher};
use super::known_secrets::{Known, KnownSecrets};
use super::outbound::Outbound;
use super::proofs::Proofs;
use super::redactions::Redactions;
use super::reload::Reloader;
use super::state_dir::StateDir;
use super::views;
use crate::admin::{self, AdminServer, Readiness, Tokens};
use crate::buffer::{Buffer, BufferSettings, Store};
use crate::clock::{Clock, Millis};
use crate::config::Config;
use crate::dedupe::Dedupe;
use crate::delivery::{Destinations, Endpoint, Place, RouteSigner};
use crate::event::ClaimKeeper;
use crate::ingress::{
    Action, Bound, CONFIRMATIONS, Confirmation, Door, Ingress, ListenAddress, Listener, Parts, RouteSettings,
    ServerOptions, ServerSettings, Upstream, raise_open_files,
};
use crate::net::{Failovers, Resolver};
use crate::observe::{EventLog, Metrics};

/// What is read of the answer to a confirmation, bytes.
const MOST_OF_A_CONFIRMATION: usize = 64 << 10;

/// What every room works with.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: EventLog,
}

/// Every room of one gateway.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) started_at: Millis,
    pub(super) state_dir: StateDir,
    pub(super) redactions: Redactions,
    pub(super) secrets: KnownSecrets,
    pub(super) buffer: Buffer,
    pub(super) dedupe: Arc<Dedupe>,
    pub(super) destinations: Arc<Destinations>,
    pub(super) ingress: Arc<Ingress>,
    pub(super) door: Arc<Door<Ingress>>,
    pub(super) readiness: Arc<Readiness>,
    /// What senders see as `server.listen`, bound.
    pub(super) listeners: Vec<String>,
    resolver: Resolver,
    /// What the gateway itself asks for.
    outbound: Outbound,
    ip_lists: Arc<Refresher>,
    /// Taken by [`Self::open`].
    confirmations: Mutex<Option<mpsc::Receiver<Confirmation>>>,
    /// Taken by [`Self::open`].
    bound: Mutex<Vec<Bound>>,
    admin: OnceLock<AdminServer>,
    stop: watch::Sender<bool>,
    serving: tokio::sync::Mutex<Option<JoinHandle<std::io::Result<usize>>>>,
}

impl Rooms {
    /// Builds every room and binds the front door's listeners; nothing is accepted yet.
    ///
    /// # Errors
    /// A sentence: a folder, an address or a name that cannot be had.
    pub(super) fn build(config: &Config, tools: Tools) -> Result<Self, String> {
        let Tools { clock, metrics, log } = tools;
        let started_at = clock.now();
        let state_dir = StateDir::open(&config.buffer.path)?;
        let redactions = Redactions::at_start(state_dir.path());
        let resolver = Resolver::system();
        let dedupe = Dedupe::new(&config.dedupe, clock.clone(), state_dir.dedupe_key()?);
        let buffer = buffer(&config.buffer, &clock, &dedupe, &metrics)?;
        let failovers = Failovers::default();
        let destinations = Destinations::new(
            buffer.clone(),
            resolver.clone(),
            Arc::clone(&metrics),
            log.clone(),
            clock.clone(),
            Some(state_dir.path()),
        )?;
        let destinations = Arc::new(destinations.sharing(failovers.clone()));
        let (confirm, confirmations) = mpsc::channel(CONFIRMATIONS);
        let parts = Parts {
            clock: clock.clone(),
            dedupe: Arc::clone(&dedupe),
            buffer: buffer.clone(),
            confirmations: confirm,
            failovers,
            metrics: Arc::clone(&metrics),
            log,
        };
        let server = within_open_files(&config.server);
        // The routes come with the first `apply`, once their destinations stand.
        let ingress = Ingress::new(parts, server.clone(), Vec::new()).map_err(|e| views::conflicts(&e))?;
        let ingress = Arc::new(ingress);
        let door = Door::new(server, Arc::clone(&ingress), resolver.clone(), clock.clone());
        let bound = config.server.listeners.iter().map(Bound::bind).collect::<Result<Vec<_>, _>>()?;
        let listeners = bound
            .iter()
            .zip(&config.server.listeners)
            .map(|(bound, as_set)| address_of(bound, as_set))
            .collect();
        let ip_lists = Arc::new(Refresher::new(&config.buffer.path, clock.clone()));
        Ok(Self {
            clock,
            metrics,
            started_at,
            state_dir,
            redactions,
            secrets: KnownSecrets::default(),
            buffer,
            dedupe,
            destinations,
            ingress,
            door: Arc::new(door),
            readiness: Readiness::new(),
            listeners,
            outbound: Outbound::new(resolver.clone()),
            ip_lists,
            confirmations: Mutex::new(Some(confirmations)),
            resolver,
            bound: Mutex::new(bound),
            admin: OnceLock::new(),
            stop: watch::Sender::new(false),
            serving: tokio::sync::Mutex::new(None),
        })
    }

    /// Makes everything as `config` says, or changes nothing. Runs on a thread of the runtime that may block.
    /// All that can fail comes first. An event that comes by a new route before its destination stands waits in its
    /// lane; what did not change keeps its state.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn apply(&self, config: &Config, routes: Vec<RouteSettings>) -> Result<(), String> {
        let tokens = self.tokens(config)?;
        self.check_names(config, &routes)?;
        self.redactions.learn(&routes)?;
        let server = within_open_files(&config.server);
        if server.max_connections < config.server.max_connections {
            tracing::warn!(
                connections = server.max_connections,
                "server.max_connections = {} is more than this process may open files for; raise its limit of open files \
                 (LimitNOFILE)",
                config.server.max_connections
            );
        }
        let lists: Vec<_> = routes
            .iter()
            .flat_map(|route| &route.allow_ips)
            .flat_map(|allow| &allow.lists)
            .map(Arc::clone)
            .collect();
        let signers = signers(config, &routes);
        let (proofs, secrets) = (Proofs::of(&routes), Known::of(config, &routes));
        self.ingress.apply(server.clone(), routes).map_err(|conflicts| views::conflicts(&conflicts))?;
        self.secrets.take_over(secrets);
        self.ip_lists.apply(lists, config.refresh_ip_lists);
        self.destinations.set_signers(signers);
        self.destinations.apply(&config.destinations);
        self.door.set_settings(server);
        self.dedupe.apply(&config.dedupe);
        self.ingress.keep_rejected(config.rejected);
        if let Some(admin) = self.admin.get() {
            admin.set_tokens(tokens);
        }
        proofs.tell();
        self.warn_of_orphans();
        Ok(())
    }

    /// Events that wait for a destination which the configuration no longer names wait until the name returns.
    fn warn_of_orphans(&self) {
        for lane in self.buffer.stats().destinations {
            if !lane.configured && lane.events > 0 {
                tracing::warn!(
                    destination = &*lane.destination,
                    events = lane.events,
                    "events wait for a destination that is no longer configured; name it again to have them delivered"
                );
            }
        }
    }

    /// A name on a machine that has no DNS, or an address that is never connected to, is found now rather than by the
    /// first event.
    fn check_names(&self, config: &Config, routes: &[RouteSettings]) -> Result<(), String> {
        let destinations = config.destinations.iter().flat_map(|destination| {
            let named = |place: Place| Some(("destinations", &destination.name, host_of(place.endpoint)?));
            destination.places().into_iter().filter_map(named)
        });
        let upstreams = routes.iter().flat_map(|route| {
            let upstreams = match &route.action {
                Action::Proxy(proxy) => &proxy.upstreams[..],
                Action::Deliver(_) => &[],
            };
            upstreams.iter().filter_map(|upstream| match upstream {
                Upstream::Tcp { host, .. } => Some(("routes", &route.name, host.clone())),
                Upstream::Unix(_) => None,
            })
        });
        let runtime = tokio::runtime::Handle::current();
        for (table, name, host) in destinations.chain(upstreams) {
            runtime
                .block_on(self.resolver.needs(&host))
                .map_err(|error| format!("{table}.{name}: {error}"))?;
        }
        Ok(())
    }

    /// Takes up the first configuration, opens the admin room, then the front door.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn open(self: &Arc<Self>, reloader: &Arc<Reloader>) -> Result<(), String> {
        reloader.first().await?;
        reloader.with_config(|config| -> Result<(), String> {
            let admin = admin::serve(&config.admin, self.tokens(config)?, views::admin_view(self, reloader))?;
            for (listener, address) in [("admin", admin.address()), ("metrics", admin.metrics_address())] {
                if let Some(address) = address {
                    tracing::info!(listener, address, "listening");
                }
            }
            // Set once: this is the only caller.
            let _ = self.admin.set(admin);
            Ok(())
        })?;
        self.take_up_spill().await?;
        self.readiness.set_loaded();
        let (refresher, outbound) = (Arc::clone(&self.ip_lists), self.outbound.clone());
        tokio::spawn(async move {
            let ask = move |address: String| {
                let outbound = outbound.clone();
                async move { outbound.get(&address, ip_lists::MOST).await.map(|document| document.to_vec()) }
            };
            refresher.run(ask).await;
        });
        if let Some(queue) = self.confirmations.lock().take() {
            let outbound = self.outbound.clone();
            tokio::spawn(confirm::run(queue, move |address| {
                let outbound = outbound.clone();
                async move { outbound.get(&address, MOST_OF_A_CONFIRMATION).await.map(drop) }
            }));
        }
        let bound = std::mem::take(&mut *self.bound.lock());
        let (door, stop) = (Arc::clone(&self.door), self.stop.subscribe());
        let serving = tokio::spawn(async move { door.run(bound, stop).await });
        *self.serving.lock().await = Some(serving);
        self.readiness.set_bound();
        for address in &self.listeners {
            tracing::info!(listener = "server", address, "listening");
        }
        Ok(())
    }

    /// What the process before could not deliver, after all that can fail and before anything is accepted.
    async fn take_up_spill(self: &Arc<Self>) -> Result<(), String> {
        let this = Arc::clone(self);
        let taken =
            tokio::task::spawn_blocking(move || this.buffer.take_spill(this.state_dir.path(), &*this.dedupe));
        let taken = taken.await.unwrap_or_else(|error| Err(format!("the spill was not read: {error}")))?;
        if taken.events > 0 {
            tracing::info!(events = taken.events, "events that the last run could not deliver go on");
        }
        if taken.damaged > 0 {
            self.metrics.corrupt_records(taken.damaged);
            tracing::error!(
                records = taken.damaged,
                files = ?taken.kept,
                "what the last run could not deliver is damaged in part: these records are not delivered, their file is kept"
            );
        }
        for left in &taken.left {
            tracing::error!("{left}; the events in it come once more at the next start");
        }
        Ok(())
    }

    fn tokens(&self, config: &Config) -> Result<Tokens, String> {
        let full = match &config.admin.token {
            Some(token) => token.clone(),
            None => admin::load_or_create(self.state_dir.path())?,
        };
        Ok(Tokens { full, read: config.admin.read_token.clone() })
    }

    /// Tells the front door to close: no more is accepted, what is in flight is answered.
    pub(super) fn close_door(&self) {
        self.stop.send_replace(true);
    }

    /// Ends the front door as a panic in it would.
    #[cfg(test)]
    pub(super) fn break_door(&self) {
        self.serving.try_lock().unwrap().as_ref().unwrap().abort();
    }

    /// Returns when the front door is closed, once with the reason where nobody asked it to.
    pub(super) async fn door_closed(&self) -> String {
        let mut serving = self.serving.lock().await;
        let Some(handle) = serving.as_mut() else { return String::new() };
        let ended = handle.await;
        *serving = None;
        match ended {
            Ok(Ok(0)) => String::new(),
            Ok(Ok(cut)) => {
                format!("{cut} connections were cut: they had not ended within server.drain_timeout")
            }
            Ok(Err(error)) => format!("the front door closed: {error}"),
            Err(error) => format!("the front door closed: {error}"),
        }
    }
}

/// The buffer, in the form that the user chose.
fn buffer(
    settings: &BufferSettings,
    clock: &Clock,
    dedupe: &Arc<Dedupe>,
    metrics: &Arc<Metrics>,
) -> Result<Buffer, String> {
    match settings.store {
        Store::Memory => Ok(Buffer::memory(settings, clock.clone(), Arc::clone(metrics))),
        Store::Disk => {
            let ids: Arc<dyn ClaimKeeper> = Arc::<Dedupe>::clone(dedupe);
            Buffer::disk(settings, clock.clone(), ids, Arc::clone(metrics))
        }
    }
}

/// How the events of each route are signed again (`sign = "provider"`).
fn signers(config: &Config, routes: &[RouteSettings]) -> HashMap<Arc<str>, RouteSigner> {
    let public_base = config.server.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    let signer = |route: &RouteSettings| match &route.action {
        Action::Deliver(corridor) => {
            let verifier = Arc::clone(corridor.verifier.as_ref()?);
            let (public_url, public_base) = (corridor.public_url.clone(), public_base.clone());
            Some((Arc::clone(&route.name), RouteSigner { verifier, public_url, public_base }))
        }
        Action::Proxy(_) => None,
    };
    routes.iter().filter_map(signer).collect()
}

/// The name or address behind an endpoint, if there is one.
fn host_of(endpoint: Endpoint) -> Option<String> {
    match endpoint {
        Endpoint::Http { host, .. } | Endpoint::Https { host, .. } => Some(host),
        Endpoint::Unix { .. } => None,
    }
}

fn address_of(bound: &Bound, listener: &Listener) -> String {
    match (&listener.address, bound.local_addr()) {
        (_, Some(address)) => address.to_string(),
        (ListenAddress::Unix(path), None) => format!("unix:{}", path.display()),
        (ListenAddress::Tcp(address), None) => address.clone(),
    }
}

/// `server` with its `max_connections` clamped to the files that the process may open, which are raised if they can
/// be.
fn within_open_files(server: &ServerSettings) -> ServerSettings {
    let files = raise_open_files(server.max_connections);
    if files.connections >= server.max_connections {
        return server.clone();
    }
    let options = ServerOptions { max_connections: files.connections.max(1), ..(**server).clone() };
    ServerSettings::new(options).unwrap_or_else(|_| server.clone())
}
