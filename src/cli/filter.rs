//! The options that choose events, and how the admin API is asked with them.

use serde_json::{Map, Value};

use super::api::{Access, Api, escape};
use super::out::Failure;
use crate::clock::{Clock, Millis};
use crate::units::parse_duration;

/// A page of a list, as large as the API gives them.
const PAGE: u64 = 500;

/// Which events to list, and of which gateway.
#[derive(clap::Args, Debug)]
pub(super) struct Listing {
    #[command(flatten)]
    pub(super) filter: Filter,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) limit: u64,
    #[command(flatten)]
    pub(super) access: Access,
}

/// One event of a gateway.
#[derive(clap::Args, Debug)]
pub(super) struct One {
    /// hooklatch's id, hl_…
    pub(super) id: String,
    #[command(flatten)]
    pub(super) access: Access,
}

/// Which events; no option at all means all of them.
#[derive(clap::Args, Debug, Default)]
pub struct Filter {
    /// Of this route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// For this destination
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Of this type; a * at the end stands for any rest
    #[arg(long = "type", value_name = "T")]
    event_type: Option<String>,
    /// Received at this time or later: 2026-01-15T10:30:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Millis>,
    /// Received before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Millis>,
    /// With this id, hooklatch's or the provider's
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// A time of day, or how long ago.
fn moment(text: &str) -> Result<Millis, String> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(Clock::system().now().minus(ago));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "write a time like 2026-01-15T10:30:00Z, or how long ago, like 2h".to_owned())?;
    u64::try_from(time.as_millisecond()).map(Millis).map_err(|_| "that is before 1970".to_owned())
}

impl Filter {
    /// The options that were given, by the API's names.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let moment = |moment: Option<Millis>| moment.map(Millis::rfc3339);
        [
            ("route", self.route.clone()),
            ("destination", self.destination.clone()),
            ("type", self.event_type.clone()),
            ("since", moment(self.since)),
            ("until", moment(self.until)),
            ("id", self.id.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Whether it chooses all events.
    pub fn is_empty(&self) -> bool {
        self.pairs().is_empty()
    }

    /// As the body of a `POST`.
    pub fn to_json(&self) -> Map<String, Value> {
        self.pairs().into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
    }
}

/// The events that `pairs` choose, newest first, at most `limit`; asked for page by page.
///
/// # Errors
/// Those of the API.
pub async fn list(api: &Api, pairs: &[(&'static str, String)], limit: u64) -> Result<Vec<Value>, Failure> {
    let mut all: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let left = limit.saturating_sub(all.len() as u64);
        if left == 0 {
            return Ok(all);
        }
        let mut query = format!("events?limit={}", left.min(PAGE));
        let cursor_pair = cursor.take().map(|cursor| ("cursor", cursor));
        for (name, value) in pairs.iter().cloned().chain(cursor_pair) {
            query.push_str(&format!("&{name}={}", escape(&value)));
        }
        let mut page = api.get(&query).await?;
        let next = page.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
        // A page may be empty and still have a next one: the gateway looks only so far back at a time.
        if let Some(Value::Array(events)) = page.get_mut("events").map(Value::take) {
            all.extend(events);
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_so_long_ago() {
        assert_eq!(moment("2026-01-15T10:30:00Z"), Ok(Millis(1_768_473_000_000)));
        assert_eq!(moment("2026-01-15T11:30:00.5+01:00"), Ok(Millis(1_768_473_000_500)));
        let now = Clock::system().now();
        let ago = now.since(moment("2h").unwrap()).as_secs();
        assert!((7190..=7200).contains(&ago), "{ago}");
        for wrong in ["", "yesterday", "2026-01-15", "1960-01-01T00:00:00Z"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_was_said_is_asked_for() {
        assert!(Filter::default().is_empty());
        let filter = Filter {
            route: Some("a b".to_owned()),
            since: Some(Millis(1_768_473_000_000)),
            ..Filter::default()
        };
        assert_eq!(
            filter.pairs(),
            [("route", "a b".to_owned()), ("since", "2026-01-15T10:30:00.000Z".to_owned())]
        );
        assert_eq!(filter.to_json()["route"], "a b");
        assert_eq!(escape("a b&c=*"), "a%20b%26c%3D%2A");
    }
}
