//! A file's bytes, as read and as a power loss leaves them.

use std::collections::BTreeMap;

/// What survives a power loss survives in pieces of this size, aligned.
pub(super) const SECTOR: u64 = 512;

/// A file's bytes.
#[derive(Debug, Default)]
pub(super) struct Stored {
    pub written: Vec<u8>,
    pub durable: Vec<u8>,
    /// By sector: what was written there since it was last synced, in order. A sector is on the disk as it was after
    /// one of these writes, or before all.
    pub unsynced: BTreeMap<u64, Vec<Piece>>,
}

#[derive(Debug)]
pub(super) struct Piece {
    at: u64,
    bytes: Vec<u8>,
}

impl Piece {
    fn apply(&self, to: &mut Vec<u8>) {
        let (from, end) = (self.at as usize, self.at as usize + self.bytes.len());
        if to.len() < end {
            to.resize(end, 0);
        }
        to[from..end].copy_from_slice(&self.bytes);
    }
}

impl Stored {
    pub fn write(&mut self, bytes: &[u8], at: u64) {
        let (mut at, mut rest) = (at, bytes);
        while !rest.is_empty() {
            let sector = at / SECTOR;
            let here = rest.len().min((SECTOR - at % SECTOR) as usize);
            let (now, later) = rest.split_at(here);
            let piece = Piece { at, bytes: now.to_vec() };
            piece.apply(&mut self.written);
            self.unsynced.entry(sector).or_default().push(piece);
            (at, rest) = (at + here as u64, later);
        }
    }

    pub fn sync(&mut self) {
        for piece in std::mem::take(&mut self.unsynced).into_values().flatten() {
            piece.apply(&mut self.durable);
        }
    }

    /// Cuts what is behind `len`, at once and for good.
    pub fn truncate(&mut self, len: u64) {
        self.written.truncate(len as usize);
        self.durable.truncate(len as usize);
        self.unsynced.retain(|sector, _| sector * SECTOR < len);
        for piece in self.unsynced.get_mut(&(len / SECTOR)).into_iter().flatten() {
            piece.bytes.truncate(len.saturating_sub(piece.at) as usize);
        }
    }

    pub fn crash(&mut self, choose: &mut impl FnMut(u32) -> u32) {
        for pieces in std::mem::take(&mut self.unsynced).into_values() {
            let survive = choose(pieces.len() as u32 + 1) as usize;
            for piece in pieces.iter().take(survive) {
                piece.apply(&mut self.durable);
            }
        }
        self.written.clone_from(&self.durable);
    }

    pub fn write_back(&mut self, choose: &mut impl FnMut(u32) -> u32) {
        let sector = choose(self.unsynced.len() as u32) as usize;
        let Some(sector) = self.unsynced.keys().nth(sector).copied() else { return };
        if let Some(mut pieces) = self.unsynced.remove(&sector) {
            pieces.remove(0).apply(&mut self.durable);
            if !pieces.is_empty() {
                self.unsynced.insert(sector, pieces);
            }
        }
    }
}
