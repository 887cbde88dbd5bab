//! What is counted of the disk below the buffer.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

use super::{Metrics, counter, gauge};

/// From a disk with a battery (tens of microseconds) over flash (a millisecond) and a spinning disk (tens) to one that
/// no longer answers, in seconds.
const FSYNC_BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0,
];

pub(super) struct Handles {
    fsync: Histogram,
    failures: IntCounter,
    corrupt: IntCounter,
    written: IntCounter,
    segments: IntGauge,
    retries: IntGauge,
}

impl Handles {
    pub(super) fn register(r: &Registry) -> prometheus::Result<Self> {
        let options =
            HistogramOpts::new("hooklatch_fsync_seconds", "How long the disk took to make a commit last.");
        let fsync = Histogram::with_opts(options.buckets(FSYNC_BUCKETS.to_vec()))?;
        r.register(Box::new(fsync.clone()))?;
        Ok(Self {
            fsync,
            failures: counter(
                r,
                "hooklatch_storage_failures_total",
                "Writes, syncs and reads that the storage refused.",
            )?,
            corrupt: counter(
                r,
                "hooklatch_spool_corrupt_records_total",
                "Records on disk that were damaged: each was skipped and copied to quarantine.",
            )?,
            written: counter(
                r,
                "hooklatch_spool_written_bytes_total",
                "Bytes handed to writes by the spool, new files' first zeros left out.",
            )?,
            segments: gauge(r, "hooklatch_spool_segments", "Segments of the spool, spare ones left out.")?,
            retries: gauge(r, "hooklatch_retries_waiting", "Deliveries that wait for their next attempt.")?,
        })
    }
}

impl Metrics {
    /// An `fdatasync` of the spool returned after so long, with success or without.
    pub fn fsync(&self, took: Duration) {
        self.storage.fsync.observe(took.as_secs_f64());
    }

    /// The storage refused so many times what it was asked for.
    pub fn storage_failed(&self, times: u64) {
        self.storage.failures.inc_by(times);
    }

    /// So many damaged records were found on the disk.
    pub fn corrupt_records(&self, records: u64) {
        self.storage.corrupt.inc_by(records);
    }

    /// The spool handed so many bytes to writes.
    pub fn spool_written(&self, bytes: u64) {
        self.storage.written.inc_by(bytes);
    }

    /// How many segments the spool has now.
    pub fn set_spool_segments(&self, segments: u64) {
        self.storage.segments.set(i64::try_from(segments).unwrap_or(i64::MAX));
    }

    /// How many deliveries wait for their next attempt now.
    pub fn set_retries_waiting(&self, retries: u64) {
        self.storage.retries.set(i64::try_from(retries).unwrap_or(i64::MAX));
    }
}
