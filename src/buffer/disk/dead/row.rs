//! A letter as a row, and back. What comes back is not trusted: anything may have written to the file.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Row, Statement, params};
use serde::{Deserialize, Serialize};

use super::DeadLetter;
use crate::buffer::handoff::DeadReason;
use crate::buffer::view::{MAX_ATTEMPTS_KEPT, MAX_EXCERPT};
use crate::clock::Millis;
use crate::event::{Answer, Attempt, Event, EventId, OrderKey, Priority, Proto, Region, Turn};
use crate::headers::Headers;

/// In the order of [`read`] and [`INSERT`].
pub(super) const COLUMNS: &str = "id, destination, reason, died_at, route, provider, event_id, event_type, event_time, \
     received_at, method, target, forwarded_for, proto, attempts, headers, excerpt, body, priority, order_key";

/// A row that stands already is looked for before. No `OR IGNORE`: that would swallow every other complaint, too.
pub(super) const INSERT: &str = "INSERT INTO dead_letters (id, destination, reason, died_at, route, provider, event_id, \
     event_type, event_time, received_at, method, target, forwarded_for, proto, attempts, headers, excerpt, body, \
     id_time, id_seq, bytes, priority, order_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, \
     ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)";

/// Writes `letter` by the statement [`INSERT`].
pub(super) fn write(insert: &mut Statement<'_>, letter: &DeadLetter) -> rusqlite::Result<()> {
    let event = &*letter.event;
    insert.execute(params![
        event.id.to_string(),
        &*letter.destination,
        letter.reason.as_str(),
        moment(letter.died_at),
        &*event.route,
        event.provider.as_deref(),
        event.event_id.as_deref(),
        event.event_type.as_deref(),
        // By the provider's word, so anything; its bits come back as they were.
        event.event_time.map(|time| time.0.cast_signed()),
        moment(event.received_at),
        &*event.method,
        &*event.target,
        &*event.forwarded_for,
        event.forwarded_proto.as_str(),
        attempts_text(&letter.attempts),
        &event.headers.as_bytes()[..],
        letter.excerpt.get(..MAX_EXCERPT).unwrap_or(&letter.excerpt),
        &event.body[..],
        moment(event.id.at()),
        event.id.seq().cast_signed(),
        i64::try_from(size(letter)).unwrap_or(i64::MAX),
        event.turn.priority.as_str(),
        event.turn.order_key.map(|key| key.to_bits().cast_signed()),
    ])?;
    Ok(())
}

/// What a letter weighs: its event, its answer, and a share for the rest.
pub(super) fn size(letter: &DeadLetter) -> usize {
    usize::try_from(letter.event.weight()).unwrap_or(usize::MAX).saturating_add(letter.excerpt.len())
}

/// Reads a row of [`COLUMNS`], or says why it makes no sense.
pub(super) fn read(row: &Row<'_>) -> Result<DeadLetter, String> {
    let event = Event {
        id: text(row, 0)?.parse().map_err(|_| "its id is none")?,
        route: Arc::from(text(row, 4)?),
        provider: maybe_text(row, 5)?.map(Arc::from),
        event_id: maybe_text(row, 6)?.map(Box::from),
        event_type: maybe_text(row, 7)?.map(Box::from),
        event_time: row.get::<_, Option<i64>>(8).map_err(wrong)?.map(|bits| Millis(bits.cast_unsigned())),
        received_at: time(row, 9)?,
        method: text(row, 10)?.into(),
        target: text(row, 11)?.into(),
        forwarded_for: text(row, 12)?.into(),
        forwarded_proto: proto(text(row, 13)?)?,
        headers: Headers::from_stored(blob(row, 15)?).map_err(|_| "its headers are none")?,
        body: blob(row, 17)?,
        turn: turn(row)?,
    };
    Ok(DeadLetter {
        event: Arc::new(event),
        destination: Arc::from(text(row, 1)?),
        reason: reason(text(row, 2)?)?,
        died_at: time(row, 3)?,
        attempts: attempts(text(row, 14)?)?,
        excerpt: blob(row, 16)?,
    })
}

/// A column's text, whatever stands there: for what must go on over a row that makes no sense.
pub(super) fn lossy(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let value = row.get_ref(column)?;
    Ok(value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default())
}

/// The place of a row that begins with `id, destination`.
pub(super) fn place<'a>(row: &'a Row<'_>) -> Option<(EventId, &'a str)> {
    Some((text(row, 0).ok()?.parse().ok()?, text(row, 1).ok()?))
}

/// The reason in a row that begins with `id, destination, reason`; one that makes no sense is taken for the usual one.
pub(super) fn reason_of(row: &Row<'_>) -> DeadReason {
    text(row, 2).and_then(reason).unwrap_or(DeadReason::AttemptsExhausted)
}

fn wrong(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, String> {
    row.get_ref(column).map_err(wrong)?.as_str().map_err(wrong)
}

fn maybe_text<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a str>, String> {
    row.get_ref(column).map_err(wrong)?.as_str_or_null().map_err(wrong)
}

fn blob(row: &Row<'_>, column: usize) -> Result<Bytes, String> {
    Ok(Bytes::copy_from_slice(row.get_ref(column).map_err(wrong)?.as_blob().map_err(wrong)?))
}

fn time(row: &Row<'_>, column: usize) -> Result<Millis, String> {
    let time: i64 = row.get(column).map_err(wrong)?;
    u64::try_from(time).map(Millis).map_err(|_| "a time in it is before 1970".to_owned())
}

/// A moment as SQLite counts: sorted as the moments are, up to the end of its numbers.
pub(super) fn moment(at: Millis) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// What stands in no row of format 1: a normal event without a key.
fn turn(row: &Row<'_>) -> Result<Turn, String> {
    let priority = match maybe_text(row, 18)? {
        None => Priority::default(),
        Some(word) => Priority::ALL
            .into_iter()
            .find(|priority| priority.as_str() == word)
            .ok_or_else(|| format!("{word:?} is no priority"))?,
    };
    let bits = row.get::<_, Option<i64>>(19).map_err(wrong)?;
    Ok(Turn { priority, order_key: bits.and_then(|bits| OrderKey::from_bits(bits.cast_unsigned())) })
}

fn proto(word: &str) -> Result<Proto, String> {
    [Proto::Http, Proto::Https]
        .into_iter()
        .find(|proto| proto.as_str() == word)
        .ok_or_else(|| format!("{word:?} is neither http nor https"))
}

fn reason(word: &str) -> Result<DeadReason, String> {
    DeadReason::named(word).ok_or_else(|| format!("{word:?} is no reason"))
}

/// An attempt as JSON, for whoever reads the file by hand.
#[derive(Serialize, Deserialize)]
struct Told {
    number: u16,
    at: u64,
    took_ms: u64,
    answer: ToldAnswer,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// `503`, or a word.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ToldAnswer {
    Status(u16),
    None(NoAnswer),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NoAnswer {
    Timeout,
    Connect,
    Internal,
    Unsettled,
}

fn attempts_text(attempts: &[Attempt]) -> String {
    let newest = attempts.iter().skip(attempts.len().saturating_sub(MAX_ATTEMPTS_KEPT));
    let told: Vec<Told> = newest
        .map(|attempt| Told {
            number: attempt.number,
            at: attempt.at.0,
            took_ms: u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX),
            answer: match attempt.answer {
                Answer::Status(status) => ToldAnswer::Status(status),
                Answer::Timeout => ToldAnswer::None(NoAnswer::Timeout),
                Answer::Connect => ToldAnswer::None(NoAnswer::Connect),
                Answer::Internal => ToldAnswer::None(NoAnswer::Internal),
                Answer::Unsettled => ToldAnswer::None(NoAnswer::Unsettled),
            },
            region: attempt.region.map(|region| region.as_str().to_owned()),
        })
        .collect();
    // Numbers and words always serialize.
    serde_json::to_string(&told).unwrap_or_else(|_| "[]".to_owned())
}

fn attempts(text: &str) -> Result<Vec<Attempt>, String> {
    let told: Vec<Told> =
        serde_json::from_str(text).map_err(|error| format!("its attempts are none: {error}"))?;
    let newest = told.len().saturating_sub(MAX_ATTEMPTS_KEPT);
    let attempts = told.into_iter().skip(newest).map(|told| Attempt {
        number: told.number,
        at: Millis(told.at),
        took: Duration::from_millis(told.took_ms),
        answer: match told.answer {
            ToldAnswer::Status(status) => Answer::Status(status),
            ToldAnswer::None(NoAnswer::Timeout) => Answer::Timeout,
            ToldAnswer::None(NoAnswer::Connect) => Answer::Connect,
            ToldAnswer::None(NoAnswer::Internal) => Answer::Internal,
            ToldAnswer::None(NoAnswer::Unsettled) => Answer::Unsettled,
        },
        region: told.region.as_deref().and_then(Region::new),
    });
    Ok(attempts.collect())
}
