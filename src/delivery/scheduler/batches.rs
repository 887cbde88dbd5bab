//! Batches of a scheduler: what is in hand until it goes.
//!
//! An event on its first attempt gathers; a retry goes by itself, and so does a probe. Each slot of the lane is asked for by
//! the rules of all lanes, and an event that gathers takes its company along: what is fresh, never a retry, so that between
//! batches and retries it is slots that are shared, too.

use super::*;
use crate::delivery::batch::{Batch, BatchOptions};

/// Events that are taken for a batch in one go. Those that find no room go back.
const BOARDED_AT_ONCE: usize = 16;

impl Scheduler {
    /// What is in hand and goes now: an event by itself, or the batch, if it is time.
    pub(super) fn in_hand(&mut self, options: &DestinationOptions, now: Now) -> Option<(Cargo, Aboard)> {
        if let Some((lane, delivery)) = self.alone.pop_front() {
            return Some(board(options, lane, delivery, false));
        }
        if !self.gathering.as_ref()?.goes_by(options.batch.as_ref()) {
            self.disband(); // a reload changed what a batch is
        }
        self.fill(options, now);
        if !self.gathering.as_ref()?.is_ready(now.at) && !self.closing {
            return None;
        }
        let (batch, lanes) = self.gathering.take()?.leave();
        let seats = lanes.into_iter().zip(&batch.deliveries);
        let seats = seats.map(|(lane, delivery)| Seat::of(lane, delivery)).collect();
        Some((Cargo::Batch(batch), Aboard { seats, express: false, probe: false }))
    }

    /// One that was taken gathers.
    pub(super) fn gather(&mut self, options: BatchOptions, lane: usize, delivery: Delivery, now: Now) {
        if self.gathering.is_some() {
            return self.add(lane, delivery);
        }
        self.gathering = Some(Gathering::begin(options, lane, delivery, now.at));
    }

    /// Takes what is fresh, as long as there is room for it. Where there are former names, too, what is next is not one
    /// lane's to say: then each event is asked for by itself.
    fn fill(&mut self, options: &DestinationOptions, now: Now) {
        if !self.succession.is_plain(self.order.len()) {
            return;
        }
        let mut buried = 0;
        while let Some(gathering) = &mut self.gathering
            && buried < BURIED_AT_ONCE
            && gathering.room() > 0
        {
            let most = gathering.room().min(BOARDED_AT_ONCE);
            let found = self
                .sources()
                .map(|(number, lane)| (number, lane.take_fresh(most)))
                .find(|(_, taken)| !taken.is_empty());
            let Some((lane, taken)) = found else { return };
            for delivery in taken {
                if self.is_too_old(&delivery, options.max_age, now) {
                    self.bury(lane, delivery.event.id, DeadReason::TooOld, now);
                    buried += 1;
                } else if may_gather(&delivery) {
                    self.add(lane, delivery);
                } else {
                    self.alone.push_back((lane, delivery));
                }
            }
        }
    }

    fn add(&mut self, lane: usize, delivery: Delivery) {
        let Some(gathering) = &mut self.gathering else { return self.put_back(lane, delivery.event.id) };
        if let Err(delivery) = gathering.add(lane, delivery) {
            self.put_back(lane, delivery.event.id);
        }
    }

    /// What is in hand goes back, unattempted: nothing may be sent.
    pub(in crate::delivery) fn disband(&mut self) {
        let gathered = self.gathering.take().into_iter().flat_map(Gathering::disband);
        for (lane, delivery) in gathered.chain(std::mem::take(&mut self.alone)) {
            self.put_back(lane, delivery.event.id);
        }
    }

    /// Nothing more will come: what gathers leaves as soon as it may.
    pub(in crate::delivery) fn close(&mut self) {
        self.closing = true;
    }
}

/// Whether it may go out with others: whatever failed once might fail them, too.
pub(super) fn may_gather(delivery: &Delivery) -> bool {
    delivery.attempt == 1 && delivery.express.is_none()
}

/// One event's request. Whose sender waits for the app's own answer is sent as it came, also where a reload has just made
/// this a destination with batches.
pub(super) fn board(
    options: &DestinationOptions,
    lane: usize,
    delivery: Delivery,
    probe: bool,
) -> (Cargo, Aboard) {
    let express = delivery.express.is_some();
    let aboard = Aboard::one(Seat::of(lane, &delivery), express, probe);
    let cargo = match &options.batch {
        Some(batch) if !express => Cargo::Batch(Batch::of_one(delivery, batch.format)),
        _ => Cargo::One(delivery),
    };
    (cargo, aboard)
}
