//! How many letters there are, and where: kept in memory, so that figures cost no disk.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;

use super::file;

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::buffer) struct Usage {
    /// Events that are dead somewhere, each once.
    pub events: u64,
    /// What they take of the disk.
    pub bytes: u64,
    /// The bound of `bytes`.
    pub max_bytes: u64,
    /// Whether it is time to warn.
    pub over_80_percent: bool,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    events: u64,
    bytes: u64,
    lanes: HashMap<Arc<str>, u64>,
}

/// What a transaction changes, once it stands.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub events: i64,
    pub lanes: HashMap<Arc<str>, i64>,
}

impl Change {
    pub fn count(&mut self, destination: &Arc<str>, by: i64) {
        *self.lanes.entry(Arc::clone(destination)).or_default() += by;
    }
}

impl Ledger {
    pub fn count(connection: &Connection) -> rusqlite::Result<Self> {
        let events: i64 =
            connection.query_row("SELECT count(DISTINCT id) FROM dead_letters", [], |row| row.get(0))?;
        let mut ledger =
            Self { events: at_least_0(events), bytes: file::bytes_in_use(connection)?, ..Self::default() };
        let mut per_lane =
            connection.prepare("SELECT destination, count(*) FROM dead_letters GROUP BY destination")?;
        let mut rows = per_lane.query([])?;
        while let Some(row) = rows.next()? {
            // What is no text is no destination of ours.
            if let Ok(name) = row.get_ref(0)?.as_str() {
                ledger.lanes.insert(Arc::from(name), at_least_0(row.get(1)?));
            }
        }
        Ok(ledger)
    }

    pub fn apply(&mut self, change: Change, bytes: u64) {
        self.bytes = bytes;
        self.events = self.events.saturating_add_signed(change.events);
        for (name, by) in change.lanes {
            let count = self.lanes.entry(name).or_default();
            *count = count.saturating_add_signed(by);
        }
        self.lanes.retain(|_, count| *count > 0);
    }

    pub fn usage(&self, max_bytes: u64) -> Usage {
        let over_80_percent = u128::from(self.bytes) * 5 >= u128::from(max_bytes) * 4;
        Usage { events: self.events, bytes: self.bytes, max_bytes, over_80_percent }
    }

    pub fn per_destination(&self) -> Vec<(Arc<str>, u64)> {
        self.lanes.iter().map(|(name, count)| (Arc::clone(name), *count)).collect()
    }

    /// The name, shared with all others who got it here.
    pub fn name(&self, destination: &str) -> Arc<str> {
        self.lanes
            .get_key_value(destination)
            .map_or_else(|| Arc::from(destination), |(name, _)| Arc::clone(name))
    }
}

fn at_least_0(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
