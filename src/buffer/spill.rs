//! The spill: what a memory buffer could not deliver before a stop, written down for the next start.
//!
//! ```text
//! <buffer.path>/spill/1768473000123.log   named by the time of the stop
//! <buffer.path>/spill/1768473000123.damaged   one that was taken up, but for records that could not be read
//! ```
//! A file has the form of a segment (see `disk`), its records are sealed in the same way. Its header's `first seq` says
//! how many records there are, since nothing else would tell that some are missing at the end. Sources and destinations
//! are defined before their first use and all of them once more at the end, so that no damaged name orphans events. An
//! event's progress stands behind it. The nonce is drawn anew for each file: nobody who sends a body with a record in it
//! could have that taken for an event.
//!
//! A file is there whole or not at all (temporary file, fsync, rename, fsync of the folder), and goes when its events
//! stand in the new buffer, whatever its form. In between, a crash means that events come twice, never that one is lost.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub(super) use read::read;
pub(super) use write::Writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::progress::What;
use crate::clock::Millis;
use crate::event::{Attempt, DedupeKey, Event};

/// Of all bodies and headers together; the files are closed to everybody else, as the spool is.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// An event between two buffers.
#[derive(Clone, Debug)]
pub(super) struct Spilled {
    pub(super) event: Arc<Event>,
    /// Under which its id is remembered.
    pub(super) key: Option<DedupeKey>,
    /// Each destination once.
    pub(super) places: Vec<SpilledPlace>,
}

/// Where it stands at one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SpilledPlace {
    pub(super) destination: Arc<str>,
    /// [`What::Requeued`] where its first attempt is still to come.
    pub(super) what: What,
    pub(super) attempts: Vec<Attempt>,
    /// When it was replayed, where it was and pends.
    pub(super) since: Option<Millis>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpillReport {
    /// Events that were pending or dead somewhere.
    pub events: u64,
    /// The file; none where there was nothing to write.
    pub path: Option<PathBuf>,
}

/// What was taken up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenSpill {
    /// Events that stand in the buffer again.
    pub events: u64,
    /// Records that could not be read: each may have been an event.
    pub damaged: u64,
    /// Where the files with these are kept.
    pub kept: Vec<PathBuf>,
    /// A sentence for each file that could not be removed: its events come once more at the next start.
    pub left: Vec<String>,
}

/// Where the files are.
fn folder_of(state: &Path) -> PathBuf {
    state.join("spill")
}

/// Makes what was created, renamed and removed in `folder` last.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}
