//! What a start finds on disk goes back to where it was: events to their lanes, ids to the dedupe table, dead letters
//! into the lanes' view of them. Progress comes first, so that an event that is settled never takes room.

mod steps;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use roaring::RoaringTreemap;

use super::dead::DeadLetters;
use super::device::RealDevice;
use super::index::Row;
use super::lanes::Lanes;
use super::ports::{Read, Rebuild, SharedNames};
use super::progress::{Loc, Progress, What};
use super::shared::EXPRESS_SEQS;
use super::source::Source;
use super::spool::Spool;
use crate::clock::Millis;
use crate::event::{ClaimKeeper, DedupeKey, EventId};
use steps::Steps;

/// Takes down what recovery tells.
pub(super) struct Rebuilding<'a> {
    lanes: &'a mut Lanes,
    names: &'a SharedNames,
    ids: &'a dyn ClaimKeeper,
    /// By lane: what is delivered, dead or lost there.
    settled: HashMap<u32, RoaringTreemap>,
    /// By lane: the retries that wait there.
    waiting: HashMap<u32, Steps>,
    /// Places whose last step says that they pend again.
    requeued: HashSet<(u64, u32)>,
    /// When those of both were replayed that were.
    replayed: HashMap<(u64, u32), Millis>,
    /// Dead letters that were appended anew, by their own id, where they still pend.
    aliases: HashSet<(EventId, u32)>,
    /// The dead letters were damaged and are gone: by lane, what the log says is among them.
    gone: Option<HashMap<u32, RoaringTreemap>>,
    /// Their ids. None is remembered longer than its event was safe.
    forgotten: HashSet<DedupeKey>,
    /// The last source that was asked for: neighbours mostly have the same.
    source: Option<(u32, Arc<Source>)>,
}

impl<'a> Rebuilding<'a> {
    /// `hastened`: at which destinations somebody made due what waited, and when. `letters_are_gone`: what died is nowhere
    /// any more.
    pub(super) fn new(
        lanes: &'a mut Lanes,
        names: &'a SharedNames,
        ids: &'a dyn ClaimKeeper,
        hastened: Vec<(Arc<str>, Millis)>,
        letters_are_gone: bool,
    ) -> Self {
        for (destination, at) in hastened {
            let lane = names.write().lane(&destination);
            lanes.restore_hastened(lane, at);
        }
        Self {
            lanes,
            names,
            ids,
            settled: HashMap::new(),
            waiting: HashMap::new(),
            requeued: HashSet::new(),
            replayed: HashMap::new(),
            aliases: HashSet::new(),
            gone: letters_are_gone.then(HashMap::new),
            forgotten: HashSet::new(),
            source: None,
        }
    }

    /// How much memory it takes, and the lanes that it fills.
    #[cfg(test)]
    fn heap(&self) -> usize {
        let settled: usize = self.settled.values().map(RoaringTreemap::serialized_size).sum();
        self.waiting.values().map(Steps::heap).sum::<usize>() + settled + self.lanes.heap()
    }

    fn source(&mut self, number: u32) -> Option<Arc<Source>> {
        if let Some((known, source)) = &self.source
            && *known == number
        {
            return Some(Arc::clone(source));
        }
        let names = self.names.read();
        let source = names.source_of(number).cloned()?;
        for lane in &source.lanes {
            if let Some(name) = names.lane_name(*lane) {
                self.lanes.lane(*lane, name);
            }
        }
        self.source = Some((number, Arc::clone(&source)));
        Some(source)
    }

    /// The dead letters, and what a crash between them and the spool left half done: an event that stands there and
    /// pends here either died (here it is settled) or was put back (there it is removed). A letter may be older than the
    /// spool, or come of the store in memory: then its number means another event here, or one to come.
    pub(super) fn finish(self, spool: &Spool<RealDevice>, dead: &DeadLetters) -> Result<(), String> {
        let Self { lanes, names, requeued, aliases, .. } = self;
        let (mut removed, mut highest) = (Vec::new(), 0);
        dead.all_places(&mut |id, destination, reason| {
            let (seq, lane) = (id.seq(), names.write().lane(destination));
            lanes.lane(lane, &destination.into());
            highest = highest.max(if seq < EXPRESS_SEQS { seq } else { 0 });
            let was_put_back = requeued.contains(&(seq, lane));
            let here = if was_put_back || lanes.is_pending(seq, lane) { spool.read(seq) } else { Read::Gone };
            match here {
                _ if aliases.contains(&(id, lane)) => {
                    removed.push((id, destination.to_owned()));
                    return;
                }
                Read::Event { event, .. } if event.id == id && was_put_back => {
                    removed.push((id, destination.to_owned()));
                    return;
                }
                Read::Event { event, source, weight, .. } if event.id == id => {
                    let source = names.read().source_of(source).cloned();
                    lanes.restored_dead(seq, lane, weight, source.as_ref().map_or(&[lane], |one| &one.lanes));
                    let what = What::Dead(reason);
                    spool.note(Progress { seq, lane, what, attempts: Vec::new(), since: None });
                }
                _ => {}
            }
            lanes.letter(seq, lane);
        })
        .map_err(|error| error.to_string())?;
        spool.number_from(highest + 1);
        for (id, destination) in removed {
            dead.put_back(id, &destination);
        }
        Ok(())
    }
}

impl Rebuild for Rebuilding<'_> {
    fn progress(&mut self, at: Loc, progress: Progress) {
        let place = (progress.seq, progress.lane);
        let waiting = self.waiting.entry(progress.lane).or_default();
        waiting.remove(progress.seq);
        self.requeued.remove(&place);
        match progress.since {
            Some(since) => drop(self.replayed.insert(place, since)),
            None if self.replayed.is_empty() => {}
            None => drop(self.replayed.remove(&place)),
        }
        if let Some(gone) = &mut self.gone {
            let of_lane = gone.entry(progress.lane).or_default();
            match progress.what {
                What::Dead(_) => of_lane.insert(progress.seq),
                _ => of_lane.remove(progress.seq),
            };
        }
        let settled = self.settled.entry(progress.lane).or_default();
        match progress.what {
            What::Delivered | What::Dead(_) | What::Lost => {
                settled.insert(progress.seq);
            }
            What::Requeued => {
                settled.remove(progress.seq);
                self.requeued.insert(place);
            }
            What::Deferred { .. } => {
                // It may be all that is left of one that was put on its way again.
                settled.remove(progress.seq);
                if let Some(retry) = self.lanes.retry(at, &progress) {
                    waiting.add(&retry);
                }
            }
        }
    }

    fn event(&mut self, source: u32, row: &Row) {
        let Row { seq, len: weight, alias, turn, .. } = *row;
        let Some(source) = self.source(source) else { return };
        if let Some(gone) = &self.gone
            && source.lanes.iter().any(|lane| gone.get(lane).is_some_and(|gone| gone.contains(seq)))
        {
            self.forgotten.extend(row.key);
        }
        let settled = &self.settled;
        let pending: Vec<u32> = source
            .lanes
            .iter()
            .copied()
            .filter(|lane| !settled.get(lane).is_some_and(|settled| settled.contains(seq)))
            .collect();
        if pending.is_empty() {
            return;
        }
        self.lanes.restore(seq, weight, turn, &pending);
        for lane in pending {
            if let Some(id) = alias {
                self.aliases.insert((id, lane));
            }
            if let Some(since) = self.replayed.remove(&(seq, lane)) {
                self.lanes.renew(seq, lane, since);
            }
            let Some(waiting) = self.waiting.get_mut(&lane) else { continue };
            if let Some(retry) = waiting.take(seq) {
                self.lanes.expect_waiting(lane, turn.priority, waiting.len() + 1);
                self.lanes.restore_waiting(lane, turn, &retry);
            }
        }
    }

    fn id(&mut self, key: DedupeKey, id: EventId, kept_at: Millis) {
        if !self.forgotten.contains(&key) {
            self.ids.restore(key, id, kept_at);
        }
    }
}
