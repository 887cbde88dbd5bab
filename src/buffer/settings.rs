//! What the user can set about the buffer.

use std::path::PathBuf;
use std::time::Duration;

use crate::units::{Invalid, format_size};

/// Places in a segment are numbers of 32 bits, and two events fit into one.
const LARGEST_EVENT: u64 = 1 << 30;
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

    /// On disk: how large a segment is, whatever comes. A larger event than half of this may come where
    /// [`Self::max_event`] says so from the start.
    #[must_use]
    pub fn usual_segment_bytes(&self) -> u64 {
        (self.max_bytes / 64).clamp(1 << 20, 64 << 20)
    }

    /// On disk: how large a segment is: two of the largest events fit.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.usual_segment_bytes().max(self.max_event.saturating_mul(2))
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
        if options.store == Store::Disk {
            options.check_disk(&mut invalid);
        }
        if invalid.is_empty() { Ok(Self(options)) } else { Err(invalid) }
    }
}

impl BufferOptions {
    /// A window of each destination's events is held in memory and a segment is cut into whole events: neither works
    /// where a single one is a large part of all.
    fn check_disk(&self, invalid: &mut Vec<Invalid>) {
        let largest = format_size(self.max_event);
        if self.max_event > LARGEST_EVENT {
            invalid.push(Invalid::new(
                "max_bytes",
                format!("an event may have up to {largest} (`max_body` and `server.max_head`), a buffer on disk takes up to 1GiB"),
                "lower `max_body`",
            ));
        } else if self.max_event > self.max_bytes / 8 {
            invalid.push(Invalid::new(
                "max_bytes",
                format!(
                    "an event may have up to {largest} (`max_body` and `server.max_head`), and a buffer on disk must hold \
                     eight of them"
                ),
                format!("raise `max_bytes` to {}, or lower `max_body`", whole_mib(self.max_event * 8)),
            ));
        }
        if self.dead_max_bytes < self.max_event {
            invalid.push(Invalid::new(
                "dead.max_bytes",
                format!("an event may have up to {largest} (`max_body` and `server.max_head`): it would never be a dead letter"),
                format!("raise `max_bytes` of [dead] to {} at least", whole_mib(self.max_event)),
            ));
        }
        if self.dead_retention.is_zero() {
            invalid.push(Invalid::new(
                "dead.retention",
                "dead letters kept for no time are lost",
                "write how long somebody may need to look after them, like \"30d\"",
            ));
        }
    }
}

fn whole_mib(bytes: u64) -> String {
    format!("{}MiB", bytes.div_ceil(1 << 20))
}

impl std::ops::Deref for BufferSettings {
    type Target = BufferOptions;

    fn deref(&self) -> &BufferOptions {
        &self.0
    }
}
