//! The index of a sealed segment: what the segment's events are and where, without their bodies.
//!
//! ```text
//! file       header at 0 | table of sections at 64 | zeros up to 512 | the sections, in the order of the table
//! header     magic "hlindex\0" | version u16 | features u16 | segment u32 | nonce u32 | end u32 | first seq u64
//!            | earliest event u64 ms | latest event u64 ms | events u32 | sections u16 | 0 u16
//!            | crc32c u32 of the table | crc32c u32 of the header
//! table      8 bytes a section: kind u8 | bytes of one item u8 (0: it varies) | 0 u16 | length u32, without CRCs
//! section    pages of 4,080 bytes, the last one shorter, each with a CRC-32C behind it, which covers also whose page
//!            it is: segment, nonce, kind and place. So a part of a column can be read and believed by itself.
//! ```
//! A *slot* is an event's place in the order of the segment. A section that would be empty is not there; one of an
//! unknown kind is skipped.
//!
//! ```text
//!  1 places    offset u32, length u32 of each slot's record
//!  2 received  of each slot, ms since the earliest: u32, or u64 if it must
//!  3 source    of each slot, its place in 4: u8, u16 or u32
//!  4 numbers   of the sources that are met here, u32 each
//!  5 seqs      of each slot, since the first seq, u32; only if they are not 0, 1, 2 …
//!  6 keyed     a bit for each slot that has a key; only if some have and some have not
//!  7 keys      u128 of each slot that has one
//!  8 aliases   slot u32, id u128, of the events whose id is not made of their time and seq
//!  9 by id     hash of the provider's id u32, slot u32; ascending
//! 10 fence     the first hash of each page of 9, u32
//! 11 ids       key u128, id u128, kept at u64: ids without an event
//! 12 progress  offset u32, length u32, payload: the blocks
//! 13 lanes     number u32, name (length u32, bytes)
//! 14 sources   number u32, route, provider (length 0xffffffff: none), count u32 of the lanes' numbers, u32 each
//! 15 replaces  u32 each
//! 16 classes   of each slot, as in its record: u8; only if not all are normal
//! 17 order     keys of each slot, u64, 0 where it has none; only if some have one
//! ```

mod layout;
mod pages;
mod read;
mod write;

pub(in crate::buffer) use read::{Index, Offsets};
pub(in crate::buffer) use write::write;

use std::fmt;
use std::io;
use std::sync::Arc;

use super::source::Source;
use crate::clock::Millis;
use crate::event::{DedupeKey, EventId, Turn};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct Row {
    /// Its sequence number.
    pub seq: u64,
    /// Where its record begins in the segment.
    pub offset: u32,
    /// How long the record is.
    pub len: u32,
    /// When it came.
    pub received: Millis,
    /// The number of its source; the segment's own.
    pub source: u32,
    /// By what duplicates of it are known.
    pub key: Option<DedupeKey>,
    /// The hash of the provider's id of it.
    pub id_hash: Option<u32>,
    /// Its id, where that is not made of `received` and `seq`.
    pub alias: Option<EventId>,
    /// Its class and its order key.
    pub turn: Turn,
}

/// An id whose event is somewhere else, or gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct IdRow {
    /// By what duplicates are known.
    pub key: DedupeKey,
    /// The event.
    pub id: EventId,
    /// When it was kept.
    pub kept_at: Millis,
}

/// Tells blocks of progress, in order: where the record of each begins, and its payload.
pub(in crate::buffer) type Blocks<'a> =
    &'a mut dyn FnMut(&mut dyn FnMut(u32, &[u8])) -> Result<(), IndexError>;

/// All that an index says, but for the progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::buffer) struct Contents {
    /// The segment's number.
    pub number: u32,
    /// The segment's nonce.
    pub nonce: u32,
    /// The first sequence number of the segment's header.
    pub first_seq: u64,
    /// How many bytes of the segment are valid.
    pub end: u32,
    /// The events, by ascending `seq`.
    pub rows: Vec<Row>,
    /// Ids without an event.
    pub ids: Vec<IdRow>,
    /// The names behind the segment's numbers of destinations.
    pub lanes: Vec<(u32, Arc<str>)>,
    /// The names behind the segment's numbers of sources.
    pub sources: Vec<(u32, Source)>,
    /// The segments that it stands for.
    pub replaces: Vec<u32>,
}

/// Why an index cannot be read.
#[derive(Debug)]
pub(in crate::buffer) enum IndexError {
    /// The disk says no.
    Io(io::Error),
    /// It is not what was written.
    Damaged,
    /// It was written by a newer hooklatch.
    Newer {
        /// Its format.
        version: u16,
    },
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for IndexError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Damaged => f.write_str("it is damaged"),
            Self::Newer { version } => write!(f, "its format {version} is newer than this hooklatch knows"),
        }
    }
}

#[cfg(test)]
mod tests;
