//! What is counted of one destination.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::super::{Alert, AttemptResult};
use super::{counters, histograms};
use crate::event::Answer;

/// From a quick app (milliseconds) over the waits between attempts to the three days after which no event is young,
/// in seconds.
const DELIVERY_BUCKETS: [f64; 20] = [
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0,
    43_200.0, 86_400.0, 259_200.0,
];

/// Events in one request.
const BATCH_BUCKETS: [f64; 13] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];

/// The values of the `status` label.
const STATUSES: [&str; 9] =
    ["2xx", "3xx", "4xx", "5xx", "timeout", "connect", "internal", "unsettled", "other"];

fn status_of(answer: Answer) -> usize {
    match answer {
        Answer::Status(200..=299) => 0,
        Answer::Status(300..=399) => 1,
        Answer::Status(400..=499) => 2,
        Answer::Status(500..=599) => 3,
        Answer::Timeout => 4,
        Answer::Connect => 5,
        Answer::Internal => 6,
        Answer::Unsettled => 7,
        Answer::Status(_) => 8,
    }
}

#[derive(Clone)]
pub(super) struct Families {
    attempts: IntCounterVec,
    first_attempts: IntCounterVec,
    deliveries: HistogramVec,
    ages: HistogramVec,
    batches: HistogramVec,
    alerts: IntCounterVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            attempts: counters(
                r,
                "hooklatch_delivery_attempts_total",
                "Attempts to deliver, by what followed and what the destination answered.",
                &["destination", "result", "status"],
            )?,
            first_attempts: counters(
                r,
                "hooklatch_first_attempt_total",
                "First attempts of an event, by whether they delivered it.",
                &["destination", "result"],
            )?,
            deliveries: histograms(
                r,
                "hooklatch_delivery_seconds",
                "From receipt to the destination's 2xx.",
                "destination",
                &DELIVERY_BUCKETS,
            )?,
            ages: histograms(
                r,
                "hooklatch_event_age_seconds",
                "From the event's own time, as its provider tells it, to the destination's 2xx.",
                "destination",
                &DELIVERY_BUCKETS,
            )?,
            batches: histograms(
                r,
                "hooklatch_batch_events",
                "Events of one request, at destinations with `batch`.",
                "destination",
                &BATCH_BUCKETS,
            )?,
            alerts: counters(
                r,
                "hooklatch_alerts_total",
                "Times that something happened to a destination which somebody should know of.",
                &["destination", "alert"],
            )?,
        })
    }
}

/// The handles of one destination. Cheap to clone.
#[derive(Clone)]
pub struct DestinationMetrics(Arc<Handles>);

struct Handles {
    name: String,
    families: Families,
    attempts: [[OnceLock<IntCounter>; STATUSES.len()]; AttemptResult::ALL.len()],
    first_delivered: IntCounter,
    first_failed: IntCounter,
    delivery: Histogram,
    /// Absent until an event of a provider that tells its time arrives.
    age: OnceLock<Histogram>,
    /// Absent until the first batch.
    batch: OnceLock<Histogram>,
}

impl fmt::Debug for DestinationMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DestinationMetrics").field(&self.0.name).finish()
    }
}

impl DestinationMetrics {
    pub(super) fn new(name: &str, families: &Families) -> Self {
        // At 0 from the start: the first increase of a counter that nobody saw before is no increase.
        for alert in Alert::ALL {
            families.alerts.with_label_values(&[name, alert.as_str()]);
        }
        let handles = Handles {
            name: name.to_owned(),
            attempts: Default::default(),
            first_delivered: families.first_attempts.with_label_values(&[name, "delivered"]),
            first_failed: families.first_attempts.with_label_values(&[name, "failed"]),
            delivery: families.deliveries.with_label_values(&[name]),
            age: OnceLock::new(),
            batch: OnceLock::new(),
            families: families.clone(),
        };
        Self(Arc::new(handles))
    }

    /// An attempt ended; `first` says that it was the event's first.
    pub fn attempt(&self, result: AttemptResult, answer: Answer, first: bool) {
        let handles = &*self.0;
        let status = status_of(answer);
        if let (Some(slot), Some(word)) =
            (handles.attempts.get(result as usize).and_then(|row| row.get(status)), STATUSES.get(status))
        {
            let labels = || [handles.name.as_str(), result.as_str(), word];
            slot.get_or_init(|| handles.families.attempts.with_label_values(&labels())).inc();
        }
        if first {
            let delivered = result == AttemptResult::Delivered;
            if delivered { &handles.first_delivered } else { &handles.first_failed }.inc();
        }
    }

    /// A request with so many events ended.
    pub fn batch(&self, events: usize) {
        let family = &self.0.families.batches;
        let histogram = self.0.batch.get_or_init(|| family.with_label_values(&[&self.0.name]));
        // Far below where the numbers of a double have gaps.
        histogram.observe(events as f64);
    }

    /// Somebody should know of this.
    pub fn alert(&self, alert: Alert) {
        self.0.families.alerts.with_label_values(&[&self.0.name, alert.as_str()]).inc();
    }

    /// An event was delivered so long after it came; `age` counts from the event's own time, where known.
    pub fn delivered(&self, since_receipt: Duration, age: Option<Duration>) {
        let handles = &*self.0;
        handles.delivery.observe(since_receipt.as_secs_f64());
        if let Some(age) = age {
            let family = &handles.families.ages;
            handles.age.get_or_init(|| family.with_label_values(&[&handles.name])).observe(age.as_secs_f64());
        }
    }
}
