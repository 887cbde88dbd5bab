//! All destinations: starts their lanes, hands them new settings, drains them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::attempt::{Target, Work};
use super::batch::BatchOptions;
use super::client::HttpClient;
use super::connector::Connector;
use super::health::{Health, LaneState};
use super::lane::{Control, LaneTask, Tools};
use super::orphans;
use super::request::authority;
use super::resign::{RouteSigner, RouteSigners};
use super::settings::{DestinationSettings, Endpoint, Place};
use super::standing::{Pause, PausedBy, Record, Standing};
use super::tls::Tls;
use crate::buffer::{Buffer, Lane, MaxPending};
use crate::clock::{Clock, Millis};
use crate::event::Region;
use crate::net::{Failovers, Resolver};
use crate::observe::{EventLog, Metrics};
use crate::units::Rate;

/// The lanes of all destinations.
#[derive(Debug)]
pub struct Destinations {
    buffer: Buffer,
    resolver: Resolver,
    tls: Tls,
    metrics: Arc<Metrics>,
    log: EventLog,
    clock: Clock,
    record: Arc<Record>,
    signers: RouteSigners,
    failovers: Failovers,
    running: Mutex<BTreeMap<Arc<str>, Running>>,
    /// Whether the record is written and orphans are looked after.
    kept: AtomicBool,
}

#[derive(Debug)]
struct Running {
    control: watch::Sender<Control>,
    health: Arc<Health>,
    standing: Arc<Standing>,
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
    /// Where it listens, of several places the preferred one; without userinfo and query, which may hold secrets.
    pub url: String,
    /// Its places, where it has `regions`, the preferred one first.
    pub regions: Vec<RegionHealth>,
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
    /// Whether events flow.
    pub state: LaneState,
    /// Set where somebody, or a 410, paused it.
    pub paused: Option<Pause>,
    /// `batch`, and how many events gather for the next one.
    pub batch: Option<(BatchOptions, u32)>,
    /// `rate` and `burst`.
    pub rate: Option<(Rate, u32)>,
    /// Names it had: what is pending under them is delivered here.
    pub formerly: Vec<Arc<str>>,
}

/// No such destination is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownDestination;

/// One place of a destination with `regions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionHealth {
    /// Its name.
    pub region: Region,
    /// Where it listens.
    pub url: String,
    /// Whether it could be reached when it was last tried (three failures in a row take it down).
    pub up: bool,
}

impl Destinations {
    /// No destination yet; TLS ones will be verified against the system's roots. What lanes remember over a restart
    /// (pauses, when they were open) is read from `folder` and written there; without one it is not. Blocks.
    ///
    /// # Errors
    /// A sentence: what is in `folder` cannot be read.
    pub fn new(
        buffer: Buffer,
        resolver: Resolver,
        metrics: Arc<Metrics>,
        log: EventLog,
        clock: Clock,
        folder: Option<&Path>,
    ) -> Result<Self, String> {
        Ok(Self {
            buffer,
            resolver,
            tls: Tls::system(),
            metrics,
            log,
            record: Arc::new(Record::open(folder, clock.clone())?),
            clock,
            signers: RouteSigners::default(),
            failovers: Failovers::default(),
            running: Mutex::default(),
            kept: AtomicBool::new(false),
        })
    }

    /// The same with other roots.
    #[must_use]
    pub fn trusting(self, tls: Tls) -> Self {
        Self { tls, ..self }
    }

    /// The same, sharing what is known of which places are up.
    #[must_use]
    pub fn sharing(self, failovers: Failovers) -> Self {
        Self { failovers, ..self }
    }

    /// How the events of each route are signed for destinations with `sign = "provider"`: from the next attempt on.
    pub fn set_signers(&self, signers: HashMap<Arc<str>, RouteSigner>) {
        self.signers.set(signers);
    }

    /// Makes `destinations` the ones that are delivered to, and tells the buffer whose room is reserved. Must be
    /// called inside a tokio runtime: new lanes start there.
    ///
    /// A changed setting counts from the next attempt on, attempts in flight finish under the old one, and nothing
    /// is reset. A destination that is gone takes no more events but keeps its backlog until its name returns.
    pub fn apply(&self, destinations: &[DestinationSettings]) {
        self.keep_record();
        let is_new = |settings: &&DestinationSettings| !self.record.knows(&settings.name);
        let new: Vec<_> = destinations.iter().filter(is_new).map(|settings| settings.name.clone()).collect();
        // A name that returns is new; the task that it had goes on, with what is remembered of it from now on.
        for (name, lane) in self.running.lock().iter().filter(|(name, _)| !self.record.knows(name)) {
            self.record.begin_anew(name, &lane.standing);
        }
        let held = self.held();
        let former: Vec<(Arc<str>, MaxPending)> = destinations
            .iter()
            .flat_map(|settings| &settings.formerly)
            .filter(|name| held.contains(name))
            .map(|name| (Arc::clone(name), MaxPending::default()))
            .collect();
        let own = destinations.iter().map(|settings| (settings.name.clone(), settings.max_pending));
        let shares: Vec<_> = own.chain(former).collect();
        self.buffer.set_destinations(&shares);
        self.note_orphans(&shares, &held);
        for settings in destinations {
            self.take_over(settings, new.contains(&settings.name));
        }
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
                    let lanes = self.lanes(settings);
                    lane.control.send_modify(|control| {
                        control.work = work;
                        control.lanes = lanes;
                        control.taking = true;
                    });
                }
                None => drop(running.insert(settings.name.clone(), self.start(settings))),
            }
        }
    }

    /// The names under which the buffer holds anything.
    fn held(&self) -> Vec<Arc<str>> {
        let lanes = self.buffer.stats().destinations.into_iter();
        lanes.filter(|lane| lane.events > 0 || lane.dead > 0).map(|lane| lane.destination).collect()
    }

    fn note_orphans(&self, configured: &[(Arc<str>, MaxPending)], held: &[Arc<str>]) {
        let now = self.clock.now();
        let is_configured = |name: &str| configured.iter().any(|(other, _)| **other == *name);
        for (name, _) in configured {
            self.record.lane(name).set_configured(true, now);
        }
        for name in held.iter().filter(|name| !is_configured(name)) {
            self.record.lane(name).set_configured(false, now);
        }
        self.record.retain(|name| is_configured(name) || held.iter().any(|other| **other == *name));
    }

    /// What is known of a destination under the names that it had is known of it.
    fn take_over(&self, settings: &DestinationSettings, is_new: bool) {
        let (standing, now) = (self.record.lane(&settings.name), self.clock.now());
        for former in settings.formerly.iter().filter(|name| self.record.knows(name)) {
            if standing.take_over(former, &self.record.lane(former), is_new, now) {
                tracing::warn!(
                    destination = &*settings.name,
                    formerly = &**former,
                    "the pause of the former name ends: what waits under it goes to a destination that is at work; to hold \
                     it up: hooklatch destinations pause {}",
                    settings.name
                );
            }
        }
    }

    /// From the first configuration on, what lanes remember is written, and orphans are looked after.
    fn keep_record(&self) {
        if self.kept.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::spawn(Arc::clone(&self.record).keep_written());
        tokio::spawn(orphans::look_after(self.buffer.clone(), Arc::clone(&self.record), self.clock.clone()));
    }

    /// Where the events of `settings` wait: under the names it had, then under its own.
    fn lanes(&self, settings: &DestinationSettings) -> Arc<[Lane]> {
        settings.formerly.iter().chain([&settings.name]).map(|name| self.buffer.lane(name)).collect()
    }

    /// What attempts under `settings` are made with; the connections of `before` stay where they still fit.
    fn work(&self, settings: &DestinationSettings, before: Option<&Work>) -> Arc<Work> {
        let places = settings.places().iter().map(|place| place.endpoint.to_string()).collect();
        let failover = self.failovers.of(&settings.name, places);
        let same_ways = |before: &&Work| {
            before.settings.tls == settings.tls
                && before.settings.connect_timeout == settings.connect_timeout
                && before.settings.keepalive == settings.keepalive
                && before.settings.concurrency == settings.concurrency
        };
        let known = before.filter(same_ways).map(|before| &*before.targets).unwrap_or_default();
        let tls = self.tls.with(&settings.tls);
        let client = |endpoint: &Endpoint| {
            let (resolver, tls) = (self.resolver.clone(), tls.clone());
            let connector = Connector::new(endpoint, settings.connect_timeout, resolver, tls);
            let max_idle = usize::try_from(settings.concurrency).unwrap_or(usize::MAX);
            HttpClient::new(connector, settings.keepalive, max_idle)
        };
        let target = |place: Place| {
            let same = known.iter().find(|known| known.place.endpoint == place.endpoint);
            let client = same.map_or_else(|| client(&place.endpoint), |same| same.client.clone());
            Target { place, client }
        };
        let targets = settings.places().into_iter().map(target).collect();
        let signers = self.signers.clone();
        Arc::new(Work { settings: settings.clone(), targets, failover, signers })
    }

    fn start(&self, settings: &DestinationSettings) -> Running {
        let work = self.work(settings, None);
        let lanes = self.lanes(settings);
        let control = Control { work, lanes, taking: true, until: None, hastened: 0 };
        let (control, listener) = watch::channel(control);
        let health = Arc::<Health>::default();
        let standing = self.record.lane(&settings.name);
        let tools = Tools {
            clock: self.clock.clone(),
            log: self.log.clone(),
            metrics: self.metrics.clone(),
            destination: self.metrics.destination(&settings.name),
            health: health.clone(),
            standing: standing.clone(),
            exact: self.clock.is_system(),
        };
        let task = tokio::spawn(LaneTask::new(settings.name.clone(), listener, tools).run());
        Running { control, health, standing, task: Some(task) }
    }

    /// Pauses a destination for so long, or until it is resumed. Attempts in flight finish.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn pause(&self, name: &str, time: Option<Duration>) -> Result<Pause, UnknownDestination> {
        let since = self.clock.now();
        let until = time.map(|time| since.plus(time));
        let pause = Pause { by: PausedBy::Operator, since, until };
        self.tell(name, |standing| standing.pause(pause), false)?;
        Ok(pause)
    }

    /// Ends a pause, whoever made it, and asks for an attempt now; whether there was one.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn resume(&self, name: &str) -> Result<bool, UnknownDestination> {
        self.tell(name, Standing::resume, true)
    }

    /// Asks for an attempt now, whatever the breaker or a 429 say: what waits for its next attempt is due. Events that
    /// are pending there come back; `None` where the destination is paused and nothing will happen.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn hasten(&self, name: &str) -> Result<Option<u64>, UnknownDestination> {
        let now = self.clock.now();
        let paused = self.tell(name, |standing| standing.paused(now).is_some(), true)?;
        let pending = |lanes: &[Lane]| lanes.iter().map(|lane| lane.depth().0).sum::<u64>();
        let running = self.running.lock();
        let lane = running.get(name).ok_or(UnknownDestination)?;
        Ok((!paused).then(|| pending(&lane.control.borrow().lanes)))
    }

    fn tell<T>(
        &self,
        name: &str,
        what: impl FnOnce(&Standing) -> T,
        now: bool,
    ) -> Result<T, UnknownDestination> {
        let running = self.running.lock();
        let lane = running.get(name).filter(|lane| lane.control.borrow().taking).ok_or(UnknownDestination)?;
        let told = what(&lane.standing);
        // Also without a change: it wakes the lane.
        lane.control.send_modify(|control| control.hastened += u64::from(now));
        Ok(told)
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
        let record = Arc::clone(&self.record);
        // A write that panicked was told of.
        let _ = tokio::task::spawn_blocking(move || record.write()).await;
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
        let now = self.clock.now();
        let view = |(name, lane): (&Arc<str>, &Running)| {
            let control = lane.control.borrow();
            let settings = &control.work.settings;
            let targets = &control.work.targets;
            let shown = |place: &Place| shown_url(&place.endpoint, place.path.as_deref());
            let region = |(target, up): (&Target, bool)| {
                Some(RegionHealth { region: target.place.region?, url: shown(&target.place), up })
            };
            DestinationHealth {
                name: name.clone(),
                url: targets.first().map(|target| shown(&target.place)).unwrap_or_default(),
                regions: targets.iter().zip(control.work.failover.up()).filter_map(region).collect(),
                configured: control.taking,
                in_flight: lane.health.in_flight(),
                concurrency: settings.concurrency,
                idle_connections: targets.iter().map(|target| target.client.idle_connections()).sum(),
                last_success: lane.health.last_success(),
                last_failure: lane.health.last_failure(),
                failures_in_a_row: lane.health.failures_in_a_row(),
                state: lane.health.state(),
                paused: lane.standing.paused(now),
                batch: settings.batch.map(|batch| (batch, lane.health.gathering())),
                rate: settings.rate.map(|rate| (rate, settings.burst)),
                formerly: settings.formerly.clone(),
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
