//! What is said at the end of a run.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::human;
use super::super::out::{Out, Outcome};
use super::worker::Tally;

const PERCENTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

#[allow(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(tally: &Tally, took: Duration) -> f64 {
    tally.answered() as f64 / took.as_secs_f64().max(1e-9)
}

/// For people.
pub fn print(out: &mut Out, tally: &Tally, took: Duration) -> Outcome {
    let events = human::count(tally.answered(), "event");
    out.line(format_args!("{events} answered in {}, {:.1}/s", human::duration(took), rate(tally, took)))?;
    for ((status, word), count) in &tally.answers {
        let message = tally.messages.get(&(*status, word.clone()));
        let message = message.map_or_else(String::new, |message| format!(": {message}"));
        let word = if word.is_empty() { String::new() } else { format!(" {word}") };
        out.line(format_args!("  {count} × {status}{word}{message}"))?;
    }
    if tally.no_answer.count > 0 {
        let reason = tally.no_answer.first_reason().unwrap_or_default();
        out.line(format_args!("  {} × no answer: {reason}", tally.no_answer.count))?;
    }
    let mut line = String::from("latency");
    for (name, share) in PERCENTILES {
        line.push_str(&format!("  {name} {}", human::duration(tally.latency.percentile(share))));
    }
    out.line(format_args!("{line}  max {}", human::duration(tally.latency.max())))
}

/// For programs.
pub fn json(tally: &Tally, took: Duration) -> Value {
    let millis = |latency: Duration| json!(latency.as_secs_f64() * 1e3);
    let mut statuses = Map::new();
    let mut outcomes = Map::new();
    for ((status, word), count) in &tally.answers {
        for (map, key) in [(&mut statuses, status.to_string()), (&mut outcomes, word.clone())] {
            let before = map.get(&key).and_then(Value::as_u64).unwrap_or(0);
            map.insert(key, json!(before + count));
        }
    }
    let mut latency: Map<String, Value> = PERCENTILES
        .iter()
        .map(|(name, share)| ((*name).to_owned(), millis(tally.latency.percentile(*share))))
        .collect();
    latency.insert("max".to_owned(), millis(tally.latency.max()));
    json!({
        "answered": tally.answered(),
        "no_answer": tally.no_answer.count,
        "statuses": statuses,
        "outcomes": outcomes,
        "seconds": took.as_secs_f64(),
        "per_second": rate(tally, took),
        "latency_ms": latency,
    })
}
