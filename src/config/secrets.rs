//! Secrets as the configuration names them.

mod store;

use std::path::PathBuf;
use std::time::Duration;

use super::schema;
use super::walk::{Table, Value};
use super::{Context, name_mistake};
use crate::clock::Millis;
use crate::ingress::Capture;
use crate::secret::{Secret, Source};
use store::{Held, Loaded, is_there};

pub use store::{SecretStore, Stamp};

/// A secret that the configuration names, for the admin API: everything but its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretUse {
    /// The key that names it, `"routes.github.secrets"`.
    pub key: String,
    /// The user's name for it, or its position from 1.
    pub name: String,
    /// Where it is read from, `env = "X"`; a value's text is not part of it.
    pub source: String,
    /// When it was read; later reads of the same value do not move it.
    pub loaded_at: Millis,
}

/// A secret as it was read.
pub(super) struct Found {
    pub(super) name: Option<String>,
    /// `None` where secrets are not read, and where it is awaited.
    pub(super) secret: Option<Secret>,
    /// The provider is to hand it over.
    pub(super) awaited: Option<Capture>,
    /// It is on trial: verified and counted, not accepted.
    pub(super) shadow: bool,
}

/// What the secrets of a route may be, beside what all secrets may.
#[derive(Default)]
pub(super) struct OfRoute {
    /// Where the one lies that its provider hands over; `None` where it hands over none.
    pub(super) captured: Option<PathBuf>,
}

/// The longest time in which a provider may hand over its secret.
const LONGEST_CAPTURE: Duration = Duration::from_secs(24 * 3600);

const HELP: &str =
    "write it like { env = \"NAME\" }, { file = \"PATH\" }, { credential = \"NAME\" } or { value = \"…\" }";

/// Reads one `{ env = … }`. `key` is the key that names it, `position` its place in the list, from 1.
pub(super) fn secret(value: Value<'_>, key: &str, position: usize, context: &Context<'_>) -> Option<Found> {
    read(value, key, position, context, None)
}

fn read(
    value: Value<'_>,
    key: &str,
    position: usize,
    context: &Context<'_>,
    route: Option<&OfRoute>,
) -> Option<Found> {
    if !value.is_table() {
        // Its text may be the secret itself, so it is not repeated.
        value.mistake("a secret is a table that says where it is", HELP);
        return None;
    }
    let table = value.table(format!("a secret of {key}"), &schema::SECRET, "")?;
    let elsewhere = ["env", "file", "credential", "value"].map(|key| table.get(key).is_some());
    let source = match table.get("captured") {
        Some(window) => captured(window, elsewhere.contains(&true), route),
        None => source(&table, context).map(|source| (source, None)),
    };
    let shadow = table.get("shadow").and_then(|value| Some((value, value.bool()?)));
    if let (Some((value, true)), None) = (shadow, route) {
        value.mistake("only a secret of a route's `secrets` can be on trial", "leave `shadow` out");
    }
    let shadow = shadow.is_some_and(|(_, shadow)| shadow);
    let name = table.get("name").and_then(|value| Some((value, value.string()?)));
    table.done();
    let name = match name {
        Some((value, name)) => {
            if let Some(message) = name_mistake(&name) {
                value.mistake(message, "");
            }
            Some(name)
        }
        None => None,
    };
    let (source, window) = source?;
    if !context.secrets.borrow().reads() {
        return Some(Found { name, secret: None, awaited: None, shadow });
    }
    if let (Some(window), Source::File(file)) = (window, &source)
        && !is_there(&source)
    {
        let awaited = Some(context.secrets.borrow_mut().wait_for(file.clone(), window));
        return Some(Found { name, secret: None, awaited, shadow });
    }
    let held = held(value, &source, context)?;
    context.uses.borrow_mut().push(SecretUse {
        key: key.to_owned(),
        name: name.clone().unwrap_or_else(|| position.to_string()),
        source: source.to_string(),
        loaded_at: held.loaded_at,
    });
    Some(Found { name, secret: Some(held.secret), awaited: None, shadow })
}

/// A secret that the provider hands over: the file in which it will lie, and for how long it is taken.
fn captured(
    value: Value<'_>,
    elsewhere: bool,
    route: Option<&OfRoute>,
) -> Option<(Source, Option<Duration>)> {
    let window = value.duration();
    if elsewhere {
        value.mistake("a secret that the provider hands over is nowhere else", "leave one of them out");
        return None;
    }
    let Some(file) = route.and_then(|route| route.captured.clone()) else {
        value.mistake("no provider hands over this secret", HELP);
        return None;
    };
    let window = window?;
    if window.is_zero() || window > LONGEST_CAPTURE {
        value.mistake(
            "the secret is whoever's comes first in this time, so it is short",
            "write a duration of at most \"24h\", like \"1h\"",
        );
        return None;
    }
    Some((Source::File(file), Some(window)))
}

/// Reads a file of certificates, which are no secret; `None` where files are not read or there was a mistake.
pub(super) fn certificates(value: Value<'_>, context: &Context<'_>) -> Option<Vec<u8>> {
    let text = value.str("write the path of a PEM file: \"ca.pem\"")?;
    let held = held(value, &Source::Certificates(context.folder.join(text)), context)?;
    Some(held.secret.expose().to_vec())
}

/// Reads a secret that is usually a file: a path, or a table as any other secret.
pub(super) fn path_or_secret(value: Value<'_>, key: &str, context: &Context<'_>) -> Option<Secret> {
    let Some(text) = value.as_str() else { return secret(value, key, 1, context)?.secret };
    if text.contains("-----BEGIN") {
        value.mistake("this is a key itself, and it would stand in a file that many may read", HELP);
        return None;
    }
    let source = Source::File(context.folder.join(text));
    let held = held(value, &source, context)?;
    context.uses.borrow_mut().push(SecretUse {
        key: key.to_owned(),
        name: "1".to_owned(),
        source: source.to_string(),
        loaded_at: held.loaded_at,
    });
    Some(held.secret)
}

/// What `source` holds, or held before it vanished; `None` where sources are not read or there was a mistake.
fn held(value: Value<'_>, source: &Source, context: &Context<'_>) -> Option<Held> {
    let mut store = context.secrets.borrow_mut();
    if !store.reads() {
        return None;
    }
    match store.load(source) {
        Loaded::Value(held) => Some(held),
        Loaded::Kept(held, error) => {
            value.walk.warn(value.span(), format!("{error}; the value read before stays in force"), "");
            Some(held)
        }
        Loaded::Missing(error) => {
            value.mistake(error, "");
            None
        }
    }
}

fn source(table: &Table<'_>, context: &Context<'_>) -> Option<Source> {
    let sources = [
        ("env", table.get("env")),
        ("file", table.get("file")),
        ("credential", table.get("credential")),
        ("value", table.get("value")),
    ];
    let mut given = sources.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let Some((key, value)) = given.next() else {
        if ["env", "file", "credential", "value"].iter().any(|key| table.is_misspelled(key)) {
            return None;
        }
        table.walk.mistake(table.span(), "this secret is nowhere", HELP);
        return None;
    };
    if let Some((second, value)) = given.next() {
        value.mistake(
            format!("a secret is in one place, this one has `{key}` and `{second}`"),
            "leave one of them out",
        );
        return None;
    }
    let text = value.str("")?;
    if text.is_empty() {
        value.mistake(format!("`{key}` is empty"), HELP);
        return None;
    }
    match key {
        "env" if text.contains(['=', '\0']) => {
            value.mistake("no environment variable has such a name", "");
            None
        }
        "env" => Some(Source::Env(text.to_owned())),
        "file" => Some(Source::File(context.folder.join(text))),
        "credential" if text.contains('/') => {
            value.mistake("a credential's name holds no `/`", "for a file write { file = \"PATH\" }");
            None
        }
        "credential" => Some(Source::Credential(text.to_owned())),
        _ => Some(Source::Value(text.to_owned())),
    }
}

/// A list of secrets, each with its name or position; not empty.
pub(super) fn list(value: Value<'_>, key: &str, context: &Context<'_>) -> Option<Vec<Found>> {
    read_list(value, key, context, None)
}

/// The `secrets` of a route.
pub(super) fn of_route(
    value: Value<'_>,
    key: &str,
    context: &Context<'_>,
    route: &OfRoute,
) -> Option<Vec<Found>> {
    let found = read_list(value, key, context, Some(route))?;
    if found.iter().all(|found| found.shadow) {
        value.mistake(
            "every secret here is on trial (`shadow = true`), so nothing would be accepted",
            "leave `shadow` out of the one that senders sign with",
        );
        return None;
    }
    if found.len() > 1 && found.iter().any(|found| found.awaited.is_some()) {
        value.mistake(
            "a secret is handed over to a route that has none yet, and this one has others",
            "leave the others out",
        );
        return None;
    }
    Some(found)
}

fn read_list(
    value: Value<'_>,
    key: &str,
    context: &Context<'_>,
    route: Option<&OfRoute>,
) -> Option<Vec<Found>> {
    if value.is_table() {
        value.mistake("expected a list of secrets, found a single one", "put brackets around it: [{ … }]");
        return None;
    }
    let items = value.array("write a list: [{ env = \"NAME\" }]")?;
    if items.len() == 0 {
        value.mistake("an empty list of secrets", "write [{ env = \"NAME\" }]");
        return None;
    }
    let mut found: Vec<Found> = Vec::with_capacity(items.len());
    let mut complete = true;
    for (index, item) in items.enumerate() {
        let Some(one) = read(item, key, index + 1, context, route) else {
            complete = false;
            continue;
        };
        if one.name.is_some() && found.iter().any(|other| other.name == one.name) {
            item.mistake("two secrets of this list have the same name", "");
        }
        found.push(one);
    }
    complete.then_some(found)
}
