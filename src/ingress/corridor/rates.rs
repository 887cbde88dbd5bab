//! How often requests of a route may come: `rate` over all senders, `rate_per_ip` from one; and how often one may have a
//! secret used for a challenge.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use crate::ingress::refusal::Refusal;
use crate::limit::{Meter, Pace, PerClient};
use crate::observe::Metrics;
use crate::units::Rate;

/// What all routes share.
#[derive(Debug)]
pub(super) struct Limiter {
    clients: PerClient,
    /// Of challenges that a secret is used for.
    challengers: PerClient,
    metrics: Arc<Metrics>,
    numbers: AtomicU32,
}

impl Limiter {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let clients = |name| PerClient::new(name, Arc::clone(&metrics));
        Self {
            clients: clients("rate_per_ip.clients"),
            challengers: clients("handshake.clients"),
            metrics,
            numbers: AtomicU32::new(0),
        }
    }

    /// Takes one for the client at `ip`, whose challenge on the route with these `rates` a secret is used for, if one may
    /// come at this `pace`.
    pub(super) fn takes_challenge(&self, rates: &Rates, ip: Option<IpAddr>, pace: Pace) -> bool {
        self.challengers.take(rates.used.number, ip, pace, Instant::now()).is_ok()
    }
}

/// The rates of one route.
#[derive(Debug)]
pub(super) struct Rates {
    all: Option<Pace>,
    each: Option<Pace>,
    used: Arc<Used>,
}

/// What was used of a route's rates: kept over reloads as long as the route's name stands.
#[derive(Debug)]
struct Used {
    /// The route's, among the clients.
    number: u32,
    meter: Meter,
}

impl Rates {
    /// The rates of a route; what was used under the `old` ones counts on.
    pub(super) fn new(
        rate: Option<Rate>,
        rate_per_ip: Option<Rate>,
        limiter: &Limiter,
        old: Option<&Self>,
    ) -> Self {
        let used = old.map_or_else(
            || {
                let number = limiter.numbers.fetch_add(1, Ordering::Relaxed);
                Arc::new(Used { number, meter: Meter::new(Instant::now()) })
            },
            |old| Arc::clone(&old.used),
        );
        Self { all: rate.map(Pace::of_period), each: rate_per_ip.map(Pace::of_period), used }
    }

    /// Takes one for the client at `ip`. The client's own rate is asked first: what one sends too much of does not use up
    /// what all have together.
    pub(super) fn refusal_of(&self, ip: Option<IpAddr>, limiter: &Limiter, now: Instant) -> Option<Refusal> {
        if let Some(pace) = self.each
            && let Err(at) = limiter.clients.take(self.used.number, ip, pace, now)
        {
            limiter.metrics.limit_hit("rate_per_ip");
            return Some(Refusal::rate_limited("from this address", at.saturating_duration_since(now)));
        }
        if let Some(pace) = self.all
            && let Err(at) = self.used.meter.take(pace, now)
        {
            limiter.metrics.limit_hit("rate");
            return Some(Refusal::rate_limited("here", at.saturating_duration_since(now)));
        }
        None
    }
}
