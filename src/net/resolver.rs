//! Names to addresses, without ever blocking a thread: literals, `/etc/hosts`, then DNS as `/etc/resolv.conf` says.
//!
//! There is no second way: a name that cannot be resolved is an error, never an old or another answer. Answers are
//! remembered for their TTL in a bounded cache, so that a change in DNS is seen by the next connection after it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, ResolverBuilder, TokioResolver};
use moka::Expiry;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::io::AsyncReadExt;

use super::address_rules;

/// How many names are remembered: far more than a gateway has destinations.
const CACHED_NAMES: u64 = 1024;
/// A TTL of 0 means "for this transaction"; a burst of connections counts as one.
const MIN_TTL: Duration = Duration::from_secs(1);
/// No answer is believed for longer, whatever its TTL.
const MAX_TTL: Duration = Duration::from_secs(3600);
/// How long what `/etc/hosts` says is remembered; it has no TTL of its own.
const HOSTS_TTL: Duration = Duration::from_secs(5);
/// The largest `/etc/hosts` that is read.
const MAX_HOSTS_BYTES: u64 = 4 << 20;
/// The longest a look-up takes, over all servers and repetitions.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

const HOSTS_FILE: &str = "/etc/hosts";

/// Resolves names. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    /// DNS, or the sentence that says why there is none.
    dns: Result<TokioResolver, String>,
    cache: Cache<Box<str>, Found>,
    hosts_file: &'static str,
}

/// The addresses of a name, all of them, never empty, and for how long they hold.
#[derive(Clone)]
struct Found {
    addresses: Arc<[IpAddr]>,
    ttl: Duration,
}

/// Why a name has no address to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolveError(String);

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ResolveError {}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("dns", &self.0.dns.is_ok()).finish_non_exhaustive()
    }
}

/// Each answer stays as long as its own TTL says.
struct ByTtl;

impl Expiry<Box<str>, Found> for ByTtl {
    fn expire_after_create(&self, _: &Box<str>, found: &Found, _: Instant) -> Option<Duration> {
        Some(found.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Box<str>,
        found: &Found,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(found.ttl)
    }
}

impl Resolver {
    /// A resolver that asks the servers of `/etc/resolv.conf`, which is read here and only here.
    ///
    /// A machine without that file is fine as long as no name needs DNS: see [`Resolver::needs`].
    #[must_use]
    pub fn system() -> Self {
        let dns = TokioResolver::builder_tokio()
            .and_then(build)
            .map_err(|error| format!("names cannot be resolved: /etc/resolv.conf: {error}"));
        Self::with(dns, HOSTS_FILE)
    }

    /// One that knows what stands in `hosts_file`, and nothing else.
    #[cfg(test)]
    pub(crate) fn of_hosts(hosts_file: &'static str) -> Self {
        Self::with(Err("there is none".to_owned()), hosts_file)
    }

    /// The time of everything that it remembers is over.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        self.0.cache.invalidate_all();
    }

    fn with(dns: Result<TokioResolver, String>, hosts_file: &'static str) -> Self {
        let cache = Cache::builder()
            .max_capacity(CACHED_NAMES)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(ByTtl)
            .build();
        Self(Arc::new(Inner { dns, cache, hosts_file }))
    }

    /// Says at start what would otherwise be found at the first connection to `host`: that it is a forbidden
    /// address, or a name on a machine without a DNS configuration. Asks nobody.
    ///
    /// # Errors
    /// As [`Resolver::resolve`] would, whatever the network does.
    pub async fn needs(&self, host: &str) -> Result<(), ResolveError> {
        if let Some(address) = literal(host) {
            return allowed(host, &[address], 0).map(drop);
        }
        if self.hosts_answer(host).await.is_some() {
            return Ok(());
        }
        match &self.0.dns {
            Ok(_) => Ok(()),
            Err(reason) => Err(ResolveError(format!("{host}: {reason}"))),
        }
    }

    /// Every address of `host` that may be connected to, v4 first, each with `port`; never empty.
    ///
    /// `host` is a name or an address literal without brackets. A literal asks nobody.
    ///
    /// # Errors
    /// A sentence: no such name, no answer (within 10 s), no DNS configuration, or nothing but forbidden addresses.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(address) = literal(host) {
            return allowed(host, &[address], port);
        }
        if let Some(found) = self.0.cache.get(host) {
            return allowed(host, &found.addresses, port);
        }
        let found = match self.hosts_answer(host).await {
            Some(addresses) => Found { addresses: addresses.into(), ttl: HOSTS_TTL },
            None => self.ask(host).await?,
        };
        let allowed = allowed(host, &found.addresses, port)?;
        self.0.cache.insert(host.into(), found);
        Ok(allowed)
    }

    /// What `/etc/hosts` says; `localhost` is this machine even where it is silent (RFC 6761 §6.3).
    async fn hosts_answer(&self, host: &str) -> Option<Vec<IpAddr>> {
        let text = read_bounded(self.0.hosts_file).await.unwrap_or_default();
        let mut hosts = Hosts::default();
        let name = Name::from_utf8(host).ok()?;
        let mut addresses = Vec::new();
        if hosts.read_hosts_conf(text.as_slice()).is_ok() {
            for kind in [RecordType::A, RecordType::AAAA] {
                let answer = hosts.lookup_static_host(&Query::query(name.clone(), kind));
                addresses.extend(answer.iter().flat_map(addresses_of));
            }
        }
        if addresses.is_empty() && name.is_localhost() {
            addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        (!addresses.is_empty()).then_some(addresses)
    }

    async fn ask(&self, host: &str) -> Result<Found, ResolveError> {
        let failed = |reason: &dyn fmt::Display| ResolveError(format!("cannot resolve {host}: {reason}"));
        let dns = self.0.dns.as_ref().map_err(|reason| failed(reason))?;
        let answer = tokio::time::timeout(LOOKUP_TIMEOUT, dns.lookup_ip(host))
            .await
            .map_err(|_| failed(&"no answer from the name servers within 10s"))?
            .map_err(|error| if error.is_nx_domain() { failed(&"no such name") } else { failed(&error) })?;
        let records = answer.as_lookup().answers();
        let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
        let ttl = Duration::from_secs(u64::from(ttl)).clamp(MIN_TTL, MAX_TTL);
        let addresses: Arc<[IpAddr]> = answer.iter().collect();
        if addresses.is_empty() {
            return Err(failed(&"the name has no address"));
        }
        Ok(Found { addresses, ttl })
    }
}

/// DNS with every option that matters here said aloud.
fn build(
    mut builder: ResolverBuilder<hickory_resolver::net::runtime::TokioRuntimeProvider>,
) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let options = builder.options_mut();
    // Ours is the only cache, and ours reads the hosts file (again, when it changes).
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    // Both families, v4 first: a host without a v6 route must not wait for it.
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

fn addresses_of(lookup: &Lookup) -> impl Iterator<Item = IpAddr> + '_ {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr())
}

/// Drops what the address rules forbid.
fn allowed(host: &str, addresses: &[IpAddr], port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let mut refused = None;
    let mut allowed = Vec::with_capacity(addresses.len());
    for address in addresses {
        match address_rules::check(*address) {
            Ok(()) => allowed.push(SocketAddr::new(*address, port)),
            Err(forbidden) => refused = Some(forbidden),
        }
    }
    match (allowed.is_empty(), refused) {
        (false, _) => Ok(allowed),
        (true, Some(forbidden)) => Err(ResolveError(format!("{host}: {forbidden}"))),
        (true, None) => Err(ResolveError(format!("{host} has no address"))),
    }
}

/// Reads a small file without blocking the runtime.
async fn read_bounded(path: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    tokio::fs::File::open(path).await?.take(MAX_HOSTS_BYTES).read_to_end(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests;
