//! `POST destinations/NAME/pause|resume|retry|drain`: an operator's hand on one destination.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::reply::Refusal;
use super::view::{AdminView, Operated, Operation};
use crate::clock::Millis;
use crate::delivery::{Pause, PausedBy};
use crate::units::parse_duration;

/// What the path asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Pause,
    Resume,
    Retry,
    Drain,
}

impl Verb {
    pub(super) fn named(word: &str) -> Option<Self> {
        Some(match word {
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "retry" => Self::Retry,
            "drain" => Self::Drain,
            _ => return None,
        })
    }

    /// What the log calls it.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Pause => "pause of a destination",
            Self::Resume => "resume of a destination",
            Self::Retry => "retry of a destination",
            Self::Drain => "drain of a destination",
        }
    }
}

/// Does it; what to answer.
pub(super) fn operate(
    view: &AdminView,
    name: &str,
    verb: Verb,
    body: &[u8],
    now: Millis,
) -> Result<Value, Refusal> {
    let time = pause_for(verb, body)?;
    let operation = match verb {
        Verb::Pause => Operation::Pause(time),
        Verb::Resume => Operation::Resume,
        Verb::Retry | Verb::Drain => Operation::Retry,
    };
    let done = (view.operate)(name, operation).ok_or_else(|| {
        Refusal::not_found(format!("No destination {name:?} is configured; `destinations` lists them."))
    })?;
    Ok(match done {
        Operated::Paused(pause) => json!({"name": name, "paused": paused(&pause)}),
        Operated::Resumed(was_paused) => json!({"name": name, "was_paused": was_paused}),
        // What came up to `asked_at` has left when nothing pending is older.
        Operated::Retried(pending) => json!({"name": name, "pending": pending, "asked_at": now.rfc3339()}),
        Operated::IsPaused => {
            let message = format!("The destination {name} is paused: resume it, and what waits is tried.");
            return Err(Refusal::new(StatusCode::CONFLICT, "paused", message));
        }
    })
}

/// A pause as the API shows it.
pub(super) fn paused(pause: &Pause) -> Value {
    let by = match pause.by {
        PausedBy::Operator => "operator",
        PausedBy::Gone => "gone",
    };
    json!({"by": by, "since": pause.since.rfc3339(), "until": pause.until.map(Millis::rfc3339)})
}

/// `{"for":"10m"}`, of a pause alone.
fn pause_for(verb: Verb, body: &[u8]) -> Result<Option<Duration>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        let message = "The body is a JSON object, like {\"for\":\"10m\"}, or empty.";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "malformed_request", message));
    };
    let mut time = None;
    for (name, value) in members {
        match (name.as_str(), value) {
            ("for", Value::Null) if verb == Verb::Pause => {}
            ("for", Value::String(text)) if verb == Verb::Pause => {
                let parsed = parse_duration(&text).ok().filter(|time| !time.is_zero());
                let wrong = || Refusal::invalid("for", "A pause's time is written like \"10m\".");
                time = Some(parsed.ok_or_else(wrong)?);
            }
            ("for", _) if verb == Verb::Pause => {
                return Err(Refusal::invalid("for", "A pause's time is a text, like \"10m\"."));
            }
            _ => return Err(Refusal::invalid(&name, "This means nothing here.")),
        }
    }
    Ok(time)
}
