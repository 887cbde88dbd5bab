//! Which events a request means: a query's parameters, or a JSON body's members, of the same names.

use std::collections::HashMap;

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::reply::Refusal;
use crate::buffer::EventFilter;
use crate::clock::Millis;
use crate::event::EventId;
use crate::ingress::Waived;
use crate::units::{Rate, parse_duration};

/// The most events of one page.
pub(super) const MAX_PAGE: usize = 500;
const DEFAULT_PAGE: usize = 50;
/// The status of what is pending for a destination that is no longer configured; the buffer does not know it.
pub(super) const ORPHANED: &str = "orphaned";

/// What of events, and which page of them.
#[derive(Debug)]
pub(super) struct Page {
    pub filter: EventFilter,
    pub cursor: Option<EventId>,
    pub limit: usize,
}

/// Which dead letters are to be changed.
#[derive(Debug)]
pub(super) struct Choice {
    pub filter: EventFilter,
    /// Whether the filter says anything.
    pub filtered: bool,
    /// `{"all":true}`.
    pub all: bool,
    /// Only count them.
    pub dry_run: bool,
    /// No more than so many in a time.
    pub rate: Option<Rate>,
}

/// The page that a query asks for.
pub(super) fn page(query: &str, now: Millis) -> Result<Page, Refusal> {
    let mut page = Page { filter: EventFilter::default(), cursor: None, limit: DEFAULT_PAGE };
    for (name, value) in parameters(query)? {
        match name.as_str() {
            "cursor" => {
                let cursor = value.parse::<EventId>();
                page.cursor = Some(cursor.map_err(|_| {
                    Refusal::invalid("cursor", "A cursor is the `next_cursor` of the page before.")
                })?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_PAGE).contains(limit));
                page.limit = limit.ok_or_else(|| {
                    Refusal::invalid("limit", format!("A page has 1 to {MAX_PAGE} events."))
                })?;
            }
            "status" => page.filter.status = Some(status(&value)?),
            _ => set(&mut page.filter, &name, value, now)?,
        }
    }
    Ok(page)
}

/// The dead letters that a body means; an empty body means all, without a word about it.
pub(super) fn choice(body: &[u8], now: Millis) -> Result<Choice, Refusal> {
    let mut choice = chosen(body, now)?;
    if choice.filter.status.replace("dead").is_some_and(|given| given != "dead") {
        return Err(Refusal::invalid("status", "These are the dead letters; `events` has the rest."));
    }
    Ok(choice)
}

/// The events that a body means, delivered or dead ones: it has to name some.
pub(super) fn events(body: &[u8], now: Millis) -> Result<Choice, Refusal> {
    let choice = chosen(body, now)?;
    if !choice.filtered {
        let message = "All that was ever delivered is not sent again without a word: name a filter.";
        return Err(Refusal::invalid("filter", message));
    }
    if choice.all || matches!(choice.filter.status, Some("pending" | "rejected" | ORPHANED)) {
        return Err(Refusal::invalid("status", "What is sent again was delivered, or is dead."));
    }
    Ok(choice)
}

fn chosen(body: &[u8], now: Millis) -> Result<Choice, Refusal> {
    let filter = EventFilter::default();
    let mut choice = Choice { filter, filtered: false, all: false, dry_run: false, rate: None };
    for (name, value) in members(body)? {
        match (name.as_str(), value) {
            ("all", Value::Bool(all)) => choice.all = all,
            ("dry_run", Value::Bool(dry_run)) => choice.dry_run = dry_run,
            ("all" | "dry_run", _) => return Err(Refusal::invalid(&name, "This is true or false.")),
            ("rate", Value::String(rate)) => {
                let rate = rate.parse::<Rate>();
                choice.rate = Some(rate.map_err(|error| Refusal::invalid("rate", format!("{error}.")))?);
            }
            ("rate", Value::Null) => {}
            ("rate", _) => return Err(Refusal::invalid("rate", "A rate is a text, like \"10/s\".")),
            ("status", Value::String(word)) => choice.filter.status = Some(status(&word)?),
            (_, Value::String(text)) => {
                set(&mut choice.filter, &name, text, now)?;
                choice.filtered = true;
            }
            (_, Value::Null) => known(&name)?,
            _ => {
                known(&name)?;
                return Err(Refusal::invalid(&name, "This is a text."));
            }
        }
    }
    if choice.all && choice.filtered {
        return Err(Refusal::invalid("all", "Either a filter or `\"all\": true`, not both."));
    }
    Ok(choice)
}

/// `{"any_time":true,"any_address":true}`, either, or nothing.
pub(super) fn waived(body: &[u8]) -> Result<Waived, Refusal> {
    let mut waived = Waived::default();
    for (name, value) in members(body)? {
        let place = match name.as_str() {
            "any_time" => &mut waived.time,
            "any_address" => &mut waived.address,
            _ => {
                return Err(Refusal::invalid(
                    &name,
                    "There are `any_time` and `any_address`, and nothing else.",
                ));
            }
        };
        let wrong = || Refusal::invalid(&name, "This is true or false.");
        *place = value.as_bool().ok_or_else(wrong)?;
    }
    Ok(waived)
}

fn members(body: &[u8]) -> Result<serde_json::Map<String, Value>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(serde_json::Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "malformed_request",
            "The body is a JSON object, like {\"destination\":\"app\"}, or empty.",
        )),
    }
}

fn parameters(query: &str) -> Result<HashMap<String, String>, Refusal> {
    let mut all = HashMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8().map(std::borrow::Cow::into_owned).ok()
        };
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            return Err(Refusal::invalid(name, "The query is not UTF-8."));
        };
        if all.insert(name.clone(), value).is_some() {
            return Err(Refusal::invalid(&name, "This parameter stands twice."));
        }
    }
    Ok(all)
}

const WORDS: [&str; 6] = ["route", "destination", "type", "id", "since", "until"];

fn known(name: &str) -> Result<(), Refusal> {
    if WORDS.contains(&name) {
        return Ok(());
    }
    Err(Refusal::invalid(
        name,
        "There is no such filter; there are route, destination, type, id, since and until.",
    ))
}

fn set(filter: &mut EventFilter, name: &str, value: String, now: Millis) -> Result<(), Refusal> {
    known(name)?;
    if value.is_empty() {
        // An empty filter that means "all" would be a trap for a script whose variable is not set.
        return Err(Refusal::invalid(name, "This filter has no value."));
    }
    match name {
        "route" => filter.route = Some(value),
        "destination" => filter.destination = Some(value),
        "type" => filter.event_type = Some(value),
        "id" => filter.id = Some(value),
        "since" => filter.since = Some(moment(name, &value, now)?),
        _ => filter.until = Some(moment(name, &value, now)?),
    }
    Ok(())
}

fn status(word: &str) -> Result<&'static str, Refusal> {
    match word {
        "pending" => Ok("pending"),
        "delivered" => Ok("delivered"),
        "dead" => Ok("dead"),
        "rejected" => Ok("rejected"),
        "orphaned" => Ok(ORPHANED),
        _ => Err(Refusal::invalid("status", "A status is pending, delivered, dead, rejected or orphaned.")),
    }
}

/// RFC 3339, or how long ago: `2h`.
fn moment(name: &str, text: &str, now: Millis) -> Result<Millis, Refusal> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(now.minus(ago));
    }
    let parsed = text.parse::<jiff::Timestamp>().ok();
    parsed.and_then(|at| u64::try_from(at.as_millisecond()).ok()).map(Millis).ok_or_else(|| {
        Refusal::invalid(
            name,
            "A moment is written like 2026-01-15T10:30:00Z, or as how long ago it was, like 2h.",
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = Millis(1_768_473_000_000);

    #[test]
    fn every_parameter_has_its_place() {
        let page = page(
            "route=git%20hub&destination=app&status=dead&type=invoice.*&id=evt_1&since=2h&until=2026-01-15T10:29:00Z\
             &cursor=hl_00000000000000000000000&limit=500",
            NOW,
        )
        .unwrap();
        let filter = page.filter;
        assert_eq!(filter.route.as_deref(), Some("git hub"));
        assert_eq!(filter.destination.as_deref(), Some("app"));
        assert_eq!(filter.status, Some("dead"));
        assert_eq!(filter.event_type.as_deref(), Some("invoice.*"));
        assert_eq!(filter.id.as_deref(), Some("evt_1"));
        assert_eq!(filter.since, Some(Millis(NOW.0 - 7_200_000)));
        assert_eq!(filter.until, Some(Millis(NOW.0 - 60_000)));
        assert_eq!((page.cursor, page.limit), (Some(EventId::default()), 500));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        for (query, field) in [
            ("roue=a", "roue"),
            ("route=a&route=b", "route"),
            ("route=", "route"),
            ("route", "route"),
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=x", "limit"),
            ("cursor=5", "cursor"),
            ("since=yesterday", "since"),
            ("since=1969-12-31T23:59:59Z", "since"),
            ("status=lost", "status"),
            ("type=%ff", "type"),
        ] {
            let refusal = page(query, NOW).unwrap_err();
            assert_eq!(
                (refusal.status, refusal.error, refusal.field.as_deref()),
                (StatusCode::BAD_REQUEST, "validation_failed", Some(field)),
                "{query}"
            );
        }
        for word in ["rejected", "orphaned"] {
            assert_eq!(page(&format!("status={word}"), NOW).unwrap().filter.status, Some(word));
        }
    }

    #[test]
    fn a_body_chooses_dead_letters() {
        let choice_of = |body: &str| choice(body.as_bytes(), NOW);
        let empty = choice_of(" ").unwrap();
        assert!(!empty.filtered && !empty.all && empty.filter.status == Some("dead"));
        let some = choice_of(r#"{"destination":"app","dry_run":true,"route":null}"#).unwrap();
        assert!(some.filtered && some.dry_run && some.filter.destination.as_deref() == Some("app"));
        assert!(choice_of(r#"{"all":true}"#).unwrap().all);
        let paced = choice_of(r#"{"rate":"5/s","route":"a"}"#).unwrap();
        assert_eq!(paced.rate.map(|rate| rate.to_string()).as_deref(), Some("5/s"));
        for (body, error) in [
            ("[]", "malformed_request"),
            ("{", "malformed_request"),
            (r#"{"all":"yes"}"#, "validation_failed"),
            (r#"{"all":true,"route":"a"}"#, "validation_failed"),
            (r#"{"rout":"a"}"#, "validation_failed"),
            (r#"{"route":5}"#, "validation_failed"),
            (r#"{"route":""}"#, "validation_failed"),
            (r#"{"status":"delivered"}"#, "validation_failed"),
            (r#"{"rate":"fast"}"#, "validation_failed"),
            (r#"{"rate":5}"#, "validation_failed"),
        ] {
            assert_eq!(choice_of(body).unwrap_err().error, error, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_query_and_any_body_are_read_or_refused(query: String, body: Vec<u8>) {
            let _ = page(&query, NOW);
            let _ = choice(&body, NOW);
        }
    }
}
