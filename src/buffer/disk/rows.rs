//! What the index knows of a single event, for the rare times when its record cannot say it.

use super::device::Device;
use super::ports::Read;
use super::segment::find_row;
use super::spool::Spool;
use crate::clock::Millis;

impl<D: Device> Spool<D> {
    /// The source and the weight of `seq`, whether or not its record can be read.
    pub fn known_of(&self, seq: u64) -> Option<(u32, u32)> {
        self.all().into_iter().filter(|segment| segment.spans(seq)).find_map(|segment| {
            let rows = segment.rows().ok()?;
            let row = find_row(&rows, seq)?;
            Some((segment.numbers().source(row.source)?, row.len))
        })
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
