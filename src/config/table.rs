//! What goes where, for `hooklatch check`.

use std::fmt::Write;

use super::Config;
use crate::admin::AdminListen;
use crate::delivery::{DestinationOptions, Endpoint, Place};
use crate::ingress::{
    Action, CorridorSettings, ListenAddress, Proof, RouteKey, RouteSettings, Router, Upstream,
};

pub(super) fn render(config: &Config) -> String {
    let mut text = String::new();
    for listener in &config.server.listeners {
        let _ = match &listener.address {
            ListenAddress::Tcp(address) => writeln!(text, "listens on   {address}"),
            ListenAddress::Unix(path) => writeln!(text, "listens on   unix:{}", path.display()),
        };
    }
    let _ = match &config.admin.listen {
        AdminListen::Tcp(address) => writeln!(text, "admin on     {address}"),
        AdminListen::Unix(path) => writeln!(text, "admin on     unix:{}", path.display()),
        AdminListen::Off => writeln!(text, "admin        off"),
    };
    text.push('\n');
    text.push_str(&columns(rows(config)));
    text
}

/// One row a route, the most specific path first; what is found first in this order wins.
fn rows(config: &Config) -> Vec<[String; 4]> {
    // A configuration exists only where the router took its routes.
    let Ok(router) = Router::new(config.routes.iter().map(RouteKey::from)) else { return Vec::new() };
    let rows = router.table().into_iter().filter_map(|row| {
        let route = config.routes.get(row.route)?;
        let methods = row.methods.map_or_else(|| "any method".to_owned(), |methods| methods.join(","));
        let host = row.host.unwrap_or_else(|| "any host".to_owned());
        Some([methods, host, row.path, format!("→ {}: {}", route.name, what_it_does(route, config))])
    });
    rows.collect()
}

fn what_it_does(route: &RouteSettings, config: &Config) -> String {
    let mut text = match &route.action {
        Action::Deliver(corridor) => delivery(corridor, config),
        Action::Proxy(proxy) => {
            let places: Vec<String> = proxy.upstreams.iter().map(upstream).collect();
            format!("streams to {}", places.join(", else "))
        }
    };
    if let Some(allow) = &route.allow_ips {
        let lists: usize = allow.lists.iter().map(|list| list.view().ranges).sum();
        let _ = write!(text, "; from {} address ranges", allow.fixed.len() + lists);
        for list in &allow.lists {
            let view = list.view();
            let _ = write!(text, " (@{} of {})", view.name, view.as_of);
        }
        if allow.shadow {
            text.push_str(", others counted");
        }
    }
    text
}

fn delivery(corridor: &CorridorSettings, config: &Config) -> String {
    let mut check = match (corridor.proof(), &corridor.provider) {
        (Proof::Unchecked, _) => "accepts whatever comes".to_owned(),
        (_, Some(provider)) => format!("checks as {provider}"),
        (_, None) => "checks its own scheme".to_owned(),
    };
    if corridor.proof() == Proof::Authenticated {
        check.push_str(" (authenticated: the sender, not the body)");
    }
    let places = corridor.deliver_to.iter().map(|entry| {
        let name = &*entry.to;
        let options = config.destinations.iter().find(|destination| *destination.name == *name);
        let mut place =
            options.map_or_else(|| name.to_owned(), |options| format!("{name} ({})", endpoint(options)));
        if let Some(batch) = options.and_then(|options| options.batch) {
            let _ = write!(place, " in batches of up to {}", batch.max_events);
        }
        if !entry.types.is_empty() {
            let types: Vec<String> = entry.types.iter().map(ToString::to_string).collect();
            let _ = write!(place, " only {}", types.join(" "));
        }
        if entry.optional {
            place.push_str(" if it has room");
        }
        place
    });
    let places = places.collect::<Vec<_>>().join(", ");
    format!("{check}, ack \"{}\", delivers to {places}", corridor.ack.as_str())
}

/// The destination's URL, of several regions' each; it never holds a user name or a password.
fn endpoint(options: &DestinationOptions) -> String {
    options.places().iter().map(place).collect::<Vec<_>>().join(", else ")
}

fn place(place: &Place) -> String {
    let path = place.path.as_deref().unwrap_or_default();
    match &place.endpoint {
        Endpoint::Http { host, port } => format!("http://{}:{port}{path}", bracketed(host)),
        Endpoint::Https { host, port } => format!("https://{}:{port}{path}", bracketed(host)),
        Endpoint::Unix { path: socket } if path.is_empty() => format!("unix:{}", socket.display()),
        Endpoint::Unix { path: socket } => format!("unix:{}:{path}", socket.display()),
    }
}

fn upstream(upstream: &Upstream) -> String {
    match upstream {
        Upstream::Tcp { host, port, tls: false } => format!("http://{}:{port}", bracketed(host)),
        Upstream::Tcp { host, port, tls: true } => format!("https://{}:{port}", bracketed(host)),
        Upstream::Unix(path) => format!("unix:{}", path.display()),
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Rows in columns, two blanks apart.
fn columns(rows: Vec<[String; 4]>) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (first, second, third) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [methods, host, path, what] in &rows {
        let _ = writeln!(text, "{methods:first$}  {host:second$}  {path:third$}  {what}");
    }
    text
}
