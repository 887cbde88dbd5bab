//! One destination's queues. Everything here runs under the buffer's lock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use super::super::express::{ExpressQueue, LaneSignal};
use super::super::keys::{Entry, Keys};
use super::super::quota::Amount;
use super::super::turns::{Ask, Classes, Line, Lines};
use crate::clock::Millis;
use crate::event::{ByClass, OrderKey, Priority, Turn};

/// So many events that step aside are looked at in one go: the rest of a queue is looked at in the next.
const LOOKED_AT: usize = 4096;

#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) signal: Arc<LaneSignal>,
    queues: ByClass<Queues>,
    classes: Classes,
    keys: Keys,
    /// Whether some event here ever had an order key.
    keyed: bool,
    /// Passed events: before all others.
    pub(super) express: ExpressQueue,
    /// Fresh, deferred and in flight.
    pub(super) pending: Amount,
    pub(super) dead: u64,
    /// In flight or deferred: all that is pending and in no other queue.
    started: BTreeSet<u64>,
    recovering: bool,
}

/// The queues of one class.
#[derive(Debug, Default)]
struct Queues {
    /// Taken but not attempted, or the next of their key: before all fresh ones, in order of arrival.
    returned: BTreeSet<u64>,
    /// In order of arrival.
    fresh: VecDeque<u64>,
    /// What came while the lane recovers.
    ahead: VecDeque<u64>,
    /// By due time, then arrival.
    deferred: BinaryHeap<Reverse<(Millis, u64)>>,
    lines: Lines,
}

impl Queues {
    fn is_due(&self, now: Millis) -> bool {
        self.deferred.peek().is_some_and(|Reverse((due, _))| *due <= now)
    }

    fn waits(&self, now: Millis) -> bool {
        !self.fresh.is_empty() || !self.returned.is_empty() || !self.ahead.is_empty() || self.is_due(now)
    }

    /// The next fresh event that need not wait for others of its key. `looks` counts down what steps aside on the way.
    fn pop_fresh(
        &mut self,
        class: Priority,
        keys: &mut Keys,
        key_of: &dyn Fn(u64) -> Option<OrderKey>,
        looks: &mut usize,
    ) -> Option<u64> {
        while *looks > 0 {
            if let Some(seq) = self.returned.pop_first() {
                if keys.begin(seq) {
                    return Some(seq);
                }
                continue;
            }
            let seq = *self.fresh.front()?;
            match key_of(seq).map_or(Entry::Next, |key| keys.enter(key, class, seq)) {
                Entry::Full => return None,
                Entry::Aside => *looks -= 1,
                Entry::Next => {
                    self.fresh.pop_front();
                    keys.begin(seq);
                    return Some(seq);
                }
            }
            self.fresh.pop_front();
        }
        None
    }
}

impl LaneState {
    pub(super) fn new(signal: Arc<LaneSignal>) -> Self {
        Self {
            express: ExpressQueue::new(Arc::clone(&signal.open)),
            signal,
            queues: ByClass::default(),
            classes: Classes::default(),
            keys: Keys::default(),
            keyed: false,
            pending: Amount::default(),
            dead: 0,
            started: BTreeSet::new(),
            recovering: false,
        }
    }

    /// While it recovers, what comes and waits for nobody goes ahead of the backlog, in a part of the slots.
    pub(super) fn recovering(&mut self, recovering: bool) {
        self.recovering = recovering;
    }

    /// A fresh event at the end of its queue.
    pub(super) fn push_fresh(&mut self, turn: Turn, seq: u64, size: Amount) {
        self.pending += size;
        self.keyed |= turn.order_key.is_some();
        let queues = self.queues.get_mut(turn.priority);
        if self.recovering && turn.order_key.is_none() {
            queues.ahead.push_back(seq);
        } else {
            queues.fresh.push_back(seq);
        }
    }

    /// The next event, fresh or due by `now`; it is in flight now. Where none is found though there may be one, since
    /// too many had to step aside, the lane's task is told to look again.
    pub(super) fn pop(
        &mut self,
        now: Millis,
        ask: Ask,
        key_of: &dyn Fn(u64) -> Option<OrderKey>,
    ) -> Option<u64> {
        let Self { queues, classes, keys, keyed, .. } = self;
        let none: &dyn Fn(u64) -> Option<OrderKey> = &|_| None;
        let key_of = if *keyed { key_of } else { none };
        let mut looks = LOOKED_AT;
        let waiting = ByClass::new(|class| queues.get(class).waits(now));
        let found = classes.next(
            |class| *waiting.get(class),
            |class| {
                let queues = queues.get_mut(class);
                let mut lines = std::mem::take(&mut queues.lines);
                let found = lines.next(|line| match line {
                    Line::Fresh => queues.pop_fresh(class, keys, key_of, &mut looks),
                    Line::Ahead => queues.ahead.pop_front(),
                    Line::Due if ask == Ask::Next && queues.is_due(now) => {
                        queues.deferred.pop().map(|Reverse((_, seq))| seq)
                    }
                    Line::Due => None,
                });
                queues.lines = lines;
                found
            },
        );
        match found {
            Some(seq) => drop(self.started.insert(seq)),
            None if looks == 0 => self.signal.added(),
            None => {}
        }
        found
    }

    /// An event in flight goes to the front of its queue. It goes on holding its key.
    pub(super) fn put_back(&mut self, class: Priority, seq: u64) {
        self.started.remove(&seq);
        self.queues.get_mut(class).returned.insert(seq);
    }

    /// An event in flight waits. It goes on holding its key.
    pub(super) fn push_deferred(&mut self, class: Priority, due: Millis, seq: u64) {
        self.queues.get_mut(class).deferred.push(Reverse((due, seq)));
    }

    /// An event from before the start waits.
    pub(super) fn push_waiting(&mut self, turn: Turn, due: Millis, seq: u64, size: Amount) {
        if turn.order_key.is_some_and(|key| !self.keys.resume(key, turn.priority, seq)) {
            return self.push_fresh(turn, seq, size); // behind the other one of its key
        }
        self.keyed |= turn.order_key.is_some();
        self.started.insert(seq);
        self.pending += size;
        self.push_deferred(turn.priority, due, seq);
    }

    /// An event in flight is settled, and its key free.
    pub(super) fn end(&mut self, seq: u64, size: Amount) {
        self.started.remove(&seq);
        self.pending -= size;
        for (class, next) in self.keys.end(seq) {
            self.queues.get_mut(class).returned.insert(next);
        }
    }

    /// The earliest of what is pending (of a queue: its head, which a replayed event may stand behind).
    pub(super) fn oldest(&self) -> Option<u64> {
        let heads = self.queues.iter().flat_map(|(_, queues)| {
            [queues.returned.first(), queues.fresh.front(), queues.ahead.front()].into_iter().flatten()
        });
        heads.chain(self.started.first()).copied().chain(self.keys.first_aside()).min()
    }

    /// All that wait for their next attempt are due by `now`: who they are.
    pub(super) fn hasten(&mut self, now: Millis) -> Vec<u64> {
        let mut hastened = Vec::new();
        for class in Priority::ALL {
            let queues = self.queues.get_mut(class);
            let waiting = std::mem::take(&mut queues.deferred).into_iter();
            queues.deferred = waiting.map(|Reverse((due, seq))| Reverse((due.min(now), seq))).collect();
            hastened.extend(queues.deferred.iter().map(|Reverse((_, seq))| *seq));
        }
        hastened
    }

    /// The highest class of which something may be taken by `now`.
    pub(super) fn next_class(&self, now: Millis) -> Option<Priority> {
        Priority::ALL.into_iter().find(|class| self.queues.get(*class).waits(now))
    }

    /// Whether an event of this key may be pending here. What was not looked at yet stands in the queues of fresh ones.
    pub(super) fn may_hold(&self, key: OrderKey) -> bool {
        let unread = || self.queues.iter().any(|(_, queues)| !queues.fresh.is_empty());
        self.keys.knows(key) || (self.keyed && unread())
    }

    pub(super) fn next_due(&self) -> Option<Millis> {
        let first = |(_, queues): (_, &Queues)| queues.deferred.peek().map(|Reverse((due, _))| *due);
        self.queues.iter().filter_map(first).min()
    }

    /// How many wait for their next attempt.
    pub(super) fn deferred(&self) -> u64 {
        self.queues.iter().map(|(_, queues)| queues.deferred.len() as u64).sum()
    }

    /// Whether it waits because too many keys are held, which nobody was told yet.
    pub(super) fn tell_out_of_keys(&mut self) -> bool {
        self.keyed && self.keys.tell_refused()
    }

    /// How many entries `take` could find, at most.
    pub(super) fn waiting(&self) -> usize {
        let queued = |queues: &Queues| {
            queues.returned.len() + queues.fresh.len() + queues.ahead.len() + queues.deferred.len()
        };
        self.express.len() + self.queues.iter().map(|(_, queues)| queued(queues)).sum::<usize>()
    }

    #[cfg(test)]
    pub(super) fn keys(&mut self) -> &mut Keys {
        &mut self.keys
    }
}
