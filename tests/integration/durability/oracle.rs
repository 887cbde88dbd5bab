//! Holds what was acknowledged against what arrived.

use std::collections::{HashMap, HashSet};

use super::ledger::Arrived;
use super::sender::{Book, Sent};
use crate::harness::Gateway;

/// What became of a run's events at one destination.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged events that were to come here.
    pub acked: usize,
    /// Acknowledged, and neither arrived nor in the dead letters.
    pub lost: Vec<String>,
    /// Arrived, and never sent (or not to here).
    pub invented: Vec<String>,
    /// Arrived otherwise than they were sent.
    pub altered: Vec<String>,
    /// Arrivals beyond the first of each event.
    pub duplicates: u64,
    /// The ids of those.
    pub repeated: HashSet<String>,
}

impl Verdict {
    pub fn of(
        book: &Book,
        seen: &HashMap<String, Arrived>,
        dead: &HashSet<String>,
        comes_here: impl Fn(&Sent) -> bool,
    ) -> Self {
        let mut verdict = Self::default();
        for (id, _) in book.sent.iter().filter(|(_, sent)| sent.acked && comes_here(sent)) {
            verdict.acked += 1;
            if !seen.contains_key(id) && !dead.contains(id) {
                verdict.lost.push(id.clone());
            }
        }
        for (id, arrived) in seen {
            match book.sent.get(id).filter(|sent| comes_here(sent)) {
                None => verdict.invented.push(id.clone()),
                Some(sent) if arrived.changed || arrived.print != sent.print => {
                    verdict.altered.push(id.clone());
                }
                Some(_) => {}
            }
            if arrived.times > 1 {
                verdict.duplicates += arrived.times - 1;
                verdict.repeated.insert(id.clone());
            }
        }
        verdict.lost.sort();
        verdict
    }

    /// Asserts that the promise was kept: nothing lost, nothing invented, nothing altered.
    #[track_caller]
    pub fn assert_kept(&self) -> &Self {
        assert!(self.lost.is_empty(), "lost {} of {}: {:?}", self.lost.len(), self.acked, self.lost);
        assert!(self.invented.is_empty(), "invented: {:?}", self.invented);
        assert!(self.altered.is_empty(), "altered: {:?}", self.altered);
        self
    }
}

/// Whether the route at `target` delivers to `destination`. Route `/both` has two destinations.
pub fn goes_to(target: &str, destination: &str) -> bool {
    target == "/both" || target.trim_start_matches('/') == destination
}

/// The providers' ids of the dead letters of `destination`, as the admin API tells them.
pub fn dead_letters(gateway: &Gateway, destination: &str) -> HashSet<String> {
    let (mut dead, mut cursor) = (HashSet::new(), String::new());
    loop {
        let page = gateway
            .admin_get(&format!("/api/v1/events?status=dead&destination={destination}&limit=500{cursor}"));
        let ids = page["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap());
        dead.extend(ids.map(str::to_owned));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return dead,
        }
    }
}

#[test]
fn an_oracle_tells_lost_invented_altered_and_repeated_apart() {
    let sent = |target, acked, byte| Sent { target, print: [byte; 32], bytes: 1, acked };
    let arrived = |byte, times| Arrived { times, ..Arrived::once([byte; 32]) };
    let mut book = Book::default();
    for (id, event) in [
        ("fine", sent("/app", true, 1)),
        ("lost", sent("/app", true, 2)),
        ("not acked", sent("/app", false, 3)),
        ("dead", sent("/app", true, 4)),
        ("altered", sent("/app", true, 5)),
        ("thrice", sent("/app", false, 6)),
        ("elsewhere", sent("/other", true, 7)),
    ] {
        book.sent.insert(id.to_owned(), event);
    }
    let seen = [
        ("fine", arrived(1, 1)),
        ("altered", arrived(0, 1)),
        ("thrice", arrived(6, 3)),
        ("never sent", arrived(8, 1)),
        ("elsewhere", arrived(7, 1)),
    ]
    .map(|(id, arrived)| (id.to_owned(), arrived));
    let dead = HashSet::from(["dead".to_owned()]);
    let mut verdict = Verdict::of(&book, &seen.into(), &dead, |sent| goes_to(sent.target, "app"));
    verdict.invented.sort();
    assert_eq!(verdict.acked, 4);
    assert_eq!(verdict.lost, ["lost"]);
    assert_eq!(verdict.invented, ["elsewhere", "never sent"]);
    assert_eq!(verdict.altered, ["altered"]);
    assert_eq!((verdict.duplicates, verdict.repeated), (2, HashSet::from(["thrice".to_owned()])));
}
