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

impl<D: Device> Spool<D> {
    /// Copies what waits in the emptiest segments into one and lets them go; how many went.
    pub(super) fn merge(&self, round: &mut Round<'_>) -> u32 {
        let going = self.emptiest(round);
        if going.len() < 2 {
            return 0;
        }
        set_going(&going, true);
        if self.merge_into_one(&going, round) {
            // They are replaced from now on: should the disk keep one of them here, it is still about to go.
            return self.let_go(&going);
        }
        set_going(&going, false);
        0
    }

    /// Whether what waits in `going` stands in a segment of its own now. The name of that one is as durable as the new
    /// names of those that it replaces: their files are not used again before all are.
    fn merge_into_one(&self, going: &[Arc<Segment<D>>], round: &mut Round<'_>) -> bool {
        let mut seqs: Vec<u64> =
            going.iter().flat_map(|segment| self.waiting(Arc::clone(segment), round).seqs).collect();
        seqs.sort_unstable();
        seqs.dedup();
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

    /// The emptiest segments that fit into one together.
    fn emptiest(&self, round: &Round<'_>) -> Vec<Arc<Segment<D>>> {
        let mut candidates: Vec<_> = self.sealed().into_iter().map(|one| self.waiting(one, round)).collect();
        candidates.sort_by_key(|one| one.bytes);
        // Names come on top, and the header.
        let room = u64::from(self.options.segment_bytes) / 16 * 15 - record::HEADER as u64;
        let (mut bytes, mut events) = (0_u64, 0);
        let fits = |one: &Candidate<D>| {
            bytes = bytes.saturating_add(one.bytes);
            events += one.seqs.len();
            bytes <= room && events <= self.options.max_events_per_segment as usize
        };
        candidates.into_iter().take_while(fits).map(|one| one.segment).collect()
    }

    fn waiting(&self, segment: Arc<Segment<D>>, round: &Round<'_>) -> Candidate<D> {
        let summary = segment.summary();
        let (mut bytes, mut seqs) = (0_u64, round.live.pending(summary.first_seq, summary.last_seq));
        seqs.retain(|seq| match self.place_in(&segment, *seq) {
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
