//! The body of a 207, which says of each event of a batch what became of it:
//! `{"results":[{"id":"hl_…","status":200},…]}`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Said, excerpt_of};
use crate::event::{Answer, EventId};

/// What is read of a 207, and for each event of the batch so much more: an id, a status, and room for a word on it.
pub(super) const BYTES: usize = 64 << 10;
pub(super) const BYTES_EACH: usize = 512;

/// Why an event is not settled: the answer was right, and left it out.
pub(super) const UNSAID: &str = "the 207 does not say what became of it";
/// Why none is.
pub(in crate::delivery) const TOO_LONG: &str = "the 207 is longer than what is read of one";

/// By the event's id.
pub(super) type Results = HashMap<EventId, Said>;

/// Reads it. Further members are ignored. An entry that is none (somebody else's id, no status of 200 to 599) settles
/// nothing; of an id that is named twice the worse status counts.
///
/// # Errors
/// A sentence: what it is instead.
pub(super) fn read(body: &[u8]) -> Result<Results, String> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| format!("the 207 is not {{\"results\":[{{\"id\":…,\"status\":…}}]}}: {error}"))?;
    Ok(body.results)
}

#[derive(Deserialize)]
struct Body {
    #[serde(deserialize_with = "entries")]
    results: Results,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    status: u16,
}

/// Entry by entry, so that no more is held than the events that are named.
fn entries<'de, D: Deserializer<'de>>(from: D) -> Result<Results, D::Error> {
    from.deserialize_seq(Entries)
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Results;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of results")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Results, A::Error> {
        let mut results = Results::new();
        while let Some(entry) = list.next_element::<&RawValue>()? {
            let Some((id, status)) = said_by(entry.get()) else { continue };
            let excerpt = if status < 300 { bytes::Bytes::new() } else { excerpt_of(entry.get().as_bytes()) };
            let said = Said { answer: Answer::Status(status), excerpt };
            let is_worse = |known: &Said| matches!(known.answer, Answer::Status(known) if known < status);
            if results.get(&id).is_none_or(is_worse) {
                results.insert(id, said);
            }
        }
        Ok(results)
    }
}

fn said_by(entry: &str) -> Option<(EventId, u16)> {
    let Entry { id, status } = serde_json::from_str(entry).ok()?;
    (200..600).contains(&status).then_some((id.parse().ok()?, status))
}
