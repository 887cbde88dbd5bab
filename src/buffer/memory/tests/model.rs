//! Random operations on the buffer and on a simple model of it: no event is lost, none is given or settled twice, the
//! order is that of arrival, and every counter agrees with what is there.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

const LANES: [&str; 3] = ["a", "b", "c"];
const MAX_EVENTS: u64 = 48;
const HISTORY: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Keep {
        to: u8,
        size: usize,
    },
    Take {
        lane: usize,
        max: usize,
    },
    TakeDue {
        lane: usize,
    },
    /// One in flight: delivered, dead, deferred or put back.
    End {
        lane: usize,
        which: usize,
        how: How,
    },
    /// Of an event that may stand anywhere.
    Bogus {
        lane: usize,
        which: usize,
        how: How,
    },
    Requeue {
        which: usize,
    },
    Replay {
        which: usize,
    },
    Drop {
        lane: Option<usize>,
    },
    Advance {
        ms: u64,
    },
    Configure {
        lanes: u8,
    },
}

#[derive(Clone, Copy, Debug)]
enum How {
    Delivered,
    Dead,
    Defer { ms: u64 },
    PutBack,
}

fn op() -> impl Strategy<Value = Op> {
    let how = || {
        prop_oneof![
            3 => Just(How::Delivered),
            2 => Just(How::Dead),
            2 => (0_u64..50).prop_map(|ms| How::Defer { ms }),
            1 => Just(How::PutBack),
        ]
    };
    let any = any::<usize>;
    prop_oneof![
        8 => (0_u8..8, 0_usize..100).prop_map(|(to, size)| Op::Keep { to, size }),
        4 => (0_usize..3, 0_usize..6).prop_map(|(lane, max)| Op::Take { lane, max }),
        3 => (0_usize..3).prop_map(|lane| Op::TakeDue { lane }),
        8 => (0_usize..3, any(), how()).prop_map(|(lane, which, how)| Op::End { lane, which, how }),
        1 => (0_usize..3, any(), how()).prop_map(|(lane, which, how)| Op::Bogus { lane, which, how }),
        2 => any().prop_map(|which| Op::Requeue { which }),
        2 => any().prop_map(|which| Op::Replay { which }),
        1 => prop::option::of(0_usize..3).prop_map(|lane| Op::Drop { lane }),
        2 => (0_u64..40).prop_map(|ms| Op::Advance { ms }),
        1 => (0_u8..8).prop_map(|lanes| Op::Configure { lanes }),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stand {
    Fresh,
    InFlight,
    Deferred(Millis),
    Delivered,
    Dead,
}

impl Stand {
    fn is_pending(self) -> bool {
        !matches!(self, Self::Delivered | Self::Dead)
    }
}

#[derive(Debug)]
struct Known {
    weight: u64,
    /// By lane: where it stands, and attempts made.
    places: BTreeMap<usize, (Stand, u16)>,
}

impl Known {
    fn is(&self, stand: Stand) -> bool {
        self.places.values().any(|(s, _)| *s == stand)
    }

    fn counts(&self) -> bool {
        self.places.values().any(|(s, _)| *s != Stand::Delivered)
    }
}

/// What should be in the buffer.
#[derive(Debug, Default)]
struct Model {
    events: BTreeMap<EventId, Known>,
    /// By lane: put back, and fresh.
    queues: [(Vec<EventId>, VecDeque<EventId>); 3],
    history: VecDeque<EventId>,
}

impl Model {
    fn retire(&mut self, id: EventId) {
        self.history.push_back(id);
        while self.history.len() > HISTORY {
            let gone = self.history.pop_front().unwrap();
            self.events.remove(&gone);
        }
    }

    fn next(&mut self, lane: usize) -> Option<EventId> {
        let (returned, fresh) = &mut self.queues[lane];
        returned.sort();
        if returned.is_empty() { fresh.pop_front() } else { Some(returned.remove(0)) }
    }

    fn start(&mut self, lane: usize, id: EventId) -> u16 {
        let place = self.events.get_mut(&id).unwrap().places.get_mut(&lane).unwrap();
        assert!(matches!(place.0, Stand::Fresh | Stand::Deferred(_)));
        place.0 = Stand::InFlight;
        place.1 + 1
    }

    fn due(&self, lane: usize) -> Option<(Millis, EventId)> {
        let due = |(id, known): (&EventId, &Known)| match known.places.get(&lane)?.0 {
            Stand::Deferred(due) => Some((due, *id)),
            _ => None,
        };
        self.events.iter().filter_map(due).min()
    }

    fn in_flight(&self, lane: usize) -> Vec<EventId> {
        let flying = |known: &Known| known.places.get(&lane).is_some_and(|p| p.0 == Stand::InFlight);
        self.events.iter().filter(|(_, known)| flying(known)).map(|(id, _)| *id).collect()
    }

    fn end(&mut self, lane: usize, id: EventId, how: How, now: Millis) {
        let known = self.events.get_mut(&id).unwrap();
        let place = known.places.get_mut(&lane).unwrap();
        if !matches!(how, How::PutBack) {
            place.1 += 1;
        }
        match how {
            How::Delivered => place.0 = Stand::Delivered,
            How::Dead => place.0 = Stand::Dead,
            How::Defer { ms } => place.0 = Stand::Deferred(now.plus(Duration::from_millis(ms))),
            How::PutBack => {
                place.0 = Stand::Fresh;
                self.queues[lane].0.push(id);
            }
        }
        if !known.counts() {
            self.retire(id);
        }
    }

    /// Back into the queues, from the states of `from`.
    fn renew(&mut self, id: EventId, from: &[Stand]) -> usize {
        let known = self.events.get_mut(&id).unwrap();
        if !known.places.is_empty() {
            self.history.retain(|h| *h != id);
        }
        let mut count = 0;
        for (lane, place) in known.places.iter_mut().filter(|(_, place)| from.contains(&place.0)) {
            *place = (Stand::Fresh, 0);
            self.queues[*lane].1.push_back(id);
            count += 1;
        }
        count
    }

    fn drop_dead(&mut self, lane: Option<usize>) -> usize {
        let mut dropped = 0;
        let all: Vec<EventId> = self.events.keys().copied().collect();
        for id in all {
            let Some(known) = self.events.get_mut(&id) else { continue }; // the history let it go just now
            let before = known.places.len();
            known.places.retain(|at, place| place.0 != Stand::Dead || lane.is_some_and(|l| l != *at));
            let here = before - known.places.len();
            dropped += here;
            if here == 0 {
                continue;
            }
            if known.places.is_empty() {
                self.events.remove(&id);
            } else if !known.counts() {
                self.retire(id);
            }
        }
        dropped
    }
}

fn end(lane: &Lane, id: EventId, how: How, number: u16, now: Millis) {
    match how {
        How::Delivered => lane.settle(id, Settled::Delivered, attempt(number), Bytes::new()),
        How::Dead => lane.settle(id, DEAD, attempt(number), Bytes::new()),
        How::Defer { ms } => {
            lane.defer(id, attempt(number), now.plus(Duration::from_millis(ms)), Bytes::new());
        }
        How::PutBack => lane.put_back(id),
    }
}

fn pick<T: Copy>(from: &[T], which: usize) -> Option<T> {
    from.get(which.checked_rem(from.len())?).copied()
}

fn step(rig: &Rig, model: &mut Model, op: Op) -> Result<(), TestCaseError> {
    let now = rig.clock.now();
    match op {
        Op::Keep { to, size } => {
            let to: Vec<usize> = (0..3).filter(|n| to >> n & 1 == 1).collect();
            let names: Vec<&str> = to.iter().map(|n| LANES[*n]).collect();
            let event = Event { body: vec![0; size].into(), ..event("") };
            let weight = event.weight();
            if let Ok(id) = rig.keep(event, &names) {
                prop_assert!(model.events.last_key_value().is_none_or(|(last, _)| *last < id));
                to.iter().for_each(|lane| model.queues[*lane].1.push_back(id));
                let places = to.iter().map(|lane| (*lane, (Stand::Fresh, 0))).collect();
                model.events.insert(id, Known { weight, places });
                if to.is_empty() {
                    model.retire(id);
                }
            }
        }
        Op::Take { lane, max } => {
            let expected: Vec<(EventId, u16)> = (0..max)
                .map_while(|_| model.next(lane))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|id| (id, model.start(lane, id)))
                .collect();
            let taken = rig.lane(LANES[lane]).take(max);
            let taken: Vec<_> = taken.iter().map(|d| (d.event.id, d.attempt)).collect();
            prop_assert_eq!(taken, expected);
        }
        Op::TakeDue { lane } => {
            let expected = model.due(lane).filter(|(due, _)| *due <= now).map(|(_, id)| id);
            let expected = expected.map(|id| (id, model.start(lane, id)));
            let taken = rig.lane(LANES[lane]).take_due(now);
            prop_assert_eq!(taken.map(|d| (d.event.id, d.attempt)), expected);
        }
        Op::End { lane, which, how } => {
            let Some(id) = pick(&model.in_flight(lane), which) else { return Ok(()) };
            let number = model.events[&id].places[&lane].1 + 1;
            end(&rig.lane(LANES[lane]), id, how, number, now);
            model.end(lane, id, how, now);
        }
        Op::Bogus { lane, which, how } => {
            let all: Vec<EventId> = model.events.keys().copied().collect();
            let Some(id) = pick(&all, which) else { return Ok(()) };
            if !model.in_flight(lane).contains(&id) {
                end(&rig.lane(LANES[lane]), id, how, 1, now);
            }
        }
        Op::Requeue { which } => {
            let all: Vec<EventId> = model.events.keys().copied().collect();
            let Some(id) = pick(&all, which) else { return Ok(()) };
            let dead = model.events[&id].is(Stand::Dead);
            prop_assert_eq!(rig.buffer.requeue_dead(id), dead);
            if dead {
                model.renew(id, &[Stand::Dead]);
            }
        }
        Op::Replay { which } => {
            let all: Vec<EventId> = model.events.keys().copied().collect();
            let Some(id) = pick(&all, which) else { return Ok(()) };
            if let Ok(count) = rig.buffer.replay(id) {
                prop_assert_eq!(count, Some(model.renew(id, &[Stand::Delivered, Stand::Dead])));
            }
        }
        Op::Drop { lane } => {
            let destination = lane.map(|lane| LANES[lane].to_owned());
            let filter = EventFilter { destination, ..EventFilter::default() };
            prop_assert_eq!(rig.buffer.drop_dead(&filter), model.drop_dead(lane));
        }
        Op::Advance { ms } => rig.clock.advance(Duration::from_millis(ms)),
        Op::Configure { lanes } => {
            let names: Vec<&str> = (0..3).filter(|n| lanes >> n & 1 == 1).map(|n| LANES[n]).collect();
            rig.configure(&names);
        }
    }
    Ok(())
}

/// The figures agree with the model.
fn compare_figures(rig: &Rig, model: &Model) -> Result<(), TestCaseError> {
    let stats = rig.buffer.stats();
    let sum = |known: &mut dyn Iterator<Item = &Known>| {
        known.fold((0, 0), |(count, bytes), known| (count + 1, bytes + known.weight))
    };
    let all = || model.events.values();
    prop_assert_eq!((stats.events, stats.bytes), sum(&mut all().filter(|k| k.counts())));
    prop_assert_eq!((stats.dead_events, stats.dead_bytes), sum(&mut all().filter(|k| k.is(Stand::Dead))));
    prop_assert_eq!((stats.history_events, stats.history_bytes), sum(&mut all().filter(|k| !k.counts())));
    prop_assert!(stats.events <= MAX_EVENTS);
    for (number, name) in LANES.iter().enumerate() {
        let at = |known: &&Known, wanted: fn(Stand) -> bool| {
            known.places.get(&number).is_some_and(|place| wanted(place.0))
        };
        let lane = stats.destinations.iter().find(|lane| *lane.destination == **name).unwrap();
        prop_assert_eq!((lane.events, lane.bytes), sum(&mut all().filter(|k| at(k, Stand::is_pending))));
        prop_assert_eq!(lane.dead, sum(&mut all().filter(|k| at(k, |s| s == Stand::Dead))).0);
        prop_assert_eq!(rig.lane(name).depth(), (lane.events, lane.bytes));
        prop_assert_eq!(rig.lane(name).next_due(), model.due(number).map(|(due, _)| due));
        prop_assert_eq!(lane.oldest.is_some(), lane.events > 0);
    }
    Ok(())
}

/// Each event stands where the model says, and there is no other.
fn compare_events(rig: &Rig, model: &Model) -> Result<(), TestCaseError> {
    let (views, cursor) = rig.buffer.list(&EventFilter::default(), None, 1000);
    prop_assert!(cursor.is_none());
    prop_assert!(views.iter().rev().map(|view| &view.event.id).eq(model.events.keys()));
    for view in views {
        let known = &model.events[&view.event.id];
        prop_assert_eq!(view.destinations.len(), known.places.len());
        for place in view.destinations {
            let lane = LANES.iter().position(|name| **name == *place.name).unwrap();
            let (stand, _) = known.places[&lane];
            let expected = match stand {
                Stand::Delivered => Status::Delivered,
                Stand::Dead => Status::Dead(DeadReason::AttemptsExhausted),
                _ => Status::Pending,
            };
            prop_assert_eq!(place.status, expected);
            prop_assert_eq!(place.due, if let Stand::Deferred(due) = stand { Some(due) } else { None });
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn the_buffer_does_what_a_simple_model_of_it_does(ops in prop::collection::vec(op(), 150..250)) {
        let rig = Rig::new(MAX_EVENTS, &LANES);
        let mut model = Model::default();
        for (n, op) in ops.into_iter().enumerate() {
            step(&rig, &mut model, op)?;
            compare_figures(&rig, &model)?;
            if n % 16 == 0 {
                compare_events(&rig, &model)?;
            }
        }
        compare_events(&rig, &model)?;
        drain(&rig, &mut model)?;
    }
}

/// Whatever happened before: all that is pending can be delivered, and then nothing is pending.
fn drain(rig: &Rig, model: &mut Model) -> Result<(), TestCaseError> {
    rig.clock.advance(Duration::from_secs(60));
    for lane in 0..3 {
        step(rig, model, Op::Take { lane, max: 1000 })?;
        while model.due(lane).is_some() {
            step(rig, model, Op::TakeDue { lane })?;
        }
        while !model.in_flight(lane).is_empty() {
            step(rig, model, Op::End { lane, which: 0, how: How::Delivered })?;
        }
    }
    compare_figures(rig, model)?;
    let stats = rig.buffer.stats();
    prop_assert_eq!(stats.events, stats.dead_events);
    prop_assert!(stats.destinations.iter().all(|lane| (lane.events, lane.bytes) == (0, 0)));
    Ok(())
}
