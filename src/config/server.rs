//! `[server]`, `[listeners.NAME]`, `[dedupe]`, `[admin]`, `[metrics]` and `[log]`.

use std::path::PathBuf;
use std::time::Duration;

use super::schema;
use super::walk::{Table, Value, set};
use super::{Context, name_mistake, regions, secrets, url};
use crate::admin::{AdminListen, AdminOptions, AdminSettings};
use crate::dedupe::{DedupeOptions, DedupeSettings};
use crate::event::Region;
use crate::headers::is_token;
use crate::ingress::{
    ListenAddress, Listener, RejectedOptions, RejectedSettings, ServerOptions, ServerSettings, TrustedProxies,
};
use crate::net::IpSet;
use crate::observe::LogOptions;

/// What `"@private"` stands for: RFC 1918, loopback, unique local addresses (RFC 4193).
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "::1/128", "fc00::/7"];

/// The server's settings, and its listeners by the key that names them (a reload compares them).
pub(super) struct Server<'a> {
    pub(super) settings: Option<ServerSettings>,
    pub(super) options: ServerOptions,
    pub(super) listen: Vec<Listener>,
    pub(super) long: Vec<Listener>,
    /// `region`, with its place.
    pub(super) region: Option<(Region, Value<'a>)>,
}

/// Reads `[server]` and `[listeners.NAME]`.
pub(super) fn server<'a>(root: &Table<'a>, context: &Context<'_>) -> Server<'a> {
    let table = section(root, "server", &schema::SERVER);
    let mut options = ServerOptions::default();
    options.max_inflight_bytes = context.environment.share(options.max_inflight_bytes, options.max_body);
    let short = table.get("listen").map(short_listeners);
    let long = root.get("listeners").map(long_listeners).unwrap_or_default();
    let listen = match short {
        Some(Some(listen)) => listen,
        None if !long.is_empty() => Vec::new(),
        _ => std::mem::take(&mut options.listeners),
    };
    let long = without_twins(long, &listen);
    options.listeners = listen.iter().chain(&long).cloned().collect();
    if options.listeners.is_empty() {
        table.walk.mistake_of_whole(
            table.place_of("listen"),
            "there is nothing to listen on",
            "write listen = [\"127.0.0.1:8080\"]",
        );
    }
    set(&mut options.workers, table.get("workers").and_then(|value| Some(value.integer(0..=1024)? as usize)));
    set(
        &mut options.max_connections,
        table.get("max_connections").and_then(|value| Some(value.integer(1..=10_000_000)? as usize)),
    );
    set(
        &mut options.max_headers,
        table.get("max_headers").and_then(|value| Some(value.integer(1..=10_000)? as usize)),
    );
    for (key, slot) in [
        ("header_timeout", &mut options.header_timeout),
        ("body_timeout", &mut options.body_timeout),
        ("keepalive_timeout", &mut options.keepalive_timeout),
        ("ack_timeout", &mut options.ack_timeout),
        ("shutdown_delay", &mut options.shutdown_delay),
        ("drain_timeout", &mut options.drain_timeout),
    ] {
        set(slot, table.get(key).and_then(Value::duration));
    }
    set(&mut options.max_head, table.get("max_head").and_then(Value::small_size));
    set(&mut options.max_uri, table.get("max_uri").and_then(Value::small_size));
    set(&mut options.max_inflight_bytes, table.get("max_inflight_bytes").and_then(Value::size));
    set(&mut options.max_body, table.get("max_body").and_then(Value::size));
    set(&mut options.trusted_proxies, table.get("trusted_proxies").and_then(trusted_proxies));
    set(&mut options.client_ip_header, table.get("client_ip_header").and_then(header_name));
    options.public_url = table.get("public_url").and_then(|value| origin(value));
    let settings = ServerSettings::new(options.clone()).map_err(|complaints| table.invalid(complaints)).ok();
    let region = regions::near(&table);
    table.done();
    Server { settings, options, listen, long, region }
}

/// A table at the top of the file, or its absence.
pub(super) fn section<'a>(root: &Table<'a>, key: &'static str, schema: &'static schema::Schema) -> Table<'a> {
    let name = format!("[{key}]");
    let missing = || Table::new(root.walk, None, root.span(), name.clone(), schema);
    match root.get(key) {
        Some(value) => {
            value.table(name.clone(), schema, &format!("write a table: [{key}]")).unwrap_or_else(missing)
        }
        None => missing(),
    }
}

/// `None` where there are mistakes.
fn short_listeners(value: Value<'_>) -> Option<Vec<Listener>> {
    let items = value.strings("write a list: [\"127.0.0.1:8080\"]")?;
    let count = value.array("").map_or(0, |items| items.len());
    let mut listeners: Vec<Listener> = Vec::with_capacity(items.len());
    for (text, item) in items {
        let Some(address) = listen_address(text, item) else { continue };
        if listeners.iter().any(|other| same_place(&other.address, &address)) {
            item.mistake(format!("{text:?} stands in this list twice"), "leave one of them out");
        }
        listeners.push(Listener { address, mode: None });
    }
    (listeners.len() == count).then_some(listeners)
}

/// Port 0 lets the system choose, each time another one.
fn same_place(one: &ListenAddress, other: &ListenAddress) -> bool {
    one == other && !matches!(one, ListenAddress::Tcp(address) if address.ends_with(":0"))
}

fn long_listeners<'a>(value: Value<'a>) -> Vec<(Listener, Value<'a>)> {
    let mut listeners = Vec::new();
    for (name, span, value) in value.entries("write [listeners.NAME]").unwrap_or_default() {
        if let Some(message) = name_mistake(name) {
            value.walk.mistake(span, message, "");
            continue;
        }
        let Some(table) =
            value.table(format!("[listeners.{name}]"), &schema::LISTENER, "write [listeners.NAME]")
        else {
            continue;
        };
        let address =
            table.require("address", "write address = \"0.0.0.0:8080\" or \"unix:PATH\"").and_then(|value| {
                listen_address(value.str("write it like \"0.0.0.0:8080\" or \"unix:PATH\"")?, value)
            });
        let mode = table.get("mode").and_then(|value| {
            if matches!(address, Some(ListenAddress::Tcp(_))) {
                value.mistake(
                    "`mode` is the mode of a socket's file; a TCP listener has none",
                    "leave it out",
                );
                return None;
            }
            let text = value.str("write it in octal, like \"0660\"")?;
            let octal =
                text.len() <= 4 && !text.is_empty() && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777);
            if mode.is_none() {
                value.mistake("this is no file mode", "write it in octal, like \"0660\"");
            }
            mode
        });
        table.done();
        listeners.extend(address.map(|address| (Listener { address, mode }, value)));
    }
    listeners
}

/// The listeners of the long form; one that listens where another does is a mistake.
fn without_twins(long: Vec<(Listener, Value<'_>)>, short: &[Listener]) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::with_capacity(long.len());
    for (listener, value) in long {
        if short.iter().chain(&listeners).any(|other| same_place(&other.address, &listener.address)) {
            value.mistake("another listener has this address", "leave one of them out");
        }
        listeners.push(listener);
    }
    listeners
}

fn listen_address(text: &str, value: Value<'_>) -> Option<ListenAddress> {
    const HELP: &str = "write it like \"0.0.0.0:8080\", \"[::]:8080\" or \"unix:/run/hooklatch.sock\"";
    if let Some(path) = text.strip_prefix("unix:") {
        let right = !path.is_empty() && !path.starts_with("//") && path.len() <= 107 && !path.contains('\0');
        if !right {
            value.mistake(
                "a unix socket needs a path of 1 to 107 bytes",
                "write it like \"unix:/run/hooklatch.sock\"",
            );
        }
        return right.then(|| ListenAddress::Unix(PathBuf::from(path)));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        let help = if text.parse::<u16>().is_ok() {
            format!("write \"127.0.0.1:{text}\", or \"0.0.0.0:{text}\" for every address of this machine")
        } else {
            HELP.to_owned()
        };
        value.mistake(format!("{text:?} has no port"), help);
        return None;
    };
    if host.is_empty() {
        value.mistake(
            format!("{text:?} has no host"),
            format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for every address of this machine"),
        );
        return None;
    }
    let port_right = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let host_right = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => url::name(host).is_ok(),
    };
    if !(port_right && host_right) {
        value.mistake(format!("{text:?} is not an address to listen on"), HELP);
        return None;
    }
    Some(ListenAddress::Tcp(text.to_owned()))
}

fn trusted_proxies(value: Value<'_>) -> Option<TrustedProxies> {
    let items = value.strings("write a list: [\"10.0.0.0/8\"]")?;
    let mut unix = false;
    let mut texts = Vec::with_capacity(items.len());
    for (text, item) in items {
        match text {
            "unix" => unix = true,
            "@private" => texts.extend(PRIVATE),
            _ if text.starts_with('@') => {
                item.mistake(format!("{text:?} is not a set of addresses"), "there is \"@private\"");
            }
            _ => texts.extend(checked_address(text, item)),
        }
    }
    Some(TrustedProxies { addresses: IpSet::parse(texts).ok()?, unix })
}

/// `text`, if it is an address or a CIDR.
pub(super) fn checked_address<'t>(text: &'t str, item: Value<'_>) -> Option<&'t str> {
    match IpSet::parse([text]) {
        Ok(_) => Some(text),
        Err(error) => {
            item.mistake(error.to_string(), "");
            None
        }
    }
}

fn header_name(value: Value<'_>) -> Option<String> {
    let text = value.str("write a header's name, like \"x-forwarded-for\"")?;
    if !is_token(text.as_bytes()) {
        value.mistake(format!("{text:?} is not a header's name"), "write it like \"x-forwarded-for\"");
        return None;
    }
    Some(text.to_ascii_lowercase())
}

/// `server.public_url`: scheme and host, no path; without a `/` at the end.
fn origin(value: Value<'_>) -> Option<String> {
    let text = public_url(value, "write it like \"https://hooks.example.com\"")?;
    let trimmed = text.trim_end_matches('/');
    if trimmed.matches('/').count() > 2 {
        value.mistake(
            "`public_url` of the server is scheme and host, the path comes from the request",
            "a route may set its own whole `public_url`",
        );
        return None;
    }
    Some(trimmed.to_owned())
}

/// A URL as senders see it.
pub(super) fn public_url<'a>(value: Value<'a>, help: &str) -> Option<&'a str> {
    let text = value.str(help)?;
    let authority_and_path = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = authority_and_path else {
        value.mistake("a public URL begins with https:// or http://", help);
        return None;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let wrong = if !text.bytes().all(|b| b.is_ascii_graphic()) {
        Some("a URL has neither blanks nor characters beyond ASCII")
    } else if authority.contains('@') {
        Some("a public URL has no user name")
    } else if text.contains('#') {
        Some("a fragment is never sent")
    } else {
        url::host_and_port(authority, 443).err().map(|(message, _)| message)
    };
    if let Some(message) = wrong {
        value.mistake(message, help);
        return None;
    }
    Some(text)
}

/// Reads `[dedupe]`.
pub(super) fn dedupe(root: &Table<'_>) -> (Option<DedupeSettings>, DedupeOptions) {
    let table = section(root, "dedupe", &schema::DEDUPE);
    let mut options = DedupeOptions::default();
    set(&mut options.ttl, table.get("ttl").and_then(Value::duration));
    let max_ids = table.get("max_ids").and_then(|value| value.integer(1..=u64::from(u32::MAX)));
    set(&mut options.max_ids, max_ids.and_then(|ids| u32::try_from(ids).ok()));
    let settings = DedupeSettings::new(options.clone()).map_err(|complaints| table.invalid(complaints)).ok();
    table.done();
    (settings, options)
}

/// Reads `[rejected]`.
pub(super) fn rejected(root: &Table<'_>) -> Option<RejectedSettings> {
    let table = section(root, "rejected", &schema::REJECTED);
    let mut options = RejectedOptions::default();
    let max_events = table.get("max_events").and_then(|value| value.integer(0..=100_000));
    set(&mut options.max_events, max_events.and_then(|events| usize::try_from(events).ok()));
    set(&mut options.max_bytes, table.get("max_bytes").and_then(Value::size));
    set(&mut options.retention, table.get("retention").and_then(Value::duration));
    let settings = RejectedSettings::new(options).map_err(|complaints| table.invalid(complaints)).ok();
    table.done();
    settings
}

/// Reads `[ip_lists]`.
pub(super) fn refresh_ip_lists(root: &Table<'_>) -> Duration {
    const LEAST: Duration = Duration::from_secs(600);
    let table = section(root, "ip_lists", &schema::IP_LISTS);
    let mut refresh = Duration::from_secs(24 * 3600);
    if let Some(value) = table.get("refresh") {
        set(&mut refresh, value.duration());
        if !refresh.is_zero() && refresh < LEAST {
            value.mistake("providers' lists are asked for at most every ten minutes", "write \"24h\"");
        }
    }
    table.done();
    refresh
}

/// Reads `[admin]` and `[metrics]`.
pub(super) fn admin(root: &Table<'_>, context: &Context<'_>) -> Option<AdminSettings> {
    let table = section(root, "admin", &schema::ADMIN);
    let metrics = section(root, "metrics", &schema::METRICS);
    let mut options = AdminOptions::default();
    let listen =
        table.get("listen").and_then(|value| Some((value, value.str("write it like \"127.0.0.1:4665\"")?)));
    if let Some((value, text)) = listen {
        options.listen = AdminListen::parse(text);
        warn_of_public_address(value, text);
    }
    let token = |key: &'static str| -> Option<crate::secret::Secret> {
        let value = table.get(key)?;
        secrets::secret(value, &format!("admin.{key}"), 1, context)?.secret
    };
    options.token = token("token");
    options.read_token = token("read_token");
    let metrics_value = metrics.get("listen").and_then(|value| value.str("write it like \"127.0.0.1:9090\""));
    options.metrics_listen = metrics_value.filter(|text| !text.is_empty()).map(str::to_owned);
    let settings = AdminSettings::new(options).map_err(|complaints| {
        let (of_metrics, of_admin): (Vec<_>, Vec<_>) =
            complaints.into_iter().partition(|complaint| complaint.key.starts_with("metrics."));
        table.invalid(of_admin);
        metrics.invalid(
            of_metrics
                .into_iter()
                .map(|complaint| crate::units::Invalid { key: "listen", ..complaint })
                .collect(),
        );
    });
    table.done();
    metrics.done();
    settings.ok()
}

fn warn_of_public_address(value: Value<'_>, text: &str) {
    let host = text.rsplit_once(':').map_or(text, |(host, _)| host).trim_matches(['[', ']']);
    let local = match host.parse::<std::net::IpAddr>() {
        Ok(address) => IpSet::parse(PRIVATE).is_ok_and(|set| set.contains(address)),
        Err(_) => true,
    };
    if !local {
        value.walk.warn(
            value.span(),
            "the admin API listens on an address that strangers may reach, without TLS",
            "listen on \"127.0.0.1:4665\" or on a unix socket; for metrics alone there is `metrics.listen`",
        );
    }
}

/// Reads `[log]`.
pub(super) fn log(root: &Table<'_>) -> LogOptions {
    let table = section(root, "log", &schema::LOG);
    let mut options = LogOptions::default();
    set(
        &mut options.format,
        table.get("format").and_then(|value| value.word(&["json", "text"])?.parse().ok()),
    );
    let levels = ["error", "warn", "info", "debug", "trace"];
    set(&mut options.level, table.get("level").and_then(|value| value.word(&levels)?.parse().ok()));
    table.done();
    options
}
