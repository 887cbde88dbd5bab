//! What the user can set about the buffer.

use std::path::PathBuf;
use std::time::Duration;

use crate::units::Invalid;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Which form of the buffer holds the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// On disk: what was acknowledged survives a crash, and the backlog takes no memory.
    Disk,
    /// In memory: lost in a crash.
    Memory,
}

/// `[buffer]` as typed; its default is the documented one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferOptions {
    /// Which form.
    pub store: Store,
    /// The folder for what must outlive the process: the spool, the dead letters, the admin token, the key of the
    /// dedupe hash.
    pub path: PathBuf,
    /// How many bytes of pending events are held: on disk, as long as their records are; in memory, by `Event::weight`
    /// and together with the dead letters.
    pub max_bytes: u64,
    /// How many pending events are held (in memory: together with the dead letters).
    pub max_events: u64,
    /// On disk: how long delivered events stay readable and replayable, as long as room lasts.
    pub retention: Duration,
    /// On disk: how long dead letters are kept.
    pub dead_retention: Duration,
    /// On disk: how many bytes of dead letters are held.
    pub dead_max_bytes: u64,
    /// The largest event that can come: body and head, in bytes.
    pub max_event: u64,
    /// On disk: how many ids are remembered of events whose segment has gone, and for how long at most.
    pub remembered_ids: u64,
    /// See [`Self::remembered_ids`].
    pub remembered_for: Duration,
}

impl BufferOptions {
    /// The documented defaults of the memory form.
    #[must_use]
    pub fn memory() -> Self {
        Self { store: Store::Memory, max_bytes: 256 << 20, max_events: 100_000, ..Self::default() }
    }
}

impl Default for BufferOptions {
    fn default() -> Self {
        Self {
            store: Store::Disk,
            path: PathBuf::from("./hooklatch-data"),
            max_bytes: 4 << 30,
            max_events: u64::MAX,
            retention: DAY,
            dead_retention: DAY * 30,
            dead_max_bytes: 1 << 30,
            max_event: (1 << 20) + (16 << 10),
            remembered_ids: 1_000_000,
            remembered_for: DAY * 3,
        }
    }
}

/// Valid [`BufferOptions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferSettings(BufferOptions);

impl BufferSettings {
    /// Checks `options`.
    ///
    /// # Errors
    /// Every key that cannot be worked with.
    pub fn new(options: BufferOptions) -> Result<Self, Vec<Invalid>> {
        let mut invalid = Vec::new();
        if options.max_bytes < 64 << 10 {
            invalid.push(Invalid::new("max_bytes", "the buffer needs at least 64KiB", ""));
        }
        if options.max_events == 0 {
            invalid.push(Invalid::new("max_events", "a buffer of no events would refuse them all", ""));
        }
        if invalid.is_empty() { Ok(Self(options)) } else { Err(invalid) }
    }
}

impl std::ops::Deref for BufferSettings {
    type Target = BufferOptions;

    fn deref(&self) -> &BufferOptions {
        &self.0
    }
}
