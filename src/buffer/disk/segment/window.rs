//! A file, read forward.

use std::io;

use super::super::device::DeviceFile;

/// Reads a file forward in large pieces.
#[derive(Debug)]
pub(in crate::buffer) struct Window<'a, F> {
    file: &'a F,
    bytes: Vec<u8>,
    from: u32,
}

/// How much is read at once.
const PIECE: usize = 256 * 1024;

impl<'a, F: DeviceFile> Window<'a, F> {
    pub fn new(file: &'a F) -> Self {
        Self { file, bytes: Vec::new(), from: 0 }
    }

    /// The `len` bytes at `offset`; nothing where the file ends before.
    pub fn get(&mut self, offset: u32, len: u32) -> io::Result<Option<&[u8]>> {
        let inside = offset >= self.from
            && u64::from(offset) + u64::from(len) <= u64::from(self.from) + self.bytes.len() as u64;
        if !inside {
            self.read(offset, PIECE.max(len as usize))?;
        }
        let at = (offset - self.from) as usize;
        Ok(at.checked_add(len as usize).and_then(|end| self.bytes.get(at..end)))
    }

    /// Reads `len` bytes at `offset`, or up to the file's end.
    pub fn read(&mut self, offset: u32, len: usize) -> io::Result<()> {
        self.bytes.clear();
        self.from = offset;
        let rest = self.file.len()?.saturating_sub(u64::from(offset));
        self.bytes.resize(len.min(usize::try_from(rest).unwrap_or(len)), 0);
        match self.file.read_at(&mut self.bytes, u64::from(offset)) {
            Ok(read) => self.bytes.truncate(read),
            Err(error) => {
                self.bytes.clear();
                return Err(error);
            }
        }
        Ok(())
    }
}
