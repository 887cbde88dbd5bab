//! The budget of a destination that was down, or is asked too much: additive increase, multiplicative decrease.

/// How many requests may be in flight while a lane recovers. It grows by one when as many as it allows were answered,
/// and halves with each failure; when it has reached the destination's `concurrency` the lane has recovered.
#[derive(Debug, Default)]
pub(super) struct Ramp(Option<Budget>);

#[derive(Debug)]
struct Budget {
    size: u32,
    /// Answers since it last grew.
    answered: u32,
}

impl Ramp {
    /// From one request at a time.
    pub(super) fn begin(&mut self) {
        self.0 = Some(Budget { size: 1, answered: 0 });
    }

    /// The destination is asked too much: half of what it was asked, where `concurrency` is what it is asked at most.
    pub(super) fn slow_down(&mut self, concurrency: u32) {
        let size = self.allows(concurrency);
        self.0 = Some(Budget { size: (size / 2).max(1), answered: 0 });
    }

    pub(super) fn success(&mut self, concurrency: u32) {
        let Some(budget) = &mut self.0 else { return };
        budget.answered += 1;
        if budget.answered >= budget.size {
            *budget = Budget { size: budget.size.saturating_add(1), answered: 0 };
        }
        if budget.size >= concurrency {
            self.0 = None;
        }
    }

    /// A failure while the lane recovers; one at other times is the breaker's matter.
    pub(super) fn failure(&mut self) {
        if let Some(budget) = &mut self.0 {
            *budget = Budget { size: (budget.size / 2).max(1), answered: 0 };
        }
    }

    /// There is nothing more to hold back.
    pub(super) fn end(&mut self) {
        self.0 = None;
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// How many requests may be in flight.
    pub(super) fn allows(&self, concurrency: u32) -> u32 {
        self.0.as_ref().map_or(concurrency, |budget| budget.size.min(concurrency))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_one_a_round_and_ends_at_the_concurrency() {
        let mut ramp = Ramp::default();
        assert!(!ramp.is_on() && ramp.allows(8) == 8);
        ramp.begin();
        let mut rounds = Vec::new();
        while ramp.is_on() {
            let size = ramp.allows(8);
            rounds.push(size);
            (0..size).for_each(|_| ramp.success(8));
        }
        assert_eq!(rounds, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ramp.allows(8), 8);
    }

    #[test]
    fn a_failure_halves_it_and_never_stops_it() {
        let mut ramp = Ramp::default();
        ramp.failure();
        assert_eq!(ramp.allows(8), 8, "no ramp, no halving");
        ramp.slow_down(8);
        assert_eq!(ramp.allows(8), 4);
        ramp.success(8);
        ramp.failure();
        assert_eq!(ramp.allows(8), 2);
        (0..2).for_each(|_| ramp.success(8));
        assert_eq!(ramp.allows(8), 3);
        (0..5).for_each(|_| ramp.failure());
        assert_eq!(ramp.allows(8), 1);
    }

    #[test]
    fn a_lane_of_one_recovers_with_its_first_success() {
        let mut ramp = Ramp::default();
        ramp.begin();
        assert_eq!(ramp.allows(1), 1);
        ramp.success(1);
        assert!(!ramp.is_on());
    }
}
