//! Several places that do the same, the preferred one first: which of them to go to.
//!
//! A place that fails [`FAILURES`] times in a row is down for [`DOWN_FOR`]; then one request tries it, and where that
//! fails it is down again. So a region that is gone costs three failures and then one every ten seconds, and one that
//! comes back is used again at most ten seconds later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Failures in a row that take a place down: one may be a hiccup, two a restart.
pub const FAILURES: u32 = 3;
/// How long it is then left alone.
pub const DOWN_FOR: Duration = Duration::from_secs(10);

/// What is known of the places of each destination, the same for all who go there. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Failovers(Arc<Mutex<HashMap<Arc<str>, Known>>>);

#[derive(Debug)]
struct Known {
    places: Vec<String>,
    health: Arc<Failover>,
}

impl Failovers {
    /// The health of `destination`, whose `places` are these, written as URLs. What is known stays known as long as they
    /// stay the same.
    #[must_use]
    pub fn of(&self, destination: &Arc<str>, places: Vec<String>) -> Arc<Failover> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(destination).filter(|known| known.places == places) {
            return Arc::clone(&known.health);
        }
        let health = Arc::new(Failover::new(places.len()));
        all.insert(Arc::clone(destination), Known { places, health: Arc::clone(&health) });
        health
    }
}

/// The health of several places, by their position in order of preference. Never of none.
#[derive(Debug)]
pub struct Failover(Mutex<Vec<Place>>);

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    failures: u32,
    /// From when on it may be tried; `None` = it is up.
    down_until: Option<Instant>,
}

/// What changed with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It was up and is down now.
    WentDown,
    /// It was down and is up again.
    CameBack,
}

impl Failover {
    /// `places` of them, all up.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self(Mutex::new(vec![Place::default(); places.max(1)]))
    }

    /// Where to go `now`, leaving out those in `tried`: the first that is up or due for a trial; where all are down, the
    /// one that has been left alone for longest. `None` where all were tried.
    ///
    /// Whoever is sent to a place that is down is its trial: nobody else is until [`DOWN_FOR`] more has passed, or its
    /// report is there.
    pub fn choose(&self, now: Instant, tried: &[usize]) -> Option<usize> {
        let mut places = self.0.lock();
        let untried = || (0..places.len()).filter(|position| !tried.contains(position));
        let due = |position: &usize| {
            places.get(*position).is_some_and(|place| place.down_until.is_none_or(|until| until <= now))
        };
        let longest = |position: &usize| places.get(*position).and_then(|place| place.down_until);
        let chosen = untried().find(due).or_else(|| untried().min_by_key(longest))?;
        if let Some(place) = places.get_mut(chosen)
            && place.down_until.is_some()
        {
            place.down_until = Some(now + DOWN_FOR);
        }
        Some(chosen)
    }

    /// The place at `position` answered, whatever it said.
    pub fn answered(&self, position: usize) -> Change {
        let mut places = self.0.lock();
        let Some(place) = places.get_mut(position) else { return Change::None };
        let was_down = place.down_until.is_some();
        *place = Place::default();
        if was_down { Change::CameBack } else { Change::None }
    }

    /// The place at `position` could not be reached, or said nothing in time.
    pub fn failed(&self, position: usize, now: Instant) -> Change {
        let mut places = self.0.lock();
        let Some(place) = places.get_mut(position) else { return Change::None };
        place.failures = place.failures.saturating_add(1);
        let was_up = place.down_until.is_none();
        if place.failures < FAILURES {
            return Change::None;
        }
        place.down_until = Some(now + DOWN_FOR);
        if was_up { Change::WentDown } else { Change::None }
    }

    /// Whether each place is up, in order of preference.
    #[must_use]
    pub fn up(&self) -> Vec<bool> {
        self.0.lock().iter().map(|place| place.down_until.is_none()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    /// Fails `position` as often as takes it down.
    fn take_down(failover: &Failover, position: usize, now: Instant) {
        for n in 1..=FAILURES {
            let expected = if n == FAILURES { Change::WentDown } else { Change::None };
            assert_eq!(failover.failed(position, now), expected, "{n}");
        }
    }

    #[test]
    fn all_who_go_to_a_destination_know_the_same_as_long_as_its_places_stay() {
        let (all, now) = (Failovers::default(), Instant::now());
        let of =
            |name: &str, places: [&str; 2]| all.clone().of(&name.into(), places.map(str::to_owned).to_vec());
        take_down(&of("app", ["http://a", "http://b"]), 0, now);
        assert_eq!(of("app", ["http://a", "http://b"]).up(), [false, true]);
        assert_eq!(of("other", ["http://a", "http://b"]).up(), [true, true], "it may have another way there");
        assert_eq!(of("app", ["http://b", "http://a"]).up(), [true, true]);
    }

    #[test]
    fn the_first_is_used_until_it_failed_often_enough_in_a_row() {
        let (failover, now) = (Failover::new(3), Instant::now());
        for _ in 0..FAILURES - 1 {
            failover.failed(0, now);
        }
        assert_eq!(failover.choose(now, &[]), Some(0));
        assert_eq!(failover.answered(0), Change::None, "the row is broken");
        take_down(&failover, 0, now);
        assert_eq!((failover.choose(now, &[]), failover.up()), (Some(1), vec![false, true, true]));
        take_down(&failover, 1, now);
        assert_eq!(failover.choose(now, &[]), Some(2));
    }

    #[test]
    fn one_request_tries_what_was_down_and_brings_it_back() {
        let (failover, start) = (Failover::new(2), Instant::now());
        take_down(&failover, 0, start);
        assert_eq!(failover.choose(start + DOWN_FOR - MS(1), &[]), Some(1));
        let due = start + DOWN_FOR;
        assert_eq!(failover.choose(due, &[]), Some(0), "the trial");
        assert_eq!(failover.choose(due, &[]), Some(1), "and only one");
        assert_eq!(failover.failed(0, due + MS(5)), Change::None, "it was down before");
        assert_eq!(failover.choose(due + DOWN_FOR, &[]), Some(1), "its time begins anew with the failure");
        let again = due + MS(5) + DOWN_FOR;
        assert_eq!(failover.choose(again, &[]), Some(0));
        assert_eq!((failover.answered(0), failover.choose(again, &[])), (Change::CameBack, Some(0)));
    }

    #[test]
    fn a_trial_that_never_reports_does_not_bar_the_next() {
        let (failover, start) = (Failover::new(2), Instant::now());
        take_down(&failover, 0, start);
        let due = start + DOWN_FOR;
        assert_eq!(failover.choose(due, &[]), Some(0));
        assert_eq!(failover.choose(due + DOWN_FOR, &[]), Some(0));
    }

    #[test]
    fn where_all_are_down_each_has_its_turn_and_what_was_tried_is_left_out() {
        let (failover, start) = (Failover::new(3), Instant::now());
        for (position, after) in [(1, 0), (0, 1), (2, 2)] {
            take_down(&failover, position, start + MS(after));
        }
        let now = start + MS(10);
        let turns: Vec<_> = (11..15).map(|after| failover.choose(start + MS(after), &[])).collect();
        assert_eq!(turns, [Some(1), Some(0), Some(2), Some(1)]);
        assert_eq!(failover.choose(now, &[1]), Some(0));
        assert_eq!((failover.choose(now, &[0, 1]), failover.choose(now, &[2, 0, 1])), (Some(2), None));
    }
}
