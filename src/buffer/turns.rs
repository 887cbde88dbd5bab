//! What is next in a lane: class first, inside a class due retries and fresh ones in turn, an event whose key is busy steps
//! aside ([`keys`](super::keys)); the rate and the ramp, which are delivery's, bound the sum.

use crate::event::{ByClass, Priority};

/// While higher classes are busy, a lower one gets one slot in so many.
const ONE_IN: u8 = 20;
/// While a lane recovers, what arrives gets one slot in so many, ahead of the backlog.
const AHEAD_ONE_IN: u8 = 4;

/// What a lane is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Whatever is next.
    Next,
    /// What is next of those in their turn of arrival: no passed event, and no retry that waited for its time.
    Fresh,
}

/// Which class has the next slot.
#[derive(Debug, Default)]
pub(super) struct Classes {
    /// How many slots each class waited for, since it had one.
    waited: ByClass<u8>,
}

impl Classes {
    /// What `take` finds in the first class that has something; `waits` says which may have.
    pub fn next<T>(
        &mut self,
        waits: impl Fn(Priority) -> bool,
        mut take: impl FnMut(Priority) -> Option<T>,
    ) -> Option<T> {
        let overdue = |class: &Priority| *self.waited.get(*class) >= ONE_IN - 1 && waits(*class);
        let overdue = Priority::ALL.into_iter().rev().find(overdue);
        for class in overdue.into_iter().chain(Priority::ALL) {
            let Some(found) = take(class) else { continue };
            for (other, waited) in self.waited.iter_mut() {
                *waited = if other != class && waits(other) { waited.saturating_add(1) } else { 0 };
            }
            return Some(found);
        }
        None
    }
}

/// What stands in line within a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Retries whose time has come.
    Due,
    /// In order of arrival, those that were put back first.
    Fresh,
    /// What arrived while the lane recovers.
    Ahead,
}

/// Which line of a class has the next slot.
#[derive(Debug, Default)]
pub(super) struct Lines {
    slot: u8,
    /// Whether a due retry goes before a fresh event.
    retrys_turn: bool,
}

impl Lines {
    /// What `take` finds in the first line that has something.
    pub fn next<T>(&mut self, mut take: impl FnMut(Line) -> Option<T>) -> Option<T> {
        let [first, second] =
            if self.retrys_turn { [Line::Due, Line::Fresh] } else { [Line::Fresh, Line::Due] };
        let order = if self.slot == AHEAD_ONE_IN - 1 {
            [Line::Ahead, first, second]
        } else {
            [first, second, Line::Ahead]
        };
        for line in order {
            let Some(found) = take(line) else { continue };
            self.slot = (self.slot + 1) % AHEAD_ONE_IN;
            match line {
                Line::Due => self.retrys_turn = false,
                Line::Fresh => self.retrys_turn = true,
                Line::Ahead => {}
            }
            return Some(found);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_class_gets_one_slot_in_twenty_and_the_highest_all_others() {
        let mut classes = Classes::default();
        let mut got = ByClass::<u32>::default();
        for _ in 0..2000 {
            let class = classes.next(|_| true, Some).unwrap();
            *got.get_mut(class) += 1;
        }
        let got = Priority::ALL.map(|class| *got.get(class));
        assert_eq!(got, [1801, 99, 100]);
    }

    #[test]
    fn who_had_nothing_waited_for_nothing() {
        let mut classes = Classes::default();
        for _ in 0..100 {
            assert_eq!(classes.next(|_| false, Some), Some(Priority::Critical));
        }
        for _ in 0..19 {
            assert_eq!(classes.next(|class| class == Priority::Bulk, Some), Some(Priority::Critical));
        }
        assert_eq!(
            classes.next(|_| true, Some),
            Some(Priority::Bulk),
            "the twentieth since it began to wait"
        );
        let only_normal = |class| (class == Priority::Normal).then_some(class);
        assert_eq!(classes.next(|_| true, only_normal), Some(Priority::Normal));
        assert_eq!(classes.next(|_| true, |_| None::<()>), None);
    }

    #[test]
    fn retries_and_fresh_events_go_in_turn_and_what_arrives_while_it_recovers_gets_a_quarter() {
        let mut lines = Lines::default();
        let mut taken = |there: &[Line]| {
            let mut next = || lines.next(|line| there.contains(&line).then_some(line)).unwrap();
            std::array::from_fn::<Line, 8, _>(|_| next())
        };
        use Line::{Ahead, Due, Fresh};
        assert_eq!(taken(&[Due, Fresh]), [Fresh, Due, Fresh, Due, Fresh, Due, Fresh, Due]);
        assert_eq!(taken(&[Due, Fresh, Ahead]), [Fresh, Due, Fresh, Ahead, Due, Fresh, Due, Ahead]);
        assert_eq!(taken(&[Due]), [Due; 8]);
        assert_eq!(taken(&[Ahead]), [Ahead; 8]);
    }
}
