//! Random operations on the buffer and on a simple model of it: no event is lost, none is given or settled twice, what is
//! next is what the rules say, and every counter agrees with what is there.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::event::{OrderKey, Priority};

const LANES: [&str; 3] = ["a", "b", "c"];
const MAX_EVENTS: u64 = 48;
const HISTORY: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Keep {
        to: u8,
        size: usize,
        turn: Turn,
    },
    Take {
        lane: usize,
        max: usize,
    },
    Recover {
        lane: usize,
        recovering: bool,
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

/// Half of them wait for others of four keys, of which a lane holds three at a time.
fn turn() -> impl Strategy<Value = Turn> {
    let priority = prop::sample::select(&Priority::ALL[..]);
    (priority, 0_u64..9)
        .prop_map(|(priority, key)| Turn { priority, order_key: OrderKey::from_bits(key.saturating_sub(4)) })
}

fn any_bool() -> impl Strategy<Value = bool> {
    any::<bool>()
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
        8 => (0_u8..8, 0_usize..100, turn()).prop_map(|(to, size, turn)| Op::Keep { to, size, turn }),
        7 => (0_usize..3, 0_usize..6).prop_map(|(lane, max)| Op::Take { lane, max }),
        1 => (0_usize..3, any_bool()).prop_map(|(lane, recovering)| Op::Recover { lane, recovering }),
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
    turn: Turn,
    /// By lane: where it stands, and attempts made.
    places: BTreeMap<usize, (Stand, u16)>,
}

/// One class of a lane.
#[derive(Debug, Default)]
struct Class {
    /// Put back, or freed by another of its key.
    returned: Vec<EventId>,
    fresh: VecDeque<EventId>,
    ahead: VecDeque<EventId>,
    /// Passed over since their key was busy.
    aside: Vec<EventId>,
    retrys_turn: bool,
    slot: u8,
    waited: u8,
}

#[derive(Debug, Default)]
struct Queue {
    classes: [Class; 3],
    /// Who holds a key.
    busy: BTreeMap<OrderKey, EventId>,
    recovering: bool,
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
    queues: [Queue; 3],
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

    fn class_of(&mut self, lane: usize, id: EventId) -> &mut Class {
        &mut self.queues[lane].classes[self.events[&id].turn.priority as usize]
    }

    fn push(&mut self, lane: usize, id: EventId) {
        let ahead = self.queues[lane].recovering && self.events[&id].turn.order_key.is_none();
        let class = self.class_of(lane, id);
        if ahead { class.ahead.push_back(id) } else { class.fresh.push_back(id) }
    }

    /// The rules, one after the other.
    fn next(&mut self, lane: usize, now: Millis) -> Option<EventId> {
        let waits: [bool; 3] = std::array::from_fn(|n| {
            let class = &self.queues[lane].classes[n];
            let queued = class.returned.len() + class.fresh.len() + class.ahead.len();
            queued > 0 || self.due(lane, n).is_some_and(|(due, _)| due <= now)
        });
        let waited = |n: usize| self.queues[lane].classes[n].waited;
        let overdue = [2, 1, 0].into_iter().find(|n| waits[*n] && waited(*n) >= 19);
        for n in overdue.into_iter().chain(0..3) {
            let Some(found) = self.next_of(lane, n, now) else { continue };
            for (other, class) in self.queues[lane].classes.iter_mut().enumerate() {
                class.waited = if other != n && waits[other] { class.waited.saturating_add(1) } else { 0 };
            }
            return Some(found);
        }
        None
    }

    fn next_of(&mut self, lane: usize, n: usize, now: Millis) -> Option<EventId> {
        let class = &self.queues[lane].classes[n];
        let mut lines = if class.retrys_turn { vec!["due", "fresh"] } else { vec!["fresh", "due"] };
        lines.insert(if class.slot == 3 { 0 } else { 2 }, "ahead");
        for line in lines {
            let found = match line {
                "due" => self.due(lane, n).filter(|(due, _)| *due <= now).map(|(_, id)| id),
                "ahead" => self.queues[lane].classes[n].ahead.pop_front(),
                _ => self.next_fresh(lane, n),
            };
            let Some(found) = found else { continue };
            let class = &mut self.queues[lane].classes[n];
            class.slot = (class.slot + 1) % 4;
            class.retrys_turn = match line {
                "due" => false,
                "fresh" => true,
                _ => class.retrys_turn,
            };
            return Some(found);
        }
        None
    }

    /// What may go: no other of its key is on its way, or was passed over before it; and of new keys only three.
    fn next_fresh(&mut self, lane: usize, n: usize) -> Option<EventId> {
        let known: BTreeMap<EventId, Turn> =
            self.events.iter().map(|(id, known)| (*id, known.turn)).collect();
        loop {
            let Queue { classes, busy, .. } = &mut self.queues[lane];
            let mut keys: std::collections::BTreeSet<OrderKey> = busy.keys().copied().collect();
            for class in classes.iter() {
                let held = class.returned.iter().chain(&class.aside);
                keys.extend(held.filter_map(|id| known[id].order_key));
            }
            let class = &mut classes[n];
            class.returned.sort();
            let returned = class.returned.first().copied();
            let id = returned.or_else(|| class.fresh.front().copied())?;
            let Some(key) = known[&id].order_key else {
                if returned.is_some() {
                    class.returned.remove(0)
                } else {
                    class.fresh.pop_front().unwrap()
                };
                return Some(id);
            };
            if returned.is_none() && !keys.contains(&key) && keys.len() >= 3 {
                return None;
            }
            let same = |other: &EventId| known[other].order_key == Some(key);
            let is_busy = busy.get(&key).is_some_and(|holder| *holder != id);
            // A new one also waits for those of its class that were passed over, or freed, before it.
            let behind =
                returned.is_none() && (class.aside.iter().any(same) || class.returned.iter().any(same));
            if returned.is_some() {
                class.returned.remove(0)
            } else {
                class.fresh.pop_front().unwrap()
            };
            if is_busy || behind {
                class.aside.push(id);
                continue;
            }
            busy.insert(key, id);
            return Some(id);
        }
    }

    /// Its key is free: of each class the first that was passed over goes on, unless one is there already.
    fn free(&mut self, lane: usize, id: EventId) {
        let Some(key) = self.events[&id].turn.order_key else { return };
        self.queues[lane].busy.remove(&key);
        let same =
            |other: &EventId, events: &BTreeMap<EventId, Known>| events[other].turn.order_key == Some(key);
        for class in &mut self.queues[lane].classes {
            if class.returned.iter().any(|other| same(other, &self.events)) {
                continue;
            }
            let first = class.aside.iter().filter(|other| same(other, &self.events)).min().copied();
            class.aside.retain(|other| Some(*other) != first);
            class.returned.extend(first);
        }
    }

    fn start(&mut self, lane: usize, id: EventId) -> u16 {
        let place = self.events.get_mut(&id).unwrap().places.get_mut(&lane).unwrap();
        assert!(matches!(place.0, Stand::Fresh | Stand::Deferred(_)));
        place.0 = Stand::InFlight;
        place.1 + 1
    }

    /// The first that is due of one class.
    fn due(&self, lane: usize, n: usize) -> Option<(Millis, EventId)> {
        let due = |(id, known): (&EventId, &Known)| match known.places.get(&lane)?.0 {
            Stand::Deferred(due) if known.turn.priority as usize == n => Some((due, *id)),
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
            How::PutBack => place.0 = Stand::Fresh,
        }
        let retires = !known.counts();
        match how {
            How::Delivered | How::Dead => self.free(lane, id),
            How::PutBack => self.class_of(lane, id).returned.push(id),
            How::Defer { .. } => {}
        }
        if retires {
            self.retire(id);
        }
    }

    /// Back into the queues, from the states of `from`.
    fn renew(&mut self, id: EventId, from: &[Stand]) -> usize {
        let known = self.events.get_mut(&id).unwrap();
        if !known.places.is_empty() {
            self.history.retain(|h| *h != id);
        }
        let again: Vec<usize> =
            known.places.iter().filter(|(_, place)| from.contains(&place.0)).map(|(lane, _)| *lane).collect();
        for lane in &again {
            self.events.get_mut(&id).unwrap().places.insert(*lane, (Stand::Fresh, 0));
            self.push(*lane, id);
        }
        again.len()
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
        Op::Keep { to, size, turn } => {
            let to: Vec<usize> = (0..3).filter(|n| to >> n & 1 == 1).collect();
            let names: Vec<&str> = to.iter().map(|n| LANES[*n]).collect();
            let event = Event { body: vec![0; size].into(), turn, ..event("") };
            let weight = event.weight();
            if let Ok(id) = rig.keep(event, &names) {
                prop_assert!(model.events.last_key_value().is_none_or(|(last, _)| *last < id));
                let places = to.iter().map(|lane| (*lane, (Stand::Fresh, 0))).collect();
                model.events.insert(id, Known { weight, turn, places });
                to.iter().for_each(|lane| model.push(*lane, id));
                if to.is_empty() {
                    model.retire(id);
                }
            }
        }
        Op::Take { lane, max } => {
            let expected: Vec<(EventId, u16)> = (0..max)
                .map_while(|_| {
                    let id = model.next(lane, now)?;
                    Some((id, model.start(lane, id)))
                })
                .collect();
            let taken = rig.lane(LANES[lane]).take(max);
            let taken: Vec<_> = taken.iter().map(|d| (d.event.id, d.attempt)).collect();
            prop_assert_eq!(taken, expected);
        }
        Op::Recover { lane, recovering } => {
            rig.lane(LANES[lane]).recovering(recovering);
            model.queues[lane].recovering = recovering;
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
        let due = (0..3).filter_map(|n| model.due(number, n)).map(|(due, _)| due).min();
        prop_assert_eq!(rig.lane(name).next_due(), due);
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
        rig.memory().state.lock().lanes.iter_mut().for_each(|lane| lane.keys().set_most(3));
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
        loop {
            step(rig, model, Op::Take { lane, max: 1000 })?;
            if model.in_flight(lane).is_empty() {
                break;
            }
            while !model.in_flight(lane).is_empty() {
                step(rig, model, Op::End { lane, which: 0, how: How::Delivered })?;
            }
        }
    }
    compare_figures(rig, model)?;
    let stats = rig.buffer.stats();
    prop_assert_eq!(stats.events, stats.dead_events);
    prop_assert!(stats.destinations.iter().all(|lane| (lane.events, lane.bytes) == (0, 0)));
    Ok(())
}
