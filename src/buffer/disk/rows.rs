//! What the index knows of events, for when their records cannot say it or are not to be read.

use std::sync::Arc;

use super::device::Device;
use super::lookup::Unreadable;
use super::ports::Read;
use super::segment::{Segment, find_row};
use super::spool::Spool;
use crate::clock::Millis;
use crate::event::OrderKey;

impl<D: Device> Spool<D> {
    /// The source and the weight of `seq`, whether or not its record can be read.
    pub fn known_of(&self, seq: u64) -> Option<(u32, u32)> {
        self.all().into_iter().filter(|segment| segment.spans(seq)).find_map(|segment| {
            let rows = segment.rows().ok()?;
            let row = find_row(&rows, seq)?;
            Some((segment.numbers().source(row.source)?, row.len))
        })
    }

    /// The order keys of `seqs`, which ascend; an error where one cannot be known now. What has gone has none.
    pub(super) fn order_keys(&self, seqs: &[u64]) -> Result<Vec<(u64, Option<OrderKey>)>, Unreadable> {
        let mut near: Option<Arc<Segment<D>>> = None;
        let mut keys = Vec::with_capacity(seqs.len());
        for seq in seqs {
            let mut found = match &near {
                Some(segment) => self.order_key_in(segment, *seq, seqs)?,
                None => None,
            };
            if found.is_none() {
                for segment in self.spanning(*seq) {
                    found = self.order_key_in(&segment, *seq, seqs)?;
                    if found.is_some() {
                        near = Some(segment);
                        break;
                    }
                }
            }
            keys.push((*seq, found.and_then(OrderKey::from_bits)));
        }
        Ok(keys)
    }

    /// The bits of the order key of `seq`, one of `all`, if it is in `segment`.
    fn order_key_in(&self, segment: &Segment<D>, seq: u64, all: &[u64]) -> Result<Option<u64>, Unreadable> {
        if !segment.spans(seq) {
            return Ok(None);
        }
        if let Ok(found) = segment.order_key_in_memory(seq) {
            return Ok(found);
        }
        if segment.few_of(all) && self.offsets.cached(segment.number()).is_none() {
            match segment.order_key_by_page(seq) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => return Err(self.unreadable(segment, error)),
            }
        }
        let offsets = self.offsets.get(segment).map_err(|error| self.unreadable(segment, error))?;
        Ok(offsets.order_key(seq))
    }

    /// When `seq` came.
    pub fn received_at(&self, seq: u64) -> Option<Millis> {
        match self.read(seq) {
            Read::Event { event, .. } => Some(event.received_at),
            Read::Gone | Read::Failed | Read::Damaged { .. } => None,
        }
    }

    /// Events in the folder, waiting or not, and about as many bytes as they take.
    pub fn held(&self) -> (u64, u64) {
        self.all().iter().map(|segment| segment.summary()).fold((0, 0), |(events, bytes), summary| {
            (events + u64::from(summary.count), bytes + u64::from(summary.end))
        })
    }
}
