//! Sections as pages, each with its own CRC.

use std::ops::Range;

use super::IndexError;
use super::layout::{Header, Kind, Section};
use crate::buffer::disk::device::DeviceFile;

/// Bytes of a section in one page: a multiple of the width of what is looked up page by page.
pub(super) const PAGE: usize = 4080;

const CRC: usize = 4;
/// Pages that are read, or written, at once.
pub(super) const AT_ONCE: usize = 64;

/// What `len` bytes take in the file.
pub(super) fn stored_len(len: u32) -> u64 {
    u64::from(len) + CRC as u64 * u64::from(len).div_ceil(PAGE as u64)
}

/// The CRC of a page: also of whose it is, so that no page is taken for another one.
fn crc(header: &Header, kind: Kind, page: usize, bytes: &[u8]) -> u32 {
    let mut whose = [0; 13];
    let fields = [header.number, header.nonce, page as u32];
    for (to, field) in whose.chunks_exact_mut(4).zip(fields) {
        to.copy_from_slice(&field.to_le_bytes());
    }
    if let Some(last) = whose.last_mut() {
        *last = kind as u8;
    }
    crc32c::crc32c_append(crc32c::crc32c(&whose), bytes)
}

/// Makes pages of one section's bytes, as they come, and gives them to `write` in pieces.
pub(super) struct Pages<W> {
    header: Header,
    kind: Kind,
    write: W,
    /// Whole pages, and the begun one.
    piece: Vec<u8>,
    /// How many bytes the begun one has.
    begun: usize,
    /// Its number.
    number: usize,
}

impl<E, W: FnMut(&[u8]) -> Result<(), E>> Pages<W> {
    pub fn new(header: &Header, kind: Kind, write: W) -> Self {
        Self { header: *header, kind, write, piece: Vec::new(), begun: 0, number: 0 }
    }

    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), E> {
        while !bytes.is_empty() {
            let (here, rest) = bytes.split_at(bytes.len().min(PAGE - self.begun));
            self.piece.extend(here);
            self.begun += here.len();
            bytes = rest;
            if self.begun == PAGE {
                self.end_page()?;
            }
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<(), E> {
        if self.begun > 0 {
            self.end_page()?;
        }
        if self.piece.is_empty() { Ok(()) } else { (self.write)(&self.piece) }
    }

    fn end_page(&mut self) -> Result<(), E> {
        let page = self.piece.get(self.piece.len() - self.begun..).unwrap_or_default();
        let crc = crc(&self.header, self.kind, self.number, page);
        self.piece.extend(crc.to_le_bytes());
        (self.begun, self.number) = (0, self.number + 1);
        if self.number.is_multiple_of(AT_ONCE) {
            (self.write)(&self.piece)?;
            self.piece.clear();
        }
        Ok(())
    }
}

/// The bytes `range` of a section; nothing where it is not all inside.
pub(super) fn read<F: DeviceFile>(
    file: &F,
    header: &Header,
    kind: Kind,
    section: Section,
    range: Range<usize>,
) -> Result<Vec<u8>, IndexError> {
    let len = section.len as usize;
    if range.start > range.end || range.end > len {
        return Err(IndexError::Damaged);
    }
    let (first, last) = (range.start / PAGE, range.end.div_ceil(PAGE));
    let mut out = Vec::with_capacity((last * PAGE).min(len).saturating_sub(first * PAGE));
    let mut stored = Vec::new();
    for from in (first..last).step_by(AT_ONCE) {
        let to = (from + AT_ONCE).min(last);
        let here = (to * PAGE).min(len) - from * PAGE;
        stored.resize(here + (to - from) * CRC, 0);
        let at = section.at + (from * (PAGE + CRC)) as u64;
        if file.read_at(&mut stored, at)? != stored.len() {
            return Err(IndexError::Damaged);
        }
        for (number, page) in (from..to).zip(stored.chunks(PAGE + CRC)) {
            let (bytes, stands) = page.split_last_chunk::<CRC>().ok_or(IndexError::Damaged)?;
            if u32::from_le_bytes(*stands) != crc(header, kind, number, bytes) {
                return Err(IndexError::Damaged);
            }
            out.extend(bytes);
        }
    }
    out.truncate(range.end - first * PAGE);
    out.drain(..(range.start - first * PAGE).min(out.len()));
    Ok(out)
}
