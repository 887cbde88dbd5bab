//! Keeping the folder small: indexes are written, what is settled goes, what hardly waits is merged.

mod carry;
mod merge;

use std::sync::Arc;

use super::device::{Device, DeviceFile};
use super::index::{self, Index, IndexError};
use super::ports::{Live, Maintained};
use super::segment::Segment;
use super::spool::{IdsFile, Spool, ids_name, index_name, log_name};
use crate::clock::Millis;

/// What a round of maintenance works with.
pub(super) struct Round<'a> {
    pub live: &'a dyn Live,
    pub now: Millis,
    /// Commits the open batch durably; whether it did.
    pub flush: &'a dyn Fn() -> bool,
    pub done: Maintained,
}

impl<D: Device> Spool<D> {
    /// One round of maintenance.
    pub(super) fn round(&self, live: &dyn Live, now: Millis, flush: &dyn Fn() -> bool) -> Maintained {
        let mut round = Round { live, now, flush, done: Maintained::default() };
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
        let contents = segment.contents(&mut |offset, len| self.damaged(segment, offset, len));
        let contents = match contents {
            Ok(Some(contents)) => contents,
            Ok(None) => return false,
            Err(error) => {
                self.unreadable(segment, error);
                return false;
            }
        };
        // An index is believed: what it names must be as durable as itself, also what was written for nobody's sake
        // (`ack = "memory"`) just before its segment was given up.
        let synced = segment.file.sync();
        let written =
            synced.and_then(|()| index::write(&self.device, &name, &contents)).map_err(IndexError::Io);
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

    /// Makes spares up to as many as asked for: new ones, then of the oldest settled segment, then by a merge.
    fn ready_spares(&self, round: &mut Round<'_>) {
        while self.spares.count() < self.options.spares as usize {
            match self.make_spare() {
                Ok(true) => {
                    round.done.created += 1;
                    continue;
                }
                Ok(false) => {}
                // There may be room in a segment that is settled.
                Err(error) => self.failed("making a spare segment", &error),
            }
            let before = self.spares.count();
            let settled = self.sealed().into_iter().find(|segment| self.is_settled(segment, round.live));
            match settled {
                Some(segment) => round.done.dropped += self.drop_segments(&[segment], round),
                None => round.done.merged += self.merge(round),
            }
            if self.spares.count() <= before {
                round.done.full = true;
                return;
            }
        }
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
        if !self.carry(segments, &|_| false, round) {
            return 0;
        }
        self.let_go(segments);
        segments.len() as u32
    }

    /// Takes segments out that nothing needs any more: their indexes stay for their ids, their files become spares.
    fn let_go(&self, segments: &[Arc<Segment<D>>]) {
        let mut freed = Vec::new();
        for segment in segments {
            let (number, summary) = (segment.number(), segment.summary());
            self.segments.write().remove(&number);
            self.offsets.forget(number);
            match self.device.rename(&index_name(number), &ids_name(number)) {
                Ok(()) => {
                    let count = u64::from(summary.count) + u64::from(summary.ids);
                    let mut files = self.ids.lock();
                    files.retain(|file| file.number != number);
                    files.push(IdsFile { number, last_kept: summary.last_kept, count });
                }
                Err(error) => self.failed("renaming an index of the spool", &error),
            }
            // Who reads it still has it in hand; then its blocks must not become another's.
            let spare = self.spares.name();
            let unread = Arc::strong_count(segment) == 1;
            let moved = if unread {
                self.device.rename(&log_name(number), &spare)
            } else {
                self.device.remove(&log_name(number))
            };
            match moved {
                Ok(()) if unread => freed.push(spare),
                Ok(()) => {}
                Err(error) => self.failed("recycling a segment of the spool", &error),
            }
        }
        if let Err(error) = self.device.sync_folder() {
            self.failed("syncing the folder of the spool", &error);
        }
        for spare in freed {
            match self.device.open(&spare) {
                Ok(file) => self.spares.add(spare, file),
                Err(error) => self.failed("opening a spare segment", &error),
            }
        }
    }

    /// Forgets ids that are older, or more, than are remembered.
    fn expire_ids(&self, now: Millis) {
        let mut files = self.ids.lock();
        files.sort_by_key(|file| (file.last_kept, file.number));
        let standing = self.all().into_iter().map(|segment| segment.summary());
        let standing: u64 = standing.map(|one| u64::from(one.count) + u64::from(one.ids)).sum();
        let mut remembered = standing + files.iter().map(|file| file.count).sum::<u64>();
        let before = files.len();
        files.retain(|file| {
            let surplus = remembered - file.count >= self.options.remembered_ids;
            let old = file.last_kept.plus(self.options.remembered_for) <= now;
            if !surplus && !old && file.count > 0 {
                return true;
            }
            remembered -= file.count;
            if let Err(error) = self.device.remove(&ids_name(file.number)) {
                self.failed("removing forgotten ids", &error);
            }
            false
        });
        if files.len() < before
            && let Err(error) = self.device.sync_folder()
        {
            self.failed("syncing the folder of the spool", &error);
        }
    }
}
