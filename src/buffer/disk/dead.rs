//! The dead letters: a SQLite file, because they are rare, must be searched, and an operator can open it with a tool
//! that is everywhere.
//!
//! One row is one event at one destination, whole: it needs nothing of the spool, which forgets the event once its row
//! stands. Every call blocks, and what a call wrote is durable when it returns (`synchronous = FULL`). A crash between an
//! insert and what the spool writes of it brings the same letter again: the row that stands stays.
//!
//! What is counted against the bound is what the file holds: its pages in use, without those of an empty one. So the
//! bound is one of the disk, whatever the letters look like; beside the file stands a log of a few MiB.
//!
//! Other programs may read the file meanwhile. If one writes to it, the counts here are taken anew at the next call.

mod delete;
mod error;
mod file;
mod hastened;
mod insert;
mod ledger;
mod query;
mod row;
#[cfg(test)]
mod tests;

pub(in crate::buffer) use error::DeadError;
pub(in crate::buffer) use insert::Inserted;
pub(in crate::buffer) use ledger::Usage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};

use self::file::NotOpen;
use self::ledger::Ledger;
use self::query::Query;
use crate::buffer::handoff::DeadReason;
use crate::buffer::view::EventFilter;
use crate::clock::Millis;
use crate::event::{Attempt, Event, EventId};

/// An event that a destination did not take, with all that is known of why.
#[derive(Clone, Debug)]
pub(in crate::buffer) struct DeadLetter {
    /// The event.
    pub event: Arc<Event>,
    /// Which destination.
    pub destination: Arc<str>,
    /// Why no further attempt is made.
    pub reason: DeadReason,
    /// The attempts, oldest first; kept to the millisecond.
    pub attempts: Vec<Attempt>,
    /// The start of the last answer's body.
    pub excerpt: Bytes,
    /// When it was given up.
    pub died_at: Millis,
}

/// The bounds of the dead letters.
#[derive(Clone, Copy, Debug)]
pub(in crate::buffer) struct DeadOptions {
    /// How many bytes of the disk they may take.
    pub max_bytes: u64,
    /// How long each is kept.
    pub retention: Duration,
}

/// How many letters one transaction adds or removes: so nobody waits long for the file.
const BATCH: usize = 500;
/// How many events one page of a list has at most.
const PER_PAGE: usize = 1000;
/// How many bytes of events and answers one page of a list carries; what is read is in memory at once.
const PAGE_BYTES: usize = 16 << 20;

/// The store.
#[derive(Debug)]
pub(in crate::buffer) struct DeadLetters {
    path: PathBuf,
    options: DeadOptions,
    // Taken for as long as a call takes. The ledger has a lock of its own: asking how full it is waits for no disk.
    open: Mutex<Open>,
    ledger: Mutex<Ledger>,
    /// A file that was damaged was moved away.
    set_aside: bool,
}

#[derive(Debug)]
struct Open {
    connection: Connection,
    /// SQLite's count of what other connections wrote.
    seen: i64,
}

impl DeadLetters {
    /// Opens the file at `path`, or makes it. One that is damaged is moved aside, byte for byte, for a human: what goes on
    /// is worth more than what went wrong.
    ///
    /// # Errors
    /// A sentence that names the file and says what to do: it cannot be had, or is of a newer hooklatch.
    pub fn open(path: &Path, options: DeadOptions) -> Result<Self, String> {
        let what = match Self::begin(path, options) {
            Ok(store) => return Ok(store),
            Err(NotOpen::Refused(why)) => return Err(why),
            Err(NotOpen::Damaged(what)) => what,
        };
        let aside = file::set_aside(path)
            .map_err(|error| format!("{}, and not moved away: {error}", error::damaged(path, &what)))?;
        tracing::error!(
            "{}, and were moved to {}: hooklatch begins without any; the sqlite3 tool may still read some of them",
            error::damaged(path, &what),
            aside.display()
        );
        match Self::begin(path, options) {
            Ok(store) => Ok(Self { set_aside: true, ..store }),
            Err(NotOpen::Refused(why)) => Err(why),
            Err(NotOpen::Damaged(what)) => Err(error::damaged(path, &what)),
        }
    }

    fn begin(path: &Path, options: DeadOptions) -> Result<Self, NotOpen> {
        let connection = file::open(path)?;
        let begin = || -> rusqlite::Result<(i64, Ledger)> {
            Ok((file::data_version(&connection)?, Ledger::count(&connection)?))
        };
        let (seen, ledger) = begin().map_err(|error| file::not_open(path, &error))?;
        let open = Mutex::new(Open { connection, seen });
        Ok(Self { path: path.to_owned(), options, open, ledger: Mutex::new(ledger), set_aside: false })
    }

    /// Whether a file was damaged at the start.
    pub fn was_set_aside(&self) -> bool {
        self.set_aside
    }

    /// The letters of `id`, at `destination` or everywhere, for a replay: they stay until [`Self::remove`].
    ///
    /// # Errors
    /// The file cannot be read, or one of the rows says nothing that makes sense.
    pub fn take(&self, id: EventId, destination: Option<&str>) -> Result<Vec<DeadLetter>, DeadError> {
        self.with(|open| {
            let mut read = query::Letters::prepare(&open.connection)?;
            let mut found = Vec::new();
            for letter in read.of(&id.to_string(), destination)? {
                found.push(letter.map_err(|why| DeadError::unreadable(&self.path, id, &why))?);
            }
            Ok(found)
        })
    }

    /// The letters of `id`.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn find(&self, id: EventId) -> Result<Vec<DeadLetter>, DeadError> {
        self.take(id, None)
    }

    /// The letters of up to `limit` events (1,000 at most) that pass `filter`, newest event first, older than `before`; and whether there
    /// may be more. An event's letters are never split over two pages. A page that grows beyond 16 MiB ends early, after
    /// one event at least. A row that makes no sense is left out, with a warning.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(
        &self,
        filter: &EventFilter,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<(Vec<DeadLetter>, bool), DeadError> {
        let Some(query) = Query::new(filter) else { return Ok((Vec::new(), false)) };
        let (mut before, limit) = (before.map(|id| id.to_string()), limit.clamp(1, PER_PAGE));
        self.with(|open| {
            let mut letters = query::Letters::prepare(&open.connection)?;
            loop {
                let (ids, more) = query.ids(&open.connection, before.as_deref(), limit)?;
                let (found, cut) = self.page(&mut letters, filter, &ids)?;
                // The next page begins behind the last letter given: one without letters would be the end.
                if !found.is_empty() || !more {
                    return Ok((found, more || cut));
                }
                before = ids.last().cloned();
            }
        })
    }

    fn page(
        &self,
        read: &mut query::Letters<'_>,
        filter: &EventFilter,
        ids: &[String],
    ) -> Result<(Vec<DeadLetter>, bool), Failed> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for id in ids {
            if bytes >= PAGE_BYTES {
                return Ok((found, true));
            }
            for letter in read.of(id, None)? {
                match letter {
                    Ok(letter) if !filter.wants_destination(&letter.destination) => {}
                    Ok(letter) => {
                        bytes += row::size(&letter);
                        found.push(letter);
                    }
                    Err(why) => {
                        tracing::warn!(id, "a dead letter in {} is left out: {why}", self.path.display())
                    }
                }
            }
        }
        Ok((found, false))
    }

    /// Tells `each` the place of every letter, in no order that matters.
    ///
    /// # Errors
    /// The file cannot be read; `each` may have heard of some.
    pub fn all_places(&self, each: &mut dyn FnMut(EventId, &str, DeadReason)) -> Result<(), DeadError> {
        self.with(|open| {
            let mut read = open.connection.prepare("SELECT id, destination, reason FROM dead_letters")?;
            let mut rows = read.query([])?;
            while let Some(row) = rows.next()? {
                if let Some((id, destination)) = row::place(row) {
                    each(id, destination, row::reason_of(row));
                }
            }
            Ok(())
        })
    }

    /// How much there is. Waits for no disk.
    pub fn usage(&self) -> Usage {
        self.ledger.lock().usage(self.options.max_bytes)
    }

    /// How many letters each destination has; those that have some. Waits for no disk.
    pub fn per_destination(&self) -> Vec<(Arc<str>, u64)> {
        self.ledger.lock().per_destination()
    }

    /// Does `work` with the file, after a look whether somebody else wrote to it.
    fn with<T>(&self, work: impl FnOnce(&mut Open) -> Result<T, Failed>) -> Result<T, DeadError> {
        let mut open = self.open.lock();
        self.look_again(&mut open).and_then(|()| work(&mut open)).map_err(|failed| match failed {
            Failed::Sql(error) => DeadError::new(&self.path, &error),
            Failed::Told(error) => error,
        })
    }

    fn look_again(&self, open: &mut Open) -> Result<(), Failed> {
        let seen = file::data_version(&open.connection)?;
        if seen != open.seen {
            *self.ledger.lock() = Ledger::count(&open.connection)?;
            open.seen = seen;
        }
        Ok(())
    }
}

/// Why `with` ended early: SQLite's own error, which has no sentence yet, or one that has.
enum Failed {
    Sql(rusqlite::Error),
    Told(DeadError),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<DeadError> for Failed {
    fn from(error: DeadError) -> Self {
        Self::Told(error)
    }
}

/// Whether any row has this id.
fn has_event(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    let found = connection.query_row("SELECT 1 FROM dead_letters WHERE id = ?1 LIMIT 1", [id], |_| Ok(()));
    Ok(found.optional()?.is_some())
}
