//! A lane's requests: what one carries, who is aboard until it has ended, how it ended, and what that means for each.

use std::time::Duration;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::batch::{Batch, Said};
use super::breaker::Sign;
use super::gate::Change;
use super::retry::Verdict;
use crate::buffer::Delivery;
use crate::clock::Millis;
use crate::event::{Answer, Attempt, EventId, Region};

/// What one request carries.
#[derive(Debug)]
pub(super) enum Cargo {
    /// An event, as its sender sent it.
    One(Delivery),
    /// Events in an envelope.
    Batch(Batch),
}

impl Cargo {
    pub(super) fn deliveries(&self) -> &[Delivery] {
        match self {
            Self::One(delivery) => std::slice::from_ref(delivery),
            Self::Batch(batch) => &batch.deliveries,
        }
    }
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) answer: Answer,
    /// Where it went, of a destination with `regions`.
    pub(super) region: Option<Region>,
    /// No further attempt would end otherwise.
    pub(super) hopeless: bool,
    /// How long the destination asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The start of the answer's body.
    pub(super) excerpt: Bytes,
    /// What the answer says of each event of a batch, in their order; none where it is one for all.
    pub(super) each: Vec<Said>,
}

impl Ended {
    /// One that was answered so, and with nothing more.
    pub(super) fn with(answer: Answer) -> Self {
        let (excerpt, each) = (Bytes::new(), Vec::new());
        Self { answer, region: None, hopeless: false, retry_after: None, excerpt, each }
    }
}

/// A request that is over.
#[derive(Debug)]
pub(super) struct Done {
    /// When it began.
    pub(super) at: Millis,
    pub(super) took: Duration,
    pub(super) ended: Ended,
}

impl Done {
    /// The attempt at the `nth` event, which is its `number`th.
    pub(super) fn attempt(&self, nth: usize, number: u16) -> Attempt {
        let Self { at, took, ended: Ended { answer, region, each, .. } } = self;
        let answer = each.get(nth).map_or(*answer, |said| said.answer);
        Attempt { number, at: *at, took: *took, answer, region: *region }
    }

    pub(super) fn excerpt(&self, nth: usize) -> &Bytes {
        self.ended.each.get(nth).map_or(&self.ended.excerpt, |said| &said.excerpt)
    }

    /// What the answer says of the destination: where it is trouble for each event, it is trouble. With it, whether some event
    /// came at a bad time though others did not.
    pub(super) fn of_destination(&self) -> (Answer, bool) {
        let too_many = |said: &Said| said.answer == Answer::Status(429);
        let Ended { answer, each, .. } = &self.ended;
        let Some(first) = each.first() else { return (*answer, false) };
        let any = each.iter().any(too_many);
        if each.iter().any(|said| Sign::of(said.answer) != Sign::Trouble) {
            return (*answer, any);
        }
        (if any { Answer::Status(429) } else { first.answer }, false)
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// Of each event aboard; none for a probe that failed: it was no attempt, and its event waits as before.
    pub(super) verdicts: SmallVec<[Verdict; 1]>,
    pub(super) change: Change,
    /// Among them was the destination's first dead letter.
    pub(super) first_dead: bool,
    /// A 410 paused the lane.
    pub(super) paused: bool,
}

impl Judged {
    pub(super) fn nothing() -> Self {
        Self { verdicts: SmallVec::new(), change: Change::Nothing, first_dead: false, paused: false }
    }
}
/// A request that is made: what to say when it has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight(usize);

/// An event aboard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Which of the lanes it came from.
    pub(super) lane: usize,
    pub(super) event: EventId,
    /// The number of its attempt.
    pub(super) attempt: u16,
    /// When its budget of attempts began.
    pub(super) since: Millis,
    /// Bytes of its body.
    pub(super) body: usize,
}

impl Seat {
    pub(super) fn of(lane: usize, delivery: &Delivery) -> Self {
        let Delivery { event, attempt, since, .. } = delivery;
        Self { lane, event: event.id, attempt: *attempt, since: *since, body: event.body.len() }
    }
}

/// What is known of a request.
#[derive(Debug)]
pub(super) struct Aboard {
    /// One, or those of a batch in order.
    pub(super) seats: SmallVec<[Seat; 1]>,
    /// A sender waits for its outcome: the buffer knows nothing of it.
    pub(super) express: bool,
    /// It is to tell whether the destination works again.
    pub(super) probe: bool,
}

impl Aboard {
    pub(super) fn one(seat: Seat, express: bool, probe: bool) -> Self {
        Self { seats: smallvec![seat], express, probe }
    }
}

/// All of a lane. A place is used again when its flight has ended.
#[derive(Debug, Default)]
pub(super) struct Flights {
    places: Vec<Option<Aboard>>,
    free: Vec<usize>,
}

impl Flights {
    /// How many are on their way.
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn begin(&mut self, aboard: Aboard) -> Flight {
        match self.free.pop().and_then(|place| Some((place, self.places.get_mut(place)?))) {
            Some((place, empty)) => {
                *empty = Some(aboard);
                Flight(place)
            }
            None => {
                self.places.push(Some(aboard));
                Flight(self.places.len() - 1)
            }
        }
    }

    /// Who was aboard; `None` where it ended before.
    pub(super) fn end(&mut self, Flight(place): Flight) -> Option<Aboard> {
        let aboard = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        Some(aboard)
    }

    /// The destination works: whatever was to find that out is an attempt like any other.
    pub(super) fn forget_probes(&mut self) {
        self.places.iter_mut().flatten().for_each(|aboard| aboard.probe = false);
    }

    /// All of them have ended.
    pub(super) fn end_all(&mut self) -> impl Iterator<Item = Aboard> + use<> {
        self.free.clear();
        std::mem::take(&mut self.places).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aboard(events: &[u64]) -> Aboard {
        let seat = |seq: &u64| Seat {
            lane: 0,
            event: EventId::new(Millis(1), *seq),
            attempt: 1,
            since: Millis(1),
            body: 0,
        };
        Aboard { seats: events.iter().map(seat).collect(), express: false, probe: false }
    }

    fn seqs(aboard: &Aboard) -> Vec<u64> {
        aboard.seats.iter().map(|seat| seat.event.seq()).collect()
    }

    #[test]
    fn each_ends_once_with_those_who_were_aboard() {
        let mut flights = Flights::default();
        let (a, b) = (flights.begin(aboard(&[1])), flights.begin(aboard(&[2, 3])));
        assert_eq!(flights.len(), 2);
        assert_eq!(flights.end(a).as_ref().map(seqs), Some(vec![1]));
        assert!(flights.end(a).is_none());
        let c = flights.begin(aboard(&[4]));
        assert_eq!((flights.len(), flights.places.len()), (2, 2), "places are used again");
        assert_eq!(flights.end(b).as_ref().map(seqs), Some(vec![2, 3]));
        assert_eq!(flights.end(c).as_ref().map(seqs), Some(vec![4]));
        flights.begin(aboard(&[5]));
        flights.begin(aboard(&[6]));
        let mut left: Vec<_> = flights.end_all().flat_map(|aboard| seqs(&aboard)).collect();
        left.sort_unstable();
        assert_eq!((left, flights.len()), (vec![5, 6], 0));
        let d = flights.begin(aboard(&[7]));
        assert_eq!(flights.end(d).as_ref().map(seqs), Some(vec![7]));
    }
}
