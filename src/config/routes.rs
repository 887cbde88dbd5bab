//! `[routes.NAME]`: which requests, and what becomes of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::buffer::Buffer;
use super::corridor::{self, Corridor};
use super::destinations::{Destinations, read_url};
use super::path::read_path;
use super::schema;
use super::server::checked_address;
use super::suggest::nearest;
use super::url::{self, Place};
use super::walk::{Scope, Table, Value, Walk, set};
use super::{Context, IpLists, name_mistake};
use crate::dedupe::DedupeOptions;
use crate::delivery::{DestinationOptions, Endpoint, HostRule};
use crate::headers::is_token;
use crate::ingress::{
    Action, PathPattern, ProxySettings, RouteKey, RouteSettings, Router, ServerOptions, Upstream, UpstreamTls,
};
use crate::net::{AllowIps, IpList, IpSet};

/// What the routes need to know of the rest of the file.
pub(super) struct Surroundings<'r> {
    pub(super) server: &'r ServerOptions,
    pub(super) dedupe: &'r DedupeOptions,
    pub(super) buffer: &'r Buffer<'r>,
    pub(super) destinations: &'r Destinations<'r>,
}

/// What of a route decides which requests it takes.
struct Sketch {
    span: Range<usize>,
    name: String,
    path: PathPattern,
    host: Option<String>,
    methods: Option<Vec<String>>,
    delivers: bool,
}

/// Reads `[routes]`.
pub(super) fn routes(
    root: &Table<'_>,
    context: &Context<'_>,
    around: &Surroundings<'_>,
) -> Vec<RouteSettings> {
    let entries =
        root.get("routes").and_then(|value| value.entries("write [routes.NAME]")).unwrap_or_default();
    if entries.is_empty() {
        root.walk.mistake_of_whole(
            root.place_of("routes"),
            "there is no route, so every request would get 404",
            "write [routes.everything] with path = \"/*\" and proxy_to = \"http://127.0.0.1:3000\"",
        );
    }
    let mut routes = Vec::with_capacity(entries.len());
    let mut sketches = Vec::with_capacity(entries.len());
    for (name, span, value) in entries {
        if let Some(message) = name_mistake(name) {
            value.walk.mistake(span.clone(), message, "");
        }
        let Some(table) = value.table(format!("[routes.{name}]"), &schema::ROUTE, "write [routes.NAME]")
        else {
            continue;
        };
        let (sketch, route) = route(name, span, table, context, around);
        sketches.extend(sketch);
        routes.extend(route);
    }
    report_conflicts(root.walk, &sketches);
    routes
}

/// Routes that equal each other or can never be reached, both places named.
fn report_conflicts(walk: &Walk, sketches: &[Sketch]) {
    let keys = sketches.iter().map(|sketch| RouteKey {
        name: &sketch.name,
        path: &sketch.path,
        host: sketch.host.as_deref(),
        methods: sketch.methods.as_deref(),
        reserved: sketch.delivers,
    });
    for conflict in Router::new(keys).err().into_iter().flatten() {
        let span_of = |position: usize| sketches.get(position).map(|sketch| sketch.span.clone());
        let other = conflict.other.and_then(span_of).map(|span| (span, "the other one is at"));
        let span = span_of(conflict.route).unwrap_or_default();
        walk.push(span, conflict.message, conflict.hint.to_owned(), other, Scope::Whole);
    }
}

fn route(
    name: &str,
    span: Range<usize>,
    table: Table<'_>,
    context: &Context<'_>,
    around: &Surroundings<'_>,
) -> (Option<Sketch>, Option<RouteSettings>) {
    let path = table
        .require("path", "write path = \"/webhooks/NAME\", or \"/*\" for everything")
        .and_then(read_path);
    let host = table.get("host").map(read_host);
    let methods = table.get("methods").map(read_methods);
    let [rate, rate_per_ip] = ["rate", "rate_per_ip"].map(|key| table.get(key).and_then(Value::rate));
    let delivers = table.get("deliver_to").is_some();
    let allow_ips = table.get("allow_ips").map(|value| read_allow_ips(value, name, delivers));
    let action = action(name, &table, context, around);
    table.done();
    // What is left out has a default; what was mistyped has none.
    let host = optional(host);
    let methods = match methods {
        Some(typed) => typed.map(Some),
        None => Some(delivers.then(|| {
            let brought = match &action {
                Some(Action::Deliver(corridor)) => &corridor.challenge_methods[..],
                _ => &[],
            };
            std::iter::once("POST".to_owned()).chain(brought.iter().cloned()).collect()
        })),
    };
    let (Some(path), Some(host), Some(methods)) = (path, host, methods) else { return (None, None) };
    let route = match (optional(allow_ips), action) {
        (Some(allow_ips), Some(action)) => Some(RouteSettings {
            name: Arc::from(name),
            path: path.clone(),
            host: host.clone(),
            methods: methods.clone(),
            allow_ips,
            rate,
            rate_per_ip,
            action,
        }),
        _ => None,
    };
    (Some(Sketch { span, name: name.to_owned(), path, host, methods, delivers }), route)
}

/// `None` where something is written that is wrong.
fn optional<T>(typed: Option<Option<T>>) -> Option<Option<T>> {
    match typed {
        Some(None) => None,
        Some(right) => Some(right),
        None => Some(None),
    }
}

fn action(name: &str, table: &Table<'_>, context: &Context<'_>, around: &Surroundings<'_>) -> Option<Action> {
    match (table.get("deliver_to"), table.get("proxy_to")) {
        (Some(_), Some(proxy_to)) => {
            proxy_to.mistake("a route has `deliver_to` or `proxy_to`, not both", "make two routes of it");
            corridor::touch(table);
            None
        }
        (None, None) if table.is_misspelled("deliver_to") || table.is_misspelled("proxy_to") => {
            corridor::touch(table);
            None
        }
        (None, None) => {
            table.walk.mistake_of_whole(
                table.span(),
                format!("{} has neither `deliver_to` nor `proxy_to`", table.name),
                "write deliver_to = [\"app\"] to check, keep and deliver, or proxy_to = \"http://…\" to stream through",
            );
            corridor::touch(table);
            None
        }
        (Some(deliver_to), None) => {
            refuse_keys(table, &schema::PROXY_ONLY, "deliver_to");
            let corridor = Corridor { name, table, context, around };
            corridor.read(deliver_to).map(|settings| Action::Deliver(Box::new(settings)))
        }
        (None, Some(proxy_to)) => {
            refuse_keys(table, &schema::DELIVER_ONLY, "proxy_to");
            corridor::touch(table);
            proxy(proxy_to, table, around).map(Action::Proxy)
        }
    }
}

fn refuse_keys(table: &Table<'_>, keys: &[&'static str], kind: &str) {
    for key in keys {
        if let Some(value) = table.get(key) {
            value.mistake(format!("`{key}` means nothing on a `{kind}` route"), "leave it out");
        }
    }
}

fn read_host(value: Value<'_>) -> Option<String> {
    let text = value.str("write it like \"hooks.example.com\"")?;
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let right = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => url::name(text).is_ok(),
    };
    if right {
        return Some(text.to_ascii_lowercase());
    }
    let help = if text.contains("://") {
        "leave the scheme out"
    } else if text.contains('*') {
        "patterns are not supported: write a route for each host, or leave `host` out for any"
    } else if text.contains(':') {
        "leave the port out: a host matches on every port"
    } else {
        "write it like \"hooks.example.com\""
    };
    value.mistake(format!("{text:?} is not a host"), help);
    None
}

fn read_methods(value: Value<'_>) -> Option<Vec<String>> {
    let items = value.strings("write a list: [\"POST\"]")?;
    if items.is_empty() {
        value.mistake("a route without methods answers nothing", "write [\"POST\"]");
        return None;
    }
    let mut methods = Vec::with_capacity(items.len());
    for (text, item) in items {
        if !is_token(text.as_bytes()) || text.bytes().any(|b| b.is_ascii_lowercase()) {
            item.mistake(
                format!("{text:?} is not a method"),
                format!("methods are upper case: {:?}", text.trim().to_ascii_uppercase()),
            );
        } else if text == "CONNECT" {
            item.mistake("CONNECT opens tunnels, which hooklatch never does", "leave it out");
        } else {
            methods.push(text.to_owned());
        }
    }
    Some(methods)
}

/// A list of addresses, or `{ list = […], shadow = true }`.
fn read_allow_ips(value: Value<'_>, name: &str, delivers: bool) -> Option<AllowIps> {
    if !value.is_table() {
        return read_list(value);
    }
    let help = "write a list, or { list = [\"@github\"], shadow = true }";
    let table = value.table(format!("allow_ips of [routes.{name}]"), &schema::ALLOW_IPS, help)?;
    let list = table.require("list", "write list = [\"@github\"]").and_then(read_list);
    let shadow = table.get("shadow").and_then(|value| Some((value, value.bool()?)));
    table.done();
    if let Some((value, true)) = shadow
        && !delivers
    {
        value.mistake(
            "what passes through is not checked, so nothing can be told of who is not on the list",
            "leave `shadow` out",
        );
    }
    Some(AllowIps { shadow: shadow.is_some_and(|(_, shadow)| shadow), ..list? })
}

fn read_list(value: Value<'_>) -> Option<AllowIps> {
    let items = value.strings("write a list: [\"192.30.252.0/22\"]")?;
    if items.is_empty() {
        value.mistake("an empty allowlist refuses everybody", "leave `allow_ips` out for any address");
        return None;
    }
    let (mut fixed, mut lists, mut complete) = (Vec::with_capacity(items.len()), Vec::new(), true);
    for (text, item) in items {
        match text.strip_prefix('@') {
            Some(name) => match published(name, item) {
                Some(list) => lists.push(list),
                None => complete = false,
            },
            None => fixed.push((text, item)),
        }
    }
    match IpSet::parse(fixed.iter().map(|(text, _)| *text)) {
        Ok(fixed) => complete.then_some(AllowIps { fixed, lists, shadow: false }),
        Err(_) => {
            for (text, item) in fixed {
                let _ = checked_address(text, item);
            }
            None
        }
    }
}

/// A provider's list of its own addresses.
fn published(name: &str, item: Value<'_>) -> Option<Arc<IpList>> {
    let lists = IpLists::shipped();
    if let Some(list) = lists.get(name) {
        return Some(Arc::clone(list));
    }
    let help = match lists.nearest(name) {
        Some(near) => format!("did you mean \"@{near}\"?"),
        None => {
            let names: Vec<String> = lists.names().map(|name| format!("\"@{name}\"")).collect();
            format!("there are {}; for others write the addresses", names.join(", "))
        }
    };
    item.mistake(format!("there is no list {:?}", format!("@{name}")), help);
    None
}

fn proxy(value: Value<'_>, table: &Table<'_>, around: &Surroundings<'_>) -> Option<ProxySettings> {
    let text = value.str("write a URL, \"http://127.0.0.1:3000\", or a destination's name")?;
    let is_url = text.contains("://") || text.starts_with("unix:");
    let max_body = table.get("max_body").map(|value| (value, value.size()));
    if let Some((value, Some(0))) = max_body {
        value.mistake("no body at all could pass", "leave `max_body` out for no limit");
    }
    let mut idle_timeout = Duration::from_secs(300);
    if let Some(value) = table.get("idle_timeout") {
        set(&mut idle_timeout, value.duration());
        if idle_timeout.is_zero() {
            value.mistake(
                "a connection that may not be idle at all cannot be used",
                "write a duration like \"5m\"",
            );
        }
    }
    let defaults = DestinationOptions::new(Arc::from(""), Endpoint::Http { host: String::new(), port: 80 });
    let (upstreams, options) = if is_url {
        let address = read_url(value)?;
        if address.path.is_some() {
            value.mistake(
                "a `proxy_to` URL has no path: the request's own path is kept",
                "leave the path out",
            );
            return None;
        }
        (vec![upstream_of(address.place)], defaults)
    } else {
        let Some(destination) = around.destinations.get(text) else {
            dangling(value, text, around.destinations, "or write a URL: \"http://127.0.0.1:3000\"");
            return None;
        };
        destination.used.set(true);
        let options = destination.settings.as_deref()?;
        if options.places().iter().any(|place| place.path.is_some()) {
            value.mistake(
                format!(
                    "the destination `{text}` has a path in its `url`; a pass-through keeps the request's own"
                ),
                "write a URL without a path here, or make a destination without one",
            );
            return None;
        }
        (
            options.places().iter().map(|place| upstream_of_endpoint(&place.endpoint)).collect(),
            options.clone(),
        )
    };
    let https = upstreams.iter().any(|upstream| matches!(upstream, Upstream::Tcp { tls: true, .. }));
    let rule = options.host.unwrap_or(if https { HostRule::Destination } else { HostRule::Keep });
    Some(ProxySettings {
        upstreams,
        destination: (!is_url).then(|| text.into()),
        tls: UpstreamTls::from(&options.tls),
        keep_host: rule == HostRule::Keep,
        connect_timeout: options.connect_timeout,
        idle_timeout,
        keepalive: options.keepalive,
        max_body: max_body.and_then(|(_, size)| size),
    })
}

fn upstream_of(place: Place) -> Upstream {
    match place {
        Place::Tcp { host, port, tls } => Upstream::Tcp { host, port, tls },
        Place::Unix(path) => Upstream::Unix(path),
    }
}

fn upstream_of_endpoint(endpoint: &Endpoint) -> Upstream {
    match endpoint.clone() {
        Endpoint::Http { host, port } => Upstream::Tcp { host, port, tls: false },
        Endpoint::Https { host, port } => Upstream::Tcp { host, port, tls: true },
        Endpoint::Unix { path } => Upstream::Unix(path),
    }
}

/// Reports a name that is no destination's.
pub(super) fn dangling(value: Value<'_>, name: &str, destinations: &Destinations<'_>, otherwise: &str) {
    let help = match nearest(name, destinations.keys().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None if otherwise.is_empty() => {
            format!("write [destinations.{}] with its `url`", name.escape_debug())
        }
        None => format!("write [destinations.{}] with its `url`, {otherwise}", name.escape_debug()),
    };
    value.walk.mistake_of_whole(value.span(), format!("there is no destination {name:?}"), help);
}
