mod commits;
mod crashes;
mod ids;
mod lookups;
mod rounds;
mod tails;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::device::FakeDevice;
use super::super::index::Row;
use super::super::ports::{Committed, Live, Read, Rebuild, SharedNames, SpoolOptions};
use super::super::progress::{Loc, Progress, What};
use super::super::record;
use super::super::source::Source;
use super::*;
use crate::clock::Millis;
use crate::event::{Answer, Attempt, DedupeKey, Event, EventId, Proto, Turn};
use crate::headers::Headers;

pub(super) type Fake = Spool<FakeDevice>;

pub(super) fn options() -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 16 * 1024,
        max_segments: 8,
        max_events_per_segment: 1000,
        spares: 2,
        retention: Duration::from_secs(3600),
        remembered_ids: 1000,
        remembered_for: Duration::from_secs(86_400),
    }
}

pub(super) fn event(n: u64, body: usize) -> Event {
    let bytes: Vec<u8> = (0..body).map(|at| (at as u64 * 31 + n * 7 + 1) as u8).collect();
    Event {
        id: EventId::default(),
        route: Arc::from("stripe"),
        provider: Some(Arc::from("stripe")),
        event_id: Some(format!("evt_{n:06}").into()),
        event_type: Some("invoice.paid".into()),
        event_time: None,
        received_at: Millis(1_700_000_000_000 + n),
        method: "POST".into(),
        target: "/hooks/stripe".into(),
        headers: Headers::from_pairs([("Host", "example.com"), ("X-N", &n.to_string())]),
        forwarded_for: "192.0.2.1".into(),
        forwarded_proto: Proto::Https,
        body: Bytes::from(bytes),
        turn: Turn::default(),
    }
}

pub(super) fn key(n: u64) -> DedupeKey {
    DedupeKey(u128::from(n) << 64 | 7)
}

/// What recovery tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub events: Vec<(u64, u32, u32)>,
    pub aliases: Vec<(u64, EventId)>,
    pub turns: Vec<Turn>,
    pub progress: Vec<(Loc, Progress)>,
    pub ids: Vec<(DedupeKey, EventId, Millis)>,
}

impl Told {
    pub fn seqs(&self) -> Vec<u64> {
        self.events.iter().map(|(seq, ..)| *seq).collect()
    }
}

impl Rebuild for Told {
    fn event(&mut self, source: u32, row: &Row) {
        let Row { seq, len: weight, alias, turn, .. } = *row;
        self.turns.push(turn);
        self.events.push((seq, source, weight));
        self.aliases.extend(alias.map(|alias| (seq, alias)));
    }

    fn progress(&mut self, at: Loc, progress: Progress) {
        self.progress.push((at, progress));
    }

    fn id(&mut self, key: DedupeKey, id: EventId, kept_at: Millis) {
        self.ids.push((key, id, kept_at));
    }
}

/// The lanes' part: who waits, told by hand. `Told` becomes one as the buffer does.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub pending: BTreeSet<(u64, u32)>,
    pub retries: BTreeMap<(u64, u32), Loc>,
}

impl Waiting {
    pub fn of(told: &Told, names: &SharedNames) -> Self {
        let mut waiting = Self::default();
        for (seq, source, _) in &told.events {
            let source = names.read().source_of(*source).cloned().unwrap();
            waiting.pending.extend(source.lanes.iter().map(|lane| (*seq, *lane)));
        }
        let stand: BTreeSet<u64> = told.seqs().into_iter().collect();
        for (at, step) in told.progress.iter().filter(|(_, step)| stand.contains(&step.seq)) {
            waiting.apply(step, *at);
        }
        waiting
    }

    pub fn apply(&mut self, step: &Progress, at: Loc) {
        let place = (step.seq, step.lane);
        self.retries.remove(&place);
        match step.what {
            What::Delivered | What::Dead(_) | What::Lost => {
                self.pending.remove(&place);
            }
            What::Deferred { .. } => {
                self.pending.insert(place);
                self.retries.insert(place, at);
            }
            What::Requeued => {
                self.pending.insert(place);
            }
        }
    }
}

impl Live for Waiting {
    fn pending(&self, from: u64, to: u64) -> Vec<u64> {
        let mut seqs: Vec<u64> =
            self.pending.range((from, 0)..=(to, u32::MAX)).map(|(seq, _)| *seq).collect();
        seqs.dedup();
        seqs
    }

    fn pending_count(&self, from: u64, to: u64) -> u64 {
        self.pending(from, to).len() as u64
    }

    fn is_pending(&self, seq: u64, lane: u32) -> bool {
        self.pending.contains(&(seq, lane))
    }

    fn waiting_in(&self, segment: u32) -> Vec<(u64, u32, u32)> {
        let here = self.retries.iter().filter(|(_, at)| at.segment == segment);
        here.map(|((seq, lane), at)| (*seq, *lane, at.offset)).collect()
    }
}

/// A spool, its disk, its names, and one source for the lanes `a` and `b`.
pub(super) struct Rig {
    pub disk: FakeDevice,
    pub names: SharedNames,
    pub spool: Fake,
    pub source: u32,
    pub told: Told,
}

pub(super) const NOW: Millis = Millis(1_700_000_000_000);

impl Rig {
    pub fn new() -> Self {
        Self::on(FakeDevice::default(), options())
    }

    pub fn on(disk: FakeDevice, options: SpoolOptions) -> Self {
        let names = SharedNames::default();
        // In another order than the last time: numbers hold within a process only.
        names.write().lane("nobody");
        let mut told = Told::default();
        let spool = Spool::open(disk.clone(), options, Arc::clone(&names), NOW, &mut told).unwrap();
        let source = {
            let mut names = names.write();
            let lanes = Box::new([names.lane("a"), names.lane("b")]) as Box<[u32]>;
            let mut lanes = lanes;
            lanes.sort_unstable();
            names.source(Source { route: Arc::from("stripe"), provider: Some(Arc::from("stripe")), lanes })
        };
        Self { disk, names, spool, source, told }
    }

    pub fn lane(&self, name: &str) -> u32 {
        self.names.write().lane(name)
    }

    pub fn append(&self, n: u64, body: usize) -> u64 {
        self.spool.append(&event(n, body), self.source, Some(key(n)), false).0
    }

    pub fn commit(&self) -> Committed {
        self.spool.commit(self.spool.take(), true).unwrap()
    }

    /// Appends and commits one event.
    pub fn keep(&self, n: u64, body: usize) -> u64 {
        let seq = self.append(n, body);
        self.commit();
        seq
    }

    pub fn settle(&self, seq: u64, lane: &str) {
        self.spool.note(Progress {
            seq,
            lane: self.lane(lane),
            what: What::Delivered,
            attempts: vec![attempt(1)],
            since: None,
        });
    }

    /// The process ends without a word; power stays.
    pub fn killed(self) -> Self {
        drop(self.spool);
        self.disk.kill();
        Self::on(self.disk, options())
    }

    /// The power fails; of what was not synced, `choose` says what stays.
    pub fn crashed(self, mut choose: impl FnMut(u32) -> u32) -> Self {
        drop(self.spool);
        self.disk.crash(&mut choose);
        Self::on(self.disk, options())
    }

    pub fn reads(&self, seq: u64, n: u64, body: usize) {
        let want = event(n, body);
        match self.spool.read(seq) {
            Read::Event { event, key: found, .. } => {
                assert_eq!((&event.body, &event.headers), (&want.body, &want.headers));
                assert_eq!((&*event.route, &event.event_id), ("stripe", &want.event_id));
                assert_eq!(event.id, EventId::new(want.received_at, seq));
                assert_eq!(found, Some(key(n)));
            }
            other => panic!("event {seq} is {other:?}"),
        }
    }
}

pub(super) fn attempt(number: u16) -> Attempt {
    Attempt {
        number,
        at: Millis(1_700_000_000_500),
        took: Duration::from_millis(12),
        answer: Answer::Status(503),
        region: None,
    }
}

pub(super) fn deferred(seq: u64, lane: u32, due: u64) -> Progress {
    let what = What::Deferred { due: Millis(due), dying: None };
    Progress { seq, lane, what, attempts: vec![attempt(1), attempt(2)], since: None }
}
