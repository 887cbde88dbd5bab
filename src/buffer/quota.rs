//! Who may fill the buffer with how much.
//!
//! Half of the bound is first come; half is reserved, in equal parts, for each configured destination. An event that
//! is kept for a destination is charged to that destination's reservation while it has room, else to the first-come
//! part, and stays charged there until it is settled. An event counts once in the total and at most once in the
//! first-come part, however many destinations it has.
//!
//! So, between two changes of the configuration:
//! - *never over the bound*: every event is charged somewhere, hence total ≤ first-come part + reservations = bound;
//! - *a destination whose charged reservation has room is never refused*, whatever the others hold: nothing but its
//!   own events is ever charged there. (Its reservation is `bound / 2 / destinations`, in events and in bytes; an
//!   event larger than the whole reservation lives on the first-come part alone.)
//!
//! A change of the configuration moves no event: what is charged to a reservation that shrank or went counts against
//! the first-come part until it is settled, and the bound holds before all else.

use std::ops::{Add, AddAssign, SubAssign};

use super::handoff::MaxPending;

/// So many events and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) events: u64,
    pub(super) bytes: u64,
}

impl Amount {
    /// One event of `weight` bytes.
    pub(super) fn one(weight: u64) -> Self {
        Self { events: 1, bytes: weight }
    }

    pub(super) fn new(events: u64, bytes: u64) -> Self {
        Self { events, bytes }
    }

    /// Whether neither count is over that of `bound`.
    pub(super) fn fits(self, bound: Self) -> bool {
        self.events <= bound.events && self.bytes <= bound.bytes
    }

    /// What this is over `bound`, each count by itself.
    fn over(self, bound: Self) -> Self {
        Self {
            events: self.events.saturating_sub(bound.events),
            bytes: self.bytes.saturating_sub(bound.bytes),
        }
    }
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            events: self.events.saturating_add(other.events),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        debug_assert!(other.fits(*self), "{other:?} was never added to {self:?}");
        *self = self.over(other);
    }
}

/// Where an event is charged for one of its destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// Nowhere: delivered.
    None,
    /// To the destination's reservation.
    Reserved,
    /// To the first-come part.
    Shared,
}

/// What the quota remembers of one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    pub(super) size: Amount,
    /// Destinations for which it is charged.
    charged: u32,
    /// Of these, to the first-come part.
    shared: u32,
}

impl Holding {
    pub(super) fn new(weight: u64) -> Self {
        Self { size: Amount::one(weight), charged: 0, shared: 0 }
    }

    /// Of an event that is charged for `charged` destinations, for `shared` of them to the first-come part.
    pub(super) fn rebuilt(weight: u64, charged: u32, shared: u32) -> Self {
        Self { size: Amount::one(weight), charged, shared }
    }

    /// Whether it is charged nowhere: delivered to all, or not kept.
    pub(super) fn is_free(&self) -> bool {
        self.charged == 0
    }
}

/// Who has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Nobody.
    Buffer,
    /// The destination with this number.
    Destination(u32),
}

#[derive(Debug, Default)]
struct Share {
    configured: bool,
    /// Charged to its reservation.
    reserved: Amount,
    /// Everything it holds, wherever it is charged.
    held: Amount,
    max: Option<Amount>,
}

/// The bounds of the buffer and what is charged to them. Destinations are numbered from 0 without gaps.
#[derive(Debug)]
pub(super) struct Quota {
    bound: Amount,
    total: Amount,
    /// The first-come part.
    shared_bound: Amount,
    shared: Amount,
    /// The reservation of each configured destination.
    reservation: Amount,
    /// What is charged to reservations over their present size; it presses on the first-come part.
    excess: Amount,
    shares: Vec<Share>,
}

impl Quota {
    pub(super) fn new(bound: Amount) -> Self {
        let zero = Amount::default();
        Self {
            bound,
            total: zero,
            shared_bound: bound,
            shared: zero,
            reservation: zero,
            excess: zero,
            shares: Vec::new(),
        }
    }

    pub(super) fn bound(&self) -> Amount {
        self.bound
    }

    /// Everything that is pending or dead, each event once.
    pub(super) fn total(&self) -> Amount {
        self.total
    }

    pub(super) fn configured(&self, destination: u32) -> bool {
        self.shares.get(destination as usize).is_some_and(|share| share.configured)
    }

    /// A further destination, not configured: nothing is reserved for it.
    pub(super) fn add_destination(&mut self) {
        self.shares.push(Share::default());
    }

    /// Reserves anew, for exactly these destinations.
    pub(super) fn configure(&mut self, destinations: &[(u32, MaxPending)]) {
        for share in &mut self.shares {
            share.configured = false;
            share.max = None;
        }
        for (destination, max) in destinations {
            if let Some(share) = self.shares.get_mut(*destination as usize) {
                share.configured = true;
                share.max = (*max != MaxPending::default())
                    .then(|| Amount::new(max.events.unwrap_or(u64::MAX), max.bytes.unwrap_or(u64::MAX)));
            }
        }
        let count = self.shares.iter().filter(|share| share.configured).count().max(1) as u64;
        self.reservation = Amount::new(self.bound.events / 2 / count, self.bound.bytes / 2 / count);
        let all = Amount::new(self.reservation.events * count, self.reservation.bytes * count);
        self.shared_bound = self.bound.over(all);
        self.excess = Amount::default();
        for share in &self.shares {
            self.excess += share.reserved.over(self.reservation_of(share));
        }
    }

    fn reservation_of(&self, share: &Share) -> Amount {
        if share.configured { self.reservation } else { Amount::default() }
    }

    /// Whether an event may be charged for all of `destinations` (each named once, none for which it is charged
    /// already).
    pub(super) fn check(
        &self,
        holding: &Holding,
        destinations: impl IntoIterator<Item = u32>,
    ) -> Result<(), Full> {
        let size = holding.size;
        if holding.is_free() && !(self.total + size).fits(self.bound) {
            return Err(Full::Buffer);
        }
        let room = holding.shared > 0 || (self.shared + self.excess + size).fits(self.shared_bound);
        for destination in destinations {
            let full = Full::Destination(destination);
            let share = self.shares.get(destination as usize).ok_or(full)?;
            let within = share.max.is_none_or(|max| (share.held + size).fits(max));
            if !within || !(room || (share.reserved + size).fits(self.reservation_of(share))) {
                return Err(full);
            }
        }
        Ok(())
    }

    /// Charges an event that was checked, for one of its destinations.
    pub(super) fn charge(&mut self, holding: &mut Holding, destination: u32) -> Charge {
        let size = holding.size;
        let reservation = self.reservation;
        let Some(share) = self.shares.get_mut(destination as usize) else { return Charge::None };
        if holding.charged == 0 {
            self.total += size;
        }
        holding.charged += 1;
        share.held += size;
        if share.configured && (share.reserved + size).fits(reservation) {
            share.reserved += size;
            return Charge::Reserved;
        }
        if holding.shared == 0 {
            self.shared += size;
        }
        holding.shared += 1;
        Charge::Shared
    }

    /// Charges an event from before the start to the reservation of one of its destinations, whatever its room: as if
    /// the reservation had shrunk since. So nothing need be remembered of where it was charged.
    pub(super) fn restore(&mut self, holding: &mut Holding, destination: u32) {
        let size = holding.size;
        let reservation = self.reservation;
        let Some(share) = self.shares.get_mut(destination as usize) else { return };
        if holding.charged == 0 {
            self.total += size;
        }
        holding.charged += 1;
        share.held += size;
        let reservation = if share.configured { reservation } else { Amount::default() };
        self.excess -= share.reserved.over(reservation);
        share.reserved += size;
        self.excess += share.reserved.over(reservation);
    }

    /// Takes back what [`Quota::charge`] said.
    pub(super) fn release(&mut self, holding: &mut Holding, destination: u32, charge: Charge) {
        let size = holding.size;
        let reservation = self.reservation;
        let Some(share) = self.shares.get_mut(destination as usize) else { return };
        match charge {
            Charge::None => return,
            Charge::Reserved => {
                let reservation = if share.configured { reservation } else { Amount::default() };
                self.excess -= share.reserved.over(reservation);
                share.reserved -= size;
                self.excess += share.reserved.over(reservation);
            }
            Charge::Shared => {
                holding.shared -= 1;
                if holding.shared == 0 {
                    self.shared -= size;
                }
            }
        }
        share.held -= size;
        holding.charged -= 1;
        if holding.charged == 0 {
            self.total -= size;
        }
    }
}

#[cfg(test)]
mod tests;
