//! `deliver_to` of a route: which destinations get which of its events.

use std::sync::Arc;
use std::time::Duration;

use super::corridor::Corridor;
use super::routes::dangling;
use super::schema;
use super::walk::{Value, set};
use crate::event::{Ack, TypePattern};
use crate::ingress::DeliverTo;
use crate::select::Selector;

/// What `deliver_to` says.
pub(super) struct Destinations {
    pub(super) entries: Vec<DeliverTo>,
    /// The longest of their time-outs.
    pub(super) longest: Duration,
}

impl Corridor<'_, '_, '_> {
    /// The list, as far as it stands by itself: see [`Self::check_deliver_to`].
    pub(super) fn deliver_to(&self, value: Value<'_>) -> Option<Destinations> {
        if let Some(text) = value.as_str() {
            value.mistake("expected a list of destinations, found a single one", format!("write [{text:?}]"));
            if let Some(read) = self.around.destinations.get(text) {
                read.used.set(true);
            }
            return None;
        }
        let items = value.array("write a list: [\"app\"]")?;
        if items.len() == 0 {
            value.mistake("an event that goes nowhere is lost", "write deliver_to = [\"app\"]");
            return None;
        }
        let mut found = Destinations { entries: Vec::with_capacity(items.len()), longest: Duration::ZERO };
        let mut complete = true;
        for item in items {
            let Some(entry) = self.deliver_to_entry(item) else {
                complete = false;
                continue;
            };
            if found.entries.iter().any(|other| other.to == entry.to) {
                item.mistake(
                    format!("the destination {:?} stands in this list twice", &*entry.to),
                    "leave one of them out; several types go into one `types`",
                );
            }
            let settings = self.around.destinations.get(&*entry.to).and_then(|read| read.settings.as_ref());
            found.longest = found.longest.max(settings.map_or(Duration::ZERO, |settings| settings.timeout));
            found.entries.push(entry);
        }
        complete.then_some(found)
    }

    fn deliver_to_entry(&self, item: Value<'_>) -> Option<DeliverTo> {
        const HELP: &str = "write a destination's name, or { to = \"app\", types = [\"invoice.*\"] }";
        let (name, types, optional) = if item.is_table() {
            let name = format!("an entry of deliver_to of [routes.{}]", self.name);
            let table = item.table(name, &schema::DELIVER_TO, HELP)?;
            let to = table.require("to", "write to = \"app\"");
            let types = table.get("types").map(read_types);
            let mut optional = false;
            set(&mut optional, table.get("optional").and_then(Value::bool));
            table.done();
            (to?, types, optional)
        } else {
            (item, None, false)
        };
        let to = name.str(HELP)?;
        let Some(read) = self.around.destinations.get(to) else {
            dangling(name, to, self.around.destinations, "");
            return None;
        };
        read.used.set(true);
        let types = match types {
            Some(types) => types?,
            None => Vec::new(),
        };
        Some(DeliverTo { to: Arc::from(to), types, optional })
    }

    /// What only the rest of the route tells: `event_type` is where an event's type stands.
    pub(super) fn check_deliver_to(
        &self,
        value: Value<'_>,
        entries: &[DeliverTo],
        ack: Option<Ack>,
        event_type: Option<&Selector>,
    ) {
        if entries.iter().any(|entry| !entry.types.is_empty()) {
            self.wants_event_type(value, "types", event_type);
        }
        if ack == Some(Ack::Delivered) && entries.iter().any(|entry| entry.optional) {
            value.mistake(
                "`optional` says what happens where the buffer has no room, and ack = \"delivered\" keeps nothing in it: \
                 every destination must answer 2xx",
                "leave one of them out",
            );
        }
        if ack == Some(Ack::Delivered) {
            entries.iter().for_each(|entry| self.refuse_batches(value, &entry.to));
        }
    }

    /// Whoever waits for an answer waits for the answer to its own event.
    fn refuse_batches(&self, value: Value<'_>, name: &str) {
        let settings = self.around.destinations.get(name).and_then(|read| read.settings.as_ref());
        if settings.is_some_and(|settings| settings.batch.is_some()) {
            value.mistake(
                format!(
                    "ack = \"delivered\" waits for the answer to each event, and `{name}` gets several in one request \
                     (`batch`)"
                ),
                format!("leave `ack` out, or `batch` in [destinations.{name}], or deliver to another destination"),
            );
        }
    }

    /// Complains where `key` chooses by the type of an event and nothing says where that stands.
    pub(super) fn wants_event_type(&self, value: Value<'_>, key: &str, event_type: Option<&Selector>) {
        if event_type.is_none() && self.table.get("event_type").is_none() {
            value.mistake(
                format!("`{key}` choose by the type of an event, and nothing says where it stands"),
                "write event_type = \"header:NAME\" or \"body:/json/pointer\" in the route",
            );
        }
    }
}

/// A list of types, `"invoice.*"` for all that begin so.
pub(super) fn read_types(value: Value<'_>) -> Option<Vec<TypePattern>> {
    let items = value.strings("write a list: [\"invoice.*\"]")?;
    if items.is_empty() {
        value.mistake("an empty list of types takes no event", "write [\"invoice.*\"]");
        return None;
    }
    let mut types = Vec::with_capacity(items.len());
    for (text, item) in &items {
        match TypePattern::parse(text) {
            Ok(pattern) => types.push(pattern),
            Err(message) => item.mistake(message, "write \"invoice.*\" for all types that begin so"),
        }
    }
    (types.len() == items.len()).then_some(types)
}
