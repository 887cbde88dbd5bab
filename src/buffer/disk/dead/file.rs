//! The file itself: how it is made, and how it is looked at before it is believed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// The version of the tables below. A newer one is refused, an older one brought up to it.
pub(super) const VERSION: i64 = 3;
/// "hldl", so that another program's file is not taken for ours.
const APPLICATION: i64 = 0x686c_646c;
/// The size of a page, SQLite's own default.
pub(super) const PAGE: u64 = 4096;
/// The pages of a file without letters.
const EMPTY_PAGES: u64 = 10;
/// Up to this size the whole file is checked at the start (about 0.1 s). A larger one is checked as far as it is read:
/// the counts at the start read two indexes, and what is damaged elsewhere says so when it is met.
const CHECKED_WHOLE: u64 = 64 << 20;
/// How long to wait for somebody else who writes to the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is short comes first: a row's later columns are read only if they are asked for.
///
/// What stands behind `id` in an index lets a filter on several columns pass over rows without reading them.
///
/// `id` sorts by time. `id_time` and `id_seq` say again what it holds, for whoever reads the file by hand.
const SCHEMA: &str = "
    CREATE TABLE dead_letters (
        id            TEXT NOT NULL,
        destination   TEXT NOT NULL,
        reason        TEXT NOT NULL,
        died_at       INTEGER NOT NULL,
        route         TEXT NOT NULL,
        provider      TEXT,
        event_id      TEXT,
        event_type    TEXT,
        event_time    INTEGER,
        received_at   INTEGER NOT NULL,
        id_time       INTEGER NOT NULL,
        id_seq        INTEGER NOT NULL,
        bytes         INTEGER NOT NULL,
        priority      TEXT,
        order_key     INTEGER,
        method        TEXT NOT NULL,
        target        TEXT NOT NULL,
        forwarded_for TEXT NOT NULL,
        proto         TEXT NOT NULL,
        attempts      TEXT NOT NULL,
        headers       BLOB NOT NULL,
        excerpt       BLOB NOT NULL,
        body          BLOB NOT NULL,
        PRIMARY KEY (id, destination)
    );
    CREATE INDEX dead_by_destination ON dead_letters (destination, id, route, event_type);
    CREATE INDEX dead_by_route       ON dead_letters (route, id, event_type);
    CREATE INDEX dead_by_event_id    ON dead_letters (event_id, id);
    CREATE INDEX dead_by_type        ON dead_letters (event_type, id);
    CREATE INDEX dead_by_death       ON dead_letters (died_at);
";

/// Of format 3 on. Not about letters: see `hastened`.
const HASTENED: &str =
    "CREATE TABLE hastened (destination TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;";

/// Why the file is not open, in a sentence.
pub(super) enum NotOpen {
    /// It is damaged.
    Damaged(String),
    /// It cannot be had, or is not to be touched.
    Refused(String),
}

/// Opens the file, made where there is none, with mode 0600.
pub(super) fn open(path: &Path) -> Result<Connection, NotOpen> {
    make(path).map_err(|error| NotOpen::Refused(format!("cannot make {}: {error}", path.display())))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| not_open(path, &error))?;
    prepare(&mut connection, path)?;
    Ok(connection)
}

/// An empty file is a database to be. SQLite gives its log the mode of the file.
fn make(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    }
    // SQLite syncs the folder for its log, but the name of the file itself is ours.
    sync_folder_of(path)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

fn prepare(connection: &mut Connection, path: &Path) -> Result<(), NotOpen> {
    let told = |error: rusqlite::Error| not_open(path, &error);
    connection.busy_timeout(PATIENCE).map_err(told)?;
    connection
        .execute_batch(
            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;",
        )
        .map_err(told)?;
    let is_new = belongs_to_us(connection, path)?;
    if is_new {
        // These are of a file without tables only, and would write to any other.
        let shape =
            format!("PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA encoding = 'UTF-8'");
        connection.execute_batch(&shape).map_err(told)?;
    }
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(told)?;
    if mode != "wal" {
        let why = format!("{} cannot be written ahead (SQLite's WAL) on this file system", path.display());
        return Err(NotOpen::Refused(why));
    }
    // FULL: a commit is on the disk when it returns. The log is cut back to this length when it begins anew.
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 8388608;
             PRAGMA cache_size = -2000;",
        )
        .map_err(told)?;
    if is_new {
        return create(connection).map_err(told);
    }
    check(connection, path)?;
    bring_up(connection).map_err(told)
}

/// In format 1 letters had neither class nor order key.
fn bring_up(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version >= VERSION {
        return Ok(());
    }
    let all = connection.transaction()?;
    if version < 2 {
        all.execute_batch(
            "ALTER TABLE dead_letters ADD COLUMN priority TEXT; ALTER TABLE dead_letters ADD COLUMN order_key INTEGER;",
        )?;
    }
    all.execute_batch(&format!("{HASTENED} PRAGMA user_version = {VERSION};"))?;
    all.commit()
}

/// Whether the file is empty; an error where it is none of ours, or not one that this version knows.
fn belongs_to_us(connection: &Connection, path: &Path) -> Result<bool, NotOpen> {
    let number = |name: &str| -> Result<i64, NotOpen> {
        connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))
            .map_err(|error| not_open(path, &error))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    if (application, version, number("schema_version")?) == (0, 0, 0) {
        return Ok(true);
    }
    if application != APPLICATION {
        let why = format!("{} is another program's database; move it away", path.display());
        return Err(NotOpen::Refused(why));
    }
    if version > VERSION {
        return Err(NotOpen::Refused(format!(
            "the dead letters in {} have format {version}, of a newer hooklatch; this one reads up to {VERSION}",
            path.display()
        )));
    }
    Ok(false)
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    // All of it or nothing: a crash half-way leaves an empty file.
    let all = connection.transaction()?;
    all.execute_batch(SCHEMA)?;
    all.execute_batch(HASTENED)?;
    all.execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"))?;
    all.commit()
}

fn check(connection: &Connection, path: &Path) -> Result<(), NotOpen> {
    let length = fs::metadata(path)
        .map_err(|error| NotOpen::Refused(format!("cannot read {}: {error}", path.display())))?
        .len();
    if length > CHECKED_WHOLE {
        return Ok(());
    }
    let verdict: rusqlite::Result<String> =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match verdict {
        Ok(verdict) if verdict == "ok" => Ok(()),
        Ok(verdict) => Err(NotOpen::Damaged(verdict.replace('\n', " "))),
        Err(error) => Err(not_open(path, &error)),
    }
}

/// What to tell whoever starts hooklatch.
pub(super) fn not_open(path: &Path, error: &rusqlite::Error) -> NotOpen {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => NotOpen::Damaged(error.to_string()),
        _ => NotOpen::Refused(format!("cannot open the dead letters in {}: {error}", path.display())),
    }
}

/// Moves a file and what stands beside it out of the way; where it is now. Its name is free for another one.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |number: u32| path.with_extension(format!("damaged-{number}.sqlite"));
    let aside = (1..).map(name).find(|aside| !aside.exists()).ok_or(io::ErrorKind::AlreadyExists)?;
    let beside = |path: &Path, what: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(what);
        PathBuf::from(name)
    };
    // The log first: a new file must not meet the old one's.
    for what in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, what), beside(&aside, what)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_folder_of(path)?;
    Ok(aside)
}

/// A number that changes when another connection writes.
pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA data_version", [], |row| row.get(0))
}

/// What the letters take of the file, in bytes; also within a transaction.
pub(super) fn bytes_in_use(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    let used = pages.saturating_sub(free_pages(connection)?);
    Ok(u64::try_from(used).unwrap_or(0).saturating_sub(EMPTY_PAGES) * PAGE)
}

fn free_pages(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA freelist_count", [], |row| row.get(0))
}

/// Gives free pages back to the file system, a bounded number, where enough have gathered to be worth it: the next
/// letters take free ones first.
pub(super) fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    const WORTH_IT: i64 = 256;
    if free_pages(connection)? < WORTH_IT {
        return Ok(());
    }
    // Each step gives one page back.
    let mut vacuum = connection.prepare("PRAGMA incremental_vacuum(8192)")?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(())
}
