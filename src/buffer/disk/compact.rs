//! Keeping the folder small: indexes are written, what is settled goes, what hardly waits is merged.

mod carry;
mod merge;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::device::Device;
use super::index::{self, Index, IndexError};
use super::ports::{Live, Maintained};
use super::segment::Segment;
use super::spool::{IdsFile, Spool, ids_name, index_name, log_name};
use crate::clock::Millis;

/// What one round of maintenance leaves for the next.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// The last look for segments to merge that found none.
    fruitless: Option<Fruitless>,
    /// So many rounds pass before a disk that refused a spare is asked for one again.
    refused: u32,
    /// Segments of which a part stands in a merged one already. After a restart this is not known, and harms nobody: that
    /// part may be copied once more.
    halved: HashSet<u32>,
}

/// A look for segments to merge, in vain.
#[derive(Debug)]
struct Fruitless {
    /// How many events waited.
    pending: u64,
    /// The newest segment then.
    newest: Option<u32>,
    /// How many rounds it is ago.
    rounds: u32,
}

/// After so many rounds it is looked again, whatever changed.
const LOOKED_AGAIN: u32 = 50;
/// After so many rounds a disk that refused is asked again: a second.
const ASKED_AGAIN: u32 = 50;

impl Fruitless {
    /// Whether a look would hardly find another answer. It costs as much as reading what waits in two segments: not in
    /// every round of a buffer that is full.
    fn holds(&mut self, pending: u64, newest: Option<u32>) -> bool {
        self.rounds += 1;
        self.rounds < LOOKED_AGAIN
            && self.newest == newest
            && pending.saturating_add(pending / 64) >= self.pending
    }
}

/// What a round of maintenance works with.
pub(super) struct Round<'a> {
    pub upkeep: &'a mut Upkeep,
    pub live: &'a dyn Live,
    pub now: Millis,
    /// Commits the open batch durably; whether it did.
    pub flush: &'a dyn Fn() -> bool,
    pub done: Maintained,
}

/// Says of segments that they are about to go, or stay after all.
fn set_going<D: Device>(segments: &[Arc<Segment<D>>], going: bool) {
    for segment in segments {
        segment.set_going(going);
    }
}

impl<D: Device> Spool<D> {
    /// One round of maintenance.
    pub(super) fn round(
        &self,
        upkeep: &mut Upkeep,
        live: &dyn Live,
        now: Millis,
        flush: &dyn Fn() -> bool,
    ) -> Maintained {
        upkeep.refused = upkeep.refused.saturating_sub(1);
        let mut round = Round { upkeep, live, now, flush, done: Maintained::default() };
        self.reclaim();
        round.done.sealed = self.seal_all();
        self.drop_what_is_old(&mut round);
        self.ready_spares(&mut round);
        self.expire_ids(now);
        round.done
    }

    /// Writes the indexes that are missing; how many.
    pub(super) fn seal_all(&self) -> u32 {
        let mut sealed = 0;
        for segment in self.all() {
            if segment.summary().left && segment.is_open() && self.seal(&segment) {
                sealed += 1;
            }
        }
        sealed
    }

    fn seal(&self, segment: &Segment<D>) -> bool {
        let name = index_name(segment.number());
        let Some(contents) = segment.contents() else { return false };
        let written = index::write(&self.device, &name, &contents, &mut |each| {
            segment.progress(&mut |offset, len| self.damaged(segment, offset, len), each)
        });
        match written.and_then(|()| Index::open(self.device.open(&name)?)) {
            Ok(index) => {
                segment.seal(index);
                true
            }
            Err(IndexError::Io(error)) => {
                self.failed("writing an index of the spool", &error);
                false
            }
            Err(error) => {
                tracing::error!(file = name, "an index is not what was written: {error:?}");
                false
            }
        }
    }

    fn drop_what_is_old(&self, round: &mut Round<'_>) {
        let old: Vec<_> = self
            .sealed()
            .into_iter()
            .filter(|segment| segment.summary().last_received.plus(self.options.retention) <= round.now)
            .filter(|segment| self.is_settled(segment, round.live))
            .collect();
        if !old.is_empty() {
            round.done.dropped += self.drop_segments(&old, round);
        }
    }

    /// Makes spares up to as many as asked for: new ones, then of the oldest settled segments, then by a merge.
    fn ready_spares(&self, round: &mut Round<'_>) {
        let (asked, early) = (self.options.spares as usize, self.options.early() as usize);
        while self.spares.count() < early {
            let before = self.spares.count();
            if before < asked {
                if self.make_spare_where_asked(round) {
                    round.done.created += 1;
                    // Where spares go as fast as they are made, this loop is long: a start after a kill would have to
                    // scan every segment that was left meanwhile.
                    round.done.sealed += self.seal_all();
                    continue;
                }
            } else if self.may_grow() {
                return;
            }
            let settled = self.sealed().into_iter().filter(|segment| self.is_settled(segment, round.live));
            let settled: Vec<_> = settled.take(early - before).collect();
            if settled.is_empty() {
                round.done.merged += self.merge_unless_in_vain(round);
            } else {
                round.done.dropped += self.drop_segments(&settled, round);
            }
            if self.spares.count() <= before {
                round.done.full = self.spares.count() < asked;
                return;
            }
        }
    }

    /// Whether a new spare was made: not where the folder is as large as it may be, nor just after the disk refused one.
    fn make_spare_where_asked(&self, round: &mut Round<'_>) -> bool {
        if round.upkeep.refused > 0 {
            return false;
        }
        self.make_spare().unwrap_or_else(|_| {
            // There may be room in a segment that is settled.
            round.upkeep.refused = ASKED_AGAIN;
            false
        })
    }

    fn merge_unless_in_vain(&self, round: &mut Round<'_>) -> u32 {
        let pending = round.live.pending_count(0, u64::MAX);
        let newest = self.segments.read().last_key_value().map(|(number, _)| *number);
        if round.upkeep.fruitless.as_mut().is_some_and(|fruitless| fruitless.holds(pending, newest)) {
            return 0;
        }
        let merged = self.merge(round);
        round.upkeep.fruitless = (merged == 0).then_some(Fruitless { pending, newest, rounds: 0 });
        merged
    }

    /// The segments with an index, by number.
    fn sealed(&self) -> Vec<Arc<Segment<D>>> {
        self.all().into_iter().filter(|segment| segment.summary().left && !segment.is_open()).collect()
    }

    fn is_settled(&self, segment: &Segment<D>, live: &dyn Live) -> bool {
        let summary = segment.summary();
        if summary.count == 0 {
            return true;
        }
        if !summary.merged {
            return live.pending_count(summary.first_seq, summary.last_seq) == 0;
        }
        // Others' events lie between its own.
        let pending = live.pending(summary.first_seq, summary.last_seq);
        pending.iter().all(|seq| matches!(self.place_in(segment, *seq), Ok(None)))
    }

    /// Drops settled segments; how many.
    fn drop_segments(&self, segments: &[Arc<Segment<D>>], round: &mut Round<'_>) -> u32 {
        set_going(segments, true);
        // An event that was put on its way again before that is seen here.
        let settled = segments.iter().all(|segment| self.is_settled(segment, round.live));
        let gone =
            if settled && self.carry(segments, &|_| false, round) { self.let_go(segments, round) } else { 0 };
        // Those that went are gone for good: who still has one in hand must not take it for one that stays.
        let stand = self.segments.read();
        segments
            .iter()
            .filter(|segment| stand.contains_key(&segment.number()))
            .for_each(|segment| segment.set_going(false));
        gone
    }

    /// Takes segments out that nothing needs any more: their indexes stay for their ids, their files become spares. How
    /// many went.
    fn let_go(&self, segments: &[Arc<Segment<D>>], round: &mut Round<'_>) -> u32 {
        // An event goes before what settles it, which is never in a segment before it: should the disk refuse to let one
        // go, those behind it stay with it. Merged ones settle nothing.
        let mut in_order: Vec<_> = segments.iter().collect();
        in_order.sort_by_key(|segment| (!segment.summary().merged, segment.number()));
        let mut gone = 0;
        for segment in in_order {
            round.upkeep.halved.remove(&segment.number());
            match self.take_out(segment) {
                Ok(spare) => self.freed.lock().extend(spare),
                Err(error) => {
                    self.failed("letting a segment of the spool go", &error);
                    break;
                }
            }
            gone += 1;
        }
        self.reclaim();
        gone
    }

    /// What was freed is ready for use once its new name stands.
    pub(super) fn reclaim(&self) {
        let mut freed = self.freed.lock();
        if freed.is_empty() {
            return;
        }
        if let Err(error) = self.device.sync_folder() {
            return self.failed("syncing the folder of the spool", &error);
        }
        for spare in freed.drain(..) {
            match self.device.open(&spare) {
                Ok(file) => self.spares.add(spare, file),
                Err(error) => self.failed("opening a spare segment", &error),
            }
        }
    }

    /// Takes one segment out; the name of the spare that its file is now. On an error it is where it was.
    fn take_out(&self, segment: &Arc<Segment<D>>) -> io::Result<Option<String>> {
        let (number, summary) = (segment.number(), segment.summary());
        match self.device.rename(&index_name(number), &ids_name(number)) {
            // It was renamed in a round that got no further.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        {
            let mut files = self.ids.lock();
            files.retain(|file| file.number != number);
            files.push(IdsFile {
                number,
                last_kept: summary.last_kept,
                count: summary.remembered(),
                last_seq: summary.last_seq,
            });
        }
        self.segments.write().remove(&number);
        // Who reads it still has it in hand; then its blocks must not become another's.
        let spare = (Arc::strong_count(segment) == 1).then(|| self.spares.name());
        let moved = match &spare {
            Some(spare) => self.device.rename(&log_name(number), spare),
            None => self.device.remove(&log_name(number)),
        };
        if let Err(error) = moved {
            self.segments.write().insert(number, Arc::clone(segment));
            return Err(error);
        }
        self.offsets.forget(number);
        Ok(spare)
    }

    /// Forgets ids that are older, or more, than are remembered. The file of the latest event stays: it tells the next
    /// start which numbers were given, where nothing else does.
    fn expire_ids(&self, now: Millis) {
        let mut files = self.ids.lock();
        files.sort_by_key(|file| (file.last_kept, file.number));
        let standing: u64 = self.all().into_iter().map(|segment| segment.summary().remembered()).sum();
        let latest = files.iter().map(|file| file.last_seq).max().unwrap_or_default();
        let mut remembered = standing + files.iter().map(|file| file.count).sum::<u64>();
        files.retain(|file| {
            let surplus = remembered - file.count >= self.options.remembered_ids;
            let old = file.last_kept.plus(self.options.remembered_for) <= now;
            if (!surplus && !old && file.count > 0) || file.last_seq == latest {
                return true;
            }
            remembered -= file.count;
            if let Err(error) = self.device.remove(&ids_name(file.number)) {
                self.failed("removing forgotten ids", &error);
            }
            false
        });
    }
}
