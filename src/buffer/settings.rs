//! What the user can set about the buffer.

use std::path::PathBuf;

use crate::units::Invalid;

/// Which form of the buffer holds the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In memory: fast, lost in a crash.
    Memory,
}

/// `[buffer]` as typed; its default is the documented one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferOptions {
    /// Which form.
    pub store: Store,
    /// The folder for what must outlive the process (admin token, dedupe hash key; later the spool).
    pub path: PathBuf,
    /// How many bytes of pending events and dead letters are held, see `Event::weight`.
    pub max_bytes: u64,
    /// How many pending events and dead letters are held.
    pub max_events: u64,
}

impl Default for BufferOptions {
    fn default() -> Self {
        Self {
            store: Store::Memory,
            path: PathBuf::from("./hooklatch-data"),
            max_bytes: 256 << 20,
            max_events: 100_000,
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
