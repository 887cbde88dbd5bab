//! The header and the table of sections: where everything is.

use super::IndexError;
use super::pages;

/// The format that is written, and the newest that is read.
pub(super) const VERSION: u16 = 1;
/// Where the first section begins.
pub(super) const HEAD: usize = 512;

const MAGIC: &[u8; 8] = b"hlindex\0";
const HEADER: usize = 64;
const ENTRY: usize = 8;
const MAX_SECTIONS: usize = (HEAD - HEADER) / ENTRY;

/// What a section holds. The numbers are those of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Places = 1,
    Received = 2,
    Source = 3,
    Numbers = 4,
    Seqs = 5,
    Keyed = 6,
    Keys = 7,
    Aliases = 8,
    ById = 9,
    Fence = 10,
    Ids = 11,
    Progress = 12,
    Lanes = 13,
    Sources = 14,
    Replaces = 15,
    Classes = 16,
    OrderKeys = 17,
}

/// One more than the highest kind.
const KINDS: usize = 18;

/// Where a section is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// In the file.
    pub at: u64,
    /// Without CRCs.
    pub len: u32,
    /// Bytes of one item; 0 where that varies.
    pub width: u8,
}

/// All of the header but the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub number: u32,
    pub nonce: u32,
    pub end: u32,
    pub first_seq: u64,
    pub first_received: u64,
    pub last_received: u64,
    pub count: u32,
}

/// Where the sections of known kinds are; one that is not there has no bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sections([Section; KINDS]);

impl Sections {
    pub fn get(&self, kind: Kind) -> Section {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }
}

/// The first [`HEAD`] bytes of a file.
pub(super) fn encode(header: &Header, table: &[(Kind, u8, u32)]) -> Vec<u8> {
    debug_assert!(table.len() <= MAX_SECTIONS);
    let mut entries = Vec::with_capacity(table.len() * ENTRY);
    for (kind, width, len) in table {
        entries.extend([*kind as u8, *width, 0, 0]);
        entries.extend(len.to_le_bytes());
    }
    let mut out = Vec::with_capacity(HEAD);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend([0, 0]);
    for field in [header.number, header.nonce, header.end] {
        out.extend(field.to_le_bytes());
    }
    for field in [header.first_seq, header.first_received, header.last_received] {
        out.extend(field.to_le_bytes());
    }
    out.extend(header.count.to_le_bytes());
    out.extend((table.len() as u16).to_le_bytes());
    out.extend([0, 0]);
    out.extend(crc32c::crc32c(&entries).to_le_bytes());
    out.extend(crc32c::crc32c(&out).to_le_bytes());
    out.extend(entries);
    out.resize(HEAD, 0);
    out
}

/// What the first [`HEAD`] bytes of a file of `file_len` bytes say.
pub(super) fn decode(bytes: &[u8], file_len: u64) -> Result<(Header, Sections), IndexError> {
    let mut fields = Fields(bytes);
    let header = fields.take(HEADER).ok_or(IndexError::Damaged)?;
    let (covered, crc) = header.split_at(HEADER - 4);
    if !covered.starts_with(MAGIC) || Fields(crc).u32() != Some(crc32c::crc32c(covered)) {
        return Err(IndexError::Damaged);
    }
    // Behind the CRC: what one flipped bit makes of a version is damage, and not a reason to refuse the whole folder.
    let mut of_header = Fields(covered);
    let version = of_header.take(MAGIC.len()).and_then(|_| of_header.u16()).ok_or(IndexError::Damaged)?;
    if version > VERSION {
        return Err(IndexError::Newer { version });
    }
    decode_rest(&mut of_header, fields, file_len).ok_or(IndexError::Damaged)
}

fn decode_rest(
    of_header: &mut Fields<'_>,
    mut table: Fields<'_>,
    file_len: u64,
) -> Option<(Header, Sections)> {
    of_header.u16()?;
    let header = Header {
        number: of_header.u32()?,
        nonce: of_header.u32()?,
        end: of_header.u32()?,
        first_seq: of_header.u64()?,
        first_received: of_header.u64()?,
        last_received: of_header.u64()?,
        count: of_header.u32()?,
    };
    let count = usize::from(of_header.u16()?);
    of_header.u16()?;
    let entries = table.take(count * ENTRY)?;
    if of_header.u32()? != crc32c::crc32c(entries) {
        return None;
    }
    let (mut sections, mut at) = (Sections::default(), HEAD as u64);
    for entry in entries.chunks_exact(ENTRY) {
        let mut entry = Fields(entry);
        let (kind, width) = (entry.u8()?, entry.u8()?);
        let (_, len) = (entry.u16()?, entry.u32()?);
        if let Some(section) = sections.0.get_mut(usize::from(kind)) {
            if section.len != 0 {
                return None;
            }
            *section = Section { at, len, width };
        }
        at += pages::stored_len(len);
    }
    (at == file_len).then_some((header, sections))
}

/// What is left of some bytes, read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// An integer of 1, 2, 4 or 8 bytes.
    pub fn of_width(&mut self, width: u8) -> Option<u64> {
        match width {
            1 => self.u8().map(u64::from),
            2 => self.u16().map(u64::from),
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => None,
        }
    }

    /// A text behind its length.
    pub fn text(&mut self) -> Option<&'a str> {
        let len = self.u32()?;
        std::str::from_utf8(self.take(len as usize)?).ok()
    }
}
