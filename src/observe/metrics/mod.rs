//! Metrics: names and labels of the contract, in a registry of our own.
//!
//! Whoever counts on the hot path holds handles ([`RouteMetrics`], [`DestinationMetrics`]) that were resolved when
//! its route or destination was built; the same name gives the same handles, so a reload goes on counting and a
//! route that it removes stays at its last value. No label holds anything that a stranger can choose.

mod destination;
mod gauges;
mod route;
mod storage;

pub use destination::DestinationMetrics;
pub use gauges::{DestinationGauges, Gauges};
pub use route::{MAX_EVENT_TYPES, RouteMetrics, SecretMetrics};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    route_families: route::Families,
    routes: Mutex<HashMap<String, RouteMetrics>>,
    destination_families: destination::Families,
    destinations: Mutex<HashMap<String, DestinationMetrics>>,
    gauges: gauges::Families,
    secret_hits: IntCounterVec,
    secrets: Mutex<HashMap<(String, String), SecretMetrics>>,
    limit_hits: IntCounterVec,
    reloads: IntCounterVec,
    route_info: IntGaugeVec,
    connections: IntGauge,
    log_lines_lost: IntCounter,
    storage: storage::Handles,
    panics: IntCounter,
    /// Two scrapes at once would see each other's half-set gauges.
    scrape: Mutex<()>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// An empty set.
    #[must_use]
    pub fn new() -> Arc<Self> {
        match Self::build() {
            Ok(metrics) => Arc::new(metrics),
            Err(error) => unreachable!("every name and label is a constant that the tests register: {error}"),
        }
    }

    fn build() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            route_families: route::Families::register(r)?,
            destination_families: destination::Families::register(r)?,
            gauges: gauges::Families::register(r)?,
            secret_hits: counters(
                r,
                "hooklatch_secret_hits_total",
                "Requests that a secret of the route verified.",
                &["route", "secret"],
            )?,
            limit_hits: counters(
                r,
                "hooklatch_limit_hits_total",
                "Times a limit refused, closed or dropped something, by the limit's key.",
                &["limit"],
            )?,
            reloads: counters(
                r,
                "hooklatch_config_reloads_total",
                "Reloads of the configuration.",
                &["result"],
            )?,
            route_info: gauge_family(
                r,
                "hooklatch_route_info",
                "1 for each route and when its senders get their 2xx.",
                &["route", "ack"],
            )?,
            connections: gauge(r, "hooklatch_connections", "Open connections of senders.")?,
            log_lines_lost: counter(
                r,
                "hooklatch_log_lines_lost_total",
                "Lines of the log that nobody could take in time.",
            )?,
            storage: storage::Handles::register(r)?,
            panics: counter(r, "hooklatch_panics_total", "Panics caught: each one is a bug to report.")?,
            routes: Mutex::default(),
            secrets: Mutex::default(),
            destinations: Mutex::default(),
            scrape: Mutex::default(),
            registry,
        };
        gauge_family(
            &metrics.registry,
            "hooklatch_build_info",
            "1, and which version this is.",
            &["version"],
        )?
        .with_label_values(&[env!("CARGO_PKG_VERSION")])
        .set(1);
        for result in ["ok", "failed"] {
            metrics.reloads.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    /// The handles of one route (`""` where none matched), resolved when the route is built. The same name gives the
    /// same counters, so a reload goes on counting.
    #[must_use]
    pub fn route(&self, name: &str) -> RouteMetrics {
        let mut routes = self.routes.lock();
        if let Some(known) = routes.get(name) {
            return known.clone();
        }
        let new = RouteMetrics::new(name, &self.route_families);
        routes.insert(name.to_owned(), new.clone());
        new
    }

    /// The handle of one secret of one route, by the name the user gave it (or its position).
    #[must_use]
    pub fn secret(&self, route: &str, secret: &str) -> SecretMetrics {
        let mut secrets = self.secrets.lock();
        let known = secrets
            .entry((route.to_owned(), secret.to_owned()))
            .or_insert_with(|| SecretMetrics::new(self.secret_hits.with_label_values(&[route, secret])));
        known.clone()
    }

    /// The handles of one destination.
    #[must_use]
    pub fn destination(&self, name: &str) -> DestinationMetrics {
        let mut destinations = self.destinations.lock();
        if let Some(known) = destinations.get(name) {
            return known.clone();
        }
        let new = DestinationMetrics::new(name, &self.destination_families);
        destinations.insert(name.to_owned(), new.clone());
        new
    }

    /// A limit was hit: `hooklatch_limit_hits_total{limit}`. `limit` is the configuration's key.
    pub fn limit_hit(&self, limit: &'static str) {
        self.limit_hits.with_label_values(&[limit]).inc();
    }

    /// A connection was accepted (+1) or ended (-1).
    pub fn connections(&self, change: i64) {
        self.connections.add(change);
    }

    /// A reload took over the new configuration, or kept the old one.
    pub fn reload(&self, ok: bool) {
        self.reloads.with_label_values(&[if ok { "ok" } else { "failed" }]).inc();
    }

    /// Which routes there are now, and the word of each one's `ack` (`""` for a pass-through).
    pub fn set_route_info<'a>(&self, routes: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let _one_at_a_time = self.scrape.lock();
        self.route_info.reset();
        for (route, ack) in routes {
            self.route_info.with_label_values(&[route, ack]).set(1);
        }
    }

    /// So many lines of the log were lost.
    pub fn log_lines_lost(&self, lines: u64) {
        self.log_lines_lost.inc_by(lines);
    }

    /// A panic was caught.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// In Prometheus' text format.
    #[must_use]
    pub fn encode(&self) -> String {
        let _one_at_a_time = self.scrape.lock();
        self.encode_locked()
    }

    /// The same, after the gauges that are read only when somebody looks were set to `gauges`.
    #[must_use]
    pub fn encode_with(&self, gauges: &Gauges) -> String {
        let _one_at_a_time = self.scrape.lock();
        self.gauges.set(gauges);
        self.encode_locked()
    }

    fn encode_locked(&self) -> String {
        // The encoder fails only where a family has no metric, and `gather` leaves such families out.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    let family = IntCounterVec::new(Opts::new(name, help), labels)?;
    r.register(Box::new(family.clone()))?;
    Ok(family)
}

fn counter(r: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    r.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauge_family(r: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    let family = IntGaugeVec::new(Opts::new(name, help), labels)?;
    r.register(Box::new(family.clone()))?;
    Ok(family)
}

fn gauge(r: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let gauge = IntGauge::new(name, help)?;
    r.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn histograms(
    r: &Registry,
    name: &str,
    help: &str,
    label: &str,
    buckets: &[f64],
) -> prometheus::Result<prometheus::HistogramVec> {
    let options = prometheus::HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let family = prometheus::HistogramVec::new(options, &[label])?;
    r.register(Box::new(family.clone()))?;
    Ok(family)
}

#[cfg(test)]
mod tests;
