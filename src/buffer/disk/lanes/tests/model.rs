//! Random operations on the lanes and on a simple model of them, with a holding for each event as the memory form has:
//! no event is in two places, none is taken twice or lost, those of a key go one at a time in order of arrival, and the
//! quota answers the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::buffer::disk::progress::{Progress, What};
use crate::buffer::handoff::DeadReason;

const COUNT: u32 = 3;
const BOUND: Amount = Amount { events: 60, bytes: 60_000 };
const SMALL: Limits =
    Limits { window_events: 6, window_bytes: 4000 + 6 * BESIDE, windows_bytes: 8000 + 12 * BESIDE };

#[derive(Clone, Debug)]
enum Op {
    Keep { to: u8, weight: u32, commits: bool, turn: Turn },
    Take { lane: u32, max: usize },
    End { lane: u32, which: usize, how: How },
    Written { lane: u32, which: usize, due: Option<u64> },
    Want { lane: u32, blind: bool },
    Bring { lane: u32, most: usize, lose: bool },
    Requeue { which: usize, lane: u32 },
    Lose { which: usize },
    Move { which: usize, lane: u32 },
    Hasten { lane: u32 },
    Advance { ms: u64 },
    Configure { which: u8 },
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Settle,
    Defer,
    Dying,
    PutBack,
}

/// Half of them wait for others of four keys, of which a lane holds three at a time.
fn turn() -> impl Strategy<Value = Turn> {
    let priority = prop::sample::select(&Priority::ALL[..]);
    (priority, 0_u64..9)
        .prop_map(|(priority, key)| Turn { priority, order_key: OrderKey::from_bits(key.saturating_sub(4)) })
}

fn op() -> impl Strategy<Value = Op> {
    let lane = || 0..COUNT;
    let any = any::<usize>;
    let how = prop_oneof![Just(How::Settle), Just(How::Defer), Just(How::Dying), Just(How::PutBack)];
    prop_oneof![
        9 => (1_u8..8, 1_u32..3000, 0_u8..8, turn())
            .prop_map(|(to, weight, c, turn)| Op::Keep { to, weight, commits: c > 0, turn }),
        8 => (lane(), 0_usize..6).prop_map(|(lane, max)| Op::Take { lane, max }),
        8 => (lane(), any(), how).prop_map(|(lane, which, how)| Op::End { lane, which, how }),
        7 => (lane(), any(), prop::option::weighted(0.8, 0_u64..60))
            .prop_map(|(lane, which, due)| Op::Written { lane, which, due }),
        6 => (lane(), prop::bool::weighted(0.1)).prop_map(|(lane, blind)| Op::Want { lane, blind }),
        5 => (lane(), 0_usize..9, any()).prop_map(|(lane, most, l)| Op::Bring { lane, most, lose: l % 8 == 0 }),
        3 => (any(), lane()).prop_map(|(which, lane)| Op::Requeue { which, lane }),
        1 => any().prop_map(|which| Op::Lose { which }),
        2 => (any(), lane()).prop_map(|(which, lane)| Op::Move { which, lane }),
        1 => lane().prop_map(|lane| Op::Hasten { lane }),
        3 => (0_u64..40).prop_map(|ms| Op::Advance { ms }),
        1 => (0_u8..8).prop_map(|which| Op::Configure { which }),
        1 => Just(Op::Restart),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum St {
    /// In a window or in the backlog.
    Fresh,
    /// A retry that waits, or one that is in memory.
    Waiting {
        due: u64,
        dying: bool,
    },
    Reading,
    InFlight,
    Ending {
        dying: bool,
    },
    Settled,
    Dead,
    /// Nobody sends it again.
    Lost,
}

impl St {
    fn is_over(self) -> bool {
        matches!(self, Self::Settled | Self::Dead | Self::Lost)
    }

    /// Between its first attempt and its end.
    fn is_busy(self) -> bool {
        matches!(self, Self::InFlight | Self::Ending { dying: false } | Self::Waiting { dying: false, .. })
    }
}

#[derive(Clone, Debug)]
struct Place {
    st: St,
    made: u16,
    charge: Charge,
    /// Where its last step stands, if that was a `Deferred`.
    step: Option<Loc>,
    /// It was put on its way again: before or behind whom is nobody's promise.
    again: bool,
    /// When, if it was.
    since: Option<Millis>,
}

impl Place {
    fn new(st: St, charge: Charge) -> Self {
        Self { st, made: 0, charge, step: None, again: false, since: None }
    }
}

#[derive(Debug)]
struct Known {
    weight: u32,
    turn: Turn,
    lanes: Vec<u32>,
    holding: Holding,
    places: BTreeMap<u32, Place>,
}

struct Rig {
    lanes: Lanes,
    quota: Quota,
    configured: Vec<u32>,
    events: BTreeMap<u64, Known>,
    next: u64,
    step: u32,
    now: u64,
    /// What is being read, by lane.
    wanted: BTreeMap<u32, Wanted>,
    log: Vec<(Loc, Progress)>,
    /// When what waited was last made due, by lane.
    hastened: BTreeMap<u32, u64>,
}

fn bits(mask: u8) -> Vec<u32> {
    (0..COUNT).filter(|lane| mask >> lane & 1 == 1).collect()
}

fn plain(lanes: &[u32]) -> Vec<(u32, MaxPending)> {
    lanes.iter().map(|lane| (*lane, MaxPending::default())).collect()
}

impl Rig {
    fn new() -> Self {
        let mut rig = Self {
            lanes: Lanes::new(BOUND, Arc::default(), RetryRoom::new(4, std::env::temp_dir())),
            quota: Quota::new(BOUND),
            configured: bits(7),
            events: BTreeMap::new(),
            next: 1,
            step: 0,
            now: 0,
            wanted: BTreeMap::new(),
            log: Vec::new(),
            hastened: BTreeMap::new(),
        };
        rig.fresh();
        rig
    }

    /// Lanes and quota as they are at the start.
    fn fresh(&mut self) {
        self.lanes = Lanes::new(BOUND, Arc::default(), RetryRoom::new(4, std::env::temp_dir()));
        self.lanes.limits = SMALL;
        self.quota = Quota::new(BOUND);
        for lane in 0..COUNT {
            self.lanes.lane(lane, &format!("{lane}").into());
            self.quota.add_destination();
        }
        self.lanes.set_destinations(&plain(&self.configured));
        self.quota.configure(&plain(&self.configured));
        self.lanes.lanes.iter_mut().for_each(|lane| lane.keys.set_most(3));
    }

    fn places(&self, lane: u32, wanted: impl Fn(&St) -> bool) -> Vec<u64> {
        let at = |known: &Known| known.places.get(&lane).is_some_and(|place| wanted(&place.st));
        self.events.iter().filter(|(_, known)| at(known)).map(|(seq, _)| *seq).collect()
    }

    fn place(&mut self, seq: u64, lane: u32) -> &mut Place {
        self.events.get_mut(&seq).unwrap().places.get_mut(&lane).unwrap()
    }

    fn note(&mut self, seq: u64, lane: u32, what: What, made: u16) -> Loc {
        self.step += 1;
        let at = Loc { segment: self.step % 3, offset: self.step };
        let ended = Attempt { at: Millis(self.now), took: Duration::ZERO, ..attempt(made) };
        let attempts = if made > 0 { vec![ended] } else { Vec::new() };
        let since = self.place(seq, lane).since;
        self.log.push((at, Progress { seq, lane, what, attempts, since }));
        at
    }

    fn release(&mut self, seq: u64, lane: u32, st: St) {
        let Known { holding, places, .. } = self.events.get_mut(&seq).unwrap();
        let place = places.get_mut(&lane).unwrap();
        self.quota.release(holding, lane, place.charge);
        *place = Place::new(st, Charge::None);
    }

    fn taken(&mut self, lane: u32, delivery: &Delivery) -> Result<(), TestCaseError> {
        let seq = delivery.event.id.seq();
        let now = self.now;
        self.in_order(seq, lane)?;
        let place = self.place(seq, lane);
        let right = match place.st {
            St::Fresh => true,
            // A retry that was put back stands before the window.
            St::Waiting { due: at, dying } => !dying && at <= now,
            _ => false,
        };
        prop_assert!(right, "{seq} at {lane} was {place:?}");
        place.st = St::InFlight;
        prop_assert_eq!(delivery.attempt, place.made + 1);
        prop_assert_eq!(delivery.since, place.since.unwrap_or(delivery.event.received_at));
        Ok(())
    }

    /// No other event of its key is on its way, and none of its class that came before it has not begun.
    fn in_order(&self, seq: u64, lane: u32) -> Result<(), TestCaseError> {
        let Turn { priority, order_key: Some(key) } = self.events[&seq].turn else { return Ok(()) };
        let place = &self.events[&seq].places[&lane];
        let others =
            self.events.iter().filter(|(other, known)| **other != seq && known.turn.order_key == Some(key));
        for (other, known) in others {
            let Some(at) = known.places.get(&lane) else { continue };
            prop_assert!(!at.st.is_busy(), "{seq} is taken while {other} is {at:?} at {lane}");
            let before = *other < seq && known.turn.priority == priority && !at.st.is_over();
            let dying = matches!(at.st, St::Ending { dying: true } | St::Waiting { dying: true, .. });
            let passed = before && place.made == 0 && !place.again && !at.again && !dying;
            prop_assert!(!passed, "{seq} is taken before {other}, which is {at:?} at {lane}");
        }
        Ok(())
    }

    fn lose(&mut self, seq: u64) {
        let known = &self.events[&seq];
        let (weight, lanes_of) = (known.weight, known.lanes.clone());
        self.lanes.lost(seq, weight, &lanes_of);
        for lane in lanes_of {
            if !self.place(seq, lane).st.is_over() {
                self.release(seq, lane, St::Lost);
                self.note(seq, lane, What::Lost, 0);
            }
        }
    }

    fn step(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Keep { to, weight, commits, turn } => self.keep(&bits(to), weight, commits, turn)?,
            Op::Take { lane, max } => {
                let taken = self.lanes.take(lane, max, Millis(self.now));
                prop_assert!(taken.len() <= max);
                for delivery in taken {
                    self.taken(lane, &delivery)?;
                }
            }
            Op::End { lane, which, how } => self.end(lane, which, how)?,
            Op::Written { lane, which, due } => self.written(lane, which, due)?,
            Op::Want { lane, blind } if !self.wanted.contains_key(&lane) => self.want(lane, blind)?,
            Op::Bring { lane, most, lose } => self.bring(lane, most, lose),
            Op::Requeue { which, lane } => self.requeue(which, lane)?,
            Op::Lose { which } => {
                if let Some(which) = which.checked_rem(self.events.len()) {
                    self.lose(*self.events.keys().nth(which).unwrap());
                }
            }
            Op::Move { which, lane } => {
                let waiting = self.places(lane, |st| matches!(st, St::Waiting { .. } | St::InFlight));
                let Some(which) = which.checked_rem(waiting.len()) else { return Ok(()) };
                let seq = waiting[which];
                self.step += 1;
                let to = Loc { segment: self.step % 3, offset: self.step };
                let place = self.place(seq, lane);
                let waits = place.step.is_some();
                if waits {
                    let from = place.step.replace(to);
                    let old = self.log.iter().rev().find(|(at, _)| Some(*at) == from).unwrap().1.clone();
                    self.log.push((to, old));
                }
                prop_assert_eq!(self.lanes.moved(seq, lane, to), waits);
            }
            Op::Hasten { lane } => {
                self.lanes.hasten(lane, Millis(self.now));
                self.hastened.insert(lane, self.now);
                for seq in self.places(lane, |st| matches!(st, St::Waiting { .. })) {
                    let now = self.now;
                    if let St::Waiting { due, .. } = &mut self.place(seq, lane).st {
                        *due = now.min(*due);
                    }
                }
            }
            Op::Advance { ms } => self.now += ms,
            Op::Configure { which } => {
                self.configured = bits(which);
                self.lanes.set_destinations(&plain(&self.configured));
                self.quota.configure(&plain(&self.configured));
            }
            Op::Restart => self.restart(),
            Op::Want { .. } => {}
        }
        Ok(())
    }

    /// What is wanted of the lane; where it is to be sifted and `blind`, the keys cannot be read.
    fn want(&mut self, lane: u32, blind: bool) -> Result<(), TestCaseError> {
        let now = self.now;
        let mut wanted = self.lanes.wanted(lane, Millis(now));
        if !wanted.sift.is_empty() {
            let key_of = |seq: &u64| (*seq, self.events[seq].turn.order_key);
            let keys = if blind { Vec::new() } else { wanted.sift.iter().map(key_of).collect() };
            prop_assert!(wanted.sift.iter().all(|seq| self.events[seq].turn.priority == wanted.class));
            wanted.fresh = self.lanes.sift(lane, &wanted, keys).0;
        }
        for seq in &wanted.fresh {
            prop_assert_eq!(self.place(*seq, lane).st, St::Fresh);
            self.place(*seq, lane).st = St::Reading;
        }
        for retry in &wanted.retries {
            let place = self.place(retry.seq, lane);
            let St::Waiting { due, dying } = place.st else { panic!("{retry:?} {place:?}") };
            prop_assert!(due <= now);
            prop_assert_eq!((retry.dying, retry.attempt, Some(retry.at)), (dying, place.made, place.step));
            if dying {
                place.st = St::Ending { dying: true };
            }
        }
        self.wanted.insert(lane, wanted);
        Ok(())
    }

    fn keep(&mut self, to: &[u32], weight: u32, commits: bool, turn: Turn) -> Result<(), TestCaseError> {
        let mut holding = Holding::new(u64::from(weight));
        let allowed = self.quota.check(&holding, to.iter().copied());
        prop_assert_eq!(self.lanes.check(u64::from(weight), to), allowed);
        if allowed.is_err() {
            return Ok(());
        }
        let reserved = self.lanes.reserve(weight, to);
        if !commits {
            self.lanes.unreserve(reserved);
            return Ok(());
        }
        let seq = self.next;
        self.next += 1;
        self.lanes.admit(reserved, ready_of(seq, weight, turn));
        let mut places = BTreeMap::new();
        for lane in to {
            let charge = self.quota.charge(&mut holding, *lane);
            places.insert(*lane, Place::new(St::Fresh, charge));
        }
        self.events.insert(seq, Known { weight, turn, lanes: to.to_vec(), holding, places });
        Ok(())
    }

    fn end(&mut self, lane: u32, which: usize, how: How) -> Result<(), TestCaseError> {
        let flying = self.places(lane, |st| *st == St::InFlight);
        let Some(which) = which.checked_rem(flying.len()) else { return Ok(()) };
        let seq = flying[which];
        let lanes_of = self.events[&seq].lanes.clone();
        let made = self.place(seq, lane).made;
        match how {
            How::Settle => {
                prop_assert_eq!(self.lanes.settle(lane, id(seq), &lanes_of).map(|r| r.seq), Some(seq));
                self.release(seq, lane, St::Settled);
                self.note(seq, lane, What::Delivered, made + 1);
            }
            How::Defer => {
                let ready = self.lanes.defer(lane, id(seq), Some(attempt(made + 1))).unwrap();
                prop_assert_eq!(ready.attempts.last().map(|a| a.number), Some(made + 1));
                let place = self.place(seq, lane);
                (place.st, place.made) = (St::Ending { dying: false }, made + 1);
            }
            How::Dying => {
                prop_assert_eq!(self.lanes.dying(lane, id(seq)).map(|r| r.seq), Some(seq));
                let place = self.place(seq, lane);
                (place.st, place.made) = (St::Ending { dying: true }, made + 1);
            }
            How::PutBack => {
                prop_assert!(self.lanes.put_back(lane, id(seq)));
                let place = self.place(seq, lane);
                place.st = match place.step {
                    Some(_) => St::Waiting { due: 0, dying: false },
                    None => St::Fresh,
                };
            }
        }
        prop_assert!(
            self.lanes.settle(lane, id(seq), &lanes_of).is_none() && !self.lanes.put_back(lane, id(seq))
        );
        Ok(())
    }

    /// The commit of what `end` said: it waits, or is dead.
    fn written(&mut self, lane: u32, which: usize, due: Option<u64>) -> Result<(), TestCaseError> {
        let ending = self.places(lane, |st| matches!(st, St::Ending { .. }));
        let Some(which) = which.checked_rem(ending.len()) else { return Ok(()) };
        let seq = ending[which];
        let made = self.place(seq, lane).made;
        let Some(due) = due else {
            let (weight, lanes_of) = (self.events[&seq].weight, self.events[&seq].lanes.clone());
            prop_assert!(self.lanes.died(seq, lane, weight, &lanes_of));
            self.lanes.letter(seq, lane);
            self.release(seq, lane, St::Dead);
            self.note(seq, lane, What::Dead(DeadReason::Gone), made);
            return Ok(());
        };
        let ended = self.place(seq, lane).st == St::Ending { dying: true };
        let (due, dying) = (self.now + due, ended || which % 4 == 3);
        let reason = dying.then_some(DeadReason::Gone);
        let at = self.note(seq, lane, What::Deferred { due: Millis(due), dying: reason }, made);
        prop_assert!(self.lanes.wait(seq, lane, Millis(due), made, dying, at));
        let place = self.place(seq, lane);
        (place.st, place.step) = (St::Waiting { due, dying }, Some(at));
        Ok(())
    }

    fn bring(&mut self, lane: u32, most: usize, lose: bool) {
        let Some(wanted) = self.wanted.remove(&lane) else { return };
        for seq in &wanted.fresh {
            let place = self.place(*seq, lane);
            if place.st == St::Reading {
                place.st = St::Fresh;
            }
        }
        if let Some(seq) = wanted.fresh.first().filter(|_| lose) {
            self.lose(*seq);
        }
        let read = |seq: u64| ready_of(seq, self.events[&seq].weight, self.events[&seq].turn);
        let fresh = wanted.fresh.iter().take(most).map(|seq| read(*seq)).collect();
        let due = wanted.retries.iter().filter(|retry| !retry.dying).take(most);
        let due = due.map(|retry| (read(retry.seq), retry.attempt)).collect();
        let followers = wanted.followers.iter().map(|seq| read(*seq)).collect();
        self.lanes.prefetched(lane, wanted.class, followers);
        self.lanes.bring(lane, wanted.class, fresh, due);
    }

    fn requeue(&mut self, which: usize, lane: u32) -> Result<(), TestCaseError> {
        let over = self.places(lane, |_| true);
        let Some(which) = which.checked_rem(over.len()) else { return Ok(()) };
        let seq = over[which];
        let known = self.events.get_mut(&seq).unwrap();
        let (weight, turn, lanes_of) = (known.weight, known.turn, known.lanes.clone());
        let place = known.places.get_mut(&lane).unwrap();
        if place.st == St::Lost {
            return Ok(());
        }
        if !place.st.is_over() {
            prop_assert!(!self.lanes.requeue(seq, lane, (weight, turn), &lanes_of, Millis(self.now)));
            return Ok(());
        }
        let allowed = self.quota.check(&known.holding, [lane]);
        prop_assert_eq!(self.lanes.check_requeue(seq, &[lane], weight, &lanes_of), allowed);
        if allowed.is_ok() {
            place.charge = self.quota.charge(&mut known.holding, lane);
            (place.st, place.again, place.since) = (St::Fresh, true, Some(Millis(self.now)));
            prop_assert!(self.lanes.requeue(seq, lane, (weight, turn), &lanes_of, Millis(self.now)));
            self.note(seq, lane, What::Requeued, 0);
        }
        Ok(())
    }

    /// What was not written is forgotten; all else is found again.
    fn restart(&mut self) {
        self.fresh();
        self.wanted.clear();
        for (lane, at) in &self.hastened {
            self.lanes.restore_hastened(*lane, Millis(*at));
        }
        for (seq, known) in &self.events {
            let pends = |lane: &&u32| !known.places[*lane].st.is_over();
            let pending: Vec<u32> = known.lanes.iter().filter(pends).copied().collect();
            if !pending.is_empty() {
                self.lanes.restore(*seq, known.weight, known.turn, &pending);
            }
            for (lane, place) in &known.places {
                let here = |(_, step): &&(Loc, Progress)| step.seq == *seq && step.lane == *lane;
                let last = self.log.iter().rev().find(here);
                match last {
                    _ if place.st == St::Dead => self.lanes.letter(*seq, *lane),
                    Some((at, step)) if pends(&lane) => {
                        step.since.into_iter().for_each(|since| self.lanes.renew(*seq, *lane, since));
                        if let Some(retry) = self.lanes.retry(*at, step) {
                            self.lanes.restore_waiting(*lane, known.turn, &retry);
                        }
                    }
                    _ => {}
                }
            }
        }
        for (seq, known) in &mut self.events {
            known.holding = Holding::new(u64::from(known.weight));
            for (lane, place) in &mut known.places {
                if place.st.is_over() {
                    continue;
                }
                self.quota.restore(&mut known.holding, *lane);
                place.charge = Charge::Reserved;
                let here = |(_, step): &&(Loc, Progress)| step.seq == *seq && step.lane == *lane;
                let last = self.log.iter().rev().find(here);
                (place.st, place.made, place.step) = match last {
                    Some((at, Progress { what: What::Deferred { due, dying }, attempts, .. })) => {
                        let attempt = attempts.last().unwrap();
                        let hastened = self.hastened.get(lane).filter(|asked| attempt.at.0 <= **asked);
                        let due = hastened.map_or(due.0, |asked| due.0.min(*asked));
                        (St::Waiting { due, dying: dying.is_some() }, attempt.number, Some(*at))
                    }
                    _ => (St::Fresh, 0, None),
                };
            }
        }
        (0..COUNT).for_each(|lane| self.one_of_each_key_waits(lane));
    }

    /// Two of one key wait where one was on its way to the dead letters: the later one begins anew.
    fn one_of_each_key_waits(&mut self, lane: u32) {
        let mut held = BTreeSet::new();
        for seq in self.places(lane, |st| st.is_busy()) {
            let Some(key) = self.events[&seq].turn.order_key else { continue };
            if !held.insert(key) {
                let place = self.place(seq, lane);
                (place.st, place.made, place.step) = (St::Fresh, 0, None);
                place.again = true;
            }
        }
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        check(&self.lanes);
        prop_assert_eq!(format!("{:?}", self.lanes.quota), format!("{:?}", self.quota));
        let pends = |place: &Place| !place.st.is_over();
        let alive = self.events.iter().filter(|(_, known)| known.places.values().any(pends));
        let alive: Vec<u64> = alive.map(|(seq, _)| *seq).collect();
        prop_assert_eq!(self.lanes.pending(0, u64::MAX), alive.clone());
        prop_assert_eq!(
            self.lanes.pending_count(5, 20),
            alive.iter().filter(|s| (5..=20).contains(*s)).count() as u64
        );
        for lane in 0..COUNT {
            let here = self.places(lane, |st| !st.is_over());
            let bytes = here.iter().map(|seq| u64::from(self.events[seq].weight)).sum();
            prop_assert_eq!(self.lanes.depth(lane), (here.len() as u64, bytes));
            prop_assert_eq!(self.lanes.oldest_seq(lane), here.first().copied());
            let dead = self.places(lane, |st| *st == St::Dead);
            prop_assert!(dead.iter().all(|seq| self.lanes.is_dead(*seq, lane)));
            prop_assert_eq!(self.lanes.figures(lane).dead, dead.len() as u64);
        }
        let expected: BTreeSet<_> = self
            .events
            .iter()
            .flat_map(|(seq, known)| known.places.iter().map(move |(lane, place)| (*seq, *lane, place)))
            .filter_map(|(seq, lane, place)| Some((seq, lane, place.step?)))
            .filter(|(_, _, at)| at.segment == 1)
            .map(|(seq, lane, at)| (seq, lane, at.offset))
            .collect();
        let found = self.lanes.waiting_in(1);
        prop_assert_eq!(found.len(), expected.len());
        prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        Ok(())
    }

    /// Whatever happened before: all that is pending can be delivered, and then nothing is pending.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        self.step(Op::Configure { which: 7 })?;
        for round in 0..2000 {
            self.now += 1000;
            for lane in 0..COUNT {
                for op in [
                    Op::Written { lane, which: 0, due: None },
                    Op::Bring { lane, most: 2, lose: false },
                    Op::Want { lane, blind: false },
                    Op::Bring { lane, most: 2, lose: false },
                    Op::Take { lane, max: 3 },
                    Op::End { lane, which: 0, how: How::Settle },
                ] {
                    self.step(op)?;
                }
            }
            if self.lanes.is_drained() {
                break;
            }
            prop_assert!(round < 1999, "stuck");
        }
        self.compare()?;
        prop_assert_eq!(self.lanes.quota.total(), Amount::default());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_lanes_do_what_a_simple_model_of_them_does(ops in prop::collection::vec(op(), 100..250)) {
        let mut rig = Rig::new();
        for op in ops {
            rig.step(op)?;
            rig.compare()?;
        }
        rig.drain()?;
    }
}
