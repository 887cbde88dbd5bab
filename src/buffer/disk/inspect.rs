//! Looking at the folder of a stopped gateway, or at a copy of one. Nothing is opened for writing and nothing is locked:
//! what is found here is what the next start would find.

mod dead;
mod file;
mod folder;
mod state;
mod verify;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::buffer::view::{DestinationView, EventView, Status};
use crate::clock::Millis;
use folder::Folder;
use state::State;
pub use verify::verify;

/// A part of a file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, below the folder of the spool.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
    /// What it is.
    pub what: String,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments that were read.
    pub segments: u64,
    /// Indexes that were read, those that are kept for their ids among them.
    pub indexes: u64,
    /// Events whose record is whole.
    pub events: u64,
    /// What is damaged.
    pub damaged: Vec<Damage>,
    /// Whether a process holds the folder.
    pub in_use: bool,
}

/// A figure for each destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Events that wait for it.
    pub pending: u64,
    /// When the oldest of them came.
    pub oldest: Option<Millis>,
    /// Its dead letters.
    pub dead: u64,
}

/// What [`stats`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments, without spares.
    pub segments: u64,
    /// The bytes of all files of the spool.
    pub bytes: u64,
    /// Events, settled ones too.
    pub events: u64,
    /// When the oldest of them came.
    pub oldest: Option<Millis>,
    /// Segments to be.
    pub spares: u64,
    /// Ids that are remembered without an event.
    pub ids: u64,
    /// Pieces in quarantine.
    pub quarantined: u64,
    /// Dead letters.
    pub dead: u64,
    /// By name.
    pub destinations: BTreeMap<String, Waiting>,
    /// Whether a process holds the folder.
    pub in_use: bool,
    /// Damage that was met; [`verify`] tells it all.
    pub damaged: u64,
}

/// What [`dump`] could not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Events told.
    pub events: u64,
    /// Damage that was met; [`verify`] tells what.
    pub damaged: u64,
    /// Whether a process holds the folder.
    pub in_use: bool,
}

/// Tells every event, by segment; with `pending_only` those that some destination still waits for.
///
/// What became of events is held in memory meanwhile, some 100 bytes for each destination of each.
///
/// # Errors
/// A sentence: a folder that is no spool, or of a newer version. Or what `tell` says: it ends there.
pub fn dump<E: From<String>>(
    path: &Path,
    pending_only: bool,
    mut tell: impl FnMut(EventView) -> Result<(), E>,
) -> Result<Dumped, E> {
    let folder = Folder::open(path)?;
    let state = State::read(&folder)?;
    let mut dumped = Dumped { damaged: state.damaged, in_use: folder.in_use, events: 0 };
    for number in &state.segments {
        let Some(segment) = folder.segment(*number)? else { continue };
        let scanned = segment.scan();
        for row in &scanned.rows.rows {
            let Some((source, lanes)) = segment.names_of(&scanned.rows, row.source) else {
                dumped.damaged += 1;
                continue;
            };
            let places: Vec<_> = lanes.iter().map(|name| state.place(row.seq, name)).collect();
            if pending_only && places.iter().all(|place| place.status != Status::Pending) {
                continue;
            }
            match segment.event(row, source) {
                Some(event) => {
                    tell(EventView { event: Arc::new(event), destinations: places })?;
                    dumped.events += 1;
                }
                None => dumped.damaged += 1,
            }
        }
    }
    Ok(dumped)
}

/// Counts what is in the folder.
///
/// # Errors
/// A sentence: a folder that is no spool, or of a newer version; dead letters that cannot be counted.
pub fn stats(path: &Path) -> Result<Stats, String> {
    let folder = Folder::open(path)?;
    let state = State::read(&folder)?;
    let mut stats = Stats {
        segments: state.segments.len() as u64,
        bytes: folder.bytes,
        spares: folder.spares + state.former,
        ids: state.ids,
        quarantined: folder.quarantined,
        in_use: folder.in_use,
        damaged: state.damaged,
        ..Stats::default()
    };
    for (number, events) in &state.events {
        for (seq, received, source) in events {
            stats.events += 1;
            stats.oldest = stats.oldest.into_iter().chain([*received]).min();
            for name in state.lanes_of(*number, *source) {
                let waiting = stats.destinations.entry(name.to_string()).or_default();
                if state.place(*seq, name).status == Status::Pending {
                    waiting.pending += 1;
                    waiting.oldest = waiting.oldest.into_iter().chain([*received]).min();
                }
            }
        }
    }
    for (name, count) in dead::count(&folder.dead)? {
        stats.dead += count;
        stats.destinations.entry(name).or_default().dead = count;
    }
    Ok(stats)
}
