//! A meter for each client, boundedly many.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::gcra::{Meter, Pace};
use crate::observe::Metrics;

/// How many clients are remembered, over all routes: some 40 MB at most. Above, the one not seen for longest is
/// forgotten, so a flood from a million addresses costs memory for a tenth of them.
const MAX_CLIENTS: u64 = 100_000;
/// The longest period of a rate: after it a meter is as good as new, and is not missed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// The meters of clients by what is limited (a route's number) and who comes.
#[derive(Clone)]
pub struct PerClient(Cache<(u32, Client), Arc<Meter>>);

impl std::fmt::Debug for PerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerClient").field("clients", &self.0.entry_count()).finish()
    }
}

/// Who counts as one. A v4 address is one; of a v6 address its /64, for that is what one subscriber gets (RFC 6177 §2,
/// BCP 157) and picks addresses from at will. Peers without an address are one together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4([u8; 4]),
    V6([u8; 8]),
    Unnamed,
}

impl From<Option<IpAddr>> for Client {
    fn from(ip: Option<IpAddr>) -> Self {
        match ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(ip)) => Self::V4(ip.octets()),
            Some(IpAddr::V6(ip)) => Self::V6(network(ip)),
            None => Self::Unnamed,
        }
    }
}

fn network(ip: Ipv6Addr) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = ip.octets();
    [a, b, c, d, e, f, g, h]
}

impl PerClient {
    /// Nobody came yet. A client that is forgotten for want of room is counted as a hit of the limit `name`.
    #[must_use]
    pub fn new(name: &'static str, metrics: Arc<Metrics>) -> Self {
        Self::holding(MAX_CLIENTS, name, metrics)
    }

    fn holding(clients: u64, name: &'static str, metrics: Arc<Metrics>) -> Self {
        let cache = Cache::builder()
            .max_capacity(clients)
            // The default policy would refuse newcomers, who would then never be counted.
            .eviction_policy(EvictionPolicy::lru())
            .time_to_idle(FORGOTTEN_AFTER)
            .eviction_listener(move |_, _, cause| {
                if cause == RemovalCause::Size {
                    metrics.limit_hit(name);
                }
            })
            .build();
        Self(cache)
    }

    /// Takes one for the client at `ip` from what `number` limits, if one may come `now`.
    ///
    /// # Errors
    /// None may: the moment from which on one may.
    pub fn take(&self, number: u32, ip: Option<IpAddr>, pace: Pace, now: Instant) -> Result<(), Instant> {
        let key = (number, Client::from(ip));
        let meter = match self.0.get(&key) {
            Some(meter) => meter,
            None => self.0.get_with(key, || Arc::new(Meter::new(now))),
        };
        meter.take(pace, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn each_client_has_its_own_and_a_v6_network_is_one_client() {
        let clients = PerClient::new("clients", Metrics::new());
        let (now, pace) = (Instant::now(), Pace::new("1/m".parse().expect("a rate"), 1));
        let took = |number, who| clients.take(number, who, pace, now).is_ok();
        assert!(took(1, ip("192.0.2.1")));
        assert!(!took(1, ip("192.0.2.1")) && !took(1, ip("::ffff:192.0.2.1")), "the same in other words");
        assert!(took(1, ip("192.0.2.2")) && took(2, ip("192.0.2.1")), "another client, another route");
        assert!(took(1, ip("2001:db8:0:1::1")));
        assert!(!took(1, ip("2001:db8:0:1:ffff::2")), "the same /64");
        assert!(took(1, ip("2001:db8:0:2::1")), "the next /64");
        assert!(took(1, None) && !took(1, None));
    }

    #[test]
    fn a_flood_of_addresses_finds_a_bound_and_is_counted() {
        let metrics = Metrics::new();
        let clients = PerClient::holding(50, "clients", Arc::clone(&metrics));
        let (now, pace) = (Instant::now(), Pace::new("1/m".parse().expect("a rate"), 1));
        for n in 0..5000u32 {
            let newcomer = Some(IpAddr::from(n.to_be_bytes()));
            assert!(clients.take(1, newcomer, pace, now).is_ok());
            assert!(clients.take(1, newcomer, pace, now).is_err(), "a newcomer is remembered: {n}");
        }
        clients.0.run_pending_tasks();
        assert!(clients.0.entry_count() <= 50, "{clients:?}");
        assert!(
            metrics.encode().contains("hooklatch_limit_hits_total{limit=\"clients\"} 49"),
            "{}",
            metrics.encode()
        );
    }
}
