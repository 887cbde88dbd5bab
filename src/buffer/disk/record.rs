//! What stands in a segment, byte for byte: its header, and the frame around every record. No I/O.
//!
//! The bytes that come in here come from a disk and are believed only where a CRC is right; and even then nothing in
//! them leads to a panic, to an allocation larger than a small multiple of what is there, or to a loop.

mod event;
mod fuzz;
mod names;
mod progress;
mod resync;
#[cfg(test)]
mod tests;
mod wire;

pub(in crate::buffer) use event::{
    class_code, class_of, decode_event, decode_event_head, encode_event, id_hash,
};
pub use fuzz::fuzz_record;
pub(in crate::buffer) use names::{
    decode_id, decode_lane, decode_replaces, decode_source, encode_id, encode_lane, encode_replaces,
    encode_source,
};
pub(in crate::buffer) use progress::{decode_progress, encode_progress};
pub(in crate::buffer) use resync::{Resync, next_valid};
pub(in crate::buffer) use wire::Reader;

use crate::clock::Millis;

/// Where a segment's first record begins.
pub(in crate::buffer) const HEADER: usize = 1024;
/// The frame in front of every record's payload.
pub(in crate::buffer) const RECORD_HEADER: usize = 16;
/// The format that this code writes, and the newest that it reads. In 1 no event has a turn; up to 2 no step tells since when
/// a budget runs.
pub(in crate::buffer) const VERSION: u16 = 3;

/// A segment's header stands twice: what damages one leaves the other.
const SECOND_COPY: usize = 512;
const MAGIC: &[u8; 8] = b"hlspool\0";
const HEADER_BYTES: usize = 40;

/// Bytes that are no payload of their kind, though their CRC may be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct Malformed;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct SegmentHeader {
    /// Its number, as in its file's name.
    pub number: u32,
    /// The seed of its records' CRCs: drawn anew for every life of a recycled file.
    pub nonce: u32,
    /// Its records' sequence numbers count from here.
    pub first_seq: u64,
    /// When it was begun.
    pub opened: Millis,
}

/// Why bytes are no header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) enum NotAHeader {
    /// Neither copy is one: damaged, half written, or another's file.
    Invalid,
    /// Written by a newer hooklatch.
    Newer {
        /// The format's version.
        version: u16,
    },
}

impl SegmentHeader {
    /// Both copies, and zeros around them.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut copy = Vec::with_capacity(HEADER_BYTES);
        copy.extend_from_slice(MAGIC);
        copy.extend_from_slice(&VERSION.to_le_bytes());
        // Features: bits for changes that a reader may ignore. None yet, and none is asked for when reading.
        copy.extend_from_slice(&0u16.to_le_bytes());
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.nonce.to_le_bytes());
        copy.extend_from_slice(&self.first_seq.to_le_bytes());
        copy.extend_from_slice(&self.opened.0.to_le_bytes());
        copy.extend_from_slice(&crc32c::crc32c(&copy).to_le_bytes());
        let mut header = [0; HEADER];
        for at in [0, SECOND_COPY] {
            put_at(&mut header, at, &copy);
        }
        header
    }

    /// Reads the first copy whose CRC is right.
    ///
    /// # Errors
    /// None is; or it is one of a newer format. These 40 bytes keep their layout in every version, so that an older
    /// hooklatch can say so.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotAHeader> {
        let second = bytes.get(SECOND_COPY..).unwrap_or_default();
        match Self::decode_copy(bytes) {
            Err(NotAHeader::Invalid) => Self::decode_copy(second),
            found => found,
        }
    }

    fn decode_copy(bytes: &[u8]) -> Result<Self, NotAHeader> {
        let covered = bytes.get(..HEADER_BYTES - 4).ok_or(NotAHeader::Invalid)?;
        let mut crc = Reader::new(bytes.get(HEADER_BYTES - 4..).unwrap_or_default());
        if crc.u32() != Ok(crc32c::crc32c(covered)) {
            return Err(NotAHeader::Invalid);
        }
        let fields = covered.strip_prefix(MAGIC).ok_or(NotAHeader::Invalid)?;
        Self::read_fields(&mut Reader::new(fields)).unwrap_or(Err(NotAHeader::Invalid))
    }

    fn read_fields(fields: &mut Reader<'_>) -> Result<Result<Self, NotAHeader>, Malformed> {
        let version = fields.u16()?;
        if version > VERSION {
            return Ok(Err(NotAHeader::Newer { version }));
        }
        let _features = fields.u16()?;
        let (number, nonce) = (fields.u32()?, fields.u32()?);
        let (first_seq, opened) = (fields.u64()?, Millis(fields.u64()?));
        Ok(Ok(Self { number, nonce, first_seq, opened }))
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::buffer) enum Kind {
    /// An event.
    Event = 1,
    /// All the progress that one commit has.
    Progress = 2,
    /// An event's id alone, for the dedupe table.
    Id = 3,
    /// The names behind the number of a source.
    Source = 4,
    /// The name behind the number of a destination.
    Lane = 5,
    /// Which segments this one stands for.
    Replaces = 6,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Event,
            2 => Self::Progress,
            3 => Self::Id,
            4 => Self::Source,
            5 => Self::Lane,
            6 => Self::Replaces,
            _ => return None,
        })
    }
}

/// A record whose CRC is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) struct Record<'a> {
    /// Its length with its frame: the next one begins so far behind.
    pub len_total: usize,
    /// Its sequence number, from the segment's first one on.
    pub seq: u32,
    /// Which of the segment's commits wrote it.
    pub commit: u32,
    /// What it is.
    pub kind: Kind,
    /// What it holds.
    pub payload: &'a [u8],
}

/// Why no record begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::buffer) enum Broken {
    /// Nothing was written here: a length of 0, or no room for a frame.
    End,
    /// The payload would be longer than what is there.
    Short,
    /// Written, but not as it stands here, or not in this life of the file.
    Crc,
    /// The CRC is right and the kind unknown.
    Kind,
}

/// Leaves room for a record's frame; where the record starts. Its payload is what is appended to `out` from here on.
pub(in crate::buffer) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + RECORD_HEADER, 0);
    start
}

/// Ends the record that began at `start`: its payload is the rest of `out`, and must not be empty. What its commit
/// alone knows is set by [`seal`].
pub(in crate::buffer) fn finish(out: &mut [u8], start: usize, kind: Kind) {
    let payload = out.len().saturating_sub(start + RECORD_HEADER);
    debug_assert!(payload > 0, "a length of 0 marks the end of the log");
    put_at(out, start, &(payload as u32).to_le_bytes());
    put_at(out, start + 12, &[kind as u8]);
}

/// Gives one whole record its place: its sequence number (from the segment's first one on), the number of its commit
/// (24 bits of it), and the CRC over all that.
pub(in crate::buffer) fn seal(record: &mut [u8], nonce: u32, seq: u32, commit: u32) {
    let [commit @ .., _] = commit.to_le_bytes();
    put_at(record, 8, &seq.to_le_bytes());
    put_at(record, 13, &commit);
    let crc = crc32c::crc32c_append(nonce, record.get(8..).unwrap_or_default());
    put_at(record, 4, &crc.to_le_bytes());
}

/// The record at the start of `bytes`.
pub(in crate::buffer) fn parse(bytes: &[u8], nonce: u32) -> Result<Record<'_>, Broken> {
    let frame = Frame::read(bytes).ok_or(Broken::End)?;
    if frame.len == 0 {
        return Err(Broken::End);
    }
    let len_total = RECORD_HEADER.saturating_add(frame.len as usize);
    let record = bytes.get(..len_total).ok_or(Broken::Short)?;
    let (covered, payload) = (record.get(8..), record.get(RECORD_HEADER..));
    if crc32c::crc32c_append(nonce, covered.unwrap_or_default()) != frame.crc {
        return Err(Broken::Crc);
    }
    let kind = Kind::from_byte(frame.kind).ok_or(Broken::Kind)?;
    let payload = payload.unwrap_or_default();
    Ok(Record { len_total, seq: frame.seq, commit: frame.commit, kind, payload })
}

/// A record's first 16 bytes.
#[derive(Clone, Copy)]
struct Frame {
    len: u32,
    crc: u32,
    seq: u32,
    kind: u8,
    commit: u32,
}

impl Frame {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [l0, l1, l2, l3, c0, c1, c2, c3, s0, s1, s2, s3, kind, n0, n1, n2] =
            *bytes.first_chunk::<RECORD_HEADER>()?;
        Some(Self {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            seq: u32::from_le_bytes([s0, s1, s2, s3]),
            kind,
            commit: u32::from_le_bytes([n0, n1, n2, 0]),
        })
    }
}

/// Overwrites what stands at `at`; where that is not all there, nothing is written.
fn put_at(out: &mut [u8], at: usize, bytes: &[u8]) {
    debug_assert!(at + bytes.len() <= out.len(), "the frame is there");
    if let Some(place) = out.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}
