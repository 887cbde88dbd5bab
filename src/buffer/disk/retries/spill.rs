//! The file of retries that are due later: blocks of entries, each with a checksum in memory; freed blocks are used
//! again. It has no name, so it goes with the process.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::progress::Loc;
use super::Entry;
use crate::clock::Millis;

const ENTRY: usize = 24;

/// Sorted entries in the file.
#[derive(Debug)]
pub(super) struct Run {
    blocks: VecDeque<Block>,
    /// None of them is due later than this moment, whatever they say.
    not_after: Option<Millis>,
}

#[derive(Debug)]
struct Block {
    /// Which of the file's blocks.
    number: u32,
    entries: u32,
    crc: u32,
    /// The key of its first entry.
    first: (u64, u64),
}

impl Run {
    pub fn first(&self) -> Option<(u64, u64)> {
        self.blocks.front().map(|block| block.first)
    }

    /// All of them are due by `now`.
    pub fn hasten(&mut self, now: Millis) {
        self.not_after = Some(now);
        for block in &mut self.blocks {
            block.first.0 = block.first.0.min(now.0);
        }
    }

    /// An entry of this run as it is due.
    pub fn told(&self, entry: &Entry) -> Entry {
        self.not_after.map_or(*entry, |now| entry.by(now))
    }

    pub fn len(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.entries)).sum()
    }
}

#[derive(Debug)]
pub(super) struct SpillFile {
    folder: PathBuf,
    file: Option<File>,
    /// Entries in a block.
    block: usize,
    /// How many blocks the file has.
    count: u32,
    free: Vec<u32>,
}

impl SpillFile {
    pub fn new(folder: PathBuf, block: usize) -> Self {
        Self { folder, file: None, block, count: 0, free: Vec::new() }
    }

    /// Writes `entries`, which are sorted; all or none of them.
    pub fn write_run(&mut self, entries: &[Entry]) -> io::Result<Run> {
        let mut run = Run { blocks: VecDeque::new(), not_after: None };
        for chunk in entries.chunks(self.block) {
            let block = self.write_block(chunk);
            match block {
                Ok(block) => run.blocks.push_back(block),
                Err(error) => {
                    self.free(&mut run);
                    return Err(error);
                }
            }
        }
        Ok(run)
    }

    fn write_block(&mut self, entries: &[Entry]) -> io::Result<Block> {
        let bytes = encode(entries);
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.count = self.count.checked_add(1).ok_or(io::ErrorKind::StorageFull)?;
                self.count - 1
            }
        };
        let place = self.place(number);
        let written = self.opened().and_then(|file| file.write_all_at(&bytes, place));
        if let Err(error) = written {
            self.free.push(number);
            return Err(error);
        }
        let first = entries.first().map(Entry::key).unwrap_or_default();
        let crc = crc32c::crc32c(&bytes);
        Ok(Block { number, entries: entries.len() as u32, crc, first })
    }

    /// Takes the first block out of `run`. After an error it is still there.
    pub fn take_block(&mut self, run: &mut Run) -> io::Result<Vec<Entry>> {
        let Some(block) = run.blocks.front() else { return Ok(Vec::new()) };
        let entries = self.read(block)?;
        self.free.push(block.number);
        run.blocks.pop_front();
        self.let_go();
        Ok(entries)
    }

    /// Shows every entry of `run`.
    pub fn each(&self, run: &Run, look: &mut dyn FnMut(&Entry)) -> io::Result<()> {
        run.blocks.iter().try_for_each(|block| {
            self.read(block)?.iter().for_each(&mut *look);
            Ok(())
        })
    }

    /// Shows every entry of `run` to be changed, but for its key; `change` says whether it did. A changed block is
    /// written elsewhere: after an error the old one still holds.
    pub fn change(&mut self, run: &mut Run, change: &mut dyn FnMut(&mut Entry) -> bool) -> io::Result<()> {
        for block in &mut run.blocks {
            let mut entries = self.read(block)?;
            let changed = entries.iter_mut().filter_map(|entry| change(entry).then_some(())).count();
            if changed > 0 {
                let new = self.write_block(&entries)?;
                self.free.push(std::mem::replace(block, new).number);
            }
        }
        Ok(())
    }

    fn read(&self, block: &Block) -> io::Result<Vec<Entry>> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; block.entries as usize * ENTRY];
        file.read_exact_at(&mut bytes, self.place(block.number))?;
        if crc32c::crc32c(&bytes) != block.crc {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(bytes.chunks_exact(ENTRY).map(decode).collect())
    }

    pub fn free(&mut self, run: &mut Run) {
        self.free.extend(run.blocks.drain(..).map(|block| block.number));
        self.let_go();
    }

    /// Gives the disk's room back where nothing is in the file.
    fn let_go(&mut self) {
        if self.free.len() == self.count as usize {
            (self.file, self.count) = (None, 0);
            self.free = Vec::new();
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.file.is_none() && self.count == 0
    }

    #[cfg(test)]
    pub fn blocks(&self) -> u32 {
        self.count
    }

    /// Flips all bits of one byte of a block.
    #[cfg(test)]
    pub fn damage(&mut self, block: u32, byte: u64) {
        let at = self.place(block) + byte;
        let file = self.opened().unwrap();
        let mut was = [0];
        file.read_exact_at(&mut was, at).unwrap();
        file.write_all_at(&[!was[0]], at).unwrap();
    }

    fn place(&self, number: u32) -> u64 {
        u64::from(number) * (self.block * ENTRY) as u64
    }

    fn opened(&mut self) -> io::Result<&File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(nameless(&self.folder)?)),
        }
    }
}

/// A file in `folder` that has no name.
fn nameless(folder: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(folder, flags | OFlags::TMPFILE, mode) {
        return Ok(file.into());
    }
    // Not every file system can do that: a file with a name, for a moment.
    let path = folder.join("retries.tmp");
    let file = rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW, mode)?;
    std::fs::remove_file(&path)?;
    Ok(file.into())
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY);
    for entry in entries {
        bytes.extend_from_slice(&entry.due.to_le_bytes());
        bytes.extend_from_slice(&entry.seq.to_le_bytes());
        bytes.extend_from_slice(&entry.at.segment.to_le_bytes());
        bytes.extend_from_slice(&entry.at.offset.to_le_bytes());
    }
    bytes
}

fn decode(bytes: &[u8]) -> Entry {
    let u64_at =
        |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let u32_at =
        |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
    Entry { due: u64_at(0), seq: u64_at(8), at: Loc { segment: u32_at(16), offset: u32_at(20) } }
}
