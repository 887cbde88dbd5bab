//! `dedupe` of a route: what tells two of its events apart, and for how long.

use std::sync::Arc;

use super::corridor::Corridor;
use super::schema;
use super::walk::{Value, set};
use crate::ingress::DedupeRule;
use crate::select::Selector;
use crate::verify::Provider;

impl Corridor<'_, '_, '_> {
    /// The route's rule; `None` = off, or there are mistakes. `id_is_own`: the route says itself where the id stands.
    pub(super) fn dedupe(
        &self,
        event_id: Option<&Selector>,
        id_is_own: bool,
        provider: Option<&Arc<Provider>>,
    ) -> Option<DedupeRule> {
        let value = self.table.get("dedupe");
        let asked_for = match value.map(|value| (value, value.as_bool())) {
            Some((_, Some(false))) => return None,
            Some((value, None)) if !value.is_table() => {
                value.mistake("expected true, false or a table", "write dedupe = { ttl = \"72h\" }");
                return None;
            }
            other => other.is_some(),
        };
        let help = "write dedupe = { ttl = \"72h\" }";
        let name = format!("dedupe of [routes.{}]", self.name);
        let table = value.filter(|value| value.is_table());
        let table = table.and_then(|value| value.table(name, &schema::ROUTE_DEDUPE, help));
        let retries_for = provider.and_then(|provider| provider.retries_for).unwrap_or_default();
        let mut ttl = self.around.dedupe.ttl.max(retries_for);
        let mut required = !id_is_own && provider.is_some_and(|provider| provider.event_id_required);
        let mut own_key = None;
        if let Some(table) = table {
            if let Some(value) = table.get("ttl") {
                set(&mut ttl, value.duration());
                if ttl.is_zero() {
                    value.mistake("an id remembered for no time is not remembered", "write dedupe = false");
                }
            }
            own_key = table.get("key").map(|value| self.dedupe_key(value, event_id));
            if own_key.is_some() {
                required = false;
            }
            set(&mut required, table.get("required").and_then(Value::bool));
            table.done();
        }
        let key = match own_key {
            Some(key) => key?,
            None => {
                let Some(event_id) = event_id else {
                    self.no_event_id(asked_for.then_some(value).flatten());
                    return None;
                };
                event_id.clone()
            }
        };
        Some(DedupeRule { key, ttl, required })
    }

    /// Nothing says where an event's id stands: a mistake where deduplication was asked for, else worth a word.
    fn no_event_id(&self, asked: Option<Value<'_>>) {
        let help =
            "write event_id = \"header:NAME\", or dedupe = { key = \"body:sha256\" }, or dedupe = false";
        let message = "nothing says where an event's id stands, so duplicates cannot be told";
        match asked {
            Some(value) => value.mistake(message, help),
            None if self.table.get("event_id").is_some() => {}
            None => self.table.walk.warn(self.table.span(), format!("{}: {message}", self.table.name), help),
        }
    }

    fn dedupe_key(&self, value: Value<'_>, event_id: Option<&Selector>) -> Option<Selector> {
        selectors(value, |text| match (text, event_id) {
            ("event_id", Some(selector)) => Ok(Some(selector.clone())),
            ("event_id", None) if self.table.get("event_id").is_some() => Ok(None),
            ("event_id", None) => Err("this route has no `event_id` to build the key on".to_owned()),
            _ => Selector::parse_dedupe(text).map(Some),
        })
    }
}

/// One selector, or several joined; each read by `read`. `Ok(None)` = wrong, and reported elsewhere.
pub(super) fn selectors(
    value: Value<'_>,
    read: impl Fn(&str) -> Result<Option<Selector>, String>,
) -> Option<Selector> {
    let items = value.one_or_more()?;
    if items.is_empty() {
        value.mistake("an empty list names nothing", "write \"header:NAME\" or \"body:/json/pointer\"");
        return None;
    }
    let count = items.len();
    let mut parts = Vec::with_capacity(count);
    for (text, item) in items {
        match read(text) {
            Ok(selector) => parts.extend(selector),
            Err(message) => item.mistake(message, ""),
        }
    }
    (parts.len() == count).then(|| Selector::joined(parts))
}
