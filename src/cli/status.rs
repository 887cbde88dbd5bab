//! `hooklatch status`: what a running gateway is doing.

use std::time::Duration;

use serde_json::Value;

use super::api::Access;
use super::human::{self, printable};
use super::out::{Out, Outcome};
use super::secrets;

/// Tells how a running gateway and its destinations are.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Also tell how much each secret of each route is used, and which can go
    #[arg(long)]
    secrets: bool,
    #[command(flatten)]
    access: Access,
}

/// Prints it.
///
/// # Errors
/// A gateway that gives no answer.
pub fn run(args: &Args, out: &mut Out) -> Outcome {
    super::with_api(&args.access, async |api| {
        let status = api.get("status").await?;
        let destinations = api.get("destinations").await?;
        let routes = if args.secrets { Some(api.get("routes").await?) } else { None };
        if args.access.json {
            let mut all = status;
            if let Some(map) = all.as_object_mut() {
                map.insert("destinations".to_owned(), list_of(&destinations).into());
                map.extend(routes.map(|routes| ("secrets".to_owned(), secrets::list(&routes))));
            }
            return out.json(&all);
        }
        print_status(out, &status)?;
        print_destinations(out, &list_of(&destinations))?;
        routes.map_or(Ok(()), |routes| secrets::print(out, &routes))
    })
}

pub(super) fn list_of(destinations: &Value) -> Vec<Value> {
    destinations.get("destinations").unwrap_or(destinations).as_array().cloned().unwrap_or_default()
}

/// Each fact of the answer in a line, tables of facts below their name.
fn print_status(out: &mut Out, status: &Value) -> Outcome {
    let Some(facts) = status.as_object() else { return Ok(()) };
    let width = facts.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, fact) in facts {
        match fact {
            Value::Object(inner) => {
                let inner: Vec<_> =
                    inner.iter().map(|(key, value)| format!("{key} {}", shown(key, value))).collect();
                out.line(format_args!("{:width$}  {}", label(name), inner.join(", ")))?;
            }
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| shown(name, item)).collect();
                out.line(format_args!("{:width$}  {}", label(name), items.join(", ")))?;
            }
            other => out.line(format_args!("{:width$}  {}", label(name), shown(name, other)))?,
        }
    }
    Ok(())
}

fn label(name: &str) -> String {
    printable(&name.replace('_', " "), false)
}

/// A value as people read it: the name of a figure says its unit.
fn shown(name: &str, value: &Value) -> String {
    match value {
        Value::Number(number) => {
            let figure = number.as_f64().unwrap_or(0.0).max(0.0);
            if name.ends_with("seconds") {
                human::duration(Duration::try_from_secs_f64(figure).unwrap_or_default())
            } else if name.ends_with("bytes") {
                human::size(number.as_u64().unwrap_or(0))
            } else {
                number.to_string()
            }
        }
        Value::String(text) => printable(text, false),
        // A bound that is not there is no figure that is not known.
        Value::Null if name.starts_with("max_") => "no bound".to_owned(),
        Value::Null => "–".to_owned(),
        other => printable(&other.to_string(), false),
    }
}

pub(super) fn print_destinations(out: &mut Out, destinations: &[Value]) -> Outcome {
    if destinations.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let rows: Vec<_> = destinations
        .iter()
        .map(|destination| {
            let word =
                |key: &str| destination.get(key).map_or_else(|| "–".to_owned(), |value| shown(key, value));
            let figures = ["pending_events", "pending_bytes", "oldest_pending", "dead_events"].map(word);
            let place = format!("{}{}", word("url"), in_batches(destination));
            [word("name"), health(destination)].into_iter().chain(figures).chain([place]).collect()
        })
        .collect();
    human::table(out, &["DESTINATION", "HEALTH", "PENDING", "BYTES", "OLDEST", "DEAD", "URL"], &rows)
}

/// What stands behind the URL of a destination that gets several events in one request.
fn in_batches(destination: &Value) -> String {
    let figure = |pointer: &str| destination.pointer(pointer).and_then(Value::as_u64);
    let Some(most) = figure("/batch/max_events") else { return String::new() };
    let gathering = match figure("/batch/gathering") {
        None | Some(0) => String::new(),
        Some(events) => format!(", {events} gather for the next"),
    };
    format!(" in batches of up to {most}{gathering}")
}

fn health(destination: &Value) -> String {
    let is = |key: &str| destination.get(key).and_then(Value::as_bool);
    let text = |pointer: &str| {
        destination.pointer(pointer).and_then(Value::as_str).map(|text| printable(text, false))
    };
    match destination.get("state").and_then(Value::as_str) {
        Some("paused") => {
            let by = if text("/paused/by").as_deref() == Some("gone") { " (it answered 410)" } else { "" };
            return match text("/paused/until") {
                Some(until) => format!("paused until {until}{by}"),
                None => format!("paused{by}"),
            };
        }
        Some("down") => {
            return match text("/probe_at") {
                Some(at) => format!("down, asked again {at}"),
                None => "down, being asked".to_owned(),
            };
        }
        Some("recovering") => return "recovering".to_owned(),
        _ => {}
    }
    let failures = destination.get("failures_in_a_row").and_then(Value::as_u64).unwrap_or(0);
    match (is("configured"), is("healthy")) {
        (Some(false), _) => "not configured".to_owned(),
        (_, Some(true)) => "healthy".to_owned(),
        (_, Some(false)) => format!("failing ({failures} in a row)"),
        _ => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_s_health_is_told_in_words() {
        let of = |value: serde_json::Value| health(&value);
        let json = serde_json::json!({"configured": true, "healthy": true, "state": "open", "paused": null});
        assert_eq!(of(json), "healthy");
        let json = serde_json::json!({"configured": true, "healthy": false, "failures_in_a_row": 3, "state": "open"});
        assert_eq!(of(json), "failing (3 in a row)");
        let json = serde_json::json!({"state": "paused", "paused": {"by": "gone", "until": null}});
        assert_eq!(of(json), "paused (it answered 410)");
        let json = serde_json::json!({"state": "paused", "paused": {"by": "operator", "until": "T"}});
        assert_eq!(of(json), "paused until T");
        assert_eq!(of(serde_json::json!({"state": "down", "probe_at": "T"})), "down, asked again T");
        assert_eq!(of(serde_json::json!({"state": "down", "probe_at": null})), "down, being asked");
        assert_eq!(of(serde_json::json!({"configured": false})), "not configured");
    }

    #[test]
    fn batches_are_told_in_words() {
        let of = |batch: serde_json::Value| in_batches(&serde_json::json!({ "batch": batch }));
        assert_eq!(of(serde_json::json!(null)), "");
        assert_eq!(of(serde_json::json!({"max_events": 100, "gathering": 0})), " in batches of up to 100");
        assert_eq!(
            of(serde_json::json!({"max_events": 5, "gathering": 3})),
            " in batches of up to 5, 3 gather for the next"
        );
    }

    #[test]
    fn figures_are_shown_with_their_unit() {
        assert_eq!(shown("uptime_seconds", &serde_json::json!(90)), "1 min 30 s");
        assert_eq!(shown("buffer_bytes", &serde_json::json!(2048)), "2.0 KiB");
        assert_eq!(shown("events", &serde_json::json!(7)), "7");
        assert_eq!(shown("x", &Value::Null), "–");
        assert_eq!(shown("max_events", &Value::Null), "no bound");
        assert_eq!(shown("x", &serde_json::json!("a\u{1b}b")), "a\\u{1b}b");
    }
}
