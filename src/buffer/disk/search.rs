//! What an operator looks for: events by id, by time, a page of them; and what happened to one. Nothing of it reads more than
//! indexes, or a page of each.

use std::sync::Arc;

use super::device::Device;
use super::index::Row;
use super::ports::{Read, RowView};
use super::progress::Progress;
use super::record;
use super::segment::{Segment, find_row};
use super::spool::Spool;
use crate::clock::Millis;
use crate::event::EventId;

impl<D: Device> Spool<D> {
    /// The `limit` events before `before`, newest first.
    pub fn rows_before(&self, before: u64, limit: usize) -> Vec<RowView> {
        let mut segments: Vec<_> =
            self.all().into_iter().map(|segment| (segment.summary(), segment)).collect();
        segments.retain(|(summary, _)| summary.count > 0 && summary.first_seq < before);
        segments.sort_by_key(|(summary, _)| std::cmp::Reverse(summary.last_seq));
        let mut views: Vec<RowView> = Vec::new();
        for (summary, segment) in segments {
            if views.len() >= limit && views.last().is_some_and(|view| view.seq > summary.last_seq) {
                break;
            }
            let rows = segment.rows().unwrap_or_default();
            let numbers = segment.numbers();
            let end = rows.partition_point(|row| row.seq < before);
            let newest = rows.get(end.saturating_sub(limit)..end).unwrap_or_default();
            views.extend(newest.iter().filter_map(|row| {
                let source = numbers.source(row.source)?;
                Some(RowView { seq: row.seq, received: row.received, source, alias: row.alias })
            }));
            views.sort_by_key(|view| std::cmp::Reverse(view.seq));
            // What was in a segment that was given up stands in the next one, too; a part of one perhaps in a merged one.
            views.dedup_by_key(|view| view.seq);
            views.truncate(limit);
        }
        views
    }

    /// The events that the provider gave this id, ascending.
    pub fn seqs_of_id(&self, event_id: &str) -> Vec<u64> {
        let hash = record::id_hash(event_id);
        let mut seqs: Vec<u64> =
            self.all().iter().flat_map(|segment| segment.seqs_of_id(hash).unwrap_or_default()).collect();
        seqs.sort_unstable();
        seqs.dedup();
        seqs.retain(|seq| match self.read(*seq) {
            Read::Event { event, .. } => event.event_id.as_deref() == Some(event_id),
            Read::Gone | Read::Failed | Read::Damaged { .. } => false,
        });
        seqs
    }

    /// The first event that came at `at` or later; the number of the next event where there is none.
    pub fn first_at(&self, at: Millis) -> u64 {
        let mut segments: Vec<_> =
            self.all().into_iter().map(|segment| (segment.summary(), segment)).collect();
        segments.retain(|(summary, _)| summary.count > 0 && summary.last_received >= at);
        segments.sort_by_key(|(summary, _)| summary.first_seq);
        let mut first = u64::MAX;
        for (summary, segment) in segments {
            if summary.first_seq >= first {
                break;
            }
            let rows = segment.rows().unwrap_or_default();
            first = rows.iter().find(|row| row.received >= at).map_or(first, |row| first.min(row.seq));
        }
        first.min(self.open.lock().next_seq())
    }

    /// The number of the event with this id.
    pub fn seq_of(&self, id: EventId) -> Option<u64> {
        let row_of = |segment: &Arc<Segment<D>>, seq: u64| -> Option<Row> {
            self.place_in(segment, seq).ok()??;
            find_row(&segment.rows().ok()?, seq).cloned()
        };
        let own = |row: &Row| row.alias.unwrap_or(EventId::new(row.received, row.seq)) == id;
        if self
            .spanning(id.seq())
            .iter()
            .any(|segment| row_of(segment, id.seq()).is_some_and(|row| own(&row)))
        {
            return Some(id.seq());
        }
        let aliased = self.all().into_iter().filter(|segment| segment.summary().has_alias);
        aliased.into_iter().find_map(|segment| {
            segment.rows().ok()?.iter().find(|row| row.alias == Some(id)).map(|row| row.seq)
        })
    }

    /// All that happened to the event, in order, as far as it was committed.
    pub fn history_of(&self, seq: u64) -> Vec<Progress> {
        let mut history = Vec::new();
        for segment in self.all() {
            let summary = segment.summary();
            if summary.merged || summary.seq_end <= seq {
                continue;
            }
            self.each_step(&segment, &mut |_, step| {
                if step.seq == seq {
                    history.push(step);
                }
            });
        }
        history
    }
}
