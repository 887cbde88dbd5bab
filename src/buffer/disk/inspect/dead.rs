//! How many dead letters there are, without a touch on their file.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

/// Dead letters by destination.
pub(super) fn count(path: &Path) -> Result<Vec<(String, u64)>, String> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let told =
        |error: &dyn std::fmt::Display| format!("cannot count the letters in {}: {error}", path.display());
    let wal = path.with_extension("sqlite-wal");
    // SQLite takes up a log that a kill left behind by writing to it: that is done to a copy.
    if fs::metadata(&wal).is_ok_and(|found| found.len() > 0) {
        let copy = Copy::make(path, &wal).map_err(|error| told(&error))?;
        return read(&Connection::open(copy.0.join("dead.sqlite")).map_err(|error| told(&error))?)
            .map_err(|error| told(&error));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(path), flags).map_err(|error| told(&error))?;
    read(&connection).map_err(|error| told(&error))
}

fn read(connection: &Connection) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut asked =
        connection.prepare("SELECT destination, count(*) FROM dead_letters GROUP BY destination")?;
    let rows = asked.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    rows.collect()
}

/// `immutable`: no lock is taken and no file made beside it.
fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(byte)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri + "?immutable=1"
}

/// A copy for this process alone, which goes with it.
struct Copy(PathBuf);

impl Copy {
    fn make(file: &Path, wal: &Path) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("hooklatch-spool-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let copy = Self(folder);
        fs::copy(file, copy.0.join("dead.sqlite"))?;
        fs::copy(wal, copy.0.join("dead.sqlite-wal"))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
