//! `batch` of a destination.

use super::schema;
use super::walk::{Value, set};
use crate::delivery::{BatchFormat, BatchOptions};

/// Reads `batch` of the destination `name`. `None` where it is no table.
pub(super) fn read(value: Value<'_>, name: &str) -> Option<BatchOptions> {
    let name = format!("batch of [destinations.{name}]");
    let table = value.table(name, &schema::BATCH, "write batch = { max_events = 100, max_wait = \"1s\" }")?;
    let mut batch = BatchOptions::default();
    let events =
        table.get("max_events").and_then(|value| value.integer(1..=BatchOptions::MOST_EVENTS as u64));
    set(&mut batch.max_events, events.and_then(|events| usize::try_from(events).ok()));
    set(&mut batch.max_wait, table.get("max_wait").and_then(Value::duration));
    set(&mut batch.max_bytes, table.get("max_bytes").and_then(Value::small_size));
    let format = table.get("format").and_then(|value| value.word(&["json", "ndjson"]));
    set(
        &mut batch.format,
        format.map(|word| if word == "json" { BatchFormat::Json } else { BatchFormat::NdJson }),
    );
    table.done();
    Some(batch)
}
