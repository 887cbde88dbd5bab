//! The keys that a reload cannot change.

use std::path::PathBuf;
use std::time::Duration;

use crate::admin::{AdminListen, AdminSettings};
use crate::buffer::{BufferSettings, Store};
use crate::ingress::Listener;
use crate::observe::LogOptions;

/// What was bound, opened or started with the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    listen: Vec<Listener>,
    listeners: Vec<Listener>,
    workers: usize,
    store: Store,
    path: PathBuf,
    max_events: u64,
    /// `None` for the default, which moves with the memory that the process may have: no change of the file.
    max_bytes: Option<u64>,
    retention: Duration,
    dead_retention: Duration,
    dead_max_bytes: u64,
    /// Of a store on disk: the largest event, and the largest for which no segment has to be larger than usual.
    largest_event: Option<(u64, u64)>,
    admin: AdminListen,
    metrics: Option<String>,
    log: LogOptions,
}

impl Fixed {
    pub(super) fn new(
        listen: Vec<Listener>,
        listeners: Vec<Listener>,
        workers: usize,
        buffer: &BufferSettings,
        admin: &AdminSettings,
        default_max_bytes: u64,
        log: LogOptions,
    ) -> Self {
        Self {
            listen,
            listeners,
            workers,
            store: buffer.store,
            path: buffer.path.clone(),
            max_events: buffer.max_events,
            max_bytes: (buffer.max_bytes != default_max_bytes).then_some(buffer.max_bytes),
            retention: buffer.retention,
            dead_retention: buffer.dead_retention,
            dead_max_bytes: buffer.dead_max_bytes,
            largest_event: (buffer.store == Store::Disk)
                .then(|| (buffer.max_event, buffer.usual_segment_bytes() / 2)),
            admin: admin.listen.clone(),
            metrics: admin.metrics_listen.clone(),
            log,
        }
    }

    pub(super) fn changed(&self, new: &Self) -> Vec<&'static str> {
        [
            ("server.listen", self.listen != new.listen),
            ("listeners", self.listeners != new.listeners),
            ("server.workers", self.workers != new.workers),
            ("buffer.store", self.store != new.store),
            ("buffer.path", self.path != new.path),
            ("buffer.max_events", self.max_events != new.max_events),
            ("buffer.max_bytes", self.max_bytes != new.max_bytes),
            ("buffer.retention", self.retention != new.retention),
            ("dead.retention", self.dead_retention != new.dead_retention),
            ("dead.max_bytes", self.dead_max_bytes != new.dead_max_bytes),
            ("max_body (beyond what the buffer's segments on disk hold)", self.outgrown_by(new)),
            ("admin.listen", self.admin != new.admin),
            ("metrics.listen", self.metrics != new.metrics),
            ("log.level", self.log.level != new.log.level),
            ("log.format", self.log.format != new.log.format),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }

    /// Whether larger events come than the segments were made for at the start. Lowering is always right, so what is in
    /// force was right at the start or fits into any segment.
    fn outgrown_by(&self, new: &Self) -> bool {
        match (self.largest_event, new.largest_event) {
            (Some((old, usual)), Some((new, _))) => new > old && new > usual,
            _ => false,
        }
    }
}
