//! Where nothing is settled: the segments with the fewest bytes that wait become one. One stuck destination so pins its
//! own events and nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::batch::Batch;
use super::super::commit::{Active, fresh_nonce};
use super::super::device::{Device, DeviceFile};
use super::super::ports::Read;
use super::super::record::{self, Kind, SegmentHeader};
use super::super::segment::{Rows, Segment};
use super::super::spool::{Spool, log_name};
use super::{Round, set_going};

/// So much is copied in one go.
const COPIED: usize = 1024 * 1024;

/// A segment and what waits in it.
struct Candidate<D: Device> {
    segment: Arc<Segment<D>>,
    bytes: u64,
    /// Ascending.
    seqs: Vec<u64>,
}

/// What becomes one segment.
struct Chosen<D: Device> {
    /// These go.
    going: Vec<Arc<Segment<D>>>,
    /// All that waits in those, and perhaps a part of what waits in `halved`.
    seqs: Vec<u64>,
    halved: Option<u32>,
}

impl<D: Device> Spool<D> {
    /// Copies what waits in the emptiest segments into one and lets them go; how many went.
    pub(super) fn merge(&self, round: &mut Round<'_>) -> u32 {
        let chosen = self.choose(round, false).or_else(|| self.choose(round, true));
        let Some(chosen) = chosen else { return 0 };
        set_going(&chosen.going, true);
        if self.merge_into_one(&chosen, round) {
            // They are replaced from now on: should the disk keep one of them here, it is still about to go.
            round.upkeep.halved.extend(chosen.halved);
            return self.let_go(&chosen.going, round);
        }
        set_going(&chosen.going, false);
        0
    }

    /// Whether what was chosen stands in a segment of its own now. The name of that one is as durable as the new names of
    /// those that it replaces: their files are not used again before all are.
    fn merge_into_one(&self, chosen: &Chosen<D>, round: &mut Round<'_>) -> bool {
        let Chosen { going, seqs, .. } = chosen;
        let mut seqs = seqs.clone();
        seqs.sort_unstable();
        seqs.dedup();
        // An event that was put on its way again before they were about to go is seen here.
        let chosen = |seq: &u64| seqs.binary_search(seq).is_ok();
        if !going.iter().all(|one| self.waiting(Arc::clone(one), round).seqs.iter().all(chosen)) {
            return false;
        }
        // What they say of events must stand elsewhere before the merged one does: from then on they are gone.
        if !self.carry(going, &|seq| seqs.binary_search(&seq).is_ok(), round) {
            return false;
        }
        let replaces: Vec<u32> = going.iter().map(|segment| segment.number()).collect();
        self.copy(&seqs, &replaces, round).unwrap_or_else(|error| {
            self.failed("merging segments of the spool", &error);
            false
        })
    }

    /// The emptiest segments that fit into one together. Where no two do, the emptiest and as much of the next one as
    /// fits: no file is won by that, but what is free is in one place then, and the next merge wins one.
    fn choose(&self, round: &Round<'_>, exactly: bool) -> Option<Chosen<D>> {
        let most = self.options.max_events_per_segment as usize;
        let (mut bytes, mut chosen) = (0, Chosen { going: Vec::new(), seqs: Vec::new(), halved: None });
        for segment in self.emptiest_first(round, exactly) {
            let one = self.waiting(segment, round);
            if one.bytes.saturating_add(bytes) <= self.merged_room()
                && chosen.seqs.len() + one.seqs.len() <= most
            {
                bytes += one.bytes;
                chosen.seqs.extend(one.seqs);
                chosen.going.push(one.segment);
                continue;
            }
            return match chosen.going.len() {
                0 => None,
                1 => self.top_up(chosen, bytes, &one),
                _ => Some(chosen),
            };
        }
        Some(chosen).filter(|chosen| chosen.going.len() > 1)
    }

    /// Fills up `chosen`, of one segment, with a part of `next`; nothing where that leaves `next` hardly emptier than
    /// the one that went was: so it ends.
    fn top_up(&self, mut chosen: Chosen<D>, mut bytes: u64, next: &Candidate<D>) -> Option<Chosen<D>> {
        let most = self.options.max_events_per_segment as usize;
        for seq in &next.seqs {
            let Ok(Some((_, len))) = self.place_in(&next.segment, *seq) else { return None };
            if bytes + u64::from(len) > self.merged_room() || chosen.seqs.len() >= most {
                break;
            }
            bytes += u64::from(len);
            chosen.seqs.push(*seq);
        }
        chosen.halved = Some(next.segment.number());
        let won = bytes.saturating_sub(next.bytes);
        (won >= u64::from(self.options.segment_bytes) / 16).then_some(chosen)
    }

    /// So many bytes of events go into a merged segment: names come on top, and the header.
    fn merged_room(&self) -> u64 {
        (u64::from(self.options.segment_bytes) / 16 * 15).saturating_sub(record::HEADER as u64)
    }

    /// The sealed segments, by about how much waits in them: what that is in merged ones, between whose events others'
    /// lie, costs a look at each event, and is known `exactly` only where it is asked for.
    fn emptiest_first(&self, round: &Round<'_>, exactly: bool) -> Vec<Arc<Segment<D>>> {
        let about = |segment: &Arc<Segment<D>>| {
            let summary = segment.summary();
            if summary.merged && exactly {
                return self.waiting(Arc::clone(segment), round).bytes;
            }
            let waiting = round.live.pending_count(summary.first_seq, summary.last_seq);
            let waiting = waiting.min(u64::from(summary.count));
            u64::from(summary.end) * waiting / u64::from(summary.count.max(1))
        };
        let mut sealed: Vec<_> =
            self.sealed().into_iter().map(|segment| (about(&segment), segment)).collect();
        sealed.sort_by_key(|(about, _)| *about);
        sealed.into_iter().map(|(_, segment)| segment).collect()
    }

    fn waiting(&self, segment: Arc<Segment<D>>, round: &Round<'_>) -> Candidate<D> {
        let summary = segment.summary();
        let (mut bytes, mut seqs) = (0_u64, round.live.pending(summary.first_seq, summary.last_seq));
        let later = if round.upkeep.halved.contains(&segment.number()) {
            self.merged_after(&segment)
        } else {
            Vec::new()
        };
        seqs.retain(|seq| match self.place_in(&segment, *seq) {
            Ok(Some(_)) if later.iter().any(|later| matches!(self.place_in(later, *seq), Ok(Some(_)))) => {
                false
            }
            Ok(place) => {
                bytes = place.map_or(bytes, |(_, len)| bytes.saturating_add(u64::from(len)));
                place.is_some()
            }
            // Not one to merge: what waits in it is not known.
            Err(_) => {
                bytes = u64::MAX;
                true
            }
        });
        Candidate { segment, bytes, seqs }
    }

    fn merged_after(&self, segment: &Segment<D>) -> Vec<Arc<Segment<D>>> {
        let mut later = self.all();
        later.retain(|later| later.number() > segment.number() && later.summary().merged);
        later
    }

    /// Makes the merged segment; `false` where it did not come about and all is as it was.
    fn copy(&self, seqs: &[u64], replaces: &[u32], round: &Round<'_>) -> io::Result<bool> {
        // The reserve serves here, too: two files come back for it.
        let spare = match self.spares.take(0) {
            Some(spare) => spare,
            None => {
                // One more than there may be, until the others have gone.
                self.spares.make(&self.device, self.options.segment_bytes, u32::MAX, || 0)?;
                let Some(spare) = self.spares.take(0) else { return Ok(false) };
                spare
            }
        };
        let (name, file) = spare;
        match self.write_merged(&name, file, seqs, replaces, round) {
            Ok(Some(segment)) => {
                self.segments.write().insert(segment.number(), Arc::new(segment));
                Ok(true)
            }
            not => {
                // Its name still says spare; but what failed once is not used again.
                if let Err(error) = self.device.remove(&name) {
                    tracing::warn!(file = name, "it cannot be removed: {error}");
                }
                not.map(|_| false)
            }
        }
    }

    fn write_merged(
        &self,
        name: &str,
        file: D::File,
        seqs: &[u64],
        replaces: &[u32],
        round: &Round<'_>,
    ) -> io::Result<Option<Segment<D>>> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let first_seq = seqs.first().copied().unwrap_or(0);
        let header = SegmentHeader { number, nonce: fresh_nonce(), first_seq, opened: round.now };
        let mut first = Vec::new();
        let start = record::begin(&mut first);
        record::encode_replaces(&mut first, replaces);
        record::finish(&mut first, start, Kind::Replaces);
        record::seal(&mut first, header.nonce, 0, 1);
        file.write_at(&header.encode(), 0)?;
        file.write_at(&first, record::HEADER as u64)?;
        let at = (record::HEADER + first.len()) as u32;
        let segment = Arc::new(Segment::fresh(header, file, true));
        segment.publish(Rows { replaces: replaces.to_vec(), ..Rows::default() }, at);
        let mut aside = Active::new(Arc::clone(&segment), at, 1);
        let mut rest = seqs;
        while !rest.is_empty() {
            let reads = self.read_many(rest, COPIED);
            rest = rest.get(reads.len()..).unwrap_or_default();
            let mut batch = Batch::default();
            for (seq, read) in reads {
                match read {
                    Read::Event { event, source, key, .. } => {
                        let alias = event.id != crate::event::EventId::new(event.received_at, seq);
                        batch.push(seq, &event, source, key, alias);
                    }
                    // What is damaged was counted and copied away by the read; it goes with its segment.
                    Read::Gone | Read::Damaged { .. } => {}
                    Read::Failed => return Ok(None),
                }
            }
            if !batch.marks.is_empty() && !self.write_aside(&mut aside, &mut batch)? {
                return Ok(None);
            }
        }
        segment.file.sync()?;
        self.device.rename(name, &log_name(number))?;
        segment.leave(u64::MAX);
        drop(aside);
        Ok(Arc::into_inner(segment))
    }
}
