//! What `events replay` and `dead replay` have in common: many at once, or at a rate.

use serde_json::{Map, Value};

use super::api::{Access, Api};
use super::human::{self, printable};
use super::out::{Out, Outcome};
use crate::units::Rate;

/// A replay by filter.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// `events` or `dead`.
    pub list: &'static str,
    /// What one of them is called.
    pub noun: &'static str,
    /// No more than so many in a time.
    pub rate: Option<Rate>,
    /// Only count them.
    pub dry_run: bool,
}

impl Replay {
    /// Asks for it, and prints what came of it.
    ///
    /// # Errors
    /// Those of the API.
    pub async fn run(
        self,
        api: &Api,
        access: &Access,
        mut body: Map<String, Value>,
        status: Option<(&'static str, String)>,
        out: &mut Out,
    ) -> Outcome {
        let rate = self.rate.map(|rate| ("rate", rate.to_string()));
        for (key, text) in status.into_iter().chain(rate) {
            body.insert(key.to_owned(), text.into());
        }
        if self.dry_run {
            body.insert("dry_run".to_owned(), true.into());
        }
        let answer = api.post(&format!("{}/replay", self.list), Some(&Value::Object(body))).await?;
        if access.json {
            return out.json(&answer);
        }
        let counted = |key: &str| answer.get(key).and_then(Value::as_u64);
        if let Some(started) = counted("started") {
            let rate = answer.get("rate").and_then(Value::as_str).unwrap_or_default();
            let (count, rate) = (human::count(started, self.noun), printable(rate, false));
            return out
                .line(format_args!("{count} on the way at {rate}; hooklatch status shows how far it is"));
        }
        let would = if self.dry_run { "would be " } else { "" };
        out.line(format_args!(
            "{} {would}replayed",
            human::count(counted("replayed").unwrap_or(0), self.noun)
        ))
    }
}
