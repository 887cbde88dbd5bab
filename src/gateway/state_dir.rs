//! The folder `buffer.path`: owned by one process at a time, closed to everybody else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::buffer::make_folder;

/// The folder, held: its lock lasts as long as this value.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes the folder where there is none (mode 0700), so that its name outlives a power loss, and takes its lock.
    ///
    /// # Errors
    /// A sentence that names the folder: it cannot be made or written to, or another process holds it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |what: &str, error: io::Error| format!("cannot {what} {}: {error}", path.display());
        make_folder(path).map_err(|e| failed("create the folder", e))?;
        let lock_path = path.join("LOCK");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| failed("write to the folder", e))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut owner = String::new();
            // The lock tells that there is an owner; its number only helps to find it.
            let _ = lock.read_to_string(&mut owner);
            return Err(format!(
                "the folder {} is in use by another hooklatch (process {}); give each its own `buffer.path`",
                path.display(),
                owner.trim()
            ));
        }
        // Over the old number, which a full disk has room for. Where it cannot be written, nobody is told it.
        let number = format!("{}\n", std::process::id());
        let _ = lock.write_all(number.as_bytes()).and_then(|()| lock.set_len(number.len() as u64));
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key of the dedupe table's hash. It lies here so that ids that outlive the process keep their names; a
    /// stranger who knew it could choose ids that collide.
    ///
    /// # Errors
    /// A sentence that names the file: it cannot be read or written, or is not 16 bytes long.
    pub fn dedupe_key(&self) -> Result<[u8; 16], String> {
        let path = self.path.join("dedupe-key");
        match fs::read(&path) {
            Ok(bytes) => bytes.try_into().map_err(|_| {
                format!(
                    "{} is not 16 bytes long; remove it, and ids seen before the restart are forgotten",
                    path.display()
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = random_key().map_err(|e| format!("cannot read random bytes: {e}"))?;
                write_private(&path, &key).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
                Ok(key)
            }
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }
}

fn random_key() -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    Ok(key)
}

/// Writes a file of mode 0600 whole or not at all: a crash half-way leaves no short key behind.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // On a full disk half a file takes room that is missing elsewhere. That it cannot be removed is no second error.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = StateDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let second = StateDir::open(&path).unwrap_err();
        assert!(second.contains(&format!("process {}", std::process::id())), "{second}");
        drop(first);
        StateDir::open(&path).unwrap();
    }

    #[test]
    fn the_owner_s_number_goes_over_the_one_before_it_and_a_full_disk_only_hides_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("LOCK");
        fs::write(&lock, "a longer number than any process has\n").unwrap();
        drop(StateDir::open(dir.path()).unwrap());
        assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{}\n", std::process::id()));
        fs::remove_file(&lock).unwrap();
        // No byte can be written to it: ENOSPC.
        std::os::unix::fs::symlink("/dev/full", &lock).unwrap();
        StateDir::open(dir.path()).unwrap();
    }

    #[test]
    fn the_dedupe_key_stays_the_same_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let key = StateDir::open(dir.path()).unwrap().dedupe_key().unwrap();
        assert_ne!(key, [0; 16]);
        assert_eq!(StateDir::open(dir.path()).unwrap().dedupe_key().unwrap(), key);
        let file = dir.path().join("dedupe-key");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, b"short").unwrap();
        assert!(StateDir::open(dir.path()).unwrap().dedupe_key().unwrap_err().contains("not 16 bytes"));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = StateDir::open(Path::new("/proc/hooklatch")).unwrap_err();
        assert!(error.contains("/proc/hooklatch"), "{error}");
    }
}
