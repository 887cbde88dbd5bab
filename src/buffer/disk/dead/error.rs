//! What can go wrong with the dead letters, as sentences.

use std::fmt;
use std::path::Path;

use rusqlite::ErrorCode;

use crate::event::EventId;

/// The file did not do what was asked. Nothing changed by it; what is not in the dead letters stays in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::buffer) enum DeadError {
    /// The disk is full. It goes by itself when there is room.
    DiskFull(String),
    /// The file is damaged; it needs a human.
    Damaged(String),
    /// Anything else: an I/O error, somebody else who holds the file for too long.
    Failed(String),
}

impl DeadError {
    pub(super) fn new(path: &Path, error: &rusqlite::Error) -> Self {
        let shown = path.display();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull(format!("the disk is full: {shown} cannot grow")),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(format!(
                "{}; restart hooklatch: it moves them away, and begins without any",
                damaged(path, &error.to_string())
            )),
            _ => Self::Failed(format!("the dead letters in {shown} cannot be read or written: {error}")),
        }
    }

    pub(super) fn unreadable(path: &Path, id: EventId, why: &str) -> Self {
        Self::Failed(format!("the dead letter {id} in {} cannot be read: {why}", path.display()))
    }
}

impl fmt::Display for DeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskFull(sentence) | Self::Damaged(sentence) | Self::Failed(sentence) => {
                f.write_str(sentence)
            }
        }
    }
}

impl std::error::Error for DeadError {}

/// The sentence about a damaged file.
pub(super) fn damaged(path: &Path, what: &str) -> String {
    format!("the dead letters in {} are damaged ({what})", path.display())
}
