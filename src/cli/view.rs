//! An event of the admin API as a row of a table, and whole.

use std::time::Duration;

use base64::Engine;
use serde_json::Value;

use super::human::{self, printable, size};
use super::out::{Out, Outcome};

/// The columns of [`row`].
pub const HEAD: [&str; 7] = ["ID", "RECEIVED", "ROUTE", "TYPE", "EVENT ID", "SIZE", "STATUS"];

/// The columns of [`rejected_row`].
pub const REJECTED_HEAD: [&str; 6] = ["ID", "RECEIVED", "ROUTE", "FROM", "SIZE", "REFUSED"];

/// A refused request in a line.
pub fn rejected_row(rejected: &Value) -> Vec<String> {
    vec![
        text(rejected, "id"),
        text(rejected, "received_at"),
        text(rejected, "route"),
        text(rejected, "client"),
        rejected.get("bytes").and_then(Value::as_u64).map_or_else(|| "–".to_owned(), size),
        text(rejected, "error"),
    ]
}

/// A member of `value` as text that a terminal may show.
pub fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        Some(Value::String(text)) => printable(text, false),
        Some(Value::Null) | None => "–".to_owned(),
        Some(other) => printable(&other.to_string(), false),
    }
}

fn destinations(event: &Value) -> impl Iterator<Item = &Value> {
    event.get("destinations").and_then(Value::as_array).into_iter().flatten()
}

/// Where an event stands at a destination, with the last attempt's end where that is not a success.
fn standing(destination: &Value) -> String {
    let status = text(destination, "status");
    let attempts = destination.get("attempts").and_then(Value::as_u64).unwrap_or(0);
    if status == "delivered" || attempts == 0 {
        return status;
    }
    let last = text(destination, "last_status");
    format!("{status} ({}, last {last})", human::count(attempts, "attempt"))
}

/// An event in a line.
pub fn row(event: &Value) -> Vec<String> {
    let status: Vec<_> = destinations(event)
        .map(|destination| format!("{} {}", text(destination, "name"), standing(destination)))
        .collect();
    vec![
        text(event, "id"),
        text(event, "received_at"),
        text(event, "route"),
        text(event, "event_type"),
        text(event, "event_id"),
        event.get("bytes").and_then(Value::as_u64).map_or_else(|| "–".to_owned(), size),
        status.join(", "),
    ]
}

/// Prints an event whole: what came, where it stands, every attempt.
///
/// # Errors
/// Output that cannot be written.
pub fn print(out: &mut Out, event: &Value) -> Outcome {
    for (label, key) in [
        ("id", "id"),
        ("received", "received_at"),
        ("route", "route"),
        ("provider", "provider"),
        ("event id", "event_id"),
        ("type", "event_type"),
        ("happened", "event_time"),
        ("from", "forwarded_for"),
    ] {
        out.line(format_args!("{label:9} {}", text(event, key)))?;
    }
    if event.get("status").and_then(Value::as_str) == Some("rejected") {
        let (error, message) = (text(event, "error"), text(event, "message"));
        out.line(format_args!("{:9} {error}: {message}", "refused"))?;
    }
    for destination in destinations(event) {
        print_destination(out, destination)?;
    }
    out.line(format_args!("\n{} {}", text(event, "method"), text(event, "target")))?;
    for header in event.get("headers").and_then(Value::as_array).into_iter().flatten() {
        let part = |index: usize| header.get(index).and_then(Value::as_str).unwrap_or_default();
        out.line(format_args!("{}: {}", printable(part(0), false), printable(part(1), false)))?;
    }
    print_body(out, event)
}

fn print_destination(out: &mut Out, destination: &Value) -> Outcome {
    let reason = match destination.get("dead_reason").and_then(Value::as_str) {
        Some("gone") => " (the destination answered 410)".to_owned(),
        Some("refused") => " (the destination refused it: no answer of `retry.on`)".to_owned(),
        Some("attempts_exhausted") => " (every attempt failed)".to_owned(),
        Some("unreachable") => " (every attempt failed; the last one found no answer)".to_owned(),
        Some("too_old") => " (older than the destination's max_age)".to_owned(),
        Some("internal") => " (hooklatch could not make a request of it)".to_owned(),
        Some("orphaned") => " (its destination is no longer configured)".to_owned(),
        Some(other) => format!(" ({})", printable(other, false)),
        None => String::new(),
    };
    out.line(format_args!("\n→ {}: {}{reason}", text(destination, "name"), text(destination, "status")))?;
    for attempt in destination.get("attempts").and_then(Value::as_array).into_iter().flatten() {
        let took = Duration::from_millis(attempt.get("took_ms").and_then(Value::as_u64).unwrap_or(0));
        let region = match attempt.get("region").and_then(Value::as_str) {
            Some(region) => format!("  at {}", printable(region, false)),
            None => String::new(),
        };
        out.line(format_args!(
            "  attempt {}  {}  {}  in {}{region}",
            text(attempt, "number"),
            text(attempt, "at"),
            text(attempt, "status"),
            human::duration(took)
        ))?;
    }
    if let Some(due) = destination.get("due").and_then(Value::as_str) {
        out.line(format_args!("  next attempt  {}", printable(due, false)))?;
    }
    match destination.get("last_answer").and_then(Value::as_str) {
        Some(answer) if !answer.is_empty() => {
            out.line(format_args!("  its last answer: {}", printable(answer, true)))
        }
        _ => Ok(()),
    }
}

fn print_body(out: &mut Out, event: &Value) -> Outcome {
    if let Some(body) = event.get("body").and_then(Value::as_str) {
        return out.line(format_args!("\n{}", printable(body, true)));
    }
    let Some(base64) = event.get("body_base64").and_then(Value::as_str) else { return Ok(()) };
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default();
    out.line(format_args!("\n({} that are no text; --json shows them as base64)", size(bytes.len() as u64)))
}
