//! The disk form of the buffer: a spool of our own. This page is its design; each file says how it keeps its part.
//!
//! # What holds, always
//! - An event's sender reads its 2xx after `fdatasync` of the segment that holds the event returned (`ack = "durable"`).
//! - An event is stored once, whatever its destinations. It leaves the spool only when every destination took it or it
//!   stands in the dead letters, durably.
//! - What happened to an event (delivered, deferred with attempts and due time, dead, requeued) is written behind
//!   events, in the same log, and is on the disk with the next commit: at most one commit later, or 50 ms.
//! - A segment goes only after the progress that it holds for events elsewhere stands in a later one, durably.
//! - Memory holds no event that waits, but a window of each class of a lane; a bit for a place, and 24 bytes for a waiting
//!   retry, up to a million of them: more are in a file without a name, which the next start does without.
//! - What is next in a lane: class first, inside a class due retries and fresh ones in turn, an event whose key is busy steps
//!   aside; the rate and the ramp bound the sum. An event carries its class and its order key (a hash) from its first
//!   record on; a retry that waits holds its key, so a restart changes no order.
//! - A record is believed only if its CRC-32C is right; what is not believed is counted, copied away and named.
//! - A failed `fdatasync` or write is never repeated on its file: the segment is given up, its waiting senders get a 503,
//!   the next commit goes to a new one. What earlier commits left unsynced there, since nobody waited for it (progress,
//!   events of `ack = "memory"`), goes there once more; the segment shows only what was synced.
//! - One writer: a single thread appends. Everything else reads what is committed, which never changes.
//!
//! # The folder
//! ```text
//! <buffer.path>/
//!   LOCK                     one process at a time
//!   spool/0000000123.log     a segment: header, records; a fixed size, recycled
//!   spool/0000000123.idx     the index of a sealed segment; its events and its progress without the bodies
//!   spool/0000000123.ids     an index whose segment has gone, kept for its event ids until `dedupe.ttl`;
//!                            the latest one stays: it tells which numbers were given
//!   spool/spare-7.log        a segment to be: as large as all others, its blocks written once
//!   spool/quarantine/        what was damaged, byte for byte, for a human
//!   dead.sqlite              the dead letters, and when an operator last made due what waited
//! ```
//! Integers are little-endian. A *sequence number* (u64, dense, given when an event is appended) is the only reference
//! held in memory. hooklatch's own id of an event is its time and that number, so an id is looked up without an index.
//!
//! ```text
//! segment    header at 0 and, the same again, at 512; records from 1024 on. Version 3: a step
//!            may tell when its place was replayed; from 2 on events may have a class and an order key, of version 1 all are
//!            normal ones without a key
//! header     magic "hlspool\0" | version u16 | features u16 | number u32 | nonce u32 | first seq u64 | opened u64 ms
//!            | crc32c u32
//! record     len u32 (of the payload) | crc32c u32 | seq u32 | kind u8 | commit u24 | payload
//!            The CRC is seeded with the segment's nonce and covers seq, kind, commit and payload: what is left of a
//!            recycled file's former life is never taken for a record of this one. `seq` counts from the header's first
//!            seq. `commit` counts the commits of this segment: an invalid record before a valid one of a later commit is
//!            damage; one within the last commit is a torn tail that nobody was told 2xx for.
//! kinds      1 event     2 progress (a block: all that one commit has)     3 id only
//!            4 source    the names behind a number: route, provider, destinations
//!            5 lane      the name behind a destination's number
//!            6 replaces  (a merged segment's first record) the segments that it stands for
//!            Names, not numbers, are what lasts: numbers hold within one segment. A segment defines a number twice
//!            before its first use, so that one damaged record does not orphan a commit, and once more in its next commit,
//!            so that one damaged block does not orphan a whole segment.
//! index      see `index`: columns of the segment's events, its names, its progress, a table from the hash of the
//!            provider's id to the event. Written when the segment is sealed (temporary file, fsync, rename); one that is
//!            missing, or whose CRC is wrong, is made anew from the segment.
//! ```
//!
//! # The operations
//! - *append*: a sequence number is given and the record encoded into the batch. Nothing is written yet.
//! - *commit*: one write of the whole batch behind the last one, with zeros up to the end of its last page (the next
//!   commit writes over these), one `fdatasync`. Then senders are woken.
//! - *roll*: where the batch does not fit, a spare becomes the next segment (header, rename, fsync of the folder). The
//!   header is on the disk with the `fdatasync` of the first commit: before that nothing in the segment is promised.
//! - *seal*: the index of a segment that was rolled away from is written, beside the writer.
//! - *carry*: progress that a segment holds for events elsewhere is appended again, before the segment goes.
//! - *drop*: a segment whose events are all settled goes when its `retention` is over or its room is needed: from now on
//!   none of its events is put on its way again (one that was is seen by looking once more), carry, commit, `.idx`
//!   becomes `.ids`, the file becomes a spare. Its blocks are used after an fsync of the folder: its old name could come
//!   back before.
//! - *merge*: where no segment can be dropped, what waits in those with the fewest bytes waiting is copied together into
//!   a spare, whose first record says whom it replaces. It becomes a segment (fsync, rename) before they go as in a drop.
//!   Where no two fit into one, the emptiest is filled up with a part of the next: that part stands twice until the next
//!   one goes, too, byte for byte the same, and whoever reads takes either. In a folder that is as large as it may be,
//!   both begin while eight spares are left: senders have those while a merge takes its time.
//!
//! A folder is taken to keep the order of its changes over a power loss, as every journaling file system does: of what
//! was not synced, any number of the first changes is there.
//!
//! # Recovery
//! Reads every index; scans what has none, and writes and syncs that again (a failed sync may have left it in memory
//! only, where no later sync looks at it); puts aside what a merged segment replaces, and tells in this order: all
//! progress in the order of the log, so that an event that is settled is known to be so when it comes; then all events in
//! ascending order; then the ids for the dedupe table, oldest first. A new segment is begun with the first commit:
//! nothing is ever appended behind a torn tail.
//!
//! | the process ends … | and the next start finds |
//! |---|---|
//! | before the write of a commit | nothing of it; no sender was told 2xx |
//! | within it, or before its `fdatasync` returned | any part of it: whole records are kept (their senders come again and read "duplicate"), torn ones end the segment |
//! | after the `fdatasync`, before the 2xx | the event; the sender's retry is a duplicate |
//! | after the 2xx, before the progress was written | the event, pending: it goes out again with the same id |
//! | within a roll, before its rename | a spare, whatever its header says |
//! | after the rename of a roll, before its first commit was synced | a segment without a record, or, where the power failed and the header is not on the disk, a file with an earlier life's header or none: a spare |
//! | within a seal | a segment without an index, perhaps a temporary file (removed): it is scanned |
//! | within a merge, before its rename | a spare, whatever stands in it |
//! | after it, before the replaced ones are gone | both: the replaced ones become spares, their indexes `.ids` |
//! | within a drop, after `.idx` became `.ids` | a segment without an index: scanned, found settled, dropped again |

mod batch;
mod buffer;
mod commit;
mod compact;
mod dead;
mod device;
mod excerpts;
mod feeder;
mod housekeeper;
mod index;
pub(in crate::buffer) mod inspect;
mod lane;
mod lanes;
mod listing;
mod load;
mod lookup;
mod mortician;
mod ports;
pub(super) mod progress;
pub(super) mod record;
mod recover;
mod recovered;
mod retries;
mod rows;
mod scan;
mod search;
mod segment;
mod shared;
pub(super) mod source;
mod spares;
mod spilled;
mod spool;
#[cfg(test)]
mod tests;
mod thread;
mod writer;

pub use buffer::DiskBuffer;
pub use device::make_folder;
pub use lane::DiskLane;
#[doc(hidden)]
pub use record::fuzz_record;
