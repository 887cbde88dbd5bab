//! Searching: first the ids of the events that pass, from one index, then their rows by id.

use std::borrow::Cow;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, Statement, params_from_iter};

use super::{DeadLetter, row};
use crate::buffer::view::EventFilter;
use crate::clock::Millis;
use crate::event::EventId;

/// A filter as SQL. Text of the user's is always a parameter.
#[derive(Debug)]
pub(super) struct Query {
    index: &'static str,
    conditions: Vec<Cow<'static, str>>,
    values: Vec<Value>,
}

impl Query {
    /// `None` where nothing can pass.
    pub fn new(filter: &EventFilter) -> Option<Self> {
        if filter.status.is_some_and(|status| status != "dead") {
            return None;
        }
        let mut query = Self { index: index_for(filter), conditions: Vec::new(), values: Vec::new() };
        if let Some(id) = &filter.id {
            match filter.own_id() {
                Some(_) => query.add("(id = ? OR event_id = ?)", [text(id), text(id)]),
                None => query.add("event_id = ?", [text(id)]),
            }
        }
        let named: Vec<Value> = filter.destinations().map(text).collect();
        if !named.is_empty() {
            query.add(format!("destination IN (?{})", ", ?".repeat(named.len() - 1)), named);
        }
        if let Some(route) = &filter.route {
            query.add("route = ?", [text(route)]);
        }
        match filter.event_type.as_deref().map(|wanted| (wanted, wanted.strip_suffix('*'))) {
            None => {}
            Some((wanted, None)) => query.add("event_type = ?", [text(wanted)]),
            Some((_, Some(start))) => {
                query.add("event_type >= ?", [text(start)]);
                if let Some(end) = end_of_prefix(start) {
                    query.add("event_type < ?", [text(&end)]);
                }
            }
        }
        query.add_times(filter);
        Some(query)
    }

    /// An id begins with the time at which its event came, so a range of times is one of ids; somewhat wider, in case the
    /// clock was set at that very moment.
    fn add_times(&mut self, filter: &EventFilter) {
        const SLACK: Duration = Duration::from_secs(60);
        const LAST_OF_AN_ID: Millis = Millis((1 << 48) - 1);
        if let Some(since) = filter.since {
            self.add("received_at >= ?", [moment(since)]);
            let from = EventId::new(since.minus(SLACK).min(LAST_OF_AN_ID), 0);
            self.add("id >= ?", [text(&from.to_string())]);
        }
        if let Some(until) = filter.until {
            self.add("received_at < ?", [moment(until)]);
            let to = until.plus(SLACK);
            if to <= LAST_OF_AN_ID {
                self.add("id < ?", [text(&EventId::new(to, 0).to_string())]);
            }
        }
    }

    fn add(&mut self, condition: impl Into<Cow<'static, str>>, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.into());
        self.values.extend(values);
    }

    /// Ids of events that pass, newest first, each once, below `before`; at most `limit`. And whether there may be more.
    pub fn ids(
        &self,
        connection: &Connection,
        before: Option<&str>,
        limit: usize,
    ) -> rusqlite::Result<(Vec<String>, bool)> {
        let mut conditions = self.conditions.clone();
        let mut values = self.values.clone();
        if let Some(before) = before {
            conditions.push("id < ?".into());
            values.push(text(before));
        }
        // An event may have several rows, so a page may have fewer ids than rows; it never splits an event, since rows
        // are read by id.
        let rows = limit.saturating_add(1);
        values.push(Value::Integer(i64::try_from(rows).unwrap_or(i64::MAX)));
        let filter = if conditions.is_empty() { "TRUE".to_owned() } else { conditions.join(" AND ") };
        let sql =
            format!("SELECT id FROM dead_letters {} WHERE {filter} ORDER BY id DESC LIMIT ?", self.index);
        let mut statement = connection.prepare(&sql)?;
        let found: rusqlite::Result<Vec<String>> =
            statement.query_map(params_from_iter(values), |row| row::lossy(row, 0))?.collect();
        let mut ids = found?;
        let more = ids.len() == rows;
        ids.dedup();
        ids.truncate(limit);
        Ok((ids, more))
    }
}

/// The index to walk along; the one of the primary key, by id, where none is named. Chosen here and not by SQLite, which
/// knows nothing of what the columns hold. All but the last give the ids in order; what that one finds is sorted, in
/// memory, down to one page.
fn index_for(filter: &EventFilter) -> &'static str {
    if filter.id.is_some() {
        // The primary key's, the provider's ids', or both.
        ""
    } else if filter.destination.is_some() {
        "INDEXED BY dead_by_destination"
    } else if filter.route.is_some() {
        "INDEXED BY dead_by_route"
    } else if filter.event_type.as_deref().is_some_and(|wanted| wanted != "*") {
        "INDEXED BY dead_by_type"
    } else {
        ""
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn moment(at: Millis) -> Value {
    Value::Integer(row::moment(at))
}

/// The first text, in the order of bytes, that is above all that begin with `start`; `None` where there is none.
fn end_of_prefix(start: &str) -> Option<String> {
    let mut end = start.to_owned();
    while let Some(last) = end.pop() {
        // The numbers between are no characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// Reads the letters of events.
pub(super) struct Letters<'c>(Statement<'c>);

impl<'c> Letters<'c> {
    pub fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql = format!(
            "SELECT {} FROM dead_letters WHERE id = ?1 AND (?2 IS NULL OR destination = ?2) ORDER BY destination",
            row::COLUMNS
        );
        connection.prepare(&sql).map(Self)
    }

    /// The letters of the event `id`, at `destination` or everywhere. One that makes no sense is told as such.
    pub fn of(
        &mut self,
        id: &str,
        destination: Option<&str>,
    ) -> rusqlite::Result<Vec<Result<DeadLetter, String>>> {
        self.0.query_map((id, destination), |row| Ok(row::read(row)))?.collect()
    }
}
