//! What is legal but rarely meant, and shows only when the whole file is known.

use std::net::{IpAddr, Ipv4Addr};

use super::destinations::Destinations;
use super::walk::Table;
use crate::ingress::{ListenAddress, RouteSettings, ServerOptions};

pub(super) fn of_whole(
    root: &Table<'_>,
    server: &ServerOptions,
    routes: &[RouteSettings],
    destinations: &Destinations<'_>,
) {
    for (name, read) in destinations {
        if !read.used.get() {
            root.walk.warn(read.span.clone(), format!("no route names the destination `{name}`"), "");
        }
    }
    warn_of_untrusted_balancer(root, server, routes);
}

/// An allowlist asks for the client's address. A listener that only this machine or its own network can reach has a
/// proxy in front, whose address it is then that is looked up.
fn warn_of_untrusted_balancer(root: &Table<'_>, server: &ServerOptions, routes: &[RouteSettings]) {
    let trusted = &server.trusted_proxies;
    let behind_proxy = |listener: &ListenAddress| match listener {
        ListenAddress::Unix(_) => !trusted.unix,
        ListenAddress::Tcp(address) => trusted.addresses.is_empty() && is_local(address),
    };
    if !server.listeners.iter().all(|listener| behind_proxy(&listener.address)) {
        return;
    }
    // A list that names this machine itself is meant for it.
    let meant = |route: &&RouteSettings| {
        route.allow_ips.as_ref().is_some_and(|allow| !allow.has(Some(IpAddr::V4(Ipv4Addr::LOCALHOST))))
    };
    for route in routes.iter().filter(meant) {
        root.walk.warn(
            root.place_of(&format!("routes.{}.allow_ips", route.name)),
            "hooklatch listens only where a proxy can reach it, and sees that proxy's address instead of the sender's",
            "write trusted_proxies = [\"127.0.0.1\"] (or \"unix\", or the proxy's address) in [server]",
        );
    }
}

/// Whether `host:port` is loopback or a private network's.
fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local(),
        Err(_) => host == "localhost",
    }
}
