//! The keys that a reload cannot change.

use std::path::PathBuf;

use crate::admin::{AdminListen, AdminSettings};
use crate::buffer::{BufferSettings, Store};
use crate::ingress::Listener;

/// What was bound, opened or started with the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    listen: Vec<Listener>,
    listeners: Vec<Listener>,
    workers: usize,
    store: Store,
    path: PathBuf,
    admin: AdminListen,
    metrics: Option<String>,
}

impl Fixed {
    pub(super) fn new(
        listen: Vec<Listener>,
        listeners: Vec<Listener>,
        workers: usize,
        buffer: &BufferSettings,
        admin: &AdminSettings,
    ) -> Self {
        Self {
            listen,
            listeners,
            workers,
            store: buffer.store,
            path: buffer.path.clone(),
            admin: admin.listen.clone(),
            metrics: admin.metrics_listen.clone(),
        }
    }

    pub(super) fn changed(&self, new: &Self) -> Vec<&'static str> {
        [
            ("server.listen", self.listen != new.listen),
            ("listeners", self.listeners != new.listeners),
            ("server.workers", self.workers != new.workers),
            ("buffer.store", self.store != new.store),
            ("buffer.path", self.path != new.path),
            ("admin.listen", self.admin != new.admin),
            ("metrics.listen", self.metrics != new.metrics),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}
