//! A destination that got another name has a lane under each: what is next over all of them.
//!
//! The rules of one lane hold over the names: senders that wait first, then the higher class; within a class what came under
//! an earlier name goes first; and an event of a key waits while an earlier name may have one of that key. Such an event is
//! *parked*: it is taken, so the others of its key step aside by themselves. At most [`MAX_PARKED`] are; then what came under
//! the later names waits until the earlier ones have delivered what holds them up.

use crate::buffer::{Delivery, Lane};
use crate::event::{EventId, Priority};

/// Events that may be parked.
const MAX_PARKED: usize = 64;
/// One slot in so many is the earliest name's that has anything, whatever its class: no backlog starves.
const ONE_IN: u8 = 20;

/// What waits for an earlier name's events.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// By the number of its lane.
    parked: Vec<(usize, Delivery)>,
    slot: u8,
    /// A later name waits because as many are parked as may be: nobody was told yet, or was.
    full: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    NotYet,
    Already,
}

impl Succession {
    /// Whether one lane is all there is.
    pub(super) fn is_plain(&self, lanes: usize) -> bool {
        lanes <= 1 && self.parked.is_empty()
    }

    /// The next delivery out of `lanes`, which are numbered, the earliest name's first.
    pub(super) fn take(&mut self, lanes: &[(usize, &Lane)]) -> Option<(usize, Delivery)> {
        if let Some(passed) = lanes.iter().find_map(|(number, lane)| Some((*number, lane.take_express()?))) {
            return Some(passed);
        }
        if let Some(at) = self.parked.iter().position(|(number, parked)| !must_wait(lanes, *number, parked)) {
            self.full = None;
            return Some(self.parked.remove(at));
        }
        self.slot = (self.slot + 1) % ONE_IN;
        let mut order: Vec<_> = lanes.iter().map(|(number, lane)| (*number, lane.next_class())).collect();
        order.retain(|(_, class)| class.is_some());
        if self.slot != 0 {
            order.sort_by_key(|(_, class)| class.unwrap_or(Priority::Bulk)); // stable: the earlier name first
        }
        order.into_iter().find_map(|(number, _)| Some((number, self.take_of(lanes, number)?)))
    }

    /// The next of one lane that need not wait for an earlier name.
    fn take_of(&mut self, lanes: &[(usize, &Lane)], number: usize) -> Option<Delivery> {
        let (_, lane) = lanes.iter().find(|(other, _)| *other == number)?;
        let is_first = lanes.first().is_some_and(|(first, _)| *first == number);
        while is_first || self.parked.len() < MAX_PARKED {
            let delivery = lane.take(1).pop()?;
            if !must_wait(lanes, number, &delivery) {
                return Some(delivery);
            }
            self.parked.push((number, delivery));
        }
        self.full.get_or_insert(Told::NotYet);
        None
    }

    /// Whether a later name waits, since it did not, because as many are parked as may be, and nobody was told.
    pub(super) fn tell_full(&mut self) -> bool {
        let news = self.full == Some(Told::NotYet);
        self.full = self.full.map(|_| Told::Already);
        news
    }

    /// Nothing is parked any more: what was is to be put back.
    pub(super) fn give_back(&mut self) -> impl Iterator<Item = (usize, EventId)> + use<> {
        self.full = None;
        let parked = std::mem::take(&mut self.parked);
        parked.into_iter().map(|(lane, delivery)| (lane, delivery.event.id))
    }
}

/// Whether an event of its key may be pending under an earlier name.
fn must_wait(lanes: &[(usize, &Lane)], number: usize, delivery: &Delivery) -> bool {
    let Some(key) = delivery.event.turn.order_key else { return false };
    // Where its own name is none of them any more, nobody is before it.
    let Some(at) = lanes.iter().position(|(other, _)| *other == number) else { return false };
    lanes.iter().take(at).any(|(_, lane)| lane.may_hold(key))
}
