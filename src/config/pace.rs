//! The keys of a destination that say how fast, how often and how long it is tried, and what it was called before.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::walk::{Table, Value, set};
use super::{name_mistake, schema};
use crate::delivery::{DestinationOptions, OnGone, RetryOn};
use crate::units::Rate;

/// The names that a destination cannot have had: those of others, and those that others had.
pub(super) struct Names<'a> {
    pub(super) present: BTreeSet<&'a str>,
    pub(super) former: RefCell<BTreeSet<&'a str>>,
}

/// Reads them into `options`.
pub(super) fn read<'a>(table: &Table<'a>, name: &str, names: &Names<'a>, options: &mut DestinationOptions) {
    let rate = table.get("rate").and_then(|value| value.parsed(str::parse::<Rate>, "write \"100/s\""));
    options.rate = rate;
    if let Some(burst) = table.get("burst") {
        let count = burst.integer(1..=1_000_000).and_then(|count| u32::try_from(count).ok());
        set(&mut options.burst, count);
        if table.get("rate").is_none() && !table.is_misspelled("rate") {
            burst
                .mistake("`burst` means nothing without a `rate`", "write rate = \"100/s\", or leave it out");
        }
    }
    set(&mut options.max_age, table.get("max_age").and_then(Value::duration));
    if let Some(word) = table.get("on_gone").and_then(|value| value.word(&["dead", "pause"])) {
        options.on_gone = if word == "pause" { OnGone::Pause } else { OnGone::Dead };
    }
    if let Some(retry) = table.get("retry") {
        read_retry(retry, name, options);
    }
    if let Some(breaker) = table.get("breaker") {
        read_breaker(breaker, name, options);
    }
    set(&mut options.formerly, table.get("formerly").and_then(|value| formerly(value, name, names)));
}

fn read_retry(value: Value<'_>, name: &str, options: &mut DestinationOptions) {
    let name = format!("retry of [destinations.{name}]");
    let Some(table) = value.table(name, &schema::RETRY, "write retry = { delays = [\"1s\", \"5s\"] }") else {
        return;
    };
    if let Some(items) = table.get("delays").and_then(|value| value.array("write a list: [\"1s\", \"5s\"]")) {
        let count = items.len();
        let delays: Vec<_> = items.filter_map(Value::duration).collect();
        if delays.len() == count {
            options.retry_delays = delays;
        }
    }
    set(&mut options.retry_jitter, table.get("jitter").and_then(Value::float));
    set(&mut options.retry_on, table.get("on").and_then(retry_on));
    table.done();
}

const RETRY_ON_HELP: &str = "write a list of statuses and classes: [429, \"5xx\"]";

fn retry_on(value: Value<'_>) -> Option<RetryOn> {
    let items = value.array(RETRY_ON_HELP)?;
    let count = items.len();
    let ranges: Vec<_> = items.filter_map(statuses).collect();
    (ranges.len() == count).then_some(RetryOn::Of(ranges))
}

/// `503`, or `"5xx"`.
fn statuses(value: Value<'_>) -> Option<RangeInclusive<u16>> {
    let range = match value.as_str() {
        Some(text) => {
            let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
            let Some(class) = class.filter(|class| (1..=5).contains(class)) else {
                value.mistake(format!("{text:?} is no class of answers"), RETRY_ON_HELP);
                return None;
            };
            class * 100..=class * 100 + 99
        }
        None => {
            let status = u16::try_from(value.integer(100..=599)?).ok()?;
            status..=status
        }
    };
    if *range.start() / 100 == 2 {
        value.mistake("a 2xx is a delivery and not tried again", "leave it out");
        return None;
    }
    if range == (410..=410) {
        value.mistake(
            "a 410 ends its event: \"gone\" is not tried again",
            "leave it out; `on_gone` says what else it means",
        );
        return None;
    }
    Some(range)
}

fn read_breaker(value: Value<'_>, name: &str, options: &mut DestinationOptions) {
    let name = format!("breaker of [destinations.{name}]");
    let help = "write breaker = { failures = 10, probe_after = \"30s\" }";
    let Some(table) = value.table(name, &schema::BREAKER, help) else { return };
    let failures = table.get("failures").and_then(|value| value.integer(1..=10_000));
    set(&mut options.breaker_failures, failures.and_then(|count| u32::try_from(count).ok()));
    set(&mut options.probe_after, table.get("probe_after").and_then(Value::duration));
    table.done();
}

fn formerly<'a>(value: Value<'a>, name: &str, names: &Names<'a>) -> Option<Vec<Arc<str>>> {
    let mut former = Vec::new();
    for (old, item) in value.strings("write a list of the names it had: [\"old_name\"]")? {
        let message = if old == name {
            "a destination's present name is none of its former ones".to_owned()
        } else if names.present.contains(old) {
            format!("{old:?} is a destination of its own: what waits for it goes there")
        } else if let Some(message) = name_mistake(old) {
            message.to_owned()
        } else if !names.former.borrow_mut().insert(old) {
            format!("the former name {old:?} stands twice: what waits under it goes to one destination")
        } else {
            former.push(Arc::from(old));
            continue;
        };
        item.mistake(message, "leave it out");
    }
    Some(former)
}
