//! The little that the spool asks of a disk. A seam, so that tests can put a disk below it that forgets, tears, fails.

#[cfg(test)]
mod fake;
mod real;

use std::fmt::Debug;
use std::io;

#[cfg(test)]
pub(in crate::buffer) use fake::{FakeDevice, FakeFile, Op, Site};
pub(in crate::buffer) use real::RealDevice;
pub use real::make_folder;

/// A folder of files. Names are relative to it and may hold one `/`.
pub(in crate::buffer) trait Device: Debug + Send + Sync + 'static {
    /// An open file.
    type File: DeviceFile;

    /// Makes an empty file, open for reading and writing; an error where it exists. Its name lasts after
    /// [`Device::sync_folder`] only.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Renames a file, over another one if there is one. Lasts after [`Device::sync_folder`] only.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Lasts after [`Device::sync_folder`] only.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names and lengths of the files (not the folders) of the folder itself.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Makes what was created, renamed and removed last.
    #[cfg_attr(test, track_caller)]
    fn sync_folder(&self) -> io::Result<()>;
}

/// A file, read and written at places, from any thread.
pub(in crate::buffer) trait DeviceFile: Debug + Send + Sync + 'static {
    /// Reads at `at` until `buffer` is full or the file ends; how much. Goes on after an interruption.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `at`. Goes on after an interruption or a short write; an error means that any part of it
    /// may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Puts what was written to stable storage (`fdatasync`). After an error nothing is known of what was written since
    /// the last success, and asking again proves nothing.
    #[cfg_attr(test, track_caller)]
    fn sync(&self) -> io::Result<()>;
    /// Makes the file `len` bytes long, with every block written once (zeros), so that later writes into it allocate
    /// nothing; then syncs it. While nobody is `hurried`, the disk is left to others most of the time.
    fn fill(&self, len: u64, hurried: &dyn Fn() -> bool) -> io::Result<()>;
    /// How long it is.
    fn len(&self) -> io::Result<u64>;
}
