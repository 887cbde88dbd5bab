//! Telling what was found: events, progress, ids.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::super::device::Device;
use super::super::index::{IdRow, Index, IndexError, Row};
use super::super::lookup::steps;
use super::super::ports::Rebuild;
use super::super::progress::{Loc, What};
use super::super::segment::{Numbers, Segment};
use super::super::spool::ids_name;
use super::Recovery;
use crate::clock::Millis;
use crate::event::{DedupeKey, EventId};

/// The rows of one segment, on their way.
struct Telling {
    rows: std::vec::IntoIter<Row>,
    numbers: Arc<Numbers>,
}

/// Where ids stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    Segment,
    /// Counted where its events came from, too, as long as that stands.
    Merged,
    /// What is left of a segment.
    Ids,
}

/// Events whose segment somebody removed, and the destinations where no progress settles them.
type Missing = HashMap<u64, Vec<u32>>;

impl<D: Device> Recovery<'_, D> {
    pub(super) fn tell(&mut self, rebuild: &mut dyn Rebuild) {
        let mut missing = self.missing();
        self.tell_progress(rebuild, &mut missing);
        self.tell_events(rebuild);
        self.count_missing(&missing);
        self.tell_ids(rebuild);
    }

    /// All events in ascending order. Only merged segments overlap others, so few are in memory at once.
    fn tell_events(&mut self, rebuild: &mut dyn Rebuild) {
        let mut waiting: Vec<_> = self.found.segments.values().cloned().collect();
        waiting.sort_by_key(|segment| std::cmp::Reverse(segment.summary().first_seq));
        let mut heads: BTreeSet<(u64, usize)> = BTreeSet::new();
        let mut open: Vec<Telling> = Vec::new();
        let mut last = None;
        loop {
            let next = heads.first().map(|(seq, _)| *seq);
            let begins =
                |segment: &Arc<Segment<D>>| next.is_none_or(|next| segment.summary().first_seq <= next);
            if let Some(segment) = waiting.pop_if(|segment| begins(segment)) {
                let mut rows = segment.rows().unwrap_or_default().into_iter();
                if let Some(first) = rows.as_slice().first() {
                    heads.insert((first.seq, open.len()));
                }
                // The place of one that was told to its end is kept: `heads` counts on it.
                open.push(Telling { rows: std::mem::take(&mut rows), numbers: segment.numbers() });
                continue;
            }
            let Some((_, at)) = heads.pop_first() else { break };
            let Some(telling) = open.get_mut(at) else { break };
            let Some(row) = telling.rows.next() else { continue };
            match telling.rows.as_slice().first() {
                Some(next) => {
                    heads.insert((next.seq, at));
                }
                None => telling.rows = Vec::new().into_iter(),
            }
            if last == Some(row.seq) {
                continue;
            }
            last = Some(row.seq);
            let source = telling.numbers.source(row.source);
            match source {
                Some(source) => rebuild.event(source, &row),
                None => {
                    self.found.corrupt += 1;
                    tracing::error!(event = %id_of(&row), "an event is lost: the names of its destinations are damaged");
                }
            }
        }
        self.found.next_seq = self.found.next_seq.max(last.map_or(0, |last| last.saturating_add(1)));
    }

    /// All progress, in the order of the log.
    fn tell_progress(&mut self, rebuild: &mut dyn Rebuild, missing: &mut Missing) {
        for (number, segment) in &self.found.segments {
            let (mut damaged, mut seq_end) = (0, 0);
            let told = segment.progress(&mut |_, _| damaged += 1, &mut |offset, payload| {
                for step in steps(segment, payload) {
                    seq_end = seq_end.max(step.seq.saturating_add(1));
                    if step.what == What::Requeued {
                        segment.requeues();
                    }
                    if let Some(lanes) = missing.get_mut(&step.seq) {
                        lanes.retain(|lane| *lane != step.lane);
                        if matches!(step.what, What::Deferred { .. } | What::Requeued) {
                            lanes.push(step.lane);
                        }
                    }
                    rebuild.progress(Loc { segment: *number, offset }, step);
                }
            });
            if let Err(error) = told {
                tracing::error!(segment = number, "progress cannot be read: {error}");
                if let IndexError::Io(error) = error {
                    self.found.failures.push(error);
                }
            }
            self.found.corrupt += damaged;
            segment.bound(seq_end);
            self.found.next_seq = self.found.next_seq.max(seq_end);
        }
    }

    fn missing(&self) -> Missing {
        let mut missing = Missing::new();
        for (_, index) in &self.orphans {
            let (Ok((lanes, sources)), Ok(rows)) = (index.names(), index.rows()) else { continue };
            let numbers = Numbers::new(&lanes, &sources, &mut self.names.write());
            for row in rows {
                let source = numbers.source(row.source);
                let source = source.and_then(|number| self.names.read().source_of(number).cloned());
                missing.insert(row.seq, source.map_or_else(Vec::new, |source| source.lanes.to_vec()));
            }
            // What the segment itself said of its events settles them, too.
            let told = index.progress(&mut |_, payload| {
                for step in super::super::record::decode_progress(payload).unwrap_or_default() {
                    let Some(lane) = numbers.lane(step.lane) else { continue };
                    if let Some(lanes) = missing.get_mut(&step.seq) {
                        let settles = matches!(step.what, What::Delivered | What::Dead(_) | What::Lost);
                        lanes.retain(|known| *known != lane);
                        if !settles {
                            lanes.push(lane);
                        }
                    }
                }
            });
            if let Err(error) = told {
                tracing::warn!(segment = index.number(), "its progress cannot be read: {error}");
            }
        }
        missing
    }

    fn count_missing(&mut self, missing: &Missing) {
        let lost = missing.values().filter(|lanes| !lanes.is_empty()).count();
        for (number, _) in &self.orphans {
            tracing::error!(segment = number, "a segment of the spool was removed by another hand");
        }
        if lost > 0 {
            self.found.corrupt += lost as u64;
            tracing::error!(events = lost, "events are lost with the segments that were removed");
        }
        self.orphans.clear();
    }

    /// The ids that are remembered, oldest first: at most so many as asked for, the newest.
    fn tell_ids(&mut self, rebuild: &mut dyn Rebuild) {
        let oldest = self.found.now.minus(self.options.remembered_for);
        let mut files: Vec<(Millis, u64, u32, Origin)> = Vec::new();
        for (number, segment) in &self.found.segments {
            let summary = segment.summary();
            let origin = if summary.merged { Origin::Merged } else { Origin::Segment };
            files.push((summary.last_kept, summary.remembered(), *number, origin));
        }
        files
            .extend(self.found.ids.iter().map(|file| (file.last_kept, file.count, file.number, Origin::Ids)));
        files.sort_unstable();
        let mut surplus =
            files.iter().map(|(_, count, ..)| count).sum::<u64>().saturating_sub(self.options.remembered_ids);
        let mut highest = 0;
        for (_, count, number, origin) in files {
            let skipped = surplus.min(count);
            surplus -= skipped;
            if origin == Origin::Segment && skipped == count {
                continue; // none of its ids is told, and its numbers were
            }
            let (rows, ids) =
                if origin == Origin::Ids { self.ids_in(&ids_name(number)) } else { self.ids_of(number) };
            highest = rows.last().map_or(highest, |row| highest.max(row.seq));
            let mut all: Vec<(DedupeKey, EventId, Millis)> =
                rows.iter().filter_map(|row| Some((row.key?, id_of(row), row.received))).collect();
            all.extend(ids.iter().map(|row| (row.key, row.id, row.kept_at)));
            all.sort_by_key(|(_, _, kept_at)| *kept_at);
            let from = usize::try_from(skipped).unwrap_or(usize::MAX).min(all.len());
            for (key, id, kept_at) in all.drain(from..).filter(|(_, _, kept_at)| *kept_at >= oldest) {
                rebuild.id(key, id, kept_at);
            }
        }
        // No number is given twice, even where nothing but an id is left of it.
        highest = self.found.ids.iter().fold(highest, |highest, file| highest.max(file.last_seq));
        self.found.next_seq = self.found.next_seq.max(highest.saturating_add(1));
    }

    fn ids_of(&self, number: u32) -> (Vec<Row>, Vec<IdRow>) {
        let Some(segment) = self.found.segments.get(&number) else { return Default::default() };
        (segment.rows().unwrap_or_default(), segment.ids().unwrap_or_default())
    }

    fn ids_in(&mut self, name: &str) -> (Vec<Row>, Vec<IdRow>) {
        let index = self.device.open(name).map_err(IndexError::Io).and_then(Index::open);
        index.and_then(|index| Ok((index.rows()?, index.ids()?))).unwrap_or_else(|error| {
            tracing::error!(file = name, "remembered ids cannot be read, and are forgotten: {error}");
            match error {
                IndexError::Io(error) => self.found.failures.push(error),
                _ => {
                    self.found.corrupt += 1;
                    self.remove(name);
                }
            }
            Default::default()
        })
    }
}

fn id_of(row: &Row) -> EventId {
    row.alias.unwrap_or(EventId::new(row.received, row.seq))
}
