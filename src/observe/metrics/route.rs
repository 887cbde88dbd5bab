//! What is counted of one route.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::super::RequestOutcome;
use super::{counters, histograms};
use crate::clock::Millis;

/// So many event types of one route get a label of their own, the first that come; the rest is `other`.
pub const MAX_EVENT_TYPES: usize = 100;

/// A longer type is `other`: no provider's documentation has one, and each is held for good.
const MAX_EVENT_TYPE_BYTES: usize = 100;

const OTHER: &str = "other";
const OUTCOMES: usize = RequestOutcome::ALL.len();

/// From what loopback and a memory buffer do (tens of microseconds) over an fsync (milliseconds) and a remote app
/// behind `ack = "delivered"` to the longest time-out in use (30 s), in seconds.
const ACK_BUCKETS: [f64; 18] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 10.0, 30.0,
];

#[derive(Clone)]
pub(super) struct Families {
    requests: IntCounterVec,
    acks: HistogramVec,
    events: IntCounterVec,
    off_list: IntCounterVec,
    nowhere: IntCounterVec,
}

impl Families {
    pub(super) fn register(r: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            requests: counters(
                r,
                "hooklatch_requests_total",
                "Requests answered, by route (empty: none matched) and how they ended.",
                &["route", "outcome"],
            )?,
            acks: histograms(
                r,
                "hooklatch_ack_seconds",
                "From the first byte of a request to its 2xx.",
                "route",
                &ACK_BUCKETS,
            )?,
            events: counters(
                r,
                "hooklatch_events_total",
                "Verified events, by route, type (the first 100 of a route, else other) and how they ended.",
                &["route", "type", "result"],
            )?,
            off_list: counters(
                r,
                "hooklatch_off_list_total",
                "Requests that were signed right and came from an address that is not on the route's allow_ips.",
                &["route"],
            )?,
            nowhere: counters(
                r,
                "hooklatch_events_nowhere_total",
                "Events accepted of which no destination of their route takes the type.",
                &["route"],
            )?,
        })
    }
}

/// The handles of one route. Cheap to clone.
#[derive(Clone)]
pub struct RouteMetrics(Arc<Handles>);

/// Resolved at their first use and then for good: 24 outcomes of 10,000 routes at once would be 100 MB of zeros.
struct Handles {
    name: String,
    families: Families,
    requests: [OnceLock<IntCounter>; OUTCOMES],
    ack: OnceLock<Histogram>,
    off_list: OnceLock<IntCounter>,
    nowhere: OnceLock<IntCounter>,
    types: ArcSwap<HashMap<Box<str>, Arc<TypeCounters>>>,
    other: TypeCounters,
    /// Held while a type is added; counting needs no lock.
    adding: Mutex<()>,
}

type TypeCounters = [OnceLock<IntCounter>; OUTCOMES];

impl fmt::Debug for RouteMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteMetrics").field(&self.0.name).finish()
    }
}

impl RouteMetrics {
    pub(super) fn new(name: &str, families: &Families) -> Self {
        let handles = Handles {
            name: name.to_owned(),
            families: families.clone(),
            requests: Default::default(),
            ack: OnceLock::new(),
            off_list: OnceLock::new(),
            nowhere: OnceLock::new(),
            types: ArcSwap::default(),
            other: Default::default(),
            adding: Mutex::default(),
        };
        Self(Arc::new(handles))
    }

    /// A request ended.
    pub fn request(&self, outcome: RequestOutcome) {
        let handles = &*self.0;
        if let Some(slot) = handles.requests.get(outcome as usize) {
            let labels = || [handles.name.as_str(), outcome.as_str()];
            slot.get_or_init(|| handles.families.requests.with_label_values(&labels())).inc();
        }
    }

    /// A sender was answered 2xx so long after its first byte.
    pub fn ack(&self, took: Duration) {
        let handles = &*self.0;
        handles
            .ack
            .get_or_init(|| handles.families.acks.with_label_values(&[&handles.name]))
            .observe(took.as_secs_f64());
    }

    /// A request was signed right and came from an address that is not on the route's list.
    pub fn off_list(&self) {
        let handles = &*self.0;
        handles.off_list.get_or_init(|| handles.families.off_list.with_label_values(&[&handles.name])).inc();
    }

    /// An accepted event was of a type that no destination takes.
    pub fn nowhere(&self) {
        let handles = &*self.0;
        handles.nowhere.get_or_init(|| handles.families.nowhere.with_label_values(&[&handles.name])).inc();
    }

    /// A verified event ended so. `event_type` is `None` where it has none and where no signature vouches for the
    /// request (`verify = "none"`): it would be a label that a stranger chooses.
    pub fn event(&self, event_type: Option<&str>, result: RequestOutcome) {
        let handles = &*self.0;
        let Some(event_type) = event_type.filter(|t| is_label(t)) else {
            return handles.count(OTHER, &handles.other, result);
        };
        if let Some(known) = handles.types.load().get(event_type) {
            return handles.count(event_type, known, result);
        }
        match handles.add_type(event_type) {
            Some(added) => handles.count(event_type, &added, result),
            None => handles.count(OTHER, &handles.other, result),
        }
    }
}

impl Handles {
    fn count(&self, event_type: &str, counters: &TypeCounters, result: RequestOutcome) {
        if let Some(slot) = counters.get(result as usize) {
            let labels = || [self.name.as_str(), event_type, result.as_str()];
            slot.get_or_init(|| self.families.events.with_label_values(&labels())).inc();
        }
    }

    /// `None` where there are enough types already.
    fn add_type(&self, event_type: &str) -> Option<Arc<TypeCounters>> {
        if self.types.load().len() >= MAX_EVENT_TYPES {
            return None;
        }
        let _one_at_a_time = self.adding.lock();
        let mut types = HashMap::clone(&self.types.load());
        if let Some(meanwhile) = types.get(event_type) {
            return Some(Arc::clone(meanwhile));
        }
        if types.len() >= MAX_EVENT_TYPES {
            return None;
        }
        let added = Arc::<TypeCounters>::default();
        types.insert(event_type.into(), Arc::clone(&added));
        self.types.store(Arc::new(types));
        Some(added)
    }
}

/// Whether a type may be a label as it is.
fn is_label(event_type: &str) -> bool {
    event_type.len() <= MAX_EVENT_TYPE_BYTES
        && !event_type.is_empty()
        && event_type.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// The handle of one secret of a route.
#[derive(Clone, Debug)]
pub struct SecretMetrics {
    hits: IntCounter,
    used: Arc<Used>,
}

/// UNIX milliseconds; 0 = never.
#[derive(Debug, Default)]
struct Used {
    last: AtomicU64,
    /// The longest time between two of them.
    longest_gap: AtomicU64,
}

impl SecretMetrics {
    pub(super) fn new(counter: IntCounter) -> Self {
        Self { hits: counter, used: Arc::default() }
    }

    /// A request verified with it.
    pub fn hit(&self, at: Millis) {
        self.hits.inc();
        let before = self.used.last.swap(at.0, Ordering::Relaxed);
        if before > 0 {
            self.used.longest_gap.fetch_max(at.0.saturating_sub(before), Ordering::Relaxed);
        }
    }

    /// When the last one did, since the process started.
    #[must_use]
    pub fn last_hit(&self) -> Option<Millis> {
        Some(Millis(self.used.last.load(Ordering::Relaxed))).filter(|at| at.0 > 0)
    }

    /// The longest time between two of them, since the process started.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        Duration::from_millis(self.used.longest_gap.load(Ordering::Relaxed))
    }

    /// How many did since the process started.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.get()
    }
}
