//! `priority`, `priorities` and `order_key` of a route: which of its events go first, and which wait for each other.

use super::corridor::Corridor;
use super::deliver_to::read_types;
use super::schema;
use super::walk::{Value, set};
use crate::event::{Ack, ByClass, Priority};
use crate::ingress::Priorities;
use crate::select::Selector;

impl Corridor<'_, '_, '_> {
    /// `priority` and `priorities`; `event_type` is where an event's type stands.
    pub(super) fn priorities(&self, event_type: Option<&Selector>) -> Priorities {
        let mut priorities = Priorities::default();
        set(&mut priorities.otherwise, self.table.get("priority").and_then(read_priority));
        let Some(value) = self.table.get("priorities") else { return priorities };
        let name = format!("priorities of [routes.{}]", self.name);
        let help = "write { critical = [\"charge.dispute.*\"] }";
        let Some(table) = value.table(name, &schema::PRIORITIES, help) else { return priorities };
        priorities.by_type =
            ByClass::new(|class| table.get(class.as_str()).and_then(read_types).unwrap_or_default());
        table.done();
        self.wants_event_type(value, "priorities", event_type);
        priorities
    }

    /// `order_key`.
    pub(super) fn order_key(&self, ack: Option<Ack>) -> Option<Selector> {
        let value = self.table.get("order_key")?;
        if ack == Some(Ack::Delivered) {
            value.mistake(
                "`order_key` has events wait for each other in the buffer, and ack = \"delivered\" sends each one at once",
                "leave one of them out",
            );
        }
        self.selector("order_key")
    }
}

fn read_priority(value: Value<'_>) -> Option<Priority> {
    let word = value.word(&["critical", "normal", "bulk"])?;
    Priority::ALL.into_iter().find(|priority| priority.as_str() == word)
}
