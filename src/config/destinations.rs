//! `[destinations.NAME]`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::pace::{self, Names};
use super::schema;
use super::url;
use super::walk::{Table, Value, set};
use super::{Context, batch, name_mistake, regions, secrets, tls};
use crate::buffer::MaxPending;
use crate::delivery::{
    DestinationOptions, DestinationSettings, Endpoint, HeaderValueSetting, HostRule, Place,
};
use crate::event::Region;
use crate::headers::{HOP_BY_HOP, is_token};

/// A destination as it was read.
pub(super) struct Read {
    /// Where its name stands.
    pub(super) span: Range<usize>,
    /// `None` where it has mistakes of its own.
    pub(super) settings: Option<DestinationSettings>,
    /// Whether it has `sign`, also where secrets are not read.
    pub(super) signs: bool,
    /// Whether that is `sign = "provider"`.
    pub(super) signs_as_provider: bool,
    /// Whether a route names it.
    pub(super) used: std::cell::Cell<bool>,
}

/// The destinations by name; those with mistakes too, so that a route that names one is not called dangling.
pub(super) type Destinations<'a> = BTreeMap<&'a str, Read>;

/// Reads `[destinations]`.
pub(super) fn destinations<'a>(
    root: &Table<'a>,
    context: &Context<'_>,
    near: Option<(Region, Value<'_>)>,
) -> Destinations<'a> {
    let mut all = Destinations::new();
    let entries = root.get("destinations").and_then(|value| value.entries("write [destinations.NAME]"));
    let entries = entries.unwrap_or_default();
    let names =
        Names { present: entries.iter().map(|(name, ..)| *name).collect(), former: RefCell::default() };
    for (name, span, value) in entries {
        if let Some(message) = name_mistake(name) {
            value.walk.mistake(span.clone(), message, "");
        }
        let near = near.map(|(near, _)| near);
        let (settings, signs) = destination(name, value, &names, context, near).unwrap_or_default();
        let signs_as_provider = settings.as_ref().is_some_and(|settings| settings.sign_as_provider);
        all.insert(
            name,
            Read { span, settings, signs, signs_as_provider, used: std::cell::Cell::new(false) },
        );
    }
    let settings = all.values().filter_map(|read| read.settings.as_ref());
    let regions: Vec<Place> = settings.flat_map(|settings| settings.regions.clone()).collect();
    regions::warn_of_unknown(near, &regions);
    all
}

/// The settings, and whether there is a `sign`.
fn destination<'a>(
    name: &str,
    value: Value<'a>,
    names: &Names<'a>,
    context: &Context<'_>,
    near: Option<Region>,
) -> Option<(Option<DestinationSettings>, bool)> {
    let table =
        value.table(format!("[destinations.{name}]"), &schema::DESTINATION, "write [destinations.NAME]")?;
    let regions = table.get("regions").map(|value| regions::read(value, name, near));
    let address = match regions {
        None => table
            .require("url", "write url = \"http://127.0.0.1:3000\" or \"unix:/run/app.sock\"")
            .and_then(read_url),
        Some(_) => {
            let hint = "leave one of them out";
            table
                .get("url")
                .inspect(|url| url.mistake("a destination has a `url` or `regions`, not both", hint));
            None
        }
    };
    let mut options =
        DestinationOptions::new(Arc::from(name), Endpoint::Http { host: "localhost".to_owned(), port: 80 });
    let is_somewhere = address.is_some() || matches!(regions, Some(Some(_)));
    if let Some(address) = address {
        options.endpoint = endpoint(&address.place);
        options.path = address.path;
    }
    set(&mut options.regions, regions.flatten());
    options.host = table
        .get("host")
        .and_then(|value| value.word(&["keep", "destination"]))
        .map(|word| if word == "keep" { HostRule::Keep } else { HostRule::Destination });
    for (key, slot) in [
        ("timeout", &mut options.timeout),
        ("connect_timeout", &mut options.connect_timeout),
        ("keepalive", &mut options.keepalive),
    ] {
        set(slot, table.get(key).and_then(Value::duration));
    }
    let concurrency = table.get("concurrency").and_then(|value| value.integer(1..=1024));
    set(&mut options.concurrency, concurrency.and_then(|count| u32::try_from(count).ok()));
    let tls = table.get("tls").and_then(|value| tls::read(value, &table, name, context));
    set(&mut options.tls, tls);
    let sign_value = table.get("sign");
    let signs = sign_value.is_some();
    options.sign_as_provider = sign_value.and_then(Value::as_str) == Some("provider");
    set(&mut options.sign, sign_value.and_then(|value| sign(value, name, context)));
    set(&mut options.headers, table.get("headers").and_then(|value| headers(value, name, signs, context)));
    pace::read(&table, name, names, &mut options);
    options.batch = table.get("batch").and_then(|value| batch::read(value, name));
    set(&mut options.max_pending, table.get("max_pending").and_then(|value| max_pending(value, name)));
    let settings = DestinationSettings::new(options).map_err(|complaints| table.invalid(complaints)).ok();
    table.done();
    Some((settings.filter(|_| is_somewhere), signs))
}

/// Reads the URL of an app.
pub(super) fn read_url(value: Value<'_>) -> Option<url::Address> {
    let text = value.str("write it like \"http://127.0.0.1:3000\" or \"unix:/run/app.sock\"")?;
    match url::parse(text) {
        Ok(address) => Some(address),
        Err((message, help)) => {
            value.mistake(message, help);
            None
        }
    }
}

/// Where the address of a URL is.
pub(super) fn endpoint(place: &url::Place) -> Endpoint {
    match place.clone() {
        url::Place::Tcp { host, port, tls: false } => Endpoint::Http { host, port },
        url::Place::Tcp { host, port, tls: true } => Endpoint::Https { host, port },
        url::Place::Unix(path) => Endpoint::Unix { path },
    }
}

fn sign(value: Value<'_>, name: &str, context: &Context<'_>) -> Option<Vec<crate::secret::Secret>> {
    if value.as_str() == Some("provider") {
        return None;
    }
    let found = secrets::list(value, &format!("destinations.{name}.sign"), context)?;
    Some(found.into_iter().filter_map(|found| found.secret).collect())
}

/// Headers that belong to the connection or are set by hooklatch itself.
fn is_reserved(name: &str, signs: bool) -> bool {
    HOP_BY_HOP.contains(&name)
        || matches!(
            name,
            "content-length" | "host" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host"
        )
        || name.starts_with("hooklatch-")
        || (signs && matches!(name, "webhook-id" | "webhook-timestamp" | "webhook-signature"))
}

fn headers(
    value: Value<'_>,
    destination: &str,
    signs: bool,
    context: &Context<'_>,
) -> Option<Vec<(String, HeaderValueSetting)>> {
    let entries = value.entries("write headers = { authorization = { env = \"APP_AUTH\" } }")?;
    let mut headers: Vec<(String, HeaderValueSetting)> = Vec::with_capacity(entries.len());
    for (name, span, value) in entries {
        let lower = name.to_ascii_lowercase();
        if !is_token(name.as_bytes()) {
            value.walk.mistake(span, format!("{name:?} is not a header's name"), "");
            continue;
        }
        if is_reserved(&lower, signs) {
            let help = if lower == "host" { "there is the destination's key `host`" } else { "leave it out" };
            value.walk.mistake(
                span,
                format!("`{name}` is a header that hooklatch sets or removes itself"),
                help,
            );
            continue;
        }
        if headers.iter().any(|(other, _)| *other == lower) {
            value.walk.mistake(
                span,
                format!("the header `{name}` stands here twice"),
                "leave one of them out",
            );
            continue;
        }
        let setting = if value.is_table() {
            let key = format!("destinations.{destination}.headers.{lower}");
            let Some(found) = secrets::secret(value, &key, 1, context) else { continue };
            let Some(secret) = found.secret else { continue };
            if http::HeaderValue::from_bytes(secret.expose()).is_err() {
                value.mistake(
                    "this secret cannot stand in a header: it holds a line break or a control character",
                    "",
                );
                continue;
            }
            HeaderValueSetting::Secret(secret)
        } else {
            let help = "write a string, or a secret like { env = \"APP_AUTH\" }";
            let Some(text) = value.str(help) else { continue };
            if http::HeaderValue::from_str(text).is_err() {
                value.mistake(
                    "this cannot stand in a header: only visible ASCII characters and blanks may",
                    "",
                );
                continue;
            }
            HeaderValueSetting::Plain(text.to_owned())
        };
        headers.push((lower, setting));
    }
    Some(headers)
}

fn max_pending(value: Value<'_>, name: &str) -> Option<MaxPending> {
    let name = format!("max_pending of [destinations.{name}]");
    let table = value.table(
        name,
        &schema::MAX_PENDING,
        "write max_pending = { events = 1000, bytes = \"16MiB\" }",
    )?;
    let events = table.get("events").and_then(|value| value.integer(1..=1_000_000_000));
    let bytes = table.get("bytes").and_then(|value| {
        let bytes = value.size()?;
        if bytes == 0 {
            value.mistake("no room at all would refuse every event", "leave it out for the buffer's share");
        }
        Some(bytes)
    });
    let says_nothing =
        ["events", "bytes"].iter().all(|key| table.get(key).is_none() && !table.is_misspelled(key));
    if says_nothing {
        value.mistake(
            "`max_pending` says neither `events` nor `bytes`",
            "write max_pending = { events = 1000 }",
        );
    }
    table.done();
    Some(MaxPending { events, bytes })
}
