//! What must be in the spool, and what may: told of everything that is asked of it, and of nothing that it does by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::buffer::disk::index::Row;
use crate::buffer::disk::ports::{Live, Read, Rebuild};
use crate::buffer::disk::progress::{Loc, Progress, What};
use crate::buffer::disk::source::Source;
use crate::clock::Millis;
use crate::event::{Answer, Attempt, DedupeKey, Event, EventId, OrderKey, Priority, Proto, Turn};
use crate::headers::Headers;

/// What is wrong, in words.
pub(super) type Wrong = String;

/// Destinations, by their place here.
pub(super) const LANES: [&str; 3] = ["app", "mirror", "stuck"];

/// The story of an event at one destination.
#[derive(Debug, Default)]
struct Story {
    /// Every step that was noted.
    steps: Vec<(What, Vec<Attempt>)>,
    /// So many of them are promised to be remembered: a later one may be what is found, an earlier one not.
    promised: usize,
    /// Where the last step stands, if it is a retry.
    at: Option<Loc>,
}

/// Whether an event is over with this step.
fn settles(what: What) -> bool {
    matches!(what, What::Delivered | What::Dead(_) | What::Lost)
}

impl Story {
    fn waits(&self) -> bool {
        match self.steps.last() {
            None => true,
            Some((what, _)) => !settles(*what),
        }
    }

    /// Whether what is promised ends with the event being over, whatever was noted since.
    fn promised_over(&self) -> bool {
        let last = self.promised.checked_sub(1).and_then(|last| self.steps.get(last));
        last.is_some_and(|(what, _)| settles(*what))
    }
}

#[derive(Debug)]
struct Known {
    event: Event,
    key: Option<DedupeKey>,
    alias: bool,
    /// Its sender was told 2xx, or would be if it came again.
    promised: bool,
    /// Its commit failed: it may be found after a restart, but is read by nobody before.
    given_up: bool,
    stories: BTreeMap<usize, Story>,
}

impl Known {
    fn waits(&self) -> bool {
        self.stories.values().any(Story::waits)
    }

    fn id(&self, seq: u64) -> EventId {
        if self.alias { self.event.id } else { EventId::new(self.event.received_at, seq) }
    }
}

/// What one commit is about: places in the stories, and ids.
#[derive(Debug, Default)]
pub(super) struct Pledge {
    events: Vec<u64>,
    steps: Vec<(u64, usize, usize)>,
    ids: Vec<DedupeKey>,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    events: BTreeMap<u64, Known>,
    /// Ids of events, and ids alone: what they stand for and whether that must be remembered.
    ids: BTreeMap<u128, (EventId, bool)>,
    open: Pledge,
    /// Written, and not synced yet.
    unsynced: Pledge,
    next_key: u128,
    /// The number that an event that was promised had last.
    highest: u64,
}

/// What a start of the spool told.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// With the shared numbers of their sources.
    pub events: Vec<Row>,
    pub progress: Vec<(Loc, Progress)>,
    pub ids: Vec<(DedupeKey, EventId)>,
}

impl Rebuild for Found {
    fn event(&mut self, source: u32, row: &Row) {
        self.events.push(Row { source, ..row.clone() });
    }

    fn progress(&mut self, at: Loc, progress: Progress) {
        self.progress.push((at, progress));
    }

    fn id(&mut self, key: DedupeKey, id: EventId, _kept_at: Millis) {
        self.ids.push((key, id));
    }
}

/// An event whose bytes tell its number from all others.
pub(super) fn event(stamp: u64, size: usize, now: Millis, alias: bool) -> Event {
    let mut body = format!("{{\"id\":\"evt_{stamp}\",\"of\":\"").into_bytes();
    body.extend((0..size).map(|at| (stamp as usize * 31 + at * 7) as u8));
    let id = format!("evt_{stamp}");
    Event {
        id: if alias { EventId::new(Millis(7), 1 << 40 | stamp) } else { EventId::default() },
        route: "github".into(),
        provider: stamp.is_multiple_of(2).then(|| "stripe".into()),
        event_id: (!stamp.is_multiple_of(3)).then(|| id.as_str().into()),
        event_type: stamp.is_multiple_of(5).then(|| "push".into()),
        event_time: stamp.is_multiple_of(4).then_some(Millis(stamp)),
        received_at: now,
        method: "POST".into(),
        target: format!("/hooks?n={stamp}").into(),
        headers: Headers::from_pairs([("content-type", "application/json"), ("x-id", id.as_str())]),
        forwarded_for: "203.0.113.9".into(),
        forwarded_proto: if stamp.is_multiple_of(2) { Proto::Https } else { Proto::Http },
        body: Bytes::from(body),
        turn: turn(stamp),
    }
}

/// Of five events one is critical, one bulk, and two have one of three keys.
fn turn(stamp: u64) -> Turn {
    let priority = match stamp % 5 {
        1 => Priority::Critical,
        3 => Priority::Bulk,
        _ => Priority::Normal,
    };
    let order_key = if stamp % 5 > 2 { OrderKey::from_bits(stamp % 3 + 1) } else { None };
    Turn { priority, order_key }
}

fn same(a: &Event, b: &Event) -> bool {
    let texts = |e: &Event| (e.route.clone(), e.provider.clone(), e.event_id.clone(), e.event_type.clone());
    let request =
        |e: &Event| (e.method.clone(), e.target.clone(), e.headers.as_bytes().clone(), e.body.clone());
    let rest = |e: &Event| (e.event_time, e.received_at, e.forwarded_for.clone(), e.forwarded_proto, e.turn);
    texts(a) == texts(b) && request(a) == request(b) && rest(a) == rest(b)
}

impl Oracle {
    pub fn next_key(&mut self) -> DedupeKey {
        self.next_key += 1;
        DedupeKey(self.next_key)
    }

    pub fn appended(
        &mut self,
        seq: u64,
        event: Event,
        lanes: &[usize],
        key: Option<DedupeKey>,
        alias: bool,
    ) -> Result<(), Wrong> {
        if seq <= self.highest && self.highest > 0 {
            return Err(format!("{seq} was given again"));
        }
        let stories = lanes.iter().map(|lane| (*lane, Story::default())).collect();
        let known = Known { event, key, alias, promised: false, given_up: false, stories };
        if let Some(key) = key {
            self.ids.insert(key.0, (known.id(seq), false));
        }
        self.events.insert(seq, known);
        self.open.events.push(seq);
        Ok(())
    }

    pub fn remembered(&mut self, key: DedupeKey, id: EventId) {
        self.ids.insert(key.0, (id, false));
        self.open.ids.push(key);
    }

    pub fn noted(&mut self, seq: u64, lane: usize, what: What, attempts: Vec<Attempt>) {
        let Some(story) = self.story(seq, lane) else { return };
        story.steps.push((what, attempts));
        story.at = None;
        let step = story.steps.len();
        self.open.steps.push((seq, lane, step));
    }

    fn story(&mut self, seq: u64, lane: usize) -> Option<&mut Story> {
        self.events.get_mut(&seq)?.stories.get_mut(&lane)
    }

    /// A commit begins.
    pub fn take(&mut self) -> Pledge {
        std::mem::take(&mut self.open)
    }

    /// It was written: what it held is promised with the next sync. `deferred`: where its retries stand.
    pub fn written(&mut self, mut pledge: Pledge, deferred: impl IntoIterator<Item = (u64, usize, Loc)>) {
        self.unsynced.events.append(&mut pledge.events);
        self.unsynced.steps.append(&mut pledge.steps);
        self.unsynced.ids.append(&mut pledge.ids);
        for (seq, lane, at) in deferred {
            // The same commit may hold a step that came after the retry.
            if let Some(story) = self.story(seq, lane)
                && matches!(story.steps.last(), Some((What::Deferred { .. }, _)))
            {
                story.at = Some(at);
            }
        }
    }

    /// All that was written is synced.
    pub fn synced(&mut self) {
        let pledge = std::mem::take(&mut self.unsynced);
        for seq in pledge.events {
            if let Some(known) = self.events.get_mut(&seq) {
                known.promised = true;
                self.highest = self.highest.max(seq);
                if let Some(key) = known.key {
                    self.promise_id(key);
                }
            }
        }
        for (seq, lane, step) in pledge.steps {
            if let Some(story) = self.story(seq, lane) {
                story.promised = story.promised.max(step);
            }
        }
        for key in pledge.ids {
            self.promise_id(key);
        }
    }

    fn promise_id(&mut self, key: DedupeKey) {
        if let Some((_, promised)) = self.ids.get_mut(&key.0) {
            *promised = true;
        }
    }

    /// It failed: its senders were told 503, the rest is to be in a later one. What was written before it without a
    /// sync is as uncertain as it was.
    pub fn failed(&mut self, mut pledge: Pledge) {
        for seq in std::mem::take(&mut pledge.events) {
            if let Some(known) = self.events.get_mut(&seq) {
                known.given_up = true;
            }
        }
        pledge.steps.append(&mut self.open.steps);
        pledge.ids.append(&mut self.open.ids);
        pledge.events = std::mem::take(&mut self.open.events);
        self.open = pledge;
    }

    /// Those that wait and could be settled: kept, at a destination.
    pub fn waiting(&self) -> Vec<(u64, usize)> {
        let kept = self.events.iter().filter(|(_, known)| known.promised);
        kept.flat_map(|(seq, known)| {
            known.stories.iter().filter(|(_, story)| story.waits()).map(|(lane, _)| (*seq, *lane))
        })
        .collect()
    }

    /// Those that do not wait any more.
    pub fn over(&self) -> Vec<(u64, usize)> {
        let kept = self.events.iter().filter(|(_, known)| known.promised);
        kept.flat_map(|(seq, known)| {
            known.stories.iter().filter(|(_, story)| !story.waits()).map(|(lane, _)| (*seq, *lane))
        })
        .collect()
    }

    /// The attempts that a next one is added to.
    pub fn attempts(&self, seq: u64, lane: usize) -> Vec<Attempt> {
        let story = self.events.get(&seq).and_then(|known| known.stories.get(&lane));
        match story.and_then(|story| story.steps.last()) {
            Some((What::Requeued, _)) | None => Vec::new(),
            Some((_, attempts)) => attempts.clone(),
        }
    }

    /// Retries, where they stand and what they say.
    pub fn retries(&self) -> Vec<(u64, usize, Loc, Vec<Attempt>)> {
        let stories = self
            .events
            .iter()
            .flat_map(|(seq, known)| known.stories.iter().map(|(lane, story)| (*seq, *lane, story)));
        stories
            .filter_map(|(seq, lane, story)| Some((seq, lane, story.at?, story.steps.last()?.1.clone())))
            .collect()
    }

    /// Whether what a read of `seq` says may be so.
    pub fn check_read(&self, seq: u64, read: &Read) -> Result<(), Wrong> {
        let known = self.events.get(&seq);
        match read {
            Read::Event { event, key, .. } => {
                let known = known.ok_or_else(|| format!("{seq} was invented"))?;
                if known.given_up {
                    return Err(format!("{seq} is read though its commit failed"));
                }
                if event.id != known.id(seq) || *key != known.key || !same(event, &known.event) {
                    return Err(format!("{seq} is not what it was"));
                }
                Ok(())
            }
            Read::Gone => match known {
                Some(known) if known.promised && known.waits() => Err(format!("{seq} waits and is gone")),
                _ => Ok(()),
            },
            Read::Failed => Err(format!("{seq} cannot be read")),
            Read::Damaged { .. } => Err(format!("{seq} reads as damaged")),
        }
    }

    /// Every event that must be read.
    pub fn promised_and_waiting(&self) -> Vec<u64> {
        self.events.iter().filter(|(_, known)| known.promised && known.waits()).map(|(seq, _)| *seq).collect()
    }

    /// All that were appended since they were last found, or found.
    pub fn all(&self) -> Vec<u64> {
        self.events.keys().copied().collect()
    }

    pub fn turn_of(&self, seq: u64) -> Option<Turn> {
        self.events.get(&seq).map(|known| known.event.turn)
    }

    pub fn id_of(&self, seq: u64) -> Option<(EventId, Option<&str>)> {
        let known = self.events.get(&seq)?;
        Some((known.id(seq), known.event.event_id.as_deref()))
    }

    /// Compares what a start told with what must and may be, and goes on from there: what was found is promised, for a
    /// sender that comes again is told that its event is here. `lane` and `source`: what the numbers of this start mean.
    pub fn restarted(
        &mut self,
        found: &Found,
        lane: impl Fn(u32) -> Option<usize>,
        source: impl Fn(u32) -> Option<Arc<Source>>,
    ) -> Result<(), Wrong> {
        if !found.events.is_sorted_by(|a, b| a.seq < b.seq) {
            return Err("events out of order, or twice".to_owned());
        }
        let seqs: BTreeSet<u64> = found.events.iter().map(|event| event.seq).collect();
        if let Some(lost) = self.promised_and_waiting().iter().find(|seq| !seqs.contains(seq)) {
            return Err(format!("{lost} was promised, waits, and was not found"));
        }
        for Row { seq, source: number, received, alias, turn, .. } in &found.events {
            let known = self.events.get(seq).ok_or_else(|| format!("{seq} was invented"))?;
            let source = source(*number).ok_or_else(|| format!("{seq} has no source"))?;
            let lanes: Option<BTreeSet<usize>> = source.lanes.iter().map(|number| lane(*number)).collect();
            if lanes != Some(known.stories.keys().copied().collect()) {
                return Err(format!("{seq} has the destinations {lanes:?}"));
            }
            if *received != known.event.received_at || alias.is_some() != known.alias {
                return Err(format!("{seq} came at another time, or its id is another"));
            }
            if *turn != known.event.turn {
                return Err(format!("{seq} was {:?} and is {turn:?}", known.event.turn));
            }
        }
        self.stories_found(found, &lane)?;
        self.ids_found(found)?;
        self.events.retain(|seq, _| seqs.contains(seq));
        for (seq, known) in &mut self.events {
            (known.promised, known.given_up) = (true, false);
            self.highest = self.highest.max(*seq);
        }
        (self.open, self.unsynced) = Default::default();
        Ok(())
    }

    fn stories_found(&mut self, found: &Found, lane: impl Fn(u32) -> Option<usize>) -> Result<(), Wrong> {
        let mut last: BTreeMap<(u64, usize), (Loc, &Progress)> = BTreeMap::new();
        for (at, progress) in &found.progress {
            let lane = lane(progress.lane).ok_or("progress at a destination without a name")?;
            last.insert((progress.seq, lane), (*at, progress));
        }
        let here: BTreeSet<u64> = found.events.iter().map(|event| event.seq).collect();
        for (seq, known) in self.events.iter_mut().filter(|(seq, _)| here.contains(seq)) {
            for (lane, story) in &mut known.stories {
                let last = last.get(&(*seq, *lane));
                let step = match last {
                    // With nothing said of it an event waits afresh, as one that was requeued does.
                    None => {
                        let requeued = |(what, _): &(What, Vec<Attempt>)| *what == What::Requeued;
                        Some(story.steps.iter().rposition(requeued).map_or(0, |place| place + 1))
                    }
                    Some((_, step)) => {
                        let same = |(what, attempts): &(What, Vec<Attempt>)| {
                            *what == step.what && *attempts == step.attempts
                        };
                        story.steps.iter().rposition(same).map(|place| place + 1)
                    }
                };
                let step = step.ok_or_else(|| format!("{seq} at {lane}: {last:?} was invented"))?;
                // Over is over; by which of its replays, the log need not tell.
                let over = last.is_some_and(|(_, step)| settles(step.what));
                if over && step < story.promised && story.promised_over() {
                    story.steps.truncate(story.promised);
                    story.at = None;
                    continue;
                }
                if step < story.promised {
                    let promised = story.steps.get(story.promised - 1);
                    return Err(format!("{seq} at {lane}: {last:?} came back after {promised:?}"));
                }
                story.steps.truncate(step);
                story.promised = step;
                let retry = matches!(story.steps.last(), Some((What::Deferred { .. }, _)));
                story.at = last.filter(|_| retry).map(|(at, _)| *at);
            }
        }
        Ok(())
    }

    fn ids_found(&mut self, found: &Found) -> Result<(), Wrong> {
        let told: BTreeMap<u128, EventId> = found.ids.iter().map(|(key, id)| (key.0, *id)).collect();
        for (key, id) in &told {
            match self.ids.get_mut(key) {
                Some((expected, promised)) if expected == id => *promised = true,
                other => return Err(format!("the id of {key} is {id:?}, not {other:?}")),
            }
        }
        if let Some((key, _)) =
            self.ids.iter().find(|(key, (_, promised))| *promised && !told.contains_key(key))
        {
            return Err(format!("the id of {key} is forgotten"));
        }
        self.ids.retain(|key, _| told.contains_key(key));
        Ok(())
    }
}

/// The answers of one who knows no more than what he was told.
pub(super) struct Waiting<'a> {
    pub oracle: &'a std::cell::RefCell<Oracle>,
    /// The spool's numbers of [`LANES`].
    pub lanes: [u32; 3],
}

impl Live for Waiting<'_> {
    fn pending(&self, from: u64, to: u64) -> Vec<u64> {
        let oracle = self.oracle.borrow();
        let within = oracle.events.range(from..=to.max(from)).filter(|(seq, _)| **seq <= to);
        within.filter(|(_, known)| !known.given_up && known.waits()).map(|(seq, _)| *seq).collect()
    }

    fn pending_count(&self, from: u64, to: u64) -> u64 {
        self.pending(from, to).len() as u64
    }

    fn is_pending(&self, seq: u64, lane: u32) -> bool {
        let oracle = self.oracle.borrow();
        let Some(known) = oracle.events.get(&seq).filter(|known| !known.given_up) else { return false };
        let lane = self.lanes.iter().position(|number| *number == lane);
        lane.and_then(|lane| known.stories.get(&lane)).is_some_and(Story::waits)
    }

    fn waiting_in(&self, segment: u32) -> Vec<(u64, u32, u32)> {
        let retries = self.oracle.borrow().retries();
        let here = retries.into_iter().filter(|(_, _, at, _)| at.segment == segment);
        here.filter_map(|(seq, lane, at, _)| Some((seq, *self.lanes.get(lane)?, at.offset))).collect()
    }
}

pub(super) fn attempt(number: u16, at: Millis) -> Attempt {
    let answer = [Answer::Status(500), Answer::Timeout, Answer::Connect, Answer::Internal];
    let answer = answer[usize::from(number) % answer.len()];
    Attempt { number, at, took: Duration::from_millis(u64::from(number) * 3), answer, region: None }
}
