//! Letters go out: replayed, dropped by the operator, or too old.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::error::DeadError;
use super::ledger::Change;
use super::query::Query;
use super::{BATCH, DeadLetters, Failed, Open, file, has_event, row};
use crate::buffer::view::EventFilter;
use crate::clock::Millis;
use crate::event::EventId;

/// A letter's place: an event at a destination.
type Place = (EventId, Arc<str>);

/// What went because its time was over, and what is to go.
#[derive(Clone, Debug, Default)]
pub(in crate::buffer) struct Expired {
    /// These went.
    pub gone: Vec<Place>,
    /// So many go within a day.
    pub soon: u64,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl DeadLetters {
    /// Forgets a letter, now that its event stands in the spool again. Where that fails it shows up twice, and the next
    /// start forgets it.
    pub fn put_back(&self, id: EventId, destination: &str) {
        if let Err(error) = self.remove(id, destination) {
            tracing::error!(%error, %id, destination, "a dead letter was put back but could not be removed: it shows up twice");
        }
    }

    /// Whether there was one.
    pub(super) fn remove(&self, id: EventId, destination: &str) -> Result<bool, DeadError> {
        let id = id.to_string();
        self.with(|open| {
            let removed = self.delete(open, |all| {
                let mut find = all.prepare(
                    "SELECT rowid, id, destination FROM dead_letters WHERE id = ?1 AND destination = ?2",
                )?;
                rows_of(&mut find, (&id, destination))
            })?;
            Ok(removed.rows > 0)
        })
    }

    /// Forgets the letters that pass `filter`, and says which. Where the file fails after some of them went, these are
    /// told, and the rest stays.
    ///
    /// # Errors
    /// The file cannot be written: nothing went.
    pub fn drop_matching(&self, filter: &EventFilter) -> Result<Vec<Place>, DeadError> {
        let Some(query) = Query::new(filter) else { return Ok(Vec::new()) };
        let mut gone = Vec::new();
        let mut before: Option<String> = None;
        loop {
            // The file is let go of between two batches.
            let batch = self.with(|open| {
                let (ids, more) = query.ids(&open.connection, before.as_deref(), BATCH)?;
                let removed = self.delete(open, |all| {
                    let mut find =
                        all.prepare("SELECT rowid, id, destination FROM dead_letters WHERE id = ?1")?;
                    let mut found = Vec::new();
                    for id in &ids {
                        found.append(&mut rows_of(&mut find, (id,))?);
                    }
                    found.retain(|found| filter.wants_destination(&found.destination));
                    Ok(found)
                })?;
                Ok((removed.places, if more { ids.last().cloned() } else { None }))
            });
            match batch {
                Ok((mut places, next)) => {
                    gone.append(&mut places);
                    before = next;
                }
                Err(error) if gone.is_empty() => return Err(error),
                Err(error) => {
                    tracing::error!("only {} of the dead letters to be dropped were: {error}", gone.len());
                    return Ok(gone);
                }
            }
            if before.is_none() {
                return Ok(gone);
            }
        }
    }

    /// Forgets what is older than the retention, and counts what will be within a day. Where the file fails after some of
    /// them went, these are told, and the rest goes next time.
    ///
    /// # Errors
    /// The file cannot be written: nothing went.
    pub fn expire(&self, now: Millis) -> Result<Expired, DeadError> {
        let mut expired = Expired::default();
        let over = row::moment(now.minus(self.options.retention));
        loop {
            let batch = self.with(|open| {
                self.delete(open, |all| {
                    let mut find = all.prepare(
                        "SELECT rowid, id, destination FROM dead_letters INDEXED BY dead_by_death
                         WHERE died_at <= ?1 ORDER BY died_at LIMIT ?2",
                    )?;
                    rows_of(&mut find, (over, BATCH as i64))
                })
            });
            match batch {
                Ok(removed) if removed.rows == 0 => break,
                Ok(mut removed) => expired.gone.append(&mut removed.places),
                Err(error) if expired.gone.is_empty() => return Err(error),
                Err(error) => {
                    tracing::error!("dead letters that are too old are still there: {error}");
                    break;
                }
            }
        }
        expired.soon = self.with(|open| {
            let soon = row::moment(now.plus(DAY).minus(self.options.retention));
            let count = "SELECT count(*) FROM dead_letters INDEXED BY dead_by_death WHERE died_at <= ?1";
            let count: i64 = open.connection.query_row(count, [soon], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })?;
        Ok(expired)
    }

    /// Deletes, in one transaction, the rows that `find` finds.
    fn delete(
        &self,
        open: &mut Open,
        find: impl FnOnce(&Connection) -> rusqlite::Result<Vec<Found>>,
    ) -> Result<Removed, Failed> {
        let all = open.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (mut change, mut removed) = (Change::default(), Removed::default());
        for found in find(&all)? {
            all.execute("DELETE FROM dead_letters WHERE rowid = ?1", [found.row])?;
            change.events -= i64::from(!has_event(&all, &found.id)?);
            let name = self.ledger.lock().name(&found.destination);
            change.count(&name, -1);
            removed.rows += 1;
            // An id that is none was never given out: nobody asks where it went.
            if let Ok(id) = found.id.parse() {
                removed.places.push((id, name));
            }
        }
        let bytes = file::bytes_in_use(&all)?;
        all.commit()?;
        self.ledger.lock().apply(change, bytes);
        // The letters are gone; that the file is as long as before is no error.
        if let Err(error) = file::give_back(&open.connection) {
            tracing::warn!("free space in {} cannot be given back: {error}", self.path.display());
        }
        Ok(removed)
    }
}

#[derive(Default)]
struct Removed {
    rows: usize,
    places: Vec<Place>,
}

struct Found {
    row: i64,
    id: String,
    destination: String,
}

fn rows_of(find: &mut rusqlite::Statement<'_>, by: impl rusqlite::Params) -> rusqlite::Result<Vec<Found>> {
    find.query_map(by, |row| {
        Ok(Found { row: row.get(0)?, id: row::lossy(row, 1)?, destination: row::lossy(row, 2)? })
    })?
    .collect()
}
