//! How long a lane was open between two moments: `max_age` counts that time alone, so that an outage ages nothing.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Spans that are remembered: one every 30 s, the shortest that a breaker opens and closes in, for more than a day.
const MAX_SPANS: usize = 4096;

/// When a lane was shut, in milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct OpenTime {
    /// From, to; ascending, apart from each other.
    shut: VecDeque<(u64, u64)>,
    /// Since when it is shut now.
    shut_since: Option<u64>,
}

impl OpenTime {
    pub(super) fn is_shut(&self) -> bool {
        self.shut_since.is_some()
    }

    /// The lane is shut from `now` on.
    pub(super) fn shut(&mut self, now: Millis) {
        self.shut_since.get_or_insert(now.0);
    }

    /// The lane is open from `now` on.
    pub(super) fn open(&mut self, now: Millis) {
        if let Some(since) = self.shut_since.take() {
            self.was_shut(since, now.0);
        }
    }

    /// The lane was shut until `now`, and nobody noted it: the process was not there.
    pub(super) fn missed(&mut self, since: Millis, now: Millis) {
        match self.shut_since {
            Some(_) => {}
            None => self.was_shut(since.0, now.0),
        }
    }

    /// What was shut while `other` was, until `now`, counts as shut.
    pub(super) fn unite(&mut self, other: &Self, now: Millis) {
        let shut_since = self.shut_since;
        let until_now = other.shut_since.map(|since| (since, now.0));
        let mut all: Vec<_> = std::mem::take(&mut self.shut).into_iter().collect();
        all.extend(other.shut.iter().copied().chain(until_now));
        all.sort_unstable();
        for (from, to) in all {
            self.was_shut(from, to);
        }
        self.shut_since = shut_since;
    }

    fn was_shut(&mut self, from: u64, to: u64) {
        // A clock that was set back must not leave spans that overlap.
        let from = self.shut.back().map_or(from, |(_, last)| from.max(*last));
        if from >= to {
            return;
        }
        match self.shut.back_mut() {
            Some((_, last)) if *last == from => *last = to,
            _ => self.shut.push_back((from, to)),
        }
        if self.shut.len() > MAX_SPANS
            && let (Some((from, _)), Some((_, to))) = (self.shut.pop_front(), self.shut.pop_front())
        {
            // What lay between counts as shut: an event lives longer for it, never shorter.
            self.shut.push_front((from, to));
        }
    }

    /// How long the lane was open between `from` and `to`.
    pub(super) fn between(&self, from: Millis, to: Millis) -> Duration {
        // What it took over may reach beyond the moment at which it was shut itself.
        let known = self.shut.back().map_or(0, |(_, end)| *end);
        let now = self.shut_since.map(|since| (since.max(known), u64::MAX));
        let shut: u64 = self
            .shut
            .iter()
            .rev()
            .take_while(|(_, end)| *end > from.0)
            .copied()
            .chain(now)
            .map(|(start, end)| end.min(to.0).saturating_sub(start.max(from.0)))
            .sum();
        to.since(from).saturating_sub(Duration::from_millis(shut))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn s(n: u64) -> Millis {
        Millis(n * 1000)
    }

    fn open(time: &OpenTime, from: u64, to: u64) -> u64 {
        time.between(s(from), s(to)).as_secs()
    }

    #[test]
    fn what_was_shut_does_not_count() {
        let mut time = OpenTime::default();
        assert_eq!(open(&time, 5, 100), 95);
        time.shut(s(10));
        time.shut(s(12)); // it is shut already
        assert_eq!(open(&time, 5, 100), 5, "still shut");
        time.open(s(20));
        assert_eq!(open(&time, 5, 100), 85);
        assert_eq!(open(&time, 15, 100), 80, "it came while the lane was shut");
        assert_eq!(open(&time, 20, 100), 80);
        assert_eq!(open(&time, 0, 15), 10);
        time.missed(s(50), s(60));
        assert_eq!(open(&time, 5, 100), 75);
        time.open(s(70)); // it is open already
        assert_eq!(open(&time, 5, 100), 75);
    }

    #[test]
    fn a_weekend_s_outage_ages_nothing() {
        let mut time = OpenTime::default();
        time.shut(s(60));
        assert_eq!(open(&time, 0, 3 * 86_400), 60);
        time.open(s(3 * 86_400));
        assert_eq!(open(&time, 0, 3 * 86_400 + 40), 100);
    }

    #[test]
    fn two_that_are_one_were_shut_while_either_was() {
        let (mut one, mut other) = (OpenTime::default(), OpenTime::default());
        one.shut(s(10));
        one.open(s(30));
        one.shut(s(60));
        for (from, to) in [(5, 8), (20, 40), (50, 55)] {
            other.shut(s(from));
            other.open(s(to));
        }
        other.shut(s(58));
        one.unite(&other, s(70));
        assert_eq!(open(&one, 0, 57), 5 + 2 + 10 + 2);
        one.open(s(80));
        assert_eq!(open(&one, 0, 100), 5 + 2 + 10 + 3 + 20, "what it is itself, it stays");
        let before = one.clone();
        one.unite(&OpenTime::default(), s(100));
        assert_eq!(one, before);
    }

    #[test]
    fn too_many_spans_make_events_younger_and_never_older() {
        let mut time = OpenTime::default();
        for n in 0..2 * MAX_SPANS as u64 {
            time.shut(s(n * 10));
            time.open(s(n * 10 + 5));
        }
        assert_eq!(time.shut.len(), MAX_SPANS);
        let end = 2 * MAX_SPANS as u64 * 10;
        assert!(open(&time, 0, end) <= end / 2);
        assert_eq!(open(&time, end - 1000, end), 500, "what is young is exact");
    }

    proptest! {
        #[test]
        fn it_agrees_with_counting_seconds(
            steps in proptest::collection::vec((any::<bool>(), 1u64..20), 1..60),
            from in 0u64..300,
            long in 0u64..300,
        ) {
            let (mut time, mut at, mut was) = (OpenTime::default(), 0, Vec::new());
            for (shut, seconds) in steps {
                if shut { time.shut(s(at)) } else { time.open(s(at)) }
                was.extend(std::iter::repeat_n(!shut, seconds as usize));
                at += seconds;
            }
            let to = (from + long).min(at);
            let from = from.min(to);
            let counted = was[from as usize..to as usize].iter().filter(|open| **open).count() as u64;
            prop_assert_eq!(open(&time, from, to), counted);
        }

        #[test]
        fn a_clock_that_is_set_back_harms_nothing(times in proptest::collection::vec(0u64..100, 1..40)) {
            let mut time = OpenTime::default();
            for (nth, at) in times.iter().enumerate() {
                if nth % 2 == 0 { time.shut(s(*at)) } else { time.open(s(*at)) }
                prop_assert!(open(&time, 0, 100) <= 100);
            }
        }
    }
}
