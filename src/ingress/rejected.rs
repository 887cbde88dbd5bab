//! What was refused lately: a bounded list in memory, for the operator who asks why, and to let in what should not have
//! been refused.
//!
//! Nothing of it is stored, remembered or delivered. A flood of refused requests makes room for itself among those of its
//! own route first: the route that holds most of what ran short, events or bytes, gives up its oldest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::client_ip::Client;
use super::head::Head;
use crate::clock::Millis;
use crate::event::EventId;
use crate::observe::RequestOutcome;
use crate::units::Invalid;

/// `[rejected]` as typed; its default is the documented one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedOptions {
    /// How many are kept; 0 = none.
    pub max_events: usize,
    /// Heads and bodies together, bytes. A body of more than a quarter of it is left out.
    pub max_bytes: u64,
    /// For how long.
    pub retention: Duration,
}

impl Default for RejectedOptions {
    fn default() -> Self {
        Self { max_events: 1000, max_bytes: 16 << 20, retention: Duration::from_secs(24 * 3600) }
    }
}

/// Valid [`RejectedOptions`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RejectedSettings(RejectedOptions);

impl RejectedSettings {
    /// Checks `options`.
    ///
    /// # Errors
    /// Every key that cannot be worked with.
    pub fn new(options: RejectedOptions) -> Result<Self, Vec<Invalid>> {
        if options.max_events > 0 && options.max_bytes < 64 << 10 {
            let hint = "write \"64KiB\" or more, or max_events = 0 to keep none";
            return Err(vec![Invalid::new("max_bytes", "hardly one request would find room", hint)]);
        }
        Ok(Self(options))
    }
}

/// A request that was refused.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// The id in its refusal, `request_id`.
    pub id: EventId,
    /// When it came.
    pub at: Millis,
    /// The route it came by.
    pub route: Arc<str>,
    /// Why, in a word of the contract.
    pub outcome: RequestOutcome,
    /// What the sender was told.
    pub message: String,
    /// The header or field at fault.
    pub field: Option<String>,
    /// Its head.
    pub head: Head,
    /// Its body; `None` where it was not read or is too large to be kept.
    pub body: Option<Bytes>,
    /// Who sent it.
    pub client: Client,
}

/// What one takes in memory beside its head and body: the entry, and the head's ranges and lines.
const OVERHEAD: u64 = 512;

impl Rejected {
    fn bytes(&self) -> u64 {
        let head = 2 * self.head.raw().len();
        (head + self.body.as_ref().map_or(0, Bytes::len)) as u64 + OVERHEAD
    }
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct RejectedList(Mutex<List>);

#[derive(Debug, Default)]
struct List {
    settings: RejectedSettings,
    routes: BTreeMap<Arc<str>, OfRoute>,
    events: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
struct OfRoute {
    /// The oldest first.
    queue: VecDeque<Arc<Rejected>>,
    bytes: u64,
}

impl RejectedList {
    /// Takes over new bounds.
    pub(super) fn apply(&self, settings: RejectedSettings, now: Millis) {
        let mut list = self.0.lock();
        list.settings = settings;
        list.age(now);
        list.make_room();
    }

    /// Keeps `rejected`, whose body is copied so that it holds on to nothing else. Whether others had to go for it.
    pub(super) fn keep(&self, mut rejected: Rejected) -> bool {
        let mut list = self.0.lock();
        let RejectedOptions { max_events, max_bytes, .. } = list.settings.0;
        if max_events == 0 {
            return false;
        }
        let fits = |body: &Bytes| body.len() as u64 <= max_bytes / 4;
        rejected.body = rejected.body.filter(fits).map(|body| Bytes::copy_from_slice(&body));
        list.age(rejected.at);
        list.push(Arc::new(rejected));
        list.make_room()
    }

    /// The one with this id.
    pub(super) fn get(&self, id: EventId, now: Millis) -> Option<Arc<Rejected>> {
        let mut list = self.0.lock();
        list.age(now);
        list.all().find(|rejected| rejected.id == id).cloned()
    }

    /// Takes out the one with this id, so that nobody else lets it in too.
    pub(super) fn take(&self, id: EventId) -> Option<Arc<Rejected>> {
        let mut list = self.0.lock();
        let route = Arc::clone(&list.all().find(|rejected| rejected.id == id)?.route);
        let queue = &mut list.routes.get_mut(&route)?.queue;
        let taken = queue.remove(queue.iter().position(|rejected| rejected.id == id)?)?;
        list.forget(&taken);
        Some(taken)
    }

    /// Puts back what was taken.
    pub(super) fn put_back(&self, rejected: Arc<Rejected>) {
        let mut list = self.0.lock();
        list.push(rejected);
        list.make_room();
    }

    /// All of them, the newest first.
    pub(super) fn all(&self, now: Millis) -> Vec<Arc<Rejected>> {
        let mut list = self.0.lock();
        list.age(now);
        let mut all: Vec<_> = list.all().cloned().collect();
        all.sort_by_key(|rejected| std::cmp::Reverse(rejected.id));
        all
    }
}

impl List {
    fn all(&self) -> impl Iterator<Item = &Arc<Rejected>> {
        self.routes.values().flat_map(|of| &of.queue)
    }

    fn push(&mut self, rejected: Arc<Rejected>) {
        self.events += 1;
        self.bytes += rejected.bytes();
        let of = self.routes.entry(Arc::clone(&rejected.route)).or_default();
        of.bytes += rejected.bytes();
        // What is put back goes where it was.
        let at = of.queue.partition_point(|other| other.id < rejected.id);
        of.queue.insert(at, rejected);
    }

    fn forget(&mut self, rejected: &Rejected) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(rejected.bytes());
        let Some(of) = self.routes.get_mut(&rejected.route) else { return };
        of.bytes = of.bytes.saturating_sub(rejected.bytes());
        if of.queue.is_empty() {
            self.routes.remove(&rejected.route);
        }
    }

    fn age(&mut self, now: Millis) {
        let oldest = now.minus(self.settings.0.retention);
        let mut gone = Vec::new();
        for OfRoute { queue, .. } in self.routes.values_mut() {
            while queue.front().is_some_and(|rejected| rejected.at < oldest) {
                gone.extend(queue.pop_front());
            }
        }
        gone.iter().for_each(|rejected| self.forget(rejected));
    }

    /// Whether any had to go.
    fn make_room(&mut self) -> bool {
        let RejectedOptions { max_events, max_bytes, .. } = self.settings.0;
        let mut any = false;
        while self.events > max_events || self.bytes > max_bytes {
            // A flood of large ones must not push out a route of many small ones, nor the other way round.
            let by_bytes = self.bytes > max_bytes;
            let held = |of: &&mut OfRoute| if by_bytes { of.bytes } else { of.queue.len() as u64 };
            let fullest = self.routes.values_mut().max_by_key(held);
            let Some(oldest) = fullest.and_then(|of| of.queue.pop_front()) else { break };
            self.forget(&oldest);
            any = true;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::ingress::Peer;
    use crate::ingress::ServerOptions;
    use crate::ingress::parse::{Limits, parse};

    const NOW: Millis = Millis(1_768_473_000_000);

    fn rejected(seq: u64, route: &str, body: usize) -> Rejected {
        let raw = "POST /a HTTP/1.1\r\nhost: a\r\n\r\n";
        let limits = Limits { head: 1024, headers: 10, uri: 100 };
        let head = parse(raw.as_bytes(), limits, Instant::now()).unwrap().unwrap();
        let peer = Peer::Tcp(([192, 0, 2, 1], 4000).into());
        Rejected {
            id: EventId::new(NOW, seq),
            at: NOW.plus(Duration::from_secs(seq)),
            route: route.into(),
            outcome: RequestOutcome::InvalidSignature,
            message: "m".to_owned(),
            field: None,
            client: Client::find(peer, head.headers(), &ServerOptions::default()),
            head,
            body: Some(vec![b'x'; body].into()),
        }
    }

    fn list(max_events: usize, max_bytes: u64) -> RejectedList {
        let list = RejectedList::default();
        let retention = Duration::from_secs(3600);
        let options = RejectedOptions { max_events, max_bytes, retention };
        list.apply(RejectedSettings::new(options).unwrap(), NOW);
        list
    }

    fn seqs(list: &RejectedList) -> Vec<u64> {
        list.all(NOW).iter().map(|rejected| rejected.id.seq()).collect()
    }

    #[test]
    fn the_newest_are_kept_and_a_flood_pushes_out_its_own() {
        let list = list(4, 1 << 20);
        assert!(!list.keep(rejected(1, "quiet", 1)));
        for seq in 2..=20 {
            list.keep(rejected(seq, "flooded", 1));
        }
        assert_eq!(seqs(&list), [20, 19, 18, 1]);
        assert!(list.keep(rejected(21, "flooded", 1)));
    }

    #[test]
    fn bytes_and_age_are_bounds_too() {
        let list = list(1000, 64 << 10);
        for seq in 1..=10 {
            list.keep(rejected(seq, "a", 16 << 10));
        }
        assert!(list.0.lock().bytes <= 64 << 10);
        assert_eq!(seqs(&list), [10, 9, 8]);
        list.keep(rejected(11, "a", (16 << 10) + 1));
        assert_eq!(list.get(EventId::new(NOW, 11), NOW).unwrap().body, None, "too large to be kept");
        assert_eq!(list.all(NOW.plus(Duration::from_secs(3609))).len(), 3);
        assert_eq!(list.all(NOW.plus(Duration::from_secs(3612))).len(), 0);
        let inner = list.0.lock();
        assert_eq!((inner.events, inner.bytes, inner.routes.len()), (0, 0, 0));
    }

    #[test]
    fn a_flood_of_large_ones_does_not_push_out_a_route_of_many_small_ones() {
        let list = list(1000, 64 << 10);
        for seq in 1..=20 {
            list.keep(rejected(seq, "quiet", 1));
        }
        for seq in 21..=60 {
            list.keep(rejected(seq, "flooded", 16 << 10));
        }
        let kept = list.all(NOW);
        assert_eq!(kept.iter().filter(|rejected| &*rejected.route == "quiet").count(), 20);
        assert_eq!(kept[0].id.seq(), 60);
        let inner = list.0.lock();
        let of_routes: u64 = inner.routes.values().map(|of| of.bytes).sum();
        assert!(inner.bytes == of_routes && of_routes <= 64 << 10, "{of_routes} of {}", inner.bytes);
    }

    #[test]
    fn what_is_taken_is_there_for_nobody_else_until_it_is_put_back() {
        let list = list(10, 1 << 20);
        for seq in 1..=3 {
            list.keep(rejected(seq, "a", 1));
        }
        let id = EventId::new(NOW, 2);
        let taken = list.take(id).unwrap();
        assert!(list.take(id).is_none() && list.get(id, NOW).is_none());
        assert_eq!(seqs(&list), [3, 1]);
        list.put_back(taken);
        assert_eq!(seqs(&list), [3, 2, 1]);
    }

    #[test]
    fn none_are_kept_where_none_are_wanted_and_bounds_that_make_no_sense_are_refused() {
        let list = list(0, 0);
        list.keep(rejected(1, "a", 1));
        assert!(seqs(&list).is_empty());
        let options = RejectedOptions { max_bytes: 1000, ..RejectedOptions::default() };
        assert_eq!(RejectedSettings::new(options).unwrap_err()[0].key, "max_bytes");
    }
}
