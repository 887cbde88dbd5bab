//! The disk as the kernel shows it.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use tokio::time::Instant;

use super::{Device, DeviceFile};

/// How much [`RealFile::fill`] writes at once: a commit that comes meanwhile finds so much before it in the disk's queue.
const PIECE: usize = 256 << 10;
/// [`RealFile::fill`] pauses so many times as long as a piece took …
const PAUSES: u32 = 3;
/// … but no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
/// What is written past the kernel's cache begins and ends at multiples of this, in memory as in the file.
const ALIGNED: usize = 4096;

/// A folder of the file system.
#[derive(Debug)]
pub(in crate::buffer) struct RealDevice {
    path: PathBuf,
    /// Kept open, so that a folder that was renamed meanwhile is the one that is synced.
    folder: File,
    /// Folders below it in which something was created, renamed or removed since they were last synced.
    touched: Mutex<BTreeSet<PathBuf>>,
    /// How many bytes were handed to writes, what [`RealFile::fill`] writes left out.
    written: Arc<AtomicU64>,
}

impl RealDevice {
    /// The folder at `path`, made (for its owner alone) where it is not.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        make_folder(&path)?;
        // Absolute: what changes the process's own folder later does not move the spool.
        let path = path.canonicalize()?;
        let folder = File::open(&path)?;
        Ok(Self { path, folder, touched: Mutex::new(BTreeSet::new()), written: Arc::default() })
    }

    /// How many bytes were handed to writes since this was last asked. What makes a new file as long as a segment is not
    /// counted: files are recycled.
    pub fn take_written(&self) -> u64 {
        self.written.swap(0, Ordering::Relaxed)
    }

    /// How many bytes of its disk are free for this process.
    pub fn free(&self) -> io::Result<u64> {
        free_beside(&self.folder)
    }

    fn file(&self, file: File) -> RealFile {
        RealFile { file, written: Arc::clone(&self.written) }
    }

    /// Notes that the folder of `name`, if it is not the one that is synced anyway, holds something new.
    fn touch(&self, name: &str) {
        if let Some(below) = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.touched.lock().insert(self.path.join(below));
        }
    }

    /// Makes the folder that `name` stands in, where it is not there yet.
    fn make_room_for(&self, name: &str) -> io::Result<()> {
        match self.path.join(name).parent() {
            Some(parent) => make_folder(parent),
            None => Ok(()),
        }
    }
}

impl Device for RealDevice {
    type File = RealFile;

    fn create(&self, name: &str) -> io::Result<RealFile> {
        self.make_room_for(name)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path.join(name))?;
        self.touch(name);
        Ok(self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join(name))?;
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.make_room_for(to)?;
        std::fs::rename(self.path.join(from), self.path.join(to))?;
        self.touch(from);
        self.touch(to);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))?;
        self.touch(name);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            match entry.metadata() {
                // Not the target of a link, nor a pipe, whose opening would wait for ever.
                Ok(found) if found.is_file() => files.push((name, found.len())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn sync_folder(&self) -> io::Result<()> {
        let touched = std::mem::take(&mut *self.touched.lock());
        let synced = touched.iter().try_for_each(|path| File::open(path)?.sync_all());
        if synced.is_err() {
            self.touched.lock().extend(touched);
        }
        synced.and_then(|()| self.folder.sync_all())
    }
}

/// Makes the folder `path` and what is missing above it (mode 0700), each with its name made to last.
///
/// # Errors
/// One of them cannot be made, or the one above it not be synced.
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_folder(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(parent)?.sync_all(),
    }
}

/// An open file.
#[derive(Debug)]
pub(in crate::buffer) struct RealFile {
    file: File,
    written: Arc<AtomicU64>,
}

/// How many bytes are free on the disk of `file`.
fn free_beside(file: &File) -> io::Result<u64> {
    let disk = rustix::fs::fstatvfs(file)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// A new segment leaves so many bytes of the disk for indexes and dead letters: what frees a full disk writes to it first.
const LEFT_FREE: u64 = 4 << 20;

impl DeviceFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        read_whole(buffer, at, |buffer, at| self.file.read_at(buffer, at))
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn fill(&self, len: u64, hurried: &dyn Fn() -> bool) -> io::Result<()> {
        let free = free_beside(&self.file)?;
        if free < len.saturating_add(LEFT_FREE) {
            let [free, len, left] = [free, len, LEFT_FREE].map(|bytes| bytes >> 20);
            let why = format!("{free} MiB of the disk are free, and a segment takes {len} and leaves {left}");
            return Err(io::Error::new(ErrorKind::StorageFull, why));
        }
        if self.len()? > len {
            self.file.set_len(len)?;
        }
        let zeros = vec![0; PIECE + ALIGNED];
        let aligned = zeros.as_ptr().align_offset(ALIGNED).min(ALIGNED);
        let zeros = zeros.get(aligned..aligned + PIECE).unwrap_or_default();
        let mut at = 0;
        while at < len {
            let piece = zeros.get(..(len - at).min(PIECE as u64) as usize).unwrap_or_default();
            let began = Instant::now();
            let passed = self.write_past_the_cache(piece, at)?;
            at += piece.len() as u64;
            if !hurried() {
                // Left in the kernel's cache, all of it would come into the disk's queue at once, and every commit behind
                // it. What passed the cache is on the disk's side already.
                if !passed {
                    self.file.sync_data()?;
                }
                std::thread::sleep((began.elapsed() * PAUSES).min(LONGEST_PAUSE));
            }
        }
        self.file.sync_all()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl RealFile {
    /// Nobody reads a new file's zeros: in the kernel's cache they would take the place, and the processor's time, of what
    /// is read. Where the file system cannot do without, they go there; whether they passed it.
    fn write_past_the_cache(&self, bytes: &[u8], at: u64) -> io::Result<bool> {
        let cached = rustix::fs::fcntl_getfl(&self.file)?;
        if bytes.len().is_multiple_of(ALIGNED)
            && rustix::fs::fcntl_setfl(&self.file, cached | OFlags::DIRECT).is_ok()
        {
            let written = self.file.write_all_at(bytes, at);
            rustix::fs::fcntl_setfl(&self.file, cached)?;
            match written {
                Err(error) if error.kind() == ErrorKind::InvalidInput => {}
                written => return written.map(|()| true),
            }
        }
        self.file.write_all_at(bytes, at).map(|()| false)
    }
}

/// Calls `read` until `buffer` is full or there is nothing more.
fn read_whole(
    buffer: &mut [u8],
    at: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read(rest, at + done as u64) {
            Ok(0) => break,
            Ok(more) => done += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
