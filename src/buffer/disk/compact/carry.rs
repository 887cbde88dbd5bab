//! Before a segment goes, what it says of events elsewhere is said again, at the end of the log.
//!
//! Said again, a step overrules what was said since. So only what still holds is carried: a settled place, the retry
//! that waits by this very step, an event that was put on its way again. And between the question what still holds and
//! the answer's place in the log no newer step may slip in: the open batch watches for those.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::super::device::Device;
use super::super::progress::{Progress, What};
use super::super::segment::{Segment, Summary};
use super::super::spool::Spool;
use super::Round;

/// The last step of one event at one destination in the segments that go.
struct Last {
    segment: u32,
    offset: u32,
    step: Progress,
    /// It was put on its way again in these segments: without a word of that, an older settling would hold.
    requeued: bool,
}

impl<D: Device> Spool<D> {
    /// Carries the steps in `going` of all events but those that go with them; `kept` are those that do not. Whether all
    /// that stands, durably.
    pub(super) fn carry(
        &self,
        going: &[Arc<Segment<D>>],
        kept: &dyn Fn(u64) -> bool,
        round: &mut Round<'_>,
    ) -> bool {
        let staying: Vec<(Summary, Arc<Segment<D>>)> = {
            let numbers: HashSet<u32> = going.iter().map(|segment| segment.number()).collect();
            let mut staying = self.all();
            staying.retain(|segment| !numbers.contains(&segment.number()));
            // Asked once: it is asked for every step, and what comes later is not what a step of a sealed segment is of.
            staying.into_iter().map(|segment| (segment.summary(), segment)).collect()
        };
        let in_it = |segment: &Segment<D>, seq| !matches!(self.place_in(segment, seq), Ok(None));
        let stays = |seq| {
            let spans = |summary: &Summary| (summary.first_seq..=summary.last_seq).contains(&seq);
            kept(seq) || staying.iter().any(|(summary, segment)| spans(summary) && in_it(segment, seq))
        };
        let mut last: BTreeMap<(u64, u32), Last> = BTreeMap::new();
        // In the order of the log, whatever order they go in.
        let mut in_order: Vec<_> = going.iter().collect();
        in_order.sort_by_key(|segment| segment.number());
        for segment in in_order {
            let told = self.each_step(segment, &mut |offset, step| {
                let place = (step.seq, step.lane);
                if !last.contains_key(&place) && !stays(step.seq) {
                    return;
                }
                let before = last.get(&place).is_some_and(|last| last.requeued);
                let requeued = match step.what {
                    What::Requeued => true,
                    What::Deferred { .. } => before,
                    What::Delivered | What::Dead(_) | What::Lost => false,
                };
                last.insert(place, Last { segment: segment.number(), offset, step, requeued });
            });
            if !told {
                return false; // it stays until it can be read
            }
        }
        if last.is_empty() {
            return true;
        }
        self.open.lock().watch();
        if !self.leave_out_overtaken(&mut last, going, round) {
            self.open.lock().carry(Vec::new());
            return false;
        }
        let mut waiting = HashSet::new();
        for segment in going {
            let number = segment.number();
            waiting.extend(
                round.live.waiting_in(number).into_iter().map(|(seq, lane, at)| (seq, lane, number, at)),
            );
        }
        let steps = last.into_iter().filter_map(|((seq, lane), last)| {
            let settles = matches!(last.step.what, What::Delivered | What::Dead(_) | What::Lost);
            let pending = round.live.is_pending(seq, lane);
            let waits = waiting.contains(&(seq, lane, last.segment, last.offset));
            // Nothing in the log overtakes a requeued one: this is how it stands, though it may be in flight.
            (settles != pending && (settles || waits || last.requeued)).then_some(last.step)
        });
        let steps = steps.collect();
        let carried = self.open.lock().carry(steps);
        round.done.carried += carried;
        (round.flush)()
    }

    /// Where events were put on their way again, who waits does not tell which of several steps is the last one: those
    /// with a later one elsewhere in the log are left out. `false` where what was noted could not be written.
    fn leave_out_overtaken(
        &self,
        last: &mut BTreeMap<(u64, u32), Last>,
        going: &[Arc<Segment<D>>],
        round: &Round<'_>,
    ) -> bool {
        // What was noted before the watch began stands in a segment from here on.
        if !(round.flush)() {
            return false;
        }
        let all = self.all();
        if !all.iter().any(|segment| segment.has_requeues()) {
            return true;
        }
        let gone: HashSet<u32> = going.iter().map(|segment| segment.number()).collect();
        let first = last.values().map(|last| last.segment).min().unwrap_or(0);
        for segment in all.iter().filter(|one| one.number() > first && !gone.contains(&one.number())) {
            let told = self.each_step(segment, &mut |_, step| {
                let place = (step.seq, step.lane);
                if last.get(&place).is_some_and(|last| last.segment < segment.number()) {
                    last.remove(&place);
                }
            });
            if !told {
                return false;
            }
        }
        true
    }
}
