//! What others know and nobody counts: read when somebody looks.

use std::sync::Arc;

use prometheus::{IntCounter, IntGauge, IntGaugeVec, Registry};

use super::{counter, gauge, gauge_family};
use crate::event::Region;

/// How things stand at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Ids that deduplication remembers.
    pub dedupe_ids: u64,
    /// Ids that it forgot for room since the process started.
    pub dedupe_evicted: u64,
    /// Bytes of dead letters.
    pub dead_bytes: u64,
    /// They take 80 % of their bound or more.
    pub dead_nearly_full: bool,
    /// Each destination's share of the buffer.
    pub destinations: Vec<DestinationGauges>,
    /// Destination, region, and whether it is up.
    pub regions: Vec<(Arc<str>, Region, bool)>,
}

/// One destination's share of the buffer at the moment of a scrape.
#[derive(Clone, Debug)]
pub struct DestinationGauges {
    /// Its name.
    pub name: Arc<str>,
    /// Pending events.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Dead letters.
    pub dead: u64,
    /// Age of the oldest pending event in whole seconds; 0 where none is pending.
    pub oldest_seconds: u64,
    /// Pending events of a destination that is no longer configured.
    pub orphaned: u64,
    /// Its breaker tripped: it is taken for down.
    pub breaker_open: bool,
    /// It is paused.
    pub paused: bool,
}

pub(super) struct Families {
    dedupe_ids: IntGauge,
    dedupe_evicted: IntCounter,
    dead_bytes: IntGauge,
    dead_nearly_full: IntGauge,
    events: IntGaugeVec,
    bytes: IntGaugeVec,
    dead: IntGaugeVec,
    oldest: IntGaugeVec,
    orphaned: IntGaugeVec,
    breaker: IntGaugeVec,
    paused: IntGaugeVec,
    region_up: IntGaugeVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> prometheus::Result<Self> {
        let by_destination = &["destination"];
        Ok(Self {
            dedupe_ids: gauge(r, "hooklatch_dedupe_ids", "Event ids remembered.")?,
            dedupe_evicted: counter(
                r,
                "hooklatch_dedupe_evicted_total",
                "Event ids forgotten before their time because the table was full.",
            )?,
            dead_bytes: gauge(r, "hooklatch_dead_bytes", "Bytes of dead letters.")?,
            dead_nearly_full: gauge(
                r,
                "hooklatch_dead_nearly_full",
                "1 while dead letters on disk take 80 % of dead.max_bytes or more.",
            )?,
            events: gauge_family(
                r,
                "hooklatch_buffer_events",
                "Events accepted and not yet delivered.",
                by_destination,
            )?,
            bytes: gauge_family(
                r,
                "hooklatch_buffer_bytes",
                "Bytes of the events accepted and not yet delivered.",
                by_destination,
            )?,
            dead: gauge_family(r, "hooklatch_dead_events", "Dead letters.", by_destination)?,
            oldest: gauge_family(
                r,
                "hooklatch_oldest_pending_seconds",
                "Age of the oldest event that is not yet delivered.",
                by_destination,
            )?,
            orphaned: gauge_family(
                r,
                "hooklatch_orphaned_events",
                "Events that wait for a destination which is no longer configured.",
                by_destination,
            )?,
            breaker: gauge_family(
                r,
                "hooklatch_breaker_open",
                "1 while the destination is taken for down and its events wait.",
                by_destination,
            )?,
            paused: gauge_family(
                r,
                "hooklatch_destination_paused",
                "1 while the destination is paused, by hand or by a 410.",
                by_destination,
            )?,
            region_up: gauge_family(
                r,
                "hooklatch_region_up",
                "1 where a destination's region could be reached when it was last tried, 0 where it is passed over.",
                &["destination", "region"],
            )?,
        })
    }

    /// The caller holds the scrape lock: a destination that is gone must not stay at its last value, so the
    /// families are emptied first.
    pub(super) fn set(&self, now: &Gauges) {
        self.dedupe_ids.set(signed(now.dedupe_ids));
        self.dedupe_evicted.inc_by(now.dedupe_evicted.saturating_sub(self.dedupe_evicted.get()));
        self.dead_bytes.set(signed(now.dead_bytes));
        self.dead_nearly_full.set(i64::from(now.dead_nearly_full));
        let families = [
            &self.events,
            &self.bytes,
            &self.dead,
            &self.oldest,
            &self.orphaned,
            &self.breaker,
            &self.paused,
            &self.region_up,
        ];
        families.into_iter().for_each(IntGaugeVec::reset);
        for lane in &now.destinations {
            for (family, value) in [
                (&self.events, lane.events),
                (&self.bytes, lane.bytes),
                (&self.dead, lane.dead),
                (&self.oldest, lane.oldest_seconds),
                (&self.orphaned, lane.orphaned),
                (&self.breaker, u64::from(lane.breaker_open)),
                (&self.paused, u64::from(lane.paused)),
            ] {
                family.with_label_values(&[&*lane.name]).set(signed(value));
            }
        }
        for (destination, region, up) in &now.regions {
            self.region_up.with_label_values(&[&**destination, region.as_str()]).set(i64::from(*up));
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
