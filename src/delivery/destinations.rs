//! All destinations: starts their lanes, hands them new settings, drains them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::attempt::Work;
use super::client::HttpClient;
use super::connector::{Connector, Tls};
use super::lane::{Control, Health, LaneTask, Tools};
use super::request::authority;
use super::settings::{DestinationSettings, Endpoint};
use crate::buffer::Buffer;
use crate::clock::{Clock, Millis};
use crate::net::Resolver;
use crate::observe::{EventLog, Metrics};

/// The lanes of all destinations.
#[derive(Debug)]
pub struct Destinations {
    buffer: Buffer,
    resolver: Resolver,
    tls: Tls,
    metrics: Arc<Metrics>,
    log: EventLog,
    clock: Clock,
    running: Mutex<BTreeMap<Arc<str>, Running>>,
}

#[derive(Debug)]
struct Running {
    control: watch::Sender<Control>,
    health: Arc<Health>,
    task: Option<JoinHandle<()>>,
}

/// What a stop leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Pending events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many for which destination, those with none left out.
    pub destinations: Vec<(Arc<str>, u64)>,
}

/// How a destination does, for the admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationHealth {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens; without userinfo and query, which may hold secrets.
    pub url: String,
    /// Whether the configuration still names it.
    pub configured: bool,
    /// Requests in flight.
    pub in_flight: u32,
    /// Most requests in flight.
    pub concurrency: u32,
    /// Connections kept for the next request.
    pub idle_connections: usize,
    /// The last 2xx.
    pub last_success: Option<Millis>,
    /// The last attempt that ended otherwise.
    pub last_failure: Option<Millis>,
    /// Attempts without a 2xx since the last one with.
    pub failures_in_a_row: u64,
}

impl Destinations {
    /// No destination yet; TLS ones will be verified against the system's roots.
    #[must_use]
    pub fn new(
        buffer: Buffer,
        resolver: Resolver,
        metrics: Arc<Metrics>,
        log: EventLog,
        clock: Clock,
    ) -> Self {
        let tls = Tls::system();
        Self { buffer, resolver, tls, metrics, log, clock, running: Mutex::default() }
    }

    /// The same with other roots.
    #[must_use]
    pub fn trusting(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// Makes `destinations` the ones that are delivered to, and tells the buffer whose room is reserved. Must be
    /// called inside a tokio runtime: new lanes start there.
    ///
    /// A changed setting counts from the next attempt on, attempts in flight finish under the old one, and nothing
    /// is reset. A destination that is gone takes no more events but keeps its backlog until its name returns.
    pub fn apply(&self, destinations: &[DestinationSettings]) {
        let shares: Vec<_> = destinations.iter().map(|d| (d.name.clone(), d.max_pending)).collect();
        self.buffer.set_destinations(&shares);
        let mut running = self.running.lock();
        for (name, lane) in running.iter() {
            if !destinations.iter().any(|settings| settings.name == *name) {
                lane.control.send_modify(|control| control.taking = false);
            }
        }
        for settings in destinations {
            match running.get(&settings.name) {
                Some(lane) => {
                    let work = self.work(settings, Some(&lane.control.borrow().work));
                    lane.control.send_modify(|control| {
                        control.work = work;
                        control.taking = true;
                    });
                }
                None => drop(running.insert(settings.name.clone(), self.start(settings))),
            }
        }
    }

    /// What attempts under `settings` are made with; the connections of `before` stay where they still fit.
    fn work(&self, settings: &DestinationSettings, before: Option<&Work>) -> Arc<Work> {
        let client = before
            .filter(|before| {
                before.settings.endpoint == settings.endpoint
                    && before.settings.connect_timeout == settings.connect_timeout
                    && before.settings.keepalive == settings.keepalive
                    && before.settings.concurrency == settings.concurrency
            })
            .map(|before| before.client.clone());
        let client = client.unwrap_or_else(|| {
            let connector = Connector::new(
                &settings.endpoint,
                settings.connect_timeout,
                self.resolver.clone(),
                self.tls.clone(),
            );
            let max_idle = usize::try_from(settings.concurrency).unwrap_or(usize::MAX);
            HttpClient::new(connector, settings.keepalive, max_idle)
        });
        Arc::new(Work { settings: settings.clone(), client })
    }

    fn start(&self, settings: &DestinationSettings) -> Running {
        let work = self.work(settings, None);
        let (control, listener) = watch::channel(Control { work, taking: true, until: None });
        let health = Arc::<Health>::default();
        let tools = Tools {
            clock: self.clock.clone(),
            log: self.log.clone(),
            metrics: self.metrics.clone(),
            destination: self.metrics.destination(&settings.name),
            health: health.clone(),
        };
        let lane = self.buffer.lane(&settings.name);
        let task = tokio::spawn(LaneTask::new(lane, listener, tools).run());
        Running { control, health, task: Some(task) }
    }

    /// Goes on delivering until nothing is left that can be delivered before `deadline`, then stops every lane for
    /// good. What becomes due before it is tried; attempts in flight get until then to finish and are put back if
    /// they do not. Close the buffer first, so that nothing comes after.
    pub async fn drain(&self, deadline: Instant) -> Undelivered {
        self.end(deadline, true).await
    }

    /// As [`Destinations::drain`], but begins no further attempt: what waits, waits for the next start.
    pub async fn finish(&self, deadline: Instant) -> Undelivered {
        self.end(deadline, false).await
    }

    async fn end(&self, deadline: Instant, taking: bool) -> Undelivered {
        let tasks: Vec<_> = {
            let mut running = self.running.lock();
            for lane in running.values() {
                lane.control.send_modify(|control| {
                    control.until = Some(deadline);
                    control.taking &= taking;
                });
            }
            running.values_mut().filter_map(|lane| lane.task.take()).collect()
        };
        for mut task in tasks {
            // The lanes end by themselves at the deadline; whoever does not in a second more is cut off.
            if timeout_at(deadline + std::time::Duration::from_secs(1), &mut task).await.is_err() {
                task.abort();
            }
        }
        let mut left = Undelivered::default();
        for lane in self.buffer.stats().destinations {
            left.events += lane.events;
            left.bytes += lane.bytes;
            if lane.events > 0 {
                left.destinations.push((lane.destination, lane.events));
            }
        }
        left
    }

    /// How each destination does, in order of name.
    #[must_use]
    pub fn health(&self) -> Vec<DestinationHealth> {
        let moment = |ms: u64| (ms != 0).then_some(Millis(ms));
        let view = |(name, lane): (&Arc<str>, &Running)| {
            let control = lane.control.borrow();
            let settings = &control.work.settings;
            DestinationHealth {
                name: name.clone(),
                url: shown_url(&settings.endpoint, settings.path.as_deref()),
                configured: control.taking,
                in_flight: lane.health.in_flight.load(Ordering::Relaxed),
                concurrency: settings.concurrency,
                idle_connections: control.work.client.idle_connections(),
                last_success: moment(lane.health.last_success.load(Ordering::Relaxed)),
                last_failure: moment(lane.health.last_failure.load(Ordering::Relaxed)),
                failures_in_a_row: lane.health.failures_in_a_row.load(Ordering::Relaxed),
            }
        };
        self.running.lock().iter().map(view).collect()
    }
}

/// The URL for people to read. An [`Endpoint`] holds no userinfo; a query may hold a token.
pub(super) fn shown_url(endpoint: &Endpoint, path: Option<&str>) -> String {
    let path = path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match endpoint {
        Endpoint::Http { host, port } => format!("http://{}{path}", authority(host, *port, 80)),
        Endpoint::Https { host, port } => format!("https://{}{path}", authority(host, *port, 443)),
        Endpoint::Unix { path: socket } if path.is_empty() => format!("unix:{}", socket.display()),
        Endpoint::Unix { path: socket } => format!("unix:{}:{path}", socket.display()),
    }
}
